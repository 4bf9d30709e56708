// SPDX-License-Identifier: MIT
// The console: a page at the admin listener that shows what happens. What it shows comes as
// server-sent events from one timer that all open pages share, and that stops with the last of them.
//
//   GET  /console, /console/...      the page, its script, style and icon: for everybody who reaches
//                                    the listener; there is nothing in them
//   GET  /console/events             server-sent events: hello, topology, figures, slow, queue,
//                                    alerts
//   GET  /console/tail               server-sent events: the queue's, live (console_tail.h)
//   GET  /console/dead               dead letters of a group (console_letters.h)
//   POST /console/dead/retry, /drop
//
// All but the page want the admin token, as `Authorization: Bearer`, on every listener: events have
// personal data. The page keeps the token in its tab; there is no cookie, so that no other page can
// use it. Without a token (SLUICE_ADMIN_TOKEN, secrets/admin-token) there is no console.
#ifndef GATEWAY_CONSOLE_H
#define GATEWAY_CONSOLE_H

#include "gateway/gateway.h"

#define CONSOLE_MAX_CLIENTS 8   // open pages -> 503
#define CONSOLE_TICK_MS 1000    // topology
#define CONSOLE_FIGURES_TICKS 2 // figures of all processes, the slowest requests, the queue's state
#define CONSOLE_FIGURES_SHARE 100 // of the time at most one part is spent on making figures
#define CONSOLE_TOKEN_MIN 20      // characters -> refused at the start
#define CONSOLE_TOKEN_MAX 256

struct console;

// queue_endpoint is copied. Without admin listener or token it does nothing. Returns 0, or a negative
// errno after a line in the log: -EINVAL: the token cannot be used.
__attribute__((warn_unused_result)) int console_open(struct gateway *g, const char *queue_endpoint,
                                                     struct console **ret_console);

// Ends all streams. Before suite_close().
void console_close(struct console **c);

#endif
