// SPDX-License-Identifier: MIT
// The input is in memory that has a descriptor: nobody waits until it is read.
#include "deploy/runner.h"

#include "deploy/spawn.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct runner {
    uv_signal_t sigchld;
    uv_timer_t timer;
    int open_handles;
    pid_t pid; // 0: nothing runs
    bool over; // its time is
    runner_done_fn *done;
    void *data;
};

// --- The end

static void finish(struct runner *r, int status)
{
    r->pid = 0;
    (void)uv_timer_stop(&r->timer);    // cannot fail
    (void)uv_signal_stop(&r->sigchld); // likewise
    r->done(status, r->data);
}

static void on_sigchld(uv_signal_t *handle, int signum)
{
    struct runner *r = handle->data;
    int status;
    (void)signum;
    if (r->pid > 0 && waitpid(r->pid, &status, WNOHANG) == r->pid) {
        finish(r, r->over               ? -ETIMEDOUT
                  : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                        : WEXITSTATUS(status));
    }
}

static void on_time_over(uv_timer_t *timer)
{
    struct runner *r = timer->data;
    r->over = true;
    (void)kill(-r->pid, SIGKILL); // its end is seen by SIGCHLD
}

// --- The beginning

static int make_input(struct str input)
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    for (size_t sent = 0; sent < input.n;) {
        ssize_t n = write(fd, input.p + sent, input.n - sent);
        if (n < 0) {
            int error = errno;
            (void)close(fd); // it is thrown away
            return -error;
        }
        sent += (size_t)n;
    }
    if (lseek(fd, 0, SEEK_SET) < 0) {
        int error = errno;
        (void)close(fd); // it is thrown away
        return -error;
    }
    return fd;
}

// The forked process.
__attribute__((noreturn)) static void exec_program(const char *const arguments[],
                                                   const char *const environment[], int input)
{
    for (; *environment; environment += 2) {
        if (setenv(environment[0], environment[1], 1) < 0) {
            _exit(126);
        }
    }
    // Not the locks and sockets of the suite: nothing that is run here may hold them.
    if (dup2(input, STDIN_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0U, 0) < 0) {
        _exit(126);
    }
    execvp(arguments[0], (char *const *)(uintptr_t)arguments); // it does not change them
    _exit(127);
}

int runner_start(struct runner *r, const char *const arguments[], const char *const environment[],
                 struct str input)
{
    assert(r->pid == 0);
    int fd = make_input(input);
    if (fd < 0) {
        return fd;
    }
    int rc = uv_signal_start(&r->sigchld, on_sigchld, SIGCHLD);
    rc = rc < 0 ? rc : uv_timer_start(&r->timer, on_time_over, RUNNER_LIMIT_MS, 0);
    pid_t pid = rc < 0 ? rc : spawn_fork(SIGKILL); // nobody would listen to it any more
    if (pid == 0) {
        exec_program(arguments, environment, fd);
    }
    (void)close(fd); // the program has its own
    if (pid < 0) {
        (void)uv_timer_stop(&r->timer);
        (void)uv_signal_stop(&r->sigchld);
        return (int)pid;
    }
    r->pid = pid;
    r->over = false;
    return 0;
}

// --- Opening and closing

int runner_open(uv_loop_t *loop, runner_done_fn *done, void *data, struct runner **ret_runner)
{
    struct runner *r = calloc(1, sizeof *r);
    if (!r) {
        return -ENOMEM;
    }
    r->done = done;
    r->data = data;
    (void)uv_timer_init(loop, &r->timer); // cannot fail
    int rc = uv_signal_init(loop, &r->sigchld);
    r->timer.data = r->sigchld.data = r;
    r->open_handles = 2;
    *ret_runner = r; // on failure the program ends
    return rc;
}

static void on_closed(uv_handle_t *handle)
{
    struct runner *r = handle->data;
    if (--r->open_handles == 0) {
        free(r);
    }
}

void runner_close(struct runner **runner)
{
    struct runner *r = *runner;
    *runner = NULL;
    if (!r) {
        return;
    }
    if (r->pid > 0) {
        (void)kill(-r->pid, SIGKILL); // whoever inherits it reaps it: the supervisor ends
    }
    uv_close((uv_handle_t *)&r->timer, on_closed);
    uv_close((uv_handle_t *)&r->sigchld, on_closed);
}
