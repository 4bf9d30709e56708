// SPDX-License-Identifier: MIT
// A hash opens for its password alone, says nothing of it, and an account that does not exist takes
// as long.
#include "services/users/password.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

static int start(void **state)
{
    (void)state;
    return password_open();
}

static void test_parameters_are_in_the_hash(void **state)
{
    (void)state;
    char hash[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash(STR("correct horse"), hash), 0);
    assert_true(str_starts(str_of(hash), STR("$argon2id$v=19$m=19456,t=2,p=1$")));
    assert_false(password_outdated(hash));
}

static void test_only_the_password_opens(void **state)
{
    (void)state;
    char hash[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash(STR("correct horse"), hash), 0);
    assert_int_equal(password_verify(hash, STR("correct horse")), 1);
    static const char *const wrong[] = { "", "correct", "correct horsE", "correct horse ",
                                         " correct horse" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(password_verify(hash, str_of(wrong[i])), 0);
    }
    assert_int_equal(password_verify(hash, (struct str){ "correct horse\0", 14 }), 0);
}

// All of a long password counts; other schemes stop at 72 bytes.
static void test_no_byte_is_cut_off(void **state)
{
    (void)state;
    char password[1024], hash[PASSWORD_HASH_SIZE];
    memset(password, 'p', sizeof password);
    assert_int_equal(password_hash((struct str){ password, sizeof password }, hash), 0);
    assert_int_equal(password_verify(hash, (struct str){ password, sizeof password }), 1);
    assert_int_equal(password_verify(hash, (struct str){ password, sizeof password - 1 }), 0);
    password[sizeof password - 1] = 'q';
    assert_int_equal(password_verify(hash, (struct str){ password, sizeof password }), 0);
}

static void test_equal_passwords_have_different_hashes(void **state)
{
    (void)state;
    char one[PASSWORD_HASH_SIZE], two[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash(STR("correct horse"), one), 0);
    assert_int_equal(password_hash(STR("correct horse"), two), 0);
    assert_string_not_equal(one, two);
}

static void test_damaged_hashes_are_errors(void **state)
{
    (void)state;
    static const char *const damaged[] = {
        "x", "$argon2id$v=19$m=19456,t=2,p=1$", "$2b$10$abc",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$",
        "$argon2id$v=19$m=19456,t=2,p=2$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=19456,t=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA$",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!A",
    };
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        assert_int_equal(password_verify(damaged[i], STR("correct horse")), -EBADMSG);
    }
}

static void test_other_parameters_are_outdated_but_open(void **state)
{
    (void)state;
    char hash[PASSWORD_HASH_SIZE];
    assert_int_equal(crypto_pwhash_str(hash, "correct horse", 13, 1, 8192 * 1024), 0);
    assert_true(password_outdated(hash));
    assert_int_equal(password_verify(hash, STR("correct horse")), 1);
    assert_int_equal(password_verify(hash, STR("correct")), 0);
}

// Not "wrong", which would count against the account.
static void test_without_memory_nobody_is_told_a_lie(void **state)
{
    (void)state;
    char hash[PASSWORD_HASH_SIZE];
    struct rlimit before, little;
    unsigned long pages = 0;
    assert_int_equal(password_hash(STR("correct horse"), hash), 0);
    FILE *statm = fopen("/proc/self/statm", "re");
    assert_non_null(statm);
    for (int c = fgetc(statm); c >= '0' && c <= '9'; c = fgetc(statm)) {
        pages = pages * 10 + (unsigned long)(c - '0');
    }
    assert_int_equal(fclose(statm), 0);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    little = before;
    little.rlim_cur = pages * (unsigned long)sysconf(_SC_PAGESIZE) + PASSWORD_MEMORY_BYTES / 2;
    assert_int_equal(setrlimit(RLIMIT_AS, &little), 0);
    int right = password_verify(hash, STR("correct horse")), wrong = password_verify(hash, STR("x"));
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(right, -ENOMEM);
    assert_int_equal(wrong, -ENOMEM);
    assert_int_equal(password_verify(hash, STR("correct horse")), 1);
}

static double seconds_for(const char *hash)
{
    struct timespec begin, end;
    double least = 1e9;
    for (int i = 0; i < 5; i++) {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        assert_int_equal(password_verify(hash, STR("a wrong password")), 0);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        double s =
            (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
        least = s < least ? s : least;
    }
    return least;
}

// In computing time, which a busy machine does not stretch; least of five.
static void test_nobody_takes_as_long_as_somebody(void **state)
{
    (void)state;
    char hash[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash(STR("correct horse"), hash), 0);
    double somebody = seconds_for(hash), nobody = seconds_for("");
    assert_true(somebody < 1.5 * nobody && nobody < 1.5 * somebody);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters_are_in_the_hash),
        cmocka_unit_test(test_only_the_password_opens),
        cmocka_unit_test(test_no_byte_is_cut_off),
        cmocka_unit_test(test_equal_passwords_have_different_hashes),
        cmocka_unit_test(test_damaged_hashes_are_errors),
        cmocka_unit_test(test_other_parameters_are_outdated_but_open),
        cmocka_unit_test(test_without_memory_nobody_is_told_a_lie),
        cmocka_unit_test(test_nobody_takes_as_long_as_somebody),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
