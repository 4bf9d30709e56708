// SPDX-License-Identifier: MIT
// Requests with fields and a body, their limits, and an end that another thread sets. What servers
// may do wrong is in test_admin_client.c.
#include "common/http_client.h"

#include "common/clock.h"
#include "tests/unit/played_http.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct played_http server;
static struct buf body;

static int ask(int port, const struct http_call *call)
{
    struct address to;
    char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%d", port);
    assert_int_equal(address_parse(str_of(text), &to), 0);
    buf_reset(&body);
    return http_call(&to, call, &body);
}

static void test_post(void **state)
{
    (void)state;
    static const char *const answers[] = { "HTTP/1.1 202 Ok\r\nContent-Length: 3\r\n\r\nyes",
                                           NULL };
    const struct http_call call = { .method = "POST",
                                    .host = "collector:4318",
                                    .target = "/v1/traces",
                                    .fields = "X-Key: secret\r\n",
                                    .body = STR("{\"a\":1}"),
                                    .timeout_ms = 5000 };
    played_http_start(&server, answers);
    assert_int_equal(ask(server.port, &call), 202);
    played_http_end(&server);
    assert_memory_equal(body.data, "yes", 3);
    assert_string_equal(server.request,
                        "POST /v1/traces HTTP/1.1\r\nHost: collector:4318\r\nConnection: close\r\n"
                        "Content-Length: 7\r\nX-Key: secret\r\n\r\n{\"a\":1}");
}

static void test_limits(void **state)
{
    (void)state;
    static const char *const silence[] = { "", NULL };
    char fields[HTTP_CLIENT_HEAD_BYTES + 1];
    memset(fields, 'x', sizeof fields - 1);
    fields[sizeof fields - 1] = '\0';
    struct http_call call = { .method = "GET", .host = "h", .target = "/a b", .timeout_ms = 5000 };
    int nobody = played_http_nobody();
    assert_int_equal(ask(nobody, &call), -EINVAL);
    call.target = "a";
    assert_int_equal(ask(nobody, &call), -EINVAL);
    call.target = "/";
    assert_int_equal(ask(nobody, &call), -ECONNREFUSED);
    played_http_start(&server, silence);
    call.fields = fields;
    assert_int_equal(ask(server.port, &call), -EMSGSIZE);
    played_http_end(&server);
}

static void *end_soon(void *data)
{
    usleep(100000);
    atomic_store((_Atomic int64_t *)data, clock_mono_ms());
    return NULL;
}

static void test_cut_short(void **state)
{
    (void)state;
    static const char *const silence[] = { "", NULL };
    static _Atomic int64_t end_ms;
    pthread_t thread;
    const struct http_call call = {
        .method = "GET", .host = "h", .target = "/", .timeout_ms = 60000, .end_ms = &end_ms
    };
    played_http_start(&server, silence);
    int64_t begin_ms = clock_mono_ms();
    assert_int_equal(pthread_create(&thread, NULL, end_soon, &end_ms), 0);
    assert_int_equal(ask(server.port, &call), -ETIMEDOUT);
    assert_true(clock_mono_ms() - begin_ms < 20000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    played_http_end(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_cut_short),
    };
    buf_init(&body, 1000);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_fini(&body);
    return failed;
}
