// SPDX-License-Identifier: MIT
// Another peer of the queue bench: adds N messages of S bytes to a Redis stream with W in flight on one connection,
// then reads them as a group (XREADGROUP of FETCH) and acknowledges them (one XACK for each reading). Prints one
// JSON line. The server decides whether it syncs: tests/bench/run starts it with `appendfsync always`.
//
//     bench_redis PORT COUNT BYTES WINDOW PID
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hiredis/hiredis.h>

#include "tests/bench/usage.h"

#define FETCH 500

static redisContext *connection;

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

_Noreturn static void fail(const char *what)
{
    (void)fprintf(stderr, "bench_redis: %s: %s\n", what, connection ? connection->errstr : "");
    exit(1);
}

// The next answer, which must be of this type; the caller frees it.
static redisReply *answer(int type)
{
    void *reply = NULL;
    if (redisGetReply(connection, &reply) != REDIS_OK) {
        fail("no answer");
    }
    redisReply *r = reply;
    if (r->type != type) {
        fail(r->type == REDIS_REPLY_ERROR ? r->str : "an answer of another type");
    }
    return r;
}

static double publish(long count, size_t bytes, long window)
{
    char *data = calloc(1, bytes);
    if (!data) {
        fail("memory");
    }
    long sent = 0, acknowledged = 0;
    double start = now_s();
    while (acknowledged < count) {
        for (; sent < count && sent < acknowledged + window; sent++) {
            if (redisAppendCommand(connection, "XADD bench * d %b", data, bytes) != REDIS_OK) {
                fail("XADD");
            }
        }
        freeReplyObject(answer(REDIS_REPLY_STRING));
        acknowledged++;
    }
    free(data);
    return now_s() - start;
}

static void acknowledge(redisReply *messages)
{
    static const char *words[FETCH + 3] = { "XACK", "bench", "group" };
    for (size_t i = 0; i < messages->elements; i++) {
        words[3 + i] = messages->element[i]->element[0]->str;
    }
    if (redisAppendCommandArgv(connection, (int)messages->elements + 3, words, NULL) != REDIS_OK) {
        fail("XACK");
    }
    redisReply *r = answer(REDIS_REPLY_INTEGER);
    if (r->integer != (long long)messages->elements) {
        fail("XACK took less than was read");
    }
    freeReplyObject(r);
}

static double consume(long count)
{
    double start = now_s();
    for (long got = 0; got < count;) {
        if (redisAppendCommand(connection, "XREADGROUP GROUP group me COUNT %d STREAMS bench >",
                               FETCH) != REDIS_OK) {
            fail("XREADGROUP");
        }
        redisReply *r = answer(REDIS_REPLY_ARRAY), *messages = r->element[0]->element[1];
        acknowledge(messages);
        got += (long)messages->elements;
        freeReplyObject(r);
    }
    return now_s() - start;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        (void)fprintf(stderr, "usage: bench_redis PORT COUNT BYTES WINDOW PID\n");
        return 64;
    }
    long count = strtol(argv[2], NULL, 10), bytes = strtol(argv[3], NULL, 10);
    pid_t server = (pid_t)strtol(argv[5], NULL, 10);
    connection = redisConnect("127.0.0.1", (int)strtol(argv[1], NULL, 10));
    if (!connection || connection->err) {
        fail("connecting");
    }
    if (redisAppendCommand(connection, "XGROUP CREATE bench group 0 MKSTREAM") != REDIS_OK) {
        fail("XGROUP");
    }
    freeReplyObject(answer(REDIS_REPLY_STATUS));
    struct usage before = usage_of(server);
    double published = publish(count, (size_t)bytes, strtol(argv[4], NULL, 10));
    struct usage between = usage_of(server);
    double consumed = consume(count);
    struct usage after = usage_of(server);
    (void)printf("{\"publish_per_s\": %.0f, \"consume_per_s\": %.0f, \"publish_cpu_us\": %.3f, "
                 "\"consume_cpu_us\": %.3f, \"written\": %.2f}\n",
                 (double)count / published, (double)count / consumed,
                 (between.cpu_s - before.cpu_s) * 1e6 / (double)count,
                 (after.cpu_s - between.cpu_s) * 1e6 / (double)count,
                 (after.written_bytes - before.written_bytes) / (double)(count * bytes));
    redisFree(connection);
    return 0;
}
