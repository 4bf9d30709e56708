// SPDX-License-Identifier: MIT
// A document about everything that is served, put together from what the workers announced. It is
// made when somebody asks, and again only after the tables or the policy changed.
#ifndef GATEWAY_DOCUMENT_H
#define GATEWAY_DOCUMENT_H

#include "gateway/router.h"

#define DOCUMENT_MAX_BYTES (8 * 1024 * 1024) // all tables together; over it there is none

struct document;

// Appends the document, a JSON object, to b; what goes wrong sticks to b.
typedef void document_write_fn(const struct router *r, struct buf *b);

// 0 or -ENOMEM.
__attribute__((warn_unused_result)) int document_new(document_write_fn *write,
                                                     struct document **ret_document);
void document_destroy(struct document **document);

// The document and its quoted entity tag, borrowed until the next call. A negative errno when it
// cannot be made.
__attribute__((warn_unused_result)) int document_get(struct document *d,
                                                     const struct router *router,
                                                     struct str *ret_json, struct str *ret_etag);

#endif
