// SPDX-License-Identifier: MIT
// Gives requests to workers. A job goes to the worker with the fewest requests in flight among
// those that serve, hold credit, have the role and the route; when there is none it waits in its
// service's bounded queue (gateway/wait_queue.h). What a lost worker had is moved once if that is
// safe. No I/O here: sending and answering are callbacks.
//
//     NEW --a worker has credit--> FLYING --reply--> DONE
//      |                              ^
//      +--none has--> WAITING --------+
//                        +--too many, too late--> SHED --> DONE
//
// SHED is the moment until its owner hears of it, which is when nobody is at work on the queue any
// more: an answer may bring the next request along, which may shed another one. A FLYING job whose
// worker is lost or hands it back is NEW again, or DONE with a failure. Any job may be withdrawn: it
// is DONE, and its flight goes on until the worker answers.
#ifndef GATEWAY_BALANCER_H
#define GATEWAY_BALANCER_H

#include "gateway/retry_budget.h"
#include "gateway/wait_queue.h"
#include "gateway/worker_table.h"
#include "proto/problems.h"

enum job_state { JOB_NEW, JOB_WAITING, JOB_FLYING, JOB_SHED, JOB_DONE };

// The part of a request that the balancer works with; embedded in its owner's struct.
struct job {
    enum job_state state;
    struct route *route;
    bool movable;          // may go to another worker when one is lost with it
    uint32_t attempt;      // 1, or 2
    uint32_t returns;      // times that a worker handed it back
    int64_t submitted_us;  // monotonic
    int64_t due_us;        // nobody waits for longer; monotonic
    int64_t sent_us;       // of the last attempt
    int64_t replied_us;    // when on_reply is called
    struct flight *flight; // when FLYING
    struct waiter waiter;  // when WAITING or SHED
};

// How long it has waited for a worker, and been away at the last one, at now_us (monotonic); 0 for what
// has not begun.
static inline int64_t job_wait_us(const struct job *job, int64_t now_us)
{
    return job->submitted_us ? (job->sent_us ? job->sent_us : now_us) - job->submitted_us : 0;
}

static inline int64_t job_away_us(const struct job *job, int64_t now_us)
{
    return job->sent_us ? now_us - job->sent_us : 0;
}

// A request at a worker. It outlives its job when that was withdrawn: the worker still holds it,
// and its place in the credit is taken until it answers.
struct flight {
    uint64_t id;           // on the wire; its lower 16 bits are the slot
    struct job *job;       // NULL: withdrawn
    struct worker *worker; // NULL: the slot is free
    enum frame_class load;
    int64_t sent_us;
    struct flight *prev, *next; // of the same worker; next also links free slots
};

#define FLIGHT_PAGE 256
#define FLIGHT_PAGES (FLIGHTS_MAX / FLIGHT_PAGE)

// How long a worker may sit on a withdrawn request before its place is given to others again: far
// above any deadline, so only a worker that forgot it comes here.
#define FLIGHT_FORGET_MS 60000

struct balancer_callbacks {
    // Sends the job. -EMSGSIZE: it does not fit a frame; any other error: this worker cannot be
    // reached now.
    int (*send)(struct job *job, const struct worker *w, uint64_t id, void *data);
    void (*on_reply)(struct job *job, const struct frame_reply *reply, void *data);
    void (*on_failure)(struct job *job, enum problem problem, void *data);
    void *data;
    // A job has to wait: sets the client and the priority of job->waiter. NULL: all are equal.
    void (*describe)(struct job *job, void *data);
    // A job comes while no worker serves. Whether one is on its way, however long it takes; NULL:
    // then jobs are refused ABSENCE_GRACE_MS after the last worker left.
    bool (*is_coming)(const struct service *service, void *data);
};

// Why a job that waited was given up: X(symbol, name).
#define SHED_REASONS(X)                                                                            \
    X(REFUSED, "full")        /* the queue is full, and it is the one to go */                     \
    X(DISPLACED, "displaced") /* it had to make room */                                            \
    X(LATE, "late")           /* it waited for too long in an overloaded queue */                  \
    X(HOPELESS, "hopeless")   /* no worker could answer it in time any more */

enum shed_reason {
#define X(symbol, name) SHED_##symbol,
    SHED_REASONS(X)
#undef X
        SHED_REASONS_COUNT
};

// One service.
struct lane {
    struct worker **workers; // owned array
    size_t n_workers, cap;
    size_t turn;                      // where the next search begins, so that equals take turns
    struct wait_queue *queue;         // owned; NULL: it never had a worker
    int64_t flight_us[FRAME_CLASSES]; // typical time from sending to the reply
    int64_t absent_since_ms;          // no worker serves since; 0: some do
    bool served;                      // some worker did once
};

struct balancer_counts {
    uint64_t retries, returns, late_replies, unknown_replies, lost_workers, silent_workers,
        stuck_workers, waited, refused_full, forgotten;
    uint64_t sent[FRAME_CLASSES];
    uint64_t shed[SHED_REASONS_COUNT][WAIT_PRIORITIES_COUNT];
};

struct balancer {
    struct balancer_callbacks callbacks;
    size_t max_waiting;       // for each service
    int64_t overload_wait_us; // the longest wait in an overloaded queue
    struct waiter *first_shed, *last_shed;
    bool telling;      // owners of shed jobs hear of it
    uint32_t stuck_ms; // a worker whose oldest request is older gets nothing
    struct lane lanes[SERVICES_MAX];
    struct flight *pages[FLIGHT_PAGES];
    size_t n_pages;
    struct flight *free;
    size_t n_flights;
    uint64_t serial; // of flights, for ids
    struct retry_budget budget;
    struct balancer_counts counts;
};

void balancer_init(struct balancer *b, size_t max_waiting, uint32_t stuck_ms,
                   int64_t overload_wait_us, const struct balancer_callbacks *callbacks);
void balancer_fini(struct balancer *b);

// Takes a job in state NEW with its route, due_us and movable set. It may be answered by on_failure
// before this returns.
void balancer_submit(struct balancer *b, struct job *job);

// The owner wants no answer any more. Returns the worker that holds it, to be told with *ret_id;
// else NULL.
const struct worker *balancer_withdraw(struct balancer *b, struct job *job, uint64_t *ret_id);

// What to answer when a job's deadline comes: it depends on where the job is.
enum problem balancer_deadline_problem(const struct balancer *b, const struct job *job);

// A worker said HELLO. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int balancer_add(struct balancer *b, struct worker *w);

// State, role or credit of a worker changed: those who wait may go on.
void balancer_update(struct balancer *b, struct worker *w);

// A worker lives, but has begun anew and knows its requests no more; it gets nothing until it is
// removed. The requests did not break it, so those that were moved before may be moved again, and
// the budget for retries is not touched.
void balancer_forgotten(struct balancer *b, struct worker *w);

// A worker is gone; w is borrowed for the call and forgotten.
void balancer_remove(struct balancer *b, struct worker *w);

void balancer_reply(struct balancer *b, struct worker *w, const struct frame_reply *reply);
void balancer_return(struct balancer *b, struct worker *w, uint64_t id, struct str reason);

// Gives places back that a worker forgot.
void balancer_forget(struct balancer *b, struct worker *w, int64_t now_ms);

// Jobs that wait.
size_t lane_waiting(const struct lane *lane);

// Requests of a class that the service's workers have, those given up included; and how many more
// they would be sent now, by the credit that they gave: writes by who writes alone.
uint32_t lane_in_flight(const struct lane *lane, enum frame_class load);
uint32_t lane_credit(const struct balancer *b, const struct lane *lane, enum frame_class load);

// Workers of a service in state SERVING.
size_t balancer_serving(const struct balancer *b, const struct service *service);

#endif
