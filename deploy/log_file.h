// SPDX-License-Identifier: MIT
// A log in flat files, of which one process at a time is the writer: NAME is written to, and when it
// is large or old it is moved away, to NAME.20261127T114307.123Z, and a new NAME begins. Whoever
// compresses such an archive (log_archive.h) puts NAME.20261127T114307.123Z.zst in its place. The
// oldest archives go when there are too many. Names sort by time, even if the clock was set back.
//
// A line is written as a whole or not at all, also on a full disk, and is in one file. What a crash
// leaves of a move (an empty NAME.new), of a write (a line without its end) or of a compression (*.tmp, or an archive in both forms) is
// put in order by the next log_file_open().
#ifndef DEPLOY_LOG_FILE_H
#define DEPLOY_LOG_FILE_H

#include "proto/str.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_FILE_STAMP 20           // "20261127T114307.123Z"
#define LOG_FILE_NAME_SIZE 64       // of NAME with what is appended to it
#define LOG_FILE_MAX_ARCHIVES 16384 // looked at; above the largest SLUICE_LOG_KEEP_FILES
#define LOG_FILE_TORN_BYTES 16384   // how long a line is at most of which a crash has left a part
#define LOG_FILE_RETRY_MS 10000     // after a move that failed; the file grows meanwhile

struct log_file_limits {
    int64_t rotate_bytes;  // NAME is moved away before it would become larger, unless one line is
    int64_t rotate_age_ms; // or when it is older than this and not empty; 0: it may be
    int64_t keep_files;    // archives, at least 1
    int64_t keep_bytes;    // of all archives; the newest one stays in any case
};

struct log_file {
    struct log_file_limits limits;
    const char *name; // borrowed
    int dir_fd;
    int fd;       // of NAME, for appending; -1: it cannot be opened
    dev_t device; // of it
    ino_t inode;
    int64_t born_ms;  // wall time
    int64_t retry_ms; // wall time before which no other move is tried
};

// What is there besides NAME.
struct log_file_archives {
    int64_t files, bytes;
    bool has_raw;                    // one is not compressed yet:
    char raw[LOG_FILE_NAME_SIZE];    // the oldest of them
    char newest[LOG_FILE_STAMP + 1]; // the stamp of the newest; "": there is none
};

// Opens NAME in the directory, and makes it (0600) if it is not there. name is borrowed. Returns 0,
// or a negative errno: then f is not to be closed.
__attribute__((warn_unused_result)) int log_file_open(const char *directory, const char *name,
                                                      const struct log_file_limits *limits,
                                                      int64_t now_ms, struct log_file *f);

// Appends lines, each with its newline, as many as NAME may take; the caller moves the file away if
// *ret_written is less than all, and calls again for the rest. Returns 0, or a negative errno: then
// the first *ret_written bytes, which are whole lines, are in the file and nothing of the others.
__attribute__((warn_unused_result)) int log_file_append(struct log_file *f, struct str lines,
                                                        size_t *ret_written);

// Whether it is time to move NAME away, for its age or as somebody else made it too large.
bool log_file_is_due(struct log_file *f, int64_t now_ms);

// Moves NAME away and begins a new one. Returns 0, or a negative errno: then NAME is written to as
// before, however large it is, and log_file_is_due() says no for LOG_FILE_RETRY_MS.
__attribute__((warn_unused_result)) int log_file_rotate(struct log_file *f, int64_t now_ms);

// Opens NAME anew if it is not what is written to any more: somebody removed or moved it. Returns 1
// if it did that, 0 if all is well, or a negative errno.
__attribute__((warn_unused_result)) int log_file_follow(struct log_file *f, int64_t now_ms);

// Removes archives over the limits, the oldest first, and tells of what is left. Returns how many
// it removed, or a negative errno (with the first failure; others are removed nevertheless).
__attribute__((warn_unused_result)) int log_file_prune(struct log_file *f,
                                                       struct log_file_archives *ret_archives);

// What log_file_open() does about what crashes have left. While nobody compresses.
void log_file_put_in_order(struct log_file *f);

void log_file_close(struct log_file *f);

#endif
