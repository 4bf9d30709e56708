// SPDX-License-Identifier: MIT
#include "tests/bench/queue_client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#define WAIT_MS 30000

double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

_Noreturn void fail(struct bench *b, const char *what)
{
    (void)fprintf(stderr, "bench_queue: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    if (b->queue > 0) {
        (void)kill(b->queue, SIGKILL);
    }
    exit(1);
}

// --- The process under test

void start_queue(struct bench *b, const char *binary)
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
        (void)setenv("SLUICE_QUEUE_RETENTION_BYTES", "0", 1);
        (void)setenv("SLUICE_QUEUE_RETENTION_AGE", "0s", 1);
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

void stop_queue(struct bench *b)
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

void send_frame(struct bench *b)
{
    if (!buf_ok(&b->frame) || zmq_send(b->socket, b->frame.data, b->frame.len, 0) < 0) {
        fail(b, "send");
    }
    buf_reset(&b->frame);
}

enum queue_frame_type receive(struct bench *b, zmq_msg_t *message, struct reader *r,
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

void make_event(struct bench *b, size_t bytes)
{
    static char filler[QUEUE_MAX_EVENT_BYTES];
    struct event e = { .id = STR("0192f3c1-7b9a-7c3d-8e4f-001122334455"),
                       .topic = STR("bench.event"),
                       .key = STR("00000000"),
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
    struct str topic, key;
    if (event_decode_route(buf_str(&encoded), &topic, &key) || key.n != KEY_BYTES) {
        fail(b, "finding the key");
    }
    b->key_at = (size_t)(key.p - encoded.data);
    b->n_keys = b->n_keys ? b->n_keys : 1;
}

static void set_key(struct bench *b, uint64_t n)
{
    char digits[KEY_BYTES + 1];
    (void)snprintf(digits, sizeof digits, "%08x", (unsigned)(n % b->n_keys));
    memcpy(b->event + b->key_at, digits, KEY_BYTES);
}

void send_publish(struct bench *b, uint64_t request, uint32_t events, uint64_t *producer_seq)
{
    queue_publish_begin(&b->frame, request, STR("bench"), events);
    for (uint32_t i = 0; i < events; i++) {
        if (b->n_keys > 1) {
            set_key(b, *producer_seq);
        }
        queue_publish_entry(&b->frame, ++*producer_seq, (struct str){ b->event, b->event_bytes });
    }
    send_frame(b);
}

uint32_t wait_published(struct bench *b)
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

double publish(struct bench *b, uint64_t count, uint64_t window, uint32_t batch,
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
