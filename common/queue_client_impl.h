// SPDX-License-Identifier: MIT
// The inside of a queue client, for its modules alone: queue_client (connection, reading, calls),
// queue_producer (publishing) and queue_member (groups). All share one socket and one sequence of
// numbers, so a REFUSED is never ambiguous.
#ifndef COMMON_QUEUE_CLIENT_IMPL_H
#define COMMON_QUEUE_CLIENT_IMPL_H

#include "common/queue_client.h"
#include "common/queue_member.h"

#define QUEUE_CLIENT_MAX_INFOS 16 // calls and questions that wait for their answers

struct publish;
struct waiter;

// Publishing. The list is in the order of the calls, which is the order of sending and, as a rule,
// of the answers: so the one that is answered is its first.
struct queue_producer {
    struct publish *first, **last;
    struct publish *unsent;   // the first that was not sent on this connection; NULL: all were
    size_t n, bytes;          // of the list
    size_t n_events;          // single events, gathered or in the list
    struct buf gathered;      // entries of the next frame of single events
    struct waiter *waiters;   // who waits for them; QUEUE_MAX_BATCH of them, or NULL
    uint32_t n_gathered;
    bool wants_room;          // somebody got -EAGAIN
    void (*on_room)(struct queue_client *c, void *data);
};

struct info {
    uint64_t request; // 0: free
    int64_t until_ms;
    void (*on_info)(int status, struct str map, void *data);
    void *data;
};

struct queue_client {
    uv_loop_t *loop;
    char *endpoint;
    struct curve *curve;
    struct queue_client_callbacks callbacks;
    struct zsocket *socket;
    uv_timer_t timer;
    uv_idle_t turn;           // active while something was gathered in this turn of the loop
    int handles_open;
    struct buf out;
    struct queue_producer producer;
    struct queue_subscription *subscriptions[QUEUE_CLIENT_MAX_SUBSCRIPTIONS];
    struct queue_subscription *delivering; // whose callbacks are running
    struct queue_member *members[QUEUE_CLIENT_MAX_MEMBERS];
    struct info infos[QUEUE_CLIENT_MAX_INFOS];
    uint64_t watch; // its number; 0: none
    bool watching;  // begun on this connection
    void (*on_operations)(struct queue_operations *f, void *data);
    void *watch_data;
    uint64_t last_request;
    int64_t heard_ms, pinged_ms;
    bool connected, up, closed;
};

// Sends what is in c->out. A negative errno when nothing was queued.
__attribute__((warn_unused_result)) int queue_client_send_out(struct queue_client *c);
void queue_client_send_pair(struct queue_client *c, enum queue_frame_type type, uint64_t first, uint64_t second);
// Has what was gathered sent when this turn of the loop ends.
void queue_client_gather(struct queue_client *c);

// Each part is told of the connection's life and of what arrives for it. The `take` calls return
// whether the number was theirs.
void queue_producer_init(struct queue_producer *p);
void queue_producer_fini(struct queue_producer *p);
void queue_producer_send(struct queue_client *c); // what was not sent on this connection
void queue_producer_flush(struct queue_client *c); // what was gathered
void queue_producer_down(struct queue_client *c);
void queue_producer_cancel(struct queue_client *c);
void queue_producer_take_published(struct queue_client *c, const struct queue_published *answer);
bool queue_producer_take_refused(struct queue_client *c, uint64_t request, int status, struct str detail);

void queue_members_send(struct queue_client *c);
void queue_members_flush(struct queue_client *c);
void queue_members_down(struct queue_client *c);
void queue_members_cancel(struct queue_client *c);
void queue_members_take_joined(struct queue_client *c, uint64_t member);
void queue_members_take_deliver(struct queue_client *c, struct queue_deliver *f);
void queue_members_take_settled(struct queue_client *c, const struct queue_settled *f);
bool queue_members_take_result(struct queue_client *c, uint64_t request);
bool queue_members_take_lost(struct queue_client *c, uint64_t member, uint64_t first_seq, uint64_t last_seq);
bool queue_members_take_ended(struct queue_client *c, uint64_t id, struct str reason, struct str detail);

#endif
