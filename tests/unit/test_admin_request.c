// SPDX-License-Identifier: MIT
// Handlers of the admin listener: answers that come later, bodies, streams, and peers that are slow,
// too many, or gone. The peers are raw sockets; admin_fetch() is one, too.
#include "common/admin.h"

#include "common/address.h"
#include "common/admin_fetch.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 3000
#define PIECE (64 * 1024)

static struct admin *admin;
static struct admin_request *requests[ADMIN_MAX_CONNECTIONS]; // that wait
static size_t n_requests, n_gone;
static int begun; // what admin_stream_begin() returned last
static char seen[8192];

static void on_gone(void *data)
{
    (void)data;
    n_gone++;
}

static void keep(struct admin_request *r, void *data)
{
    (void)data;
    requests[n_requests++] = r;
    admin_request_on_gone(r, on_gone, r);
}

static void echo(struct admin_request *r, void *data)
{
    (void)data;
    struct str query = admin_request_query(r), body = admin_request_body(r);
    buf_printf(admin_answer_body(r), "%.*s|%.*s|%.*s|%.*s|%.*s", STR_ARG(query), STR_ARG(body),
               STR_ARG(admin_request_field(r, ADMIN_ACCEPT)),
               STR_ARG(admin_request_field(r, ADMIN_AUTHORIZATION)),
               STR_ARG(admin_request_field(r, ADMIN_CONTENT_TYPE)));
    admin_answer(r, 200, "text/plain", "X-More: yes\r\n");
}

static void stream(struct admin_request *r, void *data)
{
    (void)data;
    admin_request_on_gone(r, on_gone, r);
    begun = admin_stream_begin(r, "text/event-stream");
    if (begun) {
        admin_answer(r, 503, "text/plain", "");
        return;
    }
    requests[n_requests++] = r;
}

static int enter(void **state)
{
    char address[128];
    int rc = loop_enter(state);
    n_requests = n_gone = 0;
    begun = 1;
    (void)snprintf(address, sizeof address, "unix:%s/a.sock", temp_dir());
    rc = rc ? rc : admin_open(&loop, address, &admin);
    rc = rc ? rc : admin_handle(admin, "/keep", ADMIN_TAKES_GET, keep, NULL);
    rc = rc ? rc : admin_handle(admin, "/echo", ADMIN_TAKES_GET, echo, NULL);
    rc = rc ? rc : admin_handle(admin, "/post", ADMIN_TAKES_POST, echo, NULL);
    rc = rc ? rc : admin_handle(admin, "/stream", ADMIN_TAKES_GET, stream, NULL);
    return rc;
}

static int leave(void **state)
{
    admin_close(&admin);
    return loop_leave(state);
}

// --- Peers

static int connect_peer(void)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "a.sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static int ask(const char *request)
{
    int fd = connect_peer();
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

// Reads what there is; -1 at the end.
static ssize_t take(int fd, char *to, size_t size)
{
    ssize_t n = recv(fd, to, size, 0);
    return n == 0 ? -1 : n < 0 ? (errno == EAGAIN ? 0 : -1) : n;
}

// The whole answer is in seen[]; returns the status.
static int read_answer(int fd)
{
    size_t n = 0;
    ssize_t part;
    loop_limit(LIMIT_MS);
    while ((part = take(fd, seen + n, sizeof seen - 1 - n)) >= 0) {
        n += (size_t)part;
        loop_turn("the answer is complete");
    }
    seen[n] = '\0';
    close(fd);
    int status = 0;
    (void)sscanf(seen, "HTTP/1.1 %d ", &status);
    return status;
}

static const char *body_of(void)
{
    const char *end = strstr(seen, "\r\n\r\n");
    return end ? end + 4 : "";
}

// --- Answers

static void test_parts_of_a_request(void **state)
{
    (void)state;
    assert_int_equal(read_answer(ask("GET /echo?a=b HTTP/1.1\r\nHost: x\r\nACCEPT:  text/x  \r\n"
                                     "Authorization:Bearer t\r\n\r\n")),
                     200);
    assert_string_equal(body_of(), "a=b||text/x|Bearer t|");
    assert_non_null(strstr(seen, "\r\nX-More: yes\r\n"));
    // Twice: nobody has to agree which one counts.
    assert_int_equal(read_answer(ask("GET /echo HTTP/1.1\r\nAuthorization: a\r\nAccept: x\r\n"
                                     "Authorization: b\r\n\r\n")),
                     200);
    assert_string_equal(body_of(), "||||");
    assert_int_equal(read_answer(ask("HEAD /echo HTTP/1.1\r\n\r\n")), 200);
    assert_string_equal(body_of(), "");
    // A head in pieces is one.
    int fd = ask("GET /echo HTTP/1.1\r\nAutho");
    loop_for(20);
    assert_int_equal(send(fd, "rization: Bea", 13, 0), 13);
    loop_for(20);
    assert_int_equal(send(fd, "rer t\r\n\r\n", 9, 0), 9);
    assert_int_equal(read_answer(fd), 200);
    assert_string_equal(body_of(), "|||Bearer t|");
}

static void test_bodies(void **state)
{
    (void)state;
    assert_int_equal(read_answer(ask("POST /post?q HTTP/1.1\r\nContent-Type: application/json\r\n"
                                     "Content-Length: 2\r\n\r\n{}")),
                     200);
    assert_string_equal(body_of(), "q|{}|||application/json");
    int fd = ask("POST /post HTTP/1.1\r\nContent-Length: 4\r\n\r\nab");
    loop_for(20);
    assert_int_equal(send(fd, "cdEF", 4, 0), 4); // what follows is not part of it
    assert_int_equal(read_answer(fd), 200);
    assert_string_equal(body_of(), "|abcd|||");
    assert_int_equal(read_answer(ask("POST /post HTTP/1.1\r\n\r\n")), 200);
    assert_string_equal(body_of(), "||||");
    assert_int_equal(read_answer(ask("GET /post HTTP/1.1\r\n\r\n")), 405);
    assert_non_null(strstr(seen, "\r\nAllow: POST\r\n"));
    assert_int_equal(read_answer(ask("POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n")), 405);
    assert_int_equal(read_answer(ask("POST /none HTTP/1.1\r\nContent-Length: 0\r\n\r\n")), 405);
}

static void test_bodies_that_are_refused(void **state)
{
    (void)state;
    static char request[2 * ADMIN_REQUEST_BYTES];
    assert_int_equal(read_answer(ask("POST /post HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                                     "2\r\nab\r\n0\r\n\r\n")),
                     411);
    assert_int_equal(read_answer(ask("POST /post HTTP/1.1\r\nContent-Length: 4097\r\n\r\n")), 413);
    assert_int_equal(
        read_answer(ask("POST /post HTTP/1.1\r\nContent-Length: 99999999999999999\r\n\r\n")), 413);
    assert_int_equal(
        read_answer(ask("POST /post HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx")),
        400);
    // Each within its limit, but not both.
    (void)snprintf(request, sizeof request,
                   "POST /post HTTP/1.1\r\nX: %05000d\r\nContent-Length: 4096\r\n\r\n%04096d", 0,
                   0);
    assert_int_equal(read_answer(ask(request)), 413);
    (void)snprintf(request, sizeof request,
                   "POST /post HTTP/1.1\r\nContent-Length: 4096\r\n\r\n%04096d", 0);
    assert_int_equal(read_answer(ask(request)), 200);
}

static void test_an_answer_that_comes_later(void **state)
{
    (void)state;
    int fd = ask("GET /keep HTTP/1.1\r\n\r\nGET /echo HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == 1, LIMIT_MS);
    assert_int_equal(shutdown(fd, SHUT_WR), 0); // it has asked, and waits
    loop_for(50);
    buf_append_z(admin_answer_body(requests[0]), "late");
    admin_answer(requests[0], 200, "text/plain", "");
    assert_int_equal(read_answer(fd), 200);
    assert_string_equal(body_of(), "late");
    assert_int_equal(n_gone, 0);
}

static void test_an_answer_that_never_comes(void **state)
{
    (void)state;
    int fd = ask("GET /keep HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == 1, LIMIT_MS);
    int64_t begin_ms = loop_now_ms();
    LOOP_UNTIL(n_gone == 1, 2 * ADMIN_TIMEOUT_MS);
    assert_true(loop_now_ms() - begin_ms > ADMIN_TIMEOUT_MS - 1000);
    assert_int_equal(read_answer(fd), 0);
    // And one that is waiting when the listener is closed.
    fd = ask("GET /keep HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == 2, LIMIT_MS);
    admin_close(&admin);
    assert_int_equal(n_gone, 2);
    close(fd);
}

// --- Streams

static void test_a_stream(void **state)
{
    (void)state;
    int fd = ask("GET /stream HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == 1, LIMIT_MS);
    assert_int_equal(begun, 0);
    assert_true(admin_stream_send(requests[0], STR("one")));
    assert_true(admin_stream_send(requests[0], STR("two")));
    loop_for(50);
    ssize_t n = take(fd, seen, sizeof seen - 1);
    assert_true(n > 0);
    seen[n] = '\0';
    assert_non_null(strstr(seen, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"));
    assert_string_equal(body_of(), "onetwo");
    // It lives longer than any answer may take.
    loop_for(ADMIN_TIMEOUT_MS + 500);
    assert_true(admin_stream_send(requests[0], STR("three")));
    loop_for(50);
    assert_int_equal(take(fd, seen, sizeof seen), 5);
    assert_int_equal(send(fd, "noise", 5, 0), 5); // which nobody wants
    loop_for(20);
    assert_int_equal(n_gone, 0);
    close(fd);
    LOOP_UNTIL(n_gone == 1, LIMIT_MS);
}

static void test_a_stream_that_we_end(void **state)
{
    (void)state;
    int fd = ask("GET /stream HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == 1, LIMIT_MS);
    admin_stream_end(requests[0]);
    (void)read_answer(fd);
    assert_int_equal(n_gone, 0);
}

static void test_a_slow_reader_is_cut(void **state)
{
    (void)state;
    static char piece[PIECE];
    memset(piece, 'x', sizeof piece);
    int slow = ask("GET /stream HTTP/1.1\r\n\r\n"), other = ask("GET /stream HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == 2, LIMIT_MS);
    size_t sent = 0;
    while (n_gone == 0) {
        assert_true(sent < 8 * (size_t)ADMIN_STREAM_BYTES); // what is kept for it is bounded
        bool alive = admin_stream_send(requests[0], (struct str){ piece, sizeof piece });
        assert_int_equal(alive, n_gone == 0);
        sent += sizeof piece;
        loop_for(1);
    }
    assert_true(sent > ADMIN_STREAM_BYTES);
    // Nobody else is disturbed.
    assert_true(admin_stream_send(requests[1], STR("still here")));
    loop_for(50);
    ssize_t n = take(other, seen, sizeof seen - 1);
    assert_true(n > 0);
    seen[n] = '\0';
    assert_string_equal(body_of(), "still here");
    close(slow);
    close(other);
    LOOP_UNTIL(n_gone == 2, LIMIT_MS);
}

static void test_a_reader_that_is_stuck_is_cut(void **state)
{
    (void)state;
    static char piece[PIECE];
    int fd = ask("GET /stream HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == 1, LIMIT_MS);
    while (admin_stream_queued(requests[0]) == 0) {
        assert_true(admin_stream_send(requests[0], (struct str){ piece, sizeof piece }));
        loop_for(1);
    }
    int64_t begin_ms = loop_now_ms();
    while (n_gone == 0) { // far below the limit of bytes
        (void)admin_stream_send(requests[0], STR("."));
        loop_for(100);
        assert_true(loop_now_ms() - begin_ms < ADMIN_STREAM_STUCK_MS + 2000);
    }
    assert_true(loop_now_ms() - begin_ms > ADMIN_STREAM_STUCK_MS - 500);
    close(fd);
}

static void test_more_streams_than_there_may_be(void **state)
{
    (void)state;
    int fds[ADMIN_MAX_STREAMS];
    for (size_t i = 0; i < ADMIN_MAX_STREAMS; i++) {
        fds[i] = ask("GET /stream HTTP/1.1\r\n\r\n");
    }
    LOOP_UNTIL(n_requests == ADMIN_MAX_STREAMS, LIMIT_MS);
    assert_int_equal(read_answer(ask("GET /stream HTTP/1.1\r\n\r\n")), 503);
    assert_int_equal(begun, -EBUSY);
    assert_int_equal(read_answer(ask("GET /echo HTTP/1.1\r\n\r\n")), 200); // others have room
    close(fds[3]);
    LOOP_UNTIL(n_gone == 1, LIMIT_MS);
    fds[3] = ask("GET /stream HTTP/1.1\r\n\r\n");
    LOOP_UNTIL(n_requests == ADMIN_MAX_STREAMS + 1, LIMIT_MS);
    assert_int_equal(begun, 0);
    admin_close(&admin); // with all of them open
    assert_int_equal(n_gone, 1 + ADMIN_MAX_STREAMS);
    for (size_t i = 0; i < ADMIN_MAX_STREAMS; i++) {
        close(fds[i]);
    }
}

// --- Fetching

static int fetched; // status; 0: not yet
static char fetched_body[256];

static void on_fetched(int status, struct str body, void *data)
{
    assert_ptr_equal(data, fetched_body);
    assert_int_equal(fetched, 0); // once
    fetched = status;
    (void)snprintf(fetched_body, sizeof fetched_body, "%.*s", STR_ARG(body));
}

static struct admin_fetch *begin_fetch(const char *to, const char *path, size_t max_bytes)
{
    struct address address;
    struct admin_fetch *f = NULL;
    assert_int_equal(address_parse(str_of(to), &address), 0);
    struct admin_fetch_options options = { &loop, &address,  NULL,       path,        "text/x",
                                           300,   max_bytes, on_fetched, fetched_body };
    fetched = 0;
    assert_int_equal(admin_fetch(&options, &f), 0);
    assert_int_equal(fetched, 0); // not from within
    return f;
}

static int fetch(const char *to, const char *path, size_t max_bytes)
{
    (void)begin_fetch(to, path, max_bytes);
    LOOP_UNTIL(fetched != 0, LIMIT_MS);
    return fetched;
}

static void test_fetching(void **state)
{
    (void)state;
    char here[128], nowhere[160];
    (void)snprintf(here, sizeof here, "unix:%s/a.sock", temp_dir());
    (void)snprintf(nowhere, sizeof nowhere, "%s.none", here);
    assert_int_equal(fetch(here, "/echo?1", 100), 200);
    assert_string_equal(fetched_body, "1||text/x||");
    assert_int_equal(fetch(here, "/none", 100), 404);
    assert_int_equal(fetch(here, "/echo?123", 10), -EMSGSIZE);
    assert_int_equal(fetch(nowhere, "/echo", 10), -ENOENT);
    assert_int_equal(fetch("127.0.0.1:1", "/echo", 10), -ECONNREFUSED);
    assert_int_equal(fetch(here, "/keep", 10), -ETIMEDOUT);
    struct admin_fetch *f = begin_fetch(here, "/echo", 10);
    admin_fetch_cancel(&f);
    f = begin_fetch("127.0.0.1:1", "/echo", 10);
    admin_fetch_cancel(&f);
    loop_for(100);
    assert_int_equal(fetched, 0);
}

static void test_fetching_from_who_is_no_server(void **state)
{
    (void)state;
    struct address address;
    char to[128];
    static const char *const answers[] = { "220 mail ready\r\n", "HTTP/1.1 200 OK\r\n", "",
                                           "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc" };
    (void)snprintf(to, sizeof to, "unix:%s/b.sock", temp_dir());
    assert_int_equal(address_parse(str_of(to), &address), 0);
    int listener = address_bind(&address);
    assert_int_equal(listen(listener, 4), 0);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        (void)begin_fetch(to, "/metrics", 100);
        loop_for(20);
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_int_equal(send(fd, answers[i], strlen(answers[i]), 0), strlen(answers[i]));
        close(fd);
        LOOP_UNTIL(fetched != 0, LIMIT_MS);
        assert_true(fetched == -EPROTO || fetched == -ECONNRESET);
    }
    close(listener);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_parts_of_a_request),
        CASE(test_bodies),
        CASE(test_bodies_that_are_refused),
        CASE(test_an_answer_that_comes_later),
        CASE(test_an_answer_that_never_comes),
        CASE(test_a_stream),
        CASE(test_a_stream_that_we_end),
        CASE(test_a_slow_reader_is_cut),
        CASE(test_a_reader_that_is_stuck_is_cut),
        CASE(test_more_streams_than_there_may_be),
        CASE(test_fetching),
        CASE(test_fetching_from_who_is_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
