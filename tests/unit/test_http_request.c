// SPDX-License-Identifier: MIT
// What a request becomes, and the limits of it, fed whole, byte by byte and cut at every place: the
// outcome must be the same. What is refused otherwise is in tests/requests, for test_requests.c.
#include "gateway/http_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_BODY 64

// Requests are large; one at a time is enough.
static struct http_request *request;

static int make_request(void **state)
{
    (void)state;
    request = calloc(1, sizeof *request);
    assert_non_null(request);
    buf_init(&request->body, MAX_BODY);
    return 0;
}

static int drop_request(void **state)
{
    (void)state;
    buf_fini(&request->body);
    free(request);
    return 0;
}

// Feeds bytes in pieces of `first` bytes, then `step`; returns how many were used.
static size_t feed(struct str bytes, size_t first, size_t step)
{
    size_t at = 0, piece = first;
    http_request_start(request, MAX_BODY);
    while (at < bytes.n && request->stage != HTTP_STAGE_COMPLETE &&
           request->stage != HTTP_STAGE_FAILED) {
        size_t n = piece < bytes.n - at ? piece : bytes.n - at, used;
        // A copy of exactly this piece, so that a read over its end is seen.
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, bytes.p + at, n);
        enum http_stage stage = http_request_feed(request, copy, n, &used);
        free(copy);
        assert_int_equal(stage, request->stage);
        assert_true(used <= n);
        assert_true(used > 0 || stage != HTTP_STAGE_HEAD || n == 0 ||
                    request->stage == HTTP_STAGE_FAILED);
        at += used;
        piece = step;
    }
    return at;
}

struct outcome {
    enum http_stage stage;
    enum problem problem;
    size_t used;
    enum method method;
    char body[MAX_BODY + 1];
};

static struct outcome outcome_of(struct str bytes, size_t first, size_t step)
{
    struct outcome o = { 0 };
    o.used = feed(bytes, first, step);
    o.stage = request->stage;
    o.problem = request->stage == HTTP_STAGE_FAILED ? request->problem : PROBLEM_COUNT;
    o.method = request->method;
    if (request->body.len) {
        memcpy(o.body, request->body.data, request->body.len);
    }
    return o;
}

// Whole, byte by byte, and cut in two at every place.
static struct outcome feed_every_way(struct str bytes)
{
    struct outcome whole = outcome_of(bytes, bytes.n, bytes.n);
    for (size_t cut = 1; cut <= bytes.n && cut < 400; cut++) {
        struct outcome other = outcome_of(bytes, cut, cut == 1 ? 1 : bytes.n);
        if (other.stage != whole.stage || other.problem != whole.problem ||
            (whole.stage == HTTP_STAGE_COMPLETE &&
             (strcmp(other.body, whole.body) != 0 || other.used != whole.used))) {
            fail_msg("cut at %zu gives stage %d problem %d, whole gives stage %d problem %d: %.*s",
                     cut, (int)other.stage, (int)other.problem, (int)whole.stage,
                     (int)whole.problem, STR_ARG(bytes));
        }
    }
    return outcome_of(bytes, bytes.n, bytes.n);
}

#define HOST "Host: example.com\r\n"
struct accepted_case {
    const char *name;
    struct str bytes;
    const char *body;
    size_t left; // bytes that belong to the next request
};

#define GOOD(name, bytes)                                                                          \
    {                                                                                              \
        name, STR_INIT(bytes), "", 0                                                               \
    }
#define WITH_BODY(name, bytes, body)                                                               \
    {                                                                                              \
        name, STR_INIT(bytes), body, 0                                                             \
    }

static const struct accepted_case accepted[] = {
    GOOD("plain", "GET / HTTP/1.1\r\n" HOST "\r\n"),
    GOOD("1.0 without host", "GET / HTTP/1.0\r\n\r\n"),
    GOOD("blank line before", "\r\nGET / HTTP/1.1\r\n" HOST "\r\n"),
    GOOD("absolute form", "GET http://example.com:80/a?b=c HTTP/1.1\r\n" HOST "\r\n"),
    GOOD("absolute form without path", "GET HTTPS://example.com HTTP/1.1\r\n" HOST "\r\n"),
    GOOD("asterisk", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"),
    GOOD("ipv6 host", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n"),
    GOOD("host with empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n"),
    GOOD("empty value", "GET / HTTP/1.1\r\n" HOST "X:\r\n\r\n"),
    GOOD("blanks around a value", "GET / HTTP/1.1\r\n" HOST "X: \t a b\t \r\n\r\n"),
    GOOD("obs-text in a value", "GET / HTTP/1.1\r\n" HOST "X: \xe4\r\n\r\n"),
    GOOD("upgrade is ignored",
         "GET / HTTP/1.1\r\n" HOST "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"),
    GOOD("DELETE without body", "DELETE /a HTTP/1.1\r\n" HOST "\r\n"),
    GOOD("encoded slash", "GET /a%2Fb HTTP/1.1\r\n" HOST "\r\n"),
    WITH_BODY("length", "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", "hello"),
    WITH_BODY("length with zeros", "POST / HTTP/1.1\r\n" HOST "Content-Length: 005\r\n\r\nhello",
              "hello"),
    WITH_BODY("chunks",
              "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
              "hello"),
    WITH_BODY("chunked in capitals",
              "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
              "hello"),
    WITH_BODY("chunk extensions",
              "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n",
              "hello"),
    WITH_BODY("trailers",
              "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nHost: other\r\nX: y\r\n\r\n",
              "hello"),
    WITH_BODY("upgrade with body",
              "POST / HTTP/1.1\r\n" HOST
              "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nhello",
              "hello"),
    { "pipelined", STR_INIT("GET / HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n"), "",
      38 },
    { "tab behind the coding",
      STR_INIT("POST / HTTP/1.1\r\n" HOST
               "Transfer-Encoding:\t chunked \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
      "hello", 0 },
    { "tab behind the length",
      STR_INIT("POST / HTTP/1.1\r\n" HOST "Content-Length: \t5\t \r\n\r\nhello"), "hello", 0 },
    { "blanks around extensions",
      STR_INIT("POST / HTTP/1.1\r\n" HOST
               "Transfer-Encoding: chunked\r\n\r\n5 ;\ta = \"b\"\r\nhello\r\n0\r\n\r\n"),
      "hello", 0 },
    { "odd but sound host", STR_INIT("GET / HTTP/1.1\r\nHost: a%41,b;c=(d):80\r\n\r\n"), "", 0 },
    { "pipelined behind a body",
      STR_INIT("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhelloGET"), "hello", 3 },
    { "pipelined behind chunks",
      STR_INIT("POST / HTTP/1.1\r\n" HOST
               "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET"),
      "hello", 3 },
};

static void test_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        const struct accepted_case *c = &accepted[i];
        struct outcome o = feed_every_way(c->bytes);
        if (o.stage != HTTP_STAGE_COMPLETE || strcmp(o.body, c->body) != 0 ||
            o.used != c->bytes.n - c->left) {
            fail_msg("%s: stage %d (%s), body '%s', %zu of %zu bytes used", c->name, (int)o.stage,
                     request->detail ? request->detail : "", o.body, o.used, c->bytes.n);
        }
    }
}

static void assert_keep_alive(const char *text, bool keep_alive)
{
    (void)feed(str_of(text), strlen(text), 1);
    assert_int_equal(request->stage, HTTP_STAGE_COMPLETE);
    assert_int_equal(request->keep_alive, keep_alive);
}

static void test_keep_alive(void **state)
{
    (void)state;
    assert_keep_alive("GET / HTTP/1.1\r\n" HOST "\r\n", true);
    assert_keep_alive("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", false);
    assert_keep_alive("GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n", false);
    assert_keep_alive("GET / HTTP/1.0\r\n\r\n", false);
    assert_keep_alive("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true);
    assert_keep_alive("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false);
}

static void test_fields(void **state)
{
    (void)state;
    const char *text =
        "POST /a/b%20c?x=1&y=%C3%A4+z&x HTTP/1.1\r\nHOST: Example.com\r\nX-Thing: \t One Two \t\r\n"
        "x-thing: second\r\nEmpty:\r\nExpect: 100-Continue\r\nContent-Length: 0\r\n\r\n";
    (void)feed(str_of(text), strlen(text), 1);
    assert_int_equal(request->stage, HTTP_STAGE_COMPLETE);
    assert_int_equal(request->method, METHOD_POST);
    assert_true(request->expects_continue);
    assert_true(str_eq(http_request_field(request, STR("host")), STR("Example.com")));
    assert_true(str_eq(http_request_field(request, STR("x-thing")), STR("One Two, second")));
    struct str empty = http_request_field(request, STR("empty"));
    assert_non_null(empty.p);
    assert_int_equal(empty.n, 0);
    assert_null(http_request_field(request, STR("missing")).p);
    assert_int_equal(request->target.n_segments, 2);
    assert_true(str_eq(request->target.segments[1], STR("b c")));
    assert_int_equal(request->target.n_query, 3);
    assert_true(str_eq(request->target.query[1].value, STR("\xC3\xA4 z")));
    assert_int_equal(request->target.query[2].value.n, 0);
}

// --- Limits: the largest that is allowed, and one more.

static struct str repeat(const char *before, char c, size_t n, const char *after)
{
    size_t a = strlen(before), b = strlen(after);
    char *text = malloc(a + n + b);
    assert_non_null(text);
    memcpy(text, before, a);
    memset(text + a, c, n);
    memcpy(text + a + n, after, b);
    return (struct str){ text, a + n + b };
}

static void assert_limit(const char *before, char c, size_t n, const char *after,
                         enum problem problem)
{
    struct str text = repeat(before, c, n, after);
    for (size_t step = 1; step <= text.n; step += text.n - 1) {
        (void)feed(text, step, step);
        if (problem == PROBLEM_COUNT) {
            assert_int_equal(request->stage, HTTP_STAGE_COMPLETE);
        } else {
            assert_int_equal(request->stage, HTTP_STAGE_FAILED);
            assert_int_equal(request->problem, problem);
        }
    }
    free((void *)(uintptr_t)text.p);
}

static void test_line_limit(void **state)
{
    (void)state;
    size_t rest = strlen("GET / HTTP/1.1\r\n");
    assert_limit("GET /", 'a', HTTP_MAX_LINE - rest, " HTTP/1.1\r\n" HOST "\r\n", PROBLEM_COUNT);
    assert_limit("GET /", 'a', HTTP_MAX_LINE - rest + 1, " HTTP/1.1\r\n" HOST "\r\n",
                 PROBLEM_URI_TOO_LONG);
    assert_limit("", 'A', HTTP_MAX_LINE + 1, " / HTTP/1.1\r\n" HOST "\r\n",
                 PROBLEM_NOT_IMPLEMENTED);
}

static void test_fields_limit(void **state)
{
    (void)state;
    size_t rest = strlen(HOST "X: \r\n\r\n");
    assert_limit("GET / HTTP/1.1\r\n" HOST "X: ", 'a', HTTP_MAX_FIELDS_BYTES - rest, "\r\n\r\n",
                 PROBLEM_COUNT);
    assert_limit("GET / HTTP/1.1\r\n" HOST "X: ", 'a', HTTP_MAX_FIELDS_BYTES - rest + 1, "\r\n\r\n",
                 PROBLEM_HEADERS_TOO_LARGE);
}

static void test_field_count(void **state)
{
    (void)state;
    for (size_t n = HTTP_MAX_FIELDS - 1; n <= HTTP_MAX_FIELDS; n++) { // and Host
        char text[4096] = "GET / HTTP/1.1\r\n" HOST;
        for (size_t i = 0; i < n; i++) {
            strcat(text, "a: b\r\n");
        }
        strcat(text, "\r\n");
        (void)feed(str_of(text), strlen(text), 1);
        assert_int_equal(request->stage,
                         n < HTTP_MAX_FIELDS ? HTTP_STAGE_COMPLETE : HTTP_STAGE_FAILED);
    }
    assert_int_equal(request->problem, PROBLEM_HEADERS_TOO_LARGE);
}

#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"

static void test_chunk_limits(void **state)
{
    (void)state;
    size_t line = HTTP_MAX_CHUNK_LINE - strlen("1;\r\n");
    assert_limit(CHUNKED "1;", 'a', line, "\r\nx\r\n0\r\n\r\n", PROBLEM_COUNT);
    assert_limit(CHUNKED "1;", 'a', line + 1, "\r\nx\r\n0\r\n\r\n", PROBLEM_MALFORMED_REQUEST);
    size_t trailer = HTTP_MAX_TRAILER_BYTES - strlen("X: \r\n\r\n");
    assert_limit(CHUNKED "0\r\nX: ", 'a', trailer, "\r\n\r\n", PROBLEM_COUNT);
    assert_limit(CHUNKED "0\r\nX: ", 'a', trailer + 1, "\r\n\r\n", PROBLEM_HEADERS_TOO_LARGE);
    assert_limit(CHUNKED "41\r\n", 'a', MAX_BODY + 1, "\r\n0\r\n\r\n", PROBLEM_BODY_TOO_LARGE);
    assert_limit(CHUNKED "40\r\n", 'a', MAX_BODY, "\r\n0\r\n\r\n", PROBLEM_COUNT);
}

// A body of chunks of one byte each is within the limit of framing.
static void test_small_chunks(void **state)
{
    (void)state;
    char text[2048] = CHUNKED;
    for (size_t i = 0; i < MAX_BODY; i++) {
        strcat(text, "1\r\nx\r\n");
    }
    strcat(text, "0\r\n\r\n");
    assert_int_equal(feed_every_way(str_of(text)).stage, HTTP_STAGE_COMPLETE);
    assert_int_equal(request->body.len, MAX_BODY);
}

// A chunk over the limit is refused by its size alone, a later one by what is left.
static void test_large_chunks(void **state)
{
    (void)state;
    static const struct {
        struct str bytes;
        enum problem problem;
    } cases[] = {
        { STR_INIT(CHUNKED "41\r\n"), PROBLEM_BODY_TOO_LARGE },
        { STR_INIT(CHUNKED "FFFFFFFFFFFFFFFF\r\n"), PROBLEM_BODY_TOO_LARGE },
        { STR_INIT(CHUNKED "1\r\nx\r\n40\r\n"), PROBLEM_BODY_TOO_LARGE },
        { STR_INIT(CHUNKED "1\r\nx\r\nFFFFFFFFFFFFFFFF\r\n"), PROBLEM_BODY_TOO_LARGE },
        { STR_INIT(CHUNKED "10000000000000000\r\n"), PROBLEM_MALFORMED_REQUEST },
        { STR_INIT(CHUNKED "10000000000000002\r\n"), PROBLEM_MALFORMED_REQUEST },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome o = feed_every_way(cases[i].bytes);
        assert_int_equal(o.stage, HTTP_STAGE_FAILED);
        assert_int_equal(o.problem, cases[i].problem);
    }
}

// The same for a length, where nobody looks at what it announces.
static void test_long_body(void **state)
{
    (void)state;
    char text[256] = "POST / HTTP/1.1\r\n" HOST "Content-Length: 65\r\n\r\n";
    (void)snprintf(text + strlen(text), MAX_BODY + 2, "%0*d", MAX_BODY + 1, 0);
    struct outcome o = feed_every_way(str_of(text));
    assert_int_equal(o.stage, HTTP_STAGE_FAILED);
    assert_int_equal(o.problem, PROBLEM_BODY_TOO_LARGE);
}

// How much framing is too much does not depend on the cuts: what comes behind does not make good.
static void test_framing(void **state)
{
    (void)state;
    char text[16384] = CHUNKED;
    for (size_t i = 0; i < 20; i++) {
        char chunk[HTTP_MAX_CHUNK_LINE + 8];
        (void)snprintf(chunk, sizeof chunk, "1;%0250d\r\nx\r\n", 7);
        strcat(text, chunk);
    }
    strcat(text, "0\r\n\r\n");
    struct outcome o = feed_every_way(str_of(text));
    assert_int_equal(o.stage, HTTP_STAGE_FAILED);
    assert_int_equal(o.problem, PROBLEM_MALFORMED_REQUEST);
}

static void assert_field(const char *name, const char *value)
{
    struct str found = http_request_field(request, str_of(name));
    if (!value) {
        assert_null(found.p);
        return;
    }
    if (!str_eq(found, str_of(value))) {
        fail_msg("%s is \"%.*s\"", name, STR_ARG(found));
    }
}

// RFC 9110 section 5.3.
static void test_repeated_fields(void **state)
{
    (void)state;
    const char *text = "GET / HTTP/1.1\r\nAccept: a/b\r\nIf-None-Match: \"1\"\r\n" HOST
                       "ACCEPT:\tc/d ;q=0.1\t\r\nX: y\r\nif-none-match: \"2\", \"3\"\r\n"
                       "accept:\r\nConnection: x\r\nConnection: Close\r\nAccept: e/f\r\n\r\n";
    for (size_t step = 1; step <= strlen(text); step += strlen(text) - 1) {
        (void)feed(str_of(text), step, step);
        assert_int_equal(request->stage, HTTP_STAGE_COMPLETE);
        assert_field("accept", "a/b, c/d ;q=0.1, , e/f");
        assert_field("if-none-match", "\"1\", \"2\", \"3\"");
        assert_field("x", "y");
        assert_field("host", "example.com");
        assert_false(request->keep_alive);
    }
}

// As many and as long as the limits allow: there is room for all that is joined.
static void test_most_repeated_fields(void **state)
{
    (void)state;
    static char text[HTTP_HEAD_BYTES + 1];
    const char *line = "GET / HTTP/1.1\r\n";
    (void)snprintf(text, sizeof text, "%s" HOST, line);
    for (size_t i = 1; i < HTTP_MAX_FIELDS - 2; i++) {
        strcat(text, i % 2 ? "a:b\r\n" : "c:\r\n");
    }
    size_t room = strlen(line) + HTTP_MAX_FIELDS_BYTES - strlen(text) - strlen("a:\r\nc:d\r\n\r\n");
    char *end = text + strlen(text);
    memcpy(end, "a:", 2);
    memset(end + 2, 'e', room);
    strcat(end, "\r\nc:d\r\n\r\n");
    assert_int_equal(strlen(text), strlen(line) + HTTP_MAX_FIELDS_BYTES);
    (void)feed(str_of(text), 1000, 1000);
    assert_int_equal(request->stage, HTTP_STAGE_COMPLETE);
    assert_int_equal(http_request_field(request, STR("a")).n, room + 3 * (HTTP_MAX_FIELDS - 2) / 2);
    assert_int_equal(http_request_field(request, STR("c")).n, 2 * ((HTTP_MAX_FIELDS - 4) / 2) + 1);
}

static void test_trailers_are_not_fields(void **state)
{
    (void)state;
    (void)feed(STR(CHUNKED "0\r\nAuthorization: a\r\nX: y\r\n\r\n"), 200, 200);
    assert_int_equal(request->stage, HTTP_STAGE_COMPLETE);
    assert_field("authorization", NULL);
    assert_field("x", NULL);
}

// Blanks behind values count for the limit, although they are taken off.
static void test_blanks_limit(void **state)
{
    (void)state;
    size_t rest = strlen(HOST "X: \r\n\r\n");
    assert_limit("GET / HTTP/1.1\r\n" HOST "X: ", '\t', HTTP_MAX_FIELDS_BYTES - rest, "\r\n\r\n",
                 PROBLEM_COUNT);
    assert_limit("GET / HTTP/1.1\r\n" HOST "X: ", ' ', HTTP_MAX_FIELDS_BYTES - rest + 1, "\r\n\r\n",
                 PROBLEM_HEADERS_TOO_LARGE);
}

// The caller sees the head before any of the body is taken.
static void test_head_first(void **state)
{
    (void)state;
    const char *text = "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";
    size_t used;
    http_request_start(request, MAX_BODY);
    assert_int_equal(http_request_feed(request, text, strlen(text), &used), HTTP_STAGE_BODY);
    assert_int_equal(used, strlen(text) - 5);
    assert_int_equal(request->content_length, 5);
    request->discard_body = true;
    assert_int_equal(http_request_feed(request, text + used, 5, &used), HTTP_STAGE_COMPLETE);
    assert_int_equal(request->body.len, 0);
    assert_int_equal(request->body_bytes, 5);
}

static void test_time_out(void **state)
{
    (void)state;
    (void)feed(STR("GET / HT"), 8, 1);
    http_request_time_out(request);
    assert_int_equal(request->stage, HTTP_STAGE_FAILED);
    assert_int_equal(request->problem, PROBLEM_REQUEST_TIMEOUT);
}

// Noise around a valid request must never crash or be taken for something else than its own
// verdict.
static void test_noise(void **state)
{
    (void)state;
    static const char base[] =
        "POST /a?b=c HTTP/1.1\r\n" HOST "Content-Length: 5\r\nX: y\r\n\r\nhello";
    uint32_t seed = 12345;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof base];
        memcpy(text, base, sizeof base);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1664525 + 1013904223;
            text[(seed >> 8) % (sizeof base - 1)] = (char)(seed >> 24);
        }
        struct str bytes = { text, sizeof base - 1 };
        struct outcome whole = outcome_of(bytes, bytes.n, bytes.n);
        struct outcome single = outcome_of(bytes, 1, 1);
        assert_int_equal(whole.stage, single.stage);
        assert_int_equal(whole.problem, single.problem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {

        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_line_limit),
        cmocka_unit_test(test_fields_limit),
        cmocka_unit_test(test_field_count),
        cmocka_unit_test(test_chunk_limits),
        cmocka_unit_test(test_small_chunks),
        cmocka_unit_test(test_head_first),
        cmocka_unit_test(test_large_chunks),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_long_body),
        cmocka_unit_test(test_repeated_fields),
        cmocka_unit_test(test_most_repeated_fields),
        cmocka_unit_test(test_trailers_are_not_fields),
        cmocka_unit_test(test_blanks_limit),
        cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, make_request, drop_request);
}
