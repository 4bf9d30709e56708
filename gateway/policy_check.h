// SPDX-License-Identifier: MIT
// What the checks of the policy file share: where a value stands in the file, the list of mistakes,
// and the walk through an object by a table of its keys. Only the policy_*.c files use it.
//
// yyjson keeps no positions. It is made to parse in place, with numbers left as text, so that
// strings, numbers and keys point into the file; an object, an array, true, false and null stand
// where their key stands, an object in an array where its first key does.
#ifndef GATEWAY_POLICY_CHECK_H
#define GATEWAY_POLICY_CHECK_H

#include "gateway/policy.h"

#include <yyjson.h>

#define POLICY_MAX_MISTAKES 100 // more are counted only
#define POLICY_PATH_BYTES 256   // of the path to a value, "routes[3].mask.fields[0]"

struct policy_check {
    const char *file;
    struct str text;      // of the file
    const char *parsed;   // its copy, which yyjson parsed in place
    struct buf *mistakes; // lines
    size_t n_mistakes;
    struct policy *policy; // what is made
    bool no_memory;
    char path[POLICY_PATH_BYTES];
    size_t path_n;
};

// A value and where it stands.
struct policy_item {
    yyjson_val *value;
    size_t position; // bytes from the beginning of the file
};

typedef void policy_take(struct policy_check *c, struct policy_item item, void *target);

struct policy_key {
    const char *name;
    policy_take *take;
    size_t offset; // of what it is taken into, from the object's target
};

// Adds "FILE:LINE:COLUMN: path: ..." for a value; format ends with what is allowed.
__attribute__((format(printf, 3, 4))) void
policy_mistake(struct policy_check *c, struct policy_item item, const char *format, ...);

// Goes through an object; a key that is not in the table (ended by name NULL), or is there twice,
// is a mistake. False when it is no object.
bool policy_object(struct policy_check *c, struct policy_item item, const struct policy_key *keys,
                   void *target);

// Calls take for each element of an array of at most max elements, with the array's target; what
// the elements are is said in `of`. False when it is no such array.
bool policy_array(struct policy_check *c, struct policy_item item, size_t max, const char *of,
                  policy_take *take, void *target);

// Calls take for each member of an object, of at most max, whose keys are the operator's own.
bool policy_members(struct policy_check *c, struct policy_item item, size_t max,
                    void (*take)(struct policy_check *c, struct policy_item key,
                                 struct policy_item value, void *target),
                    void *target);

// The string, or p == NULL after saying that it is none; `allowed` says what would be right.
struct str policy_string(struct policy_check *c, struct policy_item item, const char *allowed);

// target is a bool.
void policy_take_bool(struct policy_check *c, struct policy_item item, void *target);

// n cleared bytes of the policy's own; NULL without memory, which is noted.
void *policy_alloc(struct policy_check *c, size_t n);

// A copy of the policy's own.
struct str policy_copy(struct policy_check *c, struct str s);

#endif
