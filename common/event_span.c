// SPDX-License-Identifier: MIT
#include "common/event_span.h"

#include "common/clock.h"
#include "common/metrics.h"
#include "common/traces.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

// Begins the span of an event. False: it belongs to no trace.
static bool begin(struct span *s, enum span_kind kind, struct str what, const struct event *e)
{
    struct trace parent;
    if (trace_parse(e->traceparent, &parent)) {
        return false;
    }
    memset(s, 0, sizeof *s);
    trace_child(&s->trace, &parent);
    memcpy(s->parent_id, parent.span_id, sizeof s->parent_id);
    s->kind = kind;
    span_name(s, what, e->topic);
    return true;
}

int event_spans_init(struct event_spans *es, size_t max)
{
    *es = (struct event_spans){ .spans = calloc(max, sizeof *es->spans),
                                .plain_us = calloc(max, sizeof *es->plain_us),
                                .max = max };
    if (!es->spans || !es->plain_us) {
        event_spans_fini(es);
        return -ENOMEM;
    }
    return 0;
}

void event_spans_fini(struct event_spans *es)
{
    free(es->spans);
    free(es->plain_us);
    es->spans = NULL;
    es->plain_us = NULL;
}

void event_spans_clear(struct event_spans *es)
{
    es->n = 0;
    es->events = 0;
}

void event_spans_add(struct event_spans *es, uint64_t seq, int64_t made_ms, struct str encoded)
{
    struct event e;
    // The end of the millisecond that the row names: so nothing is published before it was made.
    int64_t made_us = made_ms * 1000 + 999;
    assert(es->events < es->max);
    struct span *s = &es->spans[es->n];
    if (!traces_are_open() || event_decode(encoded, &e) ||
        !begin(s, SPAN_PRODUCER, STR("publish"), &e)) {
        es->plain_us[es->events++ - es->n] = made_us;
        return;
    }
    s->start_us = made_us;
    s->seq = seq;
    es->n++;
    es->events++;
}

void event_spans_sent(struct event_spans *es)
{
    es->sent_us = clock_wall_us();
    es->timer_us = clock_mono_us();
}

// How long an event was in the outbox. The clock may have gone back since it was made.
static int64_t outbox_us(const struct event_spans *es, int64_t made_us)
{
    return made_us < es->sent_us ? es->sent_us - made_us : 0;
}

void event_spans_published(struct event_spans *es, uint32_t took_us, struct metric *durations)
{
    int64_t away_us = clock_mono_us() - es->timer_us;
    for (size_t i = 0; i < es->events - es->n; i++) {
        metric_observe_us(durations, outbox_us(es, es->plain_us[i]) + away_us);
    }
    for (size_t i = 0; i < es->n; i++) {
        struct span *s = &es->spans[i];
        int64_t wait_us = outbox_us(es, s->start_us);
        s->start_us = es->sent_us - wait_us;
        s->duration_us = wait_us + away_us;
        s->batch = es->events;
        trace_new_span(s->remote.span_id);
        memcpy(s->remote.service, "queue", sizeof "queue");
        s->remote.answered = true;
        s->remote.wait_us = wait_us;
        s->remote.away_us = away_us;
        s->remote.store_us = took_us;
        metric_observe_traced_us(durations, s->duration_us, &s->trace);
        traces_record(s);
    }
    event_spans_clear(es);
}

void event_span_processed(const struct event_processed *p, struct str encoded)
{
    struct event e;
    struct span s;
    if (!traces_are_open() || event_decode(encoded, &e) ||
        !begin(&s, SPAN_CONSUMER, STR("process"), &e)) {
        return;
    }
    s.seq = p->seq;
    s.consumer = p->consumer;
    s.start_us = p->start_us;
    s.duration_us = p->duration_us;
    s.batch = p->batch;
    s.error = p->failed;
    traces_record(&s);
}
