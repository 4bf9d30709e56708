// SPDX-License-Identifier: MIT
// Listens to users.session.revoked in the event queue and fills the revocations. On start what any
// token can still live through is read again; until that was done, and while the queue is away, the
// revocations are incomplete: requests go on (a queue that is down fails no request of users or
// orders), what was revoked meanwhile is learned when it is back, and the lag is in the metrics.
// Events that the queue lost may have been revocations: then every token issued before is refused,
// and its holder has to refresh it.
#ifndef GATEWAY_REVOCATION_FEED_H
#define GATEWAY_REVOCATION_FEED_H

#include "gateway/gateway.h"

// The longest life of an access token (24 h, SLUICE_TOKEN_TTL of the users service), and an hour
// for clocks of gateway and queue that differ.
#define REVOCATION_REPLAY_MS (25 * 3600 * 1000)

// endpoint is the queue's. 0 or a negative errno of the queue client.
__attribute__((warn_unused_result)) int revocation_feed_open(struct gateway *g,
                                                             const char *endpoint);
void revocation_feed_close(struct revocation_feed **f);

// Whether everything that was in the log at the start was heard, once.
bool revocation_feed_has_replayed(const struct revocation_feed *f);

#endif
