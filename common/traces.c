// SPDX-License-Identifier: MIT
#include "common/traces.h"

#include "common/metrics.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum reason { KEPT_ERROR, KEPT_SLOW, KEPT_SAMPLED, REASONS };

// Rings overwrite their oldest span. Memory is not touched before it is used.
struct ring {
    struct span *spans;
    size_t size; // a power of two
    uint64_t n;  // ever written
};

// From the loop's thread to the exporter's: each moves one of the two counts.
struct queue {
    struct span *spans; // NULL: nobody exports
    _Atomic uint64_t in, out;
};

static struct {
    bool open;
    struct span_resource resource;
    struct sampler sampler;
    struct ring recent, kept, sampled;
    struct queue queue;
    int64_t slow_us;   // the bar
    int64_t second;    // that slow ones are counted in
    unsigned slow_now; // in it
    struct metric recorded, reasons[REASONS], dropped;
} traces;

_Static_assert((TRACES_RECENT & (TRACES_RECENT - 1)) == 0 &&
                   (TRACES_KEPT & (TRACES_KEPT - 1)) == 0 &&
                   (TRACES_SAMPLED & (TRACES_SAMPLED - 1)) == 0 &&
                   (TRACES_EXPORT & (TRACES_EXPORT - 1)) == 0,
               "rings are found by masks");

// --- Rings

static int ring_open(struct ring *r, size_t size)
{
    r->spans = calloc(size, sizeof *r->spans);
    r->size = size;
    r->n = 0;
    return r->spans ? 0 : -ENOMEM;
}

static void ring_close(struct ring *r)
{
    free(r->spans);
    r->spans = NULL;
}

static void ring_put(struct ring *r, const struct span *s)
{
    r->spans[r->n++ & (r->size - 1)] = *s;
}

static size_t ring_count(const struct ring *r)
{
    return r->n < r->size ? (size_t)r->n : r->size;
}

// The i-th, oldest first.
static const struct span *ring_at(const struct ring *r, size_t i)
{
    return &r->spans[(r->n - ring_count(r) + i) & (r->size - 1)];
}

static void queue_put(struct queue *q, const struct span *s)
{
    uint64_t in = atomic_load_explicit(&q->in, memory_order_relaxed);
    if (!q->spans) {
        return;
    }
    if (in - atomic_load_explicit(&q->out, memory_order_acquire) == TRACES_EXPORT) {
        metric_add(&traces.dropped, 1);
        return;
    }
    q->spans[in & (TRACES_EXPORT - 1)] = *s;
    atomic_store_explicit(&q->in, in + 1, memory_order_release);
}

// --- What is worth keeping

// The bar rises while more are over it than wanted, and sinks in seconds in which fewer were.
static bool is_slow(const struct span *s)
{
    int64_t second = (s->start_us + s->duration_us) / 1000000;
    if (second != traces.second) {
        if (traces.slow_now < TRACES_SLOW_PER_S) {
            traces.slow_us -= traces.slow_us / 4;
        }
        traces.slow_us =
            traces.slow_us < TRACES_SLOW_FLOOR_US ? TRACES_SLOW_FLOOR_US : traces.slow_us;
        traces.second = second;
        traces.slow_now = 0;
    }
    if (s->duration_us < traces.slow_us) {
        return false;
    }
    if (++traces.slow_now > TRACES_SLOW_PER_S) {
        traces.slow_us = s->duration_us + s->duration_us / 4;
    }
    return true;
}

bool traces_are_open(void)
{
    return traces.open;
}

void traces_record(const struct span *s)
{
    if (!traces.open) {
        return;
    }
    bool slow = is_slow(s); // counts, so it is asked always
    ring_put(&traces.recent, s);
    metric_add(&traces.recorded, 1);
    if (!s->error && !slow && !trace_is_sampled(&s->trace)) {
        return;
    }
    enum reason reason = s->error ? KEPT_ERROR : slow ? KEPT_SLOW : KEPT_SAMPLED;
    metric_add(&traces.reasons[reason], 1);
    ring_put(reason == KEPT_SAMPLED ? &traces.sampled : &traces.kept, s);
    queue_put(&traces.queue, s);
}

void traces_begin(const struct trace *parent, struct trace *ret_trace)
{
    if (traces.open) {
        sampler_begin(&traces.sampler, parent, ret_trace);
    } else if (parent) {
        trace_child(ret_trace, parent);
    } else {
        trace_start(ret_trace, false);
    }
}

// --- Looking at them

static bool is_trace_id(struct str s)
{
    bool ok = s.n == TRACE_ID_TEXT;
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f');
    }
    return ok;
}

static bool has(const struct span *spans, size_t n, const struct span *s)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(spans[i].trace.span_id, s->trace.span_id, sizeof s->trace.span_id) == 0) {
            return true;
        }
    }
    return false;
}

// Adds what a ring has of a trace, or all of it, to the n spans in out, but none twice. Returns how
// many there are now.
static size_t collect(const struct ring *r, struct str trace_id, struct span *out, size_t n)
{
    char text[TRACE_ID_TEXT + 1];
    size_t others = n; // of other rings: one has each span once
    for (size_t i = 0; i < ring_count(r); i++) {
        const struct span *s = ring_at(r, i);
        trace_id_text(&s->trace, text);
        bool wanted = !trace_id.n || str_eq(str_of(text), trace_id);
        if (wanted && !has(out, others, s)) {
            out[n++] = *s;
        }
    }
    return n;
}

int traces_write(struct str trace_id, struct buf *out)
{
    if (trace_id.n && !is_trace_id(trace_id)) {
        buf_append_z(out, "a trace id has 32 digits of 0-9 and a-f\n");
        return 400;
    }
    struct span *found = calloc(TRACES_KEPT + TRACES_SAMPLED + TRACES_RECENT, sizeof *found);
    if (!found) {
        buf_append_z(out, "no memory\n");
        return 503;
    }
    size_t n = collect(&traces.kept, trace_id, found, 0);
    n = collect(&traces.sampled, trace_id, found, n);
    if (trace_id.n) {
        n = collect(&traces.recent, trace_id, found, n);
    }
    span_write_otlp(&traces.resource, found, n, out);
    free(found);
    return 200;
}

// --- Exporting

int traces_export_begin(void)
{
    traces.queue.spans = calloc(TRACES_EXPORT, sizeof *traces.queue.spans);
    return traces.queue.spans ? 0 : -ENOMEM;
}

size_t traces_export_take(struct span *spans, size_t max)
{
    struct queue *q = &traces.queue;
    uint64_t out = atomic_load_explicit(&q->out, memory_order_relaxed);
    uint64_t in = atomic_load_explicit(&q->in, memory_order_acquire);
    size_t n = 0;
    for (; n < max && out + n < in; n++) {
        spans[n] = q->spans[(out + n) & (TRACES_EXPORT - 1)];
    }
    atomic_store_explicit(&q->out, out + n, memory_order_release);
    return n;
}

size_t traces_export_waiting(void)
{
    uint64_t out = atomic_load(&traces.queue.out); // before in, which only grows
    return (size_t)(atomic_load(&traces.queue.in) - out);
}

// --- Opening and closing

static void init_metrics(void)
{
    static const char *const labels[REASONS] = { "reason=\"error\"", "reason=\"slow\"",
                                                 "reason=\"sampled\"" };
    traces.recorded =
        (struct metric)METRIC_COUNTER_INIT("sluice_traces_spans_total", "Spans recorded.", NULL);
    traces.dropped =
        (struct metric)METRIC_COUNTER_INIT(TRACES_DROPPED, TRACES_DROPPED_HELP, "reason=\"full\"");
    metrics_register(&traces.recorded);
    metrics_register(&traces.dropped);
    for (int i = 0; i < REASONS; i++) {
        traces.reasons[i] = (struct metric)METRIC_COUNTER_INIT(
            "sluice_traces_kept_total", "Spans kept for a longer while, by reason.", labels[i]);
        metrics_register(&traces.reasons[i]);
    }
}

static void close_rings(void)
{
    ring_close(&traces.recent);
    ring_close(&traces.kept);
    ring_close(&traces.sampled);
}

int traces_open(const struct span_resource *resource, const struct sampler *sampler)
{
    memset(&traces, 0, sizeof traces);
    traces.resource = *resource;
    traces.sampler = *sampler;
    traces.slow_us = TRACES_SLOW_START_US;
    int rc = ring_open(&traces.recent, TRACES_RECENT);
    rc = rc ? rc : ring_open(&traces.kept, TRACES_KEPT);
    rc = rc ? rc : ring_open(&traces.sampled, TRACES_SAMPLED);
    if (rc) {
        close_rings();
        return rc;
    }
    init_metrics();
    traces.open = true;
    return 0;
}

void traces_close(void)
{
    if (!traces.open) {
        return;
    }
    traces.open = false;
    metrics_unregister(&traces.recorded);
    metrics_unregister(&traces.dropped);
    for (int i = 0; i < REASONS; i++) {
        metrics_unregister(&traces.reasons[i]);
    }
    close_rings();
    free(traces.queue.spans);
    traces.queue.spans = NULL;
}
