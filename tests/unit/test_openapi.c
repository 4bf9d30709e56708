// SPDX-License-Identifier: MIT
#include "gateway/openapi.h"

#include "gateway/policy.h"
#include "tests/unit/hello_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <yyjson.h>

static struct router router;
static struct openapi *openapi;
static struct frame_hello hello;

static int setup(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    router_init(&router);
    return openapi_new(&openapi);
}

static int teardown(void **state)
{
    (void)state;
    openapi_destroy(&openapi);
    router_fini(&router);
    hello_frame_free();
    return 0;
}

static struct table *join(void)
{
    char detail[ROUTER_DETAIL_SIZE];
    struct table *table = NULL;
    assert_int_equal(router_join(&router, &hello, hello_frame(&hello), &table, detail), 0);
    return table;
}

static yyjson_doc *get(char etag[64])
{
    struct str json, tag;
    assert_int_equal(openapi_get(openapi, &router, &json, &tag), 0);
    assert_true(tag.n > 2 && tag.n < 64 && tag.p[0] == '"' && tag.p[tag.n - 1] == '"');
    memcpy(etag, tag.p, tag.n);
    etag[tag.n] = '\0';
    yyjson_doc *doc = yyjson_read(json.p, json.n, 0);
    assert_non_null(doc);
    return doc;
}

static const char *text_at(yyjson_doc *doc, const char *pointer)
{
    return yyjson_get_str(yyjson_doc_ptr_get(doc, pointer));
}

static void test_document(void **state)
{
    (void)state;
    char first[64], second[64];
    yyjson_doc *doc = get(first); // also with no route at all
    assert_string_equal(text_at(doc, "/openapi"), "3.1.0");
    yyjson_doc_free(doc);

    hello_make(&hello, "users", "users-1", "1");
    hello_route(&hello, "GET", "/v1/users/{id}")->operation = STR("{\"operationId\":\"getUser\"}");
    hello_route(&hello, "POST", "/v1/users")->operation = STR("{\"operationId\":\"createUser\"}");
    hello_route(&hello, "DELETE", "/v1/users/{id}")->operation =
        STR("{\"operationId\":\"deleteUser\"}");
    hello_route(&hello, "GET", "/v1/bare");
    hello.n_schemas = 2;
    hello.schemas[0] = (struct frame_pair){ STR("user"), STR("{\"type\":\"object\"}") };
    hello.schemas[1] =
        (struct frame_pair){ STR("problem"), STR("{\"type\":\"string\"}") }; // is the gateway's
    struct table *users = join();
    hello_make(&hello, "orders", "orders-1", "1");
    hello.n_schemas = 1;
    hello.schemas[0] =
        (struct frame_pair){ STR("user"), STR("{\"type\":\"array\"}") }; // the first one counts
    struct table *orders = join();

    doc = get(second);
    assert_string_not_equal(first, second);
    assert_string_equal(text_at(doc, "/paths/~1v1~1users~1{id}/get/operationId"), "getUser");
    assert_string_equal(text_at(doc, "/paths/~1v1~1users~1{id}/delete/operationId"), "deleteUser");
    assert_string_equal(text_at(doc, "/paths/~1v1~1users/post/operationId"), "createUser");
    assert_non_null(yyjson_doc_ptr_get(doc, "/paths/~1v1~1bare/get/responses"));
    assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/paths")), 3);
    assert_string_equal(text_at(doc, "/components/schemas/user/type"), "object");
    assert_string_equal(text_at(doc, "/components/schemas/problem/type"), "object");
    assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/components/schemas")), 2);
    assert_string_equal(text_at(doc, "/components/securitySchemes/bearer/scheme"), "bearer");
    yyjson_doc_free(doc);

    doc = get(first); // unchanged
    assert_string_equal(first, second);
    yyjson_doc_free(doc);
    router_leave(&router, &users);
    router_leave(&router, &orders);
}

// The policy says which operations are deprecated, as long as it says so.
static void test_deprecated(void **state)
{
    (void)state;
    char tag[64], before[64];
    hello_make(&hello, "users", "users-1", "1");
    hello_route(&hello, "GET", "/v1/users/{id}")->operation =
        STR("{\"operationId\":\"getUser\",\"deprecated\":false}");
    hello_route(&hello, "POST", "/v1/users")->operation = STR("{\"operationId\":\"createUser\"}");
    hello_route(&hello, "GET", "/v1/bare");
    struct table *users = join();
    yyjson_doc_free(get(before));
    struct policy_rule rules[] = {
        { .methods = 1U << METHOD_GET, .path = STR("/v1"), .below = true, .deprecated = true }
    };
    struct policy policy = { .rules = rules, .n_rules = 1 };
    assert_int_equal(policy_bind(&policy, &router), 0);
    yyjson_doc *doc = get(tag);
    assert_string_not_equal(tag, before);
    assert_true(
        yyjson_get_bool(yyjson_doc_ptr_get(doc, "/paths/~1v1~1users~1{id}/get/deprecated")));
    assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/paths/~1v1~1users~1{id}/get")), 2);
    assert_string_equal(text_at(doc, "/paths/~1v1~1users~1{id}/get/operationId"), "getUser");
    assert_true(yyjson_get_bool(yyjson_doc_ptr_get(doc, "/paths/~1v1~1bare/get/deprecated")));
    assert_null(yyjson_doc_ptr_get(doc, "/paths/~1v1~1users/post/deprecated"));
    yyjson_doc_free(doc);
    (void)policy_bind(NULL, &router); // no policy any more
    yyjson_doc_free(get(tag));
    assert_string_equal(tag, before);
    router_leave(&router, &users);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_document, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deprecated, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
