// SPDX-License-Identifier: MIT
// The workers that said HELLO: found by the peer number of their connection, and each in one of the
// states of PROTOCOL.md 2.11. Keeping them alive is backend.c's part, giving them work
// balancer.c's.
#ifndef GATEWAY_WORKER_TABLE_H
#define GATEWAY_WORKER_TABLE_H

#include "gateway/router.h"

struct flight;

//     WELCOMED --READY--> SERVING --DRAINING--> DRAINING
//         |                                        ^
//         +--------------- DRAINING ---------------+
enum worker_state { WORKER_WELCOMED, WORKER_SERVING, WORKER_DRAINING };

struct worker {
    uint32_t peer; // of its connection
    int fd;        // of its connection
    enum worker_state state;
    enum frame_role role;
    struct table *table; // and with it the service
    char instance[65];
    char version[129];
    uint32_t capacity; // over all gateways
    uint32_t heartbeat_ms;
    uint32_t credit;    // requests that may be in flight
    uint32_t in_flight; // flights below, those given up included
    uint32_t class_credit[FRAME_CLASSES],
        class_flights[FRAME_CLASSES]; // of them, by class of route
    uint32_t oldest_ms;               // age of its oldest request, by its last PONG
    bool unreachable;                 // the last send failed; until it is heard of again
    int64_t heard_ms;                 // when something came from it, monotonic
    int64_t pinged_ms;
    int64_t sent_ms;             // when something was sent to it
    struct flight *first, *last; // its requests, oldest first
};

// Moves to another state; only along the drawing.
void worker_move(struct worker *w, enum worker_state state);

const char *worker_state_name(enum worker_state state);
const char *worker_role_name(enum frame_role role);

#define WORKER_SLOTS (2 * WORKERS_MAX) // open addressing wants empty slots

struct worker_table {
    size_t n;
    struct worker *slots[WORKER_SLOTS]; // by peer
};

// NULL when nobody with this peer number said HELLO.
struct worker *worker_table_find(const struct worker_table *t, uint32_t peer);
struct worker *worker_table_find_fd(const struct worker_table *t, int fd);
struct worker *worker_table_find_instance(const struct worker_table *t, struct str service,
                                          struct str instance);

// There must be fewer than WORKERS_MAX, none with this peer number.
void worker_table_add(struct worker_table *t, struct worker *w);
void worker_table_remove(struct worker_table *t, const struct worker *w);

#endif
