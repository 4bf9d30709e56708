// SPDX-License-Identifier: MIT
// Messages of the orders service: the HTTP bodies of its API and the data of its events.
#ifndef PROTO_ORDERS_H
#define PROTO_ORDERS_H

#include "proto/event_kind.h"

// Lines that one order may have. Bounds the size of an order, its event and its transaction.
#define ORDER_MAX_LINES 50

// The largest amount, of a price and of an order's total alike: 50 lines of 10 000 pieces at this
// price still fit 64 bits, so that sums can be checked after they were made.
#define MONEY_MAX INT64_C(1000000000000)

#define MONEY_FIELDS(S, I, B, T, O, L)                                                \
    I(amount, REQUIRED, 0, MONEY_MAX, "In minor units: 1999 is 19.99")                \
    S(currency, REQUIRED, 3, 3, CURRENCY, "ISO 4217 code")
MESSAGE_DECLARE(money, MONEY_FIELDS)

// A product as the API shows it and as orders.product.* events carry it.
#define PRODUCT_FIELDS(S, I, B, T, O, L)                                              \
    S(sku, REQUIRED, 1, 64, SKU, "Stock keeping unit: the product's id")              \
    S(name, REQUIRED, 1, 200, LINE, "Name")                                           \
    S(description, REQUIRED, 0, 8000, TEXT, "Description")                            \
    O(price, REQUIRED, money, "Price of one")                                         \
    I(stock, REQUIRED, 0, 1000000000, "How many there are")                           \
    I(version, REQUIRED, 1, INT64_MAX, "Grows by one with every change")              \
    T(created_at, REQUIRED, "When it was added")                                      \
    T(updated_at, REQUIRED, "When it was changed last")
MESSAGE_DECLARE(product, PRODUCT_FIELDS)

#define PRODUCT_CREATE_FIELDS(S, I, B, T, O, L)                                       \
    S(sku, REQUIRED, 1, 64, SKU, "Stock keeping unit")                                \
    S(name, REQUIRED, 1, 200, LINE, "Name")                                           \
    S(description, REQUIRED, 0, 8000, TEXT, "Description")                            \
    O(price, REQUIRED, money, "Price of one")                                         \
    I(stock, REQUIRED, 0, 1000000000, "How many there are")
MESSAGE_DECLARE(product_create, PRODUCT_CREATE_FIELDS)

#define MONEY_PATCH_FIELDS(S, I, B, T, O, L)                                          \
    I(amount, OPTIONAL, 0, MONEY_MAX, "New amount in minor units")                    \
    S(currency, OPTIONAL, 3, 3, CURRENCY, "New currency, an ISO 4217 code")
MESSAGE_DECLARE(money_patch, MONEY_PATCH_FIELDS)

// RFC 7396 merge patch: what is left out stays, inside the price too.
#define PRODUCT_PATCH_FIELDS(S, I, B, T, O, L)                                        \
    S(name, OPTIONAL, 1, 200, LINE, "New name")                                       \
    S(description, OPTIONAL, 0, 8000, TEXT, "New description")                        \
    O(price, OPTIONAL, money_patch, "New price of one")                               \
    I(stock, OPTIONAL, 0, 1000000000, "New stock")
MESSAGE_DECLARE(product_patch, PRODUCT_PATCH_FIELDS)

#define PRODUCT_LIST_FIELDS(S, I, B, T, O, L)                                         \
    L(items, REQUIRED, 0, 100, product, "One page of products")                       \
    S(next_cursor, OPTIONAL, 1, 512, TOKEN, "For the next page; absent on the last")
MESSAGE_DECLARE(product_list, PRODUCT_LIST_FIELDS)

#define ORDER_LINE_CREATE_FIELDS(S, I, B, T, O, L)                                    \
    S(sku, REQUIRED, 1, 64, SKU, "The product; each at most once in an order")        \
    I(quantity, REQUIRED, 1, 10000, "How many")
MESSAGE_DECLARE(order_line_create, ORDER_LINE_CREATE_FIELDS)

#define ORDER_CREATE_FIELDS(S, I, B, T, O, L)                                         \
    L(items, REQUIRED, 1, ORDER_MAX_LINES, order_line_create, "What is ordered")      \
    S(note, OPTIONAL, 0, 500, TEXT, "A word to the shop")
MESSAGE_DECLARE(order_create, ORDER_CREATE_FIELDS)

#define ORDER_LINE_FIELDS(S, I, B, T, O, L)                                           \
    S(sku, REQUIRED, 1, 64, SKU, "The product")                                       \
    S(name, REQUIRED, 1, 200, LINE, "Its name when it was ordered")                   \
    I(quantity, REQUIRED, 1, 10000, "How many")                                       \
    O(unit_price, REQUIRED, money, "Price of one when it was ordered")                \
    O(line_total, REQUIRED, money, "unit_price times quantity")
MESSAGE_DECLARE(order_line, ORDER_LINE_FIELDS)

// user_id of an order whose user is gone.
#define ORDER_NOBODY "00000000-0000-0000-0000-000000000000"

// An order as the API shows it and as orders.order.* events carry it.
#define ORDER_FIELDS(S, I, B, T, O, L)                                                \
    S(id, REQUIRED, 36, 36, UUID, "The order's id, a UUIDv7")                         \
    S(user_id, REQUIRED, 1, 64, LINE, "Who ordered: a UUID, or NAME:SUB of another issuer") \
    S(status, REQUIRED, 1, 20, TOKEN, "placed, paid, shipped, delivered, cancelled")  \
    L(items, REQUIRED, 1, ORDER_MAX_LINES, order_line, "What was ordered")            \
    O(total, REQUIRED, money, "Sum of the lines")                                     \
    S(note, OPTIONAL, 0, 500, TEXT, "A word to the shop")                             \
    I(version, REQUIRED, 1, INT64_MAX, "Grows by one with every change")              \
    T(created_at, REQUIRED, "When it was placed")                                     \
    T(updated_at, REQUIRED, "When it was changed last")
MESSAGE_DECLARE(order, ORDER_FIELDS)

// The schema of a page of orders. Workers write the page one order after the other: the struct is
// large.
#define ORDER_LIST_FIELDS(S, I, B, T, O, L)                                           \
    L(items, REQUIRED, 0, 100, order, "One page of orders, newest first")             \
    S(next_cursor, OPTIONAL, 1, 512, TOKEN, "For the next page; absent on the last")
MESSAGE_DECLARE(order_list, ORDER_LIST_FIELDS)

#define ORDER_STEP_FIELDS(S, I, B, T, O, L)                                           \
    S(status, REQUIRED, 1, 20, TOKEN, "The status the order took")                    \
    T(at, REQUIRED, "When")                                                           \
    S(by, REQUIRED, 36, 36, UUID, "Who did it")
MESSAGE_DECLARE(order_step, ORDER_STEP_FIELDS)

// Steps that one order's history shows: more than the state machine allows.
#define ORDER_HISTORY_FIELDS(S, I, B, T, O, L)                                        \
    L(items, REQUIRED, 0, 16, order_step, "The order's steps, oldest first")
MESSAGE_DECLARE(order_history, ORDER_HISTORY_FIELDS)

// A line of an archive file: a finished order that left the store, as it was.
#define ARCHIVED_ORDER_FIELDS(S, I, B, T, O, L)                                       \
    O(order, REQUIRED, order, "The order in its last state")                          \
    L(history, REQUIRED, 0, 16, order_step, "Its steps, oldest first")
MESSAGE_DECLARE(archived_order, ARCHIVED_ORDER_FIELDS)

#define ORDERS_EVENTS(E)                                                              \
    E(PRODUCT_CREATED, "orders.product.created", product, "sku of the product", "A product was added") \
    E(PRODUCT_UPDATED, "orders.product.updated", product, "sku of the product",       \
      "A product was changed by an admin; orders change its stock without this")      \
    E(ORDER_PLACED, "orders.order.placed", order, "id of the order", "An order was placed") \
    E(ORDER_PAID, "orders.order.paid", order, "id of the order", "An order was paid") \
    E(ORDER_SHIPPED, "orders.order.shipped", order, "id of the order", "An order was sent") \
    E(ORDER_DELIVERED, "orders.order.delivered", order, "id of the order", "An order arrived") \
    E(ORDER_CANCELLED, "orders.order.cancelled", order, "id of the order",            \
      "An order was cancelled, and its stock given back")                             \
    E(ORDER_ARCHIVED, "orders.order.archived", order, "id of the order",              \
      "A finished order left the store for an archive file; this is its last event")
enum orders_event { ORDERS_EVENTS(EVENT_KIND_NUMBER) ORDERS_EVENT_COUNT };
extern const struct event_kind orders_events[ORDERS_EVENT_COUNT];

#endif
