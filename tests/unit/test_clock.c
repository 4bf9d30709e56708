// SPDX-License-Identifier: MIT
// The clocks are the right ones, in the right units.
#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

static int64_t kernel_us(clockid_t which)
{
    struct timespec t;
    assert_int_equal(clock_gettime(which, &t), 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void assert_between(int64_t low, int64_t value, int64_t high)
{
    assert_true(low <= value);
    assert_true(value <= high);
}

static void test_monotonic(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        int64_t before = kernel_us(CLOCK_MONOTONIC);
        int64_t us = clock_mono_us();
        int64_t ms = clock_mono_ms();
        int64_t after = kernel_us(CLOCK_MONOTONIC);
        assert_between(before, us, after);
        assert_between(before / 1000, ms, after / 1000);
    }
}

static void test_wall(void **state)
{
    (void)state;
    int64_t before = kernel_us(CLOCK_REALTIME);
    int64_t us = clock_wall_us();
    int64_t ms = clock_wall_ms();
    int64_t after = kernel_us(CLOCK_REALTIME);
    assert_between(before, us, after);
    assert_between(before / 1000, ms, after / 1000);
}

static void test_aging(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        int64_t before = clock_wall_ms();
        int64_t ms = clock_aging_ms();
        assert_between(before - 2, ms, clock_wall_ms()); // they are rounded each by itself
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic),
        cmocka_unit_test(test_wall),
        cmocka_unit_test(test_aging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
