// SPDX-License-Identifier: MIT
// A change is seen once, whether the file is written to or replaced; one that is away is no change.
#include "common/watched_file.h"

#include "common/file.h"
#include "tests/unit/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static void put(const char *path, const char *text)
{
    assert_int_equal(file_replace(path, str_of(text), 0600), 0);
}

static void test_replaced(void **state)
{
    (void)state;
    struct watched_file w;
    put("f", "one");
    assert_true(watched_file_begin(&w, "f"));
    assert_false(watched_file_changed(&w));
    put("f", "two"); // of the same size
    assert_true(watched_file_changed(&w));
    assert_false(watched_file_changed(&w));
}

static void test_written_to(void **state)
{
    (void)state;
    struct watched_file w;
    put("f", "one");
    assert_true(watched_file_begin(&w, "f"));
    FILE *f = fopen("f", "a");
    assert_non_null(f);
    assert_true(fputs("more", f) >= 0 && fclose(f) == 0);
    assert_true(watched_file_changed(&w));
    assert_false(watched_file_changed(&w));
}

static void test_made_readable(void **state)
{
    (void)state;
    struct watched_file w;
    put("f", "one");
    assert_int_equal(chmod("f", 0), 0);
    assert_true(watched_file_begin(&w, "f"));
    assert_int_equal(chmod("f", 0400), 0);
    assert_true(watched_file_changed(&w));
    assert_false(watched_file_changed(&w));
}

static void test_read_again(void **state)
{
    (void)state;
    struct watched_file w;
    put("f", "one");
    assert_true(watched_file_begin(&w, "f"));
    watched_file_again(&w, 0);
    assert_true(watched_file_changed(&w));
    assert_false(watched_file_changed(&w));
}

static void test_away_and_back(void **state)
{
    (void)state;
    struct watched_file w;
    assert_false(watched_file_begin(&w, "f"));
    assert_false(watched_file_changed(&w));
    put("f", "one");
    assert_true(watched_file_changed(&w));
    assert_int_equal(rename("f", "kept"), 0);
    assert_false(watched_file_changed(&w)); // it is being replaced
    assert_int_equal(rename("kept", "f"), 0);
    assert_false(watched_file_changed(&w)); // by itself
    assert_int_equal(unlink("f"), 0);
    put("f", "new");
    assert_true(watched_file_changed(&w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_replaced),      TEMP_DIR_CASE(test_written_to),
        TEMP_DIR_CASE(test_made_readable), TEMP_DIR_CASE(test_read_again),
        TEMP_DIR_CASE(test_away_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
