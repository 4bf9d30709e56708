// SPDX-License-Identifier: MIT
// Keys in JSON: the vectors of RFC 8037 appendix A, and what is not such a key is refused.
#include "common/jwk.h"

#include "common/sanitized.h"
#include "tests/unit/json_starved.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sodium.h>

#define RFC_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define RFC_D "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
#define RFC_KEY "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"" RFC_D "\",\"x\":\"" RFC_X "\"}"
#define RFC_THUMBPRINT "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
#define RFC_INPUT "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
#define RFC_SIGNATURE                                                                              \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

// Such a build shows each block before it is freed; others cannot look.
#define SEES_WHAT_IS_FREED SANITIZED

#if SEES_WHAT_IS_FREED
size_t __sanitizer_get_allocated_size(const volatile void *block);
void __sanitizer_free_hook(const volatile void *block);

static const char *watched; // text that must not be in a block that is freed
static unsigned n_freed, n_left;

void __sanitizer_free_hook(const volatile void *block)
{
    if (block && watched) {
        size_t n = __sanitizer_get_allocated_size(block);
        n_freed++;
        n_left += memmem((const void *)block, n, watched, strlen(watched)) != NULL;
    }
}

static void test_nothing_of_a_private_key_is_left_behind(void **state)
{
    (void)state;
    struct jwk key;
    watched = RFC_D;
    int rc = jwk_read(STR(RFC_KEY), &key);
    watched = NULL;
    assert_int_equal(rc, 0);
    assert_true(n_freed > 0);
    assert_int_equal(n_left, 0);
}
#endif

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

static void test_rfc8037_key_and_thumbprint(void **state)
{
    (void)state;
    struct jwk key;
    char x[BASE64URL_SIZE(JWK_PUBLIC_BYTES)];
    assert_int_equal(jwk_read(STR(RFC_KEY), &key), 0);
    base64url_encode(key.public_key, sizeof key.public_key, x);
    assert_string_equal(x, RFC_X);
    assert_string_equal(key.kid, RFC_THUMBPRINT);
}

static void test_rfc8037_signature(void **state)
{
    (void)state;
    struct jwk key;
    uint8_t signature[crypto_sign_BYTES];
    char text[BASE64URL_SIZE(crypto_sign_BYTES)];
    assert_int_equal(jwk_read(STR(RFC_KEY), &key), 0);
    crypto_sign_detached(signature, NULL, (const uint8_t *)RFC_INPUT, strlen(RFC_INPUT),
                         key.secret_key);
    base64url_encode(signature, sizeof signature, text);
    assert_string_equal(text, RFC_SIGNATURE);
}

static void test_written_keys_are_read_again(void **state)
{
    (void)state;
    struct jwk key, back;
    struct buf json;
    buf_init(&json, JWK_MAX_BYTES);
    jwk_make(&key);
    jwk_write(&key, &json);
    assert_true(buf_ok(&json));
    assert_int_equal(json.data[json.len - 1], '\n');
    assert_int_equal(jwk_read(buf_str(&json), &back), 0);
    assert_memory_equal(&key.secret_key, &back.secret_key, sizeof key.secret_key);
    assert_memory_equal(&key.public_key, &back.public_key, sizeof key.public_key);
    assert_string_equal(key.kid, back.kid);
    buf_fini(&json);
}

static void test_what_is_no_key_is_refused(void **state)
{
    (void)state;
#define KEY(kty, crv, d, x, more) "{\"kty\":" kty ",\"crv\":" crv ",\"d\":" d ",\"x\":" x more "}"
#define OKP "\"OKP\""
#define ED "\"Ed25519\""
#define D "\"" RFC_D "\""
#define X "\"" RFC_X "\""
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "[]",
        "{}",
        "\"x\"",
        "{\"kty\":\"OKP\"",
        RFC_KEY RFC_KEY,
        KEY("\"EC\"", ED, D, X, ""),
        KEY("1", ED, D, X, ""),
        KEY(OKP, "\"X25519\"", D, X, ""),
        KEY(OKP, ED, "null", X, ""),
        KEY(OKP, ED, "\"\"", X, ""),
        KEY(OKP, ED, "\"AAAA\"", X, ""),
        KEY(OKP, ED, "\"" RFC_D "AA\"", X, ""),
        KEY(OKP, ED, "\"" RFC_D "=\"", X, ""),
        KEY(OKP, ED, D, "null", ""),
        KEY(OKP, ED, D, D, ""), // x is not the public key of d
        KEY(OKP, ED, X, D, ""),
        KEY(OKP, ED, D, X, ",\"kid\":\"\""),
        KEY(OKP, ED, D, X, ",\"kid\":7"),
        KEY(OKP, ED, D, X, ",\"kid\":\"a b\""),
        KEY(OKP, ED, D, X, ",\"kid\":\"a\\\"b\""),
        KEY(OKP, ED, D, X, ",\"kid\":\"a\\u0000\""),
        KEY(OKP, ED, D, X, ",\"kid\":\"" RFC_X RFC_X "\""), // 86 characters
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct jwk key = { .kid = "untouched" };
        assert_int_equal(jwk_read(str_of(bad[i]), &key), -EBADMSG);
        assert_string_equal(key.kid, "untouched");
    }
    struct jwk key;
    assert_int_equal(jwk_read(STR(KEY(OKP, ED, D, X, ",\"kid\":\"2026-11.a_b\"")), &key), 0);
    assert_string_equal(key.kid, "2026-11.a_b");
}

#define RFC_MEMBER "\"x\": \"" RFC_X "\""

static void test_sets_grow_in_front_and_keep_what_they_had(void **state)
{
    (void)state;
    struct jwk first, second;
    struct buf one, two, three;
    buf_init(&one, JWK_SET_MAX_BYTES);
    buf_init(&two, JWK_SET_MAX_BYTES);
    buf_init(&three, JWK_SET_MAX_BYTES);
    assert_int_equal(jwk_read(STR(RFC_KEY), &first), 0);
    jwk_make(&second);

    assert_int_equal(jwk_set_add(STR(""), &first, &one), 1);
    buf_append_char(&one, '\0');
    assert_non_null(strstr(one.data, RFC_MEMBER));
    assert_non_null(strstr(one.data, "\"kid\": \"" RFC_THUMBPRINT "\""));
    assert_non_null(strstr(one.data, "\"use\": \"sig\""));
    assert_non_null(strstr(one.data, "\"alg\": \"EdDSA\""));
    assert_null(strstr(one.data, RFC_D));
    one.len--;

    assert_int_equal(jwk_set_add(buf_str(&one), &second, &two), 1);
    buf_append_char(&two, '\0');
    const char *new_kid = strstr(two.data, second.kid), *old_kid = strstr(two.data, RFC_THUMBPRINT);
    assert_non_null(new_kid);
    assert_non_null(old_kid);
    assert_true(new_kid < old_kid);
    two.len--;

    assert_int_equal(jwk_set_add(buf_str(&two), &first, &three), 0);
    assert_int_equal(jwk_set_add(buf_str(&two), &second, &three), 0);
    assert_int_equal(three.len, 0);
    buf_fini(&one);
    buf_fini(&two);
    buf_fini(&three);
}

static void test_foreign_members_of_a_set_survive(void **state)
{
    (void)state;
    struct jwk key;
    struct buf json;
    buf_init(&json, JWK_SET_MAX_BYTES);
    jwk_make(&key);
    assert_int_equal(
        jwk_set_add(STR("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"abc\"}],\"note\":1}"), &key, &json),
        1);
    buf_append_char(&json, '\0');
    assert_non_null(strstr(json.data, "\"n\": \"abc\""));
    assert_non_null(strstr(json.data, "\"note\": 1"));
    buf_fini(&json);
}

static void test_what_is_no_set_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x", "[]", "{}", "{\"keys\":{}}", "{\"keys\":null}", "{\"keys\":[]"
    };
    struct jwk key;
    struct buf json;
    buf_init(&json, JWK_SET_MAX_BYTES);
    jwk_make(&key);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(jwk_set_add(str_of(bad[i]), &key, &json), -EBADMSG);
    }
    // Over the limit of the output.
    struct buf tiny;
    buf_init(&tiny, 16);
    assert_int_equal(jwk_set_add(STR(""), &key, &tiny), -EMSGSIZE);
    buf_fini(&tiny);
    buf_fini(&json);
}

static void test_no_memory_is_no_wrong_key(void **state)
{
    (void)state;
    struct jwk key;
    struct buf json;
    int removed;
    buf_init(&json, JWK_SET_MAX_BYTES);
    json_starved = 1;
    assert_int_equal(jwk_read(STR(RFC_KEY), &key), -ENOMEM);
    assert_int_equal(jwk_read(STR(RFC_KEY), &key), 0);
    json_starved = 1;
    assert_int_equal(jwk_set_add(STR(""), &key, &json), -ENOMEM);
    json_starved = 1;
    assert_int_equal(jwk_set_retire(STR("{\"keys\":[]}"), NULL, 0, 0, &removed, &json), -ENOMEM);
    assert_int_equal(buf_str(&json).n, 0);
    buf_fini(&json);
}

static void test_keys_are_retired(void **state)
{
    (void)state;
    static const char set[] =
        "{\"keys\":[{\"kid\":\"a\"},{\"kid\":\"b\",\"exp\":100},{\"kid\":\"c\","
        "\"exp\":101},{\"kid\":\"d\",\"exp\":\"1\"}]}";
    struct buf json;
    int removed = 77;
    buf_init(&json, JWK_SET_MAX_BYTES);
    assert_int_equal(jwk_set_retire(str_of(set), NULL, 0, 99, &removed, &json), 0);
    assert_int_equal(json.len, 0);
    assert_int_equal(removed, 77);
    assert_int_equal(jwk_set_retire(str_of(set), "a", 500, 100, &removed, &json), 1);
    assert_int_equal(removed, 1);
    buf_append_char(&json, '\0');
    assert_non_null(strstr(json.data, "\"exp\": 500"));
    assert_null(strstr(json.data, "\"b\""));
    assert_non_null(strstr(json.data, "\"c\""));
    assert_non_null(strstr(json.data, "\"d\""));
    assert_int_equal(jwk_set_retire(STR("{}"), "a", 500, 100, &removed, &json), -EBADMSG);
    buf_fini(&json);
}

static void test_full_set(void **state)
{
    (void)state;
    struct buf json[2];
    struct jwk key;
    buf_init(&json[0], JWK_SET_MAX_BYTES);
    buf_init(&json[1], JWK_SET_MAX_BYTES);
    for (int i = 0; i <= JWK_SET_MAX_KEYS; i++) {
        jwk_make(&key);
        buf_reset(&json[1 - i % 2]);
        assert_int_equal(jwk_set_add(buf_str(&json[i % 2]), &key, &json[1 - i % 2]),
                         i < JWK_SET_MAX_KEYS ? 1 : -ENOSPC);
    }
    buf_fini(&json[0]);
    buf_fini(&json[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if SEES_WHAT_IS_FREED
        cmocka_unit_test(test_nothing_of_a_private_key_is_left_behind),
#endif
        cmocka_unit_test(test_rfc8037_key_and_thumbprint),
        cmocka_unit_test(test_rfc8037_signature),
        cmocka_unit_test(test_written_keys_are_read_again),
        cmocka_unit_test(test_what_is_no_key_is_refused),
        cmocka_unit_test(test_sets_grow_in_front_and_keep_what_they_had),
        cmocka_unit_test(test_foreign_members_of_a_set_survive),
        cmocka_unit_test(test_what_is_no_set_is_refused),
        cmocka_unit_test(test_no_memory_is_no_wrong_key),
        cmocka_unit_test(test_keys_are_retired),
        cmocka_unit_test(test_full_set),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
