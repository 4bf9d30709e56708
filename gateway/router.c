// SPDX-License-Identifier: MIT
#include "gateway/router.h"

#include "gateway/hello_check.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// --- Permanent routes

static struct route *add_route(struct router *r, struct service *service, enum method method,
                               struct str pattern)
{
    struct route *route = r->n_routes < ROUTES_MAX ? calloc(1, sizeof *route) : NULL;
    if (route) {
        route->pattern = strndup(pattern.p, pattern.n);
    }
    if (!route || !route->pattern) {
        free(route);
        return NULL;
    }
    route->service = service;
    route->method = method;
    r->routes[r->n_routes++] = route;
    return route;
}

static struct route *find_route(const struct router *r, const struct service *service,
                                enum method method, struct str pattern)
{
    for (size_t i = 0; i < r->n_routes; i++) {
        struct route *route = r->routes[i];
        if (route->service == service && route->method == method &&
            pattern_same(str_of(route->pattern), pattern)) {
            return route;
        }
    }
    return NULL;
}

// The live routes changed.
static int replant(struct router *r)
{
    int rc = route_tree_build(&r->tree, r->routes, r->n_routes);
    r->generation += rc == 0;
    return rc;
}

// --- Own routes

void router_init(struct router *r)
{
    memset(r, 0, sizeof *r);
}

int router_own(struct router *r, enum method method, const char *pattern, const char *operation,
               route_own_fn *own)
{
    assert(r->n_services == 0 && !find_route(r, NULL, method, str_of(pattern)));
    struct route *route = add_route(r, NULL, method, str_of(pattern));
    if (!route) {
        return -ENOMEM;
    }
    route->own = own;
    route->live = true;
    route->operation = str_of(operation);
    return replant(r);
}

// --- Tables

static void table_destroy(struct table **table)
{
    struct table *t = *table;
    *table = NULL;
    if (t) {
        free(t->bytes);
        free(t);
    }
}

void router_fini(struct router *r)
{
    for (size_t i = 0; i < r->n_routes; i++) {
        free(r->routes[i]->pattern);
        free(r->routes[i]);
    }
    for (size_t i = 0; i < r->n_services; i++) {
        for (size_t slot = 0; slot < TABLES_MAX; slot++) {
            table_destroy(&r->services[i]->tables[slot]);
        }
        free(r->services[i]);
    }
    route_tree_fini(&r->tree);
}

static struct service *find_service(const struct router *r, struct str name)
{
    for (size_t i = 0; i < r->n_services; i++) {
        if (str_eq(name, str_of(r->services[i]->name))) {
            return r->services[i];
        }
    }
    return NULL;
}

static struct table *find_table(const struct service *service, struct str schema)
{
    for (size_t slot = 0; service && slot < TABLES_MAX; slot++) {
        struct table *t = service->tables[slot];
        if (t && str_eq(t->hello.schema, schema)) {
            return t;
        }
    }
    return NULL;
}

// A table of the service that is older than `age` and the youngest of those.
static struct table *next_older(const struct service *service, uint64_t age)
{
    struct table *best = NULL;
    for (size_t slot = 0; slot < TABLES_MAX; slot++) {
        struct table *t = service->tables[slot];
        if (t && t->age < age && (!best || t->age > best->age)) {
            best = t;
        }
    }
    return best;
}

static void apply_definition(struct route *route, const struct frame_route *f)
{
    route->live = true;
    route->write = f->write;
    route->keyed = f->keyed;
    route->auth = f->auth;
    route->body = f->body;
    route->sensitive = f->sensitive;
    route->internal = f->internal;
    route->low = f->low;
    route->load = f->load;
    route->deadline_ms = f->deadline_ms;
    route->max_body_bytes = f->max_body_bytes;
    route->operation = f->operation;
}

// Sets the attributes of a service's routes from its tables, the newest one's first.
static void refresh_routes(struct router *r, struct service *service)
{
    for (size_t i = 0; i < r->n_routes; i++) {
        struct route *route = r->routes[i];
        if (route->service == service) {
            route->live = false;
            memset(route->index, -1, sizeof route->index);
        }
    }
    for (struct table *t = next_older(service, UINT64_MAX); t; t = next_older(service, t->age)) {
        for (size_t i = 0; i < t->hello.n_routes; i++) {
            const struct frame_route *f = &t->hello.routes[i];
            struct route *route = find_route(r, service, method_find(f->method), f->pattern);
            assert(route); // router_join() added it
            route->index[t->slot] = (int)i;
            if (!route->live) {
                apply_definition(route, f);
            }
        }
    }
}

// Forgets tables that no worker has, as long as another one remains that some worker has.
static void drop_unused(struct service *service)
{
    bool used = false;
    for (size_t slot = 0; slot < TABLES_MAX; slot++) {
        used = used || (service->tables[slot] && service->tables[slot]->workers > 0);
    }
    for (size_t slot = 0; slot < TABLES_MAX && used; slot++) {
        if (service->tables[slot] && service->tables[slot]->workers == 0) {
            table_destroy(&service->tables[slot]);
        }
    }
}

static int check_conflicts(const struct router *r, const struct service *service,
                           const struct frame_hello *hello, char detail[ROUTER_DETAIL_SIZE])
{
    for (size_t i = 0; i < hello->n_routes; i++) {
        const struct frame_route *f = &hello->routes[i];
        for (size_t k = 0; k < r->n_routes; k++) {
            const struct route *other = r->routes[k];
            if (other->live && (!service || other->service != service) &&
                other->method == method_find(f->method) &&
                pattern_same(str_of(other->pattern), f->pattern)) {
                (void)snprintf(detail, ROUTER_DETAIL_SIZE, "%.*s %.*s belongs to %s.",
                               STR_ARG(f->method), (int)(f->pattern.n < 64 ? f->pattern.n : 64),
                               f->pattern.p, other->service ? other->service->name : "the gateway");
                return -EEXIST;
            }
        }
    }
    return 0;
}

// Makes sure that each route of the table has its permanent object. What was added for nothing does
// no harm.
static int ensure_routes(struct router *r, struct service *service, const struct frame_hello *hello)
{
    for (size_t i = 0; i < hello->n_routes; i++) {
        const struct frame_route *f = &hello->routes[i];
        enum method method = method_find(f->method);
        if (!find_route(r, service, method, f->pattern) &&
            !add_route(r, service, method, f->pattern)) {
            return r->n_routes == ROUTES_MAX ? -ENOSPC : -ENOMEM;
        }
    }
    return 0;
}

static struct service *ensure_service(struct router *r, struct str name)
{
    struct service *service = find_service(r, name);
    if (service || r->n_services == SERVICES_MAX) {
        return service;
    }
    service = calloc(1, sizeof *service);
    if (service) {
        assert(name.n < sizeof service->name);
        memcpy(service->name, name.p, name.n);
        service->index = r->n_services;
        r->services[r->n_services++] = service;
    }
    return service;
}

static int table_new(struct str frame, struct table **ret_table)
{
    struct table *t = calloc(1, sizeof *t);
    char *bytes = malloc(frame.n);
    enum frame_type type;
    uint32_t fields;
    int rc = t && bytes ? 0 : -ENOMEM;
    if (rc == 0) {
        memcpy(bytes, frame.p, frame.n);
        struct reader reader = reader_of((struct str){ bytes, frame.n });
        rc = frame_open(&reader, &type, &fields);
        rc = rc ? rc : frame_hello_decode(&reader, fields, &t->hello);
    }
    if (rc) {
        free(bytes);
        free(t);
        return rc;
    }
    t->bytes = bytes;
    *ret_table = t;
    return 0;
}

static int add_table(struct router *r, struct service *service, struct str frame,
                     struct table **ret_table)
{
    size_t slot = 0;
    while (slot < TABLES_MAX && service->tables[slot] && service->tables[slot]->workers > 0) {
        slot++;
    }
    if (slot == TABLES_MAX) {
        return -ENOSPC;
    }
    struct table *table = NULL;
    int rc = table_new(frame, &table);
    rc = rc ? rc : ensure_routes(r, service, &table->hello);
    if (rc) {
        table_destroy(&table);
        return rc;
    }
    table_destroy(&service->tables[slot]);
    table->service = service;
    table->slot = slot;
    table->age = ++r->tables_seen;
    service->tables[slot] = table;
    *ret_table = table;
    return 0;
}

int router_join(struct router *r, const struct frame_hello *hello, struct str frame,
                struct table **ret_table, char detail[ROUTER_DETAIL_SIZE])
{
    const char *wrong = hello_check(hello);
    (void)snprintf(detail, ROUTER_DETAIL_SIZE, "%s",
                   wrong ? wrong : "A limit of the gateway is reached.");
    if (wrong) {
        return -EINVAL;
    }
    struct service *service = find_service(r, hello->service);
    struct table *table = find_table(service, hello->schema);
    if (table) {
        table->workers++;
        *ret_table = table;
        return 0;
    }
    int rc = check_conflicts(r, service, hello, detail);
    if (rc) {
        return rc;
    }
    service = ensure_service(r, hello->service);
    rc = service ? add_table(r, service, frame, &table) : -ENOSPC;
    if (rc) {
        return rc;
    }
    table->workers = 1;
    drop_unused(service);
    refresh_routes(r, service);
    rc = replant(r);
    if (rc) {
        table->workers = 0;
        return rc;
    }
    *ret_table = table;
    return 0;
}

void router_leave(struct router *r, struct table **table)
{
    struct table *t = *table;
    *table = NULL;
    assert(t->workers > 0);
    struct service *service = t->service;
    if (--t->workers == 0) {
        drop_unused(service);
        refresh_routes(r, service);
        (void)replant(r); // without memory the old tree serves on; its routes are permanent
    }
}

const struct frame_problem *router_problem(const struct router *r, struct str slug)
{
    for (size_t i = 0; i < r->n_services; i++) {
        for (size_t slot = 0; slot < TABLES_MAX; slot++) {
            const struct table *t = r->services[i]->tables[slot];
            for (size_t k = 0; t && k < t->hello.n_problems; k++) {
                if (str_eq(t->hello.problems[k].slug, slug)) {
                    return &t->hello.problems[k];
                }
            }
        }
    }
    return NULL;
}

struct route *router_internal(const struct router *r, struct str service, enum method method,
                              struct str pattern)
{
    const struct service *s = find_service(r, service);
    struct route *route = s ? find_route(r, s, method, pattern) : NULL;
    return route && route->live && route->internal ? route : NULL;
}

const struct frame_route *router_frame_route(const struct table *table, const struct route *route)
{
    int index = route->index[table->slot];
    assert(route->service == table->service && index >= 0);
    return &table->hello.routes[index];
}
