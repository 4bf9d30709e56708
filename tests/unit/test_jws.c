// SPDX-License-Identifier: MIT
// The vectors of RFC 7515 appendix A and RFC 8037 appendix A, and what is close to them and wrong.
#include "gateway/jws.h"

#include "common/base64url.h"
#include "gateway/jwt.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define PAYLOAD                                                                                    \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV"  \
    "lfQ"

// RFC 7515 appendix A.2
#define RS256_N                                                                                    \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4" \
    "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re" \
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX" \
    "FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
#define RS256_INPUT "eyJhbGciOiJSUzI1NiJ9." PAYLOAD
#define RS256_SIGNATURE                                                                            \
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5" \
    "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb" \
    "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO" \
    "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"

// RFC 7515 appendix A.3
#define ES256_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define ES256_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define ES256_INPUT "eyJhbGciOiJFUzI1NiJ9." PAYLOAD
#define ES256_SIGNATURE                                                                            \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

// RFC 8037 appendix A.2 and A.4
#define EDDSA_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define EDDSA_INPUT "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
#define EDDSA_SIGNATURE                                                                            \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

// RFC 7515 appendix A.1 (and RFC 7519 section 3.1), A.5 (and RFC 7519 section 6.1)
#define HS256_TOKEN                                                                                \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." PAYLOAD                                            \
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define NONE_TOKEN "eyJhbGciOiJub25lIn0." PAYLOAD "."

static char bytes[1024];

static struct str decode(const char *text)
{
    struct str s = { bytes, 0 };
    assert_int_equal(base64url_decode(str_of(text), bytes, sizeof bytes, &s.n), 0);
    return s;
}

// The signature is good, and is not with any of its bits, or any character of the input, changed; nor
// cut off, nor longer.
static void check_all(bool (*valid)(struct str input, struct str signature), const char *text,
                      const char *signature_text)
{
    char input[1024];
    (void)snprintf(input, sizeof input, "%s", text);
    struct str signature = decode(signature_text), good = str_of(input);
    assert_true(valid(good, signature));
    for (size_t i = 0; i < signature.n * 8; i += 5) {
        bytes[i / 8] ^= (char)(1 << i % 8);
        assert_false(valid(good, signature));
        bytes[i / 8] ^= (char)(1 << i % 8);
    }
    for (size_t i = 0; i < good.n; i += 7) {
        input[i] ^= 1;
        assert_false(valid(good, signature));
        input[i] ^= 1;
    }
    bytes[signature.n] = 0;
    assert_false(valid(good, (struct str){ bytes, signature.n + 1 }));
    assert_false(valid(good, (struct str){ bytes, signature.n - 1 }));
    assert_false(valid(good, (struct str){ bytes, 0 }));
    assert_false(valid((struct str){ input, good.n - 1 }, signature));
    assert_true(valid(good, signature));
}

static struct evp_pkey_st *key;

static bool rs256_valid(struct str input, struct str signature)
{
    return jws_evp_valid(JWS_RS256, key, input, signature);
}

static bool es256_valid(struct str input, struct str signature)
{
    return jws_evp_valid(JWS_ES256, key, input, signature);
}

static bool eddsa_valid(struct str input, struct str signature)
{
    uint8_t x[JWS_ED25519_BYTES];
    size_t n;
    assert_int_equal(base64url_decode(STR(EDDSA_X), x, sizeof x, &n), 0);
    return jws_eddsa_valid(x, input, signature);
}

static void test_rs256(void **state)
{
    (void)state;
    assert_int_equal(jws_rsa_key(STR(RS256_N), STR("AQAB"), &key), 0);
    check_all(rs256_valid, RS256_INPUT, RS256_SIGNATURE);
    // With another algorithm than its own a key verifies nothing.
    assert_false(es256_valid(STR(RS256_INPUT), decode(RS256_SIGNATURE)));
    assert_false(es256_valid(STR(ES256_INPUT), decode(ES256_SIGNATURE)));
    jws_key_free(&key);
    assert_null(key);
}

static void test_es256(void **state)
{
    (void)state;
    assert_int_equal(jws_ec_key(STR(ES256_X), STR(ES256_Y), &key), 0);
    check_all(es256_valid, ES256_INPUT, ES256_SIGNATURE);
    assert_false(rs256_valid(STR(ES256_INPUT), decode(ES256_SIGNATURE)));
    static const char zero[64];
    assert_false(es256_valid(STR(ES256_INPUT), (struct str){ zero, sizeof zero }));
    jws_key_free(&key);
}

static void test_eddsa(void **state)
{
    (void)state;
    check_all(eddsa_valid, EDDSA_INPUT, EDDSA_SIGNATURE);
}

static void test_what_is_no_key(void **state)
{
    (void)state;
    char n[BASE64URL_SIZE(1025)];
    uint8_t modulus[1025];
    memset(modulus, 0xFF, sizeof modulus);
    assert_int_equal(jws_ec_key(STR(ES256_Y), STR(ES256_X), &key), -EBADMSG); // not on the curve
    assert_int_equal(jws_ec_key(STR(""), STR(ES256_Y), &key), -EBADMSG);
    assert_int_equal(jws_ec_key(STR(ES256_X "AA"), STR(ES256_Y), &key), -EBADMSG);
    assert_int_equal(jws_ec_key((struct str){ NULL, 0 }, STR(ES256_Y), &key), -EBADMSG);
    assert_int_equal(jws_rsa_key(STR(RS256_N), STR("AQ"), &key), -EBADMSG);       // 1
    assert_int_equal(jws_rsa_key(STR(RS256_N), STR("AQAA"), &key), -EBADMSG);     // even
    assert_int_equal(jws_rsa_key(STR(RS256_N), STR(""), &key), -EBADMSG);         // 0
    assert_int_equal(jws_rsa_key(STR(RS256_N "="), STR("AQAB"), &key), -EBADMSG); // padding
    for (size_t size = 255; size <= 1025; size += 385) { // 2040, 5120 and 8200 bits
        int rc = jws_rsa_key(base64url_encode(modulus, size, n), STR("AQAB"), &key);
        assert_int_equal(rc, size == 640 ? 0 : -EBADMSG);
    }
    jws_key_free(&key);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const others[] = { "",      "none",  "HS256",  "HS512", "ES384", "RS512",
                                          "PS256", "eddsa", "ES256K", "Ed448", "RS256 " };
    enum jws_algorithm algorithm;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_false(jws_algorithm_named(str_of(others[i]), &algorithm));
    }
    assert_true(jws_algorithm_named(STR("Ed25519"), &algorithm)); // RFC 9864
    assert_int_equal(algorithm, JWS_EDDSA);
}

// The examples as tokens: signed well or not, none is an access token.
static void test_examples_are_no_access_tokens(void **state)
{
    (void)state;
    static const char *const tokens[] = { HS256_TOKEN, NONE_TOKEN, RS256_INPUT "." RS256_SIGNATURE,
                                          ES256_INPUT "." ES256_SIGNATURE,
                                          EDDSA_INPUT "." EDDSA_SIGNATURE };
    struct jwks keys;
    struct jwt_claims claims;
    assert_int_equal(jwks_parse(STR("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\","
                                    "\"x\":\"" EDDSA_X "\"}]}"),
                                &keys),
                     0);
    struct jwt_rules rules = { &keys, "joe", "joe", 1300819000, NULL };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        assert_int_equal(jwt_verify(str_of(tokens[i]), &rules, &claims), -EACCES);
    }
}

static int setup(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rs256), cmocka_unit_test(test_es256),
        cmocka_unit_test(test_eddsa), cmocka_unit_test(test_what_is_no_key),
        cmocka_unit_test(test_names), cmocka_unit_test(test_examples_are_no_access_tokens),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
