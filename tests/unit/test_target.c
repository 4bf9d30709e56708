// SPDX-License-Identifier: MIT
// Targets: what they are taken apart into, and what is refused. The requests of
// test_http_request.c go through the same code; here are the results and the edges.
#include "gateway/target.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct target target;
static const char *detail;

static int parse(char *text)
{
    detail = NULL;
    return target_parse(text, strlen(text), &target, &detail);
}

#define PARSE(literal) parse((char[]){ literal })

static void test_segments(void **state)
{
    (void)state;
    assert_int_equal(PARSE("/"), 0);
    assert_int_equal(target.n_segments, 1);
    assert_int_equal(target.segments[0].n, 0);
    assert_int_equal(PARSE("/v1/users/"), 0);
    assert_int_equal(target.n_segments, 3);
    assert_int_equal(target.segments[2].n, 0);
    assert_int_equal(PARSE("//a"), 0);
    assert_int_equal(target.n_segments, 2);
    assert_int_equal(target.segments[0].n, 0);
    assert_int_equal(PARSE("/.../..a/a.."), 0); // not dot segments
    assert_int_equal(target.n_segments, 3);
}

static void test_decoding(void **state)
{
    (void)state;
    char text[] = "/a%2Fb+c/%E2%82%AC?%61=%2B+%26&b=c=d&=e&&f";
    assert_int_equal(parse(text), 0);
    assert_true(str_eq(target.segments[0], STR("a/b+c"))); // a plus is a plus in a path
    assert_true(str_eq(target.segments[1], STR("\xE2\x82\xAC")));
    assert_int_equal(target.n_query, 4);
    assert_true(str_eq(target.query[0].name, STR("a")));
    assert_true(str_eq(target.query[0].value, STR("+ &")));
    assert_true(str_eq(target.query[1].value, STR("c=d")));
    assert_int_equal(target.query[2].name.n, 0);
    assert_true(str_eq(target.query[3].name, STR("f")));
}

static void test_absolute(void **state)
{
    (void)state;
    char text[] = "http://host:1/p?q=1", bare[] = "http://host?q=1", root[] = "http://[::1]";
    assert_int_equal(parse(text), 0);
    assert_true(str_eq(target.segments[0], STR("p")));
    assert_int_equal(target.n_query, 1);
    assert_int_equal(parse(bare), 0);
    assert_int_equal(target.n_segments, 1);
    assert_int_equal(target.n_query, 1);
    assert_int_equal(parse(root), 0);
    assert_int_equal(target.n_segments, 1);
}

static void test_many_segments(void **state)
{
    (void)state;
    char text[2 * HTTP_MAX_SEGMENTS + 8] = "";
    for (size_t i = 1; i <= HTTP_MAX_SEGMENTS + 2; i++) {
        char copy[sizeof text];
        strcat(text, "/a");
        memcpy(copy, text, sizeof text);
        assert_int_equal(parse(copy), 0);
        assert_int_equal(target.n_segments, i <= HTTP_MAX_SEGMENTS ? i : HTTP_MAX_SEGMENTS + 1);
    }
    char dots[sizeof text + 4];
    (void)snprintf(dots, sizeof dots, "%s/..", text); // checked also behind the limit
    assert_int_equal(parse(dots), -EINVAL);
}

static void test_many_parameters(void **state)
{
    (void)state;
    char text[4 * FRAME_MAX_QUERY + 8] = "/?";
    for (size_t i = 0; i < FRAME_MAX_QUERY; i++) {
        strcat(text, "a=&");
    }
    char copy[sizeof text];
    memcpy(copy, text, sizeof text);
    assert_int_equal(parse(copy), 0);
    assert_int_equal(target.n_query, FRAME_MAX_QUERY);
    strcat(text, "b");
    assert_int_equal(parse(text), -E2BIG);
    assert_null(detail);
}

// Every byte that is neither allowed nor part of a percent-encoding is refused, in path and query.
static void test_every_byte(void **state)
{
    (void)state;
    static const char path[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~!$&'()*+,;=:@";
    for (int c = 1; c < 256; c++) {
        char in_path[] = { '/', 'x', (char)c, 'x', 0 },
             in_query[] = { '/', '?', 'x', (char)c, 'x', 0 };
        bool path_ok = strchr(path, c) || c == '?',
             query_ok = strchr(path, c) || strchr("?[]{}|^`", c);
        assert_int_equal(parse(in_path), path_ok ? 0 : -EINVAL);
        assert_int_equal(parse(in_query), query_ok ? 0 : -EINVAL);
    }
}

static void test_every_encoded_byte(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        char in_path[8], in_query[8];
        (void)snprintf(in_path, sizeof in_path, "/x%%%02x", c);
        (void)snprintf(in_query, sizeof in_query, "/?x%%%02X", c);
        bool ascii = c < 0x80;
        assert_int_equal(parse(in_path), ascii && c >= 0x20 && c != 0x7F ? 0 : -EINVAL);
        assert_int_equal(parse(in_query), ascii && c != 0 ? 0 : -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments),           cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_absolute),           cmocka_unit_test(test_many_segments),
        cmocka_unit_test(test_many_parameters),    cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_every_encoded_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
