// SPDX-License-Identifier: MIT
// Two buffers of events take turns: one fills from the queue while the other is applied in the
// writer thread. Batches therefore grow with the load, as commits do.
//
// A batch is applied in one piece first, and only if an event of it fails once more with a
// savepoint around each event, so that just that one is undone: an FTS5 index writes itself out at
// every savepoint, which made a savepoint for each event cost more than the event.
#include "common/consumer.h"

#include "common/clock.h"
#include "common/consumer_metrics.h"
#include "common/event_span.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/queue_client.h"
#include "common/store.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// Credit counts events, and an event may be large.
#define BATCH_BYTES ((size_t)CONSUMER_CREDIT * (QUEUE_MAX_EVENT_BYTES + 16))

// An event failed, and the batch must be applied again with care.
#define NEEDS_CARE (-ECANCELED)

struct consumer {
    const struct subscription *subscription;
    struct store *store;
    struct queue_client *queue;
    struct queue_subscription *reading;
    struct consumer_callbacks callbacks;
    uv_timer_t retry;
    bool rebuildable, asking, applying, closing;
    bool careful;              // the batch is applied with savepoints
    char log[64];              // uuid of the queue's log
    struct buf filling, batch; // [seq, event] each
    uint32_t n_filling, n_batch;
    int64_t filling_ms, batch_ms; // time of storing of the last event in each
    int failed_error;             // of the last event that was skipped in this batch; writer thread
    uint64_t failed_seq;
    int64_t failed;                  // events skipped in this batch; writer thread
    bool is_failed[CONSUMER_CREDIT]; // which they are, when some are; writer thread
    int64_t batch_start_us;          // wall clock, when it was given to the store
    int64_t batch_timer_us;          // and monotonic
    struct consumer_metrics metrics;
    struct metric position, behind;
};

// --- Writer thread

static bool is_store_error(int rc)
{
    return rc == -EIO || rc == -ENOSPC || rc == -EUCLEAN || rc == -EROFS || rc == -ENOMEM ||
           rc == -EBUSY;
}

// Applies the event with this number in the batch. Negative: the whole batch must wait, or needs
// care.
static int apply_one(struct db *db, struct consumer *c, uint32_t number, uint64_t seq,
                     struct str encoded)
{
    struct event e;
    assert(number < CONSUMER_CREDIT);
    int rc = event_decode(encoded, &e);
    if (!rc) {
        e.seq = seq;
        rc = c->careful ? db_savepoint(db) : 0;
        if (rc) {
            return rc;
        }
        rc = c->subscription->apply(db, &e, NULL);
        if (rc >= 0) {
            return c->careful ? db_release(db) : 0;
        }
        if (!c->careful) {
            return is_store_error(rc) ? rc : NEEDS_CARE;
        }
        db_rollback_to(db);
        if (is_store_error(rc) || !db_in_transaction(db)) {
            return rc;
        }
    }
    c->failed++;
    c->is_failed[number] = true;
    c->failed_error = rc;
    c->failed_seq = seq;
    return 0;
}

static int apply_batch(struct db *db, void *job)
{
    struct consumer *c = job;
    struct reader r = reader_of(buf_str(&c->batch));
    uint64_t seq = 0;
    struct str encoded;
    if (c->failed) {
        memset(c->is_failed, 0, sizeof c->is_failed);
    }
    c->failed = 0;
    for (uint32_t i = 0; i < c->n_batch; i++) {
        if (reader_uint(&r, &seq) || reader_bin(&r, &encoded)) {
            return -EBADMSG; // our own writing
        }
        int rc = apply_one(db, c, i, seq, encoded);
        if (rc) {
            return rc;
        }
    }
    int rc = db_run(db,
                    "INSERT INTO sluice_cursor(name, log, seq) VALUES(?, ?, ?)"
                    " ON CONFLICT(name) DO UPDATE SET log = excluded.log, seq = excluded.seq",
                    "zzi", c->subscription->name, c->log, (int64_t)seq);
    return rc < 0 ? rc : 0;
}

// --- Loop

static void apply(struct consumer *c);

static void on_retry(uv_timer_t *handle)
{
    struct consumer *c = handle->data;
    apply(c);
    if (!c->reading) {
        consumer_wake(c);
    }
}

static void retry_later(struct consumer *c)
{
    (void)uv_timer_start(&c->retry, on_retry, CONSUMER_RETRY_MS,
                         0); // fails only without a callback
}

// Counts the batch, and records the span of each of its events, by the same clock.
static void record(struct consumer *c)
{
    struct event_processed p = { .consumer = c->subscription->name,
                                 .start_us = c->batch_start_us,
                                 .duration_us = clock_mono_us() - c->batch_timer_us,
                                 .batch = c->n_batch };
    metric_observe_us(&c->metrics.seconds, p.duration_us);
    metric_add(&c->metrics.skipped, c->failed);
    metric_add(&c->metrics.applied, c->n_batch);
    struct reader r = reader_of(buf_str(&c->batch));
    struct str encoded;
    for (uint32_t i = 0; i < c->n_batch; i++) {
        int rc = reader_uint(&r, &p.seq);
        rc = rc ? rc : reader_bin(&r, &encoded);
        assert(rc == 0); // our own writing, and it was just applied
        p.failed = c->failed && c->is_failed[i];
        event_span_processed(&p, encoded);
    }
}

static void on_applied(int status, int64_t store_us, void *job)
{
    struct consumer *c = job;
    c->applying = false;
    if (c->closing) {
        return;
    }
    if (status == NEEDS_CARE) {
        c->careful = true;
        apply(c);
        return;
    }
    c->careful = false;
    if (status < 0) {
        metric_add(&c->metrics.retries, 1);
        log_error("%s cannot apply events: %s; trying again", c->subscription->name,
                  strerror(-status));
        retry_later(c);
        return;
    }
    if (c->failed) {
        log_error("%s skipped %" PRId64 " events, the last with sequence %" PRIu64 ": %s",
                  c->subscription->name, c->failed, c->failed_seq, strerror(-c->failed_error));
    }
    log_debug("%s applied %u events in %" PRId64 " us; %u more are here", c->subscription->name,
              c->n_batch, store_us, c->n_filling);
    record(c);
    if (c->reading) {
        queue_subscription_grant(c->reading, c->n_batch);
    }
    c->n_batch = 0;
    apply(c);
}

// Gives what has gathered to the writer thread, unless it has a batch already.
static void apply(struct consumer *c)
{
    if (c->applying || c->closing || (c->n_batch == 0 && c->n_filling == 0)) {
        return;
    }
    if (c->n_batch == 0) {
        struct buf empty = c->batch;
        c->batch = c->filling;
        c->filling = empty;
        buf_reset(&c->filling);
        c->n_batch = c->n_filling;
        c->batch_ms = c->filling_ms;
        c->n_filling = 0;
        c->batch_start_us = clock_wall_us();
        c->batch_timer_us = clock_mono_us();
    }
    if (store_submit(c->store, apply_batch, on_applied, c)) {
        metric_add(&c->metrics.retries, 1);
        retry_later(c);
        return;
    }
    c->applying = true;
}

static void on_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                     struct str encoded, void *data)
{
    struct consumer *c = data;
    (void)s;
    writer_uint(&c->filling, seq);
    writer_bin(&c->filling, encoded);
    c->n_filling++;
    c->filling_ms = stored_ms;
    metric_set(&c->position, (int64_t)seq);
    if (!buf_ok(&c->filling)) {
        // Memory is gone for good: the events would be lost to this process, so it reads them again
        // later.
        buf_reset(&c->filling);
        c->n_filling = 0;
        queue_subscription_close(&c->reading);
        retry_later(c);
    }
}

static void on_batch_end(struct queue_subscription *s, void *data)
{
    (void)s;
    apply(data);
}

static void on_lost(struct queue_subscription *s, uint64_t first, uint64_t last, void *data)
{
    struct consumer *c = data;
    (void)s;
    log_error("%s: the queue lost the events %" PRIu64 " to %" PRIu64 ", going on behind them",
              c->subscription->name, first, last);
}

static void on_ended(struct queue_subscription *s, struct str reason, struct str detail,
                     uint64_t next_seq, void *data)
{
    struct consumer *c = data;
    (void)s, (void)next_seq;
    c->reading = NULL;
    if (!c->closing) {
        log_error("%s: the queue ended the subscription: %.*s: %.*s", c->subscription->name,
                  STR_ARG(reason), STR_ARG(detail));
        retry_later(c);
    }
}

// Where this consumer stands in the log: 0 and the sequence, or -ESTALE when it stands in another
// log.
static int load_cursor(struct consumer *c, uint64_t last_seq, uint64_t *ret_seq)
{
    struct db_rows rows;
    *ret_seq = 0;
    int rc =
        db_row(store_reader(c->store), &rows, "SELECT log, seq FROM sluice_cursor WHERE name = ?",
               "z", c->subscription->name);
    if (rc <= 0) {
        return rc;
    }
    bool same = str_eq(db_str(&rows, 0), str_of(c->log)) && (uint64_t)db_int(&rows, 1) <= last_seq;
    *ret_seq = same ? (uint64_t)db_int(&rows, 1) : 0;
    db_rows_close(&rows);
    return same ? 0 : -ESTALE;
}

static void subscribe(struct consumer *c, uint64_t after)
{
    struct queue_subscribe options = {
        .from = QUEUE_FROM_SEQ, .from_value = after + 1, .follow = true, .credit = CONSUMER_CREDIT
    };
    struct queue_subscription_callbacks callbacks = { .on_event = on_event,
                                                      .on_batch_end = on_batch_end,
                                                      .on_lost = on_lost,
                                                      .on_ended = on_ended,
                                                      .data = c };
    log_debug("%s reads log %s behind event %" PRIu64, c->subscription->name, c->log, after);
    for (size_t i = 0; i < QUEUE_MAX_FILTERS && c->subscription->filters[i]; i++) {
        options.filters[options.n_filters++] = str_of(c->subscription->filters[i]);
    }
    int rc = queue_client_subscribe(c->queue, &options, &callbacks, &c->reading);
    if (rc) {
        log_error("%s cannot subscribe: %s; trying again", c->subscription->name, strerror(-rc));
        retry_later(c);
    }
}

// Takes the log's uuid and last sequence out of INFO.
static int parse_info(struct str map, struct str *ret_uuid, uint64_t *ret_last_seq)
{
    struct reader r = reader_of(map);
    struct str key;
    uint32_t members;
    *ret_uuid = (struct str){ NULL, 0 };
    if (reader_map(&r, &members)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < members; i++) {
        int rc = reader_str(&r, &key);
        rc = rc                             ? rc
             : str_eq(key, STR("uuid"))     ? reader_str(&r, ret_uuid)
             : str_eq(key, STR("last_seq")) ? reader_uint(&r, ret_last_seq)
                                            : reader_skip(&r);
        if (rc) {
            return rc;
        }
    }
    return ret_uuid->n > 0 ? 0 : -EBADMSG;
}

static void drop_batches(struct consumer *c)
{
    buf_reset(&c->filling);
    buf_reset(&c->batch);
    c->n_filling = c->n_batch = 0;
    c->careful = false;
}

static void on_info(int status, struct str map, void *data)
{
    struct consumer *c = data;
    struct str uuid;
    uint64_t last_seq = 0, seq = 0;
    c->asking = false;
    if (c->closing || status == -ECANCELED || !store_is_writer(c->store)) {
        return; // a store that is being closed has no connection to read with
    }
    int rc = status ? status : parse_info(map, &uuid, &last_seq);
    if (rc) {
        retry_later(c);
        return;
    }
    bool changed = c->log[0] && !str_eq(uuid, str_of(c->log));
    if (c->reading && !changed) {
        return; // the client came back to the same log and went on by itself
    }
    queue_subscription_close(&c->reading);
    if (c->applying) {
        retry_later(c); // the batch at hand belongs to the log until now, and moves the cursor
        return;
    }
    // What was read and not applied is read again from the cursor on.
    drop_batches(c);
    (void)snprintf(c->log, sizeof c->log, "%.*s", STR_ARG(uuid));
    rc = load_cursor(c, last_seq, &seq);
    if (rc == -ESTALE && c->rebuildable) {
        c->callbacks.on_other_log(c->callbacks.data);
        return;
    }
    if (rc && rc != -ESTALE) {
        retry_later(c);
        return;
    }
    subscribe(c, seq);
}

void consumer_wake(struct consumer *c)
{
    if (c->closing || c->asking || !store_is_writer(c->store) || !queue_client_is_up(c->queue)) {
        return;
    }
    c->asking = queue_client_info(c->queue, CONSUMER_INFO_MS, on_info, c) == 0;
    if (!c->asking) {
        retry_later(c);
    }
}

int64_t consumer_skipped(const struct consumer *c)
{
    return metric_get(&c->metrics.skipped);
}

// Asked for, and not set after each batch: who cannot apply events at all is behind, too.
static int64_t read_behind(void *data)
{
    const struct consumer *c = data;
    int64_t ms = c->n_batch > 0 ? c->batch_ms : c->n_filling > 0 ? c->filling_ms : 0;
    int64_t now_ms = clock_wall_ms();
    return ms > 0 && now_ms > ms ? (now_ms - ms) / 1000 : 0;
}

static void register_metrics(struct consumer *c)
{
    consumer_metrics_open(&c->metrics, c->subscription->name);
    c->position = (struct metric)METRIC_GAUGE_INIT(
        "sluice_consumer_position", "Sequence of the last event received.", c->metrics.labels);
    c->behind = (struct metric)METRIC_GAUGE_INIT(
        "sluice_consumer_behind_seconds",
        "Age of the events that are being applied, or wait for it; 0: none do.", c->metrics.labels);
    c->behind.read = read_behind;
    c->behind.data = c;
    metrics_register(&c->position);
    metrics_register(&c->behind);
}

int consumer_open(uv_loop_t *loop, const struct subscription *subscription, struct store *store,
                  struct queue_client *queue, bool rebuildable,
                  const struct consumer_callbacks *callbacks, struct consumer **ret_consumer)
{
    assert(strlen(subscription->name) < CONSUMER_METRICS_NAME);
    struct consumer *c = calloc(1, sizeof *c);
    if (!c) {
        return -ENOMEM;
    }
    c->subscription = subscription;
    c->store = store;
    c->queue = queue;
    c->rebuildable = rebuildable;
    c->callbacks = *callbacks;
    buf_init(&c->filling, BATCH_BYTES);
    buf_init(&c->batch, BATCH_BYTES);
    (void)uv_timer_init(loop, &c->retry); // cannot fail
    c->retry.data = c;
    register_metrics(c);
    *ret_consumer = c;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct consumer *c = handle->data;
    buf_fini(&c->filling);
    buf_fini(&c->batch);
    free(c);
}

void consumer_close(struct consumer **consumer)
{
    struct consumer *c = *consumer;
    *consumer = NULL;
    if (!c) {
        return;
    }
    c->closing = true;
    queue_subscription_close(&c->reading);
    consumer_metrics_close(&c->metrics);
    metrics_unregister(&c->position);
    metrics_unregister(&c->behind);
    uv_close((uv_handle_t *)&c->retry, on_timer_closed);
}
