// SPDX-License-Identifier: MIT
// Which key signs while its file is replaced, spoilt, cannot be read for a moment, or goes away.
#include "services/users/signing.h"

#include "common/file.h"
#include "common/jwk.h"
#include "common/log.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/rendered_metric.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include <cmocka.h>

#define KEY_FILE "secrets/signing/token.key"
#define COUNTED rendered_metric("sluice_users_token_key_failures_total{what=\"read\"}")
#define FAILURES (COUNTED - counted_before) // of the case

static int64_t now_ms, counted_before;

int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void)
{
    return now_ms;
}

static char error[CONFIG_ERROR_SIZE];

static int enter(void **state)
{
    int r = temp_dir_enter(state);
    r = r || mkdir("secrets", 0700) || mkdir("secrets/signing", 0700) || sodium_init() < 0;
    now_ms = 1000000;
    error[0] = '\0';
    log_init("sluice-users", "test", LEVEL_FATAL, LOG_FORMAT_JSON); // failures are wanted here
    return r;
}

static int leave(void **state)
{
    signing_close();
    return temp_dir_leave(state);
}

// A new key, as JSON.
static const char *make_key(char kid[64])
{
    static char text[JWK_MAX_BYTES];
    struct jwk key;
    struct buf json;
    jwk_make(&key);
    snprintf(kid, 64, "%.63s", key.kid);
    buf_init(&json, sizeof text - 1);
    jwk_write(&key, &json);
    assert_true(buf_ok(&json) && json.len < sizeof text);
    memcpy(text, json.data, json.len);
    text[json.len] = '\0';
    buf_fini(&json);
    return text;
}

static void put_key(char kid[64])
{
    assert_int_equal(file_replace(KEY_FILE, str_of(make_key(kid)), 0600), 0);
}

static int open_signing(const char *given)
{
    struct signing_options options = { .given = given,
                                       .home = temp_dir(),
                                       .issuer = "sluice",
                                       .audience = "sluice",
                                       .ttl_ms = 900000 };
    int r = signing_open(&options, error);
    counted_before = r ? 0 : COUNTED;
    return r;
}

static void assert_signs(const char *kid)
{
    assert_string_equal(token_issuer_kid(signing_issuer()), kid);
}

static void test_a_new_key_signs_at_once(void **state)
{
    (void)state;
    char one[64], two[64];
    put_key(one);
    assert_int_equal(open_signing(NULL), 0);
    assert_signs(one);
    put_key(two);
    assert_string_not_equal(one, two);
    assert_signs(two);
    assert_signs(two);
    assert_int_equal(FAILURES, 0);
}

static void test_a_given_key_signs_for_good(void **state)
{
    (void)state;
    char given[64], other[64];
    put_key(other);
    assert_int_equal(open_signing(make_key(given)), 0);
    assert_signs(given);
    put_key(other);
    assert_signs(given);
}

static void test_what_is_no_key_is_named_once(void **state)
{
    (void)state;
    char one[64], two[64];
    put_key(one);
    assert_int_equal(open_signing(NULL), 0);
    assert_int_equal(file_replace(KEY_FILE, STR("{}"), 0600), 0);
    for (int i = 0; i < 3; i++) {
        now_ms += 2 * SIGNING_AGAIN_MS;
        assert_signs(one);
        assert_int_equal(FAILURES, 1);
    }
    put_key(two);
    assert_signs(two);
}

static void test_a_key_that_others_may_read_waits_until_they_may_not(void **state)
{
    (void)state;
    char one[64], two[64];
    put_key(one);
    assert_int_equal(open_signing(NULL), 0);
    assert_int_equal(file_replace(KEY_FILE, str_of(make_key(two)), 0644), 0);
    assert_signs(one);
    assert_int_equal(FAILURES, 1);
    assert_int_equal(chmod(KEY_FILE, 0600), 0); // as the line asks for
    assert_signs(two);
}

static void test_a_file_that_is_away_is_being_replaced(void **state)
{
    (void)state;
    char one[64], two[64];
    put_key(one);
    assert_int_equal(open_signing(NULL), 0);
    assert_int_equal(unlink(KEY_FILE), 0);
    assert_signs(one);
    assert_int_equal(FAILURES, 0);
    put_key(two);
    assert_signs(two);
}

// Else it would sign with the old key until the next rotation, which gateways soon do not know any more.
static void test_a_new_key_that_cannot_be_read_for_a_moment(void **state)
{
    (void)state;
    char one[64], two[64];
    put_key(one);
    assert_int_equal(open_signing(NULL), 0);
    put_key(two);
    descriptors_take_all();
    assert_signs(one);
    now_ms += SIGNING_AGAIN_MS - 1;
    assert_signs(one);
    descriptors_give_back();
    assert_int_equal(FAILURES, 1); // not once for each token
    assert_signs(one);             // it is not looked at yet
    now_ms += 1;
    assert_signs(two);
}

static void test_it_does_not_open_without_a_key(void **state)
{
    (void)state;
    char kid[64];
    assert_int_equal(open_signing(NULL), -ENOENT);
    assert_non_null(strstr(error, KEY_FILE));
    assert_true(open_signing("{}") < 0);
    assert_non_null(strstr(error, "not a private Ed25519 JWK"));
    put_key(kid);
    descriptors_take_all();
    assert_int_equal(open_signing(NULL), -EMFILE);
    descriptors_give_back();
    assert_non_null(strstr(error, strerror(EMFILE)));
    assert_int_equal(open_signing(NULL), 0);
    assert_signs(kid);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_new_key_signs_at_once),
        CASE(test_a_given_key_signs_for_good),
        CASE(test_what_is_no_key_is_named_once),
        CASE(test_a_key_that_others_may_read_waits_until_they_may_not),
        CASE(test_a_file_that_is_away_is_being_replaced),
        CASE(test_a_new_key_that_cannot_be_read_for_a_moment),
        CASE(test_it_does_not_open_without_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
