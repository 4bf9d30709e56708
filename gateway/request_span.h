// SPDX-License-Identifier: MIT
// The span of a request, from its begin to its last byte handed over, with its part at the worker
// (common/span.h).
#ifndef GATEWAY_REQUEST_SPAN_H
#define GATEWAY_REQUEST_SPAN_H

#include "gateway/exchange.h"

// The request goes to w now: gives the worker's span its id.
void request_span_sent(struct exchange *x, const struct worker *w);

// The traceparent for that worker: the trace, and the span that was made for it.
struct str request_span_parent(const struct exchange *x, char out[TRACEPARENT_TEXT + 1]);

// reply NULL: it did not answer. x->at has the times of the gateway already.
void request_span_answered(struct exchange *x, const struct frame_reply *reply);

// The answer is out: for the traces, and for the slowest requests.
void request_span_record(const struct exchange *x, int status, int64_t duration_us);

#endif
