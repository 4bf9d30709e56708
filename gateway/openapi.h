// SPDX-License-Identifier: MIT
// The OpenAPI 3.1 document of everything that is served, put together from the route tables of the
// workers. Operations that the policy ends (`deprecation`) are `deprecated`. Made again only when the
// tables or the policy change.
#ifndef GATEWAY_OPENAPI_H
#define GATEWAY_OPENAPI_H

#include "gateway/router.h"

#define OPENAPI_MAX_BYTES (8 * 1024 * 1024) // all tables together; over it there is none

struct openapi;

__attribute__((warn_unused_result)) int openapi_new(struct openapi **ret_openapi);
void openapi_destroy(struct openapi **o);

// The document and its quoted entity tag, borrowed until the next call. A negative errno when it
// cannot be made.
__attribute__((warn_unused_result)) int openapi_get(struct openapi *o, const struct router *router,
                                                    struct str *ret_json, struct str *ret_etag);

#endif
