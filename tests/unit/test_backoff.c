// SPDX-License-Identifier: MIT
// A process that dies is started again soon at first, then ever more slowly, never more slowly than the maximum, and
// a healthy one is forgiven.
#include "deploy/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NEVER_READY (-1)

static void test_doubles_up_to_the_maximum(void **state)
{
    (void)state;
    static const int64_t expected_ms[] = { 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000 };
    struct backoff b = { 0 };
    for (size_t i = 0; i < sizeof expected_ms / sizeof *expected_ms; i++) {
        assert_int_equal(backoff_failed(&b, NEVER_READY), expected_ms[i]);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(backoff_failed(&b, NEVER_READY), BACKOFF_MAX_MS);
    }
}

static void test_was_ready_waits_a_second_at_most(void **state)
{
    (void)state;
    struct backoff b = { 0 };
    for (int i = 0; i < 100; i++) {
        assert_true(backoff_failed(&b, 0) <= BACKOFF_MAX_READY_MS);
    }
    assert_int_equal(backoff_failed(&b, 0), BACKOFF_MAX_READY_MS);
    assert_int_equal(backoff_failed(&b, NEVER_READY), BACKOFF_MAX_MS);
}

static void test_each_second_forgives_one(void **state)
{
    (void)state;
    struct backoff b = { 0 };
    for (int i = 0; i < 4; i++) {
        (void)backoff_failed(&b, NEVER_READY);
    }
    assert_int_equal(b.failures, 4);
    assert_int_equal(backoff_failed(&b, BACKOFF_FORGIVE_MS - 1), 800); // not a second yet
    assert_int_equal(backoff_failed(&b, 2 * BACKOFF_FORGIVE_MS), 400); // 5 - 2 = 3 failures
    assert_int_equal(b.failures, 4);
}

static void test_ten_seconds_are_a_fresh_start(void **state)
{
    (void)state;
    struct backoff b = { 0 };
    for (int i = 0; i < 1000; i++) {
        (void)backoff_failed(&b, NEVER_READY);
    }
    assert_int_equal(backoff_failed(&b, 10000), BACKOFF_FIRST_MS);
    assert_int_equal(b.failures, 1);
    assert_int_equal(backoff_failed(&b, INT64_MAX), BACKOFF_FIRST_MS);
}

// One that is killed again and again, but lives for a while in between, is back at once each time.
static void test_killed_every_two_seconds(void **state)
{
    (void)state;
    struct backoff b = { 0 };
    for (int i = 0; i < 20; i++) {
        assert_true(backoff_failed(&b, 2000) <= BACKOFF_FIRST_MS);
        assert_false(backoff_is_crash_loop(&b, NEVER_READY));
    }
}

static void test_crash_loop(void **state)
{
    (void)state;
    struct backoff b = { 0 };
    for (int i = 0; i < BACKOFF_CRASH_LOOP; i++) {
        assert_false(backoff_is_crash_loop(&b, NEVER_READY));
        (void)backoff_failed(&b, NEVER_READY);
    }
    assert_true(backoff_is_crash_loop(&b, NEVER_READY));
    assert_true(backoff_is_crash_loop(&b, BACKOFF_FORGIVE_MS - 1));
    assert_false(backoff_is_crash_loop(&b, BACKOFF_FORGIVE_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_up_to_the_maximum),
        cmocka_unit_test(test_was_ready_waits_a_second_at_most),
        cmocka_unit_test(test_each_second_forgives_one),
        cmocka_unit_test(test_ten_seconds_are_a_fresh_start),
        cmocka_unit_test(test_killed_every_two_seconds),
        cmocka_unit_test(test_crash_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
