// SPDX-License-Identifier: MIT
// What the wait queue needs to know of requests, and what becomes of those that it gives up
// (docs/overload.md): who asks, how much they matter, and when to try again.
#ifndef GATEWAY_SHEDDING_H
#define GATEWAY_SHEDDING_H

#include <stdint.h>

struct exchange;
struct job;

#define SHEDDING_RETRY_SPREAD 3 // Retry-After is 1 s to so many, in turn: not all come back at once

struct shedding {
    uint8_t hash_key[16]; // random: nobody can choose to share a place with somebody else
    uint32_t turn;        // of Retry-After
};

void shedding_init(struct shedding *s);

// Of a job that has to wait: its client (the account; without one, the address) and its priority. For
// the balancer; data is the gateway.
void shedding_describe(struct job *job, void *data);

// x was given up, and is about to be answered: says when to try again, and leaves a line in the log.
void shedding_note(struct exchange *x);

#endif
