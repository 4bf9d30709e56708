// SPDX-License-Identifier: MIT
#include "common/admin_fetch.h"

#include "proto/buf.h"

#include <assert.h>
#include <errno.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>

#define READ_BYTES 16384
#define REQUEST_BYTES 256

struct admin_fetch {
    struct admin_fetch_options options;
    struct address to;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
    } socket;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    llhttp_settings_t settings;
    llhttp_t parser;
    struct buf body;
    int early;     // error that admin_fetch() met; 0: none
    int n_open;    // handles that are not closed yet
    bool done;     // on_done has run, or must not any more
    bool complete; // the whole answer is there
    char request[REQUEST_BYTES];
    char bytes[READ_BYTES];
};

static void on_closed(uv_handle_t *handle)
{
    struct admin_fetch *f = handle->data;
    if (--f->n_open == 0) {
        buf_fini(&f->body);
        free(f);
    }
}

static void close_all(struct admin_fetch *f)
{
    f->done = true;
    uv_close(&f->socket.handle, on_closed);
    uv_close((uv_handle_t *)&f->timer, on_closed);
}

static void finish(struct admin_fetch *f, int status)
{
    if (f->done) {
        return;
    }
    f->done = true;
    f->options.on_done(status, status > 0 ? buf_str(&f->body) : STR(""), f->options.data);
    close_all(f);
}

static void on_timer(uv_timer_t *timer)
{
    struct admin_fetch *f = timer->data;
    finish(f, f->early ? f->early : -ETIMEDOUT);
}

// --- The answer

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct admin_fetch *f = parser->data;
    buf_append(&f->body, at, n);
    return buf_ok(&f->body) ? 0 : HPE_USER;
}

static int on_message_complete(llhttp_t *parser)
{
    struct admin_fetch *f = parser->data;
    f->complete = true;
    return HPE_PAUSED; // nothing after it is of interest
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    struct admin_fetch *f = handle->data;
    (void)suggested;
    *ret_buf = uv_buf_init(f->bytes, sizeof f->bytes);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct admin_fetch *f = stream->data;
    if (f->done || n == 0) {
        return;
    }
    if (n < 0 && n != UV_EOF) {
        finish(f, (int)n); // libuv's codes of the system are negative errnos
        return;
    }
    llhttp_errno_t e =
        n > 0 ? llhttp_execute(&f->parser, buf->base, (size_t)n) : llhttp_finish(&f->parser);
    if (!buf_ok(&f->body)) {
        finish(f, buf_error(&f->body));
    } else if (f->complete) {
        finish(f, f->parser.status_code);
    } else if (e != HPE_OK || n < 0) {
        finish(f, -EPROTO);
    }
}

// --- The question

static void on_written(uv_write_t *write, int status)
{
    if (status < 0) {
        finish(write->data, status);
    }
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct admin_fetch *f = connect->data;
    if (f->done) {
        return;
    }
    int n =
        snprintf(f->request, sizeof f->request,
                 "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\nConnection: close\r\n\r\n",
                 f->options.method ? f->options.method : "GET", f->options.path,
                 f->options.accept);
    assert(n > 0 && (size_t)n < sizeof f->request);
    uv_buf_t bytes = uv_buf_init(f->request, (unsigned)n);
    f->write.data = f;
    status = status ? status : uv_read_start(&f->socket.stream, on_alloc, on_read);
    status = status ? status : uv_write(&f->write, &f->socket.stream, &bytes, 1, on_written);
    if (status < 0) {
        finish(f, status);
    }
}

static int begin(struct admin_fetch *f)
{
    f->connect.data = f;
    const char *path = address_path(&f->to);
    if (path) {
        uv_pipe_connect(&f->connect, &f->socket.pipe, path, on_connected);
        return 0;
    }
    return uv_tcp_connect(&f->connect, &f->socket.tcp, (const struct sockaddr *)&f->to.socket,
                          on_connected);
}

int admin_fetch(const struct admin_fetch_options *options, struct admin_fetch **ret_fetch)
{
    struct admin_fetch *f = calloc(1, sizeof *f);
    if (!f) {
        return -ENOMEM;
    }
    f->options = *options;
    f->to = *options->to;
    buf_init(&f->body, options->max_bytes);
    llhttp_settings_init(&f->settings);
    f->settings.on_body = on_body;
    f->settings.on_message_complete = on_message_complete;
    llhttp_init(&f->parser, HTTP_RESPONSE, &f->settings);
    f->parser.data = f;
    // Neither can fail: they only fill in the structs.
    int rc = address_path(&f->to) ? uv_pipe_init(options->loop, &f->socket.pipe, 0)
                                  : uv_tcp_init(options->loop, &f->socket.tcp);
    assert(rc == 0);
    (void)uv_timer_init(options->loop, &f->timer);
    f->socket.handle.data = f->timer.data = f;
    f->n_open = 2;
    f->early = begin(f);
    // What failed at once is told in the next turn, like everything else. Fails without callback only.
    (void)uv_timer_start(&f->timer, on_timer, f->early ? 0 : (uint64_t)options->timeout_ms, 0);
    *ret_fetch = f;
    return 0;
}

void admin_fetch_cancel(struct admin_fetch **fetch)
{
    struct admin_fetch *f = *fetch;
    *fetch = NULL;
    if (f) {
        assert(!f->done);
        close_all(f);
    }
}
