// SPDX-License-Identifier: MIT
// Of all schemas a document gets those that it refers to, directly or by another, each once.
#include "gateway/schemas.h"

#include "tests/unit/hello_maker.h"
#include "tests/unit/joined_router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"

static struct table *users, *orders;
static struct buf b;

static void announce(const char *name, const char *value)
{
    hello.schemas[hello.n_schemas++] = (struct frame_pair){ str_of(name), str_of(value) };
}

static int enter(void **state)
{
    (void)state;
    assert_int_equal(joined_enter(NULL), 0);
    hello_make(&hello, "users", "users-1", "1");
    announce("user", "{\"of\":" REF("address") "}");
    announce("address", "{\"back\":" REF("user") ",\"more\":" REF("money") "}");
    announce("use", "{}");
    announce("unused", "{}");
    users = joined_table();
    hello_make(&hello, "orders", "orders-1", "1");
    announce("user", "{\"of\":\"another\"}"); // the first one counts
    announce("money", "{}");
    orders = joined_table();
    buf_init(&b, 10000);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    router_leave(&router, &users);
    router_leave(&router, &orders);
    buf_fini(&b);
    return joined_leave();
}

static void assert_appended(const char *document, const char *own, const char *expected)
{
    buf_reset(&b);
    buf_append_z(&b, document);
    schemas_append(&router, str_of(own), &b);
    assert_true(buf_ok(&b));
    struct str appended = { b.data + strlen(document), b.len - strlen(document) };
    if (!str_eq(appended, str_of(expected))) {
        fail_msg("%.*s, expected %s", STR_ARG(appended), expected);
    }
}

#define ADDRESS "\"address\":{\"back\":" REF("user") ",\"more\":" REF("money") "}"

static void test_what_is_referred_to(void **state)
{
    (void)state;
    assert_appended("{\"schemas\":{", "", "");
    assert_appended("{\"a\":" REF("money") ",\"b\":" REF("money") ",\"schemas\":{", "", "\"money\":{}");
    assert_appended("{\"a\":" REF("user") ",\"schemas\":{\"own\":{}", "own",
                    ",\"user\":{\"of\":" REF("address") "}," ADDRESS ",\"money\":{}");
    assert_appended("{\"a\":" REF("use") ",\"b\":" REF("user") ",\"schemas\":{", "", // one is the other's begin
                    "\"use\":{},\"user\":{\"of\":" REF("address") "}," ADDRESS ",\"money\":{}");
}

static void test_what_is_not_announced(void **state)
{
    (void)state;
    assert_appended("{\"a\":" REF("none") ",\"b\":" REF("money") ",\"schemas\":{", "", "\"money\":{}");
    assert_appended("{\"a\":" REF("money") ",\"schemas\":{\"money\":1", "money", ""); // it is the document's
    assert_appended("{\"a\":\"#/components/schemas/", "", ""); // no end
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    static const char document[] = "{\"a\":" REF("user") ",\"schemas\":{";
    for (size_t max = 1; max < sizeof document + 100; max++) {
        struct buf small;
        buf_init(&small, max);
        buf_append_z(&small, document);
        schemas_append(&router, STR(""), &small);
        assert_false(buf_ok(&small));
        buf_fini(&small);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_what_is_referred_to),
        CASE(test_what_is_not_announced),
        CASE(test_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
