// SPDX-License-Identifier: MIT
// Buckets let exactly their burst through and refill at their rate, and a full table forgets nobody
// who owes more than somebody else.
#include "gateway/rate_limit.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#define S UINT64_C(1000000000)

static struct rate_limit limits;
static uint64_t now_ns; // of a clock that only the tests move

static void open_with(enum rate_policy policy, const char *text, uint32_t max)
{
    struct rate_limit_policy policies[RATE_POLICIES_COUNT] = { { 0 } };
    assert_int_equal(rate_limit_parse(text, policy, &policies[policy]), 0);
    assert_int_equal(rate_limit_init(&limits, policies, max), 0);
    now_ns = 5 * S;
}

static struct rate_verdict take(enum rate_policy policy, const char *key)
{
    return rate_limit_take(&limits, policy, 'k', str_of(key), now_ns);
}

static unsigned count_allowed(enum rate_policy policy, const char *key, unsigned tries)
{
    unsigned allowed = 0;
    for (unsigned i = 0; i < tries; i++) {
        allowed += take(policy, key).allowed;
    }
    return allowed;
}

static void test_burst_is_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned burst;
    } cases[] = { { "1/s", 1 },           { "3/s", 3 },
                  { "7/m,burst=11", 11 }, { "1000000/s", 1000000 },
                  { "999/h,burst=1", 1 }, { "2000/s,burst=4000", 4000 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_with(RATE_READ, cases[i].text, RATE_BUCKETS_MIN);
        assert_int_equal(count_allowed(RATE_READ, "x", cases[i].burst + 50), cases[i].burst);
        assert_int_equal(metric_get(&limits.refused[RATE_READ]), 50);
        rate_limit_fini(&limits);
    }
}

static void test_refill(void **state)
{
    (void)state;
    open_with(RATE_WRITE, "4/s,burst=10", RATE_BUCKETS_MIN);
    assert_int_equal(count_allowed(RATE_WRITE, "x", 20), 10);
    now_ns += S / 4 - 1;
    struct rate_verdict v = take(RATE_WRITE, "x");
    assert_false(v.allowed);
    assert_int_equal(v.left, 0);
    assert_int_equal(v.reset_s, 1);
    now_ns += 1;
    assert_int_equal(count_allowed(RATE_WRITE, "x", 20), 1); // refusals cost nothing
    now_ns += S;
    assert_int_equal(count_allowed(RATE_WRITE, "x", 20), 4);
    now_ns += 100000 * S; // never more than the burst
    v = take(RATE_WRITE, "x");
    assert_true(v.allowed);
    assert_int_equal(v.left, 9);
    assert_int_equal(v.reset_s, 1);
    assert_int_equal(count_allowed(RATE_WRITE, "x", 20), 9);
    rate_limit_fini(&limits);
}

static void give_back(enum rate_policy policy, const char *key)
{
    rate_limit_give_back(&limits, policy, 'k', str_of(key), now_ns);
}

static void test_what_is_given_back_was_not_counted(void **state)
{
    (void)state;
    open_with(RATE_KEY, "1/s,burst=3", RATE_BUCKETS_MIN);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(take(RATE_KEY, "x").allowed);
        give_back(RATE_KEY, "x");
    }
    assert_int_equal(count_allowed(RATE_KEY, "x", 5), 3);
    give_back(RATE_KEY, "x");
    assert_int_equal(count_allowed(RATE_KEY, "x", 5), 1);
    now_ns += 2 * S;
    give_back(RATE_KEY, "x");
    give_back(RATE_KEY, "x"); // more than was taken: never more than the burst
    give_back(RATE_KEY, "nobody");
    assert_int_equal(count_allowed(RATE_KEY, "x", 5), 3);
    rate_limit_fini(&limits);
}

// The table is full all the time, so that buckets are sorted and reused between take and give back.
static void test_giving_back_leaves_the_order(void **state)
{
    (void)state;
    open_with(RATE_KEY, "100/s,burst=50", RATE_BUCKETS_MIN);
    uint32_t chance = 12345;
    for (unsigned i = 0; i < 100000; i++) {
        chance = chance * 1664525 + 1013904223;
        char key[16];
        (void)snprintf(key, sizeof key, "%u", (chance >> 8) % 64);
        if (take(RATE_KEY, key).allowed && chance >> 31) {
            give_back(RATE_KEY, key);
        }
        now_ns += (chance >> 4) % (S / 1000);
    }
    assert_int_equal(metric_get(&limits.in_use), RATE_BUCKETS_MIN);
    rate_limit_fini(&limits);
}

static void test_retry_after_is_true(void **state)
{
    (void)state;
    open_with(RATE_AUTH, "2/m,burst=3", RATE_BUCKETS_MIN);
    assert_int_equal(count_allowed(RATE_AUTH, "x", 5), 3);
    struct rate_verdict v = take(RATE_AUTH, "x");
    assert_int_equal(v.reset_s, 30);
    now_ns += (v.reset_s - 1) * S;
    assert_false(take(RATE_AUTH, "x").allowed);
    now_ns += S;
    assert_true(take(RATE_AUTH, "x").allowed);
    rate_limit_fini(&limits);
}

static void test_keys_and_policies_are_apart(void **state)
{
    (void)state;
    struct rate_limit_policy policies[RATE_POLICIES_COUNT] = { { 0 } };
    assert_int_equal(rate_limit_parse("1/h", RATE_READ, &policies[RATE_READ]), 0);
    assert_int_equal(rate_limit_parse("1/h", RATE_WRITE, &policies[RATE_WRITE]), 0);
    assert_int_equal(rate_limit_init(&limits, policies, RATE_BUCKETS_MIN), 0);
    assert_true(take(RATE_READ, "x").allowed);
    assert_true(take(RATE_WRITE, "x").allowed);
    assert_true(take(RATE_READ, "y").allowed);
    assert_true(rate_limit_take(&limits, RATE_READ, 'o', STR("x"), now_ns).allowed);
    assert_false(take(RATE_READ, "x").allowed);
    assert_false(take(RATE_WRITE, "x").allowed);
    rate_limit_fini(&limits);
}

// Who owes most is remembered however many others come.
static void test_a_flood_of_keys_pushes_out_the_least_debts(void **state)
{
    (void)state;
    open_with(RATE_ADDRESS, "10/m", 64);
    assert_int_equal(count_allowed(RATE_ADDRESS, "debtor", 20), 10);
    for (unsigned i = 0; i < 100000; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "made-up-%u", i);
        assert_true(take(RATE_ADDRESS, key).allowed);
        now_ns += 1000;
    }
    assert_false(take(RATE_ADDRESS, "debtor").allowed);
    assert_int_equal(metric_get(&limits.in_use), 64);
    assert_true(metric_get(&limits.forgotten) > 0);
    rate_limit_fini(&limits);
}

// As long as one bucket is full, none in debt is forgotten: checked against a plain list.
static void test_full_buckets_go_first(void **state)
{
    (void)state;
    enum { KEYS = 200, TABLE = 32 };
    uint64_t full_ns[KEYS] = { 0 };
    open_with(RATE_ADDRESS, "100/s,burst=50", TABLE);
    const uint64_t period = S / 100, size = 50 * period;
    uint32_t chance = 12345;
    for (unsigned i = 0; i < 200000; i++) {
        chance = chance * 1664525 + 1013904223;
        unsigned k = (chance >> 16) % 8 ? (chance >> 8) % 2 : (chance >> 8) % KEYS;
        unsigned in_debt = 0;
        for (unsigned j = 0; j < KEYS; j++) {
            in_debt += full_ns[j] > now_ns;
        }
        if (in_debt >= TABLE && full_ns[k] <= now_ns) {
            now_ns += size; // keep to what the table can hold
        }
        char key[16];
        (void)snprintf(key, sizeof key, "%u", k);
        uint64_t next = (full_ns[k] > now_ns ? full_ns[k] : now_ns) + period;
        bool allowed = next - now_ns <= size;
        full_ns[k] = allowed ? next : full_ns[k];
        assert_int_equal(take(RATE_ADDRESS, key).allowed, allowed);
        now_ns += (chance >> 4) % (period / 2);
    }
    assert_int_equal(metric_get(&limits.forgotten), 0);
    assert_true(metric_get(&limits.refused[RATE_ADDRESS]) > 0);
    rate_limit_fini(&limits);
}

static void test_syntax(void **state)
{
    (void)state;
    struct rate_limit_policy p;
    static const char *const off[] = { "off", "0" };
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        assert_int_equal(rate_limit_parse(off[i], RATE_READ, &p), 0);
        assert_true(p.period_ns == 0);
    }
    assert_int_equal(rate_limit_parse("100/m", RATE_ADDRESS, &p), 0);
    assert_string_equal(p.text, "\"address\";q=100;w=60");
    assert_int_equal(rate_limit_parse("10/s,burst=200", RATE_AUTH, &p), 0);
    assert_string_equal(p.text, "\"auth\";q=200;w=20");
    static const char *const wrong[] = { "",
                                         "1",
                                         "/s",
                                         "0/s",
                                         "-1/s",
                                         "1/d",
                                         "1/",
                                         "1/ss",
                                         "1000001/s",
                                         "1/s,",
                                         "1/s,burst",
                                         "1/s,burst=",
                                         "1/s,burst=0",
                                         "1/s,burst=1000001",
                                         "1 /s",
                                         "1/s burst=2",
                                         "1/s,burst=2x",
                                         "1/h,burst=1000",
                                         "99999999999999999999/s",
                                         "Off" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(rate_limit_parse(wrong[i], RATE_READ, &p), -EINVAL);
    }
}

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_is_exact),
        cmocka_unit_test(test_refill),
        cmocka_unit_test(test_what_is_given_back_was_not_counted),
        cmocka_unit_test(test_giving_back_leaves_the_order),
        cmocka_unit_test(test_retry_after_is_true),
        cmocka_unit_test(test_keys_and_policies_are_apart),
        cmocka_unit_test(test_a_flood_of_keys_pushes_out_the_least_debts),
        cmocka_unit_test(test_full_buckets_go_first),
        cmocka_unit_test(test_syntax),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
