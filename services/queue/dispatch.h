// SPDX-License-Identifier: MIT
// Takes the frames of clients apart and hands each to the module that it is for. What cannot be read is refused
// as malformed; a connection that is gone is told to everybody who knows its client.
#ifndef QUEUE_DISPATCH_H
#define QUEUE_DISPATCH_H

#include "services/queue/calls.h"
#include "services/queue/info.h"
#include "services/queue/operations.h"
#include "services/queue/publisher.h"
#include "services/queue/readers.h"

// All borrowed.
struct dispatch {
    struct zsocket *socket;
    struct clients *clients;
    struct publisher *publisher;
    struct readers *readers;
    struct groups *groups;
    struct calls *calls;
    struct operations *operations;
    const struct info *info;
    void (*on_ready)(void *data); // a commit may have something to write
    void *data;
    struct buf scratch;
    struct queue_publish publish; // the frame at hand
    struct queue_settle settle;   // likewise
};

void dispatch_init(struct dispatch *d);
void dispatch_fini(struct dispatch *d);

// One message of a client.
void dispatch_message(struct dispatch *d, uint32_t peer, int fd, struct str message);

// The connection is gone.
void dispatch_disconnect(struct dispatch *d, int fd);

#endif
