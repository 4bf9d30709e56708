// SPDX-License-Identifier: MIT
// Which traces are exported whatever becomes of them: a share, chosen by the trace id, so that every
// process of a suite chooses the same ones without asking anybody (consistent probability sampling:
// OpenTelemetry, "TraceState: Probability Sampling", with the id's last 56 bits as randomness).
#ifndef COMMON_SAMPLER_H
#define COMMON_SAMPLER_H

#include "common/trace.h"

#define SAMPLER_NAMES                                                                              \
    "always_on|always_off|traceidratio|parentbased_always_on|parentbased_always_off|"              \
    "parentbased_traceidratio"

struct sampler {
    uint64_t threshold; // ids whose last 56 bits are not below it are taken
    bool parent_based;  // a parent's sampled flag goes before the id
};

// name: one of SAMPLER_NAMES (OTEL_TRACES_SAMPLER); argument: the ratio as text, from 0 to 1
// (OTEL_TRACES_SAMPLER_ARG). 0, or -EINVAL when it is none.
__attribute__((warn_unused_result)) int sampler_parse(const char *name, const char *argument,
                                                      struct sampler *ret_sampler);

// Begins the trace of a request that comes from outside. parent NULL: it has none that counts. Sets
// the sampled flag, by which every process behind this one decides.
void sampler_begin(const struct sampler *s, const struct trace *parent, struct trace *ret_trace);

#endif
