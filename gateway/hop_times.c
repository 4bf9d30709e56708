// SPDX-License-Identifier: MIT
#include "gateway/hop_times.h"

#include <assert.h>

static const struct str names[HOPS_COUNT] = {
#define X(symbol, name) STR_INIT(name),
    HOPS(X)
#undef X
};

void hop_times_of(struct hop_times *h, int64_t started_us, const struct job *job,
                  const struct frame_reply *reply, int64_t now_us)
{
    assert(!reply || job->submitted_us);
    int64_t wait = job_wait_us(job, now_us), away = job_away_us(job, now_us);
    for (int i = 0; i < HOPS_COUNT; i++) {
        h->us[i] = HOP_NOT_REACHED;
    }
    h->us[HOP_GATEWAY] = now_us - started_us - wait - away;
    if (job->submitted_us) {
        h->us[HOP_QUEUE] = wait;
        h->us[HOP_WIRE] = away;
    }
    if (reply) {
        h->us[HOP_QUEUE] += reply->queue_us;
        h->us[HOP_WIRE] -= (int64_t)reply->queue_us + reply->handler_us + reply->store_us;
        h->us[HOP_WORKER] = reply->handler_us;
        h->us[HOP_STORE] = reply->store_us;
    }
    // What a worker says of itself may come to more than it was away, by rounding or by a mistake of it.
    if (reply && h->us[HOP_WIRE] < 0) {
        h->us[HOP_WIRE] = 0;
    }
    assert(h->us[HOP_GATEWAY] >= 0); // of one clock, which goes forward alone
}

void hop_times_write(const struct hop_times *h, struct buf *b)
{
    for (int i = 0; i < HOPS_COUNT; i++) {
        if (h->us[i] == HOP_NOT_REACHED) {
            continue;
        }
        uint64_t us = (uint64_t)h->us[i];
        buf_append_z(b, i ? ", " : "");
        buf_append_str(b, names[i]);
        buf_append_z(b, ";dur=");
        buf_append_decimal(b, us / 1000, 1);
        buf_append(b, ".", 1);
        buf_append_decimal(b, us % 1000, 3);
    }
}
