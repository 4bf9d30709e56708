// SPDX-License-Identifier: MIT
// Events as text: valid CloudEvents JSON whatever is in them, and no control character on a terminal.
#include "services/tap/render.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <yyjson.h>

#include "proto/writer.h"

static void encode(struct buf *b, struct str topic, struct str key, struct str data)
{
    struct event e = { .id = STR("01a20aaa-033e-7412-bd0b-43964cbf397e"),
                       .topic = topic,
                       .key = key,
                       .subject = key,
                       .source = STR("/sluice/orders"),
                       .time_ms = INT64_C(1795435200000),
                       .traceparent = STR(""),
                       .data = data };
    buf_init(b, QUEUE_MAX_EVENT_BYTES);
    event_encode(b, &e);
    assert_true(buf_ok(b));
}

static int render(enum render_format format, bool color, uint64_t seq, int64_t stored_ms,
                  struct str encoded, struct buf *out)
{
    const struct render_style style = { .format = format, .color = color, .max_body = -1 };
    const struct render_entry entry = { .seq = seq, .stored_ms = stored_ms, .encoded = encoded };
    return render_event(&style, &entry, out);
}

static yyjson_doc *parse(const struct buf *b)
{
    yyjson_doc *doc = yyjson_read(b->data, b->len, 0);
    if (!doc) {
        fail_msg("not JSON: %.*s", (int)b->len, b->data);
    }
    return doc;
}

static const char *member(yyjson_doc *doc, const char *name)
{
    return yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), name));
}

static void test_cloud_event(void **state)
{
    struct buf data, event, out;
    (void)state;
    buf_init(&data, 1000);
    buf_init(&out, 10000);
    writer_map(&data, 1);
    writer_key(&data, "status");
    writer_str(&data, STR("placed"));
    encode(&event, STR("orders.order.placed"), STR("key \"1\""), buf_str(&data));
    assert_int_equal(
        render(RENDER_NDJSON, false, 42, INT64_C(1795435200123), buf_str(&event), &out), 0);
    yyjson_doc *doc = parse(&out);
    assert_string_equal(member(doc, "specversion"), "1.0");
    assert_string_equal(member(doc, "type"), "orders.order.placed");
    assert_string_equal(member(doc, "partitionkey"), "key \"1\"");
    assert_string_equal(member(doc, "sequence"), "00000000000000000042");
    assert_string_equal(member(doc, "time"), "2026-11-23T12:00:00.000Z");
    assert_null(member(doc, "traceparent")); // an empty attribute is left out
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(yyjson_obj_get(root, "data"), "status")),
                        "placed");
    yyjson_val *queue = yyjson_obj_get(root, "queue");
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(queue, "seq")), 42);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(queue, "stored_at")),
                        "2026-11-23T12:00:00.123Z");
    yyjson_doc_free(doc);
    buf_fini(&data);
    buf_fini(&event);
    buf_fini(&out);
}

// Data that JSON cannot say comes as base64, not as broken JSON.
static void test_binary_data(void **state)
{
    static const struct str bad[] = { STR_INIT("\xc1"), STR_INIT("\xc4\x01\x00"),
                                      STR_INIT("\x81\x01\x02"), STR_INIT("\x01\x02"),
                                      STR_INIT("\x92\x01") };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf event, out;
        buf_init(&out, 10000);
        encode(&event, STR("a"), STR(""), bad[i]);
        assert_int_equal(render(RENDER_JSON, false, 1, 1, buf_str(&event), &out), 0);
        yyjson_doc *doc = parse(&out);
        assert_non_null(member(doc, "data_base64"));
        assert_null(yyjson_obj_get(yyjson_doc_get_root(doc), "data"));
        yyjson_doc_free(doc);
        buf_reset(&out);
        assert_int_equal(render(RENDER_PRETTY, false, 1, 1, buf_str(&event), &out), 0);
        buf_fini(&event);
        buf_fini(&out);
    }
}

static void test_terminal_is_safe(void **state)
{
    struct buf data, event, out;
    (void)state;
    buf_init(&data, 100);
    buf_init(&out, 10000);
    writer_str(&data, STR("\033[2J\007 text"));
    encode(&event, STR("a.b"), STR("k\033[31m"), buf_str(&data));
    assert_int_equal(render(RENDER_PRETTY, false, 1, 1, buf_str(&event), &out), 0);
    for (size_t i = 0; i < out.len; i++) {
        assert_true((unsigned char)out.data[i] >= 0x20 || out.data[i] == '\n');
    }
    buf_fini(&data);
    buf_fini(&event);
    buf_fini(&out);
}

static void test_not_an_event(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 1000);
    assert_int_equal(render(RENDER_NDJSON, false, 9, 1, STR("\x93\x01"), &out), -EBADMSG);
    yyjson_doc *doc = parse(&out);
    assert_string_equal(member(doc, "data_base64"), "kwE=");
    yyjson_doc_free(doc);
    buf_fini(&out);
}

static void test_bytes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = { { 0, "0 B" },
                  { 1023, "1023 B" },
                  { 1024, "1.0 KiB" },
                  { 1572864, "1.5 MiB" },
                  { UINT64_MAX, "16777216.0 TiB" } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, 100);
        render_bytes(cases[i].bytes, &out);
        assert_true(str_eq(buf_str(&out), str_of(cases[i].text)));
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cloud_event),
        cmocka_unit_test(test_binary_data),
        cmocka_unit_test(test_terminal_is_safe),
        cmocka_unit_test(test_not_an_event),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
