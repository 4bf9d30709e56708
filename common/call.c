// SPDX-License-Identifier: MIT
// What handlers ask of a call and how they answer it.
#include "common/call.h"

#include "common/call_impl.h"
#include "common/outbox.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ETAG_BYTES 32

static unsigned char cursor_key[CURSOR_KEY_BYTES];

void call_set_cursor_key(const unsigned char key[CURSOR_KEY_BYTES])
{
    memcpy(cursor_key, key, sizeof cursor_key);
}

// --- Asking

struct str call_client(const struct call *c)
{
    return c->frame.client;
}

const struct principal *call_principal(const struct call *c)
{
    return &c->principal;
}

bool call_is_admin(const struct call *c)
{
    return c->principal.id.p && str_eq(c->principal.role, STR("admin"));
}

bool call_is_user(const struct call *c, struct str user_id)
{
    return c->principal.id.p && str_eq(c->principal.id, user_id);
}

struct str call_param(const struct call *c, size_t i)
{
    assert(i < c->frame.n_params);
    return c->frame.params[i];
}

struct str call_query(const struct call *c, const char *name)
{
    const struct query_param *q = c->route->query;
    for (size_t i = 0; q && q[i].name; i++) {
        if (strcmp(q[i].name, name) == 0) {
            return c->query[i];
        }
    }
    assert(false && "the route must declare the query parameter");
    return (struct str){ NULL, 0 };
}

int64_t call_query_int(const struct call *c, const char *name)
{
    struct str s = call_query(c, name); // digits: the dispatcher checked it
    int64_t v = 0;
    bool negative = s.n && s.p[0] == '-';
    for (size_t i = negative; i < s.n; i++) {
        v = v * 10 + (s.p[i] - '0');
    }
    return negative ? -v : v;
}

struct str call_header(const struct call *c, const char *name)
{
    struct str wanted = str_of(name);
    for (size_t i = 0; i < c->frame.n_headers; i++) {
        if (str_eq(c->frame.headers[i].name, wanted)) {
            return c->frame.headers[i].value;
        }
    }
    return (struct str){ NULL, 0 };
}

const void *call_body(const struct call *c)
{
    return c->body;
}

struct db *call_db(const struct call *c)
{
    return c->db;
}

void *call_alloc(struct call *c, size_t n)
{
    return arena_alloc(&c->arena, n);
}

struct arena *call_arena(struct call *c)
{
    return &c->arena;
}

struct str call_copy(struct call *c, struct str s)
{
    return arena_str(&c->arena, s);
}

__attribute__((format(printf, 2, 0))) static struct str print_args(struct call *c,
                                                                   const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *p = n < 0 ? NULL : arena_alloc(&c->arena, (size_t)n + 1);
    if (!p) {
        return (struct str){ NULL, 0 };
    }
    (void)vsnprintf(p, (size_t)n + 1, format, args); // its length is known
    return (struct str){ p, (size_t)n };
}

struct str call_printf(struct call *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str s = print_args(c, format, args);
    va_end(args);
    return s;
}

void *call_state(struct call *c, size_t n)
{
    if (!c->state) {
        c->state = arena_alloc(&c->arena, n);
    }
    return c->state;
}

int64_t call_now_ms(const struct call *c)
{
    return c->now_ms;
}

const struct trace *call_trace(const struct call *c)
{
    return &c->trace;
}

bool call_wanted(const struct call *c)
{
    return !atomic_load_explicit(&c->cancelled, memory_order_relaxed) &&
           (int64_t)(uv_hrtime() / 1000) < c->deadline_us;
}

// --- Answering

int call_invalid_field(struct call *c, const char *pointer, const char *detail)
{
    call_problem_at(c, pointer, "%s", detail);
    return call_problem(c, PROBLEM_INVALID_FIELDS, NULL);
}

bool call_answered(const struct call *c)
{
    return c->answered;
}

void call_keep(struct call *c)
{
    assert(c->stage == CALL_WRITE);
    c->keep = true;
}

void call_discard_answer(struct call *c)
{
    c->answered = false;
    c->n_headers = 0;
    c->errors = NULL;
    c->last_error = &c->errors;
    buf_reset(&c->reply);
}

struct buf *call_reply_begin(struct call *c, int status)
{
    assert(!c->answered && status >= 200 && status <= 599);
    c->answered = true;
    c->status = status;
    buf_reset(&c->reply);
    return &c->reply;
}

int call_reply_empty(struct call *c, int status)
{
    (void)call_reply_begin(c, status); // the body stays empty
    return 0;
}

int call_reply(struct call *c, int status, const struct message *m, const void *object)
{
    struct buf *b = call_reply_begin(c, status);
    message_pack(m, object, b);
    return 0;
}

void call_reply_header(struct call *c, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str value = print_args(c, format, args);
    va_end(args);
    assert(c->n_headers < FRAME_MAX_HEADERS);
    bool clean = value.p != NULL;
    for (size_t i = 0; i < value.n; i++) {
        clean = clean && (unsigned char)value.p[i] >= 0x20 && value.p[i] != 0x7F;
    }
    if (clean) {
        c->headers[c->n_headers++] = (struct frame_pair){ str_of(name), value };
    }
}

__attribute__((format(printf, 4, 0))) static void
add_error(struct call *c, bool parameter, const char *where, const char *format, va_list args)
{
    struct call_error *e = call_alloc(c, sizeof *e);
    if (!e) {
        return; // the problem itself still goes out
    }
    e->parameter = parameter;
    e->pointer = call_copy(c, str_of(where));
    e->detail = print_args(c, format, args);
    *c->last_error = e;
    c->last_error = &e->next;
}

void call_problem_at(struct call *c, const char *pointer, const char *detail, ...)
{
    va_list args;
    va_start(args, detail);
    add_error(c, false, pointer, detail, args);
    va_end(args);
}

void call_parameter_error(struct call *c, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_error(c, true, name, format, args);
    va_end(args);
}

static void write_errors(const struct call *c, struct buf *b)
{
    uint32_t n = 0;
    for (const struct call_error *e = c->errors; e; e = e->next) {
        n++;
    }
    writer_key(b, "errors");
    writer_array(b, n);
    for (const struct call_error *e = c->errors; e; e = e->next) {
        writer_map(b, 2);
        writer_key(b, "detail");
        writer_str(b, e->detail);
        writer_key(b, e->parameter ? "parameter" : "pointer");
        writer_str(b, e->pointer);
    }
}

int call_problem(struct call *c, enum problem p, const char *detail, ...)
{
    const struct problem_type *type = problem_type(p);
    struct str text = { NULL, 0 };
    if (detail) {
        va_list args;
        va_start(args, detail);
        text = print_args(c, detail, args);
        va_end(args);
    }
    struct buf *b = call_reply_begin(c, type->status);
    writer_map(b, 1u + (text.p ? 1 : 0) + (c->errors ? 1 : 0));
    writer_key(b, "slug");
    writer_str(b, type->slug);
    if (text.p) {
        writer_key(b, "detail");
        writer_str(b, text);
    }
    if (c->errors) {
        write_errors(c, b);
    }
    return 0;
}

bool call_is_store_failure(int error)
{
    return error == -EIO || error == -ENOSPC || error == -EROFS || error == -EAGAIN ||
           error == -EBUSY || error == -EUCLEAN;
}

void call_fail(struct call *c, int error)
{
    call_discard_answer(c);
    c->failure = error;
    bool store = call_is_store_failure(error);
    bool full = error == -ENOBUFS;
    call_problem(c,
                 full    ? PROBLEM_OUTBOX_FULL
                 : store ? PROBLEM_STORE_UNAVAILABLE
                         : PROBLEM_INTERNAL,
                 NULL);
    if (full || store) {
        call_reply_header(c, "retry-after", full ? "5" : "1");
    }
}

// --- Conditional requests

static struct str etag_of(int64_t version, char out[ETAG_BYTES])
{
    int n = snprintf(out, ETAG_BYTES, "\"%" PRId64 "\"", version);
    return (struct str){ out, (size_t)n };
}

// Whether a list of entity tags names this one. weak: W/ in front of a tag is looked past (RFC 9110
// 8.8.3.2).
static bool tag_listed(struct str list, struct str tag, bool weak)
{
    if (list.n == 1 && list.p[0] == '*') {
        return true;
    }
    const char *p = list.p, *end = list.p + list.n;
    while (p < end) {
        while (p < end && (*p == ' ' || *p == '\t' || *p == ',')) {
            p++;
        }
        bool is_weak = end - p >= 2 && p[0] == 'W' && p[1] == '/';
        p += is_weak ? 2 : 0;
        const char *start = p;
        const char *close = p < end && *p == '"' ? memchr(p + 1, '"', (size_t)(end - p) - 1) : NULL;
        if (!close) {
            return false; // not an entity tag: the rest means nothing
        }
        p = close + 1;
        if ((weak || !is_weak) && str_eq((struct str){ start, (size_t)(p - start) }, tag)) {
            return true;
        }
    }
    return false;
}

void call_etag(struct call *c, int64_t version)
{
    char text[ETAG_BYTES];
    struct str tag = etag_of(version, text);
    call_reply_header(c, "etag", "%.*s", STR_ARG(tag));
}

bool call_not_modified(struct call *c, int64_t version)
{
    char text[ETAG_BYTES];
    struct str tag = etag_of(version, text), wanted = call_header(c, "if-none-match");
    call_etag(c, version);
    if (!wanted.p || !tag_listed(wanted, tag, true)) {
        return false;
    }
    call_reply_empty(c, 304);
    return true;
}

bool call_precondition(struct call *c, int64_t version)
{
    char text[ETAG_BYTES];
    struct str tag = etag_of(version, text), wanted = call_header(c, "if-match");
    if (!wanted.p) {
        call_problem(c, PROBLEM_PRECONDITION_REQUIRED, NULL);
        return false;
    }
    if (!tag_listed(wanted, tag, false)) {
        call_etag(c, version);
        call_problem(c, PROBLEM_PRECONDITION_FAILED, "the ETag is now %.*s", STR_ARG(tag));
        return false;
    }
    return true;
}

// --- Events

static bool is_announced(const struct service *s, const struct event_kind *kind)
{
    for (size_t i = 0; i < s->n_events; i++) {
        if (&s->events[i] == kind) {
            return true;
        }
    }
    return false;
}

int call_event(struct call *c, const struct event_kind *kind, struct str key, const void *object)
{
    assert(c->stage == CALL_WRITE);
    assert(is_announced(c->service, kind));
    char traceparent[TRACEPARENT_TEXT + 1];
    struct str source = call_printf(c, "/sluice/%s", c->service->name);
    struct buf data;
    buf_init(&data, QUEUE_MAX_EVENT_BYTES - 2048); // the rest of an event is far below 2 KiB
    message_pack(kind->message, object, &data);
    struct event e = { .topic = str_of(kind->topic),
                       .key = key,
                       .subject = key,
                       .source = source,
                       .time_ms = c->now_ms,
                       .traceparent = trace_format(&c->trace, traceparent),
                       .data = buf_str(&data) };
    int rc = buf_error(&data);
    rc = rc ? rc : !source.p ? -ENOMEM : outbox_add(c->db, &e);
    buf_fini(&data);
    return rc;
}

// --- Cursors

static void hash_part(crypto_generichash_state *h, struct str part)
{
    uint64_t n = part.n;
    (void)crypto_generichash_update(h, (const unsigned char *)&n, sizeof n); // cannot fail
    (void)crypto_generichash_update(h, (const unsigned char *)part.p, part.n);
}

// Binds a cursor to the list it was made for: operation, path, caller and every filter.
static void cursor_list_hash(const struct call *c, unsigned char out[CURSOR_LIST_BYTES])
{
    crypto_generichash_state h;
    const struct query_param *q = c->route->query;
    (void)crypto_generichash_init(&h, NULL, 0,
                                  CURSOR_LIST_BYTES); // these cannot fail with these sizes
    hash_part(&h, str_of(c->route->operation));
    for (size_t i = 0; i < c->frame.n_params; i++) {
        hash_part(&h, c->frame.params[i]);
    }
    hash_part(&h, c->principal.id);
    for (size_t i = 0; q && q[i].name; i++) {
        if (strcmp(q[i].name, "cursor") != 0 && strcmp(q[i].name, "limit") != 0) {
            hash_part(&h, c->query[i]);
        }
    }
    (void)crypto_generichash_final(&h, out, CURSOR_LIST_BYTES);
}

int call_cursor(struct call *c, struct cursor_position *ret_position)
{
    unsigned char list[CURSOR_LIST_BYTES];
    struct str text = call_query(c, "cursor");
    if (!text.p) {
        return 0;
    }
    cursor_list_hash(c, list);
    if (cursor_open(cursor_key, list, text, &c->arena, ret_position)) {
        call_problem(c, PROBLEM_INVALID_CURSOR, NULL);
        return -EINVAL;
    }
    return 1;
}

// Appends s percent-encoded: all but unreserved characters of RFC 3986.
static void append_percent(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                     (ch >= '0' && ch <= '9') || strchr("-._~", ch);
        if (plain && ch) {
            buf_append_char(b, (char)ch);
        } else {
            buf_printf(b, "%%%02X", ch);
        }
    }
}

// The pattern with the parameters of this call filled in.
static void append_path(const struct call *c, struct buf *b)
{
    size_t param = 0;
    for (const char *p = c->route->pattern; *p; p++) {
        if (*p != '{') {
            buf_append_char(b, *p);
            continue;
        }
        append_percent(b, call_param(c, param++));
        p = strchr(p, '}');
        assert(p);
    }
}

static void link_next(struct call *c, struct str cursor)
{
    struct buf b;
    buf_init(&b, 8192);
    append_path(c, &b);
    buf_append_z(&b, "?cursor=");
    buf_append_str(&b, cursor);
    const struct query_param *q = c->route->query;
    for (size_t i = 0; q[i].name; i++) {
        if (c->query[i].p && strcmp(q[i].name, "cursor") != 0) {
            buf_printf(&b, "&%s=", q[i].name);
            append_percent(&b, c->query[i]);
        }
    }
    if (buf_ok(&b)) {
        call_reply_header(c, "link", "<%.*s>; rel=\"next\"", STR_ARG(buf_str(&b)));
    }
    buf_fini(&b);
}

struct str call_next_cursor(struct call *c, const struct cursor_position *position)
{
    unsigned char list[CURSOR_LIST_BYTES];
    cursor_list_hash(c, list);
    struct str text = cursor_seal(cursor_key, list, position, &c->arena);
    if (text.p) {
        link_next(c, text);
    }
    return text;
}
