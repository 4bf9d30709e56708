// SPDX-License-Identifier: MIT
// sluice-orders: products with stock, and orders with their state machine. This file is the
// service's table: what it serves, what it listens to and what it does at intervals.
#include "common/clock.h"
#include "common/worker.h"
#include "proto/orders.h"
#include "proto/users.h"
#include "services/orders/archive.h"
#include "services/orders/orders.h"
#include "services/orders/orders_store.h"
#include "services/orders/page.h"
#include "services/orders/products.h"

#include <stdio.h>

static const struct query_param page_query[] = { PAGE_QUERY, { .name = NULL } };

static const struct query_param order_query[] = {
    { .name = "status",
      .kind = QUERY_CHOICE,
      .choices = "placed|paid|shipped|delivered|cancelled",
      .description = "Only orders in this state" },
    PAGE_QUERY,
    { .name = NULL },
};

static const struct route routes[] = {
    { .method = "POST",
      .pattern = "/v1/products",
      .operation = "createProduct",
      .summary = "Add a product (admins)",
      .tag = "products",
      .auth = FRAME_AUTH_REQUIRED,
      .body = FRAME_BODY_JSON,
      .request = &product_create_message,
      .reply = &product_message,
      .success = 201,
      .problems = PROBLEMS(PROBLEM_FORBIDDEN, PROBLEM_SKU_TAKEN),
      .read = products_admin_only,
      .write = products_create },
    { .method = "PATCH",
      .pattern = "/v1/products/{sku}",
      .operation = "changeProduct",
      .summary = "Change a product (admins)",
      .tag = "products",
      .auth = FRAME_AUTH_REQUIRED,
      .body = FRAME_BODY_MERGE_PATCH,
      .if_match = true,
      .request = &product_patch_message,
      .reply = &product_message,
      .success = 200,
      .problems = PROBLEMS(PROBLEM_FORBIDDEN, PROBLEM_NOT_FOUND),
      .read = products_admin_only,
      .write = products_change },
    { .method = "GET",
      .pattern = "/v1/products",
      .operation = "listProducts",
      .summary = "All products, by sku",
      .tag = "products",
      .auth = FRAME_AUTH_NONE,
      .reply = &product_list_message,
      .success = 200,
      .problems = PROBLEMS(PROBLEM_INVALID_CURSOR),
      .query = page_query,
      .read = products_list },
    { .method = "GET",
      .pattern = "/v1/products/{sku}",
      .operation = "getProduct",
      .summary = "One product",
      .tag = "products",
      .auth = FRAME_AUTH_NONE,
      .reply = &product_message,
      .success = 200,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND),
      .read = products_get },
    { .method = "POST",
      .pattern = "/v1/orders",
      .operation = "placeOrder",
      .summary = "Order products, at the shop's prices",
      .tag = "orders",
      .auth = FRAME_AUTH_REQUIRED,
      .body = FRAME_BODY_JSON,
      .key = ROUTE_KEY_REQUIRED,
      .request = &order_create_message,
      .reply = &order_message,
      .success = 201,
      .problems = PROBLEMS(PROBLEM_OUT_OF_STOCK),
      .write = orders_place },
    { .method = "GET",
      .pattern = "/v1/orders",
      .operation = "listOrders",
      .summary = "Your orders, newest first (admins: everybody's)",
      .tag = "orders",
      .auth = FRAME_AUTH_REQUIRED,
      .reply = &order_list_message,
      .success = 200,
      .problems = PROBLEMS(PROBLEM_INVALID_CURSOR),
      .query = order_query,
      .read = orders_list },
    { .method = "GET",
      .pattern = "/v1/orders/{id}",
      .operation = "getOrder",
      .summary = "One order (its owner and admins)",
      .tag = "orders",
      .auth = FRAME_AUTH_REQUIRED,
      .reply = &order_message,
      .success = 200,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND),
      .read = orders_get },
    { .method = "GET",
      .pattern = "/v1/orders/{id}/history",
      .operation = "getOrderHistory",
      .summary = "The steps an order took (its owner and admins)",
      .tag = "orders",
      .auth = FRAME_AUTH_REQUIRED,
      .reply = &order_history_message,
      .success = 200,
      .problems = PROBLEMS(PROBLEM_NOT_FOUND),
      .read = orders_history },
#define STEP_ROUTE(verb, operation_, summary_, handler)                                            \
    {                                                                                              \
        .method = "POST", .pattern = "/v1/orders/{id}/" verb, .operation = operation_,             \
        .summary = summary_, .tag = "orders", .auth = FRAME_AUTH_REQUIRED,                         \
        .key = ROUTE_KEY_OPTIONAL, .reply = &order_message, .success = 200,                        \
        .problems = PROBLEMS(PROBLEM_FORBIDDEN, PROBLEM_NOT_FOUND, PROBLEM_INVALID_TRANSITION),    \
        .write = handler                                                                           \
    }
    STEP_ROUTE("pay", "payOrder", "Pay an order (its owner)", orders_pay),
    STEP_ROUTE("ship", "shipOrder", "Ship an order (admins)", orders_ship),
    STEP_ROUTE("deliver", "deliverOrder", "Note that an order arrived (admins)", orders_deliver),
    STEP_ROUTE("cancel", "cancelOrder",
               "Cancel an order that was not shipped (its owner and admins)", orders_cancel),
#undef STEP_ROUTE
};

static int on_user_deleted(struct db *db, const struct event *e, void *data)
{
    (void)data;
    struct reader r = reader_of(e->data);
    struct user_deleted user;
    int rc = message_unpack_lenient(&user_deleted_message, &r, &user);
    if (rc) {
        return rc;
    }
    rc = orders_store_anonymise(db, user.id, clock_wall_ms());
    return rc < 0 ? rc : 0;
}

static const struct subscription subscriptions[] = {
    { .name = "users", .filters = { "users.user.deleted" }, .apply = on_user_deleted },
};

static const struct periodic periodics[] = {
    { .name = "archive", .every_ms = ARCHIVE_EVERY_MS, .run = archive_run },
};

struct orders_config {
    int64_t keep_ms;
};

static const struct config_option options[] = {
    { .name = "SLUICE_ORDERS_KEEP",
      .kind = CONFIG_DURATION,
      .offset = offsetof(struct orders_config, keep_ms),
      .fallback = "90d",
      .min = 1000,
      .max = INT64_C(3650) * 24 * 3600 * 1000,
      .help =
          "how long delivered and cancelled orders stay before they move to db/orders/archive" },
    CONFIG_END,
};

static int on_open(void *config, const char *home, char error[CONFIG_ERROR_SIZE])
{
    const struct orders_config *own = config;
    int rc = archive_configure(home, own->keep_ms);
    if (rc) {
        (void)snprintf(error, CONFIG_ERROR_SIZE, "SLUICE_HOME is too long: %s", home);
    }
    return rc;
}

static const struct service service = {
    .name = "orders",
    .summary = "products with stock, and orders",
    .routes = routes,
    .n_routes = sizeof routes / sizeof *routes,
    .migrations = orders_migrations,
    .n_migrations = ORDERS_MIGRATIONS,
    .subscriptions = subscriptions,
    .n_subscriptions = sizeof subscriptions / sizeof *subscriptions,
    .events = orders_events,
    .n_events = ORDERS_EVENT_COUNT,
    .periodics = periodics,
    .n_periodics = sizeof periodics / sizeof *periodics,
    .options = options,
    .config_bytes = sizeof(struct orders_config),
    .on_open = on_open,
};

int main(int argc, char **argv)
{
    return worker_main(&service, argc, argv);
}
