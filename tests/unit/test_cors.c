// SPDX-License-Identifier: MIT
#include "gateway/cors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static bool written(const struct cors *c, const char *origin, const char *expected)
{
    struct buf head;
    buf_init(&head, 1000);
    bool allowed = cors_write(c, origin ? str_of(origin) : (struct str){ NULL, 0 }, &head);
    if (!str_eq(buf_str(&head), str_of(expected))) {
        fail_msg("%s gives\n%.*s", origin ? origin : "no Origin", STR_ARG(buf_str(&head)));
    }
    buf_fini(&head);
    return allowed;
}

static void test_list(void **state)
{
    (void)state;
    struct str origins[] = { STR("https://shop.example"), STR("http://localhost:3000") };
    struct cors c = { .on = true,
                      .origins = origins,
                      .n_origins = 2,
                      .credentials = true,
                      .expose = STR("etag, link") };
#define VARY "Vary: Origin\r\n"
    assert_true(written(&c, "https://shop.example",
                        VARY "Access-Control-Allow-Origin: https://shop.example\r\n"
                             "Access-Control-Allow-Credentials: true\r\n"
                             "Access-Control-Expose-Headers: etag, link\r\n"));
    assert_false(written(&c, "https://shop.example.evil", VARY));
    assert_false(written(&c, "https://shop.exampl", VARY));
    assert_false(written(&c, "https://SHOP.example", VARY));
    assert_false(written(&c, "http://shop.example", VARY));
    assert_false(written(&c, "http://localhost", VARY));
    assert_false(written(&c, "null", VARY));
    assert_false(written(&c, "", VARY));
    assert_false(written(&c, NULL, VARY));
}

static void test_any(void **state)
{
    (void)state;
    struct cors c = { .on = true, .any = true };
    assert_true(written(&c, "https://a.example", "Access-Control-Allow-Origin: *\r\n"));
    assert_false(written(&c, "null", ""));
    assert_false(written(&c, NULL, ""));
}

static void test_origins(void **state)
{
    (void)state;
    static const char *const fine[] = { "https://a.example", "http://localhost:3000",
                                        "https://[::1]:8443", "http://a.example:443" };
    static const char *const wrong[] = {
        "",
        "null",
        "*",
        "https://",
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://A.example",
        "HTTPS://a.example",
        "https://a.example:443",
        "http://a.example:80",
        "https://a.example:",
        "https://*.example",
        "ftp://a.example",
        "https://u@a.example",
        "https://a.example ",
        "https://a.example:99999",
    };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        if (!cors_origin_valid(str_of(fine[i]))) {
            fail_msg("%s is refused", fine[i]);
        }
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (cors_origin_valid(str_of(wrong[i]))) {
            fail_msg("%s is taken", wrong[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_origins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
