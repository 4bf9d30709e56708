// SPDX-License-Identifier: MIT
// The dead letters of a group: ls, show, retry, drop and export. Which events are dead letters now
// the queue lists; what they are is in the log, under the topic $dead.<group>, where the queue's
// filter finds those that are meant.
#include "services/tap/letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/uuid.h"
#include "services/tap/ask.h"
#include "services/tap/batch.h"
#include "services/tap/confirm.h"
#include "services/tap/export.h"
#include "services/tap/fields.h"
#include "services/tap/log.h"
#include "services/tap/pace.h"

#define PAGE 1000
#define MAX_LETTERS 1000000 // of one command: 8 MB of sequences; a second run does the rest
#define CHUNKS_A_SECOND 10  // with --rate

// Sequences of dead letters, in order.
struct letters {
    uint64_t *seqs; // owned
    size_t n, cap;
};

static void letters_free(struct letters *l)
{
    free(l->seqs);
    *l = (struct letters){ NULL, 0, 0 };
}

static int letters_add(struct tap *t, struct letters *l, uint64_t seq)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : PAGE;
        uint64_t *grown = realloc(l->seqs, cap * sizeof *grown);
        if (!grown) {
            return tap_fail(t, TAP_UNREACHABLE, "out of memory");
        }
        l->seqs = grown;
        l->cap = cap;
    }
    l->seqs[l->n++] = seq;
    return TAP_OK;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool letters_have(const struct letters *l, uint64_t seq)
{
    return l->n && bsearch(&seq, l->seqs, l->n, sizeof seq, compare);
}

// All dead letters that the group has now.
static int list_all(struct tap *t, struct letters *l)
{
    struct buf result;
    struct str entry;
    uint64_t after = 0;
    int status = TAP_OK;
    buf_init(&result, TAP_RESULT_BYTES);
    for (uint32_t got = PAGE; status == TAP_OK && got > 0 && l->n < MAX_LETTERS;) {
        struct ask a;
        ask_begin(&a);
        ask_text(&a, "group", t->options.target);
        ask_number(&a, "after", (int64_t)after);
        ask_number(&a, "limit", PAGE);
        status = ask_call(t, "dead", &a, &result);
        struct fields_list list = fields_list(status ? STR("") : buf_str(&result), "entries");
        got = list.left;
        while (status == TAP_OK && fields_next(&list, &entry)) {
            after = fields_uint(entry, "seq");
            status = letters_add(t, l, after);
        }
    }
    buf_fini(&result);
    if (status == TAP_OK && l->n) {
        qsort(l->seqs, l->n, sizeof *l->seqs, compare);
    }
    return status;
}

// --- Reading them

struct visit {
    const struct letters *listed;
    int64_t limit; // left; < 0: none
    int (*f)(struct tap *t, const struct letter *letter, void *data);
    void *data;
    int (*on_pause)(struct tap *t, void *data); // may be NULL
    uint64_t n;
};

static int visit_event(struct tap *t, const struct log_entry *e, void *data)
{
    struct visit *v = data;
    struct letter letter;
    int rc = 0;
    if (!letters_have(v->listed, e->seq)) {
        return 0; // it was brought back or dropped
    }
    if (letter_parse(e->seq, e->stored_ms, e->encoded, &letter)) {
        t->damaged = true;
        return 0;
    }
    rc = v->f(t, &letter, v->data);
    v->n++;
    return rc ? rc : v->limit > 0 && v->n == (uint64_t)v->limit ? LOG_STOP : 0;
}

static int visit_pause(struct tap *t, void *data)
{
    struct visit *v = data;
    return v->on_pause ? v->on_pause(t, v->data) : tap_flush(t) ? 0 : LOG_STOP;
}

// Calls v->f for each listed dead letter that --where takes.
static int visit(struct tap *t, struct visit *v)
{
    char topic[QUEUE_MAX_TOPIC + 1];
    const struct letters *l = v->listed;
    if (l->n == 0) {
        return TAP_OK;
    }
    (void)snprintf(topic, sizeof topic, "$dead.%s", t->options.target); // a group's name fits
    struct queue_subscribe wanted = { .filters = { str_of(topic) },
                                      .n_filters = 1,
                                      .where = str_of(t->options.where),
                                      .from = QUEUE_FROM_SEQ,
                                      .from_value = l->seqs[0],
                                      .until_seq = l->seqs[l->n - 1] };
    return log_read(t, &wanted, visit_event, visit_pause, v);
}

// --- ls, show, export

static int show_letter(struct tap *t, const struct letter *letter, void *data)
{
    (void)data;
    tap_element(t);
    letter_render(letter, &t->options.style, t->options.command == TAP_DLQ_SHOW, &t->out);
    tap_element_end(t);
    return 0;
}

static int visit_listed(struct tap *t, struct visit *v)
{
    struct letters l = { NULL, 0, 0 };
    int status = list_all(t, &l);
    v->listed = &l;
    v->limit = t->options.limit;
    status = status ? status : visit(t, v);
    letters_free(&l);
    return status;
}

int dead_ls(struct tap *t)
{
    struct visit v = { .f = show_letter };
    int status = tap_connect(t);
    status = status ? status : visit_listed(t, &v);
    if (status == TAP_OK) {
        tap_list_end(t);
    }
    return status ? status : v.n ? TAP_OK : TAP_NOTHING;
}

int dead_show(struct tap *t)
{
    struct letters one = { &t->options.seq, 1, 1 }; // also when it is not dead any more
    struct visit v = { .f = show_letter, .listed = &one, .limit = -1 };
    int status = tap_connect(t);
    status = status ? status : visit(t, &v);
    if (status == TAP_OK) {
        tap_list_end(t);
    }
    return status ? status : v.n ? TAP_OK : TAP_NOTHING;
}

static int export_letter(struct tap *t, const struct letter *letter, void *data)
{
    struct export *x = data;
    letter_render(letter, &t->options.style, true, &t->out);
    buf_append_char(&t->out, '\n');
    x->n++;
    return 0;
}

static int export_pause(struct tap *t, void *data)
{
    return export_flush(data, t);
}

int dead_export(struct tap *t)
{
    struct export x;
    struct visit v = { .f = export_letter, .data = &x, .on_pause = export_pause };
    int status = tap_connect(t);
    status = status ? status : export_open(&x, t, t->options.file);
    if (status) {
        return status;
    }
    tap_catch_signals(t);
    return export_close(&x, t, visit_listed(t, &v));
}

// --- retry and drop

static int pick_letter(struct tap *t, const struct letter *letter, void *data)
{
    return letters_add(t, data, letter->seq);
}

// A number that options.c has checked.
static uint64_t seq_of(const char *digits)
{
    uint64_t v = 0;
    for (; *digits; digits++) {
        v = v * 10 + (uint64_t)(*digits - '0');
    }
    return v;
}

// Those that the command line means.
static int pick(struct tap *t, struct letters *picked)
{
    const struct options *o = &t->options;
    struct visit v = { .f = pick_letter, .data = picked };
    int status = TAP_OK;
    if (o->where) {
        return visit_listed(t, &v);
    }
    for (size_t i = 0; status == TAP_OK && i < o->n_seqs; i++) {
        status = letters_add(t, picked, seq_of(o->seqs[i]));
    }
    status = status || o->n_seqs ? status : list_all(t, picked);
    if (o->limit > 0 && picked->n > (uint64_t)o->limit) {
        picked->n = (size_t)o->limit;
    }
    return status;
}

struct change {
    const char *method;
    uint64_t changed, missing;
};

static int change_some(struct tap *t, struct change *c, const uint64_t *seqs, size_t n)
{
    struct ask a;
    struct buf result;
    buf_init(&result, TAP_RESULT_BYTES);
    ask_begin(&a);
    ask_text(&a, "group", t->options.target);
    ask_numbers(&a, "seqs", seqs, n);
    ask_flag(&a, "dry_run", t->options.dry_run);
    int status = ask_call(t, c->method, &a, &result);
    if (status == TAP_OK) {
        c->changed += fields_uint(buf_str(&result), "changed");
        c->missing += fields_uint(buf_str(&result), "missing");
    }
    buf_fini(&result);
    return status;
}

static int change_all(struct tap *t, struct change *c, const struct letters *l)
{
    struct pace pace;
    bool unpaced = t->options.dry_run || t->options.to; // copies were published at the rate
    int64_t rate = unpaced ? 0 : t->options.rate;
    size_t chunk = rate ? (size_t)(rate + CHUNKS_A_SECOND - 1) / CHUNKS_A_SECOND : PAGE;
    int status = TAP_OK;
    chunk = chunk < PAGE ? chunk : PAGE;
    pace_begin(&pace, rate);
    for (size_t at = 0; status == TAP_OK && at < l->n; at += chunk) {
        size_t n = l->n - at < chunk ? l->n - at : chunk;
        status = pace_wait(&pace, t, NULL);
        pace.n += n - 1;
        status = status ? status : change_some(t, c, l->seqs + at, n);
    }
    return status;
}

static void report(struct tap *t, const struct change *c, const char *done)
{
    if (t->options.style.format == RENDER_PRETTY) {
        const char *to = t->options.to;
        buf_printf(&t->out, "%s: %" PRIu64 " %s%s%s, %" PRIu64 " not in the list\n",
                   t->options.target, c->changed, t->options.dry_run ? "would be " : "",
                   to ? "published to " : done, to ? to : "", c->missing);
    } else {
        buf_printf(
            &t->out,
            "{\"group\":\"%s\",\"changed\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"dry_run\":%s}\n",
            t->options.target, c->changed, c->missing, t->options.dry_run ? "true" : "false");
    }
}

struct copies {
    struct batch batch;
    struct pace pace;
};

static int publish_letter(struct tap *t, const struct letter *letter, void *data)
{
    struct copies *copies = data;
    char id[UUID_TEXT + 1];
    struct event e = letter->event;
    int64_t now = clock_wall_ms();
    uuid_v7(now, id); // a new event: whoever knows the old one must not take it for a repetition
    e.id = str_of(id);
    e.topic = str_of(t->options.to);
    e.time_ms = now;
    int status = pace_wait(&copies->pace, t, &copies->batch);
    return status ? status : batch_add(&copies->batch, 0, &e);
}

// Copies of the events go to the topic --to; when they are on disk the letters are dropped.
static int publish_copies(struct tap *t, const struct letters *l)
{
    struct copies copies;
    struct visit v = { .f = publish_letter, .data = &copies, .listed = l, .limit = -1 };
    batch_open(&copies.batch, t, NULL);
    pace_begin(&copies.pace, t->options.rate);
    int status = visit(t, &v);
    status = status ? status : batch_finish(&copies.batch);
    batch_close(&copies.batch);
    return status;
}

static int change_letters(struct tap *t, const char *method, const char *verb, const char *done)
{
    struct letters l = { NULL, 0, 0 };
    const char *to = t->options.to;
    struct change c = { .method = to ? "dead-drop" : method };
    int status = tap_connect(t);
    status = status ? status : pick(t, &l);
    if (status == TAP_OK && l.n == 0) {
        status = TAP_NOTHING;
    } else if (status == TAP_OK) {
        status = t->options.dry_run
                     ? -1
                     : confirm(t, "%s %zu dead letter%s of %s%s%s?", verb, l.n, l.n == 1 ? "" : "s",
                               t->options.target, to ? " to " : "", to ? to : "");
        if (status < 0) {
            if (l.n > 1) {
                qsort(l.seqs, l.n, sizeof *l.seqs, compare);
            }
            status = to && !t->options.dry_run ? publish_copies(t, &l) : TAP_OK;
            status = status ? status : change_all(t, &c, &l);
            report(t, &c, done);
            status = status ? status : c.changed ? TAP_OK : TAP_NOTHING;
        }
    }
    letters_free(&l);
    return status;
}

int dead_retry(struct tap *t)
{
    return change_letters(t, "dead-retry", "Retry", "brought back");
}

int dead_drop(struct tap *t)
{
    return change_letters(t, "dead-drop", "Drop", "dropped");
}
