// SPDX-License-Identifier: MIT
// Rules of a real file, a clock and measurements of the test's own, and a fleet that only counts: what is started and
// ended for them, and that neither a busy operator nor a file that is written again makes the supervisor forget who waits
// or what it was waiting for.
#include "deploy/autoscaler.h"

#include "common/file.h"
#include "tests/unit/loop.h"
#include "tests/unit/printed.h"
#include "tests/unit/rendered_metric.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#include <cmocka.h>

#define LOOK_LIMIT_MS (10 * AUTOSCALER_LOOK_MS)
#define IDLE_INTERVAL_MS 7777

// --- What the autoscaler is put between

static int64_t counts[SERVICES];             // of the fleet
static int refusal;                          // what fleet_adjust() returns instead
static int adjusted;                         // calls of it that worked
static bool expected[SERVICES];              // of fleet_expect()
static struct scaling_input input[SERVICES]; // of the survey, but for count and demanded
static int64_t interval_ms;

int64_t fleet_count(const struct fleet *f, int service)
{
    (void)f;
    return counts[service];
}

int fleet_adjust(struct fleet *f, int service, int64_t count)
{
    (void)f;
    assert_in_range(count, services[service].min, services[service].max);
    if (!refusal) {
        counts[service] = count;
        adjusted++;
    }
    return refusal;
}

void fleet_expect(struct fleet *f, int service, bool is_expected)
{
    (void)f;
    expected[service] = is_expected;
}

void survey_service(const struct survey *s, int service, struct scaling_input *ret_input)
{
    (void)s;
    *ret_input = input[service];
    ret_input->count = counts[service];
    ret_input->sampled = counts[service];
}

void survey_interval(struct survey *s, int64_t ms)
{
    (void)s;
    interval_ms = ms;
}

// --- The case

static struct autoscaler *a;
static char file[256]; // with the rules

static int enter(void **state)
{
    int r = loop_enter(state);
    snprintf(file, sizeof file, "%s/" AUTOSCALER_FILE, temp_dir());
    for (int i = 0; i < SERVICES; i++) {
        counts[i] = 1;
        expected[i] = false;
        input[i] = (struct scaling_input){ .now_ms = 1000000, .capacity = 10 };
    }
    refusal = adjusted = 0;
    interval_ms = 0;
    log_init("sluice", "test", LEVEL_FATAL, LOG_FORMAT_JSON); // mistakes are wanted here
    return r;
}

static int leave(void **state)
{
    autoscaler_close(&a);
    return loop_leave(state);
}

static void put(const char *text)
{
    assert_int_equal(file_replace(file, str_of(text), 0600), 0);
}

static int open_with(const char *path)
{
    struct autoscaler_options options = { .home = temp_dir(),
                                          .path = path,
                                          .idle_interval_ms = IDLE_INTERVAL_MS };
    return autoscaler_open(&loop, &options, &a);
}

static void begin(const char *rules)
{
    put(rules);
    assert_int_equal(open_with(NULL), 0);
}

static void round_at(int64_t now_ms)
{
    for (int i = 0; i < SERVICES; i++) {
        input[i].now_ms = now_ms;
    }
    autoscaler_round(a);
}

static bool is_on_demand(const char *service)
{
    char path[256];
    snprintf(path, sizeof path, "%s/run/on-demand/%s", temp_dir(), service);
    return access(path, F_OK) == 0;
}

#define LOADED(result)                                                                             \
    rendered_metric("sluice_supervisor_scaling_loads_total{result=\"" result "\"}")

// Puts another file there, and waits until it was read.
static void replace(const char *text, bool good)
{
    int64_t used = LOADED("used"), refused = LOADED("refused");
    put(text);
    if (good) {
        LOOP_UNTIL(LOADED("used") == used + 1, LOOK_LIMIT_MS);
    } else {
        LOOP_UNTIL(LOADED("refused") == refused + 1, LOOK_LIMIT_MS);
    }
}

#define SLEEPY "{\"services\":{\"search\":{\"min\":0,\"max\":2,\"idle\":\"1m\"}}}"
#define BUSY                                                                                       \
    "{\"interval\":\"200ms\",\"services\":{\"orders\":{\"max\":3,\"utilisation\":50,"              \
    "\"cooldown_up\":\"5s\",\"cooldown_down\":\"1m\"}}}"

// --- Files

static void test_without_a_file_nothing_is_decided(void **unused)
{
    (void)unused;
    assert_int_equal(open_with(NULL), 0);
    assert_int_equal(interval_ms, IDLE_INTERVAL_MS);
    counts[SERVICES_USERS] = 0;
    input[SERVICES_ORDERS].waiting = 1000;
    for (int64_t s = 0; s < 10; s++) {
        round_at(1000000 + 1000 * s);
    }
    autoscaler_wanted(a, SERVICES_USERS);
    autoscaler_started(a, SERVICES_GATEWAY);
    loop_for(20);
    assert_int_equal(adjusted, 0);
    assert_false(autoscaler_is_stale(a));
    assert_int_equal(rendered_metric("sluice_supervisor_processes_wanted{service=\"orders\"}"), 1);
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_max_processes{service=\"orders\"}"),
                     0);
}

static void test_a_file_that_was_named_must_be_there_and_right(void **unused)
{
    (void)unused;
    assert_int_equal(open_with(file), -EINVAL);
    autoscaler_close(&a);
    put("{\"services\":{\"orders\":{\"max\":0}}}");
    assert_int_equal(open_with(file), -EINVAL);
    autoscaler_close(&a);
    assert_int_equal(open_with(NULL), -EINVAL); // the home's as well, once it is there
    assert_int_equal(adjusted, 0);
}

static void test_a_file_that_comes_later_is_used(void **unused)
{
    (void)unused;
    assert_int_equal(open_with(NULL), 0);
    replace(BUSY, true);
    assert_int_equal(interval_ms, 200);
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_max_processes{service=\"orders\"}"),
                     3);
}

static void test_with_mistakes_the_rules_from_before_stay(void **unused)
{
    (void)unused;
    begin(SLEEPY);
    replace("{\"services\":{\"search\":{\"min\":5,\"max\":2}}}", false);
    assert_true(autoscaler_is_stale(a));
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_stale"), 1);
    assert_true(is_on_demand("search"));
    counts[SERVICES_SEARCH] = 3;
    round_at(2000000);
    assert_int_equal(counts[SERVICES_SEARCH], 2); // the old maximum
    replace(SLEEPY, true);
    assert_false(autoscaler_is_stale(a));
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_stale"), 0);
}

static void test_a_file_that_is_away_is_being_replaced(void **unused)
{
    (void)unused;
    begin(SLEEPY);
    assert_int_equal(unlink(file), 0);
    loop_for(2 * AUTOSCALER_LOOK_MS + 100);
    assert_int_equal(LOADED("used"), 1);
    assert_int_equal(LOADED("refused"), 0);
    assert_true(is_on_demand("search"));
    assert_false(autoscaler_is_stale(a));
}

static void test_files_for_gateways_come_and_go(void **unused)
{
    (void)unused;
    begin(SLEEPY);
    assert_true(is_on_demand("search") && expected[SERVICES_SEARCH]);
    assert_false(is_on_demand("orders") || expected[SERVICES_ORDERS]);
    replace("{\"services\":{\"orders\":{\"min\":0,\"max\":1}}}", true);
    assert_false(is_on_demand("search") || expected[SERVICES_SEARCH]);
    assert_true(is_on_demand("orders") && expected[SERVICES_ORDERS]);
    autoscaler_close(&a);
    assert_false(is_on_demand("orders")); // nobody would start it
}

static void test_what_a_killed_supervisor_left_goes(void **unused)
{
    (void)unused;
    assert_int_equal(mkdir("run", 0700), 0);
    assert_int_equal(mkdir("run/on-demand", 0700), 0);
    assert_int_equal(file_replace("run/on-demand/users", STR(""), 0600), 0);
    begin(SLEEPY);
    assert_false(is_on_demand("users"));
    assert_true(is_on_demand("search"));
}

static void test_the_same_rules_again_change_nothing(void **unused)
{
    (void)unused;
    begin(SLEEPY);
    for (int64_t s = 0; s < 60; s++) {
        round_at(1000000 + 1000 * s);
        assert_int_equal(counts[SERVICES_SEARCH], 1);
    }
    replace(SLEEPY, true); // as a tool does that writes its files again every minute
    round_at(1060000);
    assert_int_equal(counts[SERVICES_SEARCH], 0);
}

static void test_the_cooldown_outlasts_a_file_that_is_written_again(void **unused)
{
    (void)unused;
    begin(BUSY);
    input[SERVICES_ORDERS].in_flight = 10;
    round_at(1000000);
    round_at(1001000);
    assert_int_equal(counts[SERVICES_ORDERS], 2);
    replace(BUSY " ", true);
    for (int64_t s = 2; s < 6; s++) {
        round_at(1000000 + 1000 * s);
        assert_int_equal(counts[SERVICES_ORDERS], 2);
    }
    round_at(1006000);
    assert_int_equal(counts[SERVICES_ORDERS], 3);
}

static void test_a_rule_that_changed_begins_anew_and_no_other(void **unused)
{
    (void)unused;
#define RULES(orders_max)                                                                          \
    "{\"services\":{\"orders\":{\"max\":" orders_max ",\"utilisation\":50},"                       \
    "\"search\":{\"max\":1,\"utilisation\":50}}}"
    begin(RULES("1"));
    input[SERVICES_ORDERS].in_flight = input[SERVICES_SEARCH].in_flight = 10;
    round_at(1000000);
    round_at(1001000);
    assert_true(autoscaler_at_maximum(a, SERVICES_ORDERS));
    assert_true(autoscaler_at_maximum(a, SERVICES_SEARCH));
    replace(RULES("4"), true);
    assert_false(autoscaler_at_maximum(a, SERVICES_ORDERS));
    assert_true(autoscaler_at_maximum(a, SERVICES_SEARCH));
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_at_maximum{service=\"search\"}"),
                     1);
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_at_maximum{service=\"orders\"}"),
                     0);
    round_at(1002000); // one sample alone may be a burst
    assert_int_equal(counts[SERVICES_ORDERS], 1);
    round_at(1003000);
    assert_int_equal(counts[SERVICES_ORDERS], 2);
}

// --- Bounds and load

static void test_bounds_are_kept_at_once_and_counted(void **unused)
{
    (void)unused;
    begin("{\"services\":{\"orders\":{\"min\":2,\"max\":3,\"utilisation\":50}}}");
    round_at(1000000);
    assert_int_equal(counts[SERVICES_ORDERS], 2);
    counts[SERVICES_ORDERS] = 9; // sluice scale
    round_at(1000001);
    assert_int_equal(counts[SERVICES_ORDERS], 3);
#define DECIDED(reason)                                                                            \
    rendered_metric(                                                                               \
        "sluice_supervisor_scaling_decisions_total{service=\"orders\",reason=\"" reason "\"}")
    assert_int_equal(DECIDED("minimum"), 1);
    assert_int_equal(DECIDED("maximum"), 1);
    assert_int_equal(rendered_metric("sluice_supervisor_processes_wanted{service=\"orders\"}"), 3);
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_min_processes{service=\"orders\"}"),
                     2);
}

static void test_at_the_maximum_while_it_is_not_enough(void **unused)
{
    (void)unused;
    begin("{\"services\":{\"orders\":{\"max\":1,\"utilisation\":50}}}");
    input[SERVICES_ORDERS].in_flight = 6; // of 10
    round_at(1000000);
    assert_false(autoscaler_at_maximum(a, SERVICES_ORDERS));
    round_at(1001000);
    assert_true(autoscaler_at_maximum(a, SERVICES_ORDERS));
    input[SERVICES_ORDERS].in_flight = 5; // exactly its target
    round_at(1002000);
    assert_false(autoscaler_at_maximum(a, SERVICES_ORDERS));
    assert_int_equal(rendered_metric("sluice_supervisor_scaling_at_maximum{service=\"orders\"}"),
                     0);
    assert_false(autoscaler_at_maximum(a, SERVICES_USERS)); // it has no rule
}

static void test_a_load_that_flaps_changes_nothing(void **unused)
{
    (void)unused;
    begin(BUSY);
    counts[SERVICES_ORDERS] = 2;
    for (int64_t s = 0; s < 300; s++) {
        input[SERVICES_ORDERS].in_flight = s % 2 ? 10 : 0;
        round_at(1000000 + 1000 * s);
        assert_int_equal(counts[SERVICES_ORDERS], 2);
    }
}

static void test_the_operator_goes_first(void **unused)
{
    (void)unused;
    begin(BUSY);
    input[SERVICES_ORDERS].in_flight = 10;
    refusal = -EBUSY;
    for (int64_t s = 0; s < 10; s++) {
        round_at(1000000 + 1000 * s);
    }
    assert_int_equal(counts[SERVICES_ORDERS], 1);
    assert_int_equal(DECIDED("utilisation"), 0);
    refusal = 0;
    // What was measured while an operation ran says nothing, so it takes two samples again.
    for (int64_t s = 10; counts[SERVICES_ORDERS] == 1; s++) {
        assert_true(s < 13);
        round_at(1000000 + 1000 * s);
    }
    assert_int_equal(counts[SERVICES_ORDERS], 2);
    assert_int_equal(DECIDED("utilisation"), 1);
}

// --- On demand

static void sleep_now(void)
{
    begin(SLEEPY);
    counts[SERVICES_SEARCH] = 0;
    round_at(1000000);
    assert_int_equal(counts[SERVICES_SEARCH], 0);
}

static void test_who_asks_wakes_it_once(void **unused)
{
    (void)unused;
    sleep_now();
    autoscaler_wanted(a, SERVICES_SEARCH);
    autoscaler_wanted(a, SERVICES_SEARCH);
    assert_int_equal(counts[SERVICES_SEARCH], 0); // later, not in the caller's stack
    LOOP_UNTIL(counts[SERVICES_SEARCH] == 1, 5000);
    autoscaler_wanted(a, SERVICES_SEARCH);
    loop_for(20);
    assert_int_equal(adjusted, 1);
    assert_int_equal(
        rendered_metric(
            "sluice_supervisor_scaling_decisions_total{service=\"search\",reason=\"demand\"}"),
        1);
}

static void test_what_has_no_rule_is_not_woken(void **unused)
{
    (void)unused;
    sleep_now();
    counts[SERVICES_USERS] = 0;
    autoscaler_wanted(a, SERVICES_USERS);
    loop_for(20);
    assert_int_equal(counts[SERVICES_USERS], 0);
}

static void test_a_new_gateway_learns_the_routes_of_who_sleeps(void **unused)
{
    (void)unused;
    sleep_now();
    autoscaler_started(a, SERVICES_USERS);
    loop_for(20);
    assert_int_equal(counts[SERVICES_SEARCH], 0);
    autoscaler_started(a, SERVICES_GATEWAY);
    LOOP_UNTIL(counts[SERVICES_SEARCH] == 1, 5000);
}

// A rolling restart of everything starts a gateway while it is at the sleeping service, too.
static void test_who_asked_during_an_operation_is_not_forgotten(void **unused)
{
    (void)unused;
    sleep_now();
    refusal = -EBUSY;
    autoscaler_started(a, SERVICES_GATEWAY);
    loop_for(20);
    round_at(1001000);
    assert_int_equal(counts[SERVICES_SEARCH], 0);
    refusal = 0;
    round_at(1002000);
    assert_int_equal(counts[SERVICES_SEARCH], 1);
    // And is served by that: the time without anything to do begins, and ends it again.
    for (int64_t s = 3; s < 63; s++) {
        round_at(1000000 + 1000 * s);
        assert_int_equal(counts[SERVICES_SEARCH], 1);
    }
    round_at(1063000);
    assert_int_equal(counts[SERVICES_SEARCH], 0);
}

static void test_the_end_of_its_rule_wakes_who_sleeps(void **unused)
{
    (void)unused;
    sleep_now();
    refusal = -EBUSY; // an operation runs just then
    replace("{}", true);
    assert_false(is_on_demand("search"));
    round_at(1001000);
    assert_int_equal(counts[SERVICES_SEARCH], 0);
    refusal = 0;
    round_at(1002000);
    assert_int_equal(counts[SERVICES_SEARCH], 1);
    counts[SERVICES_SEARCH] = 0; // sluice scale search=0: as the operator wants it, from now on
    round_at(1003000);
    assert_int_equal(counts[SERVICES_SEARCH], 0);
}

// --- Telling

static yyjson_doc *status(void)
{
    struct buf b;
    buf_init(&b, 65536);
    buf_append_char(&b, '{');
    autoscaler_status(a, &b);
    buf_append_char(&b, '}');
    yyjson_doc *doc = yyjson_read(b.data, b.len, 0);
    buf_fini(&b);
    assert_non_null(doc);
    return doc;
}

static void test_status_says_what_was_done_last(void **unused)
{
    (void)unused;
    begin(BUSY);
    yyjson_doc *doc = status();
    yyjson_val *s = yyjson_ptr_get(yyjson_doc_get_root(doc), "/scaling/services");
    assert_int_equal(yyjson_arr_size(s), 1);
    assert_null(yyjson_obj_get(yyjson_arr_get(s, 0), "last"));
    yyjson_doc_free(doc);
    input[SERVICES_ORDERS].in_flight = 6;
    round_at(1000000);
    round_at(1001000);
    round_at(1002000);
    doc = status();
    s = yyjson_ptr_get(yyjson_doc_get_root(doc), "/scaling/services/0");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(s, "service")), "orders");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(s, "count")), 2);
    assert_int_equal(yyjson_get_int(yyjson_ptr_get(s, "/targets/utilisation_percent")), 50);
    assert_int_equal(yyjson_get_int(yyjson_ptr_get(s, "/last/from")), 1);
    assert_int_equal(yyjson_get_int(yyjson_ptr_get(s, "/last/to")), 2);
    assert_string_equal(yyjson_get_str(yyjson_ptr_get(s, "/last/reason")), "utilisation");
    assert_int_equal(yyjson_get_int(yyjson_ptr_get(s, "/last/value")), 60);
    assert_string_equal(yyjson_get_str(yyjson_ptr_get(s, "/last/unit")), "%");
    yyjson_doc_free(doc);
}

static int check(const char *path, const char **ret_printed)
{
    printed_begin();
    int r = autoscaler_check(temp_dir(), path, true);
    *ret_printed = printed_end();
    return r;
}

static void test_check_says_every_mistake(void **unused)
{
    (void)unused;
    const char *out;
    assert_int_equal(check(NULL, &out), 0);
    assert_non_null(strstr(out, "nothing scales by itself"));
    assert_int_equal(check(file, &out), -EINVAL); // it was named
    put(BUSY);
    assert_int_equal(check(NULL, &out), 0);
    assert_non_null(strstr(out, "scaling.json: orders 1 to 3\n"));
    put("{}");
    assert_int_equal(check(NULL, &out), 0);
    assert_non_null(strstr(out, "no rules"));
    put("{\"services\":{\"orders\":{\"max\":0},\"nobody\":{}}}");
    assert_int_equal(check(NULL, &out), -EINVAL);
    assert_non_null(strstr(out, "orders"));
    assert_non_null(strstr(out, "nobody"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_without_a_file_nothing_is_decided),
        CASE(test_a_file_that_was_named_must_be_there_and_right),
        CASE(test_a_file_that_comes_later_is_used),
        CASE(test_with_mistakes_the_rules_from_before_stay),
        CASE(test_a_file_that_is_away_is_being_replaced),
        CASE(test_files_for_gateways_come_and_go),
        CASE(test_what_a_killed_supervisor_left_goes),
        CASE(test_the_same_rules_again_change_nothing),
        CASE(test_the_cooldown_outlasts_a_file_that_is_written_again),
        CASE(test_a_rule_that_changed_begins_anew_and_no_other),
        CASE(test_bounds_are_kept_at_once_and_counted),
        CASE(test_at_the_maximum_while_it_is_not_enough),
        CASE(test_a_load_that_flaps_changes_nothing),
        CASE(test_the_operator_goes_first),
        CASE(test_who_asks_wakes_it_once),
        CASE(test_what_has_no_rule_is_not_woken),
        CASE(test_a_new_gateway_learns_the_routes_of_who_sleeps),
        CASE(test_who_asked_during_an_operation_is_not_forgotten),
        CASE(test_the_end_of_its_rule_wakes_who_sleeps),
        CASE(test_status_says_what_was_done_last),
        CASE(test_check_says_every_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
