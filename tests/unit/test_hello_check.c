// SPDX-License-Identifier: MIT
#include "gateway/hello_check.h"

#include "gateway/limits.h"
#include "tests/unit/hello_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct frame_hello hello;

static void make(void)
{
    hello_make(&hello, "users", "users-1", "s");
}

static void test_good(void **state)
{
    (void)state;
    make();
    hello_route(&hello, "GET", "/v1/users/{id}")->operation = STR("{\"a\":1}");
    hello_route(&hello, "PATCH", "/v1/users/{other}");
    hello_route(&hello, "GET", "/v1/users/me");
    assert_null(hello_check(&hello));
}

static void test_identity(void **state)
{
    (void)state;
    static const char *const services[] = {
        "", "Users", "1users", "us ers", "users_", "a23456789012345678901234567890123"
    };
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        make();
        hello.service = str_of(services[i]);
        assert_non_null(hello_check(&hello));
    }
    make();
    hello.instance = STR("");
    assert_non_null(hello_check(&hello));
    hello.instance = STR("a\nb");
    assert_non_null(hello_check(&hello));
    hello.instance = STR("\xff");
    assert_non_null(hello_check(&hello));
    make();
    hello.schema = STR("");
    assert_non_null(hello_check(&hello));
}

static void assert_range(uint32_t *value, uint32_t min, uint32_t max)
{
    *value = min;
    assert_null(hello_check(&hello));
    *value = max;
    assert_null(hello_check(&hello));
    *value = min - 1;
    assert_non_null(hello_check(&hello));
    *value = max + 1;
    assert_non_null(hello_check(&hello));
}

static void test_numbers(void **state)
{
    (void)state;
    make();
    assert_range(&hello.capacity, 1, 65535);
    make();
    assert_range(&hello.heartbeat_ms, 50, 60000);
}

static void assert_pattern(const char *pattern, bool good)
{
    make();
    hello_route(&hello, "GET", pattern);
    if ((hello_check(&hello) == NULL) != good) {
        fail_msg("%s: %s", pattern, good ? hello_check(&hello) : "is taken");
    }
}

static void test_patterns(void **state)
{
    (void)state;
    assert_pattern("/a", true);
    assert_pattern("/v1/{a}/{b-c}/d.json", true);
    assert_pattern("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", true);
    assert_pattern("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", false);
    assert_pattern("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}", true);
    assert_pattern("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", false);
    assert_pattern("", false);
    assert_pattern("/", false);
    assert_pattern("a", false);
    assert_pattern("/a/", false);
    assert_pattern("//a", false);
    assert_pattern("/a/../b", false);
    assert_pattern("/a/./b", false);
    assert_pattern("/a/{}", false);
    assert_pattern("/a/x{b}", false);
    assert_pattern("/a/{b}x", false);
    assert_pattern("/a/{b c}", false);
    assert_pattern("/a b", false);
    assert_pattern("/a\"b", false);
    assert_pattern("/a?b", false);
    assert_pattern("/\xc3\xa4", false);
}

static void test_routes(void **state)
{
    (void)state;
    static const char *const methods[] = { "HEAD", "OPTIONS", "get", "TRACE", "" };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        make();
        hello_route(&hello, methods[i], "/a");
        assert_non_null(hello_check(&hello));
    }
    make();
    hello_route(&hello, "GET", "/a/{b}");
    hello_route(&hello, "GET", "/a/{c}");
    assert_non_null(hello_check(&hello));
    make();
    struct frame_route *route = hello_route(&hello, "GET", "/a");
    route->headers[0] = STR("If-Match");
    route->n_headers = 1;
    assert_non_null(hello_check(&hello));
    route->headers[0] = STR("if-match");
    assert_null(hello_check(&hello));
    route->operation = STR("[]");
    assert_non_null(hello_check(&hello));
    route->operation = STR("{\"a\":1,\"a\":2}");
    assert_non_null(hello_check(&hello));
}

static void test_announcements(void **state)
{
    (void)state;
    make();
    hello.n_problems = 1;
    hello.problems[0] =
        (struct frame_problem){ STR("too-late"), 409, STR("Too late"), STR("It is too late.") };
    assert_null(hello_check(&hello));
    hello.problems[0].status = 399;
    assert_non_null(hello_check(&hello));
    hello.problems[0].status = 600;
    assert_non_null(hello_check(&hello));
    hello.problems[0].status = 400;
    hello.problems[0].slug = STR("Too Late");
    assert_non_null(hello_check(&hello));
    make();
    hello.n_schemas = 1;
    hello.schemas[0] = (struct frame_pair){ STR("thing"), STR("{}") };
    assert_null(hello_check(&hello));
    hello.schemas[0].value = STR("{");
    assert_non_null(hello_check(&hello));
    hello.schemas[0] = (struct frame_pair){ STR("a thing"), STR("{}") };
    assert_non_null(hello_check(&hello));
    make();
    hello.n_events = 1;
    hello.events[0] = (struct frame_pair){ STR("things.thing.made"), STR("{}") };
    assert_null(hello_check(&hello));
    hello.events[0].value = STR("[]");
    assert_non_null(hello_check(&hello));
    hello.events[0] = (struct frame_pair){ STR("things/thing"), STR("{}") };
    assert_non_null(hello_check(&hello));
    make();
    hello.summary = STR("what they are for");
    assert_null(hello_check(&hello));
    hello.summary = STR("two\nlines");
    assert_non_null(hello_check(&hello));
}

static void test_same_pattern(void **state)
{
    (void)state;
    assert_true(pattern_same(STR("/a/{b}"), STR("/a/{c}")));
    assert_false(pattern_same(STR("/a/{b}"), STR("/a/b")));
    assert_false(pattern_same(STR("/a/{b}"), STR("/a/{b}/c")));
    assert_false(pattern_same(STR("/a"), STR("/b")));
    assert_true(pattern_same(STR("/"), STR("/")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),         cmocka_unit_test(test_identity),
        cmocka_unit_test(test_numbers),      cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_routes),       cmocka_unit_test(test_announcements),
        cmocka_unit_test(test_same_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
