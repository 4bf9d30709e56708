// SPDX-License-Identifier: MIT
// Guessing gets slower, however many guess at once; forgetting does not lock anybody out for long,
// and accounts and places do not touch each other.
#include "services/users/throttle.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

static int64_t now_ms; // of a clock that only the tests move

static int start(void **state)
{
    (void)state;
    now_ms = 1000;
    if (sodium_init() < 0) {
        return -1;
    }
    throttle_open(3);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    throttle_close();
    return 0;
}

static struct throttle_who unknown_at(struct str account, const char *place)
{
    return (struct throttle_who){ account, str_of(place), str_of(place), false };
}

static int64_t begin(const struct throttle_who *who, struct throttle_attempt *a)
{
    return throttle_begin(who, now_ms, a);
}

// A wrong password; returns how long it had to wait instead.
static int64_t guess(const struct throttle_who *who)
{
    struct throttle_attempt a;
    int64_t wait_ms = begin(who, &a);
    throttle_keep(&a);
    throttle_end(&a);
    return wait_ms;
}

static int guesses(const struct throttle_who *who, int n)
{
    int checked = 0;
    for (int i = 0; i < n; i++) {
        checked += guess(who) == 0;
    }
    return checked;
}

static void test_free_attempts_then_doubling_waits(void **state)
{
    (void)state;
    struct throttle_who who = unknown_at(STR("doubling@example.org"), "here");
    assert_int_equal(guesses(&who, THROTTLE_FREE), THROTTLE_FREE);
    int64_t expected = THROTTLE_FIRST_MS;
    for (int i = 0; i < 50; i++) {
        assert_true(guess(&who) == expected); // a refusal does not count
        now_ms += expected - 1;
        assert_true(guess(&who) == 1);
        now_ms += 1;
        assert_true(guess(&who) == 0);
        expected = expected * 2 < THROTTLE_LONGEST_MS ? expected * 2 : THROTTLE_LONGEST_MS;
    }
    assert_true(expected == THROTTLE_LONGEST_MS);
}

// What is being checked counts before it is known to be wrong.
static void test_parallel_attempts_count_before_they_are_checked(void **state)
{
    (void)state;
    struct throttle_attempt attempts[50];
    struct throttle_who who = unknown_at(STR("parallel@example.org"), "here");
    int checked = 0;
    for (size_t i = 0; i < 50; i++) {
        checked += begin(&who, &attempts[i]) == 0;
    }
    assert_int_equal(checked, THROTTLE_FREE);
    for (size_t i = 0; i < 50; i++) {
        throttle_end(&attempts[i]); // none of them was checked after all
    }
    assert_int_equal(guesses(&who, 50), THROTTLE_FREE);
}

static atomic_int checks;

static void *guess_in_parallel(void *data)
{
    (void)data;
    struct throttle_who who = unknown_at(STR("threads@example.org"), "here");
    for (int i = 0; i < 1000; i++) {
        struct throttle_attempt a;
        if (throttle_begin(&who, 1000, &a) == 0) {
            atomic_fetch_add(&checks, 1);
            throttle_keep(&a);
        }
        throttle_end(&a);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, guess_in_parallel, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(checks, THROTTLE_FREE);
}

static void test_the_right_password_clears_the_pair(void **state)
{
    (void)state;
    struct throttle_attempt a;
    struct throttle_who who = unknown_at(STR("clears@example.org"), "here");
    assert_int_equal(guesses(&who, THROTTLE_FREE - 1), THROTTLE_FREE - 1);
    assert_true(begin(&who, &a) == 0);
    throttle_passed(&a);
    throttle_end(&a);
    assert_int_equal(guesses(&who, THROTTLE_FREE + 1), THROTTLE_FREE);
}

static void test_time_clears(void **state)
{
    (void)state;
    struct throttle_who who = unknown_at(STR("time@example.org"), "here");
    assert_int_equal(guesses(&who, THROTTLE_FREE - 1), THROTTLE_FREE - 1);
    now_ms += THROTTLE_FORGET_MS;
    assert_int_equal(guesses(&who, THROTTLE_FREE - 1), THROTTLE_FREE - 1);
    now_ms += THROTTLE_FORGET_MS - 1;
    assert_int_equal(guesses(&who, 2), 1);
}

static void test_case_does_not_matter(void **state)
{
    (void)state;
    struct throttle_who upper = unknown_at(STR("CASE@Example.org"), "here");
    struct throttle_who lower = unknown_at(STR("case@example.ORG"), "here");
    assert_int_equal(guesses(&upper, THROTTLE_FREE / 2), THROTTLE_FREE / 2);
    assert_int_equal(guesses(&lower, THROTTLE_FREE), THROTTLE_FREE - THROTTLE_FREE / 2);
}

// Guessing from everywhere is slowed, and the owner is not, where they have been before.
static void test_the_owner_gets_in_while_others_guess(void **state)
{
    (void)state;
    struct str account = STR("owner@example.org");
    int checked = 0;
    for (int i = 0; i < 1000; i++) {
        char place[32];
        (void)snprintf(place, sizeof place, "bot-%d", i);
        struct throttle_who bot = unknown_at(account, place);
        checked += guess(&bot) == 0;
    }
    assert_int_equal(checked, THROTTLE_ACCOUNT_FREE);
    struct throttle_who owner = unknown_at(account, "home");
    assert_true(guess(&owner) > 0);
    owner.known = true;
    assert_int_equal(guesses(&owner, THROTTLE_FREE + 5), THROTTLE_FREE); // as a pair only
}

static void test_an_address_leaks(void **state)
{
    (void)state;
    int checked = 0;
    for (int i = 0; i < THROTTLE_ADDRESS_FREE + 50; i++) {
        char account[40];
        int n = snprintf(account, sizeof account, "spray-%d@example.org", i);
        struct throttle_who who = unknown_at((struct str){ account, (size_t)n }, "sprayer");
        checked += guess(&who) == 0;
    }
    assert_int_equal(checked, THROTTLE_ADDRESS_FREE);
    struct throttle_who who = unknown_at(STR("one-more@example.org"), "sprayer");
    assert_true(guess(&who) == THROTTLE_ADDRESS_LEAK_MS);
    now_ms += THROTTLE_ADDRESS_LEAK_MS;
    assert_int_equal(guesses(&who, 5), 1);
    struct throttle_who elsewhere = unknown_at(STR("one-more@example.org"), "elsewhere");
    assert_true(guess(&elsewhere) == 0);
    struct throttle_attempt a; // right passwords cost an address nothing
    now_ms += THROTTLE_ADDRESS_LEAK_MS;
    for (int i = 0; i < 10; i++) {
        assert_true(begin(&who, &a) == 0);
        throttle_passed(&a);
    }
}

static void test_signups(void **state)
{
    (void)state;
    struct throttle_attempt a;
    for (int i = 0; i < 3; i++) {
        assert_true(throttle_signup(STR("here"), now_ms, &a) == 0);
        throttle_keep(&a);
    }
    assert_true(throttle_signup(STR("here"), now_ms, &a) == 1200000);
    assert_true(throttle_signup(STR("there"), now_ms, &a) == 0);
    now_ms += 1200000;
    assert_true(throttle_signup(STR("here"), now_ms, &a) == 0);
    throttle_end(&a); // it came to nothing
    assert_true(throttle_signup(STR("here"), now_ms, &a) == 0);
    throttle_keep(&a);
    assert_true(throttle_signup(STR("here"), now_ms, &a) > 0);
}

static void test_others_are_not_slowed(void **state)
{
    (void)state;
    struct throttle_who attacked = unknown_at(STR("attacked@example.org"), "here");
    (void)guesses(&attacked, THROTTLE_FREE);
    int slowed = 0;
    for (int i = 0; i < 20 * THROTTLE_ENTRIES; i++) { // more than the table has
        char name[64];
        int n = snprintf(name, sizeof name, "user-%d@example.org", i);
        struct throttle_who who = unknown_at((struct str){ name, (size_t)n }, name);
        slowed += guess(&who) > 0;
    }
    assert_int_equal(slowed, 0);
    assert_true(guess(&attacked) > 0); // and whoever is slowed is not forgotten for them
}

static void test_absurd_names(void **state)
{
    (void)state;
    char name[5000];
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = (char)i;
    }
    struct str all = { name, sizeof name }, none = { NULL, 0 };
    struct throttle_who absurd = { all, all, all, false }, nobody = { none, none, none, false };
    assert_int_equal(guesses(&absurd, 50), THROTTLE_FREE);
    assert_int_equal(guesses(&nobody, 50), THROTTLE_FREE);
}

static void test_places(void **state)
{
    (void)state;
    uint8_t a[THROTTLE_PLACE_BYTES], b[THROTTLE_PLACE_BYTES];
    assert_true(throttle_place(STR("2001:db8::1"), a));
    assert_true(throttle_place(STR("2001:db8::ffff:2"), b));
    assert_memory_equal(a, b, sizeof a);
    assert_true(throttle_place(STR("2001:db8:0:1::1"), b));
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(throttle_place(STR("10.0.0.1"), a));
    assert_true(throttle_place(STR("10.0.0.2"), b));
    assert_memory_not_equal(a, b, sizeof a);
    assert_false(throttle_place(STR(""), a));
    assert_false(throttle_place(STR("not an address"), a));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_free_attempts_then_doubling_waits),
        TEST(test_parallel_attempts_count_before_they_are_checked),
        TEST(test_threads),
        TEST(test_the_right_password_clears_the_pair),
        TEST(test_time_clears),
        TEST(test_case_does_not_matter),
        TEST(test_the_owner_gets_in_while_others_guess),
        TEST(test_an_address_leaks),
        TEST(test_signups),
        TEST(test_others_are_not_slowed),
        TEST(test_absurd_names),
        TEST(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
