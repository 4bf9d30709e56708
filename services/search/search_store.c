// SPDX-License-Identifier: MIT
#include "services/search/search_store.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>

// Columns are the same in each index. Weights: id and owner are not text, a title counts ten times
// as much as the body. Prefixes of two and three letters are indexed where people type ahead.
#define INDEX(name, options)                                                                       \
    "CREATE VIRTUAL TABLE " name " USING fts5 (id UNINDEXED, owner, title, key, body, "            \
    "tokenize = \"unicode61 remove_diacritics 2\"" options ");"                                    \
    "INSERT INTO " name " (" name ", rank) VALUES ('rank', 'bm25(0.0, 0.0, 10.0, 6.0, 1.0)');"

#define INDEXES                                                                                    \
    INDEX("product_index", ", prefix = '2 3'") INDEX("order_index", "") INDEX("user_index", "")

#define TABLES                                                                                     \
    "CREATE TABLE documents ("                                                                     \
    "  n INTEGER PRIMARY KEY," /* rowid in the index of its type */                                \
    "  type INTEGER NOT NULL," /* enum search_type */                                              \
    "  id TEXT NOT NULL,"                                                                          \
    "  version INTEGER NOT NULL,"                                                                  \
    "  removed INTEGER NOT NULL," /* 1: only the version is left */                                \
    "  UNIQUE (type, id)"                                                                          \
    ") STRICT;"                                                                                    \
    "CREATE TABLE words ("                                                                         \
    "  word TEXT PRIMARY KEY,"                                                                     \
    "  uses INTEGER NOT NULL"                                                                      \
    ") STRICT, WITHOUT ROWID;"

const char search_reset[] = "DROP TABLE documents; DROP TABLE words; DROP TABLE product_index;"
                            "DROP TABLE order_index; DROP TABLE user_index;" TABLES INDEXES;

const char *const search_migrations[SEARCH_MIGRATIONS] = { TABLES INDEXES };

// The statement for each type: SQL around the name of the index, as often as it occurs.
#define EACH_TYPE(MAKE)                                                                            \
    {                                                                                              \
        [SEARCH_PRODUCT] = MAKE("product_index"), [SEARCH_ORDER] = MAKE("order_index"),            \
        [SEARCH_USER] = MAKE("user_index")                                                         \
    }

enum news { NEWS_NONE = 0, NEWS_CHANGE = 1, NEWS_DOCUMENT = 2 };

// Notes a version. Returns enum news, and the document's number unless it is NEWS_NONE. In plain
// statements of one row: around any other SQLite opens a savepoint, at which FTS5 writes out what
// it has gathered in memory.
static int take_version(struct db *db, enum search_type type, struct str id, int64_t version,
                        bool removed, int64_t *ret_n)
{
    struct db_rows row;
    int rc = db_row(db, &row, "SELECT n, version FROM documents WHERE type = ? AND id = ?", "is",
                    (int64_t)type, id);
    if (rc == 0) {
        rc = db_run(db, "INSERT INTO documents (type, id, version, removed) VALUES (?, ?, ?, ?)",
                    "isii", (int64_t)type, id, version, (int64_t)removed);
        *ret_n = sqlite3_last_insert_rowid(db_handle(db));
        return rc < 0 ? rc : NEWS_DOCUMENT;
    }
    if (rc < 0) {
        return rc;
    }
    bool news = version > db_int(&row, 1);
    *ret_n = db_int(&row, 0);
    db_rows_close(&row);
    if (news) {
        rc = db_run(db, "UPDATE documents SET version = ?, removed = ? WHERE n = ?", "iii", version,
                    (int64_t)removed, *ret_n);
    }
    return rc < 0 ? rc : news ? NEWS_CHANGE : NEWS_NONE;
}

// Whether the index has just this text: many events change nothing that is searched for.
static int is_same(struct db *db, const struct search_document *d, int64_t n)
{
#define SAME(index) "SELECT title, key, body, owner FROM " index " WHERE rowid = ?"
    static const char *const sql[] = EACH_TYPE(SAME);
    struct db_rows row;
    int rc = db_row(db, &row, sql[d->type], "i", n);
    if (rc > 0) {
        rc = str_eq(db_str(&row, 0), d->title) && str_eq(db_str(&row, 1), d->key) &&
             str_eq(db_str(&row, 2), d->body) && str_eq(db_str(&row, 3), d->owner);
        db_rows_close(&row);
    }
    return rc;
}

int search_store_put(struct db *db, const struct search_document *d)
{
#define PUT(index)                                                                                 \
    "INSERT OR REPLACE INTO " index                                                                \
    " (rowid, id, owner, title, key, body) VALUES (?, ?, ?, ?, ?, ?)"
    static const char *const sql[] = EACH_TYPE(PUT);
    int64_t n;
    int news = take_version(db, d->type, d->id, d->version, false, &n);
    if (news <= NEWS_NONE) {
        return news;
    }
    int rc = news == NEWS_CHANGE ? is_same(db, d, n) : 0;
    if (rc == 0) {
        rc = db_run(db, sql[d->type], "isssss", n, d->id, d->owner, d->title, d->key, d->body);
    }
    return rc < 0 ? rc : 1;
}

int search_store_remove(struct db *db, enum search_type type, struct str id, int64_t version)
{
#define REMOVE(index) "DELETE FROM " index " WHERE rowid = ?"
    static const char *const sql[] = EACH_TYPE(REMOVE);
    int64_t n;
    int rc = take_version(db, type, id, version, true, &n);
    if (rc > NEWS_NONE) {
        rc = db_run(db, sql[type], "i", n);
        rc = rc < 0 ? rc : 1;
    }
    return rc;
}

int search_store_is_removed(struct db *db, enum search_type type, struct str id)
{
    struct db_rows row;
    int rc = db_row(db, &row, "SELECT removed FROM documents WHERE type = ? AND id = ?", "is",
                    (int64_t)type, id);
    if (rc > 0) {
        rc = db_int(&row, 0) != 0;
        db_rows_close(&row);
    }
    return rc;
}

int search_store_remove_orders(struct db *db, struct str owner)
{
    char match[80];
    assert(owner.n < 64);
    struct str expression = { match, 0 };
    expression.n = (size_t)snprintf(match, sizeof match, "owner : \"%.*s\"", STR_ARG(owner));
    int rc = db_run(db, "DELETE FROM order_index WHERE order_index MATCH ?", "s", expression);
    return rc < 0 ? rc : 0;
}

int search_store_count(struct db *db, enum search_type type, struct str match, int most,
                       int64_t *ret_from)
{
#define COUNT(index) "SELECT rowid FROM " index " WHERE " index " MATCH ? ORDER BY rowid DESC"
    static const char *const sql[] = EACH_TYPE(COUNT);
    struct db_rows rows;
    int n = 0, rc = db_rows_open(db, &rows, sql[type], "s", match);
    int64_t from = 0;
    while (rc >= 0 && n <= most && (rc = db_rows_next(&rows)) > 0) {
        n++;
        from = n <= most ? db_int(&rows, 0) : from;
    }
    db_rows_close(&rows);
    *ret_from = n > most ? from : 0;
    return rc < 0 ? rc : n;
}

int search_store_find(struct db *db, enum search_type type, struct str match, int64_t from,
                      int64_t offset, int64_t limit, struct db_rows *rows)
{
#define FIND(index)                                                                                \
    "SELECT id, title, highlight(" index ", 4, char(1), char(2)), rank FROM " index                \
    " WHERE " index " MATCH ? AND rowid >= ? ORDER BY rank LIMIT ? OFFSET ?"
    static const char *const sql[] = EACH_TYPE(FIND);
    return db_rows_open(db, rows, sql[type], "siii", match, from, limit, offset);
}

int search_store_count_word(struct db *db, struct str word, int64_t by)
{
    int rc = db_run(db,
                    "INSERT INTO words (word, uses) VALUES (?, ?) ON CONFLICT (word)"
                    " DO UPDATE SET uses = uses + excluded.uses",
                    "si", word, by);
    if (rc >= 0 && by < 0) {
        rc = db_run(db, "DELETE FROM words WHERE word = ? AND uses <= 0", "s", word);
    }
    return rc < 0 ? rc : 0;
}

int search_store_words(struct db *db, struct str prefix, int64_t limit, struct db_rows *rows)
{
    // Behind every word that begins so: U+10FFFF is above any character of a word.
    return db_rows_open(db, rows,
                        "SELECT word FROM words WHERE word > ?1 AND word < ?1 || char(1114111)"
                        " ORDER BY uses DESC, word LIMIT ?2",
                        "si", prefix, limit);
}

int search_store_title(struct db *db, enum search_type type, struct str id, struct db_rows *row)
{
#define TITLE(index)                                                                               \
    "SELECT title FROM " index " WHERE rowid = (SELECT n FROM documents WHERE type = ? AND id = "  \
                               "?)"
    static const char *const sql[] = EACH_TYPE(TITLE);
    return db_row(db, row, sql[type], "is", (int64_t)type, id);
}
