// SPDX-License-Identifier: MIT
// A log in flat files: whatever happens to the disk, to the clock or to the process, every line is in
// exactly one file, as a whole; archives are in order, and not more than are wanted.
#include "deploy/log_file.h"

#include "deploy/log_archive.h"
#include "tests/unit/temp_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#define T0 INT64_C(1795779787123) // 2026-11-27T11:43:07.123Z
#define FIRST "a.log.20261127T114307.123Z"
#define SECOND "a.log.20261127T114307.124Z"

static const struct log_file_limits usual = {
    .rotate_bytes = 100, .rotate_age_ms = 60000, .keep_files = 10, .keep_bytes = 1000000
};
static struct log_file f;
static char content[1 << 20];

static int open_with(const struct log_file_limits *limits)
{
    return log_file_open(".", "a.log", limits, T0, &f);
}

static size_t append(const char *lines)
{
    size_t n = 1000;
    assert_int_equal(log_file_append(&f, str_of(lines), &n), 0);
    return n;
}

static const char *read_file(const char *name)
{
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, content, sizeof content - 1);
    close(fd);
    assert_true(n >= 0);
    content[n] = '\0';
    return content;
}

static void write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

static int files(void)
{
    int n = 0;
    DIR *dir = opendir(".");
    for (const struct dirent *e; (e = readdir(dir));) {
        n += e->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

static const char *unpacked(const char *name)
{
    static char packed[1 << 20];
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, packed, sizeof packed);
    close(fd);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_outBuffer out = { content, sizeof content - 1, 0 };
    ZSTD_inBuffer in = { packed, (size_t)n, 0 };
    size_t left = ZSTD_decompressStream(context, &out, &in); // checks the checksum
    ZSTD_freeDCtx(context);
    assert_int_equal(left, 0);
    content[out.pos] = '\0';
    return content;
}

// --- Lines

static void test_lines_stay_whole_over_a_move(void **state)
{
    (void)state;
    static const char thirty[] = "0123456789012345678901234567\n";
    char lines[5 * sizeof thirty];
    (void)snprintf(lines, sizeof lines, "%s%s%s%s%s", thirty, thirty, thirty, thirty, thirty);
    assert_int_equal(open_with(&usual), 0);
    size_t three = 3 * strlen(thirty);
    assert_int_equal(append(lines), three); // 87 bytes; 100 may be in it
    assert_false(log_file_is_due(&f, T0));
    assert_int_equal(append(lines + three), 0); // not even one fits
    assert_int_equal(log_file_rotate(&f, T0), 0);
    assert_int_equal(append(lines + three), 2 * strlen(thirty));
    lines[three] = '\0';
    assert_string_equal(read_file(FIRST), lines);
    assert_int_equal(strlen(read_file("a.log")), 2 * strlen(thirty));
    assert_int_equal(files(), 2);
    log_file_close(&f);
}

static void test_a_line_that_is_longer_than_the_limit(void **state)
{
    (void)state;
    char line[301];
    memset(line, 'x', 299);
    line[299] = '\n';
    line[300] = '\0';
    assert_int_equal(open_with(&usual), 0);
    assert_int_equal(append("short\n"), 6);
    assert_int_equal(append(line), 0); // into a file of its own
    assert_int_equal(log_file_rotate(&f, T0), 0);
    assert_int_equal(append(line), 300);
    assert_true(log_file_is_due(&f, T0));
    log_file_close(&f);
}

// A disk that takes only so much: RLIMIT_FSIZE makes short writes, then EFBIG, like a full one.
static void test_a_full_disk_leaves_no_part_of_a_line(void **state)
{
    (void)state;
    struct log_file_limits limits = usual;
    limits.rotate_bytes = 100000;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, full;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    full = before;
    full.rlim_cur = 25;
    assert_int_equal(open_with(&limits), 0);
    assert_int_equal(append("a line of 20 bytes.\n"), 20);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    size_t n = 1000;
    int r = log_file_append(&f, STR("ab\nlonger than there is room for\n"), &n);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(r, -EFBIG);
    assert_int_equal(n, 3);
    assert_string_equal(read_file("a.log"), "a line of 20 bytes.\nab\n");
    assert_int_equal(append("and it goes on\n"), 15);
    assert_string_equal(read_file("a.log"), "a line of 20 bytes.\nab\nand it goes on\n");
    log_file_close(&f);
}

static void test_a_torn_line_of_a_crash_goes(void **state)
{
    (void)state;
    write_file("a.log", "whole\ntorn");
    assert_int_equal(open_with(&usual), 0);
    assert_int_equal(append("next\n"), 5);
    assert_string_equal(read_file("a.log"), "whole\nnext\n");
    log_file_close(&f);
    write_file("a.log", "torn");
    assert_int_equal(open_with(&usual), 0);
    assert_string_equal(read_file("a.log"), "");
    log_file_close(&f);
    // What is no line of ours is kept, and ended.
    static char large[LOG_FILE_TORN_BYTES + 2];
    memset(large, 'x', sizeof large - 1);
    write_file("a.log", large);
    assert_int_equal(open_with(&usual), 0);
    assert_int_equal(strlen(read_file("a.log")), sizeof large);
    log_file_close(&f);
}

// --- Moves

static void test_age(void **state)
{
    (void)state;
    assert_int_equal(open_with(&usual), 0);
    f.born_ms = T0;                                // not of the test's own clock
    assert_false(log_file_is_due(&f, T0 + 60000)); // it is empty
    (void)append("x\n");
    assert_false(log_file_is_due(&f, T0 + 59999));
    assert_true(log_file_is_due(&f, T0 + 60000));
    assert_int_equal(log_file_rotate(&f, T0 + 60000), 0);
    (void)append("y\n");
    assert_false(log_file_is_due(&f, T0 + 60001));
    // A clock that is set back does not make it immortal.
    assert_false(log_file_is_due(&f, T0 - 86400000));
    assert_true(log_file_is_due(&f, T0 - 86400000 + 60000));
    f.limits.rotate_age_ms = 0;
    assert_false(log_file_is_due(&f, T0 + INT64_C(864000000000)));
    log_file_close(&f);
}

static void test_names_sort_by_time_whatever_the_clock_says(void **state)
{
    (void)state;
    assert_int_equal(open_with(&usual), 0);
    (void)append("1\n");
    assert_int_equal(log_file_rotate(&f, T0), 0);
    (void)append("2\n");
    assert_int_equal(log_file_rotate(&f, T0), 0); // in the same millisecond
    (void)append("3\n");
    assert_int_equal(log_file_rotate(&f, T0 - 1000000), 0); // the clock was set back
    assert_string_equal(read_file(FIRST), "1\n");
    assert_string_equal(read_file(SECOND), "2\n");
    assert_string_equal(read_file("a.log.20261127T114307.125Z"), "3\n");
    log_file_close(&f);
}

static void test_a_move_that_fails(void **state)
{
    (void)state;
    assert_int_equal(open_with(&usual), 0);
    (void)append("1\n");
    assert_int_equal(mkdir("a.log.new", 0700), 0);
    assert_int_equal(log_file_rotate(&f, T0), -EISDIR);
    // It is written to as before, and takes everything.
    char lines[301];
    for (size_t i = 0; i < 300; i++) {
        lines[i] = i % 10 == 9 ? '\n' : 'x';
    }
    lines[300] = '\0';
    assert_int_equal(append(lines), 300);
    assert_false(log_file_is_due(&f, T0 + LOG_FILE_RETRY_MS - 1));
    assert_true(log_file_is_due(&f, T0 + LOG_FILE_RETRY_MS));
    assert_int_equal(rmdir("a.log.new"), 0);
    assert_int_equal(log_file_rotate(&f, T0 + LOG_FILE_RETRY_MS), 0);
    assert_int_equal(strlen(read_file("a.log.20261127T114317.123Z")), 302);
    log_file_close(&f);
}

static void test_somebody_else_moves_or_removes_it(void **state)
{
    (void)state;
    assert_int_equal(open_with(&usual), 0);
    (void)append("1\n");
    assert_int_equal(log_file_follow(&f, T0), 0);
    assert_int_equal(unlink("a.log"), 0);
    assert_int_equal(log_file_follow(&f, T0), 1);
    (void)append("2\n");
    assert_string_equal(read_file("a.log"), "2\n");
    assert_int_equal(rename("a.log", "b.log"), 0);
    assert_int_equal(log_file_follow(&f, T0), 1);
    (void)append("3\n");
    assert_string_equal(read_file("a.log"), "3\n");
    // Emptied by "> a.log".
    assert_int_equal(truncate("a.log", 0), 0);
    assert_int_equal(log_file_follow(&f, T0), 0);
    (void)append("4\n");
    assert_string_equal(read_file("a.log"), "4\n");
    log_file_close(&f);
}

static void test_a_link_is_not_followed(void **state)
{
    (void)state;
    assert_int_equal(symlink("elsewhere", "a.log"), 0);
    assert_int_equal(open_with(&usual), -ELOOP);
    assert_false(exists("elsewhere"));
}

// --- Archives

static void make_archives(int n)
{
    for (int i = 0; i < n; i++) {
        (void)append("12345678\n");
        assert_int_equal(log_file_rotate(&f, T0 + i), 0);
    }
}

static void test_the_oldest_go(void **state)
{
    (void)state;
    struct log_file_limits limits = usual;
    limits.keep_files = 3;
    struct log_file_archives a;
    assert_int_equal(open_with(&limits), 0);
    make_archives(5);
    write_file("a.log.20261127", "not ours");
    write_file("a.log.99999999T999999.999Z", "nor this");
    write_file("b.log.20261127T114307.123Z", "nor this");
    write_file("a.log.20261127T114307.000Z.gz", "nor this");
    assert_int_equal(log_file_prune(&f, &a), 2);
    assert_int_equal(a.files, 3);
    assert_int_equal(a.bytes, 27);
    assert_true(a.has_raw);
    assert_string_equal(a.raw, "a.log.20261127T114307.125Z");
    assert_false(exists(FIRST));
    assert_false(exists(SECOND));
    assert_true(exists("a.log.20261127T114307.127Z"));
    assert_int_equal(files(), 1 + 3 + 4);
    assert_int_equal(log_file_prune(&f, &a), 0);
    log_file_close(&f);
}

static void test_too_many_bytes(void **state)
{
    (void)state;
    struct log_file_limits limits = usual;
    limits.keep_bytes = 20;
    struct log_file_archives a;
    assert_int_equal(open_with(&limits), 0);
    make_archives(5);
    assert_int_equal(log_file_prune(&f, &a), 3);
    assert_int_equal(a.bytes, 18);
    // The newest stays, however large: it is not even compressed yet.
    f.limits.keep_bytes = 1;
    assert_int_equal(log_file_prune(&f, &a), 1);
    assert_int_equal(a.files, 1);
    assert_true(exists("a.log.20261127T114307.127Z"));
    log_file_close(&f);
}

static void test_compression(void **state)
{
    (void)state;
    struct log_file_archives a;
    struct stat st;
    assert_int_equal(open_with(&usual), 0);
    make_archives(2);
    assert_int_equal(log_archive_compress(f.dir_fd, FIRST), 0);
    assert_false(exists(FIRST));
    assert_string_equal(unpacked(FIRST ".zst"), "12345678\n");
    assert_int_equal(stat(FIRST ".zst", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(log_file_prune(&f, &a), 0);
    assert_int_equal(a.files, 2);
    assert_string_equal(a.raw, SECOND);
    // One that was pruned meanwhile is no harm, and nothing is made of it.
    assert_int_equal(log_archive_compress(f.dir_fd, "a.log.20261127T114307.999Z"), -ENOENT);
    assert_int_equal(files(), 3);
    log_file_close(&f);
}

static void test_compression_finds_no_room(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, full;
    assert_int_equal(open_with(&usual), 0);
    make_archives(1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    full = before;
    full.rlim_cur = 5;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    int r = log_archive_compress(f.dir_fd, FIRST);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(r, -EFBIG);
    assert_string_equal(read_file(FIRST), "12345678\n");
    assert_int_equal(files(), 2); // nothing half
    log_file_close(&f);
}

static void test_what_crashes_leave_is_put_in_order(void **state)
{
    (void)state;
    struct log_file_archives a;
    assert_int_equal(open_with(&usual), 0);
    make_archives(3);
    assert_int_equal(log_archive_compress(f.dir_fd, SECOND), 0);
    log_file_close(&f);
    write_file("a.log.new", "");                              // within a move
    write_file(FIRST ".zst.tmp", "half");                     // within a compression
    write_file(SECOND, "12345678\n");                         // after its rename
    write_file("a.log.20261127T000000.000Z.zst.tmp", "half"); // whose archive was removed
    write_file("b.log.20261127T114307.123Z.zst.tmp", "not ours");
    assert_int_equal(unlink("a.log"), 0); // between the two renames of a move
    assert_int_equal(open_with(&usual), 0);
    assert_false(exists("a.log.new"));
    assert_false(exists(FIRST ".zst.tmp"));
    assert_false(exists("a.log.20261127T000000.000Z.zst.tmp"));
    assert_true(exists("b.log.20261127T114307.123Z.zst.tmp"));
    assert_false(exists(SECOND));
    assert_string_equal(unpacked(SECOND ".zst"), "12345678\n");
    assert_int_equal(log_file_prune(&f, &a), 0);
    assert_int_equal(a.files, 3);
    assert_string_equal(a.raw, FIRST);
    (void)append("and on\n");
    assert_string_equal(read_file("a.log"), "and on\n");
    log_file_close(&f);
}

// Killed anywhere in a compression: the lines are there, once the next writer has looked.
static void test_a_compression_is_killed_anywhere(void **state)
{
    (void)state;
    static char lines[400001];
    for (size_t i = 0; i < sizeof lines - 1; i++) {
        lines[i] = (char)(i % 100 == 99 ? '\n' : 'a' + (int)(i * i % 23 + i / 5000 % 3));
    }
    for (int i = 0; i < 25; i++) {
        write_file(FIRST, lines);
        pid_t pid = fork();
        if (pid == 0) {
            int dir = open(".", O_RDONLY | O_DIRECTORY);
            _exit(log_archive_compress(dir, FIRST) == 0 ? 0 : 1);
        }
        usleep((useconds_t)(i * 400));
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(open_with(&usual), 0);
        log_file_close(&f);
        assert_int_equal(files(), 2); // with a.log
        assert_string_equal(exists(FIRST) ? read_file(FIRST) : unpacked(FIRST ".zst"), lines);
        (void)unlink(FIRST ".zst");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_lines_stay_whole_over_a_move),
        TEMP_DIR_CASE(test_a_line_that_is_longer_than_the_limit),
        TEMP_DIR_CASE(test_a_full_disk_leaves_no_part_of_a_line),
        TEMP_DIR_CASE(test_a_torn_line_of_a_crash_goes),
        TEMP_DIR_CASE(test_age),
        TEMP_DIR_CASE(test_names_sort_by_time_whatever_the_clock_says),
        TEMP_DIR_CASE(test_a_move_that_fails),
        TEMP_DIR_CASE(test_somebody_else_moves_or_removes_it),
        TEMP_DIR_CASE(test_a_link_is_not_followed),
        TEMP_DIR_CASE(test_the_oldest_go),
        TEMP_DIR_CASE(test_too_many_bytes),
        TEMP_DIR_CASE(test_compression),
        TEMP_DIR_CASE(test_compression_finds_no_room),
        TEMP_DIR_CASE(test_what_crashes_leave_is_put_in_order),
        TEMP_DIR_CASE(test_a_compression_is_killed_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
