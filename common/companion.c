// SPDX-License-Identifier: MIT
#include "common/companion.h"

#include "common/confine.h"
#include "common/process.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct links {
    int here[COMPANION_MAX_LINKS], there[COMPANION_MAX_LINKS];
};

static void close_all(const int fds[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)close(fds[i]);
    }
}

static int make_links(struct links *l, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
            int rc = -errno;
            close_all(l->here, i);
            close_all(l->there, i);
            return rc;
        }
        l->here[i] = pair[0];
        l->there[i] = pair[1];
    }
    return 0;
}

// --- In the companion

// Closes all but the standard ones and the links, which were opened in this order. Before Linux 5.9 they stay open.
static void keep_links(const int links[], size_t n)
{
    unsigned first = STDERR_FILENO + 1;
    for (size_t i = 0; i < n; i++) {
        if (first < (unsigned)links[i]) {
            (void)close_range(first, (unsigned)links[i] - 1, 0);
        }
        first = (unsigned)links[i] + 1;
    }
    (void)close_range(first, UINT_MAX, 0);
}

struct thread {
    const struct companion *companion;
    int link;
};

static void *run_thread(void *data)
{
    const struct thread *t = data;
    t->companion->serve(t->link);
    return NULL;
}

static void run_threads(const struct companion *c, const int links[])
{
    struct thread threads[COMPANION_MAX_LINKS];
    for (size_t i = 1; i < c->n_links; i++) {
        pthread_t id;
        threads[i] = (struct thread){ c, links[i] };
        if (pthread_create(&id, NULL, run_thread, &threads[i])) {
            return;
        }
    }
    c->serve(links[0]);
}

// _exit(): what the process has registered for its own end is not the companion's to do.
_Noreturn static void live(const struct companion *c, const struct links *l, const char *sandbox,
                           const struct config_option *table, void *config, pid_t parent)
{
    char mode[16], error[CONFIG_ERROR_SIZE];
    unsigned parts;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) { // it died before
        _exit(EXIT_OK);
    }
    (void)prctl(PR_SET_NAME, c->name);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    close_all(l->here, c->n_links); // or it would never see their end
    keep_links(l->there, c->n_links);
    (void)snprintf(mode, sizeof mode, "%s", sandbox);
    config_free(table, config);
    if (confine_companion(mode, &parts, error)) {
        (void)fprintf(stderr, "%s: %s\n", c->name, error);
        _exit(EXIT_CONFIG);
    }
    run_threads(c, l->there);
    _exit(EXIT_OK);
}

// --- In the process

int companion_start(const struct companion *c, const char *sandbox,
                    const struct config_option *table, void *config, pid_t *ret_pid,
                    char error[CONFIG_ERROR_SIZE])
{
    struct links l;
    assert(c->n_links > 0 && c->n_links <= COMPANION_MAX_LINKS);
    int rc = make_links(&l, c->n_links);
    if (rc == 0) {
        pid_t self = getpid(), pid = fork();
        if (pid == 0) {
            live(c, &l, sandbox, table, config, self);
        }
        rc = pid < 0 ? -errno : 0;
        *ret_pid = pid;
        close_all(l.there, c->n_links);
        if (rc) {
            close_all(l.here, c->n_links);
        }
    }
    if (rc) {
        (void)snprintf(error, CONFIG_ERROR_SIZE, "cannot start %s: %s", c->name, strerror(-rc));
        return rc;
    }
    c->on_links(l.here, c->n_links);
    return 0;
}
