// SPDX-License-Identifier: MIT
// Refresh tokens keep their first half and change their second; nothing but such a token is read as
// one.
#include "services/users/refresh_token.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

static void test_text_round_trips(void **state)
{
    (void)state;
    struct refresh_token t, back;
    char text[REFRESH_TEXT + 1];
    refresh_token_make(&t);
    refresh_token_text(&t, text);
    assert_int_equal(strlen(text), 43);
    assert_int_equal(refresh_token_parse(str_of(text), &back), 0);
    assert_memory_equal(&t, &back, sizeof t);
}

static void test_renewing_keeps_the_family(void **state)
{
    (void)state;
    struct refresh_token first, second, other;
    refresh_token_make(&first);
    refresh_token_make(&other);
    second = first;
    refresh_token_renew(&second);
    assert_memory_equal(first.family, second.family, sizeof first.family);
    assert_memory_not_equal(first.secret, second.secret, sizeof first.secret);
    assert_memory_not_equal(first.family, other.family, sizeof first.family);
}

static void test_other_texts_are_refused(void **state)
{
    (void)state;
    struct refresh_token t;
    char text[REFRESH_TEXT + 3];
    refresh_token_make(&t);
    refresh_token_text(&t, text);
    for (size_t n = 0; n < REFRESH_TEXT; n++) {
        assert_int_equal(refresh_token_parse((struct str){ text, n }, &t), -EINVAL);
    }
    memcpy(text + REFRESH_TEXT, "A", 2);
    assert_int_equal(refresh_token_parse(str_of(text), &t), -EINVAL);
    memcpy(text + REFRESH_TEXT, "=", 2);
    assert_int_equal(refresh_token_parse(str_of(text), &t), -EINVAL);
    text[REFRESH_TEXT] = '\0';
    text[5] = '+';
    assert_int_equal(refresh_token_parse(str_of(text), &t), -EINVAL);
    assert_int_equal(refresh_token_parse((struct str){ NULL, 0 }, &t), -EINVAL);
}

static void test_hashes(void **state)
{
    (void)state;
    uint8_t half[REFRESH_HALF_BYTES] = { 1, 2, 3 }, a[SESSION_HASH_BYTES], b[SESSION_HASH_BYTES];
    refresh_token_hash(half, a);
    refresh_token_hash(half, b);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, half, sizeof a);
    half[15] ^= 0x80;
    refresh_token_hash(half, b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_round_trips),
        cmocka_unit_test(test_renewing_keeps_the_family),
        cmocka_unit_test(test_other_texts_are_refused),
        cmocka_unit_test(test_hashes),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
