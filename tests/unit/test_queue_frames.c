// SPDX-License-Identifier: MIT
// Every frame must come back as it went, every shorter or damaged form of it must be refused without reading past
// its end, and additions of a newer peer must do no harm.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/queue_frames.h"
#include "proto/writer.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_BYTES (1024 * 1024)

static int open_buf(void **state)
{
    static struct buf b;
    buf_init(&b, MAX_BYTES);
    *state = &b;
    return 0;
}

static int close_buf(void **state)
{
    buf_fini(*state);
    return 0;
}

static void assert_str(struct str s, const char *expected)
{
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.p, expected, s.n);
}

// Opens the frame in b, which must be of this type.
static struct reader opened(struct str frame, enum queue_frame_type expected, uint32_t *ret_fields)
{
    struct reader r = reader_of(frame);
    enum queue_frame_type type;
    assert_int_equal(queue_frame_open(&r, &type, ret_fields), 0);
    assert_int_equal(type, expected);
    return r;
}

// Decodes any frame by its type; what the entries of EVENTS hold is decoded too.
static int decode(struct str frame)
{
    struct reader r = reader_of(frame);
    enum queue_frame_type type;
    uint32_t fields;
    static struct queue_publish publish;
    struct queue_published published;
    struct queue_subscribe subscribe;
    struct queue_events events;
    struct queue_event_entry entry;
    uint64_t a, b, c;
    struct str s, t;
    int status = queue_frame_open(&r, &type, &fields);
    if (status) {
        return status;
    }
    switch (type) {
    case QUEUE_PUBLISH:
        return queue_publish_decode(&r, fields, &publish);
    case QUEUE_PUBLISHED:
        return queue_published_decode(&r, fields, &published);
    case QUEUE_SUBSCRIBE:
        return queue_subscribe_decode(&r, fields, &subscribe);
    case QUEUE_EVENTS:
        status = queue_events_decode(&r, fields, &events);
        if (status) {
            return status;
        }
        while ((status = queue_events_next(&events, &entry)) == 1) {
            struct event e;
            if (event_decode(entry.event, &e) == 0) { // either way it must not crash
                assert_int_equal(e.seq, 0);
            }
        }
        return status;
    case QUEUE_ENDED:
    case QUEUE_REFUSED:
        return queue_word_decode(&r, fields, &a, &b, &s, &t);
    case QUEUE_LOST:
        return queue_lost_decode(&r, fields, &a, &b, &c);
    case QUEUE_INFO_REPLY:
        return queue_info_decode(&r, fields, &a, &s);
    default:
        return queue_pair_decode(&r, fields, &a, &b);
    }
}

// Every proper prefix is refused, and no single changed byte makes a decoder read outside (ASan watches).
static void assert_sturdy(struct str frame)
{
    assert_int_equal(decode(frame), 0);
    for (size_t n = 0; n < frame.n; n++) {
        char *copy = malloc(n ? n : 1); // exactly n bytes, so that a read past them is seen
        assert_non_null(copy);
        memcpy(copy, frame.p, n);
        assert_int_equal(decode((struct str){ copy, n }), -EBADMSG);
        free(copy);
    }
    char *copy = malloc(frame.n);
    assert_non_null(copy);
    memcpy(copy, frame.p, frame.n);
    for (size_t i = 0; i < frame.n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            copy[i] = (char)(copy[i] ^ 1 << bit);
            (void)decode((struct str){ copy, frame.n });
            copy[i] = (char)(copy[i] ^ 1 << bit);
        }
    }
    free(copy);
}

static const struct event full = {
    .id = STR_INIT("0192f3c1-7b9a-7c3d-8e4f-001122334455"),
    .topic = STR_INIT("orders.order.placed"),
    .key = STR_INIT("customer-7"),
    .subject = STR_INIT("order-42"),
    .source = STR_INIT("/sluice/orders"),
    .time_ms = 1795428000123,
    .traceparent = STR_INIT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    .data = STR_INIT("\x81\xa1\x61\x01"),
};

static void test_event(void **state)
{
    struct buf *b = *state;
    struct event e;
    event_encode(b, &full);
    assert_true(buf_ok(b));
    e.seq = 7;
    assert_int_equal(event_decode(buf_str(b), &e), 0);
    assert_int_equal(e.seq, 0);
    assert_str(e.id, "0192f3c1-7b9a-7c3d-8e4f-001122334455");
    assert_str(e.topic, "orders.order.placed");
    assert_str(e.key, "customer-7");
    assert_str(e.subject, "order-42");
    assert_str(e.source, "/sluice/orders");
    assert_int_equal(e.time_ms, 1795428000123);
    assert_int_equal(e.traceparent.n, 55);
    assert_int_equal(e.data.n, 4);
    struct str topic, key;
    assert_int_equal(event_decode_route(buf_str(b), &topic, &key), 0);
    assert_str(topic, "orders.order.placed");
    assert_str(key, "customer-7");
    assert_int_equal(event_decode_route((struct str){ b->data, 40 }, &topic, &key), -EBADMSG);
    for (size_t n = 0; n < b->len; n++) {
        assert_int_equal(event_decode((struct str){ b->data, n }, &e), -EBADMSG);
    }
    buf_append_char(b, 0); // something after it
    assert_int_equal(event_decode(buf_str(b), &e), -EBADMSG);
}

static void test_event_without_data_and_with_more(void **state)
{
    struct buf *b = *state;
    struct event e = full;
    e.data = (struct str){ NULL, 0 };
    event_encode(b, &e);
    assert_int_equal(event_decode(buf_str(b), &e), 0);
    assert_null(e.data.p);
    b->data[0] = (char)0x9A; // ten elements: two of a later version
    writer_str(b, STR("new"));
    writer_map(b, 0);
    assert_int_equal(event_decode(buf_str(b), &e), 0);
    assert_str(e.topic, "orders.order.placed");
    b->data[0] = (char)0x97; // one is missing
    assert_int_equal(event_decode(buf_str(b), &e), -EBADMSG);
}

static void test_event_limits(void **state)
{
    struct buf *b = *state;
    char text[QUEUE_MAX_KEY + 1];
    memset(text, 'k', sizeof text);
    for (size_t over = 0; over < 2; over++) {
        struct event e = full;
        e.key = (struct str){ text, QUEUE_MAX_KEY + over };
        buf_reset(b);
        event_encode(b, &e);
        assert_int_equal(event_decode(buf_str(b), &e), over ? -EBADMSG : 0);
        assert_int_equal(event_decode_route(buf_str(b), &e.topic, &e.key), over ? -EBADMSG : 0);
    }
}

static void test_publish(void **state)
{
    struct buf *b = *state;
    static struct queue_publish f;
    uint32_t fields;
    queue_publish_begin(b, UINT64_MAX, STR("store"), 2);
    queue_publish_entry(b, 41, STR("one"));
    queue_publish_entry(b, UINT64_MAX, STR(""));
    struct reader r = opened(buf_str(b), QUEUE_PUBLISH, &fields);
    assert_int_equal(queue_publish_decode(&r, fields, &f), 0);
    assert_true(f.request == UINT64_MAX);
    assert_str(f.producer, "store");
    assert_int_equal(f.n_entries, 2);
    assert_int_equal(f.entries[0].producer_seq, 41);
    assert_str(f.entries[0].event, "one");
    assert_true(f.entries[1].producer_seq == UINT64_MAX);
    assert_int_equal(f.entries[1].event.n, 0);
    assert_sturdy(buf_str(b));
}

static void test_publish_without_producer_or_entries(void **state)
{
    struct buf *b = *state;
    static struct queue_publish f;
    uint32_t fields;
    queue_publish_begin(b, 1, (struct str){ NULL, 0 }, 0);
    struct reader r = opened(buf_str(b), QUEUE_PUBLISH, &fields);
    assert_int_equal(queue_publish_decode(&r, fields, &f), 0);
    assert_null(f.producer.p);
    assert_int_equal(f.n_entries, 0);
}

// A PUBLISH whose producer and number of entries are given.
static int publish_of(struct buf *b, struct str producer, uint32_t entries)
{
    buf_reset(b);
    writer_array(b, 4);
    writer_uint(b, QUEUE_PUBLISH);
    writer_uint(b, 1);
    writer_str(b, producer);
    writer_array(b, entries);
    for (uint32_t i = 0; i < entries; i++) {
        queue_publish_entry(b, i + 1, STR("x"));
    }
    assert_true(buf_ok(b));
    return decode(buf_str(b));
}

static void test_publish_limits(void **state)
{
    struct buf *b = *state;
    char name[QUEUE_MAX_PRODUCER + 1];
    memset(name, 'p', sizeof name);
    assert_int_equal(publish_of(b, (struct str){ name, QUEUE_MAX_PRODUCER }, QUEUE_MAX_BATCH), 0);
    assert_int_equal(publish_of(b, (struct str){ name, sizeof name }, 1), -EBADMSG);
    assert_int_equal(publish_of(b, STR(""), 1), -EBADMSG);
    assert_int_equal(publish_of(b, STR("p"), QUEUE_MAX_BATCH + 1), -EBADMSG);
}

static void test_published(void **state)
{
    struct buf *b = *state;
    const struct queue_published f = { .request = 7,
                                       .first_seq = 100,
                                       .last_seq = 163,
                                       .producer_seq = 4711,
                                       .stored = 64,
                                       .duplicates = 3,
                                       .durable = true,
                                       .took_us = 1234567 };
    struct queue_published g;
    uint32_t fields;
    queue_published_encode(b, &f);
    struct reader r = opened(buf_str(b), QUEUE_PUBLISHED, &fields);
    assert_int_equal(queue_published_decode(&r, fields, &g), 0);
    assert_int_equal(g.request, 7);
    assert_int_equal(g.first_seq, 100);
    assert_int_equal(g.last_seq, 163);
    assert_int_equal(g.producer_seq, 4711);
    assert_int_equal(g.stored, 64);
    assert_int_equal(g.duplicates, 3);
    assert_true(g.durable);
    assert_int_equal(g.took_us, 1234567);
    assert_sturdy(buf_str(b));
    r = opened(buf_str(b), QUEUE_PUBLISHED, &fields);
    assert_int_equal(queue_published_decode(&r, 7, &g), 0); // as an older queue writes it
    assert_true(g.durable);
    assert_int_equal(g.took_us, 0);
}

static void test_subscribe(void **state)
{
    struct buf *b = *state;
    uint32_t fields;
    struct queue_subscribe g;
    for (unsigned from = QUEUE_FROM_START; from <= QUEUE_FROM_LAST; from++) {
        struct queue_subscribe f = { .subscription = 3,
                                     .filters = { STR("a.*"), STR(">") },
                                     .n_filters = 2,
                                     .key = STR("k"),
                                     .where = STR(".key == \"k\""),
                                     .from = (enum queue_start)from,
                                     .from_value = 17,
                                     .until_seq = 18,
                                     .until_ms = 19,
                                     .follow = true,
                                     .credit = UINT32_MAX };
        buf_reset(b);
        queue_subscribe_encode(b, &f);
        struct reader r = opened(buf_str(b), QUEUE_SUBSCRIBE, &fields);
        assert_int_equal(queue_subscribe_decode(&r, fields, &g), 0);
        assert_int_equal(g.subscription, 3);
        assert_int_equal(g.n_filters, 2);
        assert_str(g.filters[0], "a.*");
        assert_str(g.filters[1], ">");
        assert_str(g.key, "k");
        assert_str(g.where, ".key == \"k\"");
        assert_int_equal(g.from, from);
        assert_int_equal(g.from_value, 17);
        assert_int_equal(g.until_seq, 18);
        assert_int_equal(g.until_ms, 19);
        assert_true(g.follow);
        assert_true(g.credit == UINT32_MAX);
        assert_sturdy(buf_str(b));
    }
}

static void begin_subscribe(struct buf *b, uint32_t options)
{
    buf_reset(b);
    writer_array(b, 4);
    writer_uint(b, QUEUE_SUBSCRIBE);
    writer_uint(b, 5);
    writer_map(b, options);
}

static void test_subscribe_defaults(void **state)
{
    struct buf *b = *state;
    struct queue_subscribe g;
    uint32_t fields;
    begin_subscribe(b, 3);
    writer_key(b, "key"); // nil is as good as absent
    writer_nil(b);
    writer_key(b, "later"); // an option of a newer client
    writer_array(b, 0);
    writer_key(b, "filters");
    writer_array(b, 0);
    writer_uint(b, 9);
    struct reader r = opened(buf_str(b), QUEUE_SUBSCRIBE, &fields);
    assert_int_equal(queue_subscribe_decode(&r, fields, &g), 0);
    assert_int_equal(g.n_filters, 0);
    assert_null(g.key.p);
    assert_null(g.where.p);
    assert_int_equal(g.from, QUEUE_FROM_START);
    assert_false(g.follow);
    assert_int_equal(g.credit, 9);
}

static void test_subscribe_malformed(void **state)
{
    struct buf *b = *state;
    begin_subscribe(b, 1);
    writer_key(b, "from");
    writer_str(b, STR("middle"));
    writer_uint(b, 1);
    assert_int_equal(decode(buf_str(b)), -EBADMSG);
    begin_subscribe(b, 1);
    writer_key(b, "filters");
    writer_array(b, QUEUE_MAX_FILTERS + 1);
    for (int i = 0; i <= QUEUE_MAX_FILTERS; i++) {
        writer_str(b, STR("a"));
    }
    writer_uint(b, 1);
    assert_int_equal(decode(buf_str(b)), -EBADMSG);
    begin_subscribe(b, 1);
    writer_key(b, "value");
    writer_int(b, -1);
    writer_uint(b, 1);
    assert_int_equal(decode(buf_str(b)), -EBADMSG);
    begin_subscribe(b, 1);
    writer_key(b, "where");
    writer_bin(b, STR(".key"));
    writer_uint(b, 1);
    assert_int_equal(decode(buf_str(b)), -EBADMSG);
    begin_subscribe(b, 0);
    writer_uint(b, UINT64_C(1) << 32); // credit
    assert_int_equal(decode(buf_str(b)), -EBADMSG);
}

static void test_events(void **state)
{
    struct buf *b = *state;
    struct queue_events f;
    struct queue_event_entry e;
    uint32_t fields;
    size_t mark = queue_events_begin(b, 12);
    queue_events_entry(b, 1, 1795428000123, STR("one"));
    queue_events_entry(b, 5, 0, STR("two"));
    queue_events_end(b, mark, 2);
    struct reader r = opened(buf_str(b), QUEUE_EVENTS, &fields);
    assert_int_equal(queue_events_decode(&r, fields, &f), 0);
    assert_int_equal(f.subscription, 12);
    assert_int_equal(f.count, 2);
    assert_int_equal(queue_events_next(&f, &e), 1);
    assert_int_equal(e.seq, 1);
    assert_int_equal(e.stored_ms, 1795428000123);
    assert_str(e.event, "one");
    assert_int_equal(queue_events_next(&f, &e), 1);
    assert_int_equal(e.seq, 5);
    assert_str(e.event, "two");
    assert_int_equal(queue_events_next(&f, &e), 0);
    assert_int_equal(queue_events_next(&f, &e), 0);
    assert_sturdy(buf_str(b));
}

static void test_events_over_the_limit(void **state)
{
    struct buf *b = *state;
    for (uint32_t over = 0; over < 2; over++) {
        buf_reset(b);
        writer_array(b, 3);
        writer_uint(b, QUEUE_EVENTS);
        writer_uint(b, 1);
        writer_array(b, QUEUE_MAX_BATCH + over);
        for (uint32_t i = 0; i < QUEUE_MAX_BATCH + over; i++) {
            queue_events_entry(b, i + 1, 1, STR("x"));
        }
        assert_int_equal(decode(buf_str(b)), over ? -EBADMSG : 0);
    }
}

static void test_pairs(void **state)
{
    struct buf *b = *state;
    static const enum queue_frame_type types[] = { QUEUE_CAUGHT_UP, QUEUE_GRANT, QUEUE_UNSUBSCRIBE,
                                                   QUEUE_INFO,      QUEUE_PING,  QUEUE_PONG };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        uint64_t first, second;
        uint32_t fields;
        buf_reset(b);
        queue_pair_encode(b, types[i], UINT64_MAX, i);
        struct reader r = opened(buf_str(b), types[i], &fields);
        assert_int_equal(queue_pair_decode(&r, fields, &first, &second), 0);
        assert_true(first == UINT64_MAX);
        assert_int_equal(second, i);
        assert_sturdy(buf_str(b));
    }
}

static void test_words(void **state)
{
    struct buf *b = *state;
    uint64_t first, second;
    struct str reason, detail;
    uint32_t fields;
    queue_word_encode(b, QUEUE_ENDED, 4, 900, STR("until"), STR(""));
    struct reader r = opened(buf_str(b), QUEUE_ENDED, &fields);
    assert_int_equal(queue_word_decode(&r, fields, &first, &second, &reason, &detail), 0);
    assert_int_equal(first, 4);
    assert_int_equal(second, 900);
    assert_str(reason, "until");
    assert_str(detail, "");
    assert_sturdy(buf_str(b));
    buf_reset(b);
    queue_word_encode(b, QUEUE_REFUSED, 4, 0, STR("disk-full"), STR("no room"));
    assert_sturdy(buf_str(b));
}

static void test_lost(void **state)
{
    struct buf *b = *state;
    uint64_t subscription, first, last;
    uint32_t fields;
    queue_lost_encode(b, 1, 10, 10);
    struct reader r = opened(buf_str(b), QUEUE_LOST, &fields);
    assert_int_equal(queue_lost_decode(&r, fields, &subscription, &first, &last), 0);
    assert_int_equal(subscription, 1);
    assert_int_equal(first, 10);
    assert_int_equal(last, 10);
    assert_sturdy(buf_str(b));
    buf_reset(b);
    queue_lost_encode(b, 1, 10, 9);
    assert_int_equal(decode(buf_str(b)), -EBADMSG);
}

static void test_info(void **state)
{
    struct buf *b = *state;
    struct buf map;
    uint64_t request;
    struct str bytes;
    uint32_t fields;
    buf_init(&map, 100);
    writer_map(&map, 1);
    writer_key(&map, "uuid");
    writer_str(&map, STR("u"));
    queue_info_encode(b, 77, buf_str(&map));
    struct reader r = opened(buf_str(b), QUEUE_INFO_REPLY, &fields);
    assert_int_equal(queue_info_decode(&r, fields, &request, &bytes), 0);
    assert_int_equal(request, 77);
    assert_true(str_eq(bytes, buf_str(&map)));
    assert_sturdy(buf_str(b));
    buf_fini(&map);
    buf_reset(b);
    queue_info_encode(b, 77, STR("\xc0")); // nil is no map
    assert_int_equal(decode(buf_str(b)), -EBADMSG);
}

static void test_frame_types(void **state)
{
    (void)state;
    struct reader r;
    enum queue_frame_type type;
    uint32_t fields;
    r = reader_of(STR("\x91\x1f")); // 31, a frame of nobody
    assert_int_equal(queue_frame_open(&r, &type, &fields), -EBADMSG);
    r = reader_of(STR("\x91\x38")); // 56
    assert_int_equal(queue_frame_open(&r, &type, &fields), -EBADMSG);
    r = reader_of(STR("\x90"));
    assert_int_equal(queue_frame_open(&r, &type, &fields), -EBADMSG);
    r = reader_of(STR("\x91\x2b"));
    assert_int_equal(queue_frame_open(&r, &type, &fields), 0);
    assert_int_equal(type, QUEUE_PING);
    assert_int_equal(fields, 0);
    assert_int_equal(decode(STR("\x91\x2b")), -EBADMSG); // its fields are missing
}

static void test_topics(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "a.b", "users.user.created", "0-_z.9" };
    static const char *const bad[] = { "",   ".",   "a.",  ".a", "a..b",     "A",
                                       "$a", "a b", "a.*", ">",  "\xc3\xa4", "a\n" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(topic_valid(str_of(good[i])));
        assert_true(topic_filter_valid(str_of(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(topic_valid(str_of(bad[i])));
    }
    assert_false(topic_valid((struct str){ "a\0b", 3 }));
    assert_false(topic_valid((struct str){ NULL, 0 }));
    char text[QUEUE_MAX_TOPIC + 1];
    memset(text, 't', sizeof text);
    assert_true(topic_valid((struct str){ text, QUEUE_MAX_TOPIC }));
    assert_false(topic_valid((struct str){ text, QUEUE_MAX_TOPIC + 1 }));
}

static void test_filters(void **state)
{
    (void)state;
    static const char *const good[] = { "*", ">", "*.*", "a.>", "*.b.>", "a.*.c", "$dead.a", "$>" };
    static const char *const bad[] = { "",   ">.a", "a.>.b", "a*",   "a.>b", "**", "a.",
                                       "*.", ".>",  "$",     "a.$b", "$$a",  "$.a" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(topic_filter_valid(str_of(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(topic_filter_valid(str_of(bad[i])));
    }
}

static void test_matching(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *topic;
        bool matches;
    } cases[] = {
        { "a.b", "a.b", true },
        { "a.b", "a.bc", false },
        { "a.b", "a", false },
        { "a", "a.b", false },
        { "*", "a", true },
        { "*", "a.b", false },
        { ">", "a", true },
        { ">", "a.b.c", true },
        { "a.>", "a", false },
        { "a.>", "a.b", true },
        { "a.>", "a.b.c", true },
        { "a.>", "b.a", false },
        { "*.b", "a.b", true },
        { "*.b", "a.c", false },
        { ">", "$dead.a", false }, // the queue's own topics are for those who ask for them
        { "*.a", "$dead.a", false },
        { "$dead.a", "$dead.a", true },
        { "$dead.>", "$dead.a.b", true },
        { "$*.a", "$dead.a", true },
        { "$>", "$dead.a", true },
        { "$>", "dead.a", false },
        { "a.*.c", "a.b.c", true },
        { "a.*.c", "a.b.b.c", false },
        { "*.*", "a.b", true },
        { "*.>", "a", false },
        { "*.>", "a.b", true },
        { "a.*", "a", false },
        { "orders.order.*", "orders.order.paid", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (topic_matches(str_of(cases[i].filter), str_of(cases[i].topic)) != cases[i].matches) {
            fail_msg("filter %s, topic %s", cases[i].filter, cases[i].topic);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_buf, close_buf)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_event),
        CASE(test_event_without_data_and_with_more),
        CASE(test_event_limits),
        CASE(test_publish),
        CASE(test_publish_without_producer_or_entries),
        CASE(test_publish_limits),
        CASE(test_published),
        CASE(test_subscribe),
        CASE(test_subscribe_defaults),
        CASE(test_subscribe_malformed),
        CASE(test_events),
        CASE(test_events_over_the_limit),
        CASE(test_pairs),
        CASE(test_words),
        CASE(test_lost),
        CASE(test_info),
        CASE(test_frame_types),
        CASE(test_topics),
        CASE(test_filters),
        CASE(test_matching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
