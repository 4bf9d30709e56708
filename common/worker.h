// SPDX-License-Identifier: MIT
// The worker kit. A service is a table of routes and the handlers behind them; everything else
// (gateways, credit, deadlines, validation, idempotency, the store and its one writer, events out
// and in, readiness, draining, metrics, logs, traces) is done here. docs/add-a-service.md walks
// through a whole service.
//
// A route is served in up to three stages. A stage that answers ends the call; one that returns 0
// without answering passes it on; a negative errno answers 500 (503 for -EIO, -ENOSPC, -EROFS,
// -EAGAIN) and is logged.
//
//     read      on the loop, with the read-only connection: look things up. Must be quick; a query that
//               goes on at the deadline, or for WORKER_READ_MS, ends with -EINTR, to be passed on.
//     compute   on a pool thread (WORKER_COMPUTE_THREADS): slow computing, no store.
//     write     in the writer thread, inside the group commit: change things, write events.
//
// Routes with a write stage are sent to the writer process only. When `write` answers with a status
// of 400 or above, or fails, what it changed is undone, unless it called call_keep().
#ifndef COMMON_WORKER_H
#define COMMON_WORKER_H

#include "common/call.h"
#include "common/config.h"
#include "common/process.h"
#include "proto/queue_frames.h"

#define WORKER_COMPUTE_THREADS 2     // at most, and a core is left free: argon2id takes 19 MiB and a core each
#define WORKER_COMPUTE_NICE 5        // of those threads: a third of the weight that others have
#define WORKER_COMPUTE_SLICE_MS 100  // of those threads: the longest that Linux allows
#define WORKER_COMPUTE_QUEUE 64      // calls that wait for a thread; more get 503
// A read stage that asks its store for longer is given up with 504. Meanwhile nothing is answered, no
// PING either: for longer than three heartbeats, and gateways would take the worker for dead.
#define WORKER_READ_MS 500
#define WORKER_HEARTBEAT_MS 250
#define WORKER_IDEMPOTENCY_MS (24 * 3600 * 1000)
#define WORKER_MAX_QUERY 8           // declared query parameters of a route

enum query_kind { QUERY_STRING, QUERY_INTEGER, QUERY_CHOICE, QUERY_CHOICES };

struct query_param {
    const char *name;
    enum query_kind kind;
    int64_t min, max;      // of the integer, or of the length in bytes
    const char *fallback;  // NULL: absent when not given
    bool required;         // 400 when it is not given
    const char *choices;   // "a|b|c". QUERY_CHOICE: one of them; QUERY_CHOICES: one or, with commas, several
    const char *description;
};

typedef int call_fn(struct call *c);

enum route_key {
    ROUTE_KEY_IGNORED = 0,
    ROUTE_KEY_OPTIONAL, // a repeat with the same key gets the first answer
    ROUTE_KEY_REQUIRED  // and without a key 400
};

struct route {
    const char *method;
    const char *pattern;                  // "/v1/orders/{id}/pay"
    const char *operation;                // operationId
    const char *summary;
    const char *tag;                      // "" for the service's name
    enum frame_auth auth;
    enum frame_body body;
    enum route_key key;                   // what an Idempotency-Key does here
    bool if_match;                        // needs If-Match: handlers use call_precondition()
    bool sensitive;                       // credentials are in its body or its answer (PROTOCOL.md 2.2)
    bool internal;                        // only gateways ask here (PROTOCOL.md 2.13)
    bool low;                             // done without first when there is too much of everything
    const struct message *request;        // of the body
    const struct message *reply;          // of the success answer; NULL: none
    int success;                          // its status: 200, 201, 204
    enum problem problems[12];            // those this route itself answers with, as PROBLEMS(...)
    const struct query_param *query;      // ended by name NULL; NULL: none
    uint32_t deadline_ms;                 // 0: the gateway's default
    call_fn *read, *compute, *write;
    call_fn *end;                         // on the loop when the call is over, however it ended; may be NULL
};

// What it needs most.
static inline enum frame_class route_class(const struct route *r)
{
    return r->compute ? FRAME_CLASS_COMPUTE : r->write ? FRAME_CLASS_WRITE : FRAME_CLASS_READ;
}

// The problems of a route. MALFORMED_REQUEST (0) is never a route's own, so a short list ends by
// itself.
#define PROBLEMS(...) { __VA_ARGS__ }

// Events that a service listens to. The cursor is kept in the service's store, in the transaction
// of the effect: each event takes effect once, in order, even across crashes.
struct subscription {
    const char *name;          // of the cursor
    const char *filters[QUEUE_MAX_FILTERS]; // ended by NULL
    // Runs in the writer thread inside the transaction. A negative errno rolls the event's effects
    // back and takes the store out of service for -EIO and -ENOSPC; other errors are logged and the
    // event is skipped.
    int (*apply)(struct db *db, const struct event *e, void *data);
};

// Work at intervals, in the writer process, as a write job.
struct periodic {
    const char *name;
    int64_t every_ms;
    int (*run)(struct db *db, int64_t now_ms, void *data);
};

struct service {
    const char *name;                       // "users"
    const char *summary;                    // for --help and OpenAPI
    const struct route *routes;
    size_t n_routes;
    const char *const *migrations;          // see common/store.h; NULL: a service without a store
    size_t n_migrations;
    const struct subscription *subscriptions;
    size_t n_subscriptions;
    const struct event_kind *events;        // all that it publishes: proto/event_kind.h; NULL: none
    size_t n_events;
    const struct periodic *periodics;
    size_t n_periodics;
    // For a store that is only a projection of events: SQL that empties its tables. Such a store is
    // written with synchronous=NORMAL, thrown away when it is damaged, and built anew when the
    // queue has another log than the one it was built from. NULL: the store is the truth.
    const char *reset;
    // Further options: a table as in common/config.h with offsets into a struct of config_bytes;
    // NULL: none.
    const struct config_option *options;
    size_t config_bytes;
    // After configuration, before anything is served: load keys and the like. 0, or -errno with one
    // line in error. config is the service's struct. May be NULL.
    int (*on_open)(void *config, const char *home, char error[CONFIG_ERROR_SIZE]);
    // When this process becomes the writer: after the migrations, in a transaction of its own,
    // before writes are served. Runs in the writer thread. May be NULL.
    int (*on_writer)(struct db *db, int64_t now_ms);
    void (*on_close)(void);
    // A process of its own for work that shall hold up nobody: common/companion.h; NULL: none.
    const struct companion *companion;
    // Paths that it uses besides its store, as in common/process.h, ended by path NULL; NULL: none.
    const struct process_right *rights;
    // Words of its own on the command line; their config is the service's struct. Ended by name
    // NULL; NULL: none.
    const struct process_command *commands;
};

// The main() of a worker: options, configuration, everything. service must be static. Returns the
// exit status.
int worker_main(const struct service *service, int argc, char **argv);

#endif
