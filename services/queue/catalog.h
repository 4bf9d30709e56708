// SPDX-License-Identifier: MIT
// What the log has by name: its topics with their counts, and its producers with the highest
// sequence stored for each. Rebuilt from the log at each start; only what is on disk is in it,
// except where a field says otherwise.
#ifndef QUEUE_CATALOG_H
#define QUEUE_CATALOG_H

#include "proto/str.h"

#include <stdint.h>

#define CATALOG_MAX_TOPICS                                                                         \
    4096 // topics are kinds of events: hundreds in a large system. INFO lists all
#define CATALOG_MAX_PRODUCERS                                                                      \
    65536 // 5 MiB in a checkpoint. A producer is a store, so thousands are many

// Entries begin with this.
struct catalog_name {
    struct str name; // its bytes follow the entry
    uint32_t hash;
};

struct topic {
    struct catalog_name key;
    uint64_t bit;      // in a block's `topics`
    uint64_t events;   // in the segments that are there, those that retention expired not counted
    uint64_t last_seq; // of its last event
    int64_t last_ms;
    uint64_t expired_before; // its events below this sequence are expired, if they are still there
    uint32_t rule;           // of retention, for which events it has; 0: not looked up yet
    size_t slot; // its place in the table of topics of the segment that was read or written last
};

struct producer {
    struct catalog_name key;
    uint64_t stored_seq;   // highest that is on disk
    int64_t last_ms;       // when that was stored
    uint64_t accepted_seq; // highest that is on disk or on its way there; never below stored_seq
    uint64_t batch;        // number of the last batch that it has events in
    uint64_t refused_seq;  // lowest that was refused for want of room and not sent again; 0: none
    uint32_t refused_peer; // who sent that
};

struct catalog_table {
    struct catalog_name **slots; // open addressing, linear probing; NULL: free
    size_t n_slots, n;           // n_slots is 0 or a power of two
};

struct catalog {
    struct catalog_table topics;    // of struct topic
    struct catalog_table producers; // of struct producer
    uint64_t topics_made;           // grows when a topic is added
    size_t n_own_topics;            // of them, those of the queue's own that were ever added
    uint64_t pruned_before;         // a topic that is added has no event below this sequence
};

void catalog_init(struct catalog *c);
void catalog_fini(struct catalog *c);

// The entry of this name, or NULL.
struct topic *catalog_topic(const struct catalog *c, struct str name);
struct producer *catalog_producer(const struct catalog *c, struct str name);

// The entry of this name, made if there is none. NULL: out of memory. The caller keeps the limits.
struct topic *catalog_add_topic(struct catalog *c, struct str name);
struct producer *catalog_add_producer(struct catalog *c, struct str name);

// Takes note of what is on disk for a producer. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int catalog_note_producer(struct catalog *c, struct str name,
                                                              uint64_t stored_seq, int64_t last_ms);

// Removes topics that have no events. next_seq: that the next event of the log gets.
void catalog_prune_topics(struct catalog *c, uint64_t next_seq);

// Walks over a table: at begins at 0; NULL at the end. The table must not change meanwhile.
struct topic *catalog_next_topic(const struct catalog *c, size_t *at);
struct producer *catalog_next_producer(const struct catalog *c, size_t *at);

#endif
