// SPDX-License-Identifier: MIT
// An environment file gives exactly what a shell would take from it, or is refused with the line that is wrong; the
// real environment wins.
#include "deploy/envfile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/temp_dir.h"

// Takes text apart and compares with what is expected; a NULL name means that the line is empty.
static void check_line(const char *text, const char *name, const char *value)
{
    char line[256], *n = NULL, *v = NULL;
    const char *why = NULL;
    strcpy(line, text);
    assert_int_equal(envfile_line(line, &n, &v, &why), name ? 1 : 0);
    assert_null(why);
    if (name) {
        assert_string_equal(n, name);
        assert_string_equal(v, value);
    }
}

static void test_lines(void **state)
{
    (void)state;
    check_line("", NULL, NULL);
    check_line(" \t ", NULL, NULL);
    check_line("# A=b", NULL, NULL);
    check_line("  # A=b", NULL, NULL);
    check_line("A=b", "A", "b");
    check_line("  A_1=b", "A_1", "b");
    check_line("export A=b", "A", "b");
    check_line("_=", "_", "");
    check_line("A=", "A", "");
    check_line("A= # nothing", "A", "");
    check_line("A=b  ", "A", "b");
    check_line("A=b # comment", "A", "b");
    check_line("A=b#c", "A", "b#c");
    check_line("A=tcp://0.0.0.0:7100", "A", "tcp://0.0.0.0:7100");
    check_line("A=a=b", "A", "a=b");
    check_line("A=''", "A", "");
    check_line("A='b c'", "A", "b c");
    check_line("A='$b `c` \\ \"'", "A", "$b `c` \\ \"");
    check_line("A='b' # comment", "A", "b");
    check_line("A=\"\"", "A", "");
    check_line("A=\"b 'c' #d\"", "A", "b 'c' #d");
    check_line("A=\"\\\"\\$\\`\\\\\\n\"", "A", "\"$`\\\\n");
    check_line("A=ipc://x/\303\266", "A", "ipc://x/\303\266");
}

static void test_wrong_lines(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "A",         "=b",        "1A=b",      "A =b",   "A-B=c",  "A.B=c",      "export",   "export A",
        "A=b c",     "A= b",      "A='b",      "A=\"b",  "A=\"b\\", "A='b'c",    "A=\"b\"c", "A='b'#c",
        "A=$B",      "A=`b`",     "A=\"$B\"",  "A=*.c",  "A=a;b",  "A=a&b",      "A=a|b",    "A=a>b",
        "A=\\b",     "A=a'b'",    "A=a\"b\"",  "A=(b)",  "A=b?",   "A=\"`b`\"",  "A=~/b",    "A=b\r",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[256], *n = NULL, *v = NULL;
        const char *why = NULL;
        strcpy(line, lines[i]);
        if (envfile_line(line, &n, &v, &why) != -EINVAL || !why) {
            fail_msg("accepted: %s", lines[i]);
        }
    }
}

static void write_file(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static int apply(const char *text, char error[CONFIG_ERROR_SIZE])
{
    *error = '\0';
    write_file("test.env", text, strlen(text));
    return envfile_apply("test.env", error);
}

static void test_environment_wins(void **state)
{
    (void)state;
    char error[CONFIG_ERROR_SIZE];
    setenv("ENVFILE_SET", "real", 1);
    setenv("ENVFILE_EMPTY", "", 1);
    unsetenv("ENVFILE_NEW");
    assert_int_equal(apply("ENVFILE_SET=file\nENVFILE_EMPTY=file\n\n# comment\nENVFILE_NEW='a b'", error), 0);
    assert_string_equal(getenv("ENVFILE_SET"), "real");
    assert_string_equal(getenv("ENVFILE_EMPTY"), "");
    assert_string_equal(getenv("ENVFILE_NEW"), "a b");
}

static void test_errors_name_the_line(void **state)
{
    (void)state;
    char error[CONFIG_ERROR_SIZE];
    unsetenv("ENVFILE_FIRST");
    assert_int_equal(apply("ENVFILE_FIRST=1\n\nB =2\n", error), -EINVAL);
    assert_non_null(strstr(error, "test.env:3: "));
    assert_null(getenv("ENVFILE_FIRST")); // all or nothing
    assert_int_equal(apply("A=1\nB=2\nA=3\n", error), -EINVAL);
    assert_non_null(strstr(error, "test.env:3: "));
    assert_non_null(strstr(error, "second time"));
    assert_int_equal(envfile_apply("absent.env", error), -ENOENT);
    assert_non_null(strstr(error, "absent.env: "));
    assert_int_equal(envfile_apply(".", error), -EISDIR);
}

static void test_limits(void **state)
{
    (void)state;
    char error[CONFIG_ERROR_SIZE], *text = malloc(ENVFILE_MAX_BYTES + 2);
    assert_non_null(text);
    char *p = text;
    for (int i = 0; i < ENVFILE_MAX_ENTRIES; i++) {
        p += sprintf(p, "ENVFILE_%d=x\n", i);
    }
    assert_int_equal(apply(text, error), 0);
    assert_string_equal(getenv("ENVFILE_255"), "x");
    strcpy(p, "ENVFILE_ONE_MORE=x\n");
    assert_int_equal(apply(text, error), -EINVAL);
    assert_non_null(strstr(error, ":257: "));

    memset(text, '#', ENVFILE_MAX_BYTES + 1);
    text[ENVFILE_MAX_BYTES + 1] = '\0';
    assert_int_equal(apply(text, error), -EFBIG);
    text[ENVFILE_MAX_BYTES] = '\0';
    assert_int_equal(apply(text, error), 0);
    write_file("nul.env", "A=b\0c\n", 6);
    assert_int_equal(envfile_apply("nul.env", error), -EILSEQ);
    assert_int_equal(apply("", error), 0);
    assert_int_equal(envfile_apply("/dev/zero", error), -EFBIG);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_wrong_lines),
        TEMP_DIR_CASE(test_environment_wins),
        TEMP_DIR_CASE(test_errors_name_the_line),
        TEMP_DIR_CASE(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
