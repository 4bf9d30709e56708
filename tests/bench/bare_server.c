// SPDX-License-Identifier: MIT
// The ceiling: an HTTP/1.1 server of libuv and llhttp alone, which answers every request with the same bytes
// from the loop. What the gateway adds is measured against it. One thread; keep-alive; stops on SIGTERM.
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define READ_BYTES 65536

static const char answer[] =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 190\r\n\r\n"
    "{\"id\":\"01a20aaa-033e-7412-bd0b-43964cbf397e\",\"email\":\"ada@example.org\","
    "\"name\":\"Ada\",\"role\":\"user\",\"version\":1,"
    "\"created_at\":\"2026-11-23T23:07:23.838Z\",\"updated_at\":\"2026-11-23T23:07:23.838Z\"}";

struct connection {
    uv_tcp_t tcp;
    llhttp_t parser;
    int complete;
};

static llhttp_settings_t settings;
static char read_buffer[READ_BYTES]; // one read is parsed before the next begins
static size_t answer_length;

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_connection(struct connection *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp)) {
        uv_close((uv_handle_t *)&c->tcp, on_closed);
    }
}

static int on_message_complete(llhttp_t *parser)
{
    struct connection *c = parser->data;
    c->complete++;
    return 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle, (void)suggested;
    *buf = uv_buf_init(read_buffer, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct connection *c = stream->data;
    if (n < 0 || llhttp_execute(&c->parser, buf->base, (size_t)n) != HPE_OK) {
        close_connection(c);
        return;
    }
    for (; c->complete > 0; c->complete--) {
        uv_buf_t out = uv_buf_init((char *)(uintptr_t)answer, (unsigned)answer_length);
        if (uv_try_write(stream, &out, 1) != (int)answer_length) {
            close_connection(c); // a client that does not read has no place in this measurement
            return;
        }
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *c = status ? NULL : calloc(1, sizeof *c);
    if (!c) {
        return;
    }
    (void)uv_tcp_init(listener->loop, &c->tcp); // cannot fail without flags
    c->tcp.data = c;
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) || uv_tcp_nodelay(&c->tcp, 1) ||
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read)) {
        close_connection(c);
    }
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    uv_stop(signal->loop);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    uv_tcp_t listener;
    uv_signal_t term;
    uv_loop_t *loop = uv_default_loop();
    int port = 0;
    for (const char *p = argc == 2 ? argv[1] : ""; *p >= '0' && *p <= '9' && port < 65536; p++) {
        port = port * 10 + (*p - '0');
    }
    if (port < 1 || port > 65535) {
        (void)fprintf(stderr, "usage: bench_bare_server PORT\n");
        return 64;
    }
    answer_length = strlen(answer);
    llhttp_settings_init(&settings);
    settings.on_message_complete = on_message_complete;
    (void)uv_tcp_init(loop, &listener);
    (void)uv_signal_init(loop, &term);
    (void)uv_signal_start(&term, on_signal, SIGTERM);
    if (uv_ip4_addr("127.0.0.1", port, &address) ||
        uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0) ||
        uv_listen((uv_stream_t *)&listener, 511, on_connection)) {
        (void)fprintf(stderr, "bench_bare_server: cannot listen on 127.0.0.1:%d\n", port);
        return 1;
    }
    (void)uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}
