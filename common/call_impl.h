// SPDX-License-Identifier: MIT
// The inside of a call, for the modules of the worker kit alone (call, dispatch, idempotency,
// worker). One thread at a time touches a call: the loop, then a pool thread or the writer thread,
// then the loop again; only `cancelled` is read and written across.
#ifndef COMMON_CALL_IMPL_H
#define COMMON_CALL_IMPL_H

#include "common/arena.h"
#include "common/call.h"
#include "common/worker.h"

#include <stdatomic.h>

struct gateway_link;

enum call_stage { CALL_PREPARE, CALL_READ, CALL_COMPUTE, CALL_WRITE, CALL_DONE };

struct call_error {
    struct call_error *next;
    struct str pointer; // "#/items/0/sku", or a parameter's name when parameter is set
    struct str detail;
    bool parameter;
};

struct call {
    struct call *next, *prev;     // in the dispatcher's list of calls
    struct call *next_waiting;    // in the intake, or in the queue for a pool thread
    struct dispatch *dispatch;
    struct gateway_link *link;    // where the answer goes; NULL once that connection is lost
    struct arena arena;
    struct buf request;           // the REQUEST as it came: everything below borrows from it
    struct frame_request frame;
    const struct service *service;
    const struct route *route;
    size_t route_index;
    struct principal principal;
    struct trace trace;           // this call's span
    struct str query[WORKER_MAX_QUERY]; // values of the declared parameters
    void *body;                   // struct of the request message
    void *state;                  // call_state()
    enum call_stage stage;
    struct db *db;                // of the stage
    int64_t now_ms;               // wall clock at arrival
    int64_t arrived_us, started_us, deadline_us;
    int64_t store_us, wait_us;    // in the store; waiting for a pool thread
    int64_t submitted_us, turn_us; // given to the store; waiting there for the turn
    atomic_bool cancelled;
    bool keep;                    // call_keep()
    bool tells;                   // it got to what its class is about: its times say something

    struct str key;               // Idempotency-Key without quotes; p == NULL: none
    struct str scope;             // whose key it is, for what
    unsigned char fingerprint[32];

    bool answered;
    int status;
    int failure;                  // negative errno of a stage that failed, for the log
    struct frame_pair headers[FRAME_MAX_HEADERS];
    size_t n_headers;
    struct buf reply;             // body of the answer
    struct call_error *errors, **last_error;
};

// Adds an error about a query or path parameter.
__attribute__((format(printf, 3, 4))) void call_parameter_error(struct call *c, const char *name,
                                                                const char *format, ...);

// Forgets an answer that was begun, so that another can be given.
void call_discard_answer(struct call *c);

// Whether this negative errno is the store's own failure, and not the handler's: call_fail() answers
// that it is not available.
bool call_is_store_failure(int error);

// Answers for a stage that failed with a negative errno.
void call_fail(struct call *c, int error);

// The key that seals cursors; set once at start.
void call_set_cursor_key(const unsigned char key[CURSOR_KEY_BYTES]);

#endif
