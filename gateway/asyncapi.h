// SPDX-License-Identifier: MIT
// The AsyncAPI 3 document of all events, put together from what the workers announced: what a
// program that listens to the queue needs to know of them. It has the shape of the events and
// nothing of where the queue is, or of what is in it.
#ifndef GATEWAY_ASYNCAPI_H
#define GATEWAY_ASYNCAPI_H

#include "gateway/router.h"

// A document_write_fn (gateway/document.h).
void asyncapi_write(const struct router *r, struct buf *b);

#endif
