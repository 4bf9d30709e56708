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
#include "common/queue_client.h"
#include "common/store.h"
#include "common/uuid.h"

#include <assert.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define DELETE_DELAY_MS 100
#define RETRY_MS 1000 // after the queue refused a batch, or the store was too busy to delete

struct outbox {
    const char *service;
    struct store *store;
    struct queue_client *queue;
    uv_timer_t timer;
    struct buf rows;     // entries of the batch at hand
    struct buf frame;    // and the frame around them
    int64_t sent_seq;    // highest that was given to the queue client
    int64_t acked_seq;   // highest that the queue has
    int64_t deleted_seq; // highest that is known to be gone
    bool sending;        // a batch is in flight
    bool held;           // a batch was refused: nothing is sent until the timer has run
    bool started, deleting, closing;
};

// Highest sequence that is gone from the outbox: what waits is everything above. One process has
// one store.
static _Atomic int64_t gone_seq;

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
    return sqlite3_last_insert_rowid(db_handle(db)) - atomic_load(&gone_seq) > OUTBOX_MAX_ROWS
               ? -ENOSPC
               : 0;
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
    (void)answer, (void)detail;
    o->sending = false;
    if (status == -ECANCELED) {
        return; // the client is being closed
    }
    if (status < 0) {
        o->sent_seq = o->acked_seq; // it is sent again
        o->held = true;
        arm(o, RETRY_MS);
        return;
    }
    o->acked_seq = o->sent_seq;
    arm(o, DELETE_DELAY_MS);
    outbox_wake(o);
}

// Reads the next rows into o->rows. Returns their number, or a negative errno.
static int read_batch(struct outbox *o, int64_t *ret_last)
{
    struct db_rows rows;
    int n = 0;
    buf_reset(&o->rows);
    int rc =
        db_rows_open(store_reader(o->store), &rows,
                     "SELECT seq, event FROM sluice_outbox WHERE seq > ? ORDER BY seq LIMIT 256",
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
        arm(o, RETRY_MS);
        return;
    }
    o->sent_seq = last;
    o->sending = true;
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

int outbox_open(uv_loop_t *loop, const char *service, struct store *store,
                struct queue_client *queue, struct outbox **ret_outbox)
{
    struct outbox *o = calloc(1, sizeof *o);
    if (!o) {
        return -ENOMEM;
    }
    o->service = service;
    o->store = store;
    o->queue = queue;
    buf_init(&o->rows, QUEUE_MAX_FRAME_BYTES);
    buf_init(&o->frame, QUEUE_MAX_FRAME_BYTES);
    (void)uv_timer_init(loop, &o->timer); // cannot fail
    o->timer.data = o;
    *ret_outbox = o;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct outbox *o = handle->data;
    buf_fini(&o->rows);
    buf_fini(&o->frame);
    free(o);
}

void outbox_close(struct outbox **outbox)
{
    struct outbox *o = *outbox;
    *outbox = NULL;
    if (o) {
        o->closing = true;
        uv_close((uv_handle_t *)&o->timer, on_timer_closed);
    }
}
