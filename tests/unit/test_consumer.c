// SPDX-License-Identifier: MIT
// Each event takes effect once and in order, across restarts, lost connections, a store that cannot and a queue
// that begins a new log.
#include "common/consumer.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/lease.h"
#include "common/log.h"
#include "common/queue_client.h"
#include "common/store.h"
#include "common/traces.h"
#include "tests/unit/loop.h"
#include "tests/unit/queue_peer.h"
#include "tests/unit/sample.h"

#define LIMIT_MS 15000
#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00" // of every event

// A row for each time that an event was applied.
static const char *const migrations[] = { "CREATE TABLE t(seq INTEGER NOT NULL, key TEXT) STRICT;" };

static struct store *store;
static struct queue_client *queue;
static struct consumer *consumer;
static struct queue_peer peer;
static bool writable, closed;
static int other_logs;
static atomic_int refusals; // how often the store says no

// --- The service

// The key says what happens: "bad" fails, "full" fails as a store does while there are refusals left.
static int apply(struct db *db, const struct event *e, void *data)
{
    (void)data;
    int rc = db_run(db, "INSERT INTO t(seq, key) VALUES(?, ?)", "is", (int64_t)e->seq, e->key);
    if (rc < 0) {
        return rc;
    }
    if (str_eq(e->key, STR("bad"))) {
        return -EINVAL;
    }
    if (str_eq(e->key, STR("full")) && atomic_load(&refusals) > 0) {
        atomic_fetch_sub(&refusals, 1);
        return -ENOSPC;
    }
    return 0;
}

static const struct subscription subscription = { .name = "things", .filters = { "things.>", "users.*.deleted" },
                                                  .apply = apply };

static void ignore(void *data)
{
    (void)data;
}

static void on_writable(void *data)
{
    (void)data;
    writable = true;
    consumer_wake(consumer);
}

// Jobs of tests say that there is no room.
static void on_trouble(int error, const char *text, void *data)
{
    (void)text, (void)data;
    assert_int_equal(error, -ENOSPC);
}

static void on_failed(int error, const char *text, void *data)
{
    (void)data;
    fail_msg("the store failed: %s (%d)", text, error);
}

static void on_up(struct queue_client *c, void *data)
{
    (void)c, (void)data;
    if (consumer) {
        consumer_wake(consumer);
    }
}

static void on_other_log(void *data)
{
    (void)data;
    other_logs++;
}

static void open_parts(bool rebuildable)
{
    struct store_options options = { .path = "s.db", .migrations = migrations, .n_migrations = 1 };
    struct store_callbacks callbacks = { .on_readable = ignore,
                                         .on_writable = on_writable,
                                         .on_committed = ignore,
                                         .on_failed = on_failed,
                                         .on_trouble = on_trouble,
                                         .on_healed = ignore };
    struct queue_client_callbacks queue_callbacks = { on_up, NULL, NULL };
    struct consumer_callbacks consumer_callbacks = { on_other_log, NULL };
    writable = closed = false;
    other_logs = 0;
    consumer = NULL;
    assert_int_equal(store_open(&loop, &options, &callbacks, &store), 0);
    assert_int_equal(queue_client_open(&loop, "ipc://q.sock", NULL, &queue_callbacks, &queue), 0);
    assert_int_equal(
        consumer_open(&loop, &subscription, store, queue, rebuildable, &consumer_callbacks, &consumer), 0);
}

static void open_all(bool rebuildable)
{
    open_parts(rebuildable);
    LOOP_UNTIL(writable, LIMIT_MS);
}

static void on_closed(void *data)
{
    (void)data;
    closed = true;
    consumer_close(&consumer);
    queue_client_close(&queue);
}

static void close_all(void)
{
    store_close(&store, on_closed, NULL);
    LOOP_UNTIL(closed, LIMIT_MS);
}

static int enter(void **state)
{
    log_init("things", "test", LEVEL_FATAL, LOG_FORMAT_JSON); // failures are wanted here
    atomic_store(&refusals, 0);
    if (loop_enter(state)) {
        return -1;
    }
    queue_peer_open(&peer, "ipc://q.sock", "log-1");
    return 0;
}

static int leave(void **state)
{
    close_all();
    queue_peer_close(&peer);
    return loop_leave(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

// --- Looking

static void add(const char *key, int n)
{
    for (int i = 0; i < n; i++) {
        struct event e = { .id = STR("0192f3c1-7b9a-7c3d-8e4f-001122334455"), .topic = STR("things.thing.changed"),
                           .key = str_of(key), .subject = STR(""), .source = STR(""), .traceparent = STR(TRACEPARENT) };
        queue_peer_add(&peer, &e);
    }
    if (peer.socket) {
        queue_peer_deliver(&peer);
    }
}

static int64_t number(const char *sql)
{
    struct db_rows rows;
    if (db_row(store_reader(store), &rows, sql, "") != 1) {
        return -1;
    }
    int64_t n = db_int(&rows, 0);
    db_rows_close(&rows);
    return n;
}

static const char cursor_sql[] = "SELECT seq FROM sluice_cursor WHERE name = 'things'";
static const char count_sql[] = "SELECT count(*) FROM t";
static const char twice_sql[] = "SELECT count(*) - count(DISTINCT seq) FROM t";
static const char disorder_sql[] = "SELECT count(*) FROM t AS a JOIN t AS b ON b.rowid = a.rowid + 1 AND b.seq <= a.seq";

static void assert_applied(int64_t n, const char *log)
{
    struct db_rows rows;
    LOOP_UNTIL(number(count_sql) >= n && number(cursor_sql) >= n, LIMIT_MS);
    assert_int_equal(number(count_sql), n);
    assert_int_equal(number(twice_sql), 0);
    assert_int_equal(number(disorder_sql), 0);
    assert_int_equal(number(cursor_sql), n);
    assert_int_equal(db_row(store_reader(store), &rows, "SELECT log FROM sluice_cursor", ""), 1);
    assert_true(str_eq(db_str(&rows, 0), str_of(log)));
    db_rows_close(&rows);
}

// Holds the writer thread: what comes meanwhile waits in the consumer.
static sem_t gate;
static int held;

static int hold(struct db *db, void *job)
{
    (void)db, (void)job;
    while (sem_wait(&gate)) {
    }
    return 0;
}

static void on_held(int status, int64_t store_us, void *job)
{
    (void)status, (void)store_us, (void)job;
    held--;
}

static void hold_store(void)
{
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    held++;
    assert_int_equal(store_submit(store, hold, on_held, NULL), 0);
}

static void let_go(void)
{
    assert_int_equal(sem_post(&gate), 0);
    LOOP_UNTIL(!held, LIMIT_MS);
}

static void lose_queue(void)
{
    queue_peer_down(&peer);
    LOOP_UNTIL(!queue_client_is_up(queue), LIMIT_MS);
}

// --- Once and in order

static void test_events_are_applied_with_their_cursor(void **state)
{
    (void)state;
    add("a", 250);
    open_all(false);
    assert_applied(250, "log-1");
    assert_int_equal(peer.from, 1);
    assert_int_equal(peer.n_filters, 2);
    assert_string_equal(peer.filter, "things.>");
    LOOP_UNTIL(peer.granted == 250, LIMIT_MS); // exactly what was finished
    add("b", 1);
    assert_applied(251, "log-1");
    assert_int_equal(peer.subscribes, 1);
}

static void test_more_than_the_credit(void **state)
{
    (void)state;
    peer.batch = 300;
    add("a", 3 * CONSUMER_CREDIT);
    open_all(false);
    assert_applied(3 * CONSUMER_CREDIT, "log-1");
    LOOP_UNTIL(peer.granted == 3 * CONSUMER_CREDIT, LIMIT_MS);
    assert_int_equal(peer.credit, CONSUMER_CREDIT);
}

static void test_what_waits_is_bounded_by_the_credit(void **state)
{
    (void)state;
    add("a", 10);
    open_all(false);
    assert_applied(10, "log-1");
    LOOP_UNTIL(peer.credit == CONSUMER_CREDIT, LIMIT_MS);
    hold_store();
    add("b", 3000);
    loop_for(100);
    assert_int_equal(peer.credit, 0);
    assert_int_equal(peer.next, 11 + CONSUMER_CREDIT);
    let_go();
    assert_applied(3010, "log-1");
}

static void test_a_restart_goes_on_behind_the_cursor(void **state)
{
    (void)state;
    add("a", 100);
    open_all(false);
    assert_applied(100, "log-1");
    for (int round = 0; round < 3; round++) {
        close_all();
        peer.subscription = 0;
        add("b", 10);
        int64_t before = 100 + 10 * round;
        open_all(false);
        assert_applied(before + 10, "log-1");
        assert_int_equal(peer.from, before + 1);
    }
}

static void test_a_lost_connection_to_the_same_log(void **state)
{
    (void)state;
    add("a", 50);
    open_all(false);
    assert_applied(50, "log-1");
    for (int round = 1; round <= 3; round++) {
        lose_queue();
        add("b", 20);
        queue_peer_up(&peer);
        assert_applied(50 + 20 * round, "log-1");
    }
}

static void test_a_connection_lost_while_events_wait(void **state)
{
    (void)state;
    add("a", 5);
    open_all(false);
    assert_applied(5, "log-1");
    hold_store();
    add("b", 500);
    LOOP_UNTIL(peer.next == 506, LIMIT_MS);
    loop_for(50);
    lose_queue();
    add("c", 100);
    queue_peer_up(&peer);
    loop_for(300);
    let_go();
    assert_applied(605, "log-1");
}

// --- Failures

// The spans that tell of a failure since the last call, and of which events.
static size_t failed_spans(uint64_t *seqs, size_t max)
{
    static struct span spans[64];
    size_t taken, n = 0;
    while ((taken = traces_export_take(spans, 64)) > 0) {
        for (size_t i = 0; i < taken; i++) {
            assert_int_equal(spans[i].kind, SPAN_CONSUMER);
            if (spans[i].error) {
                assert_true(n < max);
                seqs[n++] = spans[i].seq;
            }
        }
    }
    return n;
}

static void test_an_event_that_fails_is_skipped_alone(void **state)
{
    (void)state;
    static const struct span_resource resource = { "things", "things-1", NULL };
    struct sampler all;
    uint64_t seqs[8];
    assert_int_equal(sampler_parse("always_on", "", &all), 0);
    assert_int_equal(traces_open(&resource, &all), 0);
    assert_int_equal(traces_export_begin(), 0);
    add("a", 10);
    add("bad", 1);
    add("c", 10);
    queue_peer_add_bytes(&peer, STR("\xC1 no event"));
    add("d", 10);
    add("bad", 1);
    open_all(false);
    LOOP_UNTIL(number(cursor_sql) == 33, LIMIT_MS); // behind the last one, though it failed
    assert_int_equal(number(count_sql), 30);
    assert_int_equal(number("SELECT count(*) FROM t WHERE key = 'bad'"), 0); // its effects are undone
    assert_int_equal(number(twice_sql), 0);
    LOOP_UNTIL(consumer_skipped(consumer) == 3, LIMIT_MS);
    assert_int_equal(failed_spans(seqs, 8), 2); // what is no event is in no trace
    assert_true(seqs[0] == 11 && seqs[1] == 33);
    add("e", 5);
    LOOP_UNTIL(number(count_sql) == 35, LIMIT_MS);
    assert_int_equal(consumer_skipped(consumer), 3);
    LOOP_UNTIL(sample("sluice_consumer_events_total{consumer=\"things\"}") == 38, LIMIT_MS);
    assert_int_equal(sample("sluice_consumer_skipped_total{consumer=\"things\"}"), 3);
    assert_in_range(sample("sluice_consumer_process_seconds_count{consumer=\"things\"}"), 2, 38);
    assert_int_equal(sample("sluice_consumer_retries_total{consumer=\"things\"}"), 0);
    assert_int_equal(failed_spans(seqs, 8), 0);
    traces_close();
}

static void test_a_store_that_cannot_take_a_batch(void **state)
{
    (void)state;
    atomic_store(&refusals, 2);
    add("a", 10);
    add("full", 1);
    add("b", 10);
    open_all(false);
    LOOP_UNTIL(atomic_load(&refusals) < 2, LIMIT_MS);
    loop_for(50);
    assert_int_equal(number(count_sql), 0); // all of it waits
    assert_applied(21, "log-1");
    assert_int_equal(consumer_skipped(consumer), 0);
    assert_int_equal(sample("sluice_consumer_retries_total{consumer=\"things\"}"), 2);
}

static void test_a_subscription_that_is_ended_while_events_wait(void **state)
{
    (void)state;
    add("a", 5);
    open_all(false);
    assert_applied(5, "log-1");
    hold_store();
    add("b", 100);
    LOOP_UNTIL(peer.next == 106, LIMIT_MS);
    queue_peer_deliver(&peer);
    queue_peer_end(&peer, "malformed");
    loop_for(CONSUMER_RETRY_MS + 300); // it has asked again meanwhile, with the batch still on its way
    let_go();
    LOOP_UNTIL(peer.subscribes == 2, LIMIT_MS);
    add("c", 10);
    assert_applied(115, "log-1");
}

static void test_a_store_that_cannot_and_an_ended_subscription(void **state)
{
    (void)state;
    atomic_store(&refusals, 3);
    add("a", 10);
    add("full", 1);
    open_all(false);
    LOOP_UNTIL(atomic_load(&refusals) == 2, LIMIT_MS);
    queue_peer_end(&peer, "malformed"); // while the batch waits for its next try
    add("b", 10);
    assert_applied(21, "log-1");
}

static void test_a_queue_that_does_not_say_its_log(void **state)
{
    (void)state;
    peer.no_info = true;
    add("a", 5);
    open_all(false);
    LOOP_UNTIL(peer.infos == 2, LIMIT_MS); // asks again
    assert_int_equal(peer.subscribes, 0);
    peer.no_info = false;
    assert_applied(5, "log-1");
}

// --- Another log

static void test_another_log_is_read_from_its_start(void **state)
{
    (void)state;
    add("a", 50);
    open_all(false);
    assert_applied(50, "log-1");
    lose_queue();
    queue_peer_new_log(&peer, "log-2");
    add("new", 7);
    queue_peer_up(&peer);
    LOOP_UNTIL(number(count_sql) == 57, LIMIT_MS);
    assert_int_equal(number(cursor_sql), 7);
    assert_int_equal(number("SELECT count(*) FROM t WHERE key = 'new'"), 7);
    assert_int_equal(other_logs, 0);
}

// What was read from the old log and not applied must not move the cursor of the new one.
static void test_another_log_while_events_wait(void **state)
{
    (void)state;
    add("a", 5);
    open_all(false);
    assert_applied(5, "log-1");
    hold_store();
    add("b", 100); // in the store's queue
    LOOP_UNTIL(peer.next == 106, LIMIT_MS);
    loop_for(50);
    add("b", 100); // in the consumer's
    LOOP_UNTIL(peer.next == 206, LIMIT_MS);
    loop_for(50);
    lose_queue();
    queue_peer_new_log(&peer, "log-2");
    add("new", 30);
    queue_peer_up(&peer);
    loop_for(500);
    let_go();
    LOOP_UNTIL(number("SELECT count(*) FROM t WHERE key = 'new'") == 30, LIMIT_MS);
    add("new", 3);
    LOOP_UNTIL(number("SELECT count(*) FROM t WHERE key = 'new'") == 33, LIMIT_MS);
    assert_int_equal(number("SELECT count(DISTINCT seq) FROM t WHERE key = 'new'"), 33);
    assert_int_equal(number(cursor_sql), 33);
    assert_int_equal(number("SELECT count(*) FROM sluice_cursor WHERE log = 'log-2'"), 1);
}

static void test_a_projection_of_another_log_is_built_anew(void **state)
{
    (void)state;
    add("a", 50);
    open_all(true);
    assert_applied(50, "log-1");
    lose_queue();
    queue_peer_new_log(&peer, "log-2");
    add("new", 60);
    queue_peer_up(&peer);
    LOOP_UNTIL(other_logs, LIMIT_MS);
    int subscribes = peer.subscribes;
    loop_for(300);
    assert_int_equal(other_logs, 1);
    assert_int_equal(peer.subscribes, subscribes); // not before somebody emptied the store and says so
    close_all();
    struct db *db;
    assert_int_equal(db_open("s.db", DB_WRITER, &db), 0);
    assert_int_equal(db_script(db, "DELETE FROM t; DELETE FROM sluice_cursor"), 0);
    db_close(&db);
    peer.subscription = 0;
    open_all(true);
    assert_applied(60, "log-2");
    assert_int_equal(other_logs, 0);
}

static void test_a_log_that_is_shorter_is_another_one(void **state)
{
    (void)state;
    add("a", 50);
    open_all(true);
    assert_applied(50, "log-1");
    close_all();
    queue_peer_new_log(&peer, "log-1"); // restored from an old copy
    add("a", 49);
    peer.subscription = 0;
    open_all(true);
    LOOP_UNTIL(other_logs, LIMIT_MS);
}

// --- Roles and closing

static void test_a_reader_does_not_consume(void **state)
{
    (void)state;
    int fd;
    add("a", 5);
    open_all(false);
    assert_applied(5, "log-1");
    close_all();
    peer.subscription = 0;
    peer.infos = 0;
    assert_int_equal(lease_try("s.db.lease", &fd), 0);
    open_parts(false);
    LOOP_UNTIL(queue_client_is_up(queue), LIMIT_MS);
    consumer_wake(consumer);
    add("b", 5);
    loop_for(200);
    assert_int_equal(peer.infos, 0);
    (void)!close(fd);
    assert_applied(10, "log-1"); // as soon as it writes
}

static void test_closing_at_any_time(void **state)
{
    (void)state;
    add("a", 2000);
    for (int turns = 0; turns < 60; turns += 3) {
        open_parts(false);
        for (int i = 0; i < turns; i++) {
            (void)uv_run(&loop, UV_RUN_NOWAIT);
            (void)usleep(200);
        }
        close_all();
        peer.subscription = 0;
    }
    open_all(false);
    assert_applied(2000, "log-1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_events_are_applied_with_their_cursor),
        CASE(test_more_than_the_credit),
        CASE(test_what_waits_is_bounded_by_the_credit),
        CASE(test_a_restart_goes_on_behind_the_cursor),
        CASE(test_a_lost_connection_to_the_same_log),
        CASE(test_a_connection_lost_while_events_wait),
        CASE(test_an_event_that_fails_is_skipped_alone),
        CASE(test_a_store_that_cannot_take_a_batch),
        CASE(test_a_subscription_that_is_ended_while_events_wait),
        CASE(test_a_store_that_cannot_and_an_ended_subscription),
        CASE(test_a_queue_that_does_not_say_its_log),
        CASE(test_another_log_is_read_from_its_start),
        CASE(test_another_log_while_events_wait),
        CASE(test_a_projection_of_another_log_is_built_anew),
        CASE(test_a_log_that_is_shorter_is_another_one),
        CASE(test_a_reader_does_not_consume),
        CASE(test_closing_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
