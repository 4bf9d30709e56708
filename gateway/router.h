// SPDX-License-Identifier: MIT
// Which route a request takes. Routes come from the tables that workers bring in their HELLO;
// several schema versions of one service stand side by side while a new version rolls out. The last
// table of a service stays when its last worker goes, so that its paths are answered by 503 and not
// by 404.
//
// A struct route is one method and pattern of one service for the life of the process, because
// metrics and requests in flight point to it; a table that brings it again revives it. Lookup walks
// a tree of segments.
#ifndef GATEWAY_ROUTER_H
#define GATEWAY_ROUTER_H

#include "gateway/limits.h"
#include "gateway/route_tree.h"
#include "proto/frames.h"

struct exchange;
struct route_metrics;

// Answers a route of the gateway's own.
typedef void route_own_fn(struct exchange *x);

// One schema version of a service: the HELLO that brought it.
struct table {
    struct service *service;
    size_t slot;    // in service->tables
    size_t workers; // that have this table
    uint64_t age;   // grows with each table; the newest one's attributes count
    char *bytes;    // owned; what hello borrows
    struct frame_hello hello;
};

struct service {
    char name[33];
    size_t index; // below SERVICES_MAX; for tables of others
    struct table *tables[TABLES_MAX];
};

// Which rules of the policy (gateway/policy.h) are for a route: sets of their numbers.
struct route_policy {
    uint64_t request_edits, answer_edits, notices, masks;
    bool fields;     // clients may choose members of the answer
    bool deprecated; // new clients should not begin with it
};

struct route {
    struct service *service; // NULL: the gateway's own
    route_own_fn *own;       // then
    enum method method;
    char *pattern; // owned
    bool live;     // some table has it
    bool write, keyed, sensitive;
    bool internal; // of the gateway's own questions; clients do not find it
    bool low;      // done without first
    enum frame_class load;
    enum frame_auth auth;
    enum frame_body body;
    uint32_t deadline_ms;          // 0: the default
    uint32_t max_body_bytes;       // 0: the default
    struct str operation;          // OpenAPI Operation Object, JSON
    int index[TABLES_MAX];         // its number in each table of the service; -1: not in it
    struct route_policy policy;    // set by policy_bind()
    struct route_metrics *metrics; // made at the first answer; owned by gateway/stats.c
};

// Whether clients find it.
static inline bool route_is_public(const struct route *route)
{
    return route->live && !route->internal;
}

// Whether rate limits count requests for it: all but the two that tell who looks after the gateway how
// it is.
static inline bool route_is_limited(const struct route *route)
{
    return !route->own ||
           (strcmp(route->pattern, "/livez") != 0 && strcmp(route->pattern, "/readyz") != 0);
}

struct router {
    struct service *services[SERVICES_MAX];
    size_t n_services;
    struct route *routes[ROUTES_MAX];
    size_t n_routes;
    struct route_tree tree; // of the live ones
    uint64_t tables_seen;
    uint64_t generation; // grows when the set of live routes changes
    uint64_t policies;   // grows when policy_bind() told the routes their rules
};

#define ROUTER_DETAIL_SIZE 160

void router_init(struct router *r);
void router_fini(struct router *r);

// Adds a route of the gateway's own; operation is a literal. Before any worker joins. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int router_own(struct router *r, enum method method,
                                                   const char *pattern, const char *operation,
                                                   route_own_fn *own);

// A worker with this HELLO comes: finds its table or takes it over from the frame (hello's fields
// borrow its bytes). Returns 0 with *ret_table, which counts one worker more; or, with a sentence
// in detail, -EINVAL (the HELLO is malformed), -EEXIST (another service has one of the routes),
// -ENOSPC (a limit), -ENOMEM.
__attribute__((warn_unused_result)) int router_join(struct router *r,
                                                    const struct frame_hello *hello,
                                                    struct str frame, struct table **ret_table,
                                                    char detail[ROUTER_DETAIL_SIZE]);

// A worker with this table goes.
void router_leave(struct router *r, struct table **table);

// A problem type that some worker announced, or NULL.
const struct frame_problem *router_problem(const struct router *r, struct str slug);

// The internal route of a service; NULL: no worker has it.
struct route *router_internal(const struct router *r, struct str service, enum method method,
                              struct str pattern);

// The headers that the worker's table asks for on this route.
const struct frame_route *router_frame_route(const struct table *table, const struct route *route);

#endif
