// SPDX-License-Identifier: MIT
// The OpenAPI 3.1 document of everything that is served, put together from the route tables of the
// workers. Operations that the policy ends (`deprecation`) are `deprecated`. Each operation has, besides
// the answers that the worker announced, those that the gateway gives by itself.
#ifndef GATEWAY_OPENAPI_H
#define GATEWAY_OPENAPI_H

#include "gateway/router.h"

// A document_write_fn (gateway/document.h).
void openapi_write(const struct router *r, struct buf *b);

#endif
