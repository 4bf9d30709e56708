// SPDX-License-Identifier: MIT
// top: topics, groups and members in one picture, with rates between two looks.
#include "services/tap/tap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "services/tap/ask.h"
#include "services/tap/fields.h"
#include "services/tap/lag.h"
#include "services/tap/screen.h"

#define MAX_TOPICS 4096 // as many as the queue has at most
#define SHOWN_TOPICS 20 // the busiest
#define FIRST_LOOK_MS 250

struct topic_row {
    char name[QUEUE_MAX_TOPIC + 1];
    uint64_t events, last_seq;
    double rate; // events a second since the look before
};

struct top {
    struct buf info, groups;
    struct topic_row rows[2][MAX_TOPICS]; // of this look and the one before
    size_t n_rows[2];
    int now; // which of the two
    uint64_t last_seq;
    int64_t at_us; // of the look before
    struct lag_samples lag;
};

static uint64_t events_before(const struct top *p, struct str name)
{
    const struct topic_row *rows = p->rows[!p->now];
    for (size_t i = 0; i < p->n_rows[!p->now]; i++) {
        if (str_eq(name, str_of(rows[i].name))) {
            return rows[i].events;
        }
    }
    return 0;
}

static int busiest_first(const void *a, const void *b)
{
    const struct topic_row *x = a, *y = b;
    return x->rate != y->rate ? (x->rate < y->rate) - (x->rate > y->rate)
                              : (x->last_seq < y->last_seq) - (x->last_seq > y->last_seq);
}

static void take_topics(struct top *p, double seconds)
{
    struct fields_list l = fields_list(buf_str(&p->info), "topics");
    struct str topic;
    p->now = !p->now;
    size_t n = 0;
    while (n < MAX_TOPICS && fields_next(&l, &topic)) {
        struct topic_row *row = &p->rows[p->now][n++];
        struct str name = fields_str(topic, "topic");
        (void)snprintf(row->name, sizeof row->name, "%.*s", STR_ARG(name)); // a topic fits
        row->events = fields_uint(topic, "events");
        row->last_seq = fields_uint(topic, "last_seq");
        uint64_t before = events_before(p, name);
        row->rate =
            seconds > 0 && row->events > before ? (double)(row->events - before) / seconds : 0;
    }
    p->n_rows[p->now] = n;
    if (n) {
        qsort(p->rows[p->now], n, sizeof *p->rows[p->now], busiest_first);
    }
}

static void draw_head(struct top *p, struct tap *t, double seconds, struct buf *b)
{
    struct str info = buf_str(&p->info), version = fields_str(info, "version");
    uint64_t last = fields_uint(info, "last_seq"), lost = fields_list(info, "lost").left;
    buf_printf(b, "sluice-queue %.*s  sync %.*s  %" PRIu64 " events, ", STR_ARG(version),
               STR_ARG(fields_str(info, "sync")), fields_uint(info, "events"));
    render_bytes(fields_uint(info, "bytes"), b);
    buf_printf(b, "  %.1f/s  %" PRIu64 " producers, %" PRIu64 " readers%s\n",
               seconds > 0 && last > p->last_seq ? (double)(last - p->last_seq) / seconds : 0,
               fields_uint(info, "n_producers"), fields_uint(info, "n_subscriptions"),
               lost ? "  DAMAGED: see info" : "");
    p->last_seq = last;
    t->damaged = lost > 0;
}

static void draw_members(struct str group, struct buf *b)
{
    struct fields_list l = fields_list(group, "members");
    struct str member;
    while (fields_next(&l, &member)) {
        buf_printf(b,
                   "    member %" PRIu64 " of client %-8" PRIu64 " window %-6" PRIu64
                   " in flight %" PRIu64 "\n",
                   fields_uint(member, "member"), fields_uint(member, "client"),
                   fields_uint(member, "window"), fields_uint(member, "delivered"));
    }
}

static void draw(struct top *p, struct tap *t, struct buf *b)
{
    int64_t now_us = clock_mono_us();
    double seconds = p->at_us ? (double)(now_us - p->at_us) / 1e6 : 0;
    struct fields_list l = fields_list(buf_str(&p->groups), "groups");
    struct str group;
    draw_head(p, t, seconds, b);
    buf_append_char(b, '\n');
    lag_heading(b);
    while (fields_next(&l, &group)) {
        lag_line(group, lag_rate(&p->lag, group), b);
        draw_members(group, b);
    }
    take_topics(p, seconds);
    buf_printf(b, "\n%-40s %12s %12s %12s\n", "TOPIC", "EVENTS", "LAST", "RATE");
    for (size_t i = 0; i < p->n_rows[p->now] && i < SHOWN_TOPICS; i++) {
        const struct topic_row *row = &p->rows[p->now][i];
        buf_printf(b, "%-40s %12" PRIu64 " %12" PRIu64 " %10.1f/s\n", row->name, row->events,
                   row->last_seq, row->rate);
    }
    p->at_us = now_us;
    lag_take(&p->lag, buf_str(&p->groups));
}

static int look(struct top *p, struct tap *t, struct buf *picture)
{
    int status = ask_info(t, &p->info);
    status = status ? status : lag_ask_groups(t, NULL, &p->groups);
    buf_reset(picture);
    if (status == TAP_OK) {
        draw(p, t, picture);
    }
    return status;
}

// Without a terminal: one picture, with the rates of a short while.
int top_run(struct tap *t)
{
    static struct top p;
    struct screen s;
    struct buf picture;
    int status = tap_connect(t);
    if (status) {
        return status;
    }
    buf_init(&p.info, TAP_RESULT_BYTES);
    buf_init(&p.groups, TAP_RESULT_BYTES);
    buf_init(&picture, TAP_RESULT_BYTES);
    screen_open(&s, t, true);
    status = look(&p, t, &picture);
    for (bool more = status == TAP_OK && screen_wait(&s, FIRST_LOOK_MS); more;) {
        status = look(&p, t, &picture);
        more = status == TAP_OK && screen_draw(&s, buf_str(&picture)) && s.terminal &&
               screen_wait(&s, t->options.interval_ms);
    }
    screen_close(&s);
    buf_fini(&picture);
    buf_fini(&p.groups);
    buf_fini(&p.info);
    return status;
}
