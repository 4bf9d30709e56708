// SPDX-License-Identifier: MIT
// base64url is a bijection: what one text decodes to, no other text does.
#include "common/base64url.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_encodes(const char *bytes, const char *text)
{
    char out[64];
    uint8_t back[32];
    size_t n = 99;
    struct str s = base64url_encode(bytes, strlen(bytes), out);
    assert_int_equal(s.n, strlen(text));
    assert_string_equal(out, text);
    assert_int_equal(base64url_decode(s, back, strlen(bytes), &n), 0);
    assert_int_equal(n, strlen(bytes));
    assert_memory_equal(back, bytes, n);
}

// RFC 4648 section 10, without the padding.
static void test_rfc4648_vectors(void **state)
{
    (void)state;
    assert_encodes("", "");
    assert_encodes("f", "Zg");
    assert_encodes("fo", "Zm8");
    assert_encodes("foo", "Zm9v");
    assert_encodes("foob", "Zm9vYg");
    assert_encodes("fooba", "Zm9vYmE");
    assert_encodes("foobar", "Zm9vYmFy");
    assert_encodes("\xfb\xff\xbf", "-_-_");
}

static void test_every_length_round_trips(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n++) {
        uint8_t *bytes = malloc(n + 1), *back = malloc(n + 1);
        char *text = malloc(BASE64URL_SIZE(n));
        assert_true(bytes && back && text);
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(i * 89 + n);
        }
        struct str s = base64url_encode(bytes, n, text);
        assert_int_equal(s.n, BASE64URL_TEXT(n));
        assert_int_equal(text[s.n], '\0');
        size_t got;
        assert_int_equal(base64url_decode(s, back, n, &got), 0);
        assert_int_equal(got, n);
        assert_memory_equal(back, bytes, n);
        free(bytes);
        free(back);
        free(text);
    }
}

static int decode(const char *text)
{
    uint8_t out[64];
    size_t n = 99;
    int r = base64url_decode(str_of(text), out, sizeof out, &n);
    if (r < 0) {
        assert_int_equal(n, 99); // written only on success
    }
    return r;
}

static void test_other_alphabets_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "Zg==",    "Zg=",    "Zm8=",  "+/+/", "Zm 9v",
                                       "Zm9v\n",  "\nZm9v", "Zm9v.", "Z!9v", "====",
                                       "Zm9\x80", " ",      "Zm9v=" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(decode(bad[i]), -EINVAL);
    }
}

static void test_every_other_byte_is_refused(void **state)
{
    (void)state;
    int good = 0;
    for (int c = 0; c < 256; c++) {
        char text[] = { 'Z', (char)c, '9', 'v' };
        uint8_t out[3];
        size_t n;
        int r = base64url_decode((struct str){ text, sizeof text }, out, sizeof out, &n);
        assert_true(r == 0 || r == -EINVAL);
        good += r == 0;
    }
    assert_int_equal(good, 64);
}

static void test_impossible_lengths_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode("Z"), -EINVAL);
    assert_int_equal(decode("Zm9vZ"), -EINVAL);
}

// Of the 64 (16, 4) texts that a loose decoder takes for one last byte (two bytes), one is right.
static void test_trailing_bits_are_refused(void **state)
{
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    int two = 0, three = 0;
    for (size_t i = 0; i < 64; i++) {
        two += decode((char[]){ 'Z', alphabet[i], '\0' }) == 0;
        three += decode((char[]){ 'Z', 'm', alphabet[i], '\0' }) == 0;
    }
    assert_int_equal(two, 4);
    assert_int_equal(three, 16);
    assert_int_equal(decode("Zh"), -EINVAL);
    assert_int_equal(decode("Zm9"), -EINVAL);
}

static void test_room_is_respected(void **state)
{
    (void)state;
    uint8_t out[4] = { 0, 0, 0, 0xaa };
    size_t n = 99;
    assert_int_equal(base64url_decode(STR("Zm9vYg"), out, 3, &n), -EMSGSIZE);
    assert_int_equal(out[3], 0xaa);
    assert_int_equal(n, 99);
    assert_int_equal(base64url_decode(STR("Zm9v"), out, 3, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(base64url_decode(STR(""), NULL, 0, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(base64url_decode((struct str){ NULL, 0 }, NULL, 0, &n), 0);
    assert_int_equal(base64url_decode(STR("Zg"), NULL, 0, &n), -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc4648_vectors),
        cmocka_unit_test(test_every_length_round_trips),
        cmocka_unit_test(test_other_alphabets_are_refused),
        cmocka_unit_test(test_every_other_byte_is_refused),
        cmocka_unit_test(test_impossible_lengths_are_refused),
        cmocka_unit_test(test_trailing_bits_are_refused),
        cmocka_unit_test(test_room_is_respected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
