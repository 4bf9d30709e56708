// SPDX-License-Identifier: MIT
#include "common/limiter.h"

#include <assert.h>

void limiter_init(struct limiter *l, uint32_t max, enum limiter_kind kind)
{
    assert(max > 0);
    *l = (struct limiter){
        .limit = max < LIMITER_START ? max : LIMITER_START, .max = max, .kind = kind, .sharers = 1
    };
}

static uint32_t clamp(const struct limiter *l, uint64_t limit)
{
    uint64_t min = LIMITER_MIN < l->max ? LIMITER_MIN : l->max;
    return (uint32_t)(limit < min ? min : limit > l->max ? l->max : limit);
}

// Little's law says which number fits: what was there, scaled by how much too long it took. At most
// half is taken away at once, so that a hiccup of the machine costs little.
static uint32_t lowered(const struct limiter *l, int64_t whole_us, int64_t allowed_us)
{
    uint64_t there = l->peak < l->limit ? l->peak : l->limit;
    uint64_t fits = there * (uint64_t)allowed_us / (uint64_t)whole_us;
    return clamp(l, fits < l->limit / 2 ? l->limit / 2 : fits);
}

static uint32_t raised(const struct limiter *l, int64_t whole_us, int64_t allowed_us)
{
    bool far = whole_us < allowed_us / 4;
    uint64_t step = far ? l->limit / 2 : l->limit / 8;
    return clamp(l, (uint64_t)l->limit + (step ? step : 1));
}

static uint32_t judge(const struct limiter *l)
{
    int64_t whole_us = l->whole_us / l->n;
    int64_t service_us = l->kind == LIMITER_BATCHED ? l->service_us : l->service_us / l->n;
    int64_t allowed_us = LIMITER_FACTOR * service_us;
    allowed_us = allowed_us > LIMITER_TARGET_US ? allowed_us : LIMITER_TARGET_US;
    if (whole_us > allowed_us) {
        return lowered(l, whole_us, allowed_us);
    }
    bool reached = (uint64_t)l->peak * l->sharers >= l->limit;
    int64_t fits = l->kind == LIMITER_SERIAL ? allowed_us / (service_us ? service_us : 1) : 0;
    if (reached || l->limit < fits) {
        return raised(l, whole_us, allowed_us);
    }
    int64_t home = fits > LIMITER_START ? fits : LIMITER_START;
    int step = (l->limit < home) - (l->limit > home);
    return clamp(l, (uint64_t)((int64_t)l->limit + step));
}

bool limiter_finish(struct limiter *l, int64_t whole_us, int64_t service_us, int64_t now_us)
{
    l->whole_us += whole_us;
    if (l->kind != LIMITER_BATCHED) {
        l->service_us += service_us;
    } else if (l->n == 0 || service_us < l->service_us) {
        l->service_us = service_us;
    }
    l->n++;
    if (now_us - l->begin_us < LIMITER_WINDOW_US) {
        return false;
    }
    uint32_t before = l->limit;
    l->limit = judge(l);
    l->begin_us = now_us;
    l->n = l->peak = 0;
    l->whole_us = l->service_us = 0;
    assert(l->limit > 0 && l->limit <= l->max);
    return l->limit != before;
}
