// SPDX-License-Identifier: MIT
// What handlers see of a connection: the request's parts, the answer, the stream.
#include "common/admin_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct connection *connection_of(struct admin_request *r)
{
    struct connection *c = (struct connection *)r;
    assert(c->phase == HANDLING || c->phase == STREAMING);
    return c;
}

struct str admin_request_query(struct admin_request *r)
{
    struct str query;
    (void)admin_connection_path(connection_of(r), &query);
    return query;
}

struct str admin_request_field(struct admin_request *r, enum admin_field field)
{
    struct connection *c = connection_of(r);
    return c->twice ? STR("") : admin_connection_text(c, c->fields[field]);
}

struct str admin_request_body(struct admin_request *r)
{
    return admin_connection_text(connection_of(r), connection_of(r)->body_span);
}

bool admin_request_puts(struct admin_request *r)
{
    return connection_of(r)->parser.method == HTTP_PUT;
}

bool admin_request_is_owners(struct admin_request *r)
{
    return connection_of(r)->socket.handle.type == UV_NAMED_PIPE;
}

void admin_request_on_gone(struct admin_request *r, void (*on_gone)(void *data), void *data)
{
    connection_of(r)->on_gone = on_gone;
    connection_of(r)->on_gone_data = data;
}

struct buf *admin_answer_body(struct admin_request *r)
{
    return &connection_of(r)->body;
}

void admin_answer(struct admin_request *r, int status, const char *media_type, const char *fields)
{
    struct connection *c = connection_of(r);
    assert(c->phase == HANDLING && status >= 200 && status <= 599);
    if (buf_ok(&c->body)) {
        admin_connection_answer(c, status, media_type, fields);
    } else {
        admin_connection_refuse(c, 500,
                                buf_error(&c->body) == -ENOMEM ? "no memory for this page"
                                                               : "page is too large");
    }
}

// --- Streams

#define KERNEL_BYTES (128 * 1024) // what the kernel holds for a slow peer is bounded, too

struct piece {
    uv_write_t write;
    char bytes[];
};

static void on_piece_written(uv_write_t *write, int status)
{
    struct connection *c = write->data;
    free(write); // the first member of its piece
    c->stuck_ms = 0;
    if (status < 0 && c->phase == STREAMING) {
        admin_connection_close(c);
    }
}

static int send_piece(struct connection *c, struct str bytes)
{
    struct piece *piece = malloc(sizeof *piece + bytes.n);
    if (!piece) {
        return -ENOMEM;
    }
    memcpy(piece->bytes, bytes.p, bytes.n);
    piece->write.data = c;
    uv_buf_t part = uv_buf_init(piece->bytes, (unsigned)bytes.n);
    int rc = uv_write(&piece->write, &c->socket.stream, &part, 1, on_piece_written);
    if (rc < 0) {
        free(piece);
    }
    return rc;
}

int admin_stream_begin(struct admin_request *r, const char *media_type)
{
    struct connection *c = connection_of(r);
    assert(c->phase == HANDLING);
    if (c->admin->n_streams == ADMIN_MAX_STREAMS) {
        return -EBUSY;
    }
    char head[HEAD_SIZE];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 200 OK\r\n"
                     "Content-Type: %s\r\n"
                     "Cache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\n"
                     "Connection: close\r\n\r\n",
                     media_type);
    assert(n > 0 && n < HEAD_SIZE);
    int size = KERNEL_BYTES;
    (void)uv_send_buffer_size(&c->socket.handle, &size);
    (void)uv_timer_stop(&c->timer); // cannot fail
    c->phase = STREAMING;
    c->stuck_ms = 0;
    c->admin->n_streams++;
    int rc = send_piece(c, (struct str){ head, (size_t)n });
    if (rc < 0) {
        admin_connection_close(c);
    }
    return rc;
}

bool admin_stream_send(struct admin_request *r, struct str bytes)
{
    struct connection *c = connection_of(r);
    assert(c->phase == STREAMING);
    size_t queued = uv_stream_get_write_queue_size(&c->socket.stream);
    int64_t now_ms = (int64_t)uv_now(c->admin->loop);
    if (queued > 0 && c->stuck_ms == 0) {
        c->stuck_ms = now_ms;
    }
    if (queued + bytes.n > ADMIN_STREAM_BYTES ||
        (queued > 0 && now_ms - c->stuck_ms > ADMIN_STREAM_STUCK_MS) || send_piece(c, bytes) < 0) {
        admin_connection_close(c);
        return false;
    }
    return true;
}

size_t admin_stream_queued(struct admin_request *r)
{
    return uv_stream_get_write_queue_size(&connection_of(r)->socket.stream);
}

void admin_stream_end(struct admin_request *r)
{
    struct connection *c = connection_of(r);
    assert(c->phase == STREAMING);
    c->on_gone = NULL;
    admin_connection_close(c);
}
