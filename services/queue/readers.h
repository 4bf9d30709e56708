// SPDX-License-Identifier: MIT
// Everybody who reads: subscriptions of all clients, served in turn with bounded work per loop
// turn, from memory when they are near the end and from files otherwise. Reading changes nothing in
// the log.
#ifndef QUEUE_READERS_H
#define QUEUE_READERS_H

#include "services/queue/clients.h"
#include "services/queue/loader.h"
#include "services/queue/subscription.h"

#define READERS_MAX_PER_CLIENT 64
#define READERS_MAX                                                                                \
    4096 // in all; each costs 1 KiB, with `where` 8 KiB, and a look after each commit
#define READERS_STEP_BYTES                                                                         \
    (256 * 1024) // of events looked at or sent in one step of one subscription
#define READERS_TURN_BYTES (1024 * 1024) // the same for all of them in one loop turn
#define READERS_TICK_MS 100              // how soon a send is tried again that found no room

struct readers;

struct readers_options {
    uv_loop_t *loop;
    struct zsocket *socket;
    struct journal *journal;
    struct cache *cache;
    struct clients *clients;
    struct loader *loader;
    void (*on_ready)(void *data); // readers_run() has something to do
    void *data;
};

__attribute__((warn_unused_result)) int readers_open(const struct readers_options *options,
                                                     struct readers **ret_readers);

// Frames of a client. Each answers what there is to answer.
void readers_subscribe(struct readers *r, uint32_t peer, int fd, const struct queue_subscribe *f);
void readers_grant(struct readers *r, uint32_t peer, uint64_t subscription, uint64_t more);
void readers_unsubscribe(struct readers *r, uint32_t peer, uint64_t subscription);

// The client's PONG came: there may be room for more.
void readers_unblock(struct readers *r, struct client *client);

// The client's connection is gone: its subscriptions are.
void readers_forget(struct readers *r, struct client *client);

// Something was stored; a block was loaded, or a slot for that is free.
void readers_wake(struct readers *r);
void readers_loaded(struct readers *r);

// Does one turn of work. True: there is more to do.
bool readers_run(struct readers *r);

// Ends every subscription with this reason.
void readers_end_all(struct readers *r, struct str reason);

void readers_close(struct readers **r);

// For INFO and metrics.
size_t readers_count(const struct readers *r);
uint64_t readers_behind(const struct readers *r,
                        const struct subscription *s); // events it has not got
uint64_t readers_behind_most(const struct readers *r);

#endif
