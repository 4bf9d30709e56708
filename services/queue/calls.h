// SPDX-License-Identifier: MIT
// The CALLs of PROTOCOL.md 3.9: one table of methods and their arguments. A call that has to read events that
// are not in memory waits for them; what changes something is answered when it is on disk.
#ifndef QUEUE_CALLS_H
#define QUEUE_CALLS_H

#include "services/queue/groups.h"

#define CALLS_MAX_WAITING 64   // calls that wait for events to be read; more are refused
#define CALLS_MAX_SEQS 1000    // in one call
#define CALLS_MAX_ENTRIES 1000 // in one result

struct calls;

struct calls_options {
    struct groups *groups;
    struct journal *journal;
    struct loader *loader;
    struct clients *clients;
    struct publisher *publisher;
    struct operations *operations;
};

// NULL: out of memory.
struct calls *calls_new(const struct calls_options *options);

// Takes one CALL; method and arguments are borrowed.
void calls_take(struct calls *cs, uint32_t peer, int fd, uint64_t request, struct str method,
                struct str arguments);

// Something was read: goes on with those that wait.
void calls_wake(struct calls *cs);

void calls_destroy(struct calls **cs);

#endif
