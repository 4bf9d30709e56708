// SPDX-License-Identifier: MIT
// Every SQL statement of the orders service. Functions fill the structs of proto/orders.h with
// strings in the caller's arena; they return 0 or a positive count, or a negative errno. Those that
// change something run in the writer's transaction and leave checking who may do it to their
// callers.
//
// A product's stock stands in a table of its own: an order rewrites 20 bytes of it, not the whole
// product. An order is one row: its lines and steps are packed into it, because nothing ever asks
// for one of them alone.
#ifndef ORDERS_ORDERS_STORE_H
#define ORDERS_ORDERS_STORE_H

#include "common/db.h"
#include "proto/orders.h"
#include "services/orders/order_states.h"

struct arena;

#define ORDERS_MIGRATIONS 1
extern const char *const orders_migrations[ORDERS_MIGRATIONS];

#define ORDERS_CHECK __attribute__((warn_unused_result))

// --- Products

struct stored_product {
    struct product product; // as the API shows it
    int64_t row;            // its number in the store
};

// 1 with the product, 0 when there is none.
ORDERS_CHECK int orders_store_product(struct db *db, struct str sku, struct arena *memory,
                                      struct stored_product *ret);

// What an order needs of a product.
struct stored_offer {
    struct str name;
    struct money price;
    int64_t stock;
    int64_t row; // its number in the store
};

// 1 with the offer, 0 when there is no such product.
ORDERS_CHECK int orders_store_offer(struct db *db, struct str sku, struct arena *memory,
                                    struct stored_offer *ret);

// Products behind a sku, in the order of the sku; "" begins at the first. The caller steps with
// orders_store_next_product() (1, or 0 at the end; strings borrow the row) and closes rows.
ORDERS_CHECK int orders_store_products(struct db *db, struct str after_sku, struct db_rows *rows);
ORDERS_CHECK int orders_store_next_product(struct db_rows *rows, struct product *ret);

// -EEXIST when the sku is taken.
ORDERS_CHECK int orders_store_add_product(struct db *db, const struct product *p);

// Writes everything but the sku and the time of creation.
ORDERS_CHECK int orders_store_change_product(struct db *db, const struct stored_product *p);

// Takes from the stock, or gives back to it; the product's version grows. -EINVAL when less would
// be left than nothing: the table's own guard, behind the caller's check.
ORDERS_CHECK int orders_store_take(struct db *db, int64_t product_row, int64_t quantity,
                                   int64_t now_ms);
ORDERS_CHECK int orders_store_give_back(struct db *db, struct str sku, int64_t quantity,
                                        int64_t now_ms);

// --- Orders

struct stored_order {
    struct order order; // as the API shows it; `status` is a name that lives for ever
    enum order_status status;
    struct str steps; // packed; orders_store_history() reads them
    int64_t row;      // its number in the store, growing with time: the sort key of lists
};

// 1 with the order, 0 when there is none.
ORDERS_CHECK int orders_store_order(struct db *db, struct str id, struct arena *memory,
                                    struct stored_order *ret);

#define ORDERS_ANY_STATUS (-1)

// Orders before a row, newest first: of one user, or of all when user_id.p is NULL; in one state,
// or in ORDERS_ANY_STATUS. The caller steps with orders_store_next_order() and closes rows.
ORDERS_CHECK int orders_store_orders(struct db *db, struct str user_id, int status,
                                     int64_t before_row, struct db_rows *rows);
ORDERS_CHECK int orders_store_next_order(struct db_rows *rows, struct arena *memory,
                                         struct stored_order *ret);

// Adds an order in state ORDER_PLACED, placed by its owner.
ORDERS_CHECK int orders_store_add_order(struct db *db, const struct order *o);

// Moves an order into another state, as its rule allows, and notes the step by somebody. *o
// follows.
ORDERS_CHECK int orders_store_move(struct db *db, struct stored_order *o, enum order_status to,
                                   struct str by, int64_t now_ms, struct arena *memory);

// Steps of an order, oldest first.
ORDERS_CHECK int orders_store_history(const struct stored_order *o, struct order_history *ret);

// Cuts the tie between orders and a user who is gone: no owner, no note, a new version. Returns how
// many.
ORDERS_CHECK int orders_store_anonymise(struct db *db, struct str user_id, int64_t now_ms);

// Orders that were finished before a time, oldest first; to be stepped and closed like any list.
ORDERS_CHECK int orders_store_finished(struct db *db, int64_t before_ms, int64_t limit,
                                       struct db_rows *rows);
ORDERS_CHECK int orders_store_remove(struct db *db, int64_t row);

#endif
