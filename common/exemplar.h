// SPDX-License-Identifier: MIT
// An exemplar: one request that a bucket of a histogram counted, by its trace id, so that a figure
// leads to a trace that was kept. There is room for one; the next replaces it. Setting takes no
// lock, allocates nothing and never waits: who meets another thread that is setting the same one
// leaves it to that one. An exemplar is zero-initialised, holds no resources and may be read by any
// thread at any time.
#ifndef COMMON_EXEMPLAR_H
#define COMMON_EXEMPLAR_H

#include "common/trace.h"
#include "proto/buf.h"

#include <stdatomic.h>
#include <stdint.h>

struct exemplar {
    _Atomic uint32_t version;     // 0: nothing yet; odd: it is being set
    _Atomic uint64_t trace_id[2]; // as the bytes stand in memory
    _Atomic int64_t value_us;     // what was measured
    _Atomic int64_t time_us;      // when, by the wall clock, since the epoch
};

// Puts a measurement in the place of what was there.
void exemplar_set(struct exemplar *e, const struct trace *trace, int64_t value_us, int64_t time_us);

// Appends ` # {trace_id="..."} SECONDS TIMESTAMP`, as OpenMetrics 1.0 has it behind a bucket's
// count; nothing when none was set, or when it is being set right now. Its label set has 40
// characters of the 128 that are allowed.
void exemplar_append(const struct exemplar *e, struct buf *b);

#endif
