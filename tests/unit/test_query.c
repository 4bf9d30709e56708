// SPDX-License-Identifier: MIT
// What people type becomes an expression that FTS5 takes, whatever it is; and that means what the
// page says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/search/query.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static sqlite3 *db;
static struct buf expression;

static void add(const char *title, const char *body)
{
    sqlite3_stmt *s;
    assert_int_equal(
        sqlite3_prepare_v2(db, "INSERT INTO i (title, key, body) VALUES (?, '', ?)", -1, &s, NULL),
        0);
    assert_int_equal(sqlite3_bind_text(s, 1, title, -1, SQLITE_STATIC), 0);
    assert_int_equal(sqlite3_bind_text(s, 2, body, -1, SQLITE_STATIC), 0);
    assert_int_equal(sqlite3_step(s), SQLITE_DONE);
    sqlite3_finalize(s);
}

static int open_index(void **state)
{
    (void)state;
    buf_init(&expression, QUERY_MATCH_BYTES);
    if (sqlite3_open(":memory:", &db) ||
        sqlite3_exec(db,
                     "CREATE VIRTUAL TABLE i USING fts5 (id UNINDEXED, owner, title, key, body,"
                     " tokenize = \"unicode61 remove_diacritics 2\")",
                     NULL, NULL, NULL)) {
        return -1;
    }
    add("barman", "Backup for PostgreSQL servers");
    add("nginx", "A small web server");
    add("server-web", "web pages served, backups included");
    add("libsqlite3-dev", "SQLite 3 development files");
    add("caf\xC3\xA9", "\xC3\x9C"
                       "ber alles: C++ & C#");
    return 0;
}

static int close_index(void **state)
{
    (void)state;
    buf_fini(&expression);
    return sqlite3_close(db);
}

// Rows that the expression finds, as digits; "!" and the message when FTS5 refuses it.
static const char *run(void)
{
    static char found[256];
    sqlite3_stmt *s;
    size_t n = 0;
    int rc;
    assert_true(buf_ok(&expression));
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT rowid FROM i WHERE i MATCH ? ORDER BY rowid", -1, &s, NULL),
        0);
    assert_int_equal(sqlite3_bind_text(s, 1, expression.data, (int)expression.len, SQLITE_STATIC),
                     0);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        found[n++] = (char)('0' + sqlite3_column_int(s, 0));
    }
    found[n] = '\0';
    if (rc != SQLITE_DONE) {
        (void)snprintf(found, sizeof found, "! %s: %.*s", sqlite3_errmsg(db), (int)expression.len,
                       expression.data);
    }
    sqlite3_finalize(s);
    return found;
}

static const char *find_bytes(struct str typed, bool wide)
{
    struct query q;
    query_parse(typed, &q);
    buf_reset(&expression);
    if (q.n == 0) {
        return "";
    }
    query_match(&q, wide, &expression);
    return run();
}

static const char *find(const char *typed)
{
    return find_bytes(str_of(typed), true);
}

static const char *find_exact(const char *typed)
{
    return find_bytes(str_of(typed), false);
}

static void every_word_must_be_there(void **state)
{
    (void)state;
    assert_string_equal(find("web server"), "23");
    assert_string_equal(find("backup postgresql"), "1");
    assert_string_equal(find("backup nginx"), "");
    assert_string_equal(find("WEB Server"), "23");
}

static void a_phrase_is_words_next_to_each_other(void **state)
{
    (void)state;
    assert_string_equal(find("\"web server\""), "2");
    assert_string_equal(find("\"server web\""), "3");
    assert_string_equal(find("\"web serv\""), "");
    assert_string_equal(find("\"web serv\"*"), "2");
    assert_string_equal(find("small \"web server"), "2"); // the quote at the end is forgiven
    assert_string_equal(find("nginx\"web server\""), "2");
}

static void words_are_beginnings_when_asked_or_long(void **state)
{
    (void)state;
    assert_string_equal(find("libsq*"), "4");
    assert_string_equal(find("postgres"), "1");
    assert_string_equal(find_exact("postgres"), "");
    assert_string_equal(find_exact("postgres*"), "1");
    assert_string_equal(find("pos"), "");
    assert_string_equal(find("we*"), "23");
    assert_string_equal(find("w*"), ""); // one letter is a word
    assert_string_equal(find("3*"), "4");
    assert_string_equal(find("libsqlite3-d*"), "4"); // and left out behind another
    assert_string_equal(find("\"web s\"*"), "23");
    assert_string_equal(find("backup"), "13");
    assert_string_equal(find_exact("backup"), "1");
}

static void accents_and_signs_do_not_matter(void **state)
{
    (void)state;
    assert_string_equal(find("cafe"), "5");
    assert_string_equal(find("CAF\xC3\x89"), "5");
    assert_string_equal(find("uber"), "5");
    assert_string_equal(find("c++"), "5");
    assert_string_equal(find("& \xE2\x82\xAC nginx \xE2\x80\x93 +"),
                        "2"); // euro sign and dash have no words
    assert_string_equal(find("libsqlite3-dev"), "4");
    assert_string_equal(find("\"libsqlite3-dev\""), "4");
}

static void signs_alone_find_nothing(void **state)
{
    (void)state;
    static const char *const typed[] = {
        "",    " ",      "\t\n", "*", "**", "\"",    "\"\"",         "\"\"\"",
        "\"*", "\" \"*", "-",    "^", "()", "+ - &", "\xE2\x82\xAC", "\xF0\x9F\x92\xA1",
        "''",  ";",      ":"
    };
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        assert_string_equal(find(typed[i]), "");
    }
}

// Everything that is syntax to FTS5 is words to us.
static void operators_are_words(void **state)
{
    (void)state;
    static const char *const typed[] = {
        "nginx OR barman",
        "nginx AND barman",
        "NOT nginx",
        "NEAR(web server)",
        "title : nginx",
        "{title} : nginx",
        "- {title} : web",
        "nginx NOT web",
        "nginx) OR (barman",
        "\"nginx\" OR \"barman\"",
        "owner:nginx",
        "rank:x",
        "i:x",
        "NEAR(web server, 5",
        "AND AND AND",
    };
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        assert_string_equal(find(typed[i]), "");
    }
    assert_string_equal(find("^nginx"), "2");
    assert_string_equal(find("title"), "");
}

static void typing_ahead_completes_the_last_word_of_names(void **state)
{
    (void)state;
    static const char *const typed[] = { "ngi",     "server we", "lib", "web",    "postgres",
                                         "web ser", "nginx w",   "n",   "nginx-w" };
    static const char *const found[] = { "2", "3", "4", "3", "", "3", "2", "", "2" };
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        struct query q;
        query_parse(str_of(typed[i]), &q);
        buf_reset(&expression);
        query_match_typing(&q, &expression);
        assert_string_equal(run(), found[i]);
    }
}

static void only_so_many_words_are_looked_at(void **state)
{
    (void)state;
    static const char typed[] =
        "web web web web web web web web web web web web web web web web web web web web";
    struct query q;
    query_parse(str_of(typed), &q);
    assert_int_equal(q.n, QUERY_MAX_TERMS);
    assert_string_equal(find(typed), "23");
}

static void the_longest_query_fits(void **state)
{
    (void)state;
    char typed[QUERY_MAX_BYTES];
    for (size_t word = 1; word < 40; word++) {
        for (size_t i = 0; i < sizeof typed; i++) {
            typed[i] = i % (word + 1) == word ? ' ' : 'x';
        }
        const char *found = find_bytes((struct str){ typed, sizeof typed }, true);
        assert_string_equal(found, "");
    }
}

// Random bytes, and random strings of what matters to the parsers on both sides.
static void no_bytes_make_a_syntax_error(void **state)
{
    (void)state;
    static const char *const pieces[] = { "\"",
                                          "*",
                                          " ",
                                          "(",
                                          ")",
                                          "AND",
                                          "OR",
                                          "NOT",
                                          "NEAR",
                                          ":",
                                          "^",
                                          "{",
                                          "}",
                                          "+",
                                          "-",
                                          ",",
                                          "'",
                                          "\\",
                                          "\xE2\x82\xAC",
                                          "\xFF",
                                          "a",
                                          "web",
                                          "title",
                                          "\xC3",
                                          "\x01",
                                          ";",
                                          "--",
                                          "/*",
                                          "%",
                                          "NEAR(",
                                          "\xF4\x90\x80\x80" };
    srand(1);
    for (int round = 0; round < 15000; round++) {
        char typed[QUERY_MAX_BYTES];
        size_t n = 0, want = (size_t)rand() % sizeof typed;
        while (n < want) {
            const char *piece = pieces[(size_t)rand() % (sizeof pieces / sizeof *pieces)];
            size_t length = strlen(piece);
            if (round & 1) {
                typed[n++] = (char)rand(); // NUL as well
            } else if (n + length <= sizeof typed) {
                memcpy(typed + n, piece, length);
                n += length;
            } else {
                break;
            }
        }
        const char *found = find_bytes((struct str){ typed, n }, round & 2);
        assert_int_not_equal(found[0], '!');
        struct query q;
        query_parse((struct str){ typed, n }, &q);
        buf_reset(&expression);
        if (q.n) {
            query_match_typing(&q, &expression);
            assert_int_not_equal(run()[0], '!');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_must_be_there),
        cmocka_unit_test(a_phrase_is_words_next_to_each_other),
        cmocka_unit_test(words_are_beginnings_when_asked_or_long),
        cmocka_unit_test(accents_and_signs_do_not_matter),
        cmocka_unit_test(signs_alone_find_nothing),
        cmocka_unit_test(operators_are_words),
        cmocka_unit_test(typing_ahead_completes_the_last_word_of_names),
        cmocka_unit_test(only_so_many_words_are_looked_at),
        cmocka_unit_test(the_longest_query_fits),
        cmocka_unit_test(no_bytes_make_a_syntax_error),
    };
    return cmocka_run_group_tests(tests, open_index, close_index);
}
