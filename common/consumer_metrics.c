// SPDX-License-Identifier: MIT
#include "common/consumer_metrics.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void consumer_metrics_open(struct consumer_metrics *m, const char *name)
{
    assert(strlen(name) < CONSUMER_METRICS_NAME);
    (void)snprintf(m->labels, sizeof m->labels, "consumer=\"%s\"", name);
    m->applied = (struct metric)METRIC_COUNTER_INIT(
        "sluice_consumer_events_total", "Events dealt with, those skipped included.", m->labels);
    m->skipped = (struct metric)METRIC_COUNTER_INIT("sluice_consumer_skipped_total",
                                                    "Events that could not be applied.", m->labels);
    m->retries = (struct metric)METRIC_COUNTER_INIT(
        "sluice_consumer_retries_total",
        "Batches of events that could not be applied and are tried again.", m->labels);
    m->seconds = (struct metric)METRIC_HISTOGRAM_INIT(
        "sluice_consumer_process_seconds",
        "Time of applying a batch of events, waiting for the store included.", m->labels);
    metrics_register(&m->applied);
    metrics_register(&m->skipped);
    metrics_register(&m->retries);
    metrics_register(&m->seconds);
}

void consumer_metrics_close(struct consumer_metrics *m)
{
    metrics_unregister(&m->applied);
    metrics_unregister(&m->skipped);
    metrics_unregister(&m->retries);
    metrics_unregister(&m->seconds);
}
