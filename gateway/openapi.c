// SPDX-License-Identifier: MIT
#include "gateway/openapi.h"

#include "gateway/hello_check.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <yyjson.h>

#define HASH_BYTES 16

struct openapi {
    struct buf json;
    char etag[2 * HASH_BYTES + 3]; // quoted hexadecimal, and a NUL
    uint64_t generation, policies; // of the router when json was made
};

static const char head[] =
    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Sluice\",\"version\":\"" SLUICE_VERSION "\","
    "\"summary\":\"The API of the services that run behind this gateway\","
    "\"license\":{\"name\":\"MIT\",\"identifier\":\"MIT\"}},\"servers\":[{\"url\":\"/\"}]";

static const char components[] =
    "\"components\":{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\","
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

static void append_string(struct buf *b, struct str s)
{
    buf_append_char(b, '"');
    buf_append_json(b, s);
    buf_append_char(b, '"');
}

static bool same_path(const struct route *a, const struct route *b)
{
    return pattern_same(str_of(a->pattern), str_of(b->pattern));
}

// Whether an earlier public route has the same path.
static bool is_listed(const struct router *r, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (route_is_public(r->routes[k]) && same_path(r->routes[k], r->routes[i])) {
            return true;
        }
    }
    return false;
}

// The operation as the worker announced it; one that the policy ends is marked.
static void append_operation(const struct route *route, struct buf *b)
{
    struct str json = route->operation.n ? route->operation : STR("{\"responses\":{}}");
    yyjson_doc *doc =
        route->policy.deprecated ? yyjson_read(json.p, json.n, YYJSON_READ_NOFLAG) : NULL;
    yyjson_mut_doc *marked = doc ? yyjson_doc_mut_copy(doc, NULL) : NULL;
    yyjson_mut_val *root = yyjson_mut_doc_get_root(marked), *name, *yes;
    size_t n = 0;
    char *text = NULL;
    if ((name = yyjson_mut_str(marked, "deprecated")) && (yes = yyjson_mut_true(marked)) &&
        yyjson_mut_obj_put(root, name, yes)) { // also when the worker said otherwise
        text = yyjson_mut_write(marked, YYJSON_WRITE_NOFLAG, &n);
    }
    buf_append_str(b, text ? (struct str){ text, n } : json);
    free(text);
    yyjson_mut_doc_free(marked);
    yyjson_doc_free(doc);
}

// All operations on the path of route i.
static void append_path(const struct router *r, size_t i, struct buf *b)
{
    static const char *const keys[METHOD_ROUTED] = { "get", "post", "put", "patch", "delete" };
    bool first = true;
    append_string(b, str_of(r->routes[i]->pattern));
    buf_append_z(b, ":{");
    for (size_t k = i; k < r->n_routes; k++) {
        const struct route *route = r->routes[k];
        if (route_is_public(route) && same_path(route, r->routes[i])) {
            buf_printf(b, "%s\"%s\":", first ? "" : ",", keys[route->method]);
            append_operation(route, b);
            first = false;
        }
    }
    buf_append_char(b, '}');
}

static void append_paths(const struct router *r, struct buf *b)
{
    bool first = true;
    buf_append_z(b, "\"paths\":{");
    for (size_t i = 0; i < r->n_routes; i++) {
        if (route_is_public(r->routes[i]) && !is_listed(r, i)) {
            buf_append_z(b, first ? "" : ",");
            append_path(r, i, b);
            first = false;
        }
    }
    buf_append_z(b, "},");
}

// --- Schemas

struct schema_position {
    size_t service, slot, index;
};

// The next schema of any table, or NULL at the end.
static const struct frame_pair *next_schema(const struct router *r, struct schema_position *at)
{
    for (; at->service < r->n_services; at->service++, at->slot = 0) {
        for (; at->slot < TABLES_MAX; at->slot++, at->index = 0) {
            const struct table *t = r->services[at->service]->tables[at->slot];
            if (t && at->index < t->hello.n_schemas) {
                return &t->hello.schemas[at->index++];
            }
        }
    }
    return NULL;
}

static bool is_first_of_name(const struct router *r, const struct frame_pair *schema)
{
    struct schema_position at = { 0, 0, 0 };
    const struct frame_pair *other;
    while ((other = next_schema(r, &at)) != schema) {
        if (str_eq(other->name, schema->name)) {
            return false;
        }
    }
    return !str_eq(schema->name, STR("problem")); // which is the gateway's
}

static void append_schemas(const struct router *r, struct buf *b)
{
    struct schema_position at = { 0, 0, 0 };
    const struct frame_pair *schema;
    while ((schema = next_schema(r, &at))) {
        if (is_first_of_name(r, schema)) {
            buf_append_char(b, ',');
            append_string(b, schema->name);
            buf_append_char(b, ':');
            buf_append_str(b, schema->value);
        }
    }
}

// --- The document

static int build(struct openapi *o, const struct router *r)
{
    uint8_t hash[HASH_BYTES];
    buf_reset(&o->json);
    buf_append_z(&o->json, head);
    buf_append_z(&o->json, ",\"tags\":[{\"name\":\"gateway\"}");
    for (size_t i = 0; i < r->n_services; i++) {
        buf_printf(&o->json, ",{\"name\":\"%s\"}", r->services[i]->name);
    }
    buf_append_z(&o->json, "],");
    append_paths(r, &o->json);
    buf_append_z(&o->json, components);
    append_schemas(r, &o->json);
    buf_append_z(&o->json, "}}}");
    if (!buf_ok(&o->json)) {
        return buf_error(&o->json);
    }
    int rc =
        crypto_generichash(hash, sizeof hash, (const uint8_t *)o->json.data, o->json.len, NULL, 0);
    assert(rc == 0); // fails only for impossible sizes
    o->etag[0] = '"';
    (void)sodium_bin2hex(o->etag + 1, 2 * HASH_BYTES + 1, hash, sizeof hash);
    memcpy(o->etag + 1 + 2 * HASH_BYTES, "\"", 2);
    o->generation = r->generation;
    o->policies = r->policies;
    return 0;
}

int openapi_new(struct openapi **ret_openapi)
{
    struct openapi *o = calloc(1, sizeof *o);
    if (!o) {
        return -ENOMEM;
    }
    buf_init(&o->json, OPENAPI_MAX_BYTES);
    *ret_openapi = o;
    return 0;
}

void openapi_destroy(struct openapi **openapi)
{
    struct openapi *o = *openapi;
    *openapi = NULL;
    if (o) {
        buf_fini(&o->json);
        free(o);
    }
}

int openapi_get(struct openapi *o, const struct router *router, struct str *ret_json,
                struct str *ret_etag)
{
    bool fresh = o->json.len > 0 && buf_ok(&o->json) && o->generation == router->generation &&
                 o->policies == router->policies;
    int rc = fresh ? 0 : build(o, router);
    if (rc == 0) {
        *ret_json = buf_str(&o->json);
        *ret_etag = str_of(o->etag);
    }
    return rc;
}
