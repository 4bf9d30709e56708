// SPDX-License-Identifier: MIT
#include "services/tap/render.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

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

void render_duration(int64_t ms, struct buf *b)
{
    static const struct {
        int64_t ms;
        char unit, below;
        int64_t of_below; // how many of them
    } units[] = { { 86400000, 'd', 'h', 24 }, { 3600000, 'h', 'm', 60 }, { 60000, 'm', 's', 60 } };
    ms = ms < 0 ? 0 : ms;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (ms >= units[i].ms) {
            buf_printf(b, "%" PRId64 "%c%" PRId64 "%c", ms / units[i].ms, units[i].unit,
                       ms % units[i].ms * units[i].of_below / units[i].ms, units[i].below);
            return;
        }
    }
    if (ms >= 1000) {
        buf_printf(b, "%" PRId64 ".%" PRId64 "s", ms / 1000, ms % 1000 / 100);
    } else {
        buf_printf(b, "%" PRId64 "ms", ms);
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

// --- JSON

// Whether this much data is more than what is to be shown.
static bool is_long(size_t n, const struct render_style *style)
{
    return style->max_body >= 0 && n > (uint64_t)style->max_body;
}

static void append_data(struct str data, struct buf *b)
{
    size_t mark = b->len;
    buf_append_z(b, ",\"datacontenttype\":\"application/json\",\"data\":");
    if (!append_value(data, b)) {
        b->len = buf_ok(b) ? mark : b->len;
        buf_append_z(b, ",\"datacontenttype\":\"application/vnd.msgpack\",\"data_base64\":\"");
        append_base64(data, b);
        buf_append_char(b, '"');
    }
}

void render_json(const struct event *e, const struct render_style *style,
                 const struct render_entry *entry, struct buf *b)
{
    bool hidden = e->data.p && (style->no_body || is_long(e->data.n, style));
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
               entry->seq); // sorts as text, as CloudEvents wants it
    member(b, "traceparent", e->traceparent);
    if (e->data.p && !hidden) {
        append_data(e->data, b);
    }
    buf_append_str(b, entry->extra);
    buf_printf(b, ",\"queue\":{\"seq\":%" PRIu64 ",\"stored_at\":\"", entry->seq);
    render_time(entry->stored_ms, b);
    buf_append_char(b, '"');
    if (hidden) {
        buf_printf(b, ",\"hidden_data_bytes\":%zu", e->data.n);
    }
    buf_append_z(b, "}}");
}

// --- Text

// Appends the data as one line of JSON, cut where --max-body says, at the start of a character.
static void append_body(struct str data, const struct render_style *style, struct buf *b)
{
    size_t mark = b->len;
    if (!append_value(data, b)) {
        buf_printf(b, "(%zu bytes that JSON cannot say; -o json has them)", data.n);
        return;
    }
    if (buf_ok(b) && is_long(b->len - mark, style)) {
        size_t n = mark + (size_t)style->max_body, left;
        while (n > mark && ((unsigned char)b->data[n] & 0xC0) == 0x80) {
            n--;
        }
        left = b->len - n;
        b->len = n;
        buf_printf(b, "... (%zu bytes more)", left);
    }
}

static void render_prefix(const struct render_style *style, const struct render_entry *entry,
                          struct buf *b)
{
    if (style->timestamps) {
        render_time(entry->stored_ms, b);
        buf_append_z(b, "  ");
    }
    if (style->delta) {
        buf_append_char(b, '+');
        render_duration(entry->before_ms ? entry->stored_ms - entry->before_ms : 0, b);
        buf_append_z(b, "  ");
    }
}

static void render_pretty(const struct event *e, const struct render_style *style,
                          const struct render_entry *entry, struct buf *b)
{
    bool color = style->color;
    const char *dim = color ? DIM : "", *bold = color ? BOLD : "", *cyan = color ? CYAN : "",
               *plain = color ? PLAIN : "";
    buf_printf(b, "%s#%" PRIu64 "%s", dim, entry->seq, plain);
    if (!style->timestamps && !style->delta) { // those stand at the beginning
        buf_printf(b, "  %s", dim);
        render_time(entry->stored_ms, b);
        buf_append_z(b, plain);
    }
    buf_printf(b, "  %s%s", cyan, bold);
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
    if (e->data.p && !style->no_body) {
        buf_append_z(b, "    ");
        append_body(e->data, style, b);
        buf_append_char(b, '\n');
    }
}

static void render_hex(const struct event *e, const struct render_style *style,
                       const struct render_entry *entry, struct buf *b)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = style->no_body ? 0 : e->data.n;
    n = is_long(n, style) ? (size_t)style->max_body : n;
    if (!style->body_only) {
        buf_printf(b, "%" PRIu64 " ", entry->seq);
        buf_append_json(b, e->topic);
        buf_append_char(b, ' ');
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)e->data.p[i];
        buf_append_char(b, digits[c >> 4]);
        buf_append_char(b, digits[c & 15]);
    }
    buf_append_char(b, '\n');
}

// --- Fields

// Appends a line for each value below the path, which stands at the end of path.
static int flatten(struct reader *r, struct str prefix, struct buf *path, struct buf *b)
{
    uint32_t count;
    struct str key, raw;
    size_t mark = path->len;
    enum reader_type type = reader_peek(r);
    if ((type != READER_MAP && type != READER_ARRAY) || !buf_ok(path)) {
        int rc = reader_raw(r, &raw);
        buf_append_str(b, prefix);
        buf_append_str(b, buf_str(path));
        buf_append_z(b, " = ");
        render_value(rc ? STR("") : raw, b);
        buf_append_char(b, '\n');
        return rc;
    }
    int rc = type == READER_MAP ? reader_map(r, &count) : reader_array(r, &count);
    if (!rc && count == 0) {
        buf_append_str(b, prefix);
        buf_append_str(b, buf_str(path));
        buf_append_z(b, type == READER_MAP ? " = {}\n" : " = []\n");
    }
    for (uint32_t i = 0; !rc && i < count; i++) {
        if (type == READER_MAP && (rc = reader_str(r, &key)) == 0) {
            buf_append_char(path, '.');
            buf_append_json(path, key);
        } else {
            buf_printf(path, "[%" PRIu32 "]", i);
        }
        rc = rc ? rc : flatten(r, prefix, path, b);
        path->len = buf_ok(path) ? mark : path->len;
    }
    return rc;
}

static void field(struct buf *b, struct str prefix, const char *name, struct str value)
{
    if (value.n) {
        buf_append_str(b, prefix);
        buf_printf(b, "%s = \"", name);
        buf_append_json(b, value);
        buf_append_z(b, "\"\n");
    }
}

static void render_fields(const struct event *e, const struct render_style *style,
                          const struct render_entry *entry, struct buf *b)
{
    struct buf path, prefix;
    buf_init(&path, 4096);
    buf_init(&prefix, 128);
    render_prefix(style, entry, &prefix);
    buf_printf(&prefix, "%" PRIu64, entry->seq);
    struct str p = buf_str(&prefix);
    if (!style->body_only) {
        field(b, p, ".topic", e->topic);
        field(b, p, ".key", e->key);
        field(b, p, ".subject", e->subject);
        field(b, p, ".id", e->id);
        field(b, p, ".source", e->source);
        field(b, p, ".traceparent", e->traceparent);
    }
    if (e->data.p && !style->no_body && !is_long(e->data.n, style)) {
        struct reader r = reader_of(e->data);
        buf_append_z(&path, ".data");
        (void)flatten(&r, p, &path, b); // what cannot be read further has its line already
    }
    buf_fini(&prefix);
    buf_fini(&path);
}

// --- Templates

int render_template_check(const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '%' || *p == '\\') {
            const char *allowed = *p == '%' ? "stkvieopT%" : "nt\\";
            p++;
            if (!*p || !strchr(allowed, *p)) {
                return -EINVAL;
            }
        }
    }
    return 0;
}

static void placeholder(char c, const struct event *e, const struct render_style *style,
                        const struct render_entry *entry, struct buf *b)
{
    switch (c) {
    case 's':
        buf_append_decimal(b, entry->seq, 1);
        break;
    case 't':
        buf_append_json(b, e->topic);
        break;
    case 'k':
        buf_append_json(b, e->key);
        break;
    case 'v':
        if (e->data.p && !style->no_body) {
            append_body(e->data, style, b);
        }
        break;
    case 'i':
        buf_append_json(b, e->id);
        break;
    case 'e':
        buf_append_json(b, e->subject);
        break;
    case 'o':
        buf_append_json(b, e->source);
        break;
    case 'p':
        buf_append_json(b, e->traceparent);
        break;
    case 'T':
        render_time(entry->stored_ms, b);
        break;
    default:
        buf_append_char(b, c);
    }
}

static void render_template(const struct event *e, const struct render_style *style,
                            const struct render_entry *entry, struct buf *b)
{
    for (const char *p = style->template; *p; p++) {
        if (*p == '%') {
            placeholder(*++p, e, style, entry, b);
        } else if (*p == '\\') {
            p++;
            buf_append_char(b, *p == 'n' ? '\n' : *p == 't' ? '\t' : '\\');
        } else {
            buf_append_char(b, *p);
        }
    }
    buf_append_char(b, '\n');
}

// --- Any

static void render_broken(const struct render_style *style, const struct render_entry *entry,
                          struct buf *b)
{
    if (style->format == RENDER_JSON || style->format == RENDER_NDJSON) {
        buf_printf(b, "{\"queue\":{\"seq\":%" PRIu64 "},\"data_base64\":\"", entry->seq);
        append_base64(entry->encoded, b);
        buf_append_z(b, "\"}");
    } else if (style->format != RENDER_RAW) {
        buf_printf(b, "#%" PRIu64 "  (not an event: %zu bytes)\n", entry->seq, entry->encoded.n);
    }
}

static void render_json_format(const struct event *e, const struct render_style *style,
                               const struct render_entry *entry, struct buf *b)
{
    if (!style->body_only) {
        render_json(e, style, entry, b);
    } else {
        render_value(e->data.p ? e->data : STR("\xc0"), b);
    }
}

int render_event(const struct render_style *style, const struct render_entry *entry, struct buf *b)
{
    struct event e;
    if (event_decode(entry->encoded, &e)) {
        render_broken(style, entry, b);
        return -EBADMSG;
    }
    if (style->format == RENDER_JSON || style->format == RENDER_NDJSON) {
        render_json_format(&e, style, entry, b);
        return buf_error(b);
    }
    if (style->format == RENDER_RAW) {
        buf_append_str(b, e.data.p ? e.data : STR(""));
        return buf_error(b);
    }
    if (style->format == RENDER_FIELDS) {
        render_fields(&e, style, entry, b);
        return buf_error(b);
    }
    render_prefix(style, entry, b);
    if (style->template) {
        render_template(&e, style, entry, b);
    } else if (style->format == RENDER_HEX) {
        render_hex(&e, style, entry, b);
    } else if (style->body_only) {
        append_body(e.data.p ? e.data : STR("\xc0"), style, b);
        buf_append_char(b, '\n');
    } else {
        render_pretty(&e, style, entry, b);
    }
    return buf_error(b);
}
