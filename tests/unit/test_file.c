// SPDX-License-Identifier: MIT
// A reader never gets more than it asked for, and a replaced file is never seen half.
#include "common/file.h"

#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct str filled(size_t n)
{
    char *p = malloc(n + 1);
    assert_non_null(p);
    memset(p, 'x', n);
    return (struct str){ p, n };
}

static void test_sizes_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8192, 100000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct str s = filled(sizes[i]);
        struct buf b;
        buf_init(&b, sizes[i] + 1); // a buffer that has hardly more room than the file needs
        assert_int_equal(file_replace("sizes", s, 0600), 0);
        assert_int_equal(file_read("sizes", sizes[i], &b), 0);
        assert_int_equal(b.len, sizes[i]);
        buf_reset(&b);
        if (sizes[i] > 0) {
            assert_int_equal(file_read("sizes", sizes[i] - 1, &b), -EFBIG);
        }
        buf_fini(&b);
        free((char *)s.p);
    }
}

static void test_endless_file_is_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    assert_int_equal(file_read("/dev/zero", 5000, &b), -EFBIG);
    buf_fini(&b);
}

static void test_read_errors(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(file_read("absent", 10, &b), -ENOENT);
    assert_int_equal(file_read(".", 10, &b), -EISDIR);
    buf_fini(&b);
}

static void test_mode_is_exact(void **state)
{
    (void)state;
    struct stat st;
    mode_t old = umask(0777);
    assert_int_equal(file_replace("mode", STR("a"), 0640), 0);
    umask(old);
    assert_int_equal(stat("mode", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(file_replace("mode", STR("b"), 0600), 0);
    assert_int_equal(stat("mode", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

// A reader that opened the file before goes on to see the old content, whole.
static void test_replacing_leaves_open_readers_alone(void **state)
{
    (void)state;
    char old[8] = "";
    assert_int_equal(file_replace("swap", STR("first"), 0600), 0);
    int fd = open("swap", O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(file_replace("swap", STR("2nd"), 0600), 0);
    assert_int_equal(read(fd, old, sizeof old), 5);
    assert_memory_equal(old, "first", 5);
    close(fd);
}

static void test_crashed_temporary_is_no_obstacle(void **state)
{
    (void)state;
    assert_int_equal(symlink("/etc/hostname", "left.tmp"), 0); // must be removed, not followed
    assert_int_equal(file_replace("left", STR("new"), 0600), 0);
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(file_read("left", 100, &b), 0);
    assert_true(str_eq(buf_str(&b), STR("new")));
    assert_int_equal(access("left.tmp", F_OK), -1);
    buf_fini(&b);
}

static void test_failure_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(file_replace("no/such/dir", STR("x"), 0600), -ENOENT);
    assert_int_equal(mkdir("taken", 0700), 0);
    assert_int_equal(file_replace("taken", STR("x"), 0600), -EISDIR);
    assert_int_equal(access("taken.tmp", F_OK), -1);
    char path[5000];
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(file_replace(path, STR("x"), 0600), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_sizes_round_trip),
        TEMP_DIR_CASE(test_endless_file_is_refused),
        TEMP_DIR_CASE(test_read_errors),
        TEMP_DIR_CASE(test_mode_is_exact),
        TEMP_DIR_CASE(test_replacing_leaves_open_readers_alone),
        TEMP_DIR_CASE(test_crashed_temporary_is_no_obstacle),
        TEMP_DIR_CASE(test_failure_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
