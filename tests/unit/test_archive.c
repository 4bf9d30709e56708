// SPDX-License-Identifier: MIT
// Orders that leave the store: only finished ones, only old ones, each with a line that is on disk,
// and what a crash leaves behind does not spoil the file.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/arena.h"
#include "common/uuid.h"
#include "services/orders/archive.h"
#include "services/orders/orders_store.h"
#include "tests/unit/temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#define ADA "0192a000-0000-7000-8000-00000000ada0"
#define DAY_MS (INT64_C(24) * 3600 * 1000)
#define KEEP_MS (90 * DAY_MS)
#define OCTOBER INT64_C(1791201600000)  // 2026-10-05T12:00:00Z
#define NOVEMBER INT64_C(1793880000000) // 2026-11-05T12:00:00Z
#define OCTOBER_FILE "db/orders/archive/orders-2026-10.ndjson"
#define NOVEMBER_FILE "db/orders/archive/orders-2026-11.ndjson"

static struct db *db;
static struct arena memory;

static int open_store(void **state)
{
    if (temp_dir_enter(state) || mkdir("db", 0700) || mkdir("db/orders", 0700) ||
        db_open("db/orders/orders.db", DB_WRITER, &db) || db_script(db, orders_migrations[0]) ||
        db_script(db, "CREATE TABLE sluice_outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT,"
                      " time_ms INTEGER NOT NULL, event BLOB NOT NULL) STRICT")) {
        return -1;
    }
    arena_init(&memory, 64 * 1024 * 1024);
    return archive_configure(temp_dir(), KEEP_MS);
}

static int close_store(void **state)
{
    arena_fini(&memory);
    db_close(&db);
    return temp_dir_leave(state);
}

// Adds an order that took its last step at a time.
static void add_order(enum order_status status, int64_t at_ms, const char *note)
{
    char id[UUID_TEXT + 1];
    struct order *o = arena_alloc(&memory, sizeof *o);
    struct stored_order *stored = arena_alloc(&memory, sizeof *stored);
    uuid_v7(at_ms, id);
    *o = (struct order){ .id = str_of(id),
                         .user_id = STR(ADA),
                         .total = { .amount = 3, .currency = STR("EUR") },
                         .version = 1,
                         .created_at = at_ms,
                         .updated_at = at_ms,
                         .note = str_of(note),
                         .n_items = 1 };
    o->items[0] = (struct order_line){ .sku = STR("lamp"),
                                       .name = STR("A \"lamp\"\\"),
                                       .quantity = 3,
                                       .unit_price = { .amount = 1, .currency = STR("EUR") } };
    assert_int_equal(orders_store_add_order(db, o), 0);
    if (status != ORDER_PLACED) {
        assert_int_equal(orders_store_order(db, o->id, &memory, stored), 1);
        assert_int_equal(orders_store_move(db, stored, status, STR(ADA), at_ms, &memory), 0);
    }
}

// One run in a transaction, as the worker does it.
static int run(int64_t now_ms)
{
    assert_int_equal(db_begin(db), 0);
    int rc = archive_run(db, now_ms, NULL);
    if (rc < 0) {
        db_rollback(db);
        return rc;
    }
    assert_int_equal(db_commit(db), 0);
    return rc;
}

static int64_t count(const char *table)
{
    struct db_rows rows;
    int rc = strcmp(table, "orders") == 0
                 ? db_row(db, &rows, "SELECT count(*) FROM orders", "")
                 : db_row(db, &rows, "SELECT count(*) FROM sluice_outbox", "");
    assert_int_equal(rc, 1);
    int64_t n = db_int(&rows, 0);
    db_rows_close(&rows);
    return n;
}

// Lines of a file, each of which must be a JSON object; 0 when there is no file.
static size_t lines_of(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t size = 0, n = 0;
    while (f && getline(&line, &size, f) > 0) {
        yyjson_doc *doc = yyjson_read(line, strlen(line), 0);
        assert_non_null(doc);
        yyjson_val *root = yyjson_doc_get_root(doc);
        assert_non_null(yyjson_obj_get(yyjson_obj_get(root, "order"), "id"));
        assert_true(yyjson_arr_size(yyjson_obj_get(root, "history")) >= 1);
        yyjson_doc_free(doc);
        n++;
    }
    free(line);
    if (f) {
        assert_int_equal(fclose(f), 0);
    }
    return n;
}

static void only_old_finished_orders_move(void **state)
{
    (void)state;
    for (unsigned status = 0; status < ORDER_STATUS_COUNT; status++) {
        add_order((enum order_status)status, OCTOBER, NULL);
        add_order((enum order_status)status, NOVEMBER + KEEP_MS, NULL);
    }
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    assert_int_equal(count("orders"), 8);
    assert_int_equal(count("sluice_outbox"), 2);
    assert_int_equal(lines_of(OCTOBER_FILE), 2);
    assert_int_equal(lines_of(NOVEMBER_FILE), 0);
}

static void an_order_is_kept_to_the_millisecond(void **state)
{
    (void)state;
    add_order(ORDER_DELIVERED, OCTOBER, NULL);
    assert_int_equal(run(OCTOBER + KEEP_MS), 0);
    assert_int_equal(count("orders"), 1);
    assert_int_equal(run(OCTOBER + KEEP_MS + 1), 0);
    assert_int_equal(count("orders"), 0);
}

static void each_month_has_its_file(void **state)
{
    (void)state;
    add_order(ORDER_DELIVERED, NOVEMBER, NULL);
    add_order(ORDER_CANCELLED, OCTOBER, NULL);
    add_order(ORDER_DELIVERED, OCTOBER + DAY_MS, NULL);
    assert_int_equal(run(NOVEMBER + KEEP_MS + 1), 0);
    assert_int_equal(lines_of(OCTOBER_FILE), 2);
    assert_int_equal(lines_of(NOVEMBER_FILE), 1);
    struct stat st;
    assert_int_equal(stat(OCTOBER_FILE, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_line_has_the_order_and_its_history(void **state)
{
    (void)state;
    add_order(ORDER_CANCELLED, OCTOBER, "line 1\nline 2");
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    FILE *f = fopen(OCTOBER_FILE, "r");
    char text[2048];
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(text, "\"status\":\"cancelled\""));
    assert_non_null(strstr(text, "\"name\":\"A \\\"lamp\\\"\\\\\""));
    assert_non_null(strstr(text, "\"note\":\"line 1\\nline 2\""));
    assert_non_null(strstr(text, "\"version\":2"));
    assert_non_null(strstr(
        text, "{\"status\":\"placed\",\"at\":\"2026-10-05T12:00:00.000Z\",\"by\":\"" ADA "\"}"));
}

static void a_run_takes_a_batch_at_most(void **state)
{
    (void)state;
    assert_int_equal(db_begin(db), 0);
    for (int i = 0; i < ARCHIVE_BATCH + 7; i++) {
        add_order(ORDER_DELIVERED, OCTOBER + i, NULL);
    }
    assert_int_equal(db_commit(db), 0);
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    assert_int_equal(count("orders"), 7);
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    assert_int_equal(count("orders"), 0);
    assert_int_equal(lines_of(OCTOBER_FILE), ARCHIVE_BATCH + 7);
}

static void nothing_to_do_makes_no_file(void **state)
{
    (void)state;
    assert_int_equal(run(NOVEMBER), 0);
    assert_int_equal(access("db/orders/archive", F_OK), -1);
}

// What a crash in the middle of a write leaves: a line without its end.
static void a_torn_line_is_cut(void **state)
{
    (void)state;
    add_order(ORDER_DELIVERED, OCTOBER, NULL);
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    int fd = open(OCTOBER_FILE, O_WRONLY | O_APPEND);
    assert_true(fd >= 0);
    char torn[9000]; // longer than the blocks in which the end is looked for
    memset(torn, 'x', sizeof torn);
    assert_int_equal(write(fd, torn, sizeof torn), sizeof torn);
    assert_int_equal(close(fd), 0);
    add_order(ORDER_DELIVERED, OCTOBER + 1, NULL);
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    assert_int_equal(lines_of(OCTOBER_FILE), 2);
}

static void a_file_of_nothing_but_a_torn_line_is_begun_anew(void **state)
{
    (void)state;
    assert_int_equal(mkdir("db/orders/archive", 0700), 0);
    FILE *f = fopen(OCTOBER_FILE, "w");
    assert_non_null(f);
    assert_true(fputs("{\"order\":{\"id\"", f) >= 0);
    assert_int_equal(fclose(f), 0);
    add_order(ORDER_DELIVERED, OCTOBER, NULL);
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    assert_int_equal(lines_of(OCTOBER_FILE), 1);
}

static void an_order_stays_when_its_line_cannot_be_written(void **state)
{
    (void)state;
    add_order(ORDER_DELIVERED, OCTOBER, NULL);
    FILE *f = fopen("db/orders/archive", "w"); // where the directory should be
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(run(NOVEMBER + KEEP_MS), -ENOTDIR);
    assert_int_equal(count("orders"), 1);
    assert_int_equal(count("sluice_outbox"), 0);
    assert_int_equal(unlink("db/orders/archive"), 0);
    assert_int_equal(run(NOVEMBER + KEEP_MS), 0);
    assert_int_equal(count("orders"), 0);
}

static void a_symbolic_link_is_not_followed(void **state)
{
    (void)state;
    add_order(ORDER_DELIVERED, OCTOBER, NULL);
    assert_int_equal(mkdir("db/orders/archive", 0700), 0);
    assert_int_equal(symlink("../../elsewhere", OCTOBER_FILE), 0);
    assert_int_equal(run(NOVEMBER + KEEP_MS), -ELOOP);
    assert_int_equal(access("elsewhere", F_OK), -1);
    assert_int_equal(count("orders"), 1);
}

static void a_home_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char home[5000];
    memset(home, 'x', sizeof home - 1);
    home[sizeof home - 1] = '\0';
    assert_int_equal(archive_configure(home, 1), -ENAMETOOLONG);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(only_old_finished_orders_move),
        CASE(an_order_is_kept_to_the_millisecond),
        CASE(each_month_has_its_file),
        CASE(a_line_has_the_order_and_its_history),
        CASE(a_run_takes_a_batch_at_most),
        CASE(nothing_to_do_makes_no_file),
        CASE(a_torn_line_is_cut),
        CASE(a_file_of_nothing_but_a_torn_line_is_begun_anew),
        CASE(an_order_stays_when_its_line_cannot_be_written),
        CASE(a_symbolic_link_is_not_followed),
        CASE(a_home_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
