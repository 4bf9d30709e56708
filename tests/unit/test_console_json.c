// SPDX-License-Identifier: MIT
// What the browser gets is JSON whatever the suite says, and what it asks for is taken as it is
// written or not at all.
#include "gateway/console_json.h"

#include "proto/writer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include <cmocka.h>

static struct buf out;

static int enter(void **state)
{
    (void)state;
    buf_init(&out, 1 << 22);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

// What is in out is JSON.
static void assert_json(void)
{
    assert_true(buf_ok(&out));
    yyjson_doc *doc = yyjson_read(out.data, out.len, 0);
    if (!doc) {
        fail_msg("no JSON: %.*s", STR_ARG(buf_str(&out)));
    }
    yyjson_doc_free(doc);
}

static void assert_out(const char *expected)
{
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    assert_string_equal(out.data, expected);
    out.len--;
}

// --- Figures

static void figures(const char *text, size_t max_bytes)
{
    struct suite_process p[] = { { .job = "sluice-a", .instance = "a-1", .up = true },
                                 { .job = "sluice-b", .instance = "b-1", .up = false } };
    p[0].text = str_of(text);
    buf_reset(&out);
    console_json_figures(p, 2, 4, max_bytes, &out);
    assert_json();
}

#define A_BEGIN                                                                                    \
    "{\"processes\":[{\"job\":\"sluice-a\",\"instance\":\"a-1\",\"up\":true,\"values\":["
#define B_END                                                                                      \
    "]},{\"job\":\"sluice-b\",\"instance\":\"b-1\",\"up\":false,\"values\":[],\"times\":[]}],"     \
    "\"left_out\":4,\"cut\":false}"

static void test_figures(void **state)
{
    (void)state;
    figures("# HELP x X.\n# TYPE x gauge\nx 1\n"
            "# HELP sluice_ready R.\n# TYPE sluice_ready gauge\nsluice_ready 1\n"
            "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.250000\n"
            "# TYPE sluice_outbox_rows gauge\nsluice_outbox_rows{a=\"x \\\" } y\"} -3\n",
            65536);
    assert_out(A_BEGIN
               "[\"sluice_ready\",\"\",1],[\"process_cpu_seconds_total\",\"\",1.250000],"
               "[\"sluice_outbox_rows\",\"a=\\\"x \\\\\\\" } y\\\"\",-3]],\"times\":[" B_END);
}

static void test_histograms(void **state)
{
    (void)state;
    figures("# TYPE sluice_store_write_seconds histogram\n"
            "sluice_store_write_seconds_bucket{k=\"1\",le=\"0.1\"} 2\n"
            "sluice_store_write_seconds_bucket{k=\"1\",le=\"1\"} 2\n"
            "sluice_store_write_seconds_bucket{k=\"1\",le=\"+Inf\"} 5\n"
            "sluice_store_write_seconds_sum{k=\"1\"} 2.5\n"
            "sluice_store_write_seconds_count{k=\"1\"} 5\n"
            "sluice_store_write_seconds_bucket{k=\"2\",le=\"+Inf\"} 0\n"
            "sluice_store_write_seconds_sum{k=\"2\"} 0.000000\n"
            "sluice_store_write_seconds_count{k=\"2\"} 0\n",
            65536);
    assert_out(A_BEGIN
               "],\"times\":[[\"sluice_store_write_seconds\",\"k=\\\"1\\\"\",2.5,[2,0,3]]" B_END);
}

// Whatever a process sends, it is JSON, and bounded.
static void test_texts_that_are_none(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "",
        "\n\n",
        "# TYPE ",
        "# TYPE sluice_ready",
        "# TYPE sluice_ready gauge\nsluice_ready",
        "# TYPE sluice_ready gauge\nsluice_ready ",
        "# TYPE sluice_ready gauge\nsluice_ready }\n",
        "# TYPE sluice_ready gauge\nsluice_ready{} 1\nsluice_ready} 1\nsluice_ready{\x01\"\\} 2\n",
        "# TYPE sluice_ready gauge\nsluice_ready NaN\nsluice_ready +Inf\nsluice_ready 1e5\n"
        "sluice_ready 01\nsluice_ready 1.\nsluice_ready .5\nsluice_ready -\nsluice_ready 1.2.3\n",
        "# TYPE sluice_ready histogram\nsluice_ready_bucket x\nsluice_ready_sum y\n"
        "sluice_ready_bucket 3\nsluice_ready_sum {\n",
        "# TYPE sluice_ready histogram\nsluice_ready_bucket 99999999999999999999999\n"
        "sluice_ready_sum 1\n",
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        figures(odd[i], 65536);
    }
    struct buf many;
    buf_init(&many, 1 << 20);
    buf_append_z(&many, "# TYPE sluice_store_write_seconds histogram\n");
    for (int i = 0; i < 1000; i++) {
        buf_append_z(&many, "sluice_store_write_seconds_bucket 9\n");
    }
    buf_append_z(&many, "sluice_store_write_seconds_sum 1\n");
    buf_append_char(&many, '\0');
    figures(many.data, 65536); // more buckets than there are
    buf_fini(&many);
}

static void test_figures_that_do_not_fit(void **state)
{
    (void)state;
    static char text[65536];
    size_t n = (size_t)snprintf(text, sizeof text, "# TYPE sluice_outbox_rows gauge\n");
    while (n < sizeof text - 100) {
        n += (size_t)snprintf(text + n, sizeof text - n, "sluice_outbox_rows{a=\"%zu\"} 1\n", n);
    }
    for (size_t max = 400; max < 6000; max += 97) {
        figures(text, max);
        assert_true(out.len <= max);
        buf_append_char(&out, '\0');
        assert_non_null(strstr(out.data, "\"cut\":true"));
    }
}

// --- Events

static struct str event_of(struct buf *b, struct str data)
{
    struct event e = {
        .id = STR("i"), .topic = STR("a.b"), .key = STR("k\"\n"), .time_ms = 5, .data = data
    };
    buf_init(b, 1 << 20);
    event_encode(b, &e);
    return buf_str(b);
}

static void test_events(void **state)
{
    (void)state;
    struct buf data, encoded;
    buf_init(&data, 1 << 20);
    writer_map(&data, 1);
    writer_key(&data, "n");
    writer_int(&data, -1);
    assert_int_equal(console_json_event(7, 6, event_of(&encoded, buf_str(&data)), &out), 0);
    assert_out("{\"seq\":7,\"stored_ms\":6,\"time_ms\":5,\"topic\":\"a.b\",\"key\":\"k\\\"\\n\","
               "\"subject\":\"\",\"source\":\"\",\"id\":\"i\",\"traceparent\":\"\",\"bytes\":4,"
               "\"data\":{\"n\":-1}}");
    buf_fini(&encoded);
    // What JSON cannot say, and what is too large.
    buf_reset(&data);
    writer_bin(&data, STR("\x01\x02"));
    buf_reset(&out);
    assert_int_equal(console_json_event(7, 6, event_of(&encoded, buf_str(&data)), &out), 0);
    assert_json();
    buf_fini(&encoded);
    static char large[CONSOLE_DATA_BYTES + 1];
    memset(large, 'x', sizeof large);
    buf_reset(&data);
    writer_str(&data, (struct str){ large, sizeof large });
    buf_reset(&out);
    assert_int_equal(console_json_event(7, 6, event_of(&encoded, buf_str(&data)), &out), 0);
    assert_json();
    assert_true(out.len < 300);
    buf_fini(&encoded);
    buf_fini(&data);
    buf_reset(&out);
    assert_int_equal(console_json_event(7, 6, STR("\xc1"), &out), -EBADMSG);
    assert_int_equal(out.len, 0);
}

static void test_members(void **state)
{
    (void)state;
    static const char *const names[] = { "b", "none", "list", NULL };
    struct buf map;
    buf_init(&map, 1 << 20);
    writer_map(&map, 3);
    writer_key(&map, "a");
    writer_int(&map, 1);
    writer_key(&map, "b");
    writer_str(&map, STR("x"));
    writer_key(&map, "list");
    writer_array(&map, 300);
    for (int i = 0; i < 300; i++) {
        writer_int(&map, i);
    }
    buf_append_char(&out, '{');
    buf_append_z(&out, "\"x\":0");
    console_json_members(buf_str(&map), names, &out);
    buf_append_char(&out, '}');
    assert_json();
    assert_non_null(memmem(out.data, out.len, ",\"b\":\"x\",\"list\":[0,1,", 21));
    assert_non_null(memmem(out.data, out.len, ",255]", 5));
    for (size_t n = 0; n < map.len; n++) { // cut off anywhere
        buf_reset(&out);
        buf_append_z(&out, "{\"x\":0");
        console_json_members((struct str){ map.data, n }, names, &out);
        buf_append_char(&out, '}');
        assert_json();
        (void)console_json_uint((struct str){ map.data, n }, "list");
    }
    buf_fini(&map);
}

// --- Requests

static void test_orders(void **state)
{
    (void)state;
    struct console_order o;
    const char *mistake;
    assert_int_equal(
        console_json_order(STR("{\"seqs\":[1,18446744073709551615],\"group\":\"a.b\"}"), &o,
                           &mistake),
        0);
    assert_string_equal(o.group, "a.b");
    assert_int_equal(o.n, 2);
    assert_true(o.seqs[1] == UINT64_MAX);
    static const char *const wrong[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"group\":\"a\",\"seqs\":[]}",
        "{\"group\":\"a\",\"seqs\":[0.5]}",
        "{\"group\":\"a\",\"seqs\":[-1]}",
        "{\"group\":\"a\\u0000b\",\"seqs\":[1]}",
        "{\"group\":\"a\",\"group\":\"b\"}",
        "{\"group\":\"a\",\"seqs\":[1],\"x\":1}",
        "{\"group\":\"a\",\"seqs\":[1]} x",
        "{\"group\":\"$a\",\"seqs\":[1]}",
        "{\"group\":\"a\",\"seqs\":{\"a\":1}}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mistake = NULL;
        assert_int_equal(console_json_order(str_of(wrong[i]), &o, &mistake), -EINVAL);
        assert_non_null(mistake);
    }
}

static void test_parameters(void **state)
{
    (void)state;
    char text[8];
    struct str query = STR("a=1&bb=x%2C+y&c&d=%C3%A9&e=%0a&f=%4&g=12345678&a=2&h=%zz");
    assert_int_equal(console_json_parameter(query, "a", text, sizeof text), 1);
    assert_string_equal(text, "1");
    assert_int_equal(console_json_parameter(query, "bb", text, sizeof text), 1);
    assert_string_equal(text, "x, y");
    assert_int_equal(console_json_parameter(query, "c", text, sizeof text), 1);
    assert_string_equal(text, "");
    assert_int_equal(console_json_parameter(query, "d", text, sizeof text), 1);
    assert_string_equal(text, "\xc3\xa9");
    assert_int_equal(console_json_parameter(query, "b", text, sizeof text), 0);
    assert_int_equal(console_json_parameter(query, "e", text, sizeof text), -EINVAL);
    assert_int_equal(console_json_parameter(query, "f", text, sizeof text), -EINVAL);
    assert_int_equal(console_json_parameter(query, "g", text, sizeof text), -EINVAL);
    assert_int_equal(console_json_parameter(query, "h", text, sizeof text), -EINVAL);
    assert_int_equal(console_json_parameter(STR(""), "a", text, sizeof text), 0);
    assert_int_equal(console_json_parameter(STR("f=%"), "f", text, sizeof text), -EINVAL);
}

static void test_numbers(void **state)
{
    (void)state;
    struct str query = STR("a=17&b=101&c=-1&d=x&e=&f=1.5&g=99999999999999999999&h=%zz");
    uint64_t v = 5;
    assert_int_equal(console_json_number(query, "a", 100, &v), 0);
    assert_int_equal(v, 17);
    assert_int_equal(console_json_number(query, "a", 16, &v), -EINVAL);
    static const char *const wrong[] = { "b", "c", "d", "f", "g", "h" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(console_json_number(query, wrong[i], 100, &v), -EINVAL);
    }
    assert_int_equal(v, 17);
    assert_int_equal(console_json_number(query, "e", 100, &v), 0);
    assert_int_equal(v, 0);
    v = 5;
    assert_int_equal(console_json_number(query, "none", 100, &v), 0);
    assert_int_equal(v, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_figures),
        CASE(test_histograms),
        CASE(test_texts_that_are_none),
        CASE(test_figures_that_do_not_fit),
        CASE(test_events),
        CASE(test_members),
        CASE(test_orders),
        CASE(test_parameters),
        CASE(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
