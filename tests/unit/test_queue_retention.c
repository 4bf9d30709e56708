// SPDX-License-Identifier: MIT
// Rules of retention: which one a topic has, and what is refused with which words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/retention.h"

#include <errno.h>
#include <stdio.h>

static const struct retention_limits general = { .age_ms = 7, .count = 8, .bytes = 9 };
static struct retention r;
static char error[RETENTION_ERROR_SIZE];

static const struct retention_limits *of(const char *topic)
{
    return retention_limits(&r, retention_rule_of(&r, str_of(topic)));
}

static void test_the_first_rule_that_matches(void **state)
{
    (void)state;
    assert_int_equal(retention_init(&r, &general,
                                    "users.session.>:age=1d;users.>:count=5;"
                                    "orders.*:age=90d,count=5000000,bytes=1GiB;a.b:age=0,bytes=0",
                                    error),
                     0);
    assert_int_equal(r.n_rules, 4);
    assert_int_equal(of("users.session.started")->age_ms, 24 * 3600 * 1000);
    assert_int_equal(of("users.session.started")->count, 8); // not named: the general one
    assert_int_equal(of("users.session.started")->bytes, 9);
    assert_int_equal(of("users.created")->count, 5);
    assert_int_equal(of("users.created")->age_ms, 7);
    assert_int_equal(of("orders.placed")->age_ms, INT64_C(90) * 24 * 3600 * 1000);
    assert_int_equal(of("orders.placed")->count, 5000000);
    assert_int_equal(of("orders.placed")->bytes, 1 << 30);
    assert_ptr_equal(of("orders.placed.late"), &r.general);
    assert_int_equal(of("a.b")->age_ms, 0);
    assert_int_equal(of("a.b")->bytes, 0);
    assert_int_equal(of("a.b")->count, 8);
    retention_fini(&r);
}

static void test_no_rules(void **state)
{
    (void)state;
    assert_int_equal(retention_init(&r, &general, NULL, error), 0);
    assert_ptr_equal(of("a.b"), &r.general);
    assert_int_equal(of("a.b")->count, 8);
    retention_fini(&r);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        { "", "does not begin with a topic" },
        { "a.b", "has no limits" },
        { "a.b:", "is no limit" },
        { ":age=1d", "does not begin with a topic" },
        { "A.b:age=1d", "\"A.b\" does not begin with a topic" },
        { "a.>.b:age=1d", "a last > for the rest" },
        { "a.b:age", "\"age\" is no limit" },
        { "a.b:size=1GiB", "\"size\" is no limit; rules are FILTER:age=7d" },
        { "a.b:age=1", "age=1: it must be a duration like 12h or 7d, or 0" },
        { "a.b:age=-1d", "age=-1d" },
        { "a.b:count=-1", "count=-1: it must be a number of events" },
        { "a.b:count=1x", "count=1x" },
        { "a.b:bytes=1TB", "bytes=1TB: it must be a size like" },
        { "a.b:bytes=99999999999999999999", "bytes=9999" },
        { "a.b:age=1d,age=2d", "age is there twice" },
        { "a.b:age=1d,", "\"\" is no limit" },
        { "a.b:age=1d;", "does not begin with a topic" },
        { "a.b:age=1d;a.b:age=2d", "rule \"a.b\" is there twice" },
        { "a.b:age=1d=2d", "age=1d=2d" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(retention_init(&r, &general, wrong[i][0], error), -EINVAL);
        if (!strstr(error, wrong[i][1])) {
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", wrong[i][0], error, wrong[i][1]);
        }
    }
}

static void test_the_number_of_rules_is_limited(void **state)
{
    (void)state;
    char text[RETENTION_MAX_RULES * 20 + 40] = "";
    size_t n = 0;
    for (int i = 0; i < RETENTION_MAX_RULES; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%st%d:age=1d", i ? ";" : "", i);
    }
    assert_int_equal(retention_init(&r, &general, text, error), 0);
    assert_int_equal(retention_rule_of(&r, STR("t63")), 63);
    assert_int_equal(retention_rule_of(&r, STR("t64")), 64);
    retention_fini(&r);
    (void)snprintf(text + n, sizeof text - n, ";t64:age=1d");
    assert_int_equal(retention_init(&r, &general, text, error), -EINVAL);
    assert_non_null(strstr(error, "more than 64 rules"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_rule_that_matches),
        cmocka_unit_test(test_no_rules),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_the_number_of_rules_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
