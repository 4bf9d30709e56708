// SPDX-License-Identifier: MIT
// Listens to users.session.revoked in the event queue and fills the revocations. On start the last
// day is read again, which is longer than any access token lives. While the queue is away requests
// go on; what was revoked meanwhile is learned when it is back.
#ifndef GATEWAY_REVOCATION_FEED_H
#define GATEWAY_REVOCATION_FEED_H

#include "gateway/gateway.h"

#define REVOCATION_REPLAY_MS (24 * 3600 * 1000)

// endpoint is the queue's. 0 or a negative errno of the queue client.
__attribute__((warn_unused_result)) int revocation_feed_open(struct gateway *g,
                                                             const char *endpoint);
void revocation_feed_close(struct revocation_feed **f);

#endif
