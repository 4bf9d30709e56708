// SPDX-License-Identifier: MIT
// MessagePack into JSON: the text is JSON whatever is in the strings, and what JSON cannot say is
// an error and not a guess.
#include "common/msgpack_to_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <yyjson.h>

#include "common/json_to_msgpack.h"
#include "proto/writer.h"

static struct buf in, out;

static int set_up(void **state)
{
    (void)state;
    buf_init(&in, 1024 * 1024);
    buf_init(&out, 1024 * 1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_fini(&in);
    buf_fini(&out);
    return 0;
}

static void expect(const char *json)
{
    struct reader r = reader_of(buf_str(&in));
    buf_reset(&out);
    assert_int_equal(msgpack_to_json(&r, &out), 0);
    assert_int_equal(reader_left(&r), 0);
    if (!str_eq(buf_str(&out), str_of(json))) {
        fail_msg("%.*s instead of %s", STR_ARG(buf_str(&out)), json);
    }
    buf_reset(&in);
}

static void test_scalars(void **state)
{
    (void)state;
    writer_nil(&in);
    expect("null");
    writer_bool(&in, true);
    expect("true");
    writer_int(&in, INT64_MIN);
    expect("-9223372036854775808");
    writer_uint(&in, UINT64_MAX);
    expect("18446744073709551615");
    writer_str(&in, STR("a\"\\\n\x01\xC3\xA9"));
    expect("\"a\\\"\\\\\\n\\u0001\xC3\xA9\"");
    writer_str(&in, STR("bad \xFF utf-8"));
    expect("\"bad \xEF\xBF\xBD utf-8\"");
}

static void test_structure(void **state)
{
    (void)state;
    writer_map(&in, 2);
    writer_key(&in, "a");
    writer_array(&in, 2);
    writer_int(&in, 1);
    writer_map(&in, 0);
    writer_key(&in, "b\"");
    writer_array(&in, 0);
    expect("{\"a\":[1,{}],\"b\\\"\":[]}");
}

// Every double comes back as the same double.
static void test_doubles(void **state)
{
    static const double values[] = { 0.1, 1e300, -1e-300, 1.5, 123456789.123456789, 5e-324, 1e21 };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct reader r;
        buf_reset(&in);
        buf_reset(&out);
        writer_double(&in, values[i]);
        r = reader_of(buf_str(&in));
        assert_int_equal(msgpack_to_json(&r, &out), 0);
        yyjson_doc *doc = yyjson_read(out.data, out.len, 0);
        assert_non_null(doc);
        assert_true(yyjson_get_num(yyjson_doc_get_root(doc)) == values[i]);
        yyjson_doc_free(doc);
    }
    buf_reset(&in);
}

static void test_what_json_cannot_say(void **state)
{
    static const struct str bad[] = {
        STR_INIT(""),                 // nothing
        STR_INIT("\xc1"),             // never used
        STR_INIT("\xc4\x01\x00"),     // binary
        STR_INIT("\xd4\x01\x02"),     // an extension
        STR_INIT("\x81\x01\x02"),     // a key that is a number
        STR_INIT("\x92\x01"),         // cut off
        STR_INIT("\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"), // infinity
        STR_INIT("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), // not a number
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct reader r = reader_of(bad[i]);
        buf_reset(&out);
        assert_int_equal(msgpack_to_json(&r, &out), -EBADMSG);
    }
}

static void test_depth(void **state)
{
    (void)state;
    for (int i = 0; i < READER_MAX_DEPTH + 2; i++) {
        writer_array(&in, 1);
    }
    writer_nil(&in);
    struct reader r = reader_of(buf_str(&in));
    buf_reset(&out);
    assert_int_equal(msgpack_to_json(&r, &out), -EBADMSG);
    buf_reset(&in);
}

// There and back: the JSON that comes out is the JSON that went in.
static void test_round_trip(void **state)
{
    static const char *const texts[] = { "{\"a\":[1,-2,3.5,\"x\",null,true,{\"b\":{}}]}", "[]", "\"\"",
                                         "[18446744073709551615,-9223372036854775808]" };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct json_error e;
        buf_reset(&in);
        assert_int_equal(json_to_msgpack(str_of(texts[i]), &in, &e), 0);
        expect(texts[i]);
    }
}

// Whatever bytes a worker sends, the answer is JSON or an error.
static void test_noise(void **state)
{
    uint32_t seed = 20261123;
    (void)state;
    for (int i = 0; i < 100000; i++) {
        char bytes[24];
        size_t n = 1 + (seed >> 20) % sizeof bytes;
        for (size_t k = 0; k < n; k++) {
            seed = seed * 1664525 + 1013904223;
            bytes[k] = (char)(seed >> 16);
        }
        struct reader r = reader_of((struct str){ bytes, n });
        buf_reset(&out);
        if (msgpack_to_json(&r, &out) == 0) {
            yyjson_doc *doc = yyjson_read(out.data, out.len, 0);
            if (!doc) {
                fail_msg("not JSON: %.*s", STR_ARG(buf_str(&out)));
            }
            yyjson_doc_free(doc);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars), cmocka_unit_test(test_structure),
        cmocka_unit_test(test_doubles), cmocka_unit_test(test_what_json_cannot_say),
        cmocka_unit_test(test_depth),   cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
