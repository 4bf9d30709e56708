// SPDX-License-Identifier: MIT
#include "gateway/console_alerts.h"

#include "common/admin_fetch.h"

#include <errno.h>
#include <stdlib.h>

#define NO_ALERTS "{\"alerts\":null}"

struct console_alerts {
    uv_loop_t *loop;
    struct address to;
    bool reachable;            // the path fits into an address
    struct admin_fetch *fetch; // on its way; NULL: nothing is
    void (*on_alerts)(struct str json, void *data);
    void *data;
};

int console_alerts_open(struct gateway *g, struct console_alerts **ret_alerts)
{
    struct console_alerts *a = calloc(1, sizeof *a);
    const char *socket = process_path(g->process, "run/supervisor.admin.sock", false);
    char text[2048];
    if (!a || !socket) {
        free(a);
        return -ENOMEM;
    }
    (void)snprintf(text, sizeof text, "unix:%s", socket);
    a->loop = g->loop;
    a->reachable = address_parse(str_of(text), &a->to) == 0;
    *ret_alerts = a;
    return 0;
}

void console_alerts_close(struct console_alerts **alerts)
{
    struct console_alerts *a = *alerts;
    *alerts = NULL;
    if (a && a->fetch) {
        admin_fetch_cancel(&a->fetch);
    }
    free(a);
}

static void on_fetched(int status, struct str body, void *data)
{
    struct console_alerts *a = data;
    a->fetch = NULL;
    bool fits = status == 200 && body.n > 0 && !memchr(body.p, '\n', body.n);
    a->on_alerts(fits ? body : STR(NO_ALERTS), a->data);
}

void console_alerts_ask(struct console_alerts *a, void (*on_alerts)(struct str json, void *data),
                        void *data)
{
    if (a->fetch || !a->reachable) {
        return;
    }
    struct admin_fetch_options options = { .loop = a->loop,
                                           .to = &a->to,
                                           .path = "/alerts",
                                           .accept = "application/json",
                                           .timeout_ms = CONSOLE_ALERTS_WAIT_MS,
                                           .max_bytes = CONSOLE_ALERTS_BYTES,
                                           .on_done = on_fetched,
                                           .data = a };
    a->on_alerts = on_alerts;
    a->data = data;
    if (admin_fetch(&options, &a->fetch)) {
        a->fetch = NULL; // no memory: with the next question
    }
}
