// SPDX-License-Identifier: MIT
// What the queue's benches share: a sluice-queue with an empty log, one connection to it, the frames of
// PROTOCOL.md section 3. Whatever is not as it should be ends the program with a line that says so: a bench has
// no use for half a figure.
#ifndef TESTS_BENCH_QUEUE_CLIENT_H
#define TESTS_BENCH_QUEUE_CLIENT_H

#include <sys/types.h>
#include <zmq.h>

#include "proto/queue_frames.h"

struct bench {
    void *context, *socket;
    char home[64]; // of the queue; removed by stop_queue()
    pid_t queue;
    struct buf frame;
    char *event; // encoded; ends in payload
    size_t event_bytes;
    size_t key_at;   // of event: where its key is
    uint64_t n_keys; // events take the keys in turn
};

#define KEY_BYTES 8 // hexadecimal digits

double now_s(void);
_Noreturn void fail(struct bench *b, const char *what);

// Starts the binary with a new home and connects. Retention is off.
void start_queue(struct bench *b, const char *binary);
// Stops it, fails if it did not end in good order, and removes its home.
void stop_queue(struct bench *b);

// Sends b->frame and empties it.
void send_frame(struct bench *b);
// Receives the next frame into message; answers PING by the way.
enum queue_frame_type receive(struct bench *b, zmq_msg_t *message, struct reader *r,
                              uint32_t *fields);

// Makes the event that is published, of this many bytes when encoded.
void make_event(struct bench *b, size_t bytes);
void send_publish(struct bench *b, uint64_t request, uint32_t events, uint64_t *producer_seq);
// Waits for one PUBLISHED; returns how many events it acknowledges.
uint32_t wait_published(struct bench *b);
// Publishes count events in frames of batch, at most window of them in flight. Returns seconds.
double publish(struct bench *b, uint64_t count, uint64_t window, uint32_t batch,
               uint64_t *producer_seq);

#endif
