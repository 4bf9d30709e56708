// SPDX-License-Identifier: MIT
// See listener.h.
#include "deploy/listener.h"

#include "common/address.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int bind_and_listen(const struct address *to)
{
    int on = 1;
    int fd = socket(to->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)&to->socket, to->length) < 0 ||
        listen(fd, LISTENER_BACKLOG) < 0) {
        int r = -errno;
        (void)close(fd); // nothing came through it
        return r;
    }
    return fd;
}

static const char *describe(int error)
{
    switch (error) {
    case -EINVAL:
        return "allowed: HOST:PORT or [IPV6]:PORT, with a port of 1..65535";
    case -EHOSTUNREACH:
        return "the host name is not known";
    case -EADDRINUSE:
        return "the port is in use; choose another one (`sluice up --port N` for the public one)";
    default:
        return strerror(-error);
    }
}

int listener_open(const char *variable, const char *address, char error[CONFIG_ERROR_SIZE])
{
    struct address to;
    int r = address_parse(str_of(address), &to);
    if (r == 0 && to.socket.ss_family == AF_UNIX) {
        r = -EINVAL;
    }
    r = r < 0 ? r : bind_and_listen(&to);
    if (r < 0) {
        snprintf(error, CONFIG_ERROR_SIZE, "%s is \"%s\": %s", variable, address, describe(r));
    }
    return r;
}
