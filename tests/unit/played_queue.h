// SPDX-License-Identifier: MIT
// A queue that the test plays itself: a ROUTER in the same loop that keeps every frame it gets, answers PING, and
// says what the test tells it to say, when it tells it to. For a queue that keeps events, see queue_peer.h.
#ifndef TESTS_UNIT_PLAYED_QUEUE_H
#define TESTS_UNIT_PLAYED_QUEUE_H

#include "common/zsocket.h"
#include "proto/queue_frames.h"

#define PLAYED_QUEUE_LIMIT_MS 10000 // for what takes milliseconds: a machine may be busy
#define PLAYED_QUEUE_FRAMES 2048
#define PLAYED_QUEUE_BYTES (16 * 1024 * 1024) // of all of them together

struct played_frame {
    enum queue_frame_type type;
    const char *bytes;
    size_t n;
};

struct played_queue {
    struct zsocket *socket;
    uint32_t peer;                                   // of the last frame
    bool deaf;                                       // does not answer PING
    struct played_frame frames[PLAYED_QUEUE_FRAMES]; // all but PING
    size_t n;                                        // the test may set it to 0
    size_t pings;
};

extern struct played_queue queue;

// Forgets everything.
void queue_init(void);

// In the temporary directory of the case.
const char *queue_endpoint(void);

void queue_up(void); // and forgets the frames of before
void queue_down(void);

// To who sent the last frame.
void queue_say(struct str bytes);
void queue_say_pair(enum queue_frame_type type, uint64_t first, uint64_t second);
void queue_say_word(enum queue_frame_type type, uint64_t first, uint64_t second, const char *reason,
                    const char *detail);

// The frame that came as number i, which must be of this type; its fields are next.
struct reader queue_heard(size_t i, enum queue_frame_type type, uint32_t *ret_fields);

// The same of two numbers: the first, and the second in *ret_second.
uint64_t queue_heard_pair(size_t i, enum queue_frame_type type, uint64_t *ret_second);

#endif
