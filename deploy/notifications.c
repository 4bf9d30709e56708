// SPDX-License-Identifier: MIT
// See notifications.h. libuv has no datagram sockets of the unix domain: it only watches the descriptor.
#include "deploy/notifications.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// Reads one. Returns false when there is none.
static bool receive(struct notifications *n)
{
    char text[NOTIFICATIONS_BYTES + 1];
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec v = { text, NOTIFICATIONS_BYTES };
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    ssize_t length = recvmsg(n->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0) {
        return false;
    }
    text[length] = '\0';
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_CREDENTIALS) {
        struct ucred from;
        memcpy(&from, CMSG_DATA(h), sizeof from);
        n->on_notification(from.pid, text, n->data);
    }
    return true;
}

void notifications_read(struct notifications *n)
{
    for (int i = 0; i < NOTIFICATIONS_BUDGET && receive(n); i++) {
    }
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    (void)status; // an error shows again in recvmsg()
    (void)events;
    notifications_read(handle->data);
}

static int bind_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int on = 1;
    if (strlen(path) >= sizeof address.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)unlink(path); // usually there is nothing
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int r = -errno;
        (void)close(fd); // nothing came through it
        return r;
    }
    return fd;
}

int notifications_open(struct notifications *n, uv_loop_t *loop, const char *path,
                       void (*on_notification)(pid_t from, char *text, void *data), void *data)
{
    *n = (struct notifications){ .path = path, .on_notification = on_notification, .data = data };
    n->fd = bind_socket(path);
    if (n->fd < 0) {
        return n->fd;
    }
    n->poll.data = n;
    int r = uv_poll_init(loop, &n->poll, n->fd);
    return r < 0 ? r : uv_poll_start(&n->poll, UV_READABLE, on_readable);
}

void notifications_close(struct notifications *n)
{
    uv_close((uv_handle_t *)&n->poll, NULL);
    (void)close(n->fd);    // nothing was written
    (void)unlink(n->path); // the next one would replace it anyway
}
