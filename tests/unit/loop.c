// SPDX-License-Identifier: MIT
#include "tests/unit/loop.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/temp_dir.h"

#define CLOSE_LIMIT_MS 20000

uv_loop_t loop;
static uv_timer_t tick; // wakes the loop, so that a limit is noticed when nothing happens
static int64_t limit_at_ms;

int64_t loop_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_tick(uv_timer_t *handle)
{
    (void)handle;
}

int loop_start(void)
{
    int rc = uv_loop_init(&loop);
    rc = rc ? rc : uv_timer_init(&loop, &tick);
    return rc ? rc : uv_timer_start(&tick, on_tick, 10, 10);
}

int loop_enter(void **state)
{
    return temp_dir_enter(state) ? -1 : loop_start();
}

int loop_leave(void **state)
{
    int64_t until = loop_now_ms() + CLOSE_LIMIT_MS;
    uv_close((uv_handle_t *)&tick, NULL);
    while (uv_run(&loop, UV_RUN_NOWAIT) && loop_now_ms() < until) {
        (void)usleep(1000);
    }
    int rc = uv_loop_close(&loop);
    if (rc) {
        uv_print_all_handles(&loop, stderr);
    }
    return temp_dir_leave(state) || rc ? -1 : 0;
}

void loop_limit(int limit_ms)
{
    limit_at_ms = loop_now_ms() + limit_ms;
}

void loop_turn(const char *waiting_for)
{
    if (loop_now_ms() > limit_at_ms) {
        fail_msg("waited too long for: %s", waiting_for);
    }
    (void)uv_run(&loop, UV_RUN_ONCE);
}

void loop_for(int ms)
{
    int64_t until = loop_now_ms() + ms;
    while (loop_now_ms() < until) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

pid_t helper_start(const char *role, ...)
{
    const char *argv[9] = { "/proc/self/exe", role };
    va_list args;
    size_t n = 2;
    va_start(args, role);
    while (n < 8 && (argv[n] = va_arg(args, const char *))) {
        n++;
    }
    va_end(args);
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent) {
            (void)execv(argv[0], (char *const *)argv);
        }
        _exit(127);
    }
    return pid;
}

int helper_wait(pid_t pid, int limit_ms)
{
    int status = 0;
    int64_t until = loop_now_ms() + limit_ms;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (loop_now_ms() > until) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            break;
        }
        (void)usleep(2000);
    }
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void helper_kill(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}
