// SPDX-License-Identifier: MIT
// What is sent padded, between sockets that wipe, stays nowhere in the process: not in the buffers of libzmq either, whichever
// way it cuts the stream, and not where it encrypts.
#include "common/zsocket.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <czmq.h>

#include "common/curve.h"
#include "common/key_pairs.h"
#include "common/sanitized.h"
#include "tests/unit/free_port.h"
#include "tests/unit/loop.h"
#include "tests/unit/own_memory.h"

#define LIMIT_MS 10000
#define LARGEST 1500000 // more than the kernel takes at once: it is read in pieces
#define LARGE 1240000
#define STEP 3700 // so that lengths come up of which the last piece is small enough for a buffer
#define PADDING_CHAR '.'

static const char masked[] = "the secret that is looked for, masked";
#define SECRET_BYTES (sizeof masked - 1)
static char padding_bytes[ZSOCKET_COPIED_BYTES];
static const struct str padding = { padding_bytes, sizeof padding_bytes };

struct end {
    struct zsocket *socket;
    int messages, connects;
    uint32_t peer;
    size_t length; // of the last message
    bool whole;    // padding, the secret over and over, padding
};

static char secret_at(size_t i)
{
    return (char)(masked[i % SECRET_BYTES] ^ OWN_MEMORY_MASK);
}

static bool is_whole(struct str m)
{
    for (size_t i = 0; i < m.n; i++) {
        bool pads = i < padding.n || i >= m.n - padding.n;
        if (m.p[i] != (pads ? PADDING_CHAR : secret_at(i - padding.n))) {
            return false;
        }
    }
    return true;
}

static void on_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct end *e = data;
    (void)s, (void)fd;
    e->messages++;
    e->peer = peer;
    e->length = message.n;
    e->whole = message.n > 2 * padding.n && is_whole(message);
}

static void on_connect(struct zsocket *s, void *data)
{
    struct end *e = data;
    (void)s;
    e->connects++;
}

static void open_end(struct end *e, enum zsocket_type type, struct curve *curve)
{
    struct zsocket_options options = { .type = type,
                                       .max_message_bytes =
                                           LARGEST + 3 * ZSOCKET_COPIED_BYTES, // CURVE adds some
                                       .curve = curve,
                                       .server_name = "gateway",
                                       .wipes = true };
    struct zsocket_callbacks callbacks = { on_message, on_connect, NULL, e };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &e->socket), 0);
}

// Sends one, with other messages in front of it, which move it in libzmq's buffers, and waits for it.
static void send_secret(struct end *from, struct end *to, size_t n, int in_front, bool padded)
{
    int before = to->messages;
    char *secret = malloc(n);
    assert_non_null(secret);
    for (size_t i = 0; i < n; i++) {
        secret[i] = secret_at(i);
    }
    for (int i = 0; i < in_front; i++) {
        assert_int_equal(zsocket_send(from->socket, from->peer, (struct str){ padding.p, 300 }), 0);
    }
    int rc = padded
                 ? zsocket_send_padded(from->socket, from->peer, (struct str){ secret, n }, padding)
                 : zsocket_send(from->socket, from->peer, (struct str){ secret, n });
    explicit_bzero(secret, n);
    free(secret);
    assert_int_equal(rc, 0);
    LOOP_UNTIL(to->messages == before + in_front + 1, LIMIT_MS);
    assert_int_equal(to->length, padded ? n + 2 * padding.n : n);
    assert_true(to->whole == padded);
}

// Soon: an I/O thread gives up what it sent when it looks for more to send.
static void assert_stays_nowhere(void)
{
    LOOP_UNTIL(!own_memory_has(masked, SECRET_BYTES), LIMIT_MS);
}

static void send_all(struct end *from, struct end *to, bool scans)
{
    static const size_t lengths[] = { SECRET_BYTES, 200,  1000,  5000,  8191,
                                      8192,         8193, 16384, 40000, 200000 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int in_front = 0; in_front < 60; in_front += 7) {
            send_secret(from, to, lengths[i], in_front, true);
        }
        if (scans) {
            assert_stays_nowhere();
        }
    }
    for (size_t n = LARGE; n < LARGEST; n += STEP) {
        send_secret(from, to, n, 0, true);
        if (scans) {
            assert_stays_nowhere();
        }
    }
}

static void open_ends(struct end *server, struct end *client, const char *endpoint,
                      struct curve *own, struct curve *other)
{
    memset(padding_bytes, PADDING_CHAR, sizeof padding_bytes);
    open_end(server, ZSOCKET_ROUTER, own);
    open_end(client, ZSOCKET_DEALER, other);
    assert_int_equal(zsocket_bind(server->socket, endpoint), 0);
    assert_int_equal(zsocket_connect(client->socket, endpoint), 0);
    LOOP_UNTIL(client->connects, LIMIT_MS);
    assert_int_equal(zsocket_send(client->socket, 0, STR("hello")), 0);
    LOOP_UNTIL(server->messages == 1, LIMIT_MS);
}

static void close_ends(struct end *server, struct end *client)
{
    zsocket_close(&client->socket, 0);
    zsocket_close(&server->socket, 0);
}

static void test_on_unix_sockets(void **state)
{
    (void)state;
    struct end server = { 0 }, client = { 0 };
    open_ends(&server, &client, "ipc://s.sock", NULL, NULL);
    send_all(&client, &server, true);
    send_all(&server, &client, true);
    close_ends(&server, &client);
}

// The instrument: without padding, some of it does stay.
static void test_what_is_not_padded_is_found(void **state)
{
    (void)state;
    struct end server = { 0 }, client = { 0 };
    open_ends(&server, &client, "ipc://s.sock", NULL, NULL);
    send_secret(&client, &server, 5000, 0, false);
    loop_for(50);
    assert_true(own_memory_has(masked, SECRET_BYTES));
    close_ends(&server, &client);
}

static void test_on_tcp(void **state)
{
    (void)state;
    struct curve *gateway, *users;
    char error[CURVE_ERROR_SIZE];
    struct end server = { 0 }, client = { 0 };
    // A sanitized build has an `operator delete` of its own, which keeps what it gets.
    const bool scans = !SANITIZED;
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(curve_open("keys", "gateway", 1, error, &gateway), 0);
    assert_int_equal(curve_open("keys", "users", 0, error, &users), 0);
    open_ends(&server, &client, free_port_endpoint(), gateway, users);
    send_all(&client, &server, scans);
    send_all(&server, &client, scans);
    close_ends(&server, &client);
    curve_close(&users);
    curve_close(&gateway);
}

int main(void)
{
    zsys_handler_set(NULL);      // before any other call of czmq, as common/process.c does it
    (void)mallopt(M_PERTURB, 0); // meson test has the C library overwrite what is freed
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_on_unix_sockets),
        LOOP_CASE(test_on_tcp),
        LOOP_CASE(test_what_is_not_padded_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
