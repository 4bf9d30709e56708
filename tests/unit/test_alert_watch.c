// SPDX-License-Identifier: MIT
// Which condition each number of a survey is, at its limit and one beyond it; that silence and other processes mend
// nothing; and what is told of it. The fleet, the survey and the clock are played.
#include "deploy/alert_watch.h"

#include "common/file.h"
#include "deploy/alerts.h"
#include "deploy/error_budget.h"
#include "deploy/log_writer.h"
#include "tests/unit/loop.h"
#include "tests/unit/printed.h"
#include "tests/unit/rendered_metric.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yyjson.h>

#include <cmocka.h>

#define PID 100
#define SLOT (SERVICES_ORDERS * SERVICES_MAX_PROCESSES)

// --- What it is put between

static struct fleet_member member; // the only one
static struct survey_process process;
static bool is_known; // the process, to the survey
static struct group_reading groups[READING_MAX_GROUPS], *const group = &groups[0];
static size_t n_groups;
static struct survey_answers answers; // since the last round
static bool is_at_maximum, is_stale;
static int log_trouble;
static int64_t now_ms, wall_ms;
static struct alert_watch *w;

void fleet_each(struct fleet *f, void (*each)(const struct fleet_member *m, void *data), void *data)
{
    (void)f;
    each(&member, data);
}

int64_t fleet_count(const struct fleet *f, int service)
{
    (void)f;
    return 10 + service;
}

const struct survey_process *survey_process(const struct survey *s, int slot)
{
    (void)s;
    return slot == SLOT && is_known ? &process : NULL;
}

const struct group_reading *survey_groups(const struct survey *s, size_t *ret_n)
{
    (void)s;
    *ret_n = n_groups;
    return groups;
}

struct survey_answers survey_answers(const struct survey *s)
{
    (void)s;
    return answers;
}

bool autoscaler_at_maximum(const struct autoscaler *a, int service)
{
    (void)a;
    return is_at_maximum && service == SERVICES_SEARCH;
}

bool autoscaler_is_stale(const struct autoscaler *a)
{
    (void)a;
    return is_stale;
}

int log_writer_trouble(const struct log_writer *writer)
{
    (void)writer;
    return log_trouble;
}

int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void)
{
    return now_ms;
}

int64_t __wrap_clock_wall_ms(void);
int64_t __wrap_clock_wall_ms(void)
{
    return wall_ms;
}

// --- The case

static char runbook[] = "https://runbook.example/book";
static struct supervisor_config config;

static int enter(void **state)
{
    int r = loop_enter(state);
    member = (struct fleet_member){ .name = "orders-1",
                                    .service = SERVICES_ORDERS,
                                    .slot = SLOT,
                                    .pid = PID,
                                    .wanted = true,
                                    .ready = true };
    process = (struct survey_process){ .pid = PID, .answered = true, .now_ms = 1 };
    process.now = (struct reading){ .outbox_max_rows = 1000, .backup_age_s = -1 };
    *group = (struct group_reading){ .name = "mail", .members = 1 };
    n_groups = 1;
    is_known = true;
    answers = (struct survey_answers){ 0 };
    is_at_maximum = is_stale = false;
    log_trouble = 0;
    now_ms = 1000000;
    wall_ms = 1800000000000;
    config = (struct supervisor_config){ .alert_runbook = runbook,
                                         .alert_after_ms = 0, // whatever holds fires at once
                                         .alert_lag_age_ms = 300000,
                                         .alert_error_budget = 1000,
                                         .alert_latency_budget = 10000,
                                         .alert_disk_free = 0 };
    log_init("sluice", "test", LEVEL_FATAL, LOG_FORMAT_JSON); // alerts are wanted here
    return r;
}

static void begin(void)
{
    struct alert_watch_options options = { .home = temp_dir(), .config = &config };
    assert_int_equal(alert_watch_open(&loop, &options, &w), 0);
}

static int leave(void **state)
{
    alert_watch_close(&w);
    return loop_leave(state);
}

// The alerts, those that only may fire soon in brackets: "SluiceCrashLoop orders-1;".
static const char *list(void)
{
    static char out[2048];
    struct buf b;
    out[0] = '\0';
    buf_init(&b, 65536);
    buf_append_char(&b, '{');
    alert_watch_list(w, &b);
    buf_append_char(&b, '}');
    yyjson_doc *doc = yyjson_read(b.data, b.len, 0);
    buf_fini(&b);
    assert_non_null(doc);
    size_t i, n;
    yyjson_val *alert;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "alerts"), i, n, alert)
    {
        const char *status = yyjson_get_str(yyjson_obj_get(alert, "status"));
        bool fires = strcmp(status, "firing") == 0;
        size_t at = strlen(out);
        snprintf(out + at, sizeof out - at, "%s%s %s%s;", fires ? "" : "(",
                 yyjson_get_str(yyjson_obj_get(alert, "alert")),
                 yyjson_get_str(yyjson_obj_get(alert, "subject")), fires ? "" : ")");
    }
    yyjson_doc_free(doc);
    return out;
}

static void assert_round(const char *expected)
{
    alert_watch_round(w);
    assert_string_equal(list(), expected);
    now_ms += 1000;
    wall_ms += 1000;
}

// The number is within its limit, and one more is not.
static void assert_limit(int64_t *number, int64_t limit, const char *expected)
{
    int64_t before = *number;
    *number = limit;
    assert_round("");
    *number = limit + 1;
    assert_round(expected);
    *number = limit;
    assert_round("");
    *number = before;
}

#define FIRING(severity)                                                                           \
    rendered_metric("sluice_supervisor_alerts_firing{severity=\"" severity "\"}")

// --- Numbers and their limits

static void test_all_is_well(void **unused)
{
    (void)unused;
    begin();
    assert_round("");
    assert_int_equal(alert_watch_firing(w), 0);
    assert_int_equal(FIRING("page"), 0);
    assert_int_equal(FIRING("ticket"), 0);
}

static void test_stores(void **unused)
{
    (void)unused;
    begin();
    assert_limit(&process.now.outbox_rows, 300, "SluiceOutboxFills orders-1;"); // of 1000
    assert_limit(&process.now.outbox_oldest_s, ALERT_OUTBOX_OLD_S, "SluiceOutboxOld orders-1;");
    assert_limit(&process.now.backup_age_s, ALERT_BACKUP_OLD_S, "SluiceBackupOld orders-1;");
    process.now.store_trouble = true;
    assert_round("SluiceStoreTrouble orders-1;");
    process.now.store_trouble = false;
    process.now.sandbox_off = true;
    assert_round("SluiceSandboxMissing orders-1;");
}

static void test_a_service_without_an_outbox(void **unused)
{
    (void)unused;
    begin();
    process.now.outbox_max_rows = 0;
    assert_round("");                                                           // 0 of 0
    process.now.outbox_rows = process.now.outbox_max_rows = INT64_C(100000000); // the largest
    assert_round("SluiceOutboxFills orders-1;");
}

static void test_groups(void **unused)
{
    (void)unused;
    begin();
    assert_limit(&group->oldest_s, 300, "SluiceQueueGroupBehind mail;");
    assert_limit(&group->dead_letters, 0, "SluiceQueueDeadLetters mail;");
    group->members = 0;
    assert_limit(&group->lag, 0, "SluiceQueueGroupWithoutMembers mail;");
    group->lag = 1000;
    group->paused = true; // somebody wants it so
    assert_round("");
    n_groups = 0;
    group->dead_letters = 5;
    assert_round("");
}

static void test_answers(void **unused)
{
    (void)unused;
    begin();
    answers = (struct survey_answers){ .requests = 1000000, .errors = 6000 }; // as many as may be
    assert_round("");
    answers.errors = 6002; // 6001 of a million now
    assert_round("SluiceErrorBudgetBurnMedium gateway;");
    answers.errors = 31201; // 14401
    assert_round("SluiceErrorBudgetBurnMedium gateway;SluiceErrorBudgetBurnFast gateway;");
    answers = (struct survey_answers){ 0 };
    assert_round("SluiceErrorBudgetBurnMedium gateway;SluiceErrorBudgetBurnFast gateway;"); // still
    now_ms += 5 * ERROR_BUDGET_MINUTE_MS + ERROR_BUDGET_FINE_MS;
    assert_round("SluiceErrorBudgetBurnMedium gateway;");
    now_ms += 30 * ERROR_BUDGET_MINUTE_MS;
    assert_round("");
}

static void test_slow_answers(void **unused)
{
    (void)unused;
    begin();
    answers = (struct survey_answers){ .served = 1000000, .slow = 60000 };
    assert_round("");
    answers.slow = 60002;
    assert_round("SluiceLatencyBudgetBurnMedium gateway;");
}

static void test_disk(void **unused)
{
    (void)unused;
    config.alert_disk_free = 101; // of which no disk has as much
    begin();
    char expected[256];
    snprintf(expected, sizeof expected, "SluiceDiskNearlyFull %s;", temp_dir());
    assert_round(expected);
    assert_true(rendered_metric("sluice_supervisor_disk_size_bytes") > 0);
    assert_true(rendered_metric("sluice_supervisor_disk_free_bytes") <=
                rendered_metric("sluice_supervisor_disk_size_bytes"));
    config.alert_disk_free = 0; // which every disk has
    assert_round("");
}

static void test_the_supervisors_own(void **unused)
{
    (void)unused;
    begin();
    log_trouble = ENOSPC;
    assert_round("SluiceLogLost sluice.log;");
    log_trouble = 0;
    is_stale = true;
    assert_round("SluiceScalingRulesStale supervisor;");
    is_stale = false;
    is_at_maximum = true;
    assert_round("SluiceScalingAtMaximum search;");
}

// --- Processes

static void test_processes(void **unused)
{
    (void)unused;
    begin();
    member.ready = false;
    assert_round("SluiceProcessNotReady orders-1;");
    member.crash_loop = true;
    assert_round("SluiceProcessNotReady orders-1;SluiceCrashLoop orders-1;");
    member.wanted = false; // it is on its way down
    assert_round("");
}

static void test_silence_mends_nothing(void **unused)
{
    (void)unused;
    begin();
    process.now.store_trouble = true;
    assert_round("SluiceStoreTrouble orders-1;");
    process.answered = false;
    assert_round("SluiceStoreTrouble orders-1;");
}

static void test_another_process_does(void **unused)
{
    (void)unused;
    begin();
    process.now.store_trouble = true;
    assert_round("SluiceStoreTrouble orders-1;");
    member.pid = PID + 1; // nothing is known of it yet
    assert_round("");
    member.pid = PID;
    process.now_ms = 0;
    assert_round("");
    is_known = false;
    assert_round("");
}

// --- Time

static void test_holds_for_its_time_by_the_monotonic_clock(void **unused)
{
    (void)unused;
    config.alert_after_ms = 24 * 3600 * 1000;
    begin();
    member.ready = false; // for 60 s
    for (int s = 0; s < 60; s++) {
        wall_ms += s % 2 ? -3600000 : 7200000; // a clock that jumps
        assert_round("(SluiceProcessNotReady orders-1);");
    }
    assert_int_equal(alert_watch_firing(w), 0);
    assert_int_equal(FIRING("page"), 0);
    assert_round("SluiceProcessNotReady orders-1;");
    assert_int_equal(alert_watch_firing(w), 1);
    assert_int_equal(FIRING("page"), 1);
}

static void test_what_flaps_within_its_time_never_fires(void **unused)
{
    (void)unused;
    config.alert_after_ms = 24 * 3600 * 1000;
    begin();
    for (int s = 1; s < 600; s++) {
        member.ready = s % 59 == 0;
        assert_round(member.ready ? "" : "(SluiceProcessNotReady orders-1);");
    }
}

static void test_no_time_is_longer_than_configured(void **unused)
{
    (void)unused;
    config.alert_after_ms = 2000;
    begin();
    group->dead_letters = 1; // for an hour
    assert_round("(SluiceQueueDeadLetters mail);");
    assert_round("(SluiceQueueDeadLetters mail);");
    assert_round("SluiceQueueDeadLetters mail;");
    assert_int_equal(FIRING("ticket"), 1);
    assert_int_equal(FIRING("page"), 0);
}

// --- Telling

static void test_each_is_told_with_its_section(void **unused)
{
    (void)unused;
    begin();
    log_trouble = ENOSPC;
    alert_watch_round(w);
    struct buf b;
    buf_init(&b, 65536);
    alert_watch_list(w, &b);
    buf_append_char(&b, '\0');
    assert_non_null(strstr(b.data, "\"runbook\":\"https://runbook.example/book#sluiceloglost\""));
    assert_non_null(strstr(b.data, "\"since\":\"2027-01-15T08:00:00.000Z\""));
    assert_non_null(strstr(b.data, "\"severity\":\"ticket\""));
    assert_non_null(strstr(b.data, "\"value\":28,\"unit\":\"errno\""));
    buf_fini(&b);
}

static void test_subjects_are_escaped(void **unused)
{
    (void)unused;
    begin();
    snprintf(group->name, sizeof group->name, "a\"b\\c");
    group->dead_letters = 1;
    assert_round("SluiceQueueDeadLetters a\"b\\c;");
}

static void test_more_than_there_is_room_for_is_counted(void **unused)
{
    (void)unused;
    begin();
    n_groups = READING_MAX_GROUPS;
    for (size_t i = 0; i < n_groups; i++) { // three alerts each
        groups[i] = (struct group_reading){ .lag = 1, .oldest_s = 301, .dead_letters = 1 };
        snprintf(groups[i].name, sizeof groups[i].name, "g%zu", i);
    }
    alert_watch_round(w);
    assert_int_equal(alert_watch_firing(w), ALERTS_MAX);
    assert_int_equal(rendered_metric("sluice_supervisor_alerts_dropped_total"),
                     3 * READING_MAX_GROUPS - ALERTS_MAX);
    n_groups = 0;
    assert_round("");
    log_trouble = ENOSPC; // and there is room again
    assert_round("SluiceLogLost sluice.log;");
}

static int finished;

static void on_finished(void *data)
{
    (void)data;
    finished++;
}

static void test_the_end_waits_for_nobody_when_there_is_nobody_to_tell(void **unused)
{
    (void)unused;
    begin();
    log_trouble = ENOSPC;
    alert_watch_round(w);
    finished = 0;
    alert_watch_finish(w, 5000, on_finished, NULL);
    assert_int_equal(finished, 1);
}

// --- Options

static int check(char *webhook, char *command)
{
    struct supervisor_config c = { .alert_webhook = webhook, .alert_command = command };
    printed_begin();
    int r = alert_watch_check(&c);
    const char *text = printed_end();
    assert_true(r == 0 ? !*text : strstr(text, "sluice: SLUICE_ALERT_") == text);
    assert_null(strstr(text, "example")); // the address is a secret
    return r;
}

static void test_options(void **unused)
{
    (void)unused;
    char program[] = "/bin/true", relative[] = "true", none[] = "/no/such/program", dir[] = "/tmp";
    char https[] = "https://example.com/x", http[] = "http://example.com", ftp[] = "ftp://x";
    char lines[] = "https://example.com/\nurl=file:///etc/passwd";
    begin();
    assert_int_equal(check(NULL, NULL), 0);
    assert_int_equal(check(NULL, program), 0);
    assert_int_equal(check(NULL, relative), -EINVAL);
    assert_int_equal(check(NULL, none), -EINVAL);
    assert_int_equal(check(NULL, dir), -EINVAL); // X_OK, but nothing that can be run
    assert_int_equal(check(ftp, NULL), -EINVAL);
    assert_int_equal(check(lines, NULL), -EINVAL);
    char *path = strdup(getenv("PATH"));
    assert_int_equal(setenv("PATH", "", 1), 0);
    assert_int_equal(check(https, NULL), -EINVAL);
    assert_int_equal(setenv("PATH", temp_dir(), 1), 0);
    assert_int_equal(check(https, NULL), -EINVAL);
    assert_int_equal(mkdir("curl", 0700), 0);
    assert_int_equal(check(https, NULL), -EINVAL);
    assert_int_equal(rmdir("curl"), 0);
    assert_int_equal(file_replace("curl", STR("#!/bin/sh\n"), 0600), 0);
    assert_int_equal(check(https, NULL), -EINVAL); // not a program
    assert_int_equal(chmod("curl", 0700), 0);
    assert_int_equal(check(https, NULL), 0);
    assert_int_equal(check(http, NULL), 0);
    assert_int_equal(setenv("PATH", path, 1), 0);
    free(path);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_all_is_well),
        CASE(test_stores),
        CASE(test_a_service_without_an_outbox),
        CASE(test_groups),
        CASE(test_answers),
        CASE(test_slow_answers),
        CASE(test_disk),
        CASE(test_the_supervisors_own),
        CASE(test_processes),
        CASE(test_silence_mends_nothing),
        CASE(test_another_process_does),
        CASE(test_holds_for_its_time_by_the_monotonic_clock),
        CASE(test_what_flaps_within_its_time_never_fires),
        CASE(test_no_time_is_longer_than_configured),
        CASE(test_each_is_told_with_its_section),
        CASE(test_subjects_are_escaped),
        CASE(test_more_than_there_is_room_for_is_counted),
        CASE(test_the_end_waits_for_nobody_when_there_is_nobody_to_tell),
        CASE(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
