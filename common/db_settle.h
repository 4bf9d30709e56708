// SPDX-License-Identifier: MIT
// What a writer that died has written into its WAL and could not sync, or was not known to have
// synced, is brought to the disk by the next one before it builds on it.
//
// When an fdatasync fails, the kernel keeps what it could not write in its cache, as if it had been
// written. The next process reads it there, builds on it, and a loss of power then takes it away
// together with all that was acknowledged behind it. Written again as it is, it goes to the disk.
//
// How far the WAL is known to be on the disk is noted in the file of the lease, now and then, so
// that a hand-over writes only what is behind that again, and not a WAL of several megabytes. The
// note names the WAL's generation by its salts (https://www.sqlite.org/fileformat2.html, 4.1), which
// are others whenever SQLite begins the file anew; a note of another generation says nothing.
#ifndef COMMON_DB_SETTLE_H
#define COMMON_DB_SETTLE_H

#include "common/db.h"

#include <stdint.h>

#define DB_SETTLED_PAGES 64 // that are written again at most, besides the last commit

// What a writer notes.
struct db_settled {
    int fd;          // of the file of the lease; -1: nothing is noted
    uint32_t frames; // as noted last
};

// Begins to note, in the file lease_path, which exists and is held; if it cannot be opened, nothing is
// noted.
void db_settled_open(struct db_settled *d, const char *lease_path);

// After a commit that was synced (not under synchronous=NORMAL): the WAL has so many frames; 0: it is
// not known.
void db_settled_note(struct db_settled *d, struct db *db, int frames);

void db_settled_close(struct db_settled *d);

// Before a writer opens path, with the lease; lease_path may be NULL: nothing was noted. Returns 0 or
// a negative errno.
__attribute__((warn_unused_result)) int db_settle(const char *path, const char *lease_path);

#endif
