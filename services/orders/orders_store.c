// SPDX-License-Identifier: MIT
// Lists need no LIMIT: each walks an index in its order, and the caller stops stepping. INDEXED BY
// makes it an error, not a slow query, should an index ever be missing.
#include "services/orders/orders_store.h"

#include "common/arena.h"
#include "proto/reader.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>

// Bytes of an order's packed lines: 50 lines of a sku (64), a name (200 characters of 4 bytes) and
// two numbers.
#define LINES_MAX_BYTES (ORDER_MAX_LINES * 1024)
#define STEPS_MAX_BYTES 1024

static const char schema_1[] =
    "CREATE TABLE products ("
    "  id INTEGER PRIMARY KEY,"
    "  sku TEXT NOT NULL UNIQUE,"
    "  name TEXT NOT NULL,"
    "  price INTEGER NOT NULL CHECK (price >= 0)," // minor units
    "  currency TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  description TEXT NOT NULL" // last: it may be long, and orders read the columns before it
    ") STRICT;"
    "CREATE TABLE stock ("
    "  product INTEGER PRIMARY KEY REFERENCES products (id),"
    "  quantity INTEGER NOT NULL CHECK (quantity >= 0)," // never below zero, whoever asks
    "  version INTEGER NOT NULL," // of the product: stock is part of what people see
    "  updated_ms INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE orders ("
    "  id INTEGER PRIMARY KEY," // grows with time
    "  uuid TEXT NOT NULL UNIQUE,"
    "  user_id TEXT NOT NULL,"
    "  status INTEGER NOT NULL CHECK (status BETWEEN 0 AND 4)," // enum order_status
    "  total INTEGER NOT NULL CHECK (total >= 0),"
    "  currency TEXT NOT NULL,"
    "  version INTEGER NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  updated_ms INTEGER NOT NULL,"
    "  steps BLOB NOT NULL," // MessagePack [[status, at_ms], ...]; a third element: not by the owner
    "  lines BLOB NOT NULL," // MessagePack [[sku, name, quantity, unit price], ...]
    "  note TEXT"
    ") STRICT;"
    "CREATE INDEX orders_by_user ON orders (user_id, id, status);"
    "CREATE INDEX orders_by_status ON orders (status, id);"
    "CREATE INDEX orders_finished ON orders (updated_ms)"
    "  WHERE status >= 3;"; // ORDER_FIRST_FINISHED

const char *const orders_migrations[ORDERS_MIGRATIONS] = { schema_1 };

// Copies a value of a row into the arena: it must outlive the row. 0 or -ENOMEM.
static int keep(struct arena *memory, struct str *s)
{
    if (!s->p) {
        return 0; // null
    }
    *s = arena_str(memory, *s);
    return s->p ? 0 : -ENOMEM;
}

// --- Products

#define PRODUCT_COLUMNS                                                                            \
    "products.id, sku, name, price, currency, created_ms, quantity, version, updated_ms, "         \
    "description"
#define PRODUCT_TABLES " FROM products JOIN stock ON stock.product = products.id "

static void read_product(const struct db_rows *rows, struct product *p)
{
    *p = (struct product){ .sku = db_str(rows, 1),
                           .name = db_str(rows, 2),
                           .price = { .amount = db_int(rows, 3), .currency = db_str(rows, 4) },
                           .created_at = db_int(rows, 5),
                           .stock = db_int(rows, 6),
                           .version = db_int(rows, 7),
                           .updated_at = db_int(rows, 8),
                           .description = db_str(rows, 9) };
}

int orders_store_product(struct db *db, struct str sku, struct arena *memory,
                         struct stored_product *ret)
{
    struct db_rows rows;
    int rc = db_row(db, &rows, "SELECT " PRODUCT_COLUMNS PRODUCT_TABLES "WHERE sku = ?", "s", sku);
    if (rc <= 0) {
        return rc;
    }
    struct product p;
    read_product(&rows, &p);
    int64_t row = db_int(&rows, 0);
    struct str *const strings[] = { &p.sku, &p.name, &p.price.currency, &p.description };
    for (size_t i = 0; i < sizeof strings / sizeof *strings && rc > 0; i++) {
        rc = keep(memory, strings[i]) ? -ENOMEM : 1;
    }
    db_rows_close(&rows);
    if (rc > 0) {
        *ret = (struct stored_product){ .product = p, .row = row };
    }
    return rc;
}

int orders_store_offer(struct db *db, struct str sku, struct arena *memory,
                       struct stored_offer *ret)
{
    struct db_rows rows;
    int rc =
        db_row(db, &rows,
               "SELECT products.id, name, price, currency, quantity" PRODUCT_TABLES "WHERE sku = ?",
               "s", sku);
    if (rc <= 0) {
        return rc;
    }
    struct stored_offer o = { .row = db_int(&rows, 0),
                              .name = db_str(&rows, 1),
                              .price = { .amount = db_int(&rows, 2), .currency = db_str(&rows, 3) },
                              .stock = db_int(&rows, 4) };
    int error = keep(memory, &o.name) ? -ENOMEM : keep(memory, &o.price.currency);
    db_rows_close(&rows);
    if (error) {
        return error;
    }
    *ret = o;
    return 1;
}

int orders_store_products(struct db *db, struct str after_sku, struct db_rows *rows)
{
    return db_rows_open(db, rows,
                        "SELECT " PRODUCT_COLUMNS PRODUCT_TABLES "WHERE sku > ? ORDER BY sku", "s",
                        after_sku.p ? after_sku : STR(""));
}

int orders_store_next_product(struct db_rows *rows, struct product *ret)
{
    int rc = db_rows_next(rows);
    if (rc > 0) {
        read_product(rows, ret);
    }
    return rc;
}

int orders_store_add_product(struct db *db, const struct product *p)
{
    struct db_rows rows;
    int rc = db_row(db, &rows,
                    "INSERT INTO products (sku, name, price, currency, created_ms, description)"
                    " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                    "ssisis", p->sku, p->name, p->price.amount, p->price.currency, p->created_at,
                    p->description);
    if (rc < 0) {
        return rc;
    }
    assert(rc == 1); // RETURNING of one row
    int64_t row = db_int(&rows, 0);
    db_rows_close(&rows);
    rc =
        db_run(db, "INSERT INTO stock (product, quantity, version, updated_ms) VALUES (?, ?, ?, ?)",
               "iiii", row, p->stock, p->version, p->updated_at);
    return rc < 0 ? rc : 0;
}

int orders_store_change_product(struct db *db, const struct stored_product *stored)
{
    const struct product *p = &stored->product;
    int rc = db_run(
        db, "UPDATE products SET name = ?, price = ?, currency = ?, description = ? WHERE id = ?",
        "sissi", p->name, p->price.amount, p->price.currency, p->description, stored->row);
    if (rc < 0) {
        return rc;
    }
    rc = db_run(db, "UPDATE stock SET quantity = ?, version = ?, updated_ms = ? WHERE product = ?",
                "iiii", p->stock, p->version, p->updated_at, stored->row);
    return rc < 0 ? rc : 0;
}

int orders_store_take(struct db *db, int64_t product_row, int64_t quantity, int64_t now_ms)
{
    int rc =
        db_run(db,
               "UPDATE stock SET quantity = quantity - ?, version = version + 1, updated_ms = ?"
               " WHERE product = ?",
               "iii", quantity, now_ms, product_row);
    return rc < 0 ? rc : 0;
}

int orders_store_give_back(struct db *db, struct str sku, int64_t quantity, int64_t now_ms)
{
    int rc =
        db_run(db,
               "UPDATE stock SET quantity = quantity + ?, version = version + 1, updated_ms = ?"
               " WHERE product = (SELECT id FROM products WHERE sku = ?)",
               "iis", quantity, now_ms, sku);
    return rc < 0 ? rc : 0;
}

// --- What is packed into an order

static void pack_lines(const struct order *o, struct buf *b)
{
    writer_array(b, (uint32_t)o->n_items);
    for (size_t i = 0; i < o->n_items; i++) {
        const struct order_line *line = &o->items[i];
        writer_array(b, 4);
        writer_str(b, line->sku);
        writer_str(b, line->name);
        writer_int(b, line->quantity);
        writer_int(b, line->unit_price.amount);
    }
}

static int unpack_line(struct reader *r, struct str currency, struct order_line *line)
{
    uint32_t fields;
    if (reader_array(r, &fields) || fields != 4 || reader_str(r, &line->sku) ||
        reader_str(r, &line->name) || reader_int(r, &line->quantity) ||
        reader_int(r, &line->unit_price.amount)) {
        return -EUCLEAN;
    }
    line->unit_price.currency = line->line_total.currency = currency;
    // Cannot overflow in what was stored; what is damaged must not become undefined either.
    return __builtin_mul_overflow(line->unit_price.amount, line->quantity, &line->line_total.amount)
               ? -EUCLEAN
               : 0;
}

static int unpack_lines(struct str packed, struct order *o)
{
    struct reader r = reader_of(packed);
    uint32_t n;
    if (reader_array(&r, &n) || n > ORDER_MAX_LINES) {
        return -EUCLEAN;
    }
    o->n_items = n;
    for (uint32_t i = 0; i < n; i++) {
        int rc = unpack_line(&r, o->total.currency, &o->items[i]);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

// Writes the steps taken so far (packed; empty: none) and one more. by.p == NULL: the owner did it.
static void pack_step(struct str packed, enum order_status status, int64_t at_ms, struct str by,
                      struct buf *b)
{
    struct reader r = reader_of(packed);
    uint32_t n = 0;
    if (packed.n && reader_array(&r, &n)) {
        b->error = -EUCLEAN; // the only writer of steps is this function
        return;
    }
    writer_array(b, n + 1);
    buf_append(b, r.p, reader_left(&r));
    writer_array(b, by.p ? 3 : 2);
    writer_int(b, status);
    writer_int(b, at_ms);
    if (by.p) {
        writer_str(b, by);
    }
}

int orders_store_history(const struct stored_order *o, struct order_history *ret)
{
    struct reader r = reader_of(o->steps);
    uint32_t n, fields;
    if (reader_array(&r, &n) || n > sizeof ret->items / sizeof *ret->items) {
        return -EUCLEAN;
    }
    ret->n_items = n;
    for (uint32_t i = 0; i < n; i++) {
        struct order_step *step = &ret->items[i];
        int64_t status;
        step->by = o->order.user_id;
        if (reader_array(&r, &fields) || fields < 2 || reader_int(&r, &status) || status < 0 ||
            status >= ORDER_STATUS_COUNT || reader_int(&r, &step->at) ||
            (fields > 2 && reader_str(&r, &step->by))) {
            return -EUCLEAN;
        }
        step->status = str_of(order_status_name((enum order_status)status));
    }
    return 0;
}

// --- Orders

#define ORDER_COLUMNS                                                                              \
    "id, uuid, user_id, status, total, currency, version, created_ms, updated_ms, steps, lines, "  \
    "note"

static int read_order(const struct db_rows *rows, struct arena *memory, struct stored_order *ret)
{
    struct order *o = &ret->order;
    int64_t status = db_int(rows, 3);
    struct str lines = db_str(rows, 10);
    assert(status >= 0 && status < ORDER_STATUS_COUNT); // the table's CHECK
    ret->row = db_int(rows, 0);
    ret->status = (enum order_status)status;
    ret->steps = db_str(rows, 9);
    o->head = (struct message_head){ 0 };
    o->id = db_str(rows, 1);
    o->user_id = db_str(rows, 2);
    o->status = str_of(order_status_name(ret->status));
    o->total.amount = db_int(rows, 4);
    o->total.currency = db_str(rows, 5);
    o->version = db_int(rows, 6);
    o->created_at = db_int(rows, 7);
    o->updated_at = db_int(rows, 8);
    o->note = db_str(rows, 11);
    if (o->note.p) {
        o->head.present |= MESSAGE_BIT(order, note);
    }
    struct str *const strings[] = { &o->id,   &o->user_id, &o->total.currency,
                                    &o->note, &ret->steps, &lines };
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        if (keep(memory, strings[i])) {
            return -ENOMEM;
        }
    }
    return unpack_lines(lines, o);
}

int orders_store_order(struct db *db, struct str id, struct arena *memory, struct stored_order *ret)
{
    struct db_rows rows;
    int rc = db_row(db, &rows, "SELECT " ORDER_COLUMNS " FROM orders WHERE uuid = ?", "s", id);
    if (rc > 0) {
        int error = read_order(&rows, memory, ret);
        rc = error ? error : 1;
        db_rows_close(&rows);
    }
    return rc;
}

int orders_store_orders(struct db *db, struct str user_id, int status, int64_t before_row,
                        struct db_rows *rows)
{
    if (user_id.p && status == ORDERS_ANY_STATUS) {
        return db_rows_open(db, rows,
                            "SELECT " ORDER_COLUMNS " FROM orders INDEXED BY orders_by_user"
                            " WHERE user_id = ? AND id < ? ORDER BY id DESC",
                            "si", user_id, before_row);
    }
    if (user_id.p) {
        return db_rows_open(db, rows,
                            "SELECT " ORDER_COLUMNS " FROM orders INDEXED BY orders_by_user"
                            " WHERE user_id = ? AND id < ? AND status = ? ORDER BY id DESC",
                            "sii", user_id, before_row, (int64_t)status);
    }
    if (status == ORDERS_ANY_STATUS) {
        return db_rows_open(db, rows,
                            "SELECT " ORDER_COLUMNS " FROM orders WHERE id < ? ORDER BY id DESC",
                            "i", before_row);
    }
    return db_rows_open(db, rows,
                        "SELECT " ORDER_COLUMNS " FROM orders INDEXED BY orders_by_status"
                        " WHERE status = ? AND id < ? ORDER BY id DESC",
                        "ii", (int64_t)status, before_row);
}

int orders_store_next_order(struct db_rows *rows, struct arena *memory, struct stored_order *ret)
{
    int rc = db_rows_next(rows);
    if (rc > 0) {
        int error = read_order(rows, memory, ret);
        rc = error ? error : 1;
    }
    return rc;
}

int orders_store_add_order(struct db *db, const struct order *o)
{
    struct buf steps, lines;
    buf_init(&steps, STEPS_MAX_BYTES);
    buf_init(&lines, LINES_MAX_BYTES);
    pack_step((struct str){ NULL, 0 }, ORDER_PLACED, o->created_at, (struct str){ NULL, 0 },
              &steps);
    pack_lines(o, &lines);
    int rc = buf_error(&steps) ? buf_error(&steps) : buf_error(&lines);
    if (!rc) {
        rc = db_run(
            db,
            "INSERT INTO orders (uuid, user_id, status, total, currency, version, created_ms,"
            " updated_ms, steps, lines, note) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            "ssiisiiibbs", o->id, o->user_id, (int64_t)ORDER_PLACED, o->total.amount,
            o->total.currency, o->version, o->created_at, o->updated_at, buf_str(&steps),
            buf_str(&lines), o->note);
    }
    buf_fini(&steps);
    buf_fini(&lines);
    return rc < 0 ? rc : 0;
}

int orders_store_move(struct db *db, struct stored_order *o, enum order_status to, struct str by,
                      int64_t now_ms, struct arena *memory)
{
    struct buf steps;
    buf_init(&steps, STEPS_MAX_BYTES);
    bool by_owner = str_eq(by, o->order.user_id);
    pack_step(o->steps, to, now_ms, by_owner ? (struct str){ NULL, 0 } : by, &steps);
    int rc = buf_error(&steps);
    if (!rc) {
        rc = db_run(
            db, "UPDATE orders SET status = ?, version = ?, updated_ms = ?, steps = ? WHERE id = ?",
            "iiibi", (int64_t)to, o->order.version + 1, now_ms, buf_str(&steps), o->row);
    }
    struct str kept = rc >= 0 ? arena_str(memory, buf_str(&steps)) : (struct str){ NULL, 0 };
    buf_fini(&steps);
    if (rc < 0 || !kept.p) {
        return rc < 0 ? rc : -ENOMEM;
    }
    o->status = to;
    o->steps = kept;
    o->order.status = str_of(order_status_name(to));
    o->order.version++;
    o->order.updated_at = now_ms;
    return 0;
}

int orders_store_anonymise(struct db *db, struct str user_id, int64_t now_ms)
{
    // A step that the owner took names nobody in `steps`, so this is all there is to forget.
    return db_run(
        db,
        "UPDATE orders SET user_id = ?, note = NULL, version = version + 1, updated_ms = ?"
        " WHERE user_id = ?",
        "zis", ORDER_NOBODY, now_ms, user_id);
}

int orders_store_finished(struct db *db, int64_t before_ms, int64_t limit, struct db_rows *rows)
{
    return db_rows_open(db, rows,
                        "SELECT " ORDER_COLUMNS " FROM orders INDEXED BY orders_finished"
                        " WHERE status >= 3 AND updated_ms < ? ORDER BY updated_ms LIMIT ?",
                        "ii", before_ms, limit);
}

int orders_store_remove(struct db *db, int64_t row)
{
    int rc = db_run(db, "DELETE FROM orders WHERE id = ?", "i", row);
    return rc < 0 ? rc : 0;
}
