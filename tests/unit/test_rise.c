// SPDX-License-Identifier: MIT
// A counter that rose is told of for its window, also over restarts of its process.
#include "deploy/rise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WINDOW 300000

static int64_t at(const struct rise *r, int64_t now_ms)
{
    return rise_within(r, WINDOW, now_ms);
}

static void test_a_rise_is_told_of_for_its_window(void **unused)
{
    (void)unused;
    struct rise r = { .value = 0 };
    rise_note(&r, 0, 1000);
    assert_int_equal(at(&r, 1000), 0);
    rise_note(&r, 3, 2000);
    rise_note(&r, 3, 3000); // stays: no other rise
    assert_int_equal(at(&r, 3000), 3);
    assert_int_equal(at(&r, 2000 + WINDOW - 1), 3);
    assert_int_equal(at(&r, 2000 + WINDOW), 0);
    rise_note(&r, 4, 2000 + WINDOW);
    assert_int_equal(at(&r, 2000 + WINDOW), 1);
}

static void test_the_first_value_is_a_rise_from_0(void **unused)
{
    (void)unused;
    struct rise r = { .value = 0 };
    rise_note(&r, 7, 1000);
    assert_int_equal(at(&r, 1000), 7);
}

static void test_a_process_that_was_started_again(void **unused)
{
    (void)unused;
    struct rise r = { .value = 0 };
    rise_note(&r, 7, 1000);
    rise_note(&r, 0, 2000);
    assert_int_equal(at(&r, 2000), 7); // it did rise
    rise_note(&r, 0, 1000 + WINDOW);
    assert_int_equal(at(&r, 1000 + WINDOW), 0);
    rise_note(&r, 7, 1001 + WINDOW);
    rise_note(&r, 2, 1002 + WINDOW); // less than before: from 0
    assert_int_equal(at(&r, 1002 + WINDOW), 2);
}

static void test_a_restart_after_which_it_is_as_large_again(void **unused)
{
    (void)unused;
    struct rise r = { .value = 0 };
    rise_note(&r, 7, 1000);
    rise_restart(&r);
    assert_int_equal(at(&r, 2000), 7);
    rise_note(&r, 7, 1000 + WINDOW);
    assert_int_equal(at(&r, 1000 + WINDOW), 7);
}

static void test_a_counter_whose_beginning_was_not_seen(void **unused)
{
    (void)unused;
    struct rise r;
    rise_begin_at(&r, 9);
    rise_note(&r, 9, 1000);
    assert_int_equal(at(&r, 1000), 0);
    rise_note(&r, 10, 2000);
    assert_int_equal(at(&r, 2000), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rise_is_told_of_for_its_window),
        cmocka_unit_test(test_the_first_value_is_a_rise_from_0),
        cmocka_unit_test(test_a_process_that_was_started_again),
        cmocka_unit_test(test_a_restart_after_which_it_is_as_large_again),
        cmocka_unit_test(test_a_counter_whose_beginning_was_not_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
