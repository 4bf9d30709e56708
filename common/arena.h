// SPDX-License-Identifier: MIT
// Memory for one request: many small pieces, freed together. A reset arena keeps its first block,
// so that a steady stream of requests allocates nothing. Under AddressSanitizer every piece is a
// malloc of its own, so that an overrun of one piece is seen.
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include "proto/str.h"

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; // newest first
    size_t used_bytes;          // handed out since the last reset
    size_t max_bytes;           // ceiling for used_bytes
};

// Nothing is allocated until the first arena_alloc().
void arena_init(struct arena *a, size_t max_bytes);
void arena_fini(struct arena *a);

// Frees every piece; pointers into the arena are dead.
void arena_reset(struct arena *a);

// Overwrites what was handed out since the last reset, for requests with secrets; the pieces stay.
void arena_wipe(struct arena *a);

// n bytes, aligned for any type, cleared; NULL when memory or the ceiling is reached. n may be 0.
void *arena_alloc(struct arena *a, size_t n);

// A copy of s with a NUL after it; p is NULL on failure.
struct str arena_str(struct arena *a, struct str s);

// A formatted string with a NUL after it; p is NULL on failure.
__attribute__((format(printf, 2, 3))) struct str arena_printf(struct arena *a, const char *format,
                                                              ...);

#endif
