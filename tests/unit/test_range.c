// SPDX-License-Identifier: MIT
// The range grammar: every form, its limits, and what is refused.
#include "services/tap/range.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW INT64_C(1795435200000) // 2026-11-23T12:00:00Z
#define HOUR INT64_C(3600000)

static struct range parse(const char *text)
{
    struct range r = { 0 };
    const char *mistake = NULL;
    if (range_parse(text, NOW, &r, &mistake)) {
        fail_msg("\"%s\": %s", text, mistake);
    }
    return r;
}

static void test_sequences(void **state)
{
    (void)state;
    struct range r = parse("5:10");
    assert_int_equal(r.from, QUEUE_FROM_SEQ);
    assert_int_equal(r.value, 5);
    assert_int_equal(r.until_seq, 9); // the end is not included
    r = parse("5");
    assert_int_equal(r.value, 5);
    assert_int_equal(r.until_seq, 0);
    r = parse(":10");
    assert_int_equal(r.from, QUEUE_FROM_START);
    assert_int_equal(r.until_seq, 9);
    r = parse("5:end");
    assert_int_equal(r.until_seq, 0);
    r = parse("");
    assert_int_equal(r.from, QUEUE_FROM_START);
    r = parse("-100:");
    assert_int_equal(r.from, QUEUE_FROM_LAST);
    assert_int_equal(r.value, 100);
}

static void test_empty(void **state)
{
    (void)state;
    assert_true(parse("5:5").empty);
    assert_true(parse("5:4").empty);
    assert_true(parse(":1").empty);
    assert_true(parse(":0").empty);
    assert_true(parse("@now:@-1h").empty);
    assert_false(parse("5:6").empty);
    assert_false(parse("@-1h:@now").empty);
}

static void test_times(void **state)
{
    (void)state;
    struct range r = parse("@-1h:");
    assert_int_equal(r.from, QUEUE_FROM_TIME);
    assert_int_equal(r.value, NOW - HOUR);
    assert_int_equal(r.until_ms, 0);
    r = parse("@2026-11-23T10:00Z:5m");
    assert_int_equal(r.value, NOW - 2 * HOUR);
    assert_int_equal(r.until_ms, NOW - 2 * HOUR + 5 * 60000 - 1);
    r = parse("@2026-11-23T11:00:00+01:00:@2026-11-23T10:30Z");
    assert_int_equal(r.value, NOW - 2 * HOUR);
    assert_int_equal(r.until_ms, NOW - HOUR - HOUR / 2 - 1);
    r = parse("@2026-11-23:2026-11-23T12:00:00.250Z");
    assert_int_equal(r.value, NOW - 12 * HOUR);
    assert_int_equal(r.until_ms, NOW + 249);
    r = parse("@-2h:-1h");
    assert_int_equal(r.until_ms, NOW - HOUR - 1);
    r = parse("5:@now");
    assert_int_equal(r.value, 5);
    assert_int_equal(r.until_ms, NOW - 1);
}

static void test_refused(void **state)
{
    static const char *const bad[] = { "x",       "5:x",     "@",        "@x",     "@5",       "-",
                                       "-:",      "5:5m",    "5:10:15",  "@-1",    "@-1y",     "@2026",
                                       "@2026-13-01", "@2026-11-23T", "@2026-11-23T10:00Zx", "5 ", " 5",
                                       "99999999999999999999", "@-1h:5q", "end:5", "@2026-11-23T25:00Z:" };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct range r = { .value = 77 };
        const char *mistake = NULL;
        if (range_parse(bad[i], NOW, &r, &mistake) != -EINVAL) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
        assert_non_null(mistake);
        assert_int_equal(r.value, 77);
    }
}

static void test_since(void **state)
{
    int64_t ms = 0;
    (void)state;
    assert_int_equal(range_time(STR("10m"), NOW, &ms), 0);
    assert_int_equal(ms, NOW - 600000);
    assert_int_equal(range_time(STR("-10m"), NOW, &ms), 0);
    assert_int_equal(ms, NOW - 600000);
    assert_int_equal(range_time(STR("2026-11-23T10:00Z"), NOW, &ms), 0);
    assert_int_equal(ms, NOW - 2 * HOUR);
    assert_int_equal(range_time(STR("now"), NOW, &ms), 0);
    assert_int_equal(ms, NOW);
    assert_int_equal(range_time(STR(""), NOW, &ms), -EINVAL);
    assert_int_equal(range_time(STR("10"), NOW, &ms), -EINVAL);
    assert_int_equal(range_time(STR("10m "), NOW, &ms), -EINVAL);
    assert_int_equal(range_time(STR("yesterday"), NOW, &ms), -EINVAL);
}

// Whatever is typed, nothing is read behind its end: the sanitizers watch.
static void test_random(void **state)
{
    static const char letters[] = "0123456789:-@TZ+.mshdnowe ";
    uint32_t seed = 20261123;
    (void)state;
    for (int i = 0; i < 200000; i++) {
        char text[24];
        struct range r;
        const char *mistake = NULL;
        size_t n = 0;
        for (; n < sizeof text - 1; n++) {
            seed = seed * 1664525 + 1013904223;
            if (seed >> 28 == 0) {
                break;
            }
            text[n] = letters[(seed >> 8) % (sizeof letters - 1)];
        }
        text[n] = '\0';
        if (range_parse(text, NOW, &r, &mistake)) {
            assert_non_null(mistake);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences), cmocka_unit_test(test_empty), cmocka_unit_test(test_times),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_since), cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
