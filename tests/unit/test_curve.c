// SPDX-License-Identifier: MIT
// Keys are made once, closed to others, and a key that is missing, broken or open to others is not used. That the
// keys keep strangers out is in tests/unit/test_zsocket.c.
#include "common/curve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <czmq.h>

#include "common/file.h"
#include "common/key_pairs.h"
#include "tests/unit/own_memory.h"
#include "tests/unit/temp_dir.h"

static const char *const names[] = { "gateway", "queue", "users", "orders", "search", "tap" };
#define N_NAMES ((int)(sizeof names / sizeof *names))
static char error[CURVE_ERROR_SIZE];

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void read_file(const char *path, struct buf *content)
{
    buf_init(content, 10000);
    assert_int_equal(file_read(path, 10000, content), 0);
}

static void test_keys_are_made_and_closed(void **state)
{
    (void)state;
    mode_t old = umask(0);
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(umask(old), 0); // put back as it was
    assert_int_equal(mode_of("keys"), 0700);
    assert_int_equal(mode_of("keys/public"), 0700);
    for (int i = 0; i < N_NAMES; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "keys/%s.key_secret", names[i]);
        assert_int_equal(mode_of(path), 0600);
        struct curve *c = NULL;
        assert_int_equal(curve_open("keys", names[i], 0, error, &c), 0);
        curve_close(&c);
        assert_null(c);
    }
    struct curve *none = NULL;
    curve_close(&none);
}

static void test_public_keys_hold_no_secret(void **state)
{
    (void)state;
    assert_int_equal(key_pairs_make_own("keys"), 0);
    for (int i = 0; i < N_NAMES; i++) {
        char path[64];
        struct buf public, secret;
        (void)snprintf(path, sizeof path, "keys/public/%s.key", names[i]);
        read_file(path, &public);
        (void)snprintf(path, sizeof path, "keys/%s.key_secret", names[i]);
        read_file(path, &secret);
        buf_append_char(&public, '\0');
        buf_append_char(&secret, '\0');
        assert_non_null(strstr(secret.data, "secret-key"));
        assert_null(strstr(public.data, "secret-key"));
        buf_fini(&public);
        buf_fini(&secret);
    }
}

static void test_what_is_there_is_kept(void **state)
{
    (void)state;
    struct buf gateway, queue, again;
    assert_int_equal(key_pairs_make_own("keys"), 0);
    read_file("keys/gateway.key_secret", &gateway);
    read_file("keys/queue.key_secret", &queue);
    assert_int_equal(unlink("keys/public/queue.key"), 0); // comes back from the secret one
    assert_int_equal(unlink("keys/gateway.key_secret"), 0); // is gone: a new pair
    assert_int_equal(key_pairs_make_own("keys"), 0);
    read_file("keys/queue.key_secret", &again);
    assert_true(str_eq(buf_str(&queue), buf_str(&again)));
    buf_fini(&again);
    read_file("keys/gateway.key_secret", &again);
    assert_false(str_eq(buf_str(&gateway), buf_str(&again)));
    char public[KEY_PAIRS_KEY_SIZE], secret[KEY_PAIRS_KEY_SIZE];
    assert_int_equal(key_pairs_read_public("keys/public/queue.key", public), 0);
    assert_int_equal(key_pairs_read_public("keys/queue.key_secret", secret), 0);
    assert_string_equal(public, secret);
    buf_fini(&gateway);
    buf_fini(&queue);
    buf_fini(&again);
}

static int open_result(const char *dir, const char *name, int is_server)
{
    struct curve *c = NULL;
    int rc = curve_open(dir, name, is_server, error, &c);
    assert_true(rc < 0 || c);
    assert_true(rc == 0 || !c); // written on success only
    curve_close(&c);
    return rc;
}

static void test_keys_that_are_not_used(void **state)
{
    (void)state;
    assert_int_equal(open_result("absent", "gateway", 0), -ENOENT);
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(open_result("keys", "nobody", 0), -ENOENT);
    assert_int_equal(chmod("keys/gateway.key_secret", 0640), 0);
    assert_int_equal(open_result("keys", "gateway", 0), -EACCES);
    assert_int_equal(chmod("keys/gateway.key_secret", 0604), 0);
    assert_int_equal(open_result("keys", "gateway", 1), -EACCES);
    assert_int_equal(chmod("keys/gateway.key_secret", 0600), 0);
    assert_int_equal(open_result("keys", "gateway", 1), 0);
    assert_int_equal(file_replace("keys/gateway.key_secret", STR("curve\n    public-key = \"x\"\n"), 0600), 0);
    assert_int_equal(open_result("keys", "gateway", 0), -EBADMSG);
    assert_int_equal(file_replace("keys/gateway.key_secret", STR("metadata\n"), 0600), 0);
    assert_int_equal(open_result("keys", "gateway", 0), -EBADMSG);
    assert_int_equal(rename("keys/public", "keys/elsewhere"), 0);
    assert_int_equal(open_result("keys", "queue", 1), -ENOENT); // a server needs to know its clients
}

static void test_a_server_can_be_opened_again(void **state)
{
    (void)state;
    assert_int_equal(key_pairs_make_own("keys"), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(open_result("keys", "gateway", 1), 0);
    }
}

// Homes may lie deep.
static void test_long_paths(void **state)
{
    (void)state;
    char dir[PATH_MAX];
    size_t at = 0;
    while (at < 600) {
        at += (size_t)snprintf(dir + at, sizeof dir - at, "%sdirectory-of-20-byte", at ? "/" : "");
        assert_true(mkdir(dir, 0700) == 0 || errno == EEXIST);
    }
    (void)snprintf(dir + at, sizeof dir - at, "/keys");
    assert_int_equal(key_pairs_make_own(dir), 0);
    assert_int_equal(open_result(dir, "users", 0), 0);
    assert_int_equal(open_result(dir, "gateway", 1), 0);
    memset(dir, 'x', sizeof dir - 1);
    dir[sizeof dir - 1] = '\0';
    assert_int_equal(key_pairs_make_own(dir), -ENAMETOOLONG);
    assert_int_equal(open_result(dir, "users", 0), -ENAMETOOLONG);
}

#define PATH "pair.key_secret"

static int read_written(const char *text)
{
    struct key_pair_keys keys;
    memset(&keys, 0xaa, sizeof keys);
    assert_int_equal(file_replace(PATH, str_of(text), 0600), 0);
    int rc = key_pairs_read(PATH, &keys);
    uint8_t untouched[sizeof keys];
    memset(untouched, 0xaa, sizeof untouched);
    assert_int_equal(memcmp(&keys, untouched, sizeof keys) != 0, rc == 0); // written on success only
    return rc;
}

// As czmq and pyzmq write them, and as an editor leaves them; not a pair of halves.
static void test_forms_of_a_pair(void **state)
{
    (void)state;
    char public[KEY_PAIRS_KEY_SIZE], secret[KEY_PAIRS_KEY_SIZE], other[KEY_PAIRS_KEY_SIZE], text[1000];
    struct key_pair_keys keys;
    zcert_t *cert = zcert_new();
    assert_int_equal(zcert_save_secret(cert, PATH), 0);
    assert_int_equal(key_pairs_read(PATH, &keys), 0);
    assert_memory_equal(keys.public_key, zcert_public_key(cert), sizeof keys.public_key);
    assert_memory_equal(keys.secret_key, zcert_secret_key(cert), sizeof keys.secret_key);
    (void)snprintf(public, sizeof public, "%s", zcert_public_txt(cert));
    (void)snprintf(secret, sizeof secret, "%s", zcert_secret_txt(cert));
    zcert_destroy(&cert);
    assert_int_equal(zmq_curve_keypair(text, other), 0);
    const struct {
        const char *before, *between, *secret, *behind;
        int rc;
    } cases[] = {
        { "metadata\ncurve\n    public-key = \"", "\"\n    secret-key = \"", secret, "\"\n", 0 },
        { "#   ****\r\n\tpublic-key='", "' \r\n\tsecret-key =\t'", secret, "'", 0 },
        { "public-key = \"", "\"\nsecret-key = \"", other, "\"\n", -EBADMSG },
        { "public-key = \"", "\"\nsecret-key = \"", secret + 1, "\"\n", -EBADMSG },
        { "public-key = \"", "\"\nsecret-key = \"", secret, " \"\n", -EBADMSG },
        { "public-key = \"", "\"\nsecret-key = \"", secret, "\n", -EBADMSG },
        { "public-key = \"", "\"\nsecret-keys = \"", secret, "\"\n", -EBADMSG },
        { "public-key = \"", "\"\n# secret-key = \"", secret, "\"\n", -EBADMSG },
        { "public-key = \"", "\"\nsecret-key ", secret, "\n", -EBADMSG },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(text, sizeof text, "%s%s%s%s%s", cases[i].before, public, cases[i].between,
                       cases[i].secret, cases[i].behind);
        assert_int_equal(read_written(text), cases[i].rc);
    }
    assert_int_equal(read_written(""), -EBADMSG);
    assert_int_equal(key_pairs_read("absent", &keys), -ENOENT);
}

static void test_reading_leaves_no_text(void **state)
{
    (void)state;
    struct key_pair_keys keys;
    char text[KEY_PAIRS_KEY_SIZE], *kept;
    assert_int_equal(key_pairs_make("keys", "orders"), 1);
    assert_int_equal(key_pairs_read("keys/orders.key_secret", &keys), 0);
    assert_non_null(zmq_z85_encode(text, keys.secret_key, sizeof keys.secret_key));
    for (size_t i = 0; i < sizeof text - 1; i++) {
        text[i] ^= OWN_MEMORY_MASK;
    }
    assert_false(own_memory_has(text, KEY_PAIRS_KEY_SIZE - 1));
    kept = malloc(sizeof text);
    assert_non_null(kept);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        kept[i] = (char)(text[i] ^ OWN_MEMORY_MASK);
    }
    assert_true(own_memory_has(text, KEY_PAIRS_KEY_SIZE - 1));
    free(kept);
}

static void test_no_place_for_keys(void **state)
{
    (void)state;
    assert_int_equal(key_pairs_make_own("no/such"), -ENOENT);
    assert_int_equal(file_replace("plain", STR("x"), 0600), 0);
    assert_int_equal(key_pairs_make_own("plain"), -ENOTDIR);
}

int main(void)
{
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_keys_are_made_and_closed),
        TEMP_DIR_CASE(test_public_keys_hold_no_secret),
        TEMP_DIR_CASE(test_what_is_there_is_kept),
        TEMP_DIR_CASE(test_keys_that_are_not_used),
        TEMP_DIR_CASE(test_a_server_can_be_opened_again),
        TEMP_DIR_CASE(test_long_paths),
        TEMP_DIR_CASE(test_forms_of_a_pair),
        TEMP_DIR_CASE(test_reading_leaves_no_text),
        TEMP_DIR_CASE(test_no_place_for_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
