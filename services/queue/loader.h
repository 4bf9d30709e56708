// SPDX-License-Identifier: MIT
// Reads blocks from files in the thread pool, so that a slow disk delays only who waits for it. One
// slot is for readers' blocks in turn, one for the background pass that verifies everything; damage
// is told either way.
#ifndef QUEUE_LOADER_H
#define QUEUE_LOADER_H

#include "services/queue/cache.h"

#include <uv.h>

#define LOADER_SLOTS 2     // reads for readers at once; libuv's pool has four threads
#define LOADER_SCRUB_MS 10 // between two blocks of the background pass: at most 25 MiB/s
#define LOADER_SCRUB_EVERY_MS (24 * 3600 * 1000)

struct loader;

struct loader_options {
    uv_loop_t *loop;
    struct journal *journal;
    struct cache *cache;
    void (*on_loaded)(void *data); // a block went to the cache, or a slot became free
    // Damage that was not known: lost sequences are noted in the journal already (lost: how many).
    void (*on_damage)(uint64_t segment, const struct damage *d, uint64_t lost, void *data);
    void *data;
};

__attribute__((warn_unused_result)) int loader_open(const struct loader_options *options,
                                                    struct loader **ret_loader);

// Begins to read a block, unless it is being read. False: no slot is free; ask again after
// on_loaded.
bool loader_read(struct loader *l, const struct block_ref *ref);

// Begins to verify all of the log now, unless that is under way.
void loader_verify_all(struct loader *l);

// Whether that is under way, and how far.
bool loader_is_verifying(const struct loader *l, uint64_t *ret_next_seq);

// Stops; memory goes when reads and handles are done. No callback runs after this.
void loader_close(struct loader **l);

#endif
