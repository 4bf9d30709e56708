// SPDX-License-Identifier: MIT
// SQLite behind our own errors and a statement cache. Statements are found by the address of their
// SQL literal in an open-addressed table: a query then costs no parsing, no hashing of text and no
// allocation.
#include "common/db.h"

#include "common/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

// A power of two, twice DB_MAX_STATEMENTS, so that probes stay short.
#define SLOTS 256
_Static_assert(SLOTS >= 2 * DB_MAX_STATEMENTS, "the table must stay half empty");

#define CACHE_KIB 16384 // page cache of one connection: the hot part of an operational store
#define BUSY_MS 2000    // only at opening and recovery does anybody ever wait for a lock
#define WAL_LIMIT_BYTES 67108864

struct slot {
    const char *sql;
    sqlite3_stmt *statement;
};

struct db {
    sqlite3 *handle;
    struct slot slots[SLOTS];
    size_t n_statements;
    int64_t until_us; // db_read_until(); 0: no limit
};

int db_errno(int code)
{
    switch (code & 0xFF) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CONSTRAINT:
        return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY ? -EEXIST
                                                                                        : -EINVAL;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_CANTOPEN:
        return -ENOENT;
    case SQLITE_TOOBIG:
        return -EMSGSIZE;
    case SQLITE_INTERRUPT:
        return -EINTR;
    default:
        return -EIO;
    }
}

static int last_error(struct db *db)
{
    int rc = db_errno(sqlite3_extended_errcode(db->handle));
    return rc ? rc : -EIO;
}

int64_t db_cache_bytes(void)
{
    // Pages that a cache takes from the heap, of which SQLite keeps count without MEMSTATUS, too.
    sqlite3_int64 bytes = 0, most = 0;
    int rc = sqlite3_status64(SQLITE_STATUS_PAGECACHE_OVERFLOW, &bytes, &most, 0);
    return rc == SQLITE_OK ? bytes : 0;
}

static _Atomic int64_t page_hits, page_misses;

static void count_pages(struct db *db, int what, _Atomic int64_t *count)
{
    int n = 0, highest = 0; // SQLite keeps no highest of these
    if (db->handle &&
        sqlite3_db_status(db->handle, what, &n, &highest, 1) == SQLITE_OK) { // 1: from 0 again
        atomic_fetch_add_explicit(count, n, memory_order_relaxed);
    }
}

void db_count_pages(struct db *db)
{
    count_pages(db, SQLITE_DBSTATUS_CACHE_HIT, &page_hits);
    count_pages(db, SQLITE_DBSTATUS_CACHE_MISS, &page_misses);
}

int64_t db_page_hits(void)
{
    return atomic_load_explicit(&page_hits, memory_order_relaxed);
}

int64_t db_page_misses(void)
{
    return atomic_load_explicit(&page_misses, memory_order_relaxed);
}

const char *db_error(const struct db *db)
{
    return sqlite3_errmsg(db->handle);
}

struct sqlite3 *db_handle(struct db *db)
{
    return db->handle;
}

int db_script(struct db *db, const char *sql)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : last_error(db);
}

// --- Opening

// Once per process: no mutex around connections, each of which has one thread, and no statistics of
// memory, which would take a global mutex in every allocation. Both fail only when SQLite is in use
// already; then it is slower.
static void configure_sqlite(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static void harden(struct db *db)
{
    // What cannot be set is not there to be abused: all of these fail only when SQLite lacks the
    // feature.
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, DB_MAX_BYTES);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_SQL_LENGTH, 100000);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_EXPR_DEPTH, 100);
    (void)sqlite3_extended_result_codes(db->handle, 1);
    (void)sqlite3_busy_timeout(db->handle, BUSY_MS);
}

static int set_pragmas(struct db *db, enum db_mode mode)
{
    char sql[512];
    (void)snprintf(sql, sizeof sql,
                   "PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;"
                   "PRAGMA cache_size=-%d; PRAGMA temp_store=MEMORY;",
                   CACHE_KIB);
    int rc = db_script(db, sql);
    if (rc || mode == DB_READER) {
        // Only the writer checkpoints, and nobody does on closing: see DESIGN section 4.
        rc = rc ? rc : db_script(db, "PRAGMA wal_autocheckpoint=0; PRAGMA query_only=ON;");
    } else {
        (void)snprintf(
            sql, sizeof sql,
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
            "PRAGMA journal_size_limit=%d;",
            WAL_LIMIT_BYTES);
        rc = db_script(db, sql);
    }
    if (!rc &&
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, mode == DB_READER, NULL)) {
        rc = -EIO;
    }
    return rc;
}

// The file must be a database, and read as one: a damaged header shows here and not at the first
// request.
static int probe(struct db *db)
{
    return db_script(db, "SELECT count(*) FROM sqlite_schema");
}

int db_opening_errno(int error, int system)
{
    bool says_more = system == ENOSPC || system == EDQUOT || system == EROFS || system == EACCES ||
                     system == EMFILE || system == ENFILE || system == EIO;
    return says_more && (error == -EIO || error == -ENOENT) ? -system : error;
}

static int on_steps(void *data)
{
    const struct db *db = data;
    return db->until_us && clock_mono_us() >= db->until_us;
}

void db_read_until(struct db *db, int64_t mono_us)
{
    db->until_us = mono_us;
}

static int open_once(const char *path, enum db_mode mode, struct db **ret_db)
{
    struct db *db = calloc(1, sizeof *db);
    if (!db) {
        return -ENOMEM;
    }
    int flags =
        mode == DB_WRITER ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    int code = sqlite3_open_v2(path, &db->handle,
                               flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    int rc = db_errno(code);
    if (!rc) {
        harden(db);
        rc = set_pragmas(db, mode);
    }
    if (!rc && mode == DB_READER) { // a writer's transaction is not to be cut off
        sqlite3_progress_handler(db->handle, DB_STEPS, on_steps, db);
    }
    rc = rc ? rc : probe(db);
    if (rc) {
        rc = db_opening_errno(rc, sqlite3_system_errno(db->handle));
        db_close(&db);
        return rc;
    }
    *ret_db = db;
    return 0;
}

int db_open(const char *path, enum db_mode mode, struct db **ret_db)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, configure_sqlite); // cannot fail
    int rc = open_once(path, mode, ret_db);
    // What cannot be opened to write, for whatever reason, SQLite opens to read. What a writer would
    // make is not there to be read, and that is all that the system says then; asked once more, it
    // says why, unless the reason is gone.
    return rc == -ENOENT && mode == DB_WRITER ? open_once(path, mode, ret_db) : rc;
}

void db_close(struct db **handle)
{
    struct db *db = *handle;
    *handle = NULL;
    if (!db) {
        return;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        (void)sqlite3_finalize(db->slots[i].statement); // repeats the error of the last step
    }
    db_count_pages(db);
    int code = sqlite3_close(db->handle);
    assert(code == SQLITE_OK); // every statement is finalized, and there are no blobs and backups
    (void)code;
    free(db);
}

// --- Statements

static int prepare(struct db *db, struct slot *slot, const char *sql)
{
    if (db->n_statements == DB_MAX_STATEMENTS) {
        return -ENOSPC;
    }
    if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &slot->statement,
                           NULL)) {
        return last_error(db);
    }
    slot->sql = sql;
    db->n_statements++;
    return 0;
}

static int statement_of(struct db *db, const char *sql, sqlite3_stmt **ret_statement)
{
    size_t i = ((uintptr_t)sql * UINT64_C(0x9E3779B97F4A7C15)) >> 56 & (SLOTS - 1);
    while (db->slots[i].sql && db->slots[i].sql != sql) {
        i = (i + 1) & (SLOTS - 1);
    }
    if (!db->slots[i].sql) {
        int rc = prepare(db, &db->slots[i], sql);
        if (rc) {
            return rc;
        }
    }
    *ret_statement = db->slots[i].statement;
    return 0;
}

// Values are bound without a copy: they live until the statement is reset, before the caller's call
// returns or its rows are closed.
static int bind_one(sqlite3_stmt *statement, int i, char type, va_list *args)
{
    struct str s;
    const char *z;
    switch (type) {
    case 's':
        s = va_arg(*args, struct str);
        return s.p ? sqlite3_bind_text64(statement, i, s.p, s.n, SQLITE_STATIC, SQLITE_UTF8)
                   : sqlite3_bind_null(statement, i);
    case 'b':
        s = va_arg(*args, struct str);
        return s.p ? sqlite3_bind_blob64(statement, i, s.p, s.n, SQLITE_STATIC)
                   : sqlite3_bind_null(statement, i);
    case 'z':
        z = va_arg(*args, const char *);
        return sqlite3_bind_text(statement, i, z, -1, SQLITE_STATIC); // NULL binds null
    case 'i':
        return sqlite3_bind_int64(statement, i, va_arg(*args, int64_t));
    default:
        assert(type == 'n');
        return sqlite3_bind_null(statement, i);
    }
}

static int bind_all(struct db *db, const char *sql, const char *types, va_list *args,
                    sqlite3_stmt **ret_statement)
{
    sqlite3_stmt *statement = NULL;
    int rc = statement_of(db, sql, &statement);
    if (rc) {
        return rc;
    }
    assert((size_t)sqlite3_bind_parameter_count(statement) == strlen(types));
    assert(!sqlite3_stmt_busy(statement)); // a query must be closed before it is used again
    for (int i = 0; types[i]; i++) {
        if (bind_one(statement, i + 1, types[i], args)) {
            rc = last_error(db);
            (void)sqlite3_reset(statement);
            return rc;
        }
    }
    *ret_statement = statement;
    return 0;
}

int db_run(struct db *db, const char *sql, const char *types, ...)
{
    sqlite3_stmt *statement = NULL;
    va_list args;
    va_start(args, types);
    int rc = bind_all(db, sql, types, &args, &statement);
    va_end(args);
    if (rc) {
        return rc;
    }
    int code = sqlite3_step(statement);
    rc = code == SQLITE_DONE  ? sqlite3_changes(db->handle)
         : code == SQLITE_ROW ? -EPROTO
                              : last_error(db);
    (void)sqlite3_reset(statement); // repeats the error of the step
    return rc;
}

static int rows_open(struct db *db, struct db_rows *rows, const char *sql, const char *types,
                     va_list *args)
{
    sqlite3_stmt *statement = NULL;
    *rows = (struct db_rows){ .db = db };
    int rc = bind_all(db, sql, types, args, &statement);
    rows->statement = statement;
    return rc;
}

int db_rows_open(struct db *db, struct db_rows *rows, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    int rc = rows_open(db, rows, sql, types, &args);
    va_end(args);
    return rc;
}

int db_rows_next(struct db_rows *rows)
{
    switch (sqlite3_step(rows->statement)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return last_error(rows->db);
    }
}

void db_rows_close(struct db_rows *rows)
{
    if (rows->statement) {
        (void)sqlite3_reset(rows->statement);
        rows->statement = NULL;
    }
}

int db_row(struct db *db, struct db_rows *rows, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    int rc = rows_open(db, rows, sql, types, &args);
    va_end(args);
    rc = rc ? rc : db_rows_next(rows);
    if (rc <= 0) {
        db_rows_close(rows);
    }
    return rc;
}

int64_t db_int(const struct db_rows *rows, int column)
{
    return sqlite3_column_int64(rows->statement, column);
}

double db_double(const struct db_rows *rows, int column)
{
    return sqlite3_column_double(rows->statement, column);
}

struct str db_str(const struct db_rows *rows, int column)
{
    // The bytes first: sqlite3_column_bytes() must come after the conversion that column_blob may
    // do. An empty value is a NULL pointer to SQLite, but not null to us.
    const char *p = sqlite3_column_blob(rows->statement, column);
    int n = sqlite3_column_bytes(rows->statement, column);
    if (!p && !db_is_null(rows, column)) {
        p = "";
    }
    return (struct str){ p, (size_t)n };
}

bool db_is_null(const struct db_rows *rows, int column)
{
    return sqlite3_column_type(rows->statement, column) == SQLITE_NULL;
}

// --- Transactions

int db_begin(struct db *db)
{
    int rc = db_run(db, "BEGIN IMMEDIATE", "");
    return rc < 0 ? rc : 0;
}

int db_commit(struct db *db)
{
    int rc = db_run(db, "COMMIT", "");
    return rc < 0 ? rc : 0;
}

bool db_in_transaction(const struct db *db)
{
    return !sqlite3_get_autocommit(db->handle);
}

// Undoing fails only when SQLite has already rolled back by itself, which comes to the same.
static void undo(struct db *db, const char *sql)
{
    if (db_in_transaction(db)) {
        int rc = db_run(db, sql, "");
        (void)rc;
    }
}

void db_rollback(struct db *db)
{
    undo(db, "ROLLBACK");
}

int db_savepoint(struct db *db)
{
    int rc = db_run(db, "SAVEPOINT job", "");
    return rc < 0 ? rc : 0;
}

int db_release(struct db *db)
{
    int rc = db_run(db, "RELEASE job", "");
    return rc < 0 ? rc : 0;
}

void db_rollback_to(struct db *db)
{
    undo(db, "ROLLBACK TO job");
    undo(db, "RELEASE job");
}

int db_checkpoint(struct db *db)
{
    int wal = 0, copied = 0;
    if (sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &wal, &copied)) {
        return last_error(db);
    }
    return wal - copied;
}
