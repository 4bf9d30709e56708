// SPDX-License-Identifier: MIT
#include "gateway/openapi.h"

#include "gateway/policy.h"
#include "tests/unit/hello_maker.h"
#include "tests/unit/joined_router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <yyjson.h>

static int setup(void **state)
{
    (void)state;
    return joined_enter(openapi_write);
}

static int teardown(void **state)
{
    (void)state;
    return joined_leave();
}

static void test_document(void **state)
{
    (void)state;
    char first[JOINED_TAG_SIZE], second[JOINED_TAG_SIZE];
    yyjson_doc *doc = joined_document(first); // also with no route at all
    assert_string_equal(joined_text(doc, "/openapi"), "3.1.0");
    yyjson_doc_free(doc);

    hello_make(&hello, "users", "users-1", "1");
    hello.summary = STR("who \"they\" are");
    hello_route(&hello, "GET", "/v1/users/{id}")->operation =
        STR("{\"operationId\":\"getUser\",\"tags\":[\"users\",\"people\"],"
            "\"x\":{\"$ref\":\"#/components/schemas/user\"}}");
    hello_route(&hello, "POST", "/v1/users")->operation =
        STR("{\"operationId\":\"createUser\",\"tags\":[\"users\"]}");
    hello_route(&hello, "DELETE", "/v1/users/{id}")->operation =
        STR("{\"operationId\":\"deleteUser\"}");
    hello_route(&hello, "GET", "/v1/bare");
    hello.n_schemas = 2;
    hello.schemas[0] = (struct frame_pair){ STR("user"), STR("{\"type\":\"object\"}") };
    hello.schemas[1] =
        (struct frame_pair){ STR("problem"), STR("{\"type\":\"string\"}") }; // is the gateway's
    struct table *users = joined_table();
    hello_make(&hello, "orders", "orders-1", "1");
    hello.n_schemas = 1;
    hello.schemas[0] =
        (struct frame_pair){ STR("user"), STR("{\"type\":\"array\"}") }; // the first one counts
    struct table *orders = joined_table();

    doc = joined_document(second);
    assert_string_not_equal(first, second);
    assert_string_equal(joined_text(doc, "/paths/~1v1~1users~1{id}/get/operationId"), "getUser");
    assert_string_equal(joined_text(doc, "/paths/~1v1~1users~1{id}/delete/operationId"),
                        "deleteUser");
    assert_string_equal(joined_text(doc, "/paths/~1v1~1users/post/operationId"), "createUser");
    assert_non_null(yyjson_doc_ptr_get(doc, "/paths/~1v1~1bare/get/responses"));
    assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/paths")), 3);
    assert_string_equal(joined_text(doc, "/components/schemas/user/type"), "object");
    assert_string_equal(joined_text(doc, "/components/schemas/problem/type"), "object");
    assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/components/schemas")), 2);
    assert_int_equal(yyjson_arr_size(yyjson_doc_ptr_get(doc, "/tags")), 2); // each once
    assert_string_equal(joined_text(doc, "/tags/0/name"), "users");
    assert_string_equal(joined_text(doc, "/tags/1/name"), "people");
    assert_string_equal(joined_text(doc, "/tags/1/description"),
                        "Served by users: who \"they\" are");
    assert_string_equal(joined_text(doc, "/components/securitySchemes/bearer/scheme"), "bearer");
    yyjson_doc_free(doc);

    doc = joined_document(first); // unchanged
    assert_string_equal(first, second);
    yyjson_doc_free(doc);
    router_leave(&router, &users);
    router_leave(&router, &orders);
}

// Besides what the worker announced, which counts.
static void test_answers_of_the_gateway(void **state)
{
    (void)state;
    char tag[JOINED_TAG_SIZE];
    hello_make(&hello, "users", "users-1", "1");
    struct frame_route *get_route = hello_route(&hello, "GET", "/v1/users/{id}");
    get_route->operation = STR("{\"responses\":{\"200\":{},\"503\":{\"description\":\"mine\"}}}");
    get_route->auth = FRAME_AUTH_REQUIRED;
    hello_route(&hello, "POST", "/v1/users")->operation = STR("{\"responses\":[]}");
    struct table *users = joined_table();
    yyjson_doc *doc = joined_document(tag);
#define GET_ANSWER "/paths/~1v1~1users~1{id}/get/responses/"
#define POST_ANSWER "/paths/~1v1~1users/post/responses/"
    assert_string_equal(joined_text(doc, GET_ANSWER "503/description"), "mine");
    assert_non_null(yyjson_doc_ptr_get(doc, GET_ANSWER "200"));
    static const char *const statuses[] = { "401", "403", "429", "4XX", "500",
                                            "502", "503", "504", "5XX" };
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        const char *status = statuses[i];
        char at[96], expected[64];
        (void)snprintf(expected, sizeof expected, "#/components/responses/%s", status);
        (void)snprintf(at, sizeof at, GET_ANSWER "%s/$ref", status);
        bool listed = strcmp(status, "502") != 0 && strcmp(status, "503") != 0;
        assert_int_equal(yyjson_equals_str(yyjson_doc_ptr_get(doc, at), expected), listed);
        (void)snprintf(at, sizeof at, POST_ANSWER "%s/$ref", status);
        listed = strcmp(status, "401") != 0 && strcmp(status, "403") != 0; // for anyone
        assert_int_equal(yyjson_equals_str(yyjson_doc_ptr_get(doc, at), expected), listed);
        (void)snprintf(at, sizeof at, "/components/responses/%s/content", status);
        assert_non_null(yyjson_doc_ptr_get(doc, at));
    }
    assert_string_equal(joined_text(doc, "/components/responses/503/description"),
                        "Overloaded; Service unavailable");
    assert_non_null(yyjson_doc_ptr_get(doc, "/components/responses/429/headers/Retry-After"));
    assert_null(yyjson_doc_ptr_get(doc, "/components/responses/500/headers"));
    yyjson_doc_free(doc);
    router_leave(&router, &users);
}

// The policy says which operations are deprecated, as long as it says so.
static void test_deprecated(void **state)
{
    (void)state;
    char tag[JOINED_TAG_SIZE], before[JOINED_TAG_SIZE];
    hello_make(&hello, "users", "users-1", "1");
    hello_route(&hello, "GET", "/v1/users/{id}")->operation =
        STR("{\"operationId\":\"getUser\",\"deprecated\":false}");
    hello_route(&hello, "POST", "/v1/users")->operation = STR("{\"operationId\":\"createUser\"}");
    hello_route(&hello, "GET", "/v1/bare");
    struct table *users = joined_table();
    yyjson_doc_free(joined_document(before));
    struct policy_rule rules[] = {
        { .methods = 1U << METHOD_GET, .path = STR("/v1"), .below = true, .deprecated = true }
    };
    struct policy policy = { .rules = rules, .n_rules = 1 };
    assert_int_equal(policy_bind(&policy, &router), 0);
    yyjson_doc *doc = joined_document(tag);
    assert_string_not_equal(tag, before);
    assert_true(
        yyjson_get_bool(yyjson_doc_ptr_get(doc, "/paths/~1v1~1users~1{id}/get/deprecated")));
    assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/paths/~1v1~1users~1{id}/get")), 3);
    assert_string_equal(joined_text(doc, "/paths/~1v1~1users~1{id}/get/operationId"), "getUser");
    assert_true(yyjson_get_bool(yyjson_doc_ptr_get(doc, "/paths/~1v1~1bare/get/deprecated")));
    assert_null(yyjson_doc_ptr_get(doc, "/paths/~1v1~1users/post/deprecated"));
    yyjson_doc_free(doc);
    (void)policy_bind(NULL, &router); // no policy any more
    yyjson_doc_free(joined_document(tag));
    assert_string_equal(tag, before);
    router_leave(&router, &users);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_document, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_of_the_gateway, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deprecated, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
