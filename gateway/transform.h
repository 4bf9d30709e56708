// SPDX-License-Identifier: MIT
// What the policy (gateway/policy.h) and the client's own wishes do to one exchange: the path is
// rewritten, fields are edited on the way in and on the way out, members of the answer are left out
// or chosen, the body is compressed. Without a policy, and without such wishes, all of it comes down
// to a few comparisons.
#ifndef GATEWAY_TRANSFORM_H
#define GATEWAY_TRANSFORM_H

#include "gateway/exchange.h"

#define TRANSFORM_FIELDS_PARAMETER "fields" // of the query, where rules allow it

// The head is there and no route was looked for yet.
void transform_target(struct exchange *x);

// The route is found: its rules count from here on.
void transform_route(struct exchange *x);

// The client is known, too: finds out what it may not see, and takes the parameter `fields` out of the query. NULL; or what is
// wrong with it, as a sentence.
const char *transform_query(struct exchange *x);

// A field of the request as the worker gets to see it; p == NULL: it is not there.
struct str transform_request_field(const struct exchange *x, struct str name);

// Before the request goes to a worker: makes the tags in If-Match and If-None-Match those of the
// entity itself.
void transform_conditions(struct exchange *x);

// The body of a worker's answer with only those members that the client may see and wants.
// *ret_body may borrow memory of the gateway until the next answer. Returns 0, -EBADMSG or -ENOMEM.
__attribute__((warn_unused_result)) int transform_body(struct exchange *x, struct str body,
                                                       struct str *ret_body);

// The body is rendered: compresses it, when the client and the route allow that.
void transform_compress(struct exchange *x);

// Whether an answer like this one might be compressed for another client.
bool transform_may_compress(const struct exchange *x);

// A worker's or the gateway's own tag as that of the representation that is sent; not_modified: the
// answer is a 304.
void transform_write_etag(struct exchange *x, struct str tag, bool not_modified);

// A field of a worker's answer: false when the policy removes it; *name is what it is called.
bool transform_answer_field(const struct exchange *x, struct str *name);

// Whether the policy sets this field in answers with this status.
bool transform_sets(const struct exchange *x, int status, struct str name);

// Appends what the policy adds to every answer of this exchange: fields it sets, the end of the
// route's life, CORS. Returns whether a page of the request's Origin may read it.
bool transform_write_fields(struct exchange *x, int status);

// Whether this OPTIONS request is a CORS preflight for which something is allowed.
bool transform_is_preflight(const struct exchange *x);

// Whether the client's traceparent (request id) is taken over.
bool transform_trusts_trace(const struct exchange *x);
struct str transform_request_id(const struct exchange *x); // p == NULL: make one

#endif
