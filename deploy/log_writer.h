// SPDX-License-Identifier: MIT
// The process that writes the log of `sluice up --detach`. The supervisor and all that it starts
// write into one pipe; this process reads it and appends whole lines to run/sluice.log, which it
// moves away and has compressed (log_file.h, log_archive.h). Nobody else touches those files, so a
// line is neither lost nor torn when one ends and the next begins, and a slow disk or a compression
// holds nobody up before the pipe is full.
//
//     supervisor, children --pipe--> log writer --> run/sluice.log
//                                        |fork, when one was moved away
//                                        +--> compression, at the lowest priority --> *.zst
//
// It ends when the last writer of the pipe has: after the supervisor, killed or not, and with what
// the others wrote while they drained. It holds run/children.lock until then, so that there is never
// a second one. If it is killed itself, the supervisor starts another one: the pipe, which the
// supervisor keeps open, has the lines of the meantime, and log_backlog.h what was read before.
#ifndef DEPLOY_LOG_WRITER_H
#define DEPLOY_LOG_WRITER_H

#include "deploy/services.h"

#include <uv.h>

#define LOG_WRITER_PIPE_BYTES (1024 * 1024) // asked for; what the kernel gives is enough
#define LOG_WRITER_LINE_BYTES (128 * 1024)  // what is longer than that is not one line
#define LOG_WRITER_GATHER_MS 5              // lines are gathered so long, to write many at once
#define LOG_WRITER_LOOK_MS 1000 // between looks at age, archives and whether the file was removed
#define LOG_WRITER_ARCHIVES_MS 10000 // between looks at archives, unless they changed
#define LOG_WRITER_SILENT_MS 10000   // from when on it does not write: it, or the disk, is stuck
#define LOG_WRITER_AGAIN_MS 200      // until one that ended is started again
#define LOG_WRITER_COMPRESS_AGAIN_MS 60000 // after a compression that failed

struct log_writer;

struct log_writer_options {
    const char *home;                       // borrowed, absolute
    const struct supervisor_config *config; // borrowed
    int children_fd;                        // lock that the process inherits
    int tell_fd; // kept open by the process that is started first, so that whoever waits for its end
                 // finds a complete log then; -1: none
};

// Makes the pipe, starts the process, and puts the pipe in the place of standard output and error.
// While there is one thread. Returns 0 or a negative errno.
__attribute__((warn_unused_result)) int log_writer_open(const struct log_writer_options *options,
                                                        struct log_writer **ret_writer);

// Starts it again from now on when it ends, and registers the metrics. Returns 0 or a negative
// errno.
__attribute__((warn_unused_result)) int log_writer_watch(struct log_writer *w, uv_loop_t *loop);

// Whether the log cannot be written: an errno (ETIMEDOUT: nobody writes it), or 0. w may be NULL.
int log_writer_trouble(const struct log_writer *w);

// Stops watching; the process goes on until everybody has ended. Memory goes when the loop has
// closed the handles.
void log_writer_close(struct log_writer **writer);

#endif
