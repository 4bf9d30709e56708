// SPDX-License-Identifier: MIT
// What is wrong with a file of scaling rules is said with its place, its name, and what is allowed.
#include "deploy/scaling_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define RULE(text) "{\"services\": {\"orders\": {" text "}}}"
#define KEYS                                                                                       \
    "min, max, utilisation, cpu, wait, latency, lag, step, cooldown_up, cooldown_down, idle"

static const struct {
    const char *text, *mistakes;
} wrong[] = {
    { "", "s:1:1: is not JSON: input length is 0; allowed: one JSON object\n" },
    { "[]", "s:1:1: is an array; allowed: an object with interval, services\n" },
    { "{\n  \"service\": {}\n}", "s:2:3: unknown key \"service\"; allowed: interval, services\n" },
    { "{\"interval\": 1}", "s:1:14: interval: is a number; allowed: a time from 100ms to 60s, such "
                           "as \"250ms\", \"10s\" or \"5m\"\n" },
    { "{\"interval\": \"2h\"}",
      "s:1:14: interval: \"2h\" is no such time; allowed: a time from 100ms to 60s, such as "
      "\"250ms\", \"10s\" or \"5m\"\n" },
    { "{\"services\": {\"cats\": {}}}",
      "s:1:15: services.cats: is no service that scales; allowed: users, orders, search, "
      "gateway\n" },
    { "{\"services\": {\"queue\": {}}}",
      "s:1:15: services.queue: is no service that scales; allowed: users, orders, search, "
      "gateway\n" },
    { RULE("\"maks\": 3"), "s:1:26: services.orders: unknown key \"maks\"; allowed: " KEYS "\n" },
    { RULE("\"max\": \"3\""),
      "s:1:33: services.orders.max: is a string; allowed: a whole number from 0 to 64\n" },
    { RULE("\"max\": 65"),
      "s:1:33: services.orders.max: 65 is no such number; allowed: from 0 to 64\n" },
    { RULE("\"max\": 1.5"),
      "s:1:33: services.orders.max: 1.5 is no such number; allowed: from 0 to 64\n" },
    { RULE("\"max\": -1"),
      "s:1:33: services.orders.max: -1 is no such number; allowed: from 0 to 64\n" },
    { RULE("\"max\": 3, \"utilisation\": 101"),
      "s:1:51: services.orders.utilisation: 101 is no such "
      "number; allowed: from 1 to 100\n" },
    { RULE("\"utilisation\": 70"), "s:1:15: services.orders: has no \"max\"; allowed: the most "
                                   "processes that there may be\n" },
    { RULE("\"min\": 4, \"max\": 3, \"cpu\": 70"),
      "s:1:15: services.orders: \"max\" is below \"min\" or 1; allowed: 1 <= max, min <= max\n" },
    { RULE("\"min\": 0, \"max\": 0"),
      "s:1:15: services.orders: \"max\" is below \"min\" or 1; allowed: 1 <= max, min <= max\n" },
    { RULE("\"max\": 3"), "s:1:15: services.orders: has no target; allowed: one of utilisation, "
                          "cpu, wait, latency and lag, or \"min\": 0\n" },
    { RULE("\"max\": 3, \"cpu\": 9, \"idle\": \"1m\""),
      "s:1:15: services.orders: \"idle\" is for a service that may have no process; allowed: with "
      "\"min\": 0\n" },
    { RULE("\"max\": 3, \"cpu\": 9, \"step\": 0"),
      "s:1:54: services.orders.step: 0 is no such number; allowed: from 1 to 64\n" },
    { RULE("\"max\": 3, \"wait\": \"\"}, \"users\": {\"lag\": 0"),
      "s:1:44: services.orders.wait: \"\" is no such time; allowed: a time from 1ms to 3600s, such "
      "as \"250ms\", \"10s\" or \"5m\"\n"
      "s:1:66: services.users.lag: 0 is no such number; allowed: from 1 to 1000000000\n" },
    { "{\"services\": {\"users\\u0000x\": {\"max\": 3, \"cpu\": 9}}}",
      "s:1:15: services.users: is no service that scales; allowed: users, orders, search, "
      "gateway\n" },
    { "{\"interval\": \"5s\\u0000x\"}",
      "s:1:14: interval: \"5s\" is no such time; allowed: a time from 100ms to 60s, such as "
      "\"250ms\", \"10s\" or \"5m\"\n" },
    { RULE("\"max\": 3, \"cpu\": 9}, \"orders\": {"),
      "s:1:47: services.orders: is there twice; allowed: once\n" },
    { "{\"services\": {\"gateway\": {\"max\": 3, \"utilisation\": 70}}}",
      "s:1:15: services.gateway: a gateway has no such target; allowed: cpu\n" },
    { "{\"services\": {\"gateway\": {\"min\": 0, \"max\": 3}}}",
      "s:1:15: services.gateway: \"min\" is 0, but nobody else can take requests; allowed: 1 to "
      "64\n" },
};

static void test_mistakes(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct buf mistakes;
        struct scaling_rules rules = { .interval_ms = 7 };
        buf_init(&mistakes, JSON_MISTAKES_BYTES);
        assert_int_equal(scaling_file_parse("s", str_of(wrong[i].text), &mistakes, &rules),
                         -EINVAL);
        buf_append_char(&mistakes, '\0');
        assert_string_equal(mistakes.data, wrong[i].mistakes);
        assert_int_equal(rules.interval_ms, 7); // nothing was written
        buf_fini(&mistakes);
    }
}

static struct scaling_rules parse(const char *text)
{
    struct buf mistakes;
    struct scaling_rules rules;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    assert_int_equal(scaling_file_parse("s", str_of(text), &mistakes, &rules), 0);
    assert_int_equal(mistakes.len, 0);
    buf_fini(&mistakes);
    return rules;
}

static void test_every_key(void **unused)
{
    (void)unused;
    struct scaling_rules rules = parse(
        "{\"interval\": \"500ms\", \"services\": {\"search\": {\"min\": 0, \"max\": 64, "
        "\"utilisation\": 70, \"cpu\": 80, \"wait\": \"50ms\", \"latency\": \"1s\", \"lag\": 1000, "
        "\"step\": 2, \"cooldown_up\": \"3s\", \"cooldown_down\": \"2m\", \"idle\": \"10m\"}}}");
    assert_int_equal(rules.interval_ms, 500);
    for (int s = 0; s < SERVICES; s++) {
        assert_int_equal(rules.services[s].on, s == services_find("search"));
    }
    const struct scaling_rule *r = &rules.services[services_find("search")];
    const int64_t found[] = { r->min,
                              r->max,
                              r->utilisation,
                              r->cpu,
                              r->wait_ms,
                              r->latency_ms,
                              r->lag,
                              r->step,
                              r->cooldown_up_ms,
                              r->cooldown_down_ms,
                              r->idle_ms };
    const int64_t expected[] = { 0, 64, 70, 80, 50, 1000, 1000, 2, 3000, 120000, 600000 };
    assert_memory_equal(found, expected, sizeof expected);
}

static void test_defaults(void **unused)
{
    (void)unused;
    struct scaling_rules rules = parse("{\"services\": {\"users\": {\"max\": 2, \"cpu\": 1}}}");
    const struct scaling_rule *r = &rules.services[services_find("users")];
    assert_int_equal(rules.interval_ms, SCALING_INTERVAL_MS);
    assert_int_equal(r->min, 1);
    assert_int_equal(r->step, 1);
    assert_int_equal(r->cooldown_up_ms, SCALING_COOLDOWN_UP_MS);
    assert_int_equal(r->cooldown_down_ms, SCALING_COOLDOWN_DOWN_MS);
    assert_int_equal(r->idle_ms, SCALING_IDLE_MS);
    rules = parse("{}");
    for (int s = 0; s < SERVICES; s++) {
        assert_false(rules.services[s].on);
    }
}

static void test_missing_file(void **unused)
{
    (void)unused;
    struct buf mistakes;
    struct scaling_rules rules;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    assert_int_equal(scaling_file_read("/nonexistent/s.json", &mistakes, &rules), -EINVAL);
    assert_true(str_starts(buf_str(&mistakes), STR("/nonexistent/s.json:1:1: cannot be read")));
    buf_fini(&mistakes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
