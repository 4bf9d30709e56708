// SPDX-License-Identifier: MIT
// What is behind `sluice log-level`: asks processes for their log levels, or sets others, by their
// admin sockets, and has the fleet remember them for processes that are started later, for as long
// as the supervisor runs. One question at a time.
#ifndef DEPLOY_LOG_LEVELS_H
#define DEPLOY_LOG_LEVELS_H

#include "deploy/fleet.h"

#define LOG_LEVELS_PARALLEL 8    // processes asked at once
#define LOG_LEVELS_FETCH_MS 2000 // for one answer
#define LOG_LEVELS_AGAIN_MS 50   // until a process that does not answer is asked again
#define LOG_LEVELS_WAIT_MS 5000  // and so on, for this long: it may be starting
#define LOG_LEVELS_ERROR_BYTES                                                                     \
    2048 // what there is, in a sentence: a service has at most 64 instances

struct log_levels;

__attribute__((warn_unused_result)) int log_levels_open(uv_loop_t *loop, struct fleet *fleet,
                                                        const char *home,
                                                        struct log_levels **ret_levels);

// of: "all", a service, an instance, or "supervisor"; NULL is all. level: a name, or NULL to ask
// only. Returns 0, and calls done once, later, with the member "levels" of a JSON object: an array
// with "instance" and either "level" or "error" of each process; or -EINVAL or -EBUSY, with a
// sentence in error. of and level are not used after the return.
__attribute__((warn_unused_result)) int log_levels_ask(struct log_levels *l, const char *of,
                                                       const char *level,
                                                       void (*done)(struct str json, void *data),
                                                       void *data,
                                                       char error[LOG_LEVELS_ERROR_BYTES]);

// Stops, without calling done; memory goes when the loop has closed the handles.
void log_levels_close(struct log_levels **levels);

#endif
