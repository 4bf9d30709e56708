// SPDX-License-Identifier: MIT
#include "gateway/console_queue.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/console_json.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct console_queue {
    struct gateway *gateway;
    char *endpoint;              // owned
    struct queue_client *client; // NULL: nobody looks
    size_t users;
    int64_t since_ms;  // the connection is wanted; 0: it came or went since
    uv_timer_t linger; // runs while nobody looks and the connection is there
    // State.
    struct buf state; // as far as it is made
    bool asking;
    void (*on_state)(struct str json, void *data);
    void *on_state_data;
};

// --- The connection

// It came, or went.
static void on_queue(struct queue_client *client, void *data)
{
    struct console_queue *q = data;
    (void)client;
    if (q->users > 0 && q->on_state) {
        q->since_ms = 0; // the time to connect in is over
        console_queue_state(q, q->on_state, q->on_state_data);
    }
}

void console_queue_hold(struct console_queue *q)
{
    q->users++;
    (void)uv_timer_stop(&q->linger); // cannot fail
    if (q->client) {
        return;
    }
    struct queue_client_callbacks callbacks = { on_queue, on_queue, q };
    q->since_ms = clock_mono_ms();
    int rc =
        queue_client_open(q->gateway->loop, q->endpoint, q->gateway->curve, &callbacks, &q->client);
    if (rc) {
        log_warn("the console cannot reach the queue: %s", strerror(-rc));
    }
}

static void on_linger(uv_timer_t *timer)
{
    struct console_queue *q = timer->data;
    assert(q->users == 0);
    queue_client_close(&q->client);
}

void console_queue_release(struct console_queue *q)
{
    assert(q->users > 0);
    if (--q->users == 0) { // fails only for a closing handle
        (void)uv_timer_start(&q->linger, on_linger, CONSOLE_QUEUE_LINGER_MS, 0);
    }
}

struct queue_client *console_queue_client(const struct console_queue *q)
{
    assert(q->users > 0);
    return q->client;
}

static bool is_up(const struct console_queue *q)
{
    return q->client && queue_client_is_up(q->client);
}

int console_queue_call(struct console_queue *q, const char *method, const struct buf *arguments,
                       void (*on_result)(int status, struct str result, void *data), void *data)
{
    int rc = buf_error(arguments);
    rc = rc || is_up(q) ? rc : -ENOTCONN;
    return rc ? rc
              : queue_client_call(q->client, str_of(method), buf_str(arguments),
                                  CONSOLE_QUEUE_WAIT_MS, on_result, data);
}

// --- State

static void tell_state(struct console_queue *q)
{
    q->asking = false;
    buf_append_char(&q->state, '}');
    q->on_state(buf_ok(&q->state) ? buf_str(&q->state) : STR("{\"up\":false}"), q->on_state_data);
}

static void refuse_state(struct console_queue *q, struct str why)
{
    buf_append_z(&q->state, ",\"refused\":\"");
    buf_append_json(&q->state, why);
    buf_append_char(&q->state, '"');
}

static void on_groups(int status, struct str result, void *data)
{
    static const char *const members[] = { "groups", NULL };
    struct console_queue *q = data;
    if (status == 0) {
        console_json_members(result, members, &q->state);
    } else if (status == -ECANCELED) {
        q->asking = false;
        return;
    } else {
        refuse_state(q, status == -EBADMSG ? result : STR("the queue does not answer"));
    }
    tell_state(q);
}

static void on_info(int status, struct str map, void *data)
{
    static const char *const members[] = { "version", "sync",     "first_seq", "last_seq",
                                           "events",  "bytes",    "segments",  "started_ms",
                                           "topics",  "n_groups", "lost",      NULL };
    struct console_queue *q = data;
    struct buf none;
    if (status == -ECANCELED) {
        q->asking = false;
        return;
    }
    buf_append_z(&q->state, "{\"up\":");
    buf_append_z(&q->state, status ? "false" : "true");
    if (status) {
        tell_state(q);
        return;
    }
    console_json_members(map, members, &q->state);
    buf_init(&none, 16);
    writer_map(&none, 0);
    if (console_queue_call(q, "groups", &none, on_groups, q)) {
        tell_state(q);
    }
    buf_fini(&none);
}

void console_queue_state(struct console_queue *q, void (*on_state)(struct str json, void *data),
                         void *data)
{
    q->on_state = on_state;
    q->on_state_data = data;
    if (q->asking || (!is_up(q) && clock_mono_ms() - q->since_ms < CONSOLE_QUEUE_GRACE_MS)) {
        return;
    }
    q->asking = true;
    buf_reset(&q->state);
    int rc = is_up(q) ? queue_client_info(q->client, CONSOLE_QUEUE_WAIT_MS, on_info, q) : -ENOTCONN;
    if (rc) {
        on_info(rc, STR(""), q);
    }
}

// --- Opening and closing

int console_queue_open(struct gateway *g, const char *endpoint, struct console_queue **ret_queue)
{
    struct console_queue *q = calloc(1, sizeof *q);
    char *copy = strdup(endpoint);
    if (!q || !copy) {
        free(q);
        free(copy);
        return -ENOMEM;
    }
    q->gateway = g;
    q->endpoint = copy;
    q->linger.data = q;
    buf_init(&q->state, CONSOLE_EVENT_BYTES);
    (void)uv_timer_init(g->loop, &q->linger); // cannot fail
    *ret_queue = q;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct console_queue *q = handle->data;
    buf_fini(&q->state);
    free(q->endpoint);
    free(q);
}

void console_queue_close(struct console_queue **queue)
{
    struct console_queue *q = *queue;
    *queue = NULL;
    if (!q) {
        return;
    }
    queue_client_close(&q->client); // ends the calls, and answers those who wait for them
    uv_close((uv_handle_t *)&q->linger, on_closed);
}
