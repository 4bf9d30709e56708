// SPDX-License-Identifier: MIT
// The events of one group that were looked at and are not settled: in order of sequence, by state,
// and by key, so that of each key only the first one is ever with a member. Knows no log and no
// members' connections; whoever moves an event knows why.
//
//     add --> BLOCKED (an earlier one of its key is here) or READY
//     BLOCKED --the earlier one is removed--> READY
//     READY --> DELIVERED --> READY, DELAYED, DYING, removed
//     DELAYED --> READY     DYING --> removed
#ifndef QUEUE_PENDING_H
#define QUEUE_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/str.h"

#define PENDING_MAX 65536 // events in one table: 6 MiB, and what a start has to look at again

enum pending_state {
    PENDING_BLOCKED,
    PENDING_READY,
    PENDING_DELIVERED,
    PENDING_DELAYED,
    PENDING_DYING
};
#define PENDING_STATES 5

struct member;

struct pending {
    uint64_t seq;
    uint64_t key; // hash of the key that orders it; 0: nothing does
    int64_t
        when_ms; // DELIVERED: until when it may be settled; DELAYED: when it is ready. Monotonic
    int64_t sent_us;       // when it was delivered last, monotonic; 0: never by this process
    struct member *member; // DELIVERED: who has it
    char *error;           // what was said of its last failure; owned; NULL: nothing
    uint32_t attempt;      // deliveries until now
    uint32_t failures;     // of them, those that failed
    uint32_t next, prev;   // in the list of its state; places
    uint32_t next_of_key;  // place
    uint8_t state;
    uint8_t then; // BLOCKED: its state once it is the first of its key
    bool added;      // not by the cursor: a dead letter or a replayed event
    bool known;      // the log names it, so the floor need not wait for it
    bool noted;      // something of it is to be written to the log
    bool moving;     // DYING: its copy is on its way to the log
    bool terminated; // DYING: because a member said so
};

#define PENDING_NONE UINT32_MAX

struct pending_slot {
    uint64_t seq;
    uint32_t place; // PENDING_NONE: was removed
};

struct pending_list {
    uint32_t first, last; // places
    size_t n;
};

struct pending_key {
    uint64_t key;         // 0: free
    uint32_t first, last; // places: the chain of next_of_key
};

struct pending_table {
    struct pending *pool;
    uint32_t cap, free;         // free: place of the first free one, chained by next
    struct pending_slot *order; // by seq
    size_t at, end, cap_order;  // used slots are [at, end)
    size_t n;                   // events
    struct pending_list lists[PENDING_STATES];
    struct pending_key *keys; // open addressing, linear probing
    size_t cap_keys, n_keys;
};

void pending_init(struct pending_table *t);
void pending_fini(struct pending_table *t);

// Removes everything.
void pending_clear(struct pending_table *t);

// A hash that is never 0 for a key, and 0 for the empty key. Two keys with one hash wait for each
// other, which is safe.
uint64_t pending_key_of(struct str key);

// Adds an event that is not here yet. The pointer is good until the next add. NULL: out of memory or
// PENDING_MAX reached.
struct pending *pending_add(struct pending_table *t, uint64_t seq, uint64_t key);

struct pending *pending_find(const struct pending_table *t, uint64_t seq);

// Moves it to the end of the list of that state, or to its front. Not for BLOCKED.
void pending_move(struct pending_table *t, struct pending *e, enum pending_state state, bool front);

// Removes it, and makes the next of its key ready.
void pending_remove(struct pending_table *t, struct pending *e);

// Keeps a copy of the text with the event; without memory it keeps none.
void pending_set_error(struct pending *e, struct str error);

// The first of a list, or NULL; and the one after e in its list.
struct pending *pending_first(const struct pending_table *t, enum pending_state state);
struct pending *pending_last(const struct pending_table *t, enum pending_state state);
struct pending *pending_after(const struct pending_table *t, const struct pending *e);

// In order of sequence: *at from pending_seek(); NULL at the end. The one that was given may be
// removed or moved before the next is asked for.
size_t pending_seek(const struct pending_table *t, uint64_t seq);
struct pending *pending_next(const struct pending_table *t, size_t *at);

// The lowest sequence of those that the log does not name (see known), or none.
uint64_t pending_lowest_unknown(const struct pending_table *t, uint64_t none);

// The lowest sequence at all, or none.
uint64_t pending_lowest(const struct pending_table *t, uint64_t none);

static inline size_t pending_count(const struct pending_table *t, enum pending_state state)
{
    return t->lists[state].n;
}

#endif
