// SPDX-License-Identifier: MIT
// base64url without padding (RFC 4648 section 5), as JOSE and cursors use it. Decoding is strict:
// every sequence of bytes has exactly one text, so that two texts that differ are never the same
// token.
#ifndef COMMON_BASE64URL_H
#define COMMON_BASE64URL_H

#include "proto/str.h"

// Characters of n encoded bytes, and the room that they take with the NUL.
#define BASE64URL_TEXT(n) ((4 * (n) + 2) / 3)
#define BASE64URL_SIZE(n) (BASE64URL_TEXT(n) + 1)

// Writes the text of n bytes and a NUL into out, which has BASE64URL_SIZE(n) bytes; returns the
// text.
struct str base64url_encode(const void *bytes, size_t n, char *out);

// Writes the bytes of text into out, which has room for out_size, and their number into *ret_n.
// Returns 0, -EINVAL when text has a character outside the alphabet (padding and white space
// included), an impossible length or set bits after the last byte, or -EMSGSIZE when the bytes do
// not fit.
__attribute__((warn_unused_result)) int base64url_decode(struct str text, void *out,
                                                         size_t out_size, size_t *ret_n);

#endif
