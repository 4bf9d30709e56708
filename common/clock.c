// SPDX-License-Identifier: MIT
// clock_gettime(2) in the units that this suite counts in. It goes through the vDSO: no system
// call.
#include "common/clock.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

static int64_t now_us(clockid_t which)
{
    struct timespec t;
    int failed = clock_gettime(which, &t);
    assert(failed == 0); // both clocks exist on every Linux
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_wall_ms(void)
{
    return now_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_wall_us(void)
{
    return now_us(CLOCK_REALTIME);
}

static int64_t first_wall_ms, first_boot_ms;

static void note_first(void)
{
    first_wall_ms = clock_wall_ms();
    first_boot_ms = now_us(CLOCK_BOOTTIME) / 1000; // goes on while the machine sleeps
}

int64_t clock_aging_ms(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, note_first); // cannot fail
    int64_t passed = first_wall_ms + now_us(CLOCK_BOOTTIME) / 1000 - first_boot_ms;
    int64_t wall = clock_wall_ms();
    return wall < passed ? wall : passed;
}
