// SPDX-License-Identifier: MIT
// Events with a traceparent have spans in its trace, and others none.
#include "common/event_span.h"

#include "common/clock.h"
#include "common/metrics.h"
#include "common/traces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static const struct span_resource resource = { "orders", "orders-1", NULL };
static struct buf event;
static struct event_spans spans;
static struct span taken[8];
static struct metric seconds;

static int enter(void **state)
{
    (void)state;
    struct sampler never;
    seconds = (struct metric)METRIC_HISTOGRAM_INIT("s", "h", NULL);
    buf_init(&event, QUEUE_MAX_EVENT_BYTES);
    return sampler_parse("always_off", "", &never) || traces_open(&resource, &never) ||
           traces_export_begin() || event_spans_init(&spans, 4);
}

static int leave(void **state)
{
    (void)state;
    event_spans_fini(&spans);
    traces_close();
    buf_fini(&event);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static struct str encoded(const char *traceparent, int64_t time_ms)
{
    const struct event e = { .id = STR("i"),
                             .topic = STR("orders.order.placed"),
                             .key = STR("k"),
                             .subject = STR("k"),
                             .source = STR("/sluice/orders"),
                             .time_ms = time_ms,
                             .traceparent = str_of(traceparent) };
    buf_reset(&event);
    event_encode(&event, &e);
    assert_true(buf_ok(&event));
    return buf_str(&event);
}

static uint64_t counted(void)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= METRICS_N_BUCKETS; i++) {
        n += atomic_load(&seconds.buckets[i]);
    }
    return n;
}

static void assert_in_trace(const struct span *s)
{
    char id[TRACE_ID_TEXT + 1], parent[SPAN_ID_TEXT + 1];
    trace_id_text(&s->trace, id);
    trace_hex(s->parent_id, sizeof s->parent_id, parent);
    assert_string_equal(id, TRACE);
    assert_string_equal(parent, PARENT);
    assert_memory_not_equal(s->trace.span_id, s->parent_id, sizeof s->parent_id);
}

static void test_published(void **state)
{
    (void)state;
    int64_t now_us = clock_wall_us();
    int64_t made_ms = now_us / 1000;
    event_spans_add(&spans, 1, made_ms - 50, encoded("00-" TRACE "-" PARENT "-01", made_ms - 50));
    event_spans_add(&spans, 2, made_ms - 20000, encoded("", made_ms - 20000));
    event_spans_add(&spans, 3, made_ms + 60000,
                    encoded("00-" TRACE "-" PARENT "-01", made_ms + 60000));
    event_spans_add(&spans, 4, made_ms - 20000, STR("no event"));
    event_spans_sent(&spans);
    event_spans_published(&spans, 0, &seconds);
    assert_int_equal(traces_export_take(taken, 8), 2);
    for (int i = 0; i < 2; i++) {
        assert_in_trace(&taken[i]);
        assert_int_equal(taken[i].kind, SPAN_PRODUCER);
        assert_string_equal(taken[i].name, "publish orders.order.placed");
        assert_int_equal(taken[i].batch, 4);
        assert_string_equal(taken[i].remote.service, "queue");
        assert_true(taken[i].start_us + taken[i].duration_us >= now_us);
    }
    assert_int_equal(taken[0].seq, 1);
    assert_int_equal(taken[1].seq, 3);
    assert_in_range(taken[0].remote.wait_us, 49000, 5000000);
    assert_int_equal(taken[1].remote.wait_us, 0); // a clock that went back
    assert_int_equal(counted(), 4);               // with a span or without, each for its own time
    assert_int_equal(seconds.buckets[METRICS_N_BUCKETS], 2);
    event_spans_published(&spans, 0, &seconds); // they are gone
    assert_int_equal(counted(), 4);
    assert_int_equal(traces_export_take(taken, 8), 0);
}

// A batch that was refused is read and sent again.
static void test_sent_again(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        event_spans_clear(&spans);
        event_spans_add(&spans, 1, clock_wall_ms(),
                        encoded("00-" TRACE "-" PARENT "-01", clock_wall_ms()));
        event_spans_sent(&spans);
    }
    event_spans_published(&spans, 0, &seconds);
    assert_int_equal(counted(), 1);
    assert_int_equal(traces_export_take(taken, 8), 1);
}

// What nobody traces is counted all the same.
static void test_without_traces(void **state)
{
    (void)state;
    traces_close();
    event_spans_add(&spans, 1, 0, encoded("00-" TRACE "-" PARENT "-01", 0));
    event_spans_add(&spans, 2, clock_wall_ms(), STR("no event"));
    event_spans_sent(&spans);
    event_spans_published(&spans, 0, &seconds);
    assert_int_equal(counted(), 2);
    assert_int_equal(seconds.buckets[METRICS_N_BUCKETS], 1); // since 1970
}

static void test_processed(void **state)
{
    (void)state;
    struct event_processed p = { .seq = 7, .consumer = "search", .start_us = 1000, .batch = 2 };
    event_span_processed(&p, encoded("00-" TRACE "-" PARENT "-01", 5));
    event_span_processed(&p, encoded("nonsense", 5));
    event_span_processed(&p, STR("no event"));
    p.failed = true;
    event_span_processed(&p, encoded("00-" TRACE "-" PARENT "-00", 5)); // kept as an error
    assert_int_equal(traces_export_take(taken, 8), 2);
    assert_in_trace(&taken[0]);
    assert_int_equal(taken[0].kind, SPAN_CONSUMER);
    assert_string_equal(taken[0].name, "process orders.order.placed");
    assert_string_equal(taken[0].consumer, "search");
    assert_int_equal(taken[0].seq, 7);
    assert_false(taken[0].error);
    assert_true(taken[1].error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_published),
        CASE(test_sent_again),
        CASE(test_without_traces),
        CASE(test_processed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
