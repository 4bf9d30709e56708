// SPDX-License-Identifier: MIT
// The rings: the newest are there, what is worth keeping outlives them, and the exporter's thread
// gets each kept span once and whole, or its loss is counted.
#include "common/traces.h"

#include "common/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct span_resource resource = { "gateway", "gateway-1", NULL };
static struct buf out;
static int64_t clock_us;

static int enter(void **state)
{
    (void)state;
    struct sampler never;
    clock_us = INT64_C(1700000000000000);
    buf_init(&out, 64 << 20);
    return sampler_parse("parentbased_always_off", "", &never) || traces_open(&resource, &never);
}

static int leave(void **state)
{
    (void)state;
    traces_close();
    buf_fini(&out);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static struct span new_span(int64_t duration_us, bool sampled, bool error)
{
    struct span s = { .kind = SPAN_SERVER,
                      .status = error ? 500 : 200,
                      .error = error,
                      .start_us = clock_us,
                      .duration_us = duration_us };
    trace_start(&s.trace, sampled);
    span_name(&s, STR("GET"), STR("/x"));
    return s;
}

static struct span record(int64_t duration_us, bool sampled, bool error)
{
    struct span s = new_span(duration_us, sampled, error);
    traces_record(&s);
    return s;
}

static size_t count(struct str haystack, const char *needle)
{
    size_t n = 0;
    for (const char *p = haystack.p; (p = strstr(p, needle)); p++) {
        n++;
    }
    return n;
}

// How many spans the page has for this trace; NULL: the kept ones.
static size_t listed(const struct span *s)
{
    char id[TRACE_ID_TEXT + 1] = "";
    if (s) {
        trace_id_text(&s->trace, id);
    }
    buf_reset(&out);
    assert_int_equal(traces_write(str_of(id), &out), 200);
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    return count(buf_str(&out), "\"spanId\"");
}

static void metrics_have(const char *line)
{
    buf_reset(&out);
    metrics_render(&out, METRICS_TEXT);
    buf_append_char(&out, '\0');
    if (!strstr(out.data, line)) {
        fail_msg("no %s in %s", line, out.data);
    }
}

static void test_newest_are_there(void **state)
{
    (void)state;
    struct span first = record(10, false, false), second = record(10, false, false);
    assert_int_equal(listed(&first), 1);
    assert_int_equal(listed(NULL), 0); // not kept
    for (int i = 0; i < TRACES_RECENT - 1; i++) {
        (void)record(10, false, false);
    }
    assert_int_equal(listed(&first), 0);
    assert_int_equal(listed(&second), 1);
    metrics_have("sluice_traces_spans_total 2049\n");
}

static void test_what_is_kept(void **state)
{
    (void)state;
    struct span error = record(10, false, true), sampled = record(10, true, false);
    struct span slow = record(TRACES_SLOW_START_US, false, false);
    for (int i = 0; i < 2 * TRACES_RECENT; i++) {
        (void)record(10, false, false);
    }
    assert_int_equal(listed(&error), 1);
    assert_int_equal(listed(&sampled), 1);
    assert_int_equal(listed(&slow), 1);
    assert_int_equal(listed(NULL), 3);
    metrics_have("sluice_traces_kept_total{reason=\"error\"} 1\n");
    metrics_have("sluice_traces_kept_total{reason=\"slow\"} 1\n");
    metrics_have("sluice_traces_kept_total{reason=\"sampled\"} 1\n");
    for (int i = 0; i < TRACES_KEPT; i++) { // and the kept ones make room for newer ones, too
        (void)record(10, false, true);
    }
    assert_int_equal(listed(&error), 0);
    assert_int_equal(listed(&slow), 0);
    assert_int_equal(listed(NULL), TRACES_KEPT + 1); // and the sampled one
}

// With OTEL_TRACES_SAMPLER=always_on every span is sampled: errors and slow ones outlive them all the
// same, and so do sampled ones a flood of errors.
static void test_sampled_displace_nothing(void **state)
{
    (void)state;
    struct span error = record(10, true, true);
    struct span slow = record(TRACES_SLOW_START_US, true, false);
    struct span last = { 0 };
    for (int i = 0; i < TRACES_RECENT + TRACES_SAMPLED; i++) {
        last = record(10, true, false);
    }
    assert_int_equal(listed(&error), 1);
    assert_int_equal(listed(&slow), 1);
    assert_int_equal(listed(&last), 1); // once, though it is in two rings
    assert_int_equal(listed(NULL), TRACES_SAMPLED + 2);
    metrics_have("sluice_traces_kept_total{reason=\"sampled\"} 2560\n");
    for (int i = 0; i < TRACES_RECENT + TRACES_KEPT; i++) {
        (void)record(10, true, true);
    }
    assert_int_equal(listed(&error), 0);
    assert_int_equal(listed(&last), 1);
}

// 1000 requests a second, each slower than the one before: about the slowest few are kept.
static void test_bar_moves(void **state)
{
    (void)state;
    for (int second = 0; second < 60; second++) {
        for (int i = 0; i < 1000; i++) {
            (void)record(500 + i, false, false);
            clock_us += 1000;
        }
    }
    buf_reset(&out);
    metrics_render(&out, METRICS_TEXT);
    buf_append_char(&out, '\0');
    const char *slow_ones = strstr(out.data, "sluice_traces_kept_total{reason=\"slow\"} ");
    assert_non_null(slow_ones); // all that were kept, those that made room included
    assert_in_range(atoi(strchr(slow_ones, ' ')), 60, 60 * 20); // not the 22 000 over the floor
    size_t kept = listed(NULL);
    struct span usual = record(100, false, false), slow = record(50000, false, false);
    for (int i = 0; i < TRACES_RECENT; i++) {
        (void)record(100, false, false);
    }
    assert_int_equal(listed(&usual), 0);
    assert_int_equal(listed(&slow), 1);
    // When everything becomes slow, not everything is kept.
    for (int i = 0; i < 10000; i++) {
        (void)record(INT64_C(1000000) + i, false, false);
    }
    assert_true(listed(NULL) < kept + 200);
}

static void test_wrong_ids(void **state)
{
    (void)state;
    static const char *const wrong[] = { "x", "0AF7651916CD43DD8448EB211C80319C",
                                         "0af7651916cd43dd8448eb211c80319",
                                         "0af7651916cd43dd8448eb211c80319c0" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(traces_write(str_of(wrong[i]), &out), 400);
    }
    buf_reset(&out);
    assert_int_equal(traces_write(STR("0af7651916cd43dd8448eb211c80319c"), &out), 200);
    assert_int_equal(out.len, strlen("{\"resourceSpans\":[]}"));
}

// --- For the exporter

static void test_overrun_is_counted(void **state)
{
    (void)state;
    static struct span taken[100];
    assert_int_equal(traces_export_begin(), 0);
    for (int i = 0; i < TRACES_EXPORT + 7; i++) {
        struct span s = new_span(10, true, false);
        s.seq = (uint64_t)i;
        traces_record(&s);
    }
    (void)record(10, false, false); // is not for it
    assert_int_equal(traces_export_waiting(), TRACES_EXPORT);
    metrics_have("sluice_traces_dropped_total{reason=\"full\"} 7\n");
    for (uint64_t i = 0; i < TRACES_EXPORT;) {
        size_t n = traces_export_take(taken, 100);
        assert_true(n > 0);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(taken[k].seq, i++); // the oldest; the newest were dropped
        }
    }
    assert_int_equal(traces_export_take(taken, 100), 0);
    (void)record(10, true, false);
    assert_int_equal(traces_export_take(taken, 100), 1);
}

#define MANY 400000

struct taker {
    uint64_t taken, next;
    bool in_order, whole;
    _Atomic bool done; // nothing is recorded any more
};

static void *take_all(void *data)
{
    static struct span spans[64];
    struct taker *t = data;
    for (;;) {
        bool done = atomic_load(&t->done); // before the look
        size_t n = traces_export_take(spans, 64);
        for (size_t i = 0; i < n; i++) {
            t->in_order = t->in_order && spans[i].seq >= t->next;
            t->next = spans[i].seq + 1;
            t->whole = t->whole && spans[i].remote.away_us == (int64_t)spans[i].seq &&
                       spans[i].start_us == (int64_t)spans[i].seq;
        }
        t->taken += n;
        if (n == 0 && done) {
            return NULL;
        }
    }
}

static void test_two_threads(void **state)
{
    (void)state;
    struct taker t = { .in_order = true, .whole = true };
    pthread_t thread;
    char line[80];
    assert_int_equal(traces_export_begin(), 0);
    assert_int_equal(pthread_create(&thread, NULL, take_all, &t), 0);
    for (uint64_t i = 0; i < MANY; i++) {
        struct span s = new_span(0, true, false);
        s.seq = i;
        s.start_us = s.remote.away_us = (int64_t)i;
        traces_record(&s);
    }
    atomic_store(&t.done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(t.in_order && t.whole && t.taken > 0);
    (void)snprintf(line, sizeof line, "sluice_traces_dropped_total{reason=\"full\"} %llu\n",
                   (unsigned long long)(MANY - t.taken));
    metrics_have(line);
}

static void test_without_opening(void **state)
{
    (void)state;
    struct trace t, parent;
    traces_close();
    assert_false(traces_are_open());
    (void)record(10, true, true); // does nothing
    traces_begin(NULL, &t);
    assert_true(trace_is_set(&t) && !trace_is_sampled(&t));
    trace_start(&parent, true);
    traces_begin(&parent, &t);
    assert_true(trace_is_sampled(&t));
    assert_memory_equal(t.trace_id, parent.trace_id, sizeof t.trace_id);
    assert_int_equal(listed(NULL), 0);
    traces_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_newest_are_there),
        CASE(test_what_is_kept),
        CASE(test_sampled_displace_nothing),
        CASE(test_bar_moves),
        CASE(test_wrong_ids),
        CASE(test_overrun_is_counted),
        CASE(test_two_threads),
        CASE(test_without_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
