// SPDX-License-Identifier: MIT
// What the gateway counts. Labels are bounded: routes are at most ROUTES_MAX templates, statuses at
// most STATUSES_MAX for each, reasons are the ones listed here. Counting is one atomic add; a label
// text is made once, at the first answer of a route with a status.
#ifndef GATEWAY_STATS_H
#define GATEWAY_STATS_H

#include "common/metrics.h"
#include "gateway/balancer.h"

// Why a request or a connection was refused by the gateway itself: X(symbol, label)
#define STATS_REFUSALS(X)                                                                          \
    X(CONNECTIONS, "connection-limit")                                                             \
    X(ADDRESS, "address-limit")                                                                    \
    X(MALFORMED, "malformed")                                                                      \
    X(TOO_LARGE, "too-large")                                                                      \
    X(TIMEOUT, "client-timeout")                                                                   \
    X(SLOW_READER, "slow-reader")                                                                  \
    X(RATE_LIMIT, "rate-limit")                                                                    \
    X(TOKEN, "token")                                                                              \
    X(SCOPE, "scope")                                                                              \
    X(BODY, "body")                                                                                \
    X(OVERLOADED, "overloaded")                                                                    \
    X(UNAVAILABLE, "unavailable")                                                                  \
    X(DEADLINE, "deadline")                                                                        \
    X(WORKER_LOST, "worker-lost")                                                                  \
    X(BAD_REPLY, "bad-reply")

enum stats_refusal {
#define X(symbol, label) STATS_REFUSED_##symbol,
    STATS_REFUSALS(X)
#undef X
        STATS_REFUSED_COUNT
};

// One class of requests of one service.
struct stats_class {
    const struct balancer *balancer;
    const struct lane *lane;
    enum frame_class load;
    struct metric in_flight, credit;
    char labels[96];
};

// One service's, registered when it appears.
struct stats_service {
    struct metric waiting, overloaded, workers;
    struct metric wait;        // for a worker with credit
    struct metric worker_time; // from sending to the reply
    struct metric_exemplars worker_time_exemplars;
    struct stats_class classes[FRAME_CLASSES];
    char labels[64];
};

struct stats {
    struct balancer *balancer;
    struct route_metrics *unmatched[METHOD_COUNT + 1]; // answers to requests without a route
    struct metric refused[STATS_REFUSED_COUNT];
    struct metric requests_active, connections, connections_total, cancels, tokens_cached,
        tokens_verified, keys_known, keys_asked;
    struct metric foreign_workers; // refused
    struct metric revocations;
    struct metric balancer_counts[10];
    struct metric sent[FRAME_CLASSES], shed[SHED_REASONS_COUNT][WAIT_PRIORITIES_COUNT];
    char shed_labels[SHED_REASONS_COUNT][WAIT_PRIORITIES_COUNT][48];
    struct stats_service services[SERVICES_MAX]; // by their index
    size_t n_services;
    const struct router *router;
};

void stats_init(struct stats *s, const struct router *router, struct balancer *balancer);
void stats_fini(struct stats *s, struct router *router);

// Registers the metrics of services that appeared since the last call.
void stats_follow_services(struct stats *s);

// One answer. route may be NULL; trace is the request's.
void stats_answer(struct stats *s, struct route *route, enum method method, int status,
                  int64_t duration_us, const struct trace *trace);

static inline void stats_refuse(struct stats *s, enum stats_refusal reason)
{
    metric_add(&s->refused[reason], 1);
}

#endif
