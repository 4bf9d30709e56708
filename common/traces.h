// SPDX-License-Identifier: MIT
// What this process did for requests and events lately: finished spans in memory, for a look at them
// (the admin page /traces, `sluice trace`) and for the exporter (common/otlp_exporter.h), when one
// is configured.
//
// The last TRACES_RECENT spans are there, and for longer those that are worth keeping: the last
// TRACES_KEPT errors and about the slowest, and the last TRACES_SAMPLED that the sampler took
// besides. They have rings of their own, so that a sampler that takes everything displaces no error.
// All that is decided when a span has ended, with its whole outcome known. Recording is a copy into
// a ring: no lock, no allocation, no system call. Only the loop's thread records and reads; what is
// to be exported goes through another ring that the loop's thread fills and the exporter's empties.
#ifndef COMMON_TRACES_H
#define COMMON_TRACES_H

#include "common/sampler.h"
#include "common/span.h"

#define TRACES_RECENT 2048        // spans of any kind
#define TRACES_KEPT 512           // errors and slow ones
#define TRACES_SAMPLED 512        // neither, but sampled
#define TRACES_EXPORT 16384       // that wait for the exporter; more are dropped, and counted
#define TRACES_SLOW_PER_S 5       // the bar for "slow" moves so that about so many are over it
#define TRACES_SLOW_FLOOR_US 1000 // but nothing faster is called slow
#define TRACES_SLOW_START_US 100000

// Kept spans that did not reach the collector; a label says why.
#define TRACES_DROPPED "sluice_traces_dropped_total"
#define TRACES_DROPPED_HELP "Kept spans that were not exported, by reason."

// Before anything is recorded; the strings are borrowed until traces_close(). Registers the metrics.
// 0 or -ENOMEM.
__attribute__((warn_unused_result)) int traces_open(const struct span_resource *resource,
                                                    const struct sampler *sampler);
void traces_close(void);

// Whether traces_open() was called: else nobody needs to make a span.
bool traces_are_open(void);

// Takes a finished span. Without traces_open() nothing happens.
void traces_record(const struct span *s);

// As sampler_begin(), with the process's sampler; without traces_open() what the parent says goes,
// and nothing else is sampled.
void traces_begin(const struct trace *parent, struct trace *ret_trace);

// Writes spans as OTLP/JSON: those of the trace with this id (32 lower-case hexadecimal digits), or,
// when it is empty, the kept ones. Returns an HTTP status: 200, or with a line of text 400 when
// trace_id is neither, and 503 without memory.
int traces_write(struct str trace_id, struct buf *out);

// --- For the exporter

// From now on kept spans wait for it. Loop thread. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int traces_export_begin(void);

// Moves up to max spans out; returns how many. The exporter's thread alone.
size_t traces_export_take(struct span *spans, size_t max);

// How many wait. Any thread.
size_t traces_export_waiting(void);

#endif
