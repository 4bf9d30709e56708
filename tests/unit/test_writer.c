// SPDX-License-Identifier: MIT
// What is written is what msgpack-c and our own reader read back, and a buffer that is full stays whole.
#include "proto/writer.h"

#include "proto/reader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <msgpack.h>

static struct buf b;

static int open_buf(void **state)
{
    (void)state;
    buf_init(&b, 1024 * 1024);
    return 0;
}

static int close_buf(void **state)
{
    (void)state;
    buf_fini(&b);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_buf, close_buf)

static void test_values_are_the_shortest_form(void **state)
{
    (void)state;
    writer_int(&b, -1);
    writer_int(&b, 127);
    writer_uint(&b, 128);
    writer_bool(&b, true);
    writer_bool(&b, false);
    writer_nil(&b);
    writer_str(&b, STR("ab"));
    writer_bin(&b, STR("c"));
    writer_array(&b, 15);
    writer_map(&b, 16);
    static const char expected[] = "\xFF\x7F\xCC\x80\xC3\xC2\xC0\xA2"
                                   "ab\xC4\x01"
                                   "c\x9F\xDE\x00\x10";
    assert_int_equal(b.len, sizeof expected - 1);
    assert_memory_equal(b.data, expected, sizeof expected - 1);
}

static void test_the_ends_of_the_ranges(void **state)
{
    (void)state;
    writer_array(&b, 6);
    writer_int(&b, INT64_MIN);
    writer_int(&b, INT64_MAX);
    writer_uint(&b, UINT64_MAX);
    writer_double(&b, -0.0);
    writer_str(&b, (struct str){ NULL, 0 });
    writer_bin(&b, (struct str){ NULL, 0 });
    msgpack_unpacked result;
    msgpack_unpacked_init(&result);
    size_t off = 0;
    assert_int_equal(msgpack_unpack_next(&result, b.data, b.len, &off), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(off, b.len);
    const msgpack_object *v = result.data.via.array.ptr;
    assert_int_equal(result.data.via.array.size, 6);
    assert_int_equal(v[0].type, MSGPACK_OBJECT_NEGATIVE_INTEGER);
    assert_true(v[0].via.i64 == INT64_MIN);
    assert_int_equal(v[1].type, MSGPACK_OBJECT_POSITIVE_INTEGER);
    assert_true(v[1].via.u64 == INT64_MAX);
    assert_int_equal(v[2].type, MSGPACK_OBJECT_POSITIVE_INTEGER);
    assert_true(v[2].via.u64 == UINT64_MAX);
    assert_int_equal(v[3].type, MSGPACK_OBJECT_FLOAT64);
    assert_true(v[3].via.f64 == 0);
    assert_int_equal(v[4].type, MSGPACK_OBJECT_STR);
    assert_int_equal(v[5].type, MSGPACK_OBJECT_BIN);
    msgpack_unpacked_destroy(&result);
}

// Marks must survive that the buffer moves while it grows.
static void test_counts_that_are_known_later(void **state)
{
    (void)state;
    size_t outer = writer_open_array(&b);
    for (int i = 0; i < 300; i++) {
        size_t inner = writer_open_map(&b);
        for (int k = 0; k < i; k++) {
            writer_key(&b, "key");
            writer_int(&b, k);
        }
        writer_close(&b, inner, (uint32_t)i);
    }
    writer_close(&b, outer, 300);
    struct reader r = reader_of(buf_str(&b));
    uint32_t count;
    assert_int_equal(reader_array(&r, &count), 0);
    assert_int_equal(count, 300);
    for (uint32_t i = 0; i < 300; i++) {
        struct reader at = r;
        assert_int_equal(reader_map(&at, &count), 0);
        assert_int_equal(count, i);
        assert_int_equal(reader_skip(&r), 0);
    }
    assert_int_equal(reader_left(&r), 0);
}

static void test_closing_with_the_largest_count(void **state)
{
    (void)state;
    size_t mark = writer_open_array(&b);
    writer_close(&b, mark, UINT32_MAX);
    assert_memory_equal(b.data, "\xDD\xFF\xFF\xFF\xFF", 5);
    buf_reset(&b);
    mark = writer_open_map(&b);
    writer_close(&b, mark, 0x01020304);
    assert_memory_equal(b.data, "\xDF\x01\x02\x03\x04", 5);
}

// At every size of the buffer: either all of it is there, or the error says so and nobody wrote past the end.
static void test_a_full_buffer(void **state)
{
    (void)state;
    size_t whole = 0;
    for (size_t max = 1; max < 64; max++) {
        struct buf small;
        buf_init(&small, max);
        size_t mark = writer_open_array(&small);
        writer_str(&small, STR("a string of 21 bytes!"));
        writer_uint(&small, UINT64_MAX);
        size_t inner = writer_open_map(&small);
        writer_close(&small, inner, 0);
        writer_close(&small, mark, 3);
        assert_true(small.len <= max);
        if (buf_ok(&small)) {
            struct reader r = reader_of(buf_str(&small));
            assert_int_equal(reader_skip(&r), 0);
            assert_int_equal(reader_left(&r), 0);
            whole = whole ? whole : max;
        } else {
            assert_int_equal(buf_error(&small), -EMSGSIZE);
            assert_int_equal(whole, 0);
        }
        buf_fini(&small);
    }
    assert_int_equal(whole, 5 + 22 + 9 + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_values_are_the_shortest_form),    CASE(test_the_ends_of_the_ranges),
        CASE(test_counts_that_are_known_later),     CASE(test_closing_with_the_largest_count),
        CASE(test_a_full_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
