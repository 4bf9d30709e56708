// SPDX-License-Identifier: MIT
#include "gateway/access_log.h"

#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>

// The loop is about to sleep.
static void on_prepare(uv_prepare_t *handle)
{
    (void)handle;
    log_release();
}

void access_log_open(struct access_log *l, uv_loop_t *loop, bool on)
{
    l->on = on && log_enabled(LEVEL_INFO);
    if (l->on) {
        (void)uv_prepare_init(loop, &l->prepare);        // cannot fail
        (void)uv_prepare_start(&l->prepare, on_prepare); // fails without callback only
    }
}

void access_log_write(struct access_log *l, const struct access_entry *e)
{
    if (!l->on) {
        return;
    }
    char method[16], status[8], bytes[24], duration[32];
    (void)snprintf(method, sizeof method, "%.*s", STR_ARG(e->method));
    (void)snprintf(status, sizeof status, "%d", e->status);
    (void)snprintf(bytes, sizeof bytes, "%" PRIu64, e->bytes);
    (void)snprintf(duration, sizeof duration, "%" PRId64 ".%03d", e->duration_us / 1000,
                   (int)(e->duration_us % 1000));
    const char *fields[] = { "http.request.method",
                             method,
                             "http.route",
                             e->route,
                             "client.address",
                             e->client ? e->client : "",
                             "#http.response.status_code",
                             status,
                             "#http.response.body.size",
                             bytes,
                             "#duration_ms",
                             duration,
                             "request.id",
                             e->request_id,
                             NULL };
    log_hold();
    log_fields(LEVEL_INFO, e->trace, "request", fields);
}

void access_log_close(struct access_log *l)
{
    if (l->on) {
        l->on = false;
        uv_close((uv_handle_t *)&l->prepare, NULL);
        log_release();
    }
}
