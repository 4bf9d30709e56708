// SPDX-License-Identifier: MIT
#include "tests/bench/sync_echo.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define FILE_BYTES (64 << 20)
#define WAIT_MS 10000
#define PATH_BYTES 128

int sync_echo_file(const char *path)
{
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = posix_fallocate(fd, 0, FILE_BYTES);
    if (rc || fsync(fd)) {
        rc = rc ? rc : errno;
        (void)close(fd);
        return -rc;
    }
    return fd;
}

// The echo's whole life; ends with a signal.
static _Noreturn void echo(const char *path, const char *endpoint)
{
    static char bytes[65536];
    char peer[8];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_ROUTER);
    int fd = sync_echo_file(path);
    if (fd < 0 || !socket || zmq_bind(socket, endpoint)) {
        _exit(1);
    }
    for (;;) {
        int p = zmq_recv(socket, peer, sizeof peer, 0);
        int n = zmq_recv(socket, bytes, sizeof bytes, 0);
        if (p <= 0 || n <= 0 || n > (int)sizeof bytes || write(fd, bytes, (size_t)n) != n ||
            fdatasync(fd) || zmq_send(socket, peer, (size_t)p, ZMQ_SNDMORE) != p ||
            zmq_send(socket, "ok", 2, 0) != 2) {
            _exit(1);
        }
    }
}

int sync_echo_start(struct sync_echo *e, void *context, const char *directory)
{
    char path[PATH_BYTES], endpoint[PATH_BYTES];
    int none = 0, wait = WAIT_MS;
    (void)snprintf(path, sizeof path, "%s/echo", directory);
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/echo.sock", directory);
    e->pid = fork();
    if (e->pid == 0) {
        echo(path, endpoint);
    }
    e->socket = zmq_socket(context, ZMQ_DEALER);
    if (e->pid < 0 || !e->socket || zmq_setsockopt(e->socket, ZMQ_LINGER, &none, sizeof none) ||
        zmq_setsockopt(e->socket, ZMQ_RCVTIMEO, &wait, sizeof wait) ||
        zmq_connect(e->socket, endpoint)) {
        return -errno;
    }
    return sync_echo_round(e, "ready", 5); // until it is there
}

int sync_echo_round(struct sync_echo *e, const void *bytes, size_t n)
{
    char answer[8];
    return zmq_send(e->socket, bytes, n, 0) == (int)n &&
                   zmq_recv(e->socket, answer, sizeof answer, 0) == 2
               ? 0
               : -errno;
}

void sync_echo_stop(struct sync_echo *e)
{
    (void)zmq_close(e->socket);
    (void)kill(e->pid, SIGKILL);
    (void)waitpid(e->pid, NULL, 0);
}
