// SPDX-License-Identifier: MIT
// Tokens that are signed correctly and yet must be refused, and tokens whose signature or form is
// wrong.
#include "gateway/jwt.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW 1800000000
#define HEADER "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}"
#define REST ",\"sub\":\"u\",\"role\":\"user\",\"sid\":\"s\""
#define TIMES ",\"iat\":1799999990,\"exp\":1800000900,\"jti\":\"j\""
#define WHO "\"iss\":\"sluice\",\"aud\":\"sluice\""
#define CLAIMS "{" WHO REST TIMES "}"

static uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
static struct jwks keys;
static struct jwt_claims claims;
static char token[8192];

static int setup(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    crypto_sign_keypair(keys.keys[0].public_key, secret_key);
    strcpy(keys.keys[0].kid, "key-1");
    keys.keys[0].exp_s = INT64_MAX;
    keys.n = 1;
    return 0;
}

static void sign(const char *header, const char *body)
{
    uint8_t signature[crypto_sign_BYTES];
    size_t n = base64url_encode(header, strlen(header), token).n;
    token[n++] = '.';
    n += base64url_encode(body, strlen(body), token + n).n;
    crypto_sign_detached(signature, NULL, (const uint8_t *)token, n, secret_key);
    token[n++] = '.';
    base64url_encode(signature, sizeof signature, token + n);
}

static int verify(void)
{
    struct jwt_rules rules = { &keys, "sluice", "sluice", NOW, NULL };
    memset(&claims, 0x5A, sizeof claims);
    int rc = jwt_verify(str_of(token), &rules, &claims);
    if (rc) {
        assert_int_equal(claims.sub[0], 0x5A); // written only on success
    }
    return rc;
}

static int check(const char *header, const char *body)
{
    sign(header, body);
    return verify();
}

static void test_good(void **state)
{
    (void)state;
    assert_int_equal(check(HEADER, CLAIMS), 0);
    assert_string_equal(claims.sub, "u");
    assert_string_equal(claims.role, "user");
    assert_string_equal(claims.sid, "s");
    assert_int_equal(claims.exp_s, 1800000900);
    assert_int_equal(claims.issued_ms, 1799999990000);
    assert_int_equal(
        check("{\"alg\":\"Ed25519\",\"typ\":\"application/AT+JWT\",\"kid\":\"key-1\",\"x\":1}",
              CLAIMS),
        0);
    assert_int_equal(
        check(HEADER, "{\"iss\":\"sluice\",\"aud\":[\"other\",\"sluice\"]" REST TIMES "}"), 0);
    assert_int_equal(check(HEADER, "{" WHO REST TIMES ",\"nbf\":1800000000}"), 0);
}

// The time of issue in milliseconds, from the UUIDv7 that the jti is; but only if it agrees with
// iat.
static void test_issued(void **state)
{
    (void)state;
    // 0x1a3185c36f6 ms = 1799999993.590 s
    assert_int_equal(check(HEADER, "{" WHO REST ",\"iat\":1799999993,\"exp\":1800000900,"
                                   "\"jti\":\"01a3185c-36f6-7abc-8def-0123456789ab\"}"),
                     0);
    assert_int_equal(claims.issued_ms, 1799999993590);
    assert_int_equal(check(HEADER, "{" WHO REST ",\"iat\":1799999992,\"exp\":1800000900,"
                                   "\"jti\":\"01a3185c-36f6-7abc-8def-0123456789ab\"}"),
                     0);
    assert_int_equal(claims.issued_ms, 1799999992000);
    assert_int_equal(check(HEADER, "{" WHO REST ",\"iat\":1799999993,\"exp\":1800000900,"
                                   "\"jti\":\"01a3185c-36f6-4abc-8def-0123456789ab\"}"),
                     0); // version 4
    assert_int_equal(claims.issued_ms, 1799999993000);
}

static void test_bad_headers(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "[]",
        "5",
        "",
        "{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"eddsa\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":[\"EdDSA\"],\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"key-1\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"key-1\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"application/\",\"kid\":\"key-1\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-2\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"../key-1\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"jwk\":{}}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"jku\":\"http://a\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"x5u\":\"http://a\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"x5c\":[]}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"b64\":false}",
        "{\"alg\":\"none\",\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"key-1\",\"\\u006bid\":\"key-1\"}",
        (HEADER "x"),
        ("\xEF\xBB\xBF" HEADER),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = check(bad[i], CLAIMS);
        if (rc != (strstr(bad[i], "key-2") || strstr(bad[i], "../") ? -ENOKEY : -EACCES)) {
            fail_msg("header %s is taken", bad[i]);
        }
    }
}

static void test_bad_claims(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "[]",
        "null",
        "{\"aud\":\"sluice\"" REST TIMES "}",
        "{\"iss\":\"other\",\"aud\":\"sluice\"" REST TIMES "}",
        "{\"iss\":[\"sluice\"],\"aud\":\"sluice\"" REST TIMES "}",
        "{\"iss\":\"sluice\"" REST TIMES "}",
        "{\"iss\":\"sluice\",\"aud\":\"other\"" REST TIMES "}",
        "{\"iss\":\"sluice\",\"aud\":[]" REST TIMES "}",
        "{\"iss\":\"sluice\",\"aud\":{\"a\":\"sluice\"}" REST TIMES "}",
        "{" WHO ",\"role\":\"user\",\"sid\":\"s\"" TIMES "}",
        "{" WHO ",\"sub\":\"u\",\"sid\":\"s\"" TIMES "}",
        "{" WHO ",\"sub\":\"u\",\"role\":\"user\"" TIMES "}",
        "{" WHO ",\"sub\":\"\",\"role\":\"user\",\"sid\":\"s\"" TIMES "}",
        "{" WHO ",\"sub\":5,\"role\":\"user\",\"sid\":\"s\"" TIMES "}",
        "{" WHO ",\"sub\":\"u\\u0000v\",\"role\":\"user\",\"sid\":\"s\"" TIMES "}",
        "{" WHO ",\"sub\":\"u v\",\"role\":\"user\",\"sid\":\"s\"" TIMES "}",
        "{" WHO ",\"sub\":\"a2345678901234567890123456789012345678901234567890123456789012345\","
        "\"role\":\"user\","
        "\"sid\":\"s\"" TIMES "}",
        "{" WHO REST ",\"iat\":1799999990,\"exp\":1800000900}",
        "{" WHO REST ",\"iat\":1799999990,\"jti\":\"j\"}",
        "{" WHO REST ",\"exp\":1800000900,\"jti\":\"j\"}",
        "{" WHO REST ",\"iat\":1799999990,\"exp\":\"1800000900\",\"jti\":\"j\"}",
        "{" WHO REST ",\"iat\":1799999990,\"exp\":1800000900.5,\"jti\":\"j\"}",
        "{" WHO REST ",\"iat\":1799999990,\"exp\":-1,\"jti\":\"j\"}",
        "{" WHO REST ",\"iat\":1799999990,\"exp\":18446744073709551615,\"jti\":\"j\"}",
        "{" WHO REST ",\"iat\":1800007201,\"exp\":1800000900,\"jti\":\"j\"}",
        "{" WHO REST TIMES ",\"nbf\":1800007201}",
        "{" WHO REST TIMES ",\"nbf\":\"0\"}",
        "{" WHO REST TIMES ",\"sub\":\"admin\"}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (check(HEADER, bad[i]) != -EACCES) {
            fail_msg("claims %s are taken", bad[i]);
        }
    }
}

// A list of n numbers, or an object of n members.
static void write_elements(int n, bool object, char *out, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        int more = object ? snprintf(out + at, size - at, "%c\"%d\":1", i ? ',' : '{', i)
                          : snprintf(out + at, size - at, "%c1", i ? ',' : '[');
        at += (size_t)more;
        assert_true(at < size);
    }
    (void)snprintf(out + at, size - at, "%s", n == 0 ? object ? "{}" : "[]" : object ? "}" : "]");
}

// A member that is to be a string may be a list or an object of as many elements as the string that is
// expected has bytes.
static void test_lists_for_strings(void **state)
{
    (void)state;
    static const char *const templates[][2] = {
        { "{\"alg\":@,\"typ\":\"at+jwt\",\"kid\":\"key-1\"}", CLAIMS },
        { "{\"alg\":\"EdDSA\",\"typ\":@,\"kid\":\"key-1\"}", CLAIMS },
        { "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":@}", CLAIMS },
        { HEADER, "{\"iss\":@,\"aud\":\"sluice\"" REST TIMES "}" },
        { HEADER, "{" WHO ",\"sub\":@,\"role\":\"user\",\"sid\":\"s\"" TIMES "}" },
        { HEADER, "{" WHO ",\"sub\":\"u\",\"role\":@,\"sid\":\"s\"" TIMES "}" },
        { HEADER, "{" WHO ",\"sub\":\"u\",\"role\":\"user\",\"sid\":@" TIMES "}" },
        { HEADER, "{" WHO REST ",\"iat\":1799999990,\"exp\":1800000900,\"jti\":@}" },
    };
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        const char *const *t = templates[i];
        int part = strchr(t[0], '@') ? 0 : 1, before = (int)strcspn(t[part], "@");
        for (int n = 0; n <= 128; n++) { // of both kinds by turns
            char value[1024], text[2048];
            write_elements(n / 2, n % 2, value, sizeof value);
            (void)snprintf(text, sizeof text, "%.*s%s%s", before, t[part], value,
                           t[part] + before + 1);
            if (check(part == 0 ? text : t[0], part == 1 ? text : t[1]) != -EACCES) {
                fail_msg("%s is taken", text);
            }
        }
    }
}

static void test_times(void **state)
{
    (void)state;
    assert_int_equal(
        check(HEADER, "{" WHO REST ",\"iat\":1799990000,\"exp\":1800000000,\"jti\":\"j\"}"),
        -EKEYEXPIRED);
    assert_int_equal(
        check(HEADER, "{" WHO REST ",\"iat\":1799990000,\"exp\":1800000001,\"jti\":\"j\"}"), 0);
    assert_int_equal(
        check(HEADER, "{" WHO REST ",\"iat\":1800007200,\"exp\":1800000900,\"jti\":\"j\"}"), 0);
    assert_int_equal(check(HEADER, "{" WHO REST TIMES ",\"nbf\":1800007200}"), 0);
}

// Whatever single character is changed, the token is refused.
static void test_every_change(void **state)
{
    (void)state;
    sign(HEADER, CLAIMS);
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++) {
        char before = token[i];
        for (const char *c = "Aw.9_="; *c; c++) {
            token[i] = *c;
            assert_true(*c == before ? verify() == 0 : verify() == -EACCES || verify() == -ENOKEY);
        }
        token[i] = before;
    }
    for (size_t i = 0; i < n; i++) {
        char before = token[i];
        token[i] = '\0'; // cut off
        assert_int_equal(verify(), -EACCES);
        token[i] = before;
    }
    strcat(token, ".");
    assert_int_equal(verify(), -EACCES);
}

// The unused bits of the last character must be zero: one token has one text.
static void test_malleable_text(void **state)
{
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    sign(HEADER, CLAIMS);
    char *last = token + strlen(token) - 1;
    *last = alphabet[(size_t)(strchr(alphabet, *last) - alphabet) | 1]; // 64 bytes leave 4 bits
    assert_int_equal(verify(), -EACCES);
}

static void test_foreign_key(void **state)
{
    (void)state;
    uint8_t mine[sizeof secret_key], public_key[crypto_sign_PUBLICKEYBYTES];
    memcpy(mine, secret_key, sizeof mine);
    crypto_sign_keypair(public_key, secret_key);
    assert_int_equal(check(HEADER, CLAIMS), -EACCES);
    memcpy(secret_key, mine, sizeof mine);
}

// A key with an end is not used after it.
static void test_key_end(void **state)
{
    (void)state;
    keys.keys[0].exp_s = NOW + 1;
    assert_int_equal(check(HEADER, CLAIMS), 0);
    keys.keys[0].exp_s = NOW;
    assert_int_equal(check(HEADER, CLAIMS), -ENOKEY);
    keys.keys[0].exp_s = INT64_MAX;
}

static void test_size(void **state)
{
    (void)state;
    size_t longest = 0, shortest_refused = SIZE_MAX;
    for (int padding = 2600; padding < 3000; padding += 5) {
        char body[4096];
        (void)snprintf(body, sizeof body, "{" WHO REST TIMES ",\"x\":\"%0*d\"}", padding, 0);
        sign(HEADER, body);
        size_t n = strlen(token);
        if (verify() == 0) {
            longest = n;
        } else if (n < shortest_refused) {
            shortest_refused = n;
        }
    }
    assert_in_range(longest, TOKEN_MAX_BYTES - 8, TOKEN_MAX_BYTES);
    assert_in_range(shortest_refused, TOKEN_MAX_BYTES + 1, TOKEN_MAX_BYTES + 8);
    assert_int_equal(
        jwt_verify(STR(""), &(struct jwt_rules){ &keys, "sluice", "sluice", NOW, NULL }, &claims),
        -EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_issued),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_claims),
        cmocka_unit_test(test_lists_for_strings),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_every_change),
        cmocka_unit_test(test_malleable_text),
        cmocka_unit_test(test_foreign_key),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_key_end),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
