// SPDX-License-Identifier: MIT
// What watchers are told of the queue's work, over a real socket: everything, in order, once, with the right numbers; and
// what one of them cannot be told is counted, costs the others nothing and nobody any memory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/operations.h"

#include "common/clock.h"
#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

#include <czmq.h>
#include <errno.h>
#include <stdio.h>

#define LIMIT_MS 10000 // for what takes milliseconds: a machine may be busy
#define WATCHERS 3

// Who watches: a DEALER of its own.
struct ear {
    struct zsocket *socket;
    struct client *client; // what the queue's side knows of it
    uint64_t subscription, dropped;
    struct queue_operation seen[2 * QUEUE_MAX_BATCH]; // without their strings
    char what[2 * QUEUE_MAX_BATCH][16];
    char group[2 * QUEUE_MAX_BATCH][16];
    size_t n, frames;
};

static struct zsocket *router;
static struct clients clients;
static struct operations operations;
static struct ear ears[WATCHERS];
static int readies;

static void on_ready(void *data)
{
    assert_ptr_equal(data, &readies);
    readies++;
}

static void on_heard(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct ear *ear = data;
    struct reader r = reader_of(message);
    enum queue_frame_type type;
    uint32_t fields;
    struct queue_operations f;
    (void)s, (void)peer, (void)fd;
    assert_int_equal(queue_frame_open(&r, &type, &fields), 0);
    if (type == QUEUE_PING) {
        return; // it does not say how far it is
    }
    assert_int_equal(type, QUEUE_OPERATIONS);
    assert_int_equal(queue_operations_decode(&r, fields, &f), 0);
    assert_true(f.count > 0);
    ear->frames++;
    ear->subscription = f.subscription;
    ear->dropped += f.dropped;
    struct queue_operation o;
    while (queue_operations_next(&f, &o) == 1) {
        assert_true(ear->n < 2 * QUEUE_MAX_BATCH);
        (void)snprintf(ear->what[ear->n], 16, "%.*s", STR_ARG(o.what));
        (void)snprintf(ear->group[ear->n], 16, "%.*s", STR_ARG(o.group));
        ear->seen[ear->n++] = o;
    }
    assert_int_equal(f.left, 0);
}

static void on_connected(struct zsocket *s, void *data)
{
    const char i = (char)((struct ear *)data - ears);
    assert_int_equal(zsocket_send(s, 0, (struct str){ &i, 1 }), 0);
}

// The first message of an ear makes it known.
static void on_hello(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    (void)s, (void)data;
    assert_true(message.n == 1 && message.p[0] < WATCHERS);
    ears[(size_t)message.p[0]].client = clients_add(&clients, peer, fd);
}

static int enter(void **state)
{
    if (loop_enter(state)) {
        return -1;
    }
    static char endpoint[128];
    const struct zsocket_options options = { .type = ZSOCKET_ROUTER, .max_message_bytes = 1000 };
    const struct zsocket_callbacks callbacks = { .on_message = on_hello };
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/queue.sock", temp_dir());
    memset(ears, 0, sizeof ears);
    readies = 0;
    int status = zsocket_open(&loop, &options, &callbacks, &router);
    status = status ? status : zsocket_bind(router, endpoint);
    clients_init(&clients, router);
    operations_init(&operations, &clients, on_ready, &readies);
    for (char i = 0; status == 0 && i < WATCHERS; i++) {
        struct ear *ear = &ears[(size_t)i];
        const struct zsocket_options dealer = { .type = ZSOCKET_DEALER,
                                                .max_message_bytes = QUEUE_MAX_FRAME_BYTES };
        const struct zsocket_callbacks hears = { on_heard, on_connected, NULL, ear };
        status = zsocket_open(&loop, &dealer, &hears, &ear->socket);
        status = status ? status : zsocket_connect(ear->socket, endpoint);
    }
    return status;
}

static int leave(void **state)
{
    operations_fini(&operations);
    clients_fini(&clients);
    zsocket_close(&router, 0);
    for (size_t i = 0; i < WATCHERS; i++) {
        zsocket_close(&ears[i].socket, 0);
    }
    return loop_leave(state);
}

static void wait_for_all(void)
{
    LOOP_UNTIL(ears[0].client && ears[1].client && ears[2].client, LIMIT_MS);
}

// Operation number i, all of whose numbers follow from i.
static struct queue_operation operation(uint64_t i)
{
    return (struct queue_operation){ .what = i % 2 ? STR("ack") : STR("deliver"),
                                     .group = i % 2 ? STR("mail") : STR(""),
                                     .client = 1000 + i,
                                     .first_seq = i,
                                     .last_seq = i + 2,
                                     .attempt = 1 + (uint32_t)i % 5,
                                     .events = 3,
                                     .took_us = 7 * i };
}

static void tell(uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        operations_tell(&operations, operation(i));
    }
}

// The ear's entries from at on are the operations [from, to).
static void assert_heard(const struct ear *ear, size_t at, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++, at++) {
        const struct queue_operation *o = &ear->seen[at], expected = operation(i);
        assert_true(at < ear->n);
        assert_string_equal(ear->what[at], i % 2 ? "ack" : "deliver");
        assert_string_equal(ear->group[at], i % 2 ? "mail" : "");
        assert_int_equal(o->client, expected.client);
        assert_int_equal(o->first_seq, expected.first_seq);
        assert_int_equal(o->last_seq, expected.last_seq);
        assert_int_equal(o->attempt, expected.attempt);
        assert_int_equal(o->events, expected.events);
        assert_int_equal(o->took_us, expected.took_us);
    }
}

// --- Cases

static void test_nobody_watches(void **state)
{
    (void)state;
    wait_for_all();
    assert_false(operations_are_heard(&operations));
    tell(1, 100);
    operations_flush(&operations);
    assert_int_equal(readies, 0);
    assert_int_equal(operations.entries.len, 0);
    assert_int_equal(operations_watch(&operations, ears[0].client, 5), 0);
    operations_flush(&operations); // what was before it watched is not for it
    tell(100, 101);
    operations_flush(&operations);
    LOOP_UNTIL(ears[0].n, LIMIT_MS);
    assert_int_equal(ears[0].n, 1);
    assert_int_equal(ears[0].dropped, 0);
    assert_heard(&ears[0], 0, 100, 101);
}

static void test_all_are_told(void **state)
{
    (void)state;
    wait_for_all();
    assert_int_equal(operations_watch(&operations, ears[0].client, 5), 0);
    assert_int_equal(operations_watch(&operations, ears[1].client, 6), 0);
    assert_true(operations_are_heard(&operations));
    int64_t before_ms = clock_wall_ms();
    tell(1, 8);
    assert_int_equal(readies, 1); // once for all of a turn
    operations_flush(&operations);
    tell(8, 11);
    assert_int_equal(readies, 2);
    operations_flush(&operations);
    operations_flush(&operations); // nothing to say
    LOOP_UNTIL(ears[0].n >= 10 && ears[1].n >= 10, LIMIT_MS);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ears[i].n, 10);
        assert_int_equal(ears[i].frames, 2);
        assert_int_equal(ears[i].subscription, 5 + i);
        assert_int_equal(ears[i].dropped, 0);
        assert_heard(&ears[i], 0, 1, 11);
        for (size_t k = 0; k < 10; k++) {
            assert_true(ears[i].seen[k].at_ms >= before_ms &&
                        ears[i].seen[k].at_ms <= clock_wall_ms());
        }
    }
    assert_int_equal(ears[2].frames, 0);
}

static void test_too_many_in_one_turn_are_counted(void **state)
{
    (void)state;
    wait_for_all();
    assert_int_equal(operations_watch(&operations, ears[0].client, 5), 0);
    tell(0, QUEUE_MAX_BATCH + 7);
    operations_flush(&operations);
    LOOP_UNTIL(ears[0].frames == 1, LIMIT_MS);
    assert_int_equal(ears[0].n, QUEUE_MAX_BATCH);
    assert_heard(&ears[0], 0, 0, QUEUE_MAX_BATCH);
    assert_int_equal(ears[0].dropped, 7);
    tell(1, 2); // and counted once
    operations_flush(&operations);
    LOOP_UNTIL(ears[0].frames == 2, LIMIT_MS);
    assert_int_equal(ears[0].dropped, 7);
    assert_heard(&ears[0], QUEUE_MAX_BATCH, 1, 2);
}

// Long names fill the turn's buffer before its number of entries does.
static void test_bytes_of_one_turn_are_limited(void **state)
{
    (void)state;
    wait_for_all();
    assert_int_equal(operations_watch(&operations, ears[0].client, 5), 0);
    char name[QUEUE_MAX_FRAME_BYTES / 16];
    memset(name, 'g', sizeof name);
    struct queue_operation large = operation(1);
    large.group = (struct str){ name, OPERATIONS_TURN_BYTES / 2 - 200 };
    for (int i = 0; i < 3; i++) {
        operations_tell(&operations, large); // the third does not fit
    }
    tell(4, 5); // what does fit is told all the same
    assert_true(operations.entries.len <= OPERATIONS_TURN_BYTES);
    operations_flush(&operations);
    LOOP_UNTIL(ears[0].frames == 1, LIMIT_MS);
    assert_int_equal(ears[0].n, 3);
    assert_int_equal(ears[0].dropped, 1);
    assert_heard(&ears[0], 2, 4, 5);
}

static void test_who_does_not_read_is_passed_over(void **state)
{
    (void)state;
    wait_for_all();
    assert_int_equal(operations_watch(&operations, ears[0].client, 5), 0);
    assert_int_equal(operations_watch(&operations, ears[1].client, 6), 0);
    ears[0].client->sent += CLIENTS_WINDOW_BYTES; // so much is on its way to it
    tell(1, 4);
    operations_flush(&operations);
    tell(4, 6);
    operations_flush(&operations);
    LOOP_UNTIL(ears[1].n == 5, LIMIT_MS);
    assert_heard(&ears[1], 0, 1, 6);
    assert_int_equal(ears[1].dropped, 0);
    assert_int_equal(ears[0].frames, 0);
    ears[0].client->sent -= CLIENTS_WINDOW_BYTES; // it has read
    tell(6, 8);
    operations_flush(&operations);
    LOOP_UNTIL(ears[0].n == 2, LIMIT_MS);
    assert_heard(&ears[0], 0, 6, 8);
    assert_int_equal(ears[0].dropped, 5);
    tell(8, 9);
    operations_flush(&operations);
    LOOP_UNTIL(ears[0].n == 3 && ears[1].n == 8, LIMIT_MS);
    assert_int_equal(ears[0].dropped, 5);
    assert_int_equal(ears[1].dropped, 0);
}

static void test_watches_end(void **state)
{
    (void)state;
    wait_for_all();
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(operations_watch(&operations, ears[i].client, 5), 0);
    }
    assert_int_equal(operations_watch(&operations, ears[0].client, 6), 0); // a second one
    assert_false(operations_unwatch(&operations, ears[1].client, 6));      // is another's
    assert_true(operations_unwatch(&operations, ears[1].client, 5));
    assert_false(operations_unwatch(&operations, ears[1].client, 5));
    operations_forget(&operations, ears[0].client);
    assert_int_equal(operations.n, 1);
    tell(1, 3);
    operations_flush(&operations);
    LOOP_UNTIL(ears[2].n == 2, LIMIT_MS);
    loop_for(20);
    assert_int_equal(ears[0].n + ears[1].n, 0);
    tell(3, 4);
    operations_forget(&operations, ears[2].client); // what waits goes with the last one
    assert_false(operations_are_heard(&operations));
    assert_int_equal(operations.n_entries, 0);
    assert_int_equal(operations_watch(&operations, ears[1].client, 9), 0);
    tell(4, 5);
    operations_flush(&operations);
    LOOP_UNTIL(ears[1].n, LIMIT_MS);
    assert_int_equal(ears[1].n, 1);
    assert_heard(&ears[1], 0, 4, 5);
    assert_int_equal(ears[1].subscription, 9);
}

static void test_watchers_are_limited(void **state)
{
    (void)state;
    wait_for_all();
    for (uint64_t i = 0; i < OPERATIONS_MAX_WATCHERS; i++) {
        assert_int_equal(operations_watch(&operations, ears[0].client, i), 0);
    }
    assert_int_equal(operations_watch(&operations, ears[1].client, 1), -ENOSPC);
    assert_true(operations_unwatch(&operations, ears[0].client, 7));
    assert_int_equal(operations_watch(&operations, ears[1].client, 1), 0);
    assert_int_equal(operations_watch(&operations, ears[2].client, 1), -ENOSPC);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    const struct CMUnitTest tests[] = {
        CASE(test_nobody_watches),
        CASE(test_all_are_told),
        CASE(test_too_many_in_one_turn_are_counted),
        CASE(test_bytes_of_one_turn_are_limited),
        CASE(test_who_does_not_read_is_passed_over),
        CASE(test_watches_end),
        CASE(test_watchers_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
