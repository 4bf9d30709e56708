// SPDX-License-Identifier: MIT
// The queue's wire messages: a byte, then a frame (byte even) or one event (byte odd). What a decoder takes is encoded
// and decoded again, and must come out the same.
//
// A new frame: a function like the others here, and its line in around_of().
#include "tests/fuzz/fuzz.h"

#include "proto/queue_frames.h"

#define MAX_BYTES (8 * 1024 * 1024)

// One way around: decodes the fields behind the type and encodes what it found. 0, or what the decoder said.
typedef int (*around)(struct reader *r, enum queue_frame_type type, uint32_t fields, struct buf *b);

// --- Events and topics

static int event_around(struct str bytes, struct buf *b)
{
    struct event e;
    struct str topic, key;
    int status = event_decode(bytes, &e);
    if (status) {
        return status;
    }
    REQUIRE(event_decode_route(bytes, &topic, &key) == 0);
    REQUIRE(str_eq(topic, e.topic) && str_eq(key, e.key));
    event_encode(b, &e);
    return 0;
}

static void check_event(struct str bytes)
{
    struct buf once, twice;
    buf_init(&once, MAX_BYTES);
    buf_init(&twice, MAX_BYTES);
    if (event_around(bytes, &once) == 0) {
        REQUIRE(buf_ok(&once));
        REQUIRE(event_around(buf_str(&once), &twice) == 0);
        REQUIRE(str_eq(buf_str(&once), buf_str(&twice)));
    }
    buf_fini(&once);
    buf_fini(&twice);
}

// The first token, taken off *s; false at the end.
static bool take_token(struct str *s, struct str *ret)
{
    if (!s->p) {
        return false;
    }
    const char *dot = memchr(s->p, '.', s->n);
    size_t n = dot ? (size_t)(dot - s->p) : s->n;
    *ret = (struct str){ s->p, n };
    *s = dot ? (struct str){ dot + 1, s->n - n - 1 } : (struct str){ NULL, 0 };
    return true;
}

// The rule of PROTOCOL.md 3.4, token by token.
static bool matches_by_the_rule(struct str filter, struct str topic)
{
    struct str f, t;
    while (take_token(&filter, &f)) {
        if (!take_token(&topic, &t)) {
            return false;
        }
        if (str_eq(f, STR(">"))) {
            return true;
        }
        if (!str_eq(f, STR("*")) && !str_eq(f, t)) {
            return false;
        }
    }
    return !topic.p;
}

static void check_topics(struct str filter, struct str topic)
{
    if (topic_valid(topic)) {
        REQUIRE(topic_filter_valid(topic) && topic_matches(topic, topic));
        REQUIRE(topic_matches(STR(">"), topic));
        if (topic_filter_valid(filter)) {
            REQUIRE(topic_matches(filter, topic) == matches_by_the_rule(filter, topic));
        }
    }
}

// --- Frames

static int publish_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                          struct buf *b)
{
    static struct queue_publish f;
    (void)type;
    int status = queue_publish_decode(r, fields, &f);
    if (status) {
        return status;
    }
    REQUIRE(f.n_entries <= QUEUE_MAX_BATCH);
    queue_publish_begin(b, f.request, f.producer, (uint32_t)f.n_entries);
    for (size_t i = 0; i < f.n_entries; i++) {
        check_event(f.entries[i].event);
        queue_publish_entry(b, f.entries[i].producer_seq, f.entries[i].event);
    }
    return 0;
}

static int published_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                            struct buf *b)
{
    struct queue_published f;
    (void)type;
    int status = queue_published_decode(r, fields, &f);
    if (status == 0) {
        queue_published_encode(b, &f);
    }
    return status;
}

static int subscribe_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                            struct buf *b)
{
    struct queue_subscribe f;
    (void)type;
    int status = queue_subscribe_decode(r, fields, &f);
    if (status) {
        return status;
    }
    REQUIRE(f.n_filters <= QUEUE_MAX_FILTERS && f.key.n <= QUEUE_MAX_KEY);
    for (size_t i = 0; i < f.n_filters; i++) {
        check_topics(f.filters[0], f.filters[i]);
    }
    queue_subscribe_encode(b, &f);
    return 0;
}

static int events_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                         struct buf *b)
{
    struct queue_events f;
    struct queue_event_entry e;
    (void)type;
    int status = queue_events_decode(r, fields, &f);
    if (status) {
        return status;
    }
    uint32_t n = 0;
    size_t mark = queue_events_begin(b, f.subscription);
    while ((status = queue_events_next(&f, &e)) == 1) {
        check_event(e.event);
        queue_events_entry(b, e.seq, e.stored_ms, e.event);
        n++;
    }
    REQUIRE(n + f.left == f.count && (status < 0 || f.left == 0));
    queue_events_end(b, mark, n);
    return status;
}

static int deliver_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                          struct buf *b)
{
    struct queue_deliver f;
    struct queue_delivery d;
    (void)type;
    int status = queue_deliver_decode(r, fields, &f);
    if (status) {
        return status;
    }
    uint32_t n = 0;
    size_t mark = queue_deliver_begin(b, f.member);
    while ((status = queue_deliver_next(&f, &d)) == 1) {
        check_event(d.event);
        queue_deliver_entry(b, &d);
        n++;
    }
    REQUIRE(n + f.left == f.count && (status < 0 || f.left == 0));
    queue_deliver_end(b, mark, n);
    return status;
}

static int join_around(struct reader *r, enum queue_frame_type type, uint32_t fields, struct buf *b)
{
    uint64_t member;
    struct str group;
    uint32_t window;
    (void)type;
    int status = queue_join_decode(r, fields, &member, &group, &window);
    if (status == 0) {
        (void)queue_group_valid(group);
        queue_join_encode(b, member, group, window);
    }
    return status;
}

static int settle_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                         struct buf *b)
{
    static struct queue_settle f;
    (void)type;
    int status = queue_settle_decode(r, fields, &f);
    if (status) {
        return status;
    }
    REQUIRE(f.n_ranges <= QUEUE_MAX_RANGES && f.error.n <= QUEUE_MAX_ERROR);
    for (size_t i = 0; i < f.n_ranges; i++) {
        REQUIRE(f.ranges[i].first_seq <= f.ranges[i].last_seq);
    }
    queue_settle_encode(b, &f);
    return 0;
}

static int settled_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                          struct buf *b)
{
    struct queue_settled f;
    (void)type;
    int status = queue_settled_decode(r, fields, &f);
    if (status == 0) {
        queue_settled_encode(b, &f);
    }
    return status;
}

static int call_around(struct reader *r, enum queue_frame_type type, uint32_t fields, struct buf *b)
{
    uint64_t request;
    struct str method, arguments;
    (void)type;
    int status = queue_call_decode(r, fields, &request, &method, &arguments);
    if (status == 0) {
        queue_call_encode(b, request, method, arguments);
    }
    return status;
}

static int result_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                         struct buf *b)
{
    uint64_t request;
    struct str map;
    (void)type;
    int status = queue_info_decode(r, fields, &request, &map);
    if (status == 0) {
        queue_result_encode(b, request, map);
    }
    return status;
}

static int operations_around(struct reader *r, enum queue_frame_type type, uint32_t fields,
                             struct buf *b)
{
    struct queue_operations f;
    struct queue_operation o;
    (void)type;
    int status = queue_operations_decode(r, fields, &f);
    if (status) {
        return status;
    }
    uint32_t n = 0;
    size_t mark = queue_operations_begin(b, f.subscription, f.dropped);
    while ((status = queue_operations_next(&f, &o)) == 1) {
        queue_operations_entry(b, &o);
        n++;
    }
    queue_operations_end(b, mark, n);
    return status;
}

static int word_around(struct reader *r, enum queue_frame_type type, uint32_t fields, struct buf *b)
{
    uint64_t first, second;
    struct str reason, detail;
    int status = queue_word_decode(r, fields, &first, &second, &reason, &detail);
    if (status == 0) {
        queue_word_encode(b, type, first, second, reason, detail);
    }
    return status;
}

static int lost_around(struct reader *r, enum queue_frame_type type, uint32_t fields, struct buf *b)
{
    uint64_t subscription, first, last;
    (void)type;
    int status = queue_lost_decode(r, fields, &subscription, &first, &last);
    if (status == 0) {
        REQUIRE(first <= last);
        queue_lost_encode(b, subscription, first, last);
    }
    return status;
}

static int info_around(struct reader *r, enum queue_frame_type type, uint32_t fields, struct buf *b)
{
    uint64_t request;
    struct str map;
    (void)type;
    int status = queue_info_decode(r, fields, &request, &map);
    if (status == 0) {
        queue_info_encode(b, request, map);
    }
    return status;
}

static int pair_around(struct reader *r, enum queue_frame_type type, uint32_t fields, struct buf *b)
{
    uint64_t first, second;
    int status = queue_pair_decode(r, fields, &first, &second);
    if (status == 0) {
        queue_pair_encode(b, type, first, second);
    }
    return status;
}

static around around_of(enum queue_frame_type type)
{
    switch (type) {
    case QUEUE_PUBLISH:
        return publish_around;
    case QUEUE_PUBLISHED:
        return published_around;
    case QUEUE_SUBSCRIBE:
        return subscribe_around;
    case QUEUE_EVENTS:
        return events_around;
    case QUEUE_ENDED:
    case QUEUE_REFUSED:
        return word_around;
    case QUEUE_LOST:
        return lost_around;
    case QUEUE_INFO_REPLY:
        return info_around;
    case QUEUE_JOIN:
        return join_around;
    case QUEUE_DELIVER:
        return deliver_around;
    case QUEUE_SETTLE:
        return settle_around;
    case QUEUE_SETTLED:
        return settled_around;
    case QUEUE_CALL:
        return call_around;
    case QUEUE_RESULT:
        return result_around;
    case QUEUE_OPERATIONS:
        return operations_around;
    default: // two numbers
        return pair_around;
    }
}

static int frame_around(struct str frame, struct buf *b)
{
    struct reader r = reader_of(frame);
    enum queue_frame_type type;
    uint32_t fields;
    int status = queue_frame_open(&r, &type, &fields);
    return status ? status : around_of(type)(&r, type, fields, b);
}

static void check_frame(struct str frame)
{
    struct buf once, twice;
    buf_init(&once, MAX_BYTES);
    buf_init(&twice, MAX_BYTES);
    if (frame_around(frame, &once) == 0) {
        REQUIRE(buf_ok(&once));
        REQUIRE(frame_around(buf_str(&once), &twice) == 0);
        REQUIRE(str_eq(buf_str(&once), buf_str(&twice)));
    }
    buf_fini(&once);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = { (const char *)data, size };
    bool event = take_byte(&rest) & 1;
    struct str bytes = exact(rest);
    if (event) {
        check_event(bytes);
    } else {
        check_frame(bytes);
    }
    drop(bytes);
    return 0;
}
