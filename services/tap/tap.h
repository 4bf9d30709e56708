// SPDX-License-Identifier: MIT
// One run of the tap. Commands are straight code: they ask, wait (which turns the loop), and go on
// with the answer; nothing of theirs runs inside a callback. They return the exit status.
#ifndef TAP_TAP_H
#define TAP_TAP_H

#include <uv.h>

#include "common/queue_client.h"
#include "services/tap/options.h"

#define TAP_ENDPOINT_BYTES 2048
#define TAP_CREDIT 512 // events on their way: bounds what an interrupted tap has read for nothing
#define TAP_OUT_BYTES (64 * 1024 * 1024) // events of one turn of the loop, as text
#define TAP_RESULT_BYTES QUEUE_MAX_FRAME_BYTES

struct curve;

struct tap {
    struct options options;
    char endpoint[TAP_ENDPOINT_BYTES]; // of the queue
    uv_loop_t loop;
    uv_timer_t timer;                  // of tap_wait()
    uv_signal_t on_int, on_term;       // only after tap_catch_signals()
    struct curve *curve;
    struct queue_client *queue;
    struct buf out;     // what is printed next
    bool opened;        // the loop and the client are there
    bool up;            // the queue answers
    bool late;          // the timer has run
    bool interrupted;   // by a signal
    bool closed;        // nobody reads what is printed
    bool damaged;       // a lost range was met
    bool bracket;       // a JSON array is open
};

// Connects and waits until the queue answers. TAP_OK, or the exit status after a message.
__attribute__((warn_unused_result)) int tap_connect(struct tap *t);

// Turns the loop until *done, which a callback sets. 0; -ETIMEDOUT after timeout_ms (< 0: never);
// -EINTR when a signal came; -EPIPE when nobody reads any more. done may be NULL: only time ends it.
__attribute__((warn_unused_result)) int tap_wait(struct tap *t, const bool *done, int64_t timeout_ms);

// From now on SIGINT and SIGTERM end waits instead of the process: for what has to be put back.
void tap_catch_signals(struct tap *t);

// Writes what is in t->out. False: nobody reads any more, and the command should end.
bool tap_flush(struct tap *t);

// A message on standard error; returns status.
__attribute__((format(printf, 3, 4))) int tap_fail(struct tap *t, int status, const char *format, ...);

// The exit status for what tap_wait() returned, after a message where one is due.
int tap_waited(struct tap *t, int rc);

// Begins the next element of a list that is printed as JSON or NDJSON, and ends the list.
void tap_element(struct tap *t);
void tap_element_end(struct tap *t);
void tap_list_end(struct tap *t);

#endif
