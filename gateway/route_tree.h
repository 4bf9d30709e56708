// SPDX-License-Identifier: MIT
// Finds the route of a path: a tree of segments, in which a literal wins over a {name}. It is built
// anew when routes change, and never changed while it is looked into.
#ifndef GATEWAY_ROUTE_TREE_H
#define GATEWAY_ROUTE_TREE_H

#include "common/arena.h"
#include "gateway/method.h"
#include "gateway/target.h"

struct node;
struct route;

struct route_tree {
    struct arena nodes;
    struct node *root; // NULL: built never
};

struct route_match {
    struct route *route; // NULL: none with this method
    unsigned allowed;    // then: bit 1 << method for each method that the path has; 0: no path
    struct str params[FRAME_MAX_PARAMS];
    size_t n_params;
};

// Makes the tree of those n routes that are live, in place of the one before, which stays when this
// returns -ENOMEM.
__attribute__((warn_unused_result)) int route_tree_build(struct route_tree *t,
                                                         struct route *const *routes, size_t n);
void route_tree_fini(struct route_tree *t);

// HEAD finds the route of GET; OPTIONS finds none, but what is allowed.
void route_tree_find(const struct route_tree *t, const struct target *target, enum method method,
                     struct route_match *ret_match);

#endif
