// SPDX-License-Identifier: MIT
#include "gateway/revocation_feed.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/queue_client.h"
#include "proto/users.h"

#include <errno.h>
#include <stdlib.h>

#define CREDIT 256              // events that may be under way; each takes a microsecond here
#define SUBSCRIBE_AGAIN_MS 5000 // after the queue ended the subscription

struct revocation_feed {
    struct gateway *gateway;
    struct queue_client *client;
    struct queue_subscription *subscription;
    uint32_t done; // events since the last grant
    uv_timer_t again;
};

static void subscribe(struct revocation_feed *f);

static void on_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                     struct str encoded, void *data)
{
    (void)s, (void)stored_ms;
    struct revocation_feed *f = data;
    struct gateway *g = f->gateway;
    struct event event;
    struct session_revoked revoked;
    f->done++;
    struct reader r = { NULL, NULL };
    int rc = event_decode(encoded, &event);
    if (rc == 0) {
        r = reader_of(event.data);
        rc = message_unpack_lenient(&session_revoked_message, &r, &revoked);
    }
    if (rc) {
        log_warn("event %llu is no session_revoked, ignoring it", (unsigned long long)seq);
        return;
    }
    struct str sid = MESSAGE_HAS(&revoked, session_revoked, sid) ? revoked.sid : STR("");
    revocations_add(authenticator_revocations(g->authenticator), revoked.user_id, sid,
                    revoked.revoked_at);
    metric_add(&g->stats.revocations, 1);
}

static void on_batch_end(struct queue_subscription *s, void *data)
{
    struct revocation_feed *f = data;
    queue_subscription_grant(s, f->done);
    f->done = 0;
}

static void on_again(uv_timer_t *timer)
{
    subscribe(timer->data);
}

static void on_ended(struct queue_subscription *s, struct str reason, struct str detail,
                     uint64_t next_seq, void *data)
{
    (void)s, (void)next_seq;
    struct revocation_feed *f = data;
    f->subscription = NULL;
    log_warn(
        "the queue ended the subscription to revocations: %.*s %.*s; subscribing again in %d s",
        STR_ARG(reason), STR_ARG(detail), SUBSCRIBE_AGAIN_MS / 1000);
    (void)uv_timer_start(&f->again, on_again, SUBSCRIBE_AGAIN_MS, 0); // fails without callback only
}

static void subscribe(struct revocation_feed *f)
{
    int64_t from_ms = clock_wall_ms() - REVOCATION_REPLAY_MS;
    struct queue_subscribe options = { .filters = { STR("users.session.revoked") },
                                       .n_filters = 1,
                                       .from = QUEUE_FROM_TIME,
                                       .from_value = from_ms > 0 ? (uint64_t)from_ms : 0,
                                       .follow = true,
                                       .credit = CREDIT };
    struct queue_subscription_callbacks callbacks = {
        .on_event = on_event, .on_batch_end = on_batch_end, .on_ended = on_ended, .data = f
    };
    f->done = 0;
    if (queue_client_subscribe(f->client, &options, &callbacks, &f->subscription)) {
        (void)uv_timer_start(&f->again, on_again, SUBSCRIBE_AGAIN_MS, 0);
    }
}

int revocation_feed_open(struct gateway *g, const char *endpoint)
{
    struct revocation_feed *f = calloc(1, sizeof *f);
    if (!f) {
        return -ENOMEM;
    }
    f->gateway = g;
    struct queue_client_callbacks callbacks = { .data = f };
    int rc = queue_client_open(g->loop, endpoint, g->curve, &callbacks, &f->client);
    if (rc) {
        free(f);
        return rc;
    }
    f->again.data = f;
    (void)uv_timer_init(g->loop, &f->again); // cannot fail
    subscribe(f);
    g->revocation_feed = f;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void revocation_feed_close(struct revocation_feed **feed)
{
    struct revocation_feed *f = *feed;
    *feed = NULL;
    if (!f) {
        return;
    }
    if (f->subscription) {
        queue_subscription_close(&f->subscription);
    }
    queue_client_close(&f->client);
    uv_close((uv_handle_t *)&f->again, on_closed);
}
