// SPDX-License-Identifier: MIT
// Reads events from the queue and lets a service apply them, each once and in order: the cursor is
// a row of the service's store, written in the transaction of the effects. Only the writer process
// consumes.
#ifndef COMMON_CONSUMER_H
#define COMMON_CONSUMER_H

#include "common/worker.h"

#include <uv.h>

#define CONSUMER_CREDIT 1024    // events on their way or waiting for the store
#define CONSUMER_RETRY_MS 1000  // after the store could not take a batch
#define CONSUMER_INFO_MS 2000   // how long the queue may take to say which log it is

struct consumer;
struct queue_client;
struct store;

struct consumer_callbacks {
    // The queue's log is not the one that the cursor belongs to, or is shorter: a projection must
    // be built anew.
    void (*on_other_log)(void *data);
    void *data;
};

__attribute__((warn_unused_result)) int consumer_open(uv_loop_t *loop, const struct subscription *subscription,
                                                      struct store *store, struct queue_client *queue,
                                                      bool rebuildable, const struct consumer_callbacks *callbacks,
                                                      struct consumer **ret_consumer);

// The queue answers now, or this process became the writer: begins to read if both are so.
void consumer_wake(struct consumer *c);

// Events that were skipped because they could not be applied.
int64_t consumer_skipped(const struct consumer *c);

// Close the store before: it may still report to the consumer; and the queue client after.
void consumer_close(struct consumer **c);

#endif
