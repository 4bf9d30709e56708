// SPDX-License-Identifier: MIT
// One holder at a time, and the next one at once when it is killed. Other holders are processes of their own.
#include "common/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#define LIMIT_MS 10000

static int acquired;

static void on_acquired(void *data)
{
    acquired++;
    assert_ptr_equal(data, &acquired);
}

static struct lease *opened(const char *path)
{
    struct lease *l = NULL;
    assert_int_equal(lease_open(&loop, path, on_acquired, &acquired, &l), 0);
    return l;
}

// Helper: takes the lease, says so by making the file `held`, and keeps it until it is killed.
static void on_held(void *data)
{
    (void)data;
    (void)close(open("held", O_CREAT | O_WRONLY, 0600));
}

static int run_holder(void)
{
    struct lease *l;
    assert_int_equal(loop_start(), 0);
    assert_int_equal(lease_open(&loop, "lease", on_held, NULL, &l), 0);
    return uv_run(&loop, UV_RUN_DEFAULT);
}

static pid_t start_holder(void)
{
    pid_t pid = helper_start("holder", NULL);
    LOOP_UNTIL(access("held", F_OK) == 0, LIMIT_MS);
    assert_int_equal(unlink("held"), 0);
    return pid;
}

static void test_a_free_lease_is_taken(void **state)
{
    (void)state;
    acquired = 0;
    struct lease *l = opened("lease");
    assert_false(lease_held(l)); // not before the loop ran
    LOOP_UNTIL(acquired, LIMIT_MS);
    assert_true(lease_held(l));
    loop_for(50);
    assert_int_equal(acquired, 1);
    struct stat st;
    assert_int_equal(stat("lease", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    lease_close(&l);
    assert_null(l);
    assert_false(lease_held(l));
    lease_close(&l);
}

static void test_the_next_one_waits_for_the_first(void **state)
{
    (void)state;
    acquired = 0;
    struct lease *first = opened("lease");
    LOOP_UNTIL(acquired == 1, LIMIT_MS);
    struct lease *second = opened("lease"), *third = opened("lease");
    loop_for(100);
    assert_false(lease_held(second) || lease_held(third));
    lease_close(&first);
    LOOP_UNTIL(acquired == 2, LIMIT_MS);
    assert_true(lease_held(second) != lease_held(third));
    lease_close(lease_held(second) ? &second : &third);
    LOOP_UNTIL(acquired == 3, LIMIT_MS);
    lease_close(&second);
    lease_close(&third);
}

static void test_hand_over_from_a_killed_process_is_fast(void **state)
{
    (void)state;
    int64_t fastest_ms = LIMIT_MS;
    for (int i = 0; i < 5; i++) {
        acquired = 0;
        pid_t holder = start_holder();
        struct lease *l = opened("lease");
        loop_for(30);
        assert_int_equal(acquired, 0);
        helper_kill(holder);
        int64_t killed_ms = loop_now_ms();
        LOOP_UNTIL(acquired, LIMIT_MS);
        int64_t took_ms = loop_now_ms() - killed_ms;
        fastest_ms = took_ms < fastest_ms ? took_ms : fastest_ms;
        lease_close(&l);
    }
    assert_true(fastest_ms <= 50); // 0 to 1 ms on an idle machine; a busy one delays some of them
}

static void test_a_stopped_process_keeps_it(void **state)
{
    (void)state;
    acquired = 0;
    pid_t holder = start_holder();
    assert_int_equal(kill(holder, SIGSTOP), 0);
    struct lease *l = opened("lease");
    loop_for(200);
    assert_int_equal(acquired, 0);
    helper_kill(holder);
    LOOP_UNTIL(acquired, LIMIT_MS);
    lease_close(&l);
}

static void test_two_processes_never_hold_it_together(void **state)
{
    (void)state;
    acquired = 0;
    struct lease *l = opened("lease");
    LOOP_UNTIL(acquired, LIMIT_MS);
    pid_t other = helper_start("holder", NULL);
    loop_for(200);
    assert_int_equal(access("held", F_OK), -1);
    lease_close(&l);
    LOOP_UNTIL(access("held", F_OK) == 0, LIMIT_MS);
    helper_kill(other);
}

static void test_closing_while_waiting(void **state)
{
    (void)state;
    acquired = 0;
    int fd = -1;
    assert_int_equal(lease_try("lease", &fd), 0);
    for (int i = 0; i < 50; i++) {
        struct lease *l = opened("lease");
        if (i % 2) {
            (void)usleep(1000); // the thread is in flock() by now, or is not
        }
        lease_close(&l);
    }
    assert_int_equal(acquired, 0);
    close(fd);
    loop_for(30);
    assert_int_equal(acquired, 0); // who closed gets nothing any more
    int again;
    assert_int_equal(lease_try("lease", &again), 0); // and keeps nothing
    close(again);
}

// The lock is there, but the loop has not heard of it: nobody may be told after the close.
static void test_closing_between_lock_and_loop(void **state)
{
    (void)state;
    acquired = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct lease *l = opened("lease");
        (void)usleep(i * 20);
        lease_close(&l);
        int fd;
        assert_int_equal(lease_try("lease", &fd), 0);
        close(fd);
    }
    loop_for(30);
    assert_int_equal(acquired, 0);
}

static void test_trying(void **state)
{
    (void)state;
    int fd = -1, other = -2;
    assert_int_equal(lease_try("lease", &fd), 0);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(lease_try("lease", &other), -EWOULDBLOCK);
    assert_int_equal(other, -2);
    close(fd);
    assert_int_equal(lease_try("lease", &fd), 0);
    close(fd);
    assert_int_equal(lease_try("no/such/lease", &fd), -ENOENT);
}

static void test_a_path_that_cannot_be_opened(void **state)
{
    (void)state;
    struct lease *l = NULL;
    assert_int_equal(lease_open(&loop, "no/such/lease", on_acquired, &acquired, &l), -ENOENT);
    assert_null(l);
    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(lease_open(&loop, "dir", on_acquired, &acquired, &l), -EISDIR);
    assert_null(l);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        return run_holder();
    }
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_a_free_lease_is_taken),
        LOOP_CASE(test_the_next_one_waits_for_the_first),
        LOOP_CASE(test_hand_over_from_a_killed_process_is_fast),
        LOOP_CASE(test_a_stopped_process_keeps_it),
        LOOP_CASE(test_two_processes_never_hold_it_together),
        LOOP_CASE(test_closing_while_waiting),
        LOOP_CASE(test_closing_between_lock_and_loop),
        LOOP_CASE(test_trying),
        LOOP_CASE(test_a_path_that_cannot_be_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
