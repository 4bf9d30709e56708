// SPDX-License-Identifier: MIT
#include "gateway/asyncapi.h"

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
    return joined_enter(asyncapi_write);
}

static int teardown(void **state)
{
    (void)state;
    return joined_leave();
}

static size_t members(yyjson_doc *doc, const char *pointer)
{
    assert_non_null(yyjson_doc_ptr_get(doc, pointer));
    return yyjson_obj_size(yyjson_doc_ptr_get(doc, pointer));
}

#define PAYLOAD(name) "{\"payload\":{\"$ref\":\"#/components/schemas/" name "\"}}"

static void test_document(void **state)
{
    (void)state;
    yyjson_doc *doc = joined_document(NULL); // also without any event
    assert_string_equal(joined_text(doc, "/asyncapi"), "3.0.0");
    assert_int_equal(members(doc, "/channels"), 0);
    yyjson_doc_free(doc);

    hello_make(&hello, "users", "users-1", "1");
    hello.events[0] = (struct frame_pair){ STR("users.user.created"), STR(PAYLOAD("user")) };
    hello.events[1] = (struct frame_pair){ STR("users.user.deleted"), STR(PAYLOAD("user")) };
    hello.n_events = 2;
    hello.schemas[0] = (struct frame_pair){ STR("user"), STR("{\"type\":\"object\"}") };
    hello.schemas[1] = (struct frame_pair){ STR("user_list"), STR("{}") }; // of no event
    hello.n_schemas = 2;
    struct table *users = joined_table();
    hello_make(&hello, "copy", "copy-1", "1");
    hello.events[0] = (struct frame_pair){ STR("users.user.deleted"), STR("{}") }; // the first one counts
    hello.events[1] = (struct frame_pair){ STR("copy.made"), STR("{}") };
    hello.n_events = 2;
    struct table *copy = joined_table();

    doc = joined_document(NULL);
    assert_int_equal(members(doc, "/channels"), 3);
    assert_int_equal(members(doc, "/operations"), 3);
    assert_int_equal(members(doc, "/components/messages"), 3);
    assert_int_equal(members(doc, "/components/schemas"), 1);
    assert_int_equal(members(doc, "/components/tags"), 2);
    assert_string_equal(joined_text(doc, "/channels/users.user.created/address"), "users.user.created");
    assert_string_equal(joined_text(doc, "/channels/users.user.created/messages/users.user.created/$ref"),
                        "#/components/messages/users.user.created");
    assert_string_equal(joined_text(doc, "/operations/copy.made/action"), "send");
    assert_string_equal(joined_text(doc, "/operations/copy.made/channel/$ref"), "#/channels/copy.made");
    assert_string_equal(joined_text(doc, "/operations/copy.made/messages/0/$ref"),
                        "#/channels/copy.made/messages/copy.made");
    assert_string_equal(joined_text(doc, "/operations/copy.made/tags/0/$ref"), "#/components/tags/copy");
    assert_string_equal(joined_text(doc, "/operations/users.user.deleted/tags/0/$ref"),
                        "#/components/tags/users");
    assert_string_equal(joined_text(doc, "/components/messages/users.user.deleted/payload/$ref"),
                        "#/components/schemas/user");
    assert_string_equal(joined_text(doc, "/components/messageTraits/event/headers/properties/id/type"), "string");
    yyjson_doc_free(doc);
    router_leave(&router, &users);
    router_leave(&router, &copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_document, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
