// SPDX-License-Identifier: MIT
// The loop's side of a store: checks it, opens the connection to read with, starts the writer when
// the lease is there, and tells the program what became of it all.
#include "common/store.h"

#include "common/clock.h"
#include "common/lease.h"
#include "common/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void store_jobs_init(struct store_jobs *l)
{
    l->first = NULL;
    l->last = &l->first;
}

void store_jobs_push(struct store_jobs *l, struct store_job *j)
{
    j->next = NULL;
    *l->last = j;
    l->last = &j->next;
}

void store_jobs_join(struct store_jobs *to, struct store_jobs *from)
{
    if (from->first) {
        *to->last = from->first;
        to->last = from->last;
        store_jobs_init(from);
    }
}

// --- Reading

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
    rc = rc ? rc : store_user_version(db, &version);
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
static void fail(struct store *s, int error, const char *text);

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
        (void)uv_timer_start(&s->poll, on_poll, STORE_LOOK_MS,
                             STORE_LOOK_MS); // fails only without a callback
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

// --- Trouble

static void tell_trouble(struct store *s, const struct store_trouble *t)
{
    if (s->failed || s->closing || s->told_for_good ||
        (t->error == s->told.error && strcmp(t->text, s->told.text) == 0)) {
        return;
    }
    bool over = !t->error;
    s->told = *t;
    if (over) {
        s->callbacks.on_healed(s->callbacks.data);
    } else {
        s->callbacks.on_trouble(t->error, s->told.text, s->callbacks.data);
    }
}

void store_found_damage(struct store *s)
{
    struct store_trouble t;
    store_describe(-EUCLEAN, s->reader ? db_error(s->reader) : "found while reading", &t);
    tell_trouble(s, &t);
    s->told_for_good = true;
}

// Something of the loop's own did not work: it is tried again later.
static void try_later(struct store *s, const struct store_trouble *t)
{
    s->retry_ms = clock_mono_ms() + store_retry_ms(t->error);
    tell_trouble(s, t);
}

// --- Checking, before anything else

static void finish_close(struct store *s);
static void start_writer(struct store *s);

static void check(uv_work_t *work)
{
    struct store *s = work->data;
    (void)store_check_file(s, &s->found); // found says it all
}

static void on_check_done(uv_work_t *work, int status)
{
    struct store *s = work->data;
    (void)status; // it is never cancelled
    s->checking = false;
    if (s->closing) {
        finish_close(s);
        return;
    }
    s->damaged = s->found.error == -EUCLEAN && s->options.rebuildable;
    if (s->found.error && !s->damaged) {
        try_later(s, &s->found);
        return;
    }
    s->checked = true;
    tell_trouble(s, &(struct store_trouble){ 0 });
    start_writer(s);
    on_poll(&s->poll);
}

static void begin_check(struct store *s)
{
    if (s->checking) {
        return;
    }
    s->check.data = s;
    s->checking = uv_queue_work(s->loop, &s->check, check, on_check_done) == 0;
}

// --- The lease

static void on_lease(void *data);

static int take_lease(struct store *s)
{
    int rc = lease_open(s->loop, s->lease_path, on_lease, s, &s->lease);
    if (rc == -EROFS || rc == -ENOSPC || rc == -EDQUOT) {
        struct store_trouble t;
        store_describe(rc, s->lease_path, &t);
        try_later(s, &t);
        return 0;
    }
    return rc;
}

static void on_poll(uv_timer_t *handle)
{
    struct store *s = handle->data;
    if (s->closing || s->failed) {
        return;
    }
    bool is_time = clock_mono_ms() >= s->retry_ms;
    if (!s->checked) {
        if (is_time) {
            begin_check(s);
        }
        return;
    }
    if (!s->lease && is_time) {
        int rc = take_lease(s);
        if (rc) {
            fail(s, rc, strerror(-rc));
            return;
        }
    }
    become_readable(s);
    become_writer(s);
    if (s->writer && s->options.on_superseded) {
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

static void report(struct store *s, struct store_jobs *done)
{
    while (done->first) {
        struct store_job *j = done->first, copy = *j;
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
        struct store_job *j = s->spare;
        s->spare = j->next;
        free(j);
    }
    (void)pthread_mutex_destroy(&s->mutex);
    (void)pthread_cond_destroy(&s->work);
    void (*on_closed)(void *data) = s->on_closed;
    void *data = s->closed_data;
    free(s->path);
    free(s->lease_path);
    free(s);
    if (on_closed) {
        on_closed(data);
    }
}

// The writer thread is over, or never was: gives everything back.
static void finish_close(struct store *s)
{
    if (s->finishing || s->checking) {
        return; // closed by a callback of the turn in which the thread ended; or not yet
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
    struct store_jobs done;
    char text[sizeof s->text];
    store_jobs_init(&done);
    pthread_mutex_lock(&s->mutex);
    store_jobs_join(&done, &s->done);
    bool opened = s->opened, committed = s->committed, stopped = s->stopped;
    struct store_trouble trouble = s->trouble;
    int error = s->error;
    memcpy(text, s->text, sizeof text);
    s->committed = false;
    pthread_mutex_unlock(&s->mutex);

    if (s->thread_started) {
        tell_trouble(s, &trouble);
    }
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

// Once there is the lease, and the file is sound.
static void start_writer(struct store *s)
{
    if (!s->leased || !s->checked || s->thread_started || s->closing) {
        return;
    }
    int rc = pthread_create(&s->thread, NULL, store_write_thread, s);
    if (rc) {
        fail(s, -rc, "cannot start the writer thread");
        return;
    }
    s->thread_started = true;
}

static void on_lease(void *data)
{
    struct store *s = data;
    s->leased = true;
    start_writer(s);
}

static int copy_paths(struct store *s, const char *path)
{
    s->path = strdup(path);
    if (!s->path || asprintf(&s->lease_path, "%s.lease", path) < 0) {
        s->lease_path = NULL; // asprintf() leaves it undefined
        return -ENOMEM;
    }
    return 0;
}

static void init_threads(struct store *s)
{
    pthread_condattr_t monotonic;
    (void)pthread_mutex_init(&s->mutex, NULL); // with these attributes none of them can fail
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->work, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
}

int store_open(uv_loop_t *loop, const struct store_options *options,
               const struct store_callbacks *callbacks, struct store **ret_store)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->loop = loop;
    s->options = *options;
    s->callbacks = *callbacks;
    s->claim_fd = -1;
    store_jobs_init(&s->todo);
    store_jobs_init(&s->done);
    init_threads(s);
    (void)uv_timer_init(loop, &s->poll); // cannot fail
    s->poll.data = s->async.data = s;
    s->handles_open = 1;
    int rc = copy_paths(s, options->path);
    rc = rc ? rc : uv_async_init(loop, &s->async, on_async);
    if (rc) {
        uv_close((uv_handle_t *)&s->poll, on_handle_closed);
        return rc;
    }
    s->handles_open = 2;
    s->async.data = s;
    rc = take_lease(s);
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

static struct store_job *new_job(struct store *s)
{
    struct store_job *j = s->spare;
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
    if (s->failed || !s->writer || s->closing) {
        return -EROFS;
    }
    if (s->pending >= STORE_MAX_QUEUE) {
        return -EAGAIN;
    }
    struct store_job *j = new_job(s);
    if (!j) {
        return -ENOMEM;
    }
    *j = (struct store_job){ .run = run, .done = done, .job = job };
    s->pending++;
    pthread_mutex_lock(&s->mutex);
    bool idle = !s->todo.first;
    store_jobs_push(&s->todo, j);
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
