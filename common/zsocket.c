// SPDX-License-Identifier: MIT
// ZMQ_FD says once that something is new; after that, every call that looks into libzmq's mailbox
// may be the one that takes the news. So there is work in `check` when the fd woke the loop, when
// messages were left over, or when something was sent since the last look: a send may have taken
// the news of a message. Otherwise nothing is asked, because asking costs two system calls.
// `prepare` looks once more after sends and keeps the loop from sleeping.
//
// Connection events come over an inproc PAIR. libzmq's I/O thread writes them before anything that
// it does for a later connection, so draining them when a peer is heard on an fd for the first time
// makes a lost connection known before the message of another that got its fd.
#include "common/zsocket.h"

#include "common/curve.h"
#include "common/dialer.h"
#include "common/handshakes.h"
#include "common/key_pairs.h"

#include <assert.h>
#include <czmq.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HANDSHAKE_MS 3000
// A peer whose host is gone, or cut off, is found by TCP: after a second of silence it is probed each
// second, and what it does not acknowledge is sent again for 3 s; for less than 7 s in all, when
// something is sent shortly before the probes would have ended it. One that does not answer is
// found by the pings of PROTOCOL.md. Not by ZMTP's own heartbeats: libzmq (up to 4.3.5 at least)
// ends the process with an assertion when one is due on a connection that failed while the reading
// of it was stopped (its issues 3937, 4364, 4767).
#define PROBE_S 1
#define PROBES 3
#define UNACKNOWLEDGED_MS 3000
#define CONNECT_TIMEOUT_MS 2000
#define RECONNECT_MS 20
#define RECONNECT_MAX_MS 250 // a restarted peer is found again within that
#define BACKLOG 512
#define ROUTING_ID_BYTES 5 // libzmq's own: a zero and a 32-bit number
#define HANDLES 5
#define NO_PADDING ((struct str){ NULL, 0 })

// What waits for the end of the turn to be sent to one peer.
struct batch {
    uint32_t peer;
    struct buf bytes; // empty: nothing waits; kept for the next turn
};

// What is known of the connection at an fd.
struct heard {
    uint32_t peer; // that was heard there last; 0: none
    char identity[KEY_PAIRS_NAME_SIZE];
};

struct zsocket {
    zsock_t *sock; // czmq's wrapper, which counts open sockets and complains of dangling ones
    void *raw;     // the libzmq socket inside
    void *monitor; // PAIR with connection events
    struct zsocket_callbacks callbacks;
    struct zsocket_options options;
    uv_poll_t poll;         // wakes the loop for data and commands
    uv_poll_t poll_monitor; // and for connection events
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; // runs while messages wait, so that the loop does not sleep
    int handles_open;
    struct dialer *dialer; // DEALER over tcp
    bool authenticates;    // ROUTER over tcp: its peers have identities
    const char *identity;  // of the sender of the message at hand
    bool paused;
    bool woken;         // the fd was readable
    bool woken_monitor; // the monitor's was
    bool stirred; // something was sent since the last look: news may have been taken from the fd
    bool waiting; // messages were left over in the last turn, or seen in prepare
    bool closed;  // zsocket_close() was called; stop at the next chance
    const void *custom_id; // routing id of the message at hand when it is not libzmq's own
    size_t custom_id_bytes;
    struct heard *heard; // ROUTER: by fd
    size_t n_heard;
    struct batch *batches; // one for each peer that was queued to; their number follows the peers'
    size_t n_batches;
    size_t n_waiting; // batches with something in them
};

static int zmq_code(void)
{
    switch (zmq_errno()) {
    case EFSM:
        return -EPROTO;
    case ENOCOMPATPROTO:
        return -EPROTONOSUPPORT;
    case ETERM:
        return -ESHUTDOWN;
    case EMTHREAD:
        return -EMFILE;
    default:
        return -zmq_errno();
    }
}

static bool readable(const struct zsocket *s)
{
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(s->raw, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN);
}

// --- Connection events

// Of a ROUTER; a dialer knows more about its own.
static void count_failure(struct zsocket *s, enum handshake_failure failure)
{
    if (s->dialer) {
        dialer_failed(s->dialer, failure);
    } else {
        handshakes_count(failure);
    }
}

static void on_monitor_event(struct zsocket *s, uint16_t event, int fd)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        count_failure(s, HANDSHAKE_AUTH);
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        count_failure(s, HANDSHAKE_PROTOCOL);
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        count_failure(s, HANDSHAKE_CLOSED);
        return;
    default:
        break;
    }
    if (s->dialer) {
        dialer_event(s->dialer, event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    }
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED && s->callbacks.on_connect) {
        s->callbacks.on_connect(s, s->callbacks.data); // this event does not carry the fd
    } else if (event == ZMQ_EVENT_DISCONNECTED && s->callbacks.on_disconnect) {
        s->callbacks.on_disconnect(s, fd, s->callbacks.data);
    }
}

static void drain_monitor(struct zsocket *s)
{
    for (;;) {
        uint8_t head[6]; // event (16 bits) and value (32 bits), both in host order
        int n = zmq_recv(s->monitor, head, sizeof head, ZMQ_DONTWAIT);
        if (n < 0) {
            return;
        }
        char address[256];
        (void)zmq_recv(s->monitor, address, sizeof address,
                       ZMQ_DONTWAIT); // its second frame, always there
        if (n == (int)sizeof head) {
            uint16_t event;
            int32_t fd;
            memcpy(&event, head, sizeof event);
            memcpy(&fd, head + 2, sizeof fd);
            on_monitor_event(s, event, fd);
        }
        if (s->closed) {
            return;
        }
    }
}

// --- Messages

static uint32_t peer_of(zmq_msg_t *id)
{
    const uint8_t *p = zmq_msg_data(id);
    if (zmq_msg_size(id) != ROUTING_ID_BYTES || p[0] != 0) {
        return 0;
    }
    return (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
}

// Reads away the frames of a message that has more of them than the protocol knows.
static void drop_rest(struct zsocket *s, zmq_msg_t *last)
{
    while (zmq_msg_more(last)) {
        (void)zmq_msg_close(last);
        (void)zmq_msg_init(last);
        if (zmq_msg_recv(last, s->raw, ZMQ_DONTWAIT) < 0) {
            return;
        }
    }
}

// What is known of fd, with room for it; NULL without memory.
static struct heard *heard_at(struct zsocket *s, int fd)
{
    size_t i = (size_t)fd;
    if (i >= s->n_heard) {
        size_t n = i + 64; // fds are small numbers, so the table grows a few times in a life
        struct heard *heard = realloc(s->heard, n * sizeof *heard);
        if (!heard) {
            return NULL;
        }
        memset(heard + s->n_heard, 0, (n - s->n_heard) * sizeof *heard);
        s->heard = heard;
        s->n_heard = n;
    }
    return &s->heard[i];
}

// Looks at where a message came from: the identity behind it, and whether it is the first one of peer on fd (true
// too when there is no memory to know it). The identity is asked for once per connection.
static bool is_news(struct zsocket *s, uint32_t peer, int fd, zmq_msg_t *payload)
{
    struct heard *h = fd >= 0 && peer != 0 ? heard_at(s, fd) : NULL;
    bool news = !h || h->peer != peer;
    const char *identity = NULL;
    if (news && s->authenticates) {
        identity = zmq_msg_gets(payload, "User-Id");
        identity = identity ? identity : ""; // nobody's: cannot be after a handshake
    }
    if (h && news) {
        h->peer = peer;
        (void)snprintf(h->identity, sizeof h->identity, "%s", identity ? identity : "");
    }
    s->identity = !s->authenticates ? NULL : h ? h->identity : identity;
    return news;
}

const char *zsocket_identity(const struct zsocket *s)
{
    return s->identity;
}

static void hand_out(struct zsocket *s, zmq_msg_t *id, zmq_msg_t *payload)
{
    uint32_t peer = 0;
    int fd = -1;
    if (s->options.type == ZSOCKET_ROUTER) {
        peer = peer_of(id);
        fd = zmq_msg_get(payload, ZMQ_SRCFD);
        if (is_news(s, peer, fd, payload)) {
            drain_monitor(s);
        }
        if (s->closed) {
            return; // by on_connect or on_disconnect
        }
        s->custom_id = peer ? NULL : zmq_msg_data(id);
        s->custom_id_bytes = peer ? 0 : zmq_msg_size(id);
    }
    struct str message = { zmq_msg_data(payload), zmq_msg_size(payload) };
    s->callbacks.on_message(s, peer, fd, message, s->callbacks.data);
    s->custom_id = NULL;
}

// Receives and hands out one message; false when there is none.
static bool receive_one(struct zsocket *s)
{
    zmq_msg_t id, payload;
    bool got = true, whole = true;
    (void)zmq_msg_init(&id);
    (void)zmq_msg_init(&payload);
    if (s->options.type == ZSOCKET_ROUTER) {
        got = zmq_msg_recv(&id, s->raw, ZMQ_DONTWAIT) >= 0;
        whole = got && zmq_msg_more(&id);
    }
    if (got && whole) {
        got = zmq_msg_recv(&payload, s->raw, ZMQ_DONTWAIT) >= 0;
        whole = got && !zmq_msg_more(&payload);
        if (got && whole) {
            hand_out(s, &id, &payload);
            if (s->options.wipes) { // libzmq keeps the buffer that it received into
                explicit_bzero(zmq_msg_data(&payload), zmq_msg_size(&payload));
            }
        } else if (got) {
            drop_rest(s, &payload);
        }
    }
    (void)zmq_msg_close(&payload);
    (void)zmq_msg_close(&id);
    return got;
}

// --- Loop

// Errors come here too: then there is something to find out in check, which does the work.
static void on_wake(uv_poll_t *handle, int status, int events)
{
    struct zsocket *s = handle->data;
    (void)status, (void)events;
    s->woken = true;
}

static void on_wake_monitor(uv_poll_t *handle, int status, int events)
{
    struct zsocket *s = handle->data;
    (void)status, (void)events;
    s->woken_monitor = true;
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle; // its being active is the point
}

static void flush(struct zsocket *s);

static void on_prepare(uv_prepare_t *handle)
{
    struct zsocket *s = handle->data;
    if (s->n_waiting) {
        flush(s);
    }
    if (s->paused) {
        return;
    }
    if (s->stirred && !s->waiting) {
        s->stirred = false;
        s->waiting = readable(s);
    }
    if (s->waiting) {
        (void)uv_idle_start(&s->idle, on_idle); // fails only without a callback
    }
}

static void on_check(uv_check_t *handle)
{
    struct zsocket *s = handle->data;
    (void)uv_idle_stop(&s->idle);
    if (s->woken_monitor) {
        s->woken_monitor = false;
        drain_monitor(s);
    }
    if (s->closed || s->paused || !(s->woken || s->waiting || s->stirred)) {
        return;
    }
    s->woken = false;
    s->waiting = true; // until there is no more
    for (int i = 0; i < ZSOCKET_BUDGET && !s->closed && !s->paused && s->waiting; i++) {
        s->waiting = receive_one(s);
    }
    if (!s->waiting) {
        s->stirred =
            false; // the last receive looked into the mailbox, after every send of this turn
    }
}

// --- Opening and closing

static int set_int(struct zsocket *s, int option, int value)
{
    return zmq_setsockopt(s->raw, option, &value, sizeof value) ? zmq_code() : 0;
}

static int set_options(struct zsocket *s)
{
    int64_t max = (int64_t)s->options.max_message_bytes;
    int rc = zmq_setsockopt(s->raw, ZMQ_MAXMSGSIZE, &max, sizeof max) ? zmq_code() : 0;
    rc = rc ? rc : set_int(s, ZMQ_SNDHWM, ZSOCKET_HWM);
    rc = rc ? rc : set_int(s, ZMQ_RCVHWM, ZSOCKET_HWM);
    rc = rc ? rc : set_int(s, ZMQ_LINGER, 0);
    rc = rc ? rc : set_int(s, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    rc = rc ? rc : set_int(s, ZMQ_BACKLOG, BACKLOG);
    if (s->options.type == ZSOCKET_ROUTER) {
        return rc ? rc : set_int(s, ZMQ_ROUTER_MANDATORY, 1);
    }
    rc = rc ? rc : set_int(s, ZMQ_IMMEDIATE, 1);
    rc = rc ? rc : set_int(s, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    return rc ? rc : set_int(s, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
}

static int open_monitor(struct zsocket *s)
{
    static atomic_uint count;
    char endpoint[64];
    (void)snprintf(endpoint, sizeof endpoint, "inproc://sluice-monitor-%u",
                   atomic_fetch_add(&count, 1));
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
    if (zmq_socket_monitor(s->raw, endpoint, events)) {
        return zmq_code();
    }
    s->monitor = zmq_socket(zsys_init(), ZMQ_PAIR);
    if (!s->monitor || zmq_connect(s->monitor, endpoint)) {
        return zmq_code();
    }
    int linger = 0;
    (void)zmq_setsockopt(s->monitor, ZMQ_LINGER, &linger, sizeof linger); // PAIR sends nothing
    drain_monitor(
        s); // there is nothing yet, but only a reader that found nothing is woken (libzmq #1434)
    return 0;
}

static int init_poll(uv_loop_t *loop, uv_poll_t *poll, uv_poll_cb on_event, void *socket,
                     struct zsocket *s)
{
    int fd = -1;
    size_t size = sizeof fd;
    if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size)) {
        return zmq_code();
    }
    int rc = uv_poll_init(loop, poll, fd);
    if (rc) {
        return rc;
    }
    poll->data = s;
    s->handles_open++;
    return uv_poll_start(poll, UV_READABLE, on_event);
}

static int init_handles(uv_loop_t *loop, struct zsocket *s)
{
    (void)uv_prepare_init(loop, &s->prepare); // these three cannot fail
    (void)uv_check_init(loop, &s->check);
    (void)uv_idle_init(loop, &s->idle);
    s->prepare.data = s->check.data = s->idle.data = s;
    s->handles_open = 3;
    (void)uv_prepare_start(&s->prepare, on_prepare);
    (void)uv_check_start(&s->check, on_check);
    s->stirred = true; // look once before the first sleep, as with the monitor
    int rc = init_poll(loop, &s->poll, on_wake, s->raw, s);
    return rc ? rc : init_poll(loop, &s->poll_monitor, on_wake_monitor, s->monitor, s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct zsocket *s = handle->data;
    if (--s->handles_open == 0) {
        free(s->heard);
        for (size_t i = 0; i < s->n_batches; i++) {
            buf_fini(&s->batches[i].bytes);
        }
        free(s->batches);
        free(s);
    }
}

static void close_sockets(struct zsocket *s)
{
    if (s->monitor) {
        (void)zmq_socket_monitor(s->raw, NULL, 0);
        (void)zmq_close(s->monitor);
    }
    zsock_destroy(&s->sock);
}

int zsocket_open(uv_loop_t *loop, const struct zsocket_options *options,
                 const struct zsocket_callbacks *callbacks, struct zsocket **ret_socket)
{
    assert(callbacks->on_message && options->max_message_bytes > 0);
    struct zsocket *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->options = *options;
    s->callbacks = *callbacks;
    s->sock = zsock_new(options->type == ZSOCKET_ROUTER ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!s->sock) {
        free(s);
        return -EMFILE;
    }
    s->raw = zsock_resolve(s->sock);
    int rc = set_options(s);
    rc = rc ? rc : open_monitor(s);
    if (rc) {
        close_sockets(s);
        free(s);
        return rc;
    }
    rc = init_handles(loop, s);
    if (rc) {
        zsocket_close(&s, 0);
        return rc;
    }
    *ret_socket = s;
    return 0;
}

void zsocket_close(struct zsocket **socket, int linger_ms)
{
    struct zsocket *s = *socket;
    *socket = NULL;
    if (!s) {
        return;
    }
    assert(!s->closed);
    flush(s);
    s->closed = true;
    dialer_close(&s->dialer);
    (void)set_int(s, ZMQ_LINGER, linger_ms);
    uv_handle_t *handles[HANDLES] = { (uv_handle_t *)&s->prepare, (uv_handle_t *)&s->check,
                                      (uv_handle_t *)&s->idle, (uv_handle_t *)&s->poll,
                                      (uv_handle_t *)&s->poll_monitor };
    int open = s->handles_open; // the first ones, in this order
    for (int i = 0; i < open; i++) {
        uv_close(handles[i], on_handle_closed); // stops polling at once, so the fds may go now
    }
    close_sockets(s);
}

// --- Endpoints

// Somebody listens on the unix socket at path. libzmq would unlink it from under them.
static bool is_live(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t n = strlen(path);
    assert(n < sizeof address.sun_path);
    memcpy(address.sun_path, path, n + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    // EAGAIN: it listens, but does not accept.
    bool live = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    (void)close(fd);
    return live;
}

// Options that depend on the transport: CURVE and probes of silent peers on tcp, a path that fits on ipc.
static int prepare_endpoint(struct zsocket *s, const char *endpoint, bool bind)
{
    if (strncmp(endpoint, "ipc://", 6) == 0) {
        const char *path = endpoint + 6;
        if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
            return -ENAMETOOLONG;
        }
        return bind && is_live(path) ? -EADDRINUSE : 0;
    }
    if (strncmp(endpoint, "tcp://", 6) != 0) {
        return -EPROTONOSUPPORT;
    }
    if (!s->options.curve) {
        return -EACCES;
    }
    int rc = bind ? curve_apply_server(s->options.curve, s->raw) : 0;
    s->authenticates = bind;
    rc = rc ? rc : set_int(s, ZMQ_TCP_KEEPALIVE, 1);
    rc = rc ? rc : set_int(s, ZMQ_TCP_KEEPALIVE_IDLE, PROBE_S);
    rc = rc ? rc : set_int(s, ZMQ_TCP_KEEPALIVE_INTVL, PROBE_S);
    rc = rc ? rc : set_int(s, ZMQ_TCP_KEEPALIVE_CNT, PROBES);
    rc = rc ? rc : set_int(s, ZMQ_TCP_MAXRT, UNACKNOWLEDGED_MS);
    return rc ? rc : set_int(s, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS);
}

int zsocket_bind(struct zsocket *s, const char *endpoint)
{
    int rc = prepare_endpoint(s, endpoint, true);
    s->stirred = true;
    return rc ? rc : zmq_bind(s->raw, endpoint) ? zmq_code() : 0;
}

int zsocket_connect(struct zsocket *s, const char *endpoint)
{
    int rc = prepare_endpoint(s, endpoint, false);
    s->stirred = true;
    if (rc == 0 && strncmp(endpoint, "tcp://", 6) == 0) {
        assert(!s->dialer); // one server each
        return dialer_open(s->poll.loop, s->raw, endpoint, s->options.curve, s->options.server_name,
                           &s->dialer);
    }
    return rc ? rc : zmq_connect(s->raw, endpoint) ? zmq_code() : 0;
}

// --- Sending

static void wipe_sent(void *data, void *n)
{
    explicit_bzero(data, (size_t)n);
    free(data);
}

static char *put(char *at, struct str bytes)
{
    return bytes.n ? (char *)memcpy(at, bytes.p, bytes.n) + bytes.n : at;
}

// libzmq frees what it copied without overwriting it, so it gets a copy that we free.
static int send_wiped(struct zsocket *s, struct str bytes, struct str padding)
{
    zmq_msg_t message;
    size_t n = padding.n + bytes.n + padding.n;
    char *copy = malloc(n + 1); // not of nothing
    if (!copy) {
        return -ENOMEM;
    }
    (void)put(put(put(copy, padding), bytes), padding);
    if (zmq_msg_init_data(&message, copy, n, wipe_sent, (void *)n)) {
        wipe_sent(copy, (void *)n);
        return -ENOMEM;
    }
    if (zmq_msg_send(&message, s->raw, ZMQ_DONTWAIT) < 0) {
        int rc = zmq_code();
        (void)zmq_msg_close(&message); // frees the copy
        return rc;
    }
    return 0;
}

static int send_once(struct zsocket *s, uint32_t peer, struct str bytes, struct str padding)
{
    if (s->options.type == ZSOCKET_ROUTER) {
        const uint8_t id[ROUTING_ID_BYTES] = { 0, (uint8_t)(peer >> 24), (uint8_t)(peer >> 16),
                                               (uint8_t)(peer >> 8), (uint8_t)peer };
        const void *to = peer ? id : s->custom_id;
        size_t n = peer ? sizeof id : s->custom_id_bytes;
        if (!to) {
            return -EHOSTUNREACH;
        }
        if (zmq_send(s->raw, to, n, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
            return zmq_code();
        }
    }
    if (s->options.wipes) {
        return send_wiped(s, bytes, padding);
    }
    return zmq_send(s->raw, bytes.p, bytes.n, ZMQ_DONTWAIT) < 0 ? zmq_code() : 0;
}

static int send_now(struct zsocket *s, uint32_t peer, struct str bytes, struct str padding)
{
    s->stirred = true;
    int rc = send_once(s, peer, bytes, padding);
    if (rc == -EAGAIN || rc == -EHOSTUNREACH) {
        // A send looks at libzmq's mailbox at most once in a millisecond and may not know yet that
        // a connection is there; asking for events looks always.
        (void)readable(s);
        rc = send_once(s, peer, bytes, padding);
    }
    return rc;
}

static void flush_batch(struct zsocket *s, struct batch *b)
{
    int rc = send_now(s, b->peer, buf_str(&b->bytes), NO_PADDING);
    if (rc != -EAGAIN || s->options.type == ZSOCKET_DEALER) {
        buf_wipe(&b->bytes); // sent, or there is nobody any more
        s->n_waiting--;
    }
}

static void flush(struct zsocket *s)
{
    for (size_t i = 0; i < s->n_batches && s->n_waiting; i++) {
        if (s->batches[i].bytes.len) {
            flush_batch(s, &s->batches[i]);
        }
    }
}

// The batch of peer, or one that nobody uses at the moment; NULL when there is no memory.
static struct batch *find_batch(struct zsocket *s, uint32_t peer)
{
    struct batch *unused = NULL;
    for (size_t i = 0; i < s->n_batches; i++) {
        if (s->batches[i].peer == peer) {
            return &s->batches[i];
        }
        unused = s->batches[i].bytes.len ? unused : &s->batches[i];
    }
    if (!unused) {
        struct batch *more = realloc(s->batches, (s->n_batches + 1) * sizeof *more);
        if (!more) {
            return NULL;
        }
        s->batches = more;
        unused = &more[s->n_batches++];
        buf_init(&unused->bytes, ZSOCKET_BATCH_MAX_BYTES);
        unused->bytes.wipes = s->options.wipes;
    }
    unused->peer = peer;
    return unused;
}

// What waits for peer is sent before, so that nothing overtakes it.
static int send_in_order(struct zsocket *s, uint32_t peer, struct str bytes, struct str padding)
{
    assert(!s->closed);
    if (s->n_waiting) {
        struct batch *b = find_batch(s, peer);
        if (b && b->bytes.len) {
            flush_batch(s, b);
        }
    }
    return send_now(s, peer, bytes, padding);
}

int zsocket_send(struct zsocket *s, uint32_t peer, struct str bytes)
{
    return send_in_order(s, peer, bytes, NO_PADDING);
}

int zsocket_send_padded(struct zsocket *s, uint32_t peer, struct str bytes, struct str padding)
{
    assert(s->options.wipes && padding.n >= ZSOCKET_COPIED_BYTES);
    return send_in_order(s, peer, bytes, padding);
}

int zsocket_queue(struct zsocket *s, uint32_t peer, struct str frame)
{
    assert(!s->closed && frame.n > 0);
    struct batch *b = find_batch(s, peer);
    if (!b) {
        return -ENOMEM;
    }
    if (b->bytes.len && b->bytes.len + frame.n > ZSOCKET_BATCH_BYTES) {
        flush_batch(s, b);
    }
    if (frame.n > ZSOCKET_BATCH_MAX_BYTES - b->bytes.len) {
        return -EAGAIN;
    }
    bool first = b->bytes.len == 0;
    buf_append_str(&b->bytes, frame);
    if (!buf_ok(&b->bytes)) {
        b->bytes.error = 0; // what was in it before still goes out
        return -ENOMEM;
    }
    s->n_waiting += first;
    return 0;
}

void zsocket_pause(struct zsocket *s, bool paused)
{
    s->paused = paused;
    s->stirred = true; // news may have come and gone meanwhile
}
