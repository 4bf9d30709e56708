// SPDX-License-Identifier: MIT
// Publishes many events: gathered into frames, several of which are on their way at once.
#ifndef TAP_BATCH_H
#define TAP_BATCH_H

#include "services/tap/tap.h"

#define BATCH_EVENTS 256              // in one frame
#define BATCH_BYTES (2 * 1024 * 1024) // after which a frame is sent, below its limit by an event
#define BATCH_IN_FLIGHT 16            // frames

struct batch {
    struct tap *t;
    struct str producer;  // p == NULL: none
    struct buf entries;   // of the frame in the making
    uint32_t n;           // of them
    uint32_t max_n;       // of them, at most
    uint32_t in_flight, max_in_flight; // frames
    uint64_t stored, duplicates;
    uint64_t first_seq, last_seq;      // of those stored; 0: none was
    bool durable;         // all were on disk when they were acknowledged
    bool moved;           // an answer came
    int status;           // of the first refusal; 0
    char detail[256];     // of it
    // Runs for each acknowledged frame, with the time it took. May be NULL.
    void (*on_took)(int64_t us, uint32_t events, void *data);
    void *data;
};

// producer: NULL for none.
void batch_open(struct batch *b, struct tap *t, const char *producer);

// Frees it. What is still on its way is given up, and with it the connection.
void batch_close(struct batch *b);

// Adds an event; waits when too many frames are on their way. TAP_OK, or the exit status after a
// message.
__attribute__((warn_unused_result)) int batch_add(struct batch *b, uint64_t producer_seq,
                                                  const struct event *e);

// The same for an event that is encoded already.
__attribute__((warn_unused_result)) int batch_add_encoded(struct batch *b, uint64_t producer_seq,
                                                          struct str encoded);

// Sends what is gathered, without waiting for its answer.
__attribute__((warn_unused_result)) int batch_send(struct batch *b);

// Sends what is gathered and waits for all answers.
__attribute__((warn_unused_result)) int batch_finish(struct batch *b);

#endif
