// SPDX-License-Identifier: MIT
#include "gateway/listener.h"

#include "common/address.h"
#include "common/log.h"
#include "gateway/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_INHERITED_FD 3 // sd_listen_fds(3)

static bool is_listening(int fd)
{
    int on = 0;
    socklen_t n = sizeof on;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) == 0 && on;
}

// The inherited socket, or -1. The variables are taken away, so that no child believes they are its
// own.
static int inherited_fd(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    int64_t pid_number = 0, count_number = 0;
    bool ours = pid && count && config_parse_number(CONFIG_INTEGER, pid, &pid_number) == 0 &&
                config_parse_number(CONFIG_INTEGER, count, &count_number) == 0 &&
                pid_number == getpid() && count_number >= 1 && is_listening(FIRST_INHERITED_FD);
    (void)unsetenv("LISTEN_PID"); // fails for impossible names only
    (void)unsetenv("LISTEN_FDS");
    if (!ours || fcntl(FIRST_INHERITED_FD, F_SETFD, FD_CLOEXEC) < 0) {
        return -1;
    }
    return FIRST_INHERITED_FD;
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct gateway *g = stream->data;
    if (status < 0) {
        log_warn("cannot accept a connection: %s", uv_strerror(status));
    } else {
        connection_accept(g);
    }
}

static int bind_address(struct gateway *g)
{
    struct address address;
    int rc = address_parse(str_of(g->config.listen), &address);
    if (rc == 0 && address_path(&address)) {
        rc = -EINVAL;
    }
    return rc ? rc : uv_tcp_bind(&g->listener, (const struct sockaddr *)&address.socket, 0);
}

int listener_open(struct gateway *g, bool *ret_inherited)
{
    int fd = inherited_fd();
    (void)uv_tcp_init(g->loop, &g->listener); // cannot fail
    g->listener.data = g;
    g->listener_open = true;
    int rc = fd >= 0 ? uv_tcp_open(&g->listener, fd) : bind_address(g);
    *ret_inherited = fd >= 0;
    return rc ? rc : uv_listen((uv_stream_t *)&g->listener, LISTEN_BACKLOG, on_connection);
}

void listener_close(struct gateway *g)
{
    if (g->listener_open) {
        g->listener_open = false;
        uv_close((uv_handle_t *)&g->listener, NULL);
    }
}
