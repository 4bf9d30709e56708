// SPDX-License-Identifier: MIT
#include "services/queue/info.h"

#include "proto/writer.h"

void info_uuid(const uint8_t uuid[16], char out[INFO_UUID_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }
        *p++ = digits[uuid[i] >> 4];
        *p++ = digits[uuid[i] & 15];
    }
    *p = 0;
}

static void put_uint(struct buf *b, const char *key, uint64_t v)
{
    writer_key(b, key);
    writer_uint(b, v);
}

static void put_int(struct buf *b, const char *key, int64_t v)
{
    writer_key(b, key);
    writer_int(b, v);
}

static void put_str(struct buf *b, const char *key, struct str v)
{
    writer_key(b, key);
    writer_str(b, v);
}

static void write_topics(const struct catalog *c, struct buf *b)
{
    uint32_t n = 0;
    size_t at = 0;
    struct topic *t;
    writer_key(b, "topics");
    size_t mark = writer_open_array(b);
    while ((t = catalog_next_topic(c, &at))) {
        if (t->events == 0) {
            continue; // on its way
        }
        writer_map(b, 4);
        put_str(b, "topic", t->key.name);
        put_uint(b, "events", t->events);
        put_uint(b, "last_seq", t->last_seq);
        put_int(b, "last_ms", t->last_ms);
        n++;
    }
    writer_close(b, mark, n);
}

static void write_producers(const struct catalog *c, struct buf *b)
{
    uint32_t n = 0;
    size_t at = 0;
    struct producer *p;
    writer_key(b, "producers");
    size_t mark = writer_open_array(b);
    while (n < INFO_MAX_PRODUCERS && (p = catalog_next_producer(c, &at))) {
        if (p->stored_seq == 0) {
            continue; // on its way
        }
        writer_map(b, 3);
        put_str(b, "producer", p->key.name);
        put_uint(b, "producer_seq", p->stored_seq);
        put_int(b, "last_ms", p->last_ms);
        n++;
    }
    writer_close(b, mark, n);
}

static void write_subscription(const struct readers *r, const struct client *c,
                               const struct subscription *s, struct buf *b)
{
    writer_map(b, 6);
    put_uint(b, "client", c->peer);
    put_uint(b, "subscription", s->wanted.subscription);
    writer_key(b, "filters");
    writer_array(b, (uint32_t)s->wanted.n_filters);
    for (size_t i = 0; i < s->wanted.n_filters; i++) {
        writer_str(b, s->wanted.filters[i]);
    }
    put_uint(b, "next_seq", s->next_seq);
    put_uint(b, "credit", s->credit);
    put_uint(b, "behind", readers_behind(r, s));
}

static void write_subscriptions(const struct clients *clients, const struct readers *r,
                                struct buf *b)
{
    uint32_t n = 0;
    writer_key(b, "subscriptions");
    size_t mark = writer_open_array(b);
    for (struct client *c = clients_next(clients, NULL); c; c = clients_next(clients, c)) {
        for (struct subscription *s = c->subscriptions; s && n < INFO_MAX_SUBSCRIPTIONS;
             s = s->next_of_client) {
            write_subscription(r, c, s, b);
            n++;
        }
    }
    writer_close(b, mark, n);
}

static void write_lost(const struct journal *j, struct buf *b)
{
    writer_key(b, "lost");
    writer_array(b, (uint32_t)j->n_lost);
    for (size_t i = 0; i < j->n_lost; i++) {
        writer_array(b, 2);
        writer_uint(b, j->lost[i].first_seq);
        writer_uint(b, j->lost[i].last_seq);
    }
}

// The newest ones, when there are too many.
static void write_holes(const struct journal *j, struct buf *b)
{
    size_t n = j->holes.n < INFO_MAX_HOLES ? j->holes.n : INFO_MAX_HOLES;
    writer_key(b, "holes");
    writer_array(b, (uint32_t)n);
    for (size_t i = j->holes.n - n; i < j->holes.n; i++) {
        writer_array(b, 2);
        writer_uint(b, j->holes.ranges[i].first_seq);
        writer_uint(b, j->holes.ranges[i].last_seq);
    }
}

static void write_rules(const struct retention *r, struct buf *b)
{
    writer_key(b, "retention_rules");
    writer_array(b, (uint32_t)r->n_rules);
    for (size_t i = 0; i < r->n_rules; i++) {
        writer_map(b, 4);
        put_str(b, "filter", r->rules[i].filter);
        put_int(b, "age_ms", r->rules[i].limits.age_ms);
        put_uint(b, "count", r->rules[i].limits.count);
        put_uint(b, "bytes", r->rules[i].limits.bytes);
    }
}

void info_write(const struct info *info, struct buf *b)
{
    const struct journal *j = info->journal;
    char uuid[INFO_UUID_SIZE];
    info_uuid(j->uuid, uuid);
    writer_map(b, 24);
    put_str(b, "version", STR(SLUICE_VERSION));
    put_str(b, "uuid", str_of(uuid));
    put_str(b, "sync", STR("always"));
    put_uint(b, "first_seq", journal_events(j) ? journal_first_seq(j) : j->next_seq);
    put_uint(b, "last_seq", j->next_seq - 1);
    put_uint(b, "events", journal_events(j));
    put_uint(b, "bytes", journal_bytes(j));
    put_uint(b, "segments", j->n_segments);
    put_int(b, "first_ms", journal_first_ms(j));
    put_int(b, "last_ms", journal_last_ms(j));
    put_int(b, "started_ms", info->started_ms);
    put_uint(b, "n_producers", j->catalog.producers.n);
    put_uint(b, "n_subscriptions", readers_count(info->readers));
    put_uint(b, "n_groups", groups_count(info->groups));
    put_uint(b, "retention_ms", (uint64_t)info->retention->general.age_ms);
    put_uint(b, "retention_count", info->retention->general.count);
    put_uint(b, "retention_bytes", info->retention->general.bytes);
    write_rules(info->retention, b);
    put_uint(b, "n_holes", j->holes.n);
    write_holes(j, b);
    write_lost(j, b);
    write_topics(&j->catalog, b);
    write_producers(&j->catalog, b);
    write_subscriptions(info->clients, info->readers, b);
}
