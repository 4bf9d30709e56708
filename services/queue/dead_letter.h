// SPDX-License-Identifier: MIT
// Dead letters as events (PROTOCOL.md 3.8): the copy of an event that a group could not deal with,
// wrapped in what happened to it, and unwrapped again when it is brought back.
#ifndef QUEUE_DEAD_LETTER_H
#define QUEUE_DEAD_LETTER_H

#include "proto/queue_frames.h"

#define DEAD_LETTER_TOPIC "$dead."
// A wrapped event is longer than it was by no more than this, with the longest of everything.
#define DEAD_LETTER_EXTRA_BYTES 4096

struct dead_letter {
    struct str group;
    struct str reason; // "max-deliveries" or "terminated"
    struct str error;
    uint32_t attempts;
    uint32_t retries;   // how often it was brought back
    uint64_t seq;       // of the event when it was published
    int64_t stored_ms;  // when that was
    struct event event; // as it was published
};

// Appends the event of a dead letter, with an id of its own. now_ms: since the epoch.
void dead_letter_encode(struct buf *b, const struct dead_letter *d, int64_t now_ms);

// Reads an encoded event that is a dead letter; strings are borrowed. -EBADMSG: it is none.
__attribute__((warn_unused_result)) int dead_letter_decode(struct str event,
                                                           struct dead_letter *ret);

#endif
