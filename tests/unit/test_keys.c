// SPDX-License-Identifier: MIT
// Secrets are made once, closed to others, and never half; what is there is kept.
#include "common/keys.h"

#include "common/file.h"
#include "common/jwk.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char error[KEYS_ERROR_SIZE];

static struct buf content(const char *path)
{
    struct buf b;
    buf_init(&b, JWK_SET_MAX_BYTES + 1);
    assert_int_equal(file_read(path, JWK_SET_MAX_BYTES, &b), 0);
    buf_append_char(&b, '\0');
    b.len--;
    return b;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_everything_is_made_and_closed(void **state)
{
    (void)state;
    mode_t old = umask(0);
    assert_int_equal(keys_make("all", error), 5);
    umask(old);
    assert_string_equal(error, "");
    assert_int_equal(mode_of("all"), 0700);
    assert_int_equal(mode_of("all/curve"), 0700);
    assert_int_equal(mode_of("all/admin-password"), 0600);
    assert_int_equal(mode_of("all/signing/token.key"), 0600);
    assert_int_equal(mode_of("all/public/jwks.json"), 0600);
    assert_int_equal(mode_of("all/cursor.key"), 0600);
    assert_int_equal(mode_of("all/admin-token"), 0600);
    assert_int_equal(mode_of("all/curve/gateway.key_secret"), 0600);
}

static void test_formats(void **state)
{
    (void)state;
    assert_int_equal(keys_make("formats", error), 5);
    struct buf password = content("formats/admin-password");
    assert_int_equal(password.len, KEYS_PASSWORD + 1);
    assert_int_equal(
        strspn(password.data, "23456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"),
        KEYS_PASSWORD);
    assert_int_equal(password.data[KEYS_PASSWORD], '\n');
    struct buf cursor = content("formats/cursor.key");
    assert_int_equal(strspn(cursor.data, "0123456789abcdef"), 2 * KEYS_CURSOR_BYTES);
    struct jwk key;
    struct buf token = content("formats/signing/token.key"),
               set = content("formats/public/jwks.json");
    assert_int_equal(jwk_read(buf_str(&token), &key), 0);
    assert_non_null(strstr(set.data, key.kid));
    buf_fini(&password);
    buf_fini(&cursor);
    buf_fini(&token);
    buf_fini(&set);
}

static void assert_same(struct buf before, const char *path)
{
    struct buf after = content(path);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    buf_fini(&before);
    buf_fini(&after);
}

static void test_what_is_there_is_kept(void **state)
{
    (void)state;
    assert_int_equal(keys_make("kept", error), 5);
    struct buf password = content("kept/admin-password"), token = content("kept/signing/token.key"),
               set = content("kept/public/jwks.json"), cursor = content("kept/cursor.key"),
               curve = content("kept/curve/queue.key_secret");
    assert_int_equal(keys_make("kept", error), 0);
    assert_same(password, "kept/admin-password");
    assert_same(token, "kept/signing/token.key");
    assert_same(set, "kept/public/jwks.json");
    assert_same(cursor, "kept/cursor.key");
    assert_same(curve, "kept/curve/queue.key_secret");
}

static void test_two_deployments_share_nothing(void **state)
{
    (void)state;
    assert_int_equal(keys_make("a", error), 5);
    assert_int_equal(keys_make("b", error), 5);
    static const char *const names[] = { "admin-password", "signing/token.key", "public/jwks.json",
                                         "cursor.key", "admin-token" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char a[64], b[64];
        (void)snprintf(a, sizeof a, "a/%s", names[i]);
        (void)snprintf(b, sizeof b, "b/%s", names[i]);
        struct buf in_a = content(a), in_b = content(b);
        assert_false(str_eq(buf_str(&in_a), buf_str(&in_b)));
        buf_fini(&in_a);
        buf_fini(&in_b);
    }
}

// A crash between token.key and jwks.json, and a deliberate change of the signing key.
static void test_key_set_follows_the_token_key(void **state)
{
    (void)state;
    struct jwk old, new;
    assert_int_equal(keys_make("set", error), 5);
    struct buf token = content("set/signing/token.key");
    assert_int_equal(jwk_read(buf_str(&token), &old), 0);
    assert_int_equal(unlink("set/public/jwks.json"), 0);
    assert_int_equal(keys_make("set", error), 1);
    struct buf set = content("set/public/jwks.json");
    assert_non_null(strstr(set.data, old.kid));
    assert_same(token, "set/signing/token.key");
    buf_fini(&set);

    assert_int_equal(unlink("set/signing/token.key"), 0);
    assert_int_equal(keys_make("set", error), 2);
    token = content("set/signing/token.key");
    set = content("set/public/jwks.json");
    assert_int_equal(jwk_read(buf_str(&token), &new), 0);
    assert_string_not_equal(old.kid, new.kid);
    assert_non_null(strstr(set.data, old.kid));
    assert_non_null(strstr(set.data, new.kid));
    buf_fini(&token);
    buf_fini(&set);
}

static void test_errors_name_the_file(void **state)
{
    (void)state;
    assert_int_equal(keys_make("broken", error), 5);
    assert_int_equal(file_replace("broken/signing/token.key", STR("{}"), 0600), 0);
    assert_int_equal(keys_make("broken", error), -EBADMSG);
    assert_non_null(strstr(error, "signing/token.key in broken: "));
    assert_int_equal(unlink("broken/signing/token.key"), 0);
    assert_int_equal(file_replace("broken/public/jwks.json", STR("[]"), 0600), 0);
    assert_int_equal(keys_make("broken", error), -EBADMSG);
    assert_non_null(strstr(error, "public/jwks.json in broken: "));

    assert_int_equal(keys_make("no/such", error), -ENOENT);
    assert_non_null(strstr(error, "no/such"));
    assert_int_equal(file_replace("plain", STR("x"), 0600), 0);
    assert_int_equal(keys_make("plain", error), -ENOTDIR);
}

static void test_an_open_directory_is_closed(void **state)
{
    (void)state;
    assert_int_equal(mkdir("open", 0755), 0);
    assert_int_equal(chmod("open", 0755), 0);
    assert_int_equal(keys_make("open", error), 5);
    assert_int_equal(mode_of("open"), 0700);
}

// Processes that start together must end with one set of keys: exactly one of them makes each file.
static void test_concurrent_makers_agree(void **state)
{
    (void)state;
    enum { MAKERS = 8 };
    pid_t pids[MAKERS];
    for (int i = 0; i < MAKERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            int made = keys_make("together", error);
            _exit(made < 0 ? 100 : made);
        }
    }
    int made = 0;
    for (int i = 0; i < MAKERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        made += WEXITSTATUS(status);
    }
    assert_int_equal(made, 5);
}

static void test_no_password_for_accounts_that_exist(void **state)
{
    (void)state;
    assert_int_equal(mkdir("db", 0700), 0);
    assert_int_equal(mkdir("db/users", 0700), 0);
    assert_int_equal(keys_make("secrets", error), 5);
    assert_int_equal(unlink("secrets/admin-password"), 0);
    assert_int_equal(file_replace("db/users/users.db", STR("x"), 0600), 0);
    assert_int_equal(keys_make("secrets", error), 0);
    assert_int_equal(access("secrets/admin-password", F_OK), -1);
    assert_int_equal(unlink("db/users/users.db"), 0);
    assert_int_equal(keys_make("secrets", error), 1);
}

static void test_reading_takes_one_newline_off(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(mkdir("secrets", 0700), 0);
    assert_int_equal(file_replace("secrets/one", STR("word\n\n"), 0600), 0);
    assert_int_equal(keys_read(".", "one", 6, &b, error), 0);
    assert_true(str_eq(buf_str(&b), STR("word\n")));
    buf_reset(&b);
    assert_int_equal(file_replace("secrets/one", STR("\n"), 0600), 0);
    assert_int_equal(keys_read(".", "one", 6, &b, error), 0);
    assert_int_equal(b.len, 0);
    assert_int_equal(keys_read(".", "two", 6, &b, error), -ENOENT);
    assert_non_null(strstr(error, "./secrets/two: No such file"));
    assert_non_null(strstr(error, "sluice init"));
    assert_int_equal(file_replace("secrets/two", STR("1234567"), 0600), 0);
    assert_int_equal(keys_read(".", "two", 6, &b, error), -EFBIG);
    assert_non_null(strstr(error, "./secrets/two: "));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_everything_is_made_and_closed),
        TEMP_DIR_CASE(test_formats),
        TEMP_DIR_CASE(test_what_is_there_is_kept),
        TEMP_DIR_CASE(test_two_deployments_share_nothing),
        TEMP_DIR_CASE(test_key_set_follows_the_token_key),
        TEMP_DIR_CASE(test_errors_name_the_file),
        TEMP_DIR_CASE(test_an_open_directory_is_closed),
        TEMP_DIR_CASE(test_concurrent_makers_agree),
        TEMP_DIR_CASE(test_no_password_for_accounts_that_exist),
        TEMP_DIR_CASE(test_reading_takes_one_newline_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
