// SPDX-License-Identifier: MIT
// Members of a map by name, as the queue answers with them. What is missing, or has another type,
// is 0, false or empty: a newer or older queue may have more or less.
#ifndef TAP_FIELDS_H
#define TAP_FIELDS_H

#include "proto/reader.h"

// True and *ret stands at the member's value.
bool fields_find(struct str map, const char *name, struct reader *ret);

uint64_t fields_uint(struct str map, const char *name);
int64_t fields_int(struct str map, const char *name);
bool fields_bool(struct str map, const char *name);
struct str fields_str(struct str map, const char *name);
struct str fields_raw(struct str map, const char *name); // the value's bytes

// A cursor over a member that is a list; without one it has no elements.
struct fields_list {
    struct reader r;
    uint32_t left;
};
struct fields_list fields_list(struct str map, const char *name);
bool fields_next(struct fields_list *l, struct str *ret_element);

#endif
