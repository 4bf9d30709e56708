// SPDX-License-Identifier: MIT
// See backoff.h. No clock of its own: the caller says how long the process was ready.
#include "deploy/backoff.h"

#include <assert.h>

static unsigned remaining_failures(const struct backoff *b, int64_t ready_ms)
{
    int64_t forgiven = ready_ms > 0 ? ready_ms / BACKOFF_FORGIVE_MS : 0;
    return forgiven >= b->failures ? 0 : b->failures - (unsigned)forgiven;
}

int64_t backoff_failed(struct backoff *b, int64_t ready_ms)
{
    assert(b->failures <= BACKOFF_MAX_FAILURES);
    b->failures = remaining_failures(b, ready_ms);
    int64_t max_ms = ready_ms < 0 ? BACKOFF_MAX_MS : BACKOFF_MAX_READY_MS;
    int64_t delay_ms = (int64_t)BACKOFF_FIRST_MS << b->failures;
    if (b->failures < BACKOFF_MAX_FAILURES) {
        b->failures++;
    }
    return delay_ms < max_ms ? delay_ms : max_ms;
}

bool backoff_is_crash_loop(const struct backoff *b, int64_t ready_ms)
{
    return remaining_failures(b, ready_ms) >= BACKOFF_CRASH_LOOP;
}
