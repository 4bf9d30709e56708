// SPDX-License-Identifier: MIT
// UUID version 7 (RFC 9562 section 5.7): 48 bits of milliseconds, then randomness. Within one
// process they are strictly growing: ids made in the same millisecond count up in the rand_a bits
// (method 1 of section 6.2).
#ifndef COMMON_UUID_H
#define COMMON_UUID_H

#include "proto/str.h"

#include <stdint.h>

#define UUID_TEXT 36 // characters of the text form, without a NUL

// Writes a new UUIDv7 for the wall time time_ms as lower-case text and a NUL. Thread-safe.
void uuid_v7(int64_t time_ms, char out[UUID_TEXT + 1]);

// Whether s is 36 characters of lower-case UUID text (any version).
bool uuid_valid(struct str s);

#endif
