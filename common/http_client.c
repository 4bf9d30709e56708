// SPDX-License-Identifier: MIT
#include "common/http_client.h"

#include "common/clock.h"

#include <errno.h>
#include <llhttp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define TARGET_MAX 1024 // bytes of a path
#define READ_BYTES 4096

struct exchange {
    int fd;
    int64_t deadline_ms;           // monotonic
    const _Atomic int64_t *end_ms; // an earlier one; may be NULL
    struct buf *body;
    bool complete; // the whole answer is there
};

// Waits until fd is ready for events. Returns 0, -ETIMEDOUT or another negative errno.
static int wait_for(const struct exchange *x, short events)
{
    const int longest_ms = x->end_ms ? HTTP_CLIENT_LOOK_MS : 3600000;
    for (;;) {
        int64_t now_ms = clock_mono_ms(), left_ms = x->deadline_ms - now_ms;
        int64_t end_ms = x->end_ms ? atomic_load(x->end_ms) : 0;
        if (left_ms <= 0 || (end_ms && now_ms >= end_ms)) {
            return -ETIMEDOUT;
        }
        struct pollfd p = { .fd = x->fd, .events = events };
        int n = poll(&p, 1, left_ms > longest_ms ? longest_ms : (int)left_ms);
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

static int send_all(const struct exchange *x, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t part = send(x->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (part >= 0) {
            bytes = (struct str){ bytes.p + part, bytes.n - (size_t)part };
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

static int send_request(const struct exchange *x, const struct http_call *call)
{
    char length[64] = "";
    struct buf head;
    buf_init(&head, HTTP_CLIENT_HEAD_BYTES);
    if (call->body.p) {
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", call->body.n);
    }
    buf_printf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s%s\r\n", call->method,
               call->target, call->host, length, call->fields ? call->fields : "");
    int r = buf_error(&head);
    r = r < 0 ? r : send_all(x, buf_str(&head));
    r = r < 0 ? r : send_all(x, call->body);
    buf_wipe(&head); // the fields may have a password
    buf_fini(&head);
    return r;
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

static int talk(struct exchange *x, const struct address *address, const struct http_call *call)
{
    int r = connect_to(x, address);
    if (r < 0) {
        return r;
    }
    r = send_request(x, call);
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

// The characters of a request target: nothing that could end the request line.
static bool is_target(const char *target)
{
    bool ok = target[0] == '/' && strlen(target) <= TARGET_MAX;
    for (const char *p = target; ok && *p; p++) {
        unsigned char c = (unsigned char)*p;
        ok = c > ' ' && c < 0x7F;
    }
    return ok;
}

int http_call(const struct address *to, const struct http_call *call, struct buf *body)
{
    if (!is_target(call->target)) {
        return -EINVAL;
    }
    struct exchange x = { .deadline_ms = clock_mono_ms() + call->timeout_ms,
                          .end_ms = call->end_ms,
                          .body = body };
    x.fd = socket(to->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (x.fd < 0) {
        return -errno;
    }
    int r = talk(&x, to, call);
    close(x.fd);
    return r;
}
