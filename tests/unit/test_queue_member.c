// SPDX-License-Identifier: MIT
// A member of a group against a queue that this test plays: what it asks for, what it says of each delivery and in how
// many frames, and that nothing of before a reconnect, of a member that has left, or beyond its window is taken or sent.
#include "common/queue_member.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <czmq.h>

#include "common/queue_client.h"
#include "proto/writer.h"
#include "tests/unit/loop.h"
#include "tests/unit/played_queue.h"

#define LIMIT_MS PLAYED_QUEUE_LIMIT_MS
#define WINDOW 8
#define MAX_DELIVERIES 70000

static struct {
    struct queue_client *client;
    struct queue_member *member;
    int joins, ends, settles;
    struct queue_delivery deliveries[MAX_DELIVERIES]; // without their events
    size_t n;
    struct queue_settled settled; // the last answer
    uint64_t lost_first, lost_last;
    char reason[40], detail[80];
    bool ack;                            // each at once
    bool close_member, close_client;     // at the next delivery
    bool close_when_joined, close_ended; // in that callback
    bool watch_ended;                    // begins to watch in on_ended
} seen;

static void on_joined(struct queue_member *m, void *data)
{
    assert_ptr_equal(data, &seen);
    assert_ptr_equal(m, seen.member);
    seen.joins++;
    if (seen.close_when_joined) {
        queue_member_close(&seen.member);
    }
}

static void on_delivery(struct queue_member *m, const struct queue_delivery *d, void *data)
{
    assert_ptr_equal(data, &seen);
    assert_ptr_equal(m, seen.member);
    assert_true(seen.n < MAX_DELIVERIES && str_eq(d->event, STR("event")));
    assert_int_equal(d->stored_ms, 5);
    seen.deliveries[seen.n++] = *d;
    if (seen.ack) {
        assert_int_equal(queue_member_ack(m, d->seq, d->attempt), 0);
    }
    if (seen.close_member) {
        queue_member_close(&seen.member);
    }
    if (seen.close_client) {
        queue_client_close(&seen.client);
    }
}

static void on_settled(struct queue_member *m, const struct queue_settled *answer, void *data)
{
    assert_ptr_equal(data, &seen);
    assert_ptr_equal(m, seen.member);
    seen.settles++;
    seen.settled = *answer;
}

static void on_lost(struct queue_member *m, uint64_t first_seq, uint64_t last_seq, void *data)
{
    assert_ptr_equal(data, &seen);
    assert_ptr_equal(m, seen.member);
    seen.lost_first = first_seq;
    seen.lost_last = last_seq;
}

static void on_operations(struct queue_operations *f, void *data)
{
    (void)f, (void)data;
}

static void on_ended(struct queue_member *m, struct str reason, struct str detail, void *data)
{
    assert_ptr_equal(data, &seen);
    assert_ptr_equal(m, seen.member);
    seen.ends++;
    (void)snprintf(seen.reason, sizeof seen.reason, "%.*s", STR_ARG(reason));
    (void)snprintf(seen.detail, sizeof seen.detail, "%.*s", STR_ARG(detail));
    assert_int_equal(queue_member_ack(m, 1, 1), -ESTALE);
    if (seen.watch_ended) {
        assert_int_equal(queue_client_watch(seen.client, on_operations, NULL), 0);
    }
    if (seen.close_ended) {
        queue_member_close(&seen.member);
    }
    if (seen.close_client) {
        queue_client_close(&seen.client);
    }
    seen.member = NULL;
}

static const struct queue_member_callbacks callbacks = { on_joined, on_delivery, on_settled,
                                                         on_lost,   on_ended,    &seen };

static int enter(void **state)
{
    const struct queue_client_callbacks none = { NULL, NULL, NULL };
    memset(&seen, 0, sizeof seen);
    queue_init();
    return loop_enter(state) ||
           queue_client_open(&loop, queue_endpoint(), NULL, &none, &seen.client);
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

static void disconnect(void)
{
    queue_down();
    LOOP_UNTIL(!queue_client_is_up(seen.client), LIMIT_MS);
}

static void reconnect(void)
{
    disconnect();
    connect_both();
}

static void join(uint32_t window, const struct queue_group *make)
{
    assert_int_equal(
        queue_client_join(seen.client, STR("mail"), window, make, &callbacks, &seen.member), 0);
}

// The JOIN that came as number i; its member, and its window in *ret_window.
static uint64_t heard_join(size_t i, uint32_t *ret_window)
{
    uint32_t fields;
    uint64_t member;
    struct str group;
    struct reader r = queue_heard(i, QUEUE_JOIN, &fields);
    assert_int_equal(queue_join_decode(&r, fields, &member, &group, ret_window), 0);
    assert_true(str_eq(group, STR("mail")));
    return member;
}

static const struct queue_settle *heard_settle(size_t i)
{
    static struct queue_settle f;
    uint32_t fields;
    struct reader r = queue_heard(i, QUEUE_SETTLE, &fields);
    assert_int_equal(queue_settle_decode(&r, fields, &f), 0);
    return &f;
}

// Waits for the JOIN, answers it, and forgets it. Returns the member's number.
static uint64_t let_join(void)
{
    uint32_t window;
    int before = seen.joins;
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    uint64_t member = heard_join(0, &window);
    queue.n = 0;
    queue_say_pair(QUEUE_JOINED, member, 0);
    LOOP_UNTIL(seen.joins == before + 1, LIMIT_MS);
    return member;
}

static uint64_t joined(uint32_t window)
{
    connect_both();
    join(window, NULL);
    return let_join();
}

static void deliver(uint64_t member, uint64_t first_seq, uint32_t n, uint32_t attempt)
{
    struct buf b;
    buf_init(&b, QUEUE_MAX_FRAME_BYTES);
    size_t mark = queue_deliver_begin(&b, member);
    for (uint32_t i = 0; i < n; i++) {
        const struct queue_delivery d = { first_seq + i, 5, attempt, STR("event") };
        queue_deliver_entry(&b, &d);
    }
    queue_deliver_end(&b, mark, n);
    queue_say(buf_str(&b));
    buf_fini(&b);
}

static void deliver_and_wait(uint64_t member, uint64_t first_seq, uint32_t n, uint32_t attempt)
{
    size_t before = seen.n;
    deliver(member, first_seq, n, attempt);
    LOOP_UNTIL(seen.n == before + n, LIMIT_MS);
}

static void assert_range(const struct queue_range *r, uint64_t first, uint64_t last,
                         uint32_t attempt, uint32_t events)
{
    assert_int_equal(r->first_seq, first);
    assert_int_equal(r->last_seq, last);
    assert_int_equal(r->attempt, attempt);
    assert_int_equal(r->events, events);
}

// What was sent has come, and nothing more: what the client says now comes behind it.
static void assert_no_more(size_t n)
{
    uint64_t token;
    queue_say_pair(QUEUE_PING, 99, 0);
    LOOP_UNTIL(queue.n > n, LIMIT_MS);
    assert_int_equal(queue.n, n + 1);
    assert_int_equal(queue_heard_pair(n, QUEUE_PONG, &token), 99);
    queue.n--;
}

// --- Joining

static void test_what_cannot_be_joined(void **state)
{
    (void)state;
    struct queue_member *m;
    char name[QUEUE_MAX_GROUP + 1];
    memset(name, 'g', sizeof name);
    const struct str bad[] = { STR(""), STR("A"), STR("a."), { name, sizeof name } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(queue_client_join(seen.client, bad[i], 1, NULL, &callbacks, &m), -EINVAL);
    }
    assert_int_equal(queue_client_join(seen.client, STR("a"), 0, NULL, &callbacks, &m), -EINVAL);
    assert_int_equal(
        queue_client_join(seen.client, STR("a"), QUEUE_CLIENT_MAX_WINDOW + 1, NULL, &callbacks, &m),
        -EINVAL);
    static char filter[4096];
    memset(filter, 'f', sizeof filter);
    const struct queue_group make = { .filters = { { filter, sizeof filter } }, .n_filters = 1 };
    assert_int_equal(queue_client_join(seen.client, STR("a"), 1, &make, &callbacks, &m), -EMSGSIZE);
    const struct str longest = { name, QUEUE_MAX_GROUP };
    for (int i = 0; i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        assert_int_equal(
            queue_client_join(seen.client, longest, QUEUE_CLIENT_MAX_WINDOW, NULL, &callbacks, &m),
            0);
    }
    struct queue_member *none = NULL;
    assert_int_equal(queue_client_join(seen.client, STR("a"), 1, NULL, &callbacks, &none), -ENOSPC);
    assert_null(none);
    queue_member_close(&m);
    assert_null(m);
    assert_int_equal(queue_client_join(seen.client, STR("a"), 1, NULL, &callbacks, &m), 0);
    queue_member_close(&m);
    queue_member_close(&m); // nothing left to close
}

static void test_joining_waits_for_the_queue(void **state)
{
    (void)state;
    uint32_t window;
    join(WINDOW, NULL);
    assert_int_equal(seen.joins, 0);
    connect_both();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    uint64_t member = heard_join(0, &window);
    assert_int_equal(window, WINDOW);
    deliver(member, 1, 1, 1);                    // before it was told that it has joined
    queue_say_pair(QUEUE_JOINED, member + 1, 0); // another's
    assert_no_more(1);
    assert_int_equal(seen.n, 0);
    assert_int_equal(seen.joins, 0);
    queue_say_pair(QUEUE_JOINED, member, 0);
    LOOP_UNTIL(seen.joins == 1, LIMIT_MS);
    queue_say_pair(QUEUE_JOINED, member, 0); // is told once
    assert_no_more(1);
    assert_int_equal(seen.joins, 1);
}

// The members of the map of a CALL, as text: in the order in which they are sent.
static void print_map(struct str map, char *out, size_t size)
{
    struct reader r = reader_of(map);
    uint32_t n, filters;
    size_t at = 0;
    assert_int_equal(reader_map(&r, &n), 0);
    for (uint32_t i = 0; i < n; i++) {
        struct str key, word;
        uint64_t number;
        assert_int_equal(reader_str(&r, &key), 0);
        at += (size_t)snprintf(out + at, size - at, "%.*s=", STR_ARG(key));
        if (reader_uint(&r, &number) == 0) {
            at += (size_t)snprintf(out + at, size - at, "%llu ", (unsigned long long)number);
        } else if (reader_str(&r, &word) == 0) {
            at += (size_t)snprintf(out + at, size - at, "%.*s ", STR_ARG(word));
        } else {
            assert_int_equal(reader_array(&r, &filters), 0);
            for (uint32_t k = 0; k < filters; k++) {
                assert_int_equal(reader_str(&r, &word), 0);
                at += (size_t)snprintf(out + at, size - at, "%.*s%c", STR_ARG(word),
                                       k + 1 < filters ? ',' : ' ');
            }
        }
        assert_true(at < size);
    }
    assert_int_equal(reader_left(&r), 0);
}

static uint64_t heard_make(size_t i, char *out, size_t size)
{
    uint32_t fields;
    uint64_t request;
    struct str method, map;
    struct reader r = queue_heard(i, QUEUE_CALL, &fields);
    assert_int_equal(queue_call_decode(&r, fields, &request, &method, &map), 0);
    assert_true(str_eq(method, STR("group-set")));
    print_map(map, out, size);
    return request;
}

static void say_result(uint64_t request)
{
    struct buf b;
    buf_init(&b, 100);
    queue_result_encode(&b, request, STR("\x80"));
    queue_say(buf_str(&b));
    buf_fini(&b);
}

static void test_the_group_is_made_once(void **state)
{
    (void)state;
    char filter[] = "a.*", text[400];
    const struct queue_group make = { .filters = { str_of(filter), STR("b.>") },
                                      .n_filters = 2,
                                      .from = QUEUE_FROM_SEQ,
                                      .from_value = 17,
                                      .order = QUEUE_ORDER_ALL,
                                      .ack_wait_ms = 100,
                                      .max_deliveries = 3,
                                      .backoff_ms = 4,
                                      .backoff_max_ms = 5,
                                      .max_pending = 6 };
    connect_both();
    join(WINDOW, &make);
    memset(filter, 'X', sizeof filter - 1); // the member must have its own
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    reconnect(); // before the answer: it is asked for again
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    uint64_t request = heard_make(0, text, sizeof text);
    assert_string_equal(text,
                        "group=mail from=seq order=all filters=a.*,b.> value=17 ack_wait_ms=100 "
                        "max_deliveries=3 backoff_ms=4 backoff_max_ms=5 max_pending=6 ");
    say_result(request + 100); // another's
    assert_no_more(1);         // it has not joined before the group is there
    queue.n = 0;
    say_result(request);
    (void)let_join();
    reconnect(); // what an operator changed meanwhile stays changed
    (void)let_join();
}

static void test_what_is_not_given_is_left_out(void **state)
{
    (void)state;
    char text[200];
    const struct queue_group make = { .from = QUEUE_FROM_END };
    connect_both();
    join(WINDOW, &make);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    (void)heard_make(0, text, sizeof text);
    assert_string_equal(text, "group=mail from=end order=key ");
}

static void test_a_refused_group_ends_the_member(void **state)
{
    (void)state;
    char text[200];
    const struct queue_group make = { .from = QUEUE_FROM_END };
    connect_both();
    join(WINDOW, &make);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    queue_say_word(QUEUE_REFUSED, heard_make(0, text, sizeof text), 0, "malformed",
                   "no such filter");
    LOOP_UNTIL(seen.ends == 1, LIMIT_MS);
    assert_string_equal(seen.reason, "malformed");
    assert_string_equal(seen.detail, "no such filter");
    reconnect();
    assert_no_more(0);
}

// --- Credit

static void test_the_window_is_kept(void **state)
{
    (void)state;
    uint64_t member = joined(3), last;
    uint32_t window;
    deliver(member, 1, 5, 1); // two more than it wanted: a queue that does not keep to the protocol
    deliver(member + 1, 20, 2, 1); // another's
    assert_no_more(0);
    assert_int_equal(seen.n, 3);
    assert_int_equal(queue_member_unsettled(seen.member), 3);
    deliver(member, 10, 1, 1);
    assert_no_more(0);
    assert_int_equal(seen.n, 3);
    deliver(member, 2, 1, 2); // in its hands: comes again with a higher attempt, and takes no room
    LOOP_UNTIL(seen.n == 4, LIMIT_MS);
    assert_int_equal(queue_member_unsettled(seen.member), 3);
    assert_int_equal(queue_member_ack(seen.member, 2, 1), -ESTALE);
    assert_int_equal(queue_member_ack(seen.member, 2, 2), 0);
    assert_int_equal(queue_member_unsettled(seen.member), 2);
    deliver_and_wait(member, 10, 1, 1); // there is room again
    assert_int_equal(seen.deliveries[4].seq, 10);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    last = heard_settle(0)->ranges[0].last_seq;
    assert_int_equal(last, 2);
    queue.n = 0;
    queue_member_set_window(seen.member, 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(heard_join(0, &window), member);
    assert_int_equal(window, 0);
    queue_say_pair(QUEUE_JOINED, member, 0);
    assert_no_more(1);
    assert_int_equal(seen.joins, 1);
    queue_member_set_window(seen.member, 100); // more than it has room for
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(heard_join(1, &window), member);
    assert_int_equal(window, 3);
    queue_member_set_window(seen.member, 2);
    LOOP_UNTIL(queue.n == 3, LIMIT_MS);
    reconnect();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(heard_join(0, &window), member);
    assert_int_equal(window, 2); // as it was wanted last
}

static void test_sequence_0_is_no_delivery(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    deliver(member, 0, 1, 1);
    assert_no_more(0);
    assert_int_equal(seen.n, 0);
    assert_int_equal(queue_member_ack(seen.member, 0, 1), -ESTALE);
    assert_int_equal(queue_member_ack(seen.member, 0, 0), -ESTALE);
}

// Every delivery is found again while others come and go, whatever the order.
static void test_a_large_window(void **state)
{
    (void)state;
    const uint32_t n = 30000;
    uint64_t member = joined(n);
    for (uint32_t i = 0; i < n; i += 1000) {
        deliver_and_wait(member, 1 + i * UINT64_C(7919), 1000, 1 + i % 3);
    }
    assert_int_equal(queue_member_unsettled(seen.member), n);
    uint32_t left = n;
    for (uint32_t step = 0; step < 7; step++) {
        for (uint32_t i = step; i < n; i += 7) {
            const struct queue_delivery *d = &seen.deliveries[i];
            assert_int_equal(queue_member_ack(seen.member, d->seq, d->attempt + 1), -ESTALE);
            assert_int_equal(queue_member_ack(seen.member, d->seq, d->attempt), 0);
            assert_int_equal(queue_member_ack(seen.member, d->seq, d->attempt), -ESTALE);
            assert_int_equal(queue_member_unsettled(seen.member), --left);
        }
    }
    // All of them arrive, 1024 ranges in a frame at most.
    uint32_t events = 0;
    size_t heard = 0;
    while (events < n) {
        LOOP_UNTIL(queue.n > heard, LIMIT_MS);
        const struct queue_settle *f = heard_settle(heard++);
        assert_true(f->n_ranges > 0 && f->n_ranges <= QUEUE_MAX_RANGES);
        for (size_t i = 0; i < f->n_ranges; i++) {
            events += f->ranges[i].events;
        }
    }
    assert_int_equal(events, n);
    assert_no_more(heard);
}

// --- Settling

static void test_one_turn_is_one_frame(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    deliver_and_wait(member, 1, 4, 1);
    deliver_and_wait(member, 6, 2, 1);
    deliver_and_wait(member, 5, 1, 2);
    static const uint64_t order[] = { 2, 3, 1, 4, 7, 6 };
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(queue_member_ack(seen.member, order[i], 1), 0);
    }
    assert_int_equal(queue_member_ack(seen.member, 5, 2), 0);
    assert_int_equal(queue.n, 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    const struct queue_settle *f = heard_settle(0);
    assert_int_equal(f->member, member);
    assert_int_equal(f->verdict, QUEUE_ACK);
    assert_int_equal(f->n_ranges, 3);
    assert_range(&f->ranges[0], 1, 4, 1, 4); // neighbours, in either direction
    assert_range(&f->ranges[1], 6, 7, 1, 2);
    assert_range(&f->ranges[2], 5, 5, 2, 1); // of another attempt
    assert_no_more(1);
    const struct queue_settled answer = { member, f->request, 6, 1, true };
    struct buf b;
    assert_true(f->request != 0);
    buf_init(&b, 100);
    queue_settled_encode(&b, &answer);
    queue_say(buf_str(&b));
    buf_fini(&b);
    LOOP_UNTIL(seen.settles == 1, LIMIT_MS);
    assert_int_equal(seen.settled.settled, 6);
    assert_int_equal(seen.settled.stale, 1);
    assert_true(seen.settled.durable);
}

static void test_every_verdict(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    char error[QUEUE_MAX_ERROR + 20];
    memset(error, 'e', sizeof error);
    deliver_and_wait(member, 1, 7, 1);
    assert_int_equal(queue_member_ack(seen.member, 1, 1), 0);
    assert_int_equal(queue_member_nak(seen.member, 2, 1, 500, STR("broken")), 0);
    assert_int_equal(queue_member_nak(seen.member, 3, 1, 500, STR("broken")), 0);
    assert_int_equal(queue_member_nak(seen.member, 4, 1, 501, STR("broken")), 0); // another delay
    assert_int_equal(queue_member_nak(seen.member, 5, 1, 501, STR("worse")), 0);  // another error
    assert_int_equal(queue_member_extend(seen.member, 6, 1), 0);
    assert_int_equal(queue_member_term(seen.member, 7, 1, (struct str){ error, sizeof error }), 0);
    assert_int_equal(queue_member_unsettled(seen.member), 1); // it is still at work
    assert_int_equal(queue_member_extend(seen.member, 6, 1), 0);
    assert_int_equal(queue_member_ack(seen.member, 6, 1), 0);
    LOOP_UNTIL(queue.n == 8, LIMIT_MS);
    static const struct {
        enum queue_verdict verdict;
        uint64_t delay_ms;
        const char *error;
        uint64_t first, last;
    } expected[] = { { QUEUE_ACK, 0, "", 1, 1 },         { QUEUE_NAK, 500, "broken", 2, 3 },
                     { QUEUE_NAK, 501, "broken", 4, 4 }, { QUEUE_NAK, 501, "worse", 5, 5 },
                     { QUEUE_EXTEND, 0, "", 6, 6 },      { QUEUE_TERM, 0, NULL, 7, 7 },
                     { QUEUE_EXTEND, 0, "", 6, 6 },      { QUEUE_ACK, 0, "", 6, 6 } };
    for (size_t i = 0; i < 8; i++) {
        const struct queue_settle *f = heard_settle(i);
        assert_int_equal(f->verdict, expected[i].verdict);
        assert_int_equal(f->delay_ms, expected[i].delay_ms);
        assert_int_equal(f->n_ranges, 1);
        assert_range(&f->ranges[0], expected[i].first, expected[i].last, 1,
                     (uint32_t)(expected[i].last - expected[i].first + 1));
        assert_true(expected[i].error ? str_eq(f->error, str_of(expected[i].error))
                                      : str_eq(f->error, (struct str){ error, QUEUE_MAX_ERROR }));
    }
    assert_no_more(8);
}

static void test_without_answers(void **state)
{
    (void)state;
    const struct queue_member_callbacks quiet = { NULL, on_delivery, NULL, NULL, on_ended, &seen };
    connect_both();
    assert_int_equal(
        queue_client_join(seen.client, STR("mail"), WINDOW, NULL, &quiet, &seen.member), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    uint32_t window;
    uint64_t member = heard_join(0, &window);
    queue_say_pair(QUEUE_JOINED, member, 0);
    seen.ack = true;
    deliver_and_wait(member, 1, 2, 1);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(heard_settle(1)->request, 0);
    struct buf b;
    buf_init(&b, 200);
    queue_lost_encode(&b, member, 1, 2); // nobody wants to know
    queue_say(buf_str(&b));
    buf_fini(&b);
    assert_no_more(2);
}

static void test_only_what_is_in_its_hands(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    deliver_and_wait(member, 1, 1, 3);
    assert_int_equal(queue_member_nak(seen.member, 1, 2, 0, STR("")), -ESTALE);
    assert_int_equal(queue_member_extend(seen.member, 2, 3), -ESTALE);
    assert_int_equal(queue_member_term(seen.member, 1, 4, STR("")), -ESTALE);
    assert_int_equal(queue_member_nak(seen.member, 1, 3, 0, STR("")), 0);
    assert_int_equal(queue_member_ack(seen.member, 1, 3), -ESTALE); // one verdict each
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_no_more(1);
    deliver_and_wait(member, 1, 1, 4);
    assert_int_equal(queue_member_ack(seen.member, 1, 4), 0);
}

static void test_what_is_lost(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    struct buf b;
    buf_init(&b, 100);
    queue_lost_encode(&b, member, 3, UINT64_MAX);
    queue_say(buf_str(&b));
    buf_fini(&b);
    LOOP_UNTIL(seen.lost_first == 3, LIMIT_MS);
    assert_true(seen.lost_last == UINT64_MAX);
}

// --- The queue goes away

static void test_nothing_of_before_a_reconnect(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    deliver_and_wait(member, 1, WINDOW, 1);
    assert_int_equal(queue_member_ack(seen.member, 1, 1), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    disconnect();
    assert_int_equal(queue_member_unsettled(seen.member), 0);
    assert_int_equal(queue_member_ack(seen.member, 2, 1), -ESTALE);
    assert_int_equal(queue_member_extend(seen.member, 3, 1), -ESTALE);
    connect_both();
    assert_int_equal(queue_member_ack(seen.member, 2, 1), -ESTALE);
    assert_int_equal(let_join(), member);
    assert_int_equal(queue_member_ack(seen.member, 2, 1), -ESTALE);
    deliver_and_wait(member, 2, WINDOW, 2); // the whole window is free
    assert_int_equal(queue_member_ack(seen.member, 2, 1), -ESTALE);
    assert_int_equal(queue_member_ack(seen.member, 2, 2), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_range(&heard_settle(0)->ranges[0], 2, 2, 2, 1);
    assert_no_more(1);
}

// What was settled and not sent is forgotten with the connection, and the queue delivers it again.
static void test_what_was_not_sent_is_forgotten(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    deliver_and_wait(member, 1, 2, 1);
    queue_down();
    assert_int_equal(queue_member_ack(seen.member, 1, 1), 0);
    LOOP_UNTIL(!queue_client_is_up(seen.client), LIMIT_MS);
    connect_both();
    (void)let_join();
    assert_no_more(0);
    deliver_and_wait(member, 1, 1, 2);
    assert_int_equal(queue_member_ack(seen.member, 1, 2), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(heard_settle(0)->n_ranges, 1);
}

static void test_a_queue_that_stops_ends_nothing(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    deliver_and_wait(member, 1, 2, 1);
    queue_say_word(QUEUE_ENDED, member, 0, "stopping", "");
    LOOP_UNTIL(queue_member_unsettled(seen.member) == 0, LIMIT_MS);
    assert_int_equal(queue_member_ack(seen.member, 1, 1), -ESTALE);
    assert_no_more(0);
    reconnect();
    assert_int_equal(let_join(), member);
    assert_int_equal(seen.ends, 0);
    deliver_and_wait(member, 1, 1, 2);
}

static void test_a_group_that_is_gone(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    deliver_and_wait(member, 1, 2, 1);
    assert_int_equal(queue_member_ack(seen.member, 1, 1), 0); // and is not sent any more
    seen.close_ended = true;
    queue_say_word(QUEUE_ENDED, member, 0, "no-such-group", "deleted");
    LOOP_UNTIL(seen.ends == 1, LIMIT_MS);
    assert_string_equal(seen.reason, "no-such-group");
    assert_string_equal(seen.detail, "deleted");
    deliver(member, 3, 1, 1);
    reconnect();
    assert_no_more(0);
    assert_int_equal(seen.n, 2);
}

// Whatever else the owner does with its client in on_ended, the member does not join again.
static void test_an_ended_member_stays_ended(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW), zero;
    seen.ack = seen.watch_ended = true;
    // In one turn: what it settles waits when it ends.
    deliver(member, 1, 2, 1);
    queue_say_word(QUEUE_ENDED, member, 0, "no-such-group", "");
    LOOP_UNTIL(seen.ends == 1, LIMIT_MS);
    LOOP_UNTIL(queue.n && queue.frames[queue.n - 1].type == QUEUE_WATCH, LIMIT_MS);
    (void)queue_heard_pair(queue.n - 1, QUEUE_WATCH, &zero);
    assert_no_more(queue.n);
    for (size_t i = 0; i < queue.n; i++) {
        assert_int_not_equal(queue.frames[i].type, QUEUE_JOIN);
    }
}

// --- Closing

static void test_leaving(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW), zero;
    deliver_and_wait(member, 1, 3, 1);
    assert_int_equal(queue_member_ack(seen.member, 1, 1), 0);
    queue_member_close(&seen.member);
    assert_null(seen.member);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_range(&heard_settle(0)->ranges[0], 1, 1, 1, 1); // what was settled goes before
    assert_int_equal(queue_heard_pair(1, QUEUE_LEAVE, &zero), member);
    deliver(member, 4, 1, 1); // was on its way
    assert_no_more(2);
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.ends, 0);
}

static void test_leaving_before_it_has_joined(void **state)
{
    (void)state;
    uint64_t zero;
    uint32_t window;
    join(WINDOW, NULL);
    queue_member_close(&seen.member); // before the queue was there: it never hears of it
    connect_both();
    assert_no_more(0);
    join(WINDOW, NULL);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    uint64_t member = heard_join(0, &window);
    queue_member_close(&seen.member);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(queue_heard_pair(1, QUEUE_LEAVE, &zero), member);
    queue_say_pair(QUEUE_JOINED, member, 0);
    assert_no_more(2);
    assert_int_equal(seen.joins, 0);
}

static void test_closing_in_a_callback(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW), zero;
    seen.ack = seen.close_member = true;
    deliver(member, 1, 5, 1);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(seen.n, 1); // the rest of the frame is not handed out
    assert_int_equal(heard_settle(0)->n_ranges, 1);
    assert_int_equal(queue_heard_pair(1, QUEUE_LEAVE, &zero), member);
    seen.close_member = false;
    seen.close_when_joined = true;
    queue.n = 0;
    join(WINDOW, NULL);
    (void)let_join();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(queue.frames[0].type, QUEUE_LEAVE);
    seen.close_when_joined = false;
    queue.n = 0;
    join(WINDOW, NULL);
    member = let_join();
    seen.close_client = true;
    deliver(member, 1, 5, 1);
    LOOP_UNTIL(!seen.client, LIMIT_MS);
    assert_int_equal(seen.n, 2);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS); // what it had settled arrives all the same
    assert_int_equal(queue.frames[0].type, QUEUE_SETTLE);
    assert_int_equal(queue.frames[1].type, QUEUE_LEAVE);
}

static void test_closing_the_client_when_it_ends(void **state)
{
    (void)state;
    uint64_t member = joined(WINDOW);
    seen.close_client = true;
    queue_say_word(QUEUE_REFUSED, member, 0, "no-such-group", "");
    LOOP_UNTIL(seen.ends == 1, LIMIT_MS);
    assert_null(seen.client);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    const struct CMUnitTest tests[] = {
        CASE(test_what_cannot_be_joined),
        CASE(test_joining_waits_for_the_queue),
        CASE(test_the_group_is_made_once),
        CASE(test_what_is_not_given_is_left_out),
        CASE(test_a_refused_group_ends_the_member),
        CASE(test_the_window_is_kept),
        CASE(test_sequence_0_is_no_delivery),
        CASE(test_a_large_window),
        CASE(test_one_turn_is_one_frame),
        CASE(test_every_verdict),
        CASE(test_without_answers),
        CASE(test_only_what_is_in_its_hands),
        CASE(test_what_is_lost),
        CASE(test_nothing_of_before_a_reconnect),
        CASE(test_what_was_not_sent_is_forgotten),
        CASE(test_a_queue_that_stops_ends_nothing),
        CASE(test_a_group_that_is_gone),
        CASE(test_an_ended_member_stays_ended),
        CASE(test_leaving),
        CASE(test_leaving_before_it_has_joined),
        CASE(test_closing_in_a_callback),
        CASE(test_closing_the_client_when_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
