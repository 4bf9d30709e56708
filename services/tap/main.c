// SPDX-License-Identifier: MIT
// sluice-tap: looks into the event queue. Ctrl-C ends it at once, unless a command has something to
// put back.
#include "services/tap/tap.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>

#include <czmq.h>
#include <sodium.h>

#include "common/curve.h"

static void close_all(struct tap *t)
{
    if (!t->opened) {
        return;
    }
    queue_client_close(&t->queue); // its subscriptions go with it
    uv_close((uv_handle_t *)&t->timer, NULL);
    if (t->on_int.data) {
        uv_close((uv_handle_t *)&t->on_int, NULL);
        uv_close((uv_handle_t *)&t->on_term, NULL);
    }
    (void)uv_run(&t->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&t->loop);
    assert(rc == 0); // every handle was closed
    (void)rc;
}

static int run(struct tap *t)
{
    buf_init(&t->out, TAP_OUT_BYTES);
    int status = commands[t->options.command].run(t);
    (void)tap_flush(t);
    close_all(t);
    buf_fini(&t->out);
    curve_close(&t->curve);
    return t->damaged && status <= TAP_NOTHING ? TAP_DAMAGE : status;
}

int main(int argc, char **argv)
{
    static struct tap tap;
    (void)signal(SIGPIPE, SIG_IGN); // a closed pipe ends the run quietly
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
