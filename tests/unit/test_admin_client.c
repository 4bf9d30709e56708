// SPDX-License-Identifier: MIT
// Servers that are gone, silent, slow, endless or talk something else: the client ends in time and
// says which.
#include "common/admin.h"

#include "common/clock.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

// A server that reads what comes first and then sends `answer`; then it closes, or keeps still.
struct script {
    const char *answer;
    bool keeps_open;
    bool drips; // a byte every 20 ms
    char request[2048];
    int listener;
    pthread_t thread;
};

static char address[128];
static struct buf body;

static int enter(void **state)
{
    buf_init(&body, 1000);
    return temp_dir_enter(state);
}

static int leave(void **state)
{
    buf_fini(&body);
    return temp_dir_leave(state);
}

static int listen_here(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "s" };
    snprintf(address, sizeof(address), "unix:%s/s", temp_dir());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void *play(void *data)
{
    struct script *s = data;
    int fd = accept(s->listener, NULL, NULL);
    ssize_t n = recv(fd, s->request, sizeof(s->request) - 1, 0);
    s->request[n > 0 ? n : 0] = '\0';
    size_t length = strlen(s->answer);
    for (size_t i = 0; s->drips && i < length; i++) {
        if (send(fd, s->answer + i, 1, MSG_NOSIGNAL) < 0) {
            break;
        }
        usleep(20000);
    }
    if (!s->drips) {
        (void)send(fd, s->answer, length, MSG_NOSIGNAL);
    }
    if (s->keeps_open) {
        char byte;
        (void)recv(fd, &byte, 1, 0); // until the client closes
    }
    close(fd);
    return NULL;
}

static int ask(struct script *s, int timeout_ms)
{
    s->listener = listen_here();
    assert_int_equal(pthread_create(&s->thread, NULL, play, s), 0);
    buf_reset(&body);
    int r = admin_get(address, "/readyz?verbose", timeout_ms, &body);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    close(s->listener);
    assert_int_equal(unlink("s"), 0);
    return r;
}

static int ask_for(const char *answer)
{
    struct script s = { .answer = answer };
    return ask(&s, 3000);
}

static void test_answers(void **state)
{
    (void)state;
    struct script s = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                        .keeps_open = true };
    assert_int_equal(ask(&s, 3000), 200); // complete, though the server does not close
    assert_int_equal(body.len, 2);
    assert_string_equal(
        s.request, "GET /readyz?verbose HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_int_equal(ask_for("HTTP/1.0 503 No\r\n\r\nnot yet"),
                     503); // until the end of the connection
    assert_memory_equal(body.data, "not yet", 7);
    assert_int_equal(
        ask_for(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        200);
    assert_memory_equal(body.data, "abc", 3);
    assert_int_equal(ask_for("HTTP/1.1 204 No Content\r\n\r\n"), 204);
    assert_int_equal(body.len, 0);
}

static void test_no_answers(void **state)
{
    (void)state;
    assert_int_equal(ask_for(""), -EPROTO);
    assert_int_equal(ask_for("SSH-2.0-OpenSSH_9\r\n"), -EPROTO);
    assert_int_equal(ask_for("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"), -EPROTO); // cut off
    assert_int_equal(ask_for("HTTP/1.1 200 OK\r\nContent-Le"), -EPROTO);
}

static void test_a_body_over_the_ceiling(void **state)
{
    (void)state;
    char answer[2000];
    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n\r\n%01001d", 0);
    assert_int_equal(ask_for(answer), -EMSGSIZE);
    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\n\r\n%01000d", 0);
    assert_int_equal(ask_for(answer), 200);
}

static void test_time_limit(void **state)
{
    (void)state;
    struct script silent = { .answer = "", .keeps_open = true };
    int64_t start = clock_mono_ms();
    assert_int_equal(ask(&silent, 100), -ETIMEDOUT);
    assert_true(clock_mono_ms() - start >= 100);
    // The limit holds for the whole exchange, not for each read.
    struct script dripping = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                               .drips = true };
    start = clock_mono_ms();
    assert_int_equal(ask(&dripping, 200), -ETIMEDOUT);
    assert_true(clock_mono_ms() - start < 2000);
}

static void test_nobody_there(void **state)
{
    (void)state;
    char nowhere[128];
    snprintf(nowhere, sizeof(nowhere), "unix:%s/nowhere", temp_dir());
    assert_int_equal(admin_get(nowhere, "/", 1000, &body), -ENOENT);
    close(listen_here());
    assert_int_equal(admin_get(address, "/", 1000, &body), -ECONNREFUSED);
    assert_int_equal(admin_get("127.0.0.1:21081", "/", 1000, &body), -ECONNREFUSED);
    assert_int_equal(admin_get("nonsense", "/", 1000, &body), -EINVAL);
}

static void test_paths(void **state)
{
    (void)state;
    char path[1027];
    memset(path, 'x', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    const char *const wrong[] = { "", "readyz", "/a b", "/a\r\nX: y", "/a\177", "/\xC3\xBC", path };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(admin_get("unix:/nowhere", wrong[i], 1000, &body), -EINVAL);
    }
    path[1024] = '\0';
    assert_int_equal(admin_get("unix:/nowhere", path, 1000, &body), -ENOENT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_answers),    CASE(test_no_answers),   CASE(test_a_body_over_the_ceiling),
        CASE(test_time_limit), CASE(test_nobody_there), CASE(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
