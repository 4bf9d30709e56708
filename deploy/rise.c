// SPDX-License-Identifier: MIT
#include "deploy/rise.h"

#include <assert.h>

void rise_note(struct rise *r, int64_t value, int64_t now_ms)
{
    int64_t before = value < r->value ? 0 : r->value;
    if (value > before) {
        r->risen = true;
        r->rose_ms = now_ms;
        r->by = value - before;
    }
    r->value = value;
}

void rise_restart(struct rise *r)
{
    r->value = 0; // that it rose before the restart stays true
}

void rise_begin_at(struct rise *r, int64_t value)
{
    *r = (struct rise){ .value = value };
}

int64_t rise_within(const struct rise *r, int64_t window_ms, int64_t now_ms)
{
    assert(window_ms > 0);
    return r->risen && now_ms - r->rose_ms < window_ms ? r->by : 0;
}
