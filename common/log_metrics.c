// SPDX-License-Identifier: MIT
#include "common/log_metrics.h"

#include "common/log.h"
#include "common/metrics.h"

static int64_t read_count(void *data)
{
    return (int64_t)log_count(*(const enum log_level *)data);
}

static int64_t read_level(void *data)
{
    return log_level() == *(const enum log_level *)data;
}

static int64_t read_suppressed(void *data)
{
    return (int64_t)log_suppressed(*(const enum log_level *)data);
}

static int64_t read_lost(void *data)
{
    (void)data;
    return (int64_t)log_lost();
}

// clang-format off
#define COUNT(level_, label_)                                                                      \
    { .type = METRIC_COUNTER, .name = "sluice_log_messages_total",                                 \
      .help = "Log lines written, by level.", .labels = "level=\"" label_ "\"",                    \
      .read = read_count, .data = &(enum log_level){ level_ } }
#define SUPPRESSED(level_, label_)                                                                 \
    { .type = METRIC_COUNTER, .name = "sluice_log_suppressed_total",                               \
      .help = "Log lines left out by the limit of their statement, by level.",                     \
      .labels = "level=\"" label_ "\"",                                                            \
      .read = read_suppressed, .data = &(enum log_level){ level_ } }
#define LEVEL(level_, label_)                                                                      \
    { .type = METRIC_GAUGE, .name = "sluice_log_level",                                            \
      .help = "Whether lines below this level, and no others, are left out (1 or 0).",             \
      .labels = "level=\"" label_ "\"",                                                            \
      .read = read_level, .data = &(enum log_level){ level_ } }
// clang-format on

static struct metric all[] = {
    COUNT(LEVEL_DEBUG, "debug"),
    COUNT(LEVEL_INFO, "info"),
    COUNT(LEVEL_WARN, "warn"),
    COUNT(LEVEL_ERROR, "error"),
    COUNT(LEVEL_FATAL, "fatal"),
    SUPPRESSED(LEVEL_DEBUG, "debug"),
    SUPPRESSED(LEVEL_INFO, "info"),
    SUPPRESSED(LEVEL_WARN, "warn"),
    SUPPRESSED(LEVEL_ERROR, "error"),
    LEVEL(LEVEL_DEBUG, "debug"),
    LEVEL(LEVEL_INFO, "info"),
    LEVEL(LEVEL_WARN, "warn"),
    LEVEL(LEVEL_ERROR, "error"),
    { .type = METRIC_COUNTER,
      .name = "sluice_log_lost_total",
      .help = "Log lines that nobody took: standard output was full, closed or on a full disk.",
      .read = read_lost },
};

#define N_METRICS (sizeof all / sizeof all[0])

void log_metrics_open(void)
{
    for (size_t i = 0; i < N_METRICS; i++) {
        metrics_register(&all[i]);
    }
}

void log_metrics_close(void)
{
    for (size_t i = 0; i < N_METRICS; i++) {
        metrics_unregister(&all[i]);
    }
}
