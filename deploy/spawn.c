// SPDX-License-Identifier: MIT
// uv_spawn() cannot be used: LISTEN_PID must be the child's own pid, which is known only after the
// fork.
#include "deploy/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

// The supervisor's survive exec otherwise.
static void reset_signals(void)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        (void)signal(signals[i], SIG_DFL); // these signals can be set
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL); // cannot fail
}

pid_t spawn_fork(int death_signal)
{
    pid_t supervisor = getpid();
    // No signal may run libuv's handler in the child: it would write into the supervisor's own
    // signal pipe.
    sigset_t all, before;
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before); // cannot fail
    pid_t pid = fork();
    int error = errno;
    if (pid == 0) {
        // Ctrl-C on the terminal is the supervisor's to handle: it ends what it started in good
        // order.
        (void)setpgid(0, 0);                         // may not fail for oneself
        (void)prctl(PR_SET_PDEATHSIG, death_signal); // it is a valid signal
        reset_signals();
        if (getppid() != supervisor) {
            _exit(EXIT_FAILURE); // it died before the lines above
        }
        return 0;
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL); // cannot fail
    if (pid > 0) {
        (void)setpgid(pid, pid); // whoever is first: kill(-pid) works from here on
    }
    return pid < 0 ? -error : pid;
}
