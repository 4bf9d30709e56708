// SPDX-License-Identifier: MIT
// The admin listener: a small HTTP/1.1 server for GET requests from the operator and the
// supervisor, on a unix socket or a loopback address, never on the public port. Every process has
// /livez, /readyz and /metrics; a program may add pages. At most ADMIN_MAX_CONNECTIONS at once,
// each one request, closed after the answer.
#ifndef COMMON_ADMIN_H
#define COMMON_ADMIN_H

#include "proto/buf.h"

#include <uv.h>

#define ADMIN_MAX_LISTENERS 2
#define ADMIN_MAX_CONNECTIONS 32 // a scraper, a supervisor, a few people; more wait to be accepted
#define ADMIN_MAX_PAGES 16
#define ADMIN_REQUEST_BYTES 8192  // of request line and headers; more is answered 431
#define ADMIN_PAGE_BYTES 16777216 // of one page, far above a full gateway's metrics; more: 500
#define ADMIN_TIMEOUT_MS 5000     // from accepting to the answer's last byte; then it is cut

struct admin;

// Writes the page's body and, if it is not text/plain, its media type (a literal); returns the HTTP
// status. query is what follows the '?', not decoded.
typedef int admin_page_fn(struct str query, struct buf *body, const char **ret_media_type,
                          void *data);

// addresses: one or, separated by a comma, two of "unix:/absolute/path" (mode 0600, replaced if
// stale) and "host:port" (common/address.h). Returns a negative errno, with -EADDRINUSE when
// somebody answers there already; what was begun is then closed by the loop's next turn.
__attribute__((warn_unused_result)) int admin_open(uv_loop_t *loop, const char *addresses,
                                                   struct admin **ret_admin);

// path is borrowed for the life of the listener. Returns -ENOSPC over ADMIN_MAX_PAGES. a may be
// NULL (no listener): then nothing happens.
__attribute__((warn_unused_result)) int admin_page(struct admin *a, const char *path,
                                                   admin_page_fn *page, void *data);

// Closes the listener and its connections; memory goes when the loop has closed the handles.
void admin_close(struct admin **a);

// One blocking GET against an admin address, for healthcheck and command-line tools (in
// admin_client.c). path begins with '/'. Returns the HTTP status and fills body, or a negative
// errno: -ETIMEDOUT, -EPROTO when the answer is no HTTP, -EMSGSIZE when it is over body's ceiling.
// timeout_ms bounds the whole exchange.
__attribute__((warn_unused_result)) int admin_get(const char *address, const char *path,
                                                  int timeout_ms, struct buf *body);

#endif
