// SPDX-License-Identifier: MIT
// Loop thread and writer thread meet in two lists under one mutex: jobs to do, and jobs done. The
// writer takes everything that waits at once, so batches grow by themselves with the load and there
// is no timer.
#include "common/store.h"

#include "common/clock.h"
#include "common/lease.h"
#include "common/uuid.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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

struct job {
    struct job *next;
    store_run_fn *run;
    store_done_fn *done;
    void *job;
    int64_t started_us;
    int64_t store_us;
    int status;
};

struct job_list {
    struct job *first, **last;
};

struct store {
    uv_loop_t *loop;
    struct store_options options;
    struct store_callbacks callbacks;
    char *path;
    char uuid[UUID_TEXT + 1];
    struct db *reader; // loop thread
    ino_t reader_file; // that it has open
    struct lease *lease;
    int claim_fd; // the lock that says that this process has migrations to run; -1: not held
    bool superseded;
    uv_timer_t poll;  // looks for the schema until it is there
    uv_async_t async; // the writer thread has news
    int handles_open;
    bool readable, migrated, writer, failed, closing, finishing;
    size_t pending;    // submitted and not reported
    struct job *spare; // recycled nodes, loop thread only
    void (*on_closed)(void *data);
    void *closed_data;

    pthread_t thread;
    bool thread_started;
    pthread_mutex_t mutex; // guards everything below
    pthread_cond_t work;   // todo or stop changed
    struct job_list todo, done;
    bool stop, stopped, opened, committed;
    int error; // fatal; text says more
    char text[256];
};

static void list_init(struct job_list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void list_push(struct job_list *l, struct job *j)
{
    j->next = NULL;
    *l->last = j;
    l->last = &j->next;
}

// Moves everything of from behind to.
static void list_join(struct job_list *to, struct job_list *from)
{
    if (from->first) {
        *to->last = from->first;
        to->last = from->last;
        list_init(from);
    }
}

// Whether the store cannot be trusted any more after this error.
static bool is_fatal(int rc)
{
    return rc == -EIO || rc == -EUCLEAN;
}

// --- Writer thread: opening

static int user_version(struct db *db, int64_t *ret_version)
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

static int migrate_one(struct store *s, struct db *db, size_t number)
{
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA user_version=%zu", number + 1);
    int rc = db_begin(db);
    rc = rc ? rc : db_script(db, s->options.migrations[number]);
    rc = rc ? rc : db_script(db, sql);
    rc = rc ? rc : db_commit(db);
    if (rc) {
        note_failure(s, db);
        db_rollback(db);
    }
    return rc;
}

static int migrate(struct store *s, struct db *db)
{
    int64_t version = 0;
    int rc = db_script(db, kit_schema);
    rc = rc ? rc : user_version(db, &version);
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

static int quick_check(const struct store *s, struct db *db)
{
    struct stat st;
    struct db_rows rows;
    if (stat(s->path, &st) || st.st_size > STORE_CHECK_BYTES) {
        return 0;
    }
    int rc = db_row(db, &rows, "PRAGMA quick_check(1)", "");
    if (rc <= 0) {
        return rc ? rc : -EUCLEAN;
    }
    rc = str_eq(db_str(&rows, 0), STR("ok")) ? 0 : -EUCLEAN;
    db_rows_close(&rows);
    return rc;
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

static int prepare_writer(struct store *s, struct db *db)
{
    int rc = s->options.rebuildable ? db_script(db, "PRAGMA synchronous=NORMAL") : 0;
    rc = rc ? rc : quick_check(s, db);
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
    if (error == -EUCLEAN) {
        return "it is damaged; restore it from a backup";
    }
    return sqlite3_errcode(db_handle(db)) == SQLITE_OK ? strerror(-error) : db_error(db);
}

static int open_writer(struct store *s, struct db **ret_db)
{
    struct db *db = NULL;
    int rc = db_open(s->path, DB_WRITER, &db);
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
    *ret_db = db;
    return 0;
}

// --- Writer thread: group commit

static int on_wal(void *data, struct sqlite3 *handle, const char *name, int pages)
{
    (void)handle, (void)name;
    *(int *)data = pages;
    return 0;
}

// Runs one job; returns a negative errno only when the whole transaction is gone.
static int run_job(struct db *db, struct job *j, bool alone)
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
static int run_batch(struct db *db, struct job *first)
{
    bool alone = !first->next;
    int rc = db_begin(db);
    for (struct job *j = first; !rc && j; j = j->next) {
        rc = run_job(db, j, alone);
    }
    if (!rc && alone && first->status < 0) {
        db_rollback(db); // its own result stands
        return 0;
    }
    rc = rc ? rc : db_commit(db);
    if (rc) {
        db_rollback(db);
    }
    return rc;
}

static void finish_batch(struct store *s, struct db *db, struct job_list *batch, int rc)
{
    int64_t now = clock_mono_us();
    for (struct job *j = batch->first; j; j = j->next) {
        j->store_us = j->started_us ? now - j->started_us : 0;
        j->status = rc && j->status >= 0 ? rc : j->status;
    }
    pthread_mutex_lock(&s->mutex);
    list_join(&s->done, batch);
    s->committed = s->committed || rc == 0;
    if (is_fatal(rc) && !s->error) {
        s->error = rc;
        (void)snprintf(s->text, sizeof s->text, "%s", db_error(db));
    }
    pthread_mutex_unlock(&s->mutex);
    (void)uv_async_send(&s->async);
}

// Waits for jobs and takes at most STORE_MAX_BATCH. False: stop, nothing is left.
static bool take_batch(struct store *s, struct job_list *batch)
{
    list_init(batch);
    pthread_mutex_lock(&s->mutex);
    while (!s->todo.first && !s->stop) {
        pthread_cond_wait(&s->work, &s->mutex);
    }
    for (int i = 0; i < STORE_MAX_BATCH && s->todo.first; i++) {
        struct job *j = s->todo.first;
        s->todo.first = j->next;
        if (!s->todo.first) {
            list_init(&s->todo);
        }
        list_push(batch, j);
    }
    pthread_mutex_unlock(&s->mutex);
    return batch->first != NULL;
}

static void serve(struct store *s, struct db *db)
{
    struct job_list batch;
    int wal_pages = 0, fatal = 0;
    (void)sqlite3_wal_hook(db_handle(db), on_wal, &wal_pages); // returns the hook before: none
    while (take_batch(s, &batch)) {
        int rc = fatal ? fatal : run_batch(db, batch.first);
        fatal = is_fatal(rc) ? rc : fatal;
        finish_batch(s, db, &batch, rc);
        if (!fatal && wal_pages > STORE_MAX_WAL_PAGES) {
            rc = db_checkpoint(
                db); // after the replies went out; what readers hold back comes next time
            fatal = is_fatal(rc) ? rc : 0;
            wal_pages = 0;
        }
    }
    if (!fatal) {
        (void)db_checkpoint(
            db); // so that the next start finds a short WAL; it is complete without, too
    }
}

static void *write_thread(void *arg)
{
    struct store *s = arg;
    struct db *db = NULL;
    int rc = open_writer(s, &db);
    pthread_mutex_lock(&s->mutex);
    s->opened = rc == 0;
    s->error = rc;
    pthread_mutex_unlock(&s->mutex);
    (void)uv_async_send(&s->async);
    if (!rc) {
        serve(s, db);
        db_close(&db);
    }
    pthread_mutex_lock(&s->mutex);
    s->stopped = true;
    pthread_mutex_unlock(&s->mutex);
    (void)uv_async_send(&s->async);
    return NULL;
}

// --- Loop thread

static int read_uuid(struct store *s, struct db *db)
{
    struct db_rows rows;
    int rc = db_row(db, &rows, "SELECT value FROM sluice_meta WHERE name='uuid'", "");
    if (rc <= 0) {
        return rc ? rc : -ENOENT;
    }
    struct str uuid = db_str(&rows, 0);
    rc = uuid.n == UUID_TEXT ? 0 : -EUCLEAN;
    if (!rc) {
        memcpy(s->uuid, uuid.p, uuid.n);
    }
    db_rows_close(&rows);
    return rc;
}

// Opens the reading connection if the schema is there. -ENOENT: not yet; -ESTALE: an older one.
static int open_reader(struct store *s)
{
    struct db *db = NULL;
    struct stat st;
    int64_t version = 0;
    int rc = stat(s->path, &st) ? -errno : db_open(s->path, DB_READER, &db);
    rc = rc ? rc : user_version(db, &version);
    if (rc == 0 && version < (int64_t)s->options.n_migrations) {
        rc = version > 0 ? -ESTALE : -ENOENT;
    }
    rc = rc ? rc : read_uuid(s, db);
    if (rc) {
        db_close(&db);
        return rc;
    }
    s->reader = db;
    s->reader_file = st.st_ino;
    return 0;
}

// A rebuildable store that was damaged is another file now, which a connection to the old one never
// sees.
static void follow_file(struct store *s)
{
    struct stat st;
    struct db *old = s->reader;
    if (stat(s->path, &st) == 0 && st.st_ino != s->reader_file && open_reader(s) == 0) {
        db_close(&old);
    }
}

// --- Making way for a newer build

// Takes the lock of those who wait with a newer schema, or only looks whether it is free. 0 with the lock, or a
// negative errno.
static int take_claim(const struct store *s, int *ret_fd)
{
    char path[4096];
    size_t n = (size_t)snprintf(path, sizeof path, "%s.newer", s->path);
    return n < sizeof path ? lease_try(path, ret_fd) : -ENAMETOOLONG;
}

static void claim(struct store *s)
{
    if (s->claim_fd < 0 && take_claim(s, &s->claim_fd) < 0) {
        s->claim_fd = -1; // another one has it, or the writer looks just now: tried again soon
    }
}

static void drop_claim(struct store *s)
{
    if (s->claim_fd >= 0) {
        (void)close(s->claim_fd); // nothing was written
        s->claim_fd = -1;
    }
}

static void look_for_claim(struct store *s)
{
    int fd;
    int rc = take_claim(s, &fd);
    if (rc == 0) {
        (void)close(fd); // nobody waits
    } else if (rc == -EWOULDBLOCK && !s->superseded) {
        s->superseded = true;
        s->options.on_superseded(s->options.data);
    }
}

// --- Becoming what one is

static void on_poll(uv_timer_t *handle);

static void become_readable(struct store *s)
{
    if (s->readable) {
        if (s->options.rebuildable) {
            follow_file(s);
        }
        return;
    }
    int rc = open_reader(s);
    if (rc == -ESTALE) {
        claim(s);
    } else if (rc == 0) {
        drop_claim(s);
        s->readable = true;
        (void)uv_timer_stop(&s->poll);
        if (s->options.rebuildable) {
            (void)uv_timer_start(&s->poll, on_poll, STORE_LOOK_MS,
                                 STORE_LOOK_MS); // fails only without a callback
        }
        s->callbacks.on_readable(s->callbacks.data);
    }
}

// Not before there is a connection to read with: who may write may also read.
static void become_writer(struct store *s)
{
    if (s->migrated && s->readable && !s->writer && !s->closing) {
        s->writer = true;
        if (s->options.on_superseded) {
            (void)uv_timer_start(&s->poll, on_poll, STORE_CLAIM_MS,
                                 STORE_CLAIM_MS); // fails only without a callback
        }
        s->callbacks.on_writable(s->callbacks.data);
    }
}

static void on_poll(uv_timer_t *handle)
{
    struct store *s = handle->data;
    if (!s->closing && !s->failed) {
        become_readable(s);
        become_writer(s);
    }
    if (s->writer && s->options.on_superseded && !s->closing) {
        look_for_claim(s);
    }
}

static void fail(struct store *s, int error, const char *text)
{
    if (!s->failed) {
        s->failed = true;
        s->callbacks.on_failed(error, text, s->callbacks.data);
    }
}

static void report(struct store *s, struct job_list *done)
{
    while (done->first) {
        struct job *j = done->first, copy = *j;
        done->first = j->next;
        j->next = s->spare;
        s->spare = j;
        s->pending--;
        copy.done(copy.status, copy.store_us, copy.job);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;
    if (--s->handles_open > 0) {
        return;
    }
    while (s->spare) {
        struct job *j = s->spare;
        s->spare = j->next;
        free(j);
    }
    (void)pthread_mutex_destroy(&s->mutex);
    (void)pthread_cond_destroy(&s->work);
    void (*on_closed)(void *data) = s->on_closed;
    void *data = s->closed_data;
    free(s->path);
    free(s);
    if (on_closed) {
        on_closed(data);
    }
}

// The writer thread is over, or never was: gives everything back.
static void finish_close(struct store *s)
{
    if (s->finishing) {
        return; // the store was closed by a callback of the turn in which the thread ended
    }
    s->finishing = true;
    if (s->thread_started) {
        (void)pthread_join(s->thread, NULL);
    }
    db_close(&s->reader);
    drop_claim(s);
    lease_close(&s->lease);
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    uv_close((uv_handle_t *)&s->async, on_handle_closed);
}

static void on_async(uv_async_t *handle)
{
    struct store *s = handle->data;
    struct job_list done;
    char text[sizeof s->text];
    list_init(&done);
    pthread_mutex_lock(&s->mutex);
    list_join(&done, &s->done);
    bool opened = s->opened, committed = s->committed, stopped = s->stopped;
    int error = s->error;
    memcpy(text, s->text, sizeof text);
    s->committed = false;
    pthread_mutex_unlock(&s->mutex);

    if (opened && !s->migrated && !s->closing) {
        s->migrated = true;
        become_readable(s);
        become_writer(s);
    }
    report(s, &done);
    if (committed && !s->closing) {
        s->callbacks.on_committed(s->callbacks.data);
    }
    if (error && !s->closing) {
        fail(s, error, text);
    }
    if (stopped && s->closing) {
        finish_close(s);
    }
}

static void on_lease(void *data)
{
    struct store *s = data;
    int rc = pthread_create(&s->thread, NULL, write_thread, s);
    if (rc) {
        fail(s, -rc, "cannot start the writer thread");
        return;
    }
    s->thread_started = true;
}

int store_open(uv_loop_t *loop, const struct store_options *options,
               const struct store_callbacks *callbacks, struct store **ret_store)
{
    char lease_path[4096];
    struct store *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->loop = loop;
    s->options = *options;
    s->callbacks = *callbacks;
    s->claim_fd = -1;
    s->path = strdup(options->path);
    list_init(&s->todo);
    list_init(&s->done);
    if (!s->path) {
        free(s);
        return -ENOMEM;
    }
    (void)pthread_mutex_init(&s->mutex, NULL); // with default attributes these cannot fail
    (void)pthread_cond_init(&s->work, NULL);
    (void)uv_timer_init(loop, &s->poll); // cannot fail
    s->poll.data = s->async.data = s;
    s->handles_open = 1;
    int rc = uv_async_init(loop, &s->async, on_async);
    if (rc) {
        uv_close((uv_handle_t *)&s->poll, on_handle_closed);
        return rc;
    }
    s->handles_open = 2;
    s->async.data = s;
    rc = (size_t)snprintf(lease_path, sizeof lease_path, "%s.lease", s->path) < sizeof lease_path
             ? lease_open(loop, lease_path, on_lease, s, &s->lease)
             : -ENAMETOOLONG;
    if (rc) {
        finish_close(s);
        return rc;
    }
    (void)uv_timer_start(&s->poll, on_poll, 0, STORE_POLL_MS); // fails only without a callback
    *ret_store = s;
    return 0;
}

struct db *store_reader(struct store *s)
{
    return s->reader;
}

bool store_is_writer(const struct store *s)
{
    return s->writer && !s->failed && !s->closing;
}

const char *store_uuid(const struct store *s)
{
    return s->uuid;
}

size_t store_pending(const struct store *s)
{
    return s->pending;
}

static struct job *new_job(struct store *s)
{
    struct job *j = s->spare;
    if (j) {
        s->spare = j->next;
    } else {
        j = malloc(sizeof *j);
    }
    return j;
}

int store_submit(struct store *s, store_run_fn *run, store_done_fn *done, void *job)
{
    assert(run && done);
    if (s->failed) {
        return -EIO;
    }
    if (!s->writer || s->closing) {
        return -EROFS;
    }
    if (s->pending >= STORE_MAX_QUEUE) {
        return -EAGAIN;
    }
    struct job *j = new_job(s);
    if (!j) {
        return -ENOMEM;
    }
    *j = (struct job){ .run = run, .done = done, .job = job };
    s->pending++;
    pthread_mutex_lock(&s->mutex);
    bool idle = !s->todo.first;
    list_push(&s->todo, j);
    pthread_mutex_unlock(&s->mutex);
    if (idle) {
        pthread_cond_signal(&s->work);
    }
    return 0;
}

void store_close(struct store **store, void (*on_closed)(void *data), void *data)
{
    struct store *s = *store;
    *store = NULL;
    if (!s) {
        return;
    }
    s->closing = true;
    s->on_closed = on_closed;
    s->closed_data = data;
    if (!s->thread_started) {
        finish_close(s);
        return;
    }
    pthread_mutex_lock(&s->mutex);
    s->stop = true;
    bool stopped = s->stopped;
    pthread_mutex_unlock(&s->mutex);
    pthread_cond_signal(&s->work);
    if (stopped) {
        finish_close(s); // it failed to open: nothing will wake the loop again
    }
}
