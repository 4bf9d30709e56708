// SPDX-License-Identifier: MIT
// Publishing with the C client, single events and batches, against a queue that this test plays: each is told its own
// sequence, once, in order; nothing that has no answer is forgotten or overtaken over a reconnect; and what waits is bounded.
#include "common/queue_client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <czmq.h>

#include "tests/unit/loop.h"
#include "tests/unit/played_queue.h"

#define LIMIT_MS PLAYED_QUEUE_LIMIT_MS
#define MAX_ENDS (QUEUE_CLIENT_MAX_EVENTS + 8)

static struct {
    struct queue_client *client;
    struct {
        int status;
        uint64_t seq; // of a batch: its first
        bool durable;
        uintptr_t data;
    } ends[MAX_ENDS]; // in the order in which they came
    size_t n;
    char detail[80];
    int rooms;
    bool publish_more; // from the callback
    bool close_client; // in it
} seen;

static void on_room(struct queue_client *c, void *data)
{
    assert_ptr_equal(c, seen.client);
    assert_ptr_equal(data, &seen);
    seen.rooms++;
}

static int publish_event(size_t data_bytes, uintptr_t mark);

static void on_stored(int status, uint64_t seq, bool durable, struct str detail, void *data)
{
    assert_true(seen.n < MAX_ENDS);
    assert_true(status == 0 || (seq == 0 && !durable));
    seen.ends[seen.n].status = status;
    seen.ends[seen.n].seq = seq;
    seen.ends[seen.n].durable = durable;
    seen.ends[seen.n++].data = (uintptr_t)data;
    (void)snprintf(seen.detail, sizeof seen.detail, "%.*s", STR_ARG(detail));
    if (seen.publish_more) {
        seen.publish_more = false;
        assert_int_equal(publish_event(0, 1000), 0);
    }
    if (seen.close_client) {
        queue_client_close(&seen.client);
    }
}

static void on_published(int status, const struct queue_published *answer, struct str detail,
                         void *data)
{
    on_stored(status, answer ? answer->first_seq : 0, answer && answer->durable, detail, data);
}

static int publish_event(size_t data_bytes, uintptr_t mark)
{
    static char data[QUEUE_MAX_EVENT_BYTES + 100];
    const struct event e = {
        .topic = STR("a.b"), .id = STR("id"), .time_ms = (int64_t)mark, .data = { data, data_bytes }
    };
    return queue_client_publish_event(seen.client, &e, on_stored, (void *)mark);
}

// A batch of a producer: two entries, with that much in the first.
static int publish_batch(size_t bytes, uintptr_t mark)
{
    static char data[QUEUE_MAX_EVENT_BYTES];
    struct buf b;
    buf_init(&b, QUEUE_MAX_FRAME_BYTES);
    uint64_t request = queue_client_next_request(seen.client);
    queue_publish_begin(&b, request, STR("store"), 2);
    queue_publish_entry(&b, 2 * mark, (struct str){ data, bytes });
    queue_publish_entry(&b, 2 * mark + 1, STR("second"));
    assert_true(buf_ok(&b));
    int status =
        queue_client_publish(seen.client, request, buf_str(&b), on_published, (void *)mark);
    memset(b.data, 'X', b.len); // the client must have its own
    buf_fini(&b);
    return status;
}

static int enter(void **state)
{
    const struct queue_client_callbacks callbacks = { NULL, NULL, &seen };
    memset(&seen, 0, sizeof seen);
    queue_init();
    int status = loop_enter(state) ||
                 queue_client_open(&loop, queue_endpoint(), NULL, &callbacks, &seen.client);
    queue_client_set_on_room(seen.client, on_room);
    return status;
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
    connect_both();
}

static const struct queue_publish *heard(size_t i)
{
    static struct queue_publish f;
    uint32_t fields;
    struct reader r = queue_heard(i, QUEUE_PUBLISH, &fields);
    assert_int_equal(queue_publish_decode(&r, fields, &f), 0);
    return &f;
}

// The mark that the event was published with.
static int64_t mark_of(struct str event)
{
    struct event e;
    assert_int_equal(event_decode(event, &e), 0);
    return e.time_ms;
}

static void answer(uint64_t request, uint64_t first_seq, uint32_t stored, uint32_t duplicates,
                   bool durable)
{
    const struct queue_published f = { .request = request,
                                       .first_seq = stored ? first_seq : 0,
                                       .last_seq = first_seq + stored - 1,
                                       .stored = stored,
                                       .duplicates = duplicates,
                                       .durable = durable };
    struct buf b;
    buf_init(&b, 100);
    queue_published_encode(&b, &f);
    queue_say(buf_str(&b));
    buf_fini(&b);
}

// --- Single events

static void test_one_turn_is_one_frame(void **state)
{
    (void)state;
    connect_both();
    for (uintptr_t i = 0; i < 5; i++) {
        assert_int_equal(publish_event(10, i), 0);
    }
    assert_int_equal(queue.n, 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(publish_event(10, 5), 0);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    const struct queue_publish *f = heard(0);
    uint64_t request = f->request;
    assert_null(f->producer.p);
    assert_int_equal(f->n_entries, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(f->entries[i].producer_seq, 0);
        assert_int_equal(mark_of(f->entries[i].event), i);
    }
    f = heard(1);
    assert_int_equal(f->n_entries, 1);
    answer(f->request, 46, 1, 0, false);
    LOOP_UNTIL(seen.n == 1, LIMIT_MS); // whichever is answered is told
    assert_int_equal(seen.ends[0].data, 5);
    assert_int_equal(seen.ends[0].seq, 46);
    assert_false(seen.ends[0].durable);
    answer(request, 41, 5, 0, true);
    answer(request, 41, 5, 0, true); // once
    answer(request + 100, 50, 1, 0, true);
    LOOP_UNTIL(seen.n == 6, LIMIT_MS);
    for (uintptr_t i = 0; i < 5; i++) {
        assert_int_equal(seen.ends[1 + i].status, 0);
        assert_int_equal(seen.ends[1 + i].data, i);
        assert_int_equal(seen.ends[1 + i].seq, 41 + i);
        assert_true(seen.ends[1 + i].durable);
    }
    loop_for(20);
    assert_int_equal(seen.n, 6);
}

static void test_what_cannot_be_published(void **state)
{
    (void)state;
    char key[QUEUE_MAX_KEY + 1];
    memset(key, 'k', sizeof key);
    const struct str topics[] = { STR(""), STR("A"), STR("$dead.mail"), STR("a.*") };
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        const struct event e = { .topic = topics[i] };
        assert_int_equal(queue_client_publish_event(seen.client, &e, on_stored, NULL), -EINVAL);
    }
    struct event e = { .topic = STR("a"), .key = { key, sizeof key } };
    assert_int_equal(queue_client_publish_event(seen.client, &e, on_stored, NULL), -EINVAL);
    e.key.n = QUEUE_MAX_KEY;
    assert_int_equal(queue_client_publish_event(seen.client, &e, on_stored, NULL), 0);
    size_t most = QUEUE_MAX_EVENT_BYTES;
    while (publish_event(most, 1) == -EMSGSIZE) {
        most--;
    }
    assert_true(most > QUEUE_MAX_EVENT_BYTES - 100);
    assert_int_equal(publish_event(QUEUE_MAX_EVENT_BYTES + 100, 1), -EMSGSIZE);
    connect_both(); // what was refused left nothing behind
    LOOP_UNTIL(queue.n >= 1, LIMIT_MS);
    assert_int_equal(heard(0)->n_entries, 2);
    assert_int_equal(heard(0)->entries[1].event.n, QUEUE_MAX_EVENT_BYTES);
}

static void test_a_turn_with_much_is_several_frames(void **state)
{
    (void)state;
    connect_both();
    for (uintptr_t i = 0; i < QUEUE_MAX_BATCH + 3; i++) {
        assert_int_equal(publish_event(10, i), 0);
    }
    for (uintptr_t i = 0; i < 9; i++) { // 1 MiB each
        assert_int_equal(publish_event(QUEUE_MAX_EVENT_BYTES - 100, 2000 + i), 0);
    }
    size_t events = 0, frames = 0;
    int64_t last = -1;
    while (events < QUEUE_MAX_BATCH + 3 + 9) {
        LOOP_UNTIL(queue.n > frames, LIMIT_MS);
        const struct queue_publish *f = heard(frames);
        assert_true(queue.frames[frames].n <= QUEUE_MAX_FRAME_BYTES);
        assert_true(f->n_entries <= QUEUE_MAX_BATCH);
        for (size_t i = 0; i < f->n_entries; i++, events++) {
            int64_t mark = mark_of(f->entries[i].event);
            assert_true(mark > last); // in the order of the calls
            last = mark;
        }
        frames++;
    }
    assert_true(frames >= 10);
}

static void test_a_refused_frame(void **state)
{
    (void)state;
    connect_both();
    assert_int_equal(publish_event(1, 1), 0);
    assert_int_equal(publish_event(1, 2), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(publish_event(1, 3), 0);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    uint64_t second = heard(1)->request;
    queue_say_word(QUEUE_REFUSED, heard(0)->request, 0, "disk-full", "no room");
    LOOP_UNTIL(seen.n == 2, LIMIT_MS);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(seen.ends[i].status, -ENOSPC);
        assert_int_equal(seen.ends[i].data, i + 1);
    }
    assert_string_equal(seen.detail, "no room");
    queue_say_word(QUEUE_REFUSED, second, 0, "stopping", ""); // is asked again
    reconnect();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(heard(0)->request, second);
    queue_say_word(QUEUE_REFUSED, second, 0, "invalid-topic", "bad");
    LOOP_UNTIL(seen.n == 3, LIMIT_MS);
    assert_int_equal(seen.ends[2].status, -EBADMSG);
}

// An answer that does not count what was sent tells nobody a sequence that is another's.
static void test_an_answer_that_does_not_fit(void **state)
{
    (void)state;
    connect_both();
    for (uintptr_t i = 1; i <= 3; i++) {
        assert_int_equal(publish_event(1, i), 0);
    }
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    answer(heard(0)->request, 10, 2, 1, true);
    LOOP_UNTIL(seen.n == 3, LIMIT_MS);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(seen.ends[i].status, 0);
        assert_int_equal(seen.ends[i].seq, 0);
    }
}

static void test_publishing_in_a_callback(void **state)
{
    (void)state;
    connect_both();
    assert_int_equal(publish_event(1, 1), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    seen.publish_more = true;
    answer(heard(0)->request, 1, 1, 0, true);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(mark_of(heard(1)->entries[0].event), 1000);
    answer(heard(1)->request, 2, 1, 0, true);
    LOOP_UNTIL(seen.n == 2, LIMIT_MS);
    assert_int_equal(seen.ends[1].seq, 2);
}

// --- Batches

static void test_batches_and_events_keep_their_order(void **state)
{
    (void)state;
    connect_both();
    assert_int_equal(publish_event(1, 1), 0);
    assert_int_equal(publish_batch(5, 2), 0); // has what was gathered sent before it
    assert_int_equal(publish_event(1, 3), 0);
    assert_int_equal(publish_event(1, 4), 0);
    LOOP_UNTIL(queue.n == 3, LIMIT_MS);
    assert_null(heard(0)->producer.p);
    const struct queue_publish *f = heard(1);
    assert_true(str_eq(f->producer, STR("store")));
    assert_int_equal(f->n_entries, 2);
    assert_int_equal(f->entries[0].producer_seq, 4);
    assert_true(str_eq(f->entries[1].event, STR("second")));
    uint64_t request = f->request;
    assert_int_equal(heard(2)->n_entries, 2);
    answer(request, 7, 2, 0, true);
    LOOP_UNTIL(seen.n == 1, LIMIT_MS);
    assert_int_equal(seen.ends[0].data, 2);
    assert_int_equal(seen.ends[0].seq, 7);
    assert_true(seen.ends[0].durable);
}

// --- Reconnecting

static void test_what_has_no_answer_is_sent_again(void **state)
{
    (void)state;
    assert_int_equal(publish_event(1, 1), 0); // before the queue was ever there
    connect_both();
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(publish_batch(5, 2), 0);
    LOOP_UNTIL(queue.n == 2, LIMIT_MS);
    assert_int_equal(publish_event(1, 3), 0);
    LOOP_UNTIL(queue.n == 3, LIMIT_MS);
    uint64_t first = heard(0)->request, second = heard(1)->request, third = heard(2)->request;
    answer(first, 1, 1, 0, true);
    LOOP_UNTIL(seen.n == 1, LIMIT_MS);
    queue_down();
    LOOP_UNTIL(!queue_client_is_up(seen.client), LIMIT_MS);
    assert_int_equal(publish_event(1, 4), 0);
    assert_int_equal(publish_batch(5, 5), 0);
    for (int round = 0; round < 2; round++) { // and again, if that was in vain
        connect_both();
        LOOP_UNTIL(queue.n == 4, LIMIT_MS);
        assert_int_equal(heard(0)->request, second);
        assert_int_equal(heard(0)->entries[0].producer_seq,
                         4); // as it was: the queue knows it again
        assert_int_equal(heard(1)->request, third);
        assert_int_equal(mark_of(heard(2)->entries[0].event), 4);
        assert_int_equal(heard(3)->entries[0].producer_seq, 10);
        if (round == 0) {
            queue_down();
            LOOP_UNTIL(!queue_client_is_up(seen.client), LIMIT_MS);
        }
    }
    answer(second, 0, 0, 2, true); // was stored the first time
    answer(third, 5, 1, 0, true);
    LOOP_UNTIL(seen.n == 3, LIMIT_MS);
    assert_int_equal(seen.ends[1].status, 0);
    assert_int_equal(seen.ends[1].seq, 0);
    assert_int_equal(seen.ends[2].seq, 5);
    loop_for(600); // two ticks: nothing is sent a second time on one connection
    assert_int_equal(queue.n, 4);
}

// --- Bounds

static void test_events_are_limited(void **state)
{
    (void)state;
    uintptr_t n = 0;
    while (publish_event(1, n) == 0) {
        n++;
        assert_true(n <= QUEUE_CLIENT_MAX_EVENTS);
    }
    assert_int_equal(n, QUEUE_CLIENT_MAX_EVENTS);
    assert_int_equal(publish_event(1, n), -EAGAIN);
    assert_int_equal(publish_batch(1, n), -EAGAIN);
    connect_both();
    uint64_t next_seq = 1;
    size_t frames = 0;
    assert_int_equal(seen.rooms, 0);
    while (seen.n < QUEUE_CLIENT_MAX_EVENTS) {
        LOOP_UNTIL(queue.n > frames, LIMIT_MS);
        const struct queue_publish *f = heard(frames++);
        uint32_t stored = (uint32_t)f->n_entries;
        size_t before = seen.n;
        answer(f->request, next_seq, stored, 0, true);
        next_seq += stored;
        LOOP_UNTIL(seen.n == before + stored, LIMIT_MS);
        assert_int_equal(seen.rooms, seen.n >= QUEUE_CLIENT_MAX_EVENTS / 2); // once, at half
    }
    for (size_t i = 0; i < seen.n; i++) {
        assert_int_equal(seen.ends[i].data, i);
        assert_int_equal(seen.ends[i].seq, i + 1);
    }
    assert_int_equal(publish_event(1, 0), 0);
}

static void test_bytes_are_limited(void **state)
{
    (void)state;
    const size_t large = QUEUE_MAX_EVENT_BYTES - 200;
    size_t n = 0;
    while (publish_batch(large, n + 1) == 0) {
        n++;
        assert_true(n * large <= QUEUE_CLIENT_MAX_PUBLISH_BYTES);
    }
    assert_true((n + 1) * QUEUE_MAX_EVENT_BYTES > QUEUE_CLIENT_MAX_PUBLISH_BYTES);
    assert_int_equal(publish_event(large, 1), -EAGAIN); // counts the bytes of both
    size_t small = 0;
    while (publish_event(100, 0) == 0) {
        small++;
        assert_true(small <= QUEUE_MAX_EVENT_BYTES / 50);
    }
    assert_int_equal(seen.rooms, 0);
    queue_client_close(&seen.client); // each is told, once
    assert_int_equal(seen.n, n + small);
    for (size_t i = 0; i < seen.n; i++) {
        assert_int_equal(seen.ends[i].status, -ECANCELED);
    }
    assert_int_equal(seen.rooms, 0);
}

static void test_frames_are_limited(void **state)
{
    (void)state;
    for (uintptr_t i = 0; i < QUEUE_CLIENT_MAX_PUBLISHES; i++) {
        assert_int_equal(publish_batch(1, i + 1), 0);
    }
    assert_int_equal(publish_batch(1, 1), -EAGAIN);
    assert_int_equal(publish_event(1, 1), -EAGAIN);
    connect_both();
    LOOP_UNTIL(queue.n == QUEUE_CLIENT_MAX_PUBLISHES, LIMIT_MS);
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_PUBLISHES / 2; i++) {
        assert_int_equal(seen.rooms, 0);
        answer(heard(i)->request, 2 * i + 1, 2, 0, true);
        LOOP_UNTIL(seen.n == i + 1, LIMIT_MS);
    }
    assert_int_equal(seen.rooms, 1);
    assert_int_equal(publish_batch(1, 1), 0);
}

static void test_closing(void **state)
{
    (void)state;
    connect_both();
    assert_int_equal(publish_event(1, 1), 0);
    LOOP_UNTIL(queue.n == 1, LIMIT_MS);
    assert_int_equal(publish_event(1, 2), 0); // is gathered only
    assert_int_equal(publish_batch(1, 3), 0);
    assert_int_equal(publish_event(1, 4), 0);
    seen.close_client = true;
    answer(heard(0)->request, 1, 1, 0, true);
    LOOP_UNTIL(!seen.client, LIMIT_MS);
    assert_int_equal(seen.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(seen.ends[i].status, i ? -ECANCELED : 0);
        assert_int_equal(seen.ends[i].data, i + 1);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    const struct CMUnitTest tests[] = {
        CASE(test_one_turn_is_one_frame),
        CASE(test_what_cannot_be_published),
        CASE(test_a_turn_with_much_is_several_frames),
        CASE(test_a_refused_frame),
        CASE(test_an_answer_that_does_not_fit),
        CASE(test_publishing_in_a_callback),
        CASE(test_batches_and_events_keep_their_order),
        CASE(test_what_has_no_answer_is_sent_again),
        CASE(test_events_are_limited),
        CASE(test_bytes_are_limited),
        CASE(test_frames_are_limited),
        CASE(test_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
