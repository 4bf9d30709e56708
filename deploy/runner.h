// SPDX-License-Identifier: MIT
// Runs one program at a time, with a text on its standard input and a bounded time, and tells how
// it ended. It is ended with its whole process group when its time is over, and by the kernel when
// the supervisor dies.
#ifndef DEPLOY_RUNNER_H
#define DEPLOY_RUNNER_H

#include "proto/str.h"

#include <uv.h>

#define RUNNER_LIMIT_MS 15000 // a program that tells somebody something has time for a slow network

struct runner;

// status is the exit status; 128 + the signal that ended it; or a negative errno: -ETIMEDOUT.
typedef void runner_done_fn(int status, void *data);

__attribute__((warn_unused_result)) int runner_open(uv_loop_t *loop, runner_done_fn *done,
                                                    void *data, struct runner **ret_runner);

// Starts a program (found by PATH if its name has no slash) with arguments, ended by NULL, of which
// the first is its name; environment: name, value pairs, ended by NULL, besides the supervisor's
// own. Nothing runs yet. Everything is borrowed for the call. done is called later. Returns 0 or a
// negative errno.
__attribute__((warn_unused_result)) int runner_start(struct runner *r,
                                                     const char *const arguments[],
                                                     const char *const environment[],
                                                     struct str input);

// Kills what runs; done is not called. Memory goes when the loop has closed the handles.
void runner_close(struct runner **runner);

#endif
