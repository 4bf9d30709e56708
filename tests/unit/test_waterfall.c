// SPDX-License-Identifier: MIT
// The picture shows each span once, below its parent and in its place in time, whatever the
// processes answered.
#include "common/waterfall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define MS INT64_C(1000000)

static struct waterfall w;
static struct buf out, json;
static yyjson_doc *docs[8];
static size_t n_docs;

static int enter(void **state)
{
    (void)state;
    waterfall_init(&w);
    buf_init(&out, 1 << 22);
    buf_init(&json, 1 << 22);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    waterfall_fini(&w);
    buf_fini(&out);
    buf_fini(&json);
    while (n_docs) {
        yyjson_doc_free(docs[--n_docs]);
    }
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static void begin(const char *instance)
{
    buf_reset(&json);
    buf_printf(
        &json,
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
        "\"value\":{\"stringValue\":\"service\"}},{\"key\":\"service.instance.id\",\"value\":"
        "{\"stringValue\":\"%s\"}}]},\"scopeSpans\":[{\"spans\":[",
        instance);
}

static void span(const char *name, const char *id, const char *parent, int64_t from_ms,
                 int64_t to_ms, const char *more)
{
    buf_printf(&json,
               "%s{\"traceId\":\"" TRACE
               "\",\"spanId\":\"%s\",\"parentSpanId\":\"%s\",\"name\":\"%s\","
               "\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\"%s}",
               json.data[json.len - 1] == '[' ? "" : ",", id, parent, name,
               (long long)(INT64_C(1700000000000) * MS + from_ms * MS),
               (long long)(INT64_C(1700000000000) * MS + to_ms * MS), more);
}

static void end(void)
{
    buf_append_z(&json, "]}]}]}");
    assert_true(buf_ok(&json) && n_docs < 8);
    docs[n_docs] = yyjson_read(json.data, json.len, 0);
    assert_non_null(docs[n_docs]);
    assert_int_equal(waterfall_add(&w, docs[n_docs++]), 0);
}

static const char *drawn(int columns, bool color)
{
    buf_reset(&out);
    waterfall_draw(&w, columns, color, &out);
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    return out.data;
}

static void test_picture(void **state)
{
    (void)state;
    begin("search-1"); // they come in any order
    span("process a.b", "0000000000000004", "0000000000000002", 60, 100, "");
    end();
    begin("gateway-1");
    span("GET /x", "0000000000000001", "ffffffffffffffff", 0, 50,
         ",\"attributes\":[{\"key\":\"http.response.status_code\",\"value\":{\"intValue\":\"200\"}}"
         "]");
    span("store", "0000000000000003", "0000000000000002", 25, 45, "");
    span("GET /x", "0000000000000002", "0000000000000001", 20, 45, "");
    end();
    assert_string_equal(
        drawn(86, false),
        "trace " TRACE "  2023-11-14 22:13:20.000 UTC  100.0ms  4 spans\n\n"
        "gateway-1    GET /x 200             50.0ms |####################                    |\n"
        "gateway-1      GET /x               25.0ms |        ##########                      |\n"
        "gateway-1        store              20.0ms |          ########                      |\n"
        "search-1         process a.b        40.0ms |                        ################|\n");
}

static void test_errors(void **state)
{
    (void)state;
    begin("");
    span("GET /x", "0000000000000001", "", 5, 5, ",\"status\":{\"code\":2}");
    end();
    const char *text = drawn(80, true);
    assert_non_null(strstr(text, "0us  1 span, 1 failed\n"));
    assert_non_null(strstr(text, "\x1b[31mservice "));
    assert_non_null(strstr(text, "|#"));
    assert_non_null(strstr(text, "| failed\x1b[0m\n"));
    assert_null(strstr(drawn(80, false), "\x1b"));
}

static size_t lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++) {
        n += *text == '\n';
    }
    return n;
}

// Circles, chains, and names that would play with the terminal.
static void test_hostile(void **state)
{
    (void)state;
    char id[17], parent[17];
    begin("a\\u001b[2J");
    span("x\\u001b]0;y\\u0007\\n", "000000000000000a", "000000000000000b", 0, 1, "");
    span("y", "000000000000000b", "000000000000000a", 0, 1, "");
    span("self", "000000000000000c", "000000000000000c", 0, 1, "");
    for (int i = 0; i < 200; i++) {
        (void)snprintf(id, sizeof id, "1%015d", i + 1);
        (void)snprintf(parent, sizeof parent, "1%015d", i);
        span("a name that is rather long, for a name, and goes on without an end", id, parent, i,
             300, "");
    }
    span("backwards", "00000000000000ff", "", 9, 1, "");
    buf_append_z(&json, ",{},7,null,{\"traceId\":7,\"spanId\":[]}");
    end();
    const char *text = drawn(20, true);
    assert_int_equal(lines(text), 2 + 203);
    assert_null(strstr(text, "\x1b"));
    assert_null(strstr(text, "backwards"));
    assert_non_null(strstr(text, "x?]0;y??"));
}

static void test_too_many(void **state)
{
    (void)state;
    char id[17];
    for (int k = 0; k < 5; k++) {
        begin("p");
        for (int i = 0; i < 2000; i++) {
            (void)snprintf(id, sizeof id, "%d%015d", k, i);
            span("s", id, "", i, i, "");
        }
        end();
    }
    assert_true(w.more);
    assert_int_equal(lines(drawn(80, false)), 2 + WATERFALL_MAX_SPANS);
}

static void test_list(void **state)
{
    (void)state;
    begin("gateway-1");
    span("GET /old", "0000000000000001", "", 0, 50, "");
    span("GET /new", "0000000000000002", "ffffffffffffffff", 70, 80, ",\"status\":{\"code\":2}");
    span("inner", "0000000000000003", "0000000000000001", 20, 45, "");
    end();
    waterfall_list(&w, false, &out);
    buf_append_char(&out, '\0');
    const char *older = strstr(out.data, "GET /old"), *newer = strstr(out.data, "GET /new");
    assert_true(older && newer && newer < older);
    assert_null(strstr(out.data, "inner"));
    assert_non_null(strstr(out.data, "2023-11-14 22:13:20.070   10.0ms gateway-1    GET /new"));
    assert_non_null(strstr(older, TRACE));
}

static void test_nothing(void **state)
{
    (void)state;
    begin("x");
    end();
    assert_int_equal(w.n, 0);
    assert_string_equal(drawn(80, true), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_picture),  CASE(test_errors), CASE(test_hostile),
        CASE(test_too_many), CASE(test_list),   CASE(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
