// SPDX-License-Identifier: MIT
// The client against a queue that this test plays, so that it can answer, refuse, vanish and come back exactly when it
// hurts: nothing that was not acknowledged is forgotten or overtaken, and no event is asked for twice.
#include "common/queue_client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <czmq.h>

#include "proto/writer.h"
#include "tests/unit/loop.h"
#include "tests/unit/played_queue.h"

#define LIMIT_MS PLAYED_QUEUE_LIMIT_MS

// --- The queue

static void reply(const struct buf *b)
{
    assert_true(buf_ok(b));
    queue_say(buf_str(b));
}

static void reply_published(uint64_t request, uint64_t first_seq)
{
    const struct queue_published f = { .request = request,
                                       .first_seq = first_seq,
                                       .last_seq = first_seq,
                                       .stored = 1,
                                       .durable = true };
    struct buf b;
    buf_init(&b, 100);
    queue_published_encode(&b, &f);
    reply(&b);
    buf_fini(&b);
}

static void reply_events(uint64_t subscription, uint64_t first_seq, uint32_t count)
{
    struct buf b;
    buf_init(&b, 10000);
    size_t mark = queue_events_begin(&b, subscription);
    for (uint32_t i = 0; i < count; i++) {
        queue_events_entry(&b, first_seq + i, 5, STR("event"));
    }
    queue_events_end(&b, mark, count);
    reply(&b);
    buf_fini(&b);
}

// --- The client

static struct {
    struct queue_client *client;
    int ups, downs;
    int status[QUEUE_CLIENT_MAX_PUBLISHES + 8]; // of the publishes that ended, in order
    void *data[QUEUE_CLIENT_MAX_PUBLISHES + 8];
    char detail[80];
    size_t published;
    struct queue_subscription *subscription;
    uint64_t seqs[100];
    size_t events, batches;
    uint64_t caught_up, lost_first, lost_last, ended_seq;
    char reason[40];
    int infos, info_status;
    bool close_subscription, close_client; // at the next event
} seen;

static void on_up(struct queue_client *c, void *data)
{
    (void)c, (void)data;
    seen.ups++;
}

static void on_down(struct queue_client *c, void *data)
{
    (void)c, (void)data;
    seen.downs++;
}

static void on_published(int status, const struct queue_published *answer, struct str detail,
                         void *data)
{
    assert_true((status == 0) == (answer != NULL));
    seen.status[seen.published] = status;
    (void)snprintf(seen.detail, sizeof seen.detail, "%.*s", STR_ARG(detail));
    seen.data[seen.published++] = data;
}

static int publish(const char *text)
{
    struct buf b;
    buf_init(&b, 1000);
    uint64_t request = queue_client_next_request(seen.client);
    queue_publish_begin(&b, request, STR("store"), 1);
    queue_publish_entry(&b, request, str_of(text));
    assert_true(buf_ok(&b));
    int status = queue_client_publish(seen.client, request, buf_str(&b), on_published,
                                      (void *)(uintptr_t)request);
    buf_fini(&b);
    return status;
}

static void on_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                     struct str encoded, void *data)
{
    assert_ptr_equal(s, seen.subscription);
    assert_ptr_equal(data, &seen);
    assert_int_equal(stored_ms, 5);
    assert_true(str_eq(encoded, STR("event")));
    seen.seqs[seen.events++] = seq;
    if (seen.close_subscription) {
        queue_subscription_close(&seen.subscription);
    }
    if (seen.close_client) {
        queue_client_close(&seen.client);
    }
}

static void on_batch_end(struct queue_subscription *s, void *data)
{
    (void)s, (void)data;
    seen.batches++;
}

static void on_caught_up(struct queue_subscription *s, uint64_t next_seq, void *data)
{
    (void)s, (void)data;
    seen.caught_up = next_seq;
}

static void on_lost(struct queue_subscription *s, uint64_t first, uint64_t last, void *data)
{
    (void)s, (void)data;
    seen.lost_first = first;
    seen.lost_last = last;
}

static void on_ended(struct queue_subscription *s, struct str reason, struct str detail,
                     uint64_t next_seq, void *data)
{
    (void)s, (void)detail, (void)data;
    (void)snprintf(seen.reason, sizeof seen.reason, "%.*s", STR_ARG(reason));
    seen.ended_seq = next_seq;
    seen.subscription = NULL;
}

static void on_info(int status, struct str map, void *data)
{
    (void)map, (void)data;
    seen.infos++;
    seen.info_status = status;
}

static int enter(void **state)
{
    const struct queue_client_callbacks callbacks = { on_up, on_down, NULL };
    memset(&seen, 0, sizeof seen);
    queue_init();
    return loop_enter(state) ||
           queue_client_open(&loop, queue_endpoint(), NULL, &callbacks, &seen.client);
}

static int leave(void **state)
{
    queue_client_close(&seen.client);
    queue_down();
    return loop_leave(state);
}

static void connect_both(void)
{
    queue_up();
    LOOP_UNTIL(queue_client_is_up(seen.client), LIMIT_MS);
}

static void reconnect(void)
{
    queue_down();
    LOOP_UNTIL(!queue_client_is_up(seen.client), LIMIT_MS);
    queue_up();
    LOOP_UNTIL(queue_client_is_up(seen.client), LIMIT_MS);
}

static void subscribe(struct queue_subscribe options)
{
    const struct queue_subscription_callbacks callbacks = { on_event, on_batch_end, on_caught_up,
                                                            on_lost,  on_ended,     &seen };
    assert_int_equal(queue_client_subscribe(seen.client, &options, &callbacks, &seen.subscription),
                     0);
}

// The request number of the PUBLISH that came as number i.
static uint64_t request_of(size_t i)
{
    static struct queue_publish f;
    uint32_t fields;
    struct reader r = queue_heard(i, QUEUE_PUBLISH, &fields);
    assert_int_equal(queue_publish_decode(&r, fields, &f), 0);
    return f.request;
}

static struct queue_subscribe subscribe_of(size_t i)
{
    struct queue_subscribe f;
    uint32_t fields;
    struct reader r = queue_heard(i, QUEUE_SUBSCRIBE, &fields);
    assert_int_equal(queue_subscribe_decode(&r, fields, &f), 0);
    return f;
}

// --- Publishing

static void test_publishes_wait_for_the_queue(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(publish("x"), 0);
    }
    assert_false(queue_client_is_up(seen.client));
    connect_both();
    assert_int_equal(seen.ups, 1);
    LOOP_UNTIL(queue.n == 3, LIMIT_MS);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(request_of(i), i + 1);
        reply_published(i + 1, 10 + i);
    }
    LOOP_UNTIL(seen.published == 3, LIMIT_MS);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(seen.status[i], 0);
        assert_ptr_equal(seen.data[i], (void *)(i + 1));
    }
}

static void test_only_what_was_not_acknowledged_is_sent_again(void **state)
{
    (void)state;
    connect_both();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(publish("x"), 0);
    }
    LOOP_UNTIL(queue.n == 5, LIMIT_MS);
    reply_published(1, 1);
    reply_published(2, 2);
    LOOP_UNTIL(seen.published == 2, LIMIT_MS);
    reconnect();
    assert_int_equal(seen.downs, 1);
    assert_int_equal(seen.ups, 2);
    assert_int_equal(publish("later"), 0);
    LOOP_UNTIL(queue.n == 4, LIMIT_MS);
    for (size_t i = 0; i < 4; i++) { // in order, the later one behind
        assert_int_equal(request_of(i), i + 3);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    connect_both();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(publish("x"), 0);
    }
    LOOP_UNTIL(queue.n == 3, LIMIT_MS);
    queue_say_word(QUEUE_REFUSED, 1, 0, "disk-full", "no room");
    LOOP_UNTIL(seen.published == 1, LIMIT_MS);
    assert_int_equal(seen.status[0], -ENOSPC);
    assert_string_equal(seen.detail, "no room");
    queue_say_word(QUEUE_REFUSED, 2, 0, "invalid-topic", "bad");
    LOOP_UNTIL(seen.published == 2, LIMIT_MS);
    assert_int_equal(seen.status[1], -EBADMSG);
    queue_say_word(QUEUE_REFUSED, 3, 0, "stopping", ""); // is sent again to the queue's successor
    reconnect();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(request_of(0), 3);
    assert_int_equal(seen.published, 2);
}

static void test_publishes_are_limited(void **state)
{
    (void)state;
    for (int i = 0; i < QUEUE_CLIENT_MAX_PUBLISHES; i++) {
        assert_int_equal(publish("x"), 0);
    }
    assert_int_equal(publish("x"), -EAGAIN);
    queue_client_close(&seen.client); // each is told, once
    assert_int_equal(seen.published, QUEUE_CLIENT_MAX_PUBLISHES);
    assert_int_equal(seen.status[0], -ECANCELED);
}

// --- Reading

static void test_events(void **state)
{
    (void)state;
    connect_both();
    char filter[] = "a.*", key[] = "k", where[] = ".seq > 1";
    subscribe((struct queue_subscribe){ .filters = { str_of(filter) },
                                        .n_filters = 1,
                                        .key = str_of(key),
                                        .where = str_of(where),
                                        .from = QUEUE_FROM_TIME,
                                        .from_value = 99,
                                        .follow = true,
                                        .credit = 10 });
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    memset(filter, 'X', sizeof filter - 1); // the client must have its own, also after a reconnect
    memset(key, 'X', sizeof key - 1);
    memset(where, 'X', sizeof where - 1);
    reconnect();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    struct queue_subscribe f = subscribe_of(0);
    assert_true(str_eq(f.filters[0], STR("a.*")));
    assert_true(str_eq(f.key, STR("k")));
    assert_true(str_eq(f.where, STR(".seq > 1")));
    assert_int_equal(f.from, QUEUE_FROM_TIME);
    assert_int_equal(f.from_value, 99);
    assert_int_equal(f.credit, 10);
    assert_true(f.follow);
    reply_events(f.subscription, 7, 3);
    reply_events(f.subscription + 1, 70, 3); // of nobody
    LOOP_UNTIL(seen.batches == 1, LIMIT_MS);
    assert_int_equal(seen.events, 3);
    assert_int_equal(seen.seqs[2], 9);
    queue_subscription_grant(seen.subscription, 2);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(queue.frames[1].type, QUEUE_GRANT);
    queue_say_pair(QUEUE_CAUGHT_UP, f.subscription, 10);
    LOOP_UNTIL(seen.caught_up == 10, LIMIT_MS);
    queue_say_word(QUEUE_ENDED, f.subscription, 12, "until", "");
    LOOP_UNTIL(!seen.subscription, LIMIT_MS);
    assert_string_equal(seen.reason, "until");
    assert_int_equal(seen.ended_seq, 12);
}

static void test_reading_goes_on_behind_the_last_event(void **state)
{
    (void)state;
    connect_both();
    subscribe((struct queue_subscribe){ .from = QUEUE_FROM_START, .follow = true, .credit = 10 });
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    reply_events(subscribe_of(0).subscription, 100, 4);
    LOOP_UNTIL(seen.events == 4, LIMIT_MS);
    queue_subscription_grant(seen.subscription, 1);
    reconnect();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    struct queue_subscribe f = subscribe_of(0);
    assert_int_equal(f.from, QUEUE_FROM_SEQ);
    assert_int_equal(f.from_value, 104);
    assert_int_equal(f.credit, 7); // what was granted and not used
    struct buf b;
    buf_init(&b, 100);
    queue_lost_encode(&b, f.subscription, 104, 109);
    reply(&b);
    buf_fini(&b);
    LOOP_UNTIL(seen.lost_last == 109, LIMIT_MS);
    assert_int_equal(seen.lost_first, 104);
    reconnect();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(subscribe_of(0).from_value, 110); // what is lost is told once
}

// From "end" nothing comes at first; what is published while the connection is away must not be missed.
static void test_caught_up_is_a_position(void **state)
{
    (void)state;
    connect_both();
    subscribe((struct queue_subscribe){ .from = QUEUE_FROM_END, .follow = true, .credit = 10 });
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    queue_say_pair(QUEUE_CAUGHT_UP, subscribe_of(0).subscription, 55);
    LOOP_UNTIL(seen.caught_up == 55, LIMIT_MS);
    reconnect();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(subscribe_of(0).from, QUEUE_FROM_SEQ);
    assert_int_equal(subscribe_of(0).from_value, 55);
}

static void test_a_queue_that_stops_ends_nothing(void **state)
{
    (void)state;
    connect_both();
    subscribe((struct queue_subscribe){ .follow = true, .credit = 10 });
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    queue_say_word(QUEUE_ENDED, subscribe_of(0).subscription, 1, "stopping", "");
    reconnect();
    LOOP_UNTIL(queue.n >= 1, LIMIT_MS);
    assert_non_null(seen.subscription);
    assert_string_equal(seen.reason, "");
}

static void test_a_refused_subscription_ends(void **state)
{
    (void)state;
    connect_both();
    subscribe((struct queue_subscribe){ .credit = 10 });
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    queue_say_word(QUEUE_REFUSED, subscribe_of(0).subscription, 0, "invalid-topic", "bad");
    LOOP_UNTIL(!seen.subscription, LIMIT_MS);
    assert_string_equal(seen.reason, "invalid-topic");
}

static void test_closing_in_a_callback(void **state)
{
    (void)state;
    connect_both();
    subscribe((struct queue_subscribe){ .follow = true, .credit = 10 });
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    seen.close_subscription = true;
    reply_events(subscribe_of(0).subscription, 1, 5);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(queue.frames[1].type, QUEUE_UNSUBSCRIBE);
    assert_int_equal(seen.events, 1); // the rest of the frame is not handed out
    assert_int_equal(seen.batches, 0);
    seen.close_subscription = false;
    seen.close_client = true;
    subscribe((struct queue_subscribe){ .follow = true, .credit = 10 });
    LOOP_UNTIL(queue.n == 3, LIMIT_MS);
    reply_events(subscribe_of(2).subscription, 1, 5);
    LOOP_UNTIL(!seen.client, LIMIT_MS);
    assert_int_equal(seen.events, 2);
}

static void test_subscriptions_are_limited(void **state)
{
    (void)state;
    const struct queue_subscribe options = { .credit = 1 };
    const struct queue_subscription_callbacks callbacks = { .on_event = on_event,
                                                            .on_ended = on_ended };
    struct queue_subscription *s;
    for (int i = 0; i < QUEUE_CLIENT_MAX_SUBSCRIPTIONS; i++) {
        assert_int_equal(queue_client_subscribe(seen.client, &options, &callbacks, &s), 0);
    }
    assert_int_equal(queue_client_subscribe(seen.client, &options, &callbacks, &s), -ENOSPC);
    queue_subscription_close(&s);
    assert_int_equal(queue_client_subscribe(seen.client, &options, &callbacks, &s), 0);
}

// --- The rest

static void test_info(void **state)
{
    (void)state;
    struct buf b, map;
    assert_int_equal(queue_client_info(seen.client, 100, on_info, NULL), -ENOTCONN);
    connect_both();
    assert_int_equal(queue_client_info(seen.client, 60000, on_info, NULL), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(queue.frames[0].type, QUEUE_INFO);
    buf_init(&b, 100);
    buf_init(&map, 100);
    writer_map(&map, 0);
    queue_info_encode(&b, 1, buf_str(&map));
    reply(&b);
    reply(&b); // a second answer is of nobody
    LOOP_UNTIL(seen.infos == 1, LIMIT_MS);
    assert_int_equal(seen.info_status, 0);
    buf_fini(&b);
    buf_fini(&map);
    assert_int_equal(queue_client_info(seen.client, 1, on_info, NULL), 0);
    LOOP_UNTIL(seen.infos == 2, LIMIT_MS);
    assert_int_equal(seen.info_status, -ETIMEDOUT);
}

static void test_pings_both_ways(void **state)
{
    (void)state;
    connect_both();
    assert_int_equal(publish("x"), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    queue_say_pair(QUEUE_PING, 4711, 0);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(queue.frames[1].type, QUEUE_PONG);
    size_t pings = queue.pings;
    LOOP_UNTIL(queue.pings > pings, LIMIT_MS); // after a second of silence
    queue.deaf = true;
    LOOP_UNTIL(seen.downs == 1,
               LIMIT_MS); // and after three without an answer it is not there any more
    queue.deaf = false;
    queue.n = 0;
    LOOP_UNTIL(seen.ups == 2 && queue.n == 1, LIMIT_MS);
    assert_int_equal(request_of(0), 1);
}

static void test_nonsense_is_ignored(void **state)
{
    (void)state;
    connect_both();
    assert_int_equal(publish("x"), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    static const struct str nonsense[] = { STR_INIT(""),
                                           STR_INIT("\xc1"),
                                           STR_INIT("\x91\x21"),
                                           STR_INIT("\x92\x21\x01"),
                                           STR_INIT("\x93\x23\x01\xdd\xff\xff\xff\xff"),
                                           STR_INIT("\x91\x63") };
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        queue_say(nonsense[i]);
    }
    reply_published(99, 1); // of no request
    reply_published(1, 1);
    LOOP_UNTIL(seen.published == 1, LIMIT_MS);
    assert_int_equal(seen.status[0], 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    const struct CMUnitTest tests[] = {
        CASE(test_publishes_wait_for_the_queue),
        CASE(test_only_what_was_not_acknowledged_is_sent_again),
        CASE(test_refusals),
        CASE(test_publishes_are_limited),
        CASE(test_events),
        CASE(test_reading_goes_on_behind_the_last_event),
        CASE(test_caught_up_is_a_position),
        CASE(test_a_queue_that_stops_ends_nothing),
        CASE(test_a_refused_subscription_ends),
        CASE(test_closing_in_a_callback),
        CASE(test_subscriptions_are_limited),
        CASE(test_info),
        CASE(test_pings_both_ways),
        CASE(test_nonsense_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
