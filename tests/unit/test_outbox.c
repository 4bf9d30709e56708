// SPDX-License-Identifier: MIT
// Every event that was committed is published, in order, with the same sequence each time, and leaves the outbox
// only when the queue has it; one that was rolled back is never seen.
#include "common/outbox.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/queue_client.h"
#include "common/store.h"
#include "tests/unit/loop.h"
#include "tests/unit/queue_peer.h"
#include "tests/unit/sample.h"

#define PUBLISHED "sluice_outbox_publish_seconds_count"
#define DISK_FULL "sluice_outbox_publish_failures_total{reason=\"disk-full\"}"

#define LIMIT_MS 10000

static const char *const migrations[] = { "CREATE TABLE t(x TEXT) STRICT;" };

static struct store *store;
static struct queue_client *queue;
static struct outbox *outbox;
static struct queue_peer peer;
static bool writable, closed;

// --- A writer process without the rest of it

static void ignore(void *data)
{
    (void)data;
}

static void on_writable(void *data)
{
    (void)data;
    writable = true;
    outbox_wake(outbox);
}

static void on_committed(void *data)
{
    (void)data;
    outbox_wake(outbox);
}

static void on_failed(int error, const char *text, void *data)
{
    (void)data;
    fail_msg("the store failed: %s (%d)", text, error);
}

static void on_up(struct queue_client *c, void *data)
{
    (void)c, (void)data;
    if (outbox) {
        outbox_wake(outbox);
    }
}

static int on_writer(struct db *db, void *data)
{
    (void)data;
    return outbox_prepare(db);
}

static void open_all(void)
{
    struct store_options options = {
        .path = "s.db", .migrations = migrations, .n_migrations = 1, .on_writer = on_writer
    };
    struct store_callbacks callbacks = { .on_readable = ignore,
                                         .on_writable = on_writable,
                                         .on_committed = on_committed,
                                         .on_failed = on_failed,
                                         .on_trouble = on_failed,
                                         .on_healed = ignore };
    struct queue_client_callbacks queue_callbacks = { on_up, NULL, NULL };
    writable = closed = false;
    assert_int_equal(store_open(&loop, &options, &callbacks, &store), 0);
    assert_int_equal(queue_client_open(&loop, "ipc://q.sock", NULL, &queue_callbacks, &queue), 0);
    assert_int_equal(outbox_open(&loop, "things", store, queue, &outbox), 0);
    LOOP_UNTIL(writable, LIMIT_MS);
}

static void on_closed(void *data)
{
    (void)data;
    closed = true;
    queue_client_close(&queue);
    outbox_close(&outbox);
}

static void close_all(void)
{
    store_close(&store, on_closed, NULL);
    LOOP_UNTIL(closed, LIMIT_MS);
}

static int enter(void **state)
{
    if (loop_enter(state)) {
        return -1;
    }
    queue_peer_open(&peer, "ipc://q.sock", "log");
    open_all();
    return 0;
}

static int leave(void **state)
{
    close_all();
    queue_peer_close(&peer);
    return loop_leave(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

// --- Writing events

struct writing {
    int events;
    size_t bytes;  // of each one's data
    int result;    // of the job
    int status, done;
};

static int write_events(struct db *db, void *job)
{
    struct writing *w = job;
    char *data = calloc(1, w->bytes + 1);
    assert_non_null(data);
    int rc = 0;
    for (int i = 0; !rc && i < w->events; i++) {
        struct event e = { .topic = STR("things.thing.changed"), .key = STR("k"), .subject = STR("k"),
                           .source = STR("/sluice/things"), .data = { data, w->bytes } };
        rc = outbox_add(db, &e);
        assert_true(rc || (e.time_ms && !e.id.p)); // the time is filled in; the id was made and is gone
    }
    free(data);
    return rc ? rc : w->result;
}

static void on_written(int status, int64_t store_us, void *job)
{
    struct writing *w = job;
    (void)store_us;
    w->status = status;
    w->done++;
}

static void write_now(struct writing *w)
{
    assert_int_equal(store_submit(store, write_events, on_written, w), 0);
    LOOP_UNTIL(w->done, LIMIT_MS);
}

static int64_t rows_left(void)
{
    struct db_rows rows;
    assert_int_equal(db_row(store_reader(store), &rows, "SELECT count(*) FROM sluice_outbox", ""), 1);
    int64_t n = db_int(&rows, 0);
    db_rows_close(&rows);
    return n;
}

// All that was stored has growing sequences, without one that is missing or twice.
static void assert_log(size_t n)
{
    assert_int_equal(peer.n_events, n);
    for (size_t i = 1; i < n; i++) {
        assert_true(peer.events[i].producer_seq == peer.events[i - 1].producer_seq + 1);
    }
}

// --- Cases

static void test_events_are_published_and_deleted(void **state)
{
    (void)state;
    struct writing w = { .events = 3, .bytes = 10 };
    write_now(&w);
    assert_int_equal(w.status, 0);
    LOOP_UNTIL(peer.n_events == 3, LIMIT_MS);
    char producer[80];
    (void)snprintf(producer, sizeof producer, "things.%s", store_uuid(store));
    assert_string_equal(peer.producer, producer);
    assert_log(3);
    struct event e;
    assert_int_equal(event_decode((struct str){ peer.events[0].bytes, peer.events[0].n }, &e), 0);
    assert_int_equal(e.id.n, 36);
    assert_true(str_eq(e.topic, STR("things.thing.changed")) && e.data.n == 10);
    assert_true(e.time_ms <= clock_wall_ms() && e.time_ms > clock_wall_ms() - 60000);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    assert_int_equal(outbox_rows(outbox), 0);
    assert_int_equal(outbox_oldest_ms(outbox), 0);
    loop_for(200);
    assert_int_equal(peer.n_publishes, 1); // nothing twice
}

static void test_what_is_rolled_back_is_never_published(void **state)
{
    (void)state;
    struct writing bad = { .events = 5, .result = -ECANCELED }, good = { .events = 1 };
    write_now(&bad);
    write_now(&good);
    LOOP_UNTIL(peer.n_events, LIMIT_MS);
    loop_for(100);
    assert_int_equal(peer.n_events, 1);
}

static void test_batches_have_a_size(void **state)
{
    (void)state;
    struct writing w = { .events = 2 * OUTBOX_BATCH + 10 };
    write_now(&w);
    LOOP_UNTIL(peer.n_events == 2 * OUTBOX_BATCH + 10, LIMIT_MS);
    assert_log(2 * OUTBOX_BATCH + 10);
    assert_int_equal(peer.n_publishes, 3);
    assert_int_equal(peer.publishes[0].n, OUTBOX_BATCH);
    assert_int_equal(peer.publishes[2].n, 10);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
}

static void test_large_events_fit_in_frames(void **state)
{
    (void)state;
    struct writing w = { .events = 7, .bytes = QUEUE_MAX_EVENT_BYTES - 1000 };
    write_now(&w);
    assert_int_equal(w.status, 0);
    LOOP_UNTIL(peer.n_events == 7, LIMIT_MS);
    assert_log(7);
    assert_true(peer.n_publishes >= 3); // a frame takes two, at the most three
    struct writing large = { .events = 1, .bytes = QUEUE_MAX_EVENT_BYTES };
    write_now(&large);
    assert_int_equal(large.status, -EMSGSIZE);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    assert_int_equal(peer.n_events, 7);
}

static void test_events_wait_while_the_queue_is_away(void **state)
{
    (void)state;
    struct writing w = { .events = 4 };
    LOOP_UNTIL(queue_client_is_up(queue), LIMIT_MS);
    queue_peer_down(&peer);
    LOOP_UNTIL(!queue_client_is_up(queue), LIMIT_MS);
    write_now(&w);
    assert_int_equal(w.status, 0); // the request does not fail for it
    loop_for(100);
    assert_int_equal(rows_left(), 4);
    assert_int_equal(outbox_rows(outbox), 4);
    assert_true(outbox_oldest_ms(outbox) >= 90);
    queue_peer_up(&peer);
    LOOP_UNTIL(peer.n_events == 4, LIMIT_MS);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    assert_int_equal(outbox_oldest_ms(outbox), 0);
}

static void test_a_refused_batch_comes_again_before_any_other(void **state)
{
    (void)state;
    struct writing w = { .events = 3 * OUTBOX_BATCH }, later = { .events = 1 };
    int64_t published = sample(PUBLISHED), failed = sample(DISK_FULL);
    peer.refuse = "disk-full";
    write_now(&w);
    LOOP_UNTIL(peer.n_publishes == 1, LIMIT_MS);
    write_now(&later); // a commit is no reason to try at once
    loop_for(300);
    assert_int_equal(peer.n_publishes, 1);
    assert_int_equal(rows_left(), 3 * OUTBOX_BATCH + 1);
    assert_int_equal(outbox_rows(outbox), 3 * OUTBOX_BATCH + 1);
    assert_true(outbox_oldest_ms(outbox) >= 250);
    LOOP_UNTIL(peer.n_publishes == 2, LIMIT_MS);
    assert_true(peer.publishes[1].first == peer.publishes[0].first); // the same one
    LOOP_UNTIL(sample(DISK_FULL) == failed + 2, LIMIT_MS);
    assert_int_equal(sample(PUBLISHED), published);
    peer.refuse = NULL;
    LOOP_UNTIL(peer.n_events == 3 * OUTBOX_BATCH + 1, LIMIT_MS);
    assert_log(3 * OUTBOX_BATCH + 1);
    for (size_t i = 0; i < peer.n_publishes; i++) { // nothing of a later batch before it
        assert_true(peer.publishes[i].stored || peer.publishes[i].first == peer.publishes[0].first);
    }
    LOOP_UNTIL(sample(PUBLISHED) == published + 3 * OUTBOX_BATCH + 1, LIMIT_MS); // events, not batches
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
}

static void test_nothing_overtakes_a_batch_in_flight(void **state)
{
    (void)state;
    struct writing w = { .events = 4 * OUTBOX_BATCH };
    peer.silent = true;
    write_now(&w);
    LOOP_UNTIL(peer.n_publishes, LIMIT_MS);
    loop_for(200);
    assert_int_equal(peer.n_publishes, 1);
    assert_int_equal(rows_left(), 4 * OUTBOX_BATCH); // what is not acknowledged stays
    // The connection is lost with it: it is sent again, and the queue knows what it has.
    peer.silent = false;
    queue_peer_down(&peer);
    LOOP_UNTIL(!queue_client_is_up(queue), LIMIT_MS);
    queue_peer_up(&peer);
    LOOP_UNTIL(peer.n_events == 4 * OUTBOX_BATCH, LIMIT_MS);
    assert_log(4 * OUTBOX_BATCH);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
}

static void test_an_acknowledgement_that_was_lost(void **state)
{
    (void)state;
    struct writing w = { .events = 5 };
    LOOP_UNTIL(queue_client_is_up(queue), LIMIT_MS);
    peer.silent = true;
    write_now(&w);
    LOOP_UNTIL(peer.n_publishes == 1, LIMIT_MS);
    peer.highest = peer.publishes[0].last; // it has them all
    peer.silent = false;
    queue_peer_down(&peer);
    LOOP_UNTIL(!queue_client_is_up(queue), LIMIT_MS);
    queue_peer_up(&peer);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    assert_int_equal(peer.n_events, 0); // duplicates, every one
    assert_true(peer.publishes[1].first == peer.publishes[0].first);
}

static void test_sequences_go_on_after_a_restart(void **state)
{
    (void)state;
    struct writing w = { .events = 3 };
    write_now(&w);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    for (int round = 2; round <= 4; round++) {
        close_all();
        open_all(); // with an empty outbox: the numbers must not begin again
        w = (struct writing){ .events = 3 };
        write_now(&w);
        LOOP_UNTIL(peer.n_events == (size_t)round * 3, LIMIT_MS);
        assert_log((size_t)round * 3);
        LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    }
}

static void test_rows_of_before_are_published_after_a_restart(void **state)
{
    (void)state;
    struct writing w = { .events = OUTBOX_BATCH + 5 };
    LOOP_UNTIL(queue_client_is_up(queue), LIMIT_MS);
    queue_peer_down(&peer);
    LOOP_UNTIL(!queue_client_is_up(queue), LIMIT_MS);
    write_now(&w);
    close_all();
    queue_peer_up(&peer);
    open_all();
    assert_true(outbox_rows(outbox) > 0);
    LOOP_UNTIL(peer.n_events == OUTBOX_BATCH + 5, LIMIT_MS);
    assert_log(OUTBOX_BATCH + 5);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
}

static int jump(struct db *db, void *job)
{
    struct event e = { .topic = STR("a"), .key = STR(""), .subject = STR(""), .source = STR("") };
    (void)job;
    int rc = outbox_add(db, &e);
    rc = rc ? rc : db_script(db, "UPDATE sqlite_sequence SET seq = seq + 999999 WHERE name = 'sluice_outbox'");
    return rc;
}

// The outbox is counted by its sequences, so a jump of them stands for a million rows.
static void test_a_full_outbox_refuses_writes(void **state)
{
    (void)state;
    struct writing w = { .events = 1 }, first = { 0 };
    LOOP_UNTIL(queue_client_is_up(queue), LIMIT_MS);
    queue_peer_down(&peer);
    LOOP_UNTIL(!queue_client_is_up(queue), LIMIT_MS);
    assert_int_equal(store_submit(store, jump, on_written, &first), 0);
    LOOP_UNTIL(first.done, LIMIT_MS);
    assert_int_equal(first.status, 0);
    write_now(&w);
    assert_int_equal(w.status, -ENOBUFS);
    assert_int_equal(rows_left(), 1); // and nothing of it is left
    queue_peer_up(&peer);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    loop_for(50); // the deletion is reported
    w = (struct writing){ .events = 1 };
    write_now(&w);
    assert_int_equal(w.status, 0);
}

static void test_events_of_many_jobs_keep_their_order(void **state)
{
    (void)state;
    enum { JOBS = 500 };
    static struct writing jobs[JOBS];
    int good = 0;
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct writing){ .events = 1 + i % 3, .result = i % 5 ? 0 : -ECANCELED };
        good += i % 5 ? 1 + i % 3 : 0;
        assert_int_equal(store_submit(store, write_events, on_written, &jobs[i]), 0);
    }
    LOOP_UNTIL(jobs[JOBS - 1].done, LIMIT_MS);
    LOOP_UNTIL(rows_left() == 0, LIMIT_MS);
    assert_int_equal(peer.n_events, good);
    for (size_t i = 1; i < peer.n_events; i++) {
        assert_true(peer.events[i].producer_seq > peer.events[i - 1].producer_seq);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_events_are_published_and_deleted),
        CASE(test_what_is_rolled_back_is_never_published),
        CASE(test_batches_have_a_size),
        CASE(test_large_events_fit_in_frames),
        CASE(test_events_wait_while_the_queue_is_away),
        CASE(test_a_refused_batch_comes_again_before_any_other),
        CASE(test_nothing_overtakes_a_batch_in_flight),
        CASE(test_an_acknowledgement_that_was_lost),
        CASE(test_sequences_go_on_after_a_restart),
        CASE(test_rows_of_before_are_published_after_a_restart),
        CASE(test_a_full_outbox_refuses_writes),
        CASE(test_events_of_many_jobs_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
