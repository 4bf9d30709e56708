// SPDX-License-Identifier: MIT
// Chunked bodies: the grammar of RFC 9112 section 7.1 and its edges, each body cut at every place.
// Requests with chunked bodies are among those of tests/requests.
#include "gateway/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_DATA 8192

struct outcome {
    enum chunked_event event; // the last one: MORE, END, MALFORMED or TOO_LARGE
    size_t used;
    uint64_t largest; // chunk that was begun
    size_t n;
    char data[MAX_DATA];
};

// Takes one piece; false when the body is over.
static bool take(struct chunked *c, struct str piece, struct outcome *o)
{
    // A copy of exactly its size, so that a read behind its end is seen.
    char *copy = malloc(piece.n ? piece.n : 1);
    assert_non_null(copy);
    memcpy(copy, piece.p, piece.n);
    struct str rest = { copy, piece.n }, data;
    do {
        o->event = chunked_next(c, &rest, &data);
        if (o->event == CHUNKED_BEGIN) {
            o->largest = c->left > o->largest ? c->left : o->largest;
        } else if (o->event == CHUNKED_DATA) {
            assert_true(o->n + data.n <= MAX_DATA);
            memcpy(o->data + o->n, data.p, data.n);
            o->n += data.n;
        }
    } while (o->event == CHUNKED_BEGIN || o->event == CHUNKED_DATA);
    o->used += piece.n - rest.n;
    free(copy);
    assert_true(o->event != CHUNKED_MORE || rest.n == 0);
    return o->event == CHUNKED_MORE;
}

static void feed(struct str body, size_t first, size_t step, struct outcome *o)
{
    static struct chunked c;
    memset(c.line, 'x', sizeof c.line);
    chunked_start(&c);
    *o = (struct outcome){ .event = CHUNKED_MORE };
    for (size_t at = 0, n = first; at < body.n; at += n, n = step) {
        n = n < body.n - at ? n : body.n - at;
        if (!take(&c, (struct str){ body.p + at, n }, o)) {
            return;
        }
    }
}

// In one piece, byte by byte, and cut in two at every place.
static void feed_every_way(struct str body, struct outcome *whole)
{
    static struct outcome other;
    feed(body, body.n, body.n, whole);
    for (size_t cut = 0; cut <= body.n; cut++) {
        feed(body, cut ? cut : 1, cut ? body.n : 1, &other);
        bool end = whole->event == CHUNKED_END;
        if (other.event != whole->event || (end && other.used != whole->used) ||
            (end && (other.n != whole->n || memcmp(other.data, whole->data, whole->n) != 0))) {
            fail_msg("cut at %zu gives %d, whole gives %d: %.*s", cut, (int)other.event,
                     (int)whole->event, STR_ARG(body));
        }
    }
}

static void assert_event(struct str body, enum chunked_event event)
{
    static struct outcome o;
    feed_every_way(body, &o);
    if (o.event != event) {
        fail_msg("%d instead of %d: %.*s", (int)o.event, (int)event, STR_ARG(body));
    }
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        struct str body;
        const char *data;
        size_t left;
    } cases[] = {
        { STR_INIT("0\r\n\r\n"), "", 0 },
        { STR_INIT("5\r\nhello\r\n0\r\n\r\n"), "hello", 0 },
        { STR_INIT("2\r\nhe\r\n3\r\nllo\r\n000\r\n\r\nGET"), "hello", 3 },
        { STR_INIT("0000000000000000000000005\r\nhello\r\n0\r\n\r\n"), "hello", 0 },
        { STR_INIT("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), "01234567890123456789", 0 },
        { STR_INIT("2\r\n\r\n\r\n0\r\n\r\n"), "\r\n", 0 },
        { STR_INIT("1;a\r\nx\r\n0;b=c\r\n\r\n"), "x", 0 },
        { STR_INIT("1;a;b=c;d=\"e;\\\"\\\\ \t\xE4\"\r\nx\r\n0\r\n\r\n"), "x", 0 },
        { STR_INIT("1 ;\ta \t; b =\tc ; d = \"\"\r\nx\r\n0 ;e\r\n\r\n"), "x", 0 },
        { STR_INIT("0\r\nA: b\r\n!#$%&'*+-.^_`|~: \t\xE4 \t\r\nEmpty:\r\n\r\n"), "", 0 },
        { STR_INIT("0\r\n\r\n\r\n"), "", 2 },
    };
    static struct outcome o;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        feed_every_way(cases[i].body, &o);
        assert_int_equal(o.event, CHUNKED_END);
        assert_int_equal(o.used, cases[i].body.n - cases[i].left);
        assert_int_equal(o.n, strlen(cases[i].data));
        assert_memory_equal(o.data, cases[i].data, o.n);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const struct str cases[] = {
        STR_INIT("\r\n"),
        STR_INIT("\n"),
        STR_INIT("g\r\n"),
        STR_INIT("-1\r\n"),
        STR_INIT("+1\r\n"),
        STR_INIT("0x1\r\n"),
        STR_INIT("1_0\r\n"),
        STR_INIT("1h\r\n"),
        STR_INIT(" 1\r\n"),
        STR_INIT("1 \r\n"),
        STR_INIT("1\t\r\n"),
        STR_INIT("1 a\r\n"),
        STR_INIT("1,a\r\n"),
        STR_INIT("1\n"),
        STR_INIT("1\r\r\n"),
        STR_INIT("1\rx\r\n"),
        STR_INIT("1;\r\n"),
        STR_INIT("1;a;\r\n"),
        STR_INIT("1;a \r\n"),
        STR_INIT("1;a=\r\n"),
        STR_INIT("1;a= \r\n"),
        STR_INIT("1;=b\r\n"),
        STR_INIT("1;a=b c\r\n"),
        STR_INIT("1;a=b=c\r\n"),
        STR_INIT("1;a\x01\r\n"),
        STR_INIT("1;a=\"b\r\n"),
        STR_INIT("1;a=\"b\\\r\n"),
        STR_INIT("1;a=\"\x01\"\r\n"),
        STR_INIT("1;a=\"b\"c\r\n"),
        STR_INIT("1;a=\"b\nc\"\r\n"),
        STR_INIT("1;\xE4\r\n"),
        STR_INIT("1\0\r\n"),
        STR_INIT("10000000000000000\r\n"),
        STR_INIT("FFFFFFFFFFFFFFFFF\r\n"),
        STR_INIT("010000000000000000\r\n"),
        STR_INIT("1\r\nxy"),
        STR_INIT("1\r\nx\n"),
        STR_INIT("1\r\nx\rx"),
        STR_INIT("1\r\nx0\r\n\r\n"),
        STR_INIT("1\r\nx\r\n\r\n"),
        STR_INIT("0\r\n\n"),
        STR_INIT("0\r\n\r\r\n"),
        STR_INIT("0\r\nA\r\n"),
        STR_INIT("0\r\n: b\r\n"),
        STR_INIT("0\r\nA : b\r\n"),
        STR_INIT("0\r\n A: b\r\n"),
        STR_INIT("0\r\nA: b\n\r\n"),
        STR_INIT("0\r\nA: b\r\n c\r\n\r\n"),
        STR_INIT("0\r\nA: b\rc\r\n"),
        STR_INIT("0\r\nA: \0\r\n"),
        STR_INIT("0\r\nA: \x7F\r\n"),
        STR_INIT("0\r\nA\0: b\r\n"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_event(cases[i], CHUNKED_MALFORMED);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static struct outcome o;
    feed(STR("FFFFFFFFFFFFFFFF\r\n"), 18, 18, &o);
    assert_int_equal(o.event, CHUNKED_MORE);
    assert_true(o.largest == UINT64_MAX);
    feed(STR("0000000000000000000000000abcdef0\r\n"), 64, 64, &o);
    assert_true(o.largest == 0xabcdef0);
}

static struct str filled(char *text, const char *before, char c, size_t n, const char *after)
{
    size_t a = strlen(before), b = strlen(after);
    assert_true(a + n + b <= MAX_DATA);
    memcpy(text, before, a);
    memset(text + a, c, n);
    memcpy(text + a + n, after, b);
    return (struct str){ text, a + n + b };
}

// The largest that is allowed, and one more.
static void test_limits(void **state)
{
    (void)state;
    char text[MAX_DATA];
    size_t line = HTTP_MAX_CHUNK_LINE - strlen("1;\r\n"), zeros = HTTP_MAX_CHUNK_LINE - 3;
    assert_event(filled(text, "1;", 'a', line, "\r\nx\r\n0\r\n\r\n"), CHUNKED_END);
    assert_event(filled(text, "1;", 'a', line + 1, "\r\nx\r\n0\r\n\r\n"), CHUNKED_MALFORMED);
    assert_event(filled(text, "", '0', zeros, "1\r\nx\r\n0\r\n\r\n"), CHUNKED_END);
    assert_event(filled(text, "", '0', zeros + 1, "1\r\nx\r\n0\r\n\r\n"), CHUNKED_MALFORMED);
    assert_event(filled(text, "", '0', HTTP_MAX_CHUNK_LINE + 1, ""), CHUNKED_MALFORMED);
    size_t trailer = HTTP_MAX_TRAILER_BYTES - strlen("A:\r\n\r\n");
    assert_event(filled(text, "0\r\nA:", 'a', trailer, "\r\n\r\n"), CHUNKED_END);
    assert_event(filled(text, "0\r\nA:", 'a', trailer + 1, "\r\n\r\n"), CHUNKED_TOO_LARGE);
    assert_event(filled(text, "0\r\nB:\r\nA:", 'a', trailer - 4, "\r\n\r\n"), CHUNKED_END);
    assert_event(filled(text, "0\r\nB:\r\nA:", 'a', trailer - 3, "\r\n\r\n"), CHUNKED_TOO_LARGE);
}

static void test_number_of_trailers(void **state)
{
    (void)state;
    char text[256] = "0\r\n";
    for (size_t n = 1; n <= HTTP_MAX_TRAILERS + 1; n++) {
        strcat(text, "A: b\r\n");
        char complete[260];
        (void)snprintf(complete, sizeof complete, "%s\r\n", text);
        assert_event(str_of(complete), n <= HTTP_MAX_TRAILERS ? CHUNKED_END : CHUNKED_TOO_LARGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_number_of_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
