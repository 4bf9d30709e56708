// SPDX-License-Identifier: MIT
// One connection to a SQLite store, with its prepared statements. Statements are cached by the
// address of their SQL literal, so a query costs a bind and a step. SQLite's result codes end here:
// everything returns 0 or a positive count, or a negative errno (db_errno in db.c has the
// translation; -EIO and -ENOSPC mean that the store itself failed, -EEXIST a UNIQUE or PRIMARY KEY
// conflict, -EINVAL another constraint).
//
// Bind types, one character per argument of the variadic calls:
//     s struct str (text)   z const char * (text, NULL is null)   i int64_t   b struct str (blob)   n nothing (null)
#ifndef COMMON_DB_H
#define COMMON_DB_H

#include "proto/str.h"

#include <stdbool.h>
#include <stdint.h>

#define DB_MAX_STATEMENTS 128 // distinct SQL literals of one connection
#define DB_STEPS 1000 // of SQLite's machine between looks at the clock: far less than a millisecond
#define DB_MAX_BYTES 4000000 // of one value: above any body or event

struct db;
struct sqlite3;

enum db_mode {
    DB_WRITER, // read-write, makes the file; WAL, synchronous=FULL, the only one that commits or checkpoints
    DB_READER // read-only; never checkpoints
};

// Opens path with the hardening of DESIGN section 4. Returns -ENOENT for a reader without a store,
// -EUCLEAN when the file is not a database or is damaged; what the system said (-EMFILE, -ENOSPC) when
// that is why it cannot be opened.
__attribute__((warn_unused_result)) int db_open(const char *path, enum db_mode mode,
                                                struct db **ret_db);
void db_close(struct db **db);

// Bytes of memory in the page caches of all connections of the process. Any thread may ask.
int64_t db_cache_bytes(void);

// Adds what the page cache of this connection did since the last call to the two figures below. The
// connection's thread; db_close() does it, too.
void db_count_pages(struct db *db);

// Pages that connections of the process needed and found in their caches, and those that they had to
// read from the file or its WAL, as far as they were counted. Any thread.
int64_t db_page_hits(void);
int64_t db_page_misses(void);

// Text of the last failure, for the log. Borrowed until the next call.
const char *db_error(const struct db *db);

// Runs statements that return no rows, from one string; for schema and pragmas. Not cached.
__attribute__((warn_unused_result)) int db_script(struct db *db, const char *sql);

// Runs one statement that returns no rows; returns how many rows it changed. sql must be a literal.
__attribute__((warn_unused_result)) int db_run(struct db *db, const char *sql, const char *types,
                                               ...);

// The rows of one query. Values are borrowed until the next row or db_rows_close().
struct db_rows {
    void *statement;
    struct db *db;
};

// Starts a query. Must be closed, also after errors of db_rows_next().
__attribute__((warn_unused_result)) int db_rows_open(struct db *db, struct db_rows *rows,
                                                     const char *sql, const char *types, ...);
// 1: a row is there; 0: no more; or a negative errno.
__attribute__((warn_unused_result)) int db_rows_next(struct db_rows *rows);
void db_rows_close(struct db_rows *rows);

int64_t db_int(const struct db_rows *rows, int column);    // 0 for null
double db_double(const struct db_rows *rows, int column);  // 0 for null
struct str db_str(const struct db_rows *rows, int column); // text or blob; p == NULL for null
bool db_is_null(const struct db_rows *rows, int column);

// A query for at most one row: opens, steps once. Returns 1 with the row (close it), 0 for none
// (closed), or a negative errno (closed).
__attribute__((warn_unused_result)) int db_row(struct db *db, struct db_rows *rows, const char *sql,
                                               const char *types, ...);

// Transactions of the writer. Savepoints nest inside.
__attribute__((warn_unused_result)) int db_begin(struct db *db);
__attribute__((warn_unused_result)) int db_commit(struct db *db);
void db_rollback(struct db *db);
__attribute__((warn_unused_result)) int db_savepoint(struct db *db);
__attribute__((warn_unused_result)) int db_release(struct db *db);
void db_rollback_to(struct db *db); // undoes and leaves the savepoint

// False also after SQLite rolled a transaction back by itself, as it does on some I/O errors.
bool db_in_transaction(const struct db *db);

// Copies what it can of the WAL into the database without waiting for readers. Writer only. Returns
// the pages left in the WAL, or a negative errno.
int db_checkpoint(struct db *db);

// What a reader asks is given up with -EINTR once clock_mono_us() reaches this time; 0: never. It is
// looked at every DB_STEPS steps of SQLite's machine.
void db_read_until(struct db *db, int64_t mono_us);

// A result code of SQLite as ours.
int db_errno(int code);

// The error of something that could not be opened: what the system said (an errno; 0: nothing) where
// SQLite only says that it did not work, as -EMFILE or -ENOSPC.
int db_opening_errno(int error, int system);

// The connection itself, for functions that only one service needs (FTS5 auxiliary functions).
struct sqlite3 *db_handle(struct db *db);

#endif
