// SPDX-License-Identifier: MIT
// The two clocks. Deadlines, leases and timings use the monotonic one; only times that people or
// events see use the wall clock, which may jump at any time.
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

int64_t clock_mono_us(void); // CLOCK_MONOTONIC, microseconds
int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); // CLOCK_REALTIME, milliseconds since the epoch
int64_t clock_wall_us(void);

// The wall clock for judging how old something is that is then thrown away, in milliseconds: it never
// runs ahead of what it was at the first call in this process plus the time that has passed since, so
// when the clock jumps forward nothing grows old by it. Until the process ends, what it judges is
// kept longer, if the clock had been slow before. Thread-safe.
int64_t clock_aging_ms(void);

#endif
