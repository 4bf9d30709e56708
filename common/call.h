// SPDX-License-Identifier: MIT
// A call is one request as a service's handlers see it: typed input, the caller, the store, and one
// answer. Everything a handler gets from it is borrowed and lives until the call is answered and
// sent; memory for more comes from call_alloc().
#ifndef COMMON_CALL_H
#define COMMON_CALL_H

#include "common/cursor.h"
#include "common/db.h"
#include "common/trace.h"
#include "proto/event_kind.h"
#include "proto/frames.h"
#include "proto/message.h"
#include "proto/problems.h"

#define CALL_MEMORY_BYTES (4 * 1024 * 1024) // arena of one call
#define CALL_REPLY_BYTES (2 * 1024 * 1024 - 65536) // body of one answer

struct arena;
struct call;

// Who asks. id.p == NULL: nobody.
struct principal {
    struct str id;      // user id
    struct str role;    // "user" or "admin"
    struct str session; // session id
};

const struct principal *call_principal(const struct call *c);
bool call_is_admin(const struct call *c);

// Whether the caller is this user. False for nobody.
bool call_is_user(const struct call *c, struct str user_id);

// Address of the client as text, IPv4 or IPv6, for limits by address; empty: not known.
struct str call_client(const struct call *c);

// Value of path parameter number i, in the order of the pattern.
struct str call_param(const struct call *c, size_t i);

// A query parameter as the route declared it: p == NULL when it was not given (and has no default).
struct str call_query(const struct call *c, const char *name);
int64_t call_query_int(const struct call *c, const char *name);

// A request header that the route asked for; p == NULL when absent.
struct str call_header(const struct call *c, const char *name);

// The body, decoded and valid: a struct of the route's request message. NULL when the route takes
// none.
const void *call_body(const struct call *c);

// The connection of this stage: the read-only one in `read`, the writer's inside the transaction in
// `write`, NULL in `compute`.
struct db *call_db(const struct call *c);

// Cleared memory until the call ends; NULL when there is none left.
void *call_alloc(struct call *c, size_t n);
struct str call_copy(struct call *c, struct str s);
__attribute__((format(printf, 2, 3))) struct str call_printf(struct call *c, const char *format, ...);

// The memory behind these: for functions that fill structs and know nothing of calls.
struct arena *call_arena(struct call *c);

// State that stages hand on: n bytes, cleared at first use; the same memory in each stage of the
// call.
void *call_state(struct call *c, size_t n);

int64_t call_now_ms(const struct call *c); // wall clock, the same in all stages
const struct trace *call_trace(const struct call *c);

// Whether this is worth finishing: false once the deadline is over or the gateway cancelled. For
// long stages.
bool call_wanted(const struct call *c);

// --- Answering. Exactly one answer per call; the first one counts. All return 0, so that a handler can say
// `return call_problem(...)`.

// An answer with a message as body.
int call_reply(struct call *c, int status, const struct message *m, const void *object);

// An answer without body (204, 304).
int call_reply_empty(struct call *c, int status);

// An answer whose body the handler writes as MessagePack into the returned buf, which it must leave
// with exactly one value in it.
struct buf *call_reply_begin(struct call *c, int status);

// A header of the answer; name is a lower-case literal. Values with control characters are dropped
// and logged.
__attribute__((format(printf, 3, 4))) void call_reply_header(struct call *c, const char *name,
                                                             const char *format, ...);

// A problem. detail may be NULL for the type's own text.
__attribute__((format(printf, 3, 4))) int call_problem(struct call *c, enum problem p, const char *detail, ...);

// One more entry of the problem's `errors`; before the call_problem() it belongs to.
__attribute__((format(printf, 3, 4))) void call_problem_at(struct call *c, const char *pointer,
                                                           const char *detail, ...);

// The problem invalid-fields with one entry in its `errors`: what is wrong with one field.
int call_invalid_field(struct call *c, const char *pointer, const char *detail);

bool call_answered(const struct call *c);

// In `write`: an answer of 400 and above undoes what the handler changed, events included. This
// keeps it.
void call_keep(struct call *c);

// --- Conditional requests (RFC 9110 section 13) with the entity's version as strong ETag.

// Sets the answer's ETag. When If-None-Match lists it, answers 304 and returns true.
bool call_not_modified(struct call *c, int64_t version);

// Checks If-Match against version: answers 428 when it is absent, 412 when it does not match, and
// then returns false.
bool call_precondition(struct call *c, int64_t version);

void call_etag(struct call *c, int64_t version);

// --- Events. Writes an event into the outbox, in this call's transaction; only in `write`. kind is one of
// the service's own `events`, and object a struct of its message. Returns 0 or a negative errno, which the
// handler returns.
__attribute__((warn_unused_result)) int call_event(struct call *c, const struct event_kind *kind, struct str key,
                                                   const void *object);

// --- Cursors: opaque, sealed position of a keyset list, bound to the route and its
// filters (common/cursor.h).

// Reads ?cursor=. Returns 1 with the position, 0 when there is none, or -EINVAL after answering
// 400.
__attribute__((warn_unused_result)) int call_cursor(struct call *c, struct cursor_position *ret_position);

// Makes the cursor for the next page and sets the answer's Link rel="next" header; p == NULL on
// failure.
struct str call_next_cursor(struct call *c, const struct cursor_position *position);

#endif
