// SPDX-License-Identifier: MIT
// The queue as the outbox sees it: in place of common/queue_client.c. It keeps what it is given,
// leaves out what it has, is away now and then, refuses sometimes, and takes its time to answer.
#ifndef STORE_SIM_QUEUE_H
#define STORE_SIM_QUEUE_H

#include "tests/fault/store_sim/world.h"

struct queue_client *queue_begin(struct world *w);

// One of the things that may happen to it happens. calm: only good ones.
void queue_turn(struct queue_client *q, bool calm, void (*on_up)(void));

#endif
