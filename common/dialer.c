// SPDX-License-Identifier: MIT
#include "common/dialer.h"

#include "common/curve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define ENDPOINT_BYTES 512
#define KEYS 2 // of a server: the one it has, and the one it had before

struct dialer {
    void *socket;
    struct curve *curve;
    char endpoint[ENDPOINT_BYTES];
    char server[64];
    unsigned failures; // handshakes in a row
    bool dialled;      // libzmq has the endpoint
    uv_timer_t timer;
};

// Hands the endpoint to libzmq, with the server's present key or the one before.
static int dial(struct dialer *d)
{
    bool old = d->failures % KEYS == 1;
    int rc = curve_apply_client(d->curve, d->socket, d->server, old);
    if (rc == -ENOENT && old) {
        rc = curve_apply_client(d->curve, d->socket, d->server, false);
    }
    if (rc == 0 && zmq_connect(d->socket, d->endpoint)) {
        rc = -zmq_errno();
    }
    d->dialled = rc == 0;
    return rc;
}

static void on_timer(uv_timer_t *timer);

static void dial_in(struct dialer *d, uint64_t ms)
{
    if (d->dialled) {
        (void)zmq_disconnect(d->socket, d->endpoint); // it was connected with this very name
        d->dialled = false;
    }
    (void)uv_timer_start(&d->timer, on_timer, ms, 0); // has a callback
}

static void on_timer(uv_timer_t *timer)
{
    struct dialer *d = timer->data;
    if (dial(d)) {
        dial_in(d, DIALER_RETRY_MS); // the server's key is not there at the moment
    }
}

static void report(const struct dialer *d, enum handshake_failure failure)
{
    static const char *const causes[] = {
        [HANDSHAKE_AUTH] = "it does not know the key of this process",
        [HANDSHAKE_PROTOCOL] = "it does not speak CURVE as this process does",
        [HANDSHAKE_CLOSED] = "it hung up; most likely its key is another than",
    };
    char text[HANDSHAKES_TEXT_SIZE];
    (void)snprintf(text, sizeof text, "no encrypted link to the %s at %.300s: %s%s%s%s", d->server,
                   d->endpoint, causes[failure], failure == HANDSHAKE_CLOSED ? " public/" : "",
                   failure == HANDSHAKE_CLOSED ? d->server : "",
                   failure == HANDSHAKE_CLOSED ? ".key here" : "");
    handshakes_report(text);
}

void dialer_failed(struct dialer *d, enum handshake_failure failure)
{
    handshakes_count(failure);
    if (!d->dialled) {
        return; // of the connection that was just given up
    }
    d->failures++;
    if (d->failures % KEYS == 0) {
        report(d, failure);
        dial_in(d, DIALER_RETRY_MS);
    } else {
        dial_in(d, DIALER_NEXT_MS);
    }
}

void dialer_event(struct dialer *d, bool up)
{
    if (up) {
        d->failures = 0;
    } else if (d->dialled) {
        // The server may have come back with another key. Or, after a failure: what came was so wrong
        // that libzmq gave up without saying so, and it does not try again.
        dial_in(d, d->failures ? DIALER_RETRY_MS : DIALER_NEXT_MS);
    }
}

int dialer_open(uv_loop_t *loop, void *zmq_socket, const char *endpoint, struct curve *curve,
                const char *server_name, struct dialer **ret_dialer)
{
    struct dialer *d = calloc(1, sizeof *d);
    if (!d) {
        return -ENOMEM;
    }
    d->socket = zmq_socket;
    d->curve = curve;
    int n = snprintf(d->endpoint, sizeof d->endpoint, "%s", endpoint);
    (void)snprintf(d->server, sizeof d->server, "%s", server_name); // a name of ours
    int rc = n > 0 && (size_t)n < sizeof d->endpoint ? dial(d) : -ENAMETOOLONG;
    if (rc) {
        free(d);
        return rc;
    }
    (void)uv_timer_init(loop, &d->timer); // cannot fail
    d->timer.data = d;
    *ret_dialer = d;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void dialer_close(struct dialer **dialer)
{
    struct dialer *d = *dialer;
    *dialer = NULL;
    if (d) {
        uv_close((uv_handle_t *)&d->timer, on_closed);
    }
}
