// SPDX-License-Identifier: MIT
#include "deploy/error_budget.h"

#include <assert.h>

static const struct {
    int64_t tenths, short_ms, long_ms;
    bool wait;
} burns[ERROR_BUDGET_BURN_COUNT] = {
#define X(symbol, tenths, short_ms, long_ms, wait) { tenths, short_ms, long_ms, wait },
    ERROR_BUDGET_BURNS(X)
#undef X
};

static void add_to(struct error_budget_slot *ring, int64_t slots, int64_t number, int64_t requests,
                   int64_t bad)
{
    struct error_budget_slot *slot = &ring[number % slots];
    if (slot->number != number) {
        *slot = (struct error_budget_slot){ .number = number };
    }
    slot->requests += requests;
    slot->bad += bad;
}

void error_budget_add(struct error_budget *b, int64_t now_ms, int64_t requests, int64_t bad)
{
    assert(now_ms >= 0 && requests >= 0 && bad >= 0);
    if (!b->began) {
        b->began = true;
        b->began_ms = now_ms;
    }
    add_to(b->fine, ERROR_BUDGET_FINE_SLOTS, now_ms / ERROR_BUDGET_FINE_MS, requests, bad);
    add_to(b->coarse, ERROR_BUDGET_COARSE_SLOTS, now_ms / ERROR_BUDGET_COARSE_MS, requests, bad);
}

// Sums of the slots that a window reaches, the one that is being filled included.
static struct error_budget_slot sum(const struct error_budget *b, int64_t now_ms, int64_t window_ms)
{
    bool fine = window_ms <= ERROR_BUDGET_FINE_SLOTS * ERROR_BUDGET_FINE_MS;
    const struct error_budget_slot *ring = fine ? b->fine : b->coarse;
    int64_t slots = fine ? ERROR_BUDGET_FINE_SLOTS : ERROR_BUDGET_COARSE_SLOTS;
    int64_t slot_ms = fine ? ERROR_BUDGET_FINE_MS : ERROR_BUDGET_COARSE_MS;
    int64_t last = now_ms / slot_ms, first = last - window_ms / slot_ms;
    struct error_budget_slot all = { .number = 0 };
    assert(window_ms / slot_ms <= slots);
    for (int64_t i = 0; i < slots; i++) {
        if (ring[i].number > first && ring[i].number <= last) {
            all.requests += ring[i].requests;
            all.bad += ring[i].bad;
        }
    }
    return all;
}

static int64_t per_million(const struct error_budget_slot *s)
{
    return s->requests > 0 ? 1000000 * s->bad / s->requests : 0;
}

bool error_budget_burns(const struct error_budget *b, enum error_budget_burn burn,
                        int64_t budget_per_million, int64_t now_ms, int64_t *ret_per_million)
{
    assert(burn < ERROR_BUDGET_BURN_COUNT);
    if (!b->began || (burns[burn].wait && now_ms - b->began_ms < burns[burn].short_ms)) {
        return false;
    }
    struct error_budget_slot near = sum(b, now_ms, burns[burn].short_ms);
    struct error_budget_slot far = sum(b, now_ms, burns[burn].long_ms);
    if (near.requests < ERROR_BUDGET_LEAST) {
        return false;
    }
    int64_t least = per_million(&near) < per_million(&far) ? per_million(&near) : per_million(&far);
    if (10 * least <= burns[burn].tenths * budget_per_million) {
        return false;
    }
    *ret_per_million = least;
    return true;
}
