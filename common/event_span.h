// SPDX-License-Identifier: MIT
// The spans of events: of their way from the outbox into the queue (common/outbox.h), and of what a
// consumer did with them. An event carries the traceparent of the call that it was made in, and its
// spans are that one's children, in the same trace; an event without a traceparent has none.
#ifndef COMMON_EVENT_SPAN_H
#define COMMON_EVENT_SPAN_H

#include "common/span.h"
#include "proto/queue_frames.h"

struct metric;

// One batch on its way into the queue. Loop thread.
struct event_spans {
    struct span *spans; // owned
    size_t n, max;
    int64_t *plain_us; // owned: when those without a span were made, wall clock
    uint32_t events;   // of the batch, those without a span included
    int64_t sent_us;   // wall clock
    int64_t timer_us;  // monotonic, of the same moment
};

// For batches of up to max events. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int event_spans_init(struct event_spans *es, size_t max);
void event_spans_fini(struct event_spans *es);

// A batch begins; what was there is forgotten.
void event_spans_clear(struct event_spans *es);

// One more event, encoded, with its number in the outbox and the time of its row. At most max.
void event_spans_add(struct event_spans *es, uint64_t seq, int64_t made_ms, struct str encoded);

// The batch is sent.
void event_spans_sent(struct event_spans *es);

// The queue has it, and took took_us for it: records the spans, and counts into the histogram, for
// each event with or without a span, what a span's duration is: from its row to now.
void event_spans_published(struct event_spans *es, uint32_t took_us, struct metric *durations);

// A consumer is done with one event, encoded.
struct event_processed {
    uint64_t seq;         // in the queue
    const char *consumer; // a literal
    int64_t start_us;     // wall clock
    int64_t duration_us;
    uint32_t batch; // events that were processed together
    bool failed;
};

// Records its span.
void event_span_processed(const struct event_processed *p, struct str encoded);

#endif
