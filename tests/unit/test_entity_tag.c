// SPDX-License-Identifier: MIT
#include "gateway/entity_tag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_all(const char *before, const char *after)
{
    char text[200];
    size_t n = strlen(before);
    memcpy(text, before, n);
    entity_tag_strip_all(text, &n);
    if (!str_eq((struct str){ text, n }, str_of(after))) {
        fail_msg("%s becomes %.*s, expected %s", before, (int)n, text, after);
    }
}

static void test_of_content(void **state)
{
    (void)state;
    char one[ENTITY_TAG_HASH_SIZE], same[ENTITY_TAG_HASH_SIZE], other[ENTITY_TAG_HASH_SIZE];
    entity_tag_of(STR("content"), one);
    entity_tag_of(STR("content"), same);
    entity_tag_of(STR("contents"), other);
    assert_int_equal(strlen(one), ENTITY_TAG_HASH_SIZE - 1);
    assert_true(one[0] == '"' && one[ENTITY_TAG_HASH_SIZE - 2] == '"');
    assert_string_equal(one, same);
    assert_string_not_equal(one, other);
}

static void test_if_match(void **state)
{
    (void)state;
    assert_all("\"7-m\"", "\"7\"");
    assert_all("\"7\"", "\"7\"");
    assert_all("\"7-m\", W/\"8-m\" , \"9\"", "\"7\", W/\"8\" , \"9\"");
    assert_all("\"7-v0123456789abcdef-m-zstd\"", "\"7\"");
    assert_all("\"7-v0123456789abcdef-gzip\"", "\"7\"");
    assert_all("\"7-m-gzip\"", "\"7\"");
    assert_all("\"7-gzip-m\"", "\"7-gzip\"");                       // another order is no suffix
    assert_all("\"7-v0123456789abcde\"", "\"7-v0123456789abcde\""); // too short
    assert_all("\"7-v0123456789ABCDEF\"", "\"7-v0123456789ABCDEF\"");
    assert_all("*", "*");
    assert_all("\"-m\"", "\"\"");
    assert_all("\"m\"", "\"m\"");
    assert_all("7-m", "7-m");     // no tag
    assert_all("\"7-m", "\"7-m"); // not closed
    assert_all("", "");
}

static bool assert_one(const char *before, const char *suffix, enum coding coding,
                       const char *after)
{
    char text[200];
    bool coded;
    size_t n = strlen(before);
    memcpy(text, before, n);
    entity_tag_strip(text, &n, str_of(suffix), coding, &coded);
    if (!str_eq((struct str){ text, n }, str_of(after))) {
        fail_msg("%s becomes %.*s, expected %s", before, (int)n, text, after);
    }
    return coded;
}

static void test_if_none_match(void **state)
{
    (void)state;
    assert_false(assert_one("\"7-m\"", "-m", CODING_IDENTITY, "\"7\""));
    assert_false(assert_one("\"7\", \"8-m\"", "-m", CODING_IDENTITY, "\"\", \"8\""));
    assert_false(assert_one("*", "-m", CODING_IDENTITY, "*"));
    assert_false(assert_one("\"7-m\"", "", CODING_IDENTITY, "\"7-m\"")); // matches nothing
    assert_true(assert_one("\"7-zstd\"", "", CODING_ZSTD, "\"7\""));
    assert_false(assert_one("\"7\"", "", CODING_ZSTD, "\"7\"")); // a short body is not compressed
    assert_false(assert_one("\"7-gzip\"", "", CODING_ZSTD, "\"7-gzip\"")); // matches nothing
    assert_false(assert_one("\"7-zstd\"", "", CODING_IDENTITY, "\"7-zstd\""));
    assert_true(assert_one("\"7-m-gzip\", \"8-gzip\"", "-m", CODING_GZIP, "\"7\", \"\""));
    assert_false(assert_one("\"7-v0123456789abcdef\"", "", CODING_GZIP, "\"7-v0123456789abcdef\""));
    assert_false(assert_one("\"7-v0123456789abcdef\"", "-v1123456789abcdef", CODING_GZIP, "\"\""));
}

static void assert_made(const char *tag, uint64_t shape, bool msgpack, enum coding coding,
                        const char *expected)
{
    char memory[ENTITY_TAG_SUFFIX_MAX], out[ENTITY_TAG_MAX];
    struct str suffix = entity_tag_suffix(shape, msgpack, memory);
    struct str made = entity_tag_make(str_of(tag), suffix, coding, out);
    if (!str_eq(made, str_of(expected))) {
        fail_msg("%s becomes %.*s", tag, STR_ARG(made));
    }
}

static void test_making(void **state)
{
    (void)state;
    assert_made("\"7\"", 0, false, CODING_IDENTITY, "\"7\"");
    assert_made("\"7\"", 0, true, CODING_IDENTITY, "\"7-m\"");
    assert_made("W/\"7\"", 0x12, true, CODING_ZSTD, "W/\"7-v0000000000000012-m-zstd\"");
    assert_made("7", 0, false, CODING_IDENTITY, NULL);
    assert_made("\"", 0, false, CODING_IDENTITY, NULL);
    assert_made("", 0, false, CODING_IDENTITY, NULL);
}

static void test_length(void **state)
{
    (void)state;
    char tag[ENTITY_TAG_MAX + 1], out[ENTITY_TAG_MAX];
    memset(tag, 'a', sizeof tag);
    tag[0] = '"';
    tag[ENTITY_TAG_MAX - 3] = '"';
    struct str most = { tag, ENTITY_TAG_MAX - 2 };
    assert_int_equal(entity_tag_make(most, STR("-m"), CODING_IDENTITY, out).n, ENTITY_TAG_MAX);
    assert_null(entity_tag_make(most, STR("-m"), CODING_GZIP, out).p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of_content),
        cmocka_unit_test(test_if_match),
        cmocka_unit_test(test_if_none_match),
        cmocka_unit_test(test_making),
        cmocka_unit_test(test_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
