// SPDX-License-Identifier: MIT
// Every process of a home is asked by its socket; those that are gone, or say something else, are
// told apart and hinder nobody.
#include "common/traces_fetch.h"

#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "0af7651916cd43dd8448eb211c80319c"

// A process: it answers one request, and its listener is closed then.
struct process {
    const char *answer;
    char request[2048];
    int listener;
    pthread_t thread;
};

static void *answer(void *data)
{
    struct process *p = data;
    int fd = accept(p->listener, NULL, NULL);
    ssize_t n = recv(fd, p->request, sizeof p->request - 1, 0);
    p->request[n > 0 ? n : 0] = '\0';
    (void)send(fd, p->answer, strlen(p->answer), MSG_NOSIGNAL); // who is gone, gets nothing
    close(fd);
    return NULL;
}

static void start(struct process *p, const char *name)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    (void)snprintf(at.sun_path, sizeof at.sun_path, "run/%s.admin.sock", name);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(p->listener >= 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(p->listener, 1), 0);
    if (p->answer) {
        assert_int_equal(pthread_create(&p->thread, NULL, answer, p), 0);
    }
}

static void stop(struct process *p)
{
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    close(p->listener);
}

static int failures[4];
static size_t n_failures;

static void on_failure(const char *address, int status)
{
    assert_int_equal(strncmp(address, "unix:", 5), 0);
    assert_true(n_failures < 4);
    failures[n_failures++] = status;
}

static void test_a_home(void **state)
{
    (void)state;
    struct process spans = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n"
                                       "{\"resourceSpans\": []}" };
    struct process none = { .answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" };
    struct process noise = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno!" };
    struct process gone = { .answer = NULL };
    struct traces_fetch f;
    assert_int_equal(mkdir("run", 0700), 0);
    start(&spans, "b");
    start(&none, "c");
    start(&noise, "d");
    start(&gone, "a");
    close(gone.listener); // its socket stays
    n_failures = 0;
    traces_fetch_init(&f, ID);
    assert_int_equal(traces_fetch_home(&f, temp_dir(), on_failure), 1);
    stop(&spans);
    stop(&none);
    stop(&noise);
    assert_int_equal(strncmp(spans.request, "GET /traces?id=" ID " HTTP/1.1\r\n", 58), 0);
    assert_non_null(yyjson_obj_get(yyjson_doc_get_root(f.docs[0]), "resourceSpans"));
    assert_int_equal(n_failures, 3); // in the order of their names
    assert_int_equal(failures[0], -ECONNREFUSED);
    assert_int_equal(failures[1], 404);
    assert_int_equal(failures[2], -EPROTO);
    traces_fetch_fini(&f);
    assert_int_equal(f.n, 0);
    traces_fetch_init(&f, "");
    assert_string_equal(f.page, "/traces");
    assert_int_equal(traces_fetch_home(&f, "/nonexistent", on_failure), 0);
    assert_int_equal(n_failures, 3);
    traces_fetch_fini(&f);
}

static void test_ids(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "x",
                                         "0AF7651916CD43DD8448EB211C80319C",
                                         "00000000000000000000000000000000",
                                         ID "0",
                                         "00-" ID "-b7ad6b7169203331-0" };
    char id[TRACE_ID_TEXT + 1] = "";
    assert_int_equal(traces_fetch_id(ID, id), 0);
    assert_string_equal(id, ID);
    assert_int_equal(traces_fetch_id("00-" ID "-b7ad6b7169203331-01", id), 0);
    assert_string_equal(id, ID);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(traces_fetch_id(wrong[i], id), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEMP_DIR_CASE(test_a_home),
        TEMP_DIR_CASE(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
