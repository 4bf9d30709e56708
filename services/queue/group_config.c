// SPDX-License-Identifier: MIT
#include "services/queue/group_config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "proto/writer.h"
#include "services/queue/pending.h"

void group_config_init(struct group_config *c)
{
    *c = (struct group_config){ .ack_wait_ms = GROUP_DEFAULT_ACK_WAIT_MS,
                                .backoff_ms = GROUP_DEFAULT_BACKOFF_MS,
                                .backoff_max_ms = GROUP_DEFAULT_BACKOFF_MAX_MS,
                                .max_deliveries = GROUP_DEFAULT_MAX_DELIVERIES,
                                .max_pending = GROUP_DEFAULT_MAX_PENDING };
}

__attribute__((format(printf, 2, 3))) static int refuse(char *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error, GROUP_ERROR_SIZE, format, args); // a cut sentence is better than none
    va_end(args);
    return -EINVAL;
}

// --- Words

static const struct str orders[] = { [GROUP_ORDER_KEY] = STR_INIT("key"),
                                     [GROUP_ORDER_NONE] = STR_INIT("none"),
                                     [GROUP_ORDER_ALL] = STR_INIT("all") };
#define N_ORDERS (sizeof orders / sizeof *orders)

static const struct str starts[] = { [QUEUE_FROM_START] = STR_INIT("start"),
                                     [QUEUE_FROM_END] = STR_INIT("end"),
                                     [QUEUE_FROM_SEQ] = STR_INIT("seq"),
                                     [QUEUE_FROM_TIME] = STR_INIT("time") };
#define N_STARTS (sizeof starts / sizeof *starts)

static bool read_word(struct reader *r, const struct str *words, unsigned n, unsigned *ret)
{
    struct str word;
    if (reader_str(r, &word)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (str_eq(word, words[i])) {
            *ret = i;
            return true;
        }
    }
    return false;
}

// --- Reading

static int read_name(struct reader *r, struct group_config *c, char *error)
{
    struct str name;
    if (reader_str(r, &name) || !queue_group_valid(name)) {
        return refuse(
            error, "group: a name is words of a-z 0-9 _ - joined by single dots, at most %d bytes",
            QUEUE_MAX_GROUP);
    }
    memcpy(c->name, name.p, name.n);
    c->name[name.n] = 0;
    return 0;
}

static int read_filters(struct reader *r, struct group_config *c, char *error)
{
    uint32_t n;
    size_t at = 0;
    if (reader_array(r, &n) || n > QUEUE_MAX_FILTERS) {
        return refuse(error, "filters: an array of at most %d filters is allowed",
                      QUEUE_MAX_FILTERS);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct str f;
        if (reader_str(r, &f) || !topic_filter_valid(f)) {
            return refuse(error,
                          "filters: number %" PRIu32 " is not a topic, in which * may stand for a "
                          "word and a last > for the rest",
                          i + 1);
        }
        memcpy(c->text + at, f.p, f.n);
        c->filter_at[i] = (uint16_t)at;
        c->filter_bytes[i] = (uint16_t)f.n;
        at += f.n;
    }
    c->n_filters = n;
    return 0;
}

static int read_number(struct reader *r, const char *name, int64_t min, int64_t max, int64_t *ret,
                       char *error)
{
    uint64_t v;
    if (reader_uint(r, &v) || v < (uint64_t)min || v > (uint64_t)max) {
        return refuse(error, "%s: a number from %" PRId64 " to %" PRId64 " is allowed", name, min,
                      max);
    }
    *ret = (int64_t)v;
    return 0;
}

static int read_number32(struct reader *r, const char *name, uint32_t max, uint32_t *ret,
                         char *error)
{
    int64_t v = 1;
    int status = read_number(r, name, 1, max, &v, error);
    *ret = status ? *ret : (uint32_t)v;
    return status;
}

static int read_start(struct reader *r, struct group_start *start, char *error)
{
    unsigned word;
    if (!read_word(r, starts, N_STARTS, &word)) {
        return refuse(error, "from: start, end, seq and time are allowed");
    }
    start->from = (enum queue_start)word;
    return 0;
}

static int read_order(struct reader *r, struct group_config *c, char *error)
{
    unsigned word;
    if (!read_word(r, orders, N_ORDERS, &word)) {
        return refuse(error, "order: key, none and all are allowed");
    }
    c->order = (enum group_order)word;
    return 0;
}

// What only the log says of a group.
static int read_stored(struct reader *r, struct str name, struct group_config *c, char *error)
{
    if (str_eq(name, STR("paused")) && reader_bool(r, &c->paused) == 0) {
        return 0;
    }
    if (str_eq(name, STR("created_ms")) && reader_int(r, &c->created_ms) == 0) {
        return 0;
    }
    return reader_skip(r) ? refuse(error, "the map ends too early") : 0; // of a later version
}

static int read_member(struct reader *r, bool stored, struct group_config *c,
                       struct group_start *start, char *error)
{
    struct str name;
    if (reader_str(r, &name)) {
        return refuse(error, "the arguments are not a map with names");
    }
    if (reader_nil(r) == 0) {
        return 0;
    } else if (str_eq(name, STR("group"))) {
        return read_name(r, c, error);
    } else if (str_eq(name, STR("filters"))) {
        return read_filters(r, c, error);
    } else if (str_eq(name, STR("order"))) {
        return read_order(r, c, error);
    } else if (str_eq(name, STR("ack_wait_ms"))) {
        return read_number(r, "ack_wait_ms", GROUP_SHORTEST_ACK_WAIT_MS, GROUP_LONGEST_MS,
                           &c->ack_wait_ms, error);
    } else if (str_eq(name, STR("backoff_ms"))) {
        return read_number(r, "backoff_ms", 1, GROUP_LONGEST_MS, &c->backoff_ms, error);
    } else if (str_eq(name, STR("backoff_max_ms"))) {
        return read_number(r, "backoff_max_ms", 1, GROUP_LONGEST_MS, &c->backoff_max_ms, error);
    } else if (str_eq(name, STR("max_deliveries"))) {
        return read_number32(r, "max_deliveries", GROUP_MOST_DELIVERIES, &c->max_deliveries, error);
    } else if (str_eq(name, STR("max_pending"))) {
        return read_number32(r, "max_pending", PENDING_MAX, &c->max_pending, error);
    } else if (stored) {
        return read_stored(r, name, c, error);
    } else if (str_eq(name, STR("from"))) {
        return read_start(r, start, error);
    } else if (str_eq(name, STR("value"))) {
        return reader_uint(r, &start->value) ? refuse(error, "value: a number is allowed") : 0;
    }
    return refuse(error, "\"%.*s\" is not an argument of group-set",
                  (int)(name.n < 64 ? name.n : 64), name.p);
}

int group_config_read(struct str map, bool stored, struct group_config *c,
                      struct group_start *start, char ret_error[GROUP_ERROR_SIZE])
{
    struct reader r = reader_of(map);
    uint32_t members;
    int status = reader_map(&r, &members) ? refuse(ret_error, "the arguments are not a map") : 0;
    for (uint32_t i = 0; status == 0 && i < members; i++) {
        status = read_member(&r, stored, c, start, ret_error);
    }
    if (status == 0 && !c->name[0]) {
        status = refuse(ret_error, "group: is missing");
    }
    return status;
}

// --- Writing

static void put(struct buf *b, const char *name, int64_t v)
{
    writer_key(b, name);
    writer_int(b, v);
}

void group_config_write(const struct group_config *c, struct buf *b)
{
    writer_key(b, "group");
    writer_str(b, str_of(c->name));
    writer_key(b, "filters");
    writer_array(b, (uint32_t)c->n_filters);
    for (size_t i = 0; i < c->n_filters; i++) {
        writer_str(b, group_config_filter(c, i));
    }
    writer_key(b, "order");
    writer_str(b, orders[c->order]);
    put(b, "ack_wait_ms", c->ack_wait_ms);
    put(b, "max_deliveries", c->max_deliveries);
    put(b, "backoff_ms", c->backoff_ms);
    put(b, "backoff_max_ms", c->backoff_max_ms);
    put(b, "max_pending", c->max_pending);
    writer_key(b, "paused");
    writer_bool(b, c->paused);
    put(b, "created_ms", c->created_ms);
}

bool group_config_equal(const struct group_config *a, const struct group_config *b)
{
    bool same = strcmp(a->name, b->name) == 0 && a->n_filters == b->n_filters &&
                a->order == b->order && a->ack_wait_ms == b->ack_wait_ms &&
                a->max_deliveries == b->max_deliveries && a->backoff_ms == b->backoff_ms &&
                a->backoff_max_ms == b->backoff_max_ms && a->max_pending == b->max_pending &&
                a->paused == b->paused;
    for (size_t i = 0; same && i < a->n_filters; i++) {
        same = str_eq(group_config_filter(a, i), group_config_filter(b, i));
    }
    return same;
}

bool group_config_wants(const struct group_config *c, struct str topic)
{
    for (size_t i = 0; i < c->n_filters; i++) {
        if (topic_matches(group_config_filter(c, i), topic)) {
            return true;
        }
    }
    return c->n_filters == 0 && !topic_is_own(topic);
}
