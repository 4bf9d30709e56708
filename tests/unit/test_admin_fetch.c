// SPDX-License-Identifier: MIT
// Pages of an admin listener come, errors are told, and one that is given up says nothing.
#include "common/admin_fetch.h"

#include "common/address.h"
#include "common/admin.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PENDING 12345
#define LARGE 200000 // of a page: more than one read

static struct admin *admin;
static struct address to;
static char path[128];
static int status;
static struct buf body;

static int write_small(struct str query, struct buf *out, const char **ret_type, void *data)
{
    (void)query;
    (void)ret_type;
    (void)data;
    buf_append_z(out, "hello");
    return 200;
}

static int write_large(struct str query, struct buf *out, const char **ret_type, void *data)
{
    (void)query;
    (void)ret_type;
    (void)data;
    for (int i = 0; i < LARGE; i++) {
        buf_append_char(out, (char)('a' + i % 26));
    }
    return 503;
}

static void on_done(int s, struct str text, void *data)
{
    (void)data;
    status = s;
    buf_reset(&body);
    buf_append_str(&body, text);
}

static int enter(void **state)
{
    char address[140];
    int r = loop_enter(state);
    snprintf(path, sizeof path, "%s/admin.sock", temp_dir());
    snprintf(address, sizeof address, "unix:%s", path);
    buf_init(&body, 1 << 20);
    r = r ? r : admin_open(&loop, address, &admin);
    r = r ? r : admin_page(admin, "/small", write_small, NULL);
    return r ? r : admin_page(admin, "/large", write_large, NULL);
}

static int leave(void **state)
{
    admin_close(&admin);
    buf_fini(&body);
    return loop_leave(state);
}

// What is asked from now on; *ret_fetch: to give it up.
static void begin(const char *page, size_t max_bytes, int timeout_ms,
                  struct admin_fetch **ret_fetch)
{
    char text[140];
    snprintf(text, sizeof text, "unix:%s", path);
    assert_int_equal(address_parse(str_of(text), &to), 0);
    struct admin_fetch_options options = { .loop = &loop,
                                           .to = &to,
                                           .path = page,
                                           .accept = "text/plain",
                                           .timeout_ms = timeout_ms,
                                           .max_bytes = max_bytes,
                                           .on_done = on_done };
    status = PENDING;
    assert_int_equal(admin_fetch(&options, ret_fetch), 0);
    assert_int_equal(status, PENDING); // never from within
}

static int fetch(const char *page, size_t max_bytes)
{
    struct admin_fetch *f;
    begin(page, max_bytes, 5000, &f);
    LOOP_UNTIL(status != PENDING, 10000);
    return status;
}

static void test_pages(void **state)
{
    (void)state;
    assert_int_equal(fetch("/small", 100), 200);
    assert_true(str_eq(buf_str(&body), STR("hello")));
    assert_int_equal(fetch("/large", LARGE), 503);
    assert_int_equal(body.len, LARGE);
    assert_int_equal(body.data[LARGE - 1], 'a' + (LARGE - 1) % 26);
    assert_int_equal(fetch("/none", 1000), 404);
}

static void test_a_page_over_the_limit(void **state)
{
    (void)state;
    assert_int_equal(fetch("/large", LARGE - 1), -EMSGSIZE);
    assert_int_equal(fetch("/large", 10), -EMSGSIZE);
}

static void test_nobody_is_there(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/nobody.sock", temp_dir());
    assert_int_equal(fetch("/small", 100), -ENOENT);
}

// A listener that does what it is told to.
static int listen_at(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void test_silence_ends_in_time(void **state)
{
    (void)state;
    struct admin_fetch *f;
    int fd = listen_at("silent.sock");
    begin("/small", 100, 50, &f);
    LOOP_UNTIL(status != PENDING, 10000);
    assert_int_equal(status, -ETIMEDOUT);
    close(fd);
}

static void test_what_is_no_http(void **state)
{
    (void)state;
    static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal";
    static const char *const answers[] = { "", "hello\n", cut };
    int fd = listen_at("odd.sock");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct admin_fetch *f;
        begin("/small", 100, 5000, &f);
        loop_for(1);
        int peer = accept(fd, NULL, NULL);
        assert_true(peer >= 0);
        assert_int_equal(write(peer, answers[i], strlen(answers[i])), strlen(answers[i]));
        shutdown(peer, SHUT_WR);
        LOOP_UNTIL(status != PENDING, 10000);
        assert_int_equal(status, -EPROTO);
        close(peer);
    }
    close(fd);
}

static void test_cancelled_says_nothing(void **state)
{
    (void)state;
    struct admin_fetch *f;
    begin("/small", 100, 5000, &f);
    admin_fetch_cancel(&f);
    assert_null(f);
    admin_fetch_cancel(&f);
    loop_for(20);
    assert_int_equal(status, PENDING);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_pages),           CASE(test_a_page_over_the_limit),
        CASE(test_nobody_is_there), CASE(test_silence_ends_in_time),
        CASE(test_what_is_no_http), CASE(test_cancelled_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
