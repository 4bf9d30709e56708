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
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <czmq.h>

#define LIMIT_MS 15000 // a report may have to wait for its turn (HANDSHAKES_REPORT_MS)

struct end {
    struct zsocket *socket;
    struct curve *curve;
    int messages, connects;
    char identity[KEY_PAIRS_NAME_SIZE]; // of the last sender
};

static char endpoint[40]; // a port that nobody else has
static char error[CURVE_ERROR_SIZE];
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
    int rc = type == ZSOCKET_ROUTER ? -EADDRINUSE : zsocket_connect(e->socket, endpoint);
    if (type == ZSOCKET_ROUTER) { // a server before it is closed by libzmq's thread, in its time
        LOOP_UNTIL((rc = zsocket_bind(e->socket, endpoint)) != -EADDRINUSE, LIMIT_MS);
    }
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

static void choose_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) ||
        getsockname(fd, (struct sockaddr *)&at, &n)) {
        abort();
    }
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
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
        LOOP_CASE(test_one_handler_in_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
