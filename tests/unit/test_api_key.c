// SPDX-License-Identifier: MIT
// Keys differ, have one form, and their hash is that of the text; scopes are read strictly, and
// allow what they name and nothing else.
#include "common/api_key.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sodium.h>

static void test_keys(void **state)
{
    (void)state;
    char a[API_KEY_TEXT + 1], b[API_KEY_TEXT + 1];
    uint8_t ha[API_KEY_HASH_BYTES], hb[API_KEY_HASH_BYTES], again[API_KEY_HASH_BYTES];
    api_key_make(a);
    api_key_make(b);
    assert_int_equal(strlen(a), 46);
    assert_true(api_key_is(str_of(a)));
    assert_string_not_equal(a, b);
    assert_int_equal(api_key_hash(str_of(a), ha), 0);
    assert_int_equal(api_key_hash(str_of(b), hb), 0);
    assert_int_equal(api_key_hash(str_of(a), again), 0);
    assert_memory_not_equal(ha, hb, sizeof ha);
    assert_memory_equal(ha, again, sizeof ha);
}

// SHA-256 of the text, by another program.
static void test_hash_of_a_known_key(void **state)
{
    (void)state;
    uint8_t hash[API_KEY_HASH_BYTES];
    char hex[2 * API_KEY_HASH_BYTES + 1];
    assert_int_equal(api_key_hash(STR("sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), hash), 0);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    assert_string_equal(hex, "12576e7a680e2c3225b7d080cd3e1484262cfd95d5596652e4649a8325ac8ea8");
}

static void test_what_is_no_key(void **state)
{
    (void)state;
    char key[API_KEY_TEXT + 1], copy[API_KEY_TEXT + 2];
    uint8_t hash[API_KEY_HASH_BYTES];
    api_key_make(key);
    for (size_t n = 0; n < API_KEY_TEXT; n++) {
        assert_int_equal(api_key_hash((struct str){ key, n }, hash), -EINVAL);
        memcpy(copy, key, sizeof key);
        copy[n] = n < 3 ? 'x' : '=';
        assert_int_equal(api_key_hash((struct str){ copy, API_KEY_TEXT }, hash), -EINVAL);
    }
    snprintf(copy, sizeof copy, "%sA", key);
    assert_int_equal(api_key_hash(str_of(copy), hash), -EINVAL);
    // Bits after the last byte: another text of the same bytes is no key.
    assert_int_equal(api_key_hash(STR("sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"), hash),
                     -EINVAL);
    assert_false(api_key_is(STR("sk")));
    assert_false(api_key_is(STR("eyJhbGciOiJFZERTQSJ9.e30.")));
}

static void test_scopes_are_read_strictly(void **state)
{
    (void)state;
    static const char *const valid[] = { "*", "orders:read", "orders:write orders:read",
                                         "a-1:read * search:read" };
    static const char *const wrong[] = { "",
                                         " ",
                                         "**",
                                         "orders",
                                         "orders:",
                                         ":read",
                                         "orders:delete",
                                         "orders:read ",
                                         " orders:read",
                                         "orders:read  users:read",
                                         "Orders:read",
                                         "1a:read",
                                         "orders:read,users:read",
                                         "orders:read\tusers:read",
                                         "orders :read",
                                         "*:read",
                                         "a23456789012345678901234567890123:read" };
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        assert_null(api_key_scope_check(str_of(valid[i])));
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (!api_key_scope_check(str_of(wrong[i]))) {
            fail_msg("\"%s\" is taken", wrong[i]);
        }
    }
    char longest[API_KEY_SCOPE_MAX + 13];
    memset(longest, 0, sizeof longest);
    while (strlen(longest) + 9 <= API_KEY_SCOPE_MAX + 9) {
        strcat(longest, "abc:read "); // 9 bytes each
    }
    longest[strlen(longest) - 1] = '\0';
    assert_true(strlen(longest) > API_KEY_SCOPE_MAX);
    assert_non_null(api_key_scope_check(str_of(longest)));
    assert_null(api_key_scope_check((struct str){ longest, 44 * 9 - 1 }));
}

static void test_scopes_allow_what_they_name(void **state)
{
    (void)state;
    struct str s = STR("orders:read users:write");
    assert_true(api_key_scope_allows(s, STR("orders"), false));
    assert_false(api_key_scope_allows(s, STR("orders"), true));
    assert_true(api_key_scope_allows(s, STR("users"), true));
    assert_false(api_key_scope_allows(s, STR("users"), false));
    assert_false(api_key_scope_allows(s, STR("order"), false));
    assert_false(api_key_scope_allows(s, STR("search"), false));
    assert_false(api_key_scope_allows(s, STR(""), false));
    assert_false(api_key_scope_allows(STR(""), STR("orders"), false));
    assert_true(api_key_scope_allows(STR("users:read *"), STR("orders"), true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_hash_of_a_known_key),
        cmocka_unit_test(test_what_is_no_key),
        cmocka_unit_test(test_scopes_are_read_strictly),
        cmocka_unit_test(test_scopes_allow_what_they_name),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
