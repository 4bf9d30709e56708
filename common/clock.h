// SPDX-License-Identifier: MIT
// The two clocks. Deadlines, leases and timings use the monotonic one; only times that people or
// events see use the wall clock.
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

int64_t clock_mono_us(void); // CLOCK_MONOTONIC, microseconds
int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); // CLOCK_REALTIME, milliseconds since the epoch
int64_t clock_wall_us(void);

#endif
