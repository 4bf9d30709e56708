// SPDX-License-Identifier: MIT
// Everything here takes the place of a function that the program under test calls, by --wrap (see
// meson.build).
#include "tests/fault/store_sim/still.h"

#include <assert.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "common/db_settle.h"
#include "common/store_impl.h"

static struct world *world;

// --- Clocks, and what is left to chance

int64_t __wrap_clock_mono_us(void);
int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_wall_us(void);
int64_t __wrap_clock_wall_ms(void);
uint64_t __wrap_uv_hrtime(void);
void __wrap_random_fill(void *out, size_t n);
void __wrap_randombytes_buf(void *const out, const size_t n);

int64_t __wrap_clock_mono_us(void)
{
    return world->now_us;
}

int64_t __wrap_clock_mono_ms(void)
{
    return world->now_us / 1000;
}

int64_t __wrap_clock_wall_us(void)
{
    return INT64_C(1700000000000000) + world->now_us;
}

int64_t __wrap_clock_wall_ms(void)
{
    return __wrap_clock_wall_us() / 1000;
}

uint64_t __wrap_uv_hrtime(void)
{
    return (uint64_t)world->now_us * 1000;
}

void __wrap_random_fill(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((unsigned char *)out)[i] = (unsigned char)chance_next(&world->chance);
    }
}

void __wrap_randombytes_buf(void *const out, const size_t n)
{
    __wrap_random_fill(out, n);
}

// --- Timers

#define TIMERS 16

static struct {
    uv_timer_t *handle; // NULL: free
    uv_timer_cb run;
    int64_t due_us, repeat_us;
} timers[TIMERS];

int __wrap_uv_timer_start(uv_timer_t *handle, uv_timer_cb run, uint64_t ms, uint64_t repeat_ms);
int __wrap_uv_timer_stop(uv_timer_t *handle);
int __wrap_uv_is_active(const uv_handle_t *handle);
void __wrap_uv_close(uv_handle_t *handle, uv_close_cb on_closed);
int __real_uv_is_active(const uv_handle_t *handle);
void __real_uv_close(uv_handle_t *handle, uv_close_cb on_closed);

static int timer_of(const uv_timer_t *handle)
{
    int i = 0;
    while (i < TIMERS && timers[i].handle != handle) {
        i++;
    }
    return i;
}

int __wrap_uv_timer_stop(uv_timer_t *handle)
{
    int i = timer_of(handle);
    if (i < TIMERS) {
        timers[i].handle = NULL;
    }
    return 0;
}

int __wrap_uv_timer_start(uv_timer_t *handle, uv_timer_cb run, uint64_t ms, uint64_t repeat_ms)
{
    (void)__wrap_uv_timer_stop(handle);
    int i = timer_of(NULL);
    assert(i < TIMERS);
    timers[i].handle = handle;
    timers[i].run = run;
    timers[i].due_us = world->now_us + (int64_t)ms * 1000;
    timers[i].repeat_us = (int64_t)repeat_ms * 1000;
    return 0;
}

int __wrap_uv_is_active(const uv_handle_t *handle)
{
    return timer_of((const uv_timer_t *)handle) < TIMERS || __real_uv_is_active(handle);
}

void __wrap_uv_close(uv_handle_t *handle, uv_close_cb on_closed)
{
    (void)__wrap_uv_timer_stop((uv_timer_t *)handle);
    __real_uv_close(handle, on_closed);
}

static int next_timer(int64_t until)
{
    int next = TIMERS;
    for (int i = 0; i < TIMERS; i++) {
        if (timers[i].handle && timers[i].due_us <= until &&
            (next == TIMERS || timers[i].due_us < timers[next].due_us)) {
            next = i;
        }
    }
    return next;
}

void still_pass(int64_t us)
{
    int64_t until = world->now_us + us;
    for (int i = next_timer(until); i < TIMERS; i = next_timer(until)) {
        uv_timer_t *handle = timers[i].handle;
        world->now_us = timers[i].due_us > world->now_us ? timers[i].due_us : world->now_us;
        if (timers[i].repeat_us) {
            timers[i].due_us = world->now_us + timers[i].repeat_us;
        } else {
            timers[i].handle = NULL;
        }
        timers[i].run(handle);
    }
    world->now_us = until;
}

// --- Work for pool threads

#define WORKS 64

static uv_work_t *works[WORKS];
static size_t n_works;

int __wrap_uv_queue_work(uv_loop_t *loop, uv_work_t *work, uv_work_cb run,
                         uv_after_work_cb after_work);

int __wrap_uv_queue_work(uv_loop_t *loop, uv_work_t *work, uv_work_cb run,
                         uv_after_work_cb after_work)
{
    assert(n_works < WORKS);
    work->loop = loop;
    work->work_cb = run;
    work->after_work_cb = after_work;
    works[n_works++] = work;
    return 0;
}

void still_compute(void)
{
    while (n_works > 0) {
        uv_work_t *work = works[0];
        n_works--;
        memmove(works, works + 1, n_works * sizeof *works);
        work->work_cb(work);
        work->after_work_cb(work, 0);
    }
}

// --- The writer's turns

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static enum { NOT_THERE, PARKED, RUNNING, ENDED } writer;

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);

// In the writer: waits for its turn.
static void park(void)
{
    pthread_mutex_lock(&gate);
    writer = PARKED;
    pthread_cond_broadcast(&turned);
    while (writer == PARKED) {
        (void)__real_pthread_cond_wait(&turned, &gate);
    }
    pthread_mutex_unlock(&gate);
}

static void *run_writer(void *store)
{
    park();
    void *result = store_write_thread(store);
    pthread_mutex_lock(&gate);
    writer = ENDED;
    pthread_cond_broadcast(&turned);
    pthread_mutex_unlock(&gate);
    return result;
}

static void await_writer(void)
{
    while (writer == RUNNING) {
        (void)__real_pthread_cond_wait(&turned, &gate);
    }
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg)
{
    if (run != store_write_thread) {
        return __real_pthread_create(ret, attributes, run, arg);
    }
    pthread_mutex_lock(&gate);
    writer = RUNNING;
    int rc = __real_pthread_create(ret, attributes, run_writer, arg);
    await_writer();
    pthread_mutex_unlock(&gate);
    return rc;
}

// Nobody else waits for a condition here. That it wakes without being signalled is allowed.
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    (void)cond;
    pthread_mutex_unlock(mutex);
    park();
    pthread_mutex_lock(mutex);
    return 0;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    (void)until;
    return __wrap_pthread_cond_wait(cond, mutex);
}

bool still_has_writer(void)
{
    return writer != NOT_THERE;
}

void still_write(void)
{
    pthread_mutex_lock(&gate);
    if (writer == PARKED) {
        writer = RUNNING;
        pthread_cond_broadcast(&turned);
        await_writer();
    }
    pthread_mutex_unlock(&gate);
}

// --- Files and the log of SQLite

int __wrap_stat64(const char *path, struct stat *ret);
int __real_stat64(const char *path, struct stat *ret);

int __wrap_stat64(const char *path, struct stat *ret)
{
    int64_t size = disk_size(world->disk, path);
    if (size < 0) {
        return __real_stat64(path, ret); // it is not there either
    }
    *ret = (struct stat){ .st_size = size, .st_ino = 1 };
    return 0;
}

static int (*real_on_wal)(void *data, sqlite3 *db, const char *name, int pages);
static int factor;

void *__wrap_sqlite3_wal_hook(sqlite3 *db, int (*on_wal)(void *, sqlite3 *, const char *, int),
                              void *data);
void *__real_sqlite3_wal_hook(sqlite3 *db, int (*on_wal)(void *, sqlite3 *, const char *, int),
                              void *data);

static int on_wal_pages(void *data, sqlite3 *db, const char *name, int pages)
{
    world->counts.checkpoints += pages * factor > STORE_MAX_WAL_PAGES;
    return real_on_wal(data, db, name, pages * factor);
}

void *__wrap_sqlite3_wal_hook(sqlite3 *db, int (*on_wal)(void *, sqlite3 *, const char *, int),
                              void *data)
{
    real_on_wal = on_wal;
    return __real_sqlite3_wal_hook(db, on_wal_pages, data);
}

void __wrap_db_settled_note(struct db_settled *d, struct db *db, int frames);
void __real_db_settled_note(struct db_settled *d, struct db *db, int frames);

// What the writer takes for pages of the WAL was multiplied.
void __wrap_db_settled_note(struct db_settled *d, struct db *db, int frames)
{
    __real_db_settled_note(d, db, frames / factor);
}

void still_begin(struct world *w, int wal_factor)
{
    world = w;
    factor = wal_factor;
    disk_mount(w->disk);
}
