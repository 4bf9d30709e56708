// SPDX-License-Identifier: MIT
// What an identity (PROTOCOL.md 1.1) may do at the queue: the table of PROTOCOL.md 3.11. An identity
// of NULL is a client on ipc, which may do everything.
#ifndef QUEUE_PERMISSIONS_H
#define QUEUE_PERMISSIONS_H

#include "proto/queue_frames.h"

#include <stdbool.h>

// Whether it may publish under this topic.
bool permissions_publish(const char *identity, struct str topic);

// Whether it may publish as this producer (NULL: as none), or ask for its sequence.
bool permissions_producer(const char *identity, struct str producer);

// Whether it may subscribe to these filters.
bool permissions_read(const char *identity, const struct queue_subscribe *f);

// Whether it may join, settle or change this group.
bool permissions_group(const char *identity, struct str group);

// Whether it may do everything: calls without a group, watching.
bool permissions_admin(const char *identity);

// The argument `group` of a CALL; empty when it has none.
struct str permissions_group_of(struct str arguments);

#endif
