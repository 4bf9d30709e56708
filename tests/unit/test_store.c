// SPDX-License-Identifier: MIT
// Jobs of one turn are one commit, a job that fails takes nobody with it, nobody hears of anything that is not
// committed, and the next process writes on when the writer is killed.
#include "common/store.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "common/file.h"
#include "common/lease.h"
#include "common/store_metrics.h"
#include "tests/unit/loop.h"
#include "tests/unit/sample.h"
#include "tests/unit/temp_dir.h"

#define LIMIT_MS 10000

static const char *const migrations[] = {
    "CREATE TABLE t(id INTEGER PRIMARY KEY, batch INTEGER) STRICT;",
    "CREATE TABLE more(x TEXT) STRICT; INSERT INTO more VALUES('made by the second');",
};

// --- A store that notes what it is told

struct told {
    struct store *store;
    int readable, writable, committed, failed, troubles, healed, closed;
    int error;
    char text[256];
};

static void on_readable(void *data)
{
    ((struct told *)data)->readable++;
}

static void on_writable(void *data)
{
    struct told *t = data;
    assert_int_equal(t->readable, 1); // who writes can read
    assert_non_null(store_reader(t->store));
    t->writable++;
}

static void on_committed(void *data)
{
    ((struct told *)data)->committed++;
}

static void on_failed(int error, const char *text, void *data)
{
    struct told *t = data;
    t->failed++;
    t->error = error;
    (void)snprintf(t->text, sizeof t->text, "%s", text);
}

static void on_trouble(int error, const char *text, void *data)
{
    struct told *t = data;
    t->troubles++;
    t->error = error;
    (void)snprintf(t->text, sizeof t->text, "%s", text);
}

static void on_healed(void *data)
{
    struct told *t = data;
    t->healed++;
    t->error = 0;
}

static struct store_callbacks callbacks_of(struct told *t)
{
    return (struct store_callbacks){ on_readable, on_writable, on_committed, on_failed,
                                     on_trouble,  on_healed,   t };
}

static void on_closed(void *data)
{
    ((struct told *)data)->closed++;
}

static void open_with(struct told *t, struct store_options options)
{
    struct store_callbacks callbacks = callbacks_of(t);
    *t = (struct told){ 0 };
    assert_int_equal(store_open(&loop, &options, &callbacks, &t->store), 0);
}

static struct store_options plain(void)
{
    return (struct store_options){
        .path = "s.db", .migrations = migrations, .n_migrations = 2, .check_bytes = STORE_CHECK_BYTES
    };
}

static void open_writer(struct told *t)
{
    open_with(t, plain());
    LOOP_UNTIL(t->writable || t->failed, LIMIT_MS);
    assert_int_equal(t->failed, 0);
}

static void close_store(struct told *t)
{
    store_close(&t->store, on_closed, t);
    assert_null(t->store);
    LOOP_UNTIL(t->closed, LIMIT_MS);
    assert_int_equal(t->closed, 1);
}

static int64_t number(struct db *db, const char *sql)
{
    struct db_rows rows;
    assert_int_equal(db_row(db, &rows, sql, ""), 1);
    int64_t n = db_int(&rows, 0);
    db_rows_close(&rows);
    return n;
}

static const char count_t[] = "SELECT count(*) FROM t";

// --- Jobs

struct job {
    int64_t id;
    int result;              // what run returns after its insert
    int done, status;
    int64_t store_us;
    struct store *see;       // its reader must see the row when the job is reported
};

static int insert(struct db *db, void *data)
{
    struct job *j = data;
    int rc = db_run(db, "INSERT INTO t(id) VALUES(?)", "i", j->id);
    return rc < 0 ? rc : j->result;
}

static void on_done(int status, int64_t store_us, void *data)
{
    struct job *j = data;
    j->done++;
    j->status = status;
    j->store_us = store_us;
    if (j->see && status >= 0) {
        struct db_rows rows;
        assert_int_equal(db_row(store_reader(j->see), &rows, "SELECT 1 FROM t WHERE id = ?", "i", j->id), 1);
        db_rows_close(&rows);
    }
}

// A job that holds the writer thread until it is let go, and counts the commits from then on.
static sem_t gate;
static atomic_int commits;

static int on_commit(void *data)
{
    (void)data;
    atomic_fetch_add(&commits, 1);
    return 0;
}

static int hold(struct db *db, void *data)
{
    (void)data;
    (void)sqlite3_commit_hook(db_handle(db), on_commit, NULL);
    while (sem_wait(&gate)) {
    }
    return 0;
}

static struct job holder;

static void hold_writer(struct told *t)
{
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    holder = (struct job){ 0 };
    atomic_store(&commits, 0);
    assert_int_equal(store_submit(t->store, hold, on_done, &holder), 0);
    loop_for(30); // the writer thread has taken it, alone
}

static void let_go(void)
{
    assert_int_equal(sem_post(&gate), 0);
}

static void submit(struct told *t, struct job *jobs, int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(store_submit(t->store, insert, on_done, &jobs[i]), 0);
    }
}

// --- Group commit

static void test_jobs_that_wait_are_one_transaction(void **state)
{
    (void)state;
    enum { JOBS = 100 };
    struct job jobs[JOBS] = { 0 };
    struct told t;
    struct db *other;
    open_writer(&t);
    assert_int_equal(db_open("s.db", DB_READER, &other), 0);
    hold_writer(&t);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){ .id = i, .result = i, .see = t.store };
    }
    submit(&t, jobs, JOBS);
    assert_int_equal(store_pending(t.store), JOBS + 1);
    loop_for(50);
    assert_int_equal(number(other, count_t), 0);
    assert_int_equal(jobs[0].done, 0);
    let_go();
    LOOP_UNTIL(jobs[JOBS - 1].done, LIMIT_MS);
    assert_int_equal(atomic_load(&commits), 2); // the holder's, and one for all
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].status, i); // what run returned
        assert_true(jobs[i].store_us >= 0);
    }
    assert_int_equal(store_pending(t.store), 0);
    assert_int_equal(number(other, count_t), JOBS);
    assert_true(t.committed >= 1);
    db_close(&other);
    close_store(&t);
}

static void test_a_batch_has_a_limit(void **state)
{
    (void)state;
    enum { JOBS = 2 * STORE_MAX_BATCH + 1 };
    static struct job jobs[JOBS];
    struct told t;
    open_writer(&t);
    hold_writer(&t);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){ .id = i };
    }
    submit(&t, jobs, JOBS);
    let_go();
    LOOP_UNTIL(store_pending(t.store) == 0, LIMIT_MS);
    assert_int_equal(atomic_load(&commits), 1 + 3);
    assert_int_equal(number(store_reader(t.store), count_t), JOBS);
    close_store(&t);
}

static void test_a_failing_job_rolls_back_alone(void **state)
{
    (void)state;
    enum { JOBS = 9 };
    struct job jobs[JOBS];
    struct told t;
    open_writer(&t);
    hold_writer(&t);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){ .id = i == 6 ? 1 : i, .result = i % 4 == 3 ? -ECANCELED : 0, .see = t.store };
    }
    submit(&t, jobs, JOBS);
    let_go();
    LOOP_UNTIL(jobs[JOBS - 1].done, LIMIT_MS);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].status, i == 6 ? -EEXIST : i % 4 == 3 ? -ECANCELED : 0);
    }
    assert_int_equal(number(store_reader(t.store), count_t), JOBS - 3); // without 3, 6 and 7
    assert_int_equal(number(store_reader(t.store), "SELECT count(*) FROM t WHERE id IN (3, 6, 7)"), 0);
    close_store(&t);
}

static void test_a_failing_job_that_is_alone(void **state)
{
    (void)state;
    struct told t;
    struct job bad = { .id = 1, .result = -EPERM }, good = { .id = 1 };
    open_writer(&t);
    submit(&t, &bad, 1);
    LOOP_UNTIL(bad.done, LIMIT_MS);
    assert_int_equal(bad.status, -EPERM);
    submit(&t, &good, 1);
    LOOP_UNTIL(good.done, LIMIT_MS);
    assert_int_equal(good.status, 0);
    assert_int_equal(t.failed, 0);
    close_store(&t);
}

// While the last job of a batch still runs, the first ones of it are neither visible nor reported.
static int hold_and_insert(struct db *db, void *data)
{
    while (sem_wait(&gate)) {
    }
    return insert(db, data);
}

static void test_nothing_is_reported_before_the_commit(void **state)
{
    (void)state;
    struct told t;
    struct db *other;
    struct job first = { .id = 1 }, last = { .id = 2 };
    open_writer(&t);
    assert_int_equal(db_open("s.db", DB_READER, &other), 0);
    hold_writer(&t);
    first.see = last.see = t.store;
    submit(&t, &first, 1);
    assert_int_equal(store_submit(t.store, hold_and_insert, on_done, &last), 0);
    let_go();
    LOOP_UNTIL(holder.done, LIMIT_MS);
    loop_for(100);
    assert_int_equal(first.done, 0);
    assert_int_equal(number(other, count_t), 0);
    let_go();
    LOOP_UNTIL(last.done, LIMIT_MS);
    assert_int_equal(first.done, 1);
    assert_int_equal(number(other, count_t), 2);
    db_close(&other);
    close_store(&t);
}

// A transaction that is gone (as SQLite does it by itself on some errors) fails all of its jobs.
static int break_transaction(struct db *db, void *data)
{
    (void)data;
    return db_script(db, "ROLLBACK");
}

static void test_a_lost_transaction_fails_all_its_jobs(void **state)
{
    (void)state;
    struct told t;
    struct job before = { .id = 1 }, broken = { 0 }, after = { .id = 2 };
    open_writer(&t);
    hold_writer(&t);
    submit(&t, &before, 1);
    assert_int_equal(store_submit(t.store, break_transaction, on_done, &broken), 0);
    submit(&t, &after, 1);
    let_go();
    LOOP_UNTIL(after.done, LIMIT_MS);
    assert_true(before.status < 0 && broken.status < 0 && after.status < 0);
    assert_int_equal(number(store_reader(t.store), count_t), 0);
    close_store(&t);
}

static void test_transactions_are_counted(void **state)
{
    (void)state;
    static const char done[] = "sluice_store_commit_seconds_count";
    static const char failed[] = "sluice_store_commit_failures_total";
    struct told t;
    struct job jobs[3] = { { .id = 1 }, { .id = 2 }, { .id = 3, .result = -EINVAL } };
    struct job broken = { 0 };
    store_metrics_open("s.db");
    open_writer(&t);
    int64_t before = sample(done), failed_before = sample(failed);
    hold_writer(&t);
    submit(&t, jobs, 3);
    let_go();
    LOOP_UNTIL(jobs[2].done, LIMIT_MS);
    assert_int_equal(sample(done), before + 2);      // the holder's, and one for all
    assert_int_equal(sample(failed), failed_before); // a job that fails is its own business
    assert_true(sample("sluice_store_wal_bytes") > 0);
    assert_int_equal(store_submit(t.store, break_transaction, on_done, &broken), 0);
    LOOP_UNTIL(broken.done, LIMIT_MS);
    assert_int_equal(sample(done), before + 2);
    assert_int_equal(sample(failed), failed_before + 1);
    close_store(&t);
    store_metrics_close();
}

static int make_full(struct db *db, void *data)
{
    (void)data;
    return db_script(db, "PRAGMA max_page_count=40");
}

static int insert_much(struct db *db, void *data)
{
    int rc = db_run(db, "INSERT INTO more VALUES(printf('%.20000c', 'x'))", "");
    return rc < 0 ? rc : insert(db, data);
}

// What was reported as done is there, what was reported as failed is not, whichever it was.
static void test_a_full_disk_is_told_truthfully(void **state)
{
    (void)state;
    enum { JOBS = 20 };
    struct job jobs[JOBS] = { 0 }, full = { 0 };
    struct told t;
    open_writer(&t);
    assert_int_equal(store_submit(t.store, make_full, on_done, &full), 0);
    LOOP_UNTIL(full.done, LIMIT_MS);
    hold_writer(&t);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].id = 1000 + i;
        assert_int_equal(store_submit(t.store, insert_much, on_done, &jobs[i]), 0);
    }
    let_go();
    LOOP_UNTIL(store_pending(t.store) == 0, LIMIT_MS);
    int done = 0;
    for (int i = 0; i < JOBS; i++) {
        done += jobs[i].status >= 0;
        assert_true(jobs[i].status == 0 || jobs[i].status == -ENOSPC);
    }
    assert_true(done < JOBS);
    assert_int_equal(number(store_reader(t.store), "SELECT count(*) FROM t WHERE id >= 1000"), done);
    assert_int_equal(t.failed, 0); // a full disk may get room again
    close_store(&t);
}

// --- Limits and states

static void test_the_queue_has_a_limit(void **state)
{
    (void)state;
    static struct job jobs[STORE_MAX_QUEUE];
    struct told t;
    open_writer(&t);
    hold_writer(&t);
    for (int i = 0; i < STORE_MAX_QUEUE - 1; i++) {
        jobs[i] = (struct job){ .id = i };
    }
    submit(&t, jobs, STORE_MAX_QUEUE - 1);
    assert_int_equal(store_submit(t.store, insert, on_done, &jobs[STORE_MAX_QUEUE - 1]), -EAGAIN);
    let_go();
    LOOP_UNTIL(store_pending(t.store) == 0, LIMIT_MS);
    jobs[STORE_MAX_QUEUE - 1] = (struct job){ .id = STORE_MAX_QUEUE };
    submit(&t, &jobs[STORE_MAX_QUEUE - 1], 1);
    LOOP_UNTIL(jobs[STORE_MAX_QUEUE - 1].done, LIMIT_MS);
    assert_int_equal(number(store_reader(t.store), count_t), STORE_MAX_QUEUE);
    close_store(&t);
}

static void test_before_the_lease_nobody_writes(void **state)
{
    (void)state;
    struct told t;
    struct job j = { .id = 1 };
    open_with(&t, plain());
    assert_null(store_reader(t.store));
    assert_false(store_is_writer(t.store));
    assert_int_equal(store_submit(t.store, insert, on_done, &j), -EROFS);
    LOOP_UNTIL(t.writable, LIMIT_MS);
    assert_true(store_is_writer(t.store));
    assert_int_equal(strlen(store_uuid(t.store)), 36);
    close_store(&t);
    assert_int_equal(j.done, 0);
}

static void on_superseded(void *data)
{
    ++*(int *)data;
}

// The one that knows more migrations cannot read before they were run, and says so to the writer.
static void test_a_newer_build_is_made_way_for(void **state)
{
    (void)state;
    struct told old, newer;
    int superseded = 0, fd;
    struct store_options before = plain();
    before.n_migrations = 1;
    before.on_superseded = on_superseded;
    before.data = &superseded;
    open_with(&old, before);
    LOOP_UNTIL(old.writable, LIMIT_MS);
    loop_for(3 * STORE_CLAIM_MS);
    assert_int_equal(superseded, 0); // nobody waits
    open_with(&newer, plain());
    LOOP_UNTIL(superseded, LIMIT_MS);
    assert_int_equal(newer.readable, 0);
    close_store(&old);
    LOOP_UNTIL(newer.writable, LIMIT_MS);
    assert_int_equal(number(store_reader(newer.store), "PRAGMA user_version"), 2);
    assert_int_equal(superseded, 1);
    assert_int_equal(lease_try("s.db.newer", &fd), 0); // it waits no more
    assert_int_equal(close(fd), 0);
    // A build that knows less goes on with what it finds, and claims nothing.
    open_with(&old, before);
    LOOP_UNTIL(old.readable, LIMIT_MS);
    close_store(&newer);
    LOOP_UNTIL(old.writable, LIMIT_MS);
    assert_int_equal(number(store_reader(old.store), "PRAGMA user_version"), 2);
    close_store(&old);
}

static void test_two_stores_in_two_hands(void **state)
{
    (void)state;
    struct told first, second;
    struct job j = { .id = 1 };
    open_writer(&first);
    open_with(&second, plain());
    LOOP_UNTIL(second.readable, LIMIT_MS);
    loop_for(100);
    assert_int_equal(second.writable, 0);
    assert_int_equal(store_submit(second.store, insert, on_done, &j), -EROFS);
    assert_string_equal(store_uuid(first.store), store_uuid(second.store));
    submit(&first, &j, 1);
    LOOP_UNTIL(j.done, LIMIT_MS);
    assert_int_equal(number(store_reader(second.store), count_t), 1); // a client reads its own write everywhere
    close_store(&first);
    LOOP_UNTIL(second.writable, LIMIT_MS);
    j = (struct job){ .id = 2 };
    submit(&second, &j, 1);
    LOOP_UNTIL(j.done, LIMIT_MS);
    assert_int_equal(number(store_reader(second.store), count_t), 2);
    assert_int_equal(second.readable, 1);
    close_store(&second);
}

// Helper: writes rows for ever and prints the id of each that was reported as done.
static struct told helper;

static void on_helper_done(int status, int64_t store_us, void *data)
{
    struct job *j = data;
    (void)store_us;
    if (status < 0 || write(STDOUT_FILENO, &j->id, sizeof j->id) != sizeof j->id) {
        _exit(3);
    }
    j->id++;
    if (store_submit(helper.store, insert, on_helper_done, j)) {
        _exit(4);
    }
}

static int run_helper(void)
{
    struct job j = { .id = 1 };
    assert_int_equal(loop_start(), 0);
    int fd = open("acked", O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0 && dup2(fd, STDOUT_FILENO) == STDOUT_FILENO);
    open_writer(&helper);
    assert_int_equal(store_submit(helper.store, insert, on_helper_done, &j), 0);
    return uv_run(&loop, UV_RUN_DEFAULT);
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) ? 0 : st.st_size;
}

static void test_the_next_process_writes_on_after_a_kill(void **state)
{
    (void)state;
    struct told t;
    struct job j = { .id = 0 };
    pid_t pid = helper_start("helper", NULL);
    LOOP_UNTIL(size_of("acked") > 100 * 8, LIMIT_MS);
    open_with(&t, plain());
    LOOP_UNTIL(t.readable, LIMIT_MS);
    assert_int_equal(t.writable, 0);
    char uuid[64];
    (void)snprintf(uuid, sizeof uuid, "%s", store_uuid(t.store));
    helper_kill(pid);
    int64_t killed_ms = loop_now_ms();
    LOOP_UNTIL(t.writable, LIMIT_MS);
    assert_true(loop_now_ms() - killed_ms < 5000); // a few ms on an idle machine
    int64_t acked = size_of("acked") / 8, there = number(store_reader(t.store), count_t);
    assert_true(there == acked || there == acked + 1); // all that was reported, and perhaps the last one
    submit(&t, &j, 1);
    LOOP_UNTIL(j.done, LIMIT_MS);
    assert_int_equal(j.status, 0);
    assert_string_equal(store_uuid(t.store), uuid);
    close_store(&t);
}

// --- Migrations

static int note_writer(struct db *db, void *data)
{
    int *calls = data;
    ++*calls;
    assert_true(db_in_transaction(db));
    return db_run(db, "INSERT INTO t(id) VALUES(?)", "i", (int64_t)*calls) < 0 ? -EIO : 0;
}

static void test_migrations_run_once(void **state)
{
    (void)state;
    struct told t;
    int calls = 0;
    struct store_options options = plain();
    options.n_migrations = 1;
    options.on_writer = note_writer;
    options.data = &calls;
    open_with(&t, options);
    LOOP_UNTIL(t.writable, LIMIT_MS);
    assert_int_equal(number(store_reader(t.store), "PRAGMA user_version"), 1);
    assert_int_equal(number(store_reader(t.store), count_t), 1); // on_writer's work is there
    close_store(&t);
    options.n_migrations = 2;
    for (int i = 0; i < 2; i++) {
        open_with(&t, options);
        LOOP_UNTIL(t.writable, LIMIT_MS);
        assert_int_equal(number(store_reader(t.store), "PRAGMA user_version"), 2);
        assert_int_equal(number(store_reader(t.store), "SELECT count(*) FROM more"), 1);
        close_store(&t);
    }
    assert_int_equal(calls, 3);
}

static void test_a_migration_that_fails(void **state)
{
    (void)state;
    static const char *const broken[] = { "CREATE TABLE t(id INTEGER PRIMARY KEY) STRICT;",
                                          "CREATE TABLE half(x TEXT) STRICT; CREATE TABLE t(again TEXT);" };
    struct told t;
    struct store_options options = { .path = "s.db", .migrations = broken, .n_migrations = 2 };
    open_with(&t, options);
    LOOP_UNTIL(t.failed, LIMIT_MS);
    assert_true(t.error < 0);
    assert_non_null(strstr(t.text, "table t already exists"));
    assert_int_equal(t.writable + t.readable, 0);
    close_store(&t);
    struct db *db;
    assert_int_equal(db_open("s.db", DB_READER, &db), 0);
    assert_int_equal(number(db, "PRAGMA user_version"), 1); // the first one stays, of the second nothing does
    assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    db_close(&db);
}

static int refuse(struct db *db, void *data)
{
    (void)db, (void)data;
    return -EPERM;
}

static void test_a_writer_that_cannot_begin(void **state)
{
    (void)state;
    struct told t;
    struct store_options options = plain();
    options.on_writer = refuse;
    open_with(&t, options);
    LOOP_UNTIL(t.failed, LIMIT_MS);
    assert_int_equal(t.error, -EPERM);
    assert_string_equal(t.text, "Operation not permitted"); // not SQLite's "not an error"
    assert_int_equal(t.writable, 0);
    close_store(&t);
}

// --- Damage

static void make_store_with_rows(int rows)
{
    struct told t;
    open_writer(&t);
    struct job j = { 0 };
    for (int i = 0; i < rows; i++) {
        j = (struct job){ .id = i };
        submit(&t, &j, 1);
        LOOP_UNTIL(j.done, LIMIT_MS);
    }
    close_store(&t);
}

// Without its write-ahead log, which still has good copies of the pages: they are all in the database by now.
static void remove_log(void)
{
    assert_int_equal(unlink("s.db-wal"), 0);
    assert_int_equal(unlink("s.db-shm"), 0);
}

// Overwrites the pages behind the header and the schema, which opening does not look at.
static void damage_pages(void)
{
    char noise[4096];
    memset(noise, 0xA5, sizeof noise);
    int fd = open("s.db", O_WRONLY);
    assert_true(fd >= 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size >= 8 * 4096);
    for (off_t page = 2; page < st.st_size / 4096; page++) {
        assert_int_equal(pwrite(fd, noise, sizeof noise, page * 4096), sizeof noise);
    }
    close(fd);
    remove_log();
}

static void copy_file(const char *from, const char *to)
{
    struct buf content;
    buf_init(&content, 64 * 1024 * 1024);
    assert_int_equal(file_read(from, 64 * 1024 * 1024, &content), 0);
    assert_int_equal(file_replace(to, buf_str(&content), 0600), 0);
    buf_fini(&content);
}

// It is found before anything is served, and when the file is sound again so is the store.
static void test_a_damaged_store_is_not_used(void **state)
{
    (void)state;
    struct told t;
    struct job j = { .id = 1 };
    make_store_with_rows(10);
    copy_file("s.db", "kept.db");
    damage_pages();
    open_with(&t, plain());
    LOOP_UNTIL(t.troubles, LIMIT_MS);
    assert_int_equal(t.error, -EUCLEAN);
    assert_non_null(strstr(t.text, "it is damaged; restore it from a backup with `sluice restore` ("));
    assert_int_equal(t.readable + t.writable, 0);
    assert_int_equal(store_submit(t.store, insert, on_done, &j), -EROFS);
    loop_for(60);
    assert_int_equal(t.troubles + t.failed, 1);
    copy_file("kept.db", "s.db");
    LOOP_UNTIL(t.writable, STORE_DAMAGED_RETRY_MS + LIMIT_MS);
    assert_int_equal(t.healed, 1);
    assert_int_equal(number(store_reader(t.store), count_t), 10);
    close_store(&t);
}

static void test_a_file_that_is_no_database(void **state)
{
    (void)state;
    char noise[8192];
    struct told t;
    memset(noise, 'x', sizeof noise);
    assert_int_equal(file_replace("s.db", (struct str){ noise, sizeof noise }, 0600), 0);
    open_with(&t, plain());
    LOOP_UNTIL(t.troubles, LIMIT_MS);
    assert_int_equal(t.error, -EUCLEAN);
    assert_non_null(strstr(t.text, "(it cannot be opened as a database)"));
    assert_int_equal(t.readable + t.writable + t.failed, 0);
    close_store(&t);
    assert_int_equal(size_of("s.db"), sizeof noise); // nobody touched it
}

// The process died, or power went, before the store had its first log: that its pages are undone is the
// writer's work, and no reason to hold it up.
static void test_a_store_whose_making_was_cut_off(void **state)
{
    (void)state;
    struct told t;
    sqlite3 *db;
    assert_int_equal(sqlite3_open("half.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE a(x); BEGIN; INSERT INTO a VALUES(1); CREATE TABLE b(x)", NULL,
                                  NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_db_cacheflush(db), SQLITE_OK); // its pages are written, the journal says what they were
    copy_file("half.db", "s.db");
    copy_file("half.db-journal", "s.db-journal");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    open_with(&t, plain());
    LOOP_UNTIL(t.writable || t.troubles || t.failed, LIMIT_MS);
    assert_int_equal(t.troubles + t.failed, 0);
    assert_int_equal(number(store_reader(t.store), "SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b')"), 1);
    assert_int_equal(number(store_reader(t.store), count_t), 0);
    close_store(&t);
}

// What is not looked at is found by whoever reads it.
static void test_a_store_over_the_limit_is_not_checked(void **state)
{
    (void)state;
    struct told t;
    struct store_options options = plain();
    make_store_with_rows(10);
    options.check_bytes = size_of("s.db") - 1;
    damage_pages();
    open_with(&t, options);
    LOOP_UNTIL(t.readable, LIMIT_MS);
    assert_int_equal(t.troubles, 0);
    store_found_damage(t.store);
    store_found_damage(t.store);
    assert_int_equal(t.troubles, 1);
    assert_int_equal(t.error, -EUCLEAN);
    loop_for(60);
    assert_int_equal(t.healed, 0);
    close_store(&t);
}

// --- Trouble that passes

static int make_room(struct db *db, void *data)
{
    (void)data;
    return db_script(db, "PRAGMA max_page_count=1000000");
}

// A write that finds no room is refused; the store says so until there is room for more than that write.
static void test_no_room_is_told_until_there_is_some(void **state)
{
    (void)state;
    struct told t;
    struct job full = { 0 }, room = { 0 }, much = { 0 }, little = { .id = 1 };
    open_writer(&t);
    assert_int_equal(store_submit(t.store, make_full, on_done, &full), 0);
    for (int i = 0; much.status == 0; i++) {
        much = (struct job){ .id = 100 + i };
        assert_int_equal(store_submit(t.store, insert_much, on_done, &much), 0);
        LOOP_UNTIL(much.done, LIMIT_MS);
    }
    assert_int_equal(much.status, -ENOSPC);
    LOOP_UNTIL(t.troubles, LIMIT_MS);
    assert_int_equal(t.error, -ENOSPC);
    assert_non_null(strstr(t.text, "there is no room on its disk"));
    assert_true(store_is_writer(t.store));
    submit(&t, &little, 1); // there is room for this, and none for the attempt
    LOOP_UNTIL(little.done, LIMIT_MS);
    assert_int_equal(little.status, 0);
    loop_for(STORE_RETRY_MS + 200);
    assert_int_equal(t.healed, 0);
    assert_int_equal(store_submit(t.store, make_room, on_done, &room), 0);
    LOOP_UNTIL(t.healed, LIMIT_MS);
    assert_int_equal(t.troubles + t.failed, 1);
    assert_int_equal(number(store_reader(t.store), "SELECT count(*) FROM sluice_meta"), 1); // nothing is left of it
    close_store(&t);
}

// The connection has lost the right to write: another one finds it again, and meanwhile jobs are refused.
static int make_read_only(struct db *db, void *data)
{
    (void)data;
    return db_script(db, "PRAGMA query_only=ON");
}

static void test_a_store_that_cannot_be_written_to(void **state)
{
    (void)state;
    struct told t;
    struct job make = { 0 }, refused = { .id = 1 }, waiting = { .id = 2 }, after = { .id = 3 };
    open_writer(&t);
    assert_int_equal(store_submit(t.store, make_read_only, on_done, &make), 0);
    LOOP_UNTIL(make.done, LIMIT_MS);
    submit(&t, &refused, 1);
    LOOP_UNTIL(refused.done && t.troubles, LIMIT_MS);
    assert_int_equal(refused.status, -EROFS);
    assert_int_equal(t.error, -EROFS);
    assert_non_null(strstr(t.text, "it cannot be written to"));
    submit(&t, &waiting, 1);
    LOOP_UNTIL(waiting.done, LIMIT_MS); // at once: it does not wait for the next attempt
    assert_int_equal(waiting.status, -EROFS);
    LOOP_UNTIL(t.healed, LIMIT_MS);
    submit(&t, &after, 1);
    LOOP_UNTIL(after.done, LIMIT_MS);
    assert_int_equal(after.status, 0);
    assert_int_equal(number(store_reader(t.store), count_t), 1);
    close_store(&t);
}

static void close_when_failed(int error, const char *text, void *data)
{
    struct told *t = data;
    on_failed(error, text, data);
    store_close(&t->store, on_closed, t);
}

static void test_closing_when_it_fails(void **state)
{
    (void)state;
    struct told t = { 0 };
    struct store_options options = plain();
    struct store_callbacks callbacks = callbacks_of(&t);
    callbacks.on_failed = close_when_failed;
    options.on_writer = refuse;
    assert_int_equal(store_open(&loop, &options, &callbacks, &t.store), 0);
    LOOP_UNTIL(t.closed, LIMIT_MS);
    assert_int_equal(t.failed, 1);
}

static void test_a_rebuildable_store_is_built_anew(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        struct told t;
        char uuid[64], noise[8192];
        struct store_options options = plain();
        options.rebuildable = true;
        make_store_with_rows(10);
        open_with(&t, options);
        LOOP_UNTIL(t.writable, LIMIT_MS);
        assert_int_equal(number(store_reader(t.store), count_t), 10); // a sound one is kept
        (void)snprintf(uuid, sizeof uuid, "%s", store_uuid(t.store));
        close_store(&t);
        if (round) {
            damage_pages();
        } else {
            remove_log();
            memset(noise, 'x', sizeof noise);
            assert_int_equal(file_replace("s.db", (struct str){ noise, sizeof noise }, 0600), 0);
        }
        open_with(&t, options);
        LOOP_UNTIL(t.writable || t.failed, LIMIT_MS);
        assert_int_equal(t.failed, 0);
        assert_int_equal(number(store_reader(t.store), count_t), 0);
        assert_string_not_equal(store_uuid(t.store), uuid); // it is another one
        close_store(&t);
        assert_int_equal(unlink("s.db"), 0);
    }
}

// Whoever reads the old file goes over to the new one.
static void test_readers_follow_to_the_new_file(void **state)
{
    (void)state;
    struct told reader, writer;
    struct job j = { .id = 77 };
    struct store_options options = plain();
    options.rebuildable = true;
    make_store_with_rows(10);
    damage_pages();
    int fd = -1; // both can read before one of them looks closer and writes
    assert_int_equal(lease_try("s.db.lease", &fd), 0);
    open_with(&reader, options);
    open_with(&writer, options);
    LOOP_UNTIL(reader.readable && writer.readable, LIMIT_MS);
    close(fd);
    LOOP_UNTIL(reader.writable || writer.writable, LIMIT_MS);
    struct told *first = reader.writable ? &reader : &writer, *other = reader.writable ? &writer : &reader;
    submit(first, &j, 1);
    LOOP_UNTIL(j.done, LIMIT_MS);
    assert_int_equal(number(store_reader(first->store), count_t), 1);
    struct db_rows rows;
    LOOP_UNTIL(db_row(store_reader(other->store), &rows, "SELECT 1 FROM t WHERE id = 77", "") == 1, LIMIT_MS);
    db_rows_close(&rows);
    assert_string_equal(store_uuid(first->store), store_uuid(other->store));
    close_store(other);
    close_store(first);
}

// --- Closing

static void test_closing_finishes_what_was_submitted(void **state)
{
    (void)state;
    enum { JOBS = 1000 };
    static struct job jobs[JOBS];
    struct told t;
    open_writer(&t);
    hold_writer(&t);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){ .id = i };
    }
    submit(&t, jobs, JOBS);
    store_close(&t.store, on_closed, &t);
    loop_for(50);
    assert_int_equal(t.closed, 0);
    let_go();
    LOOP_UNTIL(t.closed, LIMIT_MS);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].status, 0);
    }
    struct db *db;
    assert_int_equal(db_open("s.db", DB_READER, &db), 0);
    assert_int_equal(number(db, count_t), JOBS);
    db_close(&db);
}

static void test_closing_at_any_time(void **state)
{
    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        struct told t;
        open_with(&t, plain());
        for (int i = 0; i < turns; i++) {
            (void)uv_run(&loop, UV_RUN_NOWAIT);
            (void)usleep(100);
        }
        close_store(&t);
    }
    struct told t;
    open_with(&t, plain());
    store_close(&t.store, NULL, NULL); // nobody wants to know
    store_close(&t.store, on_closed, &t); // there is none
    loop_for(50);
}

static struct told *chain_store;

static void on_chained(int status, int64_t store_us, void *data)
{
    struct job *j = data;
    on_done(status, store_us, data);
    if (j->id < 50) {
        j->id++;
        assert_int_equal(store_submit(chain_store->store, insert, on_chained, j), 0);
    } else {
        store_close(&chain_store->store, on_closed, chain_store);
    }
}

static void test_submitting_and_closing_in_the_report(void **state)
{
    (void)state;
    struct told t;
    struct job j = { .id = 1 };
    open_writer(&t);
    chain_store = &t;
    assert_int_equal(store_submit(t.store, insert, on_chained, &j), 0);
    LOOP_UNTIL(t.closed, LIMIT_MS);
    assert_int_equal(j.done, 50);
}

static void test_a_place_where_no_store_can_be(void **state)
{
    (void)state;
    struct told t = { 0 };
    struct store_options options = plain();
    struct store_callbacks callbacks = callbacks_of(&t);
    options.path = "no/such/dir/s.db";
    assert_int_equal(store_open(&loop, &options, &callbacks, &t.store), -ENOENT);
    assert_null(t.store);
    loop_for(50);
    assert_int_equal(t.readable + t.writable + t.failed, 0);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        return run_helper();
    }
    const struct CMUnitTest tests[] = {
        LOOP_CASE(test_jobs_that_wait_are_one_transaction),
        LOOP_CASE(test_a_batch_has_a_limit),
        LOOP_CASE(test_a_failing_job_rolls_back_alone),
        LOOP_CASE(test_a_failing_job_that_is_alone),
        LOOP_CASE(test_nothing_is_reported_before_the_commit),
        LOOP_CASE(test_a_lost_transaction_fails_all_its_jobs),
        LOOP_CASE(test_transactions_are_counted),
        LOOP_CASE(test_a_full_disk_is_told_truthfully),
        LOOP_CASE(test_the_queue_has_a_limit),
        LOOP_CASE(test_before_the_lease_nobody_writes),
        LOOP_CASE(test_a_newer_build_is_made_way_for),
        LOOP_CASE(test_two_stores_in_two_hands),
        LOOP_CASE(test_the_next_process_writes_on_after_a_kill),
        LOOP_CASE(test_migrations_run_once),
        LOOP_CASE(test_a_migration_that_fails),
        LOOP_CASE(test_a_writer_that_cannot_begin),
        LOOP_CASE(test_a_damaged_store_is_not_used),
        LOOP_CASE(test_a_file_that_is_no_database),
        LOOP_CASE(test_a_store_whose_making_was_cut_off),
        LOOP_CASE(test_a_store_over_the_limit_is_not_checked),
        LOOP_CASE(test_no_room_is_told_until_there_is_some),
        LOOP_CASE(test_a_store_that_cannot_be_written_to),
        LOOP_CASE(test_closing_when_it_fails),
        LOOP_CASE(test_a_rebuildable_store_is_built_anew),
        LOOP_CASE(test_readers_follow_to_the_new_file),
        LOOP_CASE(test_closing_finishes_what_was_submitted),
        LOOP_CASE(test_closing_at_any_time),
        LOOP_CASE(test_submitting_and_closing_in_the_report),
        LOOP_CASE(test_a_place_where_no_store_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
