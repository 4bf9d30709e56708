// SPDX-License-Identifier: MIT
// Blocks that are in memory: the tail (everything that was written last, for those who follow) and
// a few that were read from files (shared by those who read the same range). Owns its blocks; a
// block that cache_find() gave is valid until the next cache_push() or cache_add().
#ifndef QUEUE_CACHE_H
#define QUEUE_CACHE_H

#include "services/queue/block.h"

#define CACHE_TAIL_BYTES                                                                           \
    (32 * 1024 * 1024)          // a third of a second at full speed, an hour at a trickle
#define CACHE_TAIL_BLOCKS 16384 // a power of two
#define CACHE_COLD_BYTES (32 * 1024 * 1024) // 128 readers at different places
#define CACHE_COLD_BLOCKS 128

struct cache {
    struct block *tail[CACHE_TAIL_BLOCKS]; // ring, in order of sequence, without gaps
    size_t tail_at, tail_n;                // oldest, and how many
    size_t tail_bytes;
    struct block *cold[CACHE_COLD_BLOCKS]; // most recently used first
    size_t cold_n;
    size_t cold_bytes;
};

void cache_fini(struct cache *c);

// A block that was just written. Takes it.
void cache_push(struct cache *c, struct block *b);

// A block that was read, as somebody missed it: counted as such. Takes it.
void cache_add(struct cache *c, struct block *b);

// The block that has this sequence, counted as a hit; or NULL.
struct block *cache_find(struct cache *c, uint64_t seq);

#endif
