// SPDX-License-Identifier: MIT
// ls and info: both ask the queue for INFO (PROTOCOL.md 3.5) and show a part of it.
#include "services/tap/ask.h"

#include <inttypes.h>

#include "services/tap/fields.h"

struct topic {
    struct str name;
    uint64_t events, last_seq;
    int64_t last_ms;
};

static int read_topic(struct reader *r, struct topic *topic)
{
    uint32_t members;
    struct str key;
    *topic = (struct topic){ 0 };
    int rc = reader_map(r, &members);
    for (uint32_t i = 0; !rc && i < members; i++) {
        rc = reader_str(r, &key);
        rc = rc                             ? rc
             : str_eq(key, STR("topic"))    ? reader_str(r, &topic->name)
             : str_eq(key, STR("events"))   ? reader_uint(r, &topic->events)
             : str_eq(key, STR("last_seq")) ? reader_uint(r, &topic->last_seq)
             : str_eq(key, STR("last_ms"))  ? reader_int(r, &topic->last_ms)
                                            : reader_skip(r);
    }
    return rc;
}

static bool is_wanted(const struct options *o, struct str topic)
{
    for (size_t i = 0; i < o->n_filters; i++) {
        if (topic_matches(o->filters[i], topic)) {
            return true;
        }
    }
    return o->n_filters == 0;
}

static void print_topic(struct tap *t, const struct topic *topic)
{
    struct buf *b = &t->out;
    if (t->options.style.format == RENDER_PRETTY) {
        buf_printf(b, "%-32.*s %12" PRIu64 " %12" PRIu64 "  ", (int)topic->name.n, topic->name.p,
                   topic->events, topic->last_seq);
        render_time(topic->last_ms, b);
        buf_append_char(b, '\n');
        return;
    }
    tap_element(t);
    buf_append_z(b, "{\"topic\":\"");
    buf_append_json(b, topic->name);
    buf_printf(b, "\",\"events\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"last_at\":\"",
               topic->events, topic->last_seq);
    render_time(topic->last_ms, b);
    buf_append_z(b, "\"}");
    tap_element_end(t);
}

static int list_topics(struct tap *t, struct str map)
{
    struct reader r;
    uint32_t count, shown = 0;
    if (!fields_find(map, "topics", &r) || reader_array(&r, &count)) {
        return tap_fail(t, TAP_UNREACHABLE, "the queue's answer has no topics");
    }
    if (t->options.style.format == RENDER_PRETTY) {
        buf_printf(&t->out, "%-32s %12s %12s  %s\n", "TOPIC", "EVENTS", "LAST", "AT");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct topic topic;
        if (read_topic(&r, &topic)) {
            return tap_fail(t, TAP_UNREACHABLE, "the queue's answer cannot be read");
        }
        if (is_wanted(&t->options, topic.name)) {
            print_topic(t, &topic);
            shown++;
        }
    }
    tap_list_end(t);
    return shown ? TAP_OK : TAP_NOTHING;
}

// --- info

static void print_value(struct tap *t, struct str key, struct str raw)
{
    struct reader r = reader_of(raw);
    uint64_t n;
    bool is_time =
        key.n > 3 && memcmp(key.p + key.n - 3, "_ms", 3) == 0 && !str_eq(key, STR("retention_ms"));
    bool is_size = str_eq(key, STR("bytes")) || str_eq(key, STR("retention_bytes"));
    buf_printf(&t->out, "%-16.*s  ", (int)key.n, key.p);
    if ((is_time || is_size) && reader_uint(&r, &n) == 0) {
        if (is_time) {
            render_time((int64_t)n, &t->out);
        } else {
            render_bytes(n, &t->out);
        }
    } else {
        render_value(raw, &t->out);
    }
    buf_append_char(&t->out, '\n');
}

// Lists are one line per element.
static void print_list(struct tap *t, struct str key, struct str raw)
{
    struct reader r = reader_of(raw);
    uint32_t count;
    struct str element;
    if (reader_array(&r, &count)) {
        return;
    }
    buf_printf(&t->out, "%-16.*s  %" PRIu32 "\n", (int)key.n, key.p, count);
    for (uint32_t i = 0; i < count && reader_raw(&r, &element) == 0; i++) {
        buf_append_z(&t->out, "    ");
        render_value(element, &t->out);
        buf_append_char(&t->out, '\n');
    }
}

static int show_info(struct tap *t, struct str map)
{
    struct reader r = reader_of(map);
    uint32_t members;
    struct str key, raw;
    int rc = reader_map(&r, &members);
    if (t->options.style.format != RENDER_PRETTY) {
        render_value(map, &t->out);
        buf_append_char(&t->out, '\n');
        members = 0;
    }
    for (uint32_t i = 0; !rc && i < members; i++) {
        rc = reader_str(&r, &key) || reader_raw(&r, &raw);
        if (!rc) {
            struct reader value = reader_of(raw);
            (reader_peek(&value) == READER_ARRAY ? print_list : print_value)(t, key, raw);
        }
    }
    return rc ? tap_fail(t, TAP_UNREACHABLE, "the queue's answer cannot be read") : TAP_OK;
}

static int with_info(struct tap *t, int (*show)(struct tap *t, struct str map))
{
    struct buf map;
    buf_init(&map, TAP_RESULT_BYTES);
    int status = tap_connect(t);
    status = status ? status : ask_info(t, &map);
    status = status ? status : show(t, buf_str(&map));
    buf_fini(&map);
    return status;
}

int look_ls(struct tap *t)
{
    return with_info(t, list_topics);
}

static int show_state(struct tap *t, struct str map)
{
    t->damaged = fields_list(map, "lost").left > 0;
    return show_info(t, map);
}

int look_info(struct tap *t)
{
    return with_info(t, show_state);
}
