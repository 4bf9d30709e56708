// SPDX-License-Identifier: MIT
// Measures the event queue from a client's side: starts a sluice-queue with an empty log, publishes COUNT events of
// BYTES with WINDOW in flight, then reads them all. Prints one JSON line. Every publish is acknowledged after
// fdatasync. Publishing is measured in frames of BATCH events (default 100), as an outbox relay sends them, and
// with one event in each frame; the latency is that of single events, one at a time.
//
//     bench_queue SLUICE_QUEUE COUNT BYTES WINDOW [BATCH]
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/queue_frames.h"

#define WAIT_MS 30000
#define LATENCY_ROUNDS 2000
#define CREDIT 20000 // events; granted again by halves

struct bench {
    void *context, *socket;
    char home[64];
    pid_t queue;
    struct buf frame;
    char *event; // encoded; ends in payload
    size_t event_bytes;
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

_Noreturn static void fail(struct bench *b, const char *what)
{
    (void)fprintf(stderr, "bench_queue: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    if (b->queue > 0) {
        (void)kill(b->queue, SIGKILL);
    }
    exit(1);
}

// --- The process under test

static void start_queue(struct bench *b, const char *binary)
{
    char endpoint[100];
    (void)snprintf(b->home, sizeof b->home, "/tmp/sluice-bench-XXXXXX");
    if (!mkdtemp(b->home)) {
        fail(b, "mkdtemp");
    }
    b->queue = fork();
    if (b->queue == 0) {
        (void)setenv("SLUICE_HOME", b->home, 1);
        (void)setenv("SLUICE_LOG_LEVEL", "warn", 1);
        (void)execl(binary, binary, (char *)NULL);
        _exit(127);
    }
    b->context = zmq_ctx_new();
    b->socket = zmq_socket(b->context, ZMQ_DEALER);
    int none = 0, wait = WAIT_MS;
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/run/queue.sock", b->home);
    if (b->queue < 0 || !b->socket || zmq_setsockopt(b->socket, ZMQ_SNDHWM, &none, sizeof none) ||
        zmq_setsockopt(b->socket, ZMQ_RCVHWM, &none, sizeof none) ||
        zmq_setsockopt(b->socket, ZMQ_RCVTIMEO, &wait, sizeof wait) ||
        zmq_setsockopt(b->socket, ZMQ_LINGER, &none, sizeof none) ||
        zmq_connect(b->socket, endpoint)) {
        fail(b, endpoint);
    }
}

static void stop_queue(struct bench *b)
{
    char command[100];
    int status;
    (void)zmq_close(b->socket);
    (void)zmq_ctx_term(b->context);
    (void)kill(b->queue, SIGTERM);
    if (waitpid(b->queue, &status, 0) != b->queue || status != 0) {
        fail(b, "sluice-queue did not stop in good order");
    }
    (void)snprintf(command, sizeof command, "rm -rf %s", b->home); // made above, of safe characters
    if (system(command)) {
        fail(b, "removing the log");
    }
}

// --- Frames

static void send_frame(struct bench *b)
{
    if (!buf_ok(&b->frame) || zmq_send(b->socket, b->frame.data, b->frame.len, 0) < 0) {
        fail(b, "send");
    }
    buf_reset(&b->frame);
}

// Receives the next frame into message; answers PING by the way.
static enum queue_frame_type receive(struct bench *b, zmq_msg_t *message, struct reader *r,
                                     uint32_t *fields)
{
    for (;;) {
        enum queue_frame_type type;
        uint64_t token, zero;
        if (zmq_msg_recv(message, b->socket, 0) < 0) {
            fail(b, "receive");
        }
        *r = reader_of((struct str){ zmq_msg_data(message), zmq_msg_size(message) });
        if (queue_frame_open(r, &type, fields)) {
            fail(b, "a frame that is none");
        }
        if (type != QUEUE_PING) {
            return type;
        }
        if (queue_pair_decode(r, *fields, &token, &zero)) {
            fail(b, "PING");
        }
        queue_pair_encode(&b->frame, QUEUE_PONG, token, 0);
        send_frame(b);
    }
}

static void make_event(struct bench *b, size_t bytes)
{
    static char filler[QUEUE_MAX_EVENT_BYTES];
    struct event e = { .id = STR("0192f3c1-7b9a-7c3d-8e4f-001122334455"),
                       .topic = STR("bench.event"),
                       .key = STR("k"),
                       .subject = STR("s"),
                       .source = STR("/bench"),
                       .time_ms = 1795428000123,
                       .traceparent = STR("") };
    struct buf encoded;
    buf_init(&encoded, QUEUE_MAX_EVENT_BYTES);
    event_encode(&encoded, &e);
    size_t bare = encoded.len + 2; // with the head of its data
    e.data = (struct str){ filler, bytes > bare ? bytes - bare : 0 };
    buf_reset(&encoded);
    event_encode(&encoded, &e);
    if (!buf_ok(&encoded)) {
        fail(b, "making an event");
    }
    b->event = encoded.data; // lives as long as the program
    b->event_bytes = encoded.len;
}

static void send_publish(struct bench *b, uint64_t request, uint32_t events, uint64_t *producer_seq)
{
    queue_publish_begin(&b->frame, request, STR("bench"), events);
    for (uint32_t i = 0; i < events; i++) {
        queue_publish_entry(&b->frame, ++*producer_seq, (struct str){ b->event, b->event_bytes });
    }
    send_frame(b);
}

// Waits for one PUBLISHED; returns how many events it acknowledges.
static uint32_t wait_published(struct bench *b)
{
    zmq_msg_t message;
    struct reader r;
    uint32_t fields;
    struct queue_published answer;
    (void)zmq_msg_init(&message);
    if (receive(b, &message, &r, &fields) != QUEUE_PUBLISHED ||
        queue_published_decode(&r, fields, &answer) || !answer.durable) {
        fail(b, "no PUBLISHED");
    }
    (void)zmq_msg_close(&message);
    return answer.stored;
}

// --- What is measured

// Seconds for count events, at most window of them in flight.
static double publish(struct bench *b, uint64_t count, uint64_t window, uint32_t batch,
                      uint64_t *producer_seq)
{
    uint64_t sent = 0, acknowledged = 0, request = 0;
    double start = now_s();
    while (acknowledged < count) {
        while (sent < count && sent + batch <= acknowledged + window) {
            uint32_t n = count - sent < batch ? (uint32_t)(count - sent) : batch;
            send_publish(b, ++request, n, producer_seq);
            sent += n;
        }
        acknowledged += wait_published(b);
    }
    return now_s() - start;
}

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
