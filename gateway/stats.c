// SPDX-License-Identifier: MIT
#include "gateway/stats.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define LABELS_SIZE 400 // a pattern of 256 bytes and the rest

struct duration {
    struct metric metric;
    struct metric_exemplars exemplars;
    char labels[LABELS_SIZE];
};

struct status_metric {
    int status; // 0: free
    struct duration *duration;
};

struct route_metrics {
    struct status_metric statuses[STATUSES_MAX + 1]; // the last one counts all others
};

// --- Answers by route and status

// Makes and registers the histogram; NULL without memory.
static struct duration *make_duration(const char *route, struct str method, int status)
{
    struct duration *d = calloc(1, sizeof *d);
    if (!d) {
        return NULL;
    }
    struct metric *m = &d->metric;
    char code[16] = "other";
    if (status) {
        (void)snprintf(code, sizeof code, "%d", status);
    }
    int n =
        snprintf(d->labels, sizeof d->labels,
                 "http_request_method=\"%.*s\",http_route=\"%s\",http_response_status_code=\"%s\"",
                 STR_ARG(method), route, code);
    assert(n > 0 &&
           (size_t)n < sizeof d->labels); // patterns have no quotes: hello_check() saw to it
    m->type = METRIC_HISTOGRAM;
    m->name = "http_server_request_duration_seconds";
    m->help = "Time from the complete request to the answer, by method, route template and status.";
    m->labels = d->labels;
    m->exemplars = &d->exemplars;
    metrics_register(m);
    return d;
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
    return slot->duration ? &slot->duration->metric : NULL;
}

void stats_answer(struct stats *s, struct route *route, enum method method, int status,
                  int64_t duration_us, const struct trace *trace)
{
    if (!METRICS_COUNT) {
        return;
    }
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
        metric_observe_traced_us(m, duration_us, trace);
    }
}

static void destroy_route_metrics(struct route_metrics **metrics)
{
    for (size_t i = 0; *metrics && i <= STATUSES_MAX; i++) {
        struct duration *d = (*metrics)->statuses[i].duration;
        if (d) {
            metrics_unregister(&d->metric);
            free(d);
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
    return (int64_t)lane_waiting(data);
}

static int64_t read_overloaded(void *data)
{
    const struct lane *lane = data;
    int64_t n = 0;
    for (int i = 0; lane->queue && i < FRAME_CLASSES; i++) {
        n += lane->queue->classes[i].n > 0 && lane->queue->classes[i].overloaded;
    }
    return n;
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

static int64_t read_in_flight(void *data)
{
    const struct stats_class *c = data;
    return lane_in_flight(c->lane, c->load);
}

static int64_t read_credit(void *data)
{
    const struct stats_class *c = data;
    return lane_credit(c->balancer, c->lane, c->load);
}

static const char *const classes[FRAME_CLASSES] = {
#define X(symbol, number, name) [number] = "class=\"" name "\"",
    FRAME_CLASS_TABLE(X)
#undef X
};

static void add_class(struct stats *s, size_t service, enum frame_class load)
{
    struct stats_class *c = &s->services[service].classes[load];
    c->balancer = s->balancer;
    c->lane = &s->balancer->lanes[service];
    c->load = load;
    (void)snprintf(c->labels, sizeof c->labels, "%s,%s", s->services[service].labels,
                   classes[load]);
    add_read(
        &c->in_flight, METRIC_GAUGE, "sluice_gateway_in_flight",
        "Requests that the workers of a service have from this gateway, by what they need most.",
        c->labels, read_in_flight, c);
    add_read(
        &c->credit, METRIC_GAUGE, "sluice_gateway_credit_free",
        "Requests more that the workers of a service would be sent now, by the credit they gave.",
        c->labels, read_credit, c);
}

static void add_overload(struct stats *s, struct balancer *balancer)
{
    static const char *const reasons[] = {
#define X(symbol, name) name,
        SHED_REASONS(X)
#undef X
    };
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        add_read(&s->sent[i], METRIC_COUNTER, "sluice_gateway_admitted_total",
                 "Requests sent to a worker, by what they need most of it.", classes[i],
                 read_number, &balancer->counts.sent[i]);
    }
    for (size_t r = 0; r < SHED_REASONS_COUNT; r++) {
        for (size_t p = 0; p < WAIT_PRIORITIES_COUNT; p++) {
            char *labels = s->shed_labels[r][p];
            (void)snprintf(labels, sizeof s->shed_labels[r][p], "reason=\"%s\",priority=\"%s\"",
                           reasons[r], wait_priority_name((enum wait_priority)p));
            add_read(&s->shed[r][p], METRIC_COUNTER, "sluice_gateway_shed_total",
                     "Requests that waited for a worker and were given up.", labels, read_number,
                     &balancer->counts.shed[r][p]);
        }
    }
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
    add_overload(s, balancer);
    add(&s->requests_active, METRIC_GAUGE, "http_server_active_requests",
        "Requests being worked on.", NULL);
    add(&s->connections, METRIC_GAUGE, "sluice_gateway_open_connections",
        "Open client connections.", NULL);
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
}

static void add_service(struct stats *s, size_t index)
{
    struct stats_service *service = &s->services[index];
    struct lane *lane = &s->balancer->lanes[index];
    (void)snprintf(service->labels, sizeof service->labels, "service=\"%s\"",
                   s->router->services[index]->name);
    add(&service->wait, METRIC_HISTOGRAM, "sluice_gateway_wait_seconds",
        "Time that requests waited for a worker with credit.", service->labels);
    service->worker_time.exemplars = &service->worker_time_exemplars;
    add(&service->worker_time, METRIC_HISTOGRAM, "sluice_gateway_worker_seconds",
        "Time from sending a request to a worker to its reply.", service->labels);
    add_read(&service->waiting, METRIC_GAUGE, "sluice_gateway_waiting",
             "Requests waiting for a worker.", service->labels, read_waiting, lane);
    add_read(&service->overloaded, METRIC_GAUGE, "sluice_gateway_overloaded",
             "Classes of a service's requests of which more come than its workers take.",
             service->labels, read_overloaded, lane);
    add_read(&service->workers, METRIC_GAUGE, "sluice_gateway_workers", "Workers that serve.",
             service->labels, read_workers, lane);
    for (size_t load = 0; load < FRAME_CLASSES; load++) {
        add_class(s, index, (enum frame_class)load);
    }
}

static void remove_service(struct stats_service *service)
{
    struct metric *plain[] = { &service->wait, &service->worker_time, &service->waiting,
                               &service->overloaded, &service->workers };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        metrics_unregister(plain[i]);
    }
    for (size_t load = 0; load < FRAME_CLASSES; load++) {
        metrics_unregister(&service->classes[load].in_flight);
        metrics_unregister(&service->classes[load].credit);
    }
}

void stats_follow_services(struct stats *s)
{
    for (; s->n_services < s->router->n_services; s->n_services++) {
        add_service(s, s->n_services);
    }
}

void stats_fini(struct stats *s, struct router *router)
{
    struct metric *single[] = { &s->requests_active, &s->connections,   &s->connections_total,
                                &s->cancels,         &s->tokens_cached, &s->tokens_verified,
                                &s->keys_known,      &s->keys_asked,    &s->revocations,
                                &s->foreign_workers };
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        metrics_unregister(single[i]);
    }
    for (size_t i = 0; i < STATS_REFUSED_COUNT; i++) {
        metrics_unregister(&s->refused[i]);
    }
    for (size_t i = 0; i < sizeof s->balancer_counts / sizeof *s->balancer_counts; i++) {
        metrics_unregister(&s->balancer_counts[i]);
    }
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        metrics_unregister(&s->sent[i]);
    }
    for (size_t reason = 0; reason < SHED_REASONS_COUNT; reason++) {
        for (size_t priority = 0; priority < WAIT_PRIORITIES_COUNT; priority++) {
            metrics_unregister(&s->shed[reason][priority]);
        }
    }
    for (size_t i = 0; i < s->n_services; i++) {
        remove_service(&s->services[i]);
    }
    for (size_t i = 0; i < router->n_routes; i++) {
        destroy_route_metrics(&router->routes[i]->metrics);
    }
    for (size_t i = 0; i <= METHOD_COUNT; i++) {
        destroy_route_metrics(&s->unmatched[i]);
    }
}
