// SPDX-License-Identifier: MIT
// Counters, gauges and histograms that cost one relaxed atomic add: no lock and no allocation where
// they are counted. Objects are static or live as long as the process, are registered once, and are
// rendered as Prometheus text format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/) or as OpenMetrics 1.0. Series of
// one name must be registered with the same help and type; they are grouped when rendered.
//
// A histogram may have room for exemplars (common/exemplar.h), one for each bucket. They are
// written with OpenMetrics alone: text 0.0.4 has no place for them.
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include "common/exemplar.h"
#include "proto/buf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// Upper bounds in seconds: OpenTelemetry's advice for request durations, with four finer ones below
// because this suite answers in under 5 ms.
// clang-format off
#define METRICS_BUCKETS(X)                                                                         \
    X(0.0001) X(0.00025) X(0.0005) X(0.001) X(0.0025) X(0.005) X(0.01) X(0.025) X(0.05) X(0.075)   \
    X(0.1) X(0.25) X(0.5) X(0.75) X(1) X(2.5) X(5) X(7.5) X(10)
// clang-format on
#define METRICS_N_BUCKETS 19

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_exemplars {
    struct exemplar buckets[METRICS_N_BUCKETS + 1]; // the last is +Inf's
};

struct metric {
    enum metric_type type;
    const char *name;   // "sluice_gateway_requests_total"; base units, _total for counters
    const char *help;   // one sentence
    const char *labels; // "service=\"users\"" without braces; NULL or "": none. Bounded values only
    struct metric *next;
    _Atomic int64_t value; // of a counter or gauge; the sum in microseconds of a histogram
    _Atomic uint64_t buckets[METRICS_N_BUCKETS + 1]; // not cumulative; the last is +Inf
    struct metric_exemplars *exemplars;              // of a histogram, borrowed; NULL: it has none
    int64_t (*read)(void *data); // of a gauge or counter that is asked when rendered; or NULL
    void *data;
};

// clang-format off
#define METRIC_COUNTER_INIT(name_, help_, labels_)                                                 \
    { .type = METRIC_COUNTER, .name = name_, .help = help_, .labels = labels_ }
#define METRIC_GAUGE_INIT(name_, help_, labels_)                                                   \
    { .type = METRIC_GAUGE, .name = name_, .help = help_, .labels = labels_ }
#define METRIC_HISTOGRAM_INIT(name_, help_, labels_)                                               \
    { .type = METRIC_HISTOGRAM, .name = name_, .help = help_, .labels = labels_ }
// clang-format on

// Adds m to what is rendered; m, its strings and its data must outlive its registration.
// Thread-safe.
void metrics_register(struct metric *m);

// Takes m out again; before its memory goes away.
void metrics_unregister(struct metric *m);

// Whether anything is counted: always, but in the build that tests/bench compares with
// (-Dmetrics=false).
#ifdef METRICS_OFF
#define METRICS_COUNT false
#else
#define METRICS_COUNT true
#endif

static inline void metric_add(struct metric *m, int64_t n)
{
    if (METRICS_COUNT) {
        atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
    }
}

static inline void metric_set(struct metric *m, int64_t n)
{
    if (METRICS_COUNT) {
        atomic_store_explicit(&m->value, n, memory_order_relaxed);
    }
}

static inline int64_t metric_get(const struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

// Counts one duration into a histogram.
void metric_observe_us(struct metric *m, int64_t duration_us);

// The same for the work of a trace: when it is sampled, it is its bucket's exemplar from now on.
void metric_observe_traced_us(struct metric *m, int64_t duration_us, const struct trace *trace);

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS, METRICS_FORMATS };

// The format that an Accept field likes best; text unless OpenMetrics is named and liked better.
enum metrics_format metrics_accept(struct str accept);

// What Content-Type says of it.
const char *metrics_media_type(enum metrics_format format);

// Appends everything registered, sorted by name, and the standard process_* metrics; with
// METRICS_OPENMETRICS its "# EOF" as well. read callbacks must not register or unregister.
void metrics_render(struct buf *b, enum metrics_format format);

// Adds the CPU time of a process that belongs to this one (common/companion.h) to process_cpu_seconds_total. 0: of none.
void metrics_count_cpu_of(pid_t pid);

#endif
