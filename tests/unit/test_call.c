// SPDX-License-Identifier: MIT
// What a handler gets from its call: entity tags as RFC 9110 compares them, cursors that nobody can make, change or
// use elsewhere, headers that cannot be broken out of, events in the transaction of the change.
#include "common/call.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base64url.h"
#include "common/call_impl.h"
#include "common/idempotency.h"
#include "tests/unit/calls.h"
#include "tests/unit/loop.h"

// --- The service

#define NOTE_FIELDS(S, I, B, T, O, L) S(text, REQUIRED, 0, 1000, ANY, "A text")
MESSAGE_DECLARE(note, NOTE_FIELDS)
#define MESSAGE_SELF_ struct note
MESSAGE_DEFINE(note, NOTE_FIELDS)
#undef MESSAGE_SELF_

static const struct event_kind thing_changed = { "things.thing.changed", &note_message, "id of the thing",
                                                  "A thing was changed" };

static const char *const migrations[] = { "CREATE TABLE t(x TEXT) STRICT;" };

static int reply_text(struct call *c, struct str text)
{
    return call_reply(c, 200, &note_message, &(struct note){ .text = text });
}

static int get_versioned(struct call *c)
{
    return call_not_modified(c, 7) ? 0 : reply_text(c, STR("whole"));
}

static int change_versioned(struct call *c)
{
    return call_precondition(c, 7) ? reply_text(c, STR("changed")) : 0;
}

// Answers with the position that the cursor stands for, and the next one.
static int list(struct call *c)
{
    struct cursor_position at, next = { { STR("a\xFF"), { NULL, 0 }, STR("") }, { INT64_MIN, 0, INT64_MAX } };
    int rc = call_cursor(c, &at);
    if (rc < 0) {
        return 0;
    }
    struct str text = STR("first");
    if (rc) {
        assert_true(str_eq(at.text[0], next.text[0]) && !at.text[1].p && at.text[2].p && at.text[2].n == 0);
        assert_true(at.number[0] == INT64_MIN && at.number[1] == 0 && at.number[2] == INT64_MAX);
        text = STR("next");
    }
    struct str cursor = call_next_cursor(c, &next);
    assert_non_null(cursor.p);
    return reply_text(c, call_printf(c, "%.*s %.*s", STR_ARG(text), STR_ARG(cursor)));
}

static int list_with_long_keys(struct call *c)
{
    char *key = call_alloc(c, 2000);
    assert_non_null(key);
    memset(key, 'k', 2000);
    struct cursor_position next = { { { key, 2000 } }, { 0 } };
    assert_null(call_next_cursor(c, &next).p); // too long to seal: the list just ends
    return reply_text(c, STR("end"));
}

static int headers(struct call *c)
{
    call_reply_header(c, "location", "/v1/%s/%d", "things", 7);
    call_reply_header(c, "x-broken", "a\r\nset-cookie: b");
    call_reply_header(c, "x-nul", "%s\x7F", "a");
    call_reply_header(c, "x-tab", "a\tb");
    call_reply_header(c, "x-utf8", "%s", "é");
    return call_reply_empty(c, 204);
}

static int problem_with_errors(struct call *c)
{
    call_problem_at(c, "#/items/0/sku", "there is no %s", "A1");
    call_problem_at(c, "#/items/1/quantity", "only %d are left", 3);
    return call_problem(c, PROBLEM_OUT_OF_STOCK, NULL);
}

static int memory(struct call *c)
{
    struct str copy = call_copy(c, STR("copied"));
    assert_true(copy.p[copy.n] == '\0');
    assert_null(call_alloc(c, CALL_MEMORY_BYTES)); // a part of it is in use
    assert_null(call_alloc(c, SIZE_MAX));
    assert_null(call_printf(c, "%*d", CALL_MEMORY_BYTES, 1).p);
    char *state = call_state(c, 100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(state[i], 0);
    }
    assert_ptr_equal(call_state(c, 100), state);
    assert_true(call_now_ms(c) > INT64_C(1600000000000));
    assert_true(call_wanted(c));
    return reply_text(c, copy);
}

static int show_trace(struct call *c)
{
    char text[TRACEPARENT_TEXT + 1];
    return reply_text(c, trace_format(call_trace(c), text));
}

static int write_event(struct call *c)
{
    struct str key = call_param(c, 0);
    int rc = call_event(c, &thing_changed, key, &(struct note){ .text = STR("whole") });
    if (rc) {
        return rc;
    }
    return str_eq(key, STR("undo")) ? call_problem(c, PROBLEM_NOT_FOUND, NULL) : call_reply_empty(c, 204);
}

static int write_large_event(struct call *c)
{
    char *text = call_alloc(c, QUEUE_MAX_EVENT_BYTES);
    assert_non_null(text);
    memset(text, 'x', QUEUE_MAX_EVENT_BYTES);
    return call_event(c, &thing_changed, STR("k"),
                      &(struct note){ .text = { text, QUEUE_MAX_EVENT_BYTES } });
}

static const struct query_param list_params[] = {
    { .name = "cursor", .kind = QUERY_STRING, .min = 1, .max = 1024 },
    { .name = "limit", .kind = QUERY_INTEGER, .min = 1, .max = 100, .fallback = "20" },
    { .name = "status", .kind = QUERY_STRING, .min = 0, .max = 20 },
    { .name = "q", .kind = QUERY_STRING, .min = 0, .max = 20 },
    { .name = NULL },
};

enum { GET, CHANGE, LIST, OTHER_LIST, LONG_KEYS, HEADERS, ERRORS, MEMORY, TRACE, EVENT, LARGE_EVENT };

static const struct route routes[] = {
    [GET] = { .method = "GET", .pattern = "/t", .operation = "get", .success = 200, .read = get_versioned },
    [CHANGE] = { .method = "PATCH", .pattern = "/t", .operation = "change", .success = 200, .if_match = true,
                 .read = change_versioned },
    [LIST] = { .method = "GET", .pattern = "/v1/shops/{shop}/things", .operation = "list", .success = 200,
               .auth = FRAME_AUTH_OPTIONAL, .query = list_params, .read = list },
    [OTHER_LIST] = { .method = "GET", .pattern = "/v1/others/{shop}", .operation = "others", .success = 200,
                     .auth = FRAME_AUTH_OPTIONAL, .query = list_params, .read = list },
    [LONG_KEYS] = { .method = "GET", .pattern = "/long", .operation = "long", .success = 200, .query = list_params,
                    .read = list_with_long_keys },
    [HEADERS] = { .method = "GET", .pattern = "/h", .operation = "headers", .success = 204, .read = headers },
    [ERRORS] = { .method = "GET", .pattern = "/e", .operation = "errors", .success = 200,
                 .read = problem_with_errors },
    [MEMORY] = { .method = "GET", .pattern = "/m", .operation = "memory", .success = 200, .read = memory },
    [TRACE] = { .method = "GET", .pattern = "/tr", .operation = "trace", .success = 200, .read = show_trace },
    [EVENT] = { .method = "POST", .pattern = "/ev/{key}", .operation = "event", .success = 204,
                .write = write_event },
    [LARGE_EVENT] = { .method = "POST", .pattern = "/large", .operation = "largeEvent", .success = 204,
                      .write = write_large_event },
};

static const struct service service = { .name = "things",
                                        .routes = routes,
                                        .n_routes = sizeof routes / sizeof *routes,
                                        .migrations = migrations,
                                        .n_migrations = 1,
                                        .events = &thing_changed,
                                        .n_events = 1 };

static int enter(void **state)
{
    static const unsigned char key[32] = "a key for these tests, of 32 by";
    call_set_cursor_key(key);
    if (loop_enter(state)) {
        return -1;
    }
    calls_open(&service, 100);
    return 0;
}

static int leave(void **state)
{
    calls_close();
    return loop_leave(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

// --- Entity tags

static void test_if_none_match(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint32_t status;
    } cases[] = {
        { "\"7\"", 304 },          { "W/\"7\"", 304 },        { "*", 304 },          { "\"6\"", 200 },
        { "\"6\", \"7\"", 304 },   { "\"6\",W/\"7\"", 304 },  { " \"7\" ", 304 },    { "\"6\" \t, \t\"7\"", 304 },
        { ",,\"7\"", 304 },        { "7", 200 },              { "\"77\"", 200 },     { "\"7", 200 },
        { "\"\"", 200 },           { "", 200 },               { "w/\"7\"", 200 },    { "W/7", 200 },
        { "W/", 200 },             { "W", 200 },              { "\"", 200 },         { "x, \"7\"", 200 },
        { "\"7,\"", 200 },         { "\"6,\"7\"", 200 },      { "**", 200 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct answer *a = asked((struct ask){ .route = GET, .headers = { "if-none-match", cases[i].header } });
        if (a->status != cases[i].status) {
            fail_msg("If-None-Match: %s gives %u", cases[i].header, a->status);
        }
        assert_header(a, "etag", "\"7\""); // with 304 as well
        assert_int_equal(a->body[0] == '\0', a->status == 304);
    }
    assert_int_equal(asked((struct ask){ .route = GET })->status, 200);
}

static void test_if_match(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint32_t status;
    } cases[] = { { "\"7\"", 200 },      { "*", 200 },      { "\"6\", \"7\"", 200 }, { "W/\"7\"", 412 },
                  { "\"6\"", 412 },      { "7", 412 },      { "", 412 },             { "W/\"7\", \"7\"", 200 },
                  { "\"6\", W/\"7\"", 412 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct answer *a = asked((struct ask){ .route = CHANGE, .headers = { "if-match", cases[i].header } });
        if (a->status != cases[i].status) {
            fail_msg("If-Match: %s gives %u", cases[i].header, a->status);
        }
        if (a->status == 412) {
            assert_body_has(a, "\"slug\":\"precondition-failed\"");
            assert_header(a, "etag", "\"7\"");
        }
    }
    const struct answer *a = asked((struct ask){ .route = CHANGE });
    assert_int_equal(a->status, 428);
    assert_string_equal(a->body, "{\"slug\":\"precondition-required\"}");
}

// --- Cursors

// The cursor that the list gives, in a copy.
static void next_cursor(struct ask a, char out[1024])
{
    const struct answer *got = asked(a);
    assert_int_equal(got->status, 200);
    const char *start = strrchr(got->body, ' ') + 1;
    (void)snprintf(out, 1024, "%.*s", (int)strcspn(start, "\""), start);
    assert_true(strlen(out) > 80);
}

static void assert_cursor(struct ask a, const char *cursor, uint32_t status)
{
    size_t i = 0;
    while (a.query[i]) {
        i += 2;
    }
    a.query[i] = "cursor";
    a.query[i + 1] = cursor;
    const struct answer *got = asked(a);
    assert_int_equal(got->status, status);
    if (status == 400) {
        assert_string_equal(got->body, "{\"slug\":\"invalid-cursor\"}");
    } else {
        assert_body_has(got, "{\"text\":\"next ");
    }
}

#define SHOP_LIST { .route = LIST, .params = { "s1" }, .user = "u1", .query = { "status", "paid" } }

static void test_a_cursor_goes_on_where_it_stood(void **state)
{
    (void)state;
    char cursor[1024], another[1024];
    next_cursor((struct ask)SHOP_LIST, cursor);
    assert_cursor((struct ask)SHOP_LIST, cursor, 200);
    next_cursor((struct ask)SHOP_LIST, another);
    assert_string_not_equal(cursor, another); // sealed anew each time
    assert_cursor((struct ask){ .route = LIST, .params = { "s1" }, .user = "u1",
                                .query = { "limit", "5", "status", "paid" } },
                  cursor, 200); // the page's size may change
}

static void test_a_cursor_of_another_list(void **state)
{
    (void)state;
    char cursor[1024];
    next_cursor((struct ask)SHOP_LIST, cursor);
    struct ask a = SHOP_LIST;
    a.route = OTHER_LIST;
    assert_cursor(a, cursor, 400);
    a = (struct ask)SHOP_LIST;
    a.user = "u2";
    assert_cursor(a, cursor, 400);
    a = (struct ask)SHOP_LIST;
    a.user = NULL;
    assert_cursor(a, cursor, 400);
    a = (struct ask)SHOP_LIST;
    a.params[0] = "s2";
    assert_cursor(a, cursor, 400);
    a = (struct ask)SHOP_LIST;
    a.query[1] = "shipped";
    assert_cursor(a, cursor, 400);
    a = (struct ask)SHOP_LIST;
    a.query[0] = "q"; // the same value in another filter
    assert_cursor(a, cursor, 400);
    a = (struct ask)SHOP_LIST;
    a.query[0] = NULL;
    assert_cursor(a, cursor, 400);
}

static void test_a_cursor_that_was_tampered_with(void **state)
{
    (void)state;
    char cursor[1024], bytes[1024], changed[1024];
    next_cursor((struct ask)SHOP_LIST, cursor);
    size_t n;
    assert_int_equal(base64url_decode(str_of(cursor), bytes, sizeof bytes, &n), 0);
    for (size_t i = 0; i < n; i++) { // each byte, in each part: nonce, tag, text
        bytes[i] = (char)(bytes[i] ^ 1);
        (void)base64url_encode(bytes, n, changed);
        assert_cursor((struct ask)SHOP_LIST, changed, 400);
        bytes[i] = (char)(bytes[i] ^ 1);
    }
    for (size_t k = 1; k < n; k += 7) {
        (void)base64url_encode(bytes, k, changed);
        assert_cursor((struct ask)SHOP_LIST, changed, 400);
    }
    static const char *const junk[] = { "x", "AAAA", "not base64!", "====",
                                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" };
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        assert_cursor((struct ask)SHOP_LIST, junk[i], 400);
    }
    memset(changed, 'A', 1000);
    changed[1000] = '\0';
    assert_cursor((struct ask)SHOP_LIST, changed, 400);
    assert_cursor((struct ask)SHOP_LIST, cursor, 200); // it was good all the time
}

static void test_a_cursor_of_another_deployment(void **state)
{
    (void)state;
    static const unsigned char other[32] = "another key";
    char cursor[1024];
    next_cursor((struct ask)SHOP_LIST, cursor);
    call_set_cursor_key(other);
    assert_cursor((struct ask)SHOP_LIST, cursor, 400);
}

static void test_link_to_the_next_page(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = LIST, .params = { "a b/ü?" },
                                                 .query = { "q", "x&y=\"z\"", "limit", "7", "status", "" } });
    const char *link = header_of(a, "link"), *cursor = strrchr(a->body, ' ') + 1;
    char expected[2048];
    (void)snprintf(expected, sizeof expected,
                   "</v1/shops/a%%20b%%2F%%C3%%BC%%3F/things?cursor=%.*s&limit=7&status=&q=x%%26y%%3D%%22z%%22>;"
                   " rel=\"next\"",
                   (int)strcspn(cursor, "\""), cursor);
    assert_string_equal(link, expected);
    a = asked((struct ask){ .route = LIST, .params = { "s" } });
    assert_non_null(strstr(header_of(a, "link"), "&limit=20>;")); // what stood for it when it was not given
    assert_null(strstr(header_of(a, "link"), "status"));
    assert_no_header(asked((struct ask){ .route = LONG_KEYS }), "link");
}

// --- The rest

static void test_headers(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = HEADERS });
    assert_string_equal(a->headers, "location: /v1/things/7\nx-utf8: é\n");
    assert_string_equal(a->body, "");
}

static void test_errors_of_a_problem(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = ERRORS });
    assert_int_equal(a->status, 409);
    assert_string_equal(a->body,
                        "{\"slug\":\"out-of-stock\",\"errors\":["
                        "{\"detail\":\"there is no A1\",\"pointer\":\"#/items/0/sku\"},"
                        "{\"detail\":\"only 3 are left\",\"pointer\":\"#/items/1/quantity\"}]}");
}

static void test_memory(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_string_equal(asked((struct ask){ .route = MEMORY })->body, "{\"text\":\"copied\"}");
    }
}

static void test_trace_goes_on(void **state)
{
    (void)state;
    const struct answer *a =
        asked((struct ask){ .route = TRACE,
                            .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" });
    // The span is the one that the gateway made for this worker.
    assert_body_has(a, "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"");
    a = asked((struct ask){ .route = TRACE, .traceparent = "nonsense" });
    assert_body_has(a, "\"00-"); // a new one then
}

static void test_events_are_part_of_the_change(void **state)
{
    (void)state;
    struct db *db;
    struct db_rows rows;
    struct event e;
    assert_int_equal(asked((struct ask){ .route = EVENT, .params = { "undo" } })->status, 404);
    assert_int_equal(stored_number("SELECT count(*) FROM sluice_outbox"), 0);
    assert_int_equal(asked((struct ask){ .route = EVENT, .params = { "k1" },
                                         .traceparent =
                                             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" })
                         ->status,
                     204);
    assert_int_equal(db_open("calls.db", DB_READER, &db), 0);
    assert_int_equal(db_row(db, &rows, "SELECT event FROM sluice_outbox", ""), 1);
    assert_int_equal(event_decode(db_str(&rows, 0), &e), 0);
    assert_int_equal(e.id.n, 36);
    assert_true(str_eq(e.topic, STR("things.thing.changed")));
    assert_true(str_eq(e.key, STR("k1")) && str_eq(e.subject, STR("k1")));
    assert_true(str_eq(e.source, STR("/sluice/things")));
    assert_true(str_starts(e.traceparent,
                           STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    assert_true(str_eq(e.data, STR("\x81\xA4text\xA5whole")));
    assert_true(e.time_ms > INT64_C(1600000000000));
    db_rows_close(&rows);
    db_close(&db);
}

static void test_an_event_over_the_limit(void **state)
{
    (void)state;
    assert_int_equal(asked((struct ask){ .route = LARGE_EVENT })->status, 500);
    assert_int_equal(stored_number("SELECT count(*) FROM sluice_outbox"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_if_none_match),
        CASE(test_if_match),
        CASE(test_a_cursor_goes_on_where_it_stood),
        CASE(test_a_cursor_of_another_list),
        CASE(test_a_cursor_that_was_tampered_with),
        CASE(test_a_cursor_of_another_deployment),
        CASE(test_link_to_the_next_page),
        CASE(test_headers),
        CASE(test_errors_of_a_problem),
        CASE(test_memory),
        CASE(test_trace_goes_on),
        CASE(test_events_are_part_of_the_change),
        CASE(test_an_event_over_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
