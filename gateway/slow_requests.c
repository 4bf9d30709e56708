// SPDX-License-Identifier: MIT
#include "gateway/slow_requests.h"

#include <assert.h>
#include <inttypes.h>

static int64_t number_of(int64_t now_us)
{
    assert(now_us >= 0);
    return now_us / SLOW_REQUESTS_PERIOD_US;
}

static struct span *fastest(struct slow_period *p)
{
    struct span *found = &p->spans[0];
    for (size_t i = 1; i < p->n; i++) {
        found = p->spans[i].duration_us < found->duration_us ? &p->spans[i] : found;
    }
    return found;
}

void slow_requests_add(struct slow_requests *s, const struct span *span, int64_t now_us)
{
    if (span->duration_us < SLOW_REQUESTS_FLOOR_US) {
        return;
    }
    int64_t number = number_of(now_us);
    struct slow_period *p = &s->periods[number % SLOW_REQUESTS_PERIODS];
    if (p->number != number) { // what is there is too old
        p->number = number;
        p->n = 0;
    }
    if (p->n < SLOW_REQUESTS_MAX) {
        p->spans[p->n++] = *span;
    } else if (span->duration_us > p->least_us) {
        *fastest(p) = *span;
    } else {
        return;
    }
    p->least_us = fastest(p)->duration_us;
}

// --- The list

// Puts it among the n slowest that are there, slowest first; returns how many there are then.
static size_t insert(const struct span *list[SLOW_REQUESTS_MAX], size_t n, const struct span *span)
{
    size_t at = n;
    while (at > 0 && list[at - 1]->duration_us < span->duration_us) {
        at--;
    }
    if (at == SLOW_REQUESTS_MAX) {
        return n;
    }
    n += n < SLOW_REQUESTS_MAX;
    memmove(&list[at + 1], &list[at], (n - at - 1) * sizeof *list);
    list[at] = span;
    return n;
}

static size_t collect(const struct slow_requests *s, int64_t now_us,
                      const struct span *list[SLOW_REQUESTS_MAX])
{
    size_t n = 0;
    int64_t oldest = number_of(now_us) - SLOW_REQUESTS_PERIODS + 1;
    for (size_t i = 0; i < SLOW_REQUESTS_PERIODS; i++) {
        const struct slow_period *p = &s->periods[i];
        for (size_t k = 0; p->number >= oldest && k < p->n; k++) {
            n = insert(list, n, &p->spans[k]);
        }
    }
    return n;
}

static void write_parts(const struct span *span, struct buf *json)
{
    const struct span_remote *r = &span->remote;
    buf_printf(json, "{\"gateway\":%" PRId64 ",\"wait\":%" PRId64,
               span->duration_us - r->wait_us - r->away_us, r->wait_us);
    if (r->answered) {
        buf_printf(json,
                   ",\"way\":%" PRId64 ",\"queue\":%" PRId64 ",\"handler\":%" PRId64
                   ",\"store\":%" PRId64,
                   r->away_us - r->queue_us - r->handler_us - r->store_us, r->queue_us,
                   r->handler_us, r->store_us);
    } else {
        buf_printf(json, ",\"unanswered\":%" PRId64, r->away_us);
    }
    buf_append_char(json, '}');
}

static void write_request(const struct span *span, struct buf *json)
{
    char trace_id[TRACE_ID_TEXT + 1];
    trace_id_text(&span->trace, trace_id);
    buf_printf(json, "{\"began_ms\":%" PRId64 ",\"trace_id\":\"%s\",\"request\":\"",
               span->start_us / 1000, trace_id);
    buf_append_json(json, str_of(span->name));
    buf_printf(json, "\",\"status\":%" PRIu32 ",\"instance\":\"", span->status);
    buf_append_json(json, str_of(span->remote.instance));
    buf_printf(json, "\",\"whole_us\":%" PRId64 ",\"parts_us\":", span->duration_us);
    write_parts(span, json);
    buf_append_char(json, '}');
}

void slow_requests_write(const struct slow_requests *s, int64_t now_us, struct buf *json)
{
    const struct span *list[SLOW_REQUESTS_MAX];
    size_t n = collect(s, now_us, list);
    buf_append_z(json, "{\"requests\":[");
    for (size_t i = 0; i < n; i++) {
        buf_append_z(json, i ? "," : "");
        write_request(list[i], json);
    }
    buf_append_z(json, "]}");
}
