// SPDX-License-Identifier: MIT
// Failed handshakes are counted by reason, and reported while somebody prints that.
#include "common/handshakes.h"

#include "common/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int lines;
static char last[HANDSHAKES_TEXT_SIZE];

static void print(const char *text)
{
    lines++;
    (void)snprintf(last, sizeof last, "%s", text);
}

static void test_reports_are_printed(void **state)
{
    (void)state;
    handshakes_report("nobody listens");
    handshakes_open(print);
    handshakes_report("first");
    assert_int_equal(lines, 1);
    assert_string_equal(last, "first");
    handshakes_report("second");
    assert_int_equal(lines, 2);
    assert_string_equal(last, "second");
    handshakes_close();
    handshakes_report("nobody listens any more");
    assert_int_equal(lines, 2);
}

static void test_each_reason_has_its_counter(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 100000);
    handshakes_open(NULL);
    handshakes_count(HANDSHAKE_AUTH);
    handshakes_count(HANDSHAKE_CLOSED);
    handshakes_count(HANDSHAKE_CLOSED);
    metrics_render(&text, METRICS_TEXT);
    buf_append_char(&text, '\0');
    assert_true(buf_ok(&text));
    assert_non_null(strstr(text.data, "failures_total{reason=\"auth\"} 1\n"));
    assert_non_null(strstr(text.data, "failures_total{reason=\"protocol\"} 0\n"));
    assert_non_null(strstr(text.data, "failures_total{reason=\"closed\"} 2\n"));
    handshakes_close();
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reports_are_printed),
        cmocka_unit_test(test_each_reason_has_its_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
