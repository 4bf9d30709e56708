// SPDX-License-Identifier: MIT
// A real listener in a thread, and peers that are wrong, slow, silent or too many. What it cannot
// answer it refuses by name, and what one peer does never disturbs another.
#include "common/admin.h"

#include "common/clock.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 21080
#define LARGE_BYTES (8 * 1024 * 1024) // far above what socket buffers take

struct server {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t stop;
    struct admin *admin;
    char address[128];
};

static struct server server;
static struct buf body;

// --- The server

static int write_hello(struct str query, struct buf *to, const char **ret_media_type, void *data)
{
    *ret_media_type = "text/html";
    buf_printf(to, "%s:%.*s", (const char *)data, STR_ARG(query));
    return 200;
}

static int write_unready(struct str query, struct buf *to, const char **ret_media_type, void *data)
{
    (void)query;
    (void)ret_media_type;
    (void)data;
    buf_append_z(to, "no\n");
    return 503;
}

static int write_large(struct str query, struct buf *to, const char **ret_media_type, void *data)
{
    (void)query;
    (void)ret_media_type;
    size_t n = *(const size_t *)data;
    char *at = buf_reserve(to, n);
    if (at) {
        memset(at, 'x', n);
        to->len += n;
    }
    return 200;
}

static void on_stop(uv_async_t *async)
{
    struct server *s = async->data;
    admin_close(&s->admin);
    uv_close((uv_handle_t *)async, NULL);
}

static void *run(void *data)
{
    struct server *s = data;
    uv_run(&s->loop, UV_RUN_DEFAULT);
    return NULL;
}

// also: another address, or NULL.
static void start_server(struct server *s, const char *also)
{
    static const size_t large = LARGE_BYTES, too_large = ADMIN_PAGE_BYTES + 1;
    snprintf(s->address, sizeof(s->address), "unix:%s/admin.sock", temp_dir());
    assert_int_equal(uv_loop_init(&s->loop), 0);
    assert_int_equal(uv_async_init(&s->loop, &s->stop, on_stop), 0);
    s->stop.data = s;
    char addresses[256];
    snprintf(addresses, sizeof(addresses), "%s%s%s", s->address, also ? "," : "", also ? also : "");
    assert_int_equal(admin_open(&s->loop, addresses, &s->admin), 0);
    assert_int_equal(admin_page(s->admin, "/hello", write_hello, "hello"), 0);
    assert_int_equal(admin_page(s->admin, "/unready", write_unready, NULL), 0);
    assert_int_equal(admin_page(s->admin, "/large", write_large, (void *)&large), 0);
    assert_int_equal(admin_page(s->admin, "/too-large", write_large, (void *)&too_large), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
}

static void stop_server(struct server *s)
{
    uv_async_send(&s->stop);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    assert_int_equal(uv_loop_close(&s->loop), 0); // every handle was closed
}

static int enter(void **state)
{
    int r = temp_dir_enter(state);
    if (r == 0) {
        start_server(&server, NULL);
        buf_init(&body, 1 << 26);
    }
    return r;
}

static int leave(void **state)
{
    stop_server(&server);
    buf_fini(&body);
    return temp_dir_leave(state);
}

// --- Peers

static int connect_peer(void)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "admin.sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void send_bytes(int fd, const char *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

// Reads until the server closes, or at most wait_ms; returns the bytes.
static size_t read_all(int fd, char *bytes, size_t size, int wait_ms)
{
    size_t n = 0;
    int64_t until = clock_mono_ms() + wait_ms;
    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int64_t left = until - clock_mono_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0) {
            break;
        }
        ssize_t part = recv(fd, bytes + n, size - 1 - n, 0);
        if (part <= 0) {
            break;
        }
        n += (size_t)part;
    }
    bytes[n] = '\0';
    return n;
}

// Sends a raw request and returns the status of the answer; 0 when there is none.
static int ask_raw(const char *request, size_t n, char *answer, size_t size)
{
    int fd = connect_peer();
    send_bytes(fd, request, n);
    read_all(fd, answer, size, 2000);
    close(fd);
    int status = 0;
    (void)sscanf(answer, "HTTP/1.1 %d ", &status);
    return status;
}

static int status_of(const char *request)
{
    char answer[4096];
    return ask_raw(request, strlen(request), answer, sizeof(answer));
}

static int get(const char *path)
{
    buf_reset(&body);
    return admin_get(server.address, path, 3000, &body);
}

static void assert_body(const char *expected)
{
    assert_int_equal(body.len, strlen(expected));
    assert_memory_equal(body.data, expected, body.len);
}

// --- Cases

static void test_pages(void **state)
{
    (void)state;
    assert_int_equal(get("/hello"), 200);
    assert_body("hello:");
    assert_int_equal(get("/hello?a=b&c?"), 200);
    assert_body("hello:a=b&c?");
    assert_int_equal(get("/unready"), 503);
    assert_body("no\n");
    assert_int_equal(get("/hello/"), 404);
    assert_body("no such page; there are: /hello /unready /large /too-large\n");
    assert_int_equal(get("/"), 404);
    assert_int_equal(get("/hell"), 404);
}

static void test_head(void **state)
{
    (void)state;
    char answer[4096];
    const char *request = "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(ask_raw(request, strlen(request), answer, sizeof(answer)), 200);
    assert_non_null(strstr(answer, "Content-Length: 6\r\n"));
    assert_non_null(strstr(answer, "Content-Type: text/html\r\n"));
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

static void test_requests_that_are_refused(void **state)
{
    (void)state;
    assert_int_equal(status_of("POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"),
                     405);
    assert_int_equal(status_of("DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
    assert_int_equal(status_of("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
    assert_int_equal(status_of("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
    assert_int_equal(status_of("GET /hello HTTP/2.0\r\n\r\n"), 505);
    assert_int_equal(status_of("GET /hello HTTP/9.9\r\n\r\n"), 400);
    assert_int_equal(status_of("NONSENSE\r\n\r\n"), 400);
    assert_int_equal(status_of("GET /hello HTTP/1.1\r\nX : y\r\n\r\n"), 400);
    assert_int_equal(status_of("GET /hello HTTP/1.1\nHost: x\n\n"), 400);
    assert_int_equal(status_of("\026\003\001\002"), 400); // a TLS client hello
    assert_int_equal(status_of("GET /hello HTTP/1.0\r\n\r\n"), 200);
    assert_int_equal(
        status_of("GET /hello HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), 200);
    char answer[4096];
    const char *post = "PUT /hello HTTP/1.1\r\n\r\n";
    ask_raw(post, strlen(post), answer, sizeof(answer));
    assert_non_null(strstr(answer, "\r\nAllow: GET, HEAD\r\n"));
}

static void test_request_size_limit(void **state)
{
    (void)state;
    static char request[3 * ADMIN_REQUEST_BYTES];
    char answer[4096];
    // Exactly the limit is served, one byte more is refused: first in headers, then in the target.
    int n = snprintf(request, sizeof(request), "GET /hello HTTP/1.1\r\nX: %0*d\r\n\r\n",
                     ADMIN_REQUEST_BYTES - 28, 0);
    assert_int_equal(n, ADMIN_REQUEST_BYTES);
    assert_int_equal(ask_raw(request, (size_t)n, answer, sizeof(answer)), 200);
    n = snprintf(request, sizeof(request), "GET /hello HTTP/1.1\r\nX: %0*d\r\n\r\n",
                 ADMIN_REQUEST_BYTES - 27, 0);
    assert_int_equal(ask_raw(request, (size_t)n, answer, sizeof(answer)), 431);
    n = snprintf(request, sizeof(request), "GET /hello?%0*d HTTP/1.1\r\n\r\n",
                 2 * ADMIN_REQUEST_BYTES, 0);
    assert_int_equal(ask_raw(request, (size_t)n, answer, sizeof(answer)), 431);
}

static void test_a_request_byte_by_byte(void **state)
{
    (void)state;
    const char *request = "GET /hello?x=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = connect_peer();
    for (const char *p = request; *p; p++) {
        send_bytes(fd, p, 1);
        usleep(500); // so that they are not read together
    }
    char answer[4096];
    read_all(fd, answer, sizeof(answer), 2000);
    assert_non_null(strstr(answer, "\r\n\r\nhello:x=1"));
    close(fd);
}

static void test_one_request_per_connection(void **state)
{
    (void)state;
    const char *two =
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /unready HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[4096];
    assert_int_equal(ask_raw(two, strlen(two), answer, sizeof(answer)), 200);
    assert_null(strstr(answer + 1, "HTTP/1.1"));
}

static void test_a_half_closed_peer_is_answered(void **state)
{
    (void)state;
    const char *request = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = connect_peer();
    send_bytes(fd, request, strlen(request));
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    char *answer = malloc(LARGE_BYTES + 4096);
    assert_non_null(answer);
    assert_true(read_all(fd, answer, LARGE_BYTES + 4096, 3000) > LARGE_BYTES);
    free(answer);
    close(fd);
}

// The peer is answered while it sends far more than the kernel holds; it is read on until it is
// done.
static void test_an_answer_survives_a_peer_that_sends_on(void **state)
{
    (void)state;
    static char request[2000000];
    memset(request, 'x', sizeof(request));
    char answer[4096];
    assert_int_equal(ask_raw(request, sizeof(request), answer, sizeof(answer)), 400);
}

static void test_large_pages(void **state)
{
    (void)state;
    assert_int_equal(get("/large"), 200);
    assert_int_equal(body.len, LARGE_BYTES);
    assert_int_equal(body.data[LARGE_BYTES - 1], 'x');
    assert_int_equal(get("/too-large"), 500);
    assert_body("page is too large\n");
}

static void test_more_peers_than_connections(void **state)
{
    (void)state;
    int peers[ADMIN_MAX_CONNECTIONS];
    for (int i = 0; i < ADMIN_MAX_CONNECTIONS; i++) {
        peers[i] = connect_peer();
        send_bytes(peers[i], "GET ", 4);
    }
    const char *request = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    int late = connect_peer();
    send_bytes(late, request, strlen(request));
    char answer[4096];
    assert_int_equal(read_all(late, answer, sizeof(answer), 200), 0); // it waits
    close(peers[7]);
    assert_true(read_all(late, answer, sizeof(answer), 2000) >
                0); // and is served when one has gone
    close(late);
    for (int i = 0; i < ADMIN_MAX_CONNECTIONS; i++) {
        if (i != 7) {
            close(peers[i]);
        }
    }
    assert_int_equal(get("/hello"), 200);
}

static void test_slow_peers_are_cut(void **state)
{
    (void)state;
    char answer[4096];
    int64_t start = clock_mono_ms();
    int silent = connect_peer();
    int slow = connect_peer();
    int deaf = connect_peer();
    send_bytes(slow, "GET /hel", 8);
    const char *request = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
    send_bytes(deaf, request, strlen(request)); // and does not read the answer
    assert_int_equal(read_all(silent, answer, sizeof(answer), 2 * ADMIN_TIMEOUT_MS), 0);
    assert_true(clock_mono_ms() - start >= ADMIN_TIMEOUT_MS - 100);
    assert_true(clock_mono_ms() - start < ADMIN_TIMEOUT_MS + 2000);
    assert_true(read_all(slow, answer, sizeof(answer), 2000) > 0);
    assert_non_null(strstr(answer, "HTTP/1.1 408 "));
    char *large = malloc(LARGE_BYTES + 4096);
    assert_non_null(large);
    assert_true(read_all(deaf, large, LARGE_BYTES + 4096, 2000) <
                LARGE_BYTES); // its answer was given up
    free(large);
    close(silent);
    close(slow);
    close(deaf);
}

static void test_closing_with_peers(void **state)
{
    (void)state;
    int fd = connect_peer();
    send_bytes(fd, "GET /", 5);
    assert_int_equal(get("/hello"), 200); // now the other has been accepted as well
    stop_server(&server);
    char answer[64];
    assert_int_equal(read_all(fd, answer, sizeof(answer), 1000), 0);
    close(fd);
    assert_int_equal(access("admin.sock", F_OK), -1);
    start_server(&server, NULL);
}

static void test_the_socket_is_private(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat("admin.sock", &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
}

// Opens on a loop of its own, closes again, and returns what admin_open() did.
static int try_open(const char *addresses)
{
    uv_loop_t loop;
    struct admin *a = NULL;
    assert_int_equal(uv_loop_init(&loop), 0);
    int r = admin_open(&loop, addresses, &a);
    admin_close(&a);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return r;
}

static void test_a_socket_in_use_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(try_open(server.address), -EADDRINUSE);
    assert_int_equal(get("/hello"), 200);
    char other[256], both[512];
    snprintf(other, sizeof(other), "unix:%s/other.sock", temp_dir());
    snprintf(both, sizeof(both), "%s,%s", other, server.address);
    assert_int_equal(try_open(both), -EADDRINUSE); // and what was opened first is closed again
    assert_int_equal(access("other.sock", F_OK), -1);
}

static void test_a_stale_socket_is_replaced(void **state)
{
    (void)state;
    struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "stale.sock" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    close(fd); // as after kill -9
    char address[256];
    snprintf(address, sizeof(address), "unix:%s/stale.sock", temp_dir());
    assert_int_equal(try_open(address), 0);
    assert_int_equal(access("stale.sock", F_OK), -1);
}

static void test_a_file_that_is_no_socket_is_left_alone(void **state)
{
    (void)state;
    close(open("precious", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    char address[256];
    snprintf(address, sizeof(address), "unix:%s/precious", temp_dir());
    assert_int_equal(try_open(address), -EADDRINUSE);
    assert_int_equal(access("precious", F_OK), 0);
}

static void test_only_its_own_socket_is_removed(void **state)
{
    (void)state;
    assert_int_equal(unlink("admin.sock"), 0);
    close(open("admin.sock", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); // another's, meanwhile
    stop_server(&server);
    assert_int_equal(unlink("admin.sock"), 0); // it is still there
    start_server(&server, NULL);
}

static void test_addresses_that_are_refused(void **state)
{
    (void)state;
    assert_int_equal(try_open(""), -EINVAL);
    assert_int_equal(try_open("unix:relative"), -EINVAL);
    char addresses[512];
    snprintf(addresses, sizeof(addresses), "unix:%s/nowhere/x.sock", temp_dir());
    assert_int_equal(try_open(addresses), -ENOENT);
    snprintf(addresses, sizeof(addresses), "unix:%s/1,unix:%s/2,unix:%s/3", temp_dir(), temp_dir(),
             temp_dir());
    assert_int_equal(try_open(addresses), -E2BIG);
    snprintf(addresses, sizeof(addresses), "unix:%s/1,", temp_dir());
    assert_int_equal(try_open(addresses), -EINVAL);
    assert_int_equal(access("1", F_OK), -1);
}

static void test_tcp(void **state)
{
    (void)state;
    char tcp[32];
    snprintf(tcp, sizeof(tcp), "127.0.0.1:%d", PORT);
    stop_server(&server);
    start_server(&server, tcp);
    assert_int_equal(try_open(tcp), -EADDRINUSE);
    buf_reset(&body);
    assert_int_equal(admin_get(tcp, "/hello", 3000, &body), 200);
    assert_body("hello:");
    assert_int_equal(get("/hello"), 200); // both listeners serve
    stop_server(&server);
    assert_int_equal(admin_get(tcp, "/hello", 3000, &body), -ECONNREFUSED);
    start_server(&server, tcp); // at once, although the port has just been used
}

static void test_page_limit(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct admin *a;
    char address[256];
    snprintf(address, sizeof(address), "unix:%s/pages.sock", temp_dir());
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(admin_open(&loop, address, &a), 0);
    for (int i = 0; i < ADMIN_MAX_PAGES; i++) {
        assert_int_equal(admin_page(a, "/x", write_hello, NULL), 0);
    }
    assert_int_equal(admin_page(a, "/x", write_hello, NULL), -ENOSPC);
    admin_close(&a);
    admin_close(&a); // NULL by now
    assert_int_equal(admin_page(a, "/x", write_hello, NULL), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_pages),
        CASE(test_head),
        CASE(test_requests_that_are_refused),
        CASE(test_request_size_limit),
        CASE(test_a_request_byte_by_byte),
        CASE(test_one_request_per_connection),
        CASE(test_a_half_closed_peer_is_answered),
        CASE(test_an_answer_survives_a_peer_that_sends_on),
        CASE(test_large_pages),
        CASE(test_more_peers_than_connections),
        CASE(test_slow_peers_are_cut),
        CASE(test_closing_with_peers),
        CASE(test_the_socket_is_private),
        CASE(test_a_socket_in_use_is_left_alone),
        CASE(test_a_stale_socket_is_replaced),
        CASE(test_a_file_that_is_no_socket_is_left_alone),
        CASE(test_only_its_own_socket_is_removed),
        CASE(test_addresses_that_are_refused),
        CASE(test_tcp),
        CASE(test_page_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
