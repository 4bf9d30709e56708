// SPDX-License-Identifier: MIT
// A client of the event queue: publishes and reads events and calls methods, reconnects by itself,
// and after a reconnect sends again what was not acknowledged (the queue recognises duplicates by
// producer and sequence) and resubscribes behind the last event that was handed out. Membership in
// groups is in common/queue_member.h.
//
// What a publish means that has no answer yet: it may be stored or not, and the client goes on
// sending it until the queue says one or the other. So a publish without a producer may be stored
// twice when the connection breaks, and never is when it has one.
#ifndef COMMON_QUEUE_CLIENT_H
#define COMMON_QUEUE_CLIENT_H

#include "proto/queue_frames.h"

#include <stdbool.h>
#include <uv.h>

#define QUEUE_CLIENT_MAX_PUBLISHES 1024  // PUBLISH frames in flight; more give -EAGAIN
#define QUEUE_CLIENT_MAX_EVENTS 65536    // events of queue_client_publish_event() in flight
#define QUEUE_CLIENT_MAX_PUBLISH_BYTES (64 * 1024 * 1024) // in flight; one frame fits always
#define QUEUE_CLIENT_MAX_SUBSCRIPTIONS 16
#define QUEUE_CLIENT_PING_MS 1000        // pings after this long a silence; three unanswered: reconnects

struct queue_client;
struct queue_subscription;
struct curve;

struct queue_client_callbacks {
    void (*on_up)(struct queue_client *c, void *data);   // connected and answering; may be NULL
    void (*on_down)(struct queue_client *c, void *data); // no longer; may be NULL
    void *data;
};

// endpoint is the queue's, ipc:// or tcp://. Connecting goes on in the background for ever.
__attribute__((warn_unused_result)) int queue_client_open(uv_loop_t *loop, const char *endpoint,
                                                          struct curve *curve,
                                                          const struct queue_client_callbacks *callbacks,
                                                          struct queue_client **ret_client);
void queue_client_close(struct queue_client **c);
bool queue_client_is_up(const struct queue_client *c);

// Publishes one encoded batch, made with queue_publish_begin(b, request = the value that
// queue_client_next_request() gave, ...). The bytes are copied. on_published runs once: status 0
// with the answer, or a negative errno with answer NULL: -EBADMSG or -ENOSPC when the queue refused
// (detail says why); -ECANCELED when the client was closed first. While the queue is away the batch
// waits and is sent again. -EAGAIN: too much is in flight already, nothing was taken, and
// on_room (below) will run.
uint64_t queue_client_next_request(struct queue_client *c);
__attribute__((warn_unused_result)) int
queue_client_publish(struct queue_client *c, uint64_t request, struct str frame,
                     void (*on_published)(int status, const struct queue_published *answer, struct str detail,
                                          void *data),
                     void *data);

// Publishes one event, without a producer. What is published in one turn of the loop goes out as one
// frame at its end, so this is as fast as batches; and as the queue stores a frame whole or not at
// all, one event that it refuses makes it refuse the others of that turn. on_stored runs once per
// event, in the order of the calls: status 0 with the sequence that the queue gave it and whether it
// is on disk, or an error as above with seq 0. -EAGAIN as above; -EINVAL: no topic, or a key that is
// too long; -EMSGSIZE: over QUEUE_MAX_EVENT_BYTES.
__attribute__((warn_unused_result)) int
queue_client_publish_event(struct queue_client *c, const struct event *e,
                           void (*on_stored)(int status, uint64_t seq, bool durable, struct str detail,
                                             void *data),
                           void *data);

// on_room runs, with the callbacks' data, when a publish got -EAGAIN and half of each limit is free
// again. NULL: nobody wants to know.
void queue_client_set_on_room(struct queue_client *c, void (*on_room)(struct queue_client *c, void *data));

struct queue_subscription_callbacks {
    // Events in order of the log. encoded is borrowed for the call; decode it with event_decode().
    // The subscriber calls queue_subscription_grant() as it has finished with events.
    void (*on_event)(struct queue_subscription *s, uint64_t seq, int64_t stored_ms, struct str encoded,
                     void *data);
    void (*on_batch_end)(struct queue_subscription *s, void *data);   // after the events of one frame; may be NULL
    void (*on_caught_up)(struct queue_subscription *s, uint64_t next_seq, void *data); // may be NULL
    void (*on_lost)(struct queue_subscription *s, uint64_t first, uint64_t last, void *data); // may be NULL
    // No more events: reason "end" or "until" with the next sequence, or a word of PROTOCOL.md 3.6.
    // The subscription is gone after the call.
    void (*on_ended)(struct queue_subscription *s, struct str reason, struct str detail, uint64_t next_seq,
                     void *data);
    void *data;
};

// options->subscription is chosen by the client; the rest is copied. -ENOSPC: over the limit above;
// -EMSGSIZE: strings longer than proto/queue_frames.h allows.
__attribute__((warn_unused_result)) int
queue_client_subscribe(struct queue_client *c, const struct queue_subscribe *options,
                       const struct queue_subscription_callbacks *callbacks,
                       struct queue_subscription **ret_subscription);
void queue_subscription_grant(struct queue_subscription *s, uint32_t more);
void queue_subscription_close(struct queue_subscription **s);

// Asks for the state of the queue (PROTOCOL.md 3.5). on_info runs once; map is borrowed; status
// -ETIMEDOUT after timeout_ms.
__attribute__((warn_unused_result)) int queue_client_info(struct queue_client *c, int timeout_ms,
                                                          void (*on_info)(int status, struct str map, void *data),
                                                          void *data);

// Calls a method (PROTOCOL.md 3.9); arguments are the bytes of one map, copied. on_result runs once:
// status 0 with the result, -EBADMSG with the detail of the queue's refusal, -ETIMEDOUT or
// -ECANCELED. A connection that is lost meanwhile is a call that times out: whether it had its
// effect is not known.
__attribute__((warn_unused_result)) int
queue_client_call(struct queue_client *c, struct str method, struct str arguments, int timeout_ms,
                  void (*on_result)(int status, struct str result, void *data), void *data);

// Watches what the queue does (PROTOCOL.md 3.10), one watch per client, begun again after each
// reconnect. The entries of f are read with queue_operations_next(). It ends with the client.
__attribute__((warn_unused_result)) int
queue_client_watch(struct queue_client *c, void (*on_operations)(struct queue_operations *f, void *data),
                   void *data);

#endif
