// SPDX-License-Identifier: MIT
// The filter language of the queue: what an event must say for a reader to get it, as in
//
//     .data.total.amount > 1000 and (.topic starts "orders." or not exists .subject)
//
// A text is compiled once; matching then looks at the encoded event, decodes no more of it than the
// answer needs, passes over its data at most once however many paths there are (a `contains` passes
// over its array once more), and allocates nothing.
//
//     filter     = all { "or" all }
//     all        = condition { "and" condition }
//     condition  = { "not" } ( "(" filter ")" | "exists" path | path | comparison )
//     comparison = operand ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand
//                | operand ( "starts" | "ends" | "contains" ) operand
//                | operand "in" "[" literal { "," literal } "]"
//     operand    = path | literal
//     literal    = number | string | "true" | "false" | "null"         as JSON writes them
//     path       = "." attribute | ".data" { "." name | "[" index "]" }
//     attribute  = "topic" | "type" | "key" | "partitionkey" | "subject" | "source" | "id"
//                | "traceparent" | "time" | "seq" | "stored_at"
//     name       = a letter or _, then letters, digits and _; or a string: ."odd name"
//
// `type` is `topic`, `partitionkey` is `key`. There may be blanks between words, not inside a path.
//
// * A path alone means: exists, and is not false or null.
// * What an event does not have, and an attribute that is "" (which means none), does not exist. What
//   does not exist equals nothing; such an attribute still compares as "".
// * Values of different types are not equal, and neither is above the other. Lists and maps are equal to
//   nothing. true, false and null are in no order. Strings are ordered by their bytes.
// * Integers (exact to 64 bits) and doubles compare by their values, without rounding.
// * `time` and `stored_at` are times: they compare with each other and with RFC 3339 strings, to the
//   millisecond.
// * `contains` finds a string in a string, or a value in a list.
// * Of the same name twice in one map, the first counts. In data that is not MessagePack, or is deeper
//   than READER_MAX_DEPTH, what comes behind that place may not be found.
#ifndef QUEUE_WHERE_H
#define QUEUE_WHERE_H

#include "proto/str.h"

#include <stdint.h>

// proto/queue_frames.h has the limit of the text: QUEUE_MAX_WHERE.
#define WHERE_MAX_NODES 128  // comparisons, `and`, `or`, `not`, and literals in one filter
#define WHERE_MAX_NESTING 16 // parentheses inside each other; names and indexes in one path
#define WHERE_MAX_NAMES 63   // names and indexes in all paths, those of a common beginning once
#define WHERE_MAX_CONTAINS 8 // each may pass over a list of a million values

struct where;

struct where_error {
    size_t at;          // byte of the text, from 0
    const char *reason; // what is wrong there, and what is allowed; static
};

// 0; -EINVAL and the error; -ENOMEM. The text is copied.
__attribute__((warn_unused_result)) int where_compile(struct str text, struct where **ret_where,
                                                      struct where_error *ret_error);
void where_destroy(struct where **w);

// Whether the encoded event matches. Any bytes will do for an event.
bool where_matches(const struct where *w, uint64_t seq, int64_t stored_ms, struct str event);

#endif
