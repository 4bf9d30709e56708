// SPDX-License-Identifier: MIT
// The frames between the event queue and its clients (publishers, consumers, tap), as PROTOCOL.md
// section 3 specifies them. Same rules as proto/frames.h.
#ifndef PROTO_QUEUE_FRAMES_H
#define PROTO_QUEUE_FRAMES_H

#include "proto/buf.h"
#include "proto/reader.h"

#define QUEUE_MAX_FRAME_BYTES (4 * 1024 * 1024) // of one frame, both directions
#define QUEUE_MAX_EVENT_BYTES (1024 * 1024)     // of one encoded event
#define QUEUE_MAX_BATCH 1024                    // events in one PUBLISH or EVENTS
#define QUEUE_MAX_FILTERS 16
#define QUEUE_MAX_TOPIC 128                     // bytes; tokens [a-z0-9_-] joined by '.'
#define QUEUE_MAX_KEY 256                       // bytes
#define QUEUE_MAX_PRODUCER 64                   // bytes of a producer's name
#define QUEUE_MAX_WHERE 1024                    // bytes of the text of a filter

enum queue_frame_type {
    QUEUE_PUBLISH = 32,
    QUEUE_PUBLISHED = 33,
    QUEUE_SUBSCRIBE = 34,
    QUEUE_EVENTS = 35,
    QUEUE_CAUGHT_UP = 36,
    QUEUE_GRANT = 37,
    QUEUE_UNSUBSCRIBE = 38,
    QUEUE_ENDED = 39,
    QUEUE_INFO = 40,
    QUEUE_INFO_REPLY = 41,
    QUEUE_REFUSED = 42,
    QUEUE_PING = 43,
    QUEUE_PONG = 44,
    QUEUE_LOST = 45
};

// One event. Attribute names and meanings are CloudEvents 1.0's; `topic` is its `type`. On the
// wire: an array of the fields in this order, seq left out (the log assigns it and carries it
// beside the event).
struct event {
    uint64_t seq;           // position in the log, from 1; 0 before it is stored
    struct str id;          // UUIDv7 text
    struct str topic;       // "orders.order.placed"
    struct str key;         // order is kept per key; "" for none
    struct str subject;     // entity id; "" for none
    struct str source;      // "/sluice/orders"
    int64_t time_ms;        // when it happened
    struct str traceparent; // "" for none
    struct str data;        // MessagePack; p == NULL: none
};

struct queue_entry {
    uint64_t producer_seq; // strictly growing per producer; 0 when there is no producer
    struct str event;      // encoded
};

struct queue_publish {
    uint64_t request;      // echoed in the answer
    struct str producer;   // store uuid; p == NULL: no duplicate detection
    struct queue_entry entries[QUEUE_MAX_BATCH];
    size_t n_entries;
};

struct queue_published {
    uint64_t request;
    uint64_t first_seq;    // of those stored now; 0 when all were duplicates
    uint64_t last_seq;
    uint64_t producer_seq; // the highest this producer ever had stored; 0 without producer
    uint32_t stored;       // new
    uint32_t duplicates;   // stored before
    bool durable;          // fdatasync returned before this was sent
};

enum queue_start {
    QUEUE_FROM_START = 0, // the first event there is
    QUEUE_FROM_END = 1,   // only what comes from now on
    QUEUE_FROM_SEQ = 2,   // value: the sequence
    QUEUE_FROM_TIME = 3,  // value: milliseconds since the epoch; by the time the log stored it
    QUEUE_FROM_LAST = 4   // value: that many matching events before the end
};

struct queue_subscribe {
    uint64_t subscription; // chosen by the client, unique on its connection
    struct str filters[QUEUE_MAX_FILTERS]; // topics; '*' one token, a last '>' the rest; none: all
    size_t n_filters;
    struct str key;        // only this key; p == NULL: all
    struct str where;      // only what this filter takes (PROTOCOL.md 3.4); p == NULL: all
    enum queue_start from;
    uint64_t from_value;
    uint64_t until_seq;    // last sequence wanted; 0: no end
    uint64_t until_ms;     // last store time wanted; 0: no end
    bool follow;           // go on with what is published later
    uint32_t credit;       // events that may be sent before the next GRANT
};

// A cursor over the entries of an EVENTS frame: [[seq, stored_ms, event], ...].
struct queue_events {
    uint64_t subscription;
    uint32_t count;          // events in the frame
    uint32_t left;           // of them, those that queue_events_next() has yet to give
    struct reader entries;   // for queue_events_next()
};

struct queue_event_entry {
    uint64_t seq;
    int64_t stored_ms;       // when the log stored it
    struct str event;        // encoded
};

#define QUEUE_CHECK __attribute__((warn_unused_result))

// Reads the array header and the frame type that begin every frame; r stands at the first field
// after. The number of fields left is written to *ret_fields.
QUEUE_CHECK int queue_frame_open(struct reader *r, enum queue_frame_type *ret_type, uint32_t *ret_fields);

void event_encode(struct buf *b, const struct event *e);
// seq of *ret_event is set to 0. Types and the length of the key are checked; whether the topic is
// one is not.
QUEUE_CHECK int event_decode(struct str bytes, struct event *ret_event);
// Reads only what filters look at; the rest is not checked.
QUEUE_CHECK int event_decode_route(struct str bytes, struct str *ret_topic, struct str *ret_key);

// A PUBLISH is begun with the number of its entries, and then has exactly that many. One without
// entries stores nothing and asks for the producer's highest sequence.
void queue_publish_begin(struct buf *b, uint64_t request, struct str producer, uint32_t n_entries);
void queue_publish_entry(struct buf *b, uint64_t producer_seq, struct str event);
QUEUE_CHECK int queue_publish_decode(struct reader *r, uint32_t fields, struct queue_publish *ret);
void queue_published_encode(struct buf *b, const struct queue_published *f);
QUEUE_CHECK int queue_published_decode(struct reader *r, uint32_t fields, struct queue_published *ret);
void queue_subscribe_encode(struct buf *b, const struct queue_subscribe *f);
QUEUE_CHECK int queue_subscribe_decode(struct reader *r, uint32_t fields, struct queue_subscribe *ret);

// An EVENTS frame whose number of entries is known when it is complete: the mark that begin returns
// goes into end.
QUEUE_CHECK size_t queue_events_begin(struct buf *b, uint64_t subscription);
void queue_events_entry(struct buf *b, uint64_t seq, int64_t stored_ms, struct str event);
void queue_events_end(struct buf *b, size_t mark, uint32_t n_entries);
QUEUE_CHECK int queue_events_decode(struct reader *r, uint32_t fields, struct queue_events *ret);
// 1 and the next entry, 0 at the end, -EBADMSG.
QUEUE_CHECK int queue_events_next(struct queue_events *f, struct queue_event_entry *ret);

// CAUGHT_UP {subscription, next_seq}, GRANT {subscription, more}, UNSUBSCRIBE {subscription, 0},
// INFO {request, 0}, PING and PONG {token, 0}.
void queue_pair_encode(struct buf *b, enum queue_frame_type type, uint64_t first, uint64_t second);
QUEUE_CHECK int queue_pair_decode(struct reader *r, uint32_t fields, uint64_t *ret_first,
                                  uint64_t *ret_second);

// ENDED {subscription, next_seq, reason, detail}, REFUSED {request or subscription, 0, reason,
// detail}.
void queue_word_encode(struct buf *b, enum queue_frame_type type, uint64_t first, uint64_t second,
                       struct str reason, struct str detail);
QUEUE_CHECK int queue_word_decode(struct reader *r, uint32_t fields, uint64_t *ret_first,
                                  uint64_t *ret_second, struct str *ret_reason, struct str *ret_detail);

// LOST {subscription, first_seq, last_seq}: a range that is damaged and cannot be delivered.
void queue_lost_encode(struct buf *b, uint64_t subscription, uint64_t first_seq, uint64_t last_seq);
QUEUE_CHECK int queue_lost_decode(struct reader *r, uint32_t fields, uint64_t *ret_subscription,
                                  uint64_t *ret_first_seq, uint64_t *ret_last_seq);

// INFO_REPLY {request, map}: *ret_map are the bytes of the map (PROTOCOL.md 3.5).
void queue_info_encode(struct buf *b, uint64_t request, struct str map);
QUEUE_CHECK int queue_info_decode(struct reader *r, uint32_t fields, uint64_t *ret_request,
                                  struct str *ret_map);

// Whether a topic is well-formed: 1 to QUEUE_MAX_TOPIC bytes, tokens of [a-z0-9_-] joined by single
// dots.
bool topic_valid(struct str topic);

// Whether a filter is well-formed: a topic in which whole tokens may be '*', and the last may be
// '>'.
bool topic_filter_valid(struct str filter);

// Whether the filter takes the topic. Both must be well-formed.
bool topic_matches(struct str filter, struct str topic);

#endif
