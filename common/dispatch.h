// SPDX-License-Identifier: MIT
// Takes REQUESTs apart, checks them against the service's route table, runs their stages and sends
// the answers. Every call is in exactly one place: the intake, the read stage (at once), the queue for
// a pool thread, a pool thread, the store's queue, or finished. How many of each class of routes there
// may be is learned from how long they take (common/limiter.h).
//
//     PREPARE -> READ -> COMPUTE -> WRITE -> DONE      (stages a route has not are passed over; any may answer)
#ifndef COMMON_DISPATCH_H
#define COMMON_DISPATCH_H

#include "common/worker.h"

#include <uv.h>

struct dispatch;
struct gateway_link;
struct store;

// What a request needs that the dispatcher does not do itself.
struct dispatch_callbacks {
    // The answer (a REPLY or RETURN frame) for a request that came by link. sensitive: of a route
    // with credentials.
    void (*send)(struct gateway_link *link, struct str frame, bool sensitive, void *data);
    // The last call is done while draining.
    void (*on_idle)(void *data);
    void *data;
    // dispatch_limits() says something else than before. May be NULL.
    void (*on_limits)(void *data);
};

// store is NULL for a service without one. capacity: calls at once, three quarters of them of one
// class; one more is returned as `full`.
__attribute__((warn_unused_result)) int dispatch_open(uv_loop_t *loop,
                                                      const struct service *service,
                                                      struct store *store, uint32_t capacity,
                                                      const struct dispatch_callbacks *callbacks,
                                                      struct dispatch **ret_dispatch);

// A REQUEST: r stands behind the frame's type, whole is all of it (copied). -EBADMSG when it is
// malformed; then nothing was answered.
__attribute__((warn_unused_result)) int
dispatch_request(struct dispatch *d, struct gateway_link *link, struct str whole);

// So many gateways share the limits.
void dispatch_share(struct dispatch *d, uint32_t gateways);

// How many requests of each class are taken at once now.
void dispatch_limits(const struct dispatch *d, uint32_t ret_limits[FRAME_CLASSES]);

void dispatch_cancel(struct dispatch *d, struct gateway_link *link, uint64_t id);

// The connection is lost: its calls are cancelled and nothing is sent to it any more.
void dispatch_forget(struct dispatch *d, struct gateway_link *link);

// From now on requests are returned as `draining`; on_idle runs when none is left (or at once).
void dispatch_drain(struct dispatch *d);

// Nobody gets an answer any more: for a shutdown that cannot wait.
void dispatch_abandon(struct dispatch *d);

uint32_t dispatch_in_flight(const struct dispatch *d);

// How many calls compute at once in a process: one less than there are cores, so that one is left for
// everybody else, but 1 at least and WORKER_COMPUTE_THREADS at most.
uint32_t dispatch_compute_threads(void);
uint32_t dispatch_oldest_ms(const struct dispatch *d); // age of the oldest call; 0: none
int64_t dispatch_late_ms(
    const struct dispatch *d); // since its deadline; 0: it is on time, or there is none

// Frees everything. No call may be in flight in a pool thread or in the store.
void dispatch_close(struct dispatch **d);

#endif
