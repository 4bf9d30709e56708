// SPDX-License-Identifier: MIT
#include "gateway/policy.h"

#include "gateway/policy_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct policy *policy;
static struct router router;

static void parse(const char *text)
{
    struct buf mistakes;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    policy_unref(&policy);
    if (policy_file_parse("p", str_of(text), &mistakes, &policy)) {
        fail_msg("%.*s", STR_ARG(buf_str(&mistakes)));
    }
    buf_fini(&mistakes);
}

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
    policy_unref(&policy);
    return 0;
}

static const struct route *add(enum method method, const char *pattern)
{
    assert_int_equal(router_own(&router, method, pattern, "{}", NULL), 0);
    return router.routes[router.n_routes - 1];
}

static void test_binding(void **state)
{
    (void)state;
    const struct route *root = add(METHOD_GET, "/"), *list = add(METHOD_GET, "/v1/orders");
    const struct route *one = add(METHOD_GET, "/v1/orders/{number}");
    const struct route *pay = add(METHOD_POST, "/v1/orders/{number}/pay");
    const struct route *other = add(METHOD_GET, "/v1/ordersx");
    parse(
        "{\"routes\": [{\"path\": \"/v1/orders/*\", \"fields\": true, \"sunset\": \"2030-01-01\"},"
        "{\"method\": \"GET\", \"path\": \"/v1/orders/{id}\", \"mask\": {\"fields\": [\"a\"]}},"
        "{\"method\": \"POST\", \"path\": \"/v1/orders/{id}\", \"mask\": {\"fields\": [\"a\"]}},"
        "{\"path\": \"/*\", \"response\": {\"headers\": {\"remove\": [\"link\"]}}},"
        "{\"path\": \"/\", \"request\": {\"headers\": {\"remove\": [\"x\"]}}}]}");
    assert_int_equal(policy_bind(policy, &router), 1); // POST /v1/orders/{id} is no route
    assert_true(list->policy.fields && one->policy.fields && pay->policy.fields);
    assert_false(root->policy.fields || other->policy.fields);
    assert_int_equal(list->policy.notices, 1);
    assert_int_equal(list->policy.masks, 0);
    assert_int_equal(one->policy.masks, 2);
    assert_int_equal(pay->policy.masks, 0);
    assert_int_equal(other->policy.answer_edits, 8);
    assert_int_equal(root->policy.answer_edits, 8);
    assert_int_equal(root->policy.request_edits, 16);
    assert_int_equal(list->policy.request_edits, 0);
    assert_int_equal(policy_bind(NULL, &router), 0);
    assert_int_equal(one->policy.masks, 0);
}

static void assert_rewritten(const char *path, const char *expected)
{
    char raw[200], out[200] = "";
    struct target t;
    const char *detail = NULL;
    memcpy(raw, path, strlen(path));
    assert_int_equal(target_parse(raw, strlen(path), &t, &detail), 0);
    policy_rewrite(policy, &t);
    size_t n = 0;
    for (size_t i = 0; i < t.n_segments && i < HTTP_MAX_SEGMENTS; i++) {
        out[n++] = '/';
        memcpy(out + n, t.segments[i].p, t.segments[i].n);
        n += t.segments[i].n;
    }
    out[n] = '\0';
    assert_string_equal(t.n_segments > HTTP_MAX_SEGMENTS ? "too long" : out, expected);
}

static void test_rewriting(void **state)
{
    (void)state;
    parse("{\"rewrite\": [{\"from\": \"/api\", \"to\": \"/v1\"}, {\"from\": \"/api/v2\", \"to\": "
          "\"/v2/x\"}, {\"from\": \"/strip\", \"to\": \"/\"}]}");
    assert_rewritten("/api/users", "/v1/users");
    assert_rewritten("/api", "/v1");
    assert_rewritten("/api/", "/v1/");
    assert_rewritten("/apis/users", "/apis/users");
    assert_rewritten("/v1/users", "/v1/users");
    assert_rewritten("/api/v2/users", "/v2/x/users"); // the longer prefix
    assert_rewritten("/api/api/api", "/v1/api/api");  // once
    assert_rewritten("/strip", "/");
    assert_rewritten("/strip/", "/");
    assert_rewritten("/strip/api/x", "/api/x"); // once
    assert_rewritten("/%61pi/x", "/v1/x");
    assert_rewritten("/a%2Fpi/x", "/a/pi/x"); // one segment, not two
    assert_rewritten("/api/v2/1/2/3/4/5/6/7/8/9/10/11/12/13/14",
                     "/v2/x/1/2/3/4/5/6/7/8/9/10/11/12/13/14");
    assert_rewritten("/", "/");
    parse("{\"rewrite\": [{\"from\": \"/a\", \"to\": \"/b/c\"}]}");
    assert_rewritten("/a/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", "too long");
}

static struct str field(const void *request, struct str name)
{
    (void)request; // it has two fields
    return str_eq(name, STR("a"))   ? STR("1")
           : str_eq(name, STR("b")) ? STR("2")
                                    : (struct str){ NULL, 0 };
}

static const char *seen(uint64_t rules, const char *name)
{
    static char value[20];
    struct str s = policy_request_field(policy, rules, field, NULL, str_of(name));
    memcpy(value, s.n ? s.p : "", s.n);
    value[s.n] = '\0';
    return s.p ? value : "none";
}

static void test_request_fields(void **state)
{
    (void)state;
    parse("{\"routes\": [{\"path\": \"/\", \"request\": {\"headers\": {\"set\": {\"c\": \"3\"}, "
          "\"remove\": [\"b\"], \"rename\": {\"a\": \"z\"}}}},"
          "{\"path\": \"/\", \"request\": {\"headers\": {\"rename\": {\"z\": \"y\", \"c\": \"b\", "
          "\"none\": \"n\"}, \"set\": {\"e\": \"\"}}}}]}");
    assert_string_equal(seen(1, "a"), "none");
    assert_string_equal(seen(1, "z"), "1");
    assert_string_equal(seen(1, "b"), "none");
    assert_string_equal(seen(1, "c"), "3");
    assert_string_equal(seen(2, "a"), "1");
    assert_string_equal(seen(2, "b"), "2"); // there is no c to take its place
    assert_string_equal(seen(2, "e"), "");
    assert_string_equal(seen(3, "z"), "none");
    assert_string_equal(seen(3, "y"), "1");
    assert_string_equal(seen(3, "b"), "3");
    assert_string_equal(seen(3, "c"), "none");
    assert_string_equal(seen(3, "n"), "none");
    assert_string_equal(seen(0, "a"), "1");
}

static void append(void *data, struct str name, struct str value)
{
    struct buf *b = data;
    buf_printf(b, "%.*s=%.*s;", STR_ARG(name), STR_ARG(value));
}

static void test_answer_fields(void **state)
{
    (void)state;
    parse("{\"routes\": [{\"path\": \"/\", \"response\": {\"headers\": {\"set\": {\"x-a\": \"1\", "
          "\"x-b\": \"2\"}, \"rename\": {\"link\": \"x-link\"}}}},"
          "{\"path\": \"/\", \"response\": {\"headers\": {\"rename\": {\"x-a\": \"x-c\"}, "
          "\"remove\": [\"x-b\", \"x-link\"]}}}]}");
    struct str name = STR("link");
    assert_int_equal(policy_answer_field(policy, 1, &name), 0);
    assert_true(str_eq(name, STR("x-link")));
    name = STR("link");
    assert_int_not_equal(policy_answer_field(policy, 3, &name), 0);
    name = STR("x-a");
    assert_int_not_equal(policy_answer_field(policy, 1, &name), 0); // the set value comes instead
    struct buf b;
    buf_init(&b, 1000);
    policy_answer_sets(policy, 1, append, &b);
    assert_true(str_eq(buf_str(&b), STR("x-a=1;x-b=2;")));
    buf_reset(&b);
    policy_answer_sets(policy, 3, append, &b);
    assert_true(str_eq(buf_str(&b), STR("x-c=1;")));
    buf_fini(&b);
}

static void test_masks(void **state)
{
    (void)state;
    parse("{\"routes\": [{\"path\": \"/\", \"mask\": {\"fields\": [\"a\"], \"unless_roles\": "
          "[\"admin\", \"support\"]}}, {\"path\": \"/\", \"mask\": {\"fields\": [\"b\"]}}]}");
    assert_int_equal(policy_masks(policy, 3, STR("admin")), 2);
    assert_int_equal(policy_masks(policy, 3, STR("support")), 2);
    assert_int_equal(policy_masks(policy, 3, STR("admi")), 3);
    assert_int_equal(policy_masks(policy, 3, STR("")), 3);
    assert_int_equal(policy_masks(policy, 1, STR("user")), 1);
    assert_int_equal(policy_masks(policy, 0, STR("user")), 0);
    assert_true(policy->rules[0].mask_hash != policy->rules[1].mask_hash);
}

static bool trusts(const struct policy_trust *trust, const char *address)
{
    struct client_address client = { .known = true };
    bool is_v4;
    assert_int_equal(network_address_parse(str_of(address), client.bytes, &is_v4), 0);
    return policy_trusts(trust, &client);
}

static void test_trust(void **state)
{
    (void)state;
    parse("{}");
    assert_true(trusts(&policy->trace, "192.0.2.1"));
    assert_false(trusts(&policy->request_id, "192.0.2.1"));
    parse(
        "{\"trace\": {\"trust_inbound\": [\"10.0.0.0/8\", \"::1\"], \"trust_request_id\": true}}");
    assert_false(trusts(&policy->trace, "192.0.2.1"));
    assert_true(trusts(&policy->trace, "10.9.9.9"));
    assert_true(trusts(&policy->request_id, "192.0.2.1"));
    parse("{\"trace\": {\"trust_inbound\": false}}");
    assert_false(trusts(&policy->trace, "10.9.9.9"));
    parse("{\"trace\": {\"trust_inbound\": []}}");
    assert_false(trusts(&policy->trace, "10.9.9.9"));
}

static void test_references(void **state)
{
    (void)state;
    parse("{}");
    struct policy *kept = policy_ref(policy);
    policy_unref(&policy);
    assert_null(policy);
    assert_int_equal(kept->references, 1);
    policy_unref(&kept);
    assert_null(policy_ref(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_binding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rewriting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_request_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_masks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trust, setup, teardown),
        cmocka_unit_test_setup_teardown(test_references, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
