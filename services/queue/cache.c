// SPDX-License-Identifier: MIT
// The tail is searched by bisection, the cold blocks one by one: there are few, and each serves hundreds of events.
#include "services/queue/cache.h"

#include <assert.h>

#include "services/queue/stats.h"

static struct block **tail_slot(struct cache *c, size_t i)
{
    return &c->tail[(c->tail_at + i) % CACHE_TAIL_BLOCKS];
}

static void drop_oldest(struct cache *c)
{
    struct block **oldest = tail_slot(c, 0);
    c->tail_bytes -= (*oldest)->memory;
    block_destroy(oldest);
    c->tail_at = (c->tail_at + 1) % CACHE_TAIL_BLOCKS;
    c->tail_n--;
}

void cache_push(struct cache *c, struct block *b)
{
    if (c->tail_n && (*tail_slot(c, c->tail_n - 1))->next_seq != b->first_seq) {
        while (c->tail_n) { // a gap: the log went on elsewhere
            drop_oldest(c);
        }
    }
    while (c->tail_n &&
           (c->tail_n == CACHE_TAIL_BLOCKS || c->tail_bytes + b->memory > CACHE_TAIL_BYTES)) {
        drop_oldest(c);
    }
    *tail_slot(c, c->tail_n++) = b;
    c->tail_bytes += b->memory;
}

static void drop_cold(struct cache *c, size_t i)
{
    c->cold_bytes -= c->cold[i]->memory;
    block_destroy(&c->cold[i]);
    c->cold_n--;
    memmove(&c->cold[i], &c->cold[i + 1], (c->cold_n - i) * sizeof(struct block *));
}

void cache_add(struct cache *c, struct block *b)
{
    metric_add(&stats.cache_misses, 1);
    b->missed = true;
    for (size_t i = 0; i < c->cold_n; i++) {
        if (c->cold[i]->first_seq ==
            b->first_seq) { // an earlier state of the block that still grows
            drop_cold(c, i);
            break;
        }
    }
    while (c->cold_n &&
           (c->cold_n == CACHE_COLD_BLOCKS || c->cold_bytes + b->memory > CACHE_COLD_BYTES)) {
        drop_cold(c, c->cold_n - 1);
    }
    memmove(&c->cold[1], &c->cold[0], c->cold_n * sizeof(struct block *));
    c->cold[0] = b;
    c->cold_n++;
    c->cold_bytes += b->memory;
}

static struct block *find_tail(struct cache *c, uint64_t seq)
{
    if (c->tail_n == 0 || seq < (*tail_slot(c, 0))->first_seq) {
        return NULL;
    }
    size_t low = 0, high = c->tail_n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if ((*tail_slot(c, middle))->first_seq <= seq) {
            low = middle;
        } else {
            high = middle;
        }
    }
    struct block *b = *tail_slot(c, low);
    return seq < b->next_seq ? b : NULL;
}

static struct block *find_cold(struct cache *c, uint64_t seq)
{
    for (size_t i = 0; i < c->cold_n; i++) {
        struct block *b = c->cold[i];
        if (seq >= b->first_seq && seq < b->next_seq) {
            memmove(&c->cold[1], &c->cold[0], i * sizeof(struct block *));
            c->cold[0] = b;
            return b;
        }
    }
    return NULL;
}

struct block *cache_find(struct cache *c, uint64_t seq)
{
    struct block *b = find_tail(c, seq);
    b = b ? b : find_cold(c, seq);
    if (b && !b->missed) {
        metric_add(&stats.cache_hits, 1);
    } else if (b) {
        b->missed = false; // by whom it was read for
    }
    return b;
}

void cache_fini(struct cache *c)
{
    while (c->tail_n) {
        drop_oldest(c);
    }
    while (c->cold_n) {
        drop_cold(c, c->cold_n - 1);
    }
}
