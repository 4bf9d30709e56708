// SPDX-License-Identifier: MIT
// traceparent as W3C Trace Context has it: what must be refused is refused, what must be kept is
// kept.
#include "common/trace.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define VALID "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void test_round_trip(void **state)
{
    (void)state;
    struct trace t;
    char text[TRACEPARENT_TEXT + 1], id[TRACE_ID_TEXT + 1], span[SPAN_ID_TEXT + 1];
    assert_int_equal(trace_parse(STR(VALID), &t), 0);
    assert_true(trace_is_set(&t));
    assert_int_equal(t.flags, 1);
    struct str s = trace_format(&t, text);
    assert_int_equal(s.n, TRACEPARENT_TEXT);
    assert_string_equal(text, VALID);
    trace_id_text(&t, id);
    span_id_text(&t, span);
    assert_string_equal(id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_string_equal(span, "00f067aa0ba902b7");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",             // short
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-012",           // long for version 00
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", // nor more fields
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",            // forbidden version
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what", // a field begins with '-'
        "0-04bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01", // no trace id
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", // no span id
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", // upper case
        "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-.1",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct trace t = { .flags = 0x55 };
        assert_int_equal(trace_parse(str_of(wrong[i]), &t), -EINVAL);
        assert_int_equal(t.flags, 0x55); // written only on success
    }
}

static void test_nothing_behind_the_end_is_read(void **state)
{
    (void)state;
    struct trace t;
    assert_int_equal(trace_parse((struct str){ VALID, TRACEPARENT_TEXT - 1 }, &t), -EINVAL);
    assert_int_equal(trace_parse((struct str){ VALID "-x", TRACEPARENT_TEXT }, &t), 0);
}

static void test_higher_versions(void **state)
{
    (void)state;
    struct trace t;
    char text[TRACEPARENT_TEXT + 1];
    assert_int_equal(
        trace_parse(STR("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), &t), 0);
    assert_int_equal(
        trace_parse(STR("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes"), &t),
        0);
    trace_format(&t, text);
    assert_string_equal(text, VALID); // we speak version 00
}

static void test_flags(void **state)
{
    (void)state;
    struct trace t, child;
    assert_int_equal(
        trace_parse(STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff"), &t), 0);
    assert_int_equal(t.flags, 3); // unknown bits are not sent on
    trace_child(&child, &t);
    assert_int_equal(child.flags, 3); // the random bit goes on unchanged
    trace_start(&t, true);
    assert_int_equal(t.flags, 3);
    trace_start(&t, false);
    assert_int_equal(t.flags, 2);
}

static void test_child(void **state)
{
    (void)state;
    struct trace parent, child, other;
    trace_start(&parent, true);
    trace_child(&child, &parent);
    trace_child(&other, &parent);
    assert_memory_equal(child.trace_id, parent.trace_id, sizeof(parent.trace_id));
    assert_memory_not_equal(child.span_id, parent.span_id, sizeof(parent.span_id));
    assert_memory_not_equal(child.span_id, other.span_id, sizeof(other.span_id));
    trace_child(&child, &child); // in place
    assert_memory_equal(child.trace_id, parent.trace_id, sizeof(parent.trace_id));
}

static void test_unset(void **state)
{
    (void)state;
    struct trace t = { .flags = 1 };
    assert_false(trace_is_set(&t));
    t.trace_id[15] = 1;
    assert_true(trace_is_set(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nothing_behind_the_end_is_read),
        cmocka_unit_test(test_higher_versions),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_child),
        cmocka_unit_test(test_unset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
