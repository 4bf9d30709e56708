// SPDX-License-Identifier: MIT
// The OpenAPI texts are made once and live as long as the process; a HELLO only refers to them.
#include "common/announce.h"

#include "proto/writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>

#define TEXT_BYTES (1024 * 1024) // of all operations and schemas of one service
#define HASH_BYTES 16

struct announcement {
    struct frame_hello hello;
    struct buf operations[FRAME_MAX_ROUTES];
    struct buf schemas[FRAME_MAX_SCHEMAS];
    struct buf events[FRAME_MAX_EVENTS];
    const struct message *messages[FRAME_MAX_SCHEMAS]; // whose schemas these are
    char hash[2 * HASH_BYTES + 1];
    char *instance;
};

static void json_string(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "\"%s\":\"", name);
    buf_append_json(b, str_of(value));
    buf_append_char(b, '"');
}

// --- Parameters

static void separate(struct buf *b, bool *first)
{
    buf_append_z(b, *first ? "" : ",");
    *first = false;
}

static void path_parameters(struct buf *b, const char *pattern, bool *first)
{
    for (const char *p = strchr(pattern, '{'); p; p = strchr(p, '{')) {
        const char *end = strchr(p, '}');
        assert(end);
        separate(b, first);
        buf_printf(b,
                   "{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":"
                   "\"string\"}}",
                   (int)(end - p - 1), p + 1);
        p = end;
    }
}

static void query_schema(struct buf *b, const struct query_param *q)
{
    if (q->kind == QUERY_INTEGER) {
        buf_printf(b, "{\"type\":\"integer\",\"minimum\":%" PRId64 ",\"maximum\":%" PRId64, q->min,
                   q->max);
    } else if (q->kind == QUERY_STRING) {
        buf_printf(b, "{\"type\":\"string\",\"minLength\":%" PRId64 ",\"maxLength\":%" PRId64,
                   q->min, q->max);
    } else if (q->kind == QUERY_CHOICE) {
        buf_printf(b, "{\"type\":\"string\",\"pattern\":\"^(%s)$\"", q->choices);
    } else {
        buf_printf(b, "{\"type\":\"string\",\"pattern\":\"^(%s)(,(%s))*$\"", q->choices,
                   q->choices);
    }
    if (q->fallback && q->kind == QUERY_INTEGER) {
        buf_printf(b, ",\"default\":%s", q->fallback);
    } else if (q->fallback) {
        buf_append_char(b, ',');
        json_string(b, "default", q->fallback);
    }
    buf_append_char(b, '}');
}

static void query_parameters(struct buf *b, const struct query_param *q, bool *first)
{
    for (; q && q->name; q++) {
        separate(b, first);
        buf_printf(b, "{\"name\":\"%s\",\"in\":\"query\",\"required\":%s,", q->name,
                   q->required ? "true" : "false");
        json_string(b, "description", q->description ? q->description : "");
        buf_append_z(b, ",\"schema\":");
        query_schema(b, q);
        buf_append_char(b, '}');
    }
}

static void header_parameter(struct buf *b, const char *name, bool required, const char *text,
                             bool *first)
{
    separate(b, first);
    buf_printf(b, "{\"name\":\"%s\",\"in\":\"header\",\"required\":%s,", name,
               required ? "true" : "false");
    json_string(b, "description", text);
    buf_append_z(b, ",\"schema\":{\"type\":\"string\"}}");
}

static void parameters(struct buf *b, const struct route *r)
{
    bool first = true;
    buf_append_z(b, ",\"parameters\":[");
    path_parameters(b, r->pattern, &first);
    query_parameters(b, r->query, &first);
    if (r->key != ROUTE_KEY_IGNORED) {
        header_parameter(b, "Idempotency-Key", r->key == ROUTE_KEY_REQUIRED,
                         "A repeat with the same key gets the first answer", &first);
    }
    if (r->if_match) {
        header_parameter(b, "If-Match", true, "ETag of the version that is to be changed", &first);
    }
    buf_append_char(b, ']');
}

// --- Bodies and answers

static void reference(struct buf *b, const char *type, const char *schema)
{
    buf_printf(b, "\"%s\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}}", type, schema);
}

static void request_body(struct buf *b, const struct route *r)
{
    if (!r->request) {
        return;
    }
    bool patch = r->body == FRAME_BODY_MERGE_PATCH;
    buf_append_z(b, ",\"requestBody\":{\"required\":true,\"content\":{");
    reference(b, patch ? "application/merge-patch+json" : "application/json", r->request->name);
    buf_append_char(b, ',');
    reference(b, "application/vnd.msgpack", r->request->name);
    buf_append_z(b, "}}");
}

static void success_response(struct buf *b, const struct route *r)
{
    buf_printf(b, "\"%d\":{\"description\":\"%s\"", r->success,
               r->success == 201 ? "Created" : "Success");
    if (r->reply) {
        buf_append_z(b, ",\"content\":{");
        reference(b, "application/json", r->reply->name);
        buf_append_char(b, ',');
        reference(b, "application/vnd.msgpack", r->reply->name);
        buf_append_char(b, '}');
    }
    buf_append_char(b, '}');
}

// All problems of one status share a response: their titles are its description.
static void problem_response(struct buf *b, const enum problem *problems, size_t n, int status)
{
    bool first = true;
    buf_printf(b, ",\"%d\":{\"description\":\"", status);
    for (size_t i = 0; i < n; i++) {
        if (problem_type(problems[i])->status == status) {
            buf_append_z(b, first ? "" : "; ");
            buf_append_json(b, problem_type(problems[i])->title);
            first = false;
        }
    }
    buf_append_z(b, "\",\"content\":{");
    reference(b, "application/problem+json", "problem");
    buf_append_z(b, "}}");
}

#define MAX_PROBLEMS 32

static size_t add_problem(enum problem *list, size_t n, enum problem p)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == p) {
            return n;
        }
    }
    assert(n < MAX_PROBLEMS);
    list[n] = p;
    return n + 1;
}

// The problems of a route: its own, and those that the kit and the gateway answer with for it.
static size_t problems_of(const struct route *r, enum problem *list)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof r->problems / sizeof *r->problems; i++) {
        if (r->problems[i] == PROBLEM_COUNT || r->problems[i] == PROBLEM_MALFORMED_REQUEST) {
            break;
        }
        n = add_problem(list, n, r->problems[i]);
    }
    n = add_problem(list, n, PROBLEM_INVALID_PARAMETER);
    if (r->auth != FRAME_AUTH_NONE) {
        n = add_problem(list, n, PROBLEM_UNAUTHENTICATED);
    }
    if (r->request) {
        n = add_problem(list, n, PROBLEM_MALFORMED_BODY);
        n = add_problem(list, n, PROBLEM_BODY_TOO_LARGE);
        n = add_problem(list, n, PROBLEM_UNSUPPORTED_MEDIA_TYPE);
        n = add_problem(list, n, PROBLEM_INVALID_FIELDS);
    }
    if (r->key != ROUTE_KEY_IGNORED) {
        n = add_problem(list, n, PROBLEM_IDEMPOTENCY_IN_PROGRESS);
        n = add_problem(list, n, PROBLEM_IDEMPOTENCY_KEY_REUSED);
    }
    if (r->key == ROUTE_KEY_REQUIRED) {
        n = add_problem(list, n, PROBLEM_IDEMPOTENCY_KEY_REQUIRED);
    }
    if (r->if_match) {
        n = add_problem(list, n, PROBLEM_PRECONDITION_FAILED);
        n = add_problem(list, n, PROBLEM_PRECONDITION_REQUIRED);
    }
    if (r->write) {
        n = add_problem(list, n, PROBLEM_STORE_UNAVAILABLE);
        n = add_problem(list, n, PROBLEM_OUTBOX_FULL);
    }
    n = add_problem(list, n, PROBLEM_OVERLOADED);
    n = add_problem(list, n, PROBLEM_UNAVAILABLE);
    return add_problem(list, n, PROBLEM_DEADLINE_EXCEEDED);
}

static void responses(struct buf *b, const struct route *r)
{
    enum problem list[MAX_PROBLEMS];
    size_t n = problems_of(r, list);
    buf_append_z(b, ",\"responses\":{");
    success_response(b, r);
    for (int status = 400; status < 600; status++) {
        for (size_t i = 0; i < n; i++) {
            if (problem_type(list[i])->status == status) {
                problem_response(b, list, n, status);
                break;
            }
        }
    }
    buf_append_char(b, '}');
}

static void operation(struct buf *b, const struct service *s, const struct route *r)
{
    buf_append_char(b, '{');
    json_string(b, "operationId", r->operation);
    buf_append_char(b, ',');
    json_string(b, "summary", r->summary ? r->summary : r->operation);
    buf_printf(b, ",\"tags\":[\"%s\"],\"security\":[", r->tag && *r->tag ? r->tag : s->name);
    buf_append_z(b, r->auth == FRAME_AUTH_OPTIONAL ? "{}," : "");
    buf_append_z(b, r->auth == FRAME_AUTH_NONE ? "]" : "{\"bearer\":[]}]");
    parameters(b, r);
    request_body(b, r);
    responses(b, r);
    buf_append_char(b, '}');
}

// --- Schemas

// Notes m and every message inside it, unless it was before. closed: it is only asked with, and never
// answered. Returns -ENOSPC over FRAME_MAX_SCHEMAS.
static int note_message(struct announcement *a, const struct message *m, bool closed)
{
    if (!m) {
        return 0;
    }
    size_t n = a->hello.n_schemas;
    for (size_t i = 0; i < n; i++) {
        if (a->messages[i] == m) {
            return 0;
        }
    }
    if (n == FRAME_MAX_SCHEMAS) {
        return -ENOSPC;
    }
    a->messages[n] = m;
    a->hello.n_schemas = n + 1;
    buf_init(&a->schemas[n], TEXT_BYTES);
    message_schema(m, closed, &a->schemas[n]);
    a->hello.schemas[n] = (struct frame_pair){ str_of(m->name), buf_str(&a->schemas[n]) };
    int rc = buf_error(&a->schemas[n]);
    for (size_t i = 0; !rc && i < m->n_fields; i++) {
        rc = note_message(a, m->fields[i].sub, closed);
    }
    return rc;
}

// --- Events

static int describe_event(struct announcement *a, const struct event_kind *kind, size_t i)
{
    struct buf *b = &a->events[i];
    buf_init(b, TEXT_BYTES);
    buf_append_char(b, '{');
    json_string(b, "name", kind->topic);
    buf_append_char(b, ',');
    json_string(b, "summary", kind->summary);
    buf_append_z(b, ",\"description\":\"Key and subject: the ");
    buf_append_json(b, str_of(kind->key));
    buf_printf(b,
               ".\",\"contentType\":\"application/vnd.msgpack\","
               "\"traits\":[{\"$ref\":\"#/components/messageTraits/event\"}],"
               "\"payload\":{\"$ref\":\"#/components/schemas/%s\"}}",
               kind->message->name);
    a->hello.events[i] = (struct frame_pair){ str_of(kind->topic), buf_str(b) };
    a->hello.n_events = i + 1;
    int rc = buf_error(b);
    return rc ? rc : note_message(a, kind->message, false);
}

// --- Routes

static void want_header(struct frame_route *f, const char *name)
{
    f->headers[f->n_headers++] = str_of(name);
}

static int describe_route(struct announcement *a, const struct service *s, size_t i)
{
    const struct route *r = &s->routes[i];
    struct frame_route *f = &a->hello.routes[i];
    assert(r->method && r->pattern && r->operation && r->success);
    assert(r->read || r->compute || r->write);
    *f = (struct frame_route){ .method = str_of(r->method),
                               .pattern = str_of(r->pattern),
                               .write = r->write != NULL,
                               .keyed = r->key != ROUTE_KEY_IGNORED,
                               .auth = r->auth,
                               .body = r->body,
                               .deadline_ms = r->deadline_ms,
                               .sensitive = r->sensitive,
                               .internal = r->internal,
                               .load = route_class(r),
                               .low = r->low };
    if (strcmp(r->method, "GET") == 0) {
        want_header(f, "if-none-match");
    }
    if (r->if_match) {
        want_header(f, "if-match");
    }
    if (r->key != ROUTE_KEY_IGNORED) {
        want_header(f, "idempotency-key");
    }
    buf_init(&a->operations[i], TEXT_BYTES);
    operation(&a->operations[i], s, r);
    f->operation = buf_str(&a->operations[i]);
    int rc = buf_error(&a->operations[i]);
    return rc ? rc : note_message(a, r->reply, false);
}

// Names the table: the hash of everything that a HELLO says of routes, schemas and events.
static int name_table(struct announcement *a)
{
    unsigned char hash[HASH_BYTES];
    struct buf b;
    buf_init(&b, FRAME_MAX_BYTES);
    frame_hello_encode(&b, &a->hello);
    int rc = buf_error(&b);
    if (!rc) {
        (void)crypto_generichash(hash, sizeof hash, (const unsigned char *)b.data, b.len, NULL, 0);
        (void)sodium_bin2hex(a->hash, sizeof a->hash, hash, sizeof hash);
        a->hello.schema = str_of(a->hash);
    }
    buf_fini(&b);
    return rc;
}

int announce_new(const struct service *service, const char *instance, uint32_t capacity,
                 struct announcement **ret_announcement)
{
    assert(service->n_routes <= FRAME_MAX_ROUTES && service->n_events <= FRAME_MAX_EVENTS);
    struct announcement *a = calloc(1, sizeof *a);
    int rc = a ? 0 : -ENOMEM;
    if (rc) {
        return rc;
    }
    a->hello.protocol = FRAME_PROTOCOL_VERSION;
    a->hello.service = str_of(service->name);
    a->hello.summary = str_of(service->summary ? service->summary : "");
    a->hello.n_routes = service->n_routes;
    for (size_t i = 0; !rc && i < service->n_routes; i++) {
        rc = describe_route(a, service, i);
    }
    for (size_t i = 0; !rc && i < service->n_events; i++) {
        rc = describe_event(a, &service->events[i], i);
    }
    // After everything that is answered or published: what is part of both stays open.
    for (size_t i = 0; !rc && i < service->n_routes; i++) {
        rc = note_message(a, service->routes[i].request, true);
    }
    // The table is named before what differs between the workers that share it.
    rc = rc ? rc : name_table(a);
    a->instance = strdup(instance);
    rc = rc ? rc : a->instance ? 0 : -ENOMEM;
    if (rc) {
        announce_destroy(&a);
        return rc;
    }
    a->hello.version = str_of(SLUICE_VERSION);
    a->hello.instance = str_of(a->instance);
    a->hello.capacity = capacity;
    a->hello.heartbeat_ms = WORKER_HEARTBEAT_MS;
    *ret_announcement = a;
    return 0;
}

void announce_destroy(struct announcement **announcement)
{
    struct announcement *a = *announcement;
    *announcement = NULL;
    if (!a) {
        return;
    }
    for (size_t i = 0; i < FRAME_MAX_ROUTES; i++) {
        buf_fini(&a->operations[i]);
    }
    for (size_t i = 0; i < FRAME_MAX_SCHEMAS; i++) {
        buf_fini(&a->schemas[i]);
    }
    for (size_t i = 0; i < FRAME_MAX_EVENTS; i++) {
        buf_fini(&a->events[i]);
    }
    free(a->instance);
    free(a);
}

void announce_hello(struct announcement *a, enum frame_role role, struct buf *b)
{
    a->hello.role = role;
    frame_hello_encode(b, &a->hello);
}
