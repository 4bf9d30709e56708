// SPDX-License-Identifier: MIT
#include "gateway/response.h"

#include "gateway/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define SECURITY                                                                                   \
    "X-Content-Type-Options: nosniff\r\n"                                                          \
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"                      \
    "X-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n"                                    \
    "Cross-Origin-Resource-Policy: same-origin\r\n"
#define COMMON "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" SECURITY

static struct response response;

static int setup(void **state)
{
    (void)state;
    return response_init(&response, 0);
}

static int teardown(void **state)
{
    (void)state;
    response_fini(&response);
    return 0;
}

static void assert_head(const char *expected)
{
    struct str head = buf_str(&response.head);
    if (!str_eq(head, str_of(expected))) {
        fail_msg("head is\n%.*s", STR_ARG(head));
    }
}

static void test_whole(void **state)
{
    (void)state;
    response_begin(&response, 200, 784111777000); // the date of RFC 9110's example
    response_field(&response, STR("X-A"), STR("b"));
    buf_append_z(&response.body, "{}");
    response_end(&response, 200, STR("application/json"));
    assert_head("HTTP/1.1 200 OK\r\n" COMMON
                "X-A: b\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n");
}

// A page has another policy, and the answer after it the one of data again.
static void test_page(void **state)
{
    (void)state;
    response_begin_page(&response, 200, 784111777000);
    response_end(&response, 200, STR("text/html"));
    buf_append_char(&response.head, '\0');
    assert_true(buf_ok(&response.head));
    assert_non_null(strstr(response.head.data, "script-src 'self'; "));
    assert_non_null(strstr(response.head.data, "X-Frame-Options: DENY\r\n"));
    response_begin(&response, 404, 784111777000);
    response_end(&response, 404, STR(""));
    assert_head("HTTP/1.1 404 Not Found\r\n" COMMON "Content-Length: 0\r\n\r\n");
}

static void test_date_moves_on(void **state)
{
    (void)state;
    response_begin(&response, 200, 784111777999);
    response_begin(&response, 404, 784111778000);
    response_end(&response, 404, STR(""));
    assert_head("HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:38 "
                "GMT\r\n" SECURITY "Content-Length: 0\r\n\r\n");
}

static void test_strict_transport_security(void **state)
{
    (void)state;
    struct response behind_tls;
    assert_int_equal(response_init(&behind_tls, 63072000), 0);
    response_begin(&behind_tls, 404, 784111777000);
    response_end(&behind_tls, 404, STR(""));
    struct str head = buf_str(&behind_tls.head);
    if (!str_eq(head, STR("HTTP/1.1 404 Not Found\r\n" COMMON
                          "Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n"
                          "Content-Length: 0\r\n\r\n"))) {
        fail_msg("head is\n%.*s", STR_ARG(head));
    }
    response_fini(&behind_tls);
}

static void test_statuses_without_body(void **state)
{
    (void)state;
    for (int status = 204; status <= 304; status += 100) {
        response_begin(&response, status, 784111777000);
        buf_append_z(&response.body, "must not be sent");
        response_end(&response, status, STR("application/json"));
        assert_int_equal(response.body.len, 0);
        assert_head(status == 204 ? "HTTP/1.1 204 No Content\r\n" COMMON "\r\n"
                                  : "HTTP/1.1 304 Not Modified\r\n" COMMON "\r\n");
    }
}

static void test_other_status(void **state)
{
    (void)state;
    response_begin(&response, 299, 784111777000);
    assert_memory_equal(response.head.data, "HTTP/1.1 299 \r\n", 15);
}

static void test_head_limit(void **state)
{
    (void)state;
    static char value[RESPONSE_HEAD_BYTES];
    memset(value, 'a', sizeof value);
    response_begin(&response, 200, 784111777000);
    response_field(&response, STR("X"), (struct str){ value, sizeof value });
    response_end(&response, 200, STR("application/json"));
    assert_false(buf_ok(&response.head));
    response_begin(&response, 200, 784111777000);
    assert_true(buf_ok(&response.head));
}

static void test_values(void **state)
{
    (void)state;
    assert_true(response_value_valid(STR("a\tb \xff")));
    assert_true(response_value_valid(STR("")));
    assert_false(response_value_valid(STR("a\r\nSet-Cookie: x")));
    assert_false(response_value_valid(STR("a\0b")));
    assert_false(response_value_valid(STR("\x7f")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_date_moves_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_page, setup, teardown),
        cmocka_unit_test(test_strict_transport_security),
        cmocka_unit_test_setup_teardown(test_statuses_without_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
