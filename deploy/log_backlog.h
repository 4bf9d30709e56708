// SPDX-License-Identifier: MIT
// Lines that the log writer has read from its pipe and that are not in the log yet, in memory that
// outlives it: the supervisor has the same mapping, and whoever is started after a writer that was
// killed goes on at the very byte. No line is lost, torn or written twice, whatever the instruction
// at which the writer was killed. (A power cut ends all of it; see docs/logs.md.)
//
//     bytes:  | in the log | to be written |  zeros   |
//             0          from             end      capacity
//
// Two moments cannot be one instruction with what they belong to, and are put in order afterwards:
// * Bytes were read, and `end` has not moved: everything behind the end is zero, so they are found.
// * Bytes were written, and `from` has not moved: the file's size before is noted before each write,
//   so what it has grown by is known.
//
// One process at a time uses it.
#ifndef DEPLOY_LOG_BACKLOG_H
#define DEPLOY_LOG_BACKLOG_H

#include "deploy/log_file.h"
#include "proto/str.h"

#include <stddef.h>
#include <stdint.h>

// More than the pipe has (log_writer.h), and a line that is not complete.
#define LOG_BACKLOG_BYTES (1280 * 1024)

// All zero in the beginning, as a new mapping is.
struct log_backlog {
    _Atomic uint64_t range; // from in the upper half, end in the lower one: they change together
    _Atomic int64_t size;   // of the file before the write that is going on, plus 1; 0: none is
    dev_t device;           // of that file
    ino_t inode;
    uint32_t from; // at the begin of that write
    char bytes[LOG_BACKLOG_BYTES];
};

// What is to be written; it may end in the middle of a line. Borrowed, until the next call.
struct str log_backlog_content(const struct log_backlog *b);

// Where to read to, and how much at most: at least LOG_BACKLOG_BYTES / 2 while the content is not
// longer than a quarter of it. Then log_backlog_add() with what was read.
char *log_backlog_room(struct log_backlog *b, size_t *ret_room);
void log_backlog_add(struct log_backlog *b, size_t n);

// Before and after content is appended to the file: n bytes of it, from its begin, are there, or are
// given up.
void log_backlog_begin_write(struct log_backlog *b, const struct log_file *f);
void log_backlog_end_write(struct log_backlog *b, size_t n);

// Of a process that begins: puts in order what the one before it left. f was opened by
// log_file_open(), which has cut off what was left of half a line.
void log_backlog_resume(struct log_backlog *b, const struct log_file *f);

#endif
