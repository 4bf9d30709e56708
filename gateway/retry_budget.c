// SPDX-License-Identifier: MIT
#include "gateway/retry_budget.h"

static void turn(struct retry_budget *b, int64_t now_ms)
{
    int64_t window = now_ms / RETRY_WINDOW_MS;
    if (window == b->window) {
        return;
    }
    bool next = window == b->window + 1;
    b->requests[1] = next ? b->requests[0] : 0;
    b->retries[1] = next ? b->retries[0] : 0;
    b->requests[0] = b->retries[0] = 0;
    b->window = window;
}

void retry_budget_request(struct retry_budget *b, int64_t now_ms)
{
    turn(b, now_ms);
    b->requests[0]++;
}

bool retry_budget_take(struct retry_budget *b, int64_t now_ms)
{
    turn(b, now_ms);
    uint64_t share = (b->requests[0] + b->requests[1]) * RETRY_PERCENT / 100;
    uint64_t allowed = share > RETRY_FLOOR ? share : RETRY_FLOOR;
    if (b->retries[0] + b->retries[1] >= allowed) {
        return false;
    }
    b->retries[0]++;
    return true;
}
