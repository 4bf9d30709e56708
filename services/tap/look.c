// SPDX-License-Identifier: MIT
// ls and info: both ask the queue for INFO (PROTOCOL.md 3.5) and show a part of it.
#include "services/tap/tap.h"

#include <inttypes.h>

#define MAX_WIDTH 64

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

// Finds a member of INFO; its value is where *ret stands.
static bool find(struct str map, const char *name, struct reader *ret)
{
    struct reader r = reader_of(map);
    uint32_t members;
    struct str key;
    if (reader_map(&r, &members)) {
        return false;
    }
    for (uint32_t i = 0; i < members; i++) {
        if (reader_str(&r, &key)) {
            return false;
        }
        if (str_eq(key, str_of(name))) {
            *ret = r;
            return true;
        }
        if (reader_skip(&r)) {
            return false;
        }
    }
    return false;
}

static void print_topic(struct tap *t, const struct topic *topic, bool first)
{
    struct buf *b = &t->out;
    if (t->options.format == RENDER_PRETTY) {
        buf_printf(b, "%-32.*s %12" PRIu64 " %12" PRIu64 "  ", (int)topic->name.n, topic->name.p,
                   topic->events, topic->last_seq);
        render_time(topic->last_ms, b);
        buf_append_char(b, '\n');
        return;
    }
    bool array = t->options.format == RENDER_JSON;
    buf_append_z(b, !array ? "" : first ? "[" : ",\n ");
    buf_append_z(b, "{\"topic\":\"");
    buf_append_json(b, topic->name);
    buf_printf(b, "\",\"events\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"last_at\":\"",
               topic->events, topic->last_seq);
    render_time(topic->last_ms, b);
    buf_append_z(b, array ? "\"}" : "\"}\n");
}

static void list_topics(struct tap *t, struct str map)
{
    struct reader r;
    uint32_t count;
    if (!find(map, "topics", &r) || reader_array(&r, &count)) {
        tap_fail(t, TAP_UNREACHABLE, "the queue's answer has no topics");
        return;
    }
    if (t->options.format == RENDER_PRETTY) {
        buf_printf(&t->out, "%-32s %12s %12s  %s\n", "TOPIC", "EVENTS", "LAST", "AT");
    }
    uint32_t shown = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct topic topic;
        if (read_topic(&r, &topic)) {
            tap_fail(t, TAP_UNREACHABLE, "the queue's answer cannot be read");
            return;
        }
        if (is_wanted(&t->options, topic.name)) {
            print_topic(t, &topic, shown == 0);
            shown++;
        }
    }
    if (t->options.format == RENDER_JSON) {
        buf_append_z(&t->out, shown ? "]\n" : "[]\n");
    }
    tap_flush(t);
    tap_finish(t, shown ? TAP_OK : TAP_NOTHING);
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

static void show_info(struct tap *t, struct str map)
{
    struct reader r = reader_of(map);
    uint32_t members;
    struct str key, raw;
    int rc = reader_map(&r, &members);
    if (t->options.format != RENDER_PRETTY) {
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
    tap_flush(t);
    if (rc) {
        tap_fail(t, TAP_UNREACHABLE, "the queue's answer cannot be read");
        return;
    }
    tap_finish(t, TAP_OK);
}

static void check_damage(struct tap *t, struct str map)
{
    struct reader r;
    uint32_t count = 0;
    if (find(map, "lost", &r) && reader_array(&r, &count) == 0 && count > 0) {
        t->damaged = true;
    }
}

static void on_info(int status, struct str map, void *data)
{
    struct tap *t = data;
    if (status == -ECANCELED || t->finished) {
        return;
    }
    if (status) {
        tap_fail(t, TAP_UNREACHABLE, "the queue did not say how it is: %s", strerror(-status));
        return;
    }
    if (t->options.command == TAP_LS) {
        list_topics(t, map);
    } else {
        check_damage(t, map);
        show_info(t, map);
    }
}

void look_start(struct tap *t)
{
    int rc = queue_client_info(t->queue, (int)t->options.timeout_ms, on_info, t);
    if (rc) {
        tap_fail(t, TAP_UNREACHABLE, "cannot ask the queue: %s", strerror(-rc));
    }
}
