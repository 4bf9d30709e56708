// SPDX-License-Identifier: MIT
// The C client at work for tests/fault/test_queue_flood.py: publishes COUNT events one by one, as fast as they are taken
// and without waiting for room, then joins the group "flood" and acknowledges everything that was stored. Prints what it
// counted as one JSON line: every call is taken or refused with -EAGAIN, and what was taken is answered.
//
//     queue_flood ENDPOINT COUNT
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <czmq.h>
#include <sodium.h>
#include <uv.h>

#include "common/clock.h"
#include "common/queue_client.h"
#include "common/queue_member.h"
#include "common/uuid.h"

#define PER_TURN 1000
#define WINDOW 5000

static struct {
    uv_loop_t loop;
    uv_idle_t idle;
    struct queue_client *queue;
    struct queue_member *member;
    uint64_t count, tried, taken, refused, stored, failed, rooms, joined;
    uint64_t last_seq, settled, stale, delivered;
    bool in_order, started;
} flood = { .in_order = true };

static void finish(void)
{
    queue_member_close(&flood.member);
    queue_client_close(&flood.queue);
    uv_close((uv_handle_t *)&flood.idle, NULL);
}

// --- Consuming

static void on_delivery(struct queue_member *m, const struct queue_delivery *d, void *data)
{
    (void)data;
    flood.delivered++;
    int status = queue_member_ack(m, d->seq, d->attempt);
    assert(status == 0 || status == -ESTALE);
}

static void on_settled(struct queue_member *m, const struct queue_settled *answer, void *data)
{
    (void)m, (void)data;
    assert(answer->durable);
    flood.settled += answer->settled;
    flood.stale += answer->stale;
    if (flood.settled == flood.stored) {
        finish();
    }
}

static void on_joined(struct queue_member *m, void *data)
{
    (void)m, (void)data;
    flood.joined++;
}

static void on_ended(struct queue_member *m, struct str reason, struct str detail, void *data)
{
    (void)m, (void)data;
    (void)fprintf(stderr, "queue_flood: ended: %.*s %.*s\n", STR_ARG(reason), STR_ARG(detail));
    exit(1);
}

static void consume(void)
{
    const struct queue_group group = { .filters = { STR("flood.test") },
                                       .n_filters = 1,
                                       .from = QUEUE_FROM_START };
    const struct queue_member_callbacks callbacks = { .on_joined = on_joined,
                                                      .on_delivery = on_delivery,
                                                      .on_settled = on_settled,
                                                      .on_ended = on_ended };
    int status =
        queue_client_join(flood.queue, STR("flood"), WINDOW, &group, &callbacks, &flood.member);
    assert(status == 0);
}

// --- Publishing

static void on_stored(int status, uint64_t seq, bool durable, struct str detail, void *data)
{
    (void)detail, (void)data;
    flood.in_order = flood.in_order && (status || (durable && seq > flood.last_seq));
    flood.last_seq = status ? flood.last_seq : seq;
    flood.stored += status == 0;
    flood.failed += status != 0;
    if (flood.tried == flood.count && flood.stored + flood.failed == flood.taken) {
        consume();
    }
}

static void publish_one(void)
{
    char id[UUID_TEXT + 1], key[24];
    uuid_v7(clock_wall_ms(), id);
    (void)snprintf(key, sizeof key, "k%" PRIu64, flood.tried % 1000);
    const struct event e = { .id = str_of(id),
                             .topic = STR("flood.test"),
                             .key = str_of(key),
                             .subject = STR(""),
                             .source = STR("/flood"),
                             .time_ms = 1,
                             .traceparent = STR(""),
                             .data = STR("\x01") };
    int status = queue_client_publish_event(flood.queue, &e, on_stored, NULL);
    assert(status == 0 || status == -EAGAIN);
    flood.tried++;
    flood.taken += status == 0;
    flood.refused += status == -EAGAIN;
}

static void on_idle(uv_idle_t *idle)
{
    for (int i = 0; i < PER_TURN && flood.tried < flood.count; i++) {
        publish_one();
    }
    if (flood.tried == flood.count) {
        (void)printf("{\"taken\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n", flood.taken,
                     flood.refused);
        (void)fflush(stdout);
        (void)uv_idle_stop(idle);
    }
}

static void on_room(struct queue_client *c, void *data)
{
    (void)c, (void)data;
    flood.rooms++;
}

int main(int argc, char **argv)
{
    const struct queue_client_callbacks callbacks = { .data = NULL };
    if (argc != 3 || (flood.count = strtoull(argv[2], NULL, 10)) == 0) {
        (void)fprintf(stderr, "usage: queue_flood ENDPOINT COUNT\n");
        return 64;
    }
    zsys_handler_set(NULL);
    int status = sodium_init() < 0 ? -EIO : uv_loop_init(&flood.loop);
    status =
        status ? status : queue_client_open(&flood.loop, argv[1], NULL, &callbacks, &flood.queue);
    assert(status == 0);
    queue_client_set_on_room(flood.queue, on_room);
    (void)uv_idle_init(&flood.loop, &flood.idle);
    (void)uv_idle_start(&flood.idle, on_idle);
    (void)uv_run(&flood.loop, UV_RUN_DEFAULT);
    (void)printf("{\"stored\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"rooms\": %" PRIu64
                 ", \"settled\": %" PRIu64 ", \"stale\": %" PRIu64 ", \"delivered\": %" PRIu64
                 ", \"joined\": %" PRIu64 ", \"in_order\": %s}\n",
                 flood.stored, flood.failed, flood.rooms, flood.settled, flood.stale,
                 flood.delivered, flood.joined, flood.in_order ? "true" : "false");
    status = uv_loop_close(&flood.loop);
    assert(status == 0);
    zsys_shutdown();
    return 0;
}
