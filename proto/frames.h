// SPDX-License-Identifier: MIT
// The frames between gateway and worker, as PROTOCOL.md section 2 specifies them: one struct, one
// encoder and one decoder for each. Encoders append to a buf (errors stick there); decoders borrow
// the input and return -EBADMSG when it is not exactly the frame.
//
// To change a frame: change PROTOCOL.md first; fields are only ever added at the end, and decoders
// ignore elements they do not know, so that both sides can be deployed apart. A change that breaks
// this raises FRAME_PROTOCOL_VERSION.
#ifndef PROTO_FRAMES_H
#define PROTO_FRAMES_H

#include "proto/buf.h"
#include "proto/reader.h"

#define FRAME_PROTOCOL_VERSION 1

// Limits of one frame, both directions (PROTOCOL.md section 1). 2 MiB holds a body of 1 MiB whose
// text grew in transcoding, and its frame.
#define FRAME_MAX_BYTES (2 * 1024 * 1024)
#define FRAME_MAX_MESSAGE_BYTES (4 * 1024 * 1024) // frames that travel together
#define FRAME_MAX_ROUTES 128
#define FRAME_MAX_PARAMS 8
#define FRAME_MAX_QUERY 32
#define FRAME_MAX_HEADERS 16
#define FRAME_MAX_PROBLEMS 64
#define FRAME_MAX_SCHEMAS 64
#define FRAME_MAX_EVENTS 64
#define FRAME_PADDING_BYTES 8197 // a PADDING frame: 8192 bytes and their headers

enum frame_type {
    FRAME_HELLO = 1,
    FRAME_WELCOME = 2,
    FRAME_REFUSED = 3,
    FRAME_READY = 4,
    FRAME_CREDIT = 5,
    FRAME_REQUEST = 6,
    FRAME_REPLY = 7,
    FRAME_CANCEL = 8,
    FRAME_RETURN = 9,
    FRAME_PING = 10,
    FRAME_PONG = 11,
    FRAME_ROLE = 12,
    FRAME_DRAINING = 13,
    FRAME_GOODBYE = 14,
    FRAME_PADDING = 15
};

enum frame_role {
    FRAME_ROLE_ANY = 0,    // serves every route
    FRAME_ROLE_WRITER = 1, // serves every route, and is the only one for routes marked write
    FRAME_ROLE_READER = 2  // serves routes that are not marked write
};

enum frame_auth {
    FRAME_AUTH_NONE = 0,     // no token is looked at
    FRAME_AUTH_OPTIONAL = 1, // a token is verified when there is one; a bad one is 401
    FRAME_AUTH_REQUIRED = 2  // 401 without a valid token
};

enum frame_body {
    FRAME_BODY_NONE = 0,       // the route takes no body
    FRAME_BODY_JSON = 1,       // application/json or MessagePack
    FRAME_BODY_MERGE_PATCH = 2 // application/merge-patch+json or MessagePack
};

// What a request needs most of a worker. A worker says for each how many requests it takes. The name is
// the value of the label `class` of metrics. X(symbol, number on the wire, name)
#define FRAME_CLASS_TABLE(X)                                     \
    X(READ, 0, "read")       /* answered in the worker's loop */ \
    X(WRITE, 1, "write")     /* changes the store */             \
    X(COMPUTE, 2, "compute") /* computes for long */

enum frame_class {
#define X(symbol, number, name) FRAME_CLASS_##symbol = (number),
    FRAME_CLASS_TABLE(X)
#undef X
    FRAME_CLASSES = 3
};

struct frame_pair {
    struct str name;
    struct str value;
};

struct frame_route {
    struct str method;      // upper case
    struct str pattern;     // "/v1/users/{id}": literal segments and {name}
    bool write;             // to the writer only
    bool keyed;             // a repeat with the same Idempotency-Key is safe (or the route is naturally so)
    enum frame_auth auth;
    enum frame_body body;
    uint32_t deadline_ms;   // 0: the gateway's default
    uint32_t max_body_bytes;// 0: the gateway's default
    struct str headers[FRAME_MAX_HEADERS]; // request headers it wants, lower case
    size_t n_headers;
    struct str operation;   // OpenAPI Operation Object, JSON
    bool sensitive;         // its body or its answer holds credentials
    bool internal;          // for the gateway's own questions; no client reaches it
    enum frame_class load;  // FRAME_CLASSES: not said; then by `write`
    bool low;               // what can be done without first when there is too much of everything
};

struct frame_problem {
    struct str slug;
    int64_t status;
    struct str title;
    struct str meaning;
};

struct frame_hello {
    int64_t protocol;
    struct str service;     // "users"; [a-z][a-z0-9-]{0,31}
    struct str version;     // of the worker's program
    struct str instance;    // unique among the service's workers; "users-1"
    enum frame_role role;
    uint32_t capacity;      // requests it works on or queues at once, over all gateways
    uint32_t heartbeat_ms;
    struct str schema;      // hash of the route table; equal hash means equal table
    struct frame_route routes[FRAME_MAX_ROUTES];
    size_t n_routes;
    struct frame_problem problems[FRAME_MAX_PROBLEMS]; // types that the gateway does not know itself
    size_t n_problems;
    struct frame_pair schemas[FRAME_MAX_SCHEMAS];      // components.schemas: name, JSON
    size_t n_schemas;
    struct str summary;     // what the service is for, one line; may be empty
    struct frame_pair events[FRAME_MAX_EVENTS];        // that it publishes: topic, AsyncAPI Message Object, JSON
    size_t n_events;
};

struct frame_welcome {
    struct str gateway;     // its instance name
    uint32_t heartbeat_ms;  // it pings after this long a silence
};

struct frame_principal {
    struct str id;      // "sub": the caller's user id; p == NULL: nobody
    struct str role;    // "user", "admin"
    struct str session; // "sid"
};

struct frame_request {
    uint64_t id;             // unique within this gateway's life
    uint32_t attempt;        // 1, or 2 after a worker was lost with the request
    uint32_t deadline_ms;    // left when the gateway sent it
    struct str traceparent;  // the parent for the worker's span; W3C, 55 bytes
    struct frame_principal principal;
    uint32_t route;          // index into the table of this worker's HELLO
    struct str params[FRAME_MAX_PARAMS]; // values of {name}, percent-decoded, in order
    size_t n_params;
    struct frame_pair query[FRAME_MAX_QUERY]; // decoded, in order of appearance
    size_t n_query;
    struct frame_pair headers[FRAME_MAX_HEADERS]; // those the route asked for and the request had
    size_t n_headers;
    struct str body;         // MessagePack; p == NULL: none
    struct str client;       // address of the client, as text; empty: the gateway does not say
};

struct frame_reply {
    uint64_t id;
    uint32_t status;         // 200..599
    struct frame_pair headers[FRAME_MAX_HEADERS];
    size_t n_headers;
    uint32_t queue_us;       // from arrival to start
    uint32_t handler_us;     // computing, the store excluded
    uint32_t store_us;       // in the store, the commit included
    struct str body;         // MessagePack; p == NULL: none. With status >= 400 a problem (PROTOCOL.md 2.6)
};

struct frame_credit {
    uint32_t credit;                 // requests that may be in flight
    uint32_t classes[FRAME_CLASSES]; // of each class; when it is not said: as many as credit
};

struct frame_pong {
    uint64_t token;          // of the PING
    uint32_t oldest_ms;      // age of the oldest request it works on; 0: none
    uint32_t in_flight;
};

#define FRAME_CHECK __attribute__((warn_unused_result))

// Takes the next frame off a message, which holds one or more. Returns 1 with the frame; 0 at the
// end of the message; or -EBADMSG when what is left is not a whole MessagePack value.
FRAME_CHECK int frame_next(struct reader *message, struct str *ret_frame);

// Reads the array header and the frame type that begin every frame; r stands at the first field
// after. The number of fields left is written to *ret_fields.
FRAME_CHECK int frame_open(struct reader *r, enum frame_type *ret_type, uint32_t *ret_fields);

void frame_hello_encode(struct buf *b, const struct frame_hello *f);
FRAME_CHECK int frame_hello_decode(struct reader *r, uint32_t fields, struct frame_hello *ret);
void frame_welcome_encode(struct buf *b, const struct frame_welcome *f);
FRAME_CHECK int frame_welcome_decode(struct reader *r, uint32_t fields, struct frame_welcome *ret);
void frame_request_encode(struct buf *b, const struct frame_request *f);
FRAME_CHECK int frame_request_decode(struct reader *r, uint32_t fields, struct frame_request *ret);
void frame_reply_encode(struct buf *b, const struct frame_reply *f);
FRAME_CHECK int frame_reply_decode(struct reader *r, uint32_t fields, struct frame_reply *ret);
// READY and CREDIT.
void frame_credit_encode(struct buf *b, enum frame_type type, const struct frame_credit *f);
FRAME_CHECK int frame_credit_decode(struct reader *r, uint32_t fields, struct frame_credit *ret);
void frame_pong_encode(struct buf *b, const struct frame_pong *f);
FRAME_CHECK int frame_pong_decode(struct reader *r, uint32_t fields, struct frame_pong *ret);

// REFUSED and RETURN and GOODBYE: a word from PROTOCOL.md and a sentence for the log.
void frame_refused_encode(struct buf *b, struct str reason, struct str detail);
FRAME_CHECK int frame_refused_decode(struct reader *r, uint32_t fields, struct str *ret_reason,
                                     struct str *ret_detail);
void frame_return_encode(struct buf *b, uint64_t id, struct str reason);
FRAME_CHECK int frame_return_decode(struct reader *r, uint32_t fields, uint64_t *ret_id,
                                    struct str *ret_reason);

// Frames with one number: CANCEL {id}, PING {token}, ROLE {enum frame_role}. READY and CREDIT begin
// like one.
void frame_number_encode(struct buf *b, enum frame_type type, uint64_t number);
FRAME_CHECK int frame_number_decode(struct reader *r, uint32_t fields, uint64_t *ret_number);

// Frames without fields: DRAINING, GOODBYE.
void frame_plain_encode(struct buf *b, enum frame_type type);

// A PADDING frame, encoded, of FRAME_PADDING_BYTES; it lives as long as the program. For around a frame that
// holds secrets (PROTOCOL.md 2.14); receivers skip it.
struct str frame_padding(void);

#endif
