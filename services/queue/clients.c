// SPDX-License-Identifier: MIT
#include "services/queue/clients.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proto/queue_frames.h"

void clients_init(struct clients *c, struct zsocket *socket)
{
    *c = (struct clients){ .socket = socket };
    buf_init(&c->scratch, 64);
}

void clients_fini(struct clients *c)
{
    struct client *client;
    while ((client = clients_next(c, NULL))) {
        clients_remove(c, client);
    }
    buf_fini(&c->scratch);
}

struct client *clients_find(const struct clients *c, uint32_t peer)
{
    struct client *client = c->buckets[peer % CLIENTS_BUCKETS];
    while (client && client->peer != peer) {
        client = client->next;
    }
    return client;
}

struct client *clients_add(struct clients *c, uint32_t peer, int fd)
{
    struct client *client = clients_find(c, peer);
    if (client || !(client = calloc(1, sizeof *client))) {
        return client;
    }
    struct client **bucket = &c->buckets[peer % CLIENTS_BUCKETS];
    *client = (struct client){ .peer = peer, .fd = fd, .next = *bucket };
    *bucket = client;
    c->n++;
    return client;
}

void clients_remove(struct clients *c, struct client *client)
{
    assert(!client->subscriptions && !client->members);
    struct client **at = &c->buckets[client->peer % CLIENTS_BUCKETS];
    while (*at != client) {
        at = &(*at)->next;
    }
    *at = client->next;
    c->n--;
    c->on_their_way -= client->sent - client->arrived;
    free(client);
}

struct client *clients_next(const struct clients *c, const struct client *after)
{
    if (after && after->next) {
        return after->next;
    }
    for (size_t i = after ? after->peer % CLIENTS_BUCKETS + 1 : 0; i < CLIENTS_BUCKETS; i++) {
        if (c->buckets[i]) {
            return c->buckets[i];
        }
    }
    return NULL;
}

bool clients_have_room(const struct clients *c, const struct client *client)
{
    uint64_t window =
        c->on_their_way < CLIENTS_TOTAL_BYTES ? CLIENTS_WINDOW_BYTES : CLIENTS_SMALL_WINDOW_BYTES;
    return client->sent - client->arrived < window;
}

int clients_send(struct clients *c, struct client *client, struct str bytes)
{
    int status = zsocket_send(c->socket, client->peer, bytes);
    if (status) {
        return status;
    }
    client->sent += bytes.n;
    c->on_their_way += bytes.n;
    if (client->sent - client->pinged >= CLIENTS_PING_BYTES) {
        clients_ping(c, client);
    }
    return 0;
}

void clients_answer(struct clients *c, uint32_t peer, int fd, struct str bytes)
{
    struct client *client = clients_add(c, peer, fd);
    if (client && clients_have_room(c, client)) {
        int status = clients_send(c, client, bytes);
        (void)status; // who is gone, or reads nothing, misses it
    }
}

void clients_ping(struct clients *c, struct client *client)
{
    if (client->pinged == client->sent) {
        return;
    }
    buf_reset(&c->scratch);
    queue_pair_encode(&c->scratch, QUEUE_PING, client->sent, 0);
    if (buf_ok(&c->scratch) && zsocket_send(c->socket, client->peer, buf_str(&c->scratch)) == 0) {
        client->pinged =
            client->sent; // else it is tried again with the next bytes or the next tick
    }
}

void clients_pong(struct clients *c, struct client *client, uint64_t token)
{
    if (token > client->arrived && token <= client->pinged) {
        c->on_their_way -= token - client->arrived;
        client->arrived = token;
    }
}
