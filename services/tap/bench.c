// SPDX-License-Identifier: MIT
// bench: how fast this queue is on this machine, as percentiles. pub counts from sending a frame
// until it is acknowledged; consume from asking until the last event; e2e from publishing an event
// until a reader has it.
#include "services/tap/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/uuid.h"
#include "proto/writer.h"
#include "services/tap/ask.h"
#include "services/tap/confirm.h"
#include "services/tap/fields.h"
#include "services/tap/log.h"
#include "services/tap/pace.h"
#include "services/tap/progress.h"

#define TOPIC "tap.bench"
#define BENCH_CREDIT 8192 // events on their way to a reader
#define MAX_N 10000000    // 80 MB of times

struct bench {
    struct tap *t;
    const char *name;
    uint64_t wanted;
    int64_t *took_us; // owned
    uint64_t n;       // of them
    uint64_t events, bytes;
    int64_t begun_us, took_all_us;
    struct buf data; // of every event
    char sync[16];   // mode of the queue
    struct progress progress;
};

static int open_bench(struct bench *x, struct tap *t, const char *name)
{
    struct buf info;
    int64_t n = t->options.number >= 0 ? t->options.number : TAP_BENCH;
    *x = (struct bench){ .t = t, .name = name, .wanted = (uint64_t)n };
    if (n == 0 || n > MAX_N) {
        return tap_fail(t, TAP_USAGE, "-n %lld: a bench takes 1 to %d events", (long long)n, MAX_N);
    }
    x->took_us = calloc((size_t)n, sizeof *x->took_us);
    buf_init(&x->data, TAP_MAX_SIZE + 16);
    char *text = x->took_us ? calloc(1, (size_t)t->options.size + 1) : NULL;
    if (!text) {
        return tap_fail(t, TAP_UNREACHABLE, "out of memory");
    }
    memset(text, 'x', (size_t)t->options.size);
    writer_str(&x->data, (struct str){ text, (size_t)t->options.size });
    free(text);
    buf_init(&info, TAP_RESULT_BYTES);
    int status = tap_connect(t);
    status = status ? status : ask_info(t, &info);
    if (status == TAP_OK) {
        struct str sync = fields_str(buf_str(&info), "sync");
        (void)snprintf(x->sync, sizeof x->sync, "%.*s", STR_ARG(sync)); // cut off if it is longer
    }
    buf_fini(&info);
    return status;
}

static void close_bench(struct bench *x)
{
    free(x->took_us);
    buf_fini(&x->data);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// The time that this many of a thousand did not exceed, in milliseconds.
static double percentile(const struct bench *x, uint64_t permille)
{
    uint64_t at = x->n * permille / 1000;
    return x->n ? (double)x->took_us[at < x->n ? at : x->n - 1] / 1000 : 0;
}

static void report(struct bench *x)
{
    struct buf *b = &x->t->out;
    double seconds = (double)(x->took_all_us > 0 ? x->took_all_us : 1) / 1e6;
    double rate = (double)x->events / seconds;
    double p50, p90, p99, p999, max;
    if (x->n) {
        qsort(x->took_us, x->n, sizeof *x->took_us, compare);
    }
    p50 = percentile(x, 500), p90 = percentile(x, 900), p99 = percentile(x, 990);
    p999 = percentile(x, 999), max = percentile(x, 1000);
    if (x->t->options.csv) {
        buf_printf(b,
                   "bench,sync,events,bytes,seconds,events_per_s,p50_ms,p90_ms,p99_ms,p999_ms,"
                   "max_ms\n%s,%s,%" PRIu64 ",%" PRIu64 ",%.3f,%.0f,%.3f,%.3f,%.3f,%.3f,%.3f\n",
                   x->name, x->sync, x->events, x->bytes, seconds, rate, p50, p90, p99, p999, max);
    } else if (x->t->options.style.format != RENDER_PRETTY) {
        buf_printf(b,
                   "{\"bench\":\"%s\",\"sync\":\"%s\",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"seconds\":%.3f,\"events_per_s\":%.0f,\"p50_ms\":%.3f,\"p90_ms\":%.3f,"
                   "\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f}\n",
                   x->name, x->sync, x->events, x->bytes, seconds, rate, p50, p90, p99, p999, max);
    } else {
        buf_printf(b, "bench %s, sync %s: %" PRIu64 " events in %.3f s, %.0f/s, %.1f MB/s\n",
                   x->name, x->sync, x->events, seconds, rate, (double)x->bytes / seconds / 1e6);
        buf_printf(b, "    p50 %.3f ms  p90 %.3f ms  p99 %.3f ms  p99.9 %.3f ms  max %.3f ms\n",
                   p50, p90, p99, p999, max);
    }
}

static const char *topic_of(const struct tap *t)
{
    return t->options.n_filters ? t->options.filters[0].p : TOPIC; // an argument: ends in NUL
}

static void add_time(struct bench *x, int64_t us)
{
    if (x->n < x->wanted) {
        x->took_us[x->n++] = us;
    }
}

static int publish_one(struct bench *x, struct batch *batch)
{
    char id[UUID_TEXT + 1];
    int64_t now = clock_wall_ms();
    uuid_v7(now, id);
    struct event e = { .id = str_of(id),
                       .topic = str_of(topic_of(x->t)),
                       .key = STR(""),
                       .subject = STR(""),
                       .source = STR("/sluice/tap"),
                       .time_ms = now,
                       .traceparent = STR(""),
                       .data = buf_str(&x->data) };
    return batch_add(batch, 0, &e);
}

// --- pub

static void on_took(int64_t us, uint32_t events, void *data)
{
    struct bench *x = data;
    for (uint32_t i = 0; i < events; i++) {
        add_time(x, us);
    }
    x->events += events;
    x->bytes += events * (uint64_t)x->t->options.size;
    progress_at(&x->progress, x->events);
}

static int publish_all(struct bench *x)
{
    struct batch batch;
    struct pace pace;
    batch_open(&batch, x->t, NULL);
    batch.max_n = (uint32_t)x->t->options.batch;
    batch.max_in_flight = (uint32_t)x->t->options.in_flight;
    batch.on_took = on_took;
    batch.data = x;
    progress_begin(&x->progress, "published", x->wanted);
    pace_begin(&pace, x->t->options.rate);
    x->begun_us = clock_mono_us();
    int status = TAP_OK;
    for (uint64_t i = 0; status == TAP_OK && i < x->wanted; i++) {
        status = pace_wait(&pace, x->t, &batch);
        status = status ? status : publish_one(x, &batch);
    }
    status = status ? status : batch_finish(&batch);
    x->took_all_us = clock_mono_us() - x->begun_us;
    progress_end(&x->progress);
    batch_close(&batch);
    return status;
}

static int run_bench(struct bench *x, int (*run)(struct bench *x))
{
    int status = run(x);
    if (status == TAP_OK) {
        report(x);
    }
    return status ? status : x->events ? TAP_OK : TAP_NOTHING;
}

int bench_publish(struct tap *t)
{
    struct bench x;
    int status = open_bench(&x, t, "pub");
    if (status == TAP_OK) {
        status = confirm(t, "Publish %" PRIu64 " events to %s?", x.wanted, topic_of(t));
        status = status < 0 ? run_bench(&x, publish_all) : status;
    }
    close_bench(&x);
    return status;
}

// --- consume

static int take(struct tap *t, const struct log_entry *e, void *data)
{
    struct bench *x = data;
    (void)t;
    x->events++;
    x->bytes += e->encoded.n;
    add_time(x, clock_mono_us() - x->begun_us);
    x->took_all_us = clock_mono_us() - x->begun_us;
    return x->events == x->wanted ? LOG_STOP : 0;
}

static int pause_consume(struct tap *t, void *data)
{
    struct bench *x = data;
    progress_at(&x->progress, x->events);
    return t->closed ? LOG_STOP : 0;
}

static int consume_all(struct bench *x)
{
    struct queue_subscribe wanted;
    (void)log_wanted(&x->t->options, &wanted); // without a range there can always be something
    wanted.credit = BENCH_CREDIT;
    progress_begin(&x->progress, "read", x->wanted);
    x->begun_us = clock_mono_us();
    int status = log_read(x->t, &wanted, take, pause_consume, x);
    progress_end(&x->progress);
    return status;
}

int bench_consume(struct tap *t)
{
    struct bench x;
    int status = open_bench(&x, t, "consume");
    status = status ? status : run_bench(&x, consume_all);
    close_bench(&x);
    return status;
}

// --- e2e

struct e2e {
    struct bench *bench;
    struct queue_subscription *s;
    uint64_t sent; // events; their times of sending stand where their times will
    bool ready, done;
};

static void on_event(struct queue_subscription *s, uint64_t seq, int64_t stored_ms,
                     struct str encoded, void *data)
{
    struct e2e *e = data;
    struct bench *x = e->bench;
    (void)seq, (void)stored_ms;
    if (x->events < e->sent) { // events of one topic come in the order in which they were sent
        x->took_us[x->events] = clock_mono_us() - x->took_us[x->events];
        x->n = ++x->events;
        x->bytes += encoded.n;
        e->done = x->events == x->wanted;
    }
    queue_subscription_grant(s, 1);
}

static void on_caught_up(struct queue_subscription *s, uint64_t next_seq, void *data)
{
    struct e2e *e = data;
    (void)s, (void)next_seq;
    e->ready = true;
}

static void on_ended(struct queue_subscription *s, struct str reason, struct str detail,
                     uint64_t next_seq, void *data)
{
    struct e2e *e = data;
    (void)s, (void)reason, (void)detail, (void)next_seq;
    e->s = NULL;
    e->ready = e->done = true;
}

static int send_all(struct e2e *e, struct batch *batch)
{
    struct bench *x = e->bench;
    struct pace pace;
    int status = TAP_OK;
    batch->max_n = 1;
    batch->max_in_flight = 1; // without --rate each waits for the one before
    pace_begin(&pace, x->t->options.rate);
    x->begun_us = clock_mono_us();
    while (status == TAP_OK && e->sent < x->wanted) {
        status = pace_wait(&pace, x->t, NULL);
        x->took_us[e->sent++] = clock_mono_us();
        status = status ? status : publish_one(x, batch);
        progress_at(&x->progress, e->sent);
    }
    status = status ? status : batch_finish(batch);
    status = status ? status : tap_waited(x->t, tap_wait(x->t, &e->done, x->t->options.timeout_ms));
    x->took_all_us = clock_mono_us() - x->begun_us;
    return status;
}

static int round_trips(struct bench *x)
{
    struct e2e e = { .bench = x };
    struct batch batch;
    struct queue_subscription_callbacks callbacks = { on_event, NULL,     on_caught_up,
                                                      NULL,     on_ended, &e };
    struct queue_subscribe wanted = { .filters = { str_of(topic_of(x->t)) },
                                      .n_filters = 1,
                                      .from = QUEUE_FROM_END,
                                      .follow = true,
                                      .credit = BENCH_CREDIT };
    int rc = queue_client_subscribe(x->t->queue, &wanted, &callbacks, &e.s);
    if (rc) {
        return tap_fail(x->t, TAP_UNREACHABLE, "cannot subscribe: %s", strerror(-rc));
    }
    batch_open(&batch, x->t, NULL);
    progress_begin(&x->progress, "sent", x->wanted);
    int status = tap_waited(x->t, tap_wait(x->t, &e.ready, x->t->options.timeout_ms));
    status = status ? status : send_all(&e, &batch);
    progress_end(&x->progress);
    if (e.s && x->t->queue) {
        queue_subscription_close(&e.s);
    }
    batch_close(&batch);
    return status;
}

int bench_e2e(struct tap *t)
{
    struct bench x;
    int status = open_bench(&x, t, "e2e");
    if (status == TAP_OK) {
        status = confirm(t, "Publish %" PRIu64 " events to %s?", x.wanted, topic_of(t));
        status = status < 0 ? run_bench(&x, round_trips) : status;
    }
    close_bench(&x);
    return status;
}
