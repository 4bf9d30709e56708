// SPDX-License-Identifier: MIT
// A log writer that is killed at any of its instructions, and the one after it: each line is in the
// log exactly once, and whole.
#include "deploy/log_backlog.h"

#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define T0 INT64_C(1795779787123)
#define READ_AT_ONCE 24 // so that lines are read in parts, and parts are moved
#define MAX_STEPS 60000 // of one instruction, in each test: what takes time

static const char lines[] = "the first line\nanother\nthis one takes more than is read at once\n"
                            "\nx\nthe last but one\nthe end\n";
static const struct log_file_limits limits = { .rotate_bytes = 1000000,
                                               .keep_files = 10,
                                               .keep_bytes = 1000000 };
static struct log_backlog *backlog;
static int read_fd;

// What a log writer does, without anything that waits; stops once when it has begun.
static void write_log(void)
{
    struct log_file f;
    if (log_file_open(".", "a.log", &limits, T0, &f) < 0) {
        _exit(1);
    }
    if (raise(SIGSTOP) != 0) {
        _exit(1);
    }
    log_backlog_resume(backlog, &f);
    for (ssize_t n = 1; n > 0;) {
        struct str content = log_backlog_content(backlog);
        const char *end = content.n > 0 ? memrchr(content.p, '\n', content.n) : NULL;
        if (end) {
            size_t written;
            log_backlog_begin_write(backlog, &f);
            int r = log_file_append(&f, (struct str){ content.p, (size_t)(end + 1 - content.p) },
                                    &written);
            log_backlog_end_write(backlog, written);
            if (r < 0) {
                _exit(1);
            }
        }
        size_t room;
        char *to = log_backlog_room(backlog, &room);
        if (room < READ_AT_ONCE) {
            _exit(1);
        }
        n = read(read_fd, to, READ_AT_ONCE);
        if (n > 0) {
            log_backlog_add(backlog, (size_t)n);
        }
    }
}

static pid_t begin_process(void)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) {
            _exit(1);
        }
        write_log();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    return pid;
}

// Runs that in a process of its own, to its end.
static void run_to_the_end(void)
{
    int status;
    pid_t pid = begin_process();
    assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// Runs that in a process of its own, from its stop on for at most so many instructions, and kills it.
// Returns how many it took; less if it came to its end.
static long run_for(long instructions)
{
    int status = SIGSTOP << 8 | 0x7f; // as waitpid() says it of a stopped one
    long done = 0;
    pid_t pid = begin_process();
    while (done < instructions && WIFSTOPPED(status)) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        done++;
    }
    if (WIFSTOPPED(status)) {
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        return instructions;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return done;
}

static void begin(void)
{
    int ends[2];
    (void)unlink("a.log");
    backlog =
        mmap(NULL, sizeof *backlog, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(backlog, MAP_FAILED);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], lines, sizeof lines - 1), sizeof lines - 1);
    close(ends[1]);
    read_fd = ends[0];
}

static void end(void)
{
    close(read_fd);
    munmap(backlog, sizeof *backlog);
}

// For a case that is its own log writer.
static void begin_with(struct log_file *f)
{
    begin();
    assert_int_equal(log_file_open(".", "a.log", &limits, T0, f), 0);
}

static void end_with(struct log_file *f)
{
    log_file_close(f);
    end();
}

static void check(void)
{
    char content[2 * sizeof lines] = "";
    int fd;
    assert_int_equal(log_backlog_content(backlog).n, 0);
    assert_true((fd = open("a.log", O_RDONLY)) >= 0);
    assert_true(read(fd, content, sizeof content - 1) >= 0);
    assert_string_equal(content, lines);
    close(fd);
}

// One after the other, until all is written.
static void test_killed_at_any_instruction(void **state)
{
    (void)state;
    unsigned seed = (unsigned)getpid();
    begin();
    long all = run_for(LONG_MAX);
    check();
    long none = run_for(LONG_MAX); // there is nothing more to read
    end();
    long limit = none + (all - none) / 4; // so that each gets somewhere now and then
    print_message("# seed %u, of %ld instructions at most %ld each\n", seed, all, limit);
    for (long steps = 0; steps < MAX_STEPS;) {
        begin();
        for (bool killed = true; killed;) {
            long until = 1 + rand_r(&seed) % limit, n = run_for(until);
            killed = n == until;
            steps += n;
        }
        check();
        end();
    }
}

// The first one anywhere, the second one writes the rest: each kill alone.
static void test_killed_once(void **state)
{
    (void)state;
    long n = 1 + getpid() % 7;
    for (long steps = 0; steps < MAX_STEPS; steps += n, n += 7) {
        begin();
        run_for(n);
        run_to_the_end();
        check();
        end();
    }
}

static void test_room(void **state)
{
    (void)state;
    struct log_file f;
    size_t room;
    begin_with(&f);
    char *to = log_backlog_room(backlog, &room);
    assert_int_equal(room, LOG_BACKLOG_BYTES);
    memset(to, 'x', room);
    log_backlog_add(backlog, room); // all of it
    log_backlog_room(backlog, &room);
    assert_int_equal(room, 0);
    assert_int_equal(log_backlog_content(backlog).n, LOG_BACKLOG_BYTES);
    log_backlog_resume(backlog, &f); // finds nothing behind
    assert_int_equal(log_backlog_content(backlog).n, LOG_BACKLOG_BYTES);
    log_backlog_end_write(backlog, LOG_BACKLOG_BYTES - LOG_BACKLOG_BYTES / 4);
    log_backlog_room(backlog, &room);
    assert_int_equal(room, LOG_BACKLOG_BYTES - LOG_BACKLOG_BYTES / 4);
    log_backlog_resume(backlog, &f);
    assert_int_equal(log_backlog_content(backlog).n, LOG_BACKLOG_BYTES / 4);
    end_with(&f);
}

static void put(const char *text)
{
    size_t room;
    memcpy(log_backlog_room(backlog, &room), text, strlen(text));
}

static void add(const char *text)
{
    put(text);
    log_backlog_add(backlog, strlen(text));
}

static void check_content(const char *expected)
{
    struct str content = log_backlog_content(backlog);
    assert_int_equal(content.n, strlen(expected));
    assert_memory_equal(content.p, expected, content.n);
}

// What was read and not added is all that is found, whatever was there before.
static void test_what_was_read_in_the_last_moment(void **state)
{
    (void)state;
    struct log_file f;
    begin_with(&f);
    add("aaaa\nbb");
    log_backlog_end_write(backlog, 5);
    put("ccc");
    log_backlog_resume(backlog, &f);
    check_content("bbccc");
    log_backlog_end_write(backlog, 1);
    put("d"); // the content is longer than what is free before it, and stays where it is
    log_backlog_resume(backlog, &f);
    check_content("bcccd");
    assert_ptr_equal(log_backlog_content(backlog).p, backlog->bytes + 1);
    end_with(&f);
}

// Killed between the two things that the end of a write notes.
static void test_a_write_that_had_ended(void **state)
{
    (void)state;
    struct log_file f;
    size_t n;
    begin_with(&f);
    add("one\ntwo\nthree\n");
    log_backlog_begin_write(backlog, &f);
    int64_t size = backlog->size;
    assert_int_equal(log_file_append(&f, STR("one\n"), &n), 0);
    log_backlog_end_write(backlog, n);
    backlog->size = size;
    log_backlog_resume(backlog, &f);
    check_content("two\nthree\n");
    // And before them, in a write that began behind the first line.
    log_backlog_begin_write(backlog, &f);
    assert_int_equal(log_file_append(&f, STR("two\n"), &n), 0);
    log_backlog_resume(backlog, &f);
    check_content("three\n");
    end_with(&f);
}

// A file that another one took the place of, or that somebody made shorter, says nothing.
static void test_a_size_of_another_file(void **state)
{
    (void)state;
    struct log_file f;
    size_t n;
    begin_with(&f);
    add("one\ntwo\n");
    log_backlog_begin_write(backlog, &f);
    log_file_close(&f);
    (void)rename("a.log", "b.log");
    assert_int_equal(log_file_open(".", "a.log", &limits, T0, &f), 0);
    assert_int_equal(log_file_append(&f, STR("zero\n"), &n), 0);
    log_backlog_resume(backlog, &f);
    assert_int_equal(log_backlog_content(backlog).n, 8);

    log_backlog_begin_write(backlog, &f);
    assert_int_equal(log_file_append(&f, STR("one\n"), &n), 0);
    log_backlog_resume(backlog, &f); // as if it had been killed
    assert_int_equal(log_backlog_content(backlog).n, 4);

    log_backlog_begin_write(backlog, &f);
    assert_int_equal(ftruncate(f.fd, 0), 0);
    log_backlog_resume(backlog, &f);
    assert_int_equal(log_backlog_content(backlog).n, 4);
    end_with(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_killed_at_any_instruction),
        TEMP_DIR_CASE(test_killed_once),
        TEMP_DIR_CASE(test_room),
        TEMP_DIR_CASE(test_what_was_read_in_the_last_moment),
        TEMP_DIR_CASE(test_a_write_that_had_ended),
        TEMP_DIR_CASE(test_a_size_of_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
