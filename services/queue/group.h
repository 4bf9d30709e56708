// SPDX-License-Identifier: MIT
// One group: which events it has not settled, who has them, and what of that the log has to be told.
// It reads no log, sends nothing and knows no clock: whoever drives it (groups.c, and the simulation)
// gives it events and times, and delivers what it says is ready.
//
// What the log knows of a group (FORMAT.md section 5): the floor, before which everything is settled;
// ranges behind it that are settled; and events that failed or were added by hand, each by name.
// Everything else from the floor on is as good as never delivered.
#ifndef QUEUE_GROUP_H
#define QUEUE_GROUP_H

#include "services/queue/catalog.h"
#include "services/queue/format.h"
#include "services/queue/group_config.h"
#include "services/queue/pending.h"

#define GROUP_MAX_DEAD 131072 // dead letters of all groups: 6 MiB, and as much in a checkpoint

struct client;
struct group;
struct group_stats;

struct member {
    struct group *group; // NULL: it has ended, and its client was told
    struct client *client;
    uint64_t number;     // chosen by the client
    uint32_t window;     // deliveries that it wants unsettled at most
    uint32_t delivered;  // that are
    struct member *next; // of the group, in the order in which they joined
    struct member *next_of_client;
};

struct run {
    uint64_t first, last;
};

// Ranges of sequences, in order, apart from each other.
struct runs {
    struct run *items; // used are [at, n)
    size_t at, n, cap;
};

struct dead {
    uint64_t seq;        // of the dead letter
    uint64_t origin_seq; // of the event
    int64_t died_ms;
    uint32_t attempts;
};

struct group_counts {
    uint64_t deliveries, redeliveries, acked, naked, extended, timed_out, terminated, stale, died,
        skipped;
};

struct group {
    uint32_t number; // in the log; of no other group that is there
    struct group_config config;
    struct pending_table pending;
    uint64_t cursor;   // the next event to look at
    uint64_t waits_at; // the cursor, if that event is known to wait for a member; 0: it is not known
    struct runs done;  // settled at or behind the cursor, as the log says
    struct run *acked; // settled, and the log was not told; in order of settling
    size_t n_acked, cap_acked;
    uint64_t *noted; // sequences of events with `noted`
    size_t n_noted, cap_noted;
    bool reset;        // the log is to be told that all it knew is void
    struct dead *dead; // in order of seq
    size_t n_dead, cap_dead;
    struct member *members; // in the order in which they joined
    struct member *turn;    // who gets the next events
    size_t n_members;
    struct group_counts counts;
    uint64_t topics, topics_made; // as in struct subscription
    bool active;                  // there may be something to deliver or to bury
    struct group_stats *stats;    // of whoever serves it; NULL: none
    struct group *next;           // of all
};

#define GROUP_CHECK __attribute__((warn_unused_result))

// NULL: out of memory. cursor: where it begins.
struct group *group_new(uint32_t number, const struct group_config *config, uint64_t cursor);

// Members are gone before.
void group_destroy(struct group **g);

// Bits of the topics that the group can want, as subscription_topics().
uint64_t group_topics(struct group *g, const struct catalog *catalog);

// --- Events

// Looks at the event at the cursor, which moves behind it. Wanted and not settled: it is pending then,
// and *ret_event is it (BLOCKED or READY). -ENOMEM: nothing has changed. Only while there is room
// (group_has_room()).
GROUP_CHECK int group_take(struct group *g, uint64_t seq, struct str topic, struct str key,
                           struct pending **ret_event);

// Whether group_take() would make the event at the cursor pending.
bool group_wants(const struct group *g, uint64_t seq, struct str topic);

// Moves the cursor to seq over what is not there or not wanted.
void group_skip(struct group *g, uint64_t seq);

static inline bool group_has_room(const struct group *g)
{
    return g->pending.n < g->config.max_pending;
}

// The event that may be delivered next, or NULL.
struct pending *group_ready(const struct group *g);

// Whether the event at the cursor may be taken while nothing is ready.
bool group_may_take(const struct group *g);

// The member that may be given events next, or NULL; and whose turn it is after m got some.
struct member *group_next_member(const struct group *g,
                                 bool (*may)(const struct member *m, void *data), void *data);
void group_pass_turn(struct group *g, const struct member *m);

void group_deliver(struct group *g, struct pending *e, struct member *m, int64_t now_us);

// Takes the last n deliveries back, which could not be sent.
void group_take_back(struct group *g, struct member *m, uint32_t n);

// The event cannot be read any more: it is settled, and counted as skipped.
void group_give_up(struct group *g, struct pending *e);

// --- What becomes of deliveries

struct settlement {
    enum queue_verdict verdict;
    int64_t delay_ms; // NAK; 0: the back-off
    struct str error;
    int64_t now_us; // monotonic
};

// Settles what this member was delivered in the range with that attempt. Returns how many; *ret_took_us, if
// any were, is the time since the first of them was delivered.
uint32_t group_settle(struct group *g, struct member *m, const struct settlement *s,
                      const struct queue_range *range, int64_t *ret_took_us);

// Members. The group owns none: join and leave only keep its list.
void group_join(struct group *g, struct member *m);

// The member is gone; failed: it was lost, with what it had. Returns how many deliveries it had.
uint32_t group_leave(struct group *g, struct member *m, bool failed, int64_t now_us);

// Deliveries whose time is over fail; delayed ones whose time has come are ready. Returns how many timed
// out.
uint32_t group_tick(struct group *g, int64_t now_us);

// Whether group_tick() has to be called.
static inline bool group_waits(const struct group *g)
{
    return pending_count(&g->pending, PENDING_DELIVERED) ||
           pending_count(&g->pending, PENDING_DELAYED);
}

// --- By hand

// Begins anew at cursor; everything pending is given up. Returns how many that were.
size_t group_seek(struct group *g, uint64_t cursor);

// Adds an event although the cursor is past it or will never want it. -EEXIST: it is pending. -ENOSPC:
// max_pending is reached. -ENOMEM.
GROUP_CHECK int group_add(struct group *g, uint64_t seq, uint64_t key);

// The copy of e is in the log: e is settled (NULL: it was given up meanwhile), and the dead letter
// listed. Without memory it is not listed until the next start.
void group_bury(struct group *g, struct pending *e, const struct dead *dead);

// The dead letter of this sequence, or NULL; and takes it off the list.
struct dead *group_find_dead(const struct group *g, uint64_t seq);
size_t group_seek_dead(const struct group *g, uint64_t seq); // the first at or behind seq
void group_remove_dead(struct group *g, struct dead *d);

// Takes dead letters before seq off the list: the log has them no more. Returns how many.
size_t group_expire_dead(struct group *g, uint64_t seq);

// --- The log

// Everything before it is settled, or is named by FAILED records.
uint64_t group_floor(const struct group *g);

// The first event that the group still has to read.
uint64_t group_needs_from(const struct group *g);

// Whether group_write_changes() has something to write.
bool group_changed(const struct group *g);

// Writes records of everything that the log was not told, which it then was: the records must reach it, in
// this order. now_ms: the wall clock, now_us: the monotonic one.
void group_write_changes(struct group *g, int64_t now_ms, int64_t now_us, struct buf *b);

// Writes records of everything, for a checkpoint.
void group_write_state(const struct group *g, int64_t now_ms, int64_t now_us, struct buf *b);

// Takes a record of this group over, while the log is read; frame_seq is the sequence that places in the frame
// count from (0 in a checkpoint). 0, -EBADMSG, -ENOMEM.
GROUP_CHECK int group_replay_settled(struct group *g, struct record_settled r);
GROUP_CHECK int group_replay_failed(struct group *g, const struct record_failed *r, int64_t now_ms,
                                    int64_t now_us);
GROUP_CHECK int group_replay_dead(struct group *g, const struct record_dead *r, uint64_t frame_seq);

#endif
