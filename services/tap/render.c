// SPDX-License-Identifier: MIT
#include "services/tap/render.h"

#include <errno.h>
#include <inttypes.h>

#include <sodium.h>

#include "common/msgpack_to_json.h"
#include "proto/timestamp.h"

#define DIM "\033[2m"
#define BOLD "\033[1m"
#define CYAN "\033[36m"
#define PLAIN "\033[0m"

// Appends msgpack as JSON; false when JSON cannot say it (nothing is appended then).
static bool append_value(struct str msgpack, struct buf *b)
{
    struct reader r = reader_of(msgpack);
    size_t mark = b->len;
    if (msgpack_to_json(&r, b) || reader_left(&r)) {
        if (buf_ok(b)) {
            b->len = mark;
        }
        return false;
    }
    return true;
}

void render_value(struct str msgpack, struct buf *b)
{
    if (!append_value(msgpack, b)) {
        buf_append_z(b, "null");
    }
}

void render_time(int64_t time_ms, struct buf *b)
{
    char text[TIMESTAMP_SIZE];
    bool valid = time_ms > 0 && time_ms < INT64_C(253402300800000);
    buf_append_str(b, valid ? timestamp_format(time_ms, text) : STR("-"));
}

void render_bytes(uint64_t bytes, struct buf *b)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;
    double v = (double)bytes;
    while (v >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        v /= 1024;
        unit++;
    }
    buf_printf(b, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

static void append_base64(struct str bytes, struct buf *b)
{
    size_t size = sodium_base64_ENCODED_LEN(bytes.n, sodium_base64_VARIANT_ORIGINAL);
    char *to = buf_reserve(b, size);
    if (to) {
        (void)sodium_bin2base64(to, size, (const unsigned char *)bytes.p, bytes.n,
                                sodium_base64_VARIANT_ORIGINAL);
        b->len += size - 1; // without its NUL
    }
}

static void member(struct buf *b, const char *name, struct str value)
{
    if (value.n) {
        buf_printf(b, ",\"%s\":\"", name);
        buf_append_json(b, value);
        buf_append_char(b, '"');
    }
}

static void append_data(struct str data, struct buf *b)
{
    if (!data.p) {
        return;
    }
    size_t mark = b->len;
    buf_append_z(b, ",\"datacontenttype\":\"application/json\",\"data\":");
    if (!append_value(data, b)) {
        b->len = buf_ok(b) ? mark : b->len;
        buf_append_z(b, ",\"datacontenttype\":\"application/vnd.msgpack\",\"data_base64\":\"");
        append_base64(data, b);
        buf_append_char(b, '"');
    }
}

static void render_json(const struct event *e, uint64_t seq, int64_t stored_ms, struct buf *b)
{
    buf_append_z(b, "{\"specversion\":\"1.0\"");
    member(b, "id", e->id);
    member(b, "source", e->source);
    member(b, "type", e->topic);
    member(b, "subject", e->subject);
    buf_append_z(b, ",\"time\":\"");
    render_time(e->time_ms, b);
    buf_append_z(b, "\"");
    member(b, "partitionkey", e->key);
    buf_printf(b, ",\"sequence\":\"%020" PRIu64 "\"",
               seq); // sorts as text, as CloudEvents wants it
    member(b, "traceparent", e->traceparent);
    append_data(e->data, b);
    buf_printf(b, ",\"queue\":{\"seq\":%" PRIu64 ",\"stored_at\":\"", seq);
    render_time(stored_ms, b);
    buf_append_z(b, "\"}}");
}

static void render_pretty(const struct event *e, bool color, uint64_t seq, int64_t stored_ms,
                          struct buf *b)
{
    const char *dim = color ? DIM : "", *bold = color ? BOLD : "", *cyan = color ? CYAN : "",
               *plain = color ? PLAIN : "";
    buf_printf(b, "%s#%" PRIu64 "%s  %s", dim, seq, plain, dim);
    render_time(stored_ms, b);
    buf_printf(b, "%s  %s%s", plain, cyan, bold);
    buf_append_json(b, e->topic); // no control character reaches the terminal
    buf_append_z(b, plain);
    if (e->key.n) {
        buf_printf(b, "  %skey%s ", dim, plain);
        buf_append_json(b, e->key);
    }
    if (e->source.n) {
        buf_printf(b, "  %sfrom%s ", dim, plain);
        buf_append_json(b, e->source);
    }
    buf_append_char(b, '\n');
    if (e->data.p) {
        buf_append_z(b, "    ");
        if (!append_value(e->data, b)) {
            buf_printf(b, "(%zu bytes that JSON cannot say; -o json has them)", e->data.n);
        }
        buf_append_char(b, '\n');
    }
}

int render_event(enum render_format format, bool color, uint64_t seq, int64_t stored_ms,
                 struct str encoded, struct buf *b)
{
    struct event e;
    if (event_decode(encoded, &e)) {
        if (format == RENDER_PRETTY) {
            buf_printf(b, "#%" PRIu64 "  (not an event: %zu bytes)\n", seq, encoded.n);
        } else {
            buf_printf(b, "{\"queue\":{\"seq\":%" PRIu64 "},\"data_base64\":\"", seq);
            append_base64(encoded, b);
            buf_append_z(b, "\"}");
        }
        return -EBADMSG;
    }
    if (format == RENDER_PRETTY) {
        render_pretty(&e, color, seq, stored_ms, b);
    } else {
        render_json(&e, seq, stored_ms, b);
    }
    return buf_error(b);
}
