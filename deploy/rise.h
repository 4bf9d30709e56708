// SPDX-License-Identifier: MIT
// Whether a counter has risen lately: what Prometheus asks with increase(x[5m]) > 0, from one value
// after the other. Pure.
#ifndef DEPLOY_RISE_H
#define DEPLOY_RISE_H

#include <stdbool.h>
#include <stdint.h>

// Zero-initialised: a counter that begins at 0.
struct rise {
    int64_t value;
    bool risen;      // it has ever
    int64_t rose_ms; // monotonic, when it did last
    int64_t by;      // that time
};

// Takes the value that the counter has now. A smaller one than before is that of a process that was
// started again, whose counters begin at 0.
void rise_note(struct rise *r, int64_t value, int64_t now_ms);

// The process was started again: its counters begin at 0, though they may be as large as before when
// they are read next.
void rise_restart(struct rise *r);

// Takes the value as the one to begin with, for a counter whose beginning was not seen.
void rise_begin_at(struct rise *r, int64_t value);

// By how much it rose when it did last; 0: that is longer ago than window_ms, or it never did.
int64_t rise_within(const struct rise *r, int64_t window_ms, int64_t now_ms);

#endif
