// SPDX-License-Identifier: MIT
// How many requests may be sent again after their worker was lost: a share of the recent ones, so
// that retries cannot multiply the load while everything falls over, and a small number always.
#ifndef GATEWAY_RETRY_BUDGET_H
#define GATEWAY_RETRY_BUDGET_H

#include "gateway/limits.h"

#include <stdbool.h>
#include <stdint.h>

// Counts of this window of RETRY_WINDOW_MS and the one before.
struct retry_budget {
    int64_t window;       // number of the window
    uint64_t requests[2]; // [0] this one, [1] the one before
    uint64_t retries[2];
};

void retry_budget_request(struct retry_budget *b, int64_t now_ms);

// Takes one retry out of the budget; false when it is used up.
bool retry_budget_take(struct retry_budget *b, int64_t now_ms);

#endif
