// SPDX-License-Identifier: MIT
// What the companion computes is what anybody would, also when it is late, stopped or gone.
#include "common/companion.h"
#include "common/process.h"
#include "services/users/hasher.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#define KIB 64 // quick: how long it takes is not what is tried here

static const struct config_option no_options[] = { CONFIG_END };
static const unsigned char salt[HASHER_SALT_BYTES] = "a salt is public";
static pid_t companion;

static int start(void **state)
{
    char error[CONFIG_ERROR_SIZE];
    (void)state;
    assert_true(sodium_init() >= 0);
    assert_int_equal(companion_start(&hasher_companion, "off", no_options, NULL, &companion, error),
                     0);
    hasher_open();
    return 0;
}

// A companion that is not stopped ends by itself.
static int stop(void **state)
{
    (void)state;
    hasher_close();
    (void)kill(companion, SIGCONT);
    (void)waitpid(companion, NULL, 0);
    return 0;
}

static void assert_derives(struct str password, uint32_t passes)
{
    unsigned char hash[HASHER_BYTES], right[HASHER_BYTES];
    const struct hasher_job job = { password, passes, KIB, salt };
    assert_int_equal(hasher_derive(&job, hash), 0);
    assert_int_equal(crypto_pwhash(right, sizeof right, password.p, password.n, salt, passes,
                                   KIB * 1024, crypto_pwhash_ALG_ARGON2ID13),
                     0);
    assert_memory_equal(hash, right, sizeof hash);
}

static void test_passwords_of_every_length(void **state)
{
    (void)state;
    static char password[HASHER_PASSWORD_BYTES + 1];
    static const size_t lengths[] = { 0, 1, HASHER_PASSWORD_BYTES - 1, HASHER_PASSWORD_BYTES,
                                      HASHER_PASSWORD_BYTES + 1 };
    memset(password, 'x', sizeof password);
    password[0] = '\0'; // no text ends there
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_derives((struct str){ password, lengths[i] }, 1);
    }
}

static void test_parameters_that_there_are_not(void **state)
{
    (void)state;
    unsigned char hash[HASHER_BYTES];
    struct hasher_job job = { STR("password"), 0, KIB, salt };
    assert_int_equal(hasher_derive(&job, hash), -EINVAL);
    job = (struct hasher_job){ STR("password"), 1, 1, salt };
    assert_int_equal(hasher_derive(&job, hash), -EINVAL);
}

// Each time another password, so that an answer to somebody else is a wrong one.
static void *derive_many(void *data)
{
    char password[] = "password 00";
    for (char i = 0; i < 100; i++) {
        password[9] = *(const char *)data;
        password[10] = (char)('0' + i % 10);
        assert_derives(str_of(password), 1 + (uint32_t)(i % 3));
    }
    return NULL;
}

static void test_many_at_once(void **state)
{
    (void)state;
    static char names[] = "abcd";
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, derive_many, &names[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static void test_a_late_answer_is_nobodys(void **state)
{
    (void)state;
    assert_derives(STR("before"), 1);
    assert_int_equal(kill(companion, SIGSTOP), 0);
    assert_derives(STR("while it is stopped"), 1); // waits, and does it
    assert_derives(STR("and the next"), 1);
    assert_int_equal(kill(companion, SIGCONT), 0);
    for (int i = 0; i < 30; i++) { // for longer than others compute
        assert_derives(i % 2 ? STR("one") : STR("another"), 1);
        (void)usleep(HASHER_BUSY_MS * 1000 / 20);
    }
}

static void test_it_is_gone(void **state)
{
    (void)state;
    assert_int_equal(kill(companion, SIGKILL), 0);
    for (int i = 0; i < 4; i++) {
        assert_derives(STR("nobody is there"), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_passwords_of_every_length, start, stop),
        cmocka_unit_test_setup_teardown(test_parameters_that_there_are_not, start, stop),
        cmocka_unit_test_setup_teardown(test_many_at_once, start, stop),
        cmocka_unit_test_setup_teardown(test_a_late_answer_is_nobodys, start, stop),
        cmocka_unit_test_setup_teardown(test_it_is_gone, start, stop),
    };
    return cmocka_run_group_tests_name("hasher", tests, NULL, NULL);
}
