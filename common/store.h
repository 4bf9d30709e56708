// SPDX-License-Identifier: MIT
// A service's store: one SQLite file, one writer process, many readers (DESIGN section 4). In every
// process the loop thread has a read-only connection. In the process that holds the lease, a writer
// thread owns the only connection that commits and checkpoints; it takes all jobs that wait, runs
// each in a savepoint of one transaction, commits once, and then reports all of them to the loop.
// Nothing is reported as done before the commit returned.
//
//     checking --sound--> opening --schema there--> reading --lease--> migrating --> writing --I/O error--> failed
//
// A file that is damaged, a disk without room and one that cannot be written to are *trouble*: the
// program is told why, it is tried again, and the program is told when it is over. Until then jobs
// get the reason's errno; reading goes on unless the file was found damaged by the check at start.
//
// A process that knows more migrations than were run claims the store: it holds a lock on path + ".newer" until it
// can read. The writer that sees the lock makes way (on_superseded), so a rolling restart brings a new schema in.
// Builds that know fewer migrations go on with the newer schema: a migration must leave them able to.
//
// Tables whose names begin with "sluice_" belong to this module and its siblings (outbox, cursors,
// idempotency).
#ifndef COMMON_STORE_H
#define COMMON_STORE_H

#include "common/db.h"

#include <stdbool.h>
#include <uv.h>

#define STORE_MAX_BATCH 256    // jobs in one transaction: bounds the time a commit makes the first one wait
#define STORE_MAX_QUEUE 4096   // jobs that wait; more are refused with -EAGAIN
#define STORE_MAX_WAL_PAGES 1000 // the writer checkpoints above this
#define STORE_CHECK_BYTES (256 * 1024 * 1024) // a larger store is not checked at start: it would take seconds
#define STORE_RETRY_MS 1000    // how often it is tried whether trouble is over
#define STORE_DAMAGED_RETRY_MS 15000 // the same for a damaged file, which is read from end to end for it
#define STORE_UNKNOWN (-ENOTRECOVERABLE) // the disk failed during the commit: whether it is there shows when the store is opened again
#define STORE_ROOM_BYTES 65536 // written to find out whether there is room again
#define STORE_POLL_MS 20       // how often a reader looks whether the schema is there yet
#define STORE_CLAIM_MS 200     // how often the writer looks whether a newer build waits to migrate
#define STORE_LOOK_MS 1000     // and then, of a rebuildable store, whether its writer made a new file

struct store;

// Runs in the writer thread, inside the job's savepoint. A negative return rolls the job back;
// others stay.
typedef int store_run_fn(struct db *db, void *job);

// Runs on the loop after the commit (or the failure). status is what run returned, or, when the
// transaction could not be committed, a negative errno: then nothing of the job is in the store; or
// STORE_UNKNOWN.
typedef void store_done_fn(int status, int64_t store_us, void *job);

struct store_callbacks {
    void (*on_readable)(void *data);               // the schema is there: reads may be served
    void (*on_writable)(void *data);               // this process is the writer now
    void (*on_committed)(void *data);              // a transaction was committed (wakes the outbox relay)
    void (*on_failed)(int error, const char *text, void *data); // the store is out of service, for good
    // It cannot be used at the moment, and text says why and what to do; told again when that
    // changes. error: -EUCLEAN damaged, -ENOSPC no room, -EROFS not to be written to, or another.
    void (*on_trouble)(int error, const char *text, void *data);
    void (*on_healed)(void *data);
    void *data;
};

struct store_options {
    const char *path;                // of the database; the lease is path + ".lease"
    const char *const *migrations;   // SQL scripts; number i brings user_version from i to i + 1
    size_t n_migrations;
    int64_t check_bytes;             // a file above this is not checked at start
    bool rebuildable;                // made from events alone: synchronous=NORMAL, thrown away when damaged
    // Runs in the writer thread after the migrations, in a transaction of its own; may be NULL.
    int (*on_writer)(struct db *db, void *data);
    // On the loop, once: this process writes, and one that knows more migrations waits for the lease. It should end in
    // good order. May be NULL.
    void (*on_superseded)(void *data);
    void *data;
};

__attribute__((warn_unused_result)) int store_open(uv_loop_t *loop, const struct store_options *options,
                                                   const struct store_callbacks *callbacks,
                                                   struct store **ret_store);

// The loop thread's read-only connection; NULL until on_readable.
struct db *store_reader(struct store *s);

// Whether jobs can be submitted here. False from store_close() on.
bool store_is_writer(const struct store *s);

// Name of this store for ever: a UUID made with it. Valid from on_readable on.
const char *store_uuid(const struct store *s);

// Gives a job to the writer thread. -EAGAIN: the queue is full; -EROFS: this process is not the
// writer, or the store failed.
__attribute__((warn_unused_result)) int store_submit(struct store *s, store_run_fn *run, store_done_fn *done,
                                                     void *job);

// A read has found the file damaged (-EUCLEAN): on_trouble, and it stays so until the process ends.
void store_found_damage(struct store *s);

// Jobs submitted and not yet reported.
size_t store_pending(const struct store *s);

// Finishes what was submitted, closes the connections, gives up the lease. on_closed runs on the
// loop.
void store_close(struct store **s, void (*on_closed)(void *data), void *data);

#endif
