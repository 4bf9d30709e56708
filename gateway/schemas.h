// SPDX-License-Identifier: MIT
// The schemas that workers announced, for `components.schemas` of a document: those that it refers
// to, and those that these refer to, each once.
#ifndef GATEWAY_SCHEMAS_H
#define GATEWAY_SCHEMAS_H

#include "gateway/router.h"

// Appends them to b, which has the document from its begin to the inside of the object of schemas.
// Of several schemas with one name the first counts. own is the schema that the document has of
// itself, or empty; a reference that no worker has a schema for is left alone.
void schemas_append(const struct router *r, struct str own, struct buf *b);

#endif
