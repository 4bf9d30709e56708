// SPDX-License-Identifier: MIT
// pub: JSON from the command line or standard input becomes one event, or with --lines one event
// per line. The sequence of each is printed when the queue has it on disk.
#include "services/tap/tap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/json_to_msgpack.h"
#include "common/uuid.h"

static void print_published(struct tap *t, const struct queue_published *answer)
{
    if (t->options.format == RENDER_PRETTY) {
        buf_printf(&t->out, "%s %" PRIu64 "..%" PRIu64 "%s\n", t->options.topic, answer->first_seq,
                   answer->last_seq, answer->durable ? ", on disk" : "");
    } else {
        buf_printf(&t->out,
                   "{\"topic\":\"%s\",\"first_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64
                   ",\"durable\":%s}\n",
                   t->options.topic, answer->first_seq, answer->last_seq,
                   answer->durable ? "true" : "false");
    }
}

static void on_published(int status, const struct queue_published *answer, struct str detail,
                         void *data)
{
    struct tap *t = data;
    if (status == -ECANCELED) {
        return;
    }
    if (status) {
        tap_fail(t, TAP_UNREACHABLE, "the queue refused the event: %.*s", STR_ARG(detail));
        return;
    }
    print_published(t, answer);
    tap_flush(t);
    tap_finish(t, TAP_OK);
}

// Appends one event with this JSON as data to the entries. Returns 0 or -EINVAL after saying what
// is wrong.
static int add_event(struct tap *t, struct str json, size_t line, struct buf *entries)
{
    char id[UUID_TEXT + 1];
    struct json_error mistake;
    struct buf data, event;
    int64_t now = clock_wall_ms();
    buf_init(&data, QUEUE_MAX_EVENT_BYTES);
    buf_init(&event, QUEUE_MAX_EVENT_BYTES);
    uuid_v7(now, id);
    int rc = json.n ? json_to_msgpack(json, &data, &mistake) : 0;
    if (rc == -EINVAL) {
        tap_fail(t, TAP_USAGE, "line %zu, column %zu: %s", line + mistake.line - 1, mistake.column,
                 mistake.what);
    } else if (!rc) {
        struct event e = { .id = str_of(id),
                           .topic = str_of(t->options.topic),
                           .key = t->options.key ? str_of(t->options.key) : STR(""),
                           .subject = STR(""),
                           .source = STR("/sluice/tap"),
                           .time_ms = now,
                           .traceparent = STR(""),
                           .data = buf_str(&data) };
        event_encode(&event, &e);
        rc = buf_error(&event);
        queue_publish_entry(entries, 0, buf_str(&event));
    }
    if (rc && rc != -EINVAL) {
        tap_fail(t, TAP_USAGE, "line %zu: an event is at most %d bytes", line,
                 QUEUE_MAX_EVENT_BYTES);
    }
    buf_fini(&event);
    buf_fini(&data);
    return rc;
}

// Reads standard input whole: it becomes one frame anyway, whose limit bounds it.
static int read_input(struct buf *b)
{
    for (;;) {
        char *to = buf_reserve(b, 65536);
        size_t n = to ? fread(to, 1, 65536, stdin) : 0;
        b->len += n;
        if (!to || n == 0) {
            return buf_error(b);
        }
    }
}

static int add_lines(struct tap *t, struct str text, struct buf *entries, uint32_t *ret_n)
{
    size_t line = 1;
    *ret_n = 0;
    for (size_t i = 0; i < text.n; line++) {
        const char *end = memchr(text.p + i, '\n', text.n - i);
        size_t n = end ? (size_t)(end - (text.p + i)) : text.n - i;
        if (n > 0) {
            if (*ret_n == QUEUE_MAX_BATCH) {
                tap_fail(t, TAP_USAGE, "at most %d lines are published at once", QUEUE_MAX_BATCH);
                return -EMSGSIZE;
            }
            int rc = add_event(t, (struct str){ text.p + i, n }, line, entries);
            if (rc) {
                return rc;
            }
            (*ret_n)++;
        }
        i += n + 1;
    }
    return 0;
}

static void publish(struct tap *t, const struct buf *entries, uint32_t n)
{
    struct buf frame;
    uint64_t request = queue_client_next_request(t->queue);
    buf_init(&frame, QUEUE_MAX_FRAME_BYTES);
    queue_publish_begin(&frame, request, (struct str){ NULL, 0 }, n);
    buf_append_str(&frame, buf_str(entries));
    int rc = buf_error(&frame);
    rc = rc ? rc : queue_client_publish(t->queue, request, buf_str(&frame), on_published, t);
    if (rc) {
        tap_fail(t, TAP_USAGE, "cannot publish: %s", strerror(-rc));
    }
    buf_fini(&frame);
}

void publish_start(struct tap *t)
{
    const char *data = t->options.data;
    bool from_input = !data || strcmp(data, "-") == 0;
    struct buf input, entries;
    uint32_t n = 1;
    buf_init(&input, QUEUE_MAX_FRAME_BYTES);
    buf_init(&entries, QUEUE_MAX_FRAME_BYTES);
    tap_expect(t, false); // people may take their time to type
    int rc = from_input ? read_input(&input) : 0;
    struct str text = from_input ? buf_str(&input) : str_of(data);
    if (rc) {
        tap_fail(t, TAP_USAGE, "the input is over %d bytes", QUEUE_MAX_FRAME_BYTES);
    } else if (t->options.lines) {
        rc = add_lines(t, text, &entries, &n);
    } else {
        rc = add_event(t, text, 1, &entries);
    }
    if (!rc && n == 0) {
        tap_finish(t, TAP_NOTHING);
    } else if (!rc) {
        tap_expect(t, true);
        publish(t, &entries, n);
    }
    buf_fini(&input);
    buf_fini(&entries);
}
