// SPDX-License-Identifier: MIT
// A home is found or made, private, and named absolutely; or the reason comes back.
#include "common/home.h"

#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_private(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void assert_path(char *path, const char *below)
{
    char expected[PATH_MAX];
    snprintf(expected, sizeof(expected), "%s/%s", temp_dir(), below);
    assert_string_equal(path, expected);
    free(path);
}

static void test_made_with_parents(void **state)
{
    (void)state;
    char *path;
    assert_int_equal(home_find("a/b/c", &path), -ENOENT);
    assert_int_equal(home_open("./a//b/c/", &path), 0);
    assert_path(path, "a/b/c");
    assert_private("a");
    assert_private("a/b");
    assert_private("a/b/c");
    assert_int_equal(home_open("a/b/../b/c", &path), 0); // again
    assert_path(path, "a/b/c");
    assert_int_equal(home_find("a/b/c", &path), 0);
    assert_path(path, "a/b/c");
}

static void test_a_link_is_followed(void **state)
{
    (void)state;
    char *path;
    assert_int_equal(mkdir("real", 0750), 0);
    assert_int_equal(symlink("real", "link"), 0);
    assert_int_equal(home_open("link", &path), 0);
    assert_path(path, "real"); // and its mode is left alone
}

static void test_not_a_directory(void **state)
{
    (void)state;
    char *path = (char *)"untouched";
    close(open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(home_open("file", &path), -ENOTDIR);
    assert_int_equal(home_open("file/below", &path), -ENOTDIR);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(home_open("dangling", &path), -ENOENT);
    assert_int_equal(home_open("", &path), -ENOENT);
    assert_string_equal(path, "untouched");
}

// Runs check as a user without privileges, who may go into the temporary directory but not write
// there.
static void as_nobody(int (*check)(void))
{
    assert_int_equal(chmod(".", 0755), 0);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
            _exit(99);
        }
        _exit(-check());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EACCES);
}

static int open_unreadable(void)
{
    char *path;
    return home_open("private", &path);
}

static int open_unmakeable(void)
{
    char *path;
    return home_open("private/home", &path);
}

static int open_unwritable(void)
{
    char *path;
    return home_open("readonly", &path);
}

static void test_without_the_right(void **state)
{
    (void)state;
    assert_int_equal(mkdir("private", 0), 0);
    assert_int_equal(mkdir("readonly", 0555), 0);
    as_nobody(open_unreadable);
    as_nobody(open_unmakeable);
    as_nobody(open_unwritable);
}

static void test_a_path_that_is_too_long(void **state)
{
    (void)state;
    static char name[PATH_MAX + 10];
    char *path;
    memset(name, 'x', sizeof(name) - 1);
    assert_int_equal(home_open(name, &path), -ENAMETOOLONG);
    assert_int_equal(home_make_parents(name), -ENAMETOOLONG);
    name[300] = '\0'; // a name may have 255 bytes
    assert_int_equal(home_open(name, &path), -ENAMETOOLONG);
}

static void test_parents_of_a_file(void **state)
{
    (void)state;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/run/gateway/1.sock", temp_dir());
    assert_int_equal(home_make_parents(path), 0);
    assert_private("run/gateway");
    assert_int_equal(access("run/gateway/1.sock", F_OK), -1);
    assert_int_equal(home_make_parents(path), 0);
    assert_int_equal(home_make_parents("plain"), 0);
    assert_int_equal(home_make_parents("/"), 0);
    assert_int_equal(home_make_parents(""), 0);
    assert_int_equal(access("plain", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_made_with_parents),       TEMP_DIR_CASE(test_a_link_is_followed),
        TEMP_DIR_CASE(test_not_a_directory),         TEMP_DIR_CASE(test_without_the_right),
        TEMP_DIR_CASE(test_a_path_that_is_too_long), TEMP_DIR_CASE(test_parents_of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
