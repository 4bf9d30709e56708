// SPDX-License-Identifier: MIT
#include "services/tap/batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"

// A frame on its way.
struct sent {
    struct batch *batch;
    int64_t at_us;
    uint32_t events;
};

void batch_open(struct batch *b, struct tap *t, const char *producer)
{
    *b = (struct batch){ .t = t,
                         .producer = str_of(producer),
                         .max_n = BATCH_EVENTS,
                         .max_in_flight = BATCH_IN_FLIGHT,
                         .durable = true };
    buf_init(&b->entries, QUEUE_MAX_FRAME_BYTES);
}

void batch_close(struct batch *b)
{
    if (b->in_flight) {
        queue_client_close(&b->t->queue); // its answers have nobody to come to
    }
    buf_fini(&b->entries);
}

static void on_published(int status, const struct queue_published *answer, struct str detail,
                         void *data)
{
    struct sent *sent = data;
    struct batch *b = sent->batch;
    b->in_flight--;
    b->moved = true;
    if (status == 0) {
        b->stored += answer->stored;
        b->duplicates += answer->duplicates;
        b->first_seq = b->first_seq || !answer->stored ? b->first_seq : answer->first_seq;
        b->last_seq = answer->stored ? answer->last_seq : b->last_seq;
        b->durable = b->durable && answer->durable;
        if (b->on_took) {
            b->on_took(clock_mono_us() - sent->at_us, sent->events, b->data);
        }
    } else if (b->status == 0) {
        b->status = status;
        (void)snprintf(b->detail, sizeof b->detail, "%.*s", STR_ARG(detail)); // cut off if longer
    }
    free(sent);
}

// Waits until fewer than max frames are on their way.
static int wait_below(struct batch *b, uint32_t max)
{
    while (b->in_flight >= max && b->status == 0) {
        b->moved = false;
        int rc = tap_wait(b->t, &b->moved, b->t->options.timeout_ms);
        if (rc == -ETIMEDOUT && b->t->up) {
            continue; // it is there, and slow
        }
        if (rc) {
            return rc == -EPIPE ? TAP_OK : tap_waited(b->t, rc);
        }
    }
    return b->status ? tap_fail(b->t, b->status == -ENOSPC ? TAP_UNREACHABLE : TAP_USAGE,
                                "the queue refuses the events: %s", b->detail)
                     : TAP_OK;
}

int batch_send(struct batch *b)
{
    struct buf frame;
    int status = b->n ? wait_below(b, b->max_in_flight) : TAP_OK;
    if (status || b->n == 0) {
        return status;
    }
    struct sent *sent = malloc(sizeof *sent);
    uint64_t request = queue_client_next_request(b->t->queue);
    buf_init(&frame, QUEUE_MAX_FRAME_BYTES);
    queue_publish_begin(&frame, request, b->producer, b->n);
    buf_append_str(&frame, buf_str(&b->entries));
    int rc = sent ? buf_error(&frame) : -ENOMEM;
    if (rc == 0) {
        *sent = (struct sent){ b, clock_mono_us(), b->n };
        rc = queue_client_publish(b->t->queue, request, buf_str(&frame), on_published, sent);
    }
    buf_fini(&frame);
    if (rc) {
        free(sent);
        return tap_fail(b->t, TAP_UNREACHABLE, "cannot publish: %s", strerror(-rc));
    }
    b->in_flight++;
    b->n = 0;
    buf_reset(&b->entries);
    return TAP_OK;
}

int batch_add_encoded(struct batch *b, uint64_t producer_seq, struct str encoded)
{
    queue_publish_entry(&b->entries, producer_seq, encoded);
    b->n++;
    return b->n == b->max_n || b->entries.len >= BATCH_BYTES ? batch_send(b) : TAP_OK;
}

int batch_add(struct batch *b, uint64_t producer_seq, const struct event *e)
{
    struct buf event;
    buf_init(&event, QUEUE_MAX_EVENT_BYTES);
    event_encode(&event, e);
    int status = buf_ok(&event) ? batch_add_encoded(b, producer_seq, buf_str(&event))
                                : tap_fail(b->t, TAP_USAGE, "an event is at most %d bytes",
                                           QUEUE_MAX_EVENT_BYTES);
    buf_fini(&event);
    return status;
}

int batch_finish(struct batch *b)
{
    int status = batch_send(b);
    return status ? status : wait_below(b, 1);
}
