// SPDX-License-Identifier: MIT
// The other end of one queue client: a ROUTER in the same loop that keeps what is published in memory, speaks
// PROTOCOL.md section 3, and can be told to refuse, to keep silent or to go away.
#ifndef TESTS_UNIT_QUEUE_PEER_H
#define TESTS_UNIT_QUEUE_PEER_H

#include "common/zsocket.h"
#include "proto/queue_frames.h"

#define QUEUE_PEER_MAX 4096 // PUBLISH frames, and events of its log

struct peer_publish {
    uint64_t first, last; // producer sequences
    size_t n;
    bool stored;
};

struct peer_event {
    uint64_t producer_seq;
    char *bytes; // owned
    size_t n;
};

struct queue_peer {
    struct zsocket *socket;
    const char *endpoint;
    uint32_t client;
    char uuid[64];               // of the log
    const char *refuse;          // reason for every PUBLISH; NULL: they are stored
    bool silent;                 // answers no PUBLISH
    bool no_info;                // answers no INFO
    char producer[QUEUE_MAX_PRODUCER + 1]; // of the last PUBLISH
    uint64_t highest;            // producer sequence
    struct peer_publish publishes[QUEUE_PEER_MAX];
    size_t n_publishes;
    struct peer_event events[QUEUE_PEER_MAX]; // sequence 1 is number 0
    size_t n_events;
    // The subscription, one at a time.
    uint64_t subscription;       // 0: none
    uint64_t from;               // its first sequence
    char filter[QUEUE_MAX_TOPIC + 1]; // the first one
    size_t n_filters;
    uint64_t next;               // that is delivered next
    uint64_t credit, granted;    // left; by GRANT in all
    int subscribes, unsubscribes, infos;
    size_t batch;                // events in one frame; 0: 100
    bool hold;                   // delivers nothing
};

// endpoint must outlive it.
void queue_peer_open(struct queue_peer *p, const char *endpoint, const char *uuid);
void queue_peer_close(struct queue_peer *p);

// Its connection goes away and comes back; the log stays. Or another log is there.
void queue_peer_down(struct queue_peer *p);
void queue_peer_up(struct queue_peer *p);
void queue_peer_new_log(struct queue_peer *p, const char *uuid);

// Puts an event into the log.
void queue_peer_add(struct queue_peer *p, const struct event *e);
void queue_peer_add_bytes(struct queue_peer *p, struct str bytes);

// Delivers what the subscription has credit for.
void queue_peer_deliver(struct queue_peer *p);

// Ends the subscription.
void queue_peer_end(struct queue_peer *p, const char *reason);

#endif
