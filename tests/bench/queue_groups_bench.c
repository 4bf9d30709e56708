// SPDX-License-Identifier: MIT
// Measures what the promises of the queue cost: publishing with fdatasync, groups with durable settlements, one
// publish at a time beside the raw disk and the least that ZeroMQ can do, a paced load. One JSON line. The daemon's CPU time and the bytes that it
// wrote are taken from /proc around each part.
//
//     bench_queue_groups SLUICE_QUEUE COUNT BYTES WINDOW SECONDS
//     bench_queue_groups SLUICE_QUEUE COUNT BYTES lag
//
// lag: makes a group, publishes COUNT events, consumes a tenth, and samples the resident memory of the daemon.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/queue_client.h"
#include "tests/bench/sync_echo.h"
#include "tests/bench/usage.h"

#define MEMBER_WINDOW 2000
#define FRAME_EVENTS 100
#define KEYS 65536       // so that the order per key does not decide the speed
#define FANOUT 8         // groups
#define SERIAL_ROUNDS 40 // of the queue, the echo and the raw disk, alternating
#define SERIAL_PER_ROUND 50
#define PACE_PER_S 20000
#define MAX_PACED 2400000 // two minutes of it

static struct queue_settle settle; // large

static void expect(struct bench *b, enum queue_frame_type wanted)
{
    zmq_msg_t message;
    struct reader r;
    uint32_t fields;
    (void)zmq_msg_init(&message);
    if (receive(b, &message, &r, &fields) != wanted) {
        errno = 0;
        fail(b, "not the answer that was expected");
    }
    (void)zmq_msg_close(&message);
}

// Makes a group that begins at the first event.
static void make_group(struct bench *b, uint64_t number)
{
    struct buf map;
    char name[16];
    int n = snprintf(name, sizeof name, "g%llu", (unsigned long long)number);
    buf_init(&map, 256);
    buf_append_z(&map, "\x82\xa5group");
    buf_append_char(&map, (char)(0xa0 + n));
    buf_append_z(&map, name);
    buf_append_z(&map, "\xa4"
                       "from\xa5"
                       "start");
    queue_call_encode(&b->frame, number, STR("group-set"), buf_str(&map));
    send_frame(b);
    expect(b, QUEUE_RESULT);
    buf_fini(&map);
}

static void join(struct bench *b, uint64_t number)
{
    char name[16];
    int n = snprintf(name, sizeof name, "g%llu", (unsigned long long)number);
    queue_join_encode(&b->frame, number, (struct str){ name, (size_t)n }, MEMBER_WINDOW);
    send_frame(b);
}

// Acknowledges everything in a DELIVER, in ranges. Returns how many events.
static uint32_t acknowledge(struct bench *b, struct reader *r, uint32_t fields)
{
    struct queue_deliver frame;
    struct queue_delivery d;
    struct queue_range *range = NULL;
    uint32_t events = 0;
    if (queue_deliver_decode(r, fields, &frame)) {
        fail(b, "no DELIVER");
    }
    settle.member = frame.member;
    settle.request = 1;
    settle.error = STR("");
    settle.n_ranges = 0;
    while (queue_deliver_next(&frame, &d) == 1) {
        events++;
        if (!range || d.seq != range->last_seq + 1 || d.attempt != range->attempt) {
            range = &settle.ranges[settle.n_ranges++];
            *range = (struct queue_range){ .first_seq = d.seq, .attempt = d.attempt };
        }
        range->last_seq = d.seq;
        range->events++;
    }
    queue_settle_encode(&b->frame, &settle);
    send_frame(b);
    return events;
}

// Takes and acknowledges until total settlements are durable, for all members together. Returns seconds.
static double consume(struct bench *b, uint64_t total)
{
    uint64_t settled = 0;
    zmq_msg_t message;
    (void)zmq_msg_init(&message);
    double start = now_s();
    while (settled < total) {
        struct reader r;
        uint32_t fields;
        struct queue_settled answer;
        switch (receive(b, &message, &r, &fields)) {
        case QUEUE_JOINED:
            break;
        case QUEUE_DELIVER:
            (void)acknowledge(b, &r, fields);
            break;
        case QUEUE_SETTLED:
            if (queue_settled_decode(&r, fields, &answer) || !answer.durable || answer.stale) {
                fail(b, "a settlement did not take effect");
            }
            settled += answer.settled;
            break;
        default:
            errno = 0;
            fail(b, "a frame that nobody asked for");
        }
    }
    double seconds = now_s() - start;
    (void)zmq_msg_close(&message);
    return seconds;
}

static void report(const char *name, uint64_t events, size_t bytes, double seconds,
                   const struct usage *from, const struct usage *to)
{
    (void)printf(
        "\"%s\": {\"per_s\": %.0f, \"cpu_us\": %.3f, \"cores\": %.2f, \"written\": %.2f}, ", name,
        (double)events / seconds, (to->cpu_s - from->cpu_s) * 1e6 / (double)events,
        (to->cpu_s - from->cpu_s) / seconds,
        (to->written_bytes - from->written_bytes) / (double)(events * bytes));
}

static void measure_publish(struct bench *b, const char *name, uint64_t count, uint64_t window,
                            uint32_t batch, uint64_t *seq)
{
    struct usage before = usage_of(b->queue);
    double seconds = publish(b, count, window, batch, seq);
    struct usage after = usage_of(b->queue);
    report(name, count, b->event_bytes, seconds, &before, &after);
}

static void measure_groups(struct bench *b, const char *name, uint64_t first, uint64_t n,
                           uint64_t events)
{
    for (uint64_t i = 0; i < n; i++) {
        make_group(b, first + i); // all answers before the first delivery
    }
    struct usage before = usage_of(b->queue);
    double start = now_s();
    for (uint64_t i = 0; i < n; i++) {
        join(b, first + i);
    }
    (void)consume(b, n * events);
    double seconds = now_s() - start;
    struct usage after = usage_of(b->queue);
    report(name, n * events, b->event_bytes, seconds, &before, &after);
}

static void serial(struct bench *b, uint64_t *seq)
{
    char path[100];
    double ours = 0, echoed = 0, raw = 0;
    struct sync_echo echo;
    (void)snprintf(path, sizeof path, "%s/raw", b->home);
    int fd = sync_echo_file(path);
    if (fd < 0 || sync_echo_start(&echo, b->context, b->home)) {
        fail(b, path);
    }
    for (int round = 0; round < SERIAL_ROUNDS; round++) {
        double start = now_s();
        for (int i = 0; i < SERIAL_PER_ROUND; i++) {
            send_publish(b, 1, 1, seq);
            (void)wait_published(b);
        }
        ours += now_s() - start;
        start = now_s();
        for (int i = 0; i < SERIAL_PER_ROUND; i++) {
            if (sync_echo_round(&echo, b->event, b->event_bytes)) {
                fail(b, "the echo");
            }
        }
        echoed += now_s() - start;
        start = now_s();
        for (int i = 0; i < SERIAL_PER_ROUND; i++) {
            if (write(fd, b->event, b->event_bytes) != (ssize_t)b->event_bytes || fdatasync(fd)) {
                fail(b, path);
            }
        }
        raw += now_s() - start;
    }
    (void)close(fd);
    sync_echo_stop(&echo);
    const double rounds = SERIAL_ROUNDS * SERIAL_PER_ROUND;
    (void)printf("\"serial_per_s\": %.0f, \"echo_per_s\": %.0f, \"raw_per_s\": %.0f, ",
                 rounds / ours, rounds / echoed, rounds / raw);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Waits for an acknowledgement or until the time; ZeroMQ's own poll only knows milliseconds.
static void wait_until(struct bench *b, double until)
{
    int fd;
    size_t size = sizeof fd;
    double left = until - now_s();
    if (left > 0 && !zmq_getsockopt(b->socket, ZMQ_FD, &fd, &size)) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        struct timespec t = { 0, (long)(left * 1e9) };
        (void)ppoll(&p, 1, &t, NULL);
    }
}

// Open loop: the latency of each event counts from when it should have been sent.
static void paced(struct bench *b, uint64_t count, uint64_t *seq)
{
    static float latencies[MAX_PACED];
    uint64_t sent = 0, got = 0;
    int events;
    size_t size = sizeof events;
    count = count < MAX_PACED ? count : MAX_PACED;
    double start = now_s();
    while (got < count) {
        double now = now_s();
        for (; sent < count && start + (double)sent / PACE_PER_S <= now; sent++) {
            send_publish(b, sent + 1, 1, seq);
        }
        while (!zmq_getsockopt(b->socket, ZMQ_EVENTS, &events, &size) && (events & ZMQ_POLLIN)) {
            (void)wait_published(b); // in the order of sending
            latencies[got] = (float)(now_s() - (start + (double)got / PACE_PER_S));
            got++;
        }
        wait_until(b, sent < count ? start + (double)sent / PACE_PER_S : now_s() + 0.01);
    }
    double rate = (double)count / (now_s() - start);
    qsort(latencies, count, sizeof latencies[0], by_value);
    (void)printf("\"paced_per_s\": %.0f, \"paced_us\": [%.0f, %.0f, %.0f], ", rate,
                 (double)latencies[count / 2] * 1e6, (double)latencies[count * 99 / 100] * 1e6,
                 (double)latencies[count * 999 / 1000] * 1e6);
}

static void lag(struct bench *b, uint64_t count, uint64_t *seq)
{
    make_group(b, 1); // without a member it lags
    (void)publish(b, count / 100, FRAME_EVENTS * 10, FRAME_EVENTS, seq);
    double begun = usage_of(b->queue).resident_kib;
    (void)publish(b, count - count / 100, FRAME_EVENTS * 10, FRAME_EVENTS, seq);
    double behind = usage_of(b->queue).resident_kib;
    queue_join_encode(&b->frame, 2, STR("g1"), MEMBER_WINDOW);
    send_frame(b);
    (void)consume(b, count / 10);
    (void)printf("{\"lag\": %llu, \"kib\": [%.0f, %.0f, %.0f]}\n", (unsigned long long)count, begun,
                 behind, usage_of(b->queue).resident_kib);
}

int main(int argc, char **argv)
{
    static struct bench b = { .n_keys = KEYS };
    uint64_t seq = 0;
    if (argc < 5) {
        (void)fprintf(
            stderr, "usage: bench_queue_groups SLUICE_QUEUE COUNT BYTES (WINDOW SECONDS | lag)\n");
        return 64;
    }
    uint64_t count = strtoull(argv[2], NULL, 10), window = strtoull(argv[4], NULL, 10);
    bool lags = strcmp(argv[4], "lag") == 0;
    if (count < 1000 || (!lags && (argc != 6 || window < FRAME_EVENTS))) {
        (void)fprintf(stderr, "bench_queue_groups: COUNT is at least 1000, WINDOW at least %d\n",
                      FRAME_EVENTS);
        return 64;
    }
    buf_init(&b.frame, QUEUE_MAX_FRAME_BYTES);
    make_event(&b, strtoull(argv[3], NULL, 10));
    start_queue(&b, argv[1]);
    (void)publish(&b, 1, 1, 1, &seq); // until it is there
    if (lags) {
        lag(&b, count, &seq);
    } else {
        (void)printf("{");
        measure_publish(&b, "single", count, window, 1, &seq);
        measure_publish(&b, "frames", count, window, FRAME_EVENTS, &seq);
        serial(&b, &seq);
        paced(&b, PACE_PER_S * strtoull(argv[5], NULL, 10), &seq);
        measure_groups(&b, "one_group", 1, 1, seq);
        measure_groups(&b, "eight_groups", 2, FANOUT, seq);
        (void)printf("\"events\": %llu}\n", (unsigned long long)seq);
    }
    stop_queue(&b);
    return 0;
}
