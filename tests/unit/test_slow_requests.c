// SPDX-License-Identifier: MIT
// The slowest of each minute stay for five minutes, whatever else comes, and are told with parts that
// add up.
#include "gateway/slow_requests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND 1000000
#define BEGIN (1000 * (int64_t)SLOW_REQUESTS_PERIOD_US) // of a period

static struct slow_requests slow;
static struct buf out;

static int enter(void **state)
{
    (void)state;
    memset(&slow, 0, sizeof slow);
    buf_init(&out, 1 << 20);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static void add(int64_t duration_us, int64_t now_us)
{
    struct span s = { .kind = SPAN_SERVER, .status = 200, .duration_us = duration_us };
    span_name(&s, STR("GET"), STR("/x"));
    slow_requests_add(&slow, &s, now_us);
}

// The list is these durations, in this order.
static void assert_list(int64_t now_us, const int64_t *durations_us, size_t n)
{
    buf_reset(&out);
    slow_requests_write(&slow, now_us, &out);
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    const char *at = out.data;
    for (size_t i = 0; i < n; i++) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, "\"whole_us\":%lld,", (long long)durations_us[i]);
        at = strstr(at, "\"whole_us\":");
        assert_non_null(at);
        assert_memory_equal(at, expected, strlen(expected));
        at++;
    }
    assert_null(strstr(at, "\"whole_us\":"));
}

static void test_empty(void **state)
{
    (void)state;
    slow_requests_write(&slow, BEGIN, &out);
    assert_true(str_eq(buf_str(&out), STR("{\"requests\":[]}")));
}

static void test_fast_ones_are_not_listed(void **state)
{
    (void)state;
    add(SLOW_REQUESTS_FLOOR_US - 1, BEGIN);
    add(SLOW_REQUESTS_FLOOR_US, BEGIN);
    assert_list(BEGIN, (int64_t[]){ SLOW_REQUESTS_FLOOR_US }, 1);
}

static void test_the_slowest_first(void **state)
{
    (void)state;
    add(5000, BEGIN);
    add(9000, BEGIN);
    add(7000, BEGIN);
    assert_list(BEGIN, (int64_t[]){ 9000, 7000, 5000 }, 3);
}

static void test_many_do_not_push_a_slower_one_out(void **state)
{
    (void)state;
    int64_t expected[SLOW_REQUESTS_MAX] = { 300000 };
    add(300000, BEGIN);
    for (int i = 0; i < 1000; i++) {
        add(2000 + (i * 7919) % 1000, BEGIN + i); // each of 2000 to 2999 once, in no order
    }
    for (int i = 1; i < SLOW_REQUESTS_MAX; i++) {
        expected[i] = 3000 - i;
    }
    assert_list(BEGIN + SECOND, expected, SLOW_REQUESTS_MAX);
}

static void test_over_several_minutes(void **state)
{
    (void)state;
    int64_t expected[SLOW_REQUESTS_MAX];
    for (int i = 0; i < 2 * SLOW_REQUESTS_MAX; i++) { // by turns into two periods
        add(2000 + i, BEGIN + (i % 2) * (int64_t)SLOW_REQUESTS_PERIOD_US);
    }
    for (int i = 0; i < SLOW_REQUESTS_MAX; i++) {
        expected[i] = 2000 + 2 * SLOW_REQUESTS_MAX - 1 - i;
    }
    assert_list(BEGIN + SLOW_REQUESTS_PERIOD_US, expected, SLOW_REQUESTS_MAX);
}

static void test_it_is_forgotten_after_five_minutes(void **state)
{
    (void)state;
    int64_t last = BEGIN + SLOW_REQUESTS_PERIOD_US - 1; // of its period
    add(300000, last);
    assert_list(last + 300 * SECOND, (int64_t[]){ 300000 }, 1);
    assert_list(last + 300 * SECOND + 1, NULL, 0);
    add(5000, last + 360 * SECOND); // in the same place
    assert_list(last + 360 * SECOND, (int64_t[]){ 5000 }, 1);
}

static void test_parts(void **state)
{
    (void)state;
    struct span s = { .kind = SPAN_SERVER,
                      .status = 201,
                      .start_us = INT64_C(1700000000123456),
                      .duration_us = 310000,
                      .remote = { .instance = "orders-1",
                                  .answered = true,
                                  .wait_us = 1000,
                                  .away_us = 308000,
                                  .queue_us = 300,
                                  .handler_us = 700,
                                  .store_us = 306000 } };
    memset(s.trace.trace_id, 0xa1, sizeof s.trace.trace_id);
    span_name(&s, STR("POST"), STR("/v1/\"orders"));
    slow_requests_add(&slow, &s, BEGIN);
    slow_requests_write(&slow, BEGIN, &out);
    buf_append_char(&out, '\0');
    assert_string_equal(
        out.data,
        "{\"requests\":[{\"began_ms\":1700000000123,\"trace_id\":"
        "\"a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\",\"request\":\"POST /v1/\\\"orders\",\"status\":201,"
        "\"instance\":\"orders-1\",\"whole_us\":310000,\"parts_us\":{\"gateway\":1000,"
        "\"wait\":1000,\"way\":1000,\"queue\":300,\"handler\":700,\"store\":306000}}]}");
}

static void test_without_an_answer(void **state)
{
    (void)state;
    struct span s = { .kind = SPAN_SERVER,
                      .status = 504,
                      .duration_us = 5002000,
                      .remote = { .instance = "users-2", .wait_us = 1000, .away_us = 5000000 } };
    slow_requests_add(&slow, &s, BEGIN);
    slow_requests_write(&slow, BEGIN, &out);
    buf_append_char(&out, '\0');
    assert_non_null(strstr(out.data, "\"instance\":\"users-2\",\"whole_us\":5002000,\"parts_us\":"
                                     "{\"gateway\":1000,\"wait\":1000,\"unanswered\":5000000}}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_empty),
        CASE(test_fast_ones_are_not_listed),
        CASE(test_the_slowest_first),
        CASE(test_many_do_not_push_a_slower_one_out),
        CASE(test_over_several_minutes),
        CASE(test_it_is_forgotten_after_five_minutes),
        CASE(test_parts),
        CASE(test_without_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
