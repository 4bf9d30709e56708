// SPDX-License-Identifier: MIT
// Who reads from the queue, and how many bytes are on their way to each. ZeroMQ would buffer
// without end for a client that does not read; so after every CLIENTS_PING_BYTES a PING is sent,
// and what was sent before it has arrived when its PONG comes. A client that is slow, or answers no
// PING, gets nothing more and costs nobody else anything.
#ifndef QUEUE_CLIENTS_H
#define QUEUE_CLIENTS_H

#include "common/zsocket.h"

#define CLIENTS_PING_BYTES (256 * 1024)
#define CLIENTS_WINDOW_BYTES (4 * 1024 * 1024)  // on their way to one client
#define CLIENTS_SMALL_WINDOW_BYTES (512 * 1024) // to one client, once all together have
#define CLIENTS_TOTAL_BYTES (128 * 1024 * 1024) // on their way to all

struct member;
struct subscription;

struct client {
    uint32_t peer;
    int fd;           // of its connection
    uint64_t sent;    // bytes
    uint64_t pinged;  // value of sent when the last PING was sent; the PING's token
    uint64_t arrived; // token of the last PONG
    struct subscription *subscriptions;
    struct member *members;
    size_t n_subscriptions; // members counted as well
    struct client *next;
};

#define CLIENTS_BUCKETS 256

struct clients {
    struct zsocket *socket;
    struct client *buckets[CLIENTS_BUCKETS];
    size_t n;
    uint64_t on_their_way; // bytes, to all
    struct buf scratch;
};

void clients_init(struct clients *c, struct zsocket *socket);
void clients_fini(struct clients *c);

// The client, or NULL.
struct client *clients_find(const struct clients *c, uint32_t peer);

// The client, made if it is not known; NULL: out of memory.
struct client *clients_add(struct clients *c, uint32_t peer, int fd);

// Forgets one; it has no subscriptions any more.
void clients_remove(struct clients *c, struct client *client);

// Walks over all: after NULL comes the first; NULL at the end.
struct client *clients_next(const struct clients *c, const struct client *after);

// Whether more may be sent to it now.
bool clients_have_room(const struct clients *c, const struct client *client);

// Sends, and counts it. 0, or -EAGAIN, -EHOSTUNREACH as zsocket_send().
__attribute__((warn_unused_result)) int clients_send(struct clients *c, struct client *client,
                                                     struct str bytes);

// Sends an answer that counts as on its way to the client, so that asking without reading has an
// end: with a full window it is dropped.
void clients_answer(struct clients *c, uint32_t peer, int fd, struct str bytes);

// Asks the client how far it is, if anything was sent since it was asked last.
void clients_ping(struct clients *c, struct client *client);

// A PONG of the client.
void clients_pong(struct clients *c, struct client *client, uint64_t token);

#endif
