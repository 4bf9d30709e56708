// SPDX-License-Identifier: MIT
// What is guessed early is refused, with a reason that fits and gives nothing away; what people and
// password managers make up is taken, whatever its script and length.
#include "services/users/strength.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct strength_hints nobody = { STR_INIT(""), STR_INIT("") };
static const struct strength_hints ada = { STR_INIT("Ada.Lovelace@analytical.example"),
                                           STR_INIT("Ada King-Noel") };

static char reason[STRENGTH_REASON_SIZE];

static void test_weak_ones_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *password, *why;
    } cases[] = {
        { "password", "common passwords" },   { "12345678", "common passwords" },
        { "Passw0rd1", "common passwords" },  { "iloveyou1", "common passwords" },
        { "hunter22", "common passwords" },   { "long enough", "common passwords" },
        { "aaaaaaaaaaaaaaaa", "repetition" }, { "abcabcabcabc", "repetition" },
        { "abcdefghijkl", "sequence" },       { "98765432", "" },
        { "zxcvfrewq", "keyboard" },          { "1988-11-26", "date" },
        { "sluicesluice", "repetition" },     { "Sluice123", "this account's" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (password_strong(str_of(cases[i].password), &nobody, reason)) {
            fail_msg("\"%s\" is taken", cases[i].password);
        }
        if (!strstr(reason, cases[i].why)) {
            fail_msg("\"%s\": %s", cases[i].password, reason);
        }
        assert_true(i == 0 || !strstr(reason, cases[i].password)); // "password" is in each
    }
}

static void test_what_the_account_says_is_weak(void **state)
{
    (void)state;
    static const char *const told[] = { "adalovelace",  "LOVELACE1815",
                                        "analytical!",  "King-Noel1",
                                        "l0vel4ce-ada", "ada.lovelace@analytical.example" };
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        if (password_strong(str_of(told[i]), &ada, reason)) {
            fail_msg("\"%s\" is taken", told[i]);
        }
    }
    assert_true(password_strong(STR("ada.lovelace@analytical.example"), &nobody, reason));
}

static void test_good_ones_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        "correct horse battery",
        "kX9#mQ2v",
        "gr\xC3\xBCnerTee77",
        "\xE5\xAF\x86\xE7\xA0\x81\xE5\xBE\x88\xE9\x95\xBF",
        "Tr0ub4dour&3",
        "seven red bicycles",
        "8f14e45fceea167a5a36dedd4bea2543",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!password_strong(str_of(good[i]), &ada, reason)) {
            fail_msg("\"%s\": %s", good[i], reason);
        }
    }
}

// 1 KiB is the most that 256 characters have. The cost would grow with the square of it.
static void test_length_alone_is_no_strength(void **state)
{
    (void)state;
    char text[1024];
    memset(text, 'a', sizeof text);
    assert_false(password_strong((struct str){ text, sizeof text }, &ada, reason));
    memcpy(text + STRENGTH_LOOKED_AT, "seven red bicycles", 18); // not looked at
    assert_false(password_strong((struct str){ text, sizeof text }, &ada, reason));
    memcpy(text, "seven red bicycles", 18);
    assert_true(password_strong((struct str){ text, sizeof text }, &ada, reason));
}

static void test_a_nul_hides_nothing(void **state)
{
    (void)state;
    assert_false(password_strong(STR("password\0kX9#mQ2v"), &nobody, reason));
    assert_false(password_strong(STR(""), &nobody, reason));
}

// Hints of any length and number, without a terminating NUL.
static void test_hints_are_bounded(void **state)
{
    (void)state;
    size_t n = 4000;
    char *name = malloc(n);
    assert_non_null(name);
    for (size_t i = 0; i < n; i++) {
        name[i] = "abcd "[i % 5];
    }
    struct strength_hints hints = { { name, n }, { name, n } };
    assert_true(password_strong(STR("kX9#mQ2v"), &hints, reason));
    assert_false(password_strong(STR("abcdabcd"), &hints, reason));
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weak_ones_are_refused_with_the_reason),
        cmocka_unit_test(test_what_the_account_says_is_weak),
        cmocka_unit_test(test_good_ones_are_taken),
        cmocka_unit_test(test_length_alone_is_no_strength),
        cmocka_unit_test(test_a_nul_hides_nothing),
        cmocka_unit_test(test_hints_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
