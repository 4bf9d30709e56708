// SPDX-License-Identifier: MIT
// What is measured between two looks at processes whose pages the test writes itself.
#include "deploy/survey.h"

#include "common/admin.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define N_PROCESSES 4

// A process that is played: users-1, users-2, gateway-1, queue-1.
static struct {
    const char *name;
    int service, slot;
    pid_t pid; // 0: it is not there
    bool answers, unready, unwanted;
    struct admin *admin;
    char metrics[1024];
} played[N_PROCESSES];

static const char *topology;
static int64_t count; // processes of every service that are wanted
static int rounds;
static struct survey *survey;

// --- The fleet

void fleet_each(struct fleet *f, void (*each)(const struct fleet_member *member, void *data),
                void *data)
{
    (void)f;
    for (int i = 0; i < N_PROCESSES; i++) {
        const struct fleet_member m = { .name = played[i].name,
                                        .service = played[i].service,
                                        .slot = played[i].slot,
                                        .pid = played[i].pid,
                                        .wanted = !played[i].unwanted,
                                        .ready = !played[i].unready };
        if (played[i].pid) {
            each(&m, data);
        }
    }
}

int64_t fleet_count(const struct fleet *f, int service)
{
    (void)f;
    (void)service;
    return count;
}

// --- The pages

static int write_metrics(struct str query, struct buf *body, const char **ret_type, void *data)
{
    int i = *(int *)data;
    (void)query;
    (void)ret_type;
    buf_append_z(body, played[i].metrics);
    return played[i].answers ? 200 : 500;
}

static int write_topology(struct str query, struct buf *body, const char **ret_type, void *data)
{
    (void)query;
    (void)ret_type;
    (void)data;
    buf_append_z(body, topology);
    return 200;
}

static void on_round(void *data)
{
    (void)data;
    rounds++;
}

static int enter(void **state)
{
    static int numbers[N_PROCESSES] = { 0, 1, 2, 3 };
    static const char *const names[] = { "users-1", "users-2", "gateway-1", "queue-1" };
    static const int of[] = { SERVICES_USERS, SERVICES_USERS, SERVICES_GATEWAY, SERVICES_QUEUE };
    int r = loop_enter(state);
    r = r ? r : mkdir("run", 0700);
    for (int i = 0; r == 0 && i < N_PROCESSES; i++) {
        char address[160];
        memset(&played[i], 0, sizeof played[i]);
        played[i].name = names[i];
        played[i].service = of[i];
        played[i].slot = of[i] * SERVICES_MAX_PROCESSES + (i == 1);
        played[i].pid = 100 + i;
        played[i].answers = true;
        snprintf(address, sizeof address, "unix:%s/run/%s.admin.sock", temp_dir(), names[i]);
        r = admin_open(&loop, address, &played[i].admin);
        r = r ? r : admin_page(played[i].admin, "/metrics", write_metrics, &numbers[i]);
        r = r ? r : admin_page(played[i].admin, "/topology", write_topology, NULL);
    }
    topology = "{\"services\":[]}";
    count = 2;
    rounds = 0;
    struct survey_options options = { .home = temp_dir(), .on_round = on_round };
    r = r ? r : survey_open(&loop, &options, &survey);
    return r;
}

static int leave(void **state)
{
    survey_close(&survey);
    for (int i = 0; i < N_PROCESSES; i++) {
        admin_close(&played[i].admin);
    }
    return loop_leave(state);
}

static void round_is_over(void)
{
    int before = rounds;
    survey_interval(survey, before % 2 ? 10 : 11); // begins at once
    LOOP_UNTIL(rounds > before, 10000);
    survey_interval(survey, 3600000);
}

static void worker(int i, int in_flight, int answered, double cpu_s)
{
    snprintf(played[i].metrics, sizeof played[i].metrics,
             "sluice_worker_in_flight{class=\"read\"} %d\nsluice_worker_limit{class=\"read\"} 10\n"
             "process_cpu_seconds_total %f\n"
             "sluice_worker_request_duration_seconds_bucket{operation=\"a\",le=\"0.25\"} %d\n"
             "sluice_worker_request_duration_seconds_bucket{operation=\"a\",le=\"0.5\"} %d\n"
             "sluice_worker_request_duration_seconds_bucket{operation=\"a\",le=\"+Inf\"} %d\n",
             in_flight, cpu_s, answered, answered, answered);
}

static struct scaling_input measured(int service)
{
    struct scaling_input in;
    survey_service(survey, service, &in);
    return in;
}

static void test_sums_over_processes(void **state)
{
    (void)state;
    worker(0, 3, 0, 1);
    worker(1, 4, 0, 1);
    topology = "{\"services\":[{\"service\":\"users\",\"waiting\":2,\"oldest_waiting_ms\":70}]}";
    snprintf(played[3].metrics, sizeof played[3].metrics,
             "sluice_queue_group_lag_events{group=\"users.mail\"} 5\n"
             "sluice_queue_group_lag_events{group=\"users\"} 2\n"
             "sluice_queue_group_lag_events{group=\"usersother\"} 100\n");
    round_is_over();
    struct scaling_input in = measured(SERVICES_USERS);
    assert_int_equal(in.sampled, 2);
    assert_int_equal(in.in_flight, 7);
    assert_int_equal(in.capacity, 20);
    assert_int_equal(in.waiting, 2);
    assert_int_equal(in.wait_ms, 70);
    assert_int_equal(in.lag, 7);
    assert_int_equal(in.latency_ms, 0); // there is nothing to compare with yet
    assert_int_equal(in.cpu, 0);
    assert_int_equal(measured(SERVICES_ORDERS).sampled, 0);
    assert_int_equal(measured(SERVICES_ORDERS).waiting, 0);
    count = 1; // the second one is on its way down
    assert_int_equal(measured(SERVICES_USERS).in_flight, 3);
}

static void test_what_changed_between_two_looks(void **state)
{
    (void)state;
    worker(0, 0, 10, 1);
    worker(1, 0, 10, 1);
    round_is_over();
    assert_false(measured(SERVICES_USERS).active); // nobody was answered, as far as is known
    worker(0, 0, 110, 1000); // far more than the time that passed, so that it cannot be missed
    worker(1, 0, 10, 1000);
    round_is_over();
    struct scaling_input in = measured(SERVICES_USERS);
    assert_true(in.active);
    assert_true(in.latency_ms > 0 && in.latency_ms <= 250);
    assert_true(in.cpu > 1000);
    round_is_over();
    in = measured(SERVICES_USERS);
    assert_false(in.active);
    assert_int_equal(in.latency_ms, 0);
    assert_int_equal(in.cpu, 0);
}

static void test_another_process_is_not_compared(void **state)
{
    (void)state;
    worker(0, 0, 100, 5);
    worker(1, 0, 0, 0);
    round_is_over();
    played[0].pid = 999;
    worker(0, 0, 5, 1);
    round_is_over();
    assert_false(measured(SERVICES_USERS).active);
    worker(0, 0, 6, 1);
    round_is_over();
    assert_true(measured(SERVICES_USERS).active);
}

static void test_who_is_silent_does_not_count(void **state)
{
    (void)state;
    worker(0, 3, 0, 0);
    worker(1, 4, 0, 0);
    round_is_over();
    played[1].answers = false;
    round_is_over();
    assert_int_equal(measured(SERVICES_USERS).sampled, 1);
    assert_int_equal(measured(SERVICES_USERS).in_flight, 3);
    assert_int_equal(survey_failures(survey), 1);
    const struct survey_process *p = survey_process(survey, played[1].slot);
    assert_non_null(p); // what was known of it is kept
    assert_int_equal(p->now.in_flight, 4);
    assert_false(p->answered);
}

static void test_who_is_not_ready_is_asked_why(void **state)
{
    (void)state;
    worker(0, 3, 0, 0);
    worker(1, 4, 0, 0);
    size_t n = strlen(played[1].metrics);
    snprintf(played[1].metrics + n, sizeof played[1].metrics - n,
             "sluice_store_trouble{reason=\"full\"} 1\n");
    played[1].unready = true;
    round_is_over();
    const struct survey_process *p = survey_process(survey, played[1].slot);
    assert_true(p->answered && p->now.store_trouble);
    assert_int_equal(measured(SERVICES_USERS).sampled, 1); // it takes no work
    assert_int_equal(measured(SERVICES_USERS).in_flight, 3);
    played[1].answers = false; // as one does that has just begun
    round_is_over();
    assert_int_equal(survey_failures(survey), 0);
    snprintf(played[3].metrics, sizeof played[3].metrics,
             "sluice_queue_group_lag_events{group=\"late\"} 7\n");
    round_is_over();
    *played[3].metrics = '\0'; // it has begun anew, and has read nothing yet
    played[3].unready = true;
    round_is_over();
    assert_int_equal(survey_groups(survey, &n)->lag, 7);
    assert_int_equal(n, 1);
    played[0].unwanted = true; // on its way down
    played[0].answers = false;
    round_is_over();
    assert_int_equal(survey_failures(survey), 0);
}

static void test_answers_of_gateways(void **state)
{
    (void)state;
#define ANSWERS "http_server_request_duration_seconds_count{http_response_status_code="
#define QUICK "http_server_request_duration_seconds_bucket{le=\"0.5\",http_response_status_code="
    snprintf(played[2].metrics, sizeof played[2].metrics,
             ANSWERS "\"200\"} 10\n" ANSWERS "\"503\"} 1\n");
    round_is_over();
    assert_int_equal(survey_answers(survey).requests, 0);
    snprintf(played[2].metrics, sizeof played[2].metrics,
             ANSWERS "\"200\"} 15\n" ANSWERS "\"503\"} 4\n" QUICK "\"200\"} 3\n");
    round_is_over();
    struct survey_answers answers = survey_answers(survey);
    assert_int_equal(answers.requests, 8);
    assert_int_equal(answers.errors, 3);
    assert_int_equal(answers.served, 5);
    assert_int_equal(answers.slow, 2);
    round_is_over();
    answers = survey_answers(survey);
    assert_int_equal(answers.requests + answers.slow, 0);
}

static void test_events_for_a_service_that_sleeps(void **state)
{
    (void)state;
    snprintf(played[0].metrics, sizeof played[0].metrics, "sluice_consumer_position 7\n");
    snprintf(played[3].metrics, sizeof played[3].metrics, "sluice_queue_log_last_sequence 7\n");
    round_is_over();
    played[0].pid = played[1].pid = 0;
    count = 0;
    round_is_over();
    assert_false(measured(SERVICES_USERS).active);
    snprintf(played[3].metrics, sizeof played[3].metrics, "sluice_queue_log_last_sequence 8\n");
    round_is_over();
    assert_true(measured(SERVICES_USERS).active);
    assert_false(measured(SERVICES_ORDERS).active); // nobody has seen it read events
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_sums_over_processes),
        CASE(test_what_changed_between_two_looks),
        CASE(test_another_process_is_not_compared),
        CASE(test_who_is_silent_does_not_count),
        CASE(test_who_is_not_ready_is_asked_why),
        CASE(test_answers_of_gateways),
        CASE(test_events_for_a_service_that_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
