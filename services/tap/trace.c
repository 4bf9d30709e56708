// SPDX-License-Identifier: MIT
// trace: every event of an entity, a trace or a conversation, when it came, and what became of it in
// each group. The queue's filter finds the events; dead letters are among them, as they keep subject,
// key and traceparent. If all are of one trace, people are shown the whole of it first, as far as the
// processes of the home remember it.
#include "services/tap/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/traces_fetch.h"
#include "common/waterfall.h"
#include "services/tap/ask.h"
#include "services/tap/fields.h"

#define MAX_ID 256   // bytes
#define BAR_WIDTH 24 // characters of the waterfall
#define WHERE_BYTES 1100

struct hop {
    uint64_t seq;
    int64_t stored_ms;
    char *event; // encoded; owned
    size_t n;
};

struct trace_hops {
    struct hop *hops; // owned
    size_t n, cap, max;
    bool more; // than max
};

static int add_hop(struct tap *t, const struct log_entry *e, void *data)
{
    struct trace_hops *h = data;
    if (h->n == h->max) {
        h->more = true;
        return LOG_STOP;
    }
    if (h->n == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : 64;
        struct hop *grown = realloc(h->hops, cap * sizeof *grown);
        if (!grown) {
            return tap_fail(t, TAP_UNREACHABLE, "out of memory");
        }
        h->hops = grown;
        h->cap = cap;
    }
    char *copy = malloc(e->encoded.n + 1);
    if (!copy) {
        return tap_fail(t, TAP_UNREACHABLE, "out of memory");
    }
    memcpy(copy, e->encoded.p, e->encoded.n);
    h->hops[h->n++] = (struct hop){ e->seq, e->stored_ms, copy, e->encoded.n };
    return 0;
}

static void free_hops(struct trace_hops *h)
{
    for (size_t i = 0; i < h->n; i++) {
        free(h->hops[i].event);
    }
    free(h->hops);
}

static bool is_number(const char *id)
{
    size_t n = strspn(id, "0123456789");
    return n > 0 && n <= 18 && id[n] == 0;
}

// The filter that finds what belongs to the id.
static int make_where(struct tap *t, const char *id, struct buf *b)
{
    bool whole_parent = strlen(id) == 55 && id[2] == '-'; // of it only the trace id counts
    struct str trace = whole_parent ? (struct str){ id + 3, 32 } : str_of(id);
    if (!*id || strlen(id) > MAX_ID) {
        return tap_fail(t, TAP_USAGE, "trace: an id has 1 to %d bytes", MAX_ID);
    }
    if (is_number(id)) {
        buf_printf(b, ".seq == %s or .subject == \"%s\" or .key == \"%s\"", id, id, id);
        return TAP_OK;
    }
    buf_append_z(b, ".traceparent contains \"");
    buf_append_json(b, trace);
    buf_append_char(b, '"');
    for (size_t i = 0; !whole_parent && i < 3; i++) {
        static const char *const names[] = { "id", "subject", "key" };
        buf_printf(b, " or .%s == \"", names[i]);
        buf_append_json(b, str_of(id));
        buf_append_char(b, '"');
    }
    return TAP_OK;
}

// How the bar of an event stands between the first and the last.
static void append_bar(int64_t at_ms, int64_t whole_ms, struct buf *b)
{
    int64_t at = whole_ms > 0 ? at_ms * (BAR_WIDTH - 1) / whole_ms : 0;
    buf_append_z(b, "|");
    for (int64_t i = 0; i < BAR_WIDTH; i++) {
        buf_append_char(b, i < at ? ' ' : i == at ? '#' : ' ');
    }
    buf_append_z(b, "|");
}

static void append_groups(struct str groups, struct buf *b)
{
    struct fields_list l = fields_list(groups, "groups");
    struct str g;
    while (fields_next(&l, &g)) {
        struct str state = fields_str(g, "state"), error = fields_str(g, "error");
        if (str_eq(state, STR("unwanted"))) {
            continue;
        }
        buf_append_z(b, "        ");
        buf_append_json(b, fields_str(g, "group"));
        buf_append_z(b, ": ");
        buf_append_json(b, state);
        uint64_t failures = fields_uint(g, "failures");
        if (failures) {
            buf_printf(b, ", failed %" PRIu64 " time%s", failures, failures == 1 ? "" : "s");
        }
        if (error.n) {
            buf_append_z(b, ", ");
            buf_append_json(b, error);
        }
        buf_append_char(b, '\n');
    }
}

static void hop_text(struct tap *t, const struct hop *h, const struct trace_hops *all,
                     struct str groups)
{
    struct event e;
    struct buf *b = &t->out, delta;
    int64_t begin = all->hops[0].stored_ms, whole = all->hops[all->n - 1].stored_ms - begin;
    if (event_decode((struct str){ h->event, h->n }, &e)) {
        t->damaged = true;
        return;
    }
    buf_init(&delta, 32);
    buf_append_char(&delta, '+');
    render_duration(h->stored_ms - begin, &delta);
    append_bar(h->stored_ms - begin, whole, b);
    buf_printf(b, " %8.*s  #%-10" PRIu64 "  ", STR_ARG(buf_str(&delta)), h->seq);
    buf_append_json(b, e.topic);
    buf_append_z(b, e.subject.n ? "  " : "");
    buf_append_json(b, e.subject);
    buf_append_z(b, e.source.n ? "  from " : "");
    buf_append_json(b, e.source);
    buf_append_char(b, '\n');
    append_groups(groups, b);
    buf_fini(&delta);
}

static void hop_json(struct tap *t, const struct hop *h, struct str groups)
{
    struct buf extra;
    buf_init(&extra, TAP_RESULT_BYTES);
    buf_append_z(&extra, ",\"groups\":");
    render_value(fields_raw(groups, "groups"), &extra);
    struct render_entry entry = { .seq = h->seq,
                                  .stored_ms = h->stored_ms,
                                  .encoded = { h->event, h->n },
                                  .extra = buf_str(&extra) };
    tap_element(t);
    t->damaged = render_event(&t->options.style, &entry, &t->out) != 0 || t->damaged;
    tap_element_end(t);
    buf_fini(&extra);
}

static int show_hops(struct tap *t, const struct trace_hops *all)
{
    struct buf groups;
    int status = TAP_OK;
    buf_init(&groups, TAP_RESULT_BYTES);
    for (size_t i = 0; status == TAP_OK && i < all->n && !t->closed; i++) {
        const struct hop *h = &all->hops[i];
        struct ask a;
        ask_begin(&a);
        ask_number(&a, "seq", (int64_t)h->seq);
        status = ask_call(t, "trace", &a, &groups);
        if (status == TAP_OK && t->options.style.format == RENDER_PRETTY) {
            hop_text(t, h, all, buf_str(&groups));
        } else if (status == TAP_OK) {
            hop_json(t, h, buf_str(&groups));
        }
        (void)tap_flush(t);
    }
    buf_fini(&groups);
    return status;
}

// The trace that was asked for, or that all the events are of. "": there is none, or several.
static void trace_of(const struct trace_hops *h, const char *target, char id[TRACE_ID_TEXT + 1])
{
    struct event e;
    struct trace t;
    if (traces_fetch_id(target, id) == 0) {
        return;
    }
    *id = '\0';
    for (size_t i = 0; i < h->n; i++) {
        char other[TRACE_ID_TEXT + 1] = "";
        if (event_decode((struct str){ h->hops[i].event, h->hops[i].n }, &e) == 0 &&
            trace_parse(e.traceparent, &t) == 0) {
            trace_id_text(&t, other);
        }
        if (i == 0) {
            memcpy(id, other, sizeof other);
        } else if (strcmp(id, other) != 0) {
            *id = '\0';
            return;
        }
    }
}

// Draws the spans of a trace, if a process has some: those of a home that is elsewhere, or was
// restarted, have none, and the events are shown all the same. Whether there were some.
static bool show_spans(struct tap *t, const char *id)
{
    struct traces_fetch fetch;
    struct waterfall w;
    const char *home = getenv("SLUICE_HOME");
    int rc = 0;
    traces_fetch_init(&fetch, id);
    waterfall_init(&w);
    (void)traces_fetch_home(&fetch, home && *home ? home : "./var", NULL);
    for (size_t i = 0; !rc && i < fetch.n; i++) {
        rc = waterfall_add(&w, fetch.docs[i]);
    }
    bool some = w.n > 0;
    waterfall_draw(&w, waterfall_columns(), t->options.color, &t->out);
    waterfall_fini(&w);
    traces_fetch_fini(&fetch);
    return some;
}

static int find_hops(struct tap *t, struct trace_hops *h)
{
    struct buf where;
    struct queue_subscribe wanted;
    buf_init(&where, WHERE_BYTES);
    int status = make_where(t, t->options.target, &where);
    if (status == TAP_OK && (!buf_ok(&where) || where.len > QUEUE_MAX_WHERE)) {
        status = tap_fail(t, TAP_USAGE, "trace: the id is too long to look for");
    }
    status = status ? status : tap_connect(t);
    if (status == TAP_OK) {
        (void)log_wanted(&t->options, &wanted); // without a range there can always be something
        wanted.filters[0] = STR(">");
        wanted.filters[1] = STR("$>");
        wanted.n_filters = 2;
        wanted.where = buf_str(&where);
        status = log_read(t, &wanted, add_hop, NULL, h);
    }
    buf_fini(&where);
    return status;
}

int trace_run(struct tap *t)
{
    struct trace_hops h = { .max = t->options.number >= 0 ? (size_t)t->options.number : TAP_LIST };
    char id[TRACE_ID_TEXT + 1];
    int status = find_hops(t, &h);
    bool drawn = false;
    if (status == TAP_OK && t->options.style.format == RENDER_PRETTY) {
        trace_of(&h, t->options.target, id);
        drawn = *id && show_spans(t, id);
        buf_append_z(&t->out, drawn && h.n ? "\n" : "");
        (void)tap_flush(t);
    }
    status = status ? status : show_hops(t, &h);
    if (status == TAP_OK) {
        tap_list_end(t);
        if (h.more) {
            (void)tap_fail(t, 0, "there are more than %zu events; -n shows more", h.max);
        }
        status = h.n || drawn ? TAP_OK : TAP_NOTHING;
    }
    free_hops(&h);
    return status;
}
