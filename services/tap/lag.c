// SPDX-License-Identifier: MIT
// lag and pending: what groups have not done yet.
#include "services/tap/lag.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "services/tap/ask.h"
#include "services/tap/fields.h"
#include "services/tap/screen.h"

#define FIRST_LOOK_MS 250 // between two looks, so that there is a rate
#define PAGE 1000         // entries of pending asked for at once

// How much a group has finished until now.
static uint64_t finished(struct str group)
{
    return fields_uint(group, "acked") + fields_uint(group, "died");
}

static const struct lag_sample *sample_of(const struct lag_samples *s, struct str name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (str_eq(name, str_of(s->at[i].name))) {
            return &s->at[i];
        }
    }
    return NULL;
}

double lag_rate(const struct lag_samples *s, struct str group)
{
    const struct lag_sample *before = sample_of(s, fields_str(group, "group"));
    int64_t took_us = clock_mono_us() - s->taken_us;
    uint64_t now = finished(group);
    return before && now >= before->finished && took_us > 0
               ? (double)(now - before->finished) * 1e6 / (double)took_us
               : 0;
}

void lag_take(struct lag_samples *s, struct str groups)
{
    struct fields_list l = fields_list(groups, "groups");
    struct str group;
    s->n = 0;
    s->taken_us = clock_mono_us();
    while (s->n < LAG_MAX_GROUPS && fields_next(&l, &group)) {
        struct str name = fields_str(group, "group");
        struct lag_sample *to = &s->at[s->n++];
        (void)snprintf(to->name, sizeof to->name, "%.*s", STR_ARG(name)); // a group's name fits
        to->finished = finished(group);
    }
}

uint64_t lag_waiting(struct str group)
{
    return fields_uint(group, "ready") + fields_uint(group, "blocked") +
           fields_uint(group, "delayed") + fields_uint(group, "dying");
}

static void append_age(struct str group, struct buf *b)
{
    char text[24];
    struct buf age;
    int64_t oldest = fields_int(group, "oldest_ms");
    buf_init(&age, sizeof text - 1);
    if (oldest) {
        render_duration(clock_wall_ms() - oldest, &age);
    }
    buf_printf(b, " %9.*s", (int)(age.len ? age.len : 1), age.len ? age.data : "-");
    buf_fini(&age);
}

static void append_eta(uint64_t lag, double rate, struct buf *b)
{
    struct buf eta;
    buf_init(&eta, 64);
    if (lag == 0) {
        buf_append_z(&eta, "0s");
    } else if (rate > 0) {
        render_duration((int64_t)((double)lag / rate * 1000), &eta);
    } else {
        buf_append_z(&eta, "-");
    }
    buf_printf(b, " %9.*s", STR_ARG(buf_str(&eta)));
    buf_fini(&eta);
}

void lag_heading(struct buf *b)
{
    buf_printf(b, "%-24s %10s %9s %9s %7s %9s %10s %9s  %s\n", "GROUP", "LAG", "WAITING",
               "IN FLIGHT", "DEAD", "OLDEST", "RATE", "ETA", "STATE");
}

void lag_line(struct str group, double rate, struct buf *b)
{
    struct str name = fields_str(group, "group");
    uint64_t lag = fields_uint(group, "lag"), members = fields_list(group, "members").left;
    buf_printf(b, "%-24.*s %10" PRIu64 " %9" PRIu64 " %9" PRIu64 " %7" PRIu64, STR_ARG(name), lag,
               lag_waiting(group), fields_uint(group, "delivered"), fields_uint(group, "dead"));
    append_age(group, b);
    buf_printf(b, " %8.1f/s", rate);
    append_eta(lag, rate, b);
    if (fields_bool(group, "paused")) {
        buf_append_z(b, "  paused\n");
    } else {
        buf_printf(b, "  %" PRIu64 " member%s\n", members, members == 1 ? "" : "s");
    }
}

static void lag_json(struct tap *t, struct str group, double rate)
{
    uint64_t lag = fields_uint(group, "lag");
    struct buf *b = &t->out;
    tap_element(t);
    buf_append_z(b, "{\"group\":\"");
    buf_append_json(b, fields_str(group, "group"));
    buf_printf(b,
               "\",\"lag\":%" PRIu64 ",\"waiting\":%" PRIu64 ",\"in_flight\":%" PRIu64
               ",\"dead\":%" PRIu64 ",\"redelivered\":%" PRIu64 ",\"paused\":%s,\"oldest_at\":",
               lag, lag_waiting(group), fields_uint(group, "delivered"), fields_uint(group, "dead"),
               fields_uint(group, "redeliveries"), fields_bool(group, "paused") ? "true" : "false");
    if (fields_int(group, "oldest_ms")) {
        buf_append_char(b, '"');
        render_time(fields_int(group, "oldest_ms"), b);
        buf_append_char(b, '"');
    } else {
        buf_append_z(b, "null");
    }
    buf_printf(b, ",\"rate\":%.1f,\"eta_ms\":", rate);
    if (lag && rate <= 0) {
        buf_append_z(b, "null}");
    } else {
        buf_printf(b, "%" PRId64 "}", lag ? (int64_t)((double)lag / rate * 1000) : 0);
    }
    tap_element_end(t);
}

int lag_ask_groups(struct tap *t, const char *group, struct buf *ret)
{
    struct ask a;
    ask_begin(&a);
    ask_text(&a, "group", group);
    return ask_call(t, "groups", &a, ret);
}

static uint32_t draw(struct tap *t, struct screen *s, const struct lag_samples *before,
                     struct str groups)
{
    struct fields_list l = fields_list(groups, "groups");
    struct buf picture;
    struct str group;
    uint32_t n = l.left;
    bool pretty = t->options.style.format == RENDER_PRETTY;
    buf_init(&picture, TAP_RESULT_BYTES);
    if (pretty) {
        lag_heading(&picture);
    }
    while (fields_next(&l, &group)) {
        double rate = lag_rate(before, group);
        if (pretty) {
            lag_line(group, rate, &picture);
        } else {
            lag_json(t, group, rate);
        }
    }
    if (pretty) {
        (void)screen_draw(s, buf_str(&picture));
    } else {
        tap_list_end(t);
        (void)tap_flush(t);
    }
    buf_fini(&picture);
    return n;
}

int lag_show(struct tap *t)
{
    static struct lag_samples before;
    struct screen s;
    struct buf groups;
    uint32_t n = 0;
    bool more = true;
    int status = tap_connect(t);
    if (status) {
        return status;
    }
    buf_init(&groups, TAP_RESULT_BYTES);
    if (t->options.watch) {
        screen_open(&s, t, false);
    } else {
        s = (struct screen){ .t = t };
    }
    status = lag_ask_groups(t, t->options.target, &groups);
    int64_t pause = FIRST_LOOK_MS;
    while (status == TAP_OK && more) {
        lag_take(&before, buf_str(&groups));
        if (!screen_wait(&s, pause)) {
            break;
        }
        status = lag_ask_groups(t, t->options.target, &groups);
        n = status ? 0 : draw(t, &s, &before, buf_str(&groups));
        more = t->options.watch && !t->closed;
        pause = t->options.interval_ms;
    }
    if (t->options.watch) {
        screen_close(&s);
    }
    buf_fini(&groups);
    return status ? status : n || t->options.watch ? TAP_OK : TAP_NOTHING;
}

// --- pending

static void append_short(uint64_t ms, struct buf *b)
{
    struct buf text;
    buf_init(&text, 32);
    render_duration((int64_t)ms, &text);
    buf_printf(b, " %8.*s", STR_ARG(buf_str(&text)));
    buf_fini(&text);
}

static void pending_line(struct tap *t, struct str entry)
{
    struct buf *b = &t->out;
    struct str state = fields_str(entry, "state"), error = fields_str(entry, "error");
    if (t->options.style.format != RENDER_PRETTY) {
        tap_element(t);
        render_value(entry, b);
        tap_element_end(t);
        return;
    }
    buf_printf(b, "%12" PRIu64 " %-9.*s %7" PRIu64 " %8" PRIu64 " %6" PRIu64,
               fields_uint(entry, "seq"), STR_ARG(state), fields_uint(entry, "attempt"),
               fields_uint(entry, "failures"), fields_uint(entry, "client"));
    append_short(fields_uint(entry, "age_ms"), b);
    append_short(fields_uint(entry, "due_ms"), b);
    buf_append_z(b, "  ");
    buf_append_json(b, error);
    buf_append_char(b, '\n');
}

static int pending_pages(struct tap *t, int64_t limit, uint64_t *ret_n, uint64_t *ret_total)
{
    struct buf result;
    struct str entry;
    uint64_t after = 0;
    int status = TAP_OK;
    buf_init(&result, TAP_RESULT_BYTES);
    for (uint32_t got = PAGE; status == TAP_OK && got > 0 && limit > 0 && !t->closed;) {
        struct ask a;
        ask_begin(&a);
        ask_text(&a, "group", t->options.target);
        ask_number(&a, "after", (int64_t)after);
        ask_number(&a, "limit", limit < PAGE ? limit : PAGE);
        status = ask_call(t, "pending", &a, &result);
        struct fields_list l = fields_list(status ? STR("") : buf_str(&result), "entries");
        got = l.left;
        while (fields_next(&l, &entry)) {
            pending_line(t, entry);
            after = fields_uint(entry, "seq");
        }
        *ret_total = status ? 0 : fields_uint(buf_str(&result), "total");
        *ret_n += got;
        limit -= got;
        (void)tap_flush(t);
    }
    buf_fini(&result);
    return status;
}

int lag_pending(struct tap *t)
{
    uint64_t n = 0, total = 0;
    int status = tap_connect(t);
    if (status) {
        return status;
    }
    if (t->options.style.format == RENDER_PRETTY) {
        buf_printf(&t->out, "%12s %-9s %7s %8s %6s %8s %8s  %s\n", "SEQ", "STATE", "ATTEMPT",
                   "FAILURES", "CLIENT", "AGE", "DUE", "ERROR");
    }
    status = pending_pages(t, t->options.number >= 0 ? t->options.number : TAP_LIST, &n, &total);
    if (status == TAP_OK) {
        tap_list_end(t);
        if (n < total && t->options.style.format == RENDER_PRETTY) {
            buf_printf(&t->out, "%" PRIu64 " of %" PRIu64 "; -n shows more\n", n, total);
        }
    }
    return status ? status : n ? TAP_OK : TAP_NOTHING;
}
