// SPDX-License-Identifier: MIT
// tail, cat and get: one subscription each. Reading acknowledges nothing and leaves nothing behind
// in the queue.
#include "services/tap/tap.h"

#include <inttypes.h>
#include <stdio.h>

static void print_separator(struct tap *t)
{
    if (t->options.format == RENDER_JSON) {
        buf_append_z(&t->out, t->n_events ? ",\n " : "[");
    }
}

static void on_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                     struct str encoded, void *data)
{
    struct tap *t = data;
    (void)s;
    print_separator(t);
    int rc = render_event(t->options.format, t->options.color, seq, stored_ms, encoded, &t->out);
    t->damaged = t->damaged || rc;
    if (t->options.format == RENDER_NDJSON) {
        buf_append_char(&t->out, '\n');
    }
    if (!buf_ok(&t->out)) {
        tap_fail(t, TAP_UNREACHABLE, "event %" PRIu64 " is too large to print", seq);
        return;
    }
    t->n_events++;
    queue_subscription_grant(s, 1);
}

static void on_batch_end(struct queue_subscription *s, void *data)
{
    struct tap *t = data;
    (void)s;
    if (!t->options.follow) {
        tap_expect(t, true); // the next frame, or the end
    }
    tap_flush(t);
}

static void on_caught_up(struct queue_subscription *s, uint64_t next_seq, void *data)
{
    (void)s, (void)next_seq;
    tap_expect(data, false);
}

static void on_lost(struct queue_subscription *s, uint64_t first, uint64_t last, void *data)
{
    struct tap *t = data;
    (void)s;
    t->damaged = true;
    tap_flush(t);
    (void)fprintf(stderr, "LOST %" PRIu64 "..%" PRIu64 "\n", first, last);
}

static void on_ended(struct queue_subscription *s, struct str reason, struct str detail,
                     uint64_t next_seq, void *data)
{
    struct tap *t = data;
    (void)s, (void)next_seq;
    t->reading = NULL;
    if (t->options.format == RENDER_JSON) {
        buf_append_z(&t->out, t->n_events ? "]\n" : "[]\n");
    }
    tap_flush(t);
    if (!str_eq(reason, STR("end")) && !str_eq(reason, STR("until"))) {
        tap_fail(t, TAP_UNREACHABLE, "the queue refused: %.*s: %.*s", STR_ARG(reason),
                 STR_ARG(detail));
        return;
    }
    tap_finish(t, t->n_events ? TAP_OK : TAP_NOTHING);
}

static void set_tail(const struct options *o, struct queue_subscribe *s)
{
    int64_t n = o->last >= 0 ? o->last : TAP_TAIL;
    s->follow = o->follow;
    if (n == 0) {
        s->from = QUEUE_FROM_END;
    } else {
        s->from = QUEUE_FROM_LAST;
        s->from_value = (uint64_t)n;
    }
}

// What the options ask for.
static void describe(const struct options *o, struct queue_subscribe *s)
{
    *s = (struct queue_subscribe){ .credit = TAP_CREDIT,
                                   .n_filters = o->n_filters,
                                   .key = str_of(o->key) };
    memcpy(s->filters, o->filters, sizeof o->filters);
    if (o->command == TAP_GET) {
        s->from = QUEUE_FROM_SEQ;
        s->from_value = s->until_seq = o->seq;
    } else if (o->has_range) {
        s->from = o->range.from;
        s->from_value = o->range.value;
        s->until_seq = o->range.until_seq;
        s->until_ms = o->range.until_ms;
    } else if (o->since_ms >= 0 && o->last < 0) {
        s->from = QUEUE_FROM_TIME;
        s->from_value = (uint64_t)o->since_ms;
        s->follow = o->follow;
    } else if (o->command == TAP_TAIL_EVENTS) {
        set_tail(o, s);
    }
}

void read_start(struct tap *t)
{
    struct queue_subscribe options;
    struct queue_subscription_callbacks callbacks = { on_event, on_batch_end, on_caught_up,
                                                      on_lost,  on_ended,     t };
    if (t->options.has_range && t->options.range.empty) {
        tap_finish(t, TAP_NOTHING);
        return;
    }
    describe(&t->options, &options);
    tap_expect(t, true);
    int rc = queue_client_subscribe(t->queue, &options, &callbacks, &t->reading);
    if (rc) {
        tap_fail(t, TAP_UNREACHABLE, "cannot subscribe: %s", strerror(-rc));
    }
}
