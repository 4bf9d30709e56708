// SPDX-License-Identifier: MIT
// What the supervisor reads of a process's admin pages: /metrics in Prometheus' text format, of
// which it takes the few series it decides by, and /topology of a gateway. Pure: text in, numbers
// out.
#ifndef DEPLOY_READING_H
#define DEPLOY_READING_H

#include "common/metrics.h"
#include "deploy/services.h"

#include <stdbool.h>

#define READING_BYTES                                                                              \
    (4 * 1024 * 1024)         // of one page: a gateway with all routes it can have has less
#define READING_MAX_GROUPS 64 // of the queue; more are not looked at
#define READING_GROUP_NAME 64

// An answer that took longer is slow: a bound of the histogram's buckets; deploy/prometheus/slo.yml has the same.
#define READING_SLOW_S "0.5"

// One consumer group of the queue.
struct group_reading {
    char name[READING_GROUP_NAME];
    int64_t lag, oldest_s, dead_letters, members;
    bool paused;
    int64_t skipped; // events that went before they were settled, since the queue was started
};

// Counters of which it matters whether they rise: X(symbol, series, label, its value). Without a
// label, all series of that name together.
#define READING_COUNTERS(X)                                                                        \
    X(LOST_RECORDS, "sluice_queue_lost_records_total", "", "")                                     \
    X(DISK_FULL, "sluice_queue_refused_total", "reason", "disk-full")                              \
    X(IDENTITY, "sluice_queue_refused_total", "reason", "identity")                                \
    X(LINK_KEY, "sluice_curve_handshake_failures_total", "reason", "auth")                         \
    X(FOREIGN_WORKER, "sluice_gateway_foreign_workers_total", "", "")                              \
    X(STUCK_WORKER, "sluice_gateway_workers_stuck_total", "", "")                                  \
    X(CONNECTION_LIMIT, "sluice_gateway_refused_total", "reason", "connection-limit")              \
    X(WAIT_QUEUE_FULL, "sluice_gateway_wait_queue_full_total", "", "")                             \
    X(GATEWAY_TOKEN_KEY, "sluice_gateway_token_key_failures_total", "", "")                        \
    X(USERS_TOKEN_KEY, "sluice_users_token_key_failures_total", "", "")                            \
    X(OUTBOX_REFUSED, "sluice_outbox_refused_total", "", "")

enum reading_counter {
#define X(symbol, series, label, value) READING_##symbol,
    READING_COUNTERS(X)
#undef X
        READING_COUNTER_COUNT
};

// One process. What it does not have stays 0.
struct reading {
    int64_t in_flight,
        limit;      // requests at a worker, of the class that is busiest; as many as it takes
    int64_t cpu_ms; // since it was started
    uint64_t buckets[METRICS_N_BUCKETS + 1]; // request durations of a worker, cumulative
    int64_t outbox_rows, outbox_max_rows;    // events that wait for the queue
    int64_t outbox_oldest_s;
    bool store_trouble;                 // the store cannot be used
    bool consumes;                      // it reads events by itself
    int64_t consumer_position;          // sequence of the last event that it read
    bool sandbox_off;                   // a part that every kernel has is not in force
    int64_t http_requests, http_errors; // a gateway's answers, and those with 5xx
    int64_t http_quick;                 // the others that took no longer than READING_SLOW_S
    int64_t last_sequence;              // of the queue's log
    int64_t backup_age_s;               // since the last backup; -1: none is told of
    int64_t counters[READING_COUNTER_COUNT];
    int64_t open_fds, max_fds, resident_bytes, wal_bytes;
    int64_t behind_s;         // a consumer, behind the events
    int64_t revocation_lag_s; // a gateway, behind the revocations
    int64_t token_key_age_s;
    int64_t overloaded[SERVICES]; // at a gateway: classes of requests of which too many come
    bool no_worker[SERVICES];     // likewise: it knows the service, and has nobody to send to
    size_t n_groups;
};

// Of one service, at one gateway.
struct lane_reading {
    int64_t waiting, wait_ms;
};

// Takes a page of /metrics apart. groups has READING_MAX_GROUPS places; n_groups of them are
// filled. now_s is the wall time.
void reading_metrics(struct str text, int64_t now_s, struct reading *ret_reading,
                     struct group_reading *groups);

// Adds what a gateway's /topology says to the lanes of the services. -EPROTO: it is no such page.
__attribute__((warn_unused_result)) int reading_topology(struct str text,
                                                         struct lane_reading lanes[SERVICES]);

// The duration within which 95 % of the requests between two readings were answered, interpolated
// as Prometheus does; 0: there were none.
int64_t reading_latency_ms(const uint64_t before[METRICS_N_BUCKETS + 1],
                           const uint64_t after[METRICS_N_BUCKETS + 1]);

// The value of a label in the text between the braces; p == NULL: it has none.
struct str reading_label(struct str labels, struct str name);

#endif
