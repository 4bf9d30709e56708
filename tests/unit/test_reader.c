// SPDX-License-Identifier: MIT
// The reader agrees with msgpack-c on every well-formed value, and refuses everything else without moving and
// without looking past the end (each input is a malloc of exactly its size, so ASan watches).
#include "proto/reader.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <msgpack.h>

static msgpack_sbuffer packed;
static msgpack_packer pk;

static int open_packer(void **state)
{
    (void)state;
    msgpack_sbuffer_init(&packed);
    msgpack_packer_init(&pk, &packed, msgpack_sbuffer_write);
    return 0;
}

static int close_packer(void **state)
{
    (void)state;
    msgpack_sbuffer_destroy(&packed);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_packer, close_packer)

static struct reader reader_packed(void)
{
    return reader_of((struct str){ packed.data, packed.size });
}

// A copy of exactly n bytes, so that a read behind them is seen.
static struct str exact(const void *bytes, size_t n)
{
    char *p = malloc(n ? n : 1);
    assert_non_null(p);
    if (n) {
        memcpy(p, bytes, n);
    }
    return (struct str){ p, n };
}

// --- Numbers

static const int64_t integers[] = { 0, 1, -1, 31, -31, 32, -32, -33, 127, 128, -127, -128, -129, 255, 256,
                                    INT16_MAX, INT16_MIN, INT16_MIN - 1, UINT16_MAX, UINT16_MAX + 1,
                                    INT32_MAX, INT32_MIN, (int64_t)INT32_MIN - 1, UINT32_MAX,
                                    (int64_t)UINT32_MAX + 1, INT64_MAX - 1, INT64_MAX, INT64_MIN };

static void test_integers_as_msgpack_c_packs_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        msgpack_sbuffer_clear(&packed);
        msgpack_pack_int64(&pk, integers[i]);
        struct reader r = reader_packed();
        int64_t v = 7;
        assert_int_equal(reader_peek(&r), READER_INT);
        assert_int_equal(reader_int(&r, &v), 0);
        assert_true(v == integers[i]);
        assert_int_equal(reader_peek(&r), READER_END);
        r = reader_packed();
        uint64_t u = 7;
        if (integers[i] >= 0) {
            assert_int_equal(reader_uint(&r, &u), 0);
            assert_true(u == (uint64_t)integers[i]);
        } else {
            assert_int_equal(reader_uint(&r, &u), -EBADMSG);
            assert_int_equal(reader_left(&r), packed.size);
        }
    }
}

// Peers may use longer forms than needed.
static void test_integers_in_every_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        int64_t want = integers[i], v;
        msgpack_sbuffer_clear(&packed);
        msgpack_pack_fix_int64(&pk, want);
        msgpack_pack_fix_int32(&pk, (int32_t)want);
        msgpack_pack_fix_int16(&pk, (int16_t)want);
        msgpack_pack_fix_int8(&pk, (int8_t)want);
        msgpack_pack_fix_uint32(&pk, (uint32_t)want);
        msgpack_pack_fix_uint16(&pk, (uint16_t)want);
        msgpack_pack_fix_uint8(&pk, (uint8_t)want);
        const int64_t expected[] = { want,           (int32_t)want,  (int16_t)want, (int8_t)want,
                                     (uint32_t)want, (uint16_t)want, (uint8_t)want };
        struct reader r = reader_packed();
        for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
            assert_int_equal(reader_int(&r, &v), 0);
            assert_true(v == expected[k]);
        }
        assert_int_equal(reader_left(&r), 0);
    }
}

static void test_unsigned_above_the_signed_range(void **state)
{
    (void)state;
    static const uint64_t values[] = { (uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX };
    for (size_t i = 0; i < 3; i++) {
        msgpack_sbuffer_clear(&packed);
        msgpack_pack_uint64(&pk, values[i]);
        struct reader r = reader_packed();
        int64_t v;
        uint64_t u;
        assert_int_equal(reader_peek(&r), READER_UINT);
        assert_int_equal(reader_int(&r, &v), -EBADMSG);
        assert_int_equal(reader_left(&r), 9);
        assert_int_equal(reader_uint(&r, &u), 0);
        assert_true(u == values[i]);
    }
}

static void test_floats(void **state)
{
    (void)state;
    static const double values[] = { 0, -0.0, 1.5, -1.5, DBL_MAX, DBL_MIN, DBL_TRUE_MIN, 1e300, -1e-300,
                                     (double)INFINITY, -(double)INFINITY };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        msgpack_sbuffer_clear(&packed);
        msgpack_pack_double(&pk, values[i]);
        msgpack_pack_float(&pk, (float)values[i]);
        struct reader r = reader_packed();
        double wide, narrow;
        assert_int_equal(reader_peek(&r), READER_DOUBLE);
        assert_int_equal(reader_double(&r, &wide), 0);
        assert_int_equal(reader_double(&r, &narrow), 0);
        assert_memory_equal(&wide, &values[i], sizeof wide); // the sign of zero too
        assert_true(narrow == (double)(float)values[i]);
        assert_int_equal(reader_left(&r), 0);
    }
    msgpack_sbuffer_clear(&packed);
    msgpack_pack_double(&pk, (double)NAN);
    struct reader r = reader_packed();
    double v;
    assert_int_equal(reader_double(&r, &v), 0);
    assert_true(isnan(v));
}

// --- Strings and containers

static void test_strings_and_bytes_of_every_length_form(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 31, 32, 255, 256, 65535, 65536, 100000 };
    char *text = malloc(100000);
    assert_non_null(text);
    memset(text, 's', 100000);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n = lengths[i];
        msgpack_sbuffer_clear(&packed);
        msgpack_pack_str_with_body(&pk, text, n);
        msgpack_pack_bin_with_body(&pk, text, n);
        struct reader r = reader_packed();
        struct str s = { NULL, 0 };
        assert_int_equal(reader_peek(&r), READER_STR);
        assert_int_equal(reader_bin(&r, &s), -EBADMSG); // a text is not bytes
        assert_int_equal(reader_str(&r, &s), 0);
        assert_int_equal(s.n, n);
        assert_non_null(s.p); // "" is not absent
        assert_int_equal(reader_peek(&r), READER_BIN);
        assert_int_equal(reader_str(&r, &s), -EBADMSG);
        assert_int_equal(reader_bin(&r, &s), 0);
        assert_int_equal(s.n, n);
        assert_non_null(s.p);
        assert_int_equal(reader_left(&r), 0);
    }
    free(text);
}

static void test_counts_of_every_form(void **state)
{
    (void)state;
    static const uint32_t counts[] = { 0, 1, 15, 16, 65535, 65536 };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        msgpack_sbuffer_clear(&packed);
        msgpack_pack_array(&pk, counts[i]);
        for (uint32_t k = 0; k < counts[i]; k++) {
            msgpack_pack_nil(&pk);
        }
        size_t array_bytes = packed.size;
        msgpack_pack_map(&pk, counts[i]);
        for (uint32_t k = 0; k < 2 * counts[i]; k++) {
            msgpack_pack_nil(&pk);
        }
        uint32_t count = 7;
        struct reader r = reader_packed();
        assert_int_equal(reader_peek(&r), READER_ARRAY);
        assert_int_equal(reader_map(&r, &count), -EBADMSG);
        assert_int_equal(reader_array(&r, &count), 0);
        assert_int_equal(count, counts[i]);
        r = reader_packed();
        struct str raw;
        assert_int_equal(reader_raw(&r, &raw), 0);
        assert_int_equal(raw.n, array_bytes);
        assert_int_equal(reader_peek(&r), READER_MAP);
        assert_int_equal(reader_map(&r, &count), 0);
        assert_int_equal(count, counts[i]);
    }
}

// A count that the input cannot hold must not be believed: callers size arrays by it.
static void test_a_count_needs_a_byte_for_each_element(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        bool good;
    } cases[] = {
        { "\x92\xC0\xC0", 3, true },          { "\x92\xC0", 2, false },
        { "\x81\xC0\xC0", 3, true },          { "\x81\xC0", 2, false },
        { "\xDC\x00\x02\xC0", 4, false },     { "\xDE\x00\x01\xC0", 4, false },
        { "\xDD\xFF\xFF\xFF\xFF\xC0", 6, false }, { "\xDF\xFF\xFF\xFF\xFF\xC0\xC0", 7, false },
        { "\xDF\x80\x00\x00\x00\xC0\xC0", 7, false }, // twice the count is 2^32
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str in = exact(cases[i].bytes, cases[i].n);
        struct reader r = reader_of(in);
        uint32_t count;
        bool array = reader_array(&r, &count) == 0, map = reader_map(&r, &count) == 0;
        assert_int_equal(array || map, cases[i].good);
        r = reader_of(in);
        assert_int_equal(reader_skip(&r), cases[i].good ? 0 : -EBADMSG);
        assert_int_equal(reader_left(&r), cases[i].good ? 0 : in.n);
        free((char *)in.p);
    }
}

static void test_the_largest_lengths(void **state)
{
    (void)state;
    static const char heads[][5] = {
        { (char)0xDB, (char)0xFF, (char)0xFF, (char)0xFF, (char)0xFF }, // str 32
        { (char)0xC6, (char)0xFF, (char)0xFF, (char)0xFF, (char)0xFF }, // bin 32
        { (char)0xC9, (char)0xFF, (char)0xFF, (char)0xFF, (char)0xFF }, // ext 32: with its type byte 2^32
        { (char)0xDB, 0, 0, 0, 9 },                                     // one byte more than there is
        { (char)0xC9, 0, 0, 0, 8 },
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char bytes[13] = { 0 };
        memcpy(bytes, heads[i], 5);
        struct str in = exact(bytes, sizeof bytes), s;
        struct reader r = reader_of(in);
        assert_int_equal(reader_peek(&r), READER_INVALID);
        assert_int_equal(reader_str(&r, &s), -EBADMSG);
        assert_int_equal(reader_bin(&r, &s), -EBADMSG);
        assert_int_equal(reader_skip(&r), -EBADMSG);
        assert_int_equal(reader_left(&r), sizeof bytes);
        free((char *)in.p);
    }
}

static void test_nil_and_bool(void **state)
{
    (void)state;
    struct reader r = reader_of(STR("\xC0\xC2\xC3\xC0\xA1x\x01"));
    bool b = true;
    struct str s = STR("old");
    assert_int_equal(reader_bool(&r, &b), -EBADMSG);
    assert_int_equal(reader_nil(&r), 0);
    assert_int_equal(reader_nil(&r), -EBADMSG);
    assert_int_equal(reader_bool(&r, &b), 0);
    assert_false(b);
    assert_int_equal(reader_bool(&r, &b), 0);
    assert_true(b);
    assert_int_equal(reader_str_or_nil(&r, &s), 0);
    assert_null(s.p);
    assert_int_equal(s.n, 0);
    assert_int_equal(reader_str_or_nil(&r, &s), 0);
    assert_true(str_eq(s, STR("x")));
    assert_int_equal(reader_str_or_nil(&r, &s), -EBADMSG);
    assert_int_equal(reader_left(&r), 1);
}

static void test_extensions_are_stepped_over(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 2, 3, 4, 8, 15, 16, 17, 255, 256, 65535, 65536 };
    char *data = calloc(1, 65536);
    assert_non_null(data);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        msgpack_sbuffer_clear(&packed);
        msgpack_pack_ext_with_body(&pk, data, lengths[i], 5);
        size_t n = packed.size;
        msgpack_pack_true(&pk);
        struct reader r = reader_packed();
        struct str raw;
        assert_int_equal(reader_peek(&r), READER_EXT);
        assert_int_equal(reader_raw(&r, &raw), 0);
        assert_int_equal(raw.n, n);
        assert_int_equal(reader_peek(&r), READER_BOOL);
    }
    free(data);
}

// --- Refusing

// No function takes what is not there, and none of them moves then.
static void assert_refused_by_all(struct str in)
{
    struct reader r = reader_of(in);
    const uint8_t *before = r.p;
    int64_t i;
    uint64_t u;
    uint32_t n;
    bool b;
    double d;
    struct str s;
    assert_int_equal(reader_array(&r, &n), -EBADMSG);
    assert_int_equal(reader_map(&r, &n), -EBADMSG);
    assert_int_equal(reader_int(&r, &i), -EBADMSG);
    assert_int_equal(reader_uint(&r, &u), -EBADMSG);
    assert_int_equal(reader_bool(&r, &b), -EBADMSG);
    assert_int_equal(reader_nil(&r), -EBADMSG);
    assert_int_equal(reader_double(&r, &d), -EBADMSG);
    assert_int_equal(reader_str(&r, &s), -EBADMSG);
    assert_int_equal(reader_bin(&r, &s), -EBADMSG);
    assert_int_equal(reader_str_or_nil(&r, &s), -EBADMSG);
    assert_int_equal(reader_skip(&r), -EBADMSG);
    assert_int_equal(reader_raw(&r, &s), -EBADMSG);
    assert_ptr_equal(r.p, before);
}

// One value of each of the types that need more than one byte, cut at every place.
static void test_every_truncation_of_every_type(void **state)
{
    (void)state;
    static const char *const values[] = { "\xCC\x01",
                                          "\xCD\x01\x02",
                                          "\xCE\x01\x02\x03\x04",
                                          "\xCF\x01\x02\x03\x04\x05\x06\x07\x08",
                                          "\xD0\x01",
                                          "\xD1\x01\x02",
                                          "\xD2\x01\x02\x03\x04",
                                          "\xD3\x01\x02\x03\x04\x05\x06\x07\x08",
                                          "\xCA\x01\x02\x03\x04",
                                          "\xCB\x01\x02\x03\x04\x05\x06\x07\x08",
                                          "\xA3xyz",
                                          "\xD9\x03xyz",
                                          "\xC4\x03xyz",
                                          "\xD4\x01x",
                                          "\xD5\x01xy",
                                          "\xD6\x01wxyz",
                                          "\xC7\x03\x01xyz",
                                          "\x93\x01\x02\x03",
                                          "\x81\xA1k\x01" };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        size_t whole = strlen(values[i]);
        struct reader r = reader_of((struct str){ values[i], whole });
        assert_int_equal(reader_skip(&r), 0);
        assert_int_equal(reader_left(&r), 0);
        for (size_t n = 0; n < whole; n++) {
            struct str in = exact(values[i], n);
            bool container = values[i][0] == '\x93' || values[i][0] == '\x81';
            if (container && n >= 3) { // the count is plausible then; only stepping over it can tell
                r = reader_of(in);
                assert_int_equal(reader_skip(&r), -EBADMSG);
            } else {
                assert_refused_by_all(in);
            }
            free((char *)in.p);
        }
    }
}

static void test_long_forms_cut_in_their_length(void **state)
{
    (void)state;
    static const uint8_t types[] = { 0xDA, 0xDB, 0xC5, 0xC6, 0xC8, 0xC9, 0xDC, 0xDD, 0xDE, 0xDF, 0xD7, 0xD8 };
    for (size_t i = 0; i < sizeof types; i++) {
        for (size_t n = 1; n <= 2; n++) {
            const char bytes[2] = { (char)types[i], 0 };
            struct str in = exact(bytes, n);
            assert_refused_by_all(in);
            free((char *)in.p);
        }
    }
    assert_refused_by_all(STR("\xC1"));
    assert_refused_by_all(STR(""));
    assert_refused_by_all((struct str){ NULL, 0 });
}

static void test_nesting_is_bounded(void **state)
{
    (void)state;
    for (int map = 0; map < 2; map++) {
        for (int depth = READER_MAX_DEPTH - 1; depth <= READER_MAX_DEPTH + 1; depth++) {
            msgpack_sbuffer_clear(&packed);
            for (int i = 0; i < depth; i++) {
                if (map) {
                    msgpack_pack_map(&pk, 1);
                    msgpack_pack_int(&pk, i);
                } else {
                    msgpack_pack_array(&pk, 1);
                }
            }
            msgpack_pack_nil(&pk);
            struct reader r = reader_packed();
            bool good = depth <= READER_MAX_DEPTH;
            assert_int_equal(reader_skip(&r), good ? 0 : -EBADMSG);
            assert_int_equal(reader_left(&r), good ? 0 : packed.size);
        }
    }
    struct str bomb = exact("", 0);
    free((char *)bomb.p);
    char *deep = malloc(100000);
    assert_non_null(deep);
    memset(deep, 0x91, 100000);
    struct reader r = reader_of((struct str){ deep, 100000 });
    assert_int_equal(reader_skip(&r), -EBADMSG);
    free(deep);
}

// --- Anything

// Whether msgpack-c, which we trust with what we found to be whole, takes the same bytes for one value.
static void assert_msgpack_c_agrees(struct str in, size_t taken)
{
    msgpack_unpacked result;
    msgpack_unpacked_init(&result);
    size_t off = 0;
    assert_int_equal(msgpack_unpack_next(&result, in.p, in.n, &off), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(off, taken);
    msgpack_unpacked_destroy(&result);
}

static void test_random_bytes(void **state)
{
    (void)state;
    srandom(2);
    int whole = 0;
    for (int round = 0; round < 200000; round++) {
        char bytes[40];
        size_t n = 1 + (size_t)random() % sizeof bytes;
        for (size_t i = 0; i < n; i++) {
            // Half of the time small containers, so that nesting happens.
            bytes[i] = (char)(round % 2 ? random() : random() % 3 ? random() % 0x20 : 0x80 + random() % 0x24);
        }
        struct str in = exact(bytes, n);
        struct reader r = reader_of(in);
        enum reader_type type = reader_peek(&r);
        int rc = reader_skip(&r);
        if (rc == 0) {
            whole++;
            assert_msgpack_c_agrees(in, n - reader_left(&r));
        } else {
            assert_int_equal(reader_left(&r), n);
        }
        assert_true(rc == -EBADMSG || (type != READER_INVALID && type != READER_END));
        free((char *)in.p);
    }
    assert_true(whole > 50000); // the loop reaches what it is for
}

// Packs a random value, so that msgpack-c's idea of well-formed is the reference.
static void pack_random(int depth)
{
    static const char text[300];
    long kind = random() % (depth < 6 ? 9 : 6);
    uint32_t n = (uint32_t)random() % 20;
    switch (kind) {
    case 0:
        msgpack_pack_int64(&pk, (int64_t)((uint64_t)random() << 33 ^ (uint64_t)random() << (random() % 32)));
        break;
    case 1:
        msgpack_pack_double(&pk, (double)random() / 3);
        break;
    case 2:
        msgpack_pack_str_with_body(&pk, text, (size_t)random() % sizeof text);
        break;
    case 3:
        msgpack_pack_bin_with_body(&pk, text, (size_t)random() % sizeof text);
        break;
    case 4:
        msgpack_pack_ext_with_body(&pk, text, (size_t)random() % sizeof text, 1);
        break;
    case 5:
        msgpack_pack_nil(&pk);
        break;
    default:
        if (kind == 6) {
            msgpack_pack_map(&pk, n);
        } else {
            msgpack_pack_array(&pk, n);
        }
        for (uint32_t i = 0; i < (kind == 6 ? 2 * n : n); i++) {
            pack_random(depth + 1);
        }
    }
}

static void test_random_values_of_msgpack_c(void **state)
{
    (void)state;
    srandom(3);
    for (int round = 0; round < 2000; round++) {
        msgpack_sbuffer_clear(&packed);
        do {
            msgpack_sbuffer_clear(&packed);
            pack_random(3);
        } while (packed.size > 20000);
        struct str in = exact(packed.data, packed.size);
        struct reader r = reader_of(in);
        assert_int_equal(reader_skip(&r), 0);
        assert_int_equal(reader_left(&r), 0);
        for (size_t cut = 0; cut < 20 && cut < in.n; cut++) {
            struct str part = exact(in.p, (size_t)random() % in.n);
            r = reader_of(part);
            assert_int_equal(reader_skip(&r), -EBADMSG);
            free((char *)part.p);
        }
        free((char *)in.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_integers_as_msgpack_c_packs_them),
        CASE(test_integers_in_every_form),
        CASE(test_unsigned_above_the_signed_range),
        CASE(test_floats),
        CASE(test_strings_and_bytes_of_every_length_form),
        CASE(test_counts_of_every_form),
        CASE(test_a_count_needs_a_byte_for_each_element),
        CASE(test_the_largest_lengths),
        CASE(test_nil_and_bool),
        CASE(test_extensions_are_stepped_over),
        CASE(test_every_truncation_of_every_type),
        CASE(test_long_forms_cut_in_their_length),
        CASE(test_nesting_is_bounded),
        CASE(test_random_bytes),
        CASE(test_random_values_of_msgpack_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
