// SPDX-License-Identifier: MIT
#include "gateway/route_tree.h"

#include "gateway/hello_check.h"
#include "gateway/router.h"

#include <assert.h>
#include <errno.h>

// ROUTES_MAX routes of HTTP_MAX_SEGMENTS segments; far above what real tables share.
#define NODES_BYTES (ROUTES_MAX * HTTP_MAX_SEGMENTS * sizeof(struct node))

struct node {
    struct str segment;     // a literal, of some route's pattern
    struct node *next;      // sibling
    struct node *literals;  // children by literal
    struct node *parameter; // child by {name}
    struct route *routes[METHOD_ROUTED];
};

static struct node *find_literal(const struct node *parent, struct str segment)
{
    struct node *child = parent->literals;
    while (child && !str_eq(child->segment, segment)) {
        child = child->next;
    }
    return child;
}

// The child for the next segment of a pattern, made if need be; NULL without memory.
static struct node *grow(struct arena *nodes, struct node *parent, struct str segment,
                         bool parameter)
{
    struct node *child = parameter ? parent->parameter : find_literal(parent, segment);
    if (child) {
        return child;
    }
    child = arena_alloc(nodes, sizeof *child);
    if (child && parameter) {
        parent->parameter = child;
    } else if (child) {
        child->segment = segment;
        child->next = parent->literals;
        parent->literals = child;
    }
    return child;
}

static int plant(struct arena *nodes, struct node *root, struct route *route)
{
    struct str pattern = str_of(route->pattern);
    struct node *at = root;
    while (at && pattern.n) {
        bool parameter;
        struct str segment = pattern_next(&pattern, &parameter);
        at = grow(nodes, at, segment, parameter);
    }
    if (!at) {
        return -ENOMEM;
    }
    at->routes[route->method] = route;
    return 0;
}

int route_tree_build(struct route_tree *t, struct route *const *routes, size_t n)
{
    struct arena nodes;
    arena_init(&nodes, NODES_BYTES);
    struct node *root = arena_alloc(&nodes, sizeof *root);
    int rc = root ? 0 : -ENOMEM;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = route_is_public(routes[i]) ? plant(&nodes, root, routes[i]) : 0;
    }
    if (rc) {
        arena_fini(&nodes);
        return rc;
    }
    route_tree_fini(t);
    *t = (struct route_tree){ nodes, root };
    return 0;
}

void route_tree_fini(struct route_tree *t)
{
    arena_fini(&t->nodes);
    t->root = NULL;
}

static void walk(const struct node *at, const struct target *target, size_t depth,
                 enum method method, struct route_match *match)
{
    if (depth == target->n_segments) {
        match->route = method < METHOD_ROUTED ? at->routes[method] : NULL;
        for (enum method m = METHOD_GET; m < METHOD_ROUTED && !match->route; m++) {
            match->allowed |= at->routes[m] ? 1U << m : 0;
        }
        return;
    }
    struct str segment = target->segments[depth];
    const struct node *literal = find_literal(at, segment);
    if (literal) {
        walk(literal, target, depth + 1, method, match);
    }
    if (!match->route && at->parameter && segment.n) {
        assert(match->n_params < FRAME_MAX_PARAMS); // hello_check() saw to it
        match->params[match->n_params++] = segment;
        walk(at->parameter, target, depth + 1, method, match);
        match->n_params -= match->route ? 0 : 1;
    }
}

void route_tree_find(const struct route_tree *t, const struct target *target, enum method method,
                     struct route_match *ret_match)
{
    ret_match->route = NULL;
    ret_match->allowed = 0;
    ret_match->n_params = 0;
    if (t->root && target->n_segments <= HTTP_MAX_SEGMENTS) {
        walk(t->root, target, 0, method == METHOD_HEAD ? METHOD_GET : method, ret_match);
    }
}
