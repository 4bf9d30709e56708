// SPDX-License-Identifier: MIT
// An alert fires when its condition has held for its time, once, and is resolved once.
#include "deploy/alerts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct alerts alerts;
static char told[1024];

static void on_change(const struct alert *alert, bool firing, void *data)
{
    (void)data;
    size_t n = strlen(told);
    snprintf(told + n, sizeof told - n, "%c%s %s %d;", firing ? '+' : '-',
             alert_name(alert->condition), alert->subject, (int)alert->value);
}

static int setup(void **unused)
{
    (void)unused;
    alerts_init(&alerts, 24 * 3600 * 1000, on_change, NULL);
    told[0] = '\0';
    return 0;
}

static void assert_told(const char *expected)
{
    assert_string_equal(told, expected);
    told[0] = '\0';
}

static void report(enum alert_condition condition, const char *subject, int64_t value, int64_t s)
{
    alerts_report(&alerts, condition, subject, value, 1000 * s, 5000000 + 1000 * s);
}

static void test_fires_after_its_time_and_once(void **unused)
{
    (void)unused;
    for (int64_t s = 100; s < 160; s++) {
        report(ALERT_NOT_READY, "users-1", 1, s);
        alerts_end_round(&alerts, 1000 * s);
        assert_told("");
        assert_int_equal(alerts_firing(&alerts), 0);
    }
    for (int64_t s = 160; s < 200; s++) {
        report(ALERT_NOT_READY, "users-1", s, s);
        alerts_end_round(&alerts, 1000 * s);
        assert_told(s == 160 ? "+SluiceProcessNotReady users-1 160;" : "");
        assert_int_equal(alerts_firing(&alerts), 1);
    }
    assert_int_equal(alerts.active[0].since_ms, 5100000);
    alerts_end_round(&alerts, 200000);
    assert_told("-SluiceProcessNotReady users-1 199;");
    alerts_end_round(&alerts, 201000);
    assert_told("");
    assert_int_equal(alerts.n, 0);
}

static void test_a_pause_begins_anew_and_tells_nobody(void **unused)
{
    (void)unused;
    for (int64_t s = 0; s < 500; s++) {
        if (s % 50) {
            report(ALERT_NOT_READY, "users-1", 1, s);
        }
        alerts_end_round(&alerts, 1000 * s);
    }
    assert_told("");
}

static void test_without_a_time_it_fires_at_once(void **unused)
{
    (void)unused;
    report(ALERT_CRASH_LOOP, "users-1", 5, 7);
    alerts_end_round(&alerts, 7000);
    assert_told("+SluiceCrashLoop users-1 5;");
}

static void test_no_time_is_longer_than_the_limit(void **unused)
{
    (void)unused;
    alerts_init(&alerts, 2000, on_change, NULL);
    report(ALERT_DEAD_LETTERS, "mail", 1, 0);
    alerts_end_round(&alerts, 0);
    report(ALERT_DEAD_LETTERS, "mail", 1, 1);
    alerts_end_round(&alerts, 1000);
    assert_told("");
    report(ALERT_DEAD_LETTERS, "mail", 1, 2);
    alerts_end_round(&alerts, 2000);
    assert_told("+SluiceQueueDeadLetters mail 1;");
}

static void test_subjects_are_apart(void **unused)
{
    (void)unused;
    report(ALERT_CRASH_LOOP, "users-1", 1, 0);
    report(ALERT_CRASH_LOOP, "users-2", 2, 0);
    report(ALERT_OUTBOX_FILLS, "users-1", 3, 0);
    alerts_end_round(&alerts, 0);
    assert_told("+SluiceCrashLoop users-1 1;+SluiceCrashLoop users-2 2;+SluiceOutboxFills users-1 "
                "3;");
    report(ALERT_CRASH_LOOP, "users-2", 2, 1);
    alerts_end_round(&alerts, 1000);
    assert_told("-SluiceCrashLoop users-1 1;-SluiceOutboxFills users-1 3;");
    assert_string_equal(alerts.active[0].subject, "users-2");
}

static void test_more_than_there_is_room_for(void **unused)
{
    (void)unused;
    char subject[2 * ALERTS_SUBJECT];
    for (int i = 0; i < ALERTS_MAX + 3; i++) {
        snprintf(subject, sizeof subject, "group-%d", i);
        report(ALERT_GROUP_BEHIND, subject, 1, 0);
    }
    alerts_end_round(&alerts, 0);
    assert_int_equal(alerts.n, ALERTS_MAX);
    assert_int_equal(alerts.dropped, 3);
    alerts_end_round(&alerts, 1);
    memset(subject, 'x', sizeof subject - 1);
    subject[sizeof subject - 1] = '\0';
    report(ALERT_GROUP_BEHIND, subject, 1, 0);
    report(ALERT_GROUP_BEHIND, subject, 1, 0);
    assert_int_equal(alerts.n, 1);
}

static void test_summaries_name_the_subject(void **unused)
{
    (void)unused;
    for (int i = 0; i < ALERT_COUNT; i++) {
        struct alert alert = { .condition = (enum alert_condition)i, .subject = "orders-7" };
        char text[ALERTS_TEXT];
        alert_summary(&alert, text);
        assert_non_null(strstr(text, "orders-7"));
        assert_true(strcmp(alert_severity(alert.condition), "page") == 0 ||
                    strcmp(alert_severity(alert.condition), "ticket") == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_fires_after_its_time_and_once, setup),
        cmocka_unit_test_setup(test_a_pause_begins_anew_and_tells_nobody, setup),
        cmocka_unit_test_setup(test_without_a_time_it_fires_at_once, setup),
        cmocka_unit_test_setup(test_no_time_is_longer_than_the_limit, setup),
        cmocka_unit_test_setup(test_subjects_are_apart, setup),
        cmocka_unit_test_setup(test_more_than_there_is_room_for, setup),
        cmocka_unit_test_setup(test_summaries_name_the_subject, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
