// SPDX-License-Identifier: MIT
// Every reason to change the number of a service's processes, what holds a change back, and that a
// constant load never makes the number go up and down.
#include "deploy/scaling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct scaling_rule rule = { .on = true,
                                          .min = 1,
                                          .max = 8,
                                          .utilisation = 60,
                                          .wait_ms = 50,
                                          .latency_ms = 200,
                                          .lag = 1000,
                                          .cpu = 80,
                                          .step = 3,
                                          .cooldown_up_ms = 5000,
                                          .cooldown_down_ms = 30000,
                                          .idle_ms = 60000 };

// A service at work, 1 s after the sample before.
static struct scaling_input at(int64_t second, int64_t count, int64_t in_flight)
{
    return (struct scaling_input){ .now_ms = second * 1000,
                                   .count = count,
                                   .sampled = count,
                                   .in_flight = in_flight,
                                   .capacity = 10 * count,
                                   .active = true };
}

static void assert_decided(struct scaling_decision d, int64_t count, enum scaling_reason reason)
{
    assert_string_equal(scaling_reason_name(d.reason), scaling_reason_name(reason));
    assert_int_equal(d.count, count);
}

static void test_two_samples_over_a_target_add_what_is_missing(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    struct scaling_input in = at(1, 2, 18); // 90 %, 3 would be at 60 %
    assert_decided(scaling_decide(&rule, &s, &in), 2, SCALING_STEADY);
    in.now_ms += 1000;
    struct scaling_decision d = scaling_decide(&rule, &s, &in);
    assert_decided(d, 3, SCALING_UTILISATION);
    assert_int_equal(d.value, 90);
    assert_int_equal(d.target, 60);
}

static void test_one_sample_over_a_target_is_a_burst(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    for (int64_t second = 0; second < 100; second += 2) {
        struct scaling_input burst = at(second, 2, 20), rest = at(second + 1, 2, 9);
        assert_decided(scaling_decide(&rule, &s, &burst), 2, SCALING_STEADY);
        assert_decided(scaling_decide(&rule, &s, &rest), 2, SCALING_STEADY);
    }
}

static void test_exactly_at_the_target_is_within(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    for (int64_t second = 0; second < 100; second++) {
        struct scaling_input in = at(second, 2, 12);
        assert_decided(scaling_decide(&rule, &s, &in), 2, SCALING_STEADY);
    }
}

static void test_step_and_maximum_bound_what_is_added(void **unused)
{
    (void)unused;
    struct scaling_state s = { .began = true, .over = 1, .calm_ms = -1, .idle_ms = -1 };
    struct scaling_input in = at(100, 1, 10);
    in.waiting = 500; // would need many
    assert_decided(scaling_decide(&rule, &s, &in), 4, SCALING_UTILISATION);
    s = (struct scaling_state){ .began = true, .over = 1, .calm_ms = -1, .idle_ms = -1 };
    in.count = in.sampled = 7;
    in.capacity = 70;
    assert_decided(scaling_decide(&rule, &s, &in), 8, SCALING_UTILISATION);
    in.count = in.sampled = 8;
    in.capacity = 80;
    assert_decided(scaling_decide(&rule, &s, &in), 8, SCALING_STEADY);
    struct scaling_decision d = scaling_decide(&rule, &s, &in);
    assert_decided(d, 8, SCALING_AT_MAX);
    assert_int_equal(d.target, 60);
}

static void test_cooldown_holds_the_next_step_back(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    int64_t count = 1, last = -1;
    for (int64_t second = 0; count < rule.max; second++) {
        assert_true(second < 100);
        struct scaling_input in = at(second, count, 10 * count); // always full
        struct scaling_decision d = scaling_decide(&rule, &s, &in);
        if (d.count != count) {
            assert_true(last < 0 || second - last >= rule.cooldown_up_ms / 1000);
            last = second;
            count = d.count;
        }
    }
}

static void test_those_that_start_are_counted_on(void **unused)
{
    (void)unused;
    struct scaling_state s = { .began = true, .over = 1, .calm_ms = -1, .idle_ms = -1 };
    struct scaling_input in = at(100, 4, 10);
    in.sampled = 1; // three are on their way
    in.capacity = 10;
    assert_decided(scaling_decide(&rule, &s, &in), 4, SCALING_COOLING);
}

static void test_every_target_counts(void **unused)
{
    (void)unused;
    struct scaling_input in[5];
    enum scaling_reason reasons[5] = { SCALING_UTILISATION, SCALING_CPU, SCALING_WAIT,
                                       SCALING_LATENCY, SCALING_LAG };
    for (int i = 0; i < 5; i++) {
        in[i] = at(100, 2, 2);
    }
    in[0].in_flight = 13;
    in[1].cpu = 81;
    in[2].wait_ms = 51;
    in[3].latency_ms = 201;
    in[4].lag = 1001;
    for (int i = 0; i < 5; i++) {
        struct scaling_state s = { .began = true, .over = 1, .calm_ms = -1, .idle_ms = -1 };
        assert_decided(scaling_decide(&rule, &s, &in[i]), 3, reasons[i]);
        struct scaling_rule off = rule;
        off.utilisation = off.cpu = off.wait_ms = off.latency_ms = off.lag = 0;
        s = (struct scaling_state){ .began = true, .over = 9, .calm_ms = -1, .idle_ms = -1 };
        assert_decided(scaling_decide(&off, &s, &in[i]), 2, SCALING_STEADY);
    }
}

static void test_one_less_after_a_calm_cooldown(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    for (int64_t second = 0; second < 30; second++) {
        struct scaling_input in = at(second, 3, 8); // 2 would be at 40 %
        assert_decided(scaling_decide(&rule, &s, &in), 3, SCALING_STEADY);
    }
    struct scaling_input in = at(30, 3, 8);
    assert_decided(scaling_decide(&rule, &s, &in), 2, SCALING_CALM);
    in = at(31, 2, 1);
    assert_decided(scaling_decide(&rule, &s, &in), 2, SCALING_STEADY); // from the beginning again
}

static void test_a_busy_moment_begins_the_cooldown_anew(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    for (int64_t second = 0; second < 200; second++) {
        struct scaling_input in = at(second, 3, second % 29 ? 8 : 13);
        assert_decided(scaling_decide(&rule, &s, &in), 3, SCALING_STEADY);
    }
}

static void test_never_below_the_minimum(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    for (int64_t second = 0; second < 1000; second++) {
        struct scaling_input in = at(second, 1, 0);
        in.active = false;
        assert_decided(scaling_decide(&rule, &s, &in), 1, SCALING_STEADY);
    }
}

static void test_bounds_are_kept_at_once(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    struct scaling_input in = at(1, 0, 0);
    assert_decided(scaling_decide(&rule, &s, &in), 1, SCALING_MINIMUM);
    in = at(2, 9, 90);
    assert_decided(scaling_decide(&rule, &s, &in), 8, SCALING_MAXIMUM);
}

static void test_unknown_changes_nothing(void **unused)
{
    (void)unused;
    struct scaling_state s = { 0 };
    for (int64_t second = 0; second < 200; second++) {
        struct scaling_input in = at(second, 3, 0);
        in.sampled = second % 20 == 10 ? 0 : 3;
        in.active = false;
        struct scaling_decision d = scaling_decide(&rule, &s, &in);
        assert_decided(d, 3, in.sampled ? SCALING_STEADY : SCALING_UNKNOWN);
    }
}

static void test_to_zero_and_back(void **unused)
{
    (void)unused;
    struct scaling_rule to_zero = rule;
    to_zero.min = 0;
    struct scaling_state s = { 0 };
    for (int64_t second = 0; second < 60; second++) {
        struct scaling_input in = at(second, 1, 0);
        in.active = false;
        assert_decided(scaling_decide(&to_zero, &s, &in), 1, SCALING_STEADY);
    }
    struct scaling_input in = at(60, 1, 0);
    in.active = false;
    assert_decided(scaling_decide(&to_zero, &s, &in), 0, SCALING_IDLE);
    for (int64_t second = 61; second < 1000; second++) {
        in = (struct scaling_input){ .now_ms = second * 1000 };
        assert_decided(scaling_decide(&to_zero, &s, &in), 0, SCALING_STEADY);
    }
    in.demanded = true;
    assert_decided(scaling_decide(&to_zero, &s, &in), 1, SCALING_DEMAND);
}

static void test_whatever_there_is_to_do_keeps_the_last_one(void **unused)
{
    (void)unused;
    struct scaling_rule to_zero = rule;
    to_zero.min = 0;
    for (int what = 0; what < 5; what++) {
        struct scaling_state s = { 0 };
        for (int64_t second = 0; second < 200; second++) {
            struct scaling_input in = at(second, 1, what == 0);
            in.active = what == 1;
            in.waiting = what == 2;
            in.lag = what == 3;
            in.demanded = what == 4;
            assert_int_equal(scaling_decide(&to_zero, &s, &in).count, 1);
        }
        struct scaling_input in = { .now_ms = 1000000 }; // and wakes it
        in.in_flight = what == 0;
        in.active = what == 1;
        in.waiting = what == 2;
        in.lag = what == 3;
        in.demanded = what == 4;
        assert_int_equal(scaling_decide(&to_zero, &s, &in).count, 1);
    }
}

// Whatever the load, when it stays the same the number settles: it goes one way and then rests.
static void test_constant_load_settles(void **unused)
{
    (void)unused;
    for (int64_t load = 0; load <= 100; load++) {
        for (int64_t from = rule.min; from <= rule.max; from++) {
            struct scaling_state s = { 0 };
            int64_t count = from, ups = 0, downs = 0, last = 0;
            for (int64_t second = 0; second < 1000; second++) {
                int64_t room = 10 * count;
                struct scaling_input in = at(second, count, load < room ? load : room);
                in.waiting = load < room ? 0 : load - room;
                int64_t next = scaling_decide(&rule, &s, &in).count;
                ups += next > count;
                downs += next < count;
                last = next == count ? last : second;
                count = next;
            }
            assert_true(ups == 0 || downs == 0);
            assert_true(last < 500);
            assert_true(load > 48 || load * 100 <= 60 * 10 * count);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_samples_over_a_target_add_what_is_missing),
        cmocka_unit_test(test_one_sample_over_a_target_is_a_burst),
        cmocka_unit_test(test_exactly_at_the_target_is_within),
        cmocka_unit_test(test_step_and_maximum_bound_what_is_added),
        cmocka_unit_test(test_cooldown_holds_the_next_step_back),
        cmocka_unit_test(test_those_that_start_are_counted_on),
        cmocka_unit_test(test_every_target_counts),
        cmocka_unit_test(test_one_less_after_a_calm_cooldown),
        cmocka_unit_test(test_a_busy_moment_begins_the_cooldown_anew),
        cmocka_unit_test(test_never_below_the_minimum),
        cmocka_unit_test(test_bounds_are_kept_at_once),
        cmocka_unit_test(test_unknown_changes_nothing),
        cmocka_unit_test(test_to_zero_and_back),
        cmocka_unit_test(test_whatever_there_is_to_do_keeps_the_last_one),
        cmocka_unit_test(test_constant_load_settles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
