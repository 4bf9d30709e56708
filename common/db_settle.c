// SPDX-License-Identifier: MIT
// The note is written into the kernel's cache alone: it is for the case that the process dies, and
// when the machine does, the cache of the WAL is gone with it. It is never ahead of the disk, so it
// is right after both.
#include "common/db_settle.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES (64 * 1024) // SQLite's files take no more than 128 KiB at once

enum {
    HEADER_BYTES = 32,
    HEADER_PAGE_SIZE = 8, // 4 bytes, big-endian
    HEADER_SALTS = 16,
    FRAME_BYTES = 24, // before each page
    FRAME_SALTS = 8,
    SALTS_BYTES = 8
};

// What is in the file of the lease, by this machine for itself.
struct note {
    uint8_t salts[SALTS_BYTES];
    uint32_t frames;
};

// --- Noting

void db_settled_open(struct db_settled *d, const char *lease_path)
{
    *d = (struct db_settled){ .fd = open(lease_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW),
                              .frames = UINT32_MAX }; // whatever there is, is noted at once
}

void db_settled_close(struct db_settled *d)
{
    if (d->fd >= 0) {
        (void)close(d->fd); // what is in it need not reach the disk
        d->fd = -1;
    }
}

static bool read_salts(struct db *db, uint8_t salts[SALTS_BYTES])
{
    sqlite3_file *log = NULL;
    return sqlite3_file_control(db_handle(db), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) ==
               SQLITE_OK &&
           log && log->pMethods &&
           log->pMethods->xRead(log, salts, SALTS_BYTES, HEADER_SALTS) == SQLITE_OK;
}

void db_settled_note(struct db_settled *d, struct db *db, int frames)
{
    struct note note = { .frames = (uint32_t)frames };
    // Fewer than before: the WAL was begun anew.
    bool few = note.frames > d->frames && note.frames - d->frames < DB_SETTLED_PAGES;
    if (d->fd < 0 || frames <= 0 || few || !read_salts(db, note.salts)) {
        return;
    }
    // So few bytes are written as a whole, or not at all: then more is written again some day.
    (void)!pwrite(d->fd, &note, sizeof note, 0);
    d->frames = note.frames;
}

// --- Settling

static bool read_note(const char *lease_path, struct note *note)
{
    int fd = lease_path ? open(lease_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    bool done = fd >= 0 && pread(fd, note, sizeof *note, 0) == sizeof *note;
    if (fd >= 0) {
        (void)close(fd); // it was read
    }
    return done;
}

// The part of the WAL that may have to be written again.
struct part {
    sqlite3_int64 from, to;
};

// From what is noted to the last frame of the WAL's generation. SQLite reads nothing behind that.
static int find_part(sqlite3_file *log, sqlite3_int64 size, const char *lease_path,
                     struct part *part)
{
    uint8_t header[HEADER_BYTES], frame[FRAME_BYTES];
    const uint8_t *p = header + HEADER_PAGE_SIZE;
    struct note note;
    *part = (struct part){ 0, size };
    if (size < HEADER_BYTES) {
        return SQLITE_OK;
    }
    int code = log->pMethods->xRead(log, header, sizeof header, 0);
    sqlite3_int64 page = (sqlite3_int64)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    if (code != SQLITE_OK || page < 512 || page > 65536) {
        return code; // whatever that is: all of it
    }
    const uint8_t *salts = header + HEADER_SALTS;
    sqlite3_int64 step = FRAME_BYTES + page, at = HEADER_BYTES;
    if (read_note(lease_path, &note) && memcmp(note.salts, salts, SALTS_BYTES) == 0 &&
        note.frames <= (size - HEADER_BYTES) / step) {
        at += note.frames * step;
        part->from = at;
    }
    for (; at + step <= size; at += step) {
        code = log->pMethods->xRead(log, frame, sizeof frame, at);
        if (code != SQLITE_OK || memcmp(frame + FRAME_SALTS, salts, SALTS_BYTES) != 0) {
            break;
        }
    }
    part->to = at;
    return code;
}

static int rewrite_part(sqlite3_file *log, const struct part *part, char *piece)
{
    int code = SQLITE_OK;
    for (sqlite3_int64 at = part->from; code == SQLITE_OK && at < part->to; at += PIECE_BYTES) {
        int n = part->to - at < PIECE_BYTES ? (int)(part->to - at) : PIECE_BYTES;
        code = log->pMethods->xRead(log, piece, n, at);
        code = code == SQLITE_OK ? log->pMethods->xWrite(log, piece, n, at) : code;
    }
    return code == SQLITE_OK ? log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) : code;
}

static int rewrite(sqlite3_file *log, const char *lease_path)
{
    sqlite3_int64 size = 0;
    struct part part = { 0, 0 };
    char *piece = malloc(PIECE_BYTES);
    int code = piece ? log->pMethods->xFileSize(log, &size) : SQLITE_NOMEM;
    code = code == SQLITE_OK ? find_part(log, size, lease_path, &part) : code;
    code = code == SQLITE_OK && part.to > part.from ? rewrite_part(log, &part, piece) : code;
    free(piece);
    return code;
}

static int open_and_rewrite(sqlite3_vfs *vfs, const char *name, const char *lease_path,
                            sqlite3_file *log)
{
    int flags = SQLITE_OPEN_WAL | SQLITE_OPEN_READWRITE, opened = 0;
    int code = vfs->xOpen(vfs, name, log, flags, &opened);
    int rc = db_errno(code);
    if (rc) {
        rc = db_opening_errno(rc, vfs->xGetLastError(vfs, 0, NULL));
    } else {
        // Only to read: it could not be opened to write.
        rc = opened & SQLITE_OPEN_READONLY ? -EROFS : db_errno(rewrite(log, lease_path));
    }
    if (log->pMethods) {
        (void)log->pMethods->xClose(log); // it was synced
    }
    return rc;
}

int db_settle(const char *path, const char *lease_path)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    char name[4096] = { 0 };
    int has_store = 0, has_log = 0; // a log without its store is of no use, and SQLite removes it
    // SQLite wants two NULs behind a name: it looks for parameters there.
    if (!vfs || snprintf(name, sizeof name - 2, "%s-wal", path) >= (int)sizeof name - 2) {
        return -ENAMETOOLONG;
    }
    sqlite3_file *log = calloc(1, (size_t)vfs->szOsFile);
    if (!log) {
        return -ENOMEM;
    }
    int code = vfs->xAccess(vfs, path, SQLITE_ACCESS_EXISTS, &has_store);
    code = code == SQLITE_OK ? vfs->xAccess(vfs, name, SQLITE_ACCESS_EXISTS, &has_log) : code;
    int rc = code == SQLITE_OK && has_store && has_log
                 ? open_and_rewrite(vfs, name, lease_path, log)
                 : db_errno(code);
    free(log);
    return rc;
}
