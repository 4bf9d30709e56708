// SPDX-License-Identifier: MIT
#include "services/tap/pace.h"

#include <errno.h>

#include "common/clock.h"

void pace_begin(struct pace *p, int64_t rate)
{
    *p = (struct pace){ .rate = rate, .begun_us = clock_mono_us() };
}

static int wait_until(struct tap *t, struct batch *batch, int64_t due_us)
{
    int64_t left_ms = (due_us - clock_mono_us() + 999) / 1000;
    if (left_ms <= 0) {
        return TAP_OK;
    }
    int status = batch ? batch_send(batch) : TAP_OK;
    int rc = status ? 0 : tap_wait(t, NULL, left_ms);
    return status ? status : rc == -ETIMEDOUT ? TAP_OK : tap_waited(t, rc);
}

int pace_wait(struct pace *p, struct tap *t, struct batch *batch)
{
    if (p->rate == 0) {
        return TAP_OK;
    }
    int64_t due = p->begun_us + (int64_t)(p->n / (uint64_t)p->rate) * 1000000 +
                  (int64_t)(p->n % (uint64_t)p->rate) * 1000000 / p->rate;
    p->n++;
    return wait_until(t, batch, due);
}

int pace_wait_original(struct pace *p, struct tap *t, struct batch *batch, int64_t stored_ms)
{
    p->first_ms = p->first_ms ? p->first_ms : stored_ms;
    return wait_until(t, batch, p->begun_us + (stored_ms - p->first_ms) * 1000);
}
