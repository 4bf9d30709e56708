// SPDX-License-Identifier: MIT
// JSON into MessagePack: what is taken becomes exactly the value it says, and what is not JSON is
// refused with the place where it stops being JSON.
#include "common/json_to_msgpack.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/reader.h"

static struct buf out;

static int set_up(void **state)
{
    (void)state;
    buf_init(&out, 1024 * 1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static struct reader take(const char *json)
{
    struct json_error e = { .what = "?" };
    buf_reset(&out);
    int rc = json_to_msgpack(str_of(json), &out, &e);
    if (rc) {
        fail_msg("%s: %d, %s", json, rc, e.what);
    }
    return reader_of(buf_str(&out));
}

static struct json_error refuse(struct str json)
{
    struct json_error e = { .what = NULL };
    buf_reset(&out);
    if (json_to_msgpack(json, &out, &e) != -EINVAL) {
        fail_msg("taken: %.*s", STR_ARG(json));
    }
    assert_non_null(e.what);
    assert_true(e.position <= json.n);
    assert_true(e.line >= 1 && e.column >= 1);
    return e;
}

static void test_integers(void **state)
{
    static const struct {
        const char *json;
        int64_t value;
    } cases[] = { { "0", 0 },
                  { "-0", 0 },
                  { "127", 127 },
                  { "-32", -32 },
                  { "4294967296", INT64_C(4294967296) },
                  { "9223372036854775807", INT64_MAX },
                  { "-9223372036854775808", INT64_MIN } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader r = take(cases[i].json);
        int64_t v = 77;
        assert_int_equal(reader_int(&r, &v), 0);
        assert_true(v == cases[i].value);
        assert_int_equal(reader_left(&r), 0);
    }
    struct reader r = take("18446744073709551615");
    uint64_t u = 0;
    assert_int_equal(reader_uint(&r, &u), 0);
    assert_true(u == UINT64_MAX);
}

static void test_doubles(void **state)
{
    static const char *const cases[] = { "1.0", "1e2", "-0.5", "18446744073709551616", "1E-3" };
    static const double values[] = { 1, 100, -0.5, 18446744073709551616.0, 0.001 };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader r = take(cases[i]);
        double v = 0;
        assert_int_equal(reader_double(&r, &v), 0);
        assert_true(v == values[i]);
    }
}

static void test_structure(void **state)
{
    struct reader r = take(" {\"a\": [true, false, null, \"\\u00e9\\n\\ud83d\\ude00\"], \"b\": {}} ");
    uint32_t n = 0;
    struct str s;
    bool yes = false, no = true;
    (void)state;
    assert_int_equal(reader_map(&r, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(reader_str(&r, &s), 0);
    assert_true(str_eq(s, STR("a")));
    assert_int_equal(reader_array(&r, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(reader_bool(&r, &yes), 0);
    assert_int_equal(reader_bool(&r, &no), 0);
    assert_true(yes && !no);
    assert_int_equal(reader_nil(&r), 0);
    assert_int_equal(reader_str(&r, &s), 0);
    assert_true(str_eq(s, STR("\xC3\xA9\n\xF0\x9F\x98\x80")));
    assert_int_equal(reader_str(&r, &s), 0);
    assert_int_equal(reader_map(&r, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(reader_left(&r), 0);
}

static void test_refused(void **state)
{
    static const struct str bad[] = {
        STR_INIT(""),          STR_INIT(" "),          STR_INIT("{"),         STR_INIT("[1,]"),
        STR_INIT("{\"a\":1,}"), STR_INIT("{a:1}"),      STR_INIT("'a'"),       STR_INIT("01"),
        STR_INIT("+1"),        STR_INIT(".5"),         STR_INIT("1."),        STR_INIT("NaN"),
        STR_INIT("Infinity"),  STR_INIT("1 2"),        STR_INIT("// c\n1"),   STR_INIT("\"\t\""),
        STR_INIT("\"\\x\""),   STR_INIT("\"\\ud800\""), STR_INIT("\"\xFF\""), STR_INIT("\xEF\xBB\xBF" "1"),
        STR_INIT("1\0"),       STR_INIT("\"a\0b\""),   STR_INIT("tru"),       STR_INIT("nul"),
        STR_INIT("1e999"),     STR_INIT("{\"a\":1,\"a\":2}"), STR_INIT("{\"\\u0061\":1,\"a\":2}"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)refuse(bad[i]);
    }
}

static void test_place(void **state)
{
    (void)state;
    struct json_error e = refuse(STR("{\n  \"a\": 1,\n  \"b\": x\n}"));
    assert_int_equal(e.line, 3);
    assert_int_equal(e.column, 8);
    assert_int_equal(e.position, 19);
    // Columns count characters, positions bytes.
    e = refuse(STR("[\"\xC3\xA9\xC3\xA9\", x]"));
    assert_int_equal(e.column, 8);
    assert_int_equal(e.position, 9);
}

static void test_depth(void **state)
{
    char json[2 * JSON_MAX_DEPTH + 5];
    (void)state;
    for (size_t depth = JSON_MAX_DEPTH - 1; depth <= JSON_MAX_DEPTH + 1; depth++) {
        memset(json, '[', depth);
        memset(json + depth, ']', depth);
        struct str s = { json, 2 * depth };
        struct json_error e;
        buf_reset(&out);
        assert_int_equal(json_to_msgpack(s, &out, &e), depth <= JSON_MAX_DEPTH ? 0 : -EINVAL);
    }
}

static void test_output_limit(void **state)
{
    struct buf small;
    struct json_error e;
    (void)state;
    buf_init(&small, 8);
    assert_int_equal(json_to_msgpack(STR("\"more than eight bytes\""), &small, &e), -EMSGSIZE);
    buf_fini(&small);
}

// What comes in as MessagePack must be what JSON could have been.
static void test_check(void **state)
{
    static const struct str bad[] = { STR_INIT(""),         STR_INIT("\xc1"),     STR_INIT("\x81\x01\x02"),
                                      STR_INIT("\x92\x01"), STR_INIT("\x01\x02"), STR_INIT("\xa1\xff"),
                                      STR_INIT("\xd4\x01\x02") };
    struct json_error e;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        e.what = NULL;
        assert_int_equal(msgpack_check(bad[i], &e), -EINVAL);
        assert_non_null(e.what);
    }
    assert_int_equal(msgpack_check(STR("\x81\xa1" "a\x92\x01\xc0"), &e), 0);
}

// Noise made of JSON's own letters: nothing is read behind its end, and what is taken can be read.
static void test_noise(void **state)
{
    static const char letters[] = "{}[]:,\"\\ue0123456789.-+tfnalsr \n\xC3\xA9\xF0";
    uint32_t seed = 20261123;
    (void)state;
    for (int i = 0; i < 100000; i++) {
        char json[24];
        size_t n = 0;
        struct json_error e;
        for (; n < sizeof json; n++) {
            seed = seed * 1664525 + 1013904223;
            if (seed >> 27 == 0) {
                break;
            }
            json[n] = letters[(seed >> 8) % (sizeof letters - 1)];
        }
        buf_reset(&out);
        int rc = json_to_msgpack((struct str){ json, n }, &out, &e);
        if (rc == 0) {
            assert_int_equal(msgpack_check(buf_str(&out), &e), 0);
        } else {
            assert_int_equal(rc, -EINVAL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers), cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_structure), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_place),    cmocka_unit_test(test_depth),
        cmocka_unit_test(test_output_limit), cmocka_unit_test(test_check),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
