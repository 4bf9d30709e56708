// SPDX-License-Identifier: MIT
// Where the time of a request went, hop by hop: put together once for each answer, of times that
// were taken anyway, and said twice, in the answer's Server-Timing and in the access log.
#ifndef GATEWAY_HOP_TIMES_H
#define GATEWAY_HOP_TIMES_H

#include "gateway/balancer.h"
#include "proto/buf.h"
#include "proto/frames.h"

// X(symbol, name). Together they are the time from the complete request to the answer.
#define HOPS(X)                                                                                    \
    X(GATEWAY, "gateway") /* reading, checking and answering, at the gateway */                    \
    X(QUEUE, "queue")     /* waiting: for a worker, and for its turn at the worker */              \
    X(WIRE, "wire")       /* on the way there and back; of no answer, all that it was away */      \
    X(WORKER, "worker")   /* the handler */                                                        \
    X(STORE, "store")     /* the store: its queries, the wait for its turn, the commit */

enum hop {
#define X(symbol, name) HOP_##symbol,
    HOPS(X)
#undef X
        HOPS_COUNT
};

#define HOP_NOT_REACHED (-1)

struct hop_times {
    int64_t us[HOPS_COUNT]; // HOP_NOT_REACHED, or microseconds, not negative
};

// The times of a request that was complete at started_us (monotonic), went through job, and is
// answered at now_us with what reply says; reply is NULL when no worker answered, and a job that was
// never submitted (submitted_us 0) leaves the gateway alone.
void hop_times_of(struct hop_times *h, int64_t started_us, const struct job *job,
                  const struct frame_reply *reply, int64_t now_us);

// Appends "NAME;dur=MILLISECONDS" of the hops that were reached, separated by commas (Server-Timing,
// https://www.w3.org/TR/server-timing/).
void hop_times_write(const struct hop_times *h, struct buf *b);

#endif
