// SPDX-License-Identifier: MIT
// Pieces of a string stay within it, and nothing of it is lost between them.
#include "proto/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_str(struct str s, const char *expected)
{
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.p, expected, s.n);
}

static void test_trim(void **state)
{
    (void)state;
    assert_str(str_trim(STR("a")), "a");
    assert_str(str_trim(STR(" \t a b\t ")), "a b");
    assert_str(str_trim(STR("\ra\n")), "\ra\n"); // no blanks
    assert_int_equal(str_trim(STR(" \t ")).n, 0);
    assert_int_equal(str_trim((struct str){ NULL, 0 }).n, 0);
    assert_str(str_trim((struct str){ "a   ", 2 }), "a"); // what is behind it is not looked at
}

static void test_lines(void **state)
{
    (void)state;
    struct str rest = STR("one\n\r\n\nlast");
    assert_str(str_take_line(&rest), "one");
    assert_str(str_take_line(&rest), "\r");
    assert_str(str_take_line(&rest), "");
    assert_str(str_take_line(&rest), "last");
    assert_int_equal(rest.n, 0);
}

static void test_a_last_line_with_an_end_is_not_followed_by_an_empty_one(void **state)
{
    (void)state;
    struct str rest = { "one\ntwo\nthree", 4 }; // which end with the string, whatever is behind it
    assert_str(str_take_line(&rest), "one");
    assert_int_equal(rest.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_last_line_with_an_end_is_not_followed_by_an_empty_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
