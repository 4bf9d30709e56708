// SPDX-License-Identifier: MIT
// SQLite's results become our errors, values come back as they went, and a reader can do no harm.
#include "common/db.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "common/db_settle.h"
#include "common/file.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#define SCHEMA                                                                                     \
    "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE, blob BLOB, n INTEGER, r REAL,"       \
    "  CHECK(n < 1000)) STRICT;"                                                                   \
    "CREATE TABLE child(id INTEGER REFERENCES t(id), must TEXT NOT NULL) STRICT;"                  \
    "CREATE TABLE pair(a TEXT, b TEXT, PRIMARY KEY(a, b)) STRICT, WITHOUT ROWID;"

static struct db *db;

static struct db *opened(enum db_mode mode)
{
    struct db *opened = NULL;
    assert_int_equal(db_open("t.db", mode, &opened), 0);
    return opened;
}

static int open_db(void **state)
{
    if (temp_dir_enter(state)) {
        return -1;
    }
    db = opened(DB_WRITER);
    return db_script(db, SCHEMA);
}

static int close_db(void **state)
{
    db_close(&db);
    return temp_dir_leave(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_db, close_db)

// The one integer that a query gives.
static int64_t number(struct db *from, const char *sql)
{
    struct db_rows rows;
    assert_int_equal(db_row(from, &rows, sql, ""), 1);
    int64_t n = db_int(&rows, 0);
    db_rows_close(&rows);
    return n;
}

static const char count_t[] = "SELECT count(*) FROM t";
static const char insert_t[] = "INSERT INTO t(id) VALUES(?)";

// --- Values

static void test_values_come_back(void **state)
{
    (void)state;
    static const int64_t numbers[] = { INT64_MIN, -1, 0, 999 };
    struct db_rows rows;
    for (int64_t i = 0; i < 4; i++) {
        assert_int_equal(db_run(db, "INSERT INTO t(id, name, blob, n) VALUES(?, ?, ?, ?)", "isbi",
                                i, i == 1 ? STR("a\0b") : (struct str){ NULL, 0 }, STR("\0\xFF"),
                                numbers[i]),
                         1);
    }
    int64_t i = 0;
    assert_int_equal(db_rows_open(db, &rows, "SELECT id, name, blob, n, r FROM t ORDER BY id", ""),
                     0);
    while (db_rows_next(&rows) == 1) {
        assert_int_equal(db_int(&rows, 0), i);
        struct str name = db_str(&rows, 1), blob = db_str(&rows, 2);
        assert_true(i == 1 ? str_eq(name, STR("a\0b")) : !name.p && name.n == 0);
        assert_true(str_eq(blob, STR("\0\xFF")));
        assert_true(db_int(&rows, 3) == numbers[i]);
        assert_true(db_is_null(&rows, 4) && db_int(&rows, 4) == 0 && db_double(&rows, 4) == 0);
        i++;
    }
    assert_int_equal(i, 4);
    db_rows_close(&rows);
    db_rows_close(&rows); // twice does no harm
}

static void test_empty_is_not_null(void **state)
{
    (void)state;
    struct db_rows rows;
    assert_int_equal(db_row(db, &rows, "SELECT ?, ?, ?, ?, ?, ?, ?, 1.5", "sszzbbn", STR(""),
                            (struct str){ NULL, 0 }, "", NULL, STR(""), (struct str){ NULL, 0 }),
                     1);
    for (int column = 0; column < 7; column++) {
        bool null = column % 2 == 1 || column == 6;
        struct str s = db_str(&rows, column);
        assert_int_equal(db_is_null(&rows, column), null);
        assert_int_equal(s.p == NULL, null);
        assert_int_equal(s.n, 0);
    }
    assert_true(db_double(&rows, 7) == 1.5);
    assert_true(str_eq(db_str(&rows, 7), STR("1.5")));
    db_rows_close(&rows);
}

static void test_a_value_over_the_limit(void **state)
{
    (void)state;
    char *large = calloc(1, DB_MAX_BYTES + 1);
    assert_non_null(large);
    assert_int_equal(
        db_run(db, "INSERT INTO t(blob) VALUES(?)", "b", (struct str){ large, DB_MAX_BYTES - 100 }),
        1);
    assert_int_equal(
        db_run(db, "INSERT INTO t(blob) VALUES(?)", "b", (struct str){ large, DB_MAX_BYTES + 1 }),
        -EMSGSIZE);
    assert_int_equal(db_run(db, "INSERT INTO t(blob) VALUES(?)", "b", STR("small")),
                     1); // usable again
    free(large);
}

// --- Statements

static void test_statements_are_kept(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 1000; i++) {
        assert_int_equal(db_run(db, insert_t, "i", i), 1);
        assert_int_equal(number(db, count_t), i + 1);
    }
    int statements = 0;
    for (sqlite3_stmt *s = NULL; (s = sqlite3_next_stmt(db_handle(db), s));) {
        statements++;
    }
    assert_int_equal(statements, 2);
}

static void test_statements_over_the_limit(void **state)
{
    (void)state;
    static char sql[DB_MAX_STATEMENTS + 1][32];
    struct db_rows rows;
    for (int i = 0; i <= DB_MAX_STATEMENTS; i++) {
        (void)snprintf(sql[i], sizeof sql[i], "SELECT %d", i);
        assert_int_equal(db_row(db, &rows, sql[i], ""), i < DB_MAX_STATEMENTS ? 1 : -ENOSPC);
        if (i < DB_MAX_STATEMENTS) {
            db_rows_close(&rows);
        }
    }
    for (int i = 0; i < DB_MAX_STATEMENTS;
         i++) { // those that are there go on working, each its own
        assert_int_equal(number(db, sql[i]), i);
    }
}

static void test_queries_at_the_same_time(void **state)
{
    (void)state;
    static const char outer_sql[] = "SELECT id FROM t ORDER BY id",
                      inner_sql[] = "SELECT id FROM t WHERE id < ?";
    struct db_rows outer, inner;
    for (int64_t i = 0; i < 5; i++) {
        assert_int_equal(db_run(db, insert_t, "i", i), 1);
    }
    int64_t pairs = 0;
    assert_int_equal(db_rows_open(db, &outer, outer_sql, ""), 0);
    while (db_rows_next(&outer) == 1) {
        assert_int_equal(db_rows_open(db, &inner, inner_sql, "i", db_int(&outer, 0)), 0);
        while (db_rows_next(&inner) == 1) {
            pairs++;
        }
        db_rows_close(&inner);
    }
    db_rows_close(&outer);
    assert_int_equal(pairs, 10);
}

static void test_rows(void **state)
{
    (void)state;
    struct db_rows rows;
    static const char find[] = "SELECT id FROM t WHERE id = ?";
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(7)), 1);
    for (int i = 0; i < 3; i++) { // closed by itself when there is none: usable at once
        assert_int_equal(db_row(db, &rows, find, "i", INT64_C(8)), 0);
        assert_int_equal(db_row(db, &rows, find, "i", INT64_C(7)), 1);
        assert_int_equal(db_int(&rows, 0), 7);
        db_rows_close(&rows);
    }
    assert_int_equal(db_run(db, "UPDATE t SET n = 1", ""), 1);
    assert_int_equal(db_run(db, "UPDATE t SET n = 1 WHERE id = 99", ""), 0);
    assert_int_equal(db_run(db, "DELETE FROM t", ""), 1);
    assert_int_equal(db_run(db, "SELECT 1", ""), -EPROTO); // rows that nobody reads
}

// --- Errors

static void test_errors_are_ours(void **state)
{
    (void)state;
    static const char named[] = "INSERT INTO t(id, name) VALUES(?, ?)",
                      pair[] = "INSERT INTO pair VALUES('a', 'b')";
    static const char child[] = "INSERT INTO child(id, must) VALUES(?, ?)";
    assert_int_equal(db_run(db, named, "iz", INT64_C(1), "x"), 1);
    assert_int_equal(db_run(db, named, "iz", INT64_C(2), "x"), -EEXIST); // UNIQUE
    assert_non_null(strstr(db_error(db), "t.name"));
    assert_int_equal(db_run(db, named, "iz", INT64_C(1), "y"), -EEXIST); // PRIMARY KEY
    assert_int_equal(db_run(db, pair, ""), 1);
    assert_int_equal(db_run(db, pair, ""), -EEXIST);
    assert_int_equal(db_run(db, "INSERT INTO t(n) VALUES(1000)", ""), -EINVAL); // CHECK
    assert_int_equal(db_run(db, "INSERT INTO t(n) VALUES('x')", ""), -EINVAL);  // STRICT
    assert_int_equal(db_run(db, child, "in", INT64_C(1)), -EINVAL);             // NOT NULL
    assert_int_equal(db_run(db, child, "iz", INT64_C(99), "x"), -EINVAL);       // REFERENCES
    assert_int_equal(db_run(db, child, "iz", INT64_C(1), "x"), 1);
    assert_int_equal(db_run(db, "NOT SQL", ""), -EIO);
    assert_non_null(strstr(db_error(db), "syntax error"));
    assert_int_equal(db_script(db, "SELECT * FROM nowhere"), -EIO);
    assert_int_equal(db_commit(db), -EIO); // there is no transaction
    assert_int_equal(number(db, count_t), 1);
}

static void test_a_full_store(void **state)
{
    (void)state;
    static const char fill[] = "INSERT INTO t(blob) VALUES(zeroblob(100000))";
    assert_int_equal(db_script(db, "PRAGMA max_page_count=100"), 0);
    int rc = 0;
    for (int i = 0; i < 100 && rc >= 0; i++) {
        rc = db_run(db, fill, "");
    }
    assert_int_equal(rc, -ENOSPC);
}

static int open_result(const char *path, enum db_mode mode)
{
    struct db *opened = NULL;
    int rc = db_open(path, mode, &opened);
    assert_int_equal(rc == 0, opened != NULL);
    db_close(&opened);
    return rc;
}

static void test_files_that_are_no_database(void **state)
{
    (void)state;
    char noise[8192];
    memset(noise, 'n', sizeof noise);
    assert_int_equal(file_replace("noise.db", (struct str){ noise, sizeof noise }, 0600), 0);
    assert_int_equal(open_result("noise.db", DB_WRITER), -EUCLEAN);
    assert_int_equal(open_result("noise.db", DB_READER), -EUCLEAN);
    assert_int_equal(open_result("absent.db", DB_READER), -ENOENT);
    assert_int_equal(access("absent.db", F_OK), -1);
    assert_int_equal(open_result("no/such/dir.db", DB_WRITER), -ENOENT);
    assert_int_equal(mkdir("dir.db", 0700), 0);
    assert_true(open_result("dir.db", DB_WRITER) < 0);

    // A database whose first page is a database's, and whose schema is not.
    db_close(&db);
    int fd = open("t.db", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, noise, 3000, 100), 3000);
    close(fd);
    assert_int_equal(open_result("t.db", DB_READER), -EUCLEAN);
    assert_int_equal(open_result("t.db", DB_WRITER), -EUCLEAN);
    assert_int_equal(file_replace("t.db", STR(""), 0600), 0); // an empty file is an empty database
    db = opened(DB_WRITER);
    struct db *none = NULL;
    db_close(&none);
}

// --- Readers and the writer

static void test_what_the_system_said(void **state)
{
    (void)state;
    struct db *other = NULL;
    descriptors_take_all();
    int of_writer = db_open("other.db", DB_WRITER, &other);
    int of_reader = db_open("t.db", DB_READER, &other);
    int of_settling = db_settle("t.db", NULL);
    descriptors_give_back();
    assert_int_equal(of_writer, -EMFILE);
    assert_int_equal(of_reader, -EMFILE);
    assert_int_equal(of_settling, -EMFILE);
    assert_int_equal(db_settle("t.db", NULL), 0);
    assert_null(other);
    assert_int_equal(db_open("none/other.db", DB_WRITER, &other), -ENOENT);
}

static int opens_until_one_fails; // 0: none fails

static int open_or_fail(const char *path, int flags, int mode)
{
    if (opens_until_one_fails > 0 && --opens_until_one_fails == 0) {
        errno = EMFILE;
        return -1;
    }
    return open(path, flags, mode);
}

// SQLite tries to read what it cannot open to write, and tells of that alone.
static void test_a_descriptor_is_missing_once(void **state)
{
    (void)state;
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    sqlite3_syscall_ptr before = vfs->xGetSystemCall(vfs, "open");
    assert_int_equal(vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_or_fail),
                     SQLITE_OK);
    int n = 0;
    for (bool failed = true; failed; n++) {
        struct db *other = NULL;
        opens_until_one_fails = n + 1;
        int rc = db_open("other.db", DB_WRITER, &other);
        failed = opens_until_one_fails == 0;
        assert_true(rc == 0 || rc == -EMFILE || rc == -EROFS);
        db_close(&other);
        assert_true(unlink("other.db") == 0 || errno == ENOENT);
    }
    assert_true(n > 2); // the store, its directory or log, and one that was not reached
    opens_until_one_fails = 1;
    int of_settling = db_settle("t.db", NULL);
    assert_int_equal(opens_until_one_fails, 0);
    assert_int_equal(vfs->xSetSystemCall(vfs, "open", before), SQLITE_OK);
    assert_int_equal(of_settling, -EROFS);
}

static void test_a_reader_cannot_write(void **state)
{
    (void)state;
    struct db *reader = opened(DB_READER);
    assert_int_equal(db_run(reader, insert_t, "i", INT64_C(1)), -EROFS);
    assert_int_equal(db_script(reader, "CREATE TABLE x(y)"), -EROFS);
    assert_int_equal(db_script(reader, "PRAGMA user_version=7"), -EROFS);
    assert_int_equal(db_script(reader, "DELETE FROM t; DROP TABLE t"), -EROFS);
    assert_true(db_checkpoint(reader) < 0);
    assert_int_equal(number(reader, count_t), 0);
    db_close(&reader);
}

static void test_a_reader_sees_what_is_committed(void **state)
{
    (void)state;
    struct db *reader = opened(DB_READER);
    assert_int_equal(db_begin(db), 0);
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(1)), 1);
    assert_int_equal(number(db, count_t), 1);
    assert_int_equal(number(reader, count_t), 0);
    assert_int_equal(db_commit(db), 0);
    assert_int_equal(number(reader, count_t), 1);
    db_close(&reader);
}

static void test_only_the_writer_checkpoints(void **state)
{
    (void)state;
    struct stat st;
    struct db *reader = opened(DB_READER);
    for (int64_t i = 0; i < 2000; i++) { // far above SQLite's own limit for a checkpoint
        assert_int_equal(db_run(db, "INSERT INTO t(id, blob) VALUES(?, zeroblob(4000))", "i", i),
                         1);
    }
    assert_int_equal(stat("t.db", &st), 0);
    assert_true(st.st_size < 100000);
    struct db_rows rows;
    assert_int_equal(db_rows_open(reader, &rows, "SELECT id FROM t", ""), 0);
    assert_int_equal(db_rows_next(&rows), 1); // an old view of the store
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(5000)), 1);
    assert_true(db_checkpoint(db) > 0); // it does not wait
    db_rows_close(&rows);
    assert_int_equal(db_checkpoint(db), 0);
    db_close(&reader);
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(5001)), 1);
    reader = opened(DB_READER);
    assert_int_equal(stat("t.db-wal", &st), 0);
    off_t before = st.st_size;
    db_close(&reader);
    assert_int_equal(stat("t.db-wal", &st), 0); // a reader that closes leaves the log alone
    assert_int_equal(st.st_size, before);
}

static void test_how_it_is_opened(void **state)
{
    (void)state;
    struct db_rows rows;
    struct db *reader = opened(DB_READER);
    assert_int_equal(number(db, "PRAGMA synchronous"), 2); // FULL
    assert_int_equal(number(db, "PRAGMA foreign_keys"), 1);
    assert_int_equal(number(db, "PRAGMA wal_autocheckpoint"), 0);
    assert_int_equal(number(reader, "PRAGMA wal_autocheckpoint"), 0);
    assert_int_equal(number(reader, "PRAGMA query_only"), 1);
    assert_int_equal(number(db, "PRAGMA trusted_schema"), 0);
    assert_int_equal(db_row(db, &rows, "PRAGMA journal_mode", ""), 1);
    assert_true(str_eq(db_str(&rows, 0), STR("wal")));
    db_rows_close(&rows);
    assert_true(db_script(db, "ATTACH 'other.db' AS other") < 0);
    assert_int_equal(access("other.db", F_OK), -1);
    assert_true(db_script(db, "SELECT load_extension('x')") < 0);
    assert_int_equal(db_script(db, "PRAGMA writable_schema=ON"), 0); // is taken, and does nothing
    assert_true(db_script(db, "DELETE FROM sqlite_schema") < 0);
    db_close(&reader);
}

static void test_two_writers(void **state)
{
    (void)state;
    struct db *other = opened(DB_WRITER);
    assert_int_equal(db_begin(db), 0);
    assert_int_equal(db_begin(other), -EBUSY); // after a wait of 2 s
    db_rollback(db);
    assert_int_equal(db_begin(other), 0);
    db_rollback(other);
    db_close(&other);
}

// --- Transactions

static void test_savepoints_nest(void **state)
{
    (void)state;
    assert_false(db_in_transaction(db));
    assert_int_equal(db_begin(db), 0);
    assert_true(db_in_transaction(db));
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(1)), 1);
    assert_int_equal(db_savepoint(db), 0);
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(2)), 1);
    assert_int_equal(db_savepoint(db), 0);
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(3)), 1);
    db_rollback_to(db); // 3
    assert_int_equal(number(db, count_t), 2);
    assert_int_equal(db_savepoint(db), 0);
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(4)), 1);
    assert_int_equal(db_release(db), 0);
    db_rollback_to(db); // 2 and 4
    assert_int_equal(number(db, count_t), 1);
    assert_int_equal(db_commit(db), 0);
    assert_false(db_in_transaction(db));
    assert_int_equal(number(db, count_t), 1);
    assert_int_equal(db_begin(db), 0);
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(5)), 1);
    db_rollback(db);
    db_rollback(db); // without a transaction: nothing
    db_rollback_to(db);
    assert_int_equal(number(db, count_t), 1);
}

static void test_the_page_cache_is_counted(void **state)
{
    (void)state;
    int64_t before = db_cache_bytes();
    assert_int_equal(db_script(db, "INSERT INTO t(blob) VALUES(zeroblob(2000000))"), 0);
    int64_t after = db_cache_bytes();
    assert_true(after > before + 2000000 && after < before + 4000000);
    db_close(&db);
    assert_true(db_cache_bytes() <= before);
    db = opened(DB_WRITER);
}

static void test_found_pages_are_counted(void **state)
{
    (void)state;
    int64_t rows = 0;
    assert_int_equal(db_run(db, insert_t, "i", INT64_C(7)), 1);
    db_count_pages(db);
    int64_t hits = db_page_hits(), misses = db_page_misses();
    rows = number(db, count_t);
    assert_true(rows > 0);
    assert_int_equal(db_page_hits(), hits); // it was not counted yet
    db_count_pages(db);
    assert_true(db_page_hits() > hits);
    assert_int_equal(db_page_misses(), misses); // what was just written is there
    struct db *reader = opened(DB_READER);
    hits = db_page_hits();
    assert_int_equal(number(reader, count_t), rows);
    db_close(&reader);
    assert_true(db_page_misses() > misses); // nothing is there in a new cache
    misses = db_page_misses();
    db_count_pages(db);
    db_count_pages(db);
    assert_int_equal(db_page_misses(), misses); // nothing is counted twice
}

static int run_committer(void)
{
    struct db *own;
    if (db_open("t.db", DB_WRITER, &own) || db_script(own, "INSERT INTO t(id) VALUES(1)") ||
        db_begin(own) || db_script(own, "INSERT INTO t(id) VALUES(2)")) {
        return 1;
    }
    (void)kill(getpid(), SIGKILL);
    return 2;
}

static void test_a_killed_writer_leaves_what_it_committed(void **state)
{
    (void)state;
    db_close(&db);
    assert_int_equal(helper_wait(helper_start("committer", NULL), 10000), -SIGKILL);
    struct db *reader = opened(DB_READER); // without anybody having recovered the log for it
    assert_int_equal(number(reader, count_t), 1);
    db_close(&reader);
    db = opened(DB_WRITER);
    assert_int_equal(number(db, count_t), 1);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        return run_committer();
    }
    const struct CMUnitTest tests[] = {
        CASE(test_values_come_back),
        CASE(test_empty_is_not_null),
        CASE(test_a_value_over_the_limit),
        CASE(test_statements_are_kept),
        CASE(test_statements_over_the_limit),
        CASE(test_queries_at_the_same_time),
        CASE(test_rows),
        CASE(test_errors_are_ours),
        CASE(test_a_full_store),
        CASE(test_files_that_are_no_database),
        CASE(test_what_the_system_said),
        CASE(test_a_descriptor_is_missing_once),
        CASE(test_a_reader_cannot_write),
        CASE(test_a_reader_sees_what_is_committed),
        CASE(test_only_the_writer_checkpoints),
        CASE(test_how_it_is_opened),
        CASE(test_two_writers),
        CASE(test_savepoints_nest),
        CASE(test_the_page_cache_is_counted),
        CASE(test_found_pages_are_counted),
        CASE(test_a_killed_writer_leaves_what_it_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
