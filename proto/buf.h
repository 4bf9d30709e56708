// SPDX-License-Identifier: MIT
// A growable byte buffer with a ceiling. Appending never reports an error by itself: the first
// failure sticks, later appends do nothing, and the caller asks buf_ok() once at the end. That
// keeps encoders free of a check per field without ever emitting half a message.
#ifndef PROTO_BUF_H
#define PROTO_BUF_H

#include "proto/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;      // owned; NULL until the first append
    size_t len;      // bytes in use
    size_t cap;      // bytes allocated
    size_t max;      // ceiling for len; an append past it fails
    int error;       // 0, or the first failure: -ENOMEM, -EMSGSIZE (over max)
    bool wipes;      // set after buf_init(): memory is overwritten before it is given back, also in growing
};

// Makes an empty buffer that may grow to max_bytes. Allocates nothing.
void buf_init(struct buf *b, size_t max_bytes);

// Frees the bytes; the buffer is empty and usable again afterwards.
void buf_fini(struct buf *b);

// Empties the buffer and clears its error; keeps the memory for the next use.
void buf_reset(struct buf *b);

// The same, and overwrites what was in it: for what held a secret.
void buf_wipe(struct buf *b);

void buf_append(struct buf *b, const void *bytes, size_t n);
void buf_append_str(struct buf *b, struct str s);
void buf_append_char(struct buf *b, char c);
static inline void buf_append_z(struct buf *b, const char *z)
{
    buf_append(b, z, strlen(z)); // here, so that the compiler counts literals
}

// Appends v in decimal, padded with zeros on the left to at least min_digits (at most 20). Faster
// than printf.
void buf_append_decimal(struct buf *b, uint64_t v, unsigned min_digits);

__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *format, ...);

// Appends s as the inside of a JSON string (no quotes around it): ", \ and control characters (C1,
// too) escaped as RFC 8259 section 7 asks. Bytes that are not UTF-8 become U+FFFD, so the output is
// always valid JSON.
void buf_append_json(struct buf *b, struct str s);

// Makes room for n more bytes and returns where to write them, or NULL after an error. The caller
// adds what it wrote to b->len.
char *buf_reserve(struct buf *b, size_t n);

// 0 if every append since the last reset succeeded, else the first error.
static inline int buf_error(const struct buf *b)
{
    return b->error;
}

static inline bool buf_ok(const struct buf *b)
{
    return b->error == 0;
}

// The content, borrowed until the next append.
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){ b->data, b->len };
}

#endif
