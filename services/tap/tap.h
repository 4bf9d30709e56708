// SPDX-License-Identifier: MIT
// One run of the tap: it connects, does its command when the queue answers, and ends with an exit
// status.
#ifndef TAP_TAP_H
#define TAP_TAP_H

#include <uv.h>

#include "common/queue_client.h"
#include "services/tap/options.h"

#define TAP_ENDPOINT_BYTES 2048
#define TAP_CREDIT 512 // events on their way: bounds what an interrupted tap has read for nothing

struct curve;

struct tap {
    struct options options;
    char endpoint[TAP_ENDPOINT_BYTES]; // of the queue
    uv_loop_t loop;
    uv_timer_t timer;            // ends the run when the queue does not answer
    struct curve *curve;
    struct queue_client *queue;
    struct queue_subscription *reading;
    struct buf out;              // what is printed next
    int status;
    bool started, finished;
    bool damaged;                // a lost range was met
    uint64_t n_events;           // printed
};

// Writes what is in t->out. Ends the run when nobody reads any more.
void tap_flush(struct tap *t);

// Ends the run.
void tap_finish(struct tap *t, int status);

// Ends the run with a message on standard error.
__attribute__((format(printf, 3, 4))) void tap_fail(struct tap *t, int status, const char *format, ...);

// The queue owes an answer: it has timeout_ms from now. False: nothing is owed (while following).
void tap_expect(struct tap *t, bool expected);

// The commands. Called once, when the queue answers.
void read_start(struct tap *t);  // tail, cat, get
void look_start(struct tap *t);  // ls, info
void publish_start(struct tap *t); // pub

#endif
