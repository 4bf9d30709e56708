// SPDX-License-Identifier: MIT
// The frames of groups, calls and operations (PROTOCOL.md 3.8 to 3.10): each comes back as it went; every shorter form,
// every value of another type and every number that is too large is refused; and what a newer peer adds is stepped over.
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
#define ARGUMENTS "\x81\xa1\x61\x01" // {"a": 1}
#define MAX_VALUES 64                // in one of the frames here, those in its arrays counted

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

// --- One frame of each kind

static const struct queue_settle settle = { .member = UINT64_MAX,
                                            .request = 5,
                                            .verdict = QUEUE_NAK,
                                            .delay_ms = 250,
                                            .error = STR_INIT("broken"),
                                            .ranges = { { 7, 9, 1, 3 },
                                                        { 10, UINT64_MAX, UINT32_MAX, 1 } },
                                            .n_ranges = 2 };
static const struct queue_settled settled = {
    .member = 3, .request = UINT64_MAX, .settled = 4, .stale = UINT32_MAX, .durable = true
};
static const struct queue_delivery deliveries[] = {
    { .seq = 1, .stored_ms = 1795428000123, .attempt = 1, .event = STR_INIT("one") },
    { .seq = UINT64_MAX, .stored_ms = -1, .attempt = UINT32_MAX, .event = STR_INIT("") }
};
static const struct queue_operation operation = { .at_ms = 1795428000123,
                                                  .what = STR_INIT("ack"),
                                                  .group = STR_INIT("mail"),
                                                  .client = 8,
                                                  .first_seq = 11,
                                                  .last_seq = 12,
                                                  .attempt = 2,
                                                  .events = 2,
                                                  .took_us = 1500 };

static void write_join(struct buf *b)
{
    queue_join_encode(b, 9, STR("mail"), UINT32_MAX);
}

static void write_joined(struct buf *b)
{
    queue_pair_encode(b, QUEUE_JOINED, 9, 0);
}

static void write_deliver(struct buf *b)
{
    size_t mark = queue_deliver_begin(b, 9);
    queue_deliver_entry(b, &deliveries[0]);
    queue_deliver_entry(b, &deliveries[1]);
    queue_deliver_end(b, mark, 2);
}

static void write_settle(struct buf *b)
{
    queue_settle_encode(b, &settle);
}

static void write_settled(struct buf *b)
{
    queue_settled_encode(b, &settled);
}

static void write_leave(struct buf *b)
{
    queue_pair_encode(b, QUEUE_LEAVE, UINT64_MAX, 0);
}

static void write_call(struct buf *b)
{
    queue_call_encode(b, 6, STR("group-set"), STR(ARGUMENTS));
}

static void write_result(struct buf *b)
{
    queue_result_encode(b, 6, STR(ARGUMENTS));
}

static void write_watch(struct buf *b)
{
    queue_pair_encode(b, QUEUE_WATCH, 2, 0);
}

static void write_operations(struct buf *b)
{
    size_t mark = queue_operations_begin(b, 2, 17);
    queue_operations_entry(b, &operation);
    queue_operations_end(b, mark, 1);
}

static const struct {
    enum queue_frame_type type;
    void (*write)(struct buf *b);
    bool has_map; // whose inside is the receiver's to check
} frames[] = {
    { QUEUE_JOIN, write_join, false },       { QUEUE_JOINED, write_joined, false },
    { QUEUE_DELIVER, write_deliver, false }, { QUEUE_SETTLE, write_settle, false },
    { QUEUE_SETTLED, write_settled, false }, { QUEUE_LEAVE, write_leave, false },
    { QUEUE_CALL, write_call, true },        { QUEUE_RESULT, write_result, true },
    { QUEUE_WATCH, write_watch, false },     { QUEUE_OPERATIONS, write_operations, false },
};
#define N_FRAMES (sizeof frames / sizeof frames[0])

// --- Decoding any of them

static int decode_deliver(struct reader *r, uint32_t fields)
{
    struct queue_deliver f;
    struct queue_delivery d;
    int status = queue_deliver_decode(r, fields, &f);
    while (status == 0 && (status = queue_deliver_next(&f, &d)) == 1) {
        status = 0;
    }
    return status ? status : f.left == 0 ? 0 : -EBADMSG;
}

static int decode_operations(struct reader *r, uint32_t fields)
{
    struct queue_operations f;
    struct queue_operation o;
    int status = queue_operations_decode(r, fields, &f), more = 1;
    while (status == 0 && more) {
        more = queue_operations_next(&f, &o);
        status = more < 0 ? more : 0;
    }
    return status;
}

static int decode(struct str frame)
{
    static struct queue_settle s;
    struct reader r = reader_of(frame);
    struct queue_settled t;
    enum queue_frame_type type;
    uint32_t fields, n;
    uint64_t a, b;
    struct str word, map;
    int status = queue_frame_open(&r, &type, &fields);
    if (status) {
        return status;
    }
    switch (type) {
    case QUEUE_JOIN:
        return queue_join_decode(&r, fields, &a, &word, &n);
    case QUEUE_DELIVER:
        return decode_deliver(&r, fields);
    case QUEUE_SETTLE:
        return queue_settle_decode(&r, fields, &s);
    case QUEUE_SETTLED:
        return queue_settled_decode(&r, fields, &t);
    case QUEUE_CALL:
        return queue_call_decode(&r, fields, &a, &word, &map);
    case QUEUE_RESULT:
        return queue_info_decode(&r, fields, &a, &map);
    case QUEUE_OPERATIONS:
        return decode_operations(&r, fields);
    default:
        return queue_pair_decode(&r, fields, &a, &b);
    }
}

static struct reader opened(const struct buf *b, enum queue_frame_type expected,
                            uint32_t *ret_fields)
{
    struct reader r = reader_of(buf_str(b));
    enum queue_frame_type type;
    assert_true(buf_ok(b));
    assert_int_equal(queue_frame_open(&r, &type, ret_fields), 0);
    assert_int_equal(type, expected);
    return r;
}

// --- As they went

static void test_join(void **state)
{
    struct buf *b = *state;
    uint32_t fields, window;
    uint64_t member;
    struct str group;
    write_join(b);
    struct reader r = opened(b, QUEUE_JOIN, &fields);
    assert_int_equal(queue_join_decode(&r, fields, &member, &group, &window), 0);
    assert_int_equal(member, 9);
    assert_str(group, "mail");
    assert_true(window == UINT32_MAX);
}

static void test_pairs(void **state)
{
    struct buf *b = *state;
    static const enum queue_frame_type types[] = { QUEUE_JOINED, QUEUE_LEAVE, QUEUE_WATCH };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        uint32_t fields;
        uint64_t first, second;
        buf_reset(b);
        queue_pair_encode(b, types[i], UINT64_MAX, i);
        struct reader r = opened(b, types[i], &fields);
        assert_int_equal(queue_pair_decode(&r, fields, &first, &second), 0);
        assert_true(first == UINT64_MAX);
        assert_int_equal(second, i);
    }
}

static void test_deliver(void **state)
{
    struct buf *b = *state;
    uint32_t fields;
    struct queue_deliver f;
    struct queue_delivery d;
    write_deliver(b);
    struct reader r = opened(b, QUEUE_DELIVER, &fields);
    assert_int_equal(queue_deliver_decode(&r, fields, &f), 0);
    assert_int_equal(f.member, 9);
    assert_int_equal(f.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(queue_deliver_next(&f, &d), 1);
        assert_true(d.seq == deliveries[i].seq);
        assert_int_equal(d.stored_ms, deliveries[i].stored_ms);
        assert_int_equal(d.attempt, deliveries[i].attempt);
        assert_true(str_eq(d.event, deliveries[i].event));
        assert_int_equal(f.left, 1 - i);
    }
    assert_int_equal(queue_deliver_next(&f, &d), 0);
    assert_int_equal(queue_deliver_next(&f, &d), 0);
}

static void test_settle(void **state)
{
    struct buf *b = *state;
    static struct queue_settle f;
    for (uint32_t verdict = QUEUE_ACK; verdict <= QUEUE_TERM; verdict++) {
        uint32_t fields;
        static struct queue_settle sent;
        sent = settle;
        sent.verdict = (enum queue_verdict)verdict;
        buf_reset(b);
        queue_settle_encode(b, &sent);
        struct reader r = opened(b, QUEUE_SETTLE, &fields);
        assert_int_equal(queue_settle_decode(&r, fields, &f), 0);
        assert_true(f.member == UINT64_MAX);
        assert_int_equal(f.request, 5);
        assert_int_equal(f.verdict, verdict);
        assert_int_equal(f.delay_ms, 250);
        assert_str(f.error, "broken");
        assert_int_equal(f.n_ranges, 2);
        assert_memory_equal(f.ranges, settle.ranges, 2 * sizeof f.ranges[0]);
    }
}

static void test_settled(void **state)
{
    struct buf *b = *state;
    uint32_t fields;
    struct queue_settled f;
    write_settled(b);
    struct reader r = opened(b, QUEUE_SETTLED, &fields);
    assert_int_equal(queue_settled_decode(&r, fields, &f), 0);
    assert_int_equal(f.member, 3);
    assert_true(f.request == UINT64_MAX);
    assert_int_equal(f.settled, 4);
    assert_true(f.stale == UINT32_MAX);
    assert_true(f.durable);
}

static void test_call_and_result(void **state)
{
    struct buf *b = *state;
    uint32_t fields;
    uint64_t request;
    struct str method, map;
    write_call(b);
    struct reader r = opened(b, QUEUE_CALL, &fields);
    assert_int_equal(queue_call_decode(&r, fields, &request, &method, &map), 0);
    assert_int_equal(request, 6);
    assert_str(method, "group-set");
    assert_str(map, ARGUMENTS);
    buf_reset(b);
    write_result(b);
    r = opened(b, QUEUE_RESULT, &fields);
    assert_int_equal(queue_info_decode(&r, fields, &request, &map), 0);
    assert_int_equal(request, 6);
    assert_str(map, ARGUMENTS);
}

static void test_operations(void **state)
{
    struct buf *b = *state;
    uint32_t fields;
    struct queue_operations f;
    struct queue_operation o;
    write_operations(b);
    struct reader r = opened(b, QUEUE_OPERATIONS, &fields);
    assert_int_equal(queue_operations_decode(&r, fields, &f), 0);
    assert_int_equal(f.subscription, 2);
    assert_int_equal(f.dropped, 17);
    assert_int_equal(f.count, 1);
    assert_int_equal(queue_operations_next(&f, &o), 1);
    assert_int_equal(o.at_ms, operation.at_ms);
    assert_str(o.what, "ack");
    assert_str(o.group, "mail");
    assert_int_equal(o.client, 8);
    assert_int_equal(o.first_seq, 11);
    assert_int_equal(o.last_seq, 12);
    assert_int_equal(o.attempt, 2);
    assert_int_equal(o.events, 2);
    assert_int_equal(o.took_us, 1500);
    assert_int_equal(queue_operations_next(&f, &o), 0);
}

// --- What is not as it should be

// Decodes exactly these bytes, so that a read past them is seen.
static int decode_copy(struct str frame)
{
    char *copy = malloc(frame.n ? frame.n : 1);
    assert_non_null(copy);
    memcpy(copy, frame.p, frame.n);
    int status = decode((struct str){ copy, frame.n });
    free(copy);
    return status;
}

static void test_every_length(void **state)
{
    struct buf *b = *state;
    for (size_t i = 0; i < N_FRAMES; i++) {
        buf_reset(b);
        frames[i].write(b);
        assert_int_equal(decode_copy(buf_str(b)), 0);
        for (size_t n = 0; n < b->len; n++) {
            if (decode_copy((struct str){ b->data, n }) != -EBADMSG) {
                fail_msg("%zu of %zu bytes of frame %d are taken", n, b->len, frames[i].type);
            }
        }
    }
}

// A value of a frame: where it stands and what it is.
struct value {
    size_t at, end;
    enum reader_type type;
    uint32_t count; // of an array
};

struct values {
    struct value items[MAX_VALUES];
    size_t n;
};

// Notes the next value of r, and those in it if it is an array.
static void note_value(struct values *v, const struct buf *b, struct reader *r)
{
    struct value *own = &v->items[v->n++];
    struct reader inside = *r;
    struct str raw;
    assert_true(v->n < MAX_VALUES);
    *own = (struct value){ .type = reader_peek(r) };
    assert_int_equal(reader_raw(r, &raw), 0);
    own->at = (size_t)(raw.p - b->data);
    own->end = own->at + raw.n;
    if (own->type == READER_ARRAY) {
        assert_int_equal(reader_array(&inside, &own->count), 0);
        for (uint32_t i = 0; i < own->count; i++) {
            note_value(v, b, &inside);
        }
    }
}

static void note_values(struct values *v, const struct buf *b)
{
    struct reader r = reader_of(buf_str(b));
    v->n = 0;
    note_value(v, b, &r);
    assert_int_equal(reader_left(&r), 0);
}

// The frame with other bytes in the place of [at, end).
static int decode_with(const struct buf *b, size_t at, size_t end, struct str instead)
{
    struct buf other;
    buf_init(&other, MAX_BYTES);
    buf_append_str(&other, (struct str){ b->data, at });
    buf_append_str(&other, instead);
    buf_append_str(&other, (struct str){ b->data + end, b->len - end });
    int status = decode_copy(buf_str(&other));
    buf_fini(&other);
    return status;
}

static const struct {
    enum reader_type type;
    struct str bytes;
} others[] = { { READER_NIL, STR_INIT("\xc0") },
               { READER_BOOL, STR_INIT("\xc3") },
               { READER_INT, STR_INIT("\xd0\xff") }, // -1
               { READER_DOUBLE, STR_INIT("\xcb\x3f\xf0\0\0\0\0\0\0") },
               { READER_STR, STR_INIT("\xa1x") },
               { READER_BIN, STR_INIT("\xc4\x01x") },
               { READER_ARRAY, STR_INIT("\x91\x01") },
               { READER_MAP, STR_INIT("\x80") },
               { READER_EXT, STR_INIT("\xd4\x01x") },
               { READER_INVALID, STR_INIT("\xc1") } };

static bool is_number(enum reader_type type)
{
    return type == READER_INT || type == READER_UINT;
}

// Whether a value of this place is a number that may be below 0: times are.
static bool may_be_negative(enum queue_frame_type type, size_t i)
{
    static const size_t deliver[] = { 6, 11 }; // [type, member, entries: [[seq, stored_ms, ...
    return (type == QUEUE_DELIVER && (i == deliver[0] || i == deliver[1])) ||
           (type == QUEUE_OPERATIONS && i == 6);
}

static void test_every_wrong_type(void **state)
{
    struct buf *b = *state;
    struct values v;
    for (size_t f = 0; f < N_FRAMES; f++) {
        buf_reset(b);
        frames[f].write(b);
        note_values(&v, b);
        for (size_t i = 0; i < v.n; i++) {
            for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
                const struct value *own = &v.items[i];
                bool same = own->type == others[k].type && own->type != READER_ARRAY;
                same = is_number(own->type) && others[k].type == READER_INT
                           ? may_be_negative(frames[f].type, i)
                           : same;
                int status = decode_with(b, own->at, own->end, others[k].bytes);
                if (status != (same ? 0 : -EBADMSG)) {
                    fail_msg("frame %d, value %zu, instead of it number %zu: %d", frames[f].type, i,
                             k, status);
                }
            }
        }
    }
}

// Whether a number has 32 bits, by the place of the value in the frame.
static bool is_narrow(enum queue_frame_type type, size_t i)
{
    static const struct {
        enum queue_frame_type type;
        size_t places[8]; // 0: no more
    } narrow[] = {
        { QUEUE_JOIN, { 4 } },                   // window
        { QUEUE_DELIVER, { 7, 12 } },            // attempts
        { QUEUE_SETTLE, { 4, 11, 12, 16, 17 } }, // verdict; attempt and events of both ranges
        { QUEUE_SETTLED, { 4, 5 } },             // settled, stale
        { QUEUE_OPERATIONS, { 12, 13 } },        // attempt, events
    };
    for (size_t k = 0; k < sizeof narrow / sizeof narrow[0]; k++) {
        for (size_t p = 0; narrow[k].type == type && narrow[k].places[p]; p++) {
            if (narrow[k].places[p] == i) {
                return true;
            }
        }
    }
    return false;
}

static void test_numbers_out_of_range(void **state)
{
    struct buf *b = *state;
    const struct str most = STR("\xce\xff\xff\xff\xff"), more = STR("\xcf\0\0\0\x01\0\0\0\0"),
                     most64 = STR("\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    struct values v;
    for (size_t f = 0; f < N_FRAMES; f++) {
        buf_reset(b);
        frames[f].write(b);
        note_values(&v, b);
        for (size_t i = 2; i < v.n; i++) { // behind the array and its type
            bool is_small = is_narrow(frames[f].type, i);
            if (!is_number(v.items[i].type) || may_be_negative(frames[f].type, i)) {
                continue;
            }
            bool verdict = frames[f].type == QUEUE_SETTLE && i == 4;
            bool behind = frames[f].type == QUEUE_SETTLE && i == 9; // the range ends before that
            const struct value *own = &v.items[i];
            assert_int_equal(decode_with(b, own->at, own->end, most),
                             verdict || behind ? -EBADMSG : 0);
            assert_int_equal(decode_with(b, own->at, own->end, more),
                             is_small || behind ? -EBADMSG : 0);
            assert_int_equal(decode_with(b, own->at, own->end, most64),
                             is_small || behind ? -EBADMSG : 0);
        }
    }
}

static void test_ranges_and_verdicts(void **state)
{
    struct buf *b = *state;
    struct values v;
    write_settle(b);
    note_values(&v, b);
    struct value *verdict = &v.items[4], *first = &v.items[9];
    for (int i = 0; i < 8; i++) {
        const char byte = (char)i;
        assert_int_equal(decode_with(b, verdict->at, verdict->end, (struct str){ &byte, 1 }),
                         i <= QUEUE_TERM ? 0 : -EBADMSG);
        const char seq = (char)(i + 4); // the range ends at 9
        assert_int_equal(decode_with(b, first->at, first->end, (struct str){ &seq, 1 }),
                         i + 4 <= 9 ? 0 : -EBADMSG);
    }
}

// --- Limits

static void test_counts_are_limited(void **state)
{
    struct buf *b = *state;
    for (uint32_t over = 0; over < 2; over++) {
        buf_reset(b);
        writer_array(b, 3);
        writer_uint(b, QUEUE_DELIVER);
        writer_uint(b, 9);
        writer_array(b, QUEUE_MAX_BATCH + over);
        for (uint32_t i = 0; i < QUEUE_MAX_BATCH + over; i++) {
            queue_deliver_entry(b, &deliveries[0]);
        }
        assert_int_equal(decode_copy(buf_str(b)), over ? -EBADMSG : 0);
        buf_reset(b);
        writer_array(b, 4);
        writer_uint(b, QUEUE_OPERATIONS);
        writer_uint(b, 2);
        writer_uint(b, 0);
        writer_array(b, QUEUE_MAX_BATCH + over);
        for (uint32_t i = 0; i < QUEUE_MAX_BATCH + over; i++) {
            queue_operations_entry(b, &operation);
        }
        assert_int_equal(decode_copy(buf_str(b)), over ? -EBADMSG : 0);
    }
}

static void write_settle_of(struct buf *b, size_t error, uint32_t ranges)
{
    static char text[QUEUE_MAX_ERROR + 1];
    memset(text, 'e', sizeof text);
    buf_reset(b);
    writer_array(b, 7);
    writer_uint(b, QUEUE_SETTLE);
    writer_uint(b, 1);
    writer_uint(b, 0);
    writer_uint(b, QUEUE_TERM);
    writer_uint(b, 0);
    writer_str(b, (struct str){ text, error });
    writer_array(b, ranges);
    for (uint32_t i = 0; i < ranges; i++) {
        writer_array(b, 4);
        for (int k = 0; k < 4; k++) {
            writer_uint(b, i + 1);
        }
    }
}

static void test_settle_and_call_are_limited(void **state)
{
    struct buf *b = *state;
    char method[QUEUE_MAX_METHOD + 1];
    memset(method, 'm', sizeof method);
    for (uint32_t over = 0; over < 2; over++) {
        write_settle_of(b, QUEUE_MAX_ERROR + over, 1);
        assert_int_equal(decode_copy(buf_str(b)), over ? -EBADMSG : 0);
        write_settle_of(b, 0, QUEUE_MAX_RANGES + over);
        assert_int_equal(decode_copy(buf_str(b)), over ? -EBADMSG : 0);
        buf_reset(b);
        writer_array(b, 4);
        writer_uint(b, QUEUE_CALL);
        writer_uint(b, 6);
        writer_str(b, (struct str){ method, QUEUE_MAX_METHOD + over });
        writer_map(b, 0);
        assert_int_equal(decode_copy(buf_str(b)), over ? -EBADMSG : 0);
    }
    write_settle_of(b, 0, 0); // says nothing, and is well-formed
    assert_int_equal(decode_copy(buf_str(b)), 0);
}

// --- Other versions

// The frame with n more values at the end of the array that stands at number i, or with fewer.
static int decode_resized(const struct buf *b, const struct value *array, int by)
{
    struct buf other;
    const struct str more = STR("\xa3new");
    bool wide = b->data[array->at] == (char)0xDD;
    size_t inside = array->at + (wide ? 5 : 1), end = array->end;
    buf_init(&other, MAX_BYTES);
    buf_append_str(&other, (struct str){ b->data, array->at });
    writer_array(&other, (uint32_t)((int)array->count + by));
    buf_append_str(&other, (struct str){ b->data + inside, end - inside });
    for (int i = 0; i < by; i++) {
        buf_append_str(&other, more);
    }
    buf_append_str(&other, (struct str){ b->data + end, b->len - end });
    int status = decode_copy(buf_str(&other));
    buf_fini(&other);
    return status;
}

static void test_what_a_newer_peer_adds(void **state)
{
    struct buf *b = *state;
    struct values v;
    for (size_t f = 0; f < N_FRAMES; f++) {
        buf_reset(b);
        frames[f].write(b);
        note_values(&v, b);
        for (size_t i = 0; i < v.n; i++) {
            // The list of entries holds nothing but entries, the frame and each entry may grow.
            bool list = v.items[i].type == READER_ARRAY && i > 0 && v.items[i].count <= 2;
            if (v.items[i].type != READER_ARRAY) {
                continue;
            }
            for (int by = 1; by < 3; by++) {
                assert_int_equal(decode_resized(b, &v.items[i], by), list ? -EBADMSG : 0);
            }
            if (!list) { // and what is there now may not be missing
                assert_int_equal(decode_resized(b, &v.items[i], -1), -EBADMSG);
            }
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_buf, close_buf)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_join),
        CASE(test_pairs),
        CASE(test_deliver),
        CASE(test_settle),
        CASE(test_settled),
        CASE(test_call_and_result),
        CASE(test_operations),
        CASE(test_every_length),
        CASE(test_every_wrong_type),
        CASE(test_numbers_out_of_range),
        CASE(test_ranges_and_verdicts),
        CASE(test_counts_are_limited),
        CASE(test_settle_and_call_are_limited),
        CASE(test_what_a_newer_peer_adds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
