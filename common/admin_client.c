// SPDX-License-Identifier: MIT
// The other end of admin.c, blocking: connect, ask, read until the message is complete, all before
// one deadline.
#include "common/admin.h"

#include "common/address.h"
#include "common/clock.h"

#include <assert.h>
#include <errno.h>
#include <llhttp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define TARGET_MAX 1024 // bytes of a path
#define READ_BYTES 4096

struct exchange {
    int fd;
    int64_t deadline_ms; // monotonic
    struct buf *body;
    bool complete; // the whole answer is there
};

// Waits until fd is ready for events. Returns 0, -ETIMEDOUT or another negative errno.
static int wait_for(const struct exchange *x, short events)
{
    for (;;) {
        int64_t left_ms = x->deadline_ms - clock_mono_ms();
        if (left_ms <= 0) {
            return -ETIMEDOUT;
        }
        struct pollfd p = { .fd = x->fd, .events = events };
        int n = poll(&p, 1, left_ms > 3600000 ? 3600000 : (int)left_ms);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

static int connect_to(const struct exchange *x, const struct address *address)
{
    if (connect(x->fd, (const struct sockaddr *)&address->socket, address->length) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return -errno;
    }
    int r = wait_for(x, POLLOUT);
    if (r < 0) {
        return r;
    }
    int error = 0;
    socklen_t n = sizeof(error);
    if (getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0) {
        return -errno;
    }
    return -error;
}

static int send_request(const struct exchange *x, const char *path)
{
    char request[TARGET_MAX + 128];
    int n = snprintf(request, sizeof(request),
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    assert(n > 0 && (size_t)n < sizeof(request));
    for (size_t sent = 0; sent < (size_t)n;) {
        ssize_t part = send(x->fd, request + sent, (size_t)n - sent, MSG_NOSIGNAL);
        if (part >= 0) {
            sent += (size_t)part;
        } else if (errno == EAGAIN) {
            int r = wait_for(x, POLLOUT);
            if (r < 0) {
                return r;
            }
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct exchange *x = parser->data;
    buf_append(x->body, at, n);
    return buf_ok(x->body) ? 0 : HPE_USER;
}

static int on_message_complete(llhttp_t *parser)
{
    struct exchange *x = parser->data;
    x->complete = true;
    return HPE_PAUSED; // nothing after it is of interest
}

// Reads until the answer is complete.
static int read_answer(struct exchange *x, llhttp_t *parser)
{
    char bytes[READ_BYTES];
    while (!x->complete) {
        ssize_t n = recv(x->fd, bytes, sizeof(bytes), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            int r = wait_for(x, POLLIN);
            if (r < 0) {
                return r;
            }
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        llhttp_errno_t e = n > 0 ? llhttp_execute(parser, bytes, (size_t)n) : llhttp_finish(parser);
        if (!buf_ok(x->body)) {
            return buf_error(x->body);
        }
        if (!x->complete && (e != HPE_OK || n == 0)) {
            return -EPROTO;
        }
    }
    return parser->status_code;
}

static int talk(struct exchange *x, const struct address *address, const char *path)
{
    int r = connect_to(x, address);
    if (r < 0) {
        return r;
    }
    r = send_request(x, path);
    if (r < 0) {
        return r;
    }
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_body = on_body;
    settings.on_message_complete = on_message_complete;
    llhttp_t parser;
    llhttp_init(&parser, HTTP_RESPONSE, &settings);
    parser.data = x;
    return read_answer(x, &parser);
}

int admin_get(const char *address, const char *path, int timeout_ms, struct buf *body)
{
    // The characters of a request target: nothing that could end the request line.
    for (const char *p = path; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= ' ' || c >= 0x7F) {
            return -EINVAL;
        }
    }
    if (path[0] != '/' || strlen(path) > TARGET_MAX) {
        return -EINVAL;
    }
    struct address to;
    int r = address_parse(str_of(address), &to);
    if (r < 0) {
        return r;
    }
    struct exchange x = { .deadline_ms = clock_mono_ms() + timeout_ms, .body = body };
    x.fd = socket(to.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (x.fd < 0) {
        return -errno;
    }
    r = talk(&x, &to, path);
    close(x.fd);
    return r;
}
