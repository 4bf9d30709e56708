// SPDX-License-Identifier: MIT
// The socket never stalls, tells of every connection that comes and goes, lets nobody in who has no key, and keeps
// its limits. Peers are sockets of our own, bare libzmq sockets, and processes that are killed.
#include "common/zsocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <czmq.h>

#include "common/curve.h"
#include "common/key_pairs.h"
#include "tests/unit/free_port.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#define LIMIT_MS 10000 // for what takes milliseconds: a machine may be busy
#define MAX_BYTES 1000

#define ROUNDS 100
#define REQUESTS 8000
#define WINDOW 64

// --- An end of a connection that notes what it is told

struct end {
    struct zsocket *socket;
    int messages, connects, disconnects;
    uint32_t peer; // of the last message
    int fd;
    int disconnected_fd;
    char last[MAX_BYTES + 1];
    bool echo;      // sends back what it gets
    bool close_now; // closes itself in the next callback
};

static void maybe_close(struct end *e)
{
    if (e->close_now) {
        zsocket_close(&e->socket, 0);
    }
}

static void on_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct end *e = data;
    e->messages++;
    e->peer = peer;
    e->fd = fd;
    assert_true(message.n < sizeof e->last);
    memcpy(e->last, message.p, message.n);
    e->last[message.n] = '\0';
    if (e->echo) {
        assert_int_equal(zsocket_send(s, peer, message), 0);
    }
    maybe_close(e);
}

static void on_connect(struct zsocket *s, void *data)
{
    struct end *e = data;
    (void)s;
    e->connects++;
    maybe_close(e);
}

static void on_disconnect(struct zsocket *s, int fd, void *data)
{
    struct end *e = data;
    (void)s;
    e->disconnects++;
    e->disconnected_fd = fd;
    maybe_close(e);
}

static void open_end(struct end *e, enum zsocket_type type, struct curve *curve)
{
    struct zsocket_options options = {
        .type = type, .max_message_bytes = MAX_BYTES, .curve = curve, .server_name = "gateway"
    };
    struct zsocket_callbacks callbacks = { on_message, on_connect, on_disconnect, e };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &e->socket), 0);
}

static void bind_end(struct end *e, const char *endpoint)
{
    open_end(e, ZSOCKET_ROUTER, NULL);
    assert_int_equal(zsocket_bind(e->socket, endpoint), 0);
}

static void connect_end(struct end *e, const char *endpoint)
{
    open_end(e, ZSOCKET_DEALER, NULL);
    assert_int_equal(zsocket_connect(e->socket, endpoint), 0);
    LOOP_UNTIL(e->connects, LIMIT_MS);
}

// --- Helper processes

// Echoes until it is killed.
static int run_echo(const char *endpoint)
{
    struct end e = { .echo = true };
    bind_end(&e, endpoint);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}

// Connects, sends one message, and stays.
static int run_peer(const char *endpoint, const char *message)
{
    struct end e = { 0 };
    connect_end(&e, endpoint);
    assert_int_equal(zsocket_send(e.socket, 0, str_of(message)), 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}

// --- No stall

struct load {
    struct zsocket *socket;
    uv_timer_t timer;
    int sent, answered;
};

// The only place that sends: a send eats the edge of ZMQ_FD, and here no callback of the socket follows it.
static void on_send_timer(uv_timer_t *timer)
{
    struct load *l = timer->data;
    while (l->sent < REQUESTS && l->sent - l->answered < WINDOW) {
        if (zsocket_send(l->socket, 0, STR("sixteen bytes...")) != 0) {
            break;
        }
        l->sent++;
    }
}

static void on_answer(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct load *l = data;
    (void)s, (void)peer, (void)fd, (void)message;
    l->answered++;
    if (l->sent - l->answered < WINDOW / 2 && !uv_is_active((uv_handle_t *)&l->timer)) {
        (void)uv_timer_start(&l->timer, on_send_timer, 0, 0);
    }
}

static void on_load_connect(struct zsocket *s, void *data)
{
    struct load *l = data;
    (void)s;
    (void)uv_timer_start(&l->timer, on_send_timer, 0, 0);
}

static void one_round(const char *endpoint)
{
    struct load l = { 0 };
    struct zsocket_options options = { .type = ZSOCKET_DEALER, .max_message_bytes = MAX_BYTES };
    struct zsocket_callbacks callbacks = { on_answer, on_load_connect, NULL, &l };
    l.timer.data = &l;
    assert_int_equal(uv_timer_init(&loop, &l.timer), 0);
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &l.socket), 0);
    assert_int_equal(zsocket_connect(l.socket, endpoint), 0);
    (void)alarm(LIMIT_MS / 1000); // ends the process when it stalls: no timer, which would wake the loop
    while (l.answered < REQUESTS) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    zsocket_close(&l.socket, 0);
    uv_close((uv_handle_t *)&l.timer, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT); // closes the timer, which stands on this stack
}

static int run_load(const char *endpoint)
{
    for (int i = 0; i < ROUNDS; i++) {
        one_round(endpoint);
    }
    return 0;
}

static void test_no_stall_on_one_core(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &before)) {
            CPU_SET(i, &one);
            break;
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0); // helpers inherit it
    pid_t echo = helper_start("echo", "ipc://load.sock", NULL);
    pid_t load = helper_start("load", "ipc://load.sock", NULL);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(helper_wait(load, 55000), 0);
    helper_kill(echo);
}

// --- Connections come and go

static void test_request_and_answer(void **state)
{
    (void)state;
    struct end server = { .echo = true }, client = { 0 };
    bind_end(&server, "ipc://s.sock");
    connect_end(&client, "ipc://s.sock");
    assert_int_equal(zsocket_send(client.socket, 0, STR("hello")), 0);
    assert_int_equal(zsocket_send(client.socket, 0, (struct str){ NULL, 0 }), 0); // empty ones too
    LOOP_UNTIL(client.messages == 2, LIMIT_MS);
    assert_int_equal(client.peer, 0);
    assert_int_equal(client.fd, -1);
    assert_string_equal(client.last, "");
    assert_int_equal(server.messages, 2);
    assert_true(server.peer != 0);
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
}

static void test_fds_match(void **state)
{
    (void)state;
    enum { CLIENTS = 5 };
    struct end server = { 0 }, clients[CLIENTS] = { 0 };
    int fds[CLIENTS];
    uint32_t peers[CLIENTS];
    bind_end(&server, "ipc://s.sock");
    for (int i = 0; i < CLIENTS; i++) {
        connect_end(&clients[i], "ipc://s.sock");
        assert_int_equal(zsocket_send(clients[i].socket, 0, STR("x")), 0);
        LOOP_UNTIL(server.messages == i + 1, LIMIT_MS);
        assert_int_equal(server.connects, i + 1); // known before its first message
        fds[i] = server.fd;
        peers[i] = server.peer;
        for (int k = 0; k < i; k++) {
            assert_true(fds[k] != fds[i] && peers[k] != peers[i]);
        }
    }
    for (int i = CLIENTS - 1; i >= 0; i -= 2) {
        int before = server.disconnects;
        zsocket_close(&clients[i].socket, 0);
        LOOP_UNTIL(server.disconnects == before + 1, LIMIT_MS);
        assert_int_equal(server.disconnected_fd, fds[i]);
        LOOP_UNTIL(zsocket_send(server.socket, peers[i], STR("x")) == -EHOSTUNREACH, LIMIT_MS);
    }
    for (int i = 1; i < CLIENTS; i += 2) {
        assert_int_equal(zsocket_send(server.socket, peers[i], STR("still there")), 0);
        LOOP_UNTIL(clients[i].messages == 1, LIMIT_MS);
        zsocket_close(&clients[i].socket, 0);
    }
    zsocket_close(&server.socket, 0);
}

static void test_a_killed_peer_is_seen(void **state)
{
    (void)state;
    struct end server = { 0 };
    bind_end(&server, "ipc://s.sock");
    pid_t pid = helper_start("peer", "ipc://s.sock", "hello", NULL);
    LOOP_UNTIL(server.messages == 1, LIMIT_MS);
    int fd = server.fd;
    helper_kill(pid);
    LOOP_UNTIL(server.disconnects == 1, LIMIT_MS);
    assert_int_equal(server.disconnected_fd, fd);
    LOOP_UNTIL(zsocket_send(server.socket, server.peer, STR("x")) == -EHOSTUNREACH, LIMIT_MS);
    zsocket_close(&server.socket, 0);
}

static void test_a_restarted_server_is_found_again(void **state)
{
    (void)state;
    struct end server = { 0 }, client = { 0 };
    bind_end(&server, "ipc://s.sock");
    connect_end(&client, "ipc://s.sock");
    zsocket_close(&server.socket, 0);
    LOOP_UNTIL(client.disconnects == 1, LIMIT_MS);
    LOOP_UNTIL(zsocket_send(client.socket, 0, STR("lost")) == -EAGAIN, LIMIT_MS); // and none of these is queued
    bind_end(&server, "ipc://s.sock");
    LOOP_UNTIL(client.connects == 2, LIMIT_MS);
    assert_int_equal(zsocket_send(client.socket, 0, STR("kept")), 0);
    LOOP_UNTIL(server.messages == 1, LIMIT_MS);
    assert_string_equal(server.last, "kept");
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
}

static void test_sending_to_nobody(void **state)
{
    (void)state;
    struct end server = { 0 }, client = { 0 };
    open_end(&client, ZSOCKET_DEALER, NULL);
    assert_int_equal(zsocket_send(client.socket, 0, STR("x")), -EAGAIN);
    assert_int_equal(zsocket_connect(client.socket, "ipc://s.sock"), 0); // nobody listens yet
    assert_int_equal(zsocket_send(client.socket, 0, STR("x")), -EAGAIN);
    bind_end(&server, "ipc://s.sock");
    assert_int_equal(zsocket_send(server.socket, 12345, STR("x")), -EHOSTUNREACH);
    assert_int_equal(zsocket_send(server.socket, 0, STR("x")), -EHOSTUNREACH); // no message is at hand
    LOOP_UNTIL(client.connects, LIMIT_MS);
    assert_int_equal(zsocket_send(client.socket, 0, STR("first")), 0);
    LOOP_UNTIL(server.messages, LIMIT_MS);
    assert_string_equal(server.last, "first"); // what failed was not queued
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
}

// A loop that was busy while a connection was lost and another got its fd: the loss is told first.
struct successor {
    struct end end;
    pid_t old, new;
    int handled;       // messages
    int lost_before;   // disconnects that were known when the second message came
    int fds[2];
};

static void on_successor_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct successor *x = data;
    (void)s, (void)peer, (void)message;
    assert_true(x->handled < 2);
    x->fds[x->handled++] = fd;
    if (x->handled == 1) {
        helper_kill(x->old);
        x->new = helper_start("peer", "ipc://s.sock", "new", NULL);
        (void)usleep(300000); // the loop is busy; meanwhile the other connects and sends
    } else {
        x->lost_before = x->end.disconnects;
    }
}

static void test_a_loss_is_told_before_its_successor_speaks(void **state)
{
    (void)state;
    struct successor x = { 0 };
    struct zsocket_options options = { .type = ZSOCKET_ROUTER, .max_message_bytes = MAX_BYTES };
    struct zsocket_callbacks callbacks = { on_successor_message, on_connect, on_disconnect, &x };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &x.end.socket), 0);
    assert_int_equal(zsocket_bind(x.end.socket, "ipc://s.sock"), 0);
    x.old = helper_start("peer", "ipc://s.sock", "old", NULL);
    LOOP_UNTIL(x.handled == 2, LIMIT_MS);
    assert_int_equal(x.fds[0], x.fds[1]);
    assert_int_equal(x.lost_before, 1);
    helper_kill(x.new);
    zsocket_close(&x.end.socket, 0);
}

// --- Peers that do as they like

static void *open_raw(int type, const char *endpoint, const char *routing_id)
{
    void *raw = zmq_socket(zsys_init(), type);
    assert_non_null(raw);
    int linger = 0;
    assert_int_equal(zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof linger), 0);
    if (routing_id) {
        assert_int_equal(zmq_setsockopt(raw, ZMQ_ROUTING_ID, routing_id, strlen(routing_id)), 0);
    }
    assert_int_equal(zmq_connect(raw, endpoint), 0);
    return raw;
}

static void on_custom_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct end *e = data;
    (void)fd, (void)message;
    e->messages++;
    e->peer = peer;
    assert_int_equal(zsocket_send(s, 0, STR("no")), 0);
}

static void test_a_routing_id_of_its_own(void **state)
{
    (void)state;
    static const char *const ids[] = { "me", "12345", "a long name of somebody who thinks it matters" };
    struct end server = { .peer = 1 };
    struct zsocket_options options = { .type = ZSOCKET_ROUTER, .max_message_bytes = MAX_BYTES };
    struct zsocket_callbacks callbacks = { on_custom_message, NULL, NULL, &server };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &server.socket), 0);
    assert_int_equal(zsocket_bind(server.socket, "ipc://s.sock"), 0);
    for (int i = 0; i < 3; i++) {
        char answer[8];
        void *raw = open_raw(ZMQ_DEALER, "ipc://s.sock", ids[i]);
        assert_int_equal(zmq_send(raw, "x", 1, 0), 1);
        LOOP_UNTIL(server.messages == i + 1, LIMIT_MS);
        assert_int_equal(server.peer, 0);
        int timeout_ms = LIMIT_MS;
        assert_int_equal(zmq_setsockopt(raw, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms), 0);
        assert_int_equal(zmq_recv(raw, answer, sizeof answer, 0), 2);
        assert_int_equal(zsocket_send(server.socket, 0, STR("too late")), -EHOSTUNREACH);
        assert_int_equal(zmq_close(raw), 0);
    }
    zsocket_close(&server.socket, 0);
}

static void test_messages_of_several_frames_are_dropped(void **state)
{
    (void)state;
    struct end server = { 0 };
    bind_end(&server, "ipc://s.sock");
    void *raw = open_raw(ZMQ_DEALER, "ipc://s.sock", NULL);
    assert_int_equal(zmq_send(raw, "one", 3, ZMQ_SNDMORE), 3);
    assert_int_equal(zmq_send(raw, "two", 3, ZMQ_SNDMORE), 3);
    assert_int_equal(zmq_send(raw, "three", 5, 0), 5);
    assert_int_equal(zmq_send(raw, "whole", 5, 0), 5);
    LOOP_UNTIL(server.messages, LIMIT_MS);
    assert_string_equal(server.last, "whole");
    assert_int_equal(server.messages, 1);
    assert_int_equal(zmq_close(raw), 0);
    zsocket_close(&server.socket, 0);
}

static void test_the_largest_message(void **state)
{
    (void)state;
    char bytes[MAX_BYTES + 1] = { 0 };
    struct end server = { 0 }, client = { 0 };
    bind_end(&server, "ipc://s.sock");
    connect_end(&client, "ipc://s.sock");
    assert_int_equal(zsocket_send(client.socket, 0, (struct str){ bytes, MAX_BYTES }), 0);
    LOOP_UNTIL(server.messages == 1, LIMIT_MS);
    assert_int_equal(server.disconnects, 0);
    assert_int_equal(zsocket_send(client.socket, 0, (struct str){ bytes, MAX_BYTES + 1 }), 0);
    LOOP_UNTIL(server.disconnects == 1, LIMIT_MS);
    assert_int_equal(server.disconnected_fd, server.fd);
    assert_int_equal(server.messages, 1);
    LOOP_UNTIL(client.connects == 2, LIMIT_MS); // and may come back
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
}

// --- Batches

static void on_collected(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct buf *all = data;
    (void)s, (void)peer, (void)fd;
    buf_append_str(all, message);
    buf_append_char(all, '|');
}

static void open_collector(struct zsocket **ret, struct buf *all)
{
    struct zsocket_options options = { .type = ZSOCKET_ROUTER, .max_message_bytes = 8 * 1024 * 1024 };
    struct zsocket_callbacks callbacks = { on_collected, NULL, NULL, all };
    buf_init(all, 64 * 1024 * 1024);
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, ret), 0);
    assert_int_equal(zsocket_bind(*ret, "ipc://s.sock"), 0);
}

static void test_what_is_queued_in_a_turn_is_one_message(void **state)
{
    (void)state;
    struct zsocket *server;
    struct buf all;
    struct end client = { 0 };
    open_collector(&server, &all);
    connect_end(&client, "ipc://s.sock");
    assert_int_equal(zsocket_queue(client.socket, 0, STR("a")), 0);
    assert_int_equal(zsocket_queue(client.socket, 0, STR("b")), 0);
    loop_for(30);
    assert_int_equal(zsocket_queue(client.socket, 0, STR("c")), 0);
    assert_int_equal(zsocket_send(client.socket, 0, STR("d")), 0); // does not overtake
    assert_int_equal(zsocket_queue(client.socket, 0, STR("e")), 0);
    assert_int_equal(zsocket_queue(client.socket, 0, STR("f")), 0);
    zsocket_close(&client.socket, 1000); // does not lose what waits
    LOOP_UNTIL(all.len >= 10, LIMIT_MS);
    assert_true(str_eq(buf_str(&all), STR("ab|c|d|ef|")));
    buf_fini(&all);
    zsocket_close(&server, 0);
}

static void test_a_batch_has_a_size(void **state)
{
    (void)state;
    struct zsocket *server;
    struct buf all;
    struct end client = { 0 };
    char *part = calloc(1, ZSOCKET_BATCH_BYTES);
    assert_non_null(part);
    open_collector(&server, &all);
    connect_end(&client, "ipc://s.sock");
    memset(part, 'x', ZSOCKET_BATCH_BYTES);
    assert_int_equal(zsocket_queue(client.socket, 0, (struct str){ part, 1 }), 0);
    assert_int_equal(zsocket_queue(client.socket, 0, (struct str){ part, ZSOCKET_BATCH_BYTES - 1 }), 0); // fits
    assert_int_equal(zsocket_queue(client.socket, 0, (struct str){ part, 2 }), 0); // sends what was there
    LOOP_UNTIL(all.len == ZSOCKET_BATCH_BYTES + 1 + 3, LIMIT_MS);
    assert_int_equal(all.data[ZSOCKET_BATCH_BYTES], '|');
    assert_true(str_eq((struct str){ all.data + ZSOCKET_BATCH_BYTES + 1, 3 }, STR("xx|")));
    free(part);
    buf_fini(&all);
    zsocket_close(&client.socket, 0);
    zsocket_close(&server, 0);
}

static void test_a_batch_over_the_limit_is_refused(void **state)
{
    (void)state;
    struct end client = { 0 };
    char *part = calloc(1, ZSOCKET_BATCH_MAX_BYTES + 1);
    assert_non_null(part);
    open_end(&client, ZSOCKET_DEALER, NULL);
    assert_int_equal(zsocket_queue(client.socket, 0, (struct str){ part, ZSOCKET_BATCH_MAX_BYTES + 1 }), -EAGAIN);
    assert_int_equal(zsocket_queue(client.socket, 0, (struct str){ part, ZSOCKET_BATCH_MAX_BYTES }), 0);
    loop_for(30); // nobody is there to take it: it is dropped
    assert_int_equal(zsocket_queue(client.socket, 0, (struct str){ part, ZSOCKET_BATCH_MAX_BYTES }), 0);
    free(part);
    zsocket_close(&client.socket, 0);
}

static void test_each_peer_has_its_own_batch(void **state)
{
    (void)state;
    enum { CLIENTS = 3 };
    struct end server = { 0 }, clients[CLIENTS] = { 0 };
    uint32_t peers[CLIENTS];
    bind_end(&server, "ipc://s.sock");
    for (int i = 0; i < CLIENTS; i++) {
        connect_end(&clients[i], "ipc://s.sock");
        assert_int_equal(zsocket_send(clients[i].socket, 0, STR("x")), 0);
        LOOP_UNTIL(server.messages == i + 1, LIMIT_MS);
        peers[i] = server.peer;
    }
    zsocket_close(&clients[1].socket, 0);
    LOOP_UNTIL(server.disconnects, LIMIT_MS);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < CLIENTS; i++) { // what waits for the one that is gone is dropped
            assert_int_equal(zsocket_queue(server.socket, peers[i], i ? STR("two") : STR("one")), 0);
            assert_int_equal(zsocket_queue(server.socket, peers[i], STR("!")), 0);
        }
        LOOP_UNTIL(clients[0].messages == round && clients[2].messages == round, LIMIT_MS);
        assert_string_equal(clients[0].last, "one!");
        assert_string_equal(clients[2].last, "two!");
    }
    zsocket_close(&clients[0].socket, 0);
    zsocket_close(&clients[2].socket, 0);
    zsocket_close(&server.socket, 0);
}

// --- Taking turns

static int turns, most_in_a_turn, in_this_turn;

static void on_counted(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct end *e = data;
    (void)s, (void)peer, (void)fd, (void)message;
    e->messages++;
    in_this_turn++;
}

static void on_turn(uv_prepare_t *handle)
{
    (void)handle;
    turns++;
    most_in_a_turn = in_this_turn > most_in_a_turn ? in_this_turn : most_in_a_turn;
    in_this_turn = 0;
}

static void test_one_turn_has_a_budget(void **state)
{
    (void)state;
    enum { MESSAGES = 10 * ZSOCKET_BUDGET };
    struct end server = { 0 }, client = { 0 };
    uv_prepare_t prepare;
    struct zsocket_options options = { .type = ZSOCKET_ROUTER, .max_message_bytes = MAX_BYTES };
    struct zsocket_callbacks callbacks = { on_counted, on_connect, NULL, &server };
    turns = most_in_a_turn = in_this_turn = 0;
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &server.socket), 0);
    assert_int_equal(zsocket_bind(server.socket, "ipc://s.sock"), 0);
    connect_end(&client, "ipc://s.sock");
    zsocket_pause(server.socket, true);
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(zsocket_send(client.socket, 0, STR("x")), 0);
    }
    loop_for(200);
    assert_int_equal(server.messages, 0); // paused
    assert_int_equal(uv_prepare_init(&loop, &prepare), 0);
    assert_int_equal(uv_prepare_start(&prepare, on_turn), 0);
    zsocket_pause(server.socket, false);
    LOOP_UNTIL(server.messages == MESSAGES, LIMIT_MS);
    on_turn(&prepare);
    assert_int_equal(most_in_a_turn, ZSOCKET_BUDGET);
    assert_true(turns >= 10);
    uv_close((uv_handle_t *)&prepare, NULL);
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
    loop_for(20); // closes prepare, which stands on this stack
}

static void test_closing_inside_each_callback(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct end server = { 0 }, client = { 0 };
        bind_end(&server, "ipc://s.sock");
        server.close_now = which == 0;
        connect_end(&client, "ipc://s.sock");
        if (which == 1) {
            LOOP_UNTIL(server.connects, LIMIT_MS);
            server.close_now = true;
            for (int i = 0; i < 10; i++) {
                assert_int_equal(zsocket_send(client.socket, 0, STR("x")), 0);
            }
        } else if (which == 2) {
            LOOP_UNTIL(server.connects, LIMIT_MS);
            server.close_now = true;
            zsocket_close(&client.socket, 0);
        }
        LOOP_UNTIL(!server.socket, LIMIT_MS);
        loop_for(50);
        assert_int_equal(server.connects, 1);
        assert_int_equal(server.messages, which == 1); // of ten: none after the close
        assert_int_equal(server.disconnects, which == 2);
        zsocket_close(&client.socket, 0);
    }
    struct zsocket *none = NULL;
    zsocket_close(&none, 0);
}

static void test_closing_lingers_for_what_was_sent(void **state)
{
    (void)state;
    struct end server = { 0 }, client = { 0 };
    bind_end(&server, "ipc://s.sock");
    connect_end(&client, "ipc://s.sock");
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(zsocket_send(client.socket, 0, STR("goodbye")), 0);
    }
    zsocket_close(&client.socket, 2000);
    LOOP_UNTIL(server.messages == 1000, LIMIT_MS);
    zsocket_close(&server.socket, 0);
}

// --- Endpoints

static int bind_result(const char *endpoint)
{
    struct end e = { 0 };
    open_end(&e, ZSOCKET_ROUTER, NULL);
    int rc = zsocket_bind(e.socket, endpoint);
    zsocket_close(&e.socket, 0);
    return rc;
}

static int connect_result(const char *endpoint)
{
    struct end e = { 0 };
    open_end(&e, ZSOCKET_DEALER, NULL);
    int rc = zsocket_connect(e.socket, endpoint);
    zsocket_close(&e.socket, 0);
    return rc;
}

static void test_a_stale_path_is_replaced(void **state)
{
    (void)state;
    pid_t pid = helper_start("echo", "ipc://s.sock", NULL);
    struct end client = { 0 }, server = { .echo = true };
    connect_end(&client, "ipc://s.sock");
    assert_int_equal(bind_result("ipc://s.sock"), -EADDRINUSE); // somebody lives there
    assert_int_equal(zsocket_send(client.socket, 0, STR("are you still there?")), 0);
    LOOP_UNTIL(client.messages == 1, LIMIT_MS); // and was not harmed
    helper_kill(pid);
    assert_int_equal(access("s.sock", F_OK), 0); // it left its socket behind
    bind_end(&server, "ipc://s.sock");
    LOOP_UNTIL(client.connects == 2, LIMIT_MS);
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
}

// Its queue of connections is full and it does not accept: asking must not hang, and it is not ours to replace.
static void test_a_path_of_somebody_who_is_stuck(void **state)
{
    (void)state;
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "stuck.sock" };
    int server = socket(AF_UNIX, SOCK_STREAM, 0), clients[64], n = 0;
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server, 1), 0);
    for (; n < 64; n++) {
        clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(clients[n], (struct sockaddr *)&address, sizeof address)) {
            assert_int_equal(errno, EAGAIN);
            break;
        }
    }
    assert_true(n < 64);
    alarm(20); // should it hang
    assert_int_equal(bind_result("ipc://stuck.sock"), -EADDRINUSE);
    alarm(0);
    while (n >= 0) {
        close(clients[n--]);
    }
    close(server);
}

static void test_endpoints_that_are_refused(void **state)
{
    (void)state;
    char path[128] = "ipc://";
    memset(path + 6, 'p', 107);
    assert_int_equal(bind_result(path), 0);
    assert_int_equal(connect_result(path), 0);
    path[6 + 107] = 'p';
    assert_int_equal(bind_result(path), -ENAMETOOLONG);
    assert_int_equal(connect_result(path), -ENAMETOOLONG);
    assert_int_equal(bind_result("ipc://no/such/directory/s.sock"), -ENOENT);
    assert_int_equal(bind_result(free_port_endpoint()), -EACCES); // without keys
    assert_int_equal(connect_result(free_port_endpoint()), -EACCES);
    assert_int_equal(bind_result("inproc://x"), -EPROTONOSUPPORT);
    assert_int_equal(connect_result("pgm://x"), -EPROTONOSUPPORT);
    assert_int_equal(bind_result("s.sock"), -EPROTONOSUPPORT);
    assert_int_equal(bind_result(""), -EPROTONOSUPPORT);
}

// --- CURVE

static struct curve *gateway_keys, *client_keys;
static char error[CURVE_ERROR_SIZE];

static void open_keys(void)
{
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(curve_open("keys", "gateway", 1, error, &gateway_keys), 0);
    assert_int_equal(curve_open("keys", "users", 0, error, &client_keys), 0);
}

static void close_keys(void)
{
    curve_close(&client_keys);
    curve_close(&gateway_keys);
}

static void bind_curve(struct end *e, const char *endpoint)
{
    open_end(e, ZSOCKET_ROUTER, gateway_keys);
    assert_int_equal(zsocket_bind(e->socket, endpoint), 0);
}

static void connect_curve(struct end *e, const char *endpoint, struct curve *keys)
{
    open_end(e, ZSOCKET_DEALER, keys);
    assert_int_equal(zsocket_connect(e->socket, endpoint), 0);
}

// Somebody with a key is served, also after whatever happened before.
static void assert_serves(struct end *server, const char *endpoint)
{
    struct end good = { 0 };
    int before = server->messages, connects = server->connects;
    connect_curve(&good, endpoint, client_keys);
    LOOP_UNTIL(good.connects, LIMIT_MS);
    assert_int_equal(zsocket_send(good.socket, 0, STR("good")), 0);
    LOOP_UNTIL(good.messages == 1, LIMIT_MS);
    assert_int_equal(server->messages, before + 1);
    assert_int_equal(server->connects, connects + 1);
    assert_string_equal(server->last, "good");
    zsocket_close(&good.socket, 0);
}

static void test_curve_serves_those_with_a_key(void **state)
{
    (void)state;
    struct end server = { .echo = true };
    open_keys();
    bind_curve(&server, free_port_endpoint());
    assert_serves(&server, free_port_endpoint());
    assert_serves(&server, free_port_endpoint());
    assert_int_equal(bind_result(free_port_endpoint()), -EACCES);
    zsocket_close(&server.socket, 0);
    close_keys();
}

static void test_curve_refuses_an_unknown_key(void **state)
{
    (void)state;
    struct end server = { .echo = true }, stranger = { 0 };
    struct curve *strange_keys;
    open_keys();
    bind_curve(&server, free_port_endpoint());
    // It has the server's public key, which is no secret, and a key of its own making.
    assert_int_equal(key_pairs_make_own("strange"), 0);
    assert_int_equal(system("cp keys/public/gateway.key strange/public/gateway.key"), 0);
    assert_int_equal(curve_open("strange", "users", 0, error, &strange_keys), 0);
    connect_curve(&stranger, free_port_endpoint(), strange_keys);
    LOOP_UNTIL(server.disconnects, LIMIT_MS); // libzmq does not try again when it was refused
    assert_int_equal(zsocket_send(stranger.socket, 0, STR("let me in")), -EAGAIN);
    assert_int_equal(stranger.connects, 0);
    assert_int_equal(server.connects, 0);
    assert_int_equal(server.messages, 0);
    assert_serves(&server, free_port_endpoint());
    zsocket_close(&stranger.socket, 0);
    zsocket_close(&server.socket, 0);
    curve_close(&strange_keys);
    close_keys();
}

static void test_curve_refuses_a_client_of_another_server(void **state)
{
    (void)state;
    struct end server = { .echo = true }, client = { 0 };
    open_keys();
    bind_curve(&server, free_port_endpoint());
    // The key is ours, but the server is taken for the queue: it cannot open what was sealed for the queue.
    struct zsocket_options options = {
        .type = ZSOCKET_DEALER, .max_message_bytes = MAX_BYTES, .curve = client_keys, .server_name = "queue"
    };
    struct zsocket_callbacks callbacks = { on_message, on_connect, on_disconnect, &client };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &client.socket), 0);
    assert_int_equal(zsocket_connect(client.socket, free_port_endpoint()), 0);
    LOOP_UNTIL(server.disconnects >= 2, LIMIT_MS);
    assert_int_equal(client.connects + server.connects, 0);
    assert_serves(&server, free_port_endpoint());
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
    close_keys();
}

static void test_curve_refuses_clients_without_keys(void **state)
{
    (void)state;
    struct end server = { .echo = true };
    open_keys();
    bind_curve(&server, free_port_endpoint());
    void *raw = open_raw(ZMQ_DEALER, free_port_endpoint(), NULL);
    assert_int_equal(zmq_send(raw, "let me in", 9, ZMQ_DONTWAIT), 9); // libzmq queues it
    LOOP_UNTIL(server.disconnects, LIMIT_MS);
    assert_int_equal(server.connects, 0);
    assert_int_equal(server.messages, 0);
    assert_serves(&server, free_port_endpoint());
    assert_int_equal(server.messages, 1);
    assert_int_equal(zmq_close(raw), 0);
    zsocket_close(&server.socket, 0);
    close_keys();
}

static void send_tcp(const char *bytes, size_t n)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(free_port()) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)send(fd, bytes, n, MSG_NOSIGNAL); // it may have hung up already
    loop_for(50);
    close(fd);
}

static void test_curve_refuses_whatever_else_comes_by_tcp(void **state)
{
    (void)state;
    // A ZMTP 3.0 greeting with the mechanism NULL, READY and a message; and a ZMTP 1 peer; and HTTP.
    static const char zmtp[] = "\xFF\0\0\0\0\0\0\0\1\x7F\3\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                               "\4\x1A\5READY\13Socket-Type\0\0\0\6DEALER"
                               "\0\5hello";
    static const char old[] = "\1\0\6\0hello";
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct end server = { .echo = true };
    char noise[4096];
    open_keys();
    bind_curve(&server, free_port_endpoint());
    send_tcp(zmtp, sizeof zmtp - 1);
    send_tcp(old, sizeof old - 1);
    send_tcp(http, sizeof http - 1);
    send_tcp("", 0);
    srandom(6);
    for (int i = 0; i < 10; i++) {
        for (size_t k = 0; k < sizeof noise; k++) {
            noise[k] = (char)(i % 2 && k == 0 ? 0xFF : random());
        }
        send_tcp(noise, sizeof noise);
    }
    assert_int_equal(server.connects, 0);
    assert_int_equal(server.messages, 0);
    assert_serves(&server, free_port_endpoint());
    zsocket_close(&server.socket, 0);
    close_keys();
}

static void test_a_server_without_its_keys_cannot_be_reached(void **state)
{
    (void)state;
    struct end e = { 0 };
    open_keys();
    assert_int_equal(unlink("keys/public/gateway.key"), 0);
    open_end(&e, ZSOCKET_DEALER, client_keys);
    assert_int_equal(zsocket_connect(e.socket, free_port_endpoint()), -ENOENT);
    zsocket_close(&e.socket, 0);
    close_keys();
}

static int run_role(char **argv)
{
    if (strcmp(argv[1], "peer") == 0) {
        return loop_start() ? 1 : run_peer(argv[2], argv[3]);
    }
    if (uv_loop_init(&loop)) {
        return 1;
    }
    return strcmp(argv[1], "echo") == 0 ? run_echo(argv[2]) : run_load(argv[2]);
}

int main(int argc, char **argv)
{
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    if (argc > 1) {
        return run_role(argv);
    }
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_no_stall_on_one_core),
        LOOP_CASE(test_request_and_answer),
        LOOP_CASE(test_fds_match),
        LOOP_CASE(test_a_killed_peer_is_seen),
        LOOP_CASE(test_a_restarted_server_is_found_again),
        LOOP_CASE(test_sending_to_nobody),
        LOOP_CASE(test_a_loss_is_told_before_its_successor_speaks),
        LOOP_CASE(test_a_routing_id_of_its_own),
        LOOP_CASE(test_messages_of_several_frames_are_dropped),
        LOOP_CASE(test_the_largest_message),
        LOOP_CASE(test_what_is_queued_in_a_turn_is_one_message),
        LOOP_CASE(test_a_batch_has_a_size),
        LOOP_CASE(test_a_batch_over_the_limit_is_refused),
        LOOP_CASE(test_each_peer_has_its_own_batch),
        LOOP_CASE(test_one_turn_has_a_budget),
        LOOP_CASE(test_closing_inside_each_callback),
        LOOP_CASE(test_closing_lingers_for_what_was_sent),
        LOOP_CASE(test_a_stale_path_is_replaced),
        LOOP_CASE(test_a_path_of_somebody_who_is_stuck),
        LOOP_CASE(test_endpoints_that_are_refused),
        LOOP_CASE(test_curve_serves_those_with_a_key),
        LOOP_CASE(test_curve_refuses_an_unknown_key),
        LOOP_CASE(test_curve_refuses_a_client_of_another_server),
        LOOP_CASE(test_curve_refuses_clients_without_keys),
        LOOP_CASE(test_curve_refuses_whatever_else_comes_by_tcp),
        LOOP_CASE(test_a_server_without_its_keys_cannot_be_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
