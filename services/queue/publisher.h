// SPDX-License-Identifier: MIT
// The way of events into the log: checks each PUBLISH, leaves out duplicates, gathers what comes
// while a commit is running into the next one, and answers when it is on disk. At most one commit
// runs and one is gathered.
//
// Groups add to a commit what they have to tell the log: it is written whether or not there is room for events,
// into the room that the log reserves for it.
//
// A full disk refuses (disk-full) whatever was not stored, and what the same publisher sent after
// that, until it sends the first refused event again: else that would pass for a duplicate of a
// later one.
#ifndef QUEUE_PUBLISHER_H
#define QUEUE_PUBLISHER_H

#include "common/zsocket.h"
#include "proto/queue_frames.h"
#include "services/queue/cache.h"
#include "services/queue/operations.h"

// Gathered bytes at which the socket is to be paused until the running commit is done; one more
// PUBLISH fits.
#define PUBLISHER_BATCH_BYTES (4 * 1024 * 1024)
#define PUBLISHER_BATCH_ANSWERS 65536 // the same for PUBLISH frames
#define PUBLISHER_RETRY_MS 1000 // after a full disk: how long everything is refused without trying

struct publisher;

struct publisher_options {
    uv_loop_t *loop;
    struct journal *journal;
    struct cache *cache;
    struct zsocket *socket;
    struct operations *operations;
    void (*on_stored)(void *data);          // events became readable, or room came back
    void (*on_full)(bool full, void *data); // the disk is full; is not any more
    void (*on_failed)(int status, const char *step, void *data); // nothing can be stored any more
    void (*on_stopped)(void *data);                              // after publisher_stop()
    // Asked before each commit that publisher_want() asked for: appends records that others have for the log.
    void (*collect)(struct buf *records, void *state);
    void *state;
    void *data;
};

__attribute__((warn_unused_result)) int publisher_open(const struct publisher_options *options,
                                                       struct publisher **ret_publisher);

// Takes one PUBLISH of a client with this identity (NULL: none); answers at once only if it is refused
// or all of it was stored before.
void publisher_publish(struct publisher *p, uint32_t peer, const char *identity,
                       const struct queue_publish *f);

// Others have something for the log: the next commit asks them for it, and there will be one.
void publisher_want(struct publisher *p);

// Records for the next commit, to append to; then publisher_want().
struct buf *publisher_control(struct publisher *p);

// Sends a frame when all that was given to the publisher until now is on disk, and all that collect() would
// say now.
void publisher_reply(struct publisher *p, uint32_t peer, struct str frame);

// Stores an event of the queue's own, and with it r, whose place is filled in. on_done runs once: 0 and its
// sequence, or -ENOSPC. -ENOSPC: it is refused at once, and on_done does not run. -ENOMEM.
__attribute__((warn_unused_result)) int
publisher_bury(struct publisher *p, struct str event, const struct record_dead *r,
               void (*on_done)(int status, uint64_t seq, void *data), void *data);

// Whether the disk is known to be full.
bool publisher_is_full(const struct publisher *p);

// Starts a commit if something is gathered and none is running.
void publisher_flush(struct publisher *p);

// Whether publisher_flush() would start one.
bool publisher_can_flush(const struct publisher *p);

// Whether no more PUBLISH frames may be handed in until on_stored.
bool publisher_is_congested(const struct publisher *p);

// Begins a new segment although nothing is to be stored, if the journal wants that and no commit is
// running.
void publisher_roll(struct publisher *p);

// Refuses everything from now on, finishes what was accepted, writes a checkpoint, then calls
// on_stopped.
void publisher_stop(struct publisher *p);

void publisher_close(struct publisher **p);

#endif
