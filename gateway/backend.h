// SPDX-License-Identifier: MIT
// The gateway's side of PROTOCOL.md section 2: the ROUTER socket, the handshake with workers, their
// heartbeats and their frames.
#ifndef GATEWAY_BACKEND_H
#define GATEWAY_BACKEND_H

#include "gateway/gateway.h"

// Binds the socket. A negative errno is of zsocket_bind() or -ENOMEM.
__attribute__((warn_unused_result)) int backend_open(struct gateway *g, const char *endpoint);

// Says GOODBYE to every worker and closes.
void backend_close(struct backend **b);

// For exchange_send().
__attribute__((warn_unused_result)) int backend_send_request(struct backend *b,
                                                             const struct worker *w,
                                                             const struct exchange *x, uint64_t id,
                                                             uint32_t deadline_ms);

// Tells the worker that nobody waits for the answer any more.
void backend_send_cancel(struct backend *b, const struct worker *w, uint64_t id);

const struct worker_table *backend_workers(const struct backend *b);

#endif
