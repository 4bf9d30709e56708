// SPDX-License-Identifier: MIT
// The requests of tests/requests through the parser: whole, byte by byte, and cut in two at every
// place. The verdict must be the same every time; nothing malformed is ever complete, and everything
// well-formed is, with its last byte.
#include "gateway/http_request.h"

#include "tests/unit/requests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_BODY 1048576 // as the gateway's default
#define LEAST_MALFORMED 300
#define LEAST_WELLFORMED 40

// What an attacker wants to be answered, too.
static const struct str behind = STR_INIT("GET /v1/search?q=smuggled HTTP/1.1\r\nHost: x\r\n\r\n");

static struct requests requests;
static size_t n_wrong; // all are named before the test fails
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

#define wrong(...) (n_wrong++, print_error(__VA_ARGS__), print_error("\n"))

static bool is_over(void)
{
    return request->stage == HTTP_STAGE_COMPLETE || request->stage == HTTP_STAGE_FAILED;
}

static size_t feed_piece(struct str piece)
{
    // A copy of exactly its size, so that a read behind its end is seen.
    size_t at = 0, used;
    char *copy = malloc(piece.n ? piece.n : 1);
    assert_non_null(copy);
    memcpy(copy, piece.p, piece.n);
    while (at < piece.n && !is_over()) {
        enum http_stage stage = http_request_feed(request, copy + at, piece.n - at, &used);
        assert_int_equal(stage, request->stage);
        assert_true(used <= piece.n - at);
        at += used;
    }
    free(copy);
    return at;
}

struct verdict {
    enum http_stage stage;
    enum problem problem;
    enum method method;
    size_t used; // when COMPLETE
    uint64_t body_bytes;
    size_t n_fields;
    bool keep_alive;
};

// The first piece has `first` bytes, each other one `step`.
static struct verdict verdict_of(struct str bytes, size_t first, size_t step)
{
    size_t used = 0;
    http_request_start(request, MAX_BODY);
    for (size_t at = 0, n = first; at < bytes.n && !is_over(); at += n, n = step) {
        n = n < bytes.n - at ? n : bytes.n - at;
        used += feed_piece((struct str){ bytes.p + at, n });
    }
    bool failed = request->stage == HTTP_STAGE_FAILED;
    bool complete = request->stage == HTTP_STAGE_COMPLETE;
    return (struct verdict){ .stage = request->stage,
                             .problem = failed ? request->problem : PROBLEM_COUNT,
                             .method = request->method,
                             .used = complete ? used : 0,
                             .body_bytes = complete ? request->body_bytes : 0,
                             .n_fields = complete ? request->n_fields : 0,
                             .keep_alive = complete && request->keep_alive };
}

static bool same(const struct verdict *a, const struct verdict *b)
{
    return a->stage == b->stage && a->problem == b->problem && a->method == b->method &&
           a->used == b->used && a->body_bytes == b->body_bytes && a->n_fields == b->n_fields &&
           a->keep_alive == b->keep_alive;
}

static struct verdict verdict_every_way(const struct request_case *c, struct str bytes)
{
    struct verdict whole = verdict_of(bytes, bytes.n, bytes.n);
    for (size_t cut = 0; cut < bytes.n; cut++) {
        struct verdict other = verdict_of(bytes, cut ? cut : 1, cut ? bytes.n : 1);
        if (!same(&other, &whole)) {
            wrong("%s: cut at %zu gives stage %d, problem %d; whole gives stage %d, problem %d",
                  c->name, cut, (int)other.stage, (int)other.problem, (int)whole.stage,
                  (int)whole.problem);
            break;
        }
    }
    return verdict_of(bytes, bytes.n, bytes.n);
}

static void check_malformed(const struct request_case *c, struct str bytes)
{
    struct verdict v = verdict_every_way(c, bytes);
    // What Content-Length announces is weighed by the exchange, which knows the route's limit.
    bool announced = c->status == 413 && v.stage == HTTP_STAGE_BODY && !request->chunked &&
                     request->content_length > MAX_BODY;
    if (announced) {
        return;
    }
    if (v.stage != HTTP_STAGE_FAILED || problem_type(v.problem)->status != c->status) {
        wrong("%s: stage %d, problem %d (%s)", c->name, (int)v.stage, (int)v.problem,
              request->detail ? request->detail : "");
    }
}

static void test_malformed(void **state)
{
    (void)state;
    n_wrong = 0;
    requests_read(&requests, "malformed.txt");
    assert_true(requests.n >= LEAST_MALFORMED);
    for (size_t i = 0; i < requests.n; i++) {
        const struct request_case *c = &requests.cases[i];
        size_t n = c->bytes.n + behind.n;
        char *bytes = malloc(n);
        assert_non_null(bytes);
        memcpy(bytes, c->bytes.p, c->bytes.n);
        memcpy(bytes + c->bytes.n, behind.p, behind.n);
        check_malformed(c, (struct str){ bytes, n });
        free(bytes);
    }
    requests_free(&requests);
    assert_int_equal(n_wrong, 0);
}

static void test_wellformed(void **state)
{
    (void)state;
    n_wrong = 0;
    requests_read(&requests, "wellformed.txt");
    assert_true(requests.n >= LEAST_WELLFORMED);
    for (size_t i = 0; i < requests.n; i++) {
        const struct request_case *c = &requests.cases[i];
        struct verdict v = verdict_every_way(c, c->bytes);
        if (v.stage != HTTP_STAGE_COMPLETE || v.used != c->bytes.n) {
            wrong("%s: stage %d (%s), %zu of %zu bytes used", c->name, (int)v.stage,
                  request->detail ? request->detail : "", v.used, c->bytes.n);
        }
        struct str body = { request->body.data, request->body.len };
        if (!str_eq(body, c->body)) {
            wrong("%s: the body is \"%.*s\"", c->name, STR_ARG(body));
        }
    }
    requests_free(&requests);
    assert_int_equal(n_wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_wellformed),
    };
    return cmocka_run_group_tests(tests, make_request, drop_request);
}
