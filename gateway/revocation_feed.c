// SPDX-License-Identifier: MIT
#include "gateway/revocation_feed.h"

#include "common/clock.h"
#include "common/consumer_metrics.h"
#include "common/event_span.h"
#include "common/log.h"
#include "common/queue_client.h"
#include "proto/users.h"

#include <errno.h>
#include <stdlib.h>

#define CREDIT 256 // events that may be under way; each takes a microsecond here
#define CONSUMER_NAME "gateway"
#define SUBSCRIBE_AGAIN_MS 5000 // after the queue ended the subscription

struct revocation_feed {
    struct gateway *gateway;
    struct queue_client *client;
    struct queue_subscription *subscription;
    uint32_t done;       // events since the last grant
    bool replayed;       // caught up for the first time
    bool complete;       // caught up, and the queue has answered since
    int64_t complete_ms; // monotonic: when it was complete last; at first when it was opened
    uv_timer_t again;
    struct metric lag, delay, lost;
    struct consumer_metrics metrics;
};

static void subscribe(struct revocation_feed *f);

bool revocation_feed_has_replayed(const struct revocation_feed *f)
{
    return f->replayed;
}

// --- How complete the revocations are

static int64_t read_lag_s(void *data)
{
    const struct revocation_feed *f = data;
    return f->complete ? 0 : (clock_mono_ms() - f->complete_ms + 999) / 1000;
}

static void set_incomplete(struct revocation_feed *f)
{
    if (f->complete) {
        f->complete = false;
        f->complete_ms = clock_mono_ms();
    }
}

static void on_caught_up(struct queue_subscription *s, uint64_t next_seq, void *data)
{
    (void)s, (void)next_seq;
    struct revocation_feed *f = data;
    if (!f->complete) {
        log_info("revocations are complete after %lld ms",
                 (long long)(clock_mono_ms() - f->complete_ms));
    }
    f->complete = f->replayed = true;
}

static void on_down(struct queue_client *c, void *data)
{
    (void)c;
    struct revocation_feed *f = data;
    set_incomplete(f);
    log_warn("the queue is away: access tokens that are revoked from now on are refused only when "
             "it is back");
}

static void on_lost(struct queue_subscription *s, uint64_t first, uint64_t last, void *data)
{
    (void)s;
    struct revocation_feed *f = data;
    log_error("the queue lost events %llu to %llu, which may have been revocations: access tokens "
              "issued until now are refused and have to be refreshed",
              (unsigned long long)first, (unsigned long long)last);
    metric_add(&f->lost, 1);
    revocations_refuse_before(authenticator_revocations(f->gateway->authenticator),
                              clock_wall_ms());
}

// --- Events

static void on_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                     struct str encoded, void *data)
{
    (void)s, (void)stored_ms;
    struct revocation_feed *f = data;
    struct gateway *g = f->gateway;
    struct event event;
    struct session_revoked revoked;
    struct event_processed p = { .seq = seq,
                                 .consumer = CONSUMER_NAME,
                                 .start_us = clock_wall_us() };
    int64_t begin_us = clock_mono_us();
    f->done++;
    metric_add(&f->metrics.applied, 1); // also those that are skipped
    struct reader r = { NULL, NULL };
    int rc = event_decode(encoded, &event);
    if (rc == 0) {
        r = reader_of(event.data);
        rc = message_unpack_lenient(&session_revoked_message, &r, &revoked);
    }
    if (rc) {
        metric_add(&f->metrics.skipped, 1);
        log_warn("event %llu is no session_revoked, ignoring it", (unsigned long long)seq);
        return;
    }
    struct str sid = MESSAGE_HAS(&revoked, session_revoked, sid) ? revoked.sid : STR("");
    int64_t now_ms = clock_wall_ms();
    revocations_add(authenticator_revocations(g->authenticator), revoked.user_id, sid,
                    revocations_bound_ms(revoked.revoked_at, now_ms));
    p.duration_us = clock_mono_us() - begin_us;
    metric_add(&g->stats.revocations, 1);
    metric_observe_us(&f->metrics.seconds, p.duration_us);
    log_debug("revoked: %s of user %.*s, by event %llu", sid.n ? "a session" : "every session",
              STR_ARG(revoked.user_id), (unsigned long long)seq);
    if (f->complete) { // else it is old because we are late
        int64_t delay_ms = now_ms - revoked.revoked_at;
        metric_observe_us(&f->delay, delay_ms > 0 ? delay_ms * 1000 : 0);
        event_span_processed(&p, encoded);
    }
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
    set_incomplete(f);
    log_warn(
        "the queue ended the subscription to revocations: %.*s %.*s; subscribing again in %d s",
        STR_ARG(reason), STR_ARG(detail), SUBSCRIBE_AGAIN_MS / 1000);
    (void)uv_timer_start(&f->again, on_again, SUBSCRIBE_AGAIN_MS, 0); // fails without callback only
}

static void subscribe(struct revocation_feed *f)
{
    int64_t from_ms = clock_wall_ms() - REVOCATION_REPLAY_MS;
    struct queue_subscribe options = { .filters = { str_of(
                                           users_events[EVENT_SESSION_REVOKED].topic) },
                                       .n_filters = 1,
                                       .from = QUEUE_FROM_TIME,
                                       .from_value = from_ms > 0 ? (uint64_t)from_ms : 0,
                                       .follow = true,
                                       .credit = CREDIT };
    struct queue_subscription_callbacks callbacks = { .on_event = on_event,
                                                      .on_batch_end = on_batch_end,
                                                      .on_caught_up = on_caught_up,
                                                      .on_lost = on_lost,
                                                      .on_ended = on_ended,
                                                      .data = f };
    f->done = 0;
    if (queue_client_subscribe(f->client, &options, &callbacks, &f->subscription)) {
        (void)uv_timer_start(&f->again, on_again, SUBSCRIBE_AGAIN_MS, 0);
    }
}

// --- Opening and closing

static void register_metrics(struct revocation_feed *f)
{
    f->lag = (struct metric)METRIC_GAUGE_INIT(
        "sluice_gateway_revocation_lag_seconds",
        "For how long revocations may be missing: the queue is away or was not read yet.", NULL);
    f->lag.read = read_lag_s;
    f->lag.data = f;
    f->delay = (struct metric)METRIC_HISTOGRAM_INIT(
        "sluice_gateway_revocation_delay_seconds",
        "Time from a revocation to its being heard here.", NULL);
    f->lost = (struct metric)METRIC_COUNTER_INIT(
        "sluice_gateway_revocations_lost_total",
        "Ranges of events that the queue lost; each refuses all access tokens issued before.",
        NULL);
    metrics_register(&f->lag);
    metrics_register(&f->delay);
    metrics_register(&f->lost);
    consumer_metrics_open(&f->metrics, CONSUMER_NAME);
}

int revocation_feed_open(struct gateway *g, const char *endpoint)
{
    struct revocation_feed *f = calloc(1, sizeof *f);
    if (!f) {
        return -ENOMEM;
    }
    f->gateway = g;
    f->complete_ms = clock_mono_ms();
    struct queue_client_callbacks callbacks = { .on_down = on_down, .data = f };
    int rc = queue_client_open(g->loop, endpoint, g->curve, &callbacks, &f->client);
    if (rc) {
        free(f);
        return rc;
    }
    f->again.data = f;
    (void)uv_timer_init(g->loop, &f->again); // cannot fail
    register_metrics(f);
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
    metrics_unregister(&f->lag);
    metrics_unregister(&f->delay);
    metrics_unregister(&f->lost);
    consumer_metrics_close(&f->metrics);
    if (f->subscription) {
        queue_subscription_close(&f->subscription);
    }
    queue_client_close(&f->client);
    uv_close((uv_handle_t *)&f->again, on_closed);
}
