// SPDX-License-Identifier: MIT
// Keeps a speed: so many events a second, or with the pauses of a recording.
#ifndef TAP_PACE_H
#define TAP_PACE_H

#include "services/tap/batch.h"

struct pace {
    int64_t rate;         // events a second; 0: no limit
    int64_t begun_us;
    uint64_t n;           // events so far
    int64_t first_ms;     // time of the first event of a recording; 0: none was yet
};

void pace_begin(struct pace *p, int64_t rate);

// Waits until the next event may go. What the batch (may be NULL) has gathered is sent before a
// pause. TAP_OK, or the exit status.
__attribute__((warn_unused_result)) int pace_wait(struct pace *p, struct tap *t, struct batch *batch);

// Waits until as much time has gone by since the first call as there was between the events.
__attribute__((warn_unused_result)) int pace_wait_original(struct pace *p, struct tap *t,
                                                           struct batch *batch, int64_t stored_ms);

#endif
