// SPDX-License-Identifier: MIT
// Who hears of what, and what the supervisor's own pages say, while a suite starts, runs and stops. What oversight puts
// together is played; its admin listener is real.
#include "deploy/oversight.h"

#include "common/admin_fetch.h"
#include "deploy/alert_delivery.h"
#include "deploy/alert_watch.h"
#include "deploy/autoscaler.h"
#include "deploy/survey.h"
#include "tests/unit/loop.h"
#include "tests/unit/rendered_metric.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define LIMIT_MS 10000

// --- What it puts together. `heard` has what became known to whom, in order.

static char heard[1024];
static int survey_error, scaling_error, alerts_error; // of opening
static void (*on_round)(void *data);
static void *on_round_data;
static int64_t finish_limit_ms;
static struct fleet_member members[4];
static int n_members;
static int64_t surveyed, failed;

__attribute__((format(printf, 1, 2))) static void hear(const char *format, ...)
{
    size_t n = strlen(heard);
    va_list args;
    va_start(args, format);
    vsnprintf(heard + n, sizeof heard - n, format, args);
    va_end(args);
}

static void assert_heard(const char *expected)
{
    assert_string_equal(heard, expected);
    heard[0] = '\0';
}

int64_t fleet_unexpected_exits(const struct fleet *f, int service)
{
    (void)f;
    int64_t n = 0;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        n += members[i].service == service ? members[i].unexpected_exits : 0;
    }
    return n;
}

void fleet_each(struct fleet *f, void (*each)(const struct fleet_member *m, void *data), void *data)
{
    (void)f;
    for (int i = 0; i < n_members; i++) {
        each(&members[i], data);
    }
}

static int played; // what the played parts point at

int survey_open(uv_loop_t *on, const struct survey_options *options, struct survey **ret_survey)
{
    (void)on;
    on_round = options->on_round;
    on_round_data = options->data;
    *ret_survey = (struct survey *)&played;
    return survey_error;
}

int64_t survey_rounds(const struct survey *s)
{
    assert_ptr_equal(s, &played);
    return surveyed;
}

int64_t survey_failures(const struct survey *s)
{
    assert_ptr_equal(s, &played);
    return failed;
}

void survey_close(struct survey **survey)
{
    *survey = NULL;
    hear("survey-close;");
}

int autoscaler_open(uv_loop_t *on, const struct autoscaler_options *options,
                    struct autoscaler **ret_autoscaler)
{
    (void)on;
    assert_ptr_equal(options->survey, &played);
    *ret_autoscaler = (struct autoscaler *)&played;
    return scaling_error;
}

void autoscaler_round(struct autoscaler *a)
{
    assert_ptr_equal(a, &played);
    hear("scale;");
}

void autoscaler_wanted(struct autoscaler *a, int service)
{
    assert_ptr_equal(a, &played);
    hear("wanted %s;", services[service].name);
}

void autoscaler_started(struct autoscaler *a, int service)
{
    assert_ptr_equal(a, &played);
    hear("started %s;", services[service].name);
}

void autoscaler_status(const struct autoscaler *a, struct buf *out)
{
    assert_ptr_equal(a, &played);
    buf_append_z(out, "\"scaling\":{}");
}

void autoscaler_close(struct autoscaler **autoscaler)
{
    *autoscaler = NULL;
    hear("scaling-close;");
}

int alert_watch_open(uv_loop_t *on, const struct alert_watch_options *options,
                     struct alert_watch **ret_watch)
{
    (void)on;
    assert_ptr_equal(options->survey, &played);
    assert_ptr_equal(options->autoscaler, &played);
    *ret_watch = (struct alert_watch *)&played;
    return alerts_error;
}

void alert_watch_round(struct alert_watch *w)
{
    assert_ptr_equal(w, &played);
    hear("alert;");
}

size_t alert_watch_firing(const struct alert_watch *w)
{
    assert_ptr_equal(w, &played);
    return 3;
}

void alert_watch_list(const struct alert_watch *w, struct buf *out)
{
    assert_ptr_equal(w, &played);
    buf_append_z(out, "\"alerts\":[]");
}

void alert_watch_finish(struct alert_watch *w, int64_t limit_ms, void (*done)(void *data),
                        void *data)
{
    assert_ptr_equal(w, &played);
    finish_limit_ms = limit_ms;
    done(data);
}

void alert_watch_close(struct alert_watch **watch)
{
    *watch = NULL;
    hear("alerts-close;");
}

// --- The case

static struct oversight *o;
static char no_address[] = "", bad_address[] = "no.such.host.invalid";
static struct supervisor_config config;

static int enter(void **state)
{
    int r = loop_enter(state);
    heard[0] = '\0';
    survey_error = scaling_error = alerts_error = 0;
    n_members = 0;
    surveyed = failed = 0;
    o = NULL;
    config = (struct supervisor_config){ .supervisor_admin = NULL };
    log_init("sluice", "test", LEVEL_FATAL, LOG_FORMAT_JSON);
    return r ? r : mkdir("run", 0700);
}

static int try_to_open(void)
{
    struct oversight_options options = { .home = temp_dir(), .config = &config };
    return oversight_open(&loop, &options, &o);
}

static void begin(void)
{
    assert_int_equal(try_to_open(), 0);
    assert_heard("started gateway;"); // those of the beginning learn the routes of who sleeps
}

static int leave(void **state)
{
    oversight_close(&o);
    return loop_leave(state);
}

// --- Pages

static int status;
static char body[4096];

static void on_fetched(int result, struct str text, void *data)
{
    (void)data;
    status = result;
    (void)snprintf(body, sizeof body, "%.*s", STR_ARG(text));
}

static int get(const char *path)
{
    char text[160];
    struct address address;
    struct admin_fetch *f;
    snprintf(text, sizeof text, "unix:%s/" OVERSIGHT_SOCKET, temp_dir());
    assert_int_equal(address_parse(str_of(text), &address), 0);
    struct admin_fetch_options options = { .loop = &loop,
                                           .to = &address,
                                           .path = path,
                                           .accept = "*/*",
                                           .timeout_ms = LIMIT_MS,
                                           .max_bytes = 1 << 20,
                                           .on_done = on_fetched };
    status = 0;
    assert_int_equal(admin_fetch(&options, &f), 0);
    LOOP_UNTIL(status != 0, LIMIT_MS);
    return status;
}

static void test_ready_between_start_and_stop(void **unused)
{
    (void)unused;
    begin();
    assert_int_equal(get("/readyz"), 503);
    oversight_ready(o);
    assert_int_equal(get("/readyz"), 200);
    assert_string_equal(body, "ready\n");
    oversight_stop(o);
    assert_int_equal(get("/readyz"), 503);
    assert_int_equal(get("/metrics"), 200);
}

static void test_an_address_that_cannot_be_used(void **unused)
{
    (void)unused;
    config.supervisor_admin = bad_address;
    assert_true(try_to_open() < 0);
    assert_non_null(o); // closed like any other
}

static void test_an_empty_address_is_none(void **unused)
{
    (void)unused;
    config.supervisor_admin = no_address;
    begin();
    assert_int_equal(get("/readyz"), 503);
}

// --- News

static void test_every_round_scales_and_alerts(void **unused)
{
    (void)unused;
    begin();
    on_round(on_round_data); // ready or not
    assert_heard("scale;alert;");
    oversight_ready(o);
    on_round(on_round_data);
    assert_heard("scale;alert;");
}

static void test_a_suite_that_stops_is_left_alone(void **unused)
{
    (void)unused;
    begin();
    members[0] = (struct fleet_member){ .service = SERVICES_USERS, .wanted = true, .ready = true };
    n_members = 1;
    on_round(on_round_data);
    assert_heard("scale;alert;");
    oversight_stop(o);
    n_members = 0;
    on_round(on_round_data);
    assert_heard("");
}

static void test_the_fleet_may_begin_before(void **unused)
{
    (void)unused;
    oversight_wanted(NULL, SERVICES_SEARCH);
    oversight_started(NULL, SERVICES_GATEWAY);
    oversight_ready(NULL);
    oversight_stop(NULL);
    assert_heard("");
    begin();
    oversight_wanted(o, SERVICES_SEARCH);
    oversight_started(o, SERVICES_USERS);
    assert_heard("wanted search;started users;");
}

// --- Metrics

#define PROCESSES(service, state)                                                                  \
    rendered_metric("sluice_supervisor_processes{service=\"" service "\",state=\"" state "\"}")

static void test_processes_are_counted_anew_each_round(void **unused)
{
    (void)unused;
    begin();
    const struct fleet_member of[4] = {
        { .service = SERVICES_USERS, .wanted = true, .ready = true },
        { .service = SERVICES_USERS, .wanted = true, .crash_loop = true },
        { .service = SERVICES_USERS, .wanted = false, .ready = true, .crash_loop = true }, // goes
        { .service = SERVICES_GATEWAY, .wanted = true, .ready = true },
    };
    memcpy(members, of, sizeof of);
    n_members = 4;
    for (int round = 0; round < 3; round++) {
        on_round(on_round_data);
        assert_int_equal(PROCESSES("users", "ready"), 1);
        assert_int_equal(PROCESSES("users", "not-ready"), 1);
        assert_int_equal(PROCESSES("users", "crash-loop"), 1); // one more time
        assert_int_equal(PROCESSES("gateway", "ready"), 1);
        assert_int_equal(PROCESSES("orders", "ready"), 0);
    }
    n_members = 0;
    on_round(on_round_data);
    assert_int_equal(PROCESSES("users", "ready"), 0);
    assert_int_equal(PROCESSES("users", "crash-loop"), 0);
}

static void test_surveys_are_counted(void **unused)
{
    (void)unused;
    begin();
    surveyed = 7;
    failed = 2;
    assert_int_equal(rendered_metric("sluice_supervisor_surveys_total"), 7);
    assert_int_equal(rendered_metric("sluice_supervisor_survey_failures_total"), 2);
    oversight_close(&o);
    assert_int_equal(rendered_metric("sluice_supervisor_surveys_total"), -1);
}

// --- The end

static int finished;

static void on_finished(void *data)
{
    assert_ptr_equal(data, &finished);
    finished++;
}

static void test_the_last_alerts_have_their_time(void **unused)
{
    (void)unused;
    begin();
    finished = 0;
    oversight_finish(o, false, on_finished, &finished);
    assert_int_equal(finish_limit_ms, ALERT_DELIVERY_LAST_MS);
    oversight_finish(o, true, on_finished, &finished);
    assert_int_equal(finish_limit_ms, 0);
    assert_int_equal(finished, 2);
}

static void test_closed_in_the_reverse_order(void **unused)
{
    (void)unused;
    begin();
    oversight_close(&o);
    assert_null(o);
    assert_heard("alerts-close;scaling-close;survey-close;");
    oversight_close(&o);
    assert_heard("");
}

static void test_each_failure_to_open_is_told(void **unused)
{
    (void)unused;
    int *errors[] = { &survey_error, &scaling_error, &alerts_error };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        *errors[i] = -ENOMEM;
        assert_int_equal(try_to_open(), -ENOMEM);
        *errors[i] = 0;
        oversight_close(&o);
    }
    heard[0] = '\0';
}

static void test_status(void **unused)
{
    (void)unused;
    begin();
    struct buf b;
    buf_init(&b, 4096);
    oversight_status(o, &b);
    buf_append_char(&b, ' ');
    oversight_alerts(o, &b);
    buf_append_char(&b, '\0');
    assert_string_equal(b.data, "\"scaling\":{},\"alerts_firing\":3 \"alerts\":[]");
    buf_fini(&b);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_ready_between_start_and_stop),
        CASE(test_an_address_that_cannot_be_used),
        CASE(test_an_empty_address_is_none),
        CASE(test_every_round_scales_and_alerts),
        CASE(test_a_suite_that_stops_is_left_alone),
        CASE(test_the_fleet_may_begin_before),
        CASE(test_processes_are_counted_anew_each_round),
        CASE(test_surveys_are_counted),
        CASE(test_the_last_alerts_have_their_time),
        CASE(test_closed_in_the_reverse_order),
        CASE(test_each_failure_to_open_is_told),
        CASE(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
