// SPDX-License-Identifier: MIT
// The table of problem types (RFC 9457) that Sluice itself answers with. A worker names a problem
// by its slug; the gateway turns it into application/problem+json and serves the explanation at
// /problems/<slug>.
//
// To add one: add a line here. The gateway, OpenAPI and the documentation page take it from this
// table.
#ifndef PROTO_PROBLEMS_H
#define PROTO_PROBLEMS_H

#include "proto/str.h"

// X(SYMBOL, slug, status, title, what it means and what the client can do)
#define PROBLEM_TABLE(X)                                                                                    \
    X(MALFORMED_REQUEST, "malformed-request", 400, "Malformed request",                                     \
      "The request is not valid HTTP/1.1. The connection is closed after the answer.")                      \
    X(MALFORMED_BODY, "malformed-body", 400, "Malformed body",                                              \
      "The body is not what its Content-Type says, or is missing. The detail names the position.")          \
    X(INVALID_PARAMETER, "invalid-parameter", 400, "Invalid parameter",                                     \
      "A query or path parameter is unknown, missing or out of range. The errors name it.")                 \
    X(INVALID_CURSOR, "invalid-cursor", 400, "Invalid cursor",                                              \
      "The cursor was not made by this list with these filters. Start again without one.")                  \
    X(IDEMPOTENCY_KEY_REQUIRED, "idempotency-key-required", 400, "Idempotency-Key required",                \
      "This request creates something; send an Idempotency-Key header so that a retry is safe.")            \
    X(UNAUTHENTICATED, "unauthenticated", 401, "Authentication required",                                   \
      "Send a valid access token as Authorization: Bearer TOKEN.")                                          \
    X(INVALID_CREDENTIALS, "invalid-credentials", 401, "Invalid credentials",                               \
      "The email address or the password is wrong.")                                                        \
    X(INVALID_REFRESH_TOKEN, "invalid-refresh-token", 401, "Invalid refresh token",                         \
      "The refresh token is unknown, expired or was used before. Log in again.")                            \
    X(FORBIDDEN, "forbidden", 403, "Forbidden", "Your role does not allow this.")                           \
    X(NOT_FOUND, "not-found", 404, "Not found", "There is nothing here that you may see.")                  \
    X(METHOD_NOT_ALLOWED, "method-not-allowed", 405, "Method not allowed",                                  \
      "This path exists, but not with this method. The Allow header lists those it has.")                   \
    X(NOT_ACCEPTABLE, "not-acceptable", 406, "Not acceptable",                                              \
      "Answers come as application/json or application/vnd.msgpack; Accept allows neither.")                \
    X(REQUEST_TIMEOUT, "request-timeout", 408, "Request timeout", "The request did not arrive in time.")    \
    X(EMAIL_TAKEN, "email-taken", 409, "Email address taken", "An account with this address exists.")       \
    X(SKU_TAKEN, "sku-taken", 409, "SKU taken", "A product with this SKU exists.")                          \
    X(OUT_OF_STOCK, "out-of-stock", 409, "Out of stock",                                                    \
      "There are fewer items left than were ordered. The errors name the items.")                           \
    X(INVALID_TRANSITION, "invalid-transition", 409, "Invalid transition",                                  \
      "The order is in a state from which this step is not possible.")                                      \
    X(TOO_MANY_API_KEYS, "too-many-api-keys", 409, "Too many API keys",                                      \
      "The account has as many keys as it may have. Revoke one that is not used any more.")                  \
    X(LAST_ADMIN, "last-admin", 409, "Last admin",                                                           \
      "This is the only account with the role admin. Give another account that role first.")                \
    X(IDEMPOTENCY_IN_PROGRESS, "idempotency-in-progress", 409, "Request in progress",                       \
      "A request with this Idempotency-Key is still being worked on. Try again in a moment.")               \
    X(PRECONDITION_FAILED, "precondition-failed", 412, "Precondition failed",                               \
      "The resource was changed since you read it. Read it again and repeat the change.")                   \
    X(BODY_TOO_LARGE, "body-too-large", 413, "Body too large", "The body is over the limit.")               \
    X(URI_TOO_LONG, "uri-too-long", 414, "URI too long", "The request line is over the limit.")             \
    X(UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", 415, "Unsupported media type",                      \
      "The body has a Content-Type or Content-Encoding that this request does not take.")                   \
    X(INVALID_FIELDS, "invalid-fields", 422, "Invalid fields",                                              \
      "The body is well-formed, but fields are unknown, missing or out of range. The errors name each.")    \
    X(IDEMPOTENCY_KEY_REUSED, "idempotency-key-reused", 422, "Idempotency-Key reused",                      \
      "This Idempotency-Key was used with another request. Use a new key for a new request.")               \
    X(PRECONDITION_REQUIRED, "precondition-required", 428, "Precondition required",                         \
      "Send If-Match with the ETag that you read, so that nobody's change is overwritten.")                 \
    X(TOO_MANY_REQUESTS, "too-many-requests", 429, "Too many requests",                                     \
      "You asked too often. Retry-After says when to try again.")                                           \
    X(HEADERS_TOO_LARGE, "headers-too-large", 431, "Headers too large",                                     \
      "The header fields are over the limit in size or number.")                                            \
    X(INTERNAL, "internal", 500, "Internal error",                                                          \
      "Something went wrong on our side. The instance names the log entries of this request.")              \
    X(NOT_IMPLEMENTED, "not-implemented", 501, "Not implemented",                                           \
      "The method or transfer coding is not one that this server knows.")                                   \
    X(OUTCOME_UNKNOWN, "outcome-unknown", 502, "Outcome unknown",                                           \
      "The worker was lost while it had this request. It may or may not have been done; look before "       \
      "repeating it, or use an Idempotency-Key.")                                                           \
    X(OVERLOADED, "overloaded", 503, "Overloaded",                                                          \
      "Every worker is busy and the wait queue is full. Retry-After says when to try again.")               \
    X(UNAVAILABLE, "unavailable", 503, "Service unavailable",                                               \
      "No worker of this service is there at the moment. Retry-After says when to try again.")              \
    X(STORE_UNAVAILABLE, "store-unavailable", 503, "Store unavailable",                                     \
      "The service's store cannot take writes at the moment. Nothing was changed.")                         \
    X(OUTBOX_FULL, "outbox-full", 503, "Too many events wait",                                              \
      "The event queue takes no events at the moment, and as many as may be wait for it. Nothing was "      \
      "changed. Retry-After says when to try again.")                                                       \
    X(DEADLINE_EXCEEDED, "deadline-exceeded", 504, "Deadline exceeded",                                     \
      "The answer was not there in time. A write may still have been done.")

enum problem {
#define X(symbol, slug, status, title, meaning) PROBLEM_##symbol,
    PROBLEM_TABLE(X)
#undef X
        PROBLEM_COUNT
};

struct problem_type {
    struct str slug;     // last segment of the type URI
    int status;          // HTTP status
    struct str title;    // constant for the type
    struct str meaning;  // for people; served at /problems/<slug>
};

// The entry of p. p must be below PROBLEM_COUNT.
const struct problem_type *problem_type(enum problem p);

// The entry with this slug, or NULL.
const struct problem_type *problem_find(struct str slug);

#endif
