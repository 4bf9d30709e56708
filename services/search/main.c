// SPDX-License-Identifier: MIT
// sluice-search: a full-text index over products, orders and users, built only from events. This
// file is the service's table: what it serves and what it listens to.
#include "common/worker.h"
#include "proto/search.h"
#include "services/search/index.h"
#include "services/search/query.h"
#include "services/search/search.h"
#include "services/search/search_store.h"

static const struct query_param find_query[] = {
    { .name = "q",
      .kind = QUERY_STRING,
      .min = 1,
      .max = QUERY_MAX_BYTES,
      .required = true,
      .description = "Words, \"phrases\" and beginnings*; every word must be there" },
    { .name = "type",
      .kind = QUERY_CHOICES,
      .choices = "product|order|user",
      .description = "Only these; without it everything that you may see" },
    { .name = "limit",
      .kind = QUERY_INTEGER,
      .min = 1,
      .max = 100,
      .fallback = "20",
      .description = "How many items at most" },
    { .name = "cursor",
      .kind = QUERY_STRING,
      .min = 1,
      .max = 512,
      .description = "next_cursor of the page before" },
    { .name = NULL },
};

static const struct query_param suggest_query[] = {
    { .name = "q",
      .kind = QUERY_STRING,
      .min = 1,
      .max = QUERY_MAX_BYTES,
      .required = true,
      .description = "What was typed so far" },
    { .name = NULL },
};

static const struct route routes[] = {
    { .method = "GET",
      .pattern = "/v1/search",
      .operation = "search",
      .summary = "Find products; signed in, your own orders; as an admin, users",
      .tag = "search",
      .low = true,
      .auth = FRAME_AUTH_OPTIONAL,
      .reply = &search_result_message,
      .success = 200,
      .problems = PROBLEMS(PROBLEM_INVALID_CURSOR),
      .query = find_query,
      .read = search_find },
    { .method = "GET",
      .pattern = "/v1/search/suggest",
      .operation = "suggest",
      .summary = "Complete what is being typed, with words and names of products",
      .tag = "search",
      .low = true,
      .auth = FRAME_AUTH_NONE,
      .reply = &suggestions_message,
      .success = 200,
      .query = suggest_query,
      .read = search_suggest },
};

static const struct subscription subscriptions[] = {
    { .name = "index", .filters = { INDEX_TOPICS }, .apply = index_apply },
};

static const struct service service = {
    .name = "search",
    .summary = "full-text search over products, orders and users",
    .routes = routes,
    .n_routes = sizeof routes / sizeof *routes,
    .migrations = search_migrations,
    .n_migrations = SEARCH_MIGRATIONS,
    .subscriptions = subscriptions,
    .n_subscriptions = sizeof subscriptions / sizeof *subscriptions,
    .reset = search_reset,
};

int main(int argc, char **argv)
{
    return worker_main(&service, argc, argv);
}
