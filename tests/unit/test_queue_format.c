// SPDX-License-Identifier: MIT
// The bytes of the log: what is written is read back, no changed bit passes for valid, and the search behind damage
// finds the next frame and nothing that only looks like one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SALT 0xC0FFEE01u
#define MAX_BYTES (1024 * 1024)

static struct buf frame;

static int open_buf(void **state)
{
    (void)state;
    buf_init(&frame, MAX_BYTES);
    return 0;
}

static int close_buf(void **state)
{
    (void)state;
    buf_fini(&frame);
    return 0;
}

// Makes a stamped frame in b with events "<text>0", "<text>1"...; returns its body CRC.
static uint32_t make_frame(struct buf *b, const char *text, uint32_t count, uint64_t first_seq,
                           uint32_t salt, uint32_t chain)
{
    frame_begin(b);
    for (uint32_t i = 0; i < count; i++) {
        char event[32];
        int n = snprintf(event, sizeof event, "%s%u", text, i);
        record_event(b, (struct str){ event, (size_t)n });
    }
    const struct record_producer p = { 70 + count, 80, STR("store") };
    record_producer(b, &p);
    frame_end(b, FRAME_EVENTS, first_seq, count, 1234567);
    assert_true(buf_ok(b));
    assert_int_equal(b->len % 8, 0);
    return frame_stamp(b, salt, chain);
}

static void test_frame(void **state)
{
    (void)state;
    struct frame f;
    struct record r;
    uint32_t crc = make_frame(&frame, "event", 3, 42, SALT, 0x1234);
    assert_int_equal(frame_decode((uint8_t *)frame.data, frame.len, SALT, &f), 0);
    assert_int_equal(f.kind, FRAME_EVENTS);
    assert_int_equal(f.first_seq, 42);
    assert_int_equal(f.count, 3);
    assert_int_equal(f.stored_ms, 1234567);
    assert_int_equal(f.chain, 0x1234);
    assert_int_equal(f.crc, crc);
    assert_int_equal(f.bytes, frame.len);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(record_next(&f.payload, &r), 1);
        assert_int_equal(r.type, RECORD_EVENT);
        assert_int_equal(r.body.n, 6);
        assert_int_equal(r.body.p[5], '0' + i);
    }
    struct record_producer p;
    assert_int_equal(record_next(&f.payload, &r), 1);
    assert_int_equal(r.type, RECORD_PRODUCER);
    assert_int_equal(record_producer_decode(r.body, &p), 0);
    assert_int_equal(p.producer_seq, 73);
    assert_int_equal(p.last_ms, 80);
    assert_true(str_eq(p.name, STR("store")));
    assert_int_equal(record_next(&f.payload, &r), 0);
}

static void test_no_changed_bit_is_valid(void **state)
{
    (void)state;
    struct frame f;
    (void)make_frame(&frame, "event", 3, 42, SALT, 0x1234);
    uint8_t *data = (uint8_t *)frame.data;
    for (size_t i = 0; i < frame.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            data[i] = (uint8_t)(data[i] ^ 1 << bit);
            assert_int_equal(frame_decode(data, frame.len, SALT, &f), -EBADMSG);
            data[i] = (uint8_t)(data[i] ^ 1 << bit);
        }
    }
    assert_int_equal(frame_decode(data, frame.len, SALT, &f), 0);
    assert_int_equal(frame_decode(data, frame.len, SALT + 1, &f), -EBADMSG);
}

static void test_no_prefix_is_valid(void **state)
{
    (void)state;
    struct frame f;
    (void)make_frame(&frame, "event", 3, 42, SALT, 0x1234);
    for (size_t n = 0; n < frame.len; n++) {
        uint8_t *copy = malloc(n ? n : 1); // exactly n bytes, so that a read past them is seen
        assert_non_null(copy);
        memcpy(copy, frame.data, n);
        assert_int_equal(frame_decode(copy, n, SALT, &f), -EBADMSG);
        free(copy);
    }
}

// Checksums that are right do not make wrong contents right.
static void test_contents_are_checked_behind_the_checksum(void **state)
{
    (void)state;
    struct frame f;
    frame_begin(&frame);
    record_event(&frame, STR("event"));
    frame_end(&frame, FRAME_EVENTS, 1, 2, 0); // says two events, has one
    (void)frame_stamp(&frame, SALT, 0);
    assert_int_equal(frame_decode((uint8_t *)frame.data, frame.len, SALT, &f), -EBADMSG);
    buf_reset(&frame);
    frame_begin(&frame);
    buf_append(&frame, "\xff\xff\xff\x01", 4); // a record longer than the payload
    frame_end(&frame, FRAME_EVENTS, 1, 1, 0);
    (void)frame_stamp(&frame, SALT, 0);
    assert_int_equal(frame_decode((uint8_t *)frame.data, frame.len, SALT, &f), -EBADMSG);
    buf_reset(&frame);
    frame_begin(&frame);
    buf_append(&frame, "\x00\x00\x00\x63", 4); // a record of an unknown type
    frame_end(&frame, FRAME_EVENTS, 1, 0, 0);
    (void)frame_stamp(&frame, SALT, 0);
    assert_int_equal(frame_decode((uint8_t *)frame.data, frame.len, SALT, &f), -EBADMSG);
}

static void test_sequences_do_not_wrap(void **state)
{
    (void)state;
    struct frame f;
    (void)make_frame(&frame, "event", 3, UINT64_MAX - 3, SALT, 0);
    assert_int_equal(frame_decode((uint8_t *)frame.data, frame.len, SALT, &f), 0);
    assert_true(f.first_seq + f.count == UINT64_MAX);
    buf_reset(&frame);
    (void)make_frame(&frame, "event", 3, UINT64_MAX - 2, SALT, 0);
    assert_int_equal(frame_decode((uint8_t *)frame.data, frame.len, SALT, &f), -EBADMSG);
}

static void test_segment_header(void **state)
{
    (void)state;
    struct segment_header h = { .first_seq = UINT64_MAX, .made_ms = 99, .chain = 5, .salt = 6 }, g;
    uint8_t bytes[FORMAT_HEADER_BYTES];
    uint32_t crc;
    memset(h.uuid, 7, sizeof h.uuid);
    uint32_t written = segment_header_encode(&h, bytes);
    assert_int_equal(segment_header_decode(bytes, &g, &crc), 0);
    assert_int_equal(crc, written);
    assert_memory_equal(g.uuid, h.uuid, sizeof h.uuid);
    assert_true(g.first_seq == UINT64_MAX);
    assert_int_equal(g.made_ms, 99);
    assert_int_equal(g.chain, 5);
    assert_int_equal(g.salt, 6);
    assert_int_equal(g.version, FORMAT_VERSION);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(segment_header_decode(bytes, &g, &crc), -EBADMSG);
        bytes[i] ^= 0x10;
    }
}

static void test_seal_records(void **state)
{
    (void)state;
    const struct record_total total = { 1, 2, 3, 4, 5, 6 };
    const struct record_index blocks[2] = { { 8192, 1, 4, 9 }, { 9000, 2, 5, 10 } };
    const struct record_topic topic = { 7, 8, 9, 99, STR("a.b") };
    const struct record_lost lost = { 10, 11 };
    const struct record_removed removed = { 12, 13 };
    struct frame f;
    struct record r;
    struct record_total total2;
    struct record_index block2;
    struct record_topic topic2;
    struct record_lost lost2;
    struct record_removed removed2;
    frame_begin(&frame);
    record_total(&frame, &total);
    record_index_begin(&frame, 2);
    record_index_block(&frame, &blocks[0]);
    record_index_block(&frame, &blocks[1]);
    record_topic(&frame, FORMAT_VERSION, &topic);
    record_lost(&frame, &lost);
    record_removed(&frame, &removed);
    frame_end(&frame, FRAME_SEAL, 2, 0, 5);
    (void)frame_stamp(&frame, SALT, 0);
    assert_int_equal(frame_decode((uint8_t *)frame.data, frame.len, SALT, &f), 0);
    assert_int_equal(record_next(&f.payload, &r), 1);
    assert_int_equal(record_total_decode(r.body, &total2), 0);
    assert_int_equal(total2.first_seq, 1);
    assert_int_equal(total2.next_seq, 2);
    assert_int_equal(total2.events, 3);
    assert_int_equal(total2.first_ms, 4);
    assert_int_equal(total2.last_ms, 5);
    assert_int_equal(total2.end, 6);
    assert_int_equal(record_next(&f.payload, &r), 1);
    assert_int_equal(record_index_decode(r.body, 1, &block2), 0);
    assert_int_equal(block2.offset, 9000);
    assert_int_equal(block2.first_seq, 2);
    assert_int_equal(block2.first_ms, 5);
    assert_int_equal(block2.topics, 10);
    assert_int_equal(record_index_decode(r.body, 2, &block2), -EBADMSG);
    assert_int_equal(record_next(&f.payload, &r), 1);
    assert_int_equal(record_topic_decode(r.body, 2, &topic2), 0);
    assert_int_equal(topic2.events, 7);
    assert_int_equal(topic2.bytes, 99);
    assert_true(str_eq(topic2.topic, STR("a.b")));
    assert_int_equal(record_next(&f.payload, &r), 1);
    assert_int_equal(record_lost_decode(r.body, &lost2), 0);
    assert_int_equal(lost2.last_seq, 11);
    assert_int_equal(record_next(&f.payload, &r), 1);
    assert_int_equal(r.type, RECORD_REMOVED);
    assert_int_equal(record_removed_decode(r.body, &removed2), 0);
    assert_int_equal(removed2.first_seq, 12);
    assert_int_equal(removed2.last_seq, 13);
    r.body.n--;
    assert_int_equal(record_removed_decode(r.body, &removed2), -EBADMSG);
    assert_int_equal(record_next(&f.payload, &r), 0);
}

static void test_trailer(void **state)
{
    (void)state;
    uint8_t bytes[FORMAT_TRAILER_BYTES];
    uint64_t offset;
    trailer_encode(123456789, SALT, bytes);
    assert_int_equal(trailer_decode(bytes, SALT, &offset), 0);
    assert_int_equal(offset, 123456789);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 1;
        assert_int_equal(trailer_decode(bytes, SALT, &offset), -EBADMSG);
        bytes[i] ^= 1;
    }
}

// --- Scanning

#define N_FRAMES 4

struct run {
    struct buf bytes;
    size_t at[N_FRAMES + 1]; // where each frame begins, and the end
};

// Four frames with two events each, sequences from 1, chained from 7; then zeros.
static void make_run(struct run *run)
{
    uint32_t chain = 7;
    buf_init(&run->bytes, MAX_BYTES);
    for (int i = 0; i < N_FRAMES; i++) {
        struct buf one;
        buf_init(&one, MAX_BYTES);
        chain = make_frame(&one, "e", 2, (uint64_t)i * 2 + 1, SALT, chain);
        run->at[i] = run->bytes.len;
        buf_append_str(&run->bytes, buf_str(&one));
        buf_fini(&one);
    }
    run->at[N_FRAMES] = run->bytes.len;
    for (int i = 0; i < 100; i++) {
        buf_append(&run->bytes, "\0\0\0\0\0\0\0\0", 8);
    }
    assert_true(buf_ok(&run->bytes));
}

static struct scan scan_of(const struct run *run)
{
    return (struct scan){ .data = (const uint8_t *)run->bytes.data,
                          .n = run->bytes.len,
                          .salt = SALT,
                          .chain = 7,
                          .chained = true,
                          .next_seq = 1 };
}

static void test_scan_of_sound_frames(void **state)
{
    (void)state;
    struct run run;
    struct frame f;
    struct damage d;
    make_run(&run);
    struct scan s = scan_of(&run);
    for (int i = 0; i < N_FRAMES; i++) {
        assert_int_equal(scan_next(&s, &f, &d), SCAN_FRAME);
        assert_int_equal(f.first_seq, i * 2 + 1);
    }
    assert_int_equal(scan_next(&s, &f, &d), SCAN_END);
    assert_int_equal(s.at, run.at[N_FRAMES]);
    assert_int_equal(s.next_seq, 9);
    assert_true(scan_rest_is_zero(&s));
    buf_fini(&run.bytes);
}

static void test_scan_finds_every_damage(void **state)
{
    (void)state;
    struct run run;
    make_run(&run);
    for (size_t i = 0; i < run.at[N_FRAMES]; i++) {
        size_t hit = 0;
        while (i >= run.at[hit + 1]) {
            hit++;
        }
        run.bytes.data[i] = (char)(run.bytes.data[i] ^ 0x20);
        struct scan s = scan_of(&run);
        struct frame f;
        struct damage d = { 0 };
        size_t frames = 0;
        enum scan_result found;
        bool damaged = false;
        while ((found = scan_next(&s, &f, &d)) != SCAN_END) {
            if (found == SCAN_DAMAGE) {
                damaged = true;
                assert_int_equal(d.offset, run.at[hit]);
                assert_int_equal(d.bytes, run.at[hit + 1] - run.at[hit]);
                assert_int_equal(d.first_seq, hit * 2 + 1);
                assert_int_equal(d.last_seq, hit * 2 + 2);
            } else {
                frames++;
            }
        }
        assert_int_equal(frames, N_FRAMES - 1);
        assert_int_equal(damaged, hit != N_FRAMES - 1); // the last one could be an unfinished write
        assert_int_equal(scan_rest_is_zero(&s), hit != N_FRAMES - 1);
        run.bytes.data[i] = (char)(run.bytes.data[i] ^ 0x20);
    }
    buf_fini(&run.bytes);
}

// A frame from elsewhere, whole and valid by itself, must not be taken for a part of the log.
static void test_scan_demands_the_chain(void **state)
{
    (void)state;
    struct run run;
    struct frame f;
    struct damage d;
    make_run(&run);
    struct buf other;
    buf_init(&other, MAX_BYTES);
    (void)make_frame(&other, "x", 2, 3, SALT,
                     999); // as long as the second frame, with its sequence
    assert_int_equal(other.len, run.at[2] - run.at[1]);
    memcpy(run.bytes.data + run.at[1], other.data, other.len);
    struct scan s = scan_of(&run);
    assert_int_equal(scan_next(&s, &f, &d), SCAN_FRAME);
    assert_int_equal(scan_next(&s, &f, &d), SCAN_DAMAGE);
    assert_int_equal(d.first_seq, 3);
    assert_int_equal(d.last_seq, 4);
    assert_int_equal(scan_next(&s, &f, &d), SCAN_FRAME);
    assert_int_equal(f.first_seq, 5);
    buf_fini(&other);
    buf_fini(&run.bytes);
}

// An event may contain the bytes of a frame. When the frame around it is damaged they must not come to life.
static void test_scan_is_not_fooled_by_an_event(void **state)
{
    (void)state;
    struct buf inner, outer;
    struct frame f;
    struct damage d;
    buf_init(&inner, MAX_BYTES);
    buf_init(&outer, MAX_BYTES);
    (void)make_frame(&inner, "forged", 2, 5, SALT + 1, 0); // of whoever does not know the salt
    frame_begin(&outer);
    record_event(&outer, STR("")); // so that the inner frame stands at a multiple of 8
    record_event(&outer, buf_str(&inner));
    frame_end(&outer, FRAME_EVENTS, 1, 2, 0);
    (void)frame_stamp(&outer, SALT, 7);
    outer.data[50] ^= 1;
    struct scan s = { .data = (const uint8_t *)outer.data,
                      .n = outer.len,
                      .salt = SALT,
                      .chain = 7,
                      .chained = true,
                      .next_seq = 1 };
    assert_int_equal(scan_next(&s, &f, &d), SCAN_END);
    s.salt = SALT + 1; // and with the salt it would be found: the test looks at the right place
    assert_int_equal(scan_next(&s, &f, &d), SCAN_DAMAGE);
    buf_fini(&inner);
    buf_fini(&outer);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_buf, close_buf)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_frame),
        CASE(test_no_changed_bit_is_valid),
        CASE(test_no_prefix_is_valid),
        CASE(test_contents_are_checked_behind_the_checksum),
        CASE(test_sequences_do_not_wrap),
        CASE(test_segment_header),
        CASE(test_seal_records),
        CASE(test_trailer),
        CASE(test_scan_of_sound_frames),
        CASE(test_scan_finds_every_damage),
        CASE(test_scan_demands_the_chain),
        CASE(test_scan_is_not_fooled_by_an_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
