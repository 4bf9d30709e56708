// SPDX-License-Identifier: MIT
// What is rendered is the Prometheus text format: families together, buckets cumulative, +Inf equal
// to _count.
#include "common/metrics.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char *text; // rendered last

static int forget_text(void **state)
{
    (void)state;
    free(text);
    text = NULL;
    return 0;
}

static const char *render_as(enum metrics_format format)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    metrics_render(&b, format);
    assert_true(buf_ok(&b));
    free(text);
    text = strndup(b.data, b.len);
    assert_int_equal(strlen(text), b.len);
    assert_int_equal(text[b.len - 1], '\n');
    buf_fini(&b);
    return text;
}

static const char *render(void)
{
    return render_as(METRICS_TEXT);
}

static void assert_has(const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("not found:\n%s\nin:\n%s", part, text);
    }
}

static int64_t answer(void *data)
{
    return *(int64_t *)data;
}

static void test_families_are_together(void **state)
{
    (void)state;
    static struct metric a1 = METRIC_COUNTER_INIT("t_a_total", "A \\ and\na newline.", "k=\"1\"");
    static struct metric b = METRIC_GAUGE_INIT("t_b", "B.", NULL);
    static struct metric a2 = METRIC_COUNTER_INIT("t_a_total", "A \\ and\na newline.", "k=\"2\"");
    static struct metric a0 = METRIC_COUNTER_INIT("t_a_total", "A \\ and\na newline.", "");
    metrics_register(&a1);
    metrics_register(&b);
    metrics_register(&a2);
    metrics_register(&a0);
    metric_add(&a1, 5);
    metric_add(&a2, 7);
    metric_add(&a2, 1);
    metric_set(&b, -3);
    assert_int_equal(metric_get(&a2), 8);
    render();
    assert_has("# HELP t_a_total A \\\\ and\\na newline.\n# TYPE t_a_total counter\n"
               "t_a_total 0\nt_a_total{k=\"1\"} 5\nt_a_total{k=\"2\"} 8\n"
               "# HELP t_b B.\n# TYPE t_b gauge\nt_b -3\n");
    metrics_unregister(&a1);
    metrics_unregister(&a1); // twice is harmless
    render();
    assert_has("t_a_total 0\nt_a_total{k=\"2\"} 8\n");
    metrics_unregister(&a2);
    metrics_unregister(&a0);
    metrics_unregister(&b);
    assert_null(strstr(render(), "t_"
                                 "a_total"));
}

static void test_read_callback(void **state)
{
    (void)state;
    static int64_t value = 41;
    static struct metric m = {
        .type = METRIC_GAUGE, .name = "t_read", .help = "R.", .read = answer, .data = &value
    };
    metrics_register(&m);
    value++;
    render();
    assert_has("t_read 42\n");
    metrics_unregister(&m);
}

static void test_histogram(void **state)
{
    (void)state;
    static struct metric m = METRIC_HISTOGRAM_INIT("t_seconds", "T.", "route=\"/x\"");
    metrics_register(&m);
    metric_observe_us(&m, -5);      // a clock that stepped: counts as 0
    metric_observe_us(&m, 100);     // a bound is part of its bucket
    metric_observe_us(&m, 101);     // one above is not
    metric_observe_us(&m, 1000000); // le="1"
    metric_observe_us(&m, 10000000);
    metric_observe_us(&m, 10000001); // only +Inf
    render();
    assert_has("# HELP t_seconds T.\n# TYPE t_seconds histogram\n"
               "t_seconds_bucket{route=\"/x\",le=\"0.0001\"} 2\n"
               "t_seconds_bucket{route=\"/x\",le=\"0.00025\"} 3\n");
    assert_has("le=\"0.75\"} 3\nt_seconds_bucket{route=\"/x\",le=\"1\"} 4\n");
    assert_has("le=\"7.5\"} 4\nt_seconds_bucket{route=\"/x\",le=\"10\"} 5\n"
               "t_seconds_bucket{route=\"/x\",le=\"+Inf\"} 6\n"
               "t_seconds_sum{route=\"/x\"} 21.000202\n"
               "t_seconds_count{route=\"/x\"} 6\n");
    metrics_unregister(&m);
}

static void test_histogram_without_labels(void **state)
{
    (void)state;
    static struct metric m = METRIC_HISTOGRAM_INIT("t_plain_seconds", "T.", NULL);
    metrics_register(&m);
    render();
    assert_has("t_plain_seconds_bucket{le=\"0.0001\"} 0\n");
    assert_has("t_plain_seconds_sum 0.000000\nt_plain_seconds_count 0\n");
    metrics_unregister(&m);
}

static double value_of(const char *name)
{
    char start[100];
    snprintf(start, sizeof(start), "\n%s ", name);
    const char *found = strstr(text, start);
    assert_non_null(found);
    return strtod(found + strlen(start), NULL);
}

static void test_process_metrics(void **state)
{
    (void)state;
    int one = dup(0);
    int fds = 0;
    for (int fd = 0; fd < 1000; fd++) {
        fds += fcntl(fd, F_GETFD) >= 0;
    }
    render();
    assert_int_equal(value_of("process_open_fds"), fds);
    close(one);
    assert_true(value_of("process_max_fds") >= 64);
    assert_true(value_of("process_cpu_seconds_total") >= 0);
    assert_true(value_of("process_threads") >= 1);
    assert_true(value_of("process_resident_memory_bytes") > 100000);
    assert_true(value_of("process_virtual_memory_bytes") >=
                value_of("process_resident_memory_bytes"));
    double started = value_of("process_start_time_seconds");
    assert_true(started <= (double)time(NULL) + 1 && started > (double)time(NULL) - 600);
}

static struct metric shared = METRIC_COUNTER_INIT("t_shared_total", "S.", NULL);
static struct metric shared_times = METRIC_HISTOGRAM_INIT("t_shared_seconds", "S.", NULL);
static _Atomic int running;

static void *count(void *data)
{
    static struct metric own[4];
    struct metric *m = &own[*(int *)data];
    *m = (struct metric)METRIC_GAUGE_INIT("t_own", "O.", NULL);
    for (int i = 0; i < 20000; i++) {
        metric_add(&shared, 1);
        metric_observe_us(&shared_times, i);
        if (i % 1000 == 0) {
            metrics_register(m);
            metrics_unregister(m);
        }
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

// The two numbers of a histogram that must always agree.
static void assert_consistent(void)
{
    const char *inf = strstr(text, "t_shared_seconds_bucket{le=\"+Inf\"} ");
    const char *total = strstr(text, "t_shared_seconds_count ");
    assert_non_null(inf);
    assert_non_null(total);
    assert_int_equal(strtoll(strchr(inf, '}') + 1, NULL, 10),
                     strtoll(strchr(total, ' ') + 1, NULL, 10));
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    int numbers[4] = { 0, 1, 2, 3 };
    metrics_register(&shared);
    metrics_register(&shared_times);
    running = 4;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count, &numbers[i]), 0);
    }
    while (atomic_load(&running) > 0) {
        render();
        assert_consistent();
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    render();
    assert_has("t_shared_total 80000\n");
    assert_has("t_shared_seconds_count 80000\n");
    assert_has("t_shared_seconds_sum 799.960000\n");
    metrics_unregister(&shared);
    metrics_unregister(&shared_times);
}

static void test_a_small_buffer_says_so(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    metrics_render(&b, METRICS_TEXT);
    assert_false(buf_ok(&b));
    buf_fini(&b);
}

static void test_openmetrics(void **state)
{
    (void)state;
    static struct metric counter = METRIC_COUNTER_INIT("t_o_total", "A \"quote\".", "k=\"1\"");
    static struct metric times = METRIC_HISTOGRAM_INIT("t_o_seconds", "T.", NULL);
    metrics_register(&counter);
    metrics_register(&times);
    metric_observe_us(&times, 3000);
    render_as(METRICS_OPENMETRICS);
    assert_has("# HELP t_o A \\\"quote\\\".\n# TYPE t_o counter\nt_o_total{k=\"1\"} 0\n");
    assert_has("# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total ");
    assert_has("t_o_seconds_bucket{le=\"0.005\"} 1\n");
    assert_has("t_o_seconds_bucket{le=\"1.0\"} 1\n");
    assert_has("t_o_seconds_bucket{le=\"+Inf\"} 1\n");
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    metrics_unregister(&counter);
    metrics_unregister(&times);
}

static void test_exemplars(void **state)
{
    (void)state;
    static struct metric_exemplars room;
    static struct metric m = METRIC_HISTOGRAM_INIT("t_e_seconds", "T.", "k=\"1\"");
    static struct metric bare = METRIC_HISTOGRAM_INIT("t_f_seconds", "T.", NULL);
    struct trace sampled = { .flags = 1 }, other = { .flags = 2 };
    memset(sampled.trace_id, 0x5a, sizeof sampled.trace_id);
    memset(other.trace_id, 0x77, sizeof other.trace_id);
    m.exemplars = &room;
    metrics_register(&m);
    metrics_register(&bare);
    metric_observe_traced_us(&m, 5000, &sampled); // a bound is part of its bucket
    metric_observe_traced_us(&m, 20000000, &sampled);
    metric_observe_traced_us(&m, 4000, &other);
    metric_observe_traced_us(&m, 1000, &other);
    metric_observe_traced_us(&bare, 4000, &sampled); // has no room
    render();
    assert_has("t_e_seconds_bucket{k=\"1\",le=\"0.005\"} 3\n");
    assert_null(strstr(text, "trace_id"));
    render_as(METRICS_OPENMETRICS);
    assert_has("t_e_seconds_bucket{k=\"1\",le=\"0.001\"} 1\n");
    assert_has("t_e_seconds_bucket{k=\"1\",le=\"0.005\"} 3 # "
               "{trace_id=\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\"} 0.005000 ");
    assert_has("t_e_seconds_bucket{k=\"1\",le=\"0.01\"} 3\n");
    assert_has("t_e_seconds_bucket{k=\"1\",le=\"+Inf\"} 4 # "
               "{trace_id=\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\"} 20.000000 ");
    assert_has("t_e_seconds_count{k=\"1\"} 4\n");
    assert_has("t_f_seconds_bucket{le=\"0.005\"} 1\n");
    assert_null(strstr(text, "7777"));
    const char *when = strstr(text, "} 0.005000 ");
    assert_non_null(when);
    assert_true(labs(strtol(when + strlen("} 0.005000 "), NULL, 10) - time(NULL)) <= 1);
    metrics_unregister(&m);
    metrics_unregister(&bare);
}

static void test_which_format(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum metrics_format format;
    } cases[] = {
        { "", METRICS_TEXT },
        { "*/*", METRICS_TEXT },
        { "text/html,*/*;q=0.8", METRICS_TEXT },
        { "application/openmetrics-text", METRICS_OPENMETRICS },
        { "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
          "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,"
          "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
          METRICS_OPENMETRICS },
        { "application/openmetrics-text ; Q=0.25 , text/plain;q=0.251", METRICS_TEXT },
        { "application/openmetrics-text;q=0.252,text/plain;q=0.251", METRICS_OPENMETRICS },
        { "application/openmetrics-text;q=0", METRICS_TEXT },
        { "application/openmetrics-text;q=", METRICS_TEXT },
        { "application/openmetrics-text;q=0.0000000001", METRICS_TEXT },
        { ",,;,", METRICS_TEXT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (metrics_accept(str_of(cases[i].accept)) != cases[i].format) {
            fail_msg("%s", cases[i].accept);
        }
    }
}

#define CASE(name) cmocka_unit_test_teardown(name, forget_text)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_families_are_together),
        CASE(test_read_callback),
        CASE(test_histogram),
        CASE(test_histogram_without_labels),
        CASE(test_process_metrics),
        CASE(test_threads),
        CASE(test_a_small_buffer_says_so),
        CASE(test_openmetrics),
        CASE(test_which_format),
        CASE(test_exemplars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
