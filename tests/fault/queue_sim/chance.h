// SPDX-License-Identifier: MIT
// What is left to chance in a simulated run: numbers that follow from the seed alone.
#ifndef QUEUE_SIM_CHANCE_H
#define QUEUE_SIM_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

struct chance {
    uint64_t state; // any; splitmix64 makes something of every seed
};

uint64_t chance_next(struct chance *c);

// From 0 to n - 1; n is not 0.
uint64_t chance_below(struct chance *c, uint64_t n);

// True n times in a thousand.
bool chance_in_1000(struct chance *c, uint32_t n);

#endif
