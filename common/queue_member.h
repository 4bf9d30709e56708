// SPDX-License-Identifier: MIT
// A member of a group of the event queue (PROTOCOL.md 3.8): events are delivered to it, and it says
// of each what became of it. It joins again by itself after a reconnect.
//
// What a settlement means that got no answer: it is not known whether the queue has it. If it has
// not, the event is delivered again, with a higher attempt or after a restart of the queue perhaps
// with the same; so handling an event twice must do no harm, as everywhere with at-least-once
// delivery. What was delivered before a reconnect is not the member's any more: the client has
// forgotten it, and settling it gives -ESTALE and sends nothing.
#ifndef COMMON_QUEUE_MEMBER_H
#define COMMON_QUEUE_MEMBER_H

#include "proto/queue_frames.h"

#define QUEUE_CLIENT_MAX_MEMBERS 16
#define QUEUE_CLIENT_MAX_WINDOW 65536 // deliveries unsettled; as many as a group may have pending

struct queue_client;
struct queue_member;

enum queue_order { QUEUE_ORDER_KEY = 0, QUEUE_ORDER_NONE = 1, QUEUE_ORDER_ALL = 2 };

// A group as `group-set` makes it. Numbers that are 0 keep their value, or have the queue's default
// in a new group; so do filters when there are none.
struct queue_group {
    struct str filters[QUEUE_MAX_FILTERS];
    size_t n_filters;
    enum queue_start from; // of a new group; all but QUEUE_FROM_LAST
    uint64_t from_value;
    enum queue_order order;
    uint64_t ack_wait_ms;
    uint64_t max_deliveries;
    uint64_t backoff_ms, backoff_max_ms;
    uint64_t max_pending;
};

// A member may be closed in any of its callbacks, and so may the client.
struct queue_member_callbacks {
    // Joined: at first, and again after each reconnect. May be NULL.
    void (*on_joined)(struct queue_member *m, void *data);
    // One delivery; d->event is borrowed for the call and decoded with event_decode().
    void (*on_delivery)(struct queue_member *m, const struct queue_delivery *d, void *data);
    // What a SETTLE had for effect: how many deliveries it settled, how many were not the member's
    // any more, and whether that is on disk. Several settlements are answered at once. May be NULL:
    // then no answers are asked for.
    void (*on_settled)(struct queue_member *m, const struct queue_settled *answer, void *data);
    // Events that the group will never get: damaged, or removed by retention. May be NULL.
    void (*on_lost)(struct queue_member *m, uint64_t first_seq, uint64_t last_seq, void *data);
    // No more deliveries: a word of PROTOCOL.md 3.6. The member is gone after the call.
    void (*on_ended)(struct queue_member *m, struct str reason, struct str detail, void *data);
    void *data;
};

// Joins the group `name` with room for `window` deliveries, from 1 to QUEUE_CLIENT_MAX_WINDOW. With
// `make`, which is copied, the group is made or changed first, once in the life of the member; NULL:
// it exists. While the queue is away that waits. -EINVAL: name or window is not one; -EMSGSIZE: the
// strings of make are too long; -ENOSPC: over QUEUE_CLIENT_MAX_MEMBERS; -ENOMEM.
__attribute__((warn_unused_result)) int queue_client_join(struct queue_client *c, struct str name,
                                                          uint32_t window, const struct queue_group *make,
                                                          const struct queue_member_callbacks *callbacks,
                                                          struct queue_member **ret_member);

// Settles what queue_member_callbacks.on_delivery got. What is settled in one turn of the loop is
// sent at its end. -ESTALE: no such delivery is in the member's hands (settled already, or from
// before a reconnect). -EAGAIN: the queue does not take what waits; the delivery is still the
// member's. delay_ms is 0 for the group's back-off; error is cut to QUEUE_MAX_ERROR bytes.
__attribute__((warn_unused_result)) int queue_member_ack(struct queue_member *m, uint64_t seq, uint32_t attempt);
__attribute__((warn_unused_result)) int queue_member_nak(struct queue_member *m, uint64_t seq, uint32_t attempt,
                                                         uint64_t delay_ms, struct str error);
__attribute__((warn_unused_result)) int queue_member_extend(struct queue_member *m, uint64_t seq, uint32_t attempt);
__attribute__((warn_unused_result)) int queue_member_term(struct queue_member *m, uint64_t seq, uint32_t attempt,
                                                          struct str error);

// Changes how many deliveries it wants unsettled: at most the window it joined with; 0: no more for
// now.
void queue_member_set_window(struct queue_member *m, uint32_t window);

// Deliveries in its hands.
uint32_t queue_member_unsettled(const struct queue_member *m);

// Sends what was settled, and leaves: what is not settled goes to the others, and that is no failure.
void queue_member_close(struct queue_member **m);

#endif
