// SPDX-License-Identifier: MIT
// sluice-tap: looks into the event queue. Ctrl-C ends it at once: there is nothing to clean up.
#include "services/tap/tap.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <czmq.h>
#include <sodium.h>

#include "common/curve.h"

#define OUT_BYTES (16 * 1024 * 1024) // one frame of events as text
#define PATH_BYTES 2048

void tap_flush(struct tap *t)
{
    if (t->out.len && (fwrite(t->out.data, 1, t->out.len, stdout) < t->out.len || fflush(stdout))) {
        tap_finish(t, errno == EPIPE ? TAP_OK : TAP_UNREACHABLE);
    }
    buf_reset(&t->out);
}

static void close_all(struct tap *t)
{
    t->reading = NULL; // goes with the client
    queue_client_close(&t->queue);
    uv_close((uv_handle_t *)&t->timer, NULL);
}

void tap_finish(struct tap *t, int status)
{
    if (!t->finished) {
        t->finished = true;
        t->status = status;
        close_all(t);
    }
}

void tap_fail(struct tap *t, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "sluice-tap: ");
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
    tap_finish(t, status);
}

static void on_timeout(uv_timer_t *handle)
{
    struct tap *t = handle->data;
    tap_flush(t);
    tap_fail(t, TAP_UNREACHABLE, "the queue at %s does not answer within %lld ms; is it running?",
             t->endpoint, (long long)t->options.timeout_ms);
}

void tap_expect(struct tap *t, bool expected)
{
    if (t->finished) {
        return;
    }
    if (expected) {
        (void)uv_timer_start(&t->timer, on_timeout, (uint64_t)t->options.timeout_ms,
                             0); // has a callback
    } else {
        (void)uv_timer_stop(&t->timer);
    }
}

static void on_up(struct queue_client *queue, void *data)
{
    struct tap *t = data;
    (void)queue;
    if (t->started || t->finished) {
        return; // the client goes on where it was by itself
    }
    t->started = true;
    switch (t->options.command) {
    case TAP_LS:
    case TAP_INFO:
        look_start(t);
        break;
    case TAP_TAIL_EVENTS:
    case TAP_CAT:
    case TAP_GET:
        read_start(t);
        break;
    case TAP_PUB:
        publish_start(t);
        break;
    }
}

static void on_down(struct queue_client *queue, void *data)
{
    struct tap *t = data;
    (void)queue;
    if (!t->finished && !t->options.follow) {
        tap_expect(t, true);
    } else if (!t->finished) {
        (void)fprintf(stderr, "sluice-tap: the queue is away, waiting for it\n");
    }
}

// The endpoint from the options, the environment or the home, in that order.
static int find_queue(struct tap *t)
{
    const char *given = t->options.queue ? t->options.queue : getenv("SLUICE_QUEUE");
    const char *home = getenv("SLUICE_HOME");
    home = home && *home ? home : "./var";
    if (given && *given) {
        (void)snprintf(t->endpoint, sizeof t->endpoint, "%s", given);
        return 0;
    }
    char *real = realpath(home, NULL);
    if (!real) {
        (void)fprintf(stderr,
                      "sluice-tap: %s: %s; SLUICE_HOME or --queue says where the queue is\n", home,
                      strerror(errno));
        return -errno;
    }
    (void)snprintf(t->endpoint, sizeof t->endpoint, "ipc://%s/run/queue.sock", real);
    free(real);
    return 0;
}

static int open_curve(struct tap *t)
{
    char dir[PATH_BYTES];
    const char *home = getenv("SLUICE_HOME");
    if (strncmp(t->endpoint, "tcp://", 6) != 0) {
        return 0;
    }
    (void)snprintf(dir, sizeof dir, "%s/secrets/curve", home && *home ? home : "./var");
    int rc = curve_open(dir, "client", 0, &t->curve);
    if (rc) {
        (void)fprintf(stderr, "sluice-tap: the keys for %s in %s: %s\n", t->endpoint, dir,
                      strerror(-rc));
    }
    return rc;
}

static int run(struct tap *t)
{
    struct queue_client_callbacks callbacks = { on_up, on_down, t };
    if (find_queue(t) || open_curve(t)) {
        return TAP_UNREACHABLE;
    }
    int rc = uv_loop_init(&t->loop);
    rc = rc ? rc : queue_client_open(&t->loop, t->endpoint, t->curve, &callbacks, &t->queue);
    if (rc) {
        (void)fprintf(stderr, "sluice-tap: %s: %s\n", t->endpoint, strerror(-rc));
        return TAP_UNREACHABLE;
    }
    (void)uv_timer_init(&t->loop, &t->timer); // cannot fail
    t->timer.data = t;
    buf_init(&t->out, OUT_BYTES);
    tap_expect(t, true);
    (void)uv_run(&t->loop, UV_RUN_DEFAULT);
    buf_fini(&t->out);
    rc = uv_loop_close(&t->loop);
    assert(rc == 0); // every handle was closed
    curve_close(&t->curve);
    return t->damaged && t->status <= TAP_NOTHING ? TAP_DAMAGE : t->status;
}

int main(int argc, char **argv)
{
    static struct tap tap;
    int status = options_parse(argc, argv, &tap.options);
    if (status >= 0) {
        return status;
    }
    zsys_handler_set(NULL);
    if (sodium_init() < 0) {
        return TAP_UNREACHABLE;
    }
    status = run(&tap);
    zsys_shutdown();
    return status;
}
