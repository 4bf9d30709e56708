// SPDX-License-Identifier: MIT
#include "gateway/hello_check.h"

#include "common/json_to_msgpack.h"
#include "gateway/grammar.h"
#include "gateway/limits.h"
#include "gateway/method.h"
#include "proto/utf8.h"

#include <assert.h>

#define SERVICE_MAX 32
#define INSTANCE_MAX 64
#define NAME_MAX_BYTES                                                                             \
    128 // of versions, schema names, header names, titles, slugs: they end up in short texts

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Lower-case letters, digits and dashes, beginning with a letter.
static bool is_slug(struct str s, size_t max)
{
    bool ok = s.n > 0 && s.n <= max && is_lower(s.p[0]);
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = is_lower(s.p[i]) || is_digit(s.p[i]) || s.p[i] == '-';
    }
    return ok;
}

// Printable text on one line.
static bool is_line(struct str s, size_t min, size_t max)
{
    bool ok = s.n >= min && s.n <= max && utf8_valid(s);
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = (unsigned char)s.p[i] >= 0x20 && s.p[i] != 0x7F;
    }
    return ok;
}

static bool is_name(struct str s)
{
    bool ok = s.n > 0 && s.n <= NAME_MAX_BYTES;
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = is_alphanumeric(s.p[i]) || s.p[i] == '_' || s.p[i] == '-' || s.p[i] == '.';
    }
    return ok;
}

struct str pattern_next(struct str *pattern, bool *ret_parameter)
{
    assert(pattern->n > 0 && pattern->p[0] == '/');
    struct str rest = { pattern->p + 1, pattern->n - 1 };
    const char *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    struct str segment = { rest.p, slash ? (size_t)(slash - rest.p) : rest.n };
    *pattern = (struct str){ segment.p + segment.n, rest.n - segment.n };
    *ret_parameter = segment.n > 2 && segment.p[0] == '{' && segment.p[segment.n - 1] == '}';
    return segment;
}

bool pattern_same(struct str a, struct str b)
{
    while (a.n && b.n) {
        bool a_parameter, b_parameter;
        struct str a_next = pattern_next(&a, &a_parameter);
        struct str b_next = pattern_next(&b, &b_parameter);
        if (a_parameter != b_parameter || (!a_parameter && !str_eq(a_next, b_next))) {
            return false;
        }
    }
    return a.n == b.n;
}

static bool segment_valid(struct str s, bool parameter)
{
    if (parameter) {
        return is_name((struct str){ s.p + 1, s.n - 2 });
    }
    bool ok = s.n > 0 && !str_eq(s, STR(".")) && !str_eq(s, STR(".."));
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = is_alphanumeric(s.p[i]) || (s.p[i] != '\0' && strchr("-._~:@", s.p[i]));
    }
    return ok;
}

static bool pattern_valid(struct str pattern)
{
    size_t segments = 0, parameters = 0;
    bool ok = pattern.n > 1 && pattern.n <= 256 && pattern.p[0] == '/';
    while (ok && pattern.n) {
        bool parameter;
        struct str segment = pattern_next(&pattern, &parameter);
        parameters += parameter;
        ok = segment_valid(segment, parameter) && ++segments <= HTTP_MAX_SEGMENTS;
    }
    return ok && parameters <= FRAME_MAX_PARAMS;
}

static const char *check_route(const struct frame_route *f)
{
    if (method_find(f->method) >= METHOD_ROUTED) {
        return "A route's method is none of GET, POST, PUT, PATCH, DELETE.";
    }
    if (!pattern_valid(f->pattern)) {
        return "A route's pattern is not made of literals and {names}, or is too long.";
    }
    if (f->operation.n && !json_is_object(f->operation)) {
        return "A route's operation is not a JSON object.";
    }
    for (size_t i = 0; i < f->n_headers; i++) {
        if (!is_slug(f->headers[i], NAME_MAX_BYTES)) {
            return "A route asks for a header whose name is not lower-case letters, digits and "
                   "dashes.";
        }
    }
    return NULL;
}

static const char *check_routes(const struct frame_hello *h)
{
    for (size_t i = 0; i < h->n_routes; i++) {
        const char *wrong = check_route(&h->routes[i]);
        if (wrong) {
            return wrong;
        }
        for (size_t k = 0; k < i; k++) {
            if (str_eq(h->routes[i].method, h->routes[k].method) &&
                pattern_same(h->routes[i].pattern, h->routes[k].pattern)) {
                return "Two routes have the same method and pattern.";
            }
        }
    }
    return NULL;
}

static const char *check_announcements(const struct frame_hello *h)
{
    for (size_t i = 0; i < h->n_problems; i++) {
        const struct frame_problem *p = &h->problems[i];
        if (!is_slug(p->slug, NAME_MAX_BYTES) || p->status < 400 || p->status > 599 ||
            !is_line(p->title, 1, NAME_MAX_BYTES) || !is_line(p->meaning, 0, 1024)) {
            return "A problem has an invalid slug, status, title or meaning.";
        }
    }
    for (size_t i = 0; i < h->n_schemas; i++) {
        if (!is_name(h->schemas[i].name) || !json_is_object(h->schemas[i].value)) {
            return "A schema has an invalid name or is not a JSON object.";
        }
    }
    for (size_t i = 0; i < h->n_events; i++) {
        if (!is_name(h->events[i].name) || !json_is_object(h->events[i].value)) {
            return "An event has an invalid topic or is not a JSON object.";
        }
    }
    return is_line(h->summary, 0, NAME_MAX_BYTES)
               ? NULL
               : "The summary must be at most 128 bytes of printable text.";
}

const char *hello_check(const struct frame_hello *h)
{
    if (!is_slug(h->service, SERVICE_MAX)) {
        return "The service name is not [a-z][a-z0-9-]*, at most 32 bytes.";
    }
    if (!is_line(h->instance, 1, INSTANCE_MAX)) {
        return "The instance name must be 1 to 64 bytes of printable text.";
    }
    if (!is_line(h->version, 0, NAME_MAX_BYTES) || !is_line(h->schema, 1, NAME_MAX_BYTES)) {
        return "The version and the schema must be at most 128 bytes of printable text.";
    }
    if (h->capacity < 1 || h->capacity > 65535) {
        return "The capacity must be 1 to 65535.";
    }
    if (h->heartbeat_ms < 50 || h->heartbeat_ms > 60000) {
        return "heartbeat_ms must be 50 to 60000.";
    }
    const char *wrong = check_routes(h);
    return wrong ? wrong : check_announcements(h);
}
