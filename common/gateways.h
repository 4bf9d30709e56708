// SPDX-License-Identifier: MIT
// A worker's connections to every gateway there is (PROTOCOL.md sections 2.7 to 2.11): finds
// gateways, says HELLO, splits the capacity into credit, answers pings, hands requests on.
//
//     DOWN --connected--> GREETING --WELCOME--> ACTIVE
//      ^                   |  ^  +--REFUSED, or silence: HELLO again
//      +--connection lost--+  +--REFUSED unknown-peer, silence--ACTIVE
#ifndef COMMON_GATEWAYS_H
#define COMMON_GATEWAYS_H

#include "proto/frames.h"

#include <uv.h>

#define GATEWAYS_MAX 64            // connections of one worker
#define GATEWAYS_LOOK_MS 1000      // how often names and directories are looked at again
#define GATEWAYS_FORGET_MS 10000   // a gateway that is not listed and not connected for this long is dropped
#define GATEWAYS_DRAIN_MS 500      // a gateway that does not answer DRAINING for this long is not waited for

struct announcement;
struct curve;
struct gateway_link;
struct gateways;

struct gateways_callbacks {
    // A REQUEST. A negative return is answered by nothing but counted: the gateway's deadline
    // covers it.
    int (*on_request)(struct gateway_link *link, struct str frame, void *data);
    void (*on_cancel)(struct gateway_link *link, uint64_t id, void *data);
    void (*on_lost)(struct gateway_link *link, void *data); // the link must be forgotten
    void (*on_drained)(void *data); // once, maybe within gateways_drain(): no gateway sends requests any more
    // How it is with this worker, for PONG.
    void (*on_ping)(uint32_t *ret_oldest_ms, uint32_t *ret_in_flight, void *data);
    void *data;
    void (*on_shared)(unsigned gateways, void *data); // so many share the capacity now; may be NULL
};

// endpoints: comma-separated; ipc:// with a glob pattern, or tcp://name:port (every address of the
// name). Returns -EINVAL for another form.
__attribute__((warn_unused_result)) int gateways_open(uv_loop_t *loop, const char *endpoints,
                                                      struct curve *curve, struct announcement *announcement,
                                                      uint32_t capacity, const struct gateways_callbacks *callbacks,
                                                      struct gateways **ret_gateways);

// From now on READY is said to every gateway.
void gateways_ready(struct gateways *g);

// How many requests of each class are taken at once, over all gateways; at first: the capacity.
void gateways_limits(struct gateways *g, const uint32_t limits[FRAME_CLASSES]);

void gateways_role(struct gateways *g, enum frame_role role);

// Sends an answer. sensitive: there are secrets in it, of which nothing is to stay in memory.
void gateways_send(struct gateways *g, struct gateway_link *link, struct str frame, bool sensitive);

// DRAINING to all; the credit is gone. Requests still come until each gateway has answered (what it
// sent before it knew); on_drained says that all have, are lost, or were silent for GATEWAYS_DRAIN_MS.
void gateways_drain(struct gateways *g);

// Connections that were welcomed.
unsigned gateways_active(const struct gateways *g);

// Says GOODBYE and closes; what was sent still goes out, for at most linger_ms.
void gateways_close(struct gateways **g, int linger_ms);

#endif
