// SPDX-License-Identifier: MIT
// Measures the event queue from a client's side: starts a sluice-queue with an empty log, publishes COUNT events of
// BYTES with WINDOW in flight, then reads them all. Prints one JSON line. Every publish is acknowledged after
// fdatasync. Publishing is measured in frames of BATCH events (default 100), as an outbox relay sends them, and
// with one event in each frame; the latency is that of single events, one at a time.
//
//     bench_queue SLUICE_QUEUE COUNT BYTES WINDOW [BATCH]
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/queue_client.h"

#define LATENCY_ROUNDS 2000
#define CREDIT 20000 // events; granted again by halves

// --- What is measured

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void latency(struct bench *b, uint64_t *producer_seq, double *ret_p50, double *ret_p99)
{
    static double rounds[LATENCY_ROUNDS];
    for (int i = 0; i < LATENCY_ROUNDS; i++) {
        double start = now_s();
        send_publish(b, 1, 1, producer_seq);
        (void)wait_published(b);
        rounds[i] = now_s() - start;
    }
    qsort(rounds, LATENCY_ROUNDS, sizeof rounds[0], by_value);
    *ret_p50 = rounds[LATENCY_ROUNDS / 2];
    *ret_p99 = rounds[LATENCY_ROUNDS * 99 / 100];
}

// Reads everything from the first event on; checks that no sequence is missing. Returns seconds.
static double consume(struct bench *b, uint64_t count)
{
    const struct queue_subscribe f = { .subscription = 1,
                                       .from = QUEUE_FROM_START,
                                       .credit = CREDIT };
    uint64_t next = 1, granted = 0;
    zmq_msg_t message;
    (void)zmq_msg_init(&message);
    double start = now_s();
    queue_subscribe_encode(&b->frame, &f);
    send_frame(b);
    while (next <= count) {
        struct reader r;
        uint32_t fields;
        struct queue_events events;
        struct queue_event_entry e;
        struct str topic, key;
        if (receive(b, &message, &r, &fields) != QUEUE_EVENTS ||
            queue_events_decode(&r, fields, &events)) {
            fail(b, "no EVENTS");
        }
        while (queue_events_next(&events, &e) == 1) {
            if (e.seq != next++ || event_decode_route(e.event, &topic, &key)) {
                fail(b, "an event is missing or damaged");
            }
        }
        if (next - 1 - granted >= CREDIT / 2) {
            queue_pair_encode(&b->frame, QUEUE_GRANT, 1, next - 1 - granted);
            send_frame(b);
            granted = next - 1;
        }
    }
    double seconds = now_s() - start;
    (void)zmq_msg_close(&message);
    return seconds;
}

int main(int argc, char **argv)
{
    static struct bench b;
    uint64_t producer_seq = 0;
    double p50, p99;
    if (argc < 5 || argc > 6) {
        (void)fprintf(stderr, "usage: bench_queue SLUICE_QUEUE COUNT BYTES WINDOW [BATCH]\n");
        return 64;
    }
    uint64_t count = strtoull(argv[2], NULL, 10), window = strtoull(argv[4], NULL, 10);
    uint64_t batch = argc > 5 ? strtoull(argv[5], NULL, 10) : 100;
    if (count == 0 || window == 0 || batch == 0 || batch > QUEUE_MAX_BATCH || batch > window) {
        (void)fprintf(
            stderr,
            "bench_queue: COUNT and WINDOW are at least 1, BATCH is 1 to %d and not over WINDOW\n",
            QUEUE_MAX_BATCH);
        return 64;
    }
    buf_init(&b.frame, QUEUE_MAX_FRAME_BYTES);
    make_event(&b, strtoull(argv[3], NULL, 10));
    start_queue(&b, argv[1]);
    (void)publish(&b, 1000 < count ? 1000 : count, window, 1,
                  &producer_seq); // until it is there and warm
    double batched = publish(&b, count, window, (uint32_t)batch, &producer_seq);
    double single = publish(&b, count, window, 1, &producer_seq);
    latency(&b, &producer_seq, &p50, &p99);
    double consumed = consume(&b, producer_seq);
    stop_queue(&b);
    (void)printf(
        "{\"publish_per_s\": %.0f, \"publish_single_per_s\": %.0f, \"consume_per_s\": %.0f, "
        "\"ack_p50_us\": %.0f, \"ack_p99_us\": %.0f}\n",
        (double)count / batched, (double)count / single, (double)producer_seq / consumed, p50 * 1e6,
        p99 * 1e6);
    return 0;
}
