// SPDX-License-Identifier: MIT
// tail, cat and get.
#include "services/tap/log.h"

#include <inttypes.h>

struct shown {
    int64_t n, limit; // limit < 0: none
    int64_t before_ms;
};

static int show(struct tap *t, const struct log_entry *e, void *data)
{
    struct shown *s = data;
    struct render_entry entry = {
        .seq = e->seq, .stored_ms = e->stored_ms, .before_ms = s->before_ms, .encoded = e->encoded
    };
    if (s->limit == 0) {
        return LOG_STOP;
    }
    tap_element(t);
    t->damaged = render_event(&t->options.style, &entry, &t->out) != 0 || t->damaged;
    tap_element_end(t);
    if (!buf_ok(&t->out)) {
        buf_reset(&t->out);
        return tap_fail(t, TAP_UNREACHABLE, "event %" PRIu64 " is too large to print", e->seq);
    }
    s->before_ms = e->stored_ms;
    s->n++;
    return s->n == s->limit ? LOG_STOP : 0;
}

static int flush(struct tap *t, void *data)
{
    (void)data;
    return tap_flush(t) ? 0 : LOG_STOP;
}

static int show_all(struct tap *t, const struct queue_subscribe *wanted, int64_t limit)
{
    struct shown s = { .limit = limit };
    int status = tap_connect(t);
    status = status ? status : log_read(t, wanted, show, flush, &s);
    if (status == TAP_OK || status == TAP_INTERRUPTED) {
        tap_list_end(t);
    }
    return status ? status : s.n ? TAP_OK : TAP_NOTHING;
}

int read_tail(struct tap *t)
{
    struct queue_subscribe wanted;
    (void)log_wanted(&t->options, &wanted); // without a range there can always be something
    // With --since the number is how many are shown; else it said where to begin.
    return show_all(t, &wanted, t->options.since_ms >= 0 ? t->options.number : -1);
}

int read_cat(struct tap *t)
{
    struct queue_subscribe wanted;
    if (!log_wanted(&t->options, &wanted)) {
        tap_list_end(t);
        return TAP_NOTHING;
    }
    return show_all(t, &wanted, t->options.number);
}

int read_get(struct tap *t)
{
    uint64_t seq = t->options.seq;
    struct queue_subscribe wanted = { .from = QUEUE_FROM_SEQ,
                                      .from_value = seq,
                                      .until_seq = seq,
                                      .n_filters = 2,
                                      .filters = { STR(">"), STR("$>") } };
    return show_all(t, &wanted, -1);
}
