// SPDX-License-Identifier: MIT
// A loop that was held up is seen in the histogram by as long as it was, and a lag that nobody closes
// keeps no loop running.
#include "common/loop_lag.h"

#include "common/metrics.h"
#include "tests/unit/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 10000
#define STALL_MS 400

// A sample of the metric; -1: it is not registered.
static double sample(const char *suffix)
{
    char name[80];
    struct buf text;
    (void)snprintf(name, sizeof name, "\nsluice_loop_lag_seconds%s ", suffix);
    buf_init(&text, 100000);
    metrics_render(&text, METRICS_TEXT);
    buf_append_char(&text, '\0');
    assert_true(buf_ok(&text));
    const char *at = strstr(text.data, name);
    double value = at ? strtod(at + strlen(name), NULL) : -1;
    buf_fini(&text);
    return value;
}

static double slow_ticks(void)
{
    return sample("_count") - sample("_bucket{le=\"0.25\"}");
}

static void test_a_stall_is_seen(void **state)
{
    (void)state;
    struct loop_lag *lag = NULL;
    assert_int_equal(loop_lag_open(&loop, &lag), 0);
    LOOP_UNTIL(sample("_count") >= 3, LIMIT_MS);
    double before = slow_ticks(), sum_s = sample("_sum");
    (void)usleep(1000 * STALL_MS); // the fault itself
    LOOP_UNTIL(slow_ticks() > before, LIMIT_MS);
    assert_true(sample("_sum") - sum_s >= 0.001 * (STALL_MS - LOOP_LAG_TICK_MS));
    loop_lag_close(&lag);
    assert_null(lag);
    assert_true(sample("_count") < 0);
    loop_lag_close(&lag);
}

static void test_it_keeps_no_loop_running(void **state)
{
    (void)state;
    struct loop_lag *lag = NULL;
    uv_loop_t own;
    assert_int_equal(uv_loop_init(&own), 0);
    assert_int_equal(loop_lag_open(&own, &lag), 0);
    assert_int_equal(uv_run(&own, UV_RUN_DEFAULT), 0);
    loop_lag_close(&lag);
    assert_int_equal(uv_run(&own, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&own), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_a_stall_is_seen),
        LOOP_CASE(test_it_keeps_no_loop_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
