// SPDX-License-Identifier: MIT
#include "gateway/console_json.h"

#include "common/config.h"
#include "common/json_text.h"
#include "common/msgpack_to_json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <yyjson.h>

#define LIST_ELEMENTS 256
#define ROOM_FOR_END 64 // of what closes the brackets

// --- Figures

// Families that the console shows.
static const char *const shown[] = {
    "http_server_active_requests",
    "http_server_request_duration_seconds",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "sluice_build_info",
    "sluice_consumer_behind_seconds",
    "sluice_consumer_process_seconds",
    "sluice_consumer_retries_total",
    "sluice_consumer_skipped_total",
    "sluice_curve_handshake_failures_total",
    "sluice_gateway_foreign_workers_total",
    "sluice_gateway_forgotten_total",
    "sluice_gateway_open_connections",
    "sluice_gateway_policy_stale",
    "sluice_gateway_refused_total",
    "sluice_gateway_retries_total",
    "sluice_gateway_revocation_lag_seconds",
    "sluice_gateway_shed_total",
    "sluice_gateway_wait_queue_full_total",
    "sluice_gateway_wait_seconds",
    "sluice_gateway_waiting",
    "sluice_gateway_worker_seconds",
    "sluice_gateway_workers_lost_total",
    "sluice_gateway_workers_stuck_total",
    "sluice_log_messages_total",
    "sluice_outbox_max_rows",
    "sluice_outbox_oldest_seconds",
    "sluice_outbox_publish_failures_total",
    "sluice_outbox_publish_seconds",
    "sluice_outbox_rows",
    "sluice_queue_delivered_events_total",
    "sluice_queue_fdatasync_duration_seconds",
    "sluice_queue_lost_records_total",
    "sluice_queue_publish_seconds",
    "sluice_queue_published_events_total",
    "sluice_queue_refused_total",
    "sluice_ready",
    "sluice_store_bytes",
    "sluice_store_failures_total",
    "sluice_store_read_seconds",
    "sluice_store_trouble",
    "sluice_store_wal_bytes",
    "sluice_store_write_seconds",
    "sluice_store_writer",
    "sluice_worker_expired_total",
    "sluice_worker_failures_total",
    "sluice_worker_in_flight",
    "sluice_worker_queue_seconds",
    "sluice_worker_request_duration_seconds",
};

// Where the reading of a process's text stands.
struct reading {
    struct str text;   // what is left of it
    struct str family; // at hand; n == 0: one that is not shown
    bool histogram;
};

// A sample's parts.
struct sample {
    struct str suffix; // of its name, behind the family's
    struct str labels; // without braces
    struct str value;
};

static bool is_shown(struct str name)
{
    size_t low = 0, high = sizeof shown / sizeof *shown;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = str_cmp(str_of(shown[middle]), name);
        if (order == 0) {
            return true;
        }
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return false;
}

static struct str first_word(struct str *rest)
{
    const char *blank = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
    struct str word = { rest->p, blank ? (size_t)(blank - rest->p) : rest->n };
    size_t used = blank ? word.n + 1 : word.n;
    *rest = (struct str){ rest->p + used, rest->n - used };
    return word;
}

static void begin_family(struct reading *r, struct str line)
{
    line = (struct str){ line.p + 7, line.n - 7 }; // "# TYPE "
    struct str name = first_word(&line);
    r->family = is_shown(name) ? name : (struct str){ NULL, 0 };
    r->histogram = str_eq(line, STR("histogram"));
}

// The next sample of a family that is shown; false at the end.
static bool next_sample(struct reading *r, struct sample *ret)
{
    while (r->text.n > 0) {
        struct str line = str_take_line(&r->text);
        if (str_starts(line, STR("# TYPE "))) {
            begin_family(r, line);
        }
        if (r->family.n == 0 || !str_starts(line, r->family)) {
            continue;
        }
        const char *blank = memrchr(line.p, ' ', line.n);
        if (!blank) {
            continue;
        }
        struct str name = { line.p, (size_t)(blank - line.p) };
        ret->value = (struct str){ blank + 1, line.n - name.n - 1 };
        ret->labels = STR("");
        const char *brace = memchr(name.p, '{', name.n);
        if (brace && name.p[name.n - 1] == '}') {
            ret->labels = (struct str){ brace + 1, name.n - (size_t)(brace - name.p) - 2 };
            name.n = (size_t)(brace - name.p);
        }
        ret->suffix = (struct str){ name.p + r->family.n, name.n - r->family.n };
        return true;
    }
    return false;
}

// Whether JSON writes the number in the same way.
static bool is_number(struct str s)
{
    size_t i = s.n > 0 && s.p[0] == '-', digits = 0, points = 0;
    if (i + 1 < s.n && s.p[i] == '0' && s.p[i + 1] != '.') {
        return false;
    }
    for (; i < s.n; i++) {
        bool digit = s.p[i] >= '0' && s.p[i] <= '9';
        if (!digit && (s.p[i] != '.' || points++ || !digits || i + 1 == s.n)) {
            return false;
        }
        digits += digit;
    }
    return digits > 0 && s.n < 40;
}

static void append_number(struct buf *b, struct str value)
{
    buf_append_str(b, is_number(value) ? value : STR("null"));
}

static void append_name(struct buf *b, struct str family, struct str labels)
{
    buf_append_z(b, "[\"");
    buf_append_json(b, family);
    buf_append_z(b, "\",\"");
    buf_append_json(b, labels);
    buf_append_z(b, "\",");
}

// Buckets of one series as they come, until its _sum.
struct histogram {
    uint64_t counts[METRICS_N_BUCKETS + 1]; // not cumulative
    uint64_t before;                        // cumulative, of the bucket before
    size_t n;
};

static void add_bucket(struct histogram *h, struct str value)
{
    uint64_t count = 0;
    for (size_t i = 0; i < value.n && value.p[i] >= '0' && value.p[i] <= '9'; i++) {
        count = count * 10 + (uint64_t)(value.p[i] - '0');
    }
    if (h->n <= METRICS_N_BUCKETS) {
        h->counts[h->n++] = count > h->before ? count - h->before : 0;
        h->before = count;
    }
}

static void append_histogram(struct buf *b, const struct reading *r, const struct sample *sum,
                             const struct histogram *h)
{
    append_name(b, r->family, sum->labels);
    append_number(b, sum->value);
    buf_append_z(b, ",[");
    for (size_t i = 0; i < h->n; i++) {
        buf_printf(b, "%s%" PRIu64, i ? "," : "", h->counts[i]);
    }
    buf_append_z(b, "]]");
}

// One pass over the text: values, or times. False: there was no room for all.
static bool append_samples(struct buf *b, struct str text, bool times, size_t max_bytes)
{
    struct reading r = { .text = text };
    struct sample s;
    struct histogram h = { .n = 0 };
    bool first = true;
    while (next_sample(&r, &s)) {
        if (times != r.histogram) {
            continue;
        }
        if (times && str_eq(s.suffix, STR("_bucket"))) {
            add_bucket(&h, s.value);
            continue;
        }
        bool wanted = times ? str_eq(s.suffix, STR("_sum")) && h.before > 0 : s.suffix.n == 0;
        if (wanted) {
            if (b->len + r.family.n + s.labels.n + 512 > max_bytes) {
                return false;
            }
            buf_append_z(b, first ? "" : ",");
            first = false;
            if (times) {
                append_histogram(b, &r, &s, &h);
            } else {
                append_name(b, r.family, s.labels);
                append_number(b, s.value);
                buf_append_char(b, ']');
            }
        }
        h = (struct histogram){ .n = 0 };
    }
    return true;
}

void console_json_figures(const struct suite_process *p, size_t n, size_t left_out,
                          size_t max_bytes, struct buf *b)
{
    bool all = true;
    size_t limit = max_bytes - ROOM_FOR_END;
    buf_append_z(b, "{\"processes\":[");
    for (size_t i = 0; i < n && all; i++) {
        if (b->len + 2 * SUITE_NAME_BYTES + 64 > limit) {
            all = false;
            break;
        }
        buf_append_z(b, i ? ",{\"job\":\"" : "{\"job\":\"");
        buf_append_json(b, str_of(p[i].job));
        buf_append_z(b, "\",\"instance\":\"");
        buf_append_json(b, str_of(p[i].instance));
        buf_printf(b, "\",\"up\":%s,\"values\":[", p[i].up ? "true" : "false");
        all = !p[i].up || append_samples(b, p[i].text, false, limit);
        buf_append_z(b, "],\"times\":[");
        all = all && (!p[i].up || append_samples(b, p[i].text, true, limit));
        buf_append_z(b, "]}");
    }
    buf_printf(b, "],\"left_out\":%zu,\"cut\":%s}", left_out, all ? "false" : "true");
}

// --- MessagePack

void console_json_value(struct str msgpack, struct buf *b)
{
    struct reader r = reader_of(msgpack);
    struct buf text;
    buf_init(&text, 2 * CONSOLE_DATA_BYTES);
    int rc = msgpack.n > CONSOLE_DATA_BYTES ? -EMSGSIZE : msgpack_to_json(&r, &text);
    buf_append_str(b, rc == 0 && buf_ok(&text) ? buf_str(&text) : STR("null"));
    buf_fini(&text);
}

static bool find(struct str map, const char *name, struct reader *ret)
{
    struct reader r = reader_of(map);
    uint32_t members;
    struct str key;
    if (reader_map(&r, &members)) {
        return false;
    }
    for (; members > 0 && reader_str(&r, &key) == 0; members--) {
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

bool console_json_find_list(struct str map, const char *name, struct reader *ret, uint32_t *ret_n)
{
    return find(map, name, ret) && reader_array(ret, ret_n) == 0;
}

uint64_t console_json_uint(struct str map, const char *name)
{
    struct reader r;
    uint64_t v;
    return find(map, name, &r) && reader_uint(&r, &v) == 0 ? v : 0;
}

void console_json_members(struct str map, const char *const *names, struct buf *b)
{
    struct reader r;
    struct str raw;
    uint32_t n;
    for (; *names; names++) {
        if (!find(map, *names, &r)) {
            continue;
        }
        buf_printf(b, ",\"%s\":", *names);
        if (reader_array(&r, &n) == 0) {
            buf_append_char(b, '[');
            for (uint32_t i = 0; i < n && i < LIST_ELEMENTS && reader_raw(&r, &raw) == 0; i++) {
                buf_append_z(b, i ? "," : "");
                console_json_value(raw, b);
            }
            buf_append_char(b, ']');
        } else if (reader_raw(&r, &raw) == 0) {
            console_json_value(raw, b);
        } else {
            buf_append_z(b, "null");
        }
    }
}

// --- Events

static void append_text(struct buf *b, const char *name, struct str value)
{
    buf_printf(b, ",\"%s\":\"", name);
    buf_append_json(b, value);
    buf_append_char(b, '"');
}

int console_json_event(uint64_t seq, int64_t stored_ms, struct str encoded, struct buf *b)
{
    struct event e;
    if (event_decode(encoded, &e)) {
        return -EBADMSG;
    }
    buf_printf(b, "{\"seq\":%" PRIu64 ",\"stored_ms\":%" PRId64 ",\"time_ms\":%" PRId64, seq,
               stored_ms, e.time_ms);
    append_text(b, "topic", e.topic);
    append_text(b, "key", e.key);
    append_text(b, "subject", e.subject);
    append_text(b, "source", e.source);
    append_text(b, "id", e.id);
    append_text(b, "traceparent", e.traceparent);
    buf_printf(b, ",\"bytes\":%zu,\"data\":", e.data.n);
    console_json_value(e.data, b);
    buf_append_char(b, '}');
    return 0;
}

// --- Requests

static const char *read_order(yyjson_val *root, struct console_order *ret)
{
    yyjson_val *group = yyjson_obj_get(root, "group"), *seqs = yyjson_obj_get(root, "seqs");
    struct str name = json_text(group);
    if (yyjson_obj_size(root) != 2 || !yyjson_is_str(group) || !yyjson_is_arr(seqs)) {
        return "expected {\"group\": name, \"seqs\": [numbers]}";
    }
    if (!queue_group_valid(name)) {
        return "group must be a group's name";
    }
    ret->n = yyjson_arr_size(seqs);
    if (ret->n == 0 || ret->n > CONSOLE_MAX_SEQS) {
        return "seqs must have 1 to 100 numbers";
    }
    (void)snprintf(ret->group, sizeof ret->group, "%.*s", STR_ARG(name));
    for (size_t i = 0; i < ret->n; i++) {
        yyjson_val *v = yyjson_arr_get(seqs, i);
        if (!yyjson_is_uint(v)) {
            return "seqs must be sequences of dead letters";
        }
        ret->seqs[i] = yyjson_get_uint(v);
    }
    return NULL;
}

int console_json_order(struct str json, struct console_order *ret_order, const char **ret_mistake)
{
    yyjson_doc *doc = json.n ? yyjson_read(json.p, json.n, 0) : NULL;
    *ret_mistake = doc ? read_order(yyjson_doc_get_root(doc), ret_order) : "the body must be JSON";
    yyjson_doc_free(doc);
    return *ret_mistake ? -EINVAL : 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// Returns the number of bytes, or -EINVAL.
static int decode(struct str text, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        int c = text.p[i] == '+' ? ' ' : (unsigned char)text.p[i];
        if (c == '%') {
            int high = i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.p[i + 2]) : -1;
            if (low < 0) {
                return -EINVAL;
            }
            c = high * 16 + low;
            i += 2;
        }
        if (c < ' ' || c == 0x7f || n + 1 >= size) {
            return -EINVAL;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return (int)n;
}

int console_json_parameter(struct str query, const char *name, char *out, size_t size)
{
    assert(size > 0);
    while (query.n > 0) {
        const char *end = memchr(query.p, '&', query.n);
        struct str part = { query.p, end ? (size_t)(end - query.p) : query.n };
        query = end ? (struct str){ end + 1, query.n - part.n - 1 } : (struct str){ NULL, 0 };
        const char *equals = part.n ? memchr(part.p, '=', part.n) : NULL;
        size_t n = equals ? (size_t)(equals - part.p) : part.n;
        if (str_eq((struct str){ part.p, n }, str_of(name))) {
            struct str value = equals ? (struct str){ equals + 1, part.n - n - 1 } : STR("");
            return decode(value, out, size) < 0 ? -EINVAL : 1;
        }
    }
    out[0] = '\0';
    return 0;
}

int console_json_number(struct str query, const char *name, uint64_t max, uint64_t *ret)
{
    char text[24];
    int64_t v = 0;
    int there = console_json_parameter(query, name, text, sizeof text);
    if (there < 0 || // without it text is empty
        (*text && (config_parse_number(CONFIG_INTEGER, text, &v) || v < 0 || (uint64_t)v > max))) {
        return -EINVAL;
    }
    *ret = (uint64_t)v;
    return 0;
}
