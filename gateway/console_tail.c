// SPDX-License-Identifier: MIT
#include "gateway/console_tail.h"

#include "gateway/console_answer.h"
#include "gateway/console_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define QUERY_TOPICS 1024 // bytes of a tail's list of filters
#define EVENT_STREAM "text/event-stream"

struct tail {
    struct console_tails *tails;
    struct admin_request *request;
    struct queue_subscription *subscription; // NULL: it was refused, or cannot begin yet
    struct buf out;                          // for the next tick
    char topics[QUERY_TOPICS], key[QUEUE_MAX_KEY + 1], where[QUEUE_MAX_WHERE + 1];
    uint64_t last_seq; // shown last
    uint32_t done;     // events since the last grant
    int full_ticks;    // in a row, in which all credit was used
    int quiet_ticks;   // in a row, in which nothing was sent
    bool ended;        // the queue has refused it
};

struct console_tails {
    struct console_queue *queue;
    struct tail *all[CONSOLE_MAX_TAILS]; // NULL: the place is free
    size_t n;
    uv_timer_t tick;
};

static void free_tail(struct tail *t)
{
    struct console_tails *tails = t->tails;
    for (size_t i = 0; i < CONSOLE_MAX_TAILS; i++) {
        tails->all[i] = tails->all[i] == t ? NULL : tails->all[i];
    }
    if (--tails->n == 0) {
        (void)uv_timer_stop(&tails->tick); // cannot fail
    }
    queue_subscription_close(&t->subscription);
    buf_fini(&t->out);
    free(t);
    console_queue_release(tails->queue);
}

static void on_tail_gone(void *data)
{
    free_tail(data);
}

static void on_tail_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                          struct str encoded, void *data)
{
    struct tail *t = data;
    (void)s;
    size_t before = t->out.len;
    buf_append_z(&t->out, "event: event\ndata: ");
    if (console_json_event(seq, stored_ms, encoded, &t->out)) {
        t->out.len = before; // nobody could decode it
    } else {
        buf_append_z(&t->out, "\n\n");
    }
    t->last_seq = seq;
    t->done++;
}

static void on_tail_lost(struct queue_subscription *s, uint64_t first, uint64_t last, void *data)
{
    struct tail *t = data;
    (void)s;
    buf_printf(&t->out, "event: lost\ndata: {\"first\":%" PRIu64 ",\"last\":%" PRIu64 "}\n\n",
               first, last);
}

static void on_tail_ended(struct queue_subscription *s, struct str reason, struct str detail,
                          uint64_t next_seq, void *data)
{
    struct tail *t = data;
    (void)s, (void)next_seq;
    t->subscription = NULL;
    t->ended = true;
    buf_append_z(&t->out, "event: ended\ndata: {\"reason\":\"");
    buf_append_json(&t->out, reason);
    buf_append_z(&t->out, "\",\"detail\":\"");
    buf_append_json(&t->out, detail);
    buf_append_z(&t->out, "\"}\n\n");
}

// Begins with `last` events before the end.
static int subscribe(struct tail *t, uint64_t last)
{
    struct queue_subscribe options = { .from = last ? QUEUE_FROM_LAST : QUEUE_FROM_END,
                                       .from_value = last,
                                       .follow = true,
                                       .credit = CONSOLE_TAIL_CREDIT };
    struct queue_subscription_callbacks callbacks = {
        .on_event = on_tail_event, .on_lost = on_tail_lost, .on_ended = on_tail_ended, .data = t
    };
    for (const char *p = t->topics; *p && options.n_filters < QUEUE_MAX_FILTERS;) {
        size_t n = strcspn(p, ",");
        options.filters[options.n_filters++] = (struct str){ p, n };
        p += n + (p[n] == ',');
    }
    options.key = *t->key ? str_of(t->key) : (struct str){ NULL, 0 };
    options.where = *t->where ? str_of(t->where) : (struct str){ NULL, 0 };
    t->done = 0;
    t->full_ticks = 0;
    struct queue_client *client = console_queue_client(t->tails->queue);
    return client ? queue_client_subscribe(client, &options, &callbacks, &t->subscription)
                  : -ENOTCONN;
}

// There are more events than it shows: it goes on at the end.
static void skip(struct tail *t)
{
    queue_subscription_close(&t->subscription);
    buf_printf(&t->out, "event: skipped\ndata: {\"after\":%" PRIu64 "}\n\n", t->last_seq);
    t->ended = subscribe(t, 0) != 0;
}

static void turn_tail(struct tail *t)
{
    bool behind = admin_stream_queued(t->request) > CONSOLE_TAIL_QUEUED_BYTES;
    t->full_ticks = t->done < CONSOLE_TAIL_CREDIT ? 0 : t->full_ticks + 1;
    if (t->full_ticks >= CONSOLE_TAIL_BEHIND_TICKS && !t->ended && !behind) {
        skip(t);
    } else if (t->subscription && t->done && !behind) {
        queue_subscription_grant(t->subscription, t->done);
        t->done = 0;
    }
    t->quiet_ticks = t->out.len > 0 ? 0 : t->quiet_ticks + 1;
    if (t->quiet_ticks >= CONSOLE_TAIL_SIGN_TICKS) {
        t->quiet_ticks = 0;
        buf_append_z(&t->out, ":\n\n"); // a comment
    }
    if (!buf_ok(&t->out)) {
        admin_stream_end(t->request);
        free_tail(t);
        return;
    }
    if (t->out.len > 0) {
        struct buf out = t->out;
        buf_init(&t->out, ADMIN_STREAM_BYTES);
        bool ended = t->ended;
        if (admin_stream_send(t->request, buf_str(&out)) && ended) {
            admin_stream_end(t->request);
            free_tail(t);
        }
        buf_fini(&out);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct console_tails *tails = timer->data;
    for (size_t i = 0; i < CONSOLE_MAX_TAILS; i++) {
        if (tails->all[i]) {
            turn_tail(tails->all[i]);
        }
    }
}

// --- Beginning one

// What is wrong with the query, or NULL.
static const char *read_tail(struct tail *t, struct str query, uint64_t *ret_last)
{
    if (console_json_parameter(query, "topics", t->topics, sizeof t->topics) < 0) {
        return "topics: at most 1023 bytes of filters, comma-separated";
    }
    if (console_json_parameter(query, "key", t->key, sizeof t->key) < 0) {
        return "key: at most 256 bytes";
    }
    if (console_json_parameter(query, "where", t->where, sizeof t->where) < 0) {
        return "where: at most 1024 bytes";
    }
    if (console_json_number(query, "last", CONSOLE_TAIL_LAST_MAX, ret_last)) {
        return "last: 0 to 100";
    }
    size_t filters = 0;
    for (const char *p = t->topics; *p; filters++) {
        size_t n = strcspn(p, ",");
        if (!topic_filter_valid((struct str){ p, n })) {
            return "topics: filters as in users.>, orders.*.placed";
        }
        p += n + (p[n] == ',');
    }
    return filters > QUEUE_MAX_FILTERS ? "topics: at most 16 filters" : NULL;
}

void console_tails_begin(struct console_tails *tails, struct admin_request *r)
{
    size_t place = 0;
    while (place < CONSOLE_MAX_TAILS && tails->all[place]) {
        place++;
    }
    struct tail *t = place < CONSOLE_MAX_TAILS ? calloc(1, sizeof *t) : NULL;
    if (!t) {
        console_refuse(r, 503, "too many tails");
        return;
    }
    uint64_t last = 0;
    const char *mistake = read_tail(t, admin_request_query(r), &last);
    if (mistake) {
        free(t);
        console_refuse(r, 400, mistake);
        return;
    }
    t->tails = tails;
    t->request = r;
    buf_init(&t->out, ADMIN_STREAM_BYTES);
    console_queue_hold(tails->queue);
    tails->all[place] = t;
    if (tails->n++ == 0) { // fails without callback only
        (void)uv_timer_start(&tails->tick, on_tick, CONSOLE_TAIL_TICK_MS, CONSOLE_TAIL_TICK_MS);
    }
    int rc = subscribe(t, last);
    if (rc) {
        free_tail(t);
        console_refuse(r, 503, "the queue cannot be asked now");
        return;
    }
    admin_request_on_gone(r, on_tail_gone, t);
    if (admin_stream_begin(r, EVENT_STREAM) == -EBUSY) {
        free_tail(t);
        console_refuse(r, 503, "too many streams");
        return;
    }
    // When it failed otherwise it is gone already, and t with it.
}

// --- All of them

int console_tails_open(uv_loop_t *loop, struct console_queue *queue,
                       struct console_tails **ret_tails)
{
    struct console_tails *t = calloc(1, sizeof *t);
    if (!t) {
        return -ENOMEM;
    }
    t->queue = queue;
    t->tick.data = t;
    (void)uv_timer_init(loop, &t->tick); // cannot fail
    *ret_tails = t;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void console_tails_close(struct console_tails **tails)
{
    struct console_tails *t = *tails;
    *tails = NULL;
    if (!t) {
        return;
    }
    for (size_t i = 0; i < CONSOLE_MAX_TAILS; i++) {
        if (t->all[i]) {
            admin_stream_end(t->all[i]->request);
            free_tail(t->all[i]);
        }
    }
    uv_close((uv_handle_t *)&t->tick, on_closed);
}
