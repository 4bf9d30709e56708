// SPDX-License-Identifier: MIT
// A span: what one process did for a request or an event, when, and how it ended. Values without
// resources, so that they are copied into rings and out of them.
//
// What another process did for it meanwhile is part of it: the worker's part of a request, whose
// span has the id that the gateway gave it (PROTOCOL.md 2.3), and the queue's part of publishing an
// event. Their times come with the answer; the parts become spans of their own only where somebody
// looks at them.
#ifndef COMMON_SPAN_H
#define COMMON_SPAN_H

#include "common/trace.h"
#include "proto/buf.h"

#include <stdbool.h>

#define SPAN_NAME_SIZE 80 // longer names are cut
#define SPAN_SERVICE_SIZE 33
#define SPAN_INSTANCE_SIZE 41

enum span_kind { // as OTLP numbers them
    SPAN_INTERNAL = 1,
    SPAN_SERVER = 2,
    SPAN_CLIENT = 3,
    SPAN_PRODUCER = 4,
    SPAN_CONSUMER = 5
};

// The part of another process; times in microseconds.
struct span_remote {
    uint8_t span_id[8];                     // all zero: there was none
    char service[SPAN_SERVICE_SIZE];        // "orders"
    char instance[SPAN_INSTANCE_SIZE];      // "orders-1"; "": not known
    bool answered;                          // the last three are known
    uint32_t attempt;                       // 1, or 2 when an earlier worker was lost
    int64_t wait_us;                        // before it was sent: for a worker; in the outbox
    int64_t away_us;                        // from sending to the answer
    int64_t queue_us, handler_us, store_us; // as the other process measured them
};

struct span {
    struct trace trace;   // trace id, the span's own id, flags
    uint8_t parent_id[8]; // all zero: it is the root. A consumer's is also what it is linked to
    enum span_kind kind;
    bool error;
    uint32_t status;  // HTTP status; 0: none
    int64_t start_us; // wall clock
    int64_t duration_us;
    uint64_t seq;              // of an event, in the outbox or the queue; 0: none
    const char *consumer;      // who consumed it, a literal; NULL: nobody
    uint32_t batch;            // events that were published or consumed with it
    char name[SPAN_NAME_SIZE]; // "GET /v1/users/me", "publish orders.order.placed"
    struct span_remote remote;
};

// Sets the name: what, a blank and whom. what is cut at the size.
void span_name(struct span *s, struct str what, struct str whom);

// Whose spans they are: OpenTelemetry's resource of the process.
struct span_resource {
    const char *service;    // "orders"
    const char *instance;   // "orders-1"
    const char *attributes; // OTEL_RESOURCE_ATTRIBUTES: "key=value,..."; NULL: none
};

// Appends the spans as one OTLP/JSON object (opentelemetry-proto, TracesData in its JSON Protobuf
// encoding: ids in hexadecimal, 64-bit numbers as text): each with the part of the other process, as
// spans of that one.
void span_write_otlp(const struct span_resource *own, const struct span *spans, size_t n,
                     struct buf *json);

#endif
