// SPDX-License-Identifier: MIT
// The outbox: events are rows written in the transaction of the change they tell of, and a relay in
// the writer process publishes them in order and deletes them once the queue has them on disk. The
// producer is named like the service and the store, SERVICE.UUID, and the producer sequence is the
// row's AUTOINCREMENT number, so the queue recognises every repeat.
#ifndef COMMON_OUTBOX_H
#define COMMON_OUTBOX_H

#include "common/db.h"
#include "proto/queue_frames.h"

#include <uv.h>

#define OUTBOX_BATCH 256          // rows in one PUBLISH

struct outbox;
struct store;
struct queue_client;

// Takes note of what is in the outbox of a store that this process begins to write. Writer thread,
// once, before the first outbox_add().
__attribute__((warn_unused_result)) int outbox_prepare(struct db *db);

// How many rows may wait for the queue (SLUICE_OUTBOX_MAX_ROWS). Before any outbox_add().
void outbox_set_limit(int64_t max_rows);

// A file (borrowed): while another process has it locked (flock), rows that the queue has stay in
// the outbox. So a backup finds in the store what is not yet in its copy of the log.
void outbox_set_hold(const char *path);

// Adds one event. Call inside the transaction of the change. e->id and e->time_ms are filled in
// when empty. -ENOBUFS: as many events as may be wait for the queue.
__attribute__((warn_unused_result)) int outbox_add(struct db *db, struct event *e);

// Starts the relay of a store of this service (which is borrowed). It works only while this process is
// the writer.
__attribute__((warn_unused_result)) int outbox_open(uv_loop_t *loop, const char *service,
                                                    struct store *store, struct queue_client *queue,
                                                    struct outbox **ret_outbox);

// Looks for new rows; called after commits and when the queue comes up.
void outbox_wake(struct outbox *o);

// Rows that wait, as far as the relay knows; and the age of the oldest in milliseconds.
int64_t outbox_rows(const struct outbox *o);
int64_t outbox_oldest_ms(const struct outbox *o);

// Close the queue client and then the store before: both may still report to the relay.
void outbox_close(struct outbox **o);

#endif
