// SPDX-License-Identifier: MIT
#include "common/loop_lag.h"

#include "common/clock.h"
#include "common/metrics.h"

#include <errno.h>
#include <stdlib.h>

struct loop_lag {
    uv_timer_t timer;
    uint64_t due_ms; // loop time, which is that of the monotonic clock
    struct metric late;
};

static void on_tick(uv_timer_t *timer);

// Not a repeating timer: after a stall it would be due in the past, and count one more.
static void arm(struct loop_lag *l)
{
    l->due_ms = uv_now(l->timer.loop) + LOOP_LAG_TICK_MS;
    (void)uv_timer_start(&l->timer, on_tick, LOOP_LAG_TICK_MS, 0); // fails without callback only
}

static void on_tick(uv_timer_t *timer)
{
    struct loop_lag *l = timer->data;
    metric_observe_us(&l->late, clock_mono_us() - (int64_t)l->due_ms * 1000);
    arm(l);
}

int loop_lag_open(uv_loop_t *loop, struct loop_lag **ret_lag)
{
    struct loop_lag *l = calloc(1, sizeof *l);
    if (!l) {
        return -ENOMEM;
    }
    l->late = (struct metric)METRIC_HISTOGRAM_INIT(
        "sluice_loop_lag_seconds",
        "How much after its time the event loop ran a timer that is due every 100 ms.", NULL);
    metrics_register(&l->late);
    (void)uv_timer_init(loop, &l->timer); // cannot fail
    l->timer.data = l;
    uv_unref((uv_handle_t *)&l->timer);
    arm(l);
    *ret_lag = l;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void loop_lag_close(struct loop_lag **lag)
{
    struct loop_lag *l = *lag;
    *lag = NULL;
    if (l) {
        metrics_unregister(&l->late);
        uv_close((uv_handle_t *)&l->timer, on_closed);
    }
}
