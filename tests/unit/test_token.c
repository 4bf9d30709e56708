// SPDX-License-Identifier: MIT
// Access tokens are what RFC 7515 and RFC 9068 say, whatever is in the names, and verify with the
// public key.
#include "services/users/token.h"

#include "common/jwk.h"
#include "common/uuid.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>
#include <yyjson.h>

#define USER "01931b66-7d50-7c8a-9d3c-0123456789ab"
#define SID "01931b66-7d50-7c8a-9d3c-ba9876543210"
#define NOW_MS INT64_C(1763900000999)

struct parts {
    struct str signed_part;
    yyjson_doc *header, *claims;
    uint8_t signature[crypto_sign_BYTES];
};

static struct jwk key;
static char key_json[512];

static int start(void **state)
{
    (void)state;
    struct buf b;
    if (sodium_init() < 0) {
        return -1;
    }
    buf_init(&b, sizeof key_json - 1);
    jwk_make(&key);
    jwk_write(&key, &b);
    memcpy(key_json, b.data, b.len);
    buf_fini(&b);
    return 0;
}

static yyjson_doc *decode(struct str part)
{
    char json[TOKEN_MAX_BYTES];
    size_t n;
    assert_int_equal(base64url_decode(part, json, sizeof json, &n), 0);
    yyjson_doc *doc = yyjson_read(json, n, 0);
    assert_non_null(doc);
    return doc;
}

static struct parts take_apart(struct str token)
{
    struct parts p;
    size_t n;
    const char *dot = memchr(token.p, '.', token.n);
    assert_non_null(dot);
    const char *dot2 = memchr(dot + 1, '.', token.n - (size_t)(dot + 1 - token.p));
    assert_non_null(dot2);
    p.header = decode((struct str){ token.p, (size_t)(dot - token.p) });
    p.claims = decode((struct str){ dot + 1, (size_t)(dot2 - dot - 1) });
    p.signed_part = (struct str){ token.p, (size_t)(dot2 - token.p) };
    struct str signature = { dot2 + 1, token.n - p.signed_part.n - 1 };
    assert_int_equal(base64url_decode(signature, p.signature, sizeof p.signature, &n), 0);
    assert_int_equal(n, sizeof p.signature);
    return p;
}

static void free_parts(struct parts *p)
{
    yyjson_doc_free(p->header);
    yyjson_doc_free(p->claims);
}

static const char *text(yyjson_doc *doc, const char *name)
{
    return yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), name));
}

static int64_t number(yyjson_doc *doc, const char *name)
{
    return yyjson_get_sint(yyjson_obj_get(yyjson_doc_get_root(doc), name));
}

static struct token_issuer *open_issuer(const char *issuer, const char *audience, int64_t ttl_ms)
{
    struct token_issuer *t;
    assert_int_equal(token_issuer_open(str_of(key_json), issuer, audience, ttl_ms, &t), 0);
    return t;
}

static void test_claims_and_signature(void **state)
{
    (void)state;
    struct token_issuer *t = open_issuer("https://id.example", "shop", 900000);
    struct token_claims claims = { STR(USER), STR("admin"), STR(SID), NOW_MS };
    struct buf b;
    buf_init(&b, TOKEN_MAX_BYTES);
    assert_int_equal(token_sign(t, &claims, &b), 0);
    struct parts p = take_apart(buf_str(&b));
    assert_string_equal(text(p.header, "alg"), "EdDSA");
    assert_string_equal(text(p.header, "typ"), "at+jwt");
    assert_string_equal(text(p.header, "kid"), key.kid);
    assert_int_equal(yyjson_obj_size(yyjson_doc_get_root(p.header)), 3);
    assert_string_equal(text(p.claims, "iss"), "https://id.example");
    assert_string_equal(text(p.claims, "aud"), "shop");
    assert_string_equal(text(p.claims, "sub"), USER);
    assert_string_equal(text(p.claims, "role"), "admin");
    assert_string_equal(text(p.claims, "sid"), SID);
    assert_string_equal(text(p.claims, "client_id"), "sluice");
    assert_true(uuid_valid(str_of(text(p.claims, "jti"))));
    assert_true(number(p.claims, "iat") == NOW_MS / 1000);
    assert_true(number(p.claims, "exp") == NOW_MS / 1000 + 900);
    assert_true(token_ttl_s(t) == 900);
    assert_int_equal(yyjson_obj_size(yyjson_doc_get_root(p.claims)), 9);

    const uint8_t *message = (const uint8_t *)p.signed_part.p;
    assert_int_equal(
        crypto_sign_verify_detached(p.signature, message, p.signed_part.n, key.public_key), 0);
    b.data[20] ^= 1;
    assert_int_equal(
        crypto_sign_verify_detached(p.signature, message, p.signed_part.n, key.public_key), -1);
    free_parts(&p);
    buf_fini(&b);
    token_issuer_close(&t);
    assert_null(t);
}

static void test_no_two_tokens_are_equal(void **state)
{
    (void)state;
    struct token_issuer *t = open_issuer("a", "b", 60000);
    struct token_claims claims = { STR(USER), STR("user"), STR(SID), NOW_MS };
    struct buf one, two;
    buf_init(&one, TOKEN_MAX_BYTES);
    buf_init(&two, TOKEN_MAX_BYTES);
    assert_int_equal(token_sign(t, &claims, &one), 0);
    assert_int_equal(token_sign(t, &claims, &two), 0);
    assert_false(str_eq(buf_str(&one), buf_str(&two)));
    buf_fini(&one);
    buf_fini(&two);
    token_issuer_close(&t);
}

// The longest names, of characters that JSON blows up most, stay below the limit of a token.
static void test_names_are_escaped_and_fit(void **state)
{
    (void)state;
    char name[TOKEN_MAX_NAME + 1];
    memset(name, '\x01', TOKEN_MAX_NAME);
    name[0] = '"';
    name[1] = '\\';
    name[TOKEN_MAX_NAME] = '\0';
    struct token_issuer *t = open_issuer(name, name, 1000);
    struct token_claims claims = { STR(USER), STR("admin"), STR(SID), NOW_MS };
    struct buf b;
    buf_init(&b, TOKEN_MAX_BYTES);
    assert_int_equal(token_sign(t, &claims, &b), 0);
    struct parts p = take_apart(buf_str(&b));
    assert_string_equal(text(p.claims, "iss"), name);
    assert_string_equal(text(p.claims, "aud"), name);
    free_parts(&p);
    buf_fini(&b);
    token_issuer_close(&t);
}

static void test_tokens_are_appended(void **state)
{
    (void)state;
    struct token_issuer *t = open_issuer("a", "b", 60000);
    struct token_claims claims = { STR(USER), STR("user"), STR(SID), NOW_MS };
    struct buf b;
    buf_init(&b, TOKEN_MAX_BYTES);
    buf_append_z(&b, "Bearer ");
    assert_int_equal(token_sign(t, &claims, &b), 0);
    struct parts p = take_apart((struct str){ b.data + 7, b.len - 7 });
    assert_int_equal(crypto_sign_verify_detached(p.signature, (const uint8_t *)p.signed_part.p,
                                                 p.signed_part.n, key.public_key),
                     0);
    free_parts(&p);
    buf_fini(&b);
    token_issuer_close(&t);
}

static void test_failures(void **state)
{
    (void)state;
    struct token_issuer *t = NULL;
    assert_int_equal(token_issuer_open(STR("{}"), "a", "b", 1000, &t), -EBADMSG);
    assert_int_equal(token_issuer_open(STR(""), "a", "b", 1000, &t), -EBADMSG);
    assert_null(t);
    token_issuer_close(&t);

    t = open_issuer("a", "b", 60000);
    struct token_claims claims = { STR(USER), STR("user"), STR(SID), NOW_MS };
    struct buf small;
    buf_init(&small, 300);
    assert_int_equal(token_sign(t, &claims, &small), -EMSGSIZE);
    buf_fini(&small);
    token_issuer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims_and_signature),
        cmocka_unit_test(test_no_two_tokens_are_equal),
        cmocka_unit_test(test_names_are_escaped_and_fit),
        cmocka_unit_test(test_tokens_are_appended),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
