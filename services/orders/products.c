// SPDX-License-Identifier: MIT
#include "services/orders/products.h"

#include "services/orders/orders_store.h"
#include "services/orders/page.h"

#include <assert.h>
#include <errno.h>

int products_admin_only(struct call *c)
{
    return call_is_admin(c)
               ? 0
               : call_problem(c, PROBLEM_FORBIDDEN, "Only an admin may change products.");
}

int products_create(struct call *c)
{
    const struct product_create *in = call_body(c);
    struct product p = { .sku = in->sku,
                         .name = in->name,
                         .description = in->description,
                         .price = in->price,
                         .stock = in->stock,
                         .version = 1,
                         .created_at = call_now_ms(c),
                         .updated_at = call_now_ms(c) };
    int rc = orders_store_add_product(call_db(c), &p);
    if (rc == -EEXIST) {
        return call_problem(c, PROBLEM_SKU_TAKEN,
                            "There is a product %.*s already; change it with PATCH.",
                            STR_ARG(p.sku));
    }
    rc = rc ? rc : call_event(c, &orders_events[EVENT_PRODUCT_CREATED], p.sku, &p);
    if (rc) {
        return rc;
    }
    call_reply_header(c, "location", "/v1/products/%.*s", STR_ARG(p.sku));
    call_etag(c, p.version);
    return call_reply(c, 201, &product_message, &p);
}

// Takes over what the patch names, also inside the price (RFC 7396). Returns whether that changed
// anything.
static bool merge(const struct product_patch *patch, struct product *p)
{
    const struct product old = *p;
    if (MESSAGE_HAS(patch, product_patch, name)) {
        p->name = patch->name;
    }
    if (MESSAGE_HAS(patch, product_patch, description)) {
        p->description = patch->description;
    }
    if (MESSAGE_HAS(patch, product_patch, stock)) {
        p->stock = patch->stock;
    }
    if (MESSAGE_HAS(&patch->price, money_patch, amount)) {
        p->price.amount = patch->price.amount;
    }
    if (MESSAGE_HAS(&patch->price, money_patch, currency)) {
        p->price.currency = patch->price.currency;
    }
    return !str_eq(p->name, old.name) || !str_eq(p->description, old.description) ||
           p->stock != old.stock || p->price.amount != old.price.amount ||
           !str_eq(p->price.currency, old.price.currency);
}

static int store_change(struct call *c, struct stored_product *stored)
{
    struct product *p = &stored->product;
    p->version++;
    p->updated_at = call_now_ms(c);
    int rc = orders_store_change_product(call_db(c), stored);
    return rc ? rc : call_event(c, &orders_events[EVENT_PRODUCT_UPDATED], p->sku, p);
}

int products_change(struct call *c)
{
    struct stored_product stored;
    struct product *p = &stored.product;
    int rc = orders_store_product(call_db(c), call_param(c, 0), call_arena(c), &stored);
    if (rc <= 0) {
        return rc ? rc : call_problem(c, PROBLEM_NOT_FOUND, NULL);
    }
    if (!call_precondition(c, p->version)) {
        return 0;
    }
    rc = merge(call_body(c), p) ? store_change(c, &stored) : 0;
    if (rc) {
        return rc;
    }
    call_etag(c, p->version);
    return call_reply(c, 200, &product_message, p);
}

int products_get(struct call *c)
{
    struct stored_product stored;
    int rc = orders_store_product(call_db(c), call_param(c, 0), call_arena(c), &stored);
    if (rc <= 0) {
        return rc ? rc : call_problem(c, PROBLEM_NOT_FOUND, NULL);
    }
    if (call_not_modified(c, stored.product.version)) {
        return 0;
    }
    return call_reply(c, 200, &product_message, &stored.product);
}

int products_list(struct call *c)
{
    struct cursor_position at = { 0 };
    if (call_cursor(c, &at) < 0) {
        return 0;
    }
    struct db_rows rows;
    int rc = orders_store_products(call_db(c), at.text[0], &rows);
    if (rc) {
        return rc;
    }
    struct page page;
    struct product p;
    char last[64]; // sku of the item before: its row is gone when we learn that there is one more
    page_begin(&page, c);
    while ((rc = orders_store_next_product(&rows, &p)) > 0 && page_has_room(&page)) {
        page_add(&page, &product_message, &p);
        assert(p.sku.n <= sizeof last); // FORMAT_SKU, at most 64 characters
        memcpy(last, p.sku.p, p.sku.n);
        at.text[0] = (struct str){ last, p.sku.n };
    }
    db_rows_close(&rows);
    return rc < 0 ? rc : page_end(&page, rc > 0 ? &at : NULL);
}
