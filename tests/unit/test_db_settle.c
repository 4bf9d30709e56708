// SPDX-License-Identifier: MIT
// What a hand-over writes again: all that is not known to be on the disk, and hardly more. That
// nothing is lost by it is shown by the simulated disk (tests/fault/store_sim), whose syncs fail.
#include "common/db_settle.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "tests/unit/temp_dir.h"

#define FRAME (24 + 4096)
#define HEADER 32
#define LEASE "t.db.lease"

static struct db *db;
static struct db_settled settled;
static int frames; // as the last commit left them
static size_t written;

static int on_wal(void *data, struct sqlite3 *handle, const char *name, int pages)
{
    (void)data, (void)handle, (void)name;
    frames = pages;
    return 0;
}

static void open_store(void)
{
    assert_int_equal(db_open("t.db", DB_WRITER, &db), 0);
    (void)sqlite3_wal_hook(db_handle(db), on_wal, NULL);
    db_settled_open(&settled, LEASE);
}

static int set_up(void **state)
{
    if (temp_dir_enter(state)) {
        return -1;
    }
    int fd = open(LEASE, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    open_store();
    assert_true(settled.fd >= 0);
    assert_int_equal(db_script(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB)"), 0);
    return 0;
}

// The process is gone, without a checkpoint.
static void die(void)
{
    int on = 1;
    assert_int_equal(sqlite3_db_config(db_handle(db), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on, &on),
                     SQLITE_OK);
    db_close(&db);
    db_settled_close(&settled);
}

static int tear_down(void **state)
{
    if (db) {
        die();
    }
    return temp_dir_leave(state);
}

static void commit(bool noted)
{
    assert_true(db_run(db, "INSERT INTO t(a) VALUES(zeroblob(3000))", "") >= 0);
    if (noted) {
        db_settled_note(&settled, db, frames);
    }
}

// At least so many frames in all.
static void commit_until(int n, bool noted)
{
    while (frames < n) {
        commit(noted);
    }
}

static ssize_t count_written(int fd, const void *data, size_t n, off_t at)
{
    written += n;
    return pwrite(fd, data, n, at);
}

// What a hand-over writes.
static size_t settle(const char *lease)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    sqlite3_syscall_ptr before = vfs->xGetSystemCall(vfs, "pwrite64");
    written = 0;
    assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)count_written),
                     SQLITE_OK);
    int rc = db_settle("t.db", lease);
    assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite64", before), SQLITE_OK);
    assert_int_equal(rc, 0);
    return written;
}

static void test_only_what_is_not_noted(void **state)
{
    (void)state;
    commit_until(500, true);
    die();
    size_t n = settle(LEASE);
    assert_true(n > 0);
    assert_true(n <= (DB_SETTLED_PAGES + 8) * FRAME);
    assert_int_equal(settle(NULL), HEADER + (size_t)frames * FRAME);
}

static void test_nothing_was_noted(void **state)
{
    (void)state;
    commit_until(100, false);
    die();
    assert_int_equal(settle(LEASE), HEADER + (size_t)frames * FRAME);
    assert_int_equal(unlink(LEASE), 0);
    assert_int_equal(settle(LEASE), HEADER + (size_t)frames * FRAME);
    open_store(); // and it goes on without
    assert_int_equal(settled.fd, -1);
    commit(true);
    commit_until(200, true);
    die();
    assert_int_equal(settle(LEASE), HEADER + (size_t)frames * FRAME);
}

// The file is as long as before, but what is in it belongs to two generations.
static void test_a_log_that_was_begun_anew(void **state)
{
    (void)state;
    struct stat st;
    commit_until(500, true);
    assert_int_equal(db_checkpoint(db), 0);
    commit(false);
    int few = frames;
    assert_true(few < 10);
    assert_int_equal(stat("t.db-wal", &st), 0);
    assert_true(st.st_size >= HEADER + 500 * FRAME);
    die();
    assert_int_equal(settle(LEASE), HEADER + (size_t)few * FRAME); // that note is of another one
    open_store();
    commit(true);
    die();
    assert_int_equal(settle(LEASE), 0); // all of it is noted, in spite of the old frames behind it
    open_store();
    commit_until(100, false);
    die();
    assert_true(settle(LEASE) >= (size_t)(frames - few - 16) * FRAME);
}

static void overwrite(const char *path, const void *bytes, size_t n, off_t at)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

static void test_a_note_that_cannot_be(void **state)
{
    (void)state;
    static const char noise[64] = "something that somebody wrote there";
    uint32_t many = 1000000;
    commit_until(100, true);
    die();
    overwrite(LEASE, &many, sizeof many, 8);
    assert_int_equal(settle(LEASE), HEADER + (size_t)frames * FRAME);
    overwrite(LEASE, noise, sizeof noise, 0);
    assert_int_equal(settle(LEASE), HEADER + (size_t)frames * FRAME);
    assert_int_equal(truncate(LEASE, 5), 0);
    assert_int_equal(settle(LEASE), HEADER + (size_t)frames * FRAME);
}

static void test_a_log_that_is_damaged(void **state)
{
    (void)state;
    struct stat st;
    commit_until(100, true);
    die();
    assert_int_equal(stat("t.db-wal", &st), 0);
    overwrite("t.db-wal", "\0\0\0\0", 4, 8); // pages of no size
    assert_int_equal(settle(LEASE), st.st_size);
    overwrite("t.db-wal", "\xff\xff\xff\xff", 4, 8);
    assert_int_equal(settle(LEASE), st.st_size);
    assert_int_equal(truncate("t.db-wal", 31), 0);
    assert_int_equal(settle(LEASE), 31);
    assert_int_equal(truncate("t.db-wal", 0), 0);
    assert_int_equal(settle(LEASE), 0);
    assert_int_equal(unlink("t.db-wal"), 0);
    assert_int_equal(settle(LEASE), 0);
}

// It is written over by nobody who has no right to it.
static void test_a_link_is_not_followed(void **state)
{
    (void)state;
    struct db_settled other;
    assert_int_equal(symlink("t.db", "link"), 0);
    db_settled_open(&other, "link");
    assert_int_equal(other.fd, -1);
    db_settled_note(&other, db, 1000);
    db_settled_close(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_only_what_is_not_noted),    CASE(test_nothing_was_noted),
        CASE(test_a_log_that_was_begun_anew), CASE(test_a_note_that_cannot_be),
        CASE(test_a_log_that_is_damaged),     CASE(test_a_link_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
