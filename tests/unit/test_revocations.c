// SPDX-License-Identifier: MIT
#include "gateway/revocations.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct revocations revocations;

static int setup(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    assert_int_equal(revocations_init(&revocations), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    revocations_fini(&revocations);
    return 0;
}

static bool has(const char *user, const char *sid, int64_t issued_ms)
{
    return revocations_has(&revocations, str_of(user), str_of(sid), issued_ms);
}

static void add(const char *user, const char *sid, int64_t revoked_ms)
{
    uint64_t epoch = revocations.epoch;
    revocations_add(&revocations, str_of(user), str_of(sid), revoked_ms);
    assert_true(revocations.epoch > epoch); // caches must look again
}

static void test_by_session(void **state)
{
    (void)state;
    assert_false(has("u", "s", 100));
    add("u", "s", 200);
    assert_true(has("u", "s", 100));
    assert_true(has("u", "s", 300)); // a session never comes back
    assert_false(has("u", "t", 100));
    assert_false(has("s", "u", 100)); // users and sessions are different names
}

static void test_times_of_a_far_future(void **state)
{
    (void)state;
    const int64_t now_ms = INT64_C(1800000000000), ahead_ms = INT64_C(7200000);
    assert_int_equal(revocations_bound_ms(now_ms - 1, now_ms), now_ms - 1);
    assert_int_equal(revocations_bound_ms(now_ms + ahead_ms, now_ms), now_ms + ahead_ms);
    assert_int_equal(revocations_bound_ms(now_ms + ahead_ms + 1, now_ms), now_ms + ahead_ms);
    assert_int_equal(revocations_bound_ms(INT64_MAX, now_ms), now_ms + ahead_ms);
    assert_int_equal(revocations_bound_ms(INT64_MIN, now_ms), INT64_MIN);
}

static void test_refuse_before(void **state)
{
    (void)state;
    uint64_t epoch = revocations.epoch;
    revocations_refuse_before(&revocations, 200);
    assert_true(revocations.epoch > epoch);
    assert_true(has("u", "s", 199));
    assert_false(has("u", "s", 200));
    revocations_refuse_before(&revocations, 100); // never takes one back
    assert_true(has("u", "s", 199));
}

static void test_by_user(void **state)
{
    (void)state;
    add("u", "", 200);
    assert_true(has("u", "s", 199));
    assert_false(has("u", "s", 200)); // issued from then on
    assert_false(has("v", "s", 100));
    add("u", "", 150); // an older event, seen later
    assert_true(has("u", "s", 199));
    add("u", "", 300);
    assert_true(has("u", "s", 299));
    add("w", "", -5); // no time at all: nothing is issued before it
    assert_false(has("w", "s", 100));
}

// When the tables overflow nothing that was revoked comes alive: older tokens are refused as a
// whole.
static void test_overflow(void **state)
{
    (void)state;
    char sid[32];
    const int64_t n = 2 * REVOCATIONS_PER_TABLE + 10;
    for (int64_t i = 0; i < n; i++) {
        (void)snprintf(sid, sizeof sid, "s%lld", (long long)i);
        add("u", sid, 1000 + i);
        assert_true(has("x", sid, 1000 + i));
    }
    for (int64_t i = 0; i < n; i += 97) {
        (void)snprintf(sid, sizeof sid, "s%lld", (long long)i);
        assert_true(has("x", sid, 1000 + i - 1)); // issued before it was revoked, of course
    }
    assert_int_equal(revocations.floor_ms, 1000 + REVOCATIONS_PER_TABLE - 1);
    assert_true(has("x", "other", revocations.floor_ms - 1));
    assert_false(has("x", "other", revocations.floor_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_by_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_times_of_a_far_future, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuse_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_by_user, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overflow, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
