// SPDX-License-Identifier: MIT
// Every time that can be written can be read back, and only well-formed RFC 3339 is read. The C library's own
// calendar is the reference.
#include "proto/timestamp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define DAY_MS INT64_C(86400000)
#define END_MS INT64_C(253402300800000) // of the year 9999

static void assert_round_trip(int64_t ms)
{
    char out[TIMESTAMP_SIZE], expected[64];
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    struct str s = timestamp_format(ms, out);
    assert_int_equal(s.n, TIMESTAMP_SIZE - 1);
    assert_non_null(gmtime_r(&seconds, &tm));
    size_t n = strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(expected + n, sizeof expected - n, ".%03dZ", (int)(ms % 1000));
    assert_string_equal(out, expected);
    int64_t back = -1;
    assert_int_equal(timestamp_parse(s, &back), 0);
    assert_true(back == ms);
}

static void test_every_day_until_2110(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 51135; day++) {
        assert_round_trip(day * DAY_MS + day * 7919 % DAY_MS);
    }
}

static void test_days_of_all_years(void **state)
{
    (void)state;
    srandom(4);
    for (int64_t day = 0; day < END_MS / DAY_MS; day += 1 + random() % 60) {
        assert_round_trip(day * DAY_MS);
        assert_round_trip(day * DAY_MS + DAY_MS - 1);
    }
    assert_round_trip(0);
    assert_round_trip(END_MS - 1);
}

static int64_t parsed(const char *text)
{
    int64_t ms = -1;
    return timestamp_parse(str_of(text), &ms) == 0 ? ms : INT64_MIN;
}

static void test_leap_years(void **state)
{
    (void)state;
    assert_true(parsed("2000-02-29T00:00:00Z") == INT64_C(951782400000)); // divisible by 400
    assert_true(parsed("2024-02-29T00:00:00Z") == INT64_C(1709164800000));
    assert_true(parsed("2100-02-28T00:00:00Z") + DAY_MS == parsed("2100-03-01T00:00:00Z"));
    assert_true(parsed("2100-02-29T00:00:00Z") == INT64_MIN); // divisible by 100
    assert_true(parsed("2023-02-29T00:00:00Z") == INT64_MIN);
    assert_true(parsed("2024-02-30T00:00:00Z") == INT64_MIN);
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    for (int month = 1; month <= 12; month++) {
        char text[64];
        (void)snprintf(text, sizeof text, "2026-%02d-%02dT00:00:00Z", month, days[month - 1]);
        assert_true(parsed(text) > 0);
        (void)snprintf(text, sizeof text, "2026-%02d-%02dT00:00:00Z", month, days[month - 1] + 1);
        assert_true(parsed(text) == INT64_MIN);
    }
}

static void test_offsets(void **state)
{
    (void)state;
    int64_t utc = parsed("2026-11-23T10:00:00Z");
    assert_true(utc == INT64_C(1795428000000));
    assert_true(parsed("2026-11-23T11:00:00+01:00") == utc);
    assert_true(parsed("2026-11-23T04:30:00-05:30") == utc);
    assert_true(parsed("2026-11-24T09:59:00+23:59") == utc);
    assert_true(parsed("2026-11-23T10:00:00-00:00") == utc);
    assert_true(parsed("2026-11-23t10:00:00z") == utc); // section 5.6 allows lower case
    assert_true(parsed("2027-01-01T00:30:00+01:00") == parsed("2026-12-31T23:30:00Z"));
}

static void test_fractions(void **state)
{
    (void)state;
    int64_t base = parsed("2026-11-23T10:00:00Z");
    assert_true(parsed("2026-11-23T10:00:00.1Z") == base + 100);
    assert_true(parsed("2026-11-23T10:00:00.12Z") == base + 120);
    assert_true(parsed("2026-11-23T10:00:00.123Z") == base + 123);
    assert_true(parsed("2026-11-23T10:00:00.1239Z") == base + 123);
    assert_true(parsed("2026-11-23T10:00:00.000999999999999999999999999999Z") == base);
    assert_true(parsed("2026-11-23T10:00:00.5+01:00") == base + 500 - 3600000);
    assert_true(parsed("2026-11-23T10:00:60Z") == base + 60000); // a leap second
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026",
        "2026-11-23",
        "2026-11-23T10:00:00",
        "2026-11-23T10:00Z",
        "2026-11-23 10:00:00Z",
        "26-11-23T10:00:00Z",
        "02026-11-23T10:00:00Z",
        "2026-1-23T10:00:00Z",
        "2026-00-23T10:00:00Z",
        "2026-13-23T10:00:00Z",
        "2026-11-00T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T10:60:00Z",
        "2026-11-23T10:00:61Z",
        "2026-11-23T10:00:00.Z",
        "2026-11-23T10:00:00,5Z",
        "2026-11-23T10:00:00ZZ",
        "2026-11-23T10:00:00Z ",
        " 2026-11-23T10:00:00Z",
        "2026-11-23T10:00:00+1:00",
        "2026-11-23T10:00:00+01",
        "2026-11-23T10:00:00+0100",
        "2026-11-23T10:00:00+24:00",
        "2026-11-23T10:00:00+01:60",
        "2026-11-23T10:00:00+",
        "-026-11-23T10:00:00Z",
        "2026-11-23T10:00:0-Z",
        "2026-11-2\xB3T10:00:00Z",
        "1795428000000",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms = 42;
        assert_int_equal(timestamp_parse(str_of(bad[i]), &ms), -EINVAL);
        assert_int_equal(ms, 42); // written on success only
    }
    int64_t ms;
    assert_int_equal(timestamp_parse((struct str){ NULL, 0 }, &ms), -EINVAL);
    assert_int_equal(timestamp_parse((struct str){ "2026-11-23T10:00:00Z\0", 21 }, &ms), -EINVAL);
}

// What is read can be written: a time that timestamp_format() has no text for is none of ours.
static void test_times_that_have_no_text_are_refused(void **state)
{
    (void)state;
    assert_true(parsed("1970-01-01T00:00:00Z") == 0);
    assert_true(parsed("9999-12-31T23:59:59.999Z") == END_MS - 1);
    assert_true(parsed("1969-12-31T23:59:59.999Z") == INT64_MIN);
    assert_true(parsed("1970-01-01T00:00:00+00:01") == INT64_MIN);
    assert_true(parsed("0000-01-01T00:00:00Z") == INT64_MIN);
    assert_true(parsed("9999-12-31T23:59:60Z") == INT64_MIN);
    assert_true(parsed("9999-12-31T23:59:59-00:01") == INT64_MIN);
    assert_true(parsed("1969-12-31T23:59:59-00:01") == 59000);
}

// Any text: never a crash, and what is accepted can be written and read again.
static void test_random_text(void **state)
{
    (void)state;
    srandom(5);
    static const char alphabet[] = "0123456789-:.TZ+tz ";
    for (int round = 0; round < 200000; round++) {
        char text[] = "2026-11-23T10:00:00.123+01:00", out[TIMESTAMP_SIZE];
        for (int changes = 0; changes < 1 + round % 3; changes++) {
            text[(size_t)random() % (sizeof text - 1)] = alphabet[(size_t)random() % (sizeof alphabet - 1)];
        }
        int64_t ms, again;
        struct str s = { text, (size_t)random() % 4 ? sizeof text - 1 : (size_t)random() % sizeof text };
        if (timestamp_parse(s, &ms) == 0) {
            assert_int_equal(timestamp_parse(timestamp_format(ms, out), &again), 0);
            assert_true(again == ms);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_day_until_2110),
        cmocka_unit_test(test_days_of_all_years),
        cmocka_unit_test(test_leap_years),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_fractions),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_times_that_have_no_text_are_refused),
        cmocka_unit_test(test_random_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
