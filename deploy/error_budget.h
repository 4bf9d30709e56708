// SPDX-License-Identifier: MIT
// How fast a budget of bad requests (those that failed, or took long) is used up: counts of the last
// three days in two rings, and the four pairs of windows that Google's SRE workbook looks at
// ("Alerting on SLOs", multiwindow, multi-burn-rate). At burn rate 1 the budget lasts for its 30
// days. The long window says that it matters, the short one that it still goes on. Pure: counts and
// times in, rates out; 30 KB each, whatever happens.
//
// The rules of deploy/prometheus/slo.yml are the same; a test compares the numbers.
#ifndef DEPLOY_ERROR_BUDGET_H
#define DEPLOY_ERROR_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define ERROR_BUDGET_MINUTE_MS INT64_C(60000)
#define ERROR_BUDGET_HOUR_MS (60 * ERROR_BUDGET_MINUTE_MS)

// X(symbol, tenths of the burn rate, short window, long window, wait). With `wait` nothing is said
// until the counts reach back as far as the short window: what follows from days should not follow
// from the first minutes after a restart, which forgets everything.
#define ERROR_BUDGET_BURNS(X)                                                                      \
    X(FAST, 144, 5 * ERROR_BUDGET_MINUTE_MS, ERROR_BUDGET_HOUR_MS, false)                          \
    X(MEDIUM, 60, 30 * ERROR_BUDGET_MINUTE_MS, 6 * ERROR_BUDGET_HOUR_MS, false)                    \
    X(SLOW, 30, 2 * ERROR_BUDGET_HOUR_MS, 24 * ERROR_BUDGET_HOUR_MS, true)                         \
    X(STEADY, 10, 6 * ERROR_BUDGET_HOUR_MS, 72 * ERROR_BUDGET_HOUR_MS, true)

enum error_budget_burn {
#define X(symbol, tenths, short_ms, long_ms, wait) ERROR_BUDGET_##symbol,
    ERROR_BUDGET_BURNS(X)
#undef X
        ERROR_BUDGET_BURN_COUNT
};

#define ERROR_BUDGET_LEAST 20 // requests in a short window, below which it says nothing

struct error_budget_slot {
    int64_t number; // of its ring's slots since the clock began
    int64_t requests, bad;
};

#define ERROR_BUDGET_FINE_MS INT64_C(10000)
#define ERROR_BUDGET_FINE_SLOTS 360 // an hour
#define ERROR_BUDGET_COARSE_MS (5 * ERROR_BUDGET_MINUTE_MS)
#define ERROR_BUDGET_COARSE_SLOTS 864 // three days

struct error_budget {
    bool began;
    int64_t began_ms;                                           // of the first counts
    struct error_budget_slot fine[ERROR_BUDGET_FINE_SLOTS];     // for windows of up to an hour
    struct error_budget_slot coarse[ERROR_BUDGET_COARSE_SLOTS]; // for longer ones
};

// Counts requests, and the bad ones among them. Zero-initialised is empty. now_ms is monotonic.
void error_budget_add(struct error_budget *b, int64_t now_ms, int64_t requests, int64_t bad);

// Whether a budget of so many bad ones in a million requests is used up faster than at this burn
// rate. *ret_per_million: what both windows have at least; only written if it is.
bool error_budget_burns(const struct error_budget *b, enum error_budget_burn burn,
                        int64_t budget_per_million, int64_t now_ms, int64_t *ret_per_million);

#endif
