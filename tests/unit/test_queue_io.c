// SPDX-License-Identifier: MIT
// The table over system calls does to files what its header says, and reading and writing as a whole goes on after
// every answer that a kernel may give: fewer bytes, an interruption, an end, an error.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/io.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <string.h>

// --- A file of a few bytes whose answers are given one by one

struct scripted {
    const int64_t *answers; // bytes at most, or a negative errno; one a call
    size_t n_calls;
    char bytes[64];
    size_t size;
};

static int64_t scripted_pread(const struct io *io, int fd, void *to, size_t n, uint64_t offset)
{
    struct scripted *s = io->data;
    int64_t answer = s->answers[s->n_calls++];
    (void)fd;
    if (answer < 0) {
        return answer;
    }
    size_t give = n < (size_t)answer ? n : (size_t)answer;
    give = give < s->size - offset ? give : s->size - offset;
    memcpy(to, s->bytes + offset, give);
    return (int64_t)give;
}

static int64_t scripted_pwrite(const struct io *io, int fd, const void *bytes, size_t n,
                               uint64_t offset)
{
    struct scripted *s = io->data;
    int64_t answer = s->answers[s->n_calls++];
    (void)fd;
    if (answer < 0) {
        return answer;
    }
    size_t take = n < (size_t)answer ? n : (size_t)answer;
    memcpy(s->bytes + offset, bytes, take);
    return (int64_t)take;
}

static struct io scripted_io(struct scripted *s)
{
    return (struct io){ .pread = scripted_pread, .pwrite = scripted_pwrite, .data = s };
}

static void test_read_goes_on_until_it_has_all(void **state)
{
    static const int64_t answers[] = { 1, -EINTR, 3, -EINTR, -EINTR, 2 };
    struct scripted s = { .answers = answers, .bytes = "0123456789", .size = 10 };
    const struct io io = scripted_io(&s);
    char got[7] = "";
    (void)state;
    assert_int_equal(io_read_all(&io, 0, got, 6, 2), 0);
    assert_string_equal(got, "234567");
    assert_int_equal(s.n_calls, 6);
}

static void test_read_tells_an_end_from_an_error(void **state)
{
    static const int64_t ends[] = { 4, 9 }, fails[] = { 1, -EIO };
    struct scripted s = { .answers = ends, .bytes = "0123456789", .size = 10 };
    const struct io io = scripted_io(&s);
    char got[20];
    (void)state;
    assert_int_equal(io_read_all(&io, 0, got, 0, 0), 0);
    assert_int_equal(s.n_calls, 0);
    static const int64_t more[] = { 4, 9, 9 };
    s.answers = more;
    assert_int_equal(io_read_all(&io, 0, got, 20, 0), -ENODATA);
    s.answers = fails;
    s.n_calls = 0;
    assert_int_equal(io_read_all(&io, 0, got, 6, 0), -EIO);
}

static void test_write_goes_on_until_it_has_all(void **state)
{
    static const int64_t answers[] = { 2, -EINTR, 1, 9 };
    struct scripted s = { .answers = answers, .bytes = "..........", .size = 10 };
    const struct io io = scripted_io(&s);
    (void)state;
    assert_int_equal(io_write_all(&io, 0, "abcdef", 6, 3), 0);
    assert_string_equal(s.bytes, "...abcdef.");
    assert_int_equal(s.n_calls, 4);
}

static void test_write_that_gets_nowhere_fails(void **state)
{
    static const int64_t nothing[] = { 2, 0 }, full[] = { 2, -ENOSPC };
    struct scripted s = { .answers = nothing, .size = 10 };
    const struct io io = scripted_io(&s);
    (void)state;
    assert_int_equal(io_write_all(&io, 0, "abcdef", 6, 0), -EIO);
    s.answers = full;
    s.n_calls = 0;
    assert_int_equal(io_write_all(&io, 0, "abcdef", 6, 0), -ENOSPC);
}

// --- Real files

static int on_name(const char *name, void *arg)
{
    int *n = arg;
    if (name[0] == '.') {
        return 0;
    }
    return ++*n == 2 ? -ECANCELED : 0;
}

static void test_files_are_made_changed_and_removed(void **state)
{
    const struct io *io = io_files();
    char got[4] = "";
    int names = 0;
    (void)state;
    int dir = io->open_dir(io, ".");
    assert_true(dir >= 0);
    assert_int_equal(io->open(io, dir, "none", IO_READ), -ENOENT);
    assert_int_equal(io->open(io, dir, "none", IO_UPDATE), -ENOENT);
    int fd = io->open(io, dir, "a", IO_MAKE);
    assert_true(fd >= 0);
    assert_int_equal(io->pwrite(io, fd, "abc", 3, 5), 3);
    assert_int_equal(io->size(io, fd), 8);
    assert_int_equal(io->resize(io, fd, 7), 0);
    assert_int_equal(io->sync_data(io, fd), 0);
    assert_int_equal(io->sync(io, fd), 0);
    assert_int_equal(io->pread(io, fd, got, 4, 4), 3);
    assert_memory_equal(got, "\0ab", 3);
    assert_int_equal(io->pread(io, fd, got, 4, 7), 0);
    io->close(io, fd);
    assert_int_equal(io->rename(io, dir, "a", "b"), 0);
    assert_int_equal(io->rename(io, dir, "a", "b"), -ENOENT);
    assert_int_equal(io->list(io, dir, on_name, &names), 0);
    assert_int_equal(names, 1);
    fd = io->open(io, dir, "b", IO_READ);
    assert_int_equal(io->pwrite(io, fd, "x", 1, 0), -EBADF);
    io->close(io, fd);
    fd = io->open(io, dir, "b", IO_MAKE); // empties it
    assert_int_equal(io->size(io, fd), 0);
    io->close(io, fd);
    assert_int_equal(io->sync_dir(io, dir), 0);
    assert_int_equal(io->unlink(io, dir, "b"), 0);
    assert_int_equal(io->unlink(io, dir, "b"), -ENOENT);
    io->close(io, dir);
    assert_int_equal(io->open_dir(io, "none"), -ENOENT);
}

static void test_listing_ends_when_the_callback_says_so(void **state)
{
    const struct io *io = io_files();
    int names = 0, dir = io->open_dir(io, ".");
    (void)state;
    for (int i = 0; i < 4; i++) {
        const char name[2] = { (char)('a' + i), 0 };
        io->close(io, io->open(io, dir, name, IO_MAKE));
    }
    assert_int_equal(io->list(io, dir, on_name, &names), -ECANCELED);
    assert_int_equal(names, 2);
    io->close(io, dir);
}

static void test_data_ends_before_what_was_only_reserved(void **state)
{
    const struct io *io = io_files();
    int dir = io->open_dir(io, "."), fd = io->open(io, dir, "a", IO_MAKE);
    (void)state;
    assert_int_equal(io->pwrite(io, fd, "abc", 3, 100000), 3);
    assert_int_equal(io->reserve(io, fd, 1 << 20), 0);
    assert_int_equal(io->size(io, fd), 1 << 20);
    uint64_t end = io->data_end(io, fd, 1 << 20);
    assert_in_range(end, 100003, 1 << 20); // the size, on a file system that does not know
    io->close(io, fd);
    io->close(io, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_goes_on_until_it_has_all),
        cmocka_unit_test(test_read_tells_an_end_from_an_error),
        cmocka_unit_test(test_write_goes_on_until_it_has_all),
        cmocka_unit_test(test_write_that_gets_nowhere_fails),
        TEMP_DIR_CASE(test_files_are_made_changed_and_removed),
        TEMP_DIR_CASE(test_listing_ends_when_the_callback_says_so),
        TEMP_DIR_CASE(test_data_ends_before_what_was_only_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
