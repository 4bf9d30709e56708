// SPDX-License-Identifier: MIT
// The orders store on a real file: stock, lists in their order and by their index, steps, and
// forgetting a user.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/arena.h"
#include "common/uuid.h"
#include "services/orders/orders_store.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>

#define ADA "0192a000-0000-7000-8000-00000000ada0"
#define BOB "0192a000-0000-7000-8000-00000000b0b0"
#define ROOT "0192a000-0000-7000-8000-0000000ad317"

static struct db *db;
static struct arena memory;

static int open_store(void **state)
{
    if (temp_dir_enter(state) || db_open("orders.db", DB_WRITER, &db)) {
        return -1;
    }
    arena_init(&memory, 16 * 1024 * 1024);
    for (size_t i = 0; i < ORDERS_MIGRATIONS; i++) {
        if (db_script(db, orders_migrations[i])) {
            return -1;
        }
    }
    return 0;
}

static int close_store(void **state)
{
    arena_fini(&memory);
    db_close(&db);
    return temp_dir_leave(state);
}

static void add_product(const char *sku, int64_t price, int64_t stock)
{
    struct product p = { .sku = str_of(sku),
                         .name = STR("Thing"),
                         .description = STR("A thing"),
                         .price = { .amount = price, .currency = STR("EUR") },
                         .stock = stock,
                         .version = 1,
                         .created_at = 10,
                         .updated_at = 10 };
    assert_int_equal(orders_store_add_product(db, &p), 0);
}

static struct product product(const char *sku)
{
    struct stored_product stored;
    assert_int_equal(orders_store_product(db, str_of(sku), &memory, &stored), 1);
    return stored.product;
}

static int64_t row_of(const char *sku)
{
    struct stored_offer offer;
    assert_int_equal(orders_store_offer(db, str_of(sku), &memory, &offer), 1);
    return offer.row;
}

// Adds an order of n lines; returns its id, which lives in the arena.
static struct str add_order(const char *user, size_t n_lines, const char *note, int64_t at_ms)
{
    char id[UUID_TEXT + 1];
    uuid_v7(at_ms, id);
    struct order *o = arena_alloc(&memory, sizeof *o);
    *o = (struct order){ .id = arena_str(&memory, str_of(id)),
                         .user_id = str_of(user),
                         .total = { .amount = 0, .currency = STR("EUR") },
                         .version = 1,
                         .created_at = at_ms,
                         .updated_at = at_ms,
                         .note = str_of(note),
                         .n_items = n_lines };
    for (size_t i = 0; i < n_lines; i++) {
        o->items[i] =
            (struct order_line){ .sku = arena_printf(&memory, "sku-%zu", i),
                                 .name = STR("Thing"),
                                 .quantity = (int64_t)i + 1,
                                 .unit_price = { .amount = 100, .currency = STR("EUR") } };
        o->total.amount += 100 * ((int64_t)i + 1);
    }
    assert_int_equal(orders_store_add_order(db, o), 0);
    return o->id;
}

static struct stored_order *order(struct str id)
{
    struct stored_order *o = arena_alloc(&memory, sizeof *o);
    assert_int_equal(orders_store_order(db, id, &memory, o), 1);
    return o;
}

// --- Products

static void a_product_comes_back_as_it_went(void **state)
{
    (void)state;
    add_product("lamp", 1999, 7);
    struct product p = product("lamp");
    assert_true(str_eq(p.sku, STR("lamp")) && str_eq(p.name, STR("Thing")));
    assert_true(str_eq(p.description, STR("A thing")) && str_eq(p.price.currency, STR("EUR")));
    assert_int_equal(p.price.amount, 1999);
    assert_int_equal(p.stock, 7);
    assert_int_equal(p.version, 1);
    assert_int_equal(p.created_at, 10);
    struct stored_product none;
    assert_int_equal(orders_store_product(db, STR("lam"), &memory, &none), 0);
    assert_int_equal(orders_store_product(db, (struct str){ "lamp\0", 5 }, &memory, &none), 0);
}

static void a_sku_is_taken_once(void **state)
{
    (void)state;
    add_product("lamp", 1, 1);
    struct product again = product("lamp");
    assert_int_equal(orders_store_add_product(db, &again), -EEXIST);
    again.sku = STR("LAMP"); // upper and lower case are two
    assert_int_equal(orders_store_add_product(db, &again), 0);
}

static void an_empty_description_stays_empty(void **state)
{
    (void)state;
    struct product p = { .sku = STR("a"),
                         .name = STR("b"),
                         .description = STR(""),
                         .price.currency = STR("EUR"),
                         .version = 1 };
    assert_int_equal(orders_store_add_product(db, &p), 0);
    assert_int_equal(product("a").description.n, 0);
}

static void stock_is_never_below_zero(void **state)
{
    (void)state;
    add_product("lamp", 1, 3);
    int64_t row = row_of("lamp");
    assert_int_equal(orders_store_take(db, row, 2, 20), 0);
    assert_int_equal(orders_store_take(db, row, 2, 21), -EINVAL);
    assert_int_equal(product("lamp").stock, 1);
    assert_int_equal(orders_store_take(db, row, 1, 22), 0);
    assert_int_equal(orders_store_take(db, row, 1, 23), -EINVAL);
    assert_int_equal(product("lamp").stock, 0);
}

static void taking_and_giving_back_make_new_versions(void **state)
{
    (void)state;
    add_product("lamp", 1, 3);
    assert_int_equal(orders_store_take(db, row_of("lamp"), 3, 20), 0);
    assert_int_equal(product("lamp").version, 2);
    assert_int_equal(orders_store_give_back(db, STR("lamp"), 3, 30), 0);
    struct product p = product("lamp");
    assert_int_equal(p.version, 3);
    assert_int_equal(p.stock, 3);
    assert_int_equal(p.updated_at, 30);
}

static void products_are_listed_by_sku(void **state)
{
    (void)state;
    static const char *const skus[] = { "b", "a", "c-1", "C", "~" };
    static const char *const sorted[] = { "C", "a", "b", "c-1", "~" };
    for (size_t i = 0; i < 5; i++) {
        add_product(skus[i], 1, 1);
    }
    struct db_rows rows;
    struct product p;
    size_t n = 0;
    assert_int_equal(orders_store_products(db, (struct str){ NULL, 0 }, &rows), 0);
    while (orders_store_next_product(&rows, &p) > 0) {
        assert_true(str_eq(p.sku, str_of(sorted[n])));
        n++;
    }
    db_rows_close(&rows);
    assert_int_equal(n, 5);
    assert_int_equal(orders_store_products(db, STR("b"), &rows), 0);
    assert_int_equal(orders_store_next_product(&rows, &p), 1);
    assert_true(str_eq(p.sku, STR("c-1")));
    db_rows_close(&rows);
}

// --- Orders

static void an_order_comes_back_as_it_went(void **state)
{
    (void)state;
    struct str id = add_order(ADA, ORDER_MAX_LINES, "ring twice", 1000);
    const struct stored_order *o = order(id);
    assert_true(str_eq(o->order.id, id) && str_eq(o->order.user_id, STR(ADA)));
    assert_true(str_eq(o->order.status, STR("placed")) && str_eq(o->order.note, STR("ring twice")));
    assert_true(MESSAGE_HAS(&o->order, order, note));
    assert_int_equal(o->order.n_items, ORDER_MAX_LINES);
    int64_t sum = 0;
    for (size_t i = 0; i < o->order.n_items; i++) {
        const struct order_line *line = &o->order.items[i];
        assert_int_equal(line->line_total.amount, line->quantity * 100);
        assert_true(str_eq(line->line_total.currency, STR("EUR")));
        sum += line->line_total.amount;
    }
    assert_int_equal(o->order.total.amount, sum);
}

static void an_order_without_a_note_has_none(void **state)
{
    (void)state;
    const struct stored_order *o = order(add_order(ADA, 1, NULL, 1000));
    assert_null(o->order.note.p);
    assert_false(MESSAGE_HAS(&o->order, order, note));
}

static void steps_name_the_owner_or_somebody_else(void **state)
{
    (void)state;
    struct stored_order *o = order(add_order(ADA, 1, NULL, 1000));
    assert_int_equal(orders_store_move(db, o, ORDER_PAID, STR(ADA), 2000, &memory), 0);
    assert_int_equal(orders_store_move(db, o, ORDER_SHIPPED, STR(ROOT), 3000, &memory), 0);
    o = order(o->order.id);
    assert_int_equal(o->status, ORDER_SHIPPED);
    assert_int_equal(o->order.version, 3);
    assert_int_equal(o->order.updated_at, 3000);
    static const struct {
        const char *status, *by;
        int64_t at;
    } expected[] = { { "placed", ADA, 1000 }, { "paid", ADA, 2000 }, { "shipped", ROOT, 3000 } };
    struct order_history history = { 0 };
    assert_int_equal(orders_store_history(o, &history), 0);
    assert_int_equal(history.n_items, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(str_eq(history.items[i].status, str_of(expected[i].status)));
        assert_true(str_eq(history.items[i].by, str_of(expected[i].by)));
        assert_int_equal(history.items[i].at, expected[i].at);
    }
}

// The rows of a list as one string of digits.
static const char *listed(const char *user, int status, int64_t before)
{
    static char text[64];
    struct db_rows rows;
    struct stored_order *o = arena_alloc(&memory, sizeof *o);
    size_t n = 0;
    assert_int_equal(orders_store_orders(db, str_of(user), status, before, &rows), 0);
    while (orders_store_next_order(&rows, &memory, o) > 0) {
        text[n++] = (char)('0' + o->row);
    }
    db_rows_close(&rows);
    text[n] = '\0';
    return text;
}

static void lists_are_newest_first_and_filtered(void **state)
{
    (void)state;
    struct str second = { NULL, 0 };
    for (int i = 1; i <= 6; i++) {
        struct str id = add_order(i % 2 ? ADA : BOB, 1, NULL, 1000 * i);
        second = i == 2 ? id : second;
    }
    assert_int_equal(orders_store_move(db, order(second), ORDER_PAID, STR(BOB), 9000, &memory), 0);
    assert_string_equal(listed(NULL, ORDERS_ANY_STATUS, INT64_MAX), "654321");
    assert_string_equal(listed(NULL, ORDERS_ANY_STATUS, 4), "321");
    assert_string_equal(listed(ADA, ORDERS_ANY_STATUS, INT64_MAX), "531");
    assert_string_equal(listed(BOB, ORDERS_ANY_STATUS, 6), "42");
    assert_string_equal(listed(BOB, ORDER_PAID, INT64_MAX), "2");
    assert_string_equal(listed(BOB, ORDER_PLACED, INT64_MAX), "64");
    assert_string_equal(listed(NULL, ORDER_PAID, INT64_MAX), "2");
    assert_string_equal(listed(NULL, ORDER_PLACED, 4), "31");
    assert_string_equal(listed(ROOT, ORDERS_ANY_STATUS, INT64_MAX), "");
}

// Runs every list, then asks SQLite how it runs each statement that this prepared.
static void every_list_walks_an_index_in_its_order(void **state)
{
    (void)state;
    struct db_rows rows;
    for (int i = 0; i < 4; i++) {
        (void)listed(i & 1 ? ADA : NULL, i & 2 ? ORDER_PAID : ORDERS_ANY_STATUS, INT64_MAX);
    }
    assert_int_equal(orders_store_finished(db, 1, 1, &rows), 0);
    db_rows_close(&rows);
    assert_int_equal(orders_store_products(db, STR("b"), &rows), 0);
    db_rows_close(&rows);
    size_t n = 0;
    for (sqlite3_stmt *s = sqlite3_next_stmt(db_handle(db), NULL); s;
         s = sqlite3_next_stmt(db_handle(db), s)) {
        char sql[1024];
        sqlite3_stmt *plan;
        if (!strstr(sqlite3_sql(s), "ORDER BY")) {
            continue;
        }
        (void)snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", sqlite3_sql(s));
        assert_int_equal(sqlite3_prepare_v2(db_handle(db), sql, -1, &plan, NULL), SQLITE_OK);
        while (sqlite3_step(plan) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(plan, 3);
            assert_null(strstr(detail, "TEMP B-TREE"));
            assert_non_null(strstr(detail, "SEARCH"));
        }
        sqlite3_finalize(plan);
        n++;
    }
    assert_int_equal(n, 6);
}

static void a_user_who_is_gone_is_forgotten_once(void **state)
{
    (void)state;
    struct str first = add_order(ADA, 1, "for my aunt", 1000),
               other = add_order(BOB, 1, "mine", 2000);
    struct stored_order *o = order(first);
    assert_int_equal(orders_store_move(db, o, ORDER_PAID, STR(ADA), 3000, &memory), 0);
    assert_int_equal(orders_store_anonymise(db, STR(ADA), 5000), 1);
    assert_int_equal(orders_store_anonymise(db, STR(ADA), 6000), 0);
    o = order(first);
    assert_true(str_eq(o->order.user_id, STR(ORDER_NOBODY)));
    assert_null(o->order.note.p);
    assert_int_equal(o->order.version, 3);
    assert_int_equal(o->order.updated_at, 5000);
    struct order_history history = { 0 };
    assert_int_equal(orders_store_history(o, &history), 0);
    assert_true(str_eq(history.items[0].by, STR(ORDER_NOBODY)));
    assert_true(str_eq(history.items[1].by, STR(ORDER_NOBODY)));
    assert_true(str_eq(order(other)->order.note, STR("mine")));
}

#define LINE 6 // bytes

static void an_order_of_too_many_lines_is_damaged(void **state)
{
    (void)state;
    struct str id = add_order(ADA, 1, NULL, 1000);
    struct stored_order *o = arena_alloc(&memory, sizeof *o);
    char lines[3 + LINE * (ORDER_MAX_LINES + 1)] = "\xDC\x00";
    for (char n = ORDER_MAX_LINES; n <= ORDER_MAX_LINES + 1; n++) {
        lines[2] = n;
        for (int i = 0; i < n; i++) {
            memcpy(lines + 3 + LINE * i, "\x94\xA1s\xA0\x01\x02", LINE); // ["s", "", 1, 2]
        }
        struct str packed = { lines, 3 + LINE * (size_t)n };
        assert_int_equal(db_run(db, "UPDATE orders SET lines = ?", "b", packed), 1);
        int rc = orders_store_order(db, id, &memory, o);
        assert_int_equal(rc, n == ORDER_MAX_LINES ? 1 : -EUCLEAN);
    }
}

static void damaged_lines_are_an_error(void **state)
{
    (void)state;
    static const char *const damages[] = {
        "UPDATE orders SET lines = x''",
        "UPDATE orders SET lines = x'91'",
        "UPDATE orders SET lines = x'9190'",
        "UPDATE orders SET lines = x'dc0040'",
        // Quantity times price does not fit.
        "UPDATE orders SET lines = x'9194a161a161cf7fffffffffffffffcf7fffffffffffffff'",
    };
    struct str id = add_order(ADA, 1, NULL, 1000);
    struct stored_order *o = arena_alloc(&memory, sizeof *o);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        assert_int_equal(db_script(db, damages[i]), 0);
        assert_int_equal(orders_store_order(db, id, &memory, o), -EUCLEAN);
    }
}

static void memory_that_runs_out_is_an_error(void **state)
{
    (void)state;
    add_product("lamp", 1, 1);
    struct str id = add_order(ADA, 1, "note", 1000);
    for (size_t max = 0; max < 100; max += 7) {
        struct arena small;
        arena_init(&small, max);
        struct stored_product p;
        struct stored_offer offer;
        struct stored_order *o = arena_alloc(&memory, sizeof *o);
        assert_int_equal(orders_store_order(db, id, &small, o), -ENOMEM);
        int rc = orders_store_product(db, STR("lamp"), &small, &p);
        assert_true(rc == -ENOMEM || rc == 1);
        rc = orders_store_offer(db, STR("lamp"), &small, &offer);
        assert_true(rc == -ENOMEM || rc == 1);
        arena_fini(&small);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_product_comes_back_as_it_went),
        CASE(a_sku_is_taken_once),
        CASE(an_empty_description_stays_empty),
        CASE(stock_is_never_below_zero),
        CASE(taking_and_giving_back_make_new_versions),
        CASE(products_are_listed_by_sku),
        CASE(an_order_comes_back_as_it_went),
        CASE(an_order_without_a_note_has_none),
        CASE(steps_name_the_owner_or_somebody_else),
        CASE(lists_are_newest_first_and_filtered),
        CASE(every_list_walks_an_index_in_its_order),
        CASE(a_user_who_is_gone_is_forgotten_once),
        CASE(an_order_of_too_many_lines_is_damaged),
        CASE(damaged_lines_are_an_error),
        CASE(memory_that_runs_out_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
