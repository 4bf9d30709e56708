// SPDX-License-Identifier: MIT
#include "common/db_copy.h"

#include "common/db.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static int copy_pages(struct db *from, sqlite3 *to)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", db_handle(from), "main");
    if (!b) {
        return db_errno(sqlite3_errcode(to));
    }
    int step = sqlite3_backup_step(b, -1); // all in one read transaction: of one moment
    int code = sqlite3_backup_finish(b);
    return step == SQLITE_DONE ? db_errno(code) : db_errno(step) ? db_errno(step) : -EIO;
}

// The copy is one file, without a log beside it.
static int finish_copy(sqlite3 *to, int64_t last_seq)
{
    char sql[160];
    (void)snprintf(sql, sizeof sql,
                   "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;"
                   "UPDATE sluice_cursor SET seq = %" PRId64 " WHERE seq > %" PRId64,
                   last_seq, last_seq);
    return db_errno(sqlite3_exec(to, sql, NULL, NULL, NULL));
}

static int check_copy(sqlite3 *to)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(to, "PRAGMA quick_check(1)", -1, &s, NULL);
    code = code == SQLITE_OK ? sqlite3_step(s) : code;
    const unsigned char *found = code == SQLITE_ROW ? sqlite3_column_text(s, 0) : NULL;
    int rc = found && strcmp((const char *)found, "ok") == 0 ? 0 : -EUCLEAN;
    (void)sqlite3_finalize(s); // repeats the error of the step
    return rc;
}

int db_copy(const char *from, const char *to, int64_t last_seq, char *error, size_t size)
{
    struct db *db = NULL;
    sqlite3 *copy = NULL;
    int rc = db_open(from, DB_READER, &db);
    if (rc) {
        (void)snprintf(error, size, "%s: %s", from, strerror(-rc));
        return rc;
    }
    rc = db_errno(sqlite3_open_v2(to, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL));
    rc = rc ? rc : copy_pages(db, copy);
    rc = rc ? rc : finish_copy(copy, last_seq);
    rc = rc ? rc : check_copy(copy);
    if (rc) {
        (void)snprintf(error, size, "%s: %s", to,
                       rc == -EUCLEAN ? "the copy is damaged" : strerror(-rc));
    }
    if (sqlite3_close(copy) != SQLITE_OK && !rc) {
        rc = -EIO;
        (void)snprintf(error, size, "%s: it cannot be closed", to);
    }
    db_close(&db);
    return rc;
}
