// SPDX-License-Identifier: MIT
#include "deploy/child.h"

#include "common/log.h"
#include "deploy/services.h"
#include "deploy/spawn.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const state_names[] = { "stopped", "starting", "ready", "backoff", "draining" };

// Allowed moves: one bit for each state that may follow.
static const unsigned moves[] = {
    [CHILD_STOPPED] = 1u << CHILD_STARTING | 1u << CHILD_BACKOFF,
    [CHILD_STARTING] = 1u << CHILD_READY | 1u << CHILD_BACKOFF | 1u << CHILD_DRAINING,
    [CHILD_READY] = 1u << CHILD_STARTING | 1u << CHILD_BACKOFF | 1u << CHILD_DRAINING,
    [CHILD_BACKOFF] = 1u << CHILD_STARTING | 1u << CHILD_STOPPED | 1u << CHILD_BACKOFF,
    [CHILD_DRAINING] = 1u << CHILD_STARTING | 1u << CHILD_STOPPED | 1u << CHILD_BACKOFF,
};

static void start_process(struct child *c);

const char *child_state_name(enum child_state state)
{
    return state_names[state];
}

static void move(struct child *c, enum child_state to)
{
    assert(moves[c->state] & 1u << to);
    log_debug("%s is %s, and was %s (pid %d)", c->name, state_names[to], state_names[c->state],
              (int)c->pid);
    c->state = to;
    c->callbacks->on_change(c, c->callbacks->data);
}

int64_t child_ready_for_ms(const struct child *c)
{
    return c->state == CHILD_READY ? (int64_t)(uv_now(c->timer.loop) - c->ready_ms) : -1;
}

bool child_is_crash_loop(const struct child *c)
{
    return backoff_is_crash_loop(&c->backoff, child_ready_for_ms(c));
}

int64_t child_unexpected_exit_age_ms(const struct child *c)
{
    return c->exits ? (int64_t)(uv_now(c->timer.loop) - c->exited_ms) : -1;
}

int child_init(struct child *c, uv_loop_t *loop, int service, int number, const char *binary,
               const struct child_callbacks *callbacks)
{
    *c = (struct child){ .binary = binary,
                         .service = service,
                         .number = number,
                         .exit_status = -1,
                         .callbacks = callbacks };
    snprintf(c->name, sizeof c->name, "%s-%d", services[service].name, number);
    c->timer.data = c;
    return uv_timer_init(loop, &c->timer);
}

void child_fini(struct child *c)
{
    assert(c->state == CHILD_STOPPED && c->pid == 0);
    uv_close((uv_handle_t *)&c->timer, NULL);
}

static void on_backoff_over(uv_timer_t *timer)
{
    struct child *c = timer->data;
    assert(c->state == CHILD_BACKOFF && c->wanted);
    c->restarts++;
    start_process(c);
}

static void on_drain_over(uv_timer_t *timer)
{
    struct child *c = timer->data;
    log_error("%s does not stop after %d ms; killing it", c->name, CHILD_KILL_MS);
    (void)kill(c->pid, SIGKILL); // its end is seen by SIGCHLD
}

// A start failed or a process died: try again later.
static void back_off(struct child *c, const char *why)
{
    bool was_loop = child_is_crash_loop(c);
    c->exits++;
    c->exited_ms = uv_now(c->timer.loop);
    int64_t delay_ms = backoff_failed(&c->backoff, child_ready_for_ms(c));
    snprintf(c->note, sizeof c->note, "%s", why);
    if (child_is_crash_loop(c) && !was_loop) {
        log_error(
            "%s does not stay up: %u failures, the last one: %s; trying again, now after %lld ms",
            c->name, c->backoff.failures, why, (long long)delay_ms);
    } else {
        log_warn("%s %s; starting it again in %lld ms", c->name, why, (long long)delay_ms);
    }
    int r = uv_timer_start(&c->timer, on_backoff_over, (uint64_t)delay_ms, 0);
    assert(r == 0); // fails only for a closing handle
    (void)r;
    move(c, CHILD_BACKOFF);
}

__attribute__((noreturn)) static void exec_child(struct child *c)
{
    c->callbacks->on_exec(c, c->callbacks->data);
    execl(c->binary, c->binary, (char *)NULL);
    log_error("%s: %s", c->binary, strerror(errno));
    _exit(127);
}

static void start_process(struct child *c)
{
    assert(c->pid == 0 && c->wanted);
    pid_t pid = spawn_fork(SIGTERM); // they drain when it dies
    if (pid == 0) {
        exec_child(c);
    }
    c->asked = false;
    c->alive_ms = 0;
    c->started_ms = uv_now(c->timer.loop);
    if (pid < 0) {
        char why[CHILD_NOTE];
        snprintf(why, sizeof why, "could not be started: %s", strerror((int)-pid));
        back_off(c, why);
        return;
    }
    c->pid = pid;
    c->note[0] = '\0';
    move(c, CHILD_STARTING);
}

void child_start(struct child *c)
{
    if (c->state != CHILD_STOPPED) {
        c->wanted = true;
        return;
    }
    c->wanted = true;
    c->restarts = c->stuck = 0;
    c->backoff = (struct backoff){ 0 };
    start_process(c);
}

void child_drain(struct child *c, bool wanted)
{
    c->wanted = wanted;
    c->backoff = (struct backoff){ 0 }; // somebody took care of it
    if (c->state == CHILD_BACKOFF) {
        (void)uv_timer_stop(&c->timer); // cannot fail
        if (wanted) {
            start_process(c);
        } else {
            move(c, CHILD_STOPPED);
        }
    } else if (c->state == CHILD_STARTING || c->state == CHILD_READY) {
        c->asked = true;
        log_debug("%s is told to stop%s", c->name, wanted ? ", to be started again" : "");
        (void)kill(c->pid, SIGTERM); // if it has just died, SIGCHLD is on its way
        int r = uv_timer_start(&c->timer, on_drain_over, CHILD_KILL_MS, 0);
        assert(r == 0); // fails only for a closing handle
        (void)r;
        move(c, CHILD_DRAINING);
    }
}

void child_kill(struct child *c)
{
    if (c->pid > 0) {
        (void)kill(c->pid, SIGKILL); // if it has just died, SIGCHLD is on its way
    }
    child_drain(c, false);
}

static bool is_watched(const struct child *c)
{
    return c->alive_ms && c->callbacks->watchdog_ms &&
           (c->state == CHILD_READY || c->state == CHILD_STARTING);
}

// A process that was stopped or loops is not reached by a softer signal, and leaves no core file anyway.
static void kill_stuck(struct child *c)
{
    c->alive_ms = 0;
    c->stuck++;
    (void)kill(c->pid, SIGKILL); // its end is seen by SIGCHLD
}

void child_watch(struct child *c, uint64_t late_ms)
{
    if (!is_watched(c)) {
        return;
    }
    c->alive_ms += late_ms;
    int64_t silent_ms = (int64_t)(uv_now(c->timer.loop) - c->alive_ms);
    if (silent_ms > c->callbacks->watchdog_ms) {
        log_error("%s is stuck: no sign of life for %lld ms; killing it", c->name,
                  (long long)silent_ms);
        kill_stuck(c);
    }
}

void child_notified(struct child *c, char *text)
{
    for (char *line; (line = strsep(&text, "\n"));) {
        if (strncmp(line, "STATUS=", 7) == 0) {
            snprintf(c->note, sizeof c->note, "%s", strcmp(line + 7, "ready") == 0 ? "" : line + 7);
        } else if (strcmp(line, "READY=1") == 0 && c->state == CHILD_STARTING) {
            c->ready_ms = c->alive_ms = uv_now(c->timer.loop);
            move(c, CHILD_READY);
        } else if (strcmp(line, "WATCHDOG=1") == 0 && c->alive_ms) {
            c->alive_ms = uv_now(c->timer.loop);
        } else if (strcmp(line, "WATCHDOG=trigger") == 0 && is_watched(c)) {
            log_error("%s is stuck: it says so itself; killing it", c->name);
            kill_stuck(c);
        } else if (strcmp(line, "READY=0") == 0 && c->state == CHILD_READY) {
            move(c, CHILD_STARTING);
        }
    }
}

// How it ended, and why, if it said so (process_fail()).
static void describe_exit(const struct child *c, int status, char why[CHILD_NOTE])
{
    static const char said[] = "failed: ";
    bool told = strncmp(c->note, said, sizeof said - 1) == 0;
    if (WIFSIGNALED(status)) {
        snprintf(why, CHILD_NOTE, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else {
        (void)snprintf(why, CHILD_NOTE, "exited with status %d%s%s", WEXITSTATUS(status),
                       told ? ": " : "", told ? c->note + sizeof said - 1 : "");
    }
}

void child_exited(struct child *c, int status)
{
    assert(c->pid > 0);
    char why[CHILD_NOTE];
    describe_exit(c, status, why);
    c->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    c->pid = 0;
    if (!c->asked) {
        back_off(c, why);
        return;
    }
    assert(c->state == CHILD_DRAINING);
    (void)uv_timer_stop(&c->timer); // cannot fail
    // A process that has not got around to handling signals ends by SIGTERM itself.
    if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)) {
        log_warn("%s %s while it was stopped", c->name, why);
    }
    if (c->wanted) {
        c->restarts++;
        start_process(c);
    } else {
        c->note[0] = '\0';
        move(c, CHILD_STOPPED);
    }
}
