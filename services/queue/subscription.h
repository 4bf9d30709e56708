// SPDX-License-Identifier: MIT
// One subscription: what a reader wants, where it is, and in which state. The states and who moves
// between them:
//
//     READY --nothing more is stored--> FOLLOWING --something was stored--> READY
//     READY --a block is not in memory--> LOADING --a block was read--> READY
//     READY --no credit, or too much on its way--> BLOCKED --GRANT, PONG, or after a while--> READY
//     any --end, until, UNSUBSCRIBE, disconnected, stopping--> gone
#ifndef QUEUE_SUBSCRIPTION_H
#define QUEUE_SUBSCRIPTION_H

#include "proto/queue_frames.h"
#include "services/queue/catalog.h"
#include "services/queue/where.h"

enum subscription_state { SUB_READY, SUB_FOLLOWING, SUB_LOADING, SUB_BLOCKED };
#define SUB_STATES 4

struct client;

struct subscription {
    struct client *client;
    struct queue_subscribe wanted; // strings are owned (text); its where is not kept
    char *text;
    struct where *where; // filter; NULL: all
    enum subscription_state state;
    uint64_t next_seq;    // everything before it was delivered or is not wanted
    uint64_t end_seq;     // without follow: what was stored when it began
    int64_t from_ms;      // events stored before are not wanted
    uint64_t credit;      // events that may be sent
    bool caught_up;       // CAUGHT_UP was sent
    bool unsent;          // BLOCKED because a frame could not be sent
    bool seeking;         // looking backwards for the last `seek_wanted` matching events
    uint64_t seek_seq;    // looked at everything from here on
    uint64_t seek_wanted; // matching events still to find
    uint64_t topics;      // bits of the topics that match
    uint64_t topics_made; // state of the catalog that topics was made for
    bool takes_all;       // every event there is matches, as of that state
    struct subscription *next, *prev; // in the list of its state
    struct subscription *next_of_client;
};

// Copies f. 0; -EINVAL when f->where is not a filter, and the error; -ENOMEM.
__attribute__((warn_unused_result)) int subscription_new(const struct queue_subscribe *f,
                                                         struct subscription **ret_subscription,
                                                         struct where_error *ret_error);
void subscription_destroy(struct subscription **s);

// Whether the reader wants this event, as far as topic, key and filter say.
bool subscription_matches(const struct subscription *s, const struct queue_event_entry *e);

// Bits of the topics that can match: a block without any of them has nothing for this reader. To be
// asked before the events of a block are.
uint64_t subscription_topics(struct subscription *s, const struct catalog *catalog);

#endif
