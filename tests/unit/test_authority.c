// SPDX-License-Identifier: MIT
// Hosts with and without a port: what RFC 3986 allows is taken, and nothing else.
#include "gateway/authority.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_valid(const char *text, bool valid)
{
    // Exactly its size, so that a read behind its end is seen.
    size_t n = strlen(text);
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    bool result = authority_valid((struct str){ copy, n });
    free(copy);
    if (result != valid) {
        fail_msg("\"%s\" is %s", text, result ? "taken" : "refused");
    }
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = { "a",
                                        "example.com",
                                        "a-b_c.d~e",
                                        "a,b",
                                        "!$&'()*+,;=",
                                        "a%41",
                                        "%e2%82%AC.example",
                                        "127.0.0.1",
                                        "999.1.1.1.1",
                                        "-",
                                        ".",
                                        "a..b",
                                        "example.com." };
    static const char *const bad[] = { "",     "a@b",  "a/b",   "a b",  "a\tb", "a?b", "a#b",
                                       "a\\b", "a\"b", "<a>",   "a[",   "a]",   "a|b", "a^b",
                                       "a`b",  "{a}",  "a%",    "a%4",  "a%zz", "%",   "a%4g",
                                       " a",   "\x7f", "\xe4.", "a\x01" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_valid(good[i], true);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_valid(bad[i], false);
    }
    assert_false(authority_valid((struct str){ "a\0b", 3 }));
    assert_false(authority_valid((struct str){ "\0", 1 }));
}

static void test_ipv6(void **state)
{
    (void)state;
    static const char *const good[] = { "[::]",
                                        "[::1]",
                                        "[1::]",
                                        "[2001:db8::7]",
                                        "[2001:DB8:0:0:8:800:200C:417A]",
                                        "[1:2:3:4:5:6:7::]",
                                        "[::2:3:4:5:6:7:8]",
                                        "[1::3:4:5:6:7:8]",
                                        "[::ffff:192.0.2.1]",
                                        "[1:2:3:4:5:6:192.0.2.1]" };
    static const char *const bad[] = { "[",
                                       "]",
                                       "[]",
                                       "[:]",
                                       "[:::]",
                                       "[::1",
                                       "::1",
                                       "[::1]]",
                                       "[[::1]]",
                                       "[a]",
                                       "[1:2:3:4:5:6:7]",
                                       "[1:2:3:4:5:6:7:8:9]",
                                       "[1:2:3:4:5:6:7:8::]",
                                       "[1::2::3]",
                                       "[12345::]",
                                       "[g::]",
                                       "[::1.2.3]",
                                       "[::1.2.3.256]",
                                       "[::01.2.3.4]",
                                       "[1.2.3.4]",
                                       "[1.2.3.4::]",
                                       "[:1:2:3:4:5:6:7:8]",
                                       "[1:2:3:4:5:6:7:8:]",
                                       "[fe80::1%25eth0]",
                                       "[fe80::1%eth0]",
                                       "[ ::1]",
                                       "[::1 ]",
                                       "[v1.x]",
                                       "[vF.a:b]",
                                       "[example.com]",
                                       "[::1]x",
                                       "x[::1]" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_valid(good[i], true);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_valid(bad[i], false);
    }
    assert_false(authority_valid((struct str){ "[::1\0]", 6 }));
}

static void test_ports(void **state)
{
    (void)state;
    static const char *const good[] = { "a:",        "a:0",       "a:80",  "a:65535",
                                        "a:0000080", "[::1]:443", "[::1]:" };
    static const char *const bad[] = { ":80",   ":",    "a:b",     "a:-1",          "a:+1",
                                       "a: 1",  "a:1 ", "a:65536", "a:99999999999", "a:1:2",
                                       "a:0x5", "a::1", "a:1a",    "[::1]80" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_valid(good[i], true);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_valid(bad[i], false);
    }
}

static void test_length(void **state)
{
    (void)state;
    char name[AUTHORITY_MAX_NAME + 10];
    memset(name, 'a', sizeof name);
    memcpy(name + AUTHORITY_MAX_NAME, ":65535", 6);
    assert_true(authority_valid((struct str){ name, AUTHORITY_MAX_NAME }));
    assert_true(authority_valid((struct str){ name, AUTHORITY_MAX_NAME + 6 }));
    name[AUTHORITY_MAX_NAME] = 'a';
    assert_false(authority_valid((struct str){ name, AUTHORITY_MAX_NAME + 1 }));
}

// Every byte alone inside a name.
static void test_every_byte(void **state)
{
    (void)state;
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._~!$&'()*+,;=";
    for (int c = 0; c < 256; c++) {
        char text[] = { 'x', (char)c, 'x' };
        assert_int_equal(authority_valid((struct str){ text, 3 }), c && strchr(allowed, c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_ports),      cmocka_unit_test(test_length),
        cmocka_unit_test(test_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
