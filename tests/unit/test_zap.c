// SPDX-License-Identifier: MIT
// Who may connect, and as whom: the keys in the directory, as they are at the moment. And a client
// that is refused, or whose server has changed its key, gets in as soon as it can.
#include "common/zap.h"

#include "common/curve.h"
#include "common/dialer.h"
#include "common/key_pairs.h"
#include "common/zsocket.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <czmq.h>

#define LIMIT_MS 10000 // of any wait: the machine may be busy

#define FIELD_SIZE 100 // of an answer of ZAP

struct end {
    struct zsocket *socket;
    struct curve *curve;
    int messages, connects;
    char identity[KEY_PAIRS_NAME_SIZE]; // of the last sender
};

static char endpoint[40]; // a port that nobody else has
static char error[CURVE_ERROR_SIZE];
static char last_identity[FIELD_SIZE];
static int reports;
static char last_report[HANDSHAKES_TEXT_SIZE + 64];

static void on_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct end *e = data;
    (void)peer, (void)fd, (void)message;
    e->messages++;
    const char *identity = zsocket_identity(s);
    (void)snprintf(e->identity, sizeof e->identity, "%s", identity ? identity : "(none)");
}

static void on_connect(struct zsocket *s, void *data)
{
    struct end *e = data;
    (void)s;
    e->connects++;
}

static void open_end(struct end *e, const char *name, enum zsocket_type type)
{
    struct zsocket_callbacks callbacks = { on_message, on_connect, NULL, e };
    assert_int_equal(curve_open("keys", name, type == ZSOCKET_ROUTER, error, &e->curve), 0);
    struct zsocket_options options = {
        .type = type, .max_message_bytes = 1000, .curve = e->curve, .server_name = "gateway"
    };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &e->socket), 0);
    if (type == ZSOCKET_DEALER) {
        assert_int_equal(zsocket_connect(e->socket, endpoint), 0);
        return;
    }
    int rc; // libzmq closes the port of the server before some time after zsocket_close()
    LOOP_UNTIL((rc = zsocket_bind(e->socket, endpoint)) != -EADDRINUSE, LIMIT_MS);
    assert_int_equal(rc, 0);
}

static void close_end(struct end *e)
{
    zsocket_close(&e->socket, 0);
    curve_close(&e->curve);
}

// Who the server thinks that a process with this pair is.
static void assert_known_as(struct end *server, const char *pair, const char *identity)
{
    struct end client = { 0 };
    int before = server->messages;
    open_end(&client, pair, ZSOCKET_DEALER);
    LOOP_UNTIL(client.connects, LIMIT_MS);
    assert_int_equal(zsocket_send(client.socket, 0, STR("x")), 0);
    LOOP_UNTIL(server->messages > before, LIMIT_MS);
    assert_string_equal(server->identity, identity);
    close_end(&client);
}

static void test_a_server_knows_who_is_there(void **state)
{
    (void)state;
    reports = 0;
    struct end server = { 0 };
    assert_int_equal(key_pairs_make_own("keys"), 0);
    open_end(&server, "gateway", ZSOCKET_ROUTER);
    for (size_t i = 0; i < KEY_PAIRS_OWN; i++) {
        assert_known_as(&server, key_pairs_own[i], key_pairs_own[i]);
    }
    assert_int_equal(key_pairs_make("keys", "guests"), 1); // while it runs
    assert_known_as(&server, "guests", "guests");
    close_end(&server);
}

static void test_ipc_has_no_identities(void **state)
{
    (void)state;
    reports = 0;
    struct end server = { 0 }, client = { 0 };
    struct zsocket_callbacks callbacks = { on_message, on_connect, NULL, &server };
    struct zsocket_options options = { .type = ZSOCKET_ROUTER, .max_message_bytes = 1000 };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &server.socket), 0);
    assert_int_equal(zsocket_bind(server.socket, "ipc://s"), 0);
    options.type = ZSOCKET_DEALER;
    callbacks.data = &client;
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &client.socket), 0);
    assert_int_equal(zsocket_connect(client.socket, "ipc://s"), 0);
    LOOP_UNTIL(client.connects, LIMIT_MS);
    assert_int_equal(zsocket_send(client.socket, 0, STR("x")), 0);
    LOOP_UNTIL(server.messages, LIMIT_MS);
    assert_string_equal(server.identity, "(none)");
    zsocket_close(&client.socket, 0);
    zsocket_close(&server.socket, 0);
}

static void test_old_keys_count_until_they_are_retired(void **state)
{
    (void)state;
    reports = 0;
    struct end server = { 0 };
    assert_int_equal(key_pairs_make_own("keys"), 0);
    open_end(&server, "gateway", ZSOCKET_ROUTER);
    assert_int_equal(system("cp keys/orders.key_secret keys/before.key_secret"),
                     0); // of one that still runs
    assert_int_equal(key_pairs_rotate("keys", "orders"), 0);
    assert_known_as(&server, "before", "orders");
    assert_known_as(&server, "orders", "orders");
    assert_int_equal(key_pairs_rotate("keys", "orders"), -EEXIST);
    assert_int_equal(key_pairs_retire("keys", "orders"), 0);
    assert_int_equal(key_pairs_retire("keys", "orders"), -ENOENT);
    assert_known_as(&server, "orders", "orders");
    struct end late = { 0 };
    open_end(&late, "before", ZSOCKET_DEALER);
    LOOP_UNTIL(reports > 0, LIMIT_MS);
    assert_int_equal(late.connects, 0);
    close_end(&late);
    close_end(&server);
}

// Who was refused is let in when its key is made known: libzmq alone would never try again.
static void test_a_refused_client_tries_again(void **state)
{
    (void)state;
    reports = 0;
    struct end server = { 0 }, client = { 0 };
    assert_int_equal(key_pairs_make_own("keys"), 0);
    open_end(&server, "gateway", ZSOCKET_ROUTER);
    assert_int_equal(rename("keys/public/users.key", "keys/elsewhere"), 0);
    open_end(&client, "users", ZSOCKET_DEALER);
    LOOP_UNTIL(reports > 0, LIMIT_MS);
    assert_int_equal(client.connects, 0);
    assert_int_equal(rename("keys/elsewhere", "keys/public/users.key"), 0);
    LOOP_UNTIL(client.connects, LIMIT_MS);
    close_end(&client);
    close_end(&server);
}

static void test_a_client_follows_the_servers_key(void **state)
{
    (void)state;
    reports = 0;
    struct end server = { 0 }, client = { 0 }, again = { 0 };
    assert_int_equal(key_pairs_make_own("keys"), 0);
    open_end(&server, "gateway", ZSOCKET_ROUTER);
    open_end(&client, "users", ZSOCKET_DEALER);
    LOOP_UNTIL(client.connects, LIMIT_MS);
    assert_int_equal(key_pairs_rotate("keys", "gateway"), 0);
    assert_known_as(&server, "search",
                    "search"); // by the old key: the server was not restarted yet
    close_end(&server);
    open_end(&again, "gateway", ZSOCKET_ROUTER);
    LOOP_UNTIL(client.connects == 2, LIMIT_MS);
    assert_int_equal(reports, 0); // nothing of this is worth a line
    close_end(&client);
    close_end(&again);
}

// A server that is not the one whose key is pinned gets nothing, and somebody is told.
static void test_a_wrong_server_is_reported(void **state)
{
    (void)state;
    reports = 0;
    struct end server = { 0 }, client = { 0 };
    assert_int_equal(key_pairs_make_own("keys"), 0);
    open_end(&server, "queue", ZSOCKET_ROUTER); // where the gateway is expected
    open_end(&client, "users", ZSOCKET_DEALER);
    LOOP_UNTIL(reports > 0, LIMIT_MS);
    assert_non_null(strstr(last_report, "gateway at "));
    assert_non_null(strstr(last_report, endpoint));
    assert_int_equal(client.connects + server.connects, 0);
    close_end(&client);
    close_end(&server);
}

// --- Asked directly, as libzmq does it, or as it never would

// The status of an answer to a request of so many fields, with last_identity.
static int ask(const char *mechanism, const void *key, size_t key_bytes, int n_fields)
{
    void *s = zmq_socket(zsys_init(), ZMQ_REQ);
    int limit_ms = LIMIT_MS, linger = 0, status = 0;
    const struct str fields[] = { STR("1.0"),         STR("1"),          STR("sluice"),
                                  STR("10.0.0.1"),    STR("routing id"), str_of(mechanism),
                                  { key, key_bytes }, STR("one more") };
    (void)zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_setsockopt(s, ZMQ_RCVTIMEO, &limit_ms, sizeof limit_ms);
    assert_int_equal(zmq_connect(s, "inproc://zeromq.zap.01"), 0);
    for (int i = 0; i < n_fields; i++) {
        assert_true(zmq_send(s, fields[i].p, fields[i].n, i + 1 < n_fields ? ZMQ_SNDMORE : 0) >= 0);
    }
    last_identity[0] = '\0';
    for (int i = 0; i < 6; i++) { // version, request, status, text, identity, metadata
        char field[FIELD_SIZE];
        int n = zmq_recv(s, field, sizeof field - 1, 0);
        assert_in_range(n, 0, sizeof field - 1);
        field[n] = '\0';
        status = i == 2 ? atoi(field) : status;
        if (i == 4) {
            (void)snprintf(last_identity, sizeof last_identity, "%s", field);
        }
    }
    (void)zmq_close(s);
    return status;
}

static void read_key(const char *path, uint8_t key[32])
{
    char text[KEY_PAIRS_KEY_SIZE];
    assert_int_equal(key_pairs_read_public(path, text), 0);
    assert_non_null(zmq_z85_decode(key, text));
}

static int ask_for(const uint8_t key[32])
{
    return ask("CURVE", key, 32, 7);
}

static void test_only_curve_with_a_known_key(void **state)
{
    (void)state;
    struct zap *zap;
    uint8_t key[32], other[33] = { 1 };
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(zap_start("keys/public", &zap), 0);
    read_key("keys/public/orders.key", key);
    assert_int_equal(ask_for(key), 200);
    assert_string_equal(last_identity, "orders");
    assert_int_equal(ask("NULL", key, 32, 7), 400);
    assert_string_equal(last_identity, "");
    assert_int_equal(ask("PLAIN", key, 32, 7), 400);
    assert_int_equal(ask("CURVE", key, 31, 7), 400);
    assert_int_equal(ask("CURVE", other, 33, 7), 400);
    assert_int_equal(ask_for(other), 400);
    assert_int_equal(ask("CURVE", key, 32, 6), 400);
    assert_int_equal(ask("CURVE", key, 32, 8), 400);
    assert_int_equal(ask("CURVE", key, 32, 1), 400);
    assert_int_equal(ask_for(key), 200); // it goes on
    zap_stop(&zap);
}

// A time in the future: to libzmq's thread the directory never changes, but is always fresh.
static void hide_change(void)
{
    struct timespec at[2] = { { .tv_sec = 4000000000 }, { .tv_sec = 4000000000 } };
    assert_int_equal(utimensat(AT_FDCWD, "keys/public", at, 0), 0);
}

static void test_the_directory_is_read_again(void **state)
{
    (void)state;
    struct zap *zap;
    uint8_t orders[32], guests[32], odd[32];
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(key_pairs_make("keys", "guests"), 1);
    read_key("keys/public/orders.key", orders);
    read_key("keys/public/guests.key", guests);
    assert_int_equal(rename("keys/public/guests.key", "keys/guests.key"), 0);
    hide_change();
    assert_int_equal(zap_start("keys/public", &zap), 0);
    assert_int_equal(ask_for(guests), 400);
    assert_int_equal(rename("keys/guests.key", "keys/public/guests.key"), 0);
    hide_change(); // as two changes within one tick of the clock of files
    assert_int_equal(ask_for(guests), 200);
    // What is no name of an identity, or no key, is nobody's.
    assert_int_equal(rename("keys/public/guests.key", "keys/public/Guests 1.key"), 0);
    read_key("keys/public/Guests 1.key", odd);
    assert_int_equal(ask_for(odd), 400);
    assert_int_equal(rename("keys/public/Guests 1.key", "keys/public/guests.key.bak"), 0);
    assert_int_equal(ask_for(odd), 400);
    // Without the directory nobody is known any more.
    assert_int_equal(ask_for(orders), 200);
    assert_int_equal(rename("keys/public", "keys/away"), 0);
    assert_int_equal(ask_for(orders), 400);
    assert_int_equal(rename("keys/away", "keys/public"), 0);
    assert_int_equal(ask_for(orders), 200);
    zap_stop(&zap);
}

static void test_one_handler_in_a_process(void **state)
{
    (void)state;
    reports = 0;
    struct zap *first, *second = NULL;
    assert_int_equal(zap_start("absent", &first), -ENOENT);
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(zap_start("keys/public", &first), 0);
    assert_int_equal(zap_start("keys/public", &second), -EADDRINUSE);
    assert_null(second);
    zap_stop(&first);
    assert_int_equal(zap_start("keys/public", &first), 0); // at once
    zap_stop(&first);
    zap_stop(&first); // nothing
}

static void print(const char *text)
{
    reports++;
    (void)snprintf(last_report, sizeof last_report, "%s", text);
}

// On a loopback address of this process alone: nobody takes the port between two servers.
static void choose_port(void)
{
    uint32_t address = 0x7f000002 + (uint32_t)getpid(); // process ids have 22 bits
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) ||
        getsockname(fd, (struct sockaddr *)&at, &n)) {
        abort();
    }
    (void)snprintf(endpoint, sizeof endpoint, "tcp://%s:%u", inet_ntoa(at.sin_addr),
                   (unsigned)ntohs(at.sin_port));
    close(fd);
}

int main(int argc, char **argv)
{
    (void)argc, (void)argv;
    choose_port();
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    handshakes_open(print);
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_a_server_knows_who_is_there),
        LOOP_CASE(test_ipc_has_no_identities),
        LOOP_CASE(test_old_keys_count_until_they_are_retired),
        LOOP_CASE(test_a_refused_client_tries_again),
        LOOP_CASE(test_a_client_follows_the_servers_key),
        LOOP_CASE(test_a_wrong_server_is_reported),
        LOOP_CASE(test_only_curve_with_a_known_key),
        LOOP_CASE(test_the_directory_is_read_again),
        LOOP_CASE(test_one_handler_in_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
