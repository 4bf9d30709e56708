// SPDX-License-Identifier: MIT
// The orders service: products, orders of them, and what becomes of those. Every write of an order has
// a key, so the answer to it is the same however often it is made.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/orders.h"
#include "services/orders/archive.h"
#include "tests/fault/store_sim/life.h"
#include "tests/fault/store_sim/model.h"

#define PRODUCTS 3
#define STOCK 400 // of each product: it runs out in some runs
#define ARCHIVE_AFTER_MS (INT64_C(90) * 24 * 3600 * 1000)

enum kind { ADD_PRODUCT, PLACE, PAY, CANCEL };

static const struct frame_principal user = { STR_INIT("018f3c5e-0000-7000-8000-000000000001"),
                                             STR_INIT("user"), STR_INIT("session") };
static const struct frame_principal admin = { STR_INIT("018f3c5e-0000-7000-8000-000000000002"),
                                              STR_INIT("admin"), STR_INIT("session") };

static int open_archive(const char *directory)
{
    return archive_configure(directory, ARCHIVE_AFTER_MS);
}

// --- Asking

static int add_product(int product)
{
    int k = life_add(ADD_PRODUCT, -1);
    return k == product ? k : -1; // they are the first
}

static int next(struct world *w)
{
    if (w->n_requests < PRODUCTS) {
        return add_product(w->n_requests);
    }
    int some = (int)chance_below(&w->chance, (uint64_t)w->n_requests);
    if (w->requests[some].kind == PLACE && w->requests[some].status == 201 &&
        chance_in_1000(&w->chance, 600)) {
        return life_add(chance_in_1000(&w->chance, 600) ? PAY : CANCEL, some);
    }
    int product = (int)chance_below(&w->chance, PRODUCTS);
    if (!w->requests[product].status) {
        return -1;
    }
    int k = life_add(PLACE, product);
    w->requests[k].quantity = 1 + (int)chance_below(&w->chance, 20);
    return k;
}

static void complete(struct world *w)
{
    while (w->n_requests < PRODUCTS) {
        (void)add_product(w->n_requests);
    }
}

static void ask(struct world *w, int number)
{
    static const char *const operations[] = { "createProduct", "placeOrder", "payOrder",
                                              "cancelOrder" };
    const struct request *r = &w->requests[number];
    struct frame_request f = { 0 };
    char json[256], key[32];
    (void)snprintf(key, sizeof key, "\"key-%d\"", number);
    if (r->kind == ADD_PRODUCT) {
        (void)snprintf(json, sizeof json,
                       "{\"sku\": \"P%d\", \"name\": \"p\", \"description\": \"\", \"price\": "
                       "{\"amount\": %d, "
                       "\"currency\": \"EUR\"}, \"stock\": %d}",
                       number, 100 + number, STOCK);
        life_send(&f, operations[r->kind], json, &admin, number);
        return;
    }
    f.headers[f.n_headers++] = (struct frame_pair){ STR("idempotency-key"), str_of(key) };
    if (r->kind == PLACE) {
        (void)snprintf(
            json, sizeof json,
            "{\"items\": [{\"sku\": \"P%d\", \"quantity\": %d}], \"note\": \"of request %d\"}",
            r->of, r->quantity, number);
        life_send(&f, operations[r->kind], json, &user, number);
        return;
    }
    f.params[f.n_params++] = str_of(w->requests[r->of].id);
    life_send(&f, operations[r->kind], NULL, &user, number);
}

// --- Being answered

static void take_order(struct world *w, struct request *r, const struct frame_reply *f)
{
    static struct order o;
    struct reader reader = reader_of(f->body);
    if (message_unpack_lenient(&order_message, &reader, &o) || o.id.n >= sizeof r->id) {
        world_broken(w, "an answer's order cannot be read");
    }
    memcpy(r->id, o.id.p, o.id.n);
    r->version = o.version;
}

static void answered(struct world *w, int number, const struct frame_reply *f)
{
    struct request *r = &w->requests[number];
    bool same = f->body.n == r->n_body && f->status == r->status &&
                memcmp(r->body, f->body.p, f->body.n) == 0;
    if (r->status && r->kind != ADD_PRODUCT) {
        if (!same) {
            world_broken(w, "request %d was answered with %u, now with %u or another body", number,
                         r->status, f->status);
        }
        w->counts.repeated++;
        return;
    }
    if (f->body.n > sizeof r->body) {
        world_broken(w, "request %d was answered at too great a length", number);
    }
    r->status = f->status;
    r->n_body = (uint32_t)f->body.n;
    memcpy(r->body, f->body.p, f->body.n);
    w->counts.acknowledged++;
    for (size_t i = 0; i < f->n_headers; i++) {
        w->counts.replayed += str_eq(f->headers[i].name, STR("idempotency-replayed"));
    }
    if (r->kind != ADD_PRODUCT && f->status < 300) {
        take_order(w, r, f);
    }
}

static void on_event(struct world *w, const struct event *e, struct seen_event *seen)
{
    static struct order o;
    struct reader r = reader_of(e->data);
    if (!str_starts(e->topic, STR("orders.order."))) {
        return;
    }
    if (message_unpack_lenient(&order_message, &r, &o) || o.id.n >= sizeof seen->subject) {
        world_broken(w, "an event's order cannot be read");
    }
    memcpy(seen->subject, o.id.p, o.id.n);
    seen->version = o.version;
}

// --- Looking whether the promises were kept

static uint32_t look_at(struct world *w, const char *order_id, struct order *ret_order)
{
    struct frame_request f = { 0 };
    struct str body;
    f.params[f.n_params++] = str_of(order_id);
    uint32_t status = life_look(&f, "getOrder", NULL, &user, &body);
    struct reader reader = reader_of(body);
    if (status == 200 && message_unpack_lenient(&order_message, &reader, ret_order)) {
        world_broken(w, "an order that was asked for cannot be read");
    }
    return status;
}

static void check(struct world *w)
{
    static struct order o;
    for (int i = 0; i < w->n_requests; i++) {
        const struct request *r = &w->requests[i];
        if (r->kind == ADD_PRODUCT || r->status == 0 || r->status >= 300) {
            continue;
        }
        uint32_t status = look_at(w, r->id, &o);
        if (status != 200) {
            world_broken(w, "request %d was answered with %u; its order is gone (%u)", i, r->status,
                         status);
        }
        if (o.version < r->version) {
            world_broken(w, "request %d made version %" PRId64 "; the order has %" PRId64, i,
                         r->version, o.version);
        }
    }
}

static void check_events(struct world *w, const struct request *placed, int64_t version)
{
    for (int64_t v = 1; v <= version; v++) {
        int n = 0;
        for (int i = 0; i < w->n_events; i++) {
            n += w->events[i].version == v && strcmp(w->events[i].subject, placed->id) == 0;
        }
        if (n != 1) {
            world_broken(w, "version %" PRId64 " of order %s was published %d times", v, placed->id,
                         n);
        }
    }
}

struct expected {
    int64_t orders, changes; // changes: of orders, each with an event
    int64_t pieces;          // that are left
};

// What an order must be like after all steps that were taken.
static void expect_order(struct world *w, int placed, struct expected *e)
{
    static struct order o;
    const struct request *r = &w->requests[placed];
    int64_t version = 1;
    bool cancelled = false;
    for (int k = 0; k < w->n_requests; k++) {
        const struct request *step = &w->requests[k];
        if (step->kind >= PAY && step->of == placed && step->status == 200) {
            version++;
            cancelled = cancelled || step->kind == CANCEL;
        }
    }
    uint32_t status = look_at(w, r->id, &o);
    if (status != 200 || o.version != version || str_eq(o.status, STR("cancelled")) != cancelled) {
        world_broken(w, "request %d: its order has version %" PRId64 " and not %" PRId64, placed,
                     o.version, version);
    }
    check_events(w, r, version);
    e->orders++;
    e->changes += version;
    e->pieces -= cancelled ? 0 : r->quantity;
}

static void check_all(struct world *w)
{
    struct expected e = { .pieces = PRODUCTS * STOCK };
    for (int i = 0; i < w->n_requests; i++) {
        if (w->requests[i].kind == PLACE && w->requests[i].status == 201) {
            expect_order(w, i, &e);
        }
    }
    if (w->n_events != e.changes + PRODUCTS) { // those of the products once, too
        world_broken(w, "%d events of %" PRId64 " changes", w->n_events, e.changes + PRODUCTS);
    }
    int64_t orders = life_number("SELECT count(*) FROM orders", NULL);
    int64_t pieces = life_number("SELECT sum(quantity) FROM stock", NULL);
    if (orders != e.orders || pieces != e.pieces) {
        world_broken(
            w, "the store has %" PRId64 " orders of %" PRId64 ", %" PRId64 " pieces of %" PRId64,
            orders, e.orders, pieces, e.pieces);
    }
}

const struct model model = { .store = "orders.db",
                             .open = open_archive,
                             .next = next,
                             .ask = ask,
                             .answered = answered,
                             .event = on_event,
                             .check = check,
                             .complete = complete,
                             .check_all = check_all };
