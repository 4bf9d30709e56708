// SPDX-License-Identifier: MIT
// Only what a trusted proxy added is believed, and only when it is an address to the letter.
#include "gateway/client_address.h"

#include "gateway/http_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct http_request request;

static struct client_address address(const char *text)
{
    struct sockaddr_storage s = { 0 };
    struct client_address a;
    s.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
    void *to = s.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&s)->sin6_addr
                                       : (void *)&((struct sockaddr_in *)&s)->sin_addr;
    assert_int_equal(inet_pton(s.ss_family, text, to), 1);
    client_address_of_peer((struct sockaddr *)&s, &a);
    return a;
}

static void read_head(const char *fields)
{
    char text[2048];
    size_t used;
    int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", fields);
    buf_init(&request.body, 0);
    http_request_start(&request, 0);
    assert_int_equal(http_request_feed(&request, text, (size_t)n, &used), HTTP_STAGE_COMPLETE);
}

static void expect(const char *field, const char *peer, const char *fields, const char *client)
{
    struct client_networks proxies;
    struct str wrong;
    struct client_address from = address(peer), a;
    assert_int_equal(client_networks_parse("10.0.0.0/8, fd00::/8,192.0.2.1", &proxies, &wrong), 0);
    read_head(fields);
    client_address_resolve(&proxies, field, &from, &request, &a);
    assert_string_equal(a.text, client);
}

#define XFF "X-Forwarded-For: "
#define X(peer, fields, client) expect("x-forwarded-for", peer, fields, client)
#define F(peer, fields, client) expect("forwarded", peer, fields, client)

static void test_an_untrusted_peer_is_the_client(void **state)
{
    (void)state;
    X("203.0.113.9", XFF "1.2.3.4\r\n", "203.0.113.9");
    X("192.0.2.2", XFF "1.2.3.4\r\n", "192.0.2.2");
    F("203.0.113.9", "Forwarded: for=1.2.3.4\r\n", "203.0.113.9");
}

static void test_the_right_most_untrusted_address(void **state)
{
    (void)state;
    X("10.1.1.1", "", "10.1.1.1");
    X("10.1.1.1", XFF "198.51.100.7\r\n", "198.51.100.7");
    X("::ffff:10.1.1.1", XFF "198.51.100.7\r\n", "198.51.100.7");
    X("10.1.1.1", XFF "6.6.6.6, 198.51.100.7\r\n", "198.51.100.7"); // the client wrote the first
    X("10.1.1.1", XFF "6.6.6.6,198.51.100.7 ,\t10.9.9.9, 192.0.2.1\r\n", "198.51.100.7");
    X("10.1.1.1", XFF "6.6.6.6\r\n" XFF "198.51.100.7\r\n", "198.51.100.7");
    X("10.1.1.1", XFF "198.51.100.7\r\n" XFF "10.2.2.2\r\n", "198.51.100.7");
    X("10.1.1.1", XFF "10.3.3.3, 10.2.2.2\r\n", "10.3.3.3"); // all trusted: the first one
    X("fd00::1", XFF "2001:DB8::0:1\r\n", "2001:db8::1");
    X("10.1.1.1", XFF "::ffff:198.51.100.7\r\n", "198.51.100.7");
    X("10.1.1.1", XFF "198.51.100.7:4711\r\n", "198.51.100.7");
    X("10.1.1.1", XFF "[2001:db8::1]:4711\r\n", "2001:db8::1");
    X("10.1.1.1", XFF "[2001:db8::1]\r\n", "2001:db8::1");
    X("10.1.1.1", XFF ", 198.51.100.7,,\r\n", "198.51.100.7");
}

static void test_what_is_no_address_ends_the_search(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "unknown",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:123456",
        "[1.2.3.4]",
        "[::1",
        "[::1]x",
        "[::1]:",
        "::1%lo",
        "1.2.3.4/8",
        "1.2.3.4;",
        "\"1.2.3.4\"",
        "2001:db8::1::2",
        "0x7f.1",
        "1.2.3.4 5.6.7.8",
        "[]",
        ":",
        "[",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char fields[256];
        (void)snprintf(fields, sizeof fields, XFF "198.51.100.7, %s\r\n", bad[i]);
        X("10.1.1.1", fields, "10.1.1.1");
        (void)snprintf(fields, sizeof fields, XFF "198.51.100.7, %s, 10.2.2.2\r\n", bad[i]);
        X("10.1.1.1", fields, "10.2.2.2");
    }
}

static void test_forwarded(void **state)
{
    (void)state;
    F("10.1.1.1", "Forwarded: for=198.51.100.7\r\n", "198.51.100.7");
    F("10.1.1.1", "Forwarded: For=\"[2001:db8:cafe::17]:4711\"\r\n", "2001:db8:cafe::17");
    F("10.1.1.1", "Forwarded: for=6.6.6.6, proto=https;by=1.1.1.1; for=198.51.100.7\r\n",
      "198.51.100.7");
    F("10.1.1.1", "Forwarded: for=198.51.100.7, for=10.2.2.2;by=1.1.1.1\r\n", "198.51.100.7");
    F("10.1.1.1", "Forwarded: for=198.51.100.7, for=unknown\r\n", "10.1.1.1");
    F("10.1.1.1", "Forwarded: for=198.51.100.7, for=_hidden\r\n", "10.1.1.1");
    F("10.1.1.1", "Forwarded: for=198.51.100.7, by=1.1.1.1\r\n", "10.1.1.1");
    F("10.1.1.1", "Forwarded: for=\"198.51.100.7, for=6.6.6.6\"\r\n", "10.1.1.1");
    F("10.1.1.1", "Forwarded: for=\r\n", "10.1.1.1");
}

// A proxy that appends to one of the fields passes the other on as the client wrote it.
static void test_the_other_field_is_ignored(void **state)
{
    (void)state;
    X("10.1.1.1", "Forwarded: for=6.6.6.6\r\n", "10.1.1.1");
    F("10.1.1.1", XFF "6.6.6.6\r\n", "10.1.1.1");
}

static void test_hops_are_limited(void **state)
{
    (void)state;
    char fields[1024] = XFF "198.51.100.7";
    for (int i = 0; i < CLIENT_HOPS_MAX; i++) {
        (void)snprintf(fields + strlen(fields), sizeof fields - strlen(fields), ", 10.0.0.%d",
                       99 - i);
    }
    (void)snprintf(fields + strlen(fields), sizeof fields - strlen(fields), "\r\n");
    X("10.1.1.1", fields, "10.0.0.99");
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        { "1.2.3.4", "1.2.3.5", false },
        { "1.2.3.4", "::ffff:1.2.3.4", true },
        { "2001:db8::1", "2001:db8::ffff:1:2:3", true },
        { "2001:db8::1", "2001:db8:0:1::1", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t a[CLIENT_KEY_BYTES], b[CLIENT_KEY_BYTES];
        struct client_address first = address(cases[i].a), second = address(cases[i].b);
        client_address_key(&first, a);
        client_address_key(&second, b);
        assert_int_equal(memcmp(a, b, sizeof a) == 0, cases[i].same);
    }
}

static void test_networks(void **state)
{
    (void)state;
    struct client_networks n;
    struct str wrong;
    static const char *const bad[] = {
        "x",           "10.0.0.0/33",      "10.0.0.1/8",     "fd00::1/8",   "::/129",
        "/8",          "10.0.0.0/",        "10.0.0.0/-1",    "10.0.0.0/8x", "10.0.0.0/0008",
        "10.0.0.0/08", "1.2.3.4,,5.6.7.8", "1.2.3.4 5.6.7.8"
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(client_networks_parse(bad[i], &n, &wrong), -EINVAL);
    }
    assert_int_equal(client_networks_parse(NULL, &n, &wrong), 0);
    assert_int_equal(client_networks_parse("", &n, &wrong), 0);
    assert_int_equal(n.n, 0);
    assert_int_equal(client_networks_parse("172.16.0.0/12,2001:db8::/33,0.0.0.0/0", &n, &wrong), 0);
    n.n = 2; // without the one that has all of IPv4
    static const struct {
        const char *address;
        bool in;
    } cases[] = { { "172.16.0.0", true },       { "172.31.255.255", true },
                  { "172.32.0.0", false },      { "172.15.255.255", false },
                  { "2001:db8:7fff::1", true }, { "2001:db8:8000::1", false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client_address a = address(cases[i].address);
        assert_int_equal(client_networks_have(&n, &a), cases[i].in);
    }
    char many[CLIENT_NETWORKS_MAX * 8 + 32] = "";
    for (int i = 0; i < CLIENT_NETWORKS_MAX + 1; i++) {
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), "%s1.1.1.1", i ? "," : "");
    }
    assert_int_equal(client_networks_parse(many, &n, &wrong), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_untrusted_peer_is_the_client),
        cmocka_unit_test(test_the_right_most_untrusted_address),
        cmocka_unit_test(test_what_is_no_address_ends_the_search),
        cmocka_unit_test(test_forwarded),
        cmocka_unit_test(test_the_other_field_is_ignored),
        cmocka_unit_test(test_hops_are_limited),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
