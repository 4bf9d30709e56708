// SPDX-License-Identifier: MIT
// The timer is lazy: it is only moved when it would fire too late, so keep-alive traffic does not
// touch it; when it fires too early it is set again. Answers are written at once where the socket
// takes them; only what a slow client leaves over is copied.
#include "gateway/connection.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/exchange.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

enum state { CONN_IDLE, CONN_READING, CONN_BUSY, CONN_WRITING, CONN_LINGERING, CONN_CLOSED };

static const char *const state_names[] = { "idle",    "sending a request", "waiting for an answer",
                                           "reading", "lingering",         "closed" };

struct connection {
    uv_tcp_t tcp;
    uv_timer_t timer;
    struct gateway *gateway;
    struct connection *prev, *next;
    struct address_entry *address;
    struct client_address client;
    struct exchange *exchange; // when READING or BUSY
    enum state state;
    uint64_t due_ms;   // when the phase at hand is over, loop time
    uint64_t body_ms;  // when the body at hand began, loop time
    uint64_t armed_ms; // when the timer fires; 0: it does not
    uint64_t requests; // begun so far
    char *pending;     // owned; bytes that came while a request was in flight
    size_t pending_n;
    bool reading;     // the socket is being read
    bool wipes;       // what is read has credentials in it
    bool consuming;   // consume() is running further up
    bool half_closed; // the client sends no more
    bool close_after; // the answer being written is the last one
    size_t out_left;  // when WRITING: bytes not read by the client at the last look
    size_t out_n;     // when WRITING: bytes in out
    uv_write_t write;
    char *out; // owned; when WRITING
    int handles_open;
};

static void consume(struct connection *c, const char *data, size_t n);
static void on_timer(uv_timer_t *timer);
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer);

// --- Phases and their clock

static void move(struct connection *c, enum state to)
{
    static const bool allowed[CONN_CLOSED + 1][CONN_CLOSED + 1] = {
        [CONN_IDLE] = { [CONN_READING] = true, [CONN_CLOSED] = true },
        [CONN_READING] = { [CONN_BUSY] = true,
                           [CONN_WRITING] = true,
                           [CONN_LINGERING] = true,
                           [CONN_CLOSED] = true },
        [CONN_BUSY] = { [CONN_IDLE] = true,
                        [CONN_WRITING] = true,
                        [CONN_LINGERING] = true,
                        [CONN_CLOSED] = true },
        [CONN_WRITING] = { [CONN_IDLE] = true, [CONN_LINGERING] = true, [CONN_CLOSED] = true },
        [CONN_LINGERING] = { [CONN_CLOSED] = true },
    };
    assert(allowed[c->state][to]);
    c->state = to;
}

static void set_due(struct connection *c, uint64_t due_ms)
{
    c->due_ms = due_ms;
    if (c->armed_ms == 0 || due_ms < c->armed_ms) {
        uint64_t now = uv_now(c->gateway->loop);
        uint64_t in_ms = due_ms > now ? due_ms - now : 0;
        (void)uv_timer_start(&c->timer, on_timer, in_ms, 0); // fails without callback only
        c->armed_ms = due_ms;
    }
}

static void set_due_in(struct connection *c, int64_t ms)
{
    set_due(c, uv_now(c->gateway->loop) + (uint64_t)ms);
}

void connection_expect_answer(struct connection *c, uint64_t due_ms)
{
    set_due(c, due_ms);
}

// When the body at hand is too slow: after its whole time, or when it has fallen further behind its
// least rate than it may.
static uint64_t body_due_ms(const struct connection *c)
{
    const struct gateway_config *config = &c->gateway->config;
    uint64_t due_ms = c->body_ms + (uint64_t)config->body_ms,
             rate = (uint64_t)config->body_min_rate;
    if (rate == 0) {
        return due_ms;
    }
    uint64_t paid_ms =
        c->exchange->request.body_bytes * 1000 / rate; // a body has a few MiB at most
    uint64_t behind_ms = c->body_ms + (uint64_t)config->body_grace_ms + paid_ms;
    return behind_ms < due_ms ? behind_ms : due_ms;
}

static void start_reading(struct connection *c)
{
    if (!c->reading && !c->half_closed) {
        c->reading = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0;
    }
}

static void stop_reading(struct connection *c)
{
    (void)uv_read_stop((uv_stream_t *)&c->tcp); // always succeeds
    c->reading = false;
}

// --- The end

static void on_handle_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    if (--c->handles_open > 0) {
        return;
    }
    struct gateway *g = c->gateway;
    if (c->pending) {
        explicit_bzero(c->pending, c->pending_n);
    }
    if (c->out) {
        explicit_bzero(c->out, c->out_n);
    }
    free(c->pending);
    free(c->out);
    free(c);
    if (g->accept_waits) { // there was no memory for a connection, and now there is
        connection_accept(g);
    }
}

static const char *name_of(const struct connection *c)
{
    return c->client.known ? c->client.text : "an unknown address";
}

static void close_connection(struct connection *c)
{
    if (c->state == CONN_CLOSED) {
        return;
    }
    struct gateway *g = c->gateway;
    log_debug("the connection of %s is closed: it was %s, and had %llu requests", name_of(c),
              state_names[c->state], (unsigned long long)c->requests);
    if (c->exchange) {
        exchange_on_gone(c->exchange);
        c->exchange = NULL;
    }
    move(c, CONN_CLOSED);
    *(c->prev ? &c->prev->next : &g->connections) = c->next;
    if (c->next) {
        c->next->prev = c->prev;
    }
    g->n_connections--;
    metric_set(&g->stats.connections, (int64_t)g->n_connections);
    address_table_give(&g->addresses, &c->address);
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    if (g->draining && !g->listener_open && g->n_connections == 0) {
        gateway_drained(g);
    }
}

// Closing a socket with unread bytes resets the connection, and the reset may overtake the answer.
// So our side is shut first, and what still comes is read and thrown away for a moment.
static void linger(struct connection *c)
{
    uv_os_fd_t fd;
    if (c->half_closed || uv_fileno((uv_handle_t *)&c->tcp, &fd) || shutdown(fd, SHUT_WR)) {
        close_connection(c);
        return;
    }
    move(c, CONN_LINGERING);
    start_reading(c);
    set_due_in(c, LINGER_MS);
}

// --- Answers

static void on_answered(struct connection *c)
{
    if (c->close_after) {
        linger(c);
        return;
    }
    move(c, CONN_IDLE);
    set_due_in(c, c->gateway->draining ? DRAIN_IDLE_MS : c->gateway->config.idle_ms);
    if (c->consuming) {
        return; // further up, the bytes at hand are gone on with
    }
    if (c->pending) {
        char *data = c->pending;
        size_t n = c->pending_n;
        c->pending = NULL;
        c->pending_n = 0;
        consume(c, data, n);
        explicit_bzero(data, n); // it may have held a password
        free(data);
    }
    if (c->state == CONN_IDLE && c->half_closed) {
        close_connection(c);
    } else if (c->state != CONN_LINGERING && c->state != CONN_CLOSED && !c->pending) {
        start_reading(c);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct connection *c = request->data;
    c->gateway->pending_out_bytes -= c->out_n;
    explicit_bzero(c->out, c->out_n); // it may have held tokens
    free(c->out);
    c->out = NULL;
    if (c->state == CONN_CLOSED) {
        return;
    }
    if (status < 0) {
        close_connection(c);
    } else {
        on_answered(c);
    }
}

// Bytes of the answer that the client has not acknowledged. What is in the kernel's buffer counts,
// too: the kernel asks for more only when a good part of it is empty, which takes a slow client a
// while.
static size_t count_unread(const struct connection *c)
{
    uv_os_fd_t fd;
    int in_kernel = 0;
    if (uv_fileno((const uv_handle_t *)&c->tcp, &fd) || ioctl(fd, SIOCOUTQ, &in_kernel)) {
        in_kernel = 0;
    }
    return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) + (size_t)in_kernel;
}

// Keeps what the socket did not take, behind the first `written` bytes of head and body.
static void write_rest(struct connection *c, struct str head, struct str body, size_t written)
{
    struct gateway *g = c->gateway;
    size_t n = head.n + body.n - written;
    c->out = g->pending_out_bytes + n > PENDING_OUT_BYTES ? NULL : malloc(n);
    if (!c->out) {
        stats_refuse(&g->stats, STATS_REFUSED_SLOW_READER);
        close_connection(c);
        return;
    }
    size_t from_head = written < head.n ? head.n - written : 0;
    memcpy(c->out, head.p + head.n - from_head, from_head);
    memcpy(c->out + from_head, body.p + body.n - (n - from_head), n - from_head);
    c->out_n = n;
    c->write.data = c;
    g->pending_out_bytes += n;
    uv_buf_t buffer = uv_buf_init(c->out, (unsigned)n);
    move(c, CONN_WRITING);
    set_due_in(c, g->config.stall_ms);
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &buffer, 1, on_written)) {
        g->pending_out_bytes -= n;
        close_connection(c);
        return;
    }
    c->out_left = count_unread(c);
}

bool connection_must_close(const struct connection *c)
{
    const struct gateway *g = c->gateway;
    uint64_t max = (uint64_t)g->config.max_requests_per_connection;
    return g->draining || (max && c->requests >= max) || (c->half_closed && !c->pending);
}

void connection_answer(struct connection *c, bool close)
{
    struct response *response = &c->gateway->response;
    struct str head = buf_str(&response->head), body = buf_str(&response->body);
    if (c->exchange->request.method == METHOD_HEAD) {
        body.n = 0;
    }
    uv_buf_t buffers[2] = { uv_buf_init(response->head.data, (unsigned)head.n),
                            uv_buf_init(response->body.data, (unsigned)body.n) };
    c->exchange = NULL;
    c->close_after = close;
    int n = uv_try_write((uv_stream_t *)&c->tcp, buffers, body.n ? 2 : 1);
    if (n < 0 && n != UV_EAGAIN) {
        close_connection(c);
    } else if ((size_t)(n < 0 ? 0 : n) < head.n + body.n) {
        write_rest(c, head, body, n < 0 ? 0 : (size_t)n);
    } else {
        on_answered(c);
    }
}

// --- Requests

// Writes a short fixed text as far as the socket takes it: a courtesy to clients that are closed in
// any case, or that go on without it after a while.
static void write_now(uv_tcp_t *tcp, const char *text)
{
    uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
    (void)uv_try_write((uv_stream_t *)tcp, &buffer, 1);
}

#define REFUSED_BODY "{\"type\":\"/problems/overloaded\",\"title\":\"Overloaded\",\"status\":503}"

static const char refused_full[] = "HTTP/1.1 503 Service Unavailable\r\n"
                                   "Content-Type: application/problem+json\r\n"
                                   "Content-Length: 65\r\n"
                                   "Retry-After: 1\r\n"
                                   "Connection: close\r\n\r\n" REFUSED_BODY;

static_assert(sizeof REFUSED_BODY - 1 == 65, "as its Content-Length says");

static void on_request_progress(struct connection *c, enum http_stage before)
{
    struct exchange *x = c->exchange;
    enum http_stage stage = x->request.stage;
    if (stage == HTTP_STAGE_FAILED) {
        c->wipes = true;
        exchange_on_failed(x);
        return;
    }
    if (before == HTTP_STAGE_HEAD && stage != HTTP_STAGE_HEAD) {
        bool answered = exchange_on_head(x);
        c->wipes = c->wipes || exchange_holds_secrets(x);
        if (answered) {
            exchange_on_complete(x);
            return;
        }
        if (stage == HTTP_STAGE_BODY) {
            c->body_ms = uv_now(c->gateway->loop);
            set_due(c, body_due_ms(c));
            if (x->request.expects_continue) {
                write_now(&c->tcp, "HTTP/1.1 100 Continue\r\n\r\n");
            }
        }
    }
    if (stage == HTTP_STAGE_COMPLETE) {
        move(c, CONN_BUSY);
        exchange_on_complete(x);
    }
}

static bool begin_request(struct connection *c)
{
    c->exchange = exchange_take(c->gateway, c);
    if (!c->exchange) {
        write_now(&c->tcp, refused_full);
        close_connection(c);
        return false;
    }
    move(c, CONN_READING);
    if (c->requests++ > 0) { // the first one's time began with the connection
        set_due_in(c, c->gateway->config.header_ms);
    }
    return true;
}

// Keeps bytes for after the answer; they come before any that are read later.
static void stash(struct connection *c, const char *data, size_t n)
{
    stop_reading(c);
    c->wipes = true; // nobody has looked into them
    char *grown = malloc(c->pending_n + n);
    if (!grown) {
        close_connection(c);
        return;
    }
    if (c->pending) {
        memcpy(grown, c->pending, c->pending_n);
        explicit_bzero(c->pending, c->pending_n);
        free(c->pending);
    }
    memcpy(grown + c->pending_n, data, n);
    c->pending = grown;
    c->pending_n += n;
}

static void consume(struct connection *c, const char *data, size_t n)
{
    c->consuming = true;
    while (n > 0 && (c->state == CONN_READING || (c->state == CONN_IDLE && begin_request(c)))) {
        enum http_stage before = c->exchange->request.stage;
        size_t used;
        http_request_feed(&c->exchange->request, data, n, &used);
        data += used;
        n -= used;
        on_request_progress(c, before);
    }
    c->consuming = false;
    if (n > 0 && (c->state == CONN_BUSY || c->state == CONN_WRITING)) {
        stash(c, data, n);
    }
}

// --- The socket

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct connection *c = handle->data;
    (void)suggested;
    bool ahead = c->state == CONN_BUSY || c->state == CONN_WRITING;
    *buffer = uv_buf_init(c->gateway->read_buffer, ahead ? PIPELINE_READ_BYTES : READ_BUFFER_BYTES);
}

static void on_end(struct connection *c)
{
    c->half_closed = true;
    stop_reading(c);
    if (c->state == CONN_BUSY) {
        uint64_t grace = uv_now(c->gateway->loop) + HALF_CLOSE_GRACE_MS;
        set_due(c, grace < c->due_ms ? grace : c->due_ms);
    } else if (c->state != CONN_WRITING) {
        close_connection(c);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    struct connection *c = stream->data;
    if (n == UV_EOF) {
        on_end(c);
    } else if (n < 0) {
        close_connection(c);
    } else if (n > 0 && (c->state == CONN_BUSY || c->state == CONN_WRITING)) {
        stash(c, buffer->base, (size_t)n);
    } else if (n > 0 && c->state != CONN_LINGERING) {
        consume(c, buffer->base, (size_t)n);
    }
    bool begun = c->state == CONN_READING && c->exchange->request.stage == HTTP_STAGE_HEAD;
    if (c->wipes || begun) { // of half a head nobody knows yet
        explicit_bzero(buffer->base, n > 0 ? (size_t)n : 0);
        c->wipes = c->wipes && c->state == CONN_READING;
    }
}

static void on_stalled(struct connection *c)
{
    const struct gateway_config *config = &c->gateway->config;
    size_t left = count_unread(c);
    size_t least = (size_t)(config->write_min_rate * config->stall_ms / 1000);
    if (left < c->out_left && c->out_left - left >= least) {
        c->out_left = left;
        set_due_in(c, c->gateway->config.stall_ms);
    } else {
        stats_refuse(&c->gateway->stats, STATS_REFUSED_SLOW_READER);
        close_connection(c);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    uint64_t now = uv_now(c->gateway->loop);
    c->armed_ms = 0;
    if (c->state == CONN_READING && c->exchange->request.stage == HTTP_STAGE_BODY &&
        !c->gateway->draining) {
        c->due_ms = body_due_ms(c);
    }
    if (now < c->due_ms) {
        set_due(c, c->due_ms);
        return;
    }
    if (c->state == CONN_READING) {
        stats_refuse(&c->gateway->stats, STATS_REFUSED_TIMEOUT);
        http_request_time_out(&c->exchange->request);
        exchange_on_failed(c->exchange);
    } else if (c->state == CONN_BUSY && now >= c->exchange->due_ms) {
        exchange_on_deadline(c->exchange);
    } else if (c->state == CONN_WRITING) {
        on_stalled(c);
    } else {
        if (c->state == CONN_IDLE && c->requests == 0) {
            stats_refuse(&c->gateway->stats, STATS_REFUSED_TIMEOUT);
        }
        close_connection(c); // idle, lingering, or BUSY for a client that went away
    }
}

// --- Accepting

const struct client_address *connection_client(const struct connection *c)
{
    return &c->client;
}

static const char *admit(struct gateway *g, struct connection *c)
{
    struct sockaddr_storage address;
    int n = sizeof address;
    if (g->n_connections >= (size_t)g->config.max_connections) {
        stats_refuse(&g->stats, STATS_REFUSED_CONNECTIONS);
        return refused_full;
    }
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &n)) {
        return "";
    }
    client_address_of_peer((struct sockaddr *)&address, &c->client);
    if (address_table_take(&g->addresses, (struct sockaddr *)&address,
                           (uint32_t)g->config.max_connections_per_address, &c->address)) {
        stats_refuse(&g->stats, STATS_REFUSED_ADDRESS);
        return refused_full;
    }
    return NULL;
}

void connection_accept(struct gateway *g)
{
    struct connection *c = calloc(1, sizeof *c);
    g->accept_waits = !c;
    if (!c) {
        return; // libuv keeps the client, and accepts no other, until it is taken over
    }
    c->gateway = g;
    c->handles_open = 2;
    (void)uv_tcp_init(g->loop, &c->tcp); // these two cannot fail
    (void)uv_timer_init(g->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    const char *refusal =
        uv_accept((uv_stream_t *)&g->listener, (uv_stream_t *)&c->tcp) ? "" : admit(g, c);
    if (refusal) {
        log_debug("refused a connection of %s: %s", name_of(c),
                  *refusal ? "there are too many" : "it was gone at once");
        if (*refusal) {
            write_now(&c->tcp, refusal);
        }
        c->state = CONN_CLOSED;
        uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
        uv_close((uv_handle_t *)&c->timer, on_handle_closed);
        return;
    }
    (void)uv_tcp_nodelay(&c->tcp, 1); // only latency is at stake
    c->next = g->connections;
    if (c->next) {
        c->next->prev = c;
    }
    g->connections = c;
    metric_set(&g->stats.connections, (int64_t)++g->n_connections);
    metric_add(&g->stats.connections_total, 1);
    log_debug("%s connects; %zu connections are open", name_of(c), g->n_connections);
    set_due_in(c, g->config.header_ms); // a client that connects has something to ask
    start_reading(c);
}

void connection_drain_all(struct gateway *g)
{
    for (struct connection *c = g->connections; c; c = c->next) {
        if (c->state == CONN_IDLE || c->state == CONN_READING) {
            uint64_t due_ms = uv_now(g->loop) + DRAIN_IDLE_MS;
            set_due(c, due_ms < c->due_ms ? due_ms : c->due_ms);
        }
    }
}

void connection_close_all(struct gateway *g)
{
    while (g->connections) {
        close_connection(g->connections);
    }
}
