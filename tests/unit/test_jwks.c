// SPDX-License-Identifier: MIT
#include "gateway/jwks.h"

#include "tests/unit/json_starved.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" // RFC 8037 appendix A.2

static struct jwks set;

static int parse(const char *json)
{
    return jwks_parse(str_of(json), &set);
}

static void test_good(void **state)
{
    (void)state;
    assert_int_equal(
        parse("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r\",\"n\":\"x\",\"e\":\"AQAB\"},"
              "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" X "\",\"kid\":\"x\"},"
              "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"a\",\"use\":\"enc\"},"
              "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X
              "\",\"kid\":\"b\",\"alg\":\"ES256\"},"
              "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"c\"},"
              "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"d\",\"use\":\"sig\","
              "\"alg\":\"Ed25519\"}]}"),
        0);
    assert_int_equal(set.n, 2);
    assert_non_null(jwks_find(&set, STR("c")));
    assert_non_null(jwks_find(&set, STR("d")));
    assert_null(jwks_find(&set, STR("a")));
    assert_null(jwks_find(&set, STR("")));
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[1]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":[\"a\"]}]}",
        "{\"keys\":[{\"kty\":[1,2,3],\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"a\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":[1,2,3,4,5,6,7],\"x\":\"" X "\",\"kid\":\"a\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "A\",\"kid\":\"a\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\",\"kid\":\"a\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":5,\"kid\":\"a\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"a\\u0000b\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"a\"},"
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\",\"kid\":\"a\"}]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        set.n = 77;
        if (parse(bad[i]) != -EBADMSG) {
            fail_msg("%s is taken", bad[i]);
        }
        assert_int_equal(set.n, 77); // written only on success
    }
}

static void test_no_memory_is_no_wrong_set(void **state)
{
    (void)state;
    static const char good[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X
    "\",\"kid\":\"a\"}]}";
    set.n = 77;
    json_starved = 1;
    assert_int_equal(parse(good), -ENOMEM);
    assert_int_equal(set.n, 77);
    assert_int_equal(parse(good), 0);
}

static void test_key_limit(void **state)
{
    (void)state;
    for (size_t n = JWKS_MAX_KEYS; n <= JWKS_MAX_KEYS + 1; n++) {
        char json[4096] = "{\"keys\":[";
        for (size_t i = 0; i < n; i++) {
            char key[128];
            (void)snprintf(key, sizeof key,
                           "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X
                           "\",\"kid\":\"%zu\"}",
                           i ? "," : "", i);
            strcat(json, key);
        }
        strcat(json, "]}");
        assert_int_equal(parse(json), n == JWKS_MAX_KEYS ? 0 : -EBADMSG);
    }
}

// A private part in the file is not shown to anybody.
static void test_render(void **state)
{
    (void)state;
    struct buf json;
    buf_init(&json, 4096);
    assert_int_equal(
        parse("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"SECRET\",\"x\":\"" X
              "\",\"kid\":\"a\\\"b\"}]}"),
        0);
    jwks_render(&set, &json);
    assert_true(
        str_eq(buf_str(&json), STR("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X
                                   "\",\"kid\":\"a\\\"b\",\"use\":\"sig\",\"alg\":\"EdDSA\"}]}")));
    buf_fini(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_no_memory_is_no_wrong_set),
        cmocka_unit_test(test_key_limit),
        cmocka_unit_test(test_render),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
