// SPDX-License-Identifier: MIT
// Who gets which request, who waits, and what becomes of requests whose worker is lost. Sending and
// answering are recorded here instead of done.
#include "gateway/balancer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"

#define MAX_WAITING 3
#define STUCK_MS 1000
#define OVERLOAD_WAIT_US 100000
#define N_JOBS 300

enum end { OPEN, REPLIED, FAILED };

static struct balancer balancer;
static struct service service;
static struct table table;
static struct route reads, writes;
static struct worker w1, w2;
static struct job jobs[N_JOBS];
static enum end ends[N_JOBS];
static enum problem problems[N_JOBS];
static const struct worker *sent_to[N_JOBS];
static uint64_t sent_id[N_JOBS];
static int send_error;
static size_t n_sent;

static size_t number_of(const struct job *job)
{
    return (size_t)(job - jobs);
}

static int on_send(struct job *job, const struct worker *w, uint64_t id, void *data)
{
    (void)data;
    if (send_error) {
        return send_error;
    }
    sent_to[number_of(job)] = w;
    sent_id[number_of(job)] = id;
    n_sent++;
    assert_true(w->in_flight <= w->credit); // never more than the worker allowed
    return 0;
}

static void on_reply(struct job *job, const struct frame_reply *reply, void *data)
{
    (void)reply, (void)data;
    assert_int_equal(ends[number_of(job)], OPEN);
    ends[number_of(job)] = REPLIED;
}

static void on_failure(struct job *job, enum problem problem, void *data)
{
    (void)data;
    assert_int_equal(ends[number_of(job)], OPEN);
    ends[number_of(job)] = FAILED;
    problems[number_of(job)] = problem;
}

static void set_credit(struct worker *w, uint32_t credit)
{
    w->credit = credit;
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        w->class_credit[i] = credit;
    }
}

static void add_worker(struct worker *w, enum frame_role role, uint32_t credit)
{
    memset(w, 0, sizeof *w);
    w->table = &table;
    w->role = role;
    assert_int_equal(balancer_add(&balancer, w), 0);
    if (credit) {
        worker_move(w, WORKER_SERVING);
        set_credit(w, credit);
        balancer_update(&balancer, w);
    }
}

static int asked;   // how often is_coming() was
static bool starts; // what it says

static bool is_coming(const struct service *s, void *data)
{
    (void)data;
    assert_ptr_equal(s, &service);
    asked++;
    return starts;
}

static int setup(void **state)
{
    (void)state;
    struct balancer_callbacks callbacks = { on_send, on_reply, on_failure, NULL, NULL, is_coming };
    asked = 0;
    starts = false;
    balancer_init(&balancer, MAX_WAITING, STUCK_MS, OVERLOAD_WAIT_US, &callbacks);
    table = (struct table){ .service = &service };
    reads = (struct route){ .service = &service, .live = true, .index = { 0, -1, -1, -1 } };
    writes = (struct route){ .service = &service,
                             .live = true,
                             .write = true,
                             .load = FRAME_CLASS_WRITE,
                             .index = { 1, -1, -1, -1 } };
    memset(jobs, 0, sizeof jobs);
    memset(ends, 0, sizeof ends);
    memset(sent_to, 0, sizeof sent_to);
    send_error = 0;
    n_sent = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    balancer_fini(&balancer);
    return 0;
}

static void submit(size_t i, struct route *route, bool movable)
{
    jobs[i].route = route;
    jobs[i].movable = movable;
    jobs[i].due_us = clock_mono_us() + 5000000;
    balancer_submit(&balancer, &jobs[i]);
}

static void reply(struct worker *w, size_t i)
{
    struct frame_reply r = { .id = sent_id[i], .status = 200 };
    balancer_reply(&balancer, w, &r);
}

static void assert_failed(size_t i, enum problem problem)
{
    assert_int_equal(ends[i], FAILED);
    assert_int_equal(problems[i], problem);
}

static void test_least_outstanding(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    add_worker(&w2, FRAME_ROLE_ANY, 10);
    for (size_t i = 0; i < 10; i++) {
        submit(i, &reads, true);
    }
    assert_int_equal(w1.in_flight, 5);
    assert_int_equal(w2.in_flight, 5);
    for (size_t i = 0; i < 10; i++) {
        if (sent_to[i] == &w1) {
            reply(&w1, i);
            assert_int_equal(ends[i], REPLIED);
        }
    }
    submit(10, &reads, true);
    assert_ptr_equal(sent_to[10], &w1);
    assert_int_equal(balancer.n_flights, 6);
    balancer_remove(&balancer, &w1);
    balancer_remove(&balancer, &w2);
}

static void test_roles(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_READER, 10);
    submit(0, &writes, false);
    assert_int_equal(jobs[0].state, JOB_WAITING);
    submit(1, &reads, true);
    assert_ptr_equal(sent_to[1], &w1);
    const struct lane *lane = &balancer.lanes[service.index];
    assert_int_equal(lane_credit(&balancer, lane, FRAME_CLASS_WRITE), 0);
    assert_int_equal(lane_credit(&balancer, lane, FRAME_CLASS_READ), 9);
    w1.role = FRAME_ROLE_WRITER;
    assert_int_equal(lane_credit(&balancer, lane, FRAME_CLASS_WRITE), 9);
    balancer_update(&balancer, &w1);
    assert_ptr_equal(sent_to[0], &w1); // at once, when it becomes the writer
    balancer_remove(&balancer, &w1);
}

static void test_credit_and_waiting(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    for (size_t i = 0; i < 5; i++) {
        submit(i, &reads, true);
    }
    assert_int_equal(n_sent, 1);
    assert_int_equal(lane_waiting(&balancer.lanes[0]), MAX_WAITING);
    assert_failed(4, PROBLEM_OVERLOADED); // one, three that wait, and one too many
    reply(&w1, 0);
    assert_ptr_equal(sent_to[1], &w1); // first come, first served
    assert_null(sent_to[2]);
    set_credit(&w1, 3);
    balancer_update(&balancer, &w1);
    assert_non_null(sent_to[2]);
    assert_non_null(sent_to[3]);
    set_credit(&w1, 0);
    balancer_update(&balancer, &w1);
    reply(&w1, 1);
    submit(5, &reads, true);
    assert_int_equal(jobs[5].state, JOB_WAITING); // credit 0: nothing is sent
    balancer_remove(&balancer, &w1);
}

// A write that waits for the writer does not hold up reads, and the other way round.
static void test_queues_are_apart(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_READER, 1);
    submit(0, &reads, true);
    submit(1, &writes, false);
    submit(2, &reads, true);
    reply(&w1, 0);
    assert_ptr_equal(sent_to[2], &w1);
    assert_int_equal(jobs[1].state, JOB_WAITING);
    uint64_t id;
    assert_int_equal(balancer_deadline_problem(&balancer, &jobs[1]), PROBLEM_OVERLOADED);
    assert_null(balancer_withdraw(&balancer, &jobs[1], &id));
    assert_int_equal(lane_waiting(&balancer.lanes[0]), 0);
    balancer_remove(&balancer, &w1);
}

// Of reads and writes that wait for the same worker, writes go first.
static void test_writes_first(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    submit(0, &reads, true);
    submit(1, &reads, true);
    submit(2, &writes, false);
    reply(&w1, 0);
    assert_ptr_equal(sent_to[2], &w1);
    submit(3, &writes, false);
    reply(&w1, 2);
    assert_ptr_equal(sent_to[3], &w1);
    reply(&w1, 3);
    assert_ptr_equal(sent_to[1], &w1);
    balancer_remove(&balancer, &w1);
}

// A class that has no credit left keeps nobody else waiting.
static void test_credit_of_classes(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    w1.class_credit[FRAME_CLASS_WRITE] = 1;
    const struct lane *lane = &balancer.lanes[service.index];
    assert_int_equal(lane_credit(&balancer, lane, FRAME_CLASS_WRITE), 1);
    assert_int_equal(lane_credit(&balancer, lane, FRAME_CLASS_READ), 10);
    submit(0, &writes, false);
    submit(1, &writes, false);
    assert_int_equal(jobs[1].state, JOB_WAITING);
    submit(2, &reads, true);
    assert_ptr_equal(sent_to[2], &w1);
    assert_int_equal(lane_credit(&balancer, lane, FRAME_CLASS_WRITE), 0);
    assert_int_equal(lane_credit(&balancer, lane, FRAME_CLASS_READ), 8); // of the whole, which is less
    assert_int_equal(lane_in_flight(lane, FRAME_CLASS_WRITE), 1);
    assert_int_equal(lane_in_flight(lane, FRAME_CLASS_READ), 1);
    reply(&w1, 2);
    assert_int_equal(jobs[1].state, JOB_WAITING);
    uint64_t id;
    (void)balancer_withdraw(&balancer, &jobs[0], &id); // it is still there
    reply(&w1, 0);
    assert_ptr_equal(sent_to[1], &w1);
    assert_int_equal(w1.class_flights[FRAME_CLASS_WRITE], 1);
    assert_int_equal(w1.class_flights[FRAME_CLASS_READ], 0);
    assert_int_equal(balancer.counts.sent[FRAME_CLASS_WRITE], 2);
    balancer_remove(&balancer, &w1);
}

// What cannot be answered in time any more is not sent, and hears so at once.
static void test_hopeless(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    balancer.lanes[0].flight_us[FRAME_CLASS_READ] = 1000000;
    submit(0, &reads, true);
    submit(1, &reads, true);
    submit(2, &reads, true);
    int64_t now_us = clock_mono_us();
    jobs[1].due_us = now_us + 1000000;
    jobs[1].submitted_us = now_us - 4000000;
    reply(&w1, 0);
    assert_failed(1, PROBLEM_OVERLOADED);
    assert_ptr_equal(sent_to[2], &w1);
    jobs[3].route = &reads;
    jobs[3].due_us = clock_mono_us() - 1000;
    balancer_submit(&balancer, &jobs[3]);
    assert_failed(3, PROBLEM_OVERLOADED);
    assert_int_equal(balancer.counts.shed[SHED_HOPELESS][WAIT_READ], 2);
    balancer_remove(&balancer, &w1);
}

// Two workers, of which each has all that it takes: job 0 is at lost, job 1 at left.
static void keep_two_busy(struct worker **lost, struct worker **left)
{
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    add_worker(&w2, FRAME_ROLE_ANY, 1);
    submit(0, &reads, true);
    submit(1, &reads, true);
    *lost = sent_to[0] == &w1 ? &w1 : &w2;
    *left = *lost == &w1 ? &w2 : &w1;
}

// After a pause of the gateway all that was in flight seems to take that long.
static void test_what_a_worker_was_lost_with_is_tried(void **state)
{
    (void)state;
    struct worker *lost, *left;
    keep_two_busy(&lost, &left);
    balancer.lanes[0].flight_us[FRAME_CLASS_READ] = 3000000;
    jobs[0].submitted_us = clock_mono_us() - 3000000;
    jobs[0].due_us = clock_mono_us() + 2000000;
    balancer_remove(&balancer, lost);
    assert_int_equal(jobs[0].state, JOB_WAITING);
    reply(left, 1);
    assert_ptr_equal(sent_to[0], left);
    balancer_remove(&balancer, left);
}

static struct job *withdrawn; // by on_failure

static void describe(struct job *job, void *data)
{
    (void)data;
    job->waiter.client = number_of(job);
    if (number_of(job) >= 100) {
        job->waiter.priority = WAIT_ADMIN;
    }
}

// An answer to one that was displaced may bring anything along: more requests, which displace more,
// or the end of another one that was displaced as well.
static void on_failure_with_company(struct job *job, enum problem problem, void *data)
{
    static int depth;
    size_t i = number_of(job);
    assert_int_equal(depth++, 0); // one after the other, however many
    on_failure(job, problem, data);
    if (i < 100) {
        submit(100 + i, &reads, true);
    }
    if (withdrawn && withdrawn->state == JOB_SHED) {
        uint64_t id;
        assert_null(balancer_withdraw(&balancer, withdrawn, &id));
        withdrawn = NULL;
    }
    depth--;
}

static void test_displaced(void **state)
{
    (void)state;
    balancer.callbacks.describe = describe;
    balancer.callbacks.on_failure = on_failure_with_company;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    for (size_t i = 0; i < 1 + MAX_WAITING; i++) {
        submit(i, &reads, true);
    }
    submit(150, &reads, true); // in the end all that wait are of the highest priority
    for (size_t i = 0; i < N_JOBS; i++) {
        assert_int_not_equal(jobs[i].state, JOB_SHED);
    }
    assert_int_equal(lane_waiting(&balancer.lanes[0]), MAX_WAITING);
    for (size_t i = 1; i < 1 + MAX_WAITING; i++) {
        assert_failed(i, PROBLEM_OVERLOADED);
    }
    assert_int_equal(balancer.counts.shed[SHED_DISPLACED][WAIT_READ], MAX_WAITING);
    balancer_remove(&balancer, &w1);
}

static void test_a_client_goes_away_before_it_hears(void **state)
{
    (void)state;
    balancer.callbacks.describe = describe;
    balancer.callbacks.on_failure = on_failure_with_company;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    for (size_t i = 0; i < 1 + MAX_WAITING; i++) {
        submit(i, &reads, true);
    }
    for (size_t i = 1; i < 1 + MAX_WAITING; i++) {
        jobs[i].due_us = 0; // hopeless, all at once
    }
    withdrawn = &jobs[2];
    reply(&w1, 0);
    assert_null(withdrawn);
    assert_int_equal(jobs[2].state, JOB_DONE);
    assert_int_equal(ends[2], OPEN); // nobody is there to hear it
    assert_failed(1, PROBLEM_OVERLOADED);
    assert_failed(3, PROBLEM_OVERLOADED);
    balancer_remove(&balancer, &w1);
}

// A request that has lost a worker goes before all others.
static void test_moved_ones_first(void **state)
{
    (void)state;
    struct worker *lost, *left;
    keep_two_busy(&lost, &left);
    submit(2, &writes, false);
    balancer_remove(&balancer, lost);
    assert_int_equal(jobs[0].state, JOB_WAITING);
    reply(left, 1);
    assert_ptr_equal(sent_to[0], left);
    assert_int_equal(jobs[0].attempt, 2);
    balancer_remove(&balancer, left);
}

static void test_withdrawn_in_flight(void **state)
{
    (void)state;
    uint64_t id = 0;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    submit(0, &reads, true);
    assert_int_equal(balancer_deadline_problem(&balancer, &jobs[0]), PROBLEM_DEADLINE_EXCEEDED);
    assert_ptr_equal(balancer_withdraw(&balancer, &jobs[0], &id), &w1);
    assert_int_equal(id, sent_id[0]);
    submit(1, &reads, true);
    assert_int_equal(jobs[1].state,
                     JOB_WAITING); // the worker still has the first one: its place is taken
    reply(&w1, 0);
    assert_int_equal(ends[0], OPEN); // nobody is answered
    assert_int_equal(balancer.counts.late_replies, 1);
    assert_ptr_equal(sent_to[1], &w1);
    balancer_remove(&balancer, &w1);
}

static void test_forgotten(void **state)
{
    (void)state;
    uint64_t id;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    submit(0, &reads, true);
    (void)balancer_withdraw(&balancer, &jobs[0], &id);
    balancer_forget(&balancer, &w1, w1.first->sent_us / 1000 + FLIGHT_FORGET_MS);
    assert_int_equal(w1.in_flight, 1);
    balancer_forget(&balancer, &w1, w1.first->sent_us / 1000 + FLIGHT_FORGET_MS + 1);
    assert_int_equal(w1.in_flight, 0);
    balancer_remove(&balancer, &w1);
}

// Replies that nobody asked for, of another worker, or given twice.
static void test_wrong_replies(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    add_worker(&w2, FRAME_ROLE_ANY, 0);
    submit(0, &reads, true);
    struct frame_reply r = { .id = sent_id[0] + 1 };
    balancer_reply(&balancer, &w1, &r);
    r.id = UINT64_MAX;
    balancer_reply(&balancer, &w1, &r);
    balancer_return(&balancer, &w1, 0, STR("full"));
    reply(&w2, 0);
    assert_int_equal(ends[0], OPEN);
    assert_int_equal(balancer.counts.unknown_replies, 4);
    reply(&w1, 0);
    reply(&w1, 0);
    assert_int_equal(ends[0], REPLIED);
    assert_int_equal(balancer.counts.unknown_replies, 5);
    // The same slot has another id when it is used again.
    submit(1, &reads, true);
    assert_int_not_equal(sent_id[1], sent_id[0]);
    assert_int_equal(sent_id[1] & (FLIGHTS_MAX - 1), sent_id[0] & (FLIGHTS_MAX - 1));
    balancer_remove(&balancer, &w1);
    balancer_remove(&balancer, &w2);
}

static void test_loss_moves_what_is_safe(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    submit(0, &reads, true);
    submit(1, &writes, false);
    add_worker(&w2, FRAME_ROLE_ANY, 10);
    balancer_remove(&balancer, &w1);
    assert_ptr_equal(sent_to[0], &w2);
    assert_int_equal(jobs[0].attempt, 2);
    assert_failed(1, PROBLEM_OUTCOME_UNKNOWN);
    balancer_remove(&balancer, &w2); // and only once
    assert_failed(0, PROBLEM_OUTCOME_UNKNOWN);
    assert_int_equal(balancer.counts.retries, 1);
    assert_int_equal(balancer.n_flights, 0);
}

// A gateway that was stopped finds several HELLOs of each worker: that must not look as if the
// request had broken one after the other.
static void test_who_begins_anew_does_not_use_up_the_move(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    submit(0, &reads, true);
    submit(1, &writes, false);
    add_worker(&w2, FRAME_ROLE_ANY, 10);
    balancer_forgotten(&balancer, &w1);
    assert_ptr_equal(sent_to[0], &w2);
    assert_failed(1, PROBLEM_OUTCOME_UNKNOWN);
    balancer_remove(&balancer, &w1);
    balancer_forgotten(&balancer, &w2);
    assert_int_equal(jobs[0].state, JOB_WAITING);
    assert_int_equal(balancer_deadline_problem(&balancer, &jobs[0]), PROBLEM_DEADLINE_EXCEEDED);
    balancer_remove(&balancer, &w2);
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    assert_ptr_equal(sent_to[0], &w1);
    balancer_remove(&balancer, &w1); // gone, this time
    assert_failed(0, PROBLEM_OUTCOME_UNKNOWN);
    assert_int_equal(balancer.counts.retries, 2);
    assert_int_equal(balancer.n_flights, 0);
}

static void test_loss_of_the_last_worker(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    submit(0, &reads, true);
    balancer_remove(&balancer, &w1);
    assert_int_equal(jobs[0].state, JOB_WAITING);
    assert_int_equal(balancer_deadline_problem(&balancer, &jobs[0]), PROBLEM_DEADLINE_EXCEEDED);
    submit(1, &reads, true);
    assert_int_equal(jobs[1].state, JOB_WAITING);
    assert_int_equal(balancer_deadline_problem(&balancer, &jobs[1]),
                     PROBLEM_UNAVAILABLE); // nobody ever had it
    add_worker(&w2, FRAME_ROLE_ANY, 10);
    assert_ptr_equal(sent_to[0], &w2);
    assert_ptr_equal(sent_to[1], &w2);
    balancer_remove(&balancer, &w2);
}

static void test_long_absence(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    balancer_remove(&balancer, &w1);
    balancer.lanes[0].absent_since_ms -= ABSENCE_GRACE_MS + 1;
    submit(0, &reads, true);
    assert_failed(0, PROBLEM_UNAVAILABLE);
}

static void test_long_absence_of_what_is_started_on_demand(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 1);
    submit(0, &reads, true);
    submit(1, &reads, true); // waits, but not for somebody to come
    assert_int_equal(asked, 0);
    balancer_remove(&balancer, &w1);
    assert_int_equal(asked, 1); // for what the worker had
    balancer.lanes[0].absent_since_ms -= ABSENCE_GRACE_MS + 1;
    starts = true;
    submit(2, &reads, true);
    assert_int_equal(asked, 2);
    assert_int_equal(jobs[2].state, JOB_WAITING);
    starts = false;
    submit(3, &reads, true);
    assert_failed(3, PROBLEM_UNAVAILABLE);
    add_worker(&w2, FRAME_ROLE_ANY, 10);
    assert_ptr_equal(sent_to[2], &w2);
    balancer_remove(&balancer, &w2);
}

static void test_retry_budget(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, N_JOBS);
    balancer.lanes[0].queue->max = N_JOBS;
    for (size_t i = 0; i < N_JOBS; i++) {
        submit(i, &reads, true);
    }
    balancer_remove(&balancer, &w1);
    size_t failed = 0;
    for (size_t i = 0; i < N_JOBS; i++) {
        failed += ends[i] == FAILED;
    }
    assert_int_equal(failed, N_JOBS - RETRY_FLOOR);
    assert_int_equal(lane_waiting(&balancer.lanes[0]), RETRY_FLOOR);
}

static void test_who_begins_anew_costs_no_budget(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, N_JOBS);
    balancer.lanes[0].queue->max = N_JOBS;
    for (size_t i = 0; i < N_JOBS; i++) {
        submit(i, &reads, true);
    }
    balancer_forgotten(&balancer, &w1);
    assert_int_equal(lane_waiting(&balancer.lanes[0]), N_JOBS); // more than RETRY_FLOOR
}

static void test_returns(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    submit(0, &writes, false);
    balancer_return(&balancer, &w1, sent_id[0], STR("not-writer"));
    assert_int_equal(w1.role, FRAME_ROLE_READER);
    assert_int_equal(jobs[0].state, JOB_WAITING);
    assert_int_equal(jobs[0].attempt, 1); // it was not touched
    add_worker(&w2, FRAME_ROLE_WRITER, 10);
    assert_ptr_equal(sent_to[0], &w2);
    balancer_return(&balancer, &w2, sent_id[0], STR("draining"));
    assert_int_equal(w2.state, WORKER_DRAINING);
    w1.role = FRAME_ROLE_ANY;
    balancer_update(&balancer, &w1);
    assert_ptr_equal(sent_to[0], &w1);
    for (uint32_t i = jobs[0].returns; i < RETURNS_MAX; i++) {
        balancer_return(&balancer, &w1, sent_id[0], STR("full"));
        assert_int_equal(jobs[0].state, JOB_WAITING); // not to the same one again at once
        balancer_update(&balancer, &w1);
    }
    balancer_return(&balancer, &w1, sent_id[0], STR("full"));
    assert_failed(0, PROBLEM_OVERLOADED); // it does not go round for ever
    balancer_remove(&balancer, &w1);
    balancer_remove(&balancer, &w2);
}

static void test_states(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 0);
    submit(0, &reads, true);
    assert_int_equal(jobs[0].state, JOB_WAITING); // WELCOMED is not SERVING
    set_credit(&w1, 10);
    worker_move(&w1, WORKER_SERVING);
    w1.oldest_ms = STUCK_MS + 1;
    balancer_update(&balancer, &w1);
    assert_int_equal(jobs[0].state, JOB_WAITING); // stuck
    w1.oldest_ms = STUCK_MS;
    balancer_update(&balancer, &w1);
    assert_int_equal(jobs[0].state, JOB_FLYING);
    worker_move(&w1, WORKER_DRAINING);
    submit(1, &reads, true);
    assert_int_equal(jobs[1].state, JOB_WAITING);
    reply(&w1, 0);
    assert_int_equal(ends[0], REPLIED); // what it has, it may finish
    balancer_remove(&balancer, &w1);
}

static void test_send_failures(void **state)
{
    (void)state;
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    send_error = -EMSGSIZE;
    submit(0, &reads, true);
    assert_failed(0, PROBLEM_BODY_TOO_LARGE);
    send_error = -EHOSTUNREACH;
    submit(1, &reads, true);
    assert_int_equal(jobs[1].state, JOB_WAITING);
    assert_int_equal(w1.in_flight, 0);
    send_error = 0;
    w1.unreachable = false; // it was heard of again
    balancer_update(&balancer, &w1);
    assert_int_equal(jobs[1].state, JOB_FLYING);
    balancer_remove(&balancer, &w1);
}

static void test_routes_of_versions(void **state)
{
    (void)state;
    struct table other = { .service = &service, .slot = 1 };
    add_worker(&w1, FRAME_ROLE_ANY, 10);
    add_worker(&w2, FRAME_ROLE_ANY, 10);
    w2.table = &other;
    for (size_t i = 0; i < 6; i++) {
        submit(i, &reads, true); // only in the table of w1
        assert_ptr_equal(sent_to[i], &w1);
    }
    reads.live = false; // the new version has it no more
    set_credit(&w1, 0);
    submit(6, &reads, true);
    assert_failed(6, PROBLEM_UNAVAILABLE);
    w2.table = &table;
    balancer_remove(&balancer, &w1);
    balancer_remove(&balancer, &w2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_least_outstanding),
        TEST(test_roles),
        TEST(test_credit_and_waiting),
        TEST(test_queues_are_apart),
        TEST(test_withdrawn_in_flight),
        TEST(test_forgotten),
        TEST(test_writes_first),
        TEST(test_credit_of_classes),
        TEST(test_hopeless),
        TEST(test_what_a_worker_was_lost_with_is_tried),
        TEST(test_displaced),
        TEST(test_a_client_goes_away_before_it_hears),
        TEST(test_moved_ones_first),
        TEST(test_wrong_replies),
        TEST(test_loss_moves_what_is_safe),
        TEST(test_who_begins_anew_does_not_use_up_the_move),
        TEST(test_loss_of_the_last_worker),
        TEST(test_long_absence),
        TEST(test_long_absence_of_what_is_started_on_demand),
        TEST(test_retry_budget),
        TEST(test_who_begins_anew_costs_no_budget),
        TEST(test_returns),
        TEST(test_states),
        TEST(test_send_failures),
        TEST(test_routes_of_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
