// SPDX-License-Identifier: MIT
// A buffer never grows past its ceiling, never emits half of what was asked, and its JSON is always JSON.
#include "proto/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <yyjson.h>

static void test_an_exact_fit_is_taken_and_one_more_byte_is_not(void **state)
{
    (void)state;
    static const size_t ceilings[] = { 1, 255, 256, 257, 1000, 4096 };
    for (size_t i = 0; i < sizeof ceilings / sizeof *ceilings; i++) {
        struct buf b;
        buf_init(&b, ceilings[i]);
        for (size_t n = 0; n < ceilings[i]; n++) {
            buf_append_char(&b, 'x');
        }
        assert_int_equal(buf_error(&b), 0);
        assert_int_equal(b.len, ceilings[i]);
        assert_true(b.cap <= ceilings[i]);
        buf_append(&b, "", 0);
        assert_true(buf_ok(&b));
        buf_append_char(&b, 'y');
        assert_int_equal(buf_error(&b), -EMSGSIZE);
        assert_int_equal(b.len, ceilings[i]);
        buf_fini(&b);
    }
}

static void test_the_first_failure_sticks_until_the_reset(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    buf_append(&b, "12345", 5);
    buf_append(&b, "6789", 4); // does not fit: nothing of it is taken
    buf_append(&b, "6", 1);    // would fit, but half a message must not come out
    buf_printf(&b, "%d", 7);
    buf_append_json(&b, STR("\""));
    assert_null(buf_reserve(&b, 1));
    assert_int_equal(buf_error(&b), -EMSGSIZE);
    assert_true(str_eq(buf_str(&b), STR("12345")));
    const char *kept = b.data;
    buf_reset(&b);
    assert_true(buf_ok(&b));
    buf_append_z(&b, "again");
    assert_true(str_eq(buf_str(&b), STR("again")));
    assert_ptr_equal(b.data, kept);
    buf_fini(&b);
    buf_append_str(&b, STR("usable")); // also after buf_fini()
    assert_true(str_eq(buf_str(&b), STR("usable")));
    buf_fini(&b);
}

static void test_wiping_overwrites_what_was_there(void **state)
{
    (void)state;
    static const char none[6];
    struct buf b;
    buf_init(&b, 100);
    buf_wipe(&b); // of one that never had memory
    buf_append_z(&b, "secret");
    buf_wipe(&b);
    assert_int_equal(b.len, 0);
    assert_memory_equal(b.data, none, sizeof none);
    buf_append_z(&b, "next");
    assert_true(str_eq(buf_str(&b), STR("next")));
    buf_fini(&b);
}

static void test_absurd_lengths_are_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_append_char(&b, 'x');
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_int_equal(buf_error(&b), -EMSGSIZE);
    buf_reset(&b);
    buf_append_char(&b, 'x');
    assert_null(buf_reserve(&b, SIZE_MAX - 1)); // len + n would wrap to 0
    assert_int_equal(buf_error(&b), -EMSGSIZE);
    buf_fini(&b);
    buf_init(&b, 0);
    buf_append(&b, "x", 1);
    assert_int_equal(buf_error(&b), -EMSGSIZE);
    buf_fini(&b);
}

static void test_nothing_may_be_appended_from_nowhere(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_append_str(&b, (struct str){ NULL, 0 });
    buf_append_json(&b, (struct str){ NULL, 0 });
    buf_append_z(&b, "");
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

// Around the size of the buffer that is tried first, and with a ceiling that leaves no room for a NUL.
static void test_printf_of_every_length(void **state)
{
    (void)state;
    char text[600];
    for (size_t n = 0; n < sizeof text; n++) {
        struct buf b;
        memset(text, 'a', n);
        text[n] = '\0';
        buf_init(&b, n + 2);
        buf_printf(&b, "<%s>", text);
        assert_int_equal(buf_error(&b), 0);
        assert_int_equal(b.len, n + 2);
        assert_int_equal(b.data[0], '<');
        assert_int_equal(b.data[n + 1], '>');
        buf_fini(&b);
        buf_init(&b, n + 1);
        buf_printf(&b, "<%s>", text);
        assert_int_equal(buf_error(&b), -EMSGSIZE);
        assert_int_equal(b.len, 0);
        buf_fini(&b);
    }
}

static void test_decimals(void **state)
{
    (void)state;
    static const uint64_t values[] = { 0, 1, 9, 10, 99, 100, 12345, UINT32_MAX, INT64_MAX, UINT64_MAX };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        for (unsigned digits = 0; digits <= 20; digits++) {
            char expected[32];
            struct buf b;
            buf_init(&b, 64);
            buf_append_decimal(&b, values[i], digits);
            (void)snprintf(expected, sizeof expected, "%0*llu", (int)(digits ? digits : 1),
                           (unsigned long long)values[i]);
            assert_true(str_eq(buf_str(&b), str_of(expected)));
            buf_fini(&b);
        }
    }
}

static void test_reserved_room_is_there(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    buf_append_z(&b, "head");
    char *to = buf_reserve(&b, 90000);
    assert_non_null(to);
    memset(to, 'z', 90000);
    assert_int_equal(b.len, 4);
    b.len += 90000;
    assert_memory_equal(b.data, "headz", 5);
    buf_fini(&b);
}

// --- JSON

static void assert_json(const char *bytes, size_t n, const char *expected)
{
    struct buf b;
    buf_init(&b, 1000);
    buf_append_json(&b, (struct str){ bytes, n });
    buf_append_char(&b, '\0');
    assert_string_equal(b.data, expected);
    buf_fini(&b);
}

static void test_json_escapes(void **state)
{
    (void)state;
    assert_json("a\"b\\c/d", 7, "a\\\"b\\\\c/d");
    assert_json("\n\r\t\b\f", 5, "\\n\\r\\t\\u0008\\u000c");
    assert_json("\0\x1f\x7f", 3, "\\u0000\\u001f\\u007f");
    assert_json("\xC2\x80\xC2\x9B\xC2\x9F\xC2\xA0", 8, "\\u0080\\u009b\\u009f\xC2\xA0");
    assert_json("plain", 5, "plain");
}

static void test_json_keeps_utf8_and_replaces_the_rest(void **state)
{
    (void)state;
    static const char *const valid[] = { "\xC2\xA0",     "\xDF\xBF",     "\xE0\xA0\x80",
                                         "\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBF\xBF",
                                         "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF" };
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        assert_json(valid[i], strlen(valid[i]), valid[i]);
    }
    // Each byte that begins nothing valid becomes one U+FFFD: overlong forms, surrogates, above U+10FFFF, cut off.
    static const char *const invalid[] = { "\xC0\x80",     "\xC1\xBF",         "\xE0\x9F\xBF",
                                           "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
                                           "\xF5\x80",     "\xFF\xFE",         "\x80",
                                           "\xC2",         "\xE2\x82",         "\xF0\x9F\x98" };
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        char expected[64] = "";
        for (size_t k = 0; k < strlen(invalid[i]); k++) {
            strcat(expected, "\xEF\xBF\xBD");
        }
        assert_json(invalid[i], strlen(invalid[i]), expected);
    }
    assert_json("a\xC2z", 3, "a\xEF\xBF\xBDz"); // what follows is not swallowed
    assert_json("\xE2\x82\"", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\\\"");
}

// The text of the JSON string in b, which must parse.
static yyjson_doc *parsed(const struct buf *b)
{
    yyjson_doc *doc = yyjson_read(b->data, b->len, 0);
    assert_non_null(doc);
    assert_true(yyjson_is_str(yyjson_doc_get_root(doc)));
    return doc;
}

static void test_json_of_any_bytes_is_json(void **state)
{
    (void)state;
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        char bytes[24];
        struct buf b;
        size_t n = (size_t)random() % sizeof bytes;
        bool ascii = round % 2;
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (char)(random() & (ascii ? 0x7F : 0xFF));
        }
        buf_init(&b, 200);
        buf_append_char(&b, '"');
        buf_append_json(&b, (struct str){ bytes, n });
        buf_append_char(&b, '"');
        assert_true(buf_ok(&b));
        yyjson_doc *doc = parsed(&b);
        if (ascii) { // then it must also come back as it was
            assert_int_equal(yyjson_get_len(yyjson_doc_get_root(doc)), n);
            assert_memory_equal(yyjson_get_str(yyjson_doc_get_root(doc)), bytes, n);
        }
        yyjson_doc_free(doc);
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_exact_fit_is_taken_and_one_more_byte_is_not),
        cmocka_unit_test(test_the_first_failure_sticks_until_the_reset),
        cmocka_unit_test(test_wiping_overwrites_what_was_there),
        cmocka_unit_test(test_absurd_lengths_are_refused),
        cmocka_unit_test(test_nothing_may_be_appended_from_nowhere),
        cmocka_unit_test(test_printf_of_every_length),
        cmocka_unit_test(test_decimals),
        cmocka_unit_test(test_reserved_room_is_there),
        cmocka_unit_test(test_json_escapes),
        cmocka_unit_test(test_json_keeps_utf8_and_replaces_the_rest),
        cmocka_unit_test(test_json_of_any_bytes_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
