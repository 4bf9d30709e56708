// SPDX-License-Identifier: MIT
#include "gateway/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_characters(void **state)
{
    (void)state;
    static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "!#$%&'*+-.^_`|~";
    for (int c = 0; c < 256; c++) {
        assert_int_equal(is_token((char)c), c && strchr(token, c));
        assert_int_equal(is_text((char)c), c == '\t' || (c >= ' ' && c != 0x7F));
        assert_int_equal(hexadecimal((char)c) >= 0, c && strchr("0123456789abcdefABCDEF", c));
    }
    assert_int_equal(hexadecimal('9'), 9);
    assert_int_equal(hexadecimal('a'), 10);
    assert_int_equal(hexadecimal('F'), 15);
}

static void test_field_names(void **state)
{
    (void)state;
    char longest[FIELD_NAME_MAX + 1];
    memset(longest, 'a', sizeof longest);
    assert_true(is_field_name(STR("if-match")) && is_field_name(STR("x_1.~")));
    assert_false(is_field_name(STR("If-Match")) || is_field_name(STR("")));
    assert_false(is_field_name(STR("a b")) || is_field_name(STR("a:")) ||
                 is_field_name(STR("a\0")));
    assert_true(is_field_name((struct str){ longest, FIELD_NAME_MAX }));
    assert_false(is_field_name((struct str){ longest, FIELD_NAME_MAX + 1 }));
}

static void test_lists(void **state)
{
    (void)state;
    static const char *const with[] = { "close",           "Close",    " close ", "a,close",
                                        "a\t,\tCLOSE\t,b", ",,close,", "close,x", "x, close" };
    static const char *const without[] = { "",        ",",         "clos",      "closed", "x close",
                                           "close x", "close;q=1", "\"close\"", "c,lose" };
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        assert_true(list_has(str_of(with[i]), STR("close")));
    }
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        assert_false(list_has(str_of(without[i]), STR("close")));
    }
    assert_false(list_has((struct str){ NULL, 0 }, STR("close")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_field_names),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
