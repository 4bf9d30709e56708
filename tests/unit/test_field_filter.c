// SPDX-License-Identifier: MIT
#include "gateway/field_filter.h"

#include "common/json_to_msgpack.h"
#include "common/msgpack_to_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

// JSON in and out, because that is what people read.
static void assert_filtered(bool keep, const char *paths, const char *json, const char *expected)
{
    struct field_filter f;
    struct json_error error;
    struct buf in, out, text;
    buf_init(&in, 65536);
    buf_init(&out, 65536);
    buf_init(&text, 65536);
    field_filter_init(&f);
    for (const char *p = paths; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
        assert_int_equal(field_filter_add(&f, (struct str){ p, strcspn(p, ",") }), 0);
    }
    assert_int_equal(json_to_msgpack(str_of(json), &in, &error), 0);
    assert_int_equal(keep ? field_filter_keep(&f, buf_str(&in), &out)
                          : field_filter_drop(&f, buf_str(&in), &out),
                     0);
    struct reader r = reader_of(buf_str(&out));
    assert_int_equal(msgpack_to_json(&r, &text), 0);
    assert_int_equal(reader_left(&r), 0);
    if (!str_eq(buf_str(&text), str_of(expected))) {
        fail_msg("%s of %s gives\n%.*s", paths, json, STR_ARG(buf_str(&text)));
    }
    buf_fini(&in);
    buf_fini(&out);
    buf_fini(&text);
}

#define USER "{\"id\":1,\"email\":\"e\",\"address\":{\"street\":\"s\",\"city\":\"c\"}}"
#define ORDER "{\"id\":1,\"items\":[{\"sku\":\"a\",\"price\":2},{\"sku\":\"b\",\"price\":3}]}"

static void test_keep(void **state)
{
    (void)state;
    assert_filtered(true, "id", USER, "{\"id\":1}");
    assert_filtered(true, "email,id", USER, "{\"id\":1,\"email\":\"e\"}");
    assert_filtered(true, "none", USER, "{}");
    assert_filtered(true, "address.city", USER, "{\"address\":{\"city\":\"c\"}}");
    assert_filtered(true, "address.city,address", USER,
                    "{\"address\":{\"street\":\"s\",\"city\":\"c\"}}");
    assert_filtered(true, "id.x", USER, "{\"id\":1}"); // below a plain value
    assert_filtered(true, "items.sku", ORDER, "{\"items\":[{\"sku\":\"a\"},{\"sku\":\"b\"}]}");
    assert_filtered(true, "items[].sku", ORDER, "{\"items\":[{\"sku\":\"a\"},{\"sku\":\"b\"}]}");
    assert_filtered(true, "id", "[{\"id\":1,\"a\":2}]", "[{\"id\":1}]");
    assert_filtered(true, "id", "7", "7");
}

static void test_keep_in_lists(void **state)
{
    (void)state;
    assert_filtered(true, "id", "{\"items\":[" USER "," ORDER "],\"next_cursor\":\"n\"}",
                    "{\"items\":[{\"id\":1},{\"id\":1}],\"next_cursor\":\"n\"}");
    assert_filtered(true, "items.sku", "{\"items\":[" ORDER "]}",
                    "{\"items\":[{\"items\":[{\"sku\":\"a\"},{\"sku\":\"b\"}]}]}");
    assert_filtered(true, "id", "{\"items\":[]}", "{\"items\":[]}");
    // An order has items, too, but is no list.
    assert_filtered(true, "id", ORDER, "{\"id\":1}");
}

static void test_drop(void **state)
{
    (void)state;
    assert_filtered(false, "email", USER,
                    "{\"id\":1,\"address\":{\"street\":\"s\",\"city\":\"c\"}}");
    assert_filtered(false, "address.city", USER,
                    "{\"id\":1,\"email\":\"e\",\"address\":{\"street\":\"s\"}}");
    assert_filtered(false, "none,id.x", USER, USER);
    assert_filtered(false, "items[].price", ORDER,
                    "{\"id\":1,\"items\":[{\"sku\":\"a\"},{\"sku\":\"b\"}]}");
    assert_filtered(false, "email", "{\"email\":{\"a\":1},\"b\":2}", "{\"b\":2}");
    assert_filtered(false, "a.b", "{\"a\":[[{\"b\":1,\"c\":2}]]}", "{\"a\":[[{\"c\":2}]]}");
    // A member that is there twice is left out twice.
    assert_filtered(false, "email", "[{\"email\":1}]", "[{}]");
}

static void test_drop_in_lists(void **state)
{
    (void)state;
    assert_filtered(false, "email", "{\"items\":[" USER "],\"next_cursor\":\"n\"}",
                    "{\"items\":[{\"id\":1,\"address\":{\"street\":\"s\",\"city\":\"c\"}}],"
                    "\"next_cursor\":\"n\"}");
    // Meant from the list itself, or from its items: both.
    assert_filtered(false, "items[].price",
                    "{\"items\":[{\"price\":1,\"x\":2,\"items\":[{\"price\":3,\"y\":4}]}]}",
                    "{\"items\":[{\"x\":2,\"items\":[{\"y\":4}]}]}");
    // The items of each order, not those of the list.
    assert_filtered(false, "items", "{\"items\":[" ORDER "]}", "{\"items\":[{\"id\":1}]}");
}

static void test_duplicate_members(void **state)
{
    (void)state;
    struct field_filter f;
    struct buf out;
    buf_init(&out, 100);
    field_filter_init(&f);
    assert_int_equal(field_filter_add(&f, STR("a")), 0);
    assert_int_equal(field_filter_drop(&f,
                                       STR("\x83\xa1"
                                           "a\x01\xa1"
                                           "b\x02\xa1"
                                           "a\x03"),
                                       &out),
                     0);
    assert_true(str_eq(buf_str(&out), STR("\x81\xa1"
                                          "b\x02")));
    buf_fini(&out);
}

static void test_malformed_values(void **state)
{
    (void)state;
    struct field_filter f;
    struct buf out;
    buf_init(&out, 1000);
    field_filter_init(&f);
    assert_int_equal(field_filter_add(&f, STR("a")), 0);
    struct str wrong[] = { STR(""),
                           STR("\x81"),
                           STR("\x81\x01\x02"),
                           STR("\x81\xa1"
                               "a"),
                           STR("\x01\x01"),
                           STR("\x82\xa1"
                               "a\x01"),
                           STR("\x91\x81\x01\x01") };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(field_filter_drop(&f, wrong[i], &out), -EBADMSG);
        assert_int_equal(field_filter_keep(&f, wrong[i], &out), -EBADMSG);
    }
    char deep[100];
    memset(deep, '\x91', sizeof deep);
    deep[99] = 1;
    assert_int_equal(field_filter_drop(&f, (struct str){ deep, sizeof deep }, &out), -EBADMSG);
    buf_fini(&out);
}

static void test_paths(void **state)
{
    (void)state;
    struct field_filter f;
    static const char *const wrong[] = { "",     ".",  "a.",   ".a",       "a..b", "a b",
                                         "a[0]", "[]", "a[]b", "\xc3\xa9", "a/b",  "$" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        field_filter_init(&f);
        if (field_filter_add(&f, str_of(wrong[i])) != -EINVAL) {
            fail_msg("%s is taken", wrong[i]);
        }
    }
    field_filter_init(&f);
    assert_int_equal(field_filter_add(&f, STR("a.b.c.d.e.f.g.h")), 0);
    assert_int_equal(field_filter_add(&f, STR("a.b.c.d.e.f.g.h.i")), -E2BIG);
    field_filter_init(&f);
    char names[FIELD_FILTER_NODES][4];
    for (size_t i = 0; i < FIELD_FILTER_NODES; i++) {
        int n = snprintf(names[i], sizeof names[i], "n%02d", (int)i);
        assert_int_equal(field_filter_add(&f, (struct str){ names[i], (size_t)n }),
                         i < FIELD_FILTER_NODES - 1 ? 0 : -E2BIG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_keep_in_lists),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_drop_in_lists),
        cmocka_unit_test(test_duplicate_members),
        cmocka_unit_test(test_malformed_values),
        cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
