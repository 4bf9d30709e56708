// SPDX-License-Identifier: MIT
// A budget burns when both windows of a pair say so, at its rate and not below, and only among enough
// requests. The clock is the test's own.
#include "deploy/error_budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE ERROR_BUDGET_MINUTE_MS
#define HOUR ERROR_BUDGET_HOUR_MS
#define BUDGET 1000 // per million: 99.9 %

static struct error_budget b;
static int64_t now_ms; // the next moment to count at

static int setup(void **unused)
{
    (void)unused;
    memset(&b, 0, sizeof b);
    now_ms = 1000000;
    return 0;
}

// So long, every 5 s so many requests, so many of them bad.
static void run(int64_t for_ms, int64_t requests, int64_t bad)
{
    for (int64_t end_ms = now_ms + for_ms; now_ms < end_ms; now_ms += 5000) {
        error_budget_add(&b, now_ms, requests, bad);
    }
}

// What both windows have, or -1: it does not burn.
static int64_t at(enum error_budget_burn burn)
{
    int64_t per_million = -1;
    bool burns = error_budget_burns(&b, burn, BUDGET, now_ms - 1, &per_million);
    assert_true(burns == (per_million >= 0));
    return per_million;
}

static void assert_burning(bool fast, bool medium, bool slow, bool steady)
{
    assert_int_equal(at(ERROR_BUDGET_FAST) >= 0, fast);
    assert_int_equal(at(ERROR_BUDGET_MEDIUM) >= 0, medium);
    assert_int_equal(at(ERROR_BUDGET_SLOW) >= 0, slow);
    assert_int_equal(at(ERROR_BUDGET_STEADY) >= 0, steady);
}

static void test_empty_says_nothing(void **unused)
{
    (void)unused;
    assert_burning(false, false, false, false);
    error_budget_add(&b, now_ms, 0, 0);
    assert_burning(false, false, false, false);
}

static void test_few_requests_say_nothing(void **unused)
{
    (void)unused;
    error_budget_add(&b, now_ms, ERROR_BUDGET_LEAST - 1, ERROR_BUDGET_LEAST - 1);
    now_ms++;
    assert_burning(false, false, false, false);
    error_budget_add(&b, now_ms, 1, 1);
    now_ms++;
    assert_int_equal(at(ERROR_BUDGET_FAST), 1000000);
}

// Each share for four days: just at a rate is not above it.
static void test_each_rate_has_its_limit(void **unused)
{
    (void)unused;
    static const struct {
        int64_t bad; // of 10000
        bool fast, medium, slow, steady;
    } shares[] = {
        { 10, false, false, false, false }, { 11, false, false, false, true },
        { 30, false, false, false, true },  { 31, false, false, true, true },
        { 60, false, false, true, true },   { 61, false, true, true, true },
        { 144, false, true, true, true },   { 145, true, true, true, true },
    };
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        setup(NULL);
        run(96 * HOUR, 10000, shares[i].bad);
        assert_burning(shares[i].fast, shares[i].medium, shares[i].slow, shares[i].steady);
    }
    assert_int_equal(at(ERROR_BUDGET_STEADY), 14500);
}

static void test_a_hiccup_in_good_days_is_small(void **unused)
{
    (void)unused;
    run(96 * HOUR, 100, 0);
    run(30000, 100, 100); // the short window has a tenth, the hour 0.8 %
    assert_burning(false, false, false, false);
    run(MINUTE, 100, 100); // 2.5 % of the hour, 0.4 % of six hours
    assert_burning(true, false, false, false);
    assert_in_range(at(ERROR_BUDGET_FAST), 24000, 26000);
}

static void test_each_is_over_when_its_short_window_is_clean(void **unused)
{
    (void)unused;
    run(96 * HOUR, 1000, 100);
    assert_burning(true, true, true, true);
    run(5 * MINUTE, 1000, 0);
    assert_burning(false, true, true, true);
    run(30 * MINUTE, 1000, 0);
    assert_burning(false, false, true, true);
    run(2 * HOUR, 1000, 0);
    assert_burning(false, false, false, true);
    run(6 * HOUR, 1000, 0);
    assert_burning(false, false, false, false);
}

static void test_what_is_older_than_the_long_window_is_forgotten(void **unused)
{
    (void)unused;
    run(2 * HOUR, 1000, 1000);
    now_ms += 80 * HOUR; // nobody came
    run(MINUTE, 1000, 0);
    assert_burning(false, false, false, false);
    run(96 * HOUR, 1000, 2);
    assert_int_equal(at(ERROR_BUDGET_STEADY), 2000); // not of the first hours
}

static void test_days_are_not_concluded_from_minutes(void **unused)
{
    (void)unused;
    run(2 * HOUR - MINUTE, 1000, 5);
    assert_burning(false, false, false, false);
    run(2 * MINUTE, 1000, 5);
    assert_burning(false, false, true, false);
    run(4 * HOUR, 1000, 5);
    assert_burning(false, false, true, true);
}

static void test_pages_do_not_wait(void **unused)
{
    (void)unused;
    run(10000, 100, 10);
    assert_burning(true, true, false, false);
}

static void test_a_budget_may_be_another(void **unused)
{
    (void)unused;
    int64_t unused_ret;
    run(HOUR, 1000, 100);
    assert_false(error_budget_burns(&b, ERROR_BUDGET_FAST, 10000, now_ms - 1, &unused_ret));
    assert_true(error_budget_burns(&b, ERROR_BUDGET_FAST, 6000, now_ms - 1, &unused_ret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_empty_says_nothing, setup),
        cmocka_unit_test_setup(test_few_requests_say_nothing, setup),
        cmocka_unit_test_setup(test_each_rate_has_its_limit, setup),
        cmocka_unit_test_setup(test_a_hiccup_in_good_days_is_small, setup),
        cmocka_unit_test_setup(test_each_is_over_when_its_short_window_is_clean, setup),
        cmocka_unit_test_setup(test_what_is_older_than_the_long_window_is_forgotten, setup),
        cmocka_unit_test_setup(test_days_are_not_concluded_from_minutes, setup),
        cmocka_unit_test_setup(test_pages_do_not_wait, setup),
        cmocka_unit_test_setup(test_a_budget_may_be_another, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
