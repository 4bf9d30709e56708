// SPDX-License-Identifier: MIT
// The slowest requests of the last minutes, each with where its time went, for a look at them (the
// console). Kept apart from the traces (common/traces.h), where many errors or sampled requests push
// out an earlier slow one, and also when nothing is traced. Adding is two comparisons for a request
// that is not among them: no lock, no allocation, no system call. Zero-initialised it is empty; it
// holds no resources, and one thread uses it.
#ifndef GATEWAY_SLOW_REQUESTS_H
#define GATEWAY_SLOW_REQUESTS_H

#include "common/span.h"

#define SLOW_REQUESTS_MAX 10        // of each period, and of the list: what a person looks through
#define SLOW_REQUESTS_FLOOR_US 1000 // nothing faster is called slow
#define SLOW_REQUESTS_PERIOD_US 60000000
#define SLOW_REQUESTS_PERIODS 6 // the one that runs, and five whole minutes before it

// Of the minutes that go by, the slowest of each.
struct slow_period {
    int64_t number;   // of the period since the clock began
    size_t n;         // spans that are there
    int64_t least_us; // the fastest of them, once there is no room left
    struct span spans[SLOW_REQUESTS_MAX];
};

struct slow_requests {
    struct slow_period periods[SLOW_REQUESTS_PERIODS]; // each at its number modulo their count
};

// Takes a request that was answered at now_us (CLOCK_MONOTONIC, never less than in the call before);
// the span is copied if it is among the slowest of its period.
void slow_requests_add(struct slow_requests *s, const struct span *span, int64_t now_us);

// Appends {"requests":[...]}, at most SLOW_REQUESTS_MAX, the slowest first:
//     {"began_ms":wall clock,"trace_id":"...","request":"POST /v1/orders","status":201,
//      "instance":"orders-1" or "" when none had it,"whole_us":n,
//      "parts_us":{"gateway":n,"wait":n,"way":n,"queue":n,"handler":n,"store":n}}
// The parts are those of Server-Timing and add up to the whole: the gateway's own time, waiting for a
// worker, the way there and back, and the worker's queue, handler and store. Of a worker that did not
// answer, all that it had the request for is `unanswered`, in the place of the last four.
void slow_requests_write(const struct slow_requests *s, int64_t now_us, struct buf *json);

#endif
