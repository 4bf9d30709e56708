// SPDX-License-Identifier: MIT
// Reading a JSON file of an operator's: where a value stands in the file, the list of mistakes, and
// the walk through an object by a table of its keys. Nothing is taken for granted and nothing is
// ignored: a key that is not known is a mistake, and every mistake is found in one go.
//
// yyjson keeps no positions. It is made to parse in place, with numbers left as text, so that
// strings, numbers and keys point into the file; an object, an array, true, false and null stand
// where their key stands, an object in an array where its first key does.
#ifndef COMMON_JSON_CHECK_H
#define COMMON_JSON_CHECK_H

#include "common/arena.h"
#include "proto/buf.h"

#include <yyjson.h>

#define JSON_MAX_MISTAKES 100            // more are counted only
#define JSON_MISTAKES_BYTES (128 * 1024) // lines about one file; what does not fit is cut off
#define JSON_PATH_BYTES 256              // of the path to a value, "routes[3].mask.fields[0]"

struct json_check {
    const char *file;
    struct str text;      // of the file
    const char *parsed;   // its copy, which yyjson parsed in place
    struct buf *mistakes; // lines
    size_t n_mistakes;
    struct arena *memory; // of what is made; NULL when nothing is copied
    bool no_memory;
    char path[JSON_PATH_BYTES];
    size_t path_n;
};

// A value and where it stands.
struct json_item {
    yyjson_val *value;
    size_t position; // bytes from the beginning of the file
};

typedef void json_take(struct json_check *c, struct json_item item, void *target);

struct json_key {
    const char *name;
    json_take *take;
    size_t offset; // of what it is taken into, from the object's target
};

// Parses text and gives its root to take. c has file, mistakes (initialised) and, if something is
// copied, memory; the rest is cleared. Returns 0; -EINVAL with lines in mistakes
// ("FILE:LINE:COLUMN: path: what is wrong; allowed: ..."); or -ENOMEM.
__attribute__((warn_unused_result)) int json_check_text(struct json_check *c, struct str text,
                                                        json_take *take, void *target);

// The same with the text of c->file, of at most max_bytes. A file that cannot be read is a mistake,
// too.
__attribute__((warn_unused_result)) int json_check_file(struct json_check *c, size_t max_bytes,
                                                        json_take *take, void *target);

// Adds "FILE:LINE:COLUMN: path: ..." for a value; format ends with what is allowed.
__attribute__((format(printf, 3, 4))) void json_mistake(struct json_check *c, struct json_item item,
                                                        const char *format, ...);

// Goes through an object; a key that is not in the table (ended by name NULL), or is there twice,
// is a mistake. False when it is no object.
bool json_object(struct json_check *c, struct json_item item, const struct json_key *keys,
                 void *target);

// Calls take for each element of an array of at most max elements, with the array's target; what
// the elements are is said in `of`. False when it is no such array.
bool json_array(struct json_check *c, struct json_item item, size_t max, const char *of,
                json_take *take, void *target);

// Calls take for each member of an object, of at most max, whose keys are the operator's own.
bool json_members(struct json_check *c, struct json_item item, size_t max,
                  void (*take)(struct json_check *c, struct json_item key, struct json_item value,
                               void *target),
                  void *target);

// The string, or p == NULL after saying that it is none; `allowed` says what would be right.
struct str json_string(struct json_check *c, struct json_item item, const char *allowed);

// A whole number from min to max, into *target (of type int64_t).
void json_number(struct json_check *c, struct json_item item, int64_t min, int64_t max,
                 int64_t *target);

// A duration as the options have it ("250ms", "5m"), from min_ms to max_ms, into *target.
void json_duration(struct json_check *c, struct json_item item, int64_t min_ms, int64_t max_ms,
                   int64_t *target);

// target is a bool.
void json_take_bool(struct json_check *c, struct json_item item, void *target);

// n cleared bytes of c->memory; NULL without memory, which is noted.
void *json_alloc(struct json_check *c, size_t n);

// A copy in c->memory.
struct str json_copy(struct json_check *c, struct str s);

#endif
