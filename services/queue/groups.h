// SPDX-License-Identifier: MIT
// All groups: what the log says of them when it is read, what it is told of them with each commit, and the
// work of a loop turn: giving ready events to members, timing out what they do not settle, and burying
// what died. A group reads the log through the cache and the loader, as readers do.
#ifndef QUEUE_GROUPS_H
#define QUEUE_GROUPS_H

#include "services/queue/clients.h"
#include "services/queue/group.h"
#include "services/queue/journal.h"
#include "services/queue/loader.h"
#include "services/queue/operations.h"
#include "services/queue/publisher.h"

#define GROUPS_MAX 256                  // each costs a look after each commit
#define GROUPS_TICK_MS 20               // how exact back-off and ack wait are
#define GROUPS_TURN_BYTES (1024 * 1024) // of events looked at or sent in one loop turn
#define GROUPS_STEP_BYTES (256 * 1024)  // the same for one group
#define GROUPS_SHARE 256                // events that one member gets at once while others wait
#define GROUPS_BURY_RETRY_MS 1000       // after the log had no room for a dead letter
// Room that the log must keep for what may yet be said of each unsettled delivery while the disk is full.
#define GROUPS_ROOM_BYTES 512

struct groups;

// The groups of a log that is not read yet: none. NULL: out of memory.
struct groups *groups_new(void);

// --- While the log is read, in whatever thread that is done

// A record of a group, in order. For journal_options.on_state.
__attribute__((warn_unused_result)) int groups_replay(const struct frame *f, const struct record *r,
                                                      void *groups);

// Appends records of everything, for a checkpoint. For journal_options.write_state.
void groups_write_state(struct buf *b, void *groups);

// --- Serving

struct groups_options {
    uv_loop_t *loop;
    struct journal *journal;
    struct cache *cache;
    struct loader *loader;
    struct clients *clients;
    struct publisher *publisher;
    struct operations *operations;
    void (*on_ready)(void *data); // groups_run() has something to do
    void *data;
};

void groups_open(struct groups *gs, const struct groups_options *options);

// Frames of a client. Each answers what there is to answer.
void groups_join(struct groups *gs, uint32_t peer, int fd, uint64_t member, struct str group,
                 uint32_t window);
void groups_leave(struct groups *gs, uint32_t peer, uint64_t member);
void groups_settle(struct groups *gs, uint32_t peer, const struct queue_settle *f);

// The client's connection is gone: its members are.
void groups_forget(struct groups *gs, struct client *client);

// Something was stored, was loaded, arrived at a client, or found room again.
void groups_wake(struct groups *gs);

// Does one turn of work. True: there is more to do.
bool groups_run(struct groups *gs);

// Writes what the log was not told yet; the records must reach it. For publisher_options.collect.
void groups_collect(struct buf *b, void *groups);

// The first event that some group still has to read; UINT64_MAX: none has.
uint64_t groups_need_from(const struct groups *gs);

// Retention has removed everything before seq: dead letters there are gone.
void groups_expire(struct groups *gs, uint64_t seq);

// Tells every member that its group has ended, and takes no more.
void groups_end_all(struct groups *gs, struct str reason);

void groups_close(struct groups **gs);

// --- For calls

struct group *groups_find(const struct groups *gs, struct str name);
struct group *groups_first(const struct groups *gs); // then by ->next
size_t groups_count(const struct groups *gs);
size_t groups_dead_count(const struct groups *gs);

// Makes a group that begins at cursor, or changes one; the log is told. NULL: out of memory, or
// GROUPS_MAX are there.
struct group *groups_make(struct groups *gs, const struct group_config *config, uint64_t cursor);
void groups_change(struct groups *gs, struct group *g, const struct group_config *config);
void groups_delete(struct groups *gs, struct group *g);

// Tells the log of what was changed by hand: the group has changes, or a dead letter was taken off.
void groups_changed(struct groups *gs, struct group *g);
void groups_revived(struct groups *gs, const struct group *g, uint64_t dead_seq);

// An event by its sequence, as the log has it: 0; -EAGAIN: it is being read, ask again when groups are woken; -ENOENT:
// it is not there.
__attribute__((warn_unused_result)) int groups_read(struct groups *gs, uint64_t seq,
                                                    struct queue_event_entry *ret_event);

#endif
