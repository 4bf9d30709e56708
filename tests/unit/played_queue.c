// SPDX-License-Identifier: MIT
#include "tests/unit/played_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/loop.h"
#include "tests/unit/temp_dir.h"

struct played_queue queue;

static char bytes[PLAYED_QUEUE_BYTES]; // of the frames, one behind the other

void queue_init(void)
{
    memset(&queue, 0, sizeof queue);
}

const char *queue_endpoint(void)
{
    static char text[128];
    (void)snprintf(text, sizeof text, "ipc://%s/queue.sock", temp_dir());
    return text;
}

void queue_say(struct str message)
{
    assert_int_equal(zsocket_send(queue.socket, queue.peer, message), 0);
}

static void say(struct buf *b)
{
    assert_true(buf_ok(b));
    queue_say(buf_str(b));
    buf_fini(b);
}

void queue_say_pair(enum queue_frame_type type, uint64_t first, uint64_t second)
{
    struct buf b;
    buf_init(&b, 100);
    queue_pair_encode(&b, type, first, second);
    say(&b);
}

void queue_say_word(enum queue_frame_type type, uint64_t first, uint64_t second, const char *reason,
                    const char *detail)
{
    struct buf b;
    buf_init(&b, 1000);
    queue_word_encode(&b, type, first, second, str_of(reason), str_of(detail));
    say(&b);
}

static void keep(enum queue_frame_type type, struct str message)
{
    const struct played_frame *last = queue.n ? &queue.frames[queue.n - 1] : NULL;
    size_t at = last ? (size_t)(last->bytes - bytes) + last->n : 0;
    assert_true(queue.n < PLAYED_QUEUE_FRAMES && message.n <= sizeof bytes - at);
    memcpy(bytes + at, message.p, message.n);
    queue.frames[queue.n++] = (struct played_frame){ type, bytes + at, message.n };
}

static void on_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct reader r = reader_of(message);
    enum queue_frame_type type;
    uint32_t fields;
    uint64_t token, zero;
    (void)s, (void)fd, (void)data;
    assert_int_equal(queue_frame_open(&r, &type, &fields), 0);
    queue.peer = peer;
    if (type != QUEUE_PING) {
        keep(type, message);
        return;
    }
    queue.pings++;
    assert_int_equal(queue_pair_decode(&r, fields, &token, &zero), 0);
    if (!queue.deaf) {
        queue_say_pair(QUEUE_PONG, token, 0);
    }
}

void queue_up(void)
{
    const struct zsocket_options options = { .type = ZSOCKET_ROUTER,
                                             .max_message_bytes = QUEUE_MAX_FRAME_BYTES };
    const struct zsocket_callbacks callbacks = { .on_message = on_message };
    queue.n = 0;
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &queue.socket), 0);
    assert_int_equal(zsocket_bind(queue.socket, queue_endpoint()), 0);
}

void queue_down(void)
{
    zsocket_close(&queue.socket, 0);
}

struct reader queue_heard(size_t i, enum queue_frame_type type, uint32_t *ret_fields)
{
    assert_true(i < queue.n);
    struct reader r = reader_of((struct str){ queue.frames[i].bytes, queue.frames[i].n });
    enum queue_frame_type got;
    assert_int_equal(queue_frame_open(&r, &got, ret_fields), 0);
    assert_int_equal(got, type);
    return r;
}

uint64_t queue_heard_pair(size_t i, enum queue_frame_type type, uint64_t *ret_second)
{
    uint32_t fields;
    uint64_t first;
    struct reader r = queue_heard(i, type, &fields);
    assert_int_equal(queue_pair_decode(&r, fields, &first, ret_second), 0);
    return first;
}
