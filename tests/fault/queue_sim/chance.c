// SPDX-License-Identifier: MIT
#include "tests/fault/queue_sim/chance.h"

#include <assert.h>

uint64_t chance_next(struct chance *c)
{
    uint64_t z = c->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t chance_below(struct chance *c, uint64_t n)
{
    assert(n > 0);
    return chance_next(c) % n; // the bias does not matter here
}

bool chance_in_1000(struct chance *c, uint32_t n)
{
    return n > 0 && chance_below(c, 1000) < n;
}
