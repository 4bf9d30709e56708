// SPDX-License-Identifier: MIT
// Requests of one service that wait for a worker (docs/overload.md): who goes next, and who has to
// go when there are too many. Those of a higher priority go first; among equals, clients take turns,
// so that nobody's requests count for more because there are more of them. As long as the queue is
// only a ripple, the oldest request of a client goes first. Once it is overloaded, the newest does,
// new clients come before others, and what waits for too long is given up: who waits has lost his
// patience soon, and serving him would be work for nobody.
//
// Overloaded is judged for each class of routes in windows of WAIT_WINDOW_US: more came than went in
// one that did not begin with an empty queue, and at the pace at which they went those that wait could not
// all go within their patience. It is over when no more came than went. A queue that nothing leaves is not
// overloaded: its workers are away, and whoever waits for them gets his time.
//
// Clients are hashed to flows, eight places each to choose from; those that find no place of their
// own share one. Each class has room of its own, so that one that stands still (no writer, a slow disk)
// does not take it from the others. Everything is O(1) but making room, which looks at the flows of one
// priority. No allocation after the beginning, no clock: times are given.
#ifndef GATEWAY_WAIT_QUEUE_H
#define GATEWAY_WAIT_QUEUE_H

#include "proto/frames.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// X(symbol, name), the highest first.
#define WAIT_PRIORITIES(X)                                                                         \
    X(ADMIN, "admin")                                                                              \
    X(WRITE, "write")                                                                              \
    X(READ, "read")                                                                                \
    X(LOW, "low")

enum wait_priority {
#define X(symbol, name) WAIT_##symbol,
    WAIT_PRIORITIES(X)
#undef X
        WAIT_PRIORITIES_COUNT
};

#define WAIT_WINDOW_US 500000 // a burst that is over within it is no overload
#define WAIT_FLOWS 256        // of each group; 8 to choose from for each client
#define WAIT_WAYS 8
#define WAIT_GROUPS ((int)WAIT_PRIORITIES_COUNT * FRAME_CLASSES)

// One that waits; embedded in its owner's struct.
struct waiter {
    struct waiter *prev, *next;   // of its flow, oldest first
    struct waiter *older, *newer; // of its class
    uint64_t client;              // hash of who asks
    enum wait_priority priority;
    enum frame_class load;
    int64_t since_us;
    uint16_t flow;
};

// Those of one client (or of some that share it), one priority and one class.
struct wait_flow {
    uint64_t client;
    struct waiter *first, *last; // NULL: the flow is free
    uint32_t n;
    uint16_t prev, next; // in the ring of its group
};

// The flows of one priority and one class that have somebody; whose turn it is.
struct wait_group {
    size_t n;
    uint16_t turn, n_flows;
    struct wait_flow flows[WAIT_FLOWS];
};

struct wait_class {
    struct waiter *oldest, *newest;
    size_t n;
    int64_t patience_us; // the longest wait once it is overloaded; the owner's to set
    int64_t window_us;   // begin of the window
    uint32_t came, went;
    bool ripe; // the window did not begin with an empty queue
    bool overloaded;
};

struct wait_queue {
    size_t n, max; // all that wait; the most of one class
    struct wait_class classes[FRAME_CLASSES];
    struct wait_group groups[WAIT_GROUPS]; // priority by priority
};

// max: of each class.
void wait_queue_init(struct wait_queue *q, size_t max);

// Puts w in; its client, priority and load are set. Returns NULL; or, when its class is full, who has
// to go instead, which is taken out and may be w itself: one of the lowest priority that is there, of
// the client that has most; the oldest when overloaded, else the newest.
struct waiter *wait_queue_put(struct wait_queue *q, struct waiter *w, int64_t now_us);

// Who of a group goes next; NULL: nobody is in it.
struct waiter *wait_queue_next(struct wait_queue *q, enum wait_priority priority,
                               enum frame_class load, int64_t now_us);

// w goes to a worker, and its client's turn is over.
void wait_queue_take(struct wait_queue *q, struct waiter *w, int64_t now_us);

// w does not wait any more, for whatever reason.
void wait_queue_remove(struct wait_queue *q, struct waiter *w);

// Takes out one that has waited for longer than its patience in an overloaded class; NULL: there is none.
struct waiter *wait_queue_late(struct wait_queue *q, enum frame_class load, int64_t now_us);

bool wait_queue_overloaded(struct wait_queue *q, enum frame_class load, int64_t now_us);

const char *wait_priority_name(enum wait_priority priority);

#endif
