// SPDX-License-Identifier: MIT
// Events into the index, on a real file: versions, what is found and by whom, and what is
// forgotten.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/db.h"
#include "proto/orders.h"
#include "proto/users.h"
#include "services/search/index.h"
#include "services/search/query.h"
#include "services/search/search_store.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <stdio.h>

#define ADA "0192a000-0000-7000-8000-00000000ada0"
#define BOB "0192a000-0000-7000-8000-00000000b0b0"
#define ORDER_1 "0192a000-0000-7000-8000-000000000001"
#define ORDER_2 "0192a000-0000-7000-8000-000000000002"

static struct db *db;

static int open_store(void **state)
{
    return temp_dir_enter(state) || db_open("search.db", DB_WRITER, &db) ||
           db_script(db, search_migrations[0]);
}

static int close_store(void **state)
{
    db_close(&db);
    return temp_dir_leave(state);
}

static int apply(const char *topic, const struct message *m, const void *object)
{
    struct buf data;
    buf_init(&data, 1024 * 1024);
    message_pack(m, object, &data);
    struct event e = { .topic = str_of(topic), .data = buf_str(&data) };
    int rc = index_apply(db, &e, NULL);
    buf_fini(&data);
    return rc;
}

static void put_product(const char *sku, const char *name, const char *description, int64_t version)
{
    struct product p = { .sku = str_of(sku),
                         .name = str_of(name),
                         .description = str_of(description),
                         .price.currency = STR("EUR"),
                         .version = version };
    assert_int_equal(apply(version == 1 ? "orders.product.created" : "orders.product.updated",
                           &product_message, &p),
                     0);
}

static int put_order(const char *topic, const char *id, const char *user, const char *note,
                     int64_t version)
{
    struct order o = { .id = str_of(id),
                       .user_id = str_of(user),
                       .status = STR("placed"),
                       .note = str_of(note),
                       .version = version,
                       .n_items = 1 };
    o.head.present = note ? MESSAGE_BIT(order, note) : 0;
    o.items[0] = (struct order_line){ .sku = STR("libsqlite3-dev"),
                                      .name = STR("Desk lamp"),
                                      .quantity = 2 };
    return apply(topic, &order_message, &o);
}

static void put_user(const char *id, const char *name, int64_t version)
{
    struct user u = { .id = str_of(id),
                      .email = STR("ada@example.com"),
                      .name = str_of(name),
                      .role = STR("user"),
                      .version = version };
    assert_int_equal(apply("users.user.updated", &user_message, &u), 0);
}

// Ids that an expression finds, joined by blanks.
static const char *find(enum search_type type, const char *match)
{
    static char found[512];
    struct db_rows rows;
    size_t n = 0;
    int rc = search_store_find(db, type, str_of(match), 0, 0, 10, &rows);
    found[0] = '\0';
    while (rc >= 0 && (rc = db_rows_next(&rows)) > 0) {
        n += (size_t)snprintf(found + n, sizeof found - n, "%s%.*s", n ? " " : "",
                              STR_ARG(db_str(&rows, SEARCH_ID)));
    }
    assert_int_equal(rc, 0);
    db_rows_close(&rows);
    return found;
}

static const char *complete(const char *prefix)
{
    static char words[512];
    struct db_rows rows;
    size_t n = 0;
    words[0] = '\0';
    assert_int_equal(search_store_words(db, str_of(prefix), 10, &rows), 0);
    while (db_rows_next(&rows) > 0) {
        n += (size_t)snprintf(words + n, sizeof words - n, "%s%.*s", n ? " " : "",
                              STR_ARG(db_str(&rows, 0)));
    }
    db_rows_close(&rows);
    return words;
}

static char collected[256];

static int collect(struct str word, bool part, void *data)
{
    size_t n = strlen(collected);
    (void)data;
    (void)snprintf(collected + n, sizeof collected - n, "%s%s%.*s", n ? " " : "", part ? "+" : "",
                   STR_ARG(word));
    return 0;
}

static const char *words_of(const char *text)
{
    collected[0] = '\0';
    assert_int_equal(index_words(str_of(text), collect, NULL), 0);
    return collected;
}

static void words_have_the_parts_that_people_look_for(void **state)
{
    (void)state;
    assert_string_equal(words_of("libsqlite3-dev"), "libsqlite3 +libsqlite +sqlite3 +sqlite dev");
    assert_string_equal(words_of("WebServer 2000"), "WebServer +Server 2000");
    assert_string_equal(words_of("python3numpy"), "python3numpy +numpy");
    assert_string_equal(words_of("lib library"), "lib library");
    assert_string_equal(words_of("  -- a+b  "), "a b");
    assert_string_equal(words_of(""), "");
    assert_string_equal(words_of("libX11-6"), "libX11 +libX +X11 6");
    assert_string_equal(words_of("\xC3\xBC"
                                 "ber7 x9"),
                        "\xC3\xBC"
                        "ber7 +\xC3\xBC"
                        "ber x9");
}

static void a_lower_version_changes_nothing(void **state)
{
    (void)state;
    put_product("lamp", "New name", "text", 3);
    put_product("lamp", "Old name", "text", 2);
    put_product("lamp", "Same name", "text", 3);
    assert_string_equal(find(SEARCH_PRODUCT, "new"), "lamp");
    assert_string_equal(find(SEARCH_PRODUCT, "old OR same"), "");
    assert_string_equal(complete("o"), "");
    put_product("lamp", "Newer", "text", 4);
    assert_string_equal(find(SEARCH_PRODUCT, "newer"), "lamp");
    assert_string_equal(find(SEARCH_PRODUCT, "new"), "");
}

static void a_product_is_found_by_name_sku_parts_and_text(void **state)
{
    (void)state;
    put_product("libsqlite3-dev", "Development files", "An embedded SQL engine", 1);
    static const char *const found[] = { "development",       "sqlite3", "sqlite",
                                         "libsqlite3",        "dev",     "embedded",
                                         "\"libsqlite3-dev\"" };
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        assert_string_equal(find(SEARCH_PRODUCT, found[i]), "libsqlite3-dev");
    }
}

// Ids that are found when somebody types this.
static const char *type(const char *typed)
{
    struct query q;
    struct buf match;
    buf_init(&match, QUERY_MATCH_BYTES);
    query_parse(str_of(typed), &q);
    query_match(&q, true, &match);
    buf_append_char(&match, '\0');
    const char *found = find(SEARCH_PRODUCT, match.data);
    buf_fini(&match);
    return found;
}

// Relevance needs words that are rare.
static void put_other_products(void)
{
    for (int i = 0; i < 20; i++) {
        char sku[16];
        (void)snprintf(sku, sizeof sku, "other-%d", i);
        put_product(sku, "Something else", "altogether", 1);
    }
}

static void whole_words_come_before_beginnings(void **state)
{
    (void)state;
    put_other_products();
    put_product("x-1", "Night backupper", "", 1);
    put_product("x-2", "Night backup", "", 1);
    put_product("y-1", "Night restore", "", 1);
    put_product("y-2", "Night restorer", "", 1);
    assert_string_equal(type("backup"), "x-2 x-1");
    assert_string_equal(type("restore"), "y-1 y-2");
}

static void what_is_called_just_so_comes_first(void **state)
{
    (void)state;
    put_other_products();
    put_product("sqlite3-doc", "sqlite3 doc", "sqlite3", 1);
    put_product("sqlite3", "The engine", "An embedded database without a server", 1);
    put_product("SQL-ite.3", "Odd one", "", 1);
    put_product("!", "!", "only signs", 1);
    assert_string_equal(type("sqlite3 DOC"), "sqlite3-doc");
    assert_string_equal(type("Sqlite3"), "sqlite3 sqlite3-doc SQL-ite.3");
}

static void a_name_weighs_more_than_the_text(void **state)
{
    (void)state;
    put_product("a", "Plain", "A lamp for the desk", 1);
    put_product("b", "Lamp", "Stands on a table and gives much light", 1);
    assert_string_equal(find(SEARCH_PRODUCT, "lamp"), "b a");
}

static void completions_follow_the_names(void **state)
{
    (void)state;
    put_product("s-1", "Desk lamp", "never offered", 1);
    put_product("s-2", "Floor lamp", "", 1);
    put_product("s-3", "LAMPSHADE", "", 1);
    assert_string_equal(complete("lam"), "lamp lampshade");
    assert_string_equal(complete("never"), "");
    put_product("s-1", "Desk light", "", 2);
    put_product("s-2", "Floor light", "", 2);
    assert_string_equal(complete("lam"), "lampshade");
    assert_string_equal(complete("l"), "light lampshade");
    put_product("s-2", "Floor light", "changed text", 3);
    assert_string_equal(complete("li"), "light");
    assert_string_equal(complete("1"), "");
}

static void an_order_is_its_owners(void **state)
{
    (void)state;
    char owner[INDEX_OWNER_BYTES], match[128];
    assert_int_equal(put_order("orders.order.placed", ORDER_1, ADA, "ring twice", 1), 0);
    assert_int_equal(put_order("orders.order.placed", ORDER_2, BOB, "leave it", 1), 0);
    struct str word = index_owner(STR(ADA), owner);
    (void)snprintf(match, sizeof match, "owner : \"%.*s\" AND {title key body} : (\"lamp\")",
                   STR_ARG(word));
    assert_string_equal(find(SEARCH_ORDER, match), ORDER_1);
    assert_string_equal(find(SEARCH_ORDER, "sqlite AND twice"), ORDER_1);
    assert_string_equal(find(SEARCH_ORDER, "\"" ORDER_2 "\""), ORDER_2);
    assert_string_equal(find(SEARCH_ORDER, "\"order of 1970-01-01\" AND leave"), ORDER_2);
}

static void later_steps_keep_an_order_findable(void **state)
{
    (void)state;
    assert_int_equal(put_order("orders.order.placed", ORDER_1, ADA, "ring twice", 1), 0);
    assert_int_equal(put_order("orders.order.paid", ORDER_1, ADA, "ring twice", 2), 0);
    assert_string_equal(find(SEARCH_ORDER, "twice"), ORDER_1);
    assert_int_equal(put_order("orders.order.archived", ORDER_1, ADA, "ring twice", 3), 0);
    assert_string_equal(find(SEARCH_ORDER, "twice"), "");
    assert_int_equal(put_order("orders.order.paid", ORDER_1, ADA, "ring twice", 2), 0);
    assert_string_equal(find(SEARCH_ORDER, "twice"), "");
}

static void a_user_who_is_gone_takes_the_orders_along(void **state)
{
    (void)state;
    put_user(ADA, "Ada Lovelace", 1);
    put_user(BOB, "Bob", 1);
    for (int i = 0; i < 50; i++) {
        char id[37];
        (void)snprintf(id, sizeof id, "0192a000-0000-7000-8000-0000000001%02d", i);
        assert_int_equal(put_order("orders.order.placed", id, ADA, "for ada", 1), 0);
    }
    assert_int_equal(put_order("orders.order.placed", ORDER_2, BOB, "for bob", 1), 0);
    assert_string_equal(find(SEARCH_USER, "lovelace"), ADA);
    struct user_deleted gone = { .id = STR(ADA), .version = 2 };
    assert_int_equal(apply("users.user.deleted", &user_deleted_message, &gone), 0);
    assert_string_equal(find(SEARCH_USER, "lovelace OR example"), BOB);
    assert_string_equal(find(SEARCH_ORDER, "lamp"), ORDER_2);
    // Events that are late, or told before the orders service heard of it.
    put_user(ADA, "Ada Lovelace", 1);
    assert_int_equal(put_order("orders.order.paid", ORDER_1, ADA, "for ada", 2), 0);
    assert_string_equal(find(SEARCH_ORDER, "lamp"), ORDER_2);
    assert_int_equal(put_order("orders.order.paid", ORDER_1, ORDER_NOBODY, NULL, 3), 0);
    assert_string_equal(find(SEARCH_USER, "lovelace"), "");
    assert_string_equal(find(SEARCH_ORDER, "lamp"), ORDER_2);
}

static void what_is_not_an_event_of_ours_is_refused_or_passed_over(void **state)
{
    (void)state;
    struct event e = { .topic = STR("orders.product.created"), .data = STR("\xC1") };
    assert_int_equal(index_apply(db, &e, NULL), -EBADMSG);
    e.data = STR("");
    assert_int_equal(index_apply(db, &e, NULL), -EBADMSG);
    e.data = STR("\x80"); // an empty map: no sku
    assert_int_equal(index_apply(db, &e, NULL), -EBADMSG);
    e.topic = STR("orders.product.praised");
    assert_int_equal(index_apply(db, &e, NULL), 0);
}

static void a_broad_query_is_bounded(void **state)
{
    (void)state;
    for (int i = 1; i <= 30; i++) {
        char sku[16];
        (void)snprintf(sku, sizeof sku, "p%d", i);
        put_product(sku, "Lamp", "", 1);
    }
    int64_t from = -1;
    assert_int_equal(search_store_count(db, SEARCH_PRODUCT, STR("lamp"), 30, &from), 30);
    assert_int_equal(from, 0);
    assert_int_equal(search_store_count(db, SEARCH_PRODUCT, STR("lamp"), 29, &from), 30);
    assert_int_equal(from, 2);
    assert_int_equal(search_store_count(db, SEARCH_PRODUCT, STR("nothing"), 29, &from), 0);
    assert_int_equal(from, 0);
    assert_int_equal(search_store_count(db, SEARCH_PRODUCT, STR("lamp"), 1, &from), 2);
    assert_int_equal(from, 30);
    struct db_rows rows;
    assert_int_equal(search_store_find(db, SEARCH_PRODUCT, STR("lamp"), from, 0, 10, &rows), 0);
    assert_int_equal(db_rows_next(&rows), 1);
    assert_true(str_eq(db_str(&rows, SEARCH_ID), STR("p30")));
    assert_int_equal(db_rows_next(&rows), 0);
    db_rows_close(&rows);
}

static void what_was_found_is_marked(void **state)
{
    (void)state;
    put_product("a", "Plain", "A lamp for the desk", 1);
    struct db_rows rows;
    assert_int_equal(search_store_find(db, SEARCH_PRODUCT, STR("lamp"), 0, 0, 1, &rows), 0);
    assert_int_equal(db_rows_next(&rows), 1);
    assert_true(str_eq(db_str(&rows, SEARCH_MARKED), STR("A \x01lamp\x02 for the desk")));
    assert_true(db_double(&rows, SEARCH_RANK) < 0);
    db_rows_close(&rows);
}

static void the_store_can_be_emptied(void **state)
{
    (void)state;
    put_product("a", "Lamp", "", 5);
    assert_int_equal(db_script(db, search_reset), 0);
    assert_string_equal(find(SEARCH_PRODUCT, "lamp"), "");
    assert_string_equal(complete("l"), "");
    put_product("a", "Lamp", "", 1);
    assert_string_equal(find(SEARCH_PRODUCT, "lamp"), "a");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_have_the_parts_that_people_look_for),
        CASE(a_lower_version_changes_nothing),
        CASE(a_product_is_found_by_name_sku_parts_and_text),
        CASE(whole_words_come_before_beginnings),
        CASE(what_is_called_just_so_comes_first),
        CASE(a_name_weighs_more_than_the_text),
        CASE(completions_follow_the_names),
        CASE(an_order_is_its_owners),
        CASE(later_steps_keep_an_order_findable),
        CASE(a_user_who_is_gone_takes_the_orders_along),
        CASE(what_is_not_an_event_of_ours_is_refused_or_passed_over),
        CASE(a_broad_query_is_bounded),
        CASE(what_was_found_is_marked),
        CASE(the_store_can_be_emptied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
