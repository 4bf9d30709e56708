// SPDX-License-Identifier: MIT
// W3C Trace Context (https://www.w3.org/TR/trace-context/): parse, make and print traceparent. A
// trace is a value; it holds no resources.
#ifndef COMMON_TRACE_H
#define COMMON_TRACE_H

#include "proto/str.h"

#include <stdint.h>

#define TRACEPARENT_TEXT 55 // characters of version 00, without a NUL
#define TRACE_ID_TEXT 32
#define SPAN_ID_TEXT 16

struct trace {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t flags; // bit 0 sampled, bit 1 random trace id
};

// A new root: random ids, both flag bits as given by sampled and by the id being random.
void trace_start(struct trace *t, bool sampled);

// A child of parent: same trace id and flags, new span id.
void trace_child(struct trace *t, const struct trace *parent);

// Parses a traceparent. A version above 00 is read by its first four fields. Returns 0, or -EINVAL
// (and the caller must ignore tracestate as well).
__attribute__((warn_unused_result)) int trace_parse(struct str s, struct trace *ret_trace);

// Writes version 00 and a NUL; returns the str without the NUL.
struct str trace_format(const struct trace *t, char out[TRACEPARENT_TEXT + 1]);

// Lower-case hexadecimal text of the ids, with a NUL.
void trace_id_text(const struct trace *t, char out[TRACE_ID_TEXT + 1]);
void span_id_text(const struct trace *t, char out[SPAN_ID_TEXT + 1]);

// The same for n bytes of an id that stands alone: 2 * n digits and a NUL.
void trace_hex(const uint8_t *id, size_t n, char *out);

// The sampled flag.
void trace_set_sampled(struct trace *t, bool sampled);
bool trace_is_sampled(const struct trace *t);

// Another span id, random; the trace stays.
void trace_new_span(uint8_t span_id[8]);

// Whether t was set (its trace id is not all zero).
bool trace_is_set(const struct trace *t);

#endif
