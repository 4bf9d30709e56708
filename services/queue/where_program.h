// SPDX-License-Identifier: MIT
// What a filter is compiled into: a list of instructions around one truth value, without a stack.
// `and` and `or` are jumps forward, taken when the value so far decides. Only where.c and
// where_compile.c know it.
//
// To add an operator: a word or sign in where_compile.c, an enum where_op here, a case in where.c's
// test(), a line in the grammar of where.h.
#ifndef QUEUE_WHERE_PROGRAM_H
#define QUEUE_WHERE_PROGRAM_H

#include "proto/queue_frames.h"
#include "services/queue/where.h"

enum where_op {
    WHERE_EQUAL,
    WHERE_UNEQUAL,
    WHERE_LESS,
    WHERE_LESS_EQUAL,
    WHERE_GREATER,
    WHERE_GREATER_EQUAL,
    WHERE_STARTS,
    WHERE_ENDS,
    WHERE_CONTAINS,
    WHERE_IN,     // left is one of `more` literals from right on
    WHERE_EXISTS, // left alone
    WHERE_TRUE,   // left alone
    WHERE_NOT,
    WHERE_JUMP_IF_FALSE, // to instruction number `more`
    WHERE_JUMP_IF_TRUE
};

// An operand is a number: a place in data, an attribute, or a literal.
#define WHERE_PLACE 0 // plus index in places
#define WHERE_ATTRIBUTE 64
#define WHERE_LITERAL 128 // plus index in literals
#define WHERE_MAX_PLACES (WHERE_MAX_NAMES + 1)

// The first eight are in the order in which an encoded event has them.
enum where_attribute {
    WHERE_ID,
    WHERE_TOPIC,
    WHERE_KEY,
    WHERE_SUBJECT,
    WHERE_SOURCE,
    WHERE_TIME,
    WHERE_TRACEPARENT,
    WHERE_DATA,
    WHERE_SEQ,
    WHERE_STORED_AT
};

enum where_type {
    WHERE_MISSING,
    WHERE_NIL,
    WHERE_BOOL,
    WHERE_INT,
    WHERE_UINT, // above INT64_MAX
    WHERE_DOUBLE,
    WHERE_STR,
    WHERE_WHEN, // milliseconds since the epoch
    WHERE_LIST, // this and the next equal nothing
    WHERE_OTHER
};

struct where_value {
    enum where_type type;
    union {
        bool truth;
        int64_t integer; // also of WHERE_WHEN
        uint64_t large;
        double real;
        struct str str;
        struct reader list; // stands before it
    };
};

struct where_instruction {
    uint8_t op;
    uint8_t left, right; // operands
    uint8_t more;
};

// A name or index in a path: the paths under .data are a tree, of which place 0 is .data itself.
struct where_place {
    struct str name; // p == NULL: an index
    uint32_t index;
    uint8_t parent;
    uint8_t first_child, next; // 0: none
    uint64_t wanted;           // bits of the places at and below this one that are operands
};

struct where {
    struct where_instruction program[WHERE_MAX_NODES];
    struct where_value literals[WHERE_MAX_NODES];
    struct where_place places[WHERE_MAX_PLACES];
    size_t n_instructions, n_literals, n_places;
    char text[QUEUE_MAX_WHERE]; // names and strings point into it
    size_t text_bytes;
};

#endif
