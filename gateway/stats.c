// SPDX-License-Identifier: MIT
#include "gateway/stats.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define LABELS_SIZE 400 // a pattern of 256 bytes and the rest

struct status_metric {
    int status; // 0: free
    struct metric *duration;
};

struct route_metrics {
    struct status_metric statuses[STATUSES_MAX + 1]; // the last one counts all others
};

// --- Answers by route and status

// Makes and registers the histogram; NULL without memory.
static struct metric *make_duration(const char *route, struct str method, int status)
{
    struct metric *m = calloc(1, sizeof *m + LABELS_SIZE);
    if (!m) {
        return NULL;
    }
    char *labels = (char *)(m + 1);
    char code[16] = "other";
    if (status) {
        (void)snprintf(code, sizeof code, "%d", status);
    }
    int n =
        snprintf(labels, LABELS_SIZE,
                 "http_request_method=\"%.*s\",http_route=\"%s\",http_response_status_code=\"%s\"",
                 STR_ARG(method), route, code);
    assert(n > 0 && n < LABELS_SIZE); // patterns have no quotes: hello_check() saw to it
    m->type = METRIC_HISTOGRAM;
    m->name = "http_server_request_duration_seconds";
    m->help = "Time from the complete request to the answer, by method, route template and status.";
    m->labels = labels;
    metrics_register(m);
    return m;
}

static struct metric *find_duration(struct route_metrics *metrics, const char *route,
                                    struct str method, int status)
{
    struct status_metric *slot = metrics->statuses;
    while (slot < metrics->statuses + STATUSES_MAX && slot->status && slot->status != status) {
        slot++;
    }
    if (!slot->duration) {
        bool other = slot == metrics->statuses + STATUSES_MAX;
        slot->duration = make_duration(route, method, other ? 0 : status);
        slot->status = slot->duration && !other ? status : 0;
    }
    return slot->duration;
}

void stats_answer(struct stats *s, struct route *route, enum method method, int status,
                  int64_t duration_us)
{
    struct route_metrics **metrics = route ? &route->metrics : &s->unmatched[method];
    if (!*metrics) {
        *metrics = calloc(1, sizeof **metrics);
    }
    struct str name = route                   ? method_name(route->method)
                      : method < METHOD_COUNT ? method_name(method)
                                              : STR("_OTHER");
    struct metric *m =
        *metrics ? find_duration(*metrics, route ? route->pattern : "", name, status) : NULL;
    if (m) { // without memory an answer goes uncounted
        metric_observe_us(m, duration_us);
    }
}

static void destroy_route_metrics(struct route_metrics **metrics)
{
    for (size_t i = 0; *metrics && i <= STATUSES_MAX; i++) {
        struct metric *m = (*metrics)->statuses[i].duration;
        if (m) {
            metrics_unregister(m);
            free(m);
        }
    }
    free(*metrics);
    *metrics = NULL;
}

// --- Everything else

static const char *const refusal_labels[] = {
#define X(symbol, label) "reason=\"" label "\"",
    STATS_REFUSALS(X)
#undef X
};

// Counters that the balancer keeps as plain numbers; the same thread renders them.
static const struct {
    const char *name, *help;
    size_t offset;
} balancer_counters[] = {
#define COUNT(field, name_, help_)                                                                 \
    {                                                                                              \
        name_, help_, offsetof(struct balancer_counts, field)                                      \
    }
    COUNT(retries, "sluice_gateway_retries_total",
          "Requests sent again after their worker was lost."),
    COUNT(returns, "sluice_gateway_returns_total", "Requests that a worker handed back untouched."),
    COUNT(late_replies, "sluice_gateway_late_replies_total",
          "Replies that came after their client was answered."),
    COUNT(unknown_replies, "sluice_gateway_unknown_replies_total",
          "Replies to requests that nobody knows."),
    COUNT(lost_workers, "sluice_gateway_workers_lost_total",
          "Workers whose connection or pings stopped."),
    COUNT(silent_workers, "sluice_gateway_workers_silent_total",
          "Workers, of those lost, that did not answer pings."),
    COUNT(stuck_workers, "sluice_gateway_workers_stuck_total",
          "Times that a worker's oldest request was so old that it got no more."),
    COUNT(waited, "sluice_gateway_waited_total", "Requests that had to wait for a worker."),
    COUNT(refused_full, "sluice_gateway_wait_queue_full_total",
          "Requests refused because the wait queue was full."),
    COUNT(forgotten, "sluice_gateway_forgotten_total", "Requests that a worker never answered."),
#undef COUNT
};

static int64_t read_number(void *data)
{
    return (int64_t) * (const uint64_t *)data;
}

static int64_t read_waiting(void *data)
{
    return (int64_t)((const struct lane *)data)->n_waiting;
}

static int64_t read_workers(void *data)
{
    const struct lane *lane = data;
    int64_t n = 0;
    for (size_t i = 0; i < lane->n_workers; i++) {
        n += lane->workers[i]->state == WORKER_SERVING;
    }
    return n;
}

static void add(struct metric *m, enum metric_type type, const char *name, const char *help,
                const char *labels)
{
    m->type = type;
    m->name = name;
    m->help = help;
    m->labels = labels;
    metrics_register(m);
}

static void add_read(struct metric *m, enum metric_type type, const char *name, const char *help,
                     const char *labels, int64_t (*read)(void *data), void *data)
{
    m->read = read;
    m->data = data;
    add(m, type, name, help, labels);
}

void stats_init(struct stats *s, const struct router *router, struct balancer *balancer)
{
    memset(s, 0, sizeof *s);
    s->balancer = balancer;
    s->router = router;
    static_assert(sizeof balancer_counters / sizeof *balancer_counters ==
                      sizeof s->balancer_counts / sizeof *s->balancer_counts,
                  "one metric each");
    for (size_t i = 0; i < STATS_REFUSED_COUNT; i++) {
        add(&s->refused[i], METRIC_COUNTER, "sluice_gateway_refused_total",
            "Requests and connections that the gateway itself refused or gave up, by reason.",
            refusal_labels[i]);
    }
    for (size_t i = 0; i < sizeof balancer_counters / sizeof *balancer_counters; i++) {
        add_read(&s->balancer_counts[i], METRIC_COUNTER, balancer_counters[i].name,
                 balancer_counters[i].help, NULL, read_number,
                 (char *)&balancer->counts + balancer_counters[i].offset);
    }
    add(&s->requests_active, METRIC_GAUGE, "http_server_active_requests",
        "Requests being worked on.", NULL);
    add(&s->connections, METRIC_GAUGE, "sluice_gateway_connections", "Open client connections.",
        NULL);
    add(&s->connections_total, METRIC_COUNTER, "sluice_gateway_connections_total",
        "Connections accepted.", NULL);
    add(&s->cancels, METRIC_COUNTER, "sluice_gateway_cancels_total",
        "Requests whose client went away before the answer.", NULL);
    add(&s->tokens_cached, METRIC_COUNTER, "sluice_gateway_tokens_total",
        "Access tokens accepted, by where they were found.", "found=\"cache\"");
    add(&s->tokens_verified, METRIC_COUNTER, "sluice_gateway_tokens_total",
        "Access tokens accepted, by where they were found.", "found=\"verified\"");
    add(&s->keys_known, METRIC_COUNTER, "sluice_gateway_api_keys_total",
        "Requests with an API key in its form, by where what it may do was found.",
        "found=\"cache\"");
    add(&s->keys_asked, METRIC_COUNTER, "sluice_gateway_api_keys_total",
        "Requests with an API key in its form, by where what it may do was found.",
        "found=\"asked\"");
    add(&s->foreign_workers, METRIC_COUNTER, "sluice_gateway_foreign_workers_total",
        "Workers refused because their key is another service's.", NULL);
    add(&s->revocations, METRIC_COUNTER, "sluice_gateway_revocations_total",
        "Revocations heard of.", NULL);
    add(&s->queue_wait, METRIC_HISTOGRAM, "sluice_gateway_wait_seconds",
        "Time that requests waited for a worker with credit.", NULL);
    add(&s->worker_time, METRIC_HISTOGRAM, "sluice_gateway_worker_seconds",
        "Time from sending a request to a worker to its reply.", NULL);
}

void stats_follow_services(struct stats *s)
{
    for (; s->n_services < s->router->n_services; s->n_services++) {
        size_t i = s->n_services;
        char *labels = s->service_labels[i];
        (void)snprintf(labels, sizeof s->service_labels[i], "service=\"%s\"",
                       s->router->services[i]->name);
        add_read(&s->waiting[i], METRIC_GAUGE, "sluice_gateway_waiting",
                 "Requests waiting for a worker.", labels, read_waiting, &s->balancer->lanes[i]);
        add_read(&s->workers[i], METRIC_GAUGE, "sluice_gateway_workers", "Workers that serve.",
                 labels, read_workers, &s->balancer->lanes[i]);
    }
}

void stats_fini(struct stats *s, struct router *router)
{
    struct metric *single[] = { &s->requests_active, &s->connections,   &s->connections_total,
                                &s->cancels,         &s->tokens_cached, &s->tokens_verified,
                                &s->keys_known,      &s->keys_asked,    &s->revocations,
                                &s->queue_wait,      &s->worker_time,   &s->foreign_workers };
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        metrics_unregister(single[i]);
    }
    for (size_t i = 0; i < STATS_REFUSED_COUNT; i++) {
        metrics_unregister(&s->refused[i]);
    }
    for (size_t i = 0; i < sizeof s->balancer_counts / sizeof *s->balancer_counts; i++) {
        metrics_unregister(&s->balancer_counts[i]);
    }
    for (size_t i = 0; i < s->n_services; i++) {
        metrics_unregister(&s->waiting[i]);
        metrics_unregister(&s->workers[i]);
    }
    for (size_t i = 0; i < router->n_routes; i++) {
        destroy_route_metrics(&router->routes[i]->metrics);
    }
    for (size_t i = 0; i <= METHOD_COUNT; i++) {
        destroy_route_metrics(&s->unmatched[i]);
    }
}
