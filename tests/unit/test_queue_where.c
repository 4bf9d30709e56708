// SPDX-License-Identifier: MIT
// The filter language: what each rule of where.h says, every error with its place, every limit from both sides, and
// events that are damaged in every way. Events are copies of exactly their size, so that ASan sees a read behind
// their end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/where.h"

#include "common/json_to_msgpack.h"
#include "proto/queue_frames.h"
#include "proto/writer.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SEQ 42
#define STORED_MS INT64_C(1795428000500) // 2026-11-23T10:00:00.500Z
#define MAX_BYTES (4 * 1024 * 1024)

// --- Events

static struct str exact(struct str s)
{
    char *p = malloc(s.n ? s.n : 1);
    assert_non_null(p);
    memcpy(p, s.p ? s.p : "", s.n);
    return (struct str){ p, s.n };
}

// An event with these bytes as its data; p == NULL: none. The caller frees it.
static struct str event_of(struct str data)
{
    struct event e = { .id = STR("0190-id"),
                       .topic = STR("orders.order.placed"),
                       .key = STR("k1"),
                       .subject = STR(""),
                       .source = STR("/sluice/orders"),
                       .time_ms = STORED_MS - 500,
                       .traceparent = STR("00-ab-cd-01"),
                       .data = data };
    struct buf b;
    buf_init(&b, MAX_BYTES);
    event_encode(&b, &e);
    assert_true(buf_ok(&b));
    struct str event = exact(buf_str(&b));
    buf_fini(&b);
    return event;
}

static struct str event_of_json(const char *json)
{
    struct json_error error;
    struct buf b;
    buf_init(&b, MAX_BYTES);
    assert_int_equal(json_to_msgpack(str_of(json), &b, &error), 0);
    struct str event = event_of(buf_str(&b));
    buf_fini(&b);
    return event;
}

static struct where *compiled(struct str text)
{
    struct where *w = NULL;
    struct where_error error = { 0, NULL };
    struct str copy = exact(text);
    int status = where_compile(copy, &w, &error);
    if (status) {
        print_error("%.*s\n%*s^ %s\n", STR_ARG(text), (int)error.at, "", error.reason);
    }
    assert_int_equal(status, 0);
    memset((char *)copy.p, 'X', copy.n); // the filter must have its own
    free((char *)copy.p);
    return w;
}

static bool matches(const char *text, struct str event)
{
    struct where *w = compiled(str_of(text));
    bool result = where_matches(w, SEQ, STORED_MS, event);
    where_destroy(&w);
    assert_null(w);
    return result;
}

static const char json[] = "{\"id\":\"o1\",\"total\":{\"amount\":1500,\"currency\":\"EUR\"},"
                           "\"rate\":0.5,\"big\":18446744073709551615,"
                           "\"low\":-9223372036854775808,\"paid\":true,\"open\":false,\"none\":"
                           "null,\"empty\":\"\",\"zero\":0,"
                           "\"tags\":[\"new\",\"gift\",7,2.5,null,[1]],\"lines\":[{\"sku\":\"A-1\","
                           "\"n\":2},{\"sku\":\"B-2\",\"n\":1}],"
                           "\"odd "
                           "name\":{\"a.b\":1,\"\":2,\"\\u00fc\":3},\"at\":\"2026-11-23T11:00:00+"
                           "01:00\",\"deep\":[[1,2],[3,[4,5]]],"
                           "\"mixed\":[[1],{\"a\":2},8],\"sixty_five\":"
                           "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}";

struct expectation {
    bool expected;
    const char *text;
};

static void assert_all(const struct expectation *rows, size_t n, struct str event)
{
    for (size_t i = 0; i < n; i++) {
        char inverted[QUEUE_MAX_WHERE];
        if (matches(rows[i].text, event) != rows[i].expected) {
            fail_msg("%s is not %s", rows[i].text, rows[i].expected ? "true" : "false");
        }
        (void)snprintf(inverted, sizeof inverted, "not (%s)", rows[i].text);
        assert_int_equal(matches(inverted, event), !rows[i].expected);
    }
    free((char *)event.p);
}

#define ASSERT_ALL(rows, event) assert_all(rows, sizeof(rows) / sizeof(rows)[0], event)

// --- What the rules say

static void test_attributes(void **state)
{
    static const struct expectation rows[] = {
        { true, ".topic == \"orders.order.placed\"" },
        { true, ".type == \"orders.order.placed\"" },
        { true, ".\"topic\" == .type" },
        { false, ".topic == \"orders\"" },
        { true, ".key == \"k1\" and .partitionkey == \"k1\"" },
        { true, ".subject == \"\" and .source == \"/sluice/orders\" and .id == \"0190-id\"" },
        { true, ".traceparent starts \"00-\"" },
        { true, ".seq == 42 and .seq < 43 and 41 < .seq" },
        { false, "exists .subject or .subject" },
        { true, "exists .key and .key and exists .seq and exists .time" },
        { false, ".key == 1 or .seq == \"42\"" },
    };
    (void)state;
    ASSERT_ALL(rows, event_of_json(json));
}

static void test_times(void **state)
{
    static const struct expectation rows[] = {
        { true, ".time == \"2026-11-23T10:00:00Z\"" },
        { true, ".time == \"2026-11-23T11:00:00+01:00\"" },
        { true, ".time == \"2026-11-23T10:00:00.000999Z\"" },
        { true, ".stored_at == \"2026-11-23T10:00:00.5Z\" and .time < .stored_at" },
        { true, ".stored_at > \"2026-11-23T10:00:00.499Z\" and \"2026-11-23T10:00:00.501Z\" > "
                ".stored_at" },
        { true, ".time >= \"2026-11-23T10:00:00Z\" and .time <= \"2026-11-23T10:00:00Z\"" },
        { false, ".time != \"2026-11-23T10:00:00Z\" or .time < \"2026-11-23T10:00:00Z\"" },
        { true, ".time in [\"2020-01-01T00:00:00Z\", \"2026-11-23T10:00:00Z\"]" },
        { true, ".time == .data.at and .data.at == .time and .stored_at > .data.at and .data.at < "
                ".stored_at" },
        { true, ".data.at != \"2026-11-23T10:00:00Z\"" }, // a string of the data is a string
        { false,
          ".time == .data.id or .time < .data.id or .time >= .data.id or .time == .data.zero" },
        { true, ".time != .data.id and .data.nothing != .time" },
    };
    (void)state;
    ASSERT_ALL(rows, event_of_json(json));
}

static void test_paths(void **state)
{
    static const struct expectation rows[] = {
        { true, ".data.total.amount == 1500" },
        { true, ".data.total.\"amount\" == 1500 and .\"data\".\"total\".amount == 1500" },
        { true, ".data.lines[0].sku == \"A-1\" and .data.lines[1].n == 1" },
        { true,
          ".data.lines[1].n == 1 and .data.lines[0].n == 2 and .data.lines[0].sku == \"A-1\"" },
        { true, ".data.deep[1][1][0] == 4 and .data.deep[0][1] == 2 and .data.deep[1][0] == 3" },
        { false, ".data.lines[2].n == 1 or .data.lines[4294967295] == 1 or exists .data.lines[2]" },
        { true, ".data.\"odd name\".\"a.b\" == 1 and .data.\"odd name\".\"\" == 2" },
        { true, ".data.\"odd name\".\"\xC3\xBC\" == 3 and .data.\"odd name\".\"\\u00FC\" == 3" },
        { false, "exists .data.tota or exists .data.totals or exists .data.total.amount.x" },
        { false,
          "exists .data[0] or exists .data.tags.new or exists .data.id[0] or .data.nothing" },
        { true,
          "exists .data and exists .data.total and .data.total and .data.tags and .data.lines[0]" },
        { true,
          "exists .data.none and exists .data.open and exists .data.zero and exists .data.empty" },
        { false, ".data.none or .data.open" },
        { true, ".data.zero and .data.empty and .data.paid" },
        { true, ".data.total == .data.total or .data.rate == .data.rate" },
        { false,
          ".data.total == .data.total or .data.tags == .data.tags" }, // maps and lists equal nothing
        { true, ".data.deep[1][1][1] == 5 and .data.id == \"o1\"" }, // found behind what is skipped
    };
    (void)state;
    ASSERT_ALL(rows, event_of_json(json));
}

static void test_types(void **state)
{
    static const struct expectation rows[] = {
        { true, ".data.paid == true and .data.open == false and .data.none == null" },
        { true, ".data.paid != false and .data.paid != 1 and .data.open != null and .data.zero != "
                "false" },
        { false,
          ".data.paid > false or .data.paid >= true or .data.none <= null or .data.none >= null" },
        { true, ".data.nothing != 5 and .data.nothing != null and .data.nothing != .data.nothing" },
        { false, ".data.nothing == .data.nothing or .data.nothing == null or .data.nothing < 5" },
        { false, ".data.total.amount > \"1\" or .data.total.amount < \"2\" or .data.id < 5 or "
                 ".data.id > 5" },
        { true,
          ".data.id > \"o\" and .data.id < \"o2\" and .data.id >= \"o1\" and \"\" < .data.id" },
        { true, ".data.rate == 0.5 and .data.rate < 1 and .data.rate > 0 and 0.5 == .data.rate" },
        { true, ".data.big == 18446744073709551615 and .data.big > 9223372036854775807" },
        { true,
          ".data.low == -9223372036854775808 and .data.low < .data.big and .data.big > .data.low" },
        { false, ".data.big == 18446744073709551616.0 or .data.low == -9223372036854775809.0e1" },
        { true,
          "1 == 1.0 and -0 == 0 and -0.0 == 0 and 1e2 == 100 and \"a\" != \"b\" and null == null" },
    };
    (void)state;
    ASSERT_ALL(rows, event_of_json(json));
}

static void test_words(void **state)
{
    static const struct expectation rows[] = {
        { true,
          ".topic starts \"orders.\" and .topic ends \"placed\" and .topic contains \".order.\"" },
        { true, ".topic starts \"\" and .topic ends \"\" and .topic contains \"\" and .data.empty "
                "contains \"\"" },
        { false, ".topic starts \"order.\" or .topic ends \"place\" or .topic contains \"x\"" },
        { false, ".key starts \"k12\" or .key ends \"0k1\" or .data.empty contains \"a\"" },
        { true,
          ".data.tags contains \"gift\" and .data.tags contains 7.0 and .data.tags contains 2.5" },
        { true, ".data.tags contains null and .data.tags contains .data.tags[1]" },
        { false,
          ".data.tags contains \"gif\" or .data.tags contains 1 or .data.tags contains true" },
        { true, ".data.mixed contains 8" },
        { false, ".data.mixed contains 1 or .data.mixed contains 2 or .data.mixed contains \"a\"" },
        // the byte before the string is its length, 65
        { false, ".data.sixty_five ends "
                 "\"Axxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"" },
        { false, ".data.total contains \"amount\" or .data.zero contains 0 or .data.nothing "
                 "contains null" },
        { false, ".data.zero starts 0 or .data.nothing ends \"\" or .data.tags starts \"new\"" },
        { true, ".data.total.currency in [\"USD\", \"EUR\"] and 1500 in [1500.0]" },
        { false, ".data.total.currency in [\"USD\"] or .data.nothing in [null, false, 0, \"\"]" },
        { true, ".data.none in [1, null] and .data.open in [false]" },
    };
    (void)state;
    ASSERT_ALL(rows, event_of_json(json));
}

// Every formula of a few conditions against C's own idea of it.
static void test_every_truth_table(void **state)
{
    static const char *const forms[] = {
        "%s and %s and %s",
        "%s or %s or %s",
        "%s and %s or %s",
        "%s or %s and %s",
        "not %s and %s or %s",
        "%s and not (%s or %s)",
        "(%s or %s) and %s",
        "not (%s and not %s) or not %s",
        "not not %s or not %s and %s",
        "((%s)) and ((not %s) or (%s))",
    };
    (void)state;
    struct str event = event_of_json(json);
    for (unsigned bits = 0; bits < 8; bits++) {
        bool a = bits & 1, b = bits & 2, c = bits & 4;
        const bool expected[] = { a && b && c,    a || b || c,    (a && b) || c, a || (b && c),
                                  (!a && b) || c, a && !(b || c), (a || b) && c, !(a && !b) || !c,
                                  a || (!b && c), a && (!b || c) };
        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
            char text[256];
            const char *t = ".data.paid", *f = "exists .data.nothing";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            (void)snprintf(text, sizeof text, forms[i], a ? t : f, b ? t : f, c ? t : f);
#pragma GCC diagnostic pop
            if (matches(text, event) != expected[i]) {
                fail_msg("%s", text);
            }
        }
    }
    free((char *)event.p);
}

// --- Numbers

struct number {
    const char *text;
    long double value; // 64 bits of mantissa: exact for all of them
    bool is_double;
};

static const struct number numbers[] = {
    { "0", 0.0L, false },
    { "1", 1.0L, false },
    { "-1", -1.0L, false },
    { "0.5", 0.5L, true },
    { "-0.5", -0.5L, true },
    { "-1.5", -1.5L, true },
    { "9007199254740992", 9007199254740992.0L, false }, // 2^53
    { "9007199254740993", 9007199254740993.0L, false },
    { "9007199254740992.0", 9007199254740992.0L, true },
    { "9007199254740994.0", 9007199254740994.0L, true },
    { "9223372036854775807", 9223372036854775807.0L, false },
    { "9223372036854775808", 9223372036854775808.0L, false },
    { "9223372036854775809", 9223372036854775809.0L, false },
    { "9223372036854775808.0", 9223372036854775808.0L, true },
    { "9223372036854774784.0", 9223372036854774784.0L, true }, // the double before
    { "9223372036854777856.0", 9223372036854777856.0L, true }, // and the one after
    { "-9223372036854775808", -9223372036854775808.0L, false },
    { "-9223372036854775807", -9223372036854775807.0L, false },
    { "-9223372036854775808.0", -9223372036854775808.0L, true },
    { "-9223372036854777856.0", -9223372036854777856.0L, true },
    { "18446744073709551615", 18446744073709551615.0L, false },
    { "18446744073709551616.0", 18446744073709551616.0L, true },
    { "18446744073709549568.0", 18446744073709549568.0L, true },
    { "1.7976931348623157e308", DBL_MAX, true },
    { "-1.7976931348623157e308", -DBL_MAX, true },
    { "5e-324", DBL_TRUE_MIN, true },
};
#define N_NUMBERS (sizeof numbers / sizeof numbers[0])

static struct str event_of_number(const struct number *n)
{
    struct buf b;
    buf_init(&b, 64);
    if (n->is_double) {
        writer_double(&b, (double)n->value);
    } else if (n->value < 0) {
        writer_int(&b, (int64_t)n->value);
    } else {
        writer_uint(&b, (uint64_t)n->value);
    }
    struct str event = event_of(buf_str(&b));
    buf_fini(&b);
    return event;
}

static void test_numbers_compare_exactly(void **state)
{
    static const char *const signs[] = { "==", "!=", "<", "<=", ">", ">=" };
    (void)state;
    for (size_t i = 0; i < N_NUMBERS; i++) {
        struct str event = event_of_number(&numbers[i]);
        for (size_t k = 0; k < N_NUMBERS; k++) {
            long double a = numbers[i].value, b = numbers[k].value;
            const bool expected[] = { a == b, a != b, a<b, a <= b, a> b, a >= b };
            for (size_t s = 0; s < 6; s++) {
                char text[128];
                (void)snprintf(text, sizeof text, ".data %s %s", signs[s], numbers[k].text);
                if (matches(text, event) != expected[s]) {
                    fail_msg("%s with .data = %s", text, numbers[i].text);
                }
            }
        }
        free((char *)event.p);
    }
}

static void test_what_is_no_number_is_in_no_order(void **state)
{
    static const struct expectation rows[] = {
        { true,
          ".data != .data and .data != 1 and .data != 1.5 and 18446744073709551615 != .data" },
        { false, ".data < 1 or .data > 1 or .data <= 1.5 or .data >= 1.5 or .data == .data" },
        { true, "exists .data and .data" },
    };
    (void)state;
    struct buf b;
    buf_init(&b, 64);
    writer_double(&b, (double)NAN);
    ASSERT_ALL(rows, event_of(buf_str(&b)));
    buf_reset(&b);
    writer_double(&b, (double)INFINITY);
    struct str event = event_of(buf_str(&b));
    assert_true(
        matches(".data > 18446744073709551615 and .data > 1.7e308 and .data == .data", event));
    free((char *)event.p);
    buf_fini(&b);
}

// --- Data that is not as expected

static void test_events_without_data(void **state)
{
    static const struct expectation rows[] = {
        { false, "exists .data or exists .data.a or .data == null or .data[0] == 0" },
        { true, ".topic starts \"orders\" and .data != null" },
    };
    (void)state;
    ASSERT_ALL(rows, event_of((struct str){ NULL, 0 }));
    ASSERT_ALL(rows, event_of(STR("")));
    ASSERT_ALL(rows, event_of(STR("\xC1")));
    ASSERT_ALL(rows, event_of(STR("\xDC\xFF\xFF")));         // a list of more than there is
    ASSERT_ALL(rows, event_of(STR("\xDF\xFF\xFF\xFF\xFF"))); // a map
}

static void test_data_that_json_cannot_be(void **state)
{
    (void)state;
    // {"a": 1, 5: 5, [1]: 2, "a": 2, "b": bin "xx", "e": ext 1 of 1 byte, "s": "a\xFF", "z": 9}
    static const char bytes[] = "\x88\xA1"
                                "a\x01\x05\x05\x91\x01\x02\xA1"
                                "a\x02\xA1"
                                "b\xC4\x02xx\xA1"
                                "e\xD4\x01\x00\xA1"
                                "s\xA2"
                                "a\xFF\xA1z\x09";
    static const struct expectation rows[] = {
        { true, ".data.a == 1 and .data.z == 9" }, // the first of two; and what is behind odd keys
        { true, "exists .data.b and .data.b and .data.b != \"xx\"" },
        { true, "exists .data.e and .data.e != null" },
        { false, ".data.b == .data.b or .data.e == .data.e or .data.b contains \"x\"" },
        { true, ".data.s starts \"a\" and .data.s > \"a\"" },
    };
    ASSERT_ALL(rows, event_of((struct str){ bytes, sizeof bytes - 1 }));
}

static void test_of_a_name_twice_the_first_counts(void **state)
{
    static const struct expectation rows[] = {
        { true, ".data.m.x == 1 and .data.z == 3" },
        { false, "exists .data.m.y" },
        { true, "exists .data.m.y or .data.z == 3" },
    };
    (void)state;
    // {"m": {"x": 1}, "m": {"y": 2}, "z": 3}
    ASSERT_ALL(rows, event_of(STR("\x83\xA1m\x81\xA1x\x01\xA1m\x81\xA1y\x02\xA1z\x03")));
}

// Behind a field of the wrong type nothing is taken for what it is not.
static void test_event_with_a_field_of_the_wrong_type(void **state)
{
    static const struct expectation rows[] = {
        { true, ".topic == \"t\" and .id == \"i\"" },
        { false,
          "exists .key or exists .subject or exists .source or exists .time or exists .data" },
    };
    (void)state;
    struct buf b;
    buf_init(&b, 64);
    writer_array(&b, 8);
    writer_str(&b, STR("i"));
    writer_str(&b, STR("t"));
    writer_int(&b, 5); // the key
    writer_str(&b, STR("s"));
    writer_str(&b, STR("s"));
    writer_int(&b, 6);
    writer_str(&b, STR("t"));
    writer_bin(&b, STR("\x01"));
    ASSERT_ALL(rows, exact(buf_str(&b)));
    buf_reset(&b);
    writer_array(&b, 7); // too few
    for (int i = 0; i < 7; i++) {
        writer_str(&b, STR("x"));
    }
    struct str event = exact(buf_str(&b));
    assert_false(matches("exists .id or exists .topic or exists .key", event));
    free((char *)event.p);
    buf_fini(&b);
}

static void test_what_is_before_the_damage_is_found(void **state)
{
    static const struct expectation rows[] = {
        { true, ".data.a == 1 and .data.a < 2" },
        { false, "exists .data.b or exists .data.c" },
        { true, "exists .data.c or .data.a == 1" },
    };
    (void)state;
    ASSERT_ALL(rows, event_of(STR("\x83\xA1"
                                  "a\x01\xA1"
                                  "b\xC1\xA1"
                                  "c\x03")));
}

static void test_data_too_deep_to_pass_over(void **state)
{
    char bytes[256] = "\x83\xA1"
                      "a\x01\xA1"
                      "d";
    size_t n = 6;
    (void)state;
    for (int i = 0; i < 40; i++) {
        bytes[n++] = '\x91';
    }
    memcpy(bytes + n, "\x07\xA1z\x02", 4);
    struct str event = event_of((struct str){ bytes, n + 4 });
    assert_true(matches(".data.a == 1 and exists .data.d", event));
    assert_true(matches(".data.d[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0] != 7", event));
    assert_false(matches("exists .data.z", event));
    free((char *)event.p);
}

// Only as much of an event is looked at as the answer needs.
static void test_no_more_is_read_than_the_answer_needs(void **state)
{
    (void)state;
    struct str whole = event_of_json(json);
    const char *topic_end = (const char *)memmem(whole.p, whole.n, "placed", 6) + 6;
    struct str cut = exact((struct str){ whole.p, (size_t)(topic_end - whole.p) });
    // A list of eight that ends behind its second; its head alone asks for one byte each, so it is padded.
    struct buf b;
    buf_init(&b, MAX_BYTES);
    buf_append_str(&b, cut);
    buf_append(&b, "\xC1\xC1\xC1\xC1\xC1\xC1\xC1\xC1", 8);
    struct str padded = exact(buf_str(&b));
    assert_true(matches(".topic == \"orders.order.placed\" and .seq == 42", padded));
    assert_true(matches(".topic starts \"orders\" or .data.x", padded));
    assert_false(matches(".topic starts \"users\" and .data.x", padded));
    assert_true(matches(".id == \"0190-id\" and not exists .key and not exists .data", padded));
    assert_false(matches("exists .time or exists .subject or exists .traceparent", padded));
    buf_fini(&b);
    free((char *)cut.p);
    free((char *)padded.p);
    free((char *)whole.p);
}

// No damage makes it read behind the end, or makes a filter and its opposite agree.
static void test_damaged_events(void **state)
{
    static const char text[] =
        ".data.lines[1].sku == \"B-2\" and .data.tags contains \"gift\" or .data.deep[1][1][1] == "
        "5 "
        "and .time > \"2020-01-01T00:00:00Z\" and .data.\"odd name\".\"\" in [1, 2]";
    (void)state;
    char inverted[sizeof text + 16];
    (void)snprintf(inverted, sizeof inverted, "not (%s)", text);
    struct where *w = compiled(str_of(text)), *n = compiled(str_of(inverted));
    struct str whole = event_of_json(json);
    assert_true(where_matches(w, SEQ, STORED_MS, whole));
    for (size_t length = 0; length < whole.n; length++) {
        struct str cut = exact((struct str){ whole.p, length });
        assert_true(where_matches(w, SEQ, STORED_MS, cut) != where_matches(n, SEQ, STORED_MS, cut));
        free((char *)cut.p);
    }
    for (size_t at = 0; at < whole.n; at++) {
        for (int v = 0; v < 256; v++) {
            char *p = (char *)whole.p, before = p[at];
            p[at] = (char)v;
            assert_true(where_matches(w, SEQ, STORED_MS, whole) !=
                        where_matches(n, SEQ, STORED_MS, whole));
            p[at] = before;
        }
    }
    free((char *)whole.p);
    where_destroy(&w);
    where_destroy(&n);
    where_destroy(&n);
}

// --- Errors

#define PLACE "here comes a path like .data.total, a number, a string, true, false or null"
#define NUMBER "a number is written as in JSON: 12, -3, 0.5, 1e6"
#define INTEGER                                                                                    \
    "an integer is from -9223372036854775808 to 18446744073709551615; with an exponent (1e30) it " \
    "is a "                                                                                        \
    "double"
#define NAME "behind a dot comes a name, or a string for an odd one: .a or .\"a b\""
#define INDEX "an index is a number from 0 to 4294967295 and a ]"
#define ATTRIBUTES                                                                                 \
    "an event has .topic (or .type), .key (or .partitionkey), .subject, .source, .id, "            \
    ".traceparent, "                                                                               \
    ".time, .seq, .stored_at and .data"
#define TIME "a time is compared with a time: \"2026-11-23T10:00:00Z\""
#define TIME_SIGNS "a time is compared by == != < <= > >= or in"
#define VALUE "behind a value comes == != < <= > >= starts ends contains or in"
#define PAIR "half of a pair: \\uD800 to \\uDBFF are followed by \\uDC00 to \\uDFFF"
#define HEX "\\u is followed by four hexadecimal digits"
#define ESCAPE "in a string \\ is followed by one of \" \\ / b f n r t u"
#define END "here comes and, or, a comparison (== != < <= > >= starts ends contains in), or the end"

static const struct {
    const char *text;
    size_t at;
    const char *reason;
} errors[] = {
    { "", 0, PLACE },
    { "  ", 2, PLACE },
    { "and", 0, PLACE },
    { ".key ==", 7, PLACE },
    { ".key == and", 8, PLACE },
    { ".key == TRUE", 8, PLACE },
    { ".key == nulls", 8, PLACE },
    { ".key == \"a\" and", 15, PLACE },
    { "not", 3, PLACE },
    { "()", 1, PLACE },
    { "topic == \"a\"", 0, PLACE },
    { ".key = \"a\"", 5, "equality is written ==" },
    { ".key =~ \"a\"", 5, "equality is written ==" },
    { ".key == 01", 8, NUMBER },
    { ".key == -", 8, NUMBER },
    { ".key == 1.", 8, NUMBER },
    { ".key == 1e", 8, NUMBER },
    { ".key == 1e+", 8, NUMBER },
    { ".key == 1x", 8, NUMBER },
    { ".key == 1.2.3", 8, NUMBER },
    { ".key == 0x10", 8, NUMBER },
    { ".key == +1", 8, PLACE },
    { ".key == .5", 9, NAME },
    { ".key == 18446744073709551616", 8, INTEGER },
    { ".key == 99999999999999999999999", 8, INTEGER },
    { ".key == -9223372036854775809", 8, INTEGER },
    { ".key == 1e309", 8, "a double is at most about 1.797e308" },
    { ".key == 0.00000000000000000000000000000000000000000000000000000000000000001", 8,
      "a number has at most 64 characters" },
    { ".key == \"a", 8, "a string without a closing \"" },
    { ".key == \"a\\\"", 8, "a string without a closing \"" },
    { ".key == \"a\nb\"", 10, "a control character in a string is written as \\n, \\t or \\u0000" },
    { ".key == \"\\x\"", 9, ESCAPE },
    { ".key == \"\\", 9, ESCAPE },
    { ".key == \"\\u12g4\"", 13, HEX },
    { ".key == \"\\u12", 13, HEX },
    { ".key == \"\\ud800\"", 9, PAIR },
    { ".key == \"\\udc00\\ud800\"", 9, PAIR },
    { ".key == \"\\ud800\\u0041\"", 9, PAIR },
    { ".key == \"\\udc00\\udc00\"", 9, PAIR },
    { ".key == \"\\ud800\\n\"", 9, PAIR },
    { "\xFF", 0, "a filter is UTF-8" },
    { ".", 1, NAME },
    { "..key", 1, NAME },
    { ".1", 1, NAME },
    { ".data.", 6, NAME },
    { ".data.a.-b", 8, NAME },
    { ".data. a", 6, NAME },
    { ".data[", 6, INDEX },
    { ".data[-1]", 6, INDEX },
    { ".data[x]", 6, INDEX },
    { ".data[1", 6, INDEX },
    { ".data[ 1]", 6, INDEX },
    { ".data[4294967296]", 6, INDEX },
    { ".data[99999999999999999999]", 6, INDEX },
    { ".total > 5", 0, ATTRIBUTES },
    { ".Topic == \"a\"", 0, ATTRIBUTES },
    { ".topic.a", 6, "only .data has something inside" },
    { ".seq[0]", 4, "only .data has something inside" },
    { "exists", 6, "behind exists comes a path: exists .key" },
    { "exists 5", 7, "behind exists comes a path: exists .key" },
    { "exists (.key)", 7, "behind exists comes a path: exists .key" },
    { "5", 1, VALUE },
    { "true and .key", 5, VALUE },
    { "\"a\" .key", 4, VALUE },
    { ".key in", 7, "behind in comes a list: in [\"a\", \"b\"]" },
    { ".key in \"a\"", 8, "behind in comes a list: in [\"a\", \"b\"]" },
    { ".key in []", 9, "in a list are numbers, strings, true, false and null" },
    { ".key in [.id]", 9, "in a list are numbers, strings, true, false and null" },
    { ".key in [1,]", 11, "in a list are numbers, strings, true, false and null" },
    { ".key in [1 2]", 11, "a list goes on with , or ends with ]" },
    { ".key in [1", 10, "a list goes on with , or ends with ]" },
    { ".time > 5", 8, TIME },
    { ".time > \"yesterday\"", 8, TIME },
    { "\"2026\" < .stored_at", 0, TIME },
    { ".stored_at == null", 14, TIME },
    { ".time in [\"2026-11-23T10:00:00Z\", \"x\"]", 34, TIME },
    { ".time starts \"2026\"", 0, TIME_SIGNS },
    { " .key contains .time", 1, TIME_SIGNS },
    { "(.key", 0, "a ( without its )" },
    { ".key and (.key or (.id)", 9, "a ( without its )" },
    { "(.key .id)", 6, "here comes and, or, a comparison, or the ) of a (" },
    { ".key)", 4, END },
    { ".key .id", 5, END },
    { ".key && .id", 5, END },
    { ".key andy .id", 5, END },
    { ".data .a", 6, END },
    { ".key == \"a\" == \"a\"", 12, END },
    { ".key matches \"a\"", 5, END },
};

static void assert_error(struct str text, size_t at, const char *reason)
{
    struct where *w = (struct where *)1;
    struct where_error error = { SIZE_MAX, NULL };
    struct str copy = exact(text);
    int status = where_compile(copy, &w, &error);
    free((char *)copy.p);
    if (status != -EINVAL || error.at != at || strcmp(error.reason, reason) != 0) {
        fail_msg("%.*s: %d at %zu %s", STR_ARG(text), status, error.at, error.reason);
    }
    assert_ptr_equal(w, (struct where *)1);
}

static void test_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        assert_error(str_of(errors[i].text), errors[i].at, errors[i].reason);
    }
    assert_error((struct str){ ".key == \"a\0b\"", 13 }, 10,
                 "a control character in a string is written as \\n, \\t or \\u0000");
}

static void test_escapes(void **state)
{
    static const struct expectation rows[] = {
        { true, ".data.a == \"\\\"\\\\\\/\\b\\f\\n\\r\\t\"" },
        { true, ".data.b == \"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\\u0000\" and .data.b ends "
                "\"\\u0000\"" },
        { true, ".data.b == \"A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\\u0000\"" },
    };
    (void)state;
    struct buf b;
    buf_init(&b, 256);
    writer_map(&b, 2);
    writer_key(&b, "a");
    writer_str(&b, STR("\"\\/\b\f\n\r\t"));
    writer_key(&b, "b");
    writer_str(&b, STR("A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\0"));
    ASSERT_ALL(rows, event_of(buf_str(&b)));
    buf_fini(&b);
}

// --- Limits

// first, then n times part, then last.
static struct str repeated(struct buf *b, const char *first, const char *part, size_t n,
                           const char *last)
{
    buf_reset(b);
    buf_append_z(b, first);
    for (size_t i = 0; i < n; i++) {
        buf_append_z(b, part);
    }
    buf_append_z(b, last);
    return buf_str(b);
}

static void assert_compiles(struct str text)
{
    struct where *w = compiled(text);
    where_destroy(&w);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, MAX_BYTES);
    assert_compiles(repeated(&b, ".key == \"", "a", QUEUE_MAX_WHERE - 10, "\""));
    assert_error(repeated(&b, ".key == \"", "a", QUEUE_MAX_WHERE - 9, "\""), QUEUE_MAX_WHERE,
                 "a filter has at most 1024 bytes");
    assert_compiles(repeated(&b, ".key in [1", ",1", WHERE_MAX_NODES - 2, "]"));
    assert_error(repeated(&b, ".key in [1", ",1", WHERE_MAX_NODES - 1, "]"), 265,
                 "too long: at most 128 comparisons, operators and literals together");
    assert_compiles(repeated(&b, "not .id", " or .id", 63, ""));
    assert_error(repeated(&b, "not .id", " or .id", 64, ""), 451,
                 "too long: at most 128 comparisons, operators and literals together");
    assert_compiles(repeated(&b, "((((((((((((((((.key", ")", WHERE_MAX_NESTING, ""));
    assert_error(STR("(((((((((((((((((.key"), WHERE_MAX_NESTING,
                 "parentheses may be nested 16 deep");
    assert_compiles(repeated(&b, "", "not ", 255, ".id"));
    assert_compiles(repeated(&b, ".data", ".a", WHERE_MAX_NESTING, ""));
    assert_error(repeated(&b, ".data", "[0]", WHERE_MAX_NESTING + 1, ""), 53,
                 "a path has at most 16 names and indexes behind .data");
    assert_compiles(
        repeated(&b, ".id contains .id", " and .id contains .id", WHERE_MAX_CONTAINS - 1, ""));
    assert_error(repeated(&b, ".id contains .id", " and .id contains .id", WHERE_MAX_CONTAINS, ""),
                 168, "at most 8 times contains in one filter");
    buf_fini(&b);
}

// 63 places, all found in one event, each by its own value; a 64th is refused.
static void test_as_many_places_as_allowed(void **state)
{
    (void)state;
    struct buf text, data;
    buf_init(&text, MAX_BYTES);
    buf_init(&data, MAX_BYTES);
    writer_array(&data, WHERE_MAX_NAMES);
    for (int i = 0; i < WHERE_MAX_NAMES; i++) {
        writer_int(&data, i);
        if (i % 2) { // a condition for each other one, against its neighbour
            buf_printf(&text, "%s.data[%d]<.data[%d]", i > 1 ? " or " : "", WHERE_MAX_NAMES - i,
                       WHERE_MAX_NAMES - 1 - i);
        }
    }
    buf_append_z(&text, " or .data[0]==0");
    struct str event = event_of(buf_str(&data));
    struct where *w = compiled(buf_str(&text));
    assert_true(where_matches(w, SEQ, STORED_MS, event));
    where_destroy(&w);
    buf_append_z(&text, " or .data[63]");
    assert_error(buf_str(&text), text.len - 4,
                 "too many paths: at most 63 names and indexes under .data");
    free((char *)event.p);
    buf_fini(&text);
    buf_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_every_truth_table),
        cmocka_unit_test(test_numbers_compare_exactly),
        cmocka_unit_test(test_what_is_no_number_is_in_no_order),
        cmocka_unit_test(test_events_without_data),
        cmocka_unit_test(test_data_that_json_cannot_be),
        cmocka_unit_test(test_of_a_name_twice_the_first_counts),
        cmocka_unit_test(test_event_with_a_field_of_the_wrong_type),
        cmocka_unit_test(test_what_is_before_the_damage_is_found),
        cmocka_unit_test(test_data_too_deep_to_pass_over),
        cmocka_unit_test(test_no_more_is_read_than_the_answer_needs),
        cmocka_unit_test(test_damaged_events),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_as_many_places_as_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
