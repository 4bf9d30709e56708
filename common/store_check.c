// SPDX-License-Identifier: MIT
// Whether a store's file is sound, and in what words people are told that it is not.
#include "common/store_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int store_check(struct db *db, char detail[STORE_TEXT])
{
    struct db_rows rows;
    int rc = db_row(db, &rows, "PRAGMA quick_check(1)", "");
    if (rc <= 0) {
        (void)snprintf(detail, STORE_TEXT, "%s", db_error(db));
        return rc ? rc : -EUCLEAN;
    }
    struct str found = db_str(&rows, 0);
    rc = str_eq(found, STR("ok")) ? 0 : -EUCLEAN;
    (void)snprintf(detail, STORE_TEXT, "%.*s", STR_ARG(found));
    db_rows_close(&rows);
    return rc;
}

// Whether the store was being made when the process died. Only a writer can undo that, and one that
// reads gets -EROFS.
static bool has_journal(const struct store *s)
{
    struct stat st;
    char name[4096];
    int n = snprintf(name, sizeof name, "%s-journal", s->path);
    return n > 0 && (size_t)n < sizeof name && stat(name, &st) == 0 && st.st_size > 0;
}

int store_check_file(const struct store *s, struct store_trouble *ret_found)
{
    struct stat st;
    char detail[STORE_TEXT] = "it cannot be opened as a database";
    struct db *db = NULL;
    *ret_found = (struct store_trouble){ 0 };
    if (stat(s->path, &st) || st.st_size == 0 || st.st_size > s->options.check_bytes) {
        return 0;
    }
    int rc = db_open(s->path, DB_READER, &db);
    rc = rc ? rc : store_check(db, detail);
    db_close(&db);
    if (rc == -EROFS && has_journal(s)) {
        return 0;
    }
    if (rc) {
        store_describe(rc, detail, ret_found);
    }
    return rc;
}

void store_describe(int error, const char *detail, struct store_trouble *ret_trouble)
{
    struct store_trouble t = { .error = error };
    switch (error) {
    case -ENOSPC:
    case -EDQUOT:
        (void)snprintf(t.text, sizeof t.text,
                       "there is no room on its disk; make room, and it goes on by itself");
        break;
    case -EROFS:
    case -EACCES:
    case -EPERM:
        (void)snprintf(t.text, sizeof t.text,
                       "it cannot be written to (%s); when it can, it goes on by itself",
                       strerror(-error));
        break;
    case -EUCLEAN:
        (void)snprintf(t.text, sizeof t.text,
                       "it is damaged; restore it from a backup with `sluice restore` (%.200s)",
                       detail);
        break;
    default:
        (void)snprintf(t.text, sizeof t.text, "%.250s", detail);
    }
    for (char *p = t.text; (p = strchr(p, '\n'));) {
        *p = ' '; // a line of the log, and of `sluice status`
    }
    *ret_trouble = t;
}

int64_t store_retry_ms(int error)
{
    return error == -EUCLEAN ? STORE_DAMAGED_RETRY_MS : STORE_RETRY_MS;
}
