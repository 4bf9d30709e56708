// SPDX-License-Identifier: MIT
// When the public port opens. A gateway that has just started knows no route: until its workers
// have said HELLO it would answer 404 to what it knows a moment later. So it first waits for the
// services that it was told to expect (SLUICE_EXPECT), while connections wait in the listening
// socket's backlog; but not for long, so that one service that is down does not take the others
// with it.
#ifndef GATEWAY_OPENING_H
#define GATEWAY_OPENING_H

#include "gateway/gateway.h"

#define OPENING_TICK_MS 5

struct opening;

// Calls open() as soon as each service in g->config.expect has a worker that serves and may write,
// or after g->config.expect_wait_ms; at once, but not from here, when nothing is expected. 0, or
// -ENOMEM.
__attribute__((warn_unused_result)) int opening_begin(struct gateway *g,
                                                      void (*open)(struct gateway *g));

// Gives it up; fine when it is over.
void opening_close(struct opening **o);

#endif
