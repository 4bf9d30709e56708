// SPDX-License-Identifier: MIT
// Structs as JSON text: every kind of field, absent and null ones, and strings that need escapes. A
// JSON parser that is not ours reads the result.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/orders.h"

#include <errno.h>
#include <yyjson.h>

#define SAMPLE_FIELDS(S, I, B, T, O, L)                                                            \
    S(word, REQUIRED, 0, 100, ANY, "A string")                                                     \
    S(extra, NULLABLE, 0, 100, ANY, "A string that may be missing")                                \
    I(number, REQUIRED, INT64_MIN, INT64_MAX, "A number")                                          \
    B(flag, REQUIRED, "A boolean")                                                                 \
    T(time, REQUIRED, "A time")                                                                    \
    O(price, REQUIRED, money, "An object")                                                         \
    L(prices, OPTIONAL, 0, 3, money, "A list")
MESSAGE_DECLARE(sample, SAMPLE_FIELDS)
#define MESSAGE_SELF_ struct sample
MESSAGE_DEFINE(sample, SAMPLE_FIELDS)
#undef MESSAGE_SELF_

static struct buf out;

static int open_buf(void **state)
{
    (void)state;
    buf_init(&out, 1024 * 1024);
    return 0;
}

static int close_buf(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static const char *json(const struct sample *s)
{
    buf_reset(&out);
    message_json(&sample_message, s, &out);
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    return out.data;
}

static void required_members_are_always_there(void **state)
{
    (void)state;
    assert_string_equal(
        json(&(struct sample){ 0 }),
        "{\"word\":\"\",\"number\":0,\"flag\":false,\"time\":\"1970-01-01T00:00:00.000Z\","
        "\"price\":{\"amount\":0,\"currency\":\"\"}}");
}

static void optional_members_are_there_when_set(void **state)
{
    (void)state;
    struct sample s = { .extra = STR("e"), .n_prices = 2 };
    s.prices[1] = (struct money){ .amount = -7, .currency = STR("EUR") };
    s.head.present = MESSAGE_BIT(sample, extra) | MESSAGE_BIT(sample, prices);
    assert_non_null(strstr(json(&s), "\"extra\":\"e\""));
    assert_non_null(strstr(json(&s), "\"prices\":[{\"amount\":0,\"currency\":\"\"},"
                                     "{\"amount\":-7,\"currency\":\"EUR\"}]"));
    s.head.null = MESSAGE_BIT(sample, extra);
    assert_non_null(strstr(json(&s), "\"extra\":null"));
    s.n_prices = 0;
    assert_non_null(strstr(json(&s), "\"prices\":[]"));
}

static void a_parser_reads_back_what_was_written(void **state)
{
    (void)state;
    static const char word[] = "\"quotes\" \\ \n\t\x01 \xC3\xA9 \xF0\x9F\x92\xA1";
    struct sample s = {
        .word = str_of(word), .number = INT64_MIN, .flag = true, .time = 1795428000123
    };
    const char *text = json(&s);
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    assert_non_null(doc);
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "word")), word);
    assert_true(yyjson_get_sint(yyjson_obj_get(root, "number")) == INT64_MIN);
    assert_true(yyjson_get_bool(yyjson_obj_get(root, "flag")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "time")), "2026-11-23T10:00:00.123Z");
    yyjson_doc_free(doc);
}

static void bytes_that_are_not_utf8_still_make_json(void **state)
{
    (void)state;
    for (int c = 0x80; c <= 0xFF; c++) {
        char word[3] = { 'a', (char)c, 'b' };
        struct sample s = { .word = { word, sizeof word } };
        const char *text = json(&s);
        yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
        assert_non_null(doc);
        yyjson_doc_free(doc);
    }
}

static void what_does_not_fit_is_an_error(void **state)
{
    (void)state;
    struct buf small;
    struct sample s = { 0 };
    for (size_t max = 0; max < 90; max++) {
        buf_init(&small, max);
        message_json(&sample_message, &s, &small);
        assert_int_equal(buf_error(&small), -EMSGSIZE);
        buf_fini(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(required_members_are_always_there),
        cmocka_unit_test(optional_members_are_there_when_set),
        cmocka_unit_test(a_parser_reads_back_what_was_written),
        cmocka_unit_test(bytes_that_are_not_utf8_still_make_json),
        cmocka_unit_test(what_does_not_fit_is_an_error),
    };
    return cmocka_run_group_tests(tests, open_buf, close_buf);
}
