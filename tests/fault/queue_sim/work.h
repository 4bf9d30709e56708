// SPDX-License-Identifier: MIT
// A group at work on the simulated log, with its own books: what was settled or buried for sure never comes again, and
// nothing is forgotten. It drives services/queue/group.h as the queue does, but without loop or sockets. In half of the
// runs events die after few failures.
#ifndef QUEUE_SIM_WORK_H
#define QUEUE_SIM_WORK_H

#include "services/queue/dead_letter.h"
#include "services/queue/journal.h"
#include "tests/fault/queue_sim/chance.h"

struct work;

struct work *work_new(uint64_t seed);
void work_destroy(struct work **w);

// For journal_options.
int work_on_state(const struct frame *f, const struct record *r, void *work);
void work_write_state(struct buf *b, void *work);

// A process begins: nothing is known but what the log will say.
void work_begin(struct work *w);

// The log is open. certain: it was neither damaged nor hard to read, so all that was settled is known.
void work_open(struct work *w, const struct journal *j, bool certain);

// Members take, settle, fail and leave.
void work_step(struct work *w, const struct journal *j);

// What the log is to be told with the next frame, which then was stored, or was not: then it is told with the one
// after. True: there is something.
bool work_collect(struct work *w, struct buf *frame);
void work_stored(struct work *w, uint64_t first_seq); // of the frame's events

// Before work_collect(): puts the copy of an event that died into the frame, behind its first n events. Returns the
// event's sequence; 0: none is buried with this frame.
uint64_t work_bury(struct work *w, const struct journal *j, struct buf *frame, size_t n,
                   int64_t now_ms);

// What work_bury() wanted has to wait: the next frame is without it.
void work_put_off(struct work *w);

// Whether what a dead letter says of its end can be.
bool work_may_die(const struct work *w, const struct dead_letter *d);

// Settles everything there is, on a disk that behaves: each event of the log was settled then, or comes now.
void work_finish(struct work *w, const struct journal *j);

#endif
