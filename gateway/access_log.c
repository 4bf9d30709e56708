// SPDX-License-Identifier: MIT
#include "gateway/access_log.h"

#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>

#define MS_SIZE 24 // the longest number of microseconds, with its point

// The loop is about to sleep.
static void on_prepare(uv_prepare_t *handle)
{
    (void)handle;
    log_release();
}

void access_log_open(struct access_log *l, uv_loop_t *loop, bool on)
{
    l->on = on; // whatever the level: it may be changed
    if (l->on) {
        (void)uv_prepare_init(loop, &l->prepare);        // cannot fail
        (void)uv_prepare_start(&l->prepare, on_prepare); // fails without callback only
    }
}

// Microseconds as milliseconds with three decimals, at the end of out. There are six of them in each
// line, and snprintf() would take longer than all the rest of it.
static const char *ms_text(int64_t us, char out[MS_SIZE])
{
    char *p = out + MS_SIZE;
    uint64_t rest = us > 0 ? (uint64_t)us : 0;
    *--p = '\0';
    for (int digits = 0; digits < 4 || rest > 0; digits++) {
        if (digits == 3) {
            *--p = '.';
        }
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    }
    return p;
}

void access_log_write(struct access_log *l, const struct access_entry *e)
{
    if (!l->on || !log_enabled(LEVEL_INFO)) {
        return;
    }
    char method[16], status[8], bytes[24], duration[MS_SIZE], hops[HOPS_COUNT][MS_SIZE];
    (void)snprintf(method, sizeof method, "%.*s", STR_ARG(e->method));
    (void)snprintf(status, sizeof status, "%d", e->status);
    (void)snprintf(bytes, sizeof bytes, "%" PRIu64, e->bytes);
    const char *fields[] = {
        "http.request.method",
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
        ms_text(e->duration_us, duration),
#define X(symbol, name)                                                                            \
    "#" name "_ms",                                                                                \
        e->hops->us[HOP_##symbol] == HOP_NOT_REACHED                                               \
            ? NULL                                                                                 \
            : ms_text(e->hops->us[HOP_##symbol], hops[HOP_##symbol]),
        HOPS(X)
#undef X
            "request.id",
        e->request_id,
        NULL
    };
    log_hold();
    log_fields_at(NULL, LEVEL_INFO, e->trace, "request", fields);
}

void access_log_close(struct access_log *l)
{
    if (l->on) {
        l->on = false;
        uv_close((uv_handle_t *)&l->prepare, NULL);
        log_release();
    }
}
