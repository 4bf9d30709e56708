// SPDX-License-Identifier: MIT
#include "services/orders/orders.h"

#include "common/uuid.h"
#include "services/orders/order_states.h"
#include "services/orders/orders_store.h"
#include "services/orders/page.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

// --- Placing

// An order that is being put together: what the client asked for, and the product of each line.
struct draft {
    const struct order_create *in;
    struct order order;
    struct stored_offer offers[ORDER_MAX_LINES];
    size_t n_mistakes;
};

#define POINTER_BYTES 40

static const char *line_pointer(char out[POINTER_BYTES], size_t line, const char *field)
{
    (void)snprintf(out, POINTER_BYTES, "#/items/%zu/%s", line, field); // fits: line is below 50
    return out;
}

__attribute__((format(printf, 5, 6))) static void
mistake(struct call *c, struct draft *d, size_t line, const char *field, const char *format, ...)
{
    char pointer[POINTER_BYTES], text[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); // a longer one is cut
    va_end(args);
    call_problem_at(c, line_pointer(pointer, line, field), "%s", text);
    d->n_mistakes++;
}

// The line before this one that has the same sku, or `line` itself.
static size_t first_with_sku(const struct order_create *in, size_t line)
{
    size_t i = 0;
    while (i < line && !str_eq(in->items[i].sku, in->items[line].sku)) {
        i++;
    }
    return i;
}

// Fills in line number i from its product. Mistakes are noted, not returned.
static int price_line(struct call *c, struct draft *d, size_t i)
{
    const struct order_line_create *wanted = &d->in->items[i];
    struct stored_offer *offer = &d->offers[i];
    size_t first = first_with_sku(d->in, i);
    if (first != i) {
        mistake(c, d, i, "sku",
                "is in #/items/%zu already; name a product once, with the whole quantity", first);
        return 0;
    }
    int rc = orders_store_offer(call_db(c), wanted->sku, call_arena(c), offer);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0) {
        mistake(c, d, i, "sku", "there is no product with this sku");
        return 0;
    }
    struct order_line *line = &d->order.items[i];
    *line = (struct order_line){ .sku = wanted->sku,
                                 .name = offer->name,
                                 .quantity = wanted->quantity,
                                 .unit_price = offer->price,
                                 .line_total = offer->price };
    // Fits, and so does the sum: see MONEY_MAX in proto/orders.h.
    line->line_total.amount = offer->price.amount * wanted->quantity;
    d->order.total.amount += line->line_total.amount;
    if (!d->order.total.currency.p) {
        d->order.total.currency = offer->price.currency;
    } else if (!str_eq(offer->price.currency, d->order.total.currency)) {
        mistake(c, d, i, "sku",
                "costs %.*s, other items of this order %.*s; an order has one currency",
                STR_ARG(offer->price.currency), STR_ARG(d->order.total.currency));
    }
    return 0;
}

static int price_order(struct call *c, struct draft *d)
{
    for (size_t i = 0; i < d->in->n_items; i++) {
        int rc = price_line(c, d, i);
        if (rc) {
            return rc;
        }
    }
    d->order.n_items = d->in->n_items;
    if (!d->n_mistakes && d->order.total.amount > MONEY_MAX) {
        call_problem_at(c, "#/items",
                        "comes to a total of %" PRId64 "; at most %" PRId64 " is allowed",
                        d->order.total.amount, MONEY_MAX);
        d->n_mistakes++;
    }
    return 0;
}

static void check_stock(struct call *c, struct draft *d)
{
    for (size_t i = 0; i < d->order.n_items; i++) {
        int64_t stock = d->offers[i].stock;
        if (stock < d->order.items[i].quantity) {
            mistake(c, d, i, "quantity", "only %" PRId64 " of %.*s are left", stock,
                    STR_ARG(d->order.items[i].sku));
        }
    }
}

static int store_order(struct call *c, struct draft *d)
{
    struct order *o = &d->order;
    for (size_t i = 0; i < o->n_items; i++) {
        int rc =
            orders_store_take(call_db(c), d->offers[i].row, o->items[i].quantity, call_now_ms(c));
        if (rc) {
            return rc;
        }
    }
    int rc = orders_store_add_order(call_db(c), o);
    return rc ? rc : call_event(c, order_status_event(ORDER_PLACED), o->id, o);
}

// Everything is looked at before anything is changed, in one transaction that no other write can
// come between.
int orders_place(struct call *c)
{
    struct draft *d = call_alloc(c, sizeof *d);
    char *id = call_alloc(c, UUID_TEXT + 1);
    if (!d || !id) {
        return -ENOMEM;
    }
    d->in = call_body(c);
    int rc = price_order(c, d);
    if (rc) {
        return rc;
    }
    if (d->n_mistakes) {
        return call_problem(c, PROBLEM_INVALID_FIELDS, NULL);
    }
    check_stock(c, d);
    if (d->n_mistakes) {
        return call_problem(c, PROBLEM_OUT_OF_STOCK, NULL);
    }
    struct order *o = &d->order;
    uuid_v7(call_now_ms(c), id);
    o->id = (struct str){ id, UUID_TEXT };
    o->user_id = call_principal(c)->id;
    o->status = str_of(order_status_name(ORDER_PLACED));
    o->version = 1;
    o->created_at = o->updated_at = call_now_ms(c);
    if (MESSAGE_HAS(d->in, order_create, note)) {
        o->note = d->in->note;
        o->head.present |= MESSAGE_BIT(order, note);
    }
    rc = store_order(c, d);
    if (rc) {
        return rc;
    }
    call_reply_header(c, "location", "/v1/orders/%s", id);
    call_etag(c, o->version);
    return call_reply(c, 201, &order_message, o);
}

// --- Looking

// What the caller is to this order; 0: nobody, and then it is not there for them.
static unsigned actors_of(const struct call *c, const struct order *o)
{
    return (call_is_user(c, o->user_id) ? ORDER_OWNER : 0u) | (call_is_admin(c) ? ORDER_ADMIN : 0u);
}

// The order that the path names. Returns 1 with it; 0 when the call is answered with 404; or a
// negative errno.
static int find_order(struct call *c, struct stored_order **ret_order)
{
    struct stored_order *o = call_alloc(c, sizeof *o);
    int rc = o ? orders_store_order(call_db(c), call_param(c, 0), call_arena(c), o) : -ENOMEM;
    if (rc < 0) {
        return rc;
    }
    if (rc == 0 || !actors_of(c, &o->order)) {
        return call_problem(c, PROBLEM_NOT_FOUND, NULL);
    }
    *ret_order = o;
    return 1;
}

int orders_get(struct call *c)
{
    struct stored_order *o;
    int rc = find_order(c, &o);
    if (rc <= 0 || call_not_modified(c, o->order.version)) {
        return rc < 0 ? rc : 0;
    }
    return call_reply(c, 200, &order_message, &o->order);
}

int orders_history(struct call *c)
{
    struct stored_order *o;
    struct order_history history = { 0 };
    int rc = find_order(c, &o);
    if (rc <= 0) {
        return rc;
    }
    rc = orders_store_history(o, &history);
    return rc ? rc : call_reply(c, 200, &order_history_message, &history);
}

static int wanted_status(const struct call *c)
{
    struct str name = call_query(c, "status");
    enum order_status status;
    if (!name.p) {
        return ORDERS_ANY_STATUS;
    }
    int rc = order_status_parse(name, &status);
    assert(rc == 0); // the route lists the names
    return rc ? ORDERS_ANY_STATUS : (int)status;
}

int orders_list(struct call *c)
{
    struct cursor_position at = { .number = { INT64_MAX } };
    struct str owner = call_is_admin(c) ? (struct str){ NULL, 0 } : call_principal(c)->id;
    if (call_cursor(c, &at) < 0) {
        return 0;
    }
    struct stored_order *o = call_alloc(c, sizeof *o);
    struct db_rows rows;
    struct page page;
    int rc =
        o ? orders_store_orders(call_db(c), owner, wanted_status(c), at.number[0], &rows) : -ENOMEM;
    if (rc) {
        return rc;
    }
    page_begin(&page, c);
    while ((rc = orders_store_next_order(&rows, call_arena(c), o)) > 0 && page_has_room(&page)) {
        page_add(&page, &order_message, &o->order);
        at.number[0] = o->row;
    }
    db_rows_close(&rows);
    return rc < 0 ? rc : page_end(&page, rc > 0 ? &at : NULL);
}

// --- Moving on

static int refuse_move(struct call *c, const struct order_rule *rule, enum order_status from)
{
    char allowed[64] = "";
    for (unsigned i = 0; i < ORDER_STATUS_COUNT; i++) {
        if (order_rule_fits(rule, (enum order_status)i)) {
            size_t n = strlen(allowed);
            (void)snprintf(allowed + n, sizeof allowed - n, "%s%s",
                           n ? " or " : "", // the longest fits
                           order_status_name((enum order_status)i));
        }
    }
    return call_problem(c, PROBLEM_INVALID_TRANSITION,
                        "The order is %s; %s is for orders that are %s.", order_status_name(from),
                        rule->verb, allowed);
}

static int give_back(struct call *c, const struct order *o)
{
    for (size_t i = 0; i < o->n_items; i++) {
        int rc = orders_store_give_back(call_db(c), o->items[i].sku, o->items[i].quantity,
                                        call_now_ms(c));
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int move_order(struct call *c, enum order_move move)
{
    const struct order_rule *rule = order_rule(move);
    struct stored_order *o;
    int rc = find_order(c, &o);
    if (rc <= 0) {
        return rc;
    }
    if (!(rule->actors & actors_of(c, &o->order))) {
        return call_problem(c, PROBLEM_FORBIDDEN, "Only %s may %s an order.",
                            rule->actors & ORDER_ADMIN ? "an admin" : "its owner", rule->verb);
    }
    if (!order_rule_fits(rule, o->status)) {
        return refuse_move(c, rule, o->status);
    }
    if (rule->to == ORDER_CANCELLED) {
        rc = give_back(c, &o->order);
    }
    rc = rc < 0 ? rc
                : orders_store_move(call_db(c), o, rule->to, call_principal(c)->id, call_now_ms(c),
                                    call_arena(c));
    rc = rc ? rc : call_event(c, order_status_event(rule->to), o->order.id, &o->order);
    if (rc) {
        return rc;
    }
    call_etag(c, o->order.version);
    return call_reply(c, 200, &order_message, &o->order);
}

int orders_pay(struct call *c)
{
    return move_order(c, ORDER_PAY);
}

int orders_ship(struct call *c)
{
    return move_order(c, ORDER_SHIP);
}

int orders_deliver(struct call *c)
{
    return move_order(c, ORDER_DELIVER);
}

int orders_cancel(struct call *c)
{
    return move_order(c, ORDER_CANCEL);
}
