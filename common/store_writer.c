// SPDX-License-Identifier: MIT
// The thread that owns the only connection that commits and checkpoints. It takes everything that
// waits at once, so batches grow by themselves with the load and there is no timer. A disk without
// room is waited for, with a small write now and then to find out; a store that cannot be opened is
// tried again; what else fails is the end of the process's writing.
#include "common/store_impl.h"

#include "common/clock.h"
#include "common/db_settle.h"
#include "common/store_metrics.h"

#include <assert.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// The tables of the kit. Always made with IF NOT EXISTS: a store of an earlier version gets what it
// lacks.
static const char kit_schema[] =
    "CREATE TABLE IF NOT EXISTS sluice_meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, "
    "WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS sluice_outbox("
    "  seq INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, event BLOB NOT NULL) "
    "STRICT;"
    "CREATE TABLE IF NOT EXISTS sluice_cursor("
    "  name TEXT PRIMARY KEY, log TEXT NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS sluice_idempotency("
    "  scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, time_ms INTEGER NOT NULL,"
    "  reply BLOB NOT NULL, PRIMARY KEY(scope, key)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS sluice_idempotency_time ON sluice_idempotency(time_ms);";

#define STALE_TRIES 2 // to write to a file that can be written to

// Whether the store cannot be trusted any more after this error.
static bool is_fatal(int rc)
{
    return rc == -EIO || rc == -EUCLEAN || rc == STORE_UNKNOWN;
}

// --- Opening

int store_user_version(struct db *db, int64_t *ret_version)
{
    struct db_rows rows;
    int rc = db_row(db, &rows, "PRAGMA user_version", "");
    if (rc <= 0) {
        return rc ? rc : -EIO;
    }
    *ret_version = db_int(&rows, 0);
    db_rows_close(&rows);
    return 0;
}

// Keeps SQLite's words for what failed, which the rollback makes it forget.
static void note_failure(struct store *s, struct db *db)
{
    pthread_mutex_lock(&s->mutex);
    (void)snprintf(s->text, sizeof s->text, "%s", db_error(db));
    pthread_mutex_unlock(&s->mutex);
}

static void note_migration(struct store *s, struct db *db, size_t number)
{
    pthread_mutex_lock(&s->mutex);
    (void)snprintf(s->text, sizeof s->text,
                   "migration %zu of %zu failed, what it did is undone: %s", number + 1,
                   s->options.n_migrations, db_error(db));
    pthread_mutex_unlock(&s->mutex);
}

static int migrate_one(struct store *s, struct db *db, size_t number)
{
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA user_version=%zu", number + 1);
    int rc = db_begin(db);
    rc = rc ? rc : db_script(db, s->options.migrations[number]);
    rc = rc ? rc : db_script(db, sql);
    rc = rc ? rc : db_commit(db);
    if (rc) {
        note_migration(s, db, number);
        db_rollback(db);
    }
    return rc;
}

static int migrate(struct store *s, struct db *db)
{
    int64_t version = 0;
    int rc = db_script(db, kit_schema);
    rc = rc ? rc : store_user_version(db, &version);
    for (size_t i = (size_t)version; !rc && i < s->options.n_migrations; i++) {
        rc = migrate_one(s, db, i);
    }
    return rc;
}

static int make_uuid(struct db *db)
{
    char uuid[UUID_TEXT + 1];
    uuid_v7(clock_wall_ms(), uuid);
    int rc =
        db_run(db, "INSERT OR IGNORE INTO sluice_meta(name, value) VALUES('uuid', ?)", "z", uuid);
    return rc < 0 ? rc : 0;
}

static int run_on_writer(const struct store *s, struct db *db)
{
    if (!s->options.on_writer) {
        return 0;
    }
    int rc = db_begin(db);
    rc = rc ? rc : s->options.on_writer(db, s->options.data);
    rc = rc < 0 ? rc : db_commit(db);
    if (rc) {
        db_rollback(db);
    }
    return rc;
}

// Whether a store that can be built anew has to be. The others were looked at before the process
// began to wait for the lease.
static int look_again(const struct store *s, struct db *db)
{
    char detail[STORE_TEXT];
    return s->damaged ? store_check(db, detail) : 0;
}

static int prepare_writer(struct store *s, struct db *db)
{
    int rc = s->options.rebuildable ? db_script(db, "PRAGMA synchronous=NORMAL") : 0;
    rc = rc ? rc : look_again(s, db);
    rc = rc ? rc : migrate(s, db);
    rc = rc ? rc : make_uuid(db);
    return rc ? rc : run_on_writer(s, db);
}

static void remove_files(const char *path)
{
    static const char *const suffixes[] = { "", "-wal", "-shm" };
    char name[4096];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if ((size_t)snprintf(name, sizeof name, "%s%s", path, suffixes[i]) < sizeof name) {
            (void)unlink(name); // what is not there needs no removing
        }
    }
}

// Why the store could not be opened; for people.
static const char *failure_text(struct db *db, int error)
{
    if (!db) {
        return "it cannot be opened as a database";
    }
    return sqlite3_errcode(db_handle(db)) == SQLITE_OK ? strerror(-error) : db_error(db);
}

static int open_once(struct store *s, struct db **ret_db)
{
    struct db *db = NULL;
    s->text[0] = '\0'; // the loop looks at it only when there is an error
    int rc = db_settle(s->path, s->lease_path);
    rc = rc ? rc : db_open(s->path, DB_WRITER, &db);
    rc = rc ? rc : prepare_writer(s, db);
    if (rc == -EUCLEAN && s->options.rebuildable) {
        db_close(&db);
        remove_files(s->path);
        rc = db_open(s->path, DB_WRITER, &db);
        rc = rc ? rc : prepare_writer(s, db);
    }
    if (rc) {
        pthread_mutex_lock(&s->mutex);
        if (!s->text[0]) {
            (void)snprintf(s->text, sizeof s->text, "%s", failure_text(db, rc));
        }
        pthread_mutex_unlock(&s->mutex);
        db_close(&db);
        return rc;
    }
    s->damaged = false;
    *ret_db = db;
    return 0;
}

// --- Trouble that passes

// Whether it is worth waiting for: somebody makes room, mounts the disk anew, puts a file back.
static bool passes(int error)
{
    return error == -ENOSPC || error == -EDQUOT || error == -EROFS || error == -EACCES ||
           error == -EBUSY || error == -EUCLEAN;
}

// error 0: it is over.
static void set_trouble(struct store *s, int error, const char *detail)
{
    struct store_trouble now = { 0 };
    if (error) {
        store_describe(error, detail, &now);
    }
    pthread_mutex_lock(&s->mutex);
    s->trouble = now;
    pthread_mutex_unlock(&s->mutex);
    (void)uv_async_send(&s->async); // cannot fail for an open handle
}

// With the mutex held: nothing of the jobs that wait is done.
static void refuse_jobs(struct store *s, int error)
{
    if (!s->todo.first) {
        return;
    }
    for (struct store_job *j = s->todo.first; j; j = j->next) {
        j->status = error;
    }
    store_jobs_join(&s->done, &s->todo);
    (void)uv_async_send(&s->async); // cannot fail for an open handle
}

static struct timespec after_ms(int64_t ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); // this clock is always there
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

// Until it is time to try again. False: the store is being closed.
static bool wait_to_retry(struct store *s, int error)
{
    struct timespec until = after_ms(store_retry_ms(error));
    bool is_time = false;
    pthread_mutex_lock(&s->mutex);
    while (!s->stop && !is_time) {
        refuse_jobs(s, error);
        is_time = pthread_cond_timedwait(&s->work, &s->mutex, &until) == ETIMEDOUT;
    }
    refuse_jobs(s, error);
    bool stop = s->stop;
    pthread_mutex_unlock(&s->mutex);
    return !stop;
}

// SQLite opens a file to read it only when it cannot be opened otherwise, for whatever reason (no
// descriptor is left, say), and what is shared by the connections of a process then stays so until
// the last of them is closed. Whether that is why nothing can be written.
static bool is_stale(const struct store *s, int error)
{
    return error == -EROFS && access(s->path, W_OK) == 0;
}

// Opens the store, as often as it takes. NULL: it cannot be, with s->error; or it is being closed.
static struct db *open_writer(struct store *s)
{
    struct db *db = NULL;
    int stale = 0;
    int rc = open_once(s, &db);
    while (rc && passes(rc)) {
        stale = is_stale(s, rc) ? stale + 1 : 0;
        if (stale > STALE_TRIES) {
            rc = -EIO; // the next process begins anew
            break;
        }
        set_trouble(s, rc, s->text);
        if (!wait_to_retry(s, rc)) {
            return NULL;
        }
        rc = open_once(s, &db);
    }
    if (!rc) {
        set_trouble(s, 0, NULL);
    }
    pthread_mutex_lock(&s->mutex);
    s->opened = s->opened || rc == 0;
    s->error = rc;
    pthread_mutex_unlock(&s->mutex);
    (void)uv_async_send(&s->async);
    return db;
}

// Whether there is room again: a write of a size that leaves some for others. What is written goes
// at once, in a commit of its own, so that it is really written.
static int try_room(struct db *db)
{
    _Static_assert(STORE_ROOM_BYTES == 65536, "the query's number is half of it");
    int rc = db_run(db,
                    "INSERT OR REPLACE INTO sluice_meta(name, value)"
                    " VALUES('room', hex(zeroblob(32768)))",
                    "");
    rc = rc < 0 ? rc : db_run(db, "DELETE FROM sluice_meta WHERE name = 'room'", "");
    return rc < 0 ? rc : 0;
}

// --- Group commit

static int on_wal(void *data, struct sqlite3 *handle, const char *name, int pages)
{
    (void)handle, (void)name;
    *(int *)data = pages;
    return 0;
}

// Runs one job; returns a negative errno only when the whole transaction is gone.
static int run_job(struct db *db, struct store_job *j, bool alone)
{
    j->started_us = clock_mono_us();
    int rc = alone ? 0 : db_savepoint(db);
    if (rc) {
        return rc;
    }
    j->status = j->run(db, j->job);
    if (!db_in_transaction(db)) {
        return j->status < 0 ? j->status : -EIO;
    }
    if (alone) {
        return 0;
    }
    if (j->status < 0) {
        db_rollback_to(db);
        return 0;
    }
    return db_release(db);
}

// Runs a batch in one transaction. Returns 0 when it was committed (or had nothing to keep).
static int run_batch(struct store *s, struct db *db, struct store_job *first)
{
    bool alone = !first->next;
    int rc = db_begin(db);
    for (struct store_job *j = first; !rc && j; j = j->next) {
        rc = run_job(db, j, alone);
    }
    if (!rc && alone && first->status < 0) {
        db_rollback(db); // its own result stands
        return 0;
    }
    if (rc) {
        note_failure(s, db);
        db_rollback(db);
        return rc;
    }
    int64_t before_us = clock_mono_us();
    rc = db_commit(db);
    if (rc) {
        note_failure(s, db);
        db_rollback(db);
    } else {
        store_metrics_committed(clock_mono_us() - before_us);
    }
    return rc == -EIO ? STORE_UNKNOWN : rc;
}

static void finish_batch(struct store *s, struct store_jobs *batch, int rc)
{
    int64_t now = clock_mono_us();
    for (struct store_job *j = batch->first; j; j = j->next) {
        j->store_us = j->started_us ? now - j->started_us : 0;
        j->status = rc && j->status >= 0 ? rc : j->status;
    }
    pthread_mutex_lock(&s->mutex);
    store_jobs_join(&s->done, batch);
    s->committed = s->committed || rc == 0;
    pthread_mutex_unlock(&s->mutex);
    (void)uv_async_send(&s->async);
}

enum turn { TURN_STOP, TURN_BATCH, TURN_RETRY };

// Waits for jobs and takes at most STORE_MAX_BATCH. With trouble it does not wait longer than until
// it is time to look whether that is over.
static enum turn take_batch(struct store *s, struct store_jobs *batch, bool troubled)
{
    struct timespec until = after_ms(STORE_RETRY_MS);
    enum turn turn = TURN_BATCH;
    store_jobs_init(batch);
    pthread_mutex_lock(&s->mutex);
    while (!s->todo.first && !s->stop && turn != TURN_RETRY) {
        if (!troubled) {
            pthread_cond_wait(&s->work, &s->mutex);
        } else if (pthread_cond_timedwait(&s->work, &s->mutex, &until) == ETIMEDOUT) {
            turn = TURN_RETRY;
        }
    }
    for (int i = 0; i < STORE_MAX_BATCH && s->todo.first; i++) {
        struct store_job *j = s->todo.first;
        s->todo.first = j->next;
        if (!s->todo.first) {
            store_jobs_init(&s->todo);
        }
        store_jobs_push(batch, j);
    }
    pthread_mutex_unlock(&s->mutex);
    return batch->first ? TURN_BATCH : turn == TURN_RETRY ? TURN_RETRY : TURN_STOP;
}

// What a connection that serves knows of itself.
struct serving {
    struct db *db;
    int wal_pages; // in the WAL after the last batch; 0: it wrote nothing, or they were checkpointed
    struct db_settled settled;
    bool troubled; // no room
    int fatal;     // nothing is written any more
};

// Takes note of how writing went, whoever wrote.
static void take_note(struct store *s, struct serving *v, int rc)
{
    if (is_fatal(rc)) {
        v->fatal = rc;
        pthread_mutex_lock(&s->mutex);
        s->error = rc == STORE_UNKNOWN ? -EIO : rc; // once: nothing is written any more
        pthread_mutex_unlock(&s->mutex);
        (void)uv_async_send(&s->async);
    } else if ((rc == -ENOSPC) != v->troubled) {
        v->troubled = rc == -ENOSPC;
        set_trouble(s, v->troubled ? rc : 0, db_error(v->db));
    }
}

// After the replies went out; what readers hold back comes next time.
static void checkpoint(struct store *s, struct serving *v)
{
    if (v->fatal || v->wal_pages <= STORE_MAX_WAL_PAGES) {
        return;
    }
    int64_t before_us = clock_mono_us();
    int rc = db_checkpoint(v->db);
    store_metrics_checkpointed(clock_mono_us() - before_us);
    v->wal_pages = 0;
    if (is_fatal(rc)) {
        note_failure(s, v->db);
        take_note(s, v, rc);
    }
}

// A job that finds no room may be the only one of its batch that needed some.
static int find_full(const struct store_jobs *batch)
{
    for (const struct store_job *j = batch->first; j; j = j->next) {
        if (j->status == -ENOSPC) {
            return -ENOSPC;
        }
    }
    return 0;
}

static int write_batch(struct store *s, struct serving *v, struct store_jobs *batch)
{
    v->wal_pages = 0;
    int rc = v->fatal ? -EROFS : run_batch(s, v->db, batch->first);
    if (rc) {
        store_metrics_commit_failed();
    }
    db_count_pages(v->db);
    int full = rc ? 0 : find_full(batch);
    finish_batch(s, batch, rc);
    if (!rc) {
        db_settled_note(&v->settled, v->db, v->wal_pages);
    }
    rc = rc ? rc : full;
    if (v->fatal) {
        return 0;
    }
    if (!v->troubled || is_fatal(rc)) { // a small write that finds room does not say that there is
        take_note(s, v, rc);
    }
    return rc;
}

// Returns 0 when the store is being closed, or -EROFS when the connection cannot write any more
// and another one may.
static int serve_jobs(struct store *s, struct serving *v)
{
    struct store_jobs batch;
    int rc = 0;
    for (;;) {
        enum turn turn = take_batch(s, &batch, v->troubled && !v->fatal);
        if (turn == TURN_STOP) {
            break;
        }
        if (turn == TURN_RETRY) {
            rc = try_room(v->db);
            take_note(s, v, rc);
        } else {
            rc = write_batch(s, v, &batch);
        }
        if (rc == -EROFS) {
            return rc;
        }
        checkpoint(s, v);
    }
    if (!v->fatal) {
        // So that the next start finds a short WAL; it is complete without, too.
        (void)db_checkpoint(v->db);
    }
    return 0;
}

static int serve(struct store *s, struct db *db)
{
    struct serving v = { .db = db, .settled = { .fd = -1 } };
    (void)sqlite3_wal_hook(db_handle(db), on_wal, &v.wal_pages); // returns the hook before: none
    if (!s->options.rebuildable) {                               // whose commits are not synced
        db_settled_open(&v.settled, s->lease_path);
    }
    int rc = serve_jobs(s, &v);
    db_settled_close(&v.settled);
    return rc;
}

void *store_write_thread(void *arg)
{
    struct store *s = arg;
    struct db *db;
    bool again = true;
    while (again && (db = open_writer(s))) {
        int rc = serve(s, db);
        again = rc == -EROFS;
        if (again) {
            set_trouble(s, rc, db_error(db));
            again = wait_to_retry(s, rc);
        }
        db_close(&db);
    }
    pthread_mutex_lock(&s->mutex);
    refuse_jobs(s, -EIO);
    s->stopped = true;
    pthread_mutex_unlock(&s->mutex);
    (void)uv_async_send(&s->async);
    return NULL;
}
