// SPDX-License-Identifier: MIT
// What a log has promised so far, kept in the simplest way there is: a list of the frames that were
// acknowledged (or seen by a reader, which binds as much), the one that is on its way, and what may
// be missing and why. It knows nothing of files and bytes. Whatever breaks a promise ends the
// process with the seed and a sentence.
#ifndef QUEUE_SIM_MODEL_H
#define QUEUE_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_PRODUCERS 4
#define MODEL_MAX_EVENTS 64 // in one frame
#define MODEL_BURIALS                                                                              \
    MODEL_PRODUCERS    // in the place of a producer: the number is the sequence of what died
#define MODEL_TOPICS 4 // those of the producers, and that of dead letters

struct model_event {
    uint32_t producer;
    uint64_t number; // of its producer, from 1
};

// The seed that is running, for the message.
void model_set_seed(uint64_t seed);

// Ends the process: the run has found what must not be.
__attribute__((format(printf, 1, 2), noreturn)) void model_fail(const char *format, ...);

struct model;

struct model *model_new(void);
void model_destroy(struct model **m);

// --- Storing

// A frame is on its way. One at a time. Events that were stored before are a failure.
void model_begin(struct model *m, uint64_t first_seq, const struct model_event *events, size_t n);
void model_stamp(struct model *m, int64_t stored_ms); // when it is stored, if it is
void model_acknowledge(struct model *m);              // it is stored
void model_refuse(struct model *m);                   // it is not, and never will be
bool model_is_waiting(const struct model *m);         // one is on its way, with its fate unknown

uint64_t model_next_seq(const struct model *m);                  // without what is on its way
uint64_t model_stored(const struct model *m, uint32_t producer); // its highest number
uint64_t model_last_frame(const struct model *m);                // its first sequence; 0: none

// The event of this sequence, damaged or not, and when it was stored. False: there never was one.
bool model_find(const struct model *m, uint64_t seq, struct model_event *ret_event,
                int64_t *ret_stored_ms);

// The log was closed in good order, so its last frame cannot pass for an unfinished write.
void model_close(struct model *m);
void model_bare(struct model *m);               // ... but what followed it is damaged
bool model_last_is_bare(const struct model *m); // it can

// --- What may be missing

// The frame that has this sequence was damaged. False: it is not in the log.
bool model_damage(struct model *m, uint64_t seq);

// All frames in [from, to) were damaged.
void model_damage_range(struct model *m, uint64_t from, uint64_t to);

// The log must go on at or behind this sequence, whatever it has.
void model_skip(struct model *m, uint64_t to);

// The log has said that it may not know the producers' numbers any more.
void model_forget_producers(struct model *m);

// Everything before this sequence was removed.
void model_expire(struct model *m, uint64_t first_seq);

// A frame with what the log says of removals may have been damaged: what is removed may pass for lost.
void model_forget_removals(struct model *m);

// How long events of a topic are kept. 0: no limit of that kind.
struct model_limits {
    int64_t age_ms;
    uint64_t count; // so many of that topic stay at least
    bool bytes;     // and they may go for the room that they take
};

// The topic of an event, below MODEL_TOPICS.
uint32_t model_topic(struct model_event event);

// Retention takes the segment [from, to) away, at this time: every event in it has to be due.
void model_remove(struct model *m, uint64_t from, uint64_t to,
                  const struct model_limits limits[MODEL_TOPICS], int64_t now_ms);

// Whether [from, to) has events and all of them are too old by now, so that retention has to take them.
bool model_is_overdue(const struct model *m, uint64_t from, uint64_t to,
                      const struct model_limits limits[MODEL_TOPICS], int64_t now_ms);

// --- Checking

// The log was opened and covers [first_seq, next_seq).
void model_open(struct model *m, uint64_t first_seq, uint64_t next_seq);

// What the log knows of a producer: its highest number.
void model_producer(const struct model *m, uint32_t producer, uint64_t stored);

// A reading of everything in [first_seq, next_seq), in order. lost: a range that the log tells of
// as lost, or leaves out. excused: lost is allowed here for this once.
struct model_reading {
    uint64_t next;
    uint64_t numbers[MODEL_PRODUCERS]; // of the producers' last events
    int64_t stored_ms;
    size_t frame; // that has next, or the one behind
};
void model_read_begin(const struct model *m, struct model_reading *r, uint64_t first_seq);
void model_read_event(struct model *m, struct model_reading *r, uint64_t seq, int64_t stored_ms,
                      struct model_event event);
void model_read_lost(struct model *m, struct model_reading *r, uint64_t from, uint64_t to,
                     bool excused);
// The log says that retention has removed [from, to).
void model_read_removed(struct model *m, struct model_reading *r, uint64_t from, uint64_t to);
void model_read_end(struct model *m, struct model_reading *r, uint64_t next_seq);

#endif
