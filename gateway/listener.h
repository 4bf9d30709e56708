// SPDX-License-Identifier: MIT
// The public listening socket: made from SLUICE_LISTEN, or inherited (LISTEN_FDS and LISTEN_PID, as
// systemd and the supervisor pass it), so that a restart refuses nobody.
#ifndef GATEWAY_LISTENER_H
#define GATEWAY_LISTENER_H

#include "gateway/gateway.h"

// Listens. Returns 0, -EADDRINUSE, -EINVAL for an address that is none, or another negative errno;
// *ret_inherited says which of the two ways it was.
__attribute__((warn_unused_result)) int listener_open(struct gateway *g, bool *ret_inherited);

// Accepts no more. An inherited socket stays open at whoever passed it on.
void listener_close(struct gateway *g);

#endif
