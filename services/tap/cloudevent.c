// SPDX-License-Identifier: MIT
#include "services/tap/cloudevent.h"

#include <errno.h>
#include <stdio.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/json_to_msgpack.h"
#include "common/uuid.h"
#include "proto/timestamp.h"
#include "services/tap/fields.h"

#define TREE_BYTES (4 * QUEUE_MAX_EVENT_BYTES) // base64 and the envelope included
#define BASE64_IGNORED NULL

static int mistake(char to[CLOUDEVENT_MISTAKE], const char *what)
{
    (void)snprintf(to, CLOUDEVENT_MISTAKE, "%s", what); // cut off if it is longer
    return -EINVAL;
}

// A member that is a string, or is not there.
static int take_text(struct str map, const char *name, size_t max, struct str *ret,
                     char to[CLOUDEVENT_MISTAKE])
{
    struct reader r;
    *ret = STR("");
    if (!fields_find(map, name, &r)) {
        return 0;
    }
    if (reader_str(&r, ret) || ret->n > max) {
        (void)snprintf(to, CLOUDEVENT_MISTAKE, "%s must be a string of at most %zu bytes", name,
                       max);
        return -EINVAL;
    }
    return 0;
}

static int take_data(struct cloudevent *c, struct str map, char to[CLOUDEVENT_MISTAKE])
{
    struct str text;
    size_t n = 0;
    struct reader r;
    bool plain = fields_find(map, "data", &r), coded = fields_find(map, "data_base64", &r);
    c->event.data = plain ? fields_raw(map, "data") : (struct str){ NULL, 0 };
    if (plain && coded) {
        return mistake(to, "data and data_base64 exclude each other");
    }
    if (!coded) {
        return 0;
    }
    char *bytes = reader_str(&r, &text) ? NULL : buf_reserve(&c->data, text.n + 1);
    if (!bytes || sodium_base642bin((unsigned char *)bytes, text.n + 1, text.p, text.n,
                                    BASE64_IGNORED, &n, NULL, sodium_base64_VARIANT_ORIGINAL)) {
        return mistake(to, "data_base64 must be a string in base64");
    }
    c->data.len = n;
    c->event.data = buf_str(&c->data);
    return 0;
}

static int take_members(struct cloudevent *c, struct str map, char to[CLOUDEVENT_MISTAKE])
{
    struct event *e = &c->event;
    struct str time;
    int64_t now = clock_wall_ms();
    if (take_text(map, "type", QUEUE_MAX_TOPIC, &e->topic, to) ||
        take_text(map, "id", QUEUE_MAX_KEY, &e->id, to) ||
        take_text(map, "partitionkey", QUEUE_MAX_KEY, &e->key, to) ||
        take_text(map, "subject", 4096, &e->subject, to) ||
        take_text(map, "source", 4096, &e->source, to) ||
        take_text(map, "traceparent", 256, &e->traceparent, to) ||
        take_text(map, "time", 64, &time, to)) {
        return -EINVAL;
    }
    if (!topic_valid(e->topic)) {
        return mistake(to, "type must be a topic: tokens of a-z 0-9 _ - joined by dots, at most "
                           "128 bytes");
    }
    e->time_ms = now;
    if (time.n && timestamp_parse(time, &e->time_ms)) {
        return mistake(to, "time must be as 2026-11-23T10:00:00Z");
    }
    if (e->id.n == 0) {
        uuid_v7(now, c->id);
        e->id = str_of(c->id);
    }
    return take_data(c, map, to);
}

int cloudevent_parse(struct str json, struct cloudevent *c, char to[CLOUDEVENT_MISTAKE])
{
    struct json_error error;
    *c = (struct cloudevent){ .event = { .seq = 0 } };
    buf_init(&c->tree, TREE_BYTES);
    buf_init(&c->data, QUEUE_MAX_EVENT_BYTES);
    int rc = json_to_msgpack(json, &c->tree, &error);
    if (rc) {
        if (rc != -EINVAL) {
            return mistake(to, "the line is larger than an event may be");
        }
        (void)snprintf(to, CLOUDEVENT_MISTAKE, "column %zu: %s", error.column, error.what);
        return -EINVAL;
    }
    struct reader r = reader_of(buf_str(&c->tree));
    if (reader_peek(&r) != READER_MAP) {
        return mistake(to, "a line must be a JSON object, as export writes it");
    }
    return take_members(c, buf_str(&c->tree), to);
}

void cloudevent_free(struct cloudevent *c)
{
    buf_fini(&c->tree);
    buf_fini(&c->data);
}
