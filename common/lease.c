// SPDX-License-Identifier: MIT
// One thread per lease, blocked in flock(2) until the lock is there; then it is gone and only the
// fd is left.
#include "common/lease.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

// Interrupts the thread's flock() when the lease is closed while waiting.
#define WAKE_SIGNAL SIGUSR2

struct lease {
    int fd;
    pthread_t thread;
    bool held;             // loop thread only
    atomic_bool cancelled; // set by lease_close()
    atomic_bool finished;  // set by the thread as its last act
    atomic_int result;     // 0, or the negative errno of flock()
    uv_async_t async;      // acquired
    void (*on_acquired)(void *data);
    void *data;
};

static void on_wake_signal(int number)
{
    (void)number; // interrupting the system call is all
}

static void *wait_for_lock(void *arg)
{
    struct lease *l = arg;
    int rc;
    do {
        rc = flock(l->fd, LOCK_EX) ? -errno : 0;
    } while (rc == -EINTR && !atomic_load(&l->cancelled));
    atomic_store(&l->result, rc);
    if (!atomic_load(&l->cancelled)) {
        (void)uv_async_send(&l->async); // cannot fail for an open handle
    }
    atomic_store(&l->finished, true);
    return NULL;
}

static void on_async(uv_async_t *handle)
{
    struct lease *l = handle->data;
    if (atomic_load(&l->cancelled) || l->held || atomic_load(&l->result)) {
        return;
    }
    l->held = true;
    l->on_acquired(l->data);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

int lease_open(uv_loop_t *loop, const char *path, void (*on_acquired)(void *data), void *data,
               struct lease **ret_lease)
{
    assert(on_acquired);
    struct sigaction action = { .sa_handler =
                                    on_wake_signal }; // no SA_RESTART: flock() must return
    struct lease *l = calloc(1, sizeof *l);
    if (!l) {
        return -ENOMEM;
    }
    l->on_acquired = on_acquired;
    l->data = data;
    l->fd = open_file(path);
    int rc = l->fd < 0 ? l->fd : sigaction(WAKE_SIGNAL, &action, NULL) ? -errno : 0;
    if (rc) {
        goto err_after_alloc;
    }
    rc = uv_async_init(loop, &l->async, on_async);
    if (rc) {
        goto err_after_alloc;
    }
    l->async.data = l;
    rc = -pthread_create(&l->thread, NULL, wait_for_lock, l);
    if (rc) {
        (void)close(l->fd);
        uv_close((uv_handle_t *)&l->async, on_closed);
        return rc;
    }
    *ret_lease = l;
    return 0;

err_after_alloc:
    if (l->fd >= 0) {
        (void)close(l->fd);
    }
    free(l);
    return rc;
}

bool lease_held(const struct lease *l)
{
    return l && l->held;
}

static void end_lease(struct lease **lease, bool keep_lock)
{
    struct lease *l = *lease;
    *lease = NULL;
    if (!l) {
        return;
    }
    atomic_store(&l->cancelled, true);
    // The signal may come just before the thread enters flock(), so it is sent until it took.
    while (!atomic_load(&l->finished)) {
        (void)pthread_kill(l->thread, WAKE_SIGNAL);
        (void)usleep(200);
    }
    (void)pthread_join(l->thread, NULL);
    if (!keep_lock || atomic_load(&l->result)) {
        (void)close(l->fd); // gives the lock up
    }
    uv_close((uv_handle_t *)&l->async, on_closed);
}

void lease_close(struct lease **lease)
{
    end_lease(lease, false);
}

void lease_leave(struct lease **lease)
{
    end_lease(lease, true);
}

int lease_try(const char *path, int *ret_fd)
{
    int fd = open_file(path);
    if (fd < 0) {
        return fd;
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}
