// SPDX-License-Identifier: MIT
#include "gateway/backend.h"

#include "common/clock.h"
#include "common/key_pairs.h"
#include "common/log.h"
#include "common/zsocket.h"
#include "gateway/request_frame.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LINGER_OUT_MS 200 // GOODBYE and the last answers to workers

struct backend {
    struct gateway *gateway;
    struct zsocket *socket;
    uv_timer_t tick;
    int64_t ticked_ms; // when the last tick was
    uint64_t ping_token;
    struct worker_table workers;
    struct buf frame;         // for the frame at hand
    struct frame_hello hello; // for the HELLO at hand; large
};

const struct worker_table *backend_workers(const struct backend *b)
{
    return &b->workers;
}

// --- Sending

// Sends the frame in b->frame.
static void send_frame(struct backend *b, uint32_t peer)
{
    assert(buf_ok(&b->frame) || buf_error(&b->frame) == -ENOMEM);
    if (buf_ok(&b->frame)) {
        int rc = zsocket_send(b->socket, peer, buf_str(&b->frame));
        (void)rc; // a worker that cannot be reached is soon lost
    }
}

static void send_refused(struct backend *b, uint32_t peer, const char *reason, const char *detail)
{
    log_debug("refused a frame of peer %u: %s: %s", peer, reason, detail);
    buf_reset(&b->frame);
    frame_refused_encode(&b->frame, str_of(reason), str_of(detail));
    send_frame(b, peer);
}

static void send_number(struct backend *b, const struct worker *w, enum frame_type type,
                        uint64_t number)
{
    buf_reset(&b->frame);
    frame_number_encode(&b->frame, type, number);
    send_frame(b, w->peer);
}

int backend_send_request(struct backend *b, const struct worker *w, const struct exchange *x,
                         uint64_t id, uint32_t deadline_ms)
{
    buf_reset(&b->frame);
    if (x->asking) {
        request_frame_encode_question(x, w->table, id, deadline_ms, &b->frame);
    } else {
        request_frame_encode(x, w->table, id, deadline_ms, &b->frame);
    }
    struct str frame = buf_str(&b->frame);
    int rc = buf_error(&b->frame);
    if (x->route->sensitive) {
        rc = rc ? rc : zsocket_send_padded(b->socket, w->peer, frame, frame_padding());
        buf_wipe(&b->frame);
        return rc;
    }
    return rc ? rc : zsocket_queue(b->socket, w->peer, frame);
}

void backend_send_cancel(struct backend *b, const struct worker *w, uint64_t id)
{
    send_number(b, w, FRAME_CANCEL, id);
}

// --- Coming and going

static void remove_worker(struct backend *b, struct worker *w, const char *why)
{
    struct gateway *g = b->gateway;
    log_info("worker %s of %s is gone: %s; it had %u requests", w->instance,
             w->table->service->name, why, w->in_flight);
    worker_table_remove(&b->workers, w);
    balancer_remove(&g->balancer, w);
    router_leave(&g->router, &w->table);
    free(w);
}

static void lose_worker(struct backend *b, struct worker *w, const char *why)
{
    b->gateway->balancer.counts.lost_workers++;
    remove_worker(b, w, why);
}

static const char *refusal_of(int rc)
{
    return rc == -EINVAL ? "malformed" : rc == -EEXIST ? "route-conflict" : "too-many-workers";
}

// Makes the worker of the HELLO at hand. NULL after refusing it.
static struct worker *admit(struct backend *b, uint32_t peer, int fd, struct str frame)
{
    struct gateway *g = b->gateway;
    const struct frame_hello *h = &b->hello;
    char detail[ROUTER_DETAIL_SIZE] = "";
    struct worker *w = b->workers.n < WORKERS_MAX ? calloc(1, sizeof *w) : NULL;
    int rc = w ? router_join(&g->router, h, frame, &w->table, detail) : -ENOSPC;
    if (rc == 0) {
        rc = balancer_add(&g->balancer, w);
        if (rc) {
            router_leave(&g->router, &w->table);
        }
    }
    if (rc) {
        log_warn("refused a worker of %.*s: %s: %s", STR_ARG(h->service), refusal_of(rc), detail);
        send_refused(b, peer, refusal_of(rc), detail);
        free(w);
        return NULL;
    }
    w->peer = peer;
    w->fd = fd;
    w->role = h->role;
    w->capacity = h->capacity;
    w->heartbeat_ms = h->heartbeat_ms;
    w->heard_ms = w->sent_ms = clock_mono_ms();
    (void)snprintf(w->instance, sizeof w->instance, "%.*s", STR_ARG(h->instance));
    (void)snprintf(w->version, sizeof w->version, "%.*s", STR_ARG(h->version));
    worker_table_add(&b->workers, w);
    return w;
}

// Whether the sender of the HELLO at hand may be the service that it says it is: on tcp its key has to be the
// service's own. Refuses it otherwise.
static bool check_identity(struct backend *b, uint32_t peer)
{
    const struct frame_hello *h = &b->hello;
    const char *identity = zsocket_identity(b->socket);
    char detail[200];
    if (!identity || str_eq(h->service, str_of(identity))) {
        return true;
    }
    if (strcmp(identity, KEY_PAIRS_LEGACY) == 0) {
        log_warn(
            "worker %.*s of %.*s uses the key that all clients share; `sluice keys make`, restart "
            "it, then `sluice keys retire " KEY_PAIRS_LEGACY "`",
            STR_ARG(h->instance), STR_ARG(h->service));
        return true;
    }
    (void)snprintf(detail, sizeof detail, "The key is of \"%s\", which cannot serve as \"%.*s\".",
                   identity, STR_ARG(h->service));
    log_warn("refused a worker of %.*s: identity: %s", STR_ARG(h->service), detail);
    metric_add(&b->gateway->stats.foreign_workers, 1);
    send_refused(b, peer, "identity", detail);
    return false;
}

static void on_hello(struct backend *b, uint32_t peer, int fd, struct str frame, struct reader *r,
                     uint32_t fields)
{
    struct gateway *g = b->gateway;
    struct frame_hello *h = &b->hello;
    struct worker *same_peer = worker_table_find(&b->workers, peer);
    if (same_peer) {
        balancer_forgotten(&g->balancer, same_peer);
        lose_worker(b, same_peer, "it said HELLO again");
    }
    if (frame_hello_decode(r, fields, h)) {
        send_refused(b, peer, "malformed", "The HELLO is not as PROTOCOL.md 2.2 says.");
        return;
    }
    if (h->protocol != FRAME_PROTOCOL_VERSION) {
        send_refused(b, peer, "protocol-version", "This gateway speaks version 1.");
        return;
    }
    if (!check_identity(b, peer)) {
        return;
    }
    struct worker *same_name = worker_table_find_instance(&b->workers, h->service, h->instance);
    struct worker *w = admit(b, peer, fd, frame);
    if (!w) {
        return;
    }
    if (same_name) {
        lose_worker(b, same_name, "its instance connected again");
    }
    stats_follow_services(&g->stats);
    log_info("worker %s of %s %s is here: %s, capacity %u", w->instance, w->table->service->name,
             w->version, worker_role_name(w->role), w->capacity);
    struct frame_welcome welcome = { str_of(g->config.common.instance), w->heartbeat_ms };
    buf_reset(&b->frame);
    frame_welcome_encode(&b->frame, &welcome);
    send_frame(b, peer);
}

// --- Frames of known workers. Each returns 0, or -EBADMSG for a frame that is not as PROTOCOL.md
// says.

static int on_credit(struct backend *b, struct worker *w, struct reader *r, uint32_t fields)
{
    struct frame_credit credit;
    if (frame_credit_decode(r, fields, &credit)) {
        return -EBADMSG;
    }
    if (w->state == WORKER_DRAINING) {
        return 0;
    }
    if (w->state == WORKER_WELCOMED) {
        worker_move(w, WORKER_SERVING);
    }
    w->credit = credit.credit < 65535 ? credit.credit : 65535;
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        w->class_credit[i] = credit.classes[i];
    }
    log_debug("worker %s of %s gives credit for %u requests: %u reads, %u writes, %u that compute",
              w->instance, w->table->service->name, w->credit, w->class_credit[FRAME_CLASS_READ],
              w->class_credit[FRAME_CLASS_WRITE], w->class_credit[FRAME_CLASS_COMPUTE]);
    balancer_update(&b->gateway->balancer, w);
    return 0;
}

static int on_reply(struct backend *b, struct worker *w, struct reader *r, uint32_t fields)
{
    struct frame_reply reply;
    if (frame_reply_decode(r, fields, &reply)) {
        return -EBADMSG;
    }
    if (w->state != WORKER_WELCOMED) {
        balancer_reply(&b->gateway->balancer, w, &reply);
    }
    return 0;
}

static int on_return(struct backend *b, struct worker *w, struct reader *r, uint32_t fields)
{
    uint64_t id;
    struct str reason;
    if (frame_return_decode(r, fields, &id, &reason)) {
        return -EBADMSG;
    }
    log_debug("worker %s of %s hands request %llu back: %.*s", w->instance, w->table->service->name,
              (unsigned long long)id, STR_ARG(reason));
    if (w->state != WORKER_WELCOMED) {
        balancer_return(&b->gateway->balancer, w, id, reason);
    }
    return 0;
}

static int on_pong(struct backend *b, struct worker *w, struct reader *r, uint32_t fields)
{
    struct frame_pong pong;
    if (frame_pong_decode(r, fields, &pong)) {
        return -EBADMSG;
    }
    bool was_stuck = w->oldest_ms > b->gateway->balancer.stuck_ms;
    w->oldest_ms = pong.oldest_ms;
    if (was_stuck != (w->oldest_ms > b->gateway->balancer.stuck_ms)) {
        log_warn("worker %s of %s %s: its oldest request is %u ms old", w->instance,
                 w->table->service->name,
                 was_stuck ? "goes on" : "is stuck and gets no more requests", w->oldest_ms);
        b->gateway->balancer.counts.stuck_workers += !was_stuck;
        balancer_update(&b->gateway->balancer, w);
    }
    return 0;
}

static int on_role(struct backend *b, struct worker *w, struct reader *r, uint32_t fields)
{
    uint64_t role;
    if (frame_number_decode(r, fields, &role) || role > FRAME_ROLE_READER) {
        return -EBADMSG;
    }
    w->role = (enum frame_role)role;
    log_info("worker %s of %s is %s now", w->instance, w->table->service->name,
             worker_role_name(w->role));
    balancer_update(&b->gateway->balancer, w);
    return 0;
}

static int on_draining(struct backend *b, struct worker *w)
{
    if (w->state != WORKER_DRAINING) {
        worker_move(w, WORKER_DRAINING);
        log_info("worker %s of %s is draining", w->instance, w->table->service->name);
        balancer_update(&b->gateway->balancer, w);
    }
    buf_reset(&b->frame);
    frame_plain_encode(&b->frame, FRAME_DRAINING); // behind every request that was sent to it
    send_frame(b, w->peer);
    return 0;
}

static void note_life(struct backend *b, struct worker *w)
{
    w->heard_ms = (int64_t)uv_now(b->gateway->loop);
    if (w->unreachable) {
        w->unreachable = false;
        balancer_update(&b->gateway->balancer, w);
    }
}

static int dispatch_frame(struct backend *b, struct worker *w, enum frame_type type,
                          struct reader *r, uint32_t fields)
{
    switch (type) {
    case FRAME_REPLY:
        return on_reply(b, w, r, fields);
    case FRAME_PONG:
        return on_pong(b, w, r, fields);
    case FRAME_READY:
    case FRAME_CREDIT:
        return on_credit(b, w, r, fields);
    case FRAME_RETURN:
        return on_return(b, w, r, fields);
    case FRAME_ROLE:
        return on_role(b, w, r, fields);
    case FRAME_DRAINING:
        return on_draining(b, w);
    default:
        return -EBADMSG; // a frame that only gateways send
    }
}

static void on_frame(struct backend *b, uint32_t peer, int fd, struct str frame)
{
    struct reader r = reader_of(frame);
    struct worker *w = worker_table_find(&b->workers, peer);
    enum frame_type type;
    uint32_t fields;
    if (frame_open(&r, &type, &fields)) {
        send_refused(b, peer, "malformed", "This is not a frame of PROTOCOL.md 2.1.");
    } else if (type == FRAME_PADDING) {
        return;
    } else if (type == FRAME_HELLO) {
        on_hello(b, peer, fd, frame, &r, fields);
    } else if (type == FRAME_GOODBYE) {
        if (w) {
            remove_worker(b, w, "it said GOODBYE");
        }
    } else if (!w) {
        send_refused(b, peer, "unknown-peer", "Say HELLO first.");
    } else if (dispatch_frame(b, w, type, &r, fields)) {
        log_warn("worker %s of %s sent a malformed frame of type %d", w->instance,
                 w->table->service->name, (int)type);
        send_refused(b, peer, "malformed", "The frame is not as PROTOCOL.md says.");
    }
}

static void on_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    (void)s;
    struct backend *b = data;
    struct reader r = reader_of(message);
    struct str frame;
    int rc;
    if (peer == 0) {
        send_refused(b, peer, "routing-id", "Do not set ZMQ_ROUTING_ID.");
        return;
    }
    struct worker *w = worker_table_find(&b->workers, peer);
    if (w) {
        note_life(b, w);
    }
    while ((rc = frame_next(&r, &frame)) == 1) {
        on_frame(b, peer, fd, frame);
    }
    if (rc < 0) {
        send_refused(b, peer, "malformed", "This is not a message of frames.");
    }
}

static void on_disconnect(struct zsocket *s, int fd, void *data)
{
    (void)s;
    struct backend *b = data;
    struct worker *w = worker_table_find_fd(&b->workers, fd);
    if (w) {
        lose_worker(b, w, "its connection was lost");
    }
}

// --- Heartbeats

// now_ms - late_ms: a gateway that was stopped itself must not blame its workers for the silence.
static void check_worker(struct backend *b, struct worker *w, int64_t now_ms, int64_t late_ms)
{
    w->heard_ms += late_ms;
    int64_t silent_ms = now_ms - w->heard_ms;
    if (silent_ms >= (int64_t)MISSED_HEARTBEATS * w->heartbeat_ms) {
        b->gateway->balancer.counts.silent_workers++;
        lose_worker(b, w, "it does not answer pings");
        return;
    }
    balancer_forget(&b->gateway->balancer, w, now_ms);
    // A worker, too, expects to hear something now and then (PROTOCOL.md 2.9).
    bool silence = silent_ms >= w->heartbeat_ms || now_ms - w->sent_ms >= w->heartbeat_ms;
    if (silence && now_ms - w->pinged_ms >= w->heartbeat_ms) {
        w->pinged_ms = w->sent_ms = now_ms;
        send_number(b, w, FRAME_PING, ++b->ping_token);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct backend *b = timer->data;
    int64_t now_ms = clock_mono_ms();
    int64_t late_ms = now_ms - b->ticked_ms - HEARTBEAT_TICK_MS;
    b->ticked_ms = now_ms;
    for (size_t i = 0; i < WORKER_SLOTS; i++) {
        struct worker *w = b->workers.slots[i];
        if (w) { // losing one may move the others by a slot: they are looked at with the next tick
            check_worker(b, w, now_ms, late_ms > HEARTBEAT_TICK_MS ? late_ms : 0);
        }
    }
}

// --- Opening and closing

int backend_open(struct gateway *g, const char *endpoint)
{
    struct backend *b = calloc(1, sizeof *b);
    if (!b) {
        return -ENOMEM;
    }
    b->gateway = g;
    buf_init(&b->frame, FRAME_MAX_BYTES);
    b->frame.wipes = true;
    struct zsocket_options options = { .type = ZSOCKET_ROUTER,
                                       .max_message_bytes = FRAME_MAX_MESSAGE_BYTES,
                                       .curve = g->curve,
                                       .wipes = true }; // passwords one way, tokens the other
    struct zsocket_callbacks callbacks = { .on_message = on_message,
                                           .on_disconnect = on_disconnect,
                                           .data = b };
    int rc = zsocket_open(g->loop, &options, &callbacks, &b->socket);
    if (rc == 0) {
        rc = zsocket_bind(b->socket, endpoint);
        if (rc) {
            zsocket_close(&b->socket, 0);
        }
    }
    if (rc) {
        free(b);
        return rc;
    }
    b->ticked_ms = clock_mono_ms();
    b->tick.data = b;
    (void)uv_timer_init(g->loop, &b->tick); // cannot fail
    (void)uv_timer_start(&b->tick, on_tick, HEARTBEAT_TICK_MS,
                         HEARTBEAT_TICK_MS); // only without callback
    g->backend = b;
    return 0;
}

static void on_tick_closed(uv_handle_t *handle)
{
    struct backend *b = handle->data;
    buf_fini(&b->frame);
    free(b);
}

void backend_close(struct backend **backend)
{
    struct backend *b = *backend;
    *backend = NULL;
    if (!b) {
        return;
    }
    buf_reset(&b->frame);
    frame_plain_encode(&b->frame, FRAME_GOODBYE);
    for (size_t i = 0; i < WORKER_SLOTS; i++) {
        struct worker *w = b->workers.slots[i];
        if (w) {
            send_frame(b, w->peer);
            assert(!w->first || !w->first->job); // clients are gone by now
            balancer_remove(&b->gateway->balancer, w);
            router_leave(&b->gateway->router, &w->table);
            free(w);
        }
    }
    zsocket_close(&b->socket, LINGER_OUT_MS);
    uv_close((uv_handle_t *)&b->tick, on_tick_closed);
}
