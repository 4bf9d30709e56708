// SPDX-License-Identifier: MIT
// The peer of the queue bench: publishes N messages of S bytes to a JetStream file stream with W in flight, then
// reads them with a durable pull consumer and explicit acknowledgements. Prints one JSON line. The stream is
// made with the server's defaults: no fsync before the acknowledgement.
//
//     bench_jetstream URL COUNT BYTES WINDOW [PID]
//
// PID is the server's: what it used is printed as well.
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nats/nats.h>

#include "tests/bench/usage.h"

#define FETCH 500
#define WAIT_MS 30000

static const char stream[] = "BENCH", subject[] = "bench.event";
static _Atomic int64_t failed;

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_error(jsCtx *js, jsPubAckErr *error, void *closure)
{
    (void)js, (void)error, (void)closure;
    atomic_fetch_add(&failed, 1);
}

static int64_t number_of(const char *text)
{
    int64_t n = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        n = n * 10 + (*text - '0');
    }
    return n;
}

static natsStatus publish(jsCtx *js, int64_t count, int size, double *ret_seconds)
{
    char *data = calloc(1, (size_t)size);
    natsStatus s = data ? NATS_OK : NATS_NO_MEMORY;
    double start = now_s();
    for (int64_t i = 0; s == NATS_OK && i < count; i++) {
        s = js_PublishAsync(js, subject, data, size, NULL);
    }
    if (s == NATS_OK) {
        jsPubOptions options;
        (void)jsPubOptions_Init(&options);
        options.MaxWait = WAIT_MS;
        s = js_PublishAsyncComplete(js, &options);
    }
    *ret_seconds = now_s() - start;
    free(data);
    return s;
}

static natsStatus consume(jsCtx *js, int64_t count, double *ret_seconds)
{
    natsSubscription *sub = NULL;
    natsStatus s = js_PullSubscribe(&sub, js, subject, "bench", NULL, NULL, NULL);
    double start = now_s();
    for (int64_t got = 0; s == NATS_OK && got < count;) {
        natsMsgList list;
        s = natsSubscription_Fetch(&list, sub, FETCH, WAIT_MS, NULL);
        for (int i = 0; s == NATS_OK && i < list.Count; i++) {
            s = natsMsg_Ack(list.Msgs[i], NULL);
            got++;
        }
        natsMsgList_Destroy(&list);
    }
    *ret_seconds = now_s() - start;
    natsSubscription_Destroy(sub);
    return s;
}

static natsStatus add_stream(jsCtx *js)
{
    jsStreamConfig config;
    const char *subjects[] = { subject };
    (void)jsStreamConfig_Init(&config);
    config.Name = stream;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    return js_AddStream(NULL, js, &config, NULL, NULL);
}

int main(int argc, char **argv)
{
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    jsOptions options;
    double published = 0, consumed = 0;
    if (argc < 5 || argc > 6) {
        (void)fprintf(stderr, "usage: bench_jetstream URL COUNT BYTES WINDOW [PID]\n");
        return 64;
    }
    int64_t count = number_of(argv[2]);
    (void)jsOptions_Init(&options);
    options.PublishAsync.MaxPending = number_of(argv[4]);
    options.PublishAsync.StallWait = WAIT_MS;
    options.PublishAsync.ErrHandler = on_error;
    natsStatus s = natsConnection_ConnectTo(&connection, argv[1]);
    s = s == NATS_OK ? natsConnection_JetStream(&js, connection, &options) : s;
    s = s == NATS_OK ? add_stream(js) : s;
    pid_t server = argc > 5 ? (pid_t)number_of(argv[5]) : 0;
    struct usage before = usage_of(server);
    s = s == NATS_OK ? publish(js, count, (int)number_of(argv[3]), &published) : s;
    struct usage between = usage_of(server);
    s = s == NATS_OK ? consume(js, count, &consumed) : s;
    if (s == NATS_OK && atomic_load(&failed) == 0) {
        struct usage after = usage_of(server);
        (void)printf("{\"publish_per_s\": %.0f, \"consume_per_s\": %.0f, \"publish_cpu_us\": %.3f, "
                     "\"consume_cpu_us\": %.3f, \"written\": %.2f}\n",
                     (double)count / published, (double)count / consumed,
                     (between.cpu_s - before.cpu_s) * 1e6 / (double)count,
                     (after.cpu_s - between.cpu_s) * 1e6 / (double)count,
                     (after.written_bytes - before.written_bytes) /
                         (double)(count * number_of(argv[3])));
    } else {
        (void)fprintf(stderr, "bench_jetstream: %s, %" PRId64 " failed\n", natsStatus_GetText(s),
                      atomic_load(&failed));
    }
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
    nats_Close();
    return s == NATS_OK && atomic_load(&failed) == 0 ? 0 : 1;
}
