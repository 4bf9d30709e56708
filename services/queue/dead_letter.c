// SPDX-License-Identifier: MIT
// The event's data is MessagePack inside a bin; in the dead letter it stands as the value itself, so that people and
// filters can look into it. What could be mistaken for something else (nil, a bin, no MessagePack at all) is kept as
// a bin.
#include "services/queue/dead_letter.h"

#include <errno.h>
#include <stdio.h>

#include "common/uuid.h"
#include "proto/writer.h"

static void put_str(struct buf *b, const char *key, struct str v)
{
    writer_key(b, key);
    writer_str(b, v);
}

static void put_int(struct buf *b, const char *key, int64_t v)
{
    writer_key(b, key);
    writer_int(b, v);
}

static void put_uint(struct buf *b, const char *key, uint64_t v)
{
    writer_key(b, key);
    writer_uint(b, v);
}

static void put_data(struct buf *b, struct str data)
{
    struct reader r = reader_of(data);
    enum reader_type type = data.p ? reader_peek(&r) : READER_END;
    writer_key(b, "data");
    if (!data.p) {
        writer_nil(b);
    } else if (type == READER_NIL || type == READER_BIN || reader_skip(&r) || reader_left(&r)) {
        writer_bin(b, data);
    } else {
        buf_append_str(b, data);
    }
}

static void put_event(struct buf *b, const struct event *e)
{
    writer_key(b, "event");
    writer_map(b, 8);
    put_str(b, "id", e->id);
    put_str(b, "topic", e->topic);
    put_str(b, "key", e->key);
    put_str(b, "subject", e->subject);
    put_str(b, "source", e->source);
    put_int(b, "time_ms", e->time_ms);
    put_str(b, "traceparent", e->traceparent);
    put_data(b, e->data);
}

void dead_letter_encode(struct buf *b, const struct dead_letter *d, int64_t now_ms)
{
    char id[UUID_TEXT + 1], topic[sizeof DEAD_LETTER_TOPIC + QUEUE_MAX_GROUP];
    struct buf data;
    buf_init(&data, QUEUE_MAX_EVENT_BYTES + DEAD_LETTER_EXTRA_BYTES);
    writer_map(&data, 9);
    put_str(&data, "group", d->group);
    put_str(&data, "reason", d->reason);
    put_str(&data, "error", d->error);
    put_uint(&data, "attempts", d->attempts);
    put_uint(&data, "seq", d->seq);
    put_int(&data, "stored_ms", d->stored_ms);
    put_str(&data, "topic", d->event.topic);
    put_uint(&data, "retries", d->retries);
    put_event(&data, &d->event);
    uuid_v7(now_ms, id);
    (void)snprintf(topic, sizeof topic, DEAD_LETTER_TOPIC "%.*s", STR_ARG(d->group)); // fits
    struct event e = { .id = str_of(id),
                       .topic = str_of(topic),
                       .key = d->event.key,
                       .subject = d->event.subject,
                       .source = STR("/sluice/queue"),
                       .time_ms = now_ms,
                       .traceparent = d->event.traceparent,
                       .data = buf_str(&data) };
    if (buf_ok(&data)) {
        event_encode(b, &e);
    } else {
        b->error = buf_error(&data);
    }
    buf_fini(&data);
}

static int read_data(struct reader *r, struct str *ret)
{
    if (reader_peek(r) == READER_NIL) {
        *ret = (struct str){ NULL, 0 };
        return reader_nil(r);
    }
    return reader_peek(r) == READER_BIN ? reader_bin(r, ret) : reader_raw(r, ret);
}

static int read_event(struct reader *r, struct event *e)
{
    uint32_t members;
    int status = reader_map(r, &members);
    for (uint32_t i = 0; status == 0 && i < members; i++) {
        struct str key;
        status = reader_str(r, &key);
        status = status                            ? status
                 : str_eq(key, STR("id"))          ? reader_str(r, &e->id)
                 : str_eq(key, STR("topic"))       ? reader_str(r, &e->topic)
                 : str_eq(key, STR("key"))         ? reader_str(r, &e->key)
                 : str_eq(key, STR("subject"))     ? reader_str(r, &e->subject)
                 : str_eq(key, STR("source"))      ? reader_str(r, &e->source)
                 : str_eq(key, STR("time_ms"))     ? reader_int(r, &e->time_ms)
                 : str_eq(key, STR("traceparent")) ? reader_str(r, &e->traceparent)
                 : str_eq(key, STR("data"))        ? read_data(r, &e->data)
                                                   : reader_skip(r);
    }
    return status;
}

static int read_uint32(struct reader *r, uint32_t *ret)
{
    uint64_t v;
    int status = reader_uint(r, &v);
    *ret = status ? 0 : v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
    return status;
}

int dead_letter_decode(struct str event, struct dead_letter *ret)
{
    struct event e;
    struct dead_letter d = { 0 };
    uint32_t members;
    if (event_decode(event, &e) || !str_starts(e.topic, STR(DEAD_LETTER_TOPIC)) || !e.data.p) {
        return -EBADMSG;
    }
    struct reader r = reader_of(e.data);
    int status = reader_map(&r, &members);
    for (uint32_t i = 0; status == 0 && i < members; i++) {
        struct str key;
        status = reader_str(&r, &key);
        status = status                          ? status
                 : str_eq(key, STR("group"))     ? reader_str(&r, &d.group)
                 : str_eq(key, STR("reason"))    ? reader_str(&r, &d.reason)
                 : str_eq(key, STR("error"))     ? reader_str(&r, &d.error)
                 : str_eq(key, STR("attempts"))  ? read_uint32(&r, &d.attempts)
                 : str_eq(key, STR("retries"))   ? read_uint32(&r, &d.retries)
                 : str_eq(key, STR("seq"))       ? reader_uint(&r, &d.seq)
                 : str_eq(key, STR("stored_ms")) ? reader_int(&r, &d.stored_ms)
                 : str_eq(key, STR("event"))     ? read_event(&r, &d.event)
                                                 : reader_skip(&r);
    }
    if (status || d.event.topic.n == 0) {
        return -EBADMSG;
    }
    *ret = d;
    return 0;
}
