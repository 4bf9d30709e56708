// SPDX-License-Identifier: MIT
// What the queue does, told to those who watch (PROTOCOL.md 3.10), and to the log at the level debug.
// Costs two comparisons while nobody hears it. What is told in one loop turn goes out together; what
// a watcher has no room for is dropped and counted. Nothing is kept.
#ifndef QUEUE_OPERATIONS_H
#define QUEUE_OPERATIONS_H

#include "common/log.h"
#include "proto/queue_frames.h"
#include "services/queue/clients.h"

#define OPERATIONS_MAX_WATCHERS 16
#define OPERATIONS_TURN_BYTES (128 * 1024) // of entries told in one turn; more are dropped

struct watcher {
    struct client *client;
    uint64_t subscription;
    uint64_t dropped;
};

struct operations {
    struct clients *clients;
    struct watcher watchers[OPERATIONS_MAX_WATCHERS];
    size_t n;
    struct buf entries; // of this turn
    uint32_t n_entries, n_dropped;
    struct buf frame;
    void (*on_ready)(void *data); // operations_flush() has something to do
    void *data;
};

void operations_init(struct operations *o, struct clients *clients, void (*on_ready)(void *data),
                     void *data);
void operations_fini(struct operations *o);

// 0, or -ENOSPC.
__attribute__((warn_unused_result)) int operations_watch(struct operations *o, struct client *c,
                                                         uint64_t subscription);

// True if there was such a watcher.
bool operations_unwatch(struct operations *o, const struct client *c, uint64_t subscription);

// The client's connection is gone.
void operations_forget(struct operations *o, const struct client *c);

// Whether anybody hears of operations: a watcher, or the log at the level debug. To spare making them.
static inline bool operations_are_heard(const struct operations *o)
{
    return o->n > 0 || log_enabled(LEVEL_DEBUG);
}

// Tells of one operation; at_ms is filled in.
void operations_tell(struct operations *o, struct queue_operation op);

// Sends what was told.
void operations_flush(struct operations *o);

#endif
