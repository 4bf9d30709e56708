// SPDX-License-Identifier: MIT
// Which of several patterns takes a path.
#include "gateway/route_tree.h"

#include "gateway/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX_ROUTES 16

static struct route routes[MAX_ROUTES];
static struct route *pointers[MAX_ROUTES];
static size_t n_routes;
static struct route_tree tree;
static struct route_match match;

static int setup(void **state)
{
    (void)state;
    memset(routes, 0, sizeof routes);
    n_routes = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    route_tree_fini(&tree);
    return 0;
}

static struct route *add(enum method method, char *pattern)
{
    struct route *route = &routes[n_routes];
    *route = (struct route){ .method = method, .pattern = pattern, .live = true };
    pointers[n_routes++] = route;
    return route;
}

static void build(void)
{
    assert_int_equal(route_tree_build(&tree, pointers, n_routes), 0);
}

static struct route *find(const char *path, enum method method)
{
    char text[256];
    struct target target;
    const char *wrong = NULL;
    (void)snprintf(text, sizeof text, "%s", path);
    assert_int_equal(target_parse(text, strlen(text), &target, &wrong), 0);
    route_tree_find(&tree, &target, method, &match);
    return match.route; // the parameters borrow text, so only their lengths are compared
}

static void assert_found(const char *path, const char *pattern)
{
    struct route *route = find(path, METHOD_GET);
    if (!route || strcmp(route->pattern, pattern) != 0) {
        fail_msg("%s gives %s, expected %s", path, route ? route->pattern : "nothing", pattern);
    }
}

static void test_lookup(void **state)
{
    (void)state;
    assert_null(find("/v1/users/me", METHOD_GET)); // before there is a tree
    add(METHOD_GET, "/v1/users/me");
    add(METHOD_GET, "/v1/users/{id}");
    add(METHOD_GET, "/v1/users/{id}/orders");
    add(METHOD_GET, "/v1/{kind}/all/{x}");
    add(METHOD_GET, "/v1/dead")->live = false;
    build();
    assert_found("/v1/users/me", "/v1/users/me");
    assert_found("/v1/users/you", "/v1/users/{id}");
    // The literal leads nowhere: back to the name.
    assert_found("/v1/users/me/orders", "/v1/users/{id}/orders");
    assert_int_equal(match.n_params, 1);
    assert_int_equal(match.params[0].n, 2);
    assert_found("/v1/users/all/x", "/v1/{kind}/all/{x}");
    assert_int_equal(match.n_params, 2);
    assert_found("/v1/users/%6de", "/v1/users/me");
    assert_ptr_equal(find("/v1/users/me", METHOD_HEAD), find("/v1/users/me", METHOD_GET));
    static const char *const missing[] = { "/",
                                           "/v1",
                                           "/v1/dead",
                                           "/v1/users/",
                                           "/v1/users/me/",
                                           "//v1/users/me",
                                           "/v1/users/x/y",
                                           "/v1/users/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r" };
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        assert_null(find(missing[i], METHOD_GET));
        assert_int_equal(match.allowed, 0);
        assert_int_equal(match.n_params, 0);
    }
}

static void test_root(void **state)
{
    (void)state;
    add(METHOD_GET, "/");
    build();
    assert_found("/", "/");
    assert_null(find("//", METHOD_GET));
}

static void test_other_methods(void **state)
{
    (void)state;
    add(METHOD_GET, "/a/{b}");
    add(METHOD_DELETE, "/a/{b}");
    add(METHOD_POST, "/a/b");
    build();
    const unsigned all = 1U << METHOD_GET | 1U << METHOD_DELETE | 1U << METHOD_POST;
    assert_null(find("/a/b", METHOD_PUT)); // both the literal and the name have this path
    assert_int_equal(match.allowed, all);
    assert_null(find("/a/b", METHOD_OPTIONS));
    assert_int_equal(match.allowed, all);
    assert_non_null(find("/a/b", METHOD_DELETE));
    assert_null(find("/a/c", METHOD_POST));
    assert_int_equal(match.allowed, 1U << METHOD_GET | 1U << METHOD_DELETE);
}

static void test_rebuilt(void **state)
{
    (void)state;
    struct route *old = add(METHOD_GET, "/old");
    build();
    assert_found("/old", "/old");
    old->live = false;
    add(METHOD_GET, "/new");
    build();
    assert_null(find("/old", METHOD_GET));
    assert_found("/new", "/new");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lookup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_root, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_methods, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rebuilt, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
