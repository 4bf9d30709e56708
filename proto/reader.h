// SPDX-License-Identifier: MIT
// Reads MessagePack through a bounded cursor that never allocates and never copies: strings borrow
// the input. Every function returns 0 and stands after the value it read, or returns -EBADMSG and
// stands where it stood (the value has another type, or the input ends before it does). Lengths are
// compared with what is left before any arithmetic. Source:
// https://github.com/msgpack/msgpack/blob/master/spec.md
#ifndef PROTO_READER_H
#define PROTO_READER_H

#include "proto/str.h"

#include <stdbool.h>
#include <stdint.h>

// Nesting that reader_skip() and the transcoder follow; deeper input is refused.
#define READER_MAX_DEPTH 32

enum reader_type {
    READER_END, // nothing left
    READER_NIL,
    READER_BOOL,
    READER_INT,    // fits int64_t
    READER_UINT,   // an unsigned integer above INT64_MAX
    READER_DOUBLE, // float 32 or 64
    READER_STR,
    READER_BIN,
    READER_ARRAY,
    READER_MAP,
    READER_EXT,
    READER_INVALID // 0xc1, or a truncated value
};

struct reader {
    const uint8_t *p;   // next byte
    const uint8_t *end; // one past the last byte
};

static inline struct reader reader_of(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    return (struct reader){ p, p + s.n };
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

#define READER_CHECK __attribute__((warn_unused_result))

// The type of the next value; does not move.
enum reader_type reader_peek(const struct reader *r);

// A count is checked against the bytes left (each element takes at least one), so it can size an
// allocation.
READER_CHECK int reader_array(struct reader *r, uint32_t *ret_count);
READER_CHECK int reader_map(struct reader *r, uint32_t *ret_count);
READER_CHECK int reader_int(struct reader *r, int64_t *ret_value);
READER_CHECK int reader_uint(struct reader *r, uint64_t *ret_value);
READER_CHECK int reader_bool(struct reader *r, bool *ret_value);
READER_CHECK int reader_nil(struct reader *r);
READER_CHECK int reader_double(struct reader *r, double *ret_value);
READER_CHECK int reader_str(struct reader *r, struct str *ret_str);
READER_CHECK int reader_bin(struct reader *r, struct str *ret_bytes);

// A string, or nil, which gives the empty str with p == NULL.
READER_CHECK int reader_str_or_nil(struct reader *r, struct str *ret_str);

// Steps over one value of any type, at most READER_MAX_DEPTH deep.
READER_CHECK int reader_skip(struct reader *r);

// Steps over one value and returns the bytes it takes.
READER_CHECK int reader_raw(struct reader *r, struct str *ret_bytes);

#endif
