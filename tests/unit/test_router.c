// SPDX-License-Identifier: MIT
// What becomes of routes while workers of several versions come and go.
#include "gateway/router.h"

#include "tests/unit/hello_maker.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct router router;
static struct frame_hello hello;
static char detail[ROUTER_DETAIL_SIZE];

static int setup(void **state)
{
    (void)state;
    router_init(&router);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    router_fini(&router);
    hello_frame_free();
    return 0;
}

static void start(const char *service, const char *schema)
{
    hello_make(&hello, service, "x", schema);
}

static int try_join(struct table **ret_table)
{
    return router_join(&router, &hello, hello_frame(&hello), ret_table, detail);
}

static struct table *join(void)
{
    struct table *table = NULL;
    assert_int_equal(try_join(&table), 0);
    return table;
}

static struct route *find(const char *path, enum method method)
{
    char text[256];
    struct target target;
    struct route_match match;
    const char *wrong = NULL;
    (void)snprintf(text, sizeof text, "%s", path);
    assert_int_equal(target_parse(text, strlen(text), &target, &wrong), 0);
    route_tree_find(&router.tree, &target, method, &match);
    return match.route;
}

static void answer_nothing(struct exchange *x)
{
    (void)x;
}

static void test_conflicts(void **state)
{
    (void)state;
    assert_int_equal(router_own(&router, METHOD_GET, "/livez", "{}", answer_nothing), 0);
    start("users", "1");
    hello_route(&hello, "GET", "/a/{b}");
    struct table *users = join(), *other;
    start("orders", "1");
    hello_route(&hello, "GET", "/a/{c}");
    assert_int_equal(try_join(&other), -EEXIST);
    assert_non_null(strstr(detail, "users"));
    start("orders", "1");
    hello_route(&hello, "GET", "/livez");
    assert_int_equal(try_join(&other), -EEXIST);
    start("orders", "1");
    hello_route(&hello, "POST", "/a/{c}"); // another method is another route
    struct table *orders = join();
    start("orders", "2"); // nor may a known service take it with a new table
    hello_route(&hello, "GET", "/a/{c}");
    assert_int_equal(try_join(&other), -EEXIST);
    assert_string_equal(find("/a/x", METHOD_GET)->service->name, "users");
    assert_string_equal(find("/a/x", METHOD_POST)->service->name, "orders");
    router_leave(&router, &users);
    router_leave(&router, &orders);
}

static void test_malformed(void **state)
{
    (void)state;
    struct table *table;
    start("Users", "1");
    assert_int_equal(try_join(&table), -EINVAL);
    assert_int_equal(router.n_services, 0);
}

// The routes of a service outlive its last worker, and a newer table replaces them.
static void test_last_worker(void **state)
{
    (void)state;
    start("users", "1");
    hello_route(&hello, "GET", "/old");
    hello_route(&hello, "GET", "/both");
    struct table *first = join(), *again = join();
    assert_ptr_equal(first, again);
    struct route *both = find("/both", METHOD_GET);
    router_leave(&router, &first);
    router_leave(&router, &again);
    assert_non_null(find("/old", METHOD_GET));

    start("users", "2");
    hello_route(&hello, "GET", "/both")->write = true;
    hello_route(&hello, "GET", "/new");
    struct table *newer = join();
    assert_null(find("/old", METHOD_GET));
    assert_non_null(find("/new", METHOD_GET));
    assert_ptr_equal(find("/both", METHOD_GET), both); // the same object, with the new attributes
    assert_true(both->write);
    router_leave(&router, &newer);
}

// The last table may stand in any slot.
static void test_last_worker_of_second_table(void **state)
{
    (void)state;
    start("users", "1");
    struct table *one = join();
    start("users", "2");
    hello_route(&hello, "GET", "/two");
    struct table *two = join();
    router_leave(&router, &one);
    router_leave(&router, &two);
    assert_non_null(find("/two", METHOD_GET));
    start("users", "3");
    struct table *three = join();
    assert_null(find("/two", METHOD_GET));
    router_leave(&router, &three);
}

// While a version rolls out both tables serve, the newer one's attributes count, and each keeps its
// own numbers.
static void test_side_by_side(void **state)
{
    (void)state;
    start("users", "1");
    hello_route(&hello, "GET", "/old");
    hello_route(&hello, "GET", "/both")->deadline_ms = 1000;
    struct table *one = join();
    start("users", "2");
    struct frame_route *f = hello_route(&hello, "GET", "/both");
    f->deadline_ms = 2000;
    f->sensitive = true;
    f->headers[0] = STR("x-new");
    f->n_headers = 1;
    struct table *two = join();
    struct route *both = find("/both", METHOD_GET), *old = find("/old", METHOD_GET);
    assert_non_null(old);
    assert_int_equal(both->deadline_ms, 2000);
    assert_true(both->sensitive);
    assert_int_equal(both->index[one->slot], 1);
    assert_int_equal(both->index[two->slot], 0);
    assert_int_equal(old->index[two->slot], -1);
    assert_int_equal(router_frame_route(one, both)->n_headers, 0);
    assert_int_equal(router_frame_route(two, both)->n_headers, 1);

    router_leave(&router, &two); // rolled back
    assert_int_equal(both->deadline_ms, 1000);
    assert_false(both->sensitive);
    assert_non_null(find("/old", METHOD_GET));
    router_leave(&router, &one);
}

static void test_internal_routes_are_the_gateways(void **state)
{
    (void)state;
    start("users", "1");
    hello_route(&hello, "POST", "/internal/check")->internal = true;
    hello_route(&hello, "POST", "/v1/users");
    struct table *one = join();
    assert_null(find("/internal/check", METHOD_POST));
    assert_non_null(find("/v1/users", METHOD_POST));
    struct str users = STR("users"), path = STR("/internal/check");
    assert_non_null(router_internal(&router, users, METHOD_POST, path));
    assert_null(router_internal(&router, users, METHOD_GET, path));
    assert_null(router_internal(&router, STR("orders"), METHOD_POST, path));
    assert_null(router_internal(&router, users, METHOD_POST, STR("/v1/users"))); // is public
    router_leave(&router, &one);
}

static void test_table_limit(void **state)
{
    (void)state;
    struct table *tables[TABLES_MAX], *one_more;
    char schema[8];
    for (size_t i = 0; i < TABLES_MAX; i++) {
        (void)snprintf(schema, sizeof schema, "%zu", i);
        start("users", schema);
        hello_route(&hello, "GET", "/a");
        tables[i] = join();
    }
    start("users", "x");
    hello_route(&hello, "GET", "/a");
    assert_int_equal(try_join(&one_more), -ENOSPC);
    router_leave(&router, &tables[1]);
    assert_int_equal(try_join(&one_more), 0); // there is room again
    router_leave(&router, &one_more);
    for (size_t i = 0; i < TABLES_MAX; i++) {
        if (tables[i]) {
            router_leave(&router, &tables[i]);
        }
    }
}

static void test_service_limit(void **state)
{
    (void)state;
    struct table *table;
    for (size_t i = 0; i <= SERVICES_MAX; i++) {
        char service[16];
        (void)snprintf(service, sizeof service, "s%zu", i);
        start(service, "1");
        assert_int_equal(try_join(&table), i < SERVICES_MAX ? 0 : -ENOSPC);
    }
}

// Names that nobody ever uses again do not fill the memory: at some point the process takes no new
// routes.
static void test_route_limit(void **state)
{
    (void)state;
    struct table *table = NULL;
    int rc = 0;
    for (size_t version = 0; version < ROUTES_MAX && rc == 0; version++) {
        char schema[16], patterns[FRAME_MAX_ROUTES][32];
        (void)snprintf(schema, sizeof schema, "%zu", version);
        start("users", schema);
        for (size_t i = 0; i < FRAME_MAX_ROUTES; i++) {
            (void)snprintf(patterns[i], sizeof patterns[i], "/v%zu/%zu", version, i);
            hello_route(&hello, "GET", patterns[i]);
        }
        rc = try_join(&table);
        if (rc == 0) {
            router_leave(&router, &table);
        }
    }
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(router.n_routes, ROUTES_MAX);
    assert_non_null(find("/v7/127", METHOD_GET)); // the last that fitted still serves
}

static void test_problems(void **state)
{
    (void)state;
    start("users", "1");
    hello.n_problems = 1;
    hello.problems[0] =
        (struct frame_problem){ STR("too-late"), 409, STR("Too late"), STR("It is.") };
    struct table *table = join();
    assert_int_equal(router_problem(&router, STR("too-late"))->status, 409);
    assert_null(router_problem(&router, STR("too-early")));
    router_leave(&router, &table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_worker_of_second_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_internal_routes_are_the_gateways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_table_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_service_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_route_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_problems, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
