// SPDX-License-Identifier: MIT
#include "gateway/openapi.h"

#include "common/json_text.h"
#include "gateway/hello_check.h"
#include "gateway/schemas.h"
#include "proto/problems.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char head[] =
    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Sluice\",\"version\":\"" SLUICE_VERSION "\","
    "\"summary\":\"The API of the services that run behind this gateway\","
    "\"description\":\"Bodies are JSON or MessagePack (Content-Type, Accept). Errors are problem "
    "details (RFC 9457), whose types /problems explains. A single resource has an ETag: GET takes "
    "If-None-Match, and changes want If-Match. Lists come in pages: next_cursor of one is the "
    "cursor "
    "of the next. Answers may have more members some day: ignore those that you do not know. "
    "Access tokens come from POST /v1/sessions. What happens is also published as "
    "events: /asyncapi.json.\","
    "\"license\":{\"name\":\"MIT\",\"identifier\":\"MIT\"}},\"servers\":[{\"url\":\"/\"}]";

static const char components[] =
    "\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\","
    "\"bearerFormat\":\"JWT\"}},\"schemas\":{\"problem\":{\"type\":\"object\","
    "\"description\":\"RFC 9457 problem "
    "details\",\"required\":[\"type\",\"title\",\"status\"],\"properties\":{"
    "\"type\":{\"type\":\"string\",\"format\":\"uri-reference\"},\"title\":{\"type\":\"string\"},"
    "\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
    "\"instance\":{\"type\":\"string\",\"format\":\"uri\"},\"errors\":{\"type\":\"array\","
    "\"items\":{"
    "\"type\":\"object\",\"properties\":{\"detail\":{\"type\":\"string\"},\"pointer\":{\"type\":"
    "\"string\"},"
    "\"parameter\":{\"type\":\"string\"}}}}}}";

// --- What the gateway answers by itself

enum route_kind {
    EVERY_ROUTE,
    LIMITED_ROUTES,
    ROUTES_WITH_CALLER,
    ROUTES_OF_SERVICES,
    WRITES_OF_SERVICES
};

// Answers that an operation has if its worker announced none with this status; ranges are for what is
// wrong with the request as such, whatever it asks for. tests/system/test_published.py compares them
// with what is answered.
static const struct own_answer {
    const char *status;
    enum route_kind of;
    bool later; // with Retry-After
    size_t n;
    enum problem problems[8];
} own_answers[] = {
    { "401", ROUTES_WITH_CALLER, false, 1, { PROBLEM_UNAUTHENTICATED } },
    { "403", ROUTES_WITH_CALLER, false, 1, { PROBLEM_FORBIDDEN } }, // an API key without the scope
    { "429", LIMITED_ROUTES, true, 1, { PROBLEM_TOO_MANY_REQUESTS } },
    { "4XX",
      EVERY_ROUTE,
      false,
      8,
      { PROBLEM_MALFORMED_REQUEST, PROBLEM_INVALID_PARAMETER, PROBLEM_NOT_ACCEPTABLE,
        PROBLEM_REQUEST_TIMEOUT, PROBLEM_BODY_TOO_LARGE, PROBLEM_URI_TOO_LONG,
        PROBLEM_UNSUPPORTED_MEDIA_TYPE, PROBLEM_HEADERS_TOO_LARGE } },
    { "500", EVERY_ROUTE, false, 1, { PROBLEM_INTERNAL } },
    { "502", WRITES_OF_SERVICES, false, 1, { PROBLEM_OUTCOME_UNKNOWN } },
    { "503", ROUTES_OF_SERVICES, true, 2, { PROBLEM_OVERLOADED, PROBLEM_UNAVAILABLE } },
    { "504", ROUTES_OF_SERVICES, false, 1, { PROBLEM_DEADLINE_EXCEEDED } },
    { "5XX", EVERY_ROUTE, false, 1, { PROBLEM_NOT_IMPLEMENTED } },
};
#define OWN_ANSWERS (sizeof own_answers / sizeof *own_answers)

static bool is_of(const struct own_answer *a, const struct route *route)
{
    switch (a->of) {
    case EVERY_ROUTE:
        return true;
    case LIMITED_ROUTES:
        return route_is_limited(route);
    case ROUTES_WITH_CALLER:
        return route->auth != FRAME_AUTH_NONE;
    case ROUTES_OF_SERVICES:
        return route->service != NULL;
    case WRITES_OF_SERVICES:
        return route->service && route->method != METHOD_GET;
    }
    return false;
}

// As `components.responses`: those that operations refer to.
static void append_own_answers(const bool used[OWN_ANSWERS], struct buf *b)
{
    const char *separator = "";
    buf_append_z(b, "\"responses\":{");
    for (size_t i = 0; i < OWN_ANSWERS; i++) {
        const struct own_answer *a = &own_answers[i];
        if (!used[i]) {
            continue;
        }
        buf_printf(b, "%s\"%s\":{\"description\":\"", separator, a->status);
        separator = ",";
        for (size_t k = 0; k < a->n; k++) {
            buf_append_z(b, k ? "; " : "");
            buf_append_json(b, problem_type(a->problems[k])->title);
        }
        buf_append_z(b, a->later ? "\",\"headers\":{\"Retry-After\":{\"description\":\"Seconds to "
                                   "wait\",\"schema\":{\"type\":\"integer\",\"minimum\":0}}},"
                                 : "\",");
        buf_append_z(b, "\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":"
                        "\"#/components/schemas/problem\"}}}}");
    }
    buf_append_z(b, "},");
}

// --- Operations

static void append_string(struct buf *b, struct str s)
{
    buf_append_char(b, '"');
    buf_append_json(b, s);
    buf_append_char(b, '"');
}

// Whether the document has the route: parts of the page at /docs have no operation.
static bool is_shown(const struct route *route)
{
    return route_is_public(route) && (route->service || route->operation.n > 0);
}

static bool same_path(const struct route *a, const struct route *b)
{
    return pattern_same(str_of(a->pattern), str_of(b->pattern));
}

// Whether an earlier route of the document has the same path.
static bool is_listed(const struct router *r, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (is_shown(r->routes[k]) && same_path(r->routes[k], r->routes[i])) {
            return true;
        }
    }
    return false;
}

// Whether there is memory.
static bool mark_deprecated(yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    yyjson_mut_val *name = yyjson_mut_str(doc, "deprecated"), *yes = yyjson_mut_true(doc);
    return yyjson_mut_obj_put(root, name, yes); // also when the worker said otherwise
}

// Likewise.
static bool add_own_answers(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct route *route,
                            bool used[OWN_ANSWERS])
{
    yyjson_mut_val *responses = yyjson_mut_obj_get(root, "responses");
    if (!yyjson_mut_is_obj(responses)) { // the worker announced none, or none that one could read
        yyjson_mut_val *name = yyjson_mut_str(doc, "responses");
        responses = yyjson_mut_obj(doc);
        if (!yyjson_mut_obj_put(root, name, responses)) {
            return false;
        }
    }
    bool ok = true;
    for (size_t i = 0; ok && i < OWN_ANSWERS; i++) {
        const char *status = own_answers[i].status;
        if (is_of(&own_answers[i], route) && !yyjson_mut_obj_get(responses, status)) {
            char reference[64];
            (void)snprintf(reference, sizeof reference, "#/components/responses/%s", status);
            used[i] = true;
            yyjson_mut_val *answer = yyjson_mut_obj(doc);
            ok = yyjson_mut_obj_add_strcpy(doc, answer, "$ref", reference) &&
                 yyjson_mut_obj_add_val(doc, responses, status, answer);
        }
    }
    return ok;
}

// The operation as the worker announced it, with the gateway's answers; one that the policy ends is
// marked.
static void append_operation(const struct route *route, bool used[OWN_ANSWERS], struct buf *b)
{
    struct str json = route->operation.n ? route->operation : STR("{}");
    yyjson_doc *doc = yyjson_read(json.p, json.n, YYJSON_READ_NOFLAG);
    yyjson_mut_doc *whole = doc ? yyjson_doc_mut_copy(doc, NULL) : NULL;
    yyjson_mut_val *root = yyjson_mut_doc_get_root(whole);
    size_t n = 0;
    char *text = NULL;
    if (add_own_answers(whole, root, route, used) &&
        (!route->policy.deprecated || mark_deprecated(whole, root))) {
        text = yyjson_mut_write(whole, YYJSON_WRITE_NOFLAG, &n);
    }
    if (text) {
        buf_append(b, text, n);
    } else {
        b->error = -ENOMEM; // hello_check() has read it before
    }
    free(text);
    yyjson_mut_doc_free(whole);
    yyjson_doc_free(doc);
}

// All operations on the path of route i.
static void append_path(const struct router *r, size_t i, bool used[OWN_ANSWERS], struct buf *b)
{
    static const char *const keys[METHOD_ROUTED] = { "get", "post", "put", "patch", "delete" };
    bool first = true;
    append_string(b, str_of(r->routes[i]->pattern));
    buf_append_z(b, ":{");
    for (size_t k = i; k < r->n_routes; k++) {
        const struct route *route = r->routes[k];
        if (is_shown(route) && same_path(route, r->routes[i])) {
            buf_printf(b, "%s\"%s\":", first ? "" : ",", keys[route->method]);
            append_operation(route, used, b);
            first = false;
        }
    }
    buf_append_char(b, '}');
}

static void append_paths(const struct router *r, bool used[OWN_ANSWERS], struct buf *b)
{
    bool first = true;
    buf_append_z(b, "\"paths\":{");
    for (size_t i = 0; i < r->n_routes; i++) {
        if (is_shown(r->routes[i]) && !is_listed(r, i)) {
            buf_append_z(b, first ? "" : ",");
            append_path(r, i, used, b);
            first = false;
        }
    }
    buf_append_z(b, "},");
}

// --- Tags

#define TAGS_MAX_BYTES (1024 * 1024) // of all names

// What the newest table of the service says that it is for; may be empty.
static struct str summary_of(const struct service *service)
{
    const struct table *newest = NULL;
    for (size_t slot = 0; slot < TABLES_MAX; slot++) {
        const struct table *t = service->tables[slot];
        newest = t && (!newest || t->age > newest->age) ? t : newest;
    }
    return newest ? newest->hello.summary : STR("");
}

static void append_tag(const struct route *route, struct str name, struct buf *b)
{
    struct str summary = route->service ? summary_of(route->service) : STR("");
    buf_append_z(b, b->data[b->len - 1] == '[' ? "{\"name\":" : ",{\"name\":");
    append_string(b, name);
    buf_append_z(b, ",\"description\":\"");
    if (route->service) {
        buf_printf(b, "Served by %s%s", route->service->name, summary.n ? ": " : "");
        buf_append_json(b, summary);
    } else {
        buf_append_z(b, "What the gateway answers itself");
    }
    buf_append_z(b, "\"}");
}

// The tags of the operation that `seen` has not yet; there each is a JSON string.
static void append_tags_of(const struct route *route, struct buf *seen, struct buf *b)
{
    yyjson_doc *doc = yyjson_read(route->operation.p, route->operation.n, YYJSON_READ_NOFLAG);
    yyjson_val *tags = yyjson_obj_get(yyjson_doc_get_root(doc), "tags"), *tag;
    size_t i, n;
    yyjson_arr_foreach(tags, i, n, tag)
    {
        struct str name = json_text(tag);
        size_t before = seen->len;
        if (!name.p) {
            continue;
        }
        append_string(seen, name);
        if (!buf_ok(seen)) {
            break;
        }
        if (memmem(seen->data, before, seen->data + before, seen->len - before)) {
            seen->len = before;
        } else {
            append_tag(route, name, b);
        }
    }
    yyjson_doc_free(doc);
}

// Every tag of any operation, in the order of the operations.
static void append_tags(const struct router *r, struct buf *b)
{
    struct buf seen;
    buf_init(&seen, TAGS_MAX_BYTES);
    buf_append_z(b, ",\"tags\":[");
    for (size_t i = 0; i < r->n_routes; i++) {
        if (is_shown(r->routes[i]) && r->routes[i]->operation.n > 0 && buf_ok(b)) {
            append_tags_of(r->routes[i], &seen, b);
        }
    }
    buf_append_z(b, "],");
    buf_fini(&seen);
}

// --- The document

void openapi_write(const struct router *r, struct buf *b)
{
    bool used[OWN_ANSWERS] = { false };
    buf_append_z(b, head);
    append_tags(r, b);
    append_paths(r, used, b);
    buf_append_z(b, "\"components\":{");
    append_own_answers(used, b);
    buf_append_z(b, components);
    schemas_append(r, STR("problem"), b);
    buf_append_z(b, "}}}");
}
