// SPDX-License-Identifier: MIT
// What /metrics says of one consumer of events: how many it applied and how many it could not, and
// how long it takes. Of every consumer, whatever it applies events to: the store of a service
// (common/consumer.h), or the memory of a gateway.
#ifndef COMMON_CONSUMER_METRICS_H
#define COMMON_CONSUMER_METRICS_H

#include "common/metrics.h"

#define CONSUMER_METRICS_NAME 64 // longest name, with its end

struct consumer_metrics {
    struct metric applied; // events, those skipped included
    struct metric skipped; // events that could not be applied, and never will be
    struct metric retries; // batches that could not be applied for now
    struct metric seconds; // of each batch: what the spans of its events say
    char labels[CONSUMER_METRICS_NAME + 16];
};

// name: of the consumer, shorter than CONSUMER_METRICS_NAME, without quotes. m must stay where it is
// until it is closed.
void consumer_metrics_open(struct consumer_metrics *m, const char *name);
void consumer_metrics_close(struct consumer_metrics *m);

#endif
