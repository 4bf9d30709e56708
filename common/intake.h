// SPDX-License-Identifier: MIT
// Calls that have arrived and wait for the loop, a queue for each class. The loop takes them a slice
// of time at a time and looks at its sockets in between, so that it knows when a request arrived even
// if others are before it, hears of those that nobody wants any more, and answers pings.
//
// Writes and computing go first: they only pass through here, and then keep other threads at work.
#ifndef COMMON_INTAKE_H
#define COMMON_INTAKE_H

#include "proto/frames.h"

#include <stdbool.h>
#include <uv.h>

#define INTAKE_SLICE_US 500 // calls run so long before the loop looks at its sockets again

struct call;
struct intake;

// run begins one call; it may finish at once.
__attribute__((warn_unused_result)) int intake_open(uv_loop_t *loop, void (*run)(struct call *c),
                                                    struct intake **ret_intake);

// Runs the call now, or when those before it have had their turn. now_us: its arrival.
void intake_put(struct intake *i, struct call *c, enum frame_class class, int64_t now_us);

// Takes what is above the first `keep` of a class out again; they are linked by next_waiting, oldest
// first. NULL: nothing is above.
struct call *intake_cut(struct intake *i, enum frame_class class, uint32_t keep);

// Calls that are still in it are forgotten.
void intake_close(struct intake **i);

#endif
