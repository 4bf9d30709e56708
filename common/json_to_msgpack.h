// SPDX-License-Identifier: MIT
// Turns a JSON body (RFC 8259) into one MessagePack value. Strict: one value, UTF-8, unique member
// names, at most JSON_MAX_DEPTH levels, numbers as JSON has them. Numbers written without fraction
// and exponent that fit 64 bits become integers, others doubles.
#ifndef COMMON_JSON_TO_MSGPACK_H
#define COMMON_JSON_TO_MSGPACK_H

#include "proto/buf.h"

#ifndef JSON_MAX_DEPTH
#define JSON_MAX_DEPTH 32 // nesting of a body; the same as READER_MAX_DEPTH
#endif

struct json_error {
    const char *what; // a sentence without its end
    size_t position;  // bytes from the start, from 0
    size_t line;      // from 1
    size_t column;    // in characters, from 1
};

// Appends the value to out. Returns 0, -EINVAL with *ret_error filled, or another negative errno
// (-ENOMEM, -EMSGSIZE).
__attribute__((warn_unused_result)) int json_to_msgpack(struct str json, struct buf *out,
                                                        struct json_error *ret_error);

// Whether text is one JSON object by the same rules: for JSON that is passed on as it is.
bool json_is_object(struct str text);

// Checks that bytes are exactly one MessagePack value that JSON could have been: string keys, UTF-8
// strings, no extension types, at most JSON_MAX_DEPTH levels. Returns 0, or -EINVAL with what and
// position.
__attribute__((warn_unused_result)) int msgpack_check(struct str bytes, struct json_error *ret_error);

#endif
