// SPDX-License-Identifier: MIT
// One request and its answer: which route, who asks, what the body is, and what becomes of it.
// Exchanges are reused, so that a steady stream of requests allocates nothing.
#ifndef GATEWAY_EXCHANGE_H
#define GATEWAY_EXCHANGE_H

#include "common/api_key.h"
#include "common/span.h"
#include "common/uuid.h"
#include "gateway/gateway.h"
#include "gateway/hop_times.h"
#include "gateway/http_request.h"
#include "gateway/media.h"

#define REQUEST_ID_MAX 64 // bytes of one that a client brings -> another one is made

struct policy;

struct exchange {
    struct gateway *gateway;
    struct connection *connection;
    struct exchange *next_spare;
    struct job job;      // route and state at the balancer
    struct route *route; // NULL: none was found
    struct route_match match;
    enum media accept; // representation of the answer
    bool authenticated;
    bool holds_secrets; // its head or, on a sensitive route, its body; set when the head is complete
    bool asking; // what its API key may do: asked at the users service before anything else
    uint8_t key_hash[API_KEY_HASH_BYTES]; // of that key
    bool guessing;                        // it may be made up: the policy `key` counts it
    struct jwt_claims claims;             // when authenticated
    struct client_address client;         // behind trusted proxies, too
    struct admission_record rate_record;  // what rate limits made of it
    bool refused;                         // answered with `problem` when the body is through
    enum problem problem;
    const char *detail;                   // of it; NULL: the problem's own text
    const char *token_error;              // of WWW-Authenticate; NULL: no token was there
    bool scope_error;                     // of WWW-Authenticate: the API key's scope is too narrow
    char detail_text[160];                // where detail is made of parts
    uint32_t retry_after_s;               // of 429 and 503; 0: RETRY_AFTER_S
    int64_t started_us;                   // when the request was complete
    uint64_t due_ms;                      // deadline, loop time; 0: none yet
    int64_t asked_mono_ms, asked_wall_ms; // when asking began
    struct trace trace;                   // the gateway's span
    uint8_t parent_id[8];                 // of the client's; all zero: none
    struct span_remote at;                // the worker's part of it
    struct hop_times hops;                // once the answer is being written
    char request_id[REQUEST_ID_MAX + 1];
    struct policy *policy;     // in use when the request began; one reference; NULL: none
    struct route_policy rules; // of it, for the route
    uint64_t masks;            // the rules that leave members out for this client
    uint64_t shape;            // hash of what is left out and chosen; 0: nothing
    struct str fields;         // members that the client wants; p == NULL: all
    enum coding coding;        // of the answer, if it is_coded, or of what a 304 is about
    bool is_coded;
    struct buf packed;           // the body as MessagePack, when it came as JSON
    struct str body;             // the body for the worker; p == NULL: none
    struct http_request request; // last, because it is large
};

static inline struct exchange *exchange_of(struct job *job)
{
    return (struct exchange *)((char *)job - offsetof(struct exchange, job));
}

// A fresh exchange for the next request on c; NULL without memory.
struct exchange *exchange_take(struct gateway *g, struct connection *c);

// The answer is out, or nobody wants it any more.
void exchange_release(struct exchange *x);

// The head is complete. True: the answer is clear, and the body must not be waited for.
bool exchange_on_head(struct exchange *x);

// Whether memory that held its bytes is overwritten: of a head that is not complete nobody knows.
static inline bool exchange_holds_secrets(const struct exchange *x)
{
    return x->holds_secrets || x->request.stage == HTTP_STAGE_HEAD ||
           x->request.stage == HTTP_STAGE_FAILED;
}

// Whether credentials are in its body or its answer, too.
static inline bool exchange_is_sensitive(const struct exchange *x)
{
    return x->route && x->route->sensitive;
}

// Lets the request be answered with this problem when its body is through; detail NULL: the
// problem's own text. Returns false, for checks to return.
bool exchange_refuse(struct exchange *x, enum problem problem, const char *detail);

// The request is complete, or exchange_on_head() said so: answers, or sends it to a worker.
void exchange_on_complete(struct exchange *x);

// The request broke the rules of HTTP (request.stage FAILED).
void exchange_on_failed(struct exchange *x);

// The deadline is over.
void exchange_on_deadline(struct exchange *x);

// The client is gone: nobody is answered; a worker that has the request is told.
void exchange_on_gone(struct exchange *x);

// What the balancer calls; data is the gateway.
int exchange_send(struct job *job, const struct worker *w, uint64_t id, void *data);
void exchange_on_reply(struct job *job, const struct frame_reply *reply, void *data);
void exchange_on_failure(struct job *job, enum problem problem, void *data);

void exchange_free_spares(struct gateway *g);

#endif
