// SPDX-License-Identifier: MIT
// The connection, waiting, and printing: what tap.h promises.
#include "services/tap/tap.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/curve.h"
#include "common/handshakes.h"

#define PATH_BYTES 2048

bool tap_flush(struct tap *t)
{
    if (t->out.len && (fwrite(t->out.data, 1, t->out.len, stdout) < t->out.len || fflush(stdout))) {
        if (errno != EPIPE && !t->closed) {
            (void)tap_fail(t, 0, "cannot print: %s", strerror(errno));
        }
        t->closed = true;
    }
    buf_reset(&t->out);
    return !t->closed;
}

int tap_fail(struct tap *t, int status, const char *format, ...)
{
    va_list args;
    (void)t;
    va_start(args, format);
    (void)fprintf(stderr, "sluice-tap: ");
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
    return status;
}

static void on_time(uv_timer_t *handle)
{
    struct tap *t = handle->data;
    t->late = true;
}

int tap_wait(struct tap *t, const bool *done, int64_t timeout_ms)
{
    int rc = 0;
    t->late = false;
    if (timeout_ms >= 0) {
        uv_update_time(&t->loop);
        (void)uv_timer_start(&t->timer, on_time, (uint64_t)timeout_ms, 0); // has a callback
    }
    while (!(done && *done) && !t->late && !t->interrupted && !t->closed) {
        (void)uv_run(&t->loop, UV_RUN_ONCE);
    }
    rc = t->closed ? -EPIPE : t->interrupted ? -EINTR : done && *done ? 0 : -ETIMEDOUT;
    (void)uv_timer_stop(&t->timer);
    return rc;
}

int tap_waited(struct tap *t, int rc)
{
    switch (rc) {
    case 0:
    case -EPIPE:
        return TAP_OK;
    case -EINTR:
        return TAP_INTERRUPTED;
    case -ETIMEDOUT:
        (void)tap_flush(t);
        return tap_fail(t, TAP_UNREACHABLE,
                        "the queue at %s does not answer within %lld ms; is it running?",
                        t->endpoint, (long long)t->options.timeout_ms);
    default:
        return tap_fail(t, TAP_UNREACHABLE, "%s: %s", t->endpoint, strerror(-rc));
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct tap *t = handle->data;
    (void)number;
    t->interrupted = true;
}

void tap_catch_signals(struct tap *t)
{
    if (t->on_int.data) {
        return;
    }
    (void)uv_signal_init(&t->loop, &t->on_int); // without it the signal ends the process, as before
    (void)uv_signal_init(&t->loop, &t->on_term);
    t->on_int.data = t->on_term.data = t;
    (void)uv_signal_start(&t->on_int, on_signal, SIGINT);
    (void)uv_signal_start(&t->on_term, on_signal, SIGTERM);
}

static void on_up(struct queue_client *queue, void *data)
{
    struct tap *t = data;
    (void)queue;
    t->up = true;
}

static void on_down(struct queue_client *queue, void *data)
{
    struct tap *t = data;
    (void)queue;
    t->up = false;
    if (t->options.follow || t->options.watch) {
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
        int rc = -errno;
        (void)tap_fail(t, 0, "%s: %s; SLUICE_HOME or --queue says where the queue is", home,
                       strerror(errno));
        return rc;
    }
    (void)snprintf(t->endpoint, sizeof t->endpoint, "ipc://%s/run/queue.sock", real);
    free(real);
    return 0;
}

static void print_handshake(const char *text)
{
    (void)fprintf(stderr, "sluice-tap: %s\n", text);
}

static int open_curve(struct tap *t)
{
    char dir[PATH_BYTES];
    const char *home = getenv("SLUICE_HOME");
    if (strncmp(t->endpoint, "tcp://", 6) != 0) {
        return 0;
    }
    (void)snprintf(dir, sizeof dir, "%s/secrets/curve", home && *home ? home : "./var");
    char error[CURVE_ERROR_SIZE];
    int rc = curve_open(dir, "tap", 0, error, &t->curve);
    if (rc) {
        (void)tap_fail(t, 0, "the key for %s: %s", t->endpoint, error);
    } else {
        handshakes_open(print_handshake);
    }
    return rc;
}

int tap_connect(struct tap *t)
{
    struct queue_client_callbacks callbacks = { on_up, on_down, t };
    assert(!t->opened);
    if (find_queue(t) || open_curve(t)) {
        return TAP_UNREACHABLE;
    }
    int rc = uv_loop_init(&t->loop);
    if (rc) {
        return tap_fail(t, TAP_UNREACHABLE, "cannot make a loop: %s", uv_strerror(rc));
    }
    t->opened = true;
    (void)uv_timer_init(&t->loop, &t->timer); // cannot fail
    t->timer.data = t;
    rc = queue_client_open(&t->loop, t->endpoint, t->curve, &callbacks, &t->queue);
    if (rc) {
        return tap_fail(t, TAP_UNREACHABLE, "%s: %s", t->endpoint, strerror(-rc));
    }
    return tap_waited(t, tap_wait(t, &t->up, t->options.timeout_ms));
}

void tap_element(struct tap *t)
{
    if (t->options.style.format == RENDER_JSON) {
        buf_append_z(&t->out, t->bracket ? ",\n " : "[");
        t->bracket = true;
    }
}

void tap_element_end(struct tap *t)
{
    if (t->options.style.format == RENDER_NDJSON) {
        buf_append_char(&t->out, '\n');
    }
}

void tap_list_end(struct tap *t)
{
    if (t->options.style.format == RENDER_JSON) {
        buf_append_z(&t->out, t->bracket ? "]\n" : "[]\n");
        t->bracket = false;
    }
}
