// SPDX-License-Identifier: MIT
// One run: a process with a log on a bad disk, its clients, its deaths and its restarts, all from
// one seed. It drives, and asks the model about everything it sees.
#ifndef QUEUE_SIM_RUN_H
#define QUEUE_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

// What all runs together came to, so that it can be seen that they came to everything.
struct run_counts {
    uint64_t frames, events, duplicates, full, failed, deaths, opens, refused_opens, flips,
        removals, holes, burials, lost, calls;
};

// Ends the process if a promise is broken.
void run_seed(uint64_t seed, bool trace, struct run_counts *counts);

#endif
