// SPDX-License-Identifier: MIT
#include "gateway/opening.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/backend.h"
#include "gateway/revocation_feed.h"

#include <errno.h>
#include <stdlib.h>

struct opening {
    struct gateway *gateway;
    void (*open)(struct gateway *g);
    int64_t begin_ms; // monotonic
    uv_timer_t timer;
};

// A service without a writer would fail half of its routes.
static bool has_worker(const struct worker_table *t, struct str service)
{
    for (size_t i = 0; i < WORKER_SLOTS; i++) {
        const struct worker *w = t->slots[i];
        if (w && w->state == WORKER_SERVING && w->role != FRAME_ROLE_READER &&
            str_eq(str_of(w->table->service->name), service)) {
            return true;
        }
    }
    return false;
}

// The first of the comma-separated services that has no worker; p == NULL: all have one.
static struct str missing_service(const struct worker_table *t, const char *expected)
{
    for (const char *p = expected; p && *p; p += *p == ',') {
        struct str service = { p, strcspn(p, ",") };
        if (service.n > 0 && !has_worker(t, service)) {
            return service;
        }
        p += service.n;
    }
    return (struct str){ NULL, 0 };
}

static void on_tick(uv_timer_t *timer)
{
    struct opening *o = timer->data;
    struct gateway *g = o->gateway;
    struct str missing = missing_service(backend_workers(g->backend), g->config.expect);
    bool unheard = !revocation_feed_has_replayed(g->revocation_feed);
    int64_t waited_ms = clock_mono_ms() - o->begin_ms;
    if ((missing.p && waited_ms < g->config.expect_wait_ms) ||
        (unheard && waited_ms < g->config.revocation_wait_ms)) {
        return;
    }
    if (missing.p) {
        log_warn("%.*s has no worker yet; opening the port without it", STR_ARG(missing));
    }
    void (*open)(struct gateway *) = o->open;
    opening_close(&g->opening);
    open(g);
    if (unheard && process_is_ready(g->process)) { // else the process ends with a line of its own
        log_error("the queue did not tell of revocations within SLUICE_REVOCATION_WAIT (%lld ms); "
                  "the port is open without: revoked access tokens are taken until it is back or "
                  "they expire",
                  (long long)g->config.revocation_wait_ms);
    }
}

int opening_begin(struct gateway *g, void (*open)(struct gateway *g))
{
    struct opening *o = calloc(1, sizeof *o);
    if (!o) {
        return -ENOMEM;
    }
    o->gateway = g;
    o->open = open;
    o->begin_ms = clock_mono_ms();
    (void)uv_timer_init(g->loop, &o->timer); // cannot fail
    o->timer.data = o;
    (void)uv_timer_start(&o->timer, on_tick, 0, OPENING_TICK_MS); // fails only without a callback
    g->opening = o;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void opening_close(struct opening **opening)
{
    struct opening *o = *opening;
    *opening = NULL;
    if (o) {
        uv_close((uv_handle_t *)&o->timer, on_closed);
    }
}
