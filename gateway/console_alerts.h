// SPDX-License-Identifier: MIT
// The alerts of the supervisor that runs this suite, for the console: what `sluice alerts` says, asked
// at its admin socket, $SLUICE_HOME/run/supervisor.admin.sock. Where there is no supervisor
// (containers, Kubernetes, systemd) there are none, and the page judges by itself.
#ifndef GATEWAY_CONSOLE_ALERTS_H
#define GATEWAY_CONSOLE_ALERTS_H

#include "gateway/gateway.h"

#define CONSOLE_ALERTS_WAIT_MS 1000       // for its answer -> as if there were none
#define CONSOLE_ALERTS_BYTES (256 * 1024) // of it: all that there may be -> likewise

struct console_alerts;

// 0, or -ENOMEM.
__attribute__((warn_unused_result)) int console_alerts_open(struct gateway *g,
                                                            struct console_alerts **ret_alerts);
// on_alerts does not run any more.
void console_alerts_close(struct console_alerts **a);

// Asks. on_alerts runs later, once, with {"alerts":[...]} in one line, as `sluice alerts -o json` has
// it, or {"alerts":null} when nobody answered; not at all while an earlier question is on its way.
void console_alerts_ask(struct console_alerts *a, void (*on_alerts)(struct str json, void *data),
                        void *data);

#endif
