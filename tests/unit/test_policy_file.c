// SPDX-License-Identifier: MIT
// What is wrong with a policy file is said with its place, its name, and what is allowed.
#include "gateway/policy_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_MISTAKES 100 // JSON_MAX_MISTAKES of common/json_check.h

static const struct {
    const char *text, *mistakes;
} wrong[] = {
    { "", "p:1:1: is not JSON: input length is 0; allowed: one JSON object\n" },
    { "[]", "p:1:1: is an array; allowed: an object with cors, trace, rewrite, routes\n" },
    { "{\"cors\": }", "p:1:10: is not JSON: unexpected character, expected a valid JSON value; "
                      "allowed: one JSON object\n" },
    { "{\n  \"corse\": {}\n}",
      "p:2:3: unknown key \"corse\"; allowed: cors, trace, rewrite, routes\n" },
    { "{\"cors\": [], \"cors\": {}}",
      "p:1:2: cors: is an array; allowed: an object with origins, headers, expose, credentials, "
      "max_age\np:1:14: cors: is there twice; allowed: once\n" },
    { "{\"cors\": 1}", "p:1:10: cors: is a number; allowed: an object with origins, headers, "
                       "expose, credentials, max_age\n" },
    { "{\"cors\": {}}", "p:1:2: cors: has no \"origins\"; allowed: an array of origins\n" },
    { "{\"cors\": {\"origins\": \"https://a.example\"}}",
      "p:1:22: cors.origins: is a string; allowed: an array of at most 64 origins\n" },
    { "{\"cors\": {\"origins\": []}}",
      "p:1:11: cors.origins: allows nobody; allowed: at least one origin, or no key \"cors\"\n" },
    { "{\"cors\": {\"origins\": [\"https://a.example/\"]}}",
      "p:1:23: cors.origins[0]: \"https://a.example/\" is no origin; allowed: \"*\", or "
      "SCHEME://HOST[:PORT] as browsers write it (http or https, lower case, nothing behind it), "
      "such as \"https://shop.example\"\n" },
    { "{\"cors\": {\"origins\": [\"null\"]}}",
      "p:1:23: cors.origins[0]: \"null\" is the origin of every sandboxed page; allowed: \"*\", or "
      "SCHEME://HOST[:PORT] as browsers write it (http or https, lower case, nothing behind it), "
      "such as \"https://shop.example\"\n" },
    { "{\"cors\": {\"origins\": [7]}}",
      "p:1:23: cors.origins[0]: is a number; allowed: \"*\", or SCHEME://HOST[:PORT] as browsers "
      "write it (http or https, lower case, nothing behind it), such as "
      "\"https://shop.example\"\n" },
    { "{\"cors\": {\"origins\": [\"*\", \"https://a.example\"]}}",
      "p:1:11: cors.origins: \"*\" goes with no other origin; allowed: either\n" },
    { "{\"cors\": {\"origins\": [\"*\"], \"credentials\": true}}",
      "p:1:2: cors: every origin with credentials; allowed: \"credentials\" with a list of origins "
      "only\n" },
    { "{\"cors\": {\"origins\": [\"*\"], \"credentials\": \"yes\"}}",
      "p:1:44: cors.credentials: is a string; allowed: true, false\n" },
    { "{\"cors\": {\"origins\": [\"*\"], \"headers\": [\"X-A\"]}}",
      "p:1:41: cors.headers[0]: \"X-A\" is no header field; allowed: a name in lower case, such as "
      "\"if-match\"\n" },
    { "{\"cors\": {\"origins\": [\"*\"], \"expose\": [\"*\"]}}",
      "p:1:40: cors.expose[0]: \"*\" is no header field; allowed: a name in lower case, such as "
      "\"if-match\"\n" },
    { "{\"cors\": {\"origins\": [\"*\"], \"headers\": {}}}",
      "p:1:29: cors.headers: is an object; allowed: an array of at most 64 header fields\n" },
    { "{\"cors\": {\"origins\": [\"*\"], \"max_age\": \"25h\"}}",
      "p:1:40: cors.max_age: \"25h\" is no such time; allowed: a time up to 24h, such as \"10m\" "
      "or \"2h\"\n" },
    { "{\"cors\": {\"origins\": [\"*\"], \"max_age\": 600}}",
      "p:1:40: cors.max_age: is a number; allowed: a time up to 24h, such as \"10m\" or \"2h\"\n" },
    { "{\"trace\": {\"trust\": true}}",
      "p:1:12: trace: unknown key \"trust\"; allowed: trust_inbound, trust_request_id\n" },
    { "{\"trace\": {\"trust_inbound\": \"yes\"}}",
      "p:1:29: trace.trust_inbound: is neither; allowed: true, false, or an array of addresses and "
      "networks, such as \"10.0.0.0/8\"\n" },
    { "{\"trace\": {\"trust_inbound\": [\"10.0.0.1/8\"]}}",
      "p:1:30: trace.trust_inbound[0]: \"10.0.0.1/8\" is no network; allowed: ADDRESS or "
      "ADDRESS/BITS, IPv4 or IPv6, with no bits set behind the prefix\n" },
    { "{\"trace\": {\"trust_request_id\": [1]}}",
      "p:1:33: trace.trust_request_id[0]: is a number; allowed: an address or a network, such as "
      "\"10.0.0.0/8\"\n" },
    { "{\"rewrite\": {}}",
      "p:1:2: rewrite: is an object; allowed: an array of at most 32 rewrites\n" },
    { "{\"rewrite\": [{\"from\": \"/a\"}]}",
      "p:1:15: rewrite[0]: is not complete; allowed: \"from\" and \"to\"\n" },
    { "{\"rewrite\": [{\"from\": \"/\", \"to\": \"/b\"}]}",
      "p:1:23: rewrite[0].from: \"/\" is no such prefix; allowed: a path of at most 16 segments "
      "without {parameters}, %, ? or a / at the end, such as \"/v1\"\n" },
    { "{\"rewrite\": [{\"from\": \"/a/\", \"to\": \"/b\"}]}",
      "p:1:23: rewrite[0].from: \"/a/\" is no such prefix; allowed: a path of at most 16 segments "
      "without {parameters}, %, ? or a / at the end, such as \"/v1\"\n" },
    { "{\"rewrite\": [{\"from\": \"/a\", \"to\": \"b\"}]}",
      "p:1:35: rewrite[0].to: \"b\" is no such prefix; allowed: \"/\", or a path of at most 16 "
      "segments without {parameters}, %, ? or a / at the end, such as \"/v1\"\n" },
    { "{\"rewrite\": [{\"from\": \"/{a}\", \"to\": \"/b\"}]}",
      "p:1:23: rewrite[0].from: \"/{a}\" is no such prefix; allowed: a path of at most 16 segments "
      "without {parameters}, %, ? or a / at the end, such as \"/v1\"\n" },
    { "{\"rewrite\": [{\"from\": \"/a\", \"to\": \"/a/b\"}]}",
      "p:1:2: rewrite: [0].to begins with [0].from, but a path is rewritten once; allowed: \"to\" "
      "that no \"from\" is the beginning of\n" },
    { "{\"rewrite\": [{\"from\": \"/a\", \"to\": \"/b/c\"},\n {\"from\": \"/b\", \"to\": \"/d\"}]}",
      "p:1:2: rewrite: [0].to begins with [1].from, but a path is rewritten once; allowed: \"to\" "
      "that no \"from\" is the beginning of\n" },
    { "{\"rewrite\": [{\"from\": \"/a\", \"to\": \"/b\"}, {\"from\": \"/a\", \"to\": \"/c\"}]}",
      "p:1:2: rewrite: [0].from and [1].from are the same; allowed: once\n" },
    { "{\"rewrite\": [{\"from\": \"/a/;\", \"to\": \"/b\"}, {\"from\": \"/a/;\", \"to\": \"/a\"}]}",
      "p:1:23: rewrite[0].from: \"/a/;\" is no such prefix; allowed: a path of at most 16 segments "
      "without {parameters}, %, ? or a / at the end, such as \"/v1\"\n"
      "p:1:53: rewrite[1].from: \"/a/;\" is no such prefix; allowed: a path of at most 16 segments "
      "without {parameters}, %, ? or a / at the end, such as \"/v1\"\n" },
    { "{\"corse\\n\": {}, \"cors\": {\"\\npage:1:1: \\u007f\": 1}}",
      "p:1:2: unknown key \"corse?\"; allowed: cors, trace, rewrite, routes\n"
      "p:1:26: cors: unknown key \"?page:1:1: ?\"; allowed: origins, headers, expose, credentials, "
      "max_age\np:1:17: cors: has no \"origins\"; allowed: an array of origins\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"set\": {\"a\\nb\": "
      "\"\"}}}}]}",
      "p:1:60: routes[0].request.headers.set.a?b: \"a?b\" is no header field; allowed: a name in "
      "lower case, such as \"x-tenant\"\n" },
    { "{\"routes\": {}}", "p:1:2: routes: is an object; allowed: an array of at most 64 rules\n" },
    { "{\"routes\": [[]]}", "p:1:2: routes[0]: is an array; allowed: an object with method, path, "
                            "request, response, deprecation, sunset, link, mask, fields\n" },
    { "{\"routes\": [{}]}", "p:1:2: routes[0]: has no \"path\"; allowed: a pattern or a "
                            "prefix\np:1:2: routes[0]: does nothing; allowed: at least one of "
                            "request, response, deprecation, sunset, mask, and fields true\n" },
    { "{\"routes\": [{\"path\": \"/a\"}]}",
      "p:1:14: routes[0]: does nothing; allowed: at least one of request, response, deprecation, "
      "sunset, mask, and fields true\n" },
    { "{\"routes\": [{\"path\": \"a\", \"fields\": true}]}",
      "p:1:22: routes[0].path: \"a\" is no such path; allowed: a pattern as the route announces it "
      "(\"/v1/orders/{id}\"), or a prefix of one with /* behind it (\"/v1/orders/*\")\n" },
    { "{\"routes\": [{\"path\": \"/a/*/b\", \"fields\": true}]}",
      "p:1:22: routes[0].path: \"/a/*/b\" is no such path; allowed: a pattern as the route "
      "announces it (\"/v1/orders/{id}\"), or a prefix of one with /* behind it "
      "(\"/v1/orders/*\")\n" },
    { "{\"routes\": [{\"path\": \"/a?b\", \"fields\": true}]}",
      "p:1:22: routes[0].path: \"/a?b\" is no such path; allowed: a pattern as the route announces "
      "it (\"/v1/orders/{id}\"), or a prefix of one with /* behind it (\"/v1/orders/*\")\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"method\": \"HEAD\", \"fields\": true}]}",
      "p:1:38: routes[0].method: \"HEAD\" is no method of a route; allowed: *, GET, POST, PUT, "
      "PATCH, DELETE\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"method\": \"get\", \"fields\": true}]}",
      "p:1:38: routes[0].method: \"get\" is no method of a route; allowed: *, GET, POST, PUT, "
      "PATCH, DELETE\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"fields\": \"true\"}]}",
      "p:1:38: routes[0].fields: is a string; allowed: true, false\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"field\": true}]}",
      "p:1:28: routes[0]: unknown key \"field\"; allowed: method, path, request, response, "
      "deprecation, sunset, link, mask, fields\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"header\": {}}}]}",
      "p:1:40: routes[0].request: unknown key \"header\"; allowed: headers\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"set\": {\"X-A\": \"b\"}}}}]}",
      "p:1:60: routes[0].request.headers.set.X-A: \"X-A\" is no header field; allowed: a name in "
      "lower case, such as \"x-tenant\"\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"set\": {\"host\": "
      "\"b\"}}}}]}",
      "p:1:60: routes[0].request.headers.set.host: \"host\" is the gateway's own; allowed: fields "
      "that neither frame a message nor belong to one connection or to the gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"set\": "
      "{\"transfer-encoding\": \"b\"}}}}]}",
      "p:1:60: routes[0].request.headers.set.transfer-encoding: \"transfer-encoding\" frames the "
      "message; allowed: fields that neither frame a message nor belong to one connection or to "
      "the gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"set\": {\"x-a\": "
      "\"b\\r\\nx-c: d\"}}}}]}",
      "p:1:67: routes[0].request.headers.set.x-a: is no value of a header field; allowed: at most "
      "1024 bytes without control characters\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"set\": {\"x-a\": 1}}}}]}",
      "p:1:67: routes[0].request.headers.set.x-a: is a number; allowed: a string\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"set\": []}}}]}",
      "p:1:52: routes[0].request.headers.set: is no object; allowed: an object of at most 32 "
      "members\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"remove\": [\"x-a\"], "
      "\"set\": {\"x-a\": \"1\"}}}}]}",
      "p:1:79: routes[0].request.headers.set.x-a: \"x-a\" is edited twice; allowed: once in a "
      "rule\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"rename\": {\"x-a\": "
      "\"authorization\"}}}}]}",
      "p:1:70: routes[0].request.headers.rename.x-a: \"authorization\" is the gateway's own; "
      "allowed: fields that neither frame a message nor belong to one connection or to the "
      "gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"rename\": {\"x-a\": "
      "\"x-a\"}}}}]}",
      "p:1:70: routes[0].request.headers.rename.x-a: is the old name; allowed: another one\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"rename\": {\"x-a\": \"x-c\", "
      "\"x-b\": \"x-c\"}}}}]}",
      "p:1:84: routes[0].request.headers.rename.x-b: \"x-c\" is edited twice; allowed: once in a "
      "rule\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"remove\": "
      "[\"connection\"]}}}]}",
      "p:1:63: routes[0].request.headers.remove[0]: \"connection\" belongs to one connection; "
      "allowed: fields that neither frame a message nor belong to one connection or to the "
      "gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"request\": {\"headers\": {\"remove\": [\"x a\"]}}}]}",
      "p:1:63: routes[0].request.headers.remove[0]: \"x a\" is no header field; allowed: a name in "
      "lower case, such as \"x-tenant\"\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"response\": {\"headers\": {\"set\": {\"etag\": "
      "\"1\"}}}}]}",
      "p:1:61: routes[0].response.headers.set.etag: \"etag\" names the representation; allowed: "
      "fields that neither frame a message nor belong to one connection or to the gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"response\": {\"headers\": {\"set\": {\"deprecation\": "
      "\"1\"}}}}]}",
      "p:1:61: routes[0].response.headers.set.deprecation: \"deprecation\" is for the key "
      "`deprecation`; allowed: fields that neither frame a message nor belong to one connection or "
      "to the gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"response\": {\"headers\": {\"rename\": {\"link\": "
      "\"content-length\"}}}}]}",
      "p:1:72: routes[0].response.headers.rename.link: \"content-length\" frames the message; "
      "allowed: fields that neither frame a message nor belong to one connection or to the "
      "gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"response\": {\"headers\": {\"set\": "
      "{\"access-control-allow-origin\": \"*\"}}}}]}",
      "p:1:61: routes[0].response.headers.set.access-control-allow-origin: "
      "\"access-control-allow-origin\" is for `cors`; allowed: fields that neither frame a message "
      "nor belong to one connection or to the gateway\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"deprecation\": \"2027-02-30\"}]}",
      "p:1:43: routes[0].deprecation: \"2027-02-30\" is no time; allowed: a day (\"2027-01-31\") "
      "or a time (\"2027-01-31T12:00:00Z\")\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"deprecation\": true}]}",
      "p:1:28: routes[0].deprecation: is true or false; allowed: a day (\"2027-01-31\") or a time "
      "(\"2027-01-31T12:00:00Z\")\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"deprecation\": \"2027-01-01\", \"sunset\": "
      "\"2026-01-01\"}]}",
      "p:1:14: routes[0]: \"sunset\" is before \"deprecation\"; allowed: not before it\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"link\": \"/x\"}]}",
      "p:1:14: routes[0]: \"link\" alone says nothing; allowed: with \"deprecation\" or "
      "\"sunset\"\np:1:14: routes[0]: does nothing; allowed: at least one of request, response, "
      "deprecation, sunset, mask, and fields true\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"sunset\": \"2027-01-01\", \"link\": \"javascript:x\"}]}",
      "p:1:60: routes[0].link: \"javascript:x\" is no link; allowed: a URL or a path that tells "
      "what to do, such as \"https://example.com/migrate\"\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"sunset\": \"2027-01-01\", \"link\": \"https://a>b\"}]}",
      "p:1:60: routes[0].link: \"https://a>b\" is no link; allowed: a URL or a path that tells "
      "what to do, such as \"https://example.com/migrate\"\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"mask\": {}}]}",
      "p:1:28: routes[0].mask: has no \"fields\"; allowed: an array of paths\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"mask\": {\"fields\": []}}]}",
      "p:1:37: routes[0].mask.fields: masks nothing; allowed: at least one path, or no key "
      "\"mask\"\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"mask\": {\"fields\": [\"a..b\"]}}]}",
      "p:1:48: routes[0].mask.fields[0]: \"a..b\" is no path of a member, or one too many; "
      "allowed: names of letters, digits, _ and - with dots between them, at most 8, such as "
      "\"email\" or \"items[].price\"; in one mask at most 95 names\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"mask\": {\"fields\": [\"a[0]\"]}}]}",
      "p:1:48: routes[0].mask.fields[0]: \"a[0]\" is no path of a member, or one too many; "
      "allowed: names of letters, digits, _ and - with dots between them, at most 8, such as "
      "\"email\" or \"items[].price\"; in one mask at most 95 names\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"mask\": {\"fields\": [\"a\"], \"unless\": "
      "[\"admin\"]}}]}",
      "p:1:54: routes[0].mask: unknown key \"unless\"; allowed: fields, unless_roles\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"mask\": {\"fields\": [\"a\"], \"unless_roles\": "
      "[\"\"]}}]}",
      "p:1:71: routes[0].mask.unless_roles[0]: is no role; allowed: 1 to 64 bytes, such as "
      "\"admin\"\n" },
    { "{\"routes\": [{\"path\": \"/a\", \"mask\": {\"fields\": [\"a\"], \"unless_roles\": "
      "\"admin\"}}]}",
      "p:1:70: routes[0].mask.unless_roles: is a string; allowed: an array of at most 16 roles\n" },
    { "{\"cors\": {\"origins\": [\"x\"]},\n \"trace\": {\"a\": 1},\n \"routes\": [{\"path\": "
      "\"/a\", \"mask\": null}]}",
      "p:1:23: cors.origins[0]: \"x\" is no origin; allowed: \"*\", or SCHEME://HOST[:PORT] as "
      "browsers write it (http or https, lower case, nothing behind it), such as "
      "\"https://shop.example\"\np:2:12: trace: unknown key \"a\"; allowed: trust_inbound, "
      "trust_request_id\np:3:28: routes[0].mask: is null; allowed: an object with fields, "
      "unless_roles\n" },
};

static void test_wrong_files(void **state)
{
    (void)state;
    struct buf mistakes;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct policy *policy = NULL;
        buf_reset(&mistakes);
        assert_int_equal(policy_file_parse("p", str_of(wrong[i].text), &mistakes, &policy),
                         -EINVAL);
        assert_null(policy);
        if (!str_eq(buf_str(&mistakes), str_of(wrong[i].mistakes))) {
            fail_msg("%s\nis said to have\n%.*s", wrong[i].text, STR_ARG(buf_str(&mistakes)));
        }
    }
    buf_fini(&mistakes);
}

static struct policy *parse(const char *text)
{
    struct buf mistakes;
    struct policy *policy = NULL;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    int rc = policy_file_parse("p", str_of(text), &mistakes, &policy);
    if (rc) {
        fail_msg("%d: %.*s", rc, STR_ARG(buf_str(&mistakes)));
    }
    buf_fini(&mistakes);
    return policy;
}

static void test_empty(void **state)
{
    (void)state;
    struct policy *p = parse("{}");
    assert_false(p->cors.on);
    assert_true(p->trace.all);
    assert_false(p->request_id.all);
    assert_int_equal(p->n_rules + p->n_rewrites, 0);
    policy_unref(&p);
}

static void test_notices(void **state)
{
    (void)state;
    struct policy *p =
        parse("{\"routes\": [{\"path\": \"/a\", \"deprecation\": \"2023-06-30T23:59:59Z\", "
              "\"sunset\": \"2024-06-30T23:59:59Z\", \"link\": \"https://a.example/x\"},"
              "{\"path\": \"/a\", \"sunset\": \"1994-11-06\", \"link\": \"/x\"}]}");
    // The date of RFC 9745's example, and one in the form of RFC 9110.
    assert_true(str_eq(p->rules[0].notice,
                       STR("Deprecation: @1688169599\r\nSunset: Sun, 30 Jun 2024 23:59:59 GMT\r\n"
                           "Link: <https://a.example/x>; rel=\"deprecation\"; "
                           "type=\"text/html\"\r\n")));
    assert_true(
        str_eq(p->rules[1].notice, STR("Sunset: Sun, 06 Nov 1994 00:00:00 GMT\r\n"
                                       "Link: </x>; rel=\"sunset\"; type=\"text/html\"\r\n")));
    policy_unref(&p);
}

static void test_cors_defaults(void **state)
{
    (void)state;
    struct policy *p = parse("{\"cors\": {\"origins\": [\"https://a.example\"]}}");
    assert_true(p->cors.on && !p->cors.any && !p->cors.credentials);
    assert_int_equal(p->cors.max_age_s, 600);
    assert_true(p->cors.headers.n > 0 && p->cors.expose.n > 0);
    policy_unref(&p);
    p = parse(
        "{\"cors\": {\"origins\": [\"*\"], \"headers\": [\"if-match\", \"x-a\"], \"expose\": [], "
        "\"max_age\": \"2h\"}}");
    assert_true(p->cors.any);
    assert_int_equal(p->cors.max_age_s, 7200);
    assert_true(str_eq(p->cors.headers, STR("if-match, x-a")));
    assert_int_equal(p->cors.expose.n, 0);
    policy_unref(&p);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf text, mistakes;
    struct policy *policy = NULL;
    buf_init(&text, POLICY_MAX_BYTES);
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    buf_append_z(&text, "{\"routes\": [");
    for (int i = 0; i < POLICY_MAX_RULES; i++) {
        buf_printf(&text, "%s{\"path\": \"/a\", \"fields\": true}", i ? "," : "");
    }
    size_t full = text.len;
    buf_append_z(&text, "]}");
    assert_int_equal(policy_file_parse("p", buf_str(&text), &mistakes, &policy), 0);
    policy_unref(&policy);
    text.len = full;
    buf_append_z(&text, ",{\"path\": \"/a\", \"fields\": true}]}");
    assert_int_equal(policy_file_parse("p", buf_str(&text), &mistakes, &policy), -EINVAL);
    assert_true(str_eq(buf_str(&mistakes), STR("p:1:2: routes: has too many elements; allowed: an "
                                               "array of at most 64 rules\n")));
    buf_reset(&text);
    buf_reset(&mistakes);
    buf_append_z(&text, "{\"a0\": 1");
    for (int i = 1; i < 2 * MAX_MISTAKES; i++) {
        buf_printf(&text, ",\n\"a%d\": 1", i);
    }
    buf_append_z(&text, "}");
    assert_int_equal(policy_file_parse("p", buf_str(&text), &mistakes, &policy), -EINVAL);
    size_t lines = 0;
    for (size_t i = 0; i < mistakes.len; i++) {
        lines += mistakes.data[i] == '\n';
    }
    assert_int_equal(lines, MAX_MISTAKES + 1);
    assert_non_null(memmem(mistakes.data, mistakes.len, "p: and 100 more mistakes\n", 25));
    assert_non_null(memmem(mistakes.data, mistakes.len, "p:100:1: unknown key \"a99\"", 26));
    buf_fini(&text);
    buf_fini(&mistakes);
}

// Every beginning of a file with everything in it: nothing is read beyond the end, and none is taken.
static void test_cut_files(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"cors\": {\"origins\": [\"https://a.example\"], \"credentials\": true}, \"trace\": "
        "{\"trust_inbound\": [\"::1\"]}, \"rewrite\": [{\"from\": \"/a\", \"to\": \"/\"}], "
        "\"routes\": [{\"path\": \"/a/*\", \"method\": \"GET\", \"mask\": {\"fields\": "
        "[\"a.b[]\"]}, "
        "\"request\": {\"headers\": {\"set\": {\"x-\\u0061\": \"\\u00e9\"}}}}]}";
    struct buf mistakes;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    for (size_t n = 0; n < sizeof whole; n++) {
        struct policy *policy = NULL;
        char *text = malloc(n + 1); // of just the length, for AddressSanitizer
        assert_non_null(text);
        memcpy(text, whole, n);
        buf_reset(&mistakes);
        int rc = policy_file_parse("p", (struct str){ text, n }, &mistakes, &policy);
        assert_int_equal(rc, n == sizeof whole - 1 ? 0 : -EINVAL);
        policy_unref(&policy);
        free(text);
    }
    buf_fini(&mistakes);
}

static void test_missing_file(void **state)
{
    (void)state;
    struct buf mistakes;
    struct policy *policy = NULL;
    buf_init(&mistakes, JSON_MISTAKES_BYTES);
    assert_int_equal(policy_file_read("/nowhere/p", &mistakes, &policy), -EINVAL);
    assert_true(str_eq(buf_str(&mistakes),
                       STR("/nowhere/p:1:1: cannot be read: No such file or directory; allowed: a "
                           "file of this process's user\n")));
    buf_fini(&mistakes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_files),  cmocka_unit_test(test_empty),
        cmocka_unit_test(test_notices),      cmocka_unit_test(test_cors_defaults),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_cut_files),
        cmocka_unit_test(test_missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
