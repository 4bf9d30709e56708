// SPDX-License-Identifier: MIT
// Blocks of one size are filled from the front; a piece that would waste much of a block gets a
// block of its own. Under AddressSanitizer every piece does, so the tool sees its end.
#include "common/arena.h"

#include "common/sanitized.h"

#include <assert.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Bytes of a shared block: the usual request fits in one, and an idle call does not hold more than
// this.
#define BLOCK_BYTES 8192

// Above this a piece gets its own block. At a quarter, at most a quarter of a shared block is
// wasted.
#define SHARED_MAX_BYTES (SANITIZED ? 0 : BLOCK_BYTES / 4)

struct arena_block {
    struct arena_block *next;
    bool shared; // by several pieces, and worth keeping
    size_t size; // of bytes[]
    size_t used; // of bytes[]; a multiple of the alignment in a shared block
    alignas(max_align_t) char bytes[];
};

void arena_init(struct arena *a, size_t max_bytes)
{
    *a = (struct arena){ .max_bytes = max_bytes };
}

void arena_fini(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *block = a->blocks;
        a->blocks = block->next;
        free(block);
    }
    a->used_bytes = 0;
}

void arena_reset(struct arena *a)
{
    struct arena_block *kept = NULL;
    struct arena_block *next;
    for (struct arena_block *block = a->blocks; block; block = next) {
        next = block->next;
        if (!kept && block->shared) {
            kept = block;
            continue;
        }
        free(block);
    }
    if (kept) {
        kept->next = NULL;
        kept->used = 0;
    }
    a->blocks = kept;
    a->used_bytes = 0;
}

void arena_wipe(struct arena *a)
{
    for (struct arena_block *block = a->blocks; block; block = block->next) {
        explicit_bzero(block->bytes, block->used);
    }
}

// A new block, in front when it is shared, else behind the first, which keeps its room.
static struct arena_block *add_block(struct arena *a, size_t size, bool shared)
{
    if (size > SIZE_MAX - sizeof(struct arena_block)) {
        return NULL;
    }
    struct arena_block *block = malloc(sizeof(*block) + size);
    if (!block) {
        return NULL;
    }
    struct arena_block **place = &a->blocks;
    if (!shared && *place) {
        place = &(*place)->next;
    }
    *block = (struct arena_block){ .next = *place, .shared = shared, .size = size };
    *place = block;
    return block;
}

// Room for n bytes, not cleared.
static void *take(struct arena *a, size_t n)
{
    if (n > SHARED_MAX_BYTES || SHARED_MAX_BYTES == 0) {
        struct arena_block *own = add_block(a, n, false);
        if (!own) {
            return NULL;
        }
        own->used = own->size;
        return own->bytes;
    }
    const size_t align = alignof(max_align_t);
    size_t rounded = n ? (n + align - 1) / align * align : align;
    struct arena_block *block = a->blocks;
    if (!block || rounded > block->size - block->used) {
        block = add_block(a, BLOCK_BYTES, true);
        if (!block) {
            return NULL;
        }
    }
    void *piece = block->bytes + block->used;
    block->used += rounded;
    assert(block->used <= block->size);
    return piece;
}

void *arena_alloc(struct arena *a, size_t n)
{
    // An empty piece counts as one byte: without end they would be memory without end.
    size_t counted = n ? n : 1;
    assert(a->used_bytes <= a->max_bytes);
    if (counted > a->max_bytes - a->used_bytes) {
        return NULL;
    }
    void *piece = take(a, n);
    if (!piece) {
        return NULL;
    }
    a->used_bytes += counted;
    return memset(piece, 0, n);
}

struct str arena_str(struct arena *a, struct str s)
{
    if (s.n == SIZE_MAX) {
        return (struct str){ NULL, 0 };
    }
    char *copy = arena_alloc(a, s.n + 1);
    if (!copy) {
        return (struct str){ NULL, 0 };
    }
    if (s.n) {
        memcpy(copy, s.p, s.n);
    }
    return (struct str){ copy, s.n };
}

struct str arena_printf(struct arena *a, const char *format, ...)
{
    struct str s = { NULL, 0 };
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n >= 0) {
        char *text = arena_alloc(a, (size_t)n + 1);
        if (text) {
            (void)vsnprintf(text, (size_t)n + 1, format, again); // n is its length
            s = (struct str){ text, (size_t)n };
        }
    }
    va_end(again);
    va_end(args);
    return s;
}
