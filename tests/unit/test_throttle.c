// SPDX-License-Identifier: MIT
// Guessing gets slower, forgetting does not lock anybody out for long, and accounts do not touch
// each other.
#include "services/users/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sodium.h>

static int64_t now_ms = 1000; // of a clock that only the tests move

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

static void fail_times(struct str account, int n)
{
    for (int i = 0; i < n; i++) {
        throttle_failed(account, now_ms);
    }
}

static void test_free_attempts_then_doubling_waits(void **state)
{
    (void)state;
    struct str a = STR("doubling@example.org");
    assert_true(throttle_wait_ms(a, now_ms) == 0);
    fail_times(a, THROTTLE_FREE - 1);
    assert_true(throttle_wait_ms(a, now_ms) == 0);
    fail_times(a, 1);
    int64_t expected = THROTTLE_FIRST_MS;
    for (int i = 0; i < 100; i++) {
        assert_true(throttle_wait_ms(a, now_ms) == expected);
        assert_true(throttle_wait_ms(a, now_ms + expected - 1) == 1);
        assert_true(throttle_wait_ms(a, now_ms + expected) == 0);
        now_ms += expected;
        fail_times(a, 1);
        expected = expected * 2 < THROTTLE_LONGEST_MS ? expected * 2 : THROTTLE_LONGEST_MS;
    }
    assert_true(expected == THROTTLE_LONGEST_MS);
}

static void test_the_right_password_clears(void **state)
{
    (void)state;
    struct str a = STR("clears@example.org");
    fail_times(a, THROTTLE_FREE + 3);
    assert_true(throttle_wait_ms(a, now_ms) > 0);
    throttle_passed(a, now_ms);
    assert_true(throttle_wait_ms(a, now_ms) == 0);
    fail_times(a, THROTTLE_FREE - 1);
    assert_true(throttle_wait_ms(a, now_ms) == 0);
}

static void test_time_clears(void **state)
{
    (void)state;
    struct str a = STR("time@example.org");
    fail_times(a, THROTTLE_FREE - 1);
    now_ms += THROTTLE_FORGET_MS;
    fail_times(a, THROTTLE_FREE - 1);
    assert_true(throttle_wait_ms(a, now_ms) == 0);
    now_ms += THROTTLE_FORGET_MS - 1;
    fail_times(a, 1);
    assert_true(throttle_wait_ms(a, now_ms) == THROTTLE_FIRST_MS);
}

static void test_case_does_not_matter(void **state)
{
    (void)state;
    fail_times(STR("CASE@Example.org"), THROTTLE_FREE / 2);
    fail_times(STR("case@example.ORG"), THROTTLE_FREE - THROTTLE_FREE / 2);
    assert_true(throttle_wait_ms(STR("case@example.org"), now_ms) == THROTTLE_FIRST_MS);
}

static void test_others_are_not_slowed(void **state)
{
    (void)state;
    fail_times(STR("attacked@example.org"), THROTTLE_FREE + 10);
    int slowed = 0;
    for (int i = 0; i < 20 * THROTTLE_ENTRIES; i++) { // some share its entry
        char name[64];
        int n = snprintf(name, sizeof name, "user-%d@example.org", i);
        slowed += throttle_wait_ms((struct str){ name, (size_t)n }, now_ms) > 0;
    }
    assert_int_equal(slowed, 0);
}

static void test_absurd_names(void **state)
{
    (void)state;
    char name[5000];
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = (char)i;
    }
    fail_times((struct str){ name, sizeof name }, THROTTLE_FREE);
    assert_true(throttle_wait_ms((struct str){ name, sizeof name }, now_ms) == THROTTLE_FIRST_MS);
    fail_times((struct str){ NULL, 0 }, THROTTLE_FREE);
    assert_true(throttle_wait_ms((struct str){ NULL, 0 }, now_ms) == THROTTLE_FIRST_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_free_attempts_then_doubling_waits),
        cmocka_unit_test(test_the_right_password_clears),
        cmocka_unit_test(test_time_clears),
        cmocka_unit_test(test_case_does_not_matter),
        cmocka_unit_test(test_others_are_not_slowed),
        cmocka_unit_test(test_absurd_names),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
