// SPDX-License-Identifier: MIT
#include "services/tap/letter.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "services/tap/fields.h"

#define EXTRA_BYTES 8192 // of the member `dead`: an error is at most 256 bytes

int letter_parse(uint64_t seq, int64_t died_ms, struct str encoded, struct letter *ret)
{
    struct event copy;
    if (event_decode(encoded, &copy) || !copy.data.p) {
        return -EBADMSG;
    }
    struct str map = copy.data, event = fields_raw(map, "event"), bytes;
    struct letter l = { .seq = seq,
                        .died_ms = died_ms,
                        .group = fields_str(map, "group"),
                        .reason = fields_str(map, "reason"),
                        .error = fields_str(map, "error"),
                        .attempts = fields_uint(map, "attempts"),
                        .retries = fields_uint(map, "retries"),
                        .origin_seq = fields_uint(map, "seq"),
                        .stored_ms = fields_int(map, "stored_ms") };
    l.event = (struct event){ .id = fields_str(event, "id"),
                              .topic = fields_str(event, "topic"),
                              .key = fields_str(event, "key"),
                              .subject = fields_str(event, "subject"),
                              .source = fields_str(event, "source"),
                              .time_ms = fields_int(event, "time_ms"),
                              .traceparent = fields_str(event, "traceparent"),
                              .data = fields_raw(event, "data") };
    if (event.n == 0 || l.event.topic.n == 0) {
        return -EBADMSG;
    }
    struct reader r = reader_of(l.event.data);
    if (reader_peek(&r) == READER_NIL || reader_peek(&r) == READER_END) {
        l.event.data = (struct str){ NULL, 0 };
    } else if (reader_bin(&r, &bytes) == 0) {
        l.event.data = bytes; // it was no MessagePack
    }
    *ret = l;
    return 0;
}

static void append_extra(const struct letter *l, struct buf *b)
{
    buf_printf(b, ",\"dead\":{\"seq\":%" PRIu64 ",\"group\":\"", l->seq);
    buf_append_json(b, l->group);
    buf_append_z(b, "\",\"reason\":\"");
    buf_append_json(b, l->reason);
    buf_append_z(b, "\",\"error\":\"");
    buf_append_json(b, l->error);
    buf_printf(b, "\",\"attempts\":%" PRIu64 ",\"retries\":%" PRIu64 ",\"died_at\":\"", l->attempts,
               l->retries);
    render_time(l->died_ms, b);
    buf_append_z(b, "\"}");
}

// The event as render.h shows one.
static void append_event(const struct letter *l, const struct render_style *style, uint64_t seq,
                         struct buf *b)
{
    struct buf event, extra;
    buf_init(&event, 2 * QUEUE_MAX_EVENT_BYTES); // never full: a dead letter holds more than it
    buf_init(&extra, EXTRA_BYTES);
    event_encode(&event, &l->event);
    append_extra(l, &extra);
    struct render_entry entry = {
        .seq = seq, .stored_ms = l->stored_ms, .encoded = buf_str(&event), .extra = buf_str(&extra)
    };
    int rc = render_event(style, &entry, b);
    assert(rc != -EBADMSG); // it was encoded just now
    (void)rc;
    buf_fini(&event);
    buf_fini(&extra);
}

void letter_render(const struct letter *l, const struct render_style *style, bool whole,
                   struct buf *b)
{
    if (style->format != RENDER_PRETTY || style->template || style->body_only) {
        bool json = style->format == RENDER_JSON || style->format == RENDER_NDJSON;
        append_event(l, style, json ? l->origin_seq : l->seq, b);
        return;
    }
    buf_printf(b, "#%" PRIu64 "  ", l->seq);
    render_time(l->died_ms, b);
    buf_append_z(b, "  ");
    buf_append_json(b, l->reason);
    buf_printf(b, " after %" PRIu64 " attempt%s", l->attempts, l->attempts == 1 ? "" : "s");
    if (l->retries) {
        buf_printf(b, ", brought back %" PRIu64 " time%s", l->retries, l->retries == 1 ? "" : "s");
    }
    buf_append_z(b, "  ");
    buf_append_json(b, l->event.topic);
    if (l->event.key.n) {
        buf_append_z(b, "  key ");
        buf_append_json(b, l->event.key);
    }
    buf_append_char(b, '\n');
    if (l->error.n) {
        buf_append_z(b, "    ");
        buf_append_json(b, l->error);
        buf_append_char(b, '\n');
    }
    if (whole) {
        append_event(l, style, l->origin_seq, b);
    }
}
