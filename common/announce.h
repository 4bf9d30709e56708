// SPDX-License-Identifier: MIT
// What a worker announces of itself as a HELLO frame: its route table, each route with its OpenAPI
// 3.1 operation made from the same table, and its events, each with its AsyncAPI 3 message.
#ifndef COMMON_ANNOUNCE_H
#define COMMON_ANNOUNCE_H

#include "common/worker.h"

struct announcement;

// Describes a service once, at start. service must outlive it.
__attribute__((warn_unused_result)) int announce_new(const struct service *service,
                                                     const char *instance, uint32_t capacity,
                                                     struct announcement **ret_announcement);
void announce_destroy(struct announcement **a);

// Appends the HELLO frame with the role of now.
void announce_hello(struct announcement *a, enum frame_role role, struct buf *b);

#endif
