// SPDX-License-Identifier: MIT
// The relay reads rows behind the last one it has sent, keeps one batch in flight, and deletes what
// is acknowledged a little later in one statement: deleting at once would cost a commit of its own
// for each batch. A crash in between only makes the queue see known sequences again.
//
// One batch, because the queue leaves out what is at or below the highest sequence that it stored:
// if a batch is refused (a full disk) and one behind it is stored, the refused one can never be
// published. While a batch is on its way the next one gathers, so batches grow with the load.
#include "common/outbox.h"

#include "common/clock.h"
#include "common/event_span.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/queue_client.h"
#include "common/store.h"
#include "common/uuid.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define DELETE_DELAY_MS 100
#define RETRY_MS 1000 // after the queue refused a batch, or the store was too busy to delete

struct outbox {
    const char *service;
    struct store *store;
    struct queue_client *queue;
    uv_timer_t timer;
    struct buf rows;          // entries of the batch at hand
    struct buf frame;         // and the frame around them
    struct event_spans spans; // of the batch at hand
    int64_t sent_seq;         // highest that was given to the queue client
    int64_t acked_seq;        // highest that the queue has
    int64_t deleted_seq;      // highest that is known to be gone
    bool sending;             // a batch is in flight
    bool held;                // a batch was refused: nothing is sent until the timer has run
    bool started, deleting, closing;
};

// Highest sequence that is gone from the outbox: what waits is everything above. One process has
// one store.
static _Atomic int64_t gone_seq;

static int64_t limit_rows = 1000000;

static struct metric limit = METRIC_GAUGE_INIT(
    "sluice_outbox_max_rows", "Events that may wait for the queue; then writes are refused.", NULL);
static struct metric refused = METRIC_COUNTER_INIT(
    "sluice_outbox_refused_total",
    "Writes refused because as many events as may be wait for the queue.", NULL);

static struct metric_exemplars publish_exemplars;
static struct metric publish_seconds = {
    .type = METRIC_HISTOGRAM,
    .name = "sluice_outbox_publish_seconds",
    .help = "Of each event, from its row in the outbox to the queue's acknowledgement.",
    .exemplars = &publish_exemplars,
};

enum failure { FAILED_DISK_FULL, FAILED_REFUSED, FAILED_STORE, FAILED_OTHER, N_FAILURES };

#define FAILURE(label_)                                                                            \
    METRIC_COUNTER_INIT("sluice_outbox_publish_failures_total",                                    \
                        "Attempts to publish events that failed and are made again, by reason.",   \
                        "reason=\"" label_ "\"")

static struct metric failures[N_FAILURES] = {
    [FAILED_DISK_FULL] = FAILURE("disk-full"), // the queue's
    [FAILED_REFUSED] = FAILURE("refused"),     // by the queue, for another reason
    [FAILED_STORE] = FAILURE("store"),         // the rows cannot be read
    [FAILED_OTHER] = FAILURE("other"),         // memory
};

static const char *hold_path;

void outbox_set_hold(const char *path)
{
    hold_path = path;
}

// A lock that nobody has any more holds nothing, whether or not its file is still there.
static bool is_held(void)
{
    int fd = hold_path ? open(hold_path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return false;
    }
    bool held = flock(fd, LOCK_SH | LOCK_NB) < 0;
    (void)close(fd); // gives the lock back
    return held;
}

void outbox_set_limit(int64_t max_rows)
{
    assert(max_rows > 0);
    limit_rows = max_rows;
}

int outbox_prepare(struct db *db)
{
    struct db_rows rows;
    int rc = db_row(db, &rows,
                    "SELECT coalesce((SELECT min(seq) - 1 FROM sluice_outbox),"
                    " (SELECT seq FROM sqlite_sequence WHERE name = 'sluice_outbox'), 0)",
                    "");
    if (rc == 1) {
        atomic_store(&gone_seq, db_int(&rows, 0));
        db_rows_close(&rows);
    }
    return rc < 0 ? rc : 0;
}

int outbox_add(struct db *db, struct event *e)
{
    char id[UUID_TEXT + 1];
    if (!e->time_ms) {
        e->time_ms = clock_wall_ms();
    }
    if (!e->id.n) {
        uuid_v7(e->time_ms, id);
        e->id = str_of(id);
    }
    assert(topic_valid(e->topic) && e->key.n <= QUEUE_MAX_KEY);
    struct buf b;
    buf_init(&b, QUEUE_MAX_EVENT_BYTES);
    event_encode(&b, e);
    int rc = buf_error(&b);
    rc = rc ? rc
            : db_run(db, "INSERT INTO sluice_outbox(time_ms, event) VALUES(?, ?)", "ib", e->time_ms,
                     buf_str(&b));
    buf_fini(&b);
    if (e->id.p == id) {
        e->id = (struct str){ NULL, 0 }; // it was ours
    }
    if (rc < 0) {
        return rc;
    }
    if (sqlite3_last_insert_rowid(db_handle(db)) - atomic_load(&gone_seq) <= limit_rows) {
        return 0;
    }
    metric_add(&refused, 1);
    return -ENOBUFS;
}

// --- Deleting what was acknowledged

static int delete_rows(struct db *db, void *job)
{
    struct outbox *o = job;
    int rc = db_run(db, "DELETE FROM sluice_outbox WHERE seq <= ?", "i", o->deleted_seq);
    return rc < 0 ? rc : 0;
}

static void on_timer(uv_timer_t *handle);

static void arm(struct outbox *o, uint64_t delay_ms)
{
    if (!o->closing && !uv_is_active((uv_handle_t *)&o->timer)) {
        (void)uv_timer_start(&o->timer, on_timer, delay_ms, 0); // fails only without a callback
    }
}

static void on_deleted(int status, int64_t store_us, void *job)
{
    struct outbox *o = job;
    (void)store_us;
    o->deleting = false;
    if (status < 0) {
        o->deleted_seq = atomic_load(&gone_seq);
        log_debug("the outbox cannot delete what is published: %s", strerror(-status));
        arm(o, RETRY_MS);
        return;
    }
    atomic_store(&gone_seq, o->deleted_seq);
    if (o->acked_seq > o->deleted_seq) {
        arm(o, DELETE_DELAY_MS);
    }
}

static void delete_acked(struct outbox *o)
{
    if (o->closing || o->deleting || o->acked_seq <= atomic_load(&gone_seq)) {
        return;
    }
    if (is_held()) { // asked before acked_seq is looked at: all up to it was in the log by then
        arm(o, RETRY_MS);
        return;
    }
    o->deleted_seq = o->acked_seq;
    if (store_submit(o->store, delete_rows, on_deleted, o)) {
        arm(o, RETRY_MS);
        return;
    }
    o->deleting = true;
}

static void on_timer(uv_timer_t *handle)
{
    struct outbox *o = handle->data;
    o->held = false;
    delete_acked(o);
    outbox_wake(o);
}

// --- Publishing

static void on_published(int status, const struct queue_published *answer, struct str detail,
                         void *data)
{
    struct outbox *o = data;
    o->sending = false;
    if (status == -ECANCELED) {
        return; // the client is being closed
    }
    if (status < 0) {
        log_debug("the queue did not take the events up to %" PRId64 " of the outbox: %s: %.*s",
                  o->sent_seq, strerror(-status), STR_ARG(detail));
        metric_add(&failures[status == -ENOSPC    ? FAILED_DISK_FULL
                             : status == -EBADMSG ? FAILED_REFUSED
                                                  : FAILED_OTHER],
                   1);
        o->sent_seq = o->acked_seq; // it is sent again
        o->held = true;
        arm(o, RETRY_MS);
        return;
    }
    o->acked_seq = o->sent_seq;
    log_debug("the queue has the events up to %" PRId64 " of the outbox, stored in %u us",
              o->acked_seq, answer->took_us);
    event_spans_published(&o->spans, answer->took_us, &publish_seconds);
    arm(o, DELETE_DELAY_MS);
    outbox_wake(o);
}

// Reads the next rows into o->rows. Returns their number, or a negative errno.
static int read_batch(struct outbox *o, int64_t *ret_last)
{
    struct db_rows rows;
    int n = 0;
    buf_reset(&o->rows);
    event_spans_clear(&o->spans);
    int rc = db_rows_open(store_reader(o->store), &rows,
                          "SELECT seq, event, time_ms FROM sluice_outbox WHERE seq > ? ORDER BY seq"
                          " LIMIT 256",
                          "i", o->sent_seq);
    _Static_assert(OUTBOX_BATCH == 256, "the query's limit is the batch");
    while (!rc && (rc = db_rows_next(&rows)) == 1) {
        struct str event = db_str(&rows, 1);
        if (n && o->rows.len + event.n > QUEUE_MAX_FRAME_BYTES / 2) {
            rc = 0;
            break; // the rest goes with the next one
        }
        *ret_last = db_int(&rows, 0);
        queue_publish_entry(&o->rows, (uint64_t)*ret_last, event);
        event_spans_add(&o->spans, (uint64_t)*ret_last, db_int(&rows, 2), event);
        n++;
        rc = 0;
    }
    db_rows_close(&rows);
    rc = rc ? rc : buf_error(&o->rows);
    return rc < 0 ? rc : n;
}

// Sends what waits, up to the size of a batch.
static void send_batch(struct outbox *o)
{
    int64_t last = 0;
    int n = read_batch(o, &last);
    if (n <= 0) {
        if (n) {
            metric_add(&failures[n == -ENOMEM ? FAILED_OTHER : FAILED_STORE], 1);
            arm(o, RETRY_MS);
        }
        return;
    }
    char producer[QUEUE_MAX_PRODUCER + 1];
    int length = snprintf(producer, sizeof producer, "%s.%s", o->service, store_uuid(o->store));
    assert(length > 0 && (size_t)length < sizeof producer);
    uint64_t request = queue_client_next_request(o->queue);
    buf_reset(&o->frame);
    queue_publish_begin(&o->frame, request, str_of(producer), (uint32_t)n);
    buf_append_str(&o->frame, buf_str(&o->rows));
    int rc = buf_error(&o->frame);
    rc = rc ? rc : queue_client_publish(o->queue, request, buf_str(&o->frame), on_published, o);
    if (rc) {
        metric_add(&failures[FAILED_OTHER], 1);
        arm(o, RETRY_MS);
        return;
    }
    event_spans_sent(&o->spans);
    o->sent_seq = last;
    o->sending = true;
    log_debug("the outbox sends %d events, the last is %" PRId64, n, last);
}

void outbox_wake(struct outbox *o)
{
    if (!o->started && store_is_writer(o->store)) {
        o->started = true;
        o->sent_seq = o->acked_seq = o->deleted_seq = atomic_load(&gone_seq);
    }
    if (o->closing || o->sending || o->held || !store_is_writer(o->store) ||
        !queue_client_is_up(o->queue)) {
        return;
    }
    send_batch(o);
}

int64_t outbox_rows(const struct outbox *o)
{
    struct db_rows rows;
    struct db *db = store_reader(o->store);
    int64_t n = 0;
    // Sequences have next to no gaps, and counting a million rows would take its time.
    if (db && db_row(db, &rows,
                     "SELECT (SELECT max(seq) FROM sluice_outbox)"
                     " - max((SELECT min(seq) FROM sluice_outbox) - 1, ?)",
                     "i", o->acked_seq) == 1) {
        n = db_int(&rows, 0);
        db_rows_close(&rows);
    }
    return n > 0 ? n : 0;
}

int64_t outbox_oldest_ms(const struct outbox *o)
{
    struct db_rows rows;
    struct db *db = store_reader(o->store);
    int64_t age = 0;
    if (db &&
        db_row(db, &rows, "SELECT time_ms FROM sluice_outbox WHERE seq > ? ORDER BY seq LIMIT 1",
               "i", o->acked_seq) == 1) {
        age = clock_wall_ms() - db_int(&rows, 0);
        db_rows_close(&rows);
    }
    return age > 0 ? age : 0;
}

static void for_each_metric(void (*action)(struct metric *m))
{
    action(&limit);
    action(&refused);
    action(&publish_seconds);
    for (size_t i = 0; i < N_FAILURES; i++) {
        action(&failures[i]);
    }
}

int outbox_open(uv_loop_t *loop, const char *service, struct store *store,
                struct queue_client *queue, struct outbox **ret_outbox)
{
    struct outbox *o = calloc(1, sizeof *o);
    if (!o || event_spans_init(&o->spans, OUTBOX_BATCH)) {
        free(o);
        return -ENOMEM;
    }
    o->service = service;
    o->store = store;
    o->queue = queue;
    buf_init(&o->rows, QUEUE_MAX_FRAME_BYTES);
    buf_init(&o->frame, QUEUE_MAX_FRAME_BYTES);
    (void)uv_timer_init(loop, &o->timer); // cannot fail
    o->timer.data = o;
    metric_set(&limit, limit_rows);
    for_each_metric(metrics_register);
    *ret_outbox = o;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct outbox *o = handle->data;
    buf_fini(&o->rows);
    buf_fini(&o->frame);
    event_spans_fini(&o->spans);
    free(o);
}

void outbox_close(struct outbox **outbox)
{
    struct outbox *o = *outbox;
    *outbox = NULL;
    if (o) {
        o->closing = true;
        for_each_metric(metrics_unregister);
        uv_close((uv_handle_t *)&o->timer, on_timer_closed);
    }
}
