// SPDX-License-Identifier: MIT
// The times at the other process are those that it measured with its own monotonic clock; when its
// part began is known only up to the way there. Half of what is left of the time away is taken for
// the way there, and half for the way back.
#include "common/span.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PARTS 4        // of a request: the gateway's, the wait, the worker's, the store's
#define WAIT_MIN_US 50 // shorter than that nobody has waited for a worker

static const uint8_t no_id[8];

// One span as it is written.
struct part {
    const char *service, *instance; // NULL: of this process
    const uint8_t *id, *parent;     // NULL: of its own id, see child_id()
    uint8_t made_id[8];
    struct str name;
    enum span_kind kind;
    int64_t start_us, duration_us;
    const struct span *of; // for its attributes; NULL: it has none
};

void span_name(struct span *s, struct str what, struct str whom)
{
    size_t room = sizeof s->name - 1, n = what.n < room ? what.n : room, m = 0;
    if (n) {
        memcpy(s->name, what.p, n);
    }
    if (n < room && whom.n) {
        s->name[n++] = ' ';
        m = whom.n < room - n ? whom.n : room - n;
        memcpy(s->name + n, whom.p, m);
    }
    s->name[n + m] = '\0';
}

// --- Taking a span apart

// The id of a part that has none: of the span that it belongs to, but for the last bits. Nobody else
// uses it, for ids are random.
static void child_id(struct part *p, const uint8_t *of, uint8_t number)
{
    memcpy(p->made_id, of, sizeof p->made_id);
    p->made_id[7] ^= number;
    p->id = p->made_id;
    p->parent = of;
    p->kind = SPAN_INTERNAL;
}

static bool has_remote(const struct span *s)
{
    return memcmp(s->remote.span_id, no_id, sizeof no_id) != 0;
}

static size_t take_remote_apart(const struct span *s, struct part parts[PARTS], size_t n)
{
    const struct span_remote *r = &s->remote;
    int64_t sent_us = s->start_us + s->duration_us - r->away_us;
    int64_t inside_us = r->queue_us + r->handler_us + r->store_us;
    int64_t way_us = r->away_us > inside_us ? (r->away_us - inside_us) / 2 : 0;
    if (r->wait_us >= WAIT_MIN_US || s->kind == SPAN_PRODUCER) {
        struct part *p = &parts[n++];
        child_id(p, s->trace.span_id, 1);
        p->name = s->kind == SPAN_PRODUCER ? STR("outbox") : STR("wait for a worker");
        p->start_us = sent_us - r->wait_us;
        p->duration_us = r->wait_us;
    }
    struct part *p = &parts[n++];
    *p = (struct part){ .service = r->service,
                        .instance = r->instance,
                        .id = r->span_id,
                        .parent = s->trace.span_id,
                        .name = s->kind == SPAN_PRODUCER ? STR("append") : str_of(s->name),
                        .kind = SPAN_SERVER,
                        .start_us = sent_us + (r->answered ? way_us : 0),
                        .duration_us = r->answered ? inside_us : r->away_us,
                        .of = s };
    if (s->kind == SPAN_SERVER && r->answered && r->store_us > 0) {
        struct part *store = &parts[n++];
        store->service = r->service;
        store->instance = r->instance;
        child_id(store, r->span_id, 1);
        store->name = STR("store");
        store->start_us = p->start_us + inside_us - r->store_us;
        store->duration_us = r->store_us;
    }
    return n;
}

static size_t take_apart(const struct span *s, struct part parts[PARTS])
{
    memset(parts, 0, PARTS * sizeof *parts);
    parts[0] = (struct part){ .id = s->trace.span_id,
                              .parent = s->parent_id,
                              .name = str_of(s->name),
                              .kind = s->kind,
                              .start_us = s->start_us,
                              .duration_us = s->duration_us,
                              .of = s };
    return has_remote(s) ? take_remote_apart(s, parts, 1) : 1;
}

// --- Writing

// A member of the list at hand begins.
static void write_comma(struct buf *b)
{
    if (b->len && b->data[b->len - 1] != '[') {
        buf_append_char(b, ',');
    }
}

static void write_text(struct buf *b, const char *key, struct str value)
{
    write_comma(b);
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"stringValue\":\"", key);
    buf_append_json(b, value);
    buf_append_z(b, "\"}}");
}

static void write_number(struct buf *b, const char *key, uint64_t value)
{
    write_comma(b);
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"intValue\":\"%" PRIu64 "\"}}", key, value);
}

// OTEL_RESOURCE_ATTRIBUTES: "key=value,key=value". What has no name is left out.
static void write_configured(struct buf *b, const char *attributes)
{
    for (const char *p = attributes; p && *p;) {
        size_t n = strcspn(p, ","), equals = strcspn(p, "=");
        if (equals > 0 && equals < n) {
            buf_append_z(b, ",{\"key\":\"");
            buf_append_json(b, (struct str){ p, equals });
            buf_append_z(b, "\",\"value\":{\"stringValue\":\"");
            buf_append_json(b, (struct str){ p + equals + 1, n - equals - 1 });
            buf_append_z(b, "\"}}");
        }
        p += n + (p[n] == ',');
    }
}

static void write_resource(struct buf *b, const struct span_resource *own, const struct part *p)
{
    const char *instance = p->instance ? p->instance : own->instance;
    buf_append_z(b, "{\"resource\":{\"attributes\":[");
    write_text(b, "service.name", str_of(p->service ? p->service : own->service));
    write_text(b, "service.namespace", STR("sluice"));
    if (*instance) {
        write_text(b, "service.instance.id", str_of(instance));
    }
    write_text(b, "service.version", STR(SLUICE_VERSION));
    write_configured(b, own->attributes);
    buf_append_z(b,
                 "]},\"scopeSpans\":[{\"scope\":{\"name\":\"sluice\",\"version\":\"" SLUICE_VERSION
                 "\"},\"spans\":[");
}

// before: what stands before the id.
static void write_id(struct buf *b, const char *before, const uint8_t *id, size_t n)
{
    char text[TRACE_ID_TEXT + 1];
    trace_hex(id, n, text);
    buf_printf(b, "%s\"%s\"", before, text);
}

// What follows the first blank of the name; p == NULL: nothing.
static struct str behind_blank(struct str name)
{
    const char *blank = memchr(name.p, ' ', name.n);
    return blank ? (struct str){ blank + 1, name.n - (size_t)(blank + 1 - name.p) }
                 : (struct str){ NULL, 0 };
}

// Conventions for HTTP servers. The path itself is not kept: it may name people.
static void write_request(struct buf *b, const struct part *p)
{
    const struct span *s = p->of;
    struct str route = behind_blank(p->name), method = p->name;
    if (route.p) {
        method.n -= route.n + 1;
        write_text(b, "http.route", route);
    }
    write_text(b, "http.request.method", method);
    write_text(b, "url.scheme", STR("http"));
    if (s->status) {
        write_number(b, "http.response.status_code", s->status);
    }
    if (s->error) {
        char type[16];
        (void)snprintf(type, sizeof type, "%" PRIu32, s->status);
        write_text(b, "error.type", str_of(type));
    }
}

// Conventions for messaging: the destination is the topic.
static void write_event(struct buf *b, const struct part *p)
{
    const struct span *s = p->of;
    bool sends = s->kind == SPAN_PRODUCER;
    write_text(b, "messaging.system", STR("sluice"));
    write_text(b, "messaging.operation.name", sends ? STR("publish") : STR("process"));
    write_text(b, "messaging.operation.type", sends ? STR("send") : STR("process"));
    write_text(b, "messaging.destination.name", behind_blank(str_of(s->name)));
    if (s->consumer) {
        write_text(b, "messaging.consumer.group.name", str_of(s->consumer));
    }
    if (s->batch > 1) {
        write_number(b, "messaging.batch.message_count", s->batch);
    }
    if (s->seq) {
        write_number(b, sends ? "sluice.outbox_seq" : "sluice.seq", s->seq);
    }
    if (s->error) {
        write_text(b, "error.type", STR("_OTHER"));
    }
}

static void write_remote(struct buf *b, const struct span_remote *r)
{
    if (r->attempt > 1) {
        write_number(b, "http.request.resend_count", r->attempt - 1);
    }
    if (r->answered) {
        write_number(b, "sluice.queue_us", (uint64_t)r->queue_us);
        write_number(b, "sluice.handler_us", (uint64_t)r->handler_us);
        write_number(b, "sluice.store_us", (uint64_t)r->store_us);
    }
}

static void write_attributes(struct buf *b, const struct part *p)
{
    if (p->of->kind == SPAN_SERVER) {
        write_request(b, p);
    } else if (p->of->kind == SPAN_PRODUCER || p->of->kind == SPAN_CONSUMER) {
        write_event(b, p);
    }
    if (p->service) {
        write_remote(b, &p->of->remote);
    }
}

static void write_part(struct buf *b, const struct span *s, const struct part *p)
{
    write_id(b, "{\"traceId\":", s->trace.trace_id, sizeof s->trace.trace_id);
    write_id(b, ",\"spanId\":", p->id, 8);
    if (memcmp(p->parent, no_id, sizeof no_id) != 0) {
        write_id(b, ",\"parentSpanId\":", p->parent, 8);
    }
    buf_append_z(b, ",\"name\":\"");
    buf_append_json(b, p->name);
    buf_printf(b,
               "\",\"kind\":%d,\"startTimeUnixNano\":\"%" PRId64
               "000\",\"endTimeUnixNano\":\"%" PRId64 "000\",\"attributes\":[",
               p->kind, p->start_us, p->start_us + p->duration_us);
    if (p->of) {
        write_attributes(b, p);
    }
    if (p->of && s->kind == SPAN_CONSUMER) {
        write_id(b, "],\"links\":[{\"traceId\":", s->trace.trace_id, sizeof s->trace.trace_id);
        write_id(b, ",\"spanId\":", s->parent_id, 8);
        buf_append_char(b, '}');
    }
    buf_printf(b, "],\"status\":{%s}}", p->of && s->error ? "\"code\":2" : "");
}

static bool same_resource(const struct part *a, const struct part *b)
{
    bool own = !a->service && !b->service;
    return own || (a->service && b->service && strcmp(a->service, b->service) == 0 &&
                   strcmp(a->instance, b->instance) == 0);
}

void span_write_otlp(const struct span_resource *own, const struct span *spans, size_t n,
                     struct buf *json)
{
    struct part last = { 0 };
    bool open = false;
    buf_append_z(json, "{\"resourceSpans\":[");
    for (size_t i = 0; i < n && buf_ok(json); i++) {
        struct part parts[PARTS];
        size_t n_parts = take_apart(&spans[i], parts);
        for (size_t k = 0; k < n_parts && buf_ok(json); k++) {
            bool same = open && same_resource(&last, &parts[k]);
            buf_append_z(json, same ? "," : open ? "]}]}," : "");
            if (!same) {
                write_resource(json, own, &parts[k]);
            }
            write_part(json, &spans[i], &parts[k]);
            open = true;
            last = parts[k];
        }
    }
    buf_append_z(json, open ? "]}]}]}" : "]}");
}
