// SPDX-License-Identifier: MIT
// A run of verified frames in memory, and a cursor over their events. A block is one that was just
// written, or one that was read from a file, where damaged bytes were left out.
#ifndef QUEUE_BLOCK_H
#define QUEUE_BLOCK_H

#include "proto/queue_frames.h"
#include "services/queue/journal.h"

#define BLOCK_MAX_DAMAGES 8 // told apart in one block; with more, the last one covers the rest

struct block {
    uint64_t first_seq; // its events are in [first_seq, next_seq); what is missing there is lost
    uint64_t next_seq;
    uint64_t topics; // see struct record_index
    uint8_t *data;   // frames, one after the other; owned
    size_t bytes;
    size_t
        memory;  // that the block takes with its data, which has room to spare; places not counted
    bool missed; // it was read because somebody needs it, who has not got it yet; see cache.h
    struct block_place *places; // of its events, by sequence; made when one is looked for; owned
};

// Where an event stands in data. Both 0: nowhere, it is lost.
struct block_place {
    uint32_t frame, record;
};

// Makes a block of a frame that was written; takes the frame's memory. NULL: out of memory, and the
// frame is still the caller's.
struct block *block_of_frame(struct buf *frame, uint64_t topics);
void block_destroy(struct block **b);

// A read of a block from its file, and what came of it.
struct block_read {
    const struct io *io;
    int dir_fd;
    int archive_fd; // directory of archives; 0: none
    struct block_ref ref;
    struct block *block; // NULL after an error
    int status; // 0; -ENOENT: retention has removed the file; -ENOMEM; other: all of it is lost
    struct damage damages[BLOCK_MAX_DAMAGES];
    size_t n_damages;
};

// Reads and verifies. In any thread.
void block_read(struct block_read *r);

struct block_cursor {
    const uint8_t *at, *end; // frames that are left
    struct str payload;      // records that are left of the frame before
    uint64_t seq;            // of the next event in payload
    int64_t stored_ms;
};

// The event of this sequence, which is in [first_seq, next_seq). False: it is lost. The first time costs a walk
// over the block and 8 bytes for each of its events (without that memory, a walk each time).
bool block_find(struct block *b, uint64_t seq, struct queue_event_entry *ret_event);

// Stands before the first event at or after seq.
struct block_cursor block_cursor_at(const struct block *b, uint64_t seq);

// True and the next event; false at the end of the block. A sequence that is skipped is lost.
bool block_cursor_next(struct block_cursor *c, struct queue_event_entry *ret_event);

#endif
