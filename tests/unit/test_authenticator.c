// SPDX-License-Identifier: MIT
// The whole way of a token: from the Authorization field through keys in a file, the cache and
// revocations.
#include "gateway/authenticator.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "gateway/stats.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/rendered_metric.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct stats stats;
static struct authenticator *authenticator;
static struct jwt_claims claims;
static uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
static const char path[] = "jwks.json";
static const char *file = path;
static char field[8192];

// A new key under this kid, alone in the file.
static void write_keys(const char *kid)
{
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    char x[BASE64URL_SIZE(sizeof public_key)], json[512];
    crypto_sign_keypair(public_key, secret_key);
    base64url_encode(public_key, sizeof public_key, x);
    (void)snprintf(json, sizeof json,
                   "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\",\"kid\":\"%s\"}]}",
                   x, kid);
    assert_int_equal(file_replace(path, str_of(json), 0600), 0);
}

static void make_token(const char *kid, const char *sid, int64_t lives_s)
{
    char json[512], *token = field + 7;
    uint8_t signature[crypto_sign_BYTES];
    int64_t now_s = clock_wall_ms() / 1000;
    strcpy(field, "Bearer ");
    (void)snprintf(json, sizeof json, "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", kid);
    size_t n = base64url_encode(json, strlen(json), token).n;
    token[n++] = '.';
    (void)snprintf(
        json, sizeof json,
        "{\"iss\":\"i\",\"aud\":\"a\",\"sub\":\"u\",\"role\":\"user\",\"sid\":\"%s\",\"jti\":\"j\","
        "\"iat\":%" PRId64 ",\"exp\":%" PRId64 "}",
        sid, now_s - 1, now_s + lives_s);
    n += base64url_encode(json, strlen(json), token + n).n;
    crypto_sign_detached(signature, NULL, (const uint8_t *)token, n, secret_key);
    token[n++] = '.';
    base64url_encode(signature, sizeof signature, token + n);
}

static const char *check(void)
{
    return authenticator_check(authenticator, str_of(field), &claims);
}

static int open_it(void)
{
    char error[EXTERNALS_ERROR_SIZE];
    struct authenticator_options options = { file, "i", "a", 16, &stats, NULL };
    int rc = authenticator_open(&loop, &options, &authenticator, error);
    assert_string_equal(error, "");
    return rc;
}

static int setup(void **state)
{
    log_init("test", "test", LEVEL_FATAL, LOG_FORMAT_JSON);
    assert_true(sodium_init() >= 0);
    memset(&stats, 0, sizeof stats);
    assert_int_equal(temp_dir_enter(state), 0);
    write_keys("k1");
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(open_it(), 0);
    return 0;
}

static int teardown(void **state)
{
    authenticator_close(&authenticator);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return temp_dir_leave(state);
}

static void test_cache(void **state)
{
    (void)state;
    make_token("k1", "s1", 100);
    assert_null(check());
    assert_string_equal(claims.sid, "s1");
    assert_null(check());
    assert_int_equal(metric_get(&stats.tokens_verified), 1);
    assert_int_equal(metric_get(&stats.tokens_cached), 1);
    memcpy(field, "bEARER", 6); // the scheme is not case-sensitive
    assert_null(check());
    field[strlen(field) - 1] ^= 1;
    assert_non_null(check());
    assert_int_equal(metric_get(&stats.tokens_verified), 1);
}

static void test_other_fields(void **state)
{
    (void)state;
    static const char *const bad[] = { "",           "Bearer",        "Bearer ",
                                       "Basic dTpw", "Bearer\ta.b.c", "Bearer a.b.c",
                                       "a.b.c" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_non_null(authenticator_check(authenticator, str_of(bad[i]), &claims));
    }
}

// A token in the cache ends like any other.
static void test_expiry(void **state)
{
    (void)state;
    make_token("k1", "s1", 1);
    assert_null(check());
    int64_t give_up_ms = clock_mono_ms() + 5000;
    while (!check() && clock_mono_ms() < give_up_ms) {
    }
    assert_non_null(strstr(check(), "expired"));
}

static void test_revocation(void **state)
{
    (void)state;
    make_token("k1", "s1", 100);
    assert_null(check());
    revocations_add(authenticator_revocations(authenticator), STR("u"), STR("other"),
                    clock_wall_ms());
    assert_null(check());
    revocations_add(authenticator_revocations(authenticator), STR("u"), STR("s1"), clock_wall_ms());
    assert_non_null(strstr(check(), "revoked"));
    make_token("k1", "s2", 100);
    assert_null(check());
    revocations_add(authenticator_revocations(authenticator), STR("u"), STR(""), clock_wall_ms());
    assert_non_null(strstr(check(), "revoked"));
}

// A token of a new key is taken at once, without waiting for the timer; tokens of keys that are
// gone end at once, cached or not. A broken file changes nothing.
static void test_new_keys(void **state)
{
    (void)state;
    char old[sizeof field];
    make_token("k1", "s1", 100);
    assert_null(check());
    memcpy(old, field, sizeof old);
    assert_int_equal(file_replace(path, STR("{broken"), 0600), 0);
    make_token("k2", "s1", 100);
    assert_non_null(check());
    memcpy(field, old, sizeof old);
    assert_null(check());
    write_keys("k2");
    make_token("k2", "s1", 100);
    assert_null(check());
    memcpy(field, old, sizeof old);
    assert_non_null(check());
}

// The loop looks at the file until the key is there.
static void assert_comes(const char *kid)
{
    int64_t give_up_ms = clock_mono_ms() + 3 * KEYS_LOOK_MS;
    while (!jwks_find(authenticator_keys(authenticator), str_of(kid)) &&
           clock_mono_ms() < give_up_ms) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_non_null(jwks_find(authenticator_keys(authenticator), str_of(kid)));
}

// Nobody asks with the new key, and yet it comes.
static void test_keys_are_looked_at(void **state)
{
    (void)state;
    write_keys("k2");
    assert_comes("k2");
}

static void test_new_keys_that_cannot_be_read_for_a_moment(void **state)
{
    (void)state;
    write_keys("k2");
    make_token("k2", "s1", 100);
    descriptors_take_all();
    const char *first = check(), *second = check();
    descriptors_give_back();
    assert_non_null(first);
    assert_non_null(second);
    // Not once for each token.
    assert_int_equal(rendered_metric("sluice_gateway_token_key_failures_total{whose=\"own\"}"), 1);
    assert_comes("k2");
    assert_null(check());
}

static void test_no_keys(void **state)
{
    (void)state;
    struct authenticator *ours = authenticator;
    assert_int_equal(file_replace(path, STR("{\"keys\":[]}"), 0600), 0);
    assert_int_equal(open_it(), -EBADMSG);
    file = "missing.json";
    assert_int_equal(open_it(), -ENOENT);
    file = path;
    authenticator = ours;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_cache),
        TEST(test_other_fields),
        TEST(test_expiry),
        TEST(test_revocation),
        TEST(test_new_keys),
        TEST(test_no_keys),
        TEST(test_keys_are_looked_at),
        TEST(test_new_keys_that_cannot_be_read_for_a_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
