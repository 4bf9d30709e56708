// SPDX-License-Identifier: MIT
// What the queue counts; rendered by /metrics. Counted with one relaxed add, from any thread.
#ifndef QUEUE_STATS_H
#define QUEUE_STATS_H

#include "common/metrics.h"

#include <stddef.h>

#include "services/queue/journal.h"
#include "services/queue/refusal.h"

#define STATS_COMMIT_SIZES 5

struct stats {
    struct metric published;       // events stored
    struct metric published_bytes; // of them, encoded
    struct metric duplicates;
    struct metric publish_seconds; // of each PUBLISH, from its arrival to its acknowledgement
    struct metric commits[STATS_COMMIT_SIZES]; // by number of events
    struct metric write_seconds;               // one write and what goes with it
    struct metric sync_seconds;                // one fdatasync
    struct metric delivered;                   // events sent to readers
    struct metric cache_hits, cache_misses;    // blocks that readers and groups needed
    struct metric refused[N_REFUSALS];
    struct metric lost;                             // sequences found to be damaged
    struct metric dead_expired;                     // dead letters that retention removed
    struct metric removed_events[N_EXPIRY_REASONS]; // by retention
    struct metric removed_segments[N_EXPIRY_REASONS];
    struct metric archived; // segments
    struct metric archive_failures;
    struct metric archive_seconds; // of one segment
};

extern struct stats stats;

void stats_register(void);
void stats_unregister(void);

void stats_count_commit(size_t events);

// Counts a refusal, and leaves a line at the level debug: who was refused, and why.
void stats_refuse(uint32_t peer, enum refusal reason, const char *detail);

// Counts what a look of retention took off the log.
void stats_count_removal(const struct removal *r);

#endif
