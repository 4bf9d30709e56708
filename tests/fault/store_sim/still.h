// SPDX-License-Identifier: MIT
// Makes a process run the same way each time: its clocks and timers are the world's, its random
// numbers follow from the seed, the thread that writes the store runs only while the loop's thread
// waits for it, and there are no pool threads.
#ifndef STORE_SIM_STILL_H
#define STORE_SIM_STILL_H

#include "tests/fault/store_sim/world.h"

// Before anything else of a life.
void still_begin(struct world *w, int wal_factor);

// The store's writer thread was started.
bool still_has_writer(void);

// Lets it do what it has to do, until it waits again or ends.
void still_write(void);

// Does what was given to pool threads meanwhile, in that order, and tells whoever gave it.
void still_compute(void);

// Time goes on, and timers run.
void still_pass(int64_t us);

#endif
