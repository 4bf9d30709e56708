// SPDX-License-Identifier: MIT
// How late an event loop is: a timer that is due every LOOP_LAG_TICK_MS observes by how much it ran
// after its time, into the histogram sluice_loop_lag_seconds. That is what everything else on the
// loop waited for, too: behind a callback that computes, a process that got no CPU or was stopped.
// The loop's saturation, as USE has it; its utilisation is process_cpu_seconds_total.
#ifndef COMMON_LOOP_LAG_H
#define COMMON_LOOP_LAG_H

#include <uv.h>

// A stall that is longer is seen for certain, a shorter one with the share that it is of this. Ten
// turns of an idle loop a second are some 0.01 % of a core.
#define LOOP_LAG_TICK_MS 100

struct loop_lag;

// Begins to observe, and registers the metric; one loop of a process at a time. The timer does not
// keep the loop running. Returns 0 or -ENOMEM.
__attribute__((warn_unused_result)) int loop_lag_open(uv_loop_t *loop, struct loop_lag **ret_lag);

// Ends that; the memory goes when the loop has closed the timer. NULL is fine.
void loop_lag_close(struct loop_lag **lag);

#endif
