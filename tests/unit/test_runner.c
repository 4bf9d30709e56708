// SPDX-License-Identifier: MIT
// A program gets its input and its environment, and nothing else of ours; how it ends is told.
#include "deploy/runner.h"

#include "common/file.h"
#include "tests/unit/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PENDING 12345

static struct runner *runner;
static int status;

static void on_done(int s, void *data)
{
    (void)data;
    status = s;
}

static void start(const char *script, struct str input)
{
    const char *const arguments[] = { "sh", "-c", script, NULL };
    const char *const environment[] = { "RUNNER_TEST", "a value", NULL };
    status = PENDING;
    assert_int_equal(runner_start(runner, arguments, environment, input), 0);
}

static int run(const char *script, struct str input)
{
    start(script, input);
    LOOP_UNTIL(status != PENDING, 10000);
    return status;
}

static void test_how_it_ends(void **state)
{
    (void)state;
    assert_int_equal(runner_open(&loop, on_done, NULL, &runner), 0);
    assert_int_equal(run("exit 0", STR("")), 0);
    assert_int_equal(run("exit 3", STR("")), 3);
    assert_int_equal(run("kill -9 $$", STR("")), 137);
    const char *const nobody[] = { "no-such-program-at-all", NULL }, *const none[] = { NULL };
    status = PENDING;
    assert_int_equal(runner_start(runner, nobody, none, STR("")), 0);
    LOOP_UNTIL(status != PENDING, 10000);
    assert_int_equal(status, 127);
    runner_close(&runner);
}

static void assert_file(const char *path, const char *expected)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(file_read(path, 1 << 20, &b), 0);
    assert_true(str_eq(buf_str(&b), str_of(expected)));
    buf_fini(&b);
}

static void test_input_and_environment(void **state)
{
    (void)state;
    static char large[300000]; // more than a pipe holds
    memset(large, 'x', sizeof large);
    assert_int_equal(runner_open(&loop, on_done, NULL, &runner), 0);
    assert_int_equal(run("cat >in; echo \"$RUNNER_TEST\" >env", STR("some\ntext")), 0);
    assert_file("in", "some\ntext");
    assert_file("env", "a value\n");
    assert_int_equal(run("sleep 0.1; wc -c >size", (struct str){ large, sizeof large }), 0);
    assert_file("size", "300000\n");
    assert_int_equal(run("exit 5", (struct str){ large, sizeof large }), 5); // reads none of it
    runner_close(&runner);
}

static void test_no_descriptor_is_inherited(void **state)
{
    (void)state;
    int fd = open("held", O_RDWR | O_CREAT, 0600); // without close-on-exec, as children.lock
    assert_true(fd > 2);
    assert_int_equal(fcntl(fd, F_DUPFD, 100), 100);
    assert_int_equal(runner_open(&loop, on_done, NULL, &runner), 0);
    assert_int_equal(
        run("for f in /proc/$$/fd/*; do readlink $f; done | grep -c held >n; true", STR("")), 0);
    assert_file("n", "0\n");
    runner_close(&runner);
    close(100);
    close(fd);
}

static void test_closing_ends_what_runs(void **state)
{
    (void)state;
    assert_int_equal(runner_open(&loop, on_done, NULL, &runner), 0);
    start("sleep 600 & echo $! >pid.new; mv pid.new pid; wait", STR(""));
    LOOP_UNTIL(access("pid", F_OK) == 0, 10000);
    runner_close(&runner);
    loop_for(20);
    assert_int_equal(status, PENDING);
    struct buf b;
    buf_init(&b, 64);
    assert_int_equal(file_read("pid", 32, &b), 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/%.*s/cmdline", (int)b.len - 1, b.data);
    buf_fini(&b);
    struct buf cmdline;
    for (int i = 0; i < 500; i++) { // its parent is not us: somebody reaps it
        buf_init(&cmdline, 4096);
        int r = file_read(path, 4096, &cmdline);
        bool gone = r < 0 || cmdline.len == 0;
        buf_fini(&cmdline);
        if (gone) {
            return;
        }
        usleep(10000);
    }
    fail_msg("%s is still there", path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_how_it_ends),
        LOOP_CASE(test_input_and_environment),
        LOOP_CASE(test_no_descriptor_is_inherited),
        LOOP_CASE(test_closing_ends_what_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
