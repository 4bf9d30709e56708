// SPDX-License-Identifier: MIT
// pub: JSON from the command line or standard input becomes one event, or with --lines one event
// per line. All of it is checked before the first is sent; the sequences are printed when the queue
// has them on disk.
#include "services/tap/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/json_to_msgpack.h"
#include "common/uuid.h"
#include "services/tap/confirm.h"

#define INPUT_BYTES (64 * 1024 * 1024) // of standard input; more is for import

static void print_published(struct tap *t, const struct batch *b)
{
    if (t->options.style.format == RENDER_PRETTY) {
        buf_printf(&t->out, "%s %" PRIu64 "..%" PRIu64 "%s\n", t->options.target, b->first_seq,
                   b->last_seq, b->durable ? ", on disk" : "");
    } else {
        buf_printf(&t->out,
                   "{\"topic\":\"%s\",\"first_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64
                   ",\"durable\":%s}\n",
                   t->options.target, b->first_seq, b->last_seq, b->durable ? "true" : "false");
    }
}

// Makes the event of one line and gives it to the batch; without a batch it is only checked.
static int take_event(struct tap *t, struct str json, size_t line, struct batch *batch)
{
    char id[UUID_TEXT + 1];
    struct json_error mistake;
    struct buf data;
    int64_t now = clock_wall_ms();
    int status = TAP_OK;
    buf_init(&data, QUEUE_MAX_EVENT_BYTES);
    uuid_v7(now, id);
    int rc = json.n ? json_to_msgpack(json, &data, &mistake) : 0;
    struct event e = { .id = str_of(id),
                       .topic = str_of(t->options.target),
                       .key = t->options.key ? str_of(t->options.key) : STR(""),
                       .subject = STR(""),
                       .source = STR("/sluice/tap"),
                       .time_ms = now,
                       .traceparent = STR(""),
                       .data = buf_str(&data) };
    if (rc == -EINVAL) {
        status = tap_fail(t, TAP_USAGE, "line %zu, column %zu: %s", line + mistake.line - 1,
                          mistake.column, mistake.what);
    } else if (rc) {
        status = tap_fail(t, TAP_USAGE, "line %zu: an event is at most %d bytes", line,
                          QUEUE_MAX_EVENT_BYTES);
    } else if (batch) {
        status = batch_add(batch, 0, &e);
    }
    buf_fini(&data);
    return status;
}

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

// Every line that is not empty; *ret_n counts them.
static int take_lines(struct tap *t, struct str text, struct batch *batch, uint64_t *ret_n)
{
    size_t line = 1;
    int status = TAP_OK;
    *ret_n = 0;
    for (size_t i = 0; i < text.n && status == TAP_OK; line++) {
        const char *end = memchr(text.p + i, '\n', text.n - i);
        size_t n = end ? (size_t)(end - (text.p + i)) : text.n - i;
        if (n > 0 && (t->options.limit < 0 || *ret_n < (uint64_t)t->options.limit)) {
            status = take_event(t, (struct str){ text.p + i, n }, line, batch);
            (*ret_n)++;
        }
        i += n + 1;
    }
    return status;
}

static int take_all(struct tap *t, struct str text, struct batch *batch, uint64_t *ret_n)
{
    *ret_n = 1;
    return t->options.lines ? take_lines(t, text, batch, ret_n) : take_event(t, text, 1, batch);
}

static int publish(struct tap *t, struct str text)
{
    struct batch batch;
    uint64_t n;
    int status = take_all(t, text, NULL, &n);
    if (status || n == 0) {
        return status ? status : TAP_NOTHING;
    }
    status =
        confirm(t, "Publish %" PRIu64 " event%s to %s?", n, n == 1 ? "" : "s", t->options.target);
    status = status < 0 ? tap_connect(t) : status;
    if (status || !t->queue) {
        return status;
    }
    batch_open(&batch, t, NULL);
    status = take_all(t, text, &batch, &n);
    status = status ? status : batch_finish(&batch);
    if (status == TAP_OK) {
        print_published(t, &batch);
    }
    batch_close(&batch);
    return status;
}

int publish_run(struct tap *t)
{
    const char *data = t->options.data;
    bool from_input = !data || strcmp(data, "-") == 0;
    struct buf input;
    buf_init(&input, INPUT_BYTES);
    int rc = from_input ? read_input(&input) : 0;
    int status = rc ? tap_fail(t, TAP_USAGE, "the input is over %d bytes", INPUT_BYTES)
                    : publish(t, from_input ? buf_str(&input) : str_of(data));
    buf_fini(&input);
    return status;
}
