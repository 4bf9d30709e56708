// SPDX-License-Identifier: MIT
// What the load generator is to do, read from a text of lines; README.md has the whole of it. Words
// are separated by blanks; a line that begins with # says nothing.
#ifndef TESTS_LOAD_PLAN_H
#define TESTS_LOAD_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PLAN_MAX_REQUESTS 32
#define PLAN_MAX_PHASES 32
#define PLAN_MAX_NAME 32
#define PLAN_MAX_CONNECTIONS 16384

// One kind of request.
struct plan_request {
    char name[PLAN_MAX_NAME];
    char *head;    // owned; everything up to the Idempotency-Key or the end of the head
    char *body;    // owned; "" for none
    bool keyed;    // each gets an Idempotency-Key of its own, the same in all its attempts
    bool safe;     // GET: may be sent again
    bool unlisted; // the ledger has no line for it
};

struct plan_phase {
    char name[PLAN_MAX_NAME];
    double seconds;
    double rate[PLAN_MAX_REQUESTS]; // per second, of each kind
};

struct plan {
    int port;
    int connections;
    int64_t timeout_us;
    int retries;
    int64_t
        backoff_us; // before the first retry; twice as long before each further one, and jittered
    bool obey;      // waits at least as long as a Retry-After says
    uint64_t seed;
    struct plan_request requests[PLAN_MAX_REQUESTS];
    size_t n_requests;
    struct plan_phase phases[PLAN_MAX_PHASES];
    size_t n_phases;
};

// Reads the plan. Returns 0, or -1 after writing to stderr which line is wrong and why.
__attribute__((warn_unused_result)) int plan_read(FILE *in, struct plan *ret_plan);
void plan_free(struct plan *p);

#endif
