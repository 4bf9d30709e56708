// SPDX-License-Identifier: MIT
// What the limit becomes for services of known speed. Time is simulated: there is always as much to do
// as the limit allows.
#include "common/limiter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MAX 192

static struct limiter limiter;
static int64_t now_us;
static uint64_t done;

static void begin(uint32_t max, enum limiter_kind kind)
{
    limiter_init(&limiter, max, kind);
    now_us = 1000000;
    done = 0;
}

// One worker with a full queue: each request waits for the others.
static void serve_in_turn(int64_t service_us, int64_t for_us)
{
    for (int64_t end_us = now_us + for_us; now_us < end_us;) {
        uint32_t n = limiter.limit;
        limiter_enter(&limiter, n);
        now_us += service_us;
        done++;
        (void)limiter_finish(&limiter, n * service_us, service_us, now_us);
    }
}

// Group commit: what waits is run and then committed at once; the first one of a round is alone.
static void serve_in_batches(int64_t run_us, int64_t commit_us, int64_t for_us)
{
    for (int64_t end_us = now_us + for_us; now_us < end_us;) {
        uint32_t n = limiter.limit;
        limiter_enter(&limiter, n);
        int64_t first_us = run_us + commit_us, rest_us = (n - 1) * run_us + commit_us;
        (void)limiter_finish(&limiter, first_us, first_us, now_us + first_us);
        now_us += first_us + rest_us;
        done += n;
        for (uint32_t i = 1; i < n; i++) {
            (void)limiter_finish(&limiter, first_us + rest_us, (n - i) * run_us + commit_us,
                                 now_us);
        }
    }
}

static void test_fast_work_is_not_limited(void **state)
{
    (void)state;
    begin(MAX, LIMITER_SERIAL);
    serve_in_turn(30, 5000000);
    assert_int_equal(limiter.limit, MAX);
}

static void test_slow_work_is_limited_to_what_fits(void **state)
{
    (void)state;
    static const struct {
        int64_t service_us;
        uint32_t least, most;
    } cases[] = {
        { 500, 36, 46 }, { 2000, 9, 11 }, { 5000, 3, 5 }, { 50000, 2, 4 }, { 900000, 2, 4 }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(MAX, LIMITER_SERIAL);
        serve_in_turn(cases[i].service_us, 2000000 + 20 * cases[i].service_us);
        for (int k = 0; k < 50; k++) { // and it stays there
            serve_in_turn(cases[i].service_us, 100000);
            assert_in_range(limiter.limit, cases[i].least, cases[i].most);
        }
    }
}

static void test_it_grows_again(void **state)
{
    (void)state;
    begin(MAX, LIMITER_SERIAL);
    serve_in_turn(10000, 3000000);
    assert_in_range(limiter.limit, 2, 4);
    serve_in_turn(30, 3000000);
    assert_int_equal(limiter.limit, MAX);
}

// Lets the window that has begun end without saying anything.
static void fresh_window(void)
{
    limiter.begin_us = now_us;
    limiter.n = limiter.peak = 0;
    limiter.whole_us = limiter.service_us = 0;
}

// Uses `peak` at once, each without any waiting, for one window.
static void use(uint32_t peak)
{
    uint32_t before = limiter.limit;
    bool changed = false;
    limiter_enter(&limiter, peak);
    for (int i = 0; i < LIMITER_WINDOW_US / 2000; i++) {
        now_us += 2000;
        changed |= limiter_finish(&limiter, 2000, 2000, now_us);
    }
    assert_int_equal(changed, limiter.limit != before);
}

static void test_unless_it_is_reached_it_goes_back(void **state)
{
    (void)state;
    begin(MAX, LIMITER_PARALLEL);
    limiter.limit = 20;
    fresh_window();
    use(10);
    assert_int_equal(limiter.limit, 21);
    use(21);
    assert_int_equal(limiter.limit, 31);
    limiter.sharers = 2; // one of two gateways has all the load: its half is all that it can reach
    use(15);
    assert_int_equal(limiter.limit, 32);
    use(15);
    assert_int_equal(limiter.limit, 32); // where it began
    use(16);
    assert_int_equal(limiter.limit, 48);
    use(23);
    assert_int_equal(limiter.limit, 47);
}

// What the loop does so fast that it never has two of them is not held back: the others are in the socket.
static void test_what_is_done_one_after_the_other_need_not_be_reached(void **state)
{
    (void)state;
    static const struct {
        int64_t service_us;
        uint32_t least, most;
    } cases[] = { { 0, MAX, MAX }, { 30, MAX, MAX }, { 200, 100, 100 }, { 5000, 32, 32 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(MAX, LIMITER_SERIAL);
        for (int k = 0; k < 1000; k++) {
            limiter_enter(&limiter, 1);
            now_us += 2000;
            (void)limiter_finish(&limiter, cases[i].service_us, cases[i].service_us, now_us);
        }
        assert_in_range(limiter.limit, cases[i].least, cases[i].most);
    }
    begin(MAX, LIMITER_PARALLEL);
    for (int k = 0; k < 1000; k++) {
        limiter_enter(&limiter, 1);
        now_us += 2000;
        (void)limiter_finish(&limiter, 30, 30, now_us);
    }
    assert_int_equal(limiter.limit, LIMITER_START);
}

static void test_a_hiccup_costs_half_at_most(void **state)
{
    (void)state;
    begin(MAX, LIMITER_SERIAL);
    serve_in_turn(30, 2000000);
    assert_int_equal(limiter.limit, MAX);
    fresh_window();
    limiter_enter(&limiter, 8);
    now_us += 150000;
    assert_true(limiter_finish(&limiter, 150000, 30, now_us));
    assert_int_equal(limiter.limit, MAX / 2);
}

// A slow disk is no reason for smaller batches, which would only make it slower.
static void test_batches_stay_large(void **state)
{
    (void)state;
    begin(MAX, LIMITER_BATCHED);
    serve_in_batches(100, 100000, 20000000);
    assert_in_range(limiter.limit, MAX - 1, MAX);
    begin(MAX, LIMITER_BATCHED);
    serve_in_batches(5000, 1000, 20000000); // but slow work is
    assert_in_range(limiter.limit, 2, 6);
}

static void test_small_capacities(void **state)
{
    (void)state;
    begin(1, LIMITER_SERIAL);
    serve_in_turn(100000, 2000000);
    assert_int_equal(limiter.limit, 1);
    begin(2, LIMITER_SERIAL);
    serve_in_turn(100000, 2000000);
    assert_int_equal(limiter.limit, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fast_work_is_not_limited),
        cmocka_unit_test(test_slow_work_is_limited_to_what_fits),
        cmocka_unit_test(test_it_grows_again),
        cmocka_unit_test(test_unless_it_is_reached_it_goes_back),
        cmocka_unit_test(test_what_is_done_one_after_the_other_need_not_be_reached),
        cmocka_unit_test(test_a_hiccup_costs_half_at_most),
        cmocka_unit_test(test_batches_stay_large),
        cmocka_unit_test(test_small_capacities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
