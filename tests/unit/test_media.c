// SPDX-License-Identifier: MIT
#include "gateway/media.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void assert_accept(const char *accept, enum media expected)
{
    enum media m = media_accept(accept ? str_of(accept) : (struct str){ NULL, 0 });
    if (m != expected) {
        fail_msg("Accept: %s gives %d, expected %d", accept ? accept : "(none)", (int)m,
                 (int)expected);
    }
}

static void test_accept(void **state)
{
    (void)state;
    assert_accept(NULL, MEDIA_JSON);
    assert_accept("", MEDIA_JSON);
    assert_accept("*/*", MEDIA_JSON);
    assert_accept("application/*", MEDIA_JSON);
    assert_accept("application/json", MEDIA_JSON);
    assert_accept("Application/JSON; charset=utf-8", MEDIA_JSON);
    assert_accept("application/msgpack", MEDIA_MSGPACK);
    assert_accept("application/x-msgpack", MEDIA_X_MSGPACK);
    assert_accept("application/vnd.msgpack", MEDIA_VND_MSGPACK);
    assert_accept("text/html, application/xhtml+xml, */*;q=0.8", MEDIA_JSON);
    assert_accept("application/json;q=0.5, application/vnd.msgpack", MEDIA_VND_MSGPACK);
    assert_accept("application/vnd.msgpack;q=0.5, */*;q=0.4", MEDIA_VND_MSGPACK);
    assert_accept("application/json, application/vnd.msgpack", MEDIA_JSON);
    assert_accept("application/json;q=0, */*", MEDIA_VND_MSGPACK); // the more precise range counts
    assert_accept("*/*, application/json;q=0", MEDIA_VND_MSGPACK);
    assert_accept("application/*;q=0, application/json", MEDIA_JSON);
    assert_accept("application/json;a=\",x\";q=0, application/msgpack",
                  MEDIA_MSGPACK); // separators in quotes
    assert_accept("application/json;a=\"\\\";,x\";q=0, application/msgpack", MEDIA_MSGPACK);
}

static void test_nothing_acceptable(void **state)
{
    (void)state;
    assert_accept("text/html", MEDIA_COUNT);
    assert_accept("application/json;q=0", MEDIA_COUNT);
    assert_accept("*/*;q=0", MEDIA_COUNT);
    assert_accept("*/*;q=0.000", MEDIA_COUNT);
    assert_accept("application/jsonx", MEDIA_COUNT);
    assert_accept("application", MEDIA_COUNT);
    assert_accept(",,;,", MEDIA_COUNT);
    assert_accept("application/json;q=2", MEDIA_COUNT); // not a q-value: the element is ignored
    assert_accept("application/json;q=-1", MEDIA_COUNT);
    assert_accept("application/json;q=0.0001", MEDIA_COUNT);
    assert_accept("application/json;q=1.5", MEDIA_COUNT);
    assert_accept("application/json;q=", MEDIA_COUNT);
}

static void test_content(void **state)
{
    (void)state;
    assert_int_equal(media_content(STR("application/json")), CONTENT_JSON);
    assert_int_equal(media_content(STR("application/JSON ; charset=UTF-8")), CONTENT_JSON);
    assert_int_equal(media_content(STR("application/json; charset=\"utf-8\"")), CONTENT_JSON);
    assert_int_equal(media_content(STR("application/json; charset=latin1")), CONTENT_OTHER);
    assert_int_equal(media_content(STR("application/merge-patch+json")), CONTENT_MERGE_PATCH);
    assert_int_equal(media_content(STR("application/vnd.msgpack")), CONTENT_MSGPACK);
    assert_int_equal(media_content(STR("application/msgpack")), CONTENT_MSGPACK);
    assert_int_equal(media_content(STR("application/x-msgpack")), CONTENT_MSGPACK);
    assert_int_equal(media_content(STR("application/jsonp")), CONTENT_OTHER);
    assert_int_equal(media_content(STR("text/json")), CONTENT_OTHER);
    assert_int_equal(media_content(STR("")), CONTENT_OTHER);
    assert_int_equal(media_content((struct str){ NULL, 0 }), CONTENT_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_nothing_acceptable),
        cmocka_unit_test(test_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
