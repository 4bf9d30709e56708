// SPDX-License-Identifier: MIT
// What a worker gets to see of a request: typed values, never raw header bytes (PROTOCOL.md 2.3).
#ifndef GATEWAY_REQUEST_FRAME_H
#define GATEWAY_REQUEST_FRAME_H

#include "gateway/exchange.h"

// Appends the REQUEST frame for this worker. table is the worker's.
void request_frame_encode(const struct exchange *x, const struct table *table, uint64_t id,
                          uint32_t deadline_ms, struct buf *frame);

// Appends the question what the API key of x may do (PROTOCOL.md 2.13).
void request_frame_encode_question(const struct exchange *x, const struct table *table, uint64_t id,
                                   uint32_t deadline_ms, struct buf *frame);

#endif
