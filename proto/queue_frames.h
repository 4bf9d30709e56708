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
#define QUEUE_MAX_PRODUCER 80                   // bytes of a producer's name: a service's, a dot and a UUID
#define QUEUE_MAX_GROUP 64                      // bytes; so that "$dead.<group>" is a topic
#define QUEUE_MAX_RANGES 1024                   // in one SETTLE
#define QUEUE_MAX_ERROR 256                     // bytes of what a member says of a failure
#define QUEUE_MAX_METHOD 32                     // bytes of a CALL's method
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
    QUEUE_LOST = 45,
    QUEUE_JOIN = 46,
    QUEUE_JOINED = 47,
    QUEUE_DELIVER = 48,
    QUEUE_SETTLE = 49,
    QUEUE_SETTLED = 50,
    QUEUE_LEAVE = 51,
    QUEUE_CALL = 52,
    QUEUE_RESULT = 53,
    QUEUE_WATCH = 54,
    QUEUE_OPERATIONS = 55
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
    uint32_t took_us;      // from its arrival until it was stored; 0: an older queue
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

// A cursor over the entries of a DELIVER frame: [[seq, stored_ms, attempt, event], ...].
struct queue_deliver {
    uint64_t member;
    uint32_t count, left;
    struct reader entries; // for queue_deliver_next()
};

struct queue_delivery {
    uint64_t seq;
    int64_t stored_ms;
    uint32_t attempt; // 1: the first delivery of this event to the group
    struct str event; // encoded
};

enum queue_verdict { QUEUE_ACK = 0, QUEUE_NAK = 1, QUEUE_EXTEND = 2, QUEUE_TERM = 3 };

// Deliveries of one member: those in [first_seq, last_seq] that had this attempt.
struct queue_range {
    uint64_t first_seq, last_seq;
    uint32_t attempt;
    uint32_t events; // how many the member means
};

struct queue_settle {
    uint64_t member;
    uint64_t request; // 0: no answer is wanted
    enum queue_verdict verdict;
    uint64_t delay_ms; // QUEUE_NAK: until it is delivered again; 0: the group's back-off
    struct str error;  // at most QUEUE_MAX_ERROR bytes; "" for none
    struct queue_range ranges[QUEUE_MAX_RANGES];
    size_t n_ranges;
};

struct queue_settled {
    uint64_t member, request;
    uint32_t settled, stale;
    bool durable;
};

// One entry of OPERATIONS.
struct queue_operation {
    int64_t at_ms;
    struct str what;  // a word of PROTOCOL.md 3.10
    struct str group; // "": none
    uint64_t client;
    uint64_t first_seq, last_seq;
    uint32_t attempt, events;
    uint64_t took_us;
};

// A cursor over the entries of an OPERATIONS frame.
struct queue_operations {
    uint64_t subscription;
    uint64_t dropped; // entries that the watcher missed before this frame
    uint32_t count, left;
    struct reader entries; // for queue_operations_next()
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

// JOIN {member, group, window}.
void queue_join_encode(struct buf *b, uint64_t member, struct str group, uint32_t window);
QUEUE_CHECK int queue_join_decode(struct reader *r, uint32_t fields, uint64_t *ret_member,
                                  struct str *ret_group, uint32_t *ret_window);

// A DELIVER frame whose number of entries is known when it is complete, as EVENTS.
QUEUE_CHECK size_t queue_deliver_begin(struct buf *b, uint64_t member);
void queue_deliver_entry(struct buf *b, const struct queue_delivery *d);
void queue_deliver_end(struct buf *b, size_t mark, uint32_t n_entries);
QUEUE_CHECK int queue_deliver_decode(struct reader *r, uint32_t fields, struct queue_deliver *ret);
// 1 and the next entry, 0 at the end, -EBADMSG.
QUEUE_CHECK int queue_deliver_next(struct queue_deliver *f, struct queue_delivery *ret);

void queue_settle_encode(struct buf *b, const struct queue_settle *f);
QUEUE_CHECK int queue_settle_decode(struct reader *r, uint32_t fields, struct queue_settle *ret);
void queue_settled_encode(struct buf *b, const struct queue_settled *f);
QUEUE_CHECK int queue_settled_decode(struct reader *r, uint32_t fields, struct queue_settled *ret);

// CALL {request, method, map}; RESULT {request, map} is as INFO_REPLY. arguments and result are the
// bytes of one map; whether they are a map is checked.
void queue_call_encode(struct buf *b, uint64_t request, struct str method, struct str arguments);
QUEUE_CHECK int queue_call_decode(struct reader *r, uint32_t fields, uint64_t *ret_request,
                                  struct str *ret_method, struct str *ret_arguments);
void queue_result_encode(struct buf *b, uint64_t request, struct str map);

// An OPERATIONS frame, as EVENTS.
QUEUE_CHECK size_t queue_operations_begin(struct buf *b, uint64_t subscription, uint64_t dropped);
void queue_operations_entry(struct buf *b, const struct queue_operation *o);
void queue_operations_end(struct buf *b, size_t mark, uint32_t n_entries);
QUEUE_CHECK int queue_operations_decode(struct reader *r, uint32_t fields,
                                        struct queue_operations *ret);
QUEUE_CHECK int queue_operations_next(struct queue_operations *f, struct queue_operation *ret);

// INFO_REPLY {request, map}, and RESULT: *ret_map are the bytes of the map (PROTOCOL.md 3.5).
void queue_info_encode(struct buf *b, uint64_t request, struct str map);
QUEUE_CHECK int queue_info_decode(struct reader *r, uint32_t fields, uint64_t *ret_request,
                                  struct str *ret_map);

// Whether a topic is well-formed: 1 to QUEUE_MAX_TOPIC bytes, tokens of [a-z0-9_-] joined by single
// dots.
bool topic_valid(struct str topic);

// Whether a filter is well-formed: a topic in which whole tokens may be '*', and the last may be
// '>'; the whole may be preceded by '$', as the queue's own topics are.
bool topic_filter_valid(struct str filter);

// Whether this is a topic of the queue's own, which begins with '$'.
static inline bool topic_is_own(struct str topic)
{
    return topic.n > 0 && topic.p[0] == '$';
}

// Whether a group's name is well-formed: as a topic, at most QUEUE_MAX_GROUP bytes.
bool queue_group_valid(struct str name);

// Whether the filter takes the topic. Both must be well-formed.
bool topic_matches(struct str filter, struct str topic);

#endif
