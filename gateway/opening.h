// SPDX-License-Identifier: MIT
// When the public port opens. A gateway that has just started knows no route and no revocation:
// until its workers have said HELLO it would answer 404 to what it knows a moment later, and until
// it has read the revocations it would take tokens that were revoked. So it first waits for the
// services that it was told to expect (SLUICE_EXPECT) and for the end of the queue's log, while
// connections wait in the listening socket's backlog. Both waits are bounded, so that one service
// that is down does not take the others with it: with the queue away the port opens, loudly,
// without revocations, because a queue that is down must not fail a users or orders request. How
// long that lasts is the metric sluice_gateway_revocation_lag_seconds, which has an alert.
#ifndef GATEWAY_OPENING_H
#define GATEWAY_OPENING_H

#include "gateway/gateway.h"

#define OPENING_TICK_MS 5

struct opening;

// Calls open() as soon as each service in g->config.expect has a worker that serves and may write,
// or after g->config.expect_wait_ms; and the revocations were replayed, or after
// g->config.revocation_wait_ms. Never from here. 0, or -ENOMEM.
__attribute__((warn_unused_result)) int opening_begin(struct gateway *g,
                                                      void (*open)(struct gateway *g));

// Gives it up; fine when it is over.
void opening_close(struct opening **o);

#endif
