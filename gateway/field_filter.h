// SPDX-License-Identifier: MIT
// Picks members out of a MessagePack value, or leaves members out, as it passes from a worker to a
// client: which ones is said by paths such as "email" or "address.street". A dot steps into a map;
// arrays are stepped through, with or without "[]" behind the name ("items[].price" is
// "items.price").
//
// A list (a map whose only members are `items`, an array, and perhaps `next_cursor`) stands for its
// items: paths begin at each of them. When members are left out, paths are tried from the list
// itself as well, because too much left out is better than too little.
#ifndef GATEWAY_FIELD_FILTER_H
#define GATEWAY_FIELD_FILTER_H

#include "proto/buf.h"

#define FIELD_FILTER_NODES 96    // names of all paths together -> -E2BIG
#define FIELD_FILTER_DEPTH 8     // names of one path -> -E2BIG
#define FIELD_FILTER_NAME_MAX 64 // bytes of one name -> -EINVAL

struct field_node {
    struct str name;        // borrowed from the path
    uint8_t children, next; // first child and next sibling; 0: none
    bool whole;             // a path ends here: the member with everything in it
};

struct field_filter {
    struct field_node nodes[FIELD_FILTER_NODES]; // the first one is the root
    size_t n;
};

void field_filter_init(struct field_filter *f);

// Adds a path, whose bytes must outlive the filter. Returns 0; -EINVAL (an empty name, or one of
// other characters than letters, digits, '_' and '-'); -E2BIG.
__attribute__((warn_unused_result)) int field_filter_add(struct field_filter *f, struct str path);

// Appends value, one MessagePack value, with only those members that have a path; members that do
// not exist are ignored, and a path that goes on below a plain value takes the value. Returns 0,
// -EBADMSG, or out's error.
__attribute__((warn_unused_result)) int field_filter_keep(const struct field_filter *f,
                                                          struct str value, struct buf *out);

// The same without the members that have a path.
__attribute__((warn_unused_result)) int field_filter_drop(const struct field_filter *f,
                                                          struct str value, struct buf *out);

#endif
