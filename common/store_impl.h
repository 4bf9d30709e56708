// SPDX-License-Identifier: MIT
// The inside of a store, for its modules alone: store.c is the loop's side, store_writer.c the
// writer thread's, store_check.c looks at the file before either uses it. The two threads meet in
// two lists under one mutex: jobs to do, and jobs done.
#ifndef COMMON_STORE_IMPL_H
#define COMMON_STORE_IMPL_H

#include "common/store.h"
#include "common/uuid.h"

#include <pthread.h>
#include <sys/types.h>

#define STORE_TEXT 320 // why it cannot be used, for people

struct lease;

struct store_job {
    struct store_job *next;
    store_run_fn *run;
    store_done_fn *done;
    void *job;
    int64_t started_us;
    int64_t store_us;
    int status;
};

struct store_jobs {
    struct store_job *first, **last;
};

// What hinders the store at the moment; error 0: nothing.
struct store_trouble {
    int error;
    char text[STORE_TEXT];
};

struct store {
    uv_loop_t *loop;
    struct store_options options;
    struct store_callbacks callbacks;
    char *path;
    char *lease_path;
    char uuid[UUID_TEXT + 1];
    struct db *reader; // loop thread
    ino_t reader_file; // that it has open
    struct lease *lease;
    int claim_fd; // the lock that says that this process has migrations to run; -1: not held
    bool superseded;
    uv_timer_t poll;  // looks for the schema until it is there
    uv_async_t async; // the writer thread has news
    int handles_open;
    bool leased, readable, migrated, writer, failed, closing, finishing;
    size_t pending;          // submitted and not reported
    struct store_job *spare; // recycled nodes, loop thread only
    void (*on_closed)(void *data);
    void *closed_data;

    uv_work_t check; // on a pool thread
    bool checking, checked;
    struct store_trouble found; // by the check
    bool damaged;               // it was found so, and is rebuildable: the writer looks again
    struct store_trouble told;  // what on_trouble said last
    bool told_for_good;         // and it stays so until the process ends
    int64_t retry_ms;           // monotonic; when the loop tries again what did not work

    pthread_t thread;
    bool thread_started;
    pthread_mutex_t mutex; // guards everything below
    pthread_cond_t work;   // todo or stop changed
    struct store_jobs todo, done;
    bool stop, stopped, opened, committed;
    int error; // fatal; text says more
    char text[STORE_TEXT];
    struct store_trouble trouble; // of the writer
};

void store_jobs_init(struct store_jobs *l);
void store_jobs_push(struct store_jobs *l, struct store_job *j);
// Moves everything of from behind to.
void store_jobs_join(struct store_jobs *to, struct store_jobs *from);

// The thread that writes; its argument is the store.
void *store_write_thread(void *arg);

// Looks at the file by a connection of its own (PRAGMA quick_check), if it is there and not over
// the limit. Any thread. 0, or a negative errno with a text.
int store_check_file(const struct store *s, struct store_trouble *ret_found);

// The same by a connection that is there. -EUCLEAN when it is damaged, with what SQLite says of it.
int store_check(struct db *db, char detail[STORE_TEXT]);

// Fills in what people need to know: what is wrong with the store, and what to do.
void store_describe(int error, const char *detail, struct store_trouble *ret_trouble);

// The number of migrations that were run.
int store_user_version(struct db *db, int64_t *ret_version);

// How long it takes until the same thing is tried again.
int64_t store_retry_ms(int error);

#endif
