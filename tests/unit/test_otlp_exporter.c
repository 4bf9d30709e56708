// SPDX-License-Identifier: MIT
// Whatever the collector does, recording goes on, closing ends in time, and every kept span is
// counted as sent or as lost.
#include "common/otlp_exporter.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/traces.h"
#include "tests/unit/played_http.h"
#include "tests/unit/rendered_metric.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 20000
#define OK "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

static const struct span_resource resource = { "gateway", "gateway-1", NULL };
static struct played_http server;
static struct otlp_exporter *exporter;
static char error[OTLP_EXPORTER_ERROR_SIZE];

static int enter(void **state)
{
    (void)state;
    struct sampler all;
    return sampler_parse("always_on", "", &all) || traces_open(&resource, &all);
}

static int leave(void **state)
{
    (void)state;
    otlp_exporter_close(&exporter);
    traces_close();
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static int open_at(const char *endpoint, const char *headers)
{
    const struct otlp_options options = {
        .endpoint = endpoint, .headers = headers, .timeout_ms = 60000, .resource = &resource
    };
    return otlp_exporter_open(&options, &exporter, error);
}

static void open_port(int port)
{
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/traces", port);
    assert_int_equal(open_at(url, "Authorization=Bearer x=,X-Org=1"), 0);
}

static void record(int n)
{
    for (int i = 0; i < n; i++) {
        struct span s = { .kind = SPAN_SERVER, .start_us = clock_wall_us(), .duration_us = 5 };
        traces_begin(NULL, &s.trace);
        span_name(&s, STR("GET"), STR("/x"));
        traces_record(&s);
    }
}

#define SENT "sluice_traces_exported_total"
#define FAILURES "sluice_traces_export_failures_total"
#define REFUSED "sluice_traces_dropped_total{reason=\"refused\"}"

static void wait_for(const char *name, int64_t value)
{
    int64_t end_ms = clock_mono_ms() + LIMIT_MS;
    while (rendered_metric(name) != value) {
        if (clock_mono_ms() > end_ms) {
            fail_msg("%s is %lld, not %lld", name, (long long)rendered_metric(name),
                     (long long)value);
        }
        usleep(2000);
    }
}

static void test_sends(void **state)
{
    (void)state;
    static const char *const answers[] = { OK, OK, NULL };
    played_http_start(&server, answers);
    open_port(server.port);
    record(1);
    wait_for(SENT, 1);
    record(1);
    wait_for(SENT, 2);
    played_http_end(&server);
    assert_non_null(strstr(server.request, "POST /v1/traces HTTP/1.1\r\n"));
    assert_non_null(strstr(server.request, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(server.request, "\r\nAuthorization: Bearer x=\r\nX-Org: 1\r\n"));
    assert_non_null(strstr(server.request, "\"name\":\"GET /x\""));
    assert_int_equal(rendered_metric(FAILURES), 0);
    assert_int_equal(rendered_metric(REFUSED), 0);
}

static void test_tries_again(void **state)
{
    (void)state;
    static const char *const answers[] = { "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", OK,
                                           NULL };
    played_http_start(&server, answers);
    open_port(server.port);
    record(1);
    wait_for(SENT, 1);
    played_http_end(&server);
    assert_int_equal(rendered_metric(FAILURES), 1);
    assert_int_equal(rendered_metric(REFUSED), 0);
}

static void test_refused_for_good(void **state)
{
    (void)state;
    static const char *const answers[] = { "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
                                           "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", OK,
                                           NULL };
    played_http_start(&server, answers);
    open_port(server.port);
    record(1);
    wait_for(REFUSED, 1); // and it is not tried again
    record(1);
    wait_for(REFUSED, 2);
    record(1);
    wait_for(SENT, 1);
    played_http_end(&server);
    assert_int_equal(rendered_metric(FAILURES), 2);
}

static void test_refused_in_part(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        OK,
        "HTTP/1.1 200 OK\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"4\"}}",
        "HTTP/1.1 200 OK\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":99}}",
        "HTTP/1.1 200 OK\r\n\r\nno JSON",
        NULL,
    };
    played_http_start(&server, answers);
    open_port(server.port);
    record(1);
    wait_for(FAILURES, 1);
    record(10); // while it waits to try again, so that they are one batch
    wait_for(SENT, 1 + 6);
    wait_for(REFUSED, 4);
    record(1);
    wait_for(REFUSED, 5);
    record(1);
    wait_for(SENT, 8);
    played_http_end(&server);
}

// A collector that never answers: nobody waits for it, and what does not fit is counted.
static void test_silent(void **state)
{
    (void)state;
    static const char *const answers[] = { "", NULL };
    played_http_start(&server, answers);
    open_port(server.port);
    record(1);
    while (atomic_load(&server.connections) == 0) {
        usleep(2000);
    }
    int64_t begin_ms = clock_mono_ms();
    record(TRACES_EXPORT + 100);
    assert_true(clock_mono_ms() - begin_ms < 5000);
    assert_int_equal(rendered_metric("sluice_traces_dropped_total{reason=\"full\"}"), 100);
    begin_ms = clock_mono_ms();
    otlp_exporter_close(&exporter); // though the request has a minute
    assert_true(clock_mono_ms() - begin_ms < OTLP_EXPORTER_FLUSH_MS + 5000);
    played_http_end(&server);
}

static void test_absent(void **state)
{
    (void)state;
    open_port(played_http_nobody());
    record(5);
    wait_for(FAILURES, 1);
    int64_t begin_ms = clock_mono_ms();
    otlp_exporter_close(&exporter);
    assert_true(clock_mono_ms() - begin_ms < OTLP_EXPORTER_FLUSH_MS + 5000);
}

// What is there at the end still leaves, in as many batches as it takes.
static void test_flush(void **state)
{
    (void)state;
    static const char *const answers[] = { OK, OK, OK, OK, OK, NULL };
    played_http_start(&server, answers);
    open_port(server.port);
    record(2 * OTLP_EXPORTER_BATCH + 5);
    otlp_exporter_close(&exporter);
    played_http_end(&server);
    assert_in_range(atomic_load(&server.connections), 3, 5);
    assert_int_equal(traces_export_waiting(), 0);
}

static void test_wrong_options(void **state)
{
    (void)state;
    char longer[700] = "http://";
    memset(longer + 7, 'h', sizeof longer - 8);
    longer[sizeof longer - 1] = '\0';
    static const char *const urls[] = { "", "localhost:4318", "https://h:4318", "http://",
                                        "http:///x" };
    static const char *const headers[] = { "x", "=x", "a b=c", "a=1,,b=2", "\x01=1" };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        *error = '\0';
        assert_int_equal(open_at(urls[i], NULL), -EINVAL);
        assert_true(*error);
    }
    assert_int_equal(open_at(longer, NULL), -EINVAL);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        assert_int_equal(open_at("http://127.0.0.1:9/", headers[i]), -EINVAL);
    }
    assert_null(exporter);
    assert_int_equal(rendered_metric(SENT), -1); // nothing is left behind
}

int main(void)
{
    log_init("test", "test", LEVEL_FATAL, LOG_FORMAT_JSON); // failures are wanted here
    const struct CMUnitTest tests[] = {
        CASE(test_sends),           CASE(test_tries_again),   CASE(test_refused_for_good),
        CASE(test_refused_in_part), CASE(test_silent),        CASE(test_absent),
        CASE(test_flush),           CASE(test_wrong_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
