// SPDX-License-Identifier: MIT
#include "tests/unit/queue_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/writer.h"
#include "tests/unit/loop.h"

static void send_buf(struct queue_peer *p, struct buf *b)
{
    assert_true(buf_ok(b));
    (void)!zsocket_send(p->socket, p->client, buf_str(b)); // the client may be gone
    buf_fini(b);
}

static void open_buf(struct buf *b)
{
    buf_init(b, QUEUE_MAX_FRAME_BYTES);
}

// --- Publishing

static void keep_event(struct queue_peer *p, uint64_t producer_seq, struct str bytes)
{
    assert_true(p->n_events < QUEUE_PEER_MAX);
    struct peer_event *e = &p->events[p->n_events++];
    e->producer_seq = producer_seq;
    e->n = bytes.n;
    e->bytes = malloc(bytes.n ? bytes.n : 1);
    assert_non_null(e->bytes);
    memcpy(e->bytes, bytes.p, bytes.n);
}

static void on_publish(struct queue_peer *p, struct reader *r, uint32_t fields)
{
    static struct queue_publish f;
    struct buf b;
    assert_int_equal(queue_publish_decode(r, fields, &f), 0);
    assert_true(f.n_entries > 0 && p->n_publishes < QUEUE_PEER_MAX);
    (void)snprintf(p->producer, sizeof p->producer, "%.*s", STR_ARG(f.producer));
    struct peer_publish *note = &p->publishes[p->n_publishes++];
    *note = (struct peer_publish){ f.entries[0].producer_seq, f.entries[f.n_entries - 1].producer_seq, f.n_entries,
                                   false };
    if (p->silent) {
        return;
    }
    open_buf(&b);
    if (p->refuse) {
        queue_word_encode(&b, QUEUE_REFUSED, f.request, 0, str_of(p->refuse), STR("as the test wants it"));
        send_buf(p, &b);
        return;
    }
    struct queue_published answer = { .request = f.request, .durable = true };
    for (size_t i = 0; i < f.n_entries; i++) {
        assert_true(i == 0 || f.entries[i].producer_seq > f.entries[i - 1].producer_seq);
        if (f.entries[i].producer_seq <= p->highest) {
            answer.duplicates++;
            continue;
        }
        keep_event(p, f.entries[i].producer_seq, f.entries[i].event);
        p->highest = f.entries[i].producer_seq;
        answer.stored++;
    }
    note->stored = true;
    answer.last_seq = p->n_events;
    answer.first_seq = answer.stored ? p->n_events - answer.stored + 1 : 0;
    answer.producer_seq = p->highest;
    queue_published_encode(&b, &answer);
    send_buf(p, &b);
}

// --- Reading

void queue_peer_deliver(struct queue_peer *p)
{
    while (p->subscription && !p->hold && p->credit && p->next <= p->n_events) {
        struct buf b;
        uint32_t n = 0;
        open_buf(&b);
        size_t mark = queue_events_begin(&b, p->subscription);
        for (; p->credit && p->next <= p->n_events && n < (p->batch ? p->batch : 100); n++) {
            struct peer_event *e = &p->events[p->next - 1];
            queue_events_entry(&b, p->next++, 1000, (struct str){ e->bytes, e->n });
            p->credit--;
        }
        queue_events_end(&b, mark, n);
        send_buf(p, &b);
    }
}

static void on_subscribe(struct queue_peer *p, struct reader *r, uint32_t fields)
{
    struct queue_subscribe f;
    assert_int_equal(queue_subscribe_decode(r, fields, &f), 0);
    assert_int_equal(f.from, QUEUE_FROM_SEQ);
    assert_true(f.follow);
    p->subscription = f.subscription;
    p->from = p->next = f.from_value;
    p->credit = f.credit;
    p->n_filters = f.n_filters;
    (void)snprintf(p->filter, sizeof p->filter, "%.*s", STR_ARG(f.filters[0]));
    p->subscribes++;
    queue_peer_deliver(p);
}

void queue_peer_end(struct queue_peer *p, const char *reason)
{
    struct buf b;
    open_buf(&b);
    queue_word_encode(&b, QUEUE_ENDED, p->subscription, p->next, str_of(reason), STR("as the test wants it"));
    p->subscription = 0;
    send_buf(p, &b);
}

static void send_info(struct queue_peer *p, uint64_t request)
{
    struct buf map, b;
    buf_init(&map, 1000);
    writer_map(&map, 3);
    writer_key(&map, "version");
    writer_nil(&map);
    writer_key(&map, "uuid");
    writer_str(&map, str_of(p->uuid));
    writer_key(&map, "last_seq");
    writer_uint(&map, p->n_events);
    open_buf(&b);
    queue_info_encode(&b, request, buf_str(&map));
    send_buf(p, &b);
    buf_fini(&map);
}

static void send_pong(struct queue_peer *p, uint64_t token)
{
    struct buf b;
    open_buf(&b);
    queue_pair_encode(&b, QUEUE_PONG, token, 0);
    send_buf(p, &b);
}

// --- The socket

static void on_pair(struct queue_peer *p, enum queue_frame_type type, uint64_t first, uint64_t second)
{
    switch (type) {
    case QUEUE_PING:
        send_pong(p, first);
        break;
    case QUEUE_INFO:
        p->infos++;
        if (!p->no_info) {
            send_info(p, first);
        }
        break;
    case QUEUE_GRANT:
        if (first == p->subscription) {
            p->granted += second;
            p->credit += second;
            queue_peer_deliver(p);
        }
        break;
    case QUEUE_UNSUBSCRIBE:
        p->unsubscribes++;
        p->subscription = first == p->subscription ? 0 : p->subscription;
        break;
    default:
        fail_msg("a client must not send frame %d", type);
    }
}

static void on_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct queue_peer *p = data;
    struct reader r = reader_of(message);
    enum queue_frame_type type;
    uint32_t fields;
    uint64_t first, second;
    (void)s, (void)fd;
    p->client = peer;
    assert_int_equal(queue_frame_open(&r, &type, &fields), 0);
    if (type == QUEUE_PUBLISH) {
        on_publish(p, &r, fields);
    } else if (type == QUEUE_SUBSCRIBE) {
        on_subscribe(p, &r, fields);
    } else {
        assert_int_equal(queue_pair_decode(&r, fields, &first, &second), 0);
        on_pair(p, type, first, second);
    }
}

void queue_peer_up(struct queue_peer *p)
{
    struct zsocket_options options = { .type = ZSOCKET_ROUTER, .max_message_bytes = QUEUE_MAX_FRAME_BYTES };
    struct zsocket_callbacks callbacks = { on_message, NULL, NULL, p };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &p->socket), 0);
    assert_int_equal(zsocket_bind(p->socket, p->endpoint), 0);
}

void queue_peer_down(struct queue_peer *p)
{
    zsocket_close(&p->socket, 0);
    p->subscription = 0;
}

static void forget_log(struct queue_peer *p)
{
    for (size_t i = 0; i < p->n_events; i++) {
        free(p->events[i].bytes);
    }
    p->n_events = 0;
    p->highest = 0;
}

void queue_peer_new_log(struct queue_peer *p, const char *uuid)
{
    forget_log(p);
    (void)snprintf(p->uuid, sizeof p->uuid, "%s", uuid);
}

void queue_peer_open(struct queue_peer *p, const char *endpoint, const char *uuid)
{
    memset(p, 0, sizeof *p);
    p->endpoint = endpoint;
    queue_peer_new_log(p, uuid);
    queue_peer_up(p);
}

void queue_peer_close(struct queue_peer *p)
{
    queue_peer_down(p);
    forget_log(p);
}

void queue_peer_add_bytes(struct queue_peer *p, struct str bytes)
{
    keep_event(p, 0, bytes);
}

void queue_peer_add(struct queue_peer *p, const struct event *e)
{
    struct buf b;
    buf_init(&b, QUEUE_MAX_EVENT_BYTES);
    event_encode(&b, e);
    assert_true(buf_ok(&b));
    queue_peer_add_bytes(p, buf_str(&b));
    buf_fini(&b);
}
