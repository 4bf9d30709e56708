// SPDX-License-Identifier: MIT
// Whether bytes are well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above
// U+10FFFF.
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include "proto/str.h"

// Bytes of the sequence at p, of which left (at least 1) are there; 0 when it is not well-formed.
size_t utf8_length(const unsigned char *p, size_t left);

bool utf8_valid(struct str s);

#endif
