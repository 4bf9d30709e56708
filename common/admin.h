// SPDX-License-Identifier: MIT
// The admin listener: a small HTTP/1.1 server for the operator and the supervisor, on a unix socket
// or a loopback address, never on the public port. Every process has /livez, /readyz and /metrics; a
// program may add pages, which are written at once, and handlers, which may answer later, stream, or
// take a POST or a PUT. At most ADMIN_MAX_CONNECTIONS at once, each one request, closed after the answer.
#ifndef COMMON_ADMIN_H
#define COMMON_ADMIN_H

#include "proto/buf.h"

#include <uv.h>

#define ADMIN_MAX_LISTENERS 2
#define ADMIN_MAX_CONNECTIONS 32 // a scraper, a supervisor, a few people; more wait to be accepted
#define ADMIN_MAX_PAGES 32
#define ADMIN_REQUEST_BYTES 8192   // of request line, headers and body; more is answered 431 or 413
#define ADMIN_BODY_BYTES 4096      // of a POST; more is answered 413, one of no known length 411
#define ADMIN_PAGE_BYTES 16777216  // of one page, far above a full gateway's metrics; more: 500
#define ADMIN_TIMEOUT_MS 5000      // from accepting to the answer's last byte; then it is cut
#define ADMIN_MAX_STREAMS 12       // the other connections stay for scrapers and supervisors
#define ADMIN_STREAM_BYTES 1048576 // a stream's reader that is further behind is cut off
#define ADMIN_STREAM_STUCK_MS 10000 // and so is one that has taken nothing for so long

struct admin;
struct admin_request; // that a handler has to answer

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

// GET includes HEAD. The body of a PUT is not read: what it is to set stands in the query.
enum admin_takes { ADMIN_TAKES_GET, ADMIN_TAKES_POST, ADMIN_TAKES_GET_AND_PUT };

// Fields of a request that handlers can see.
enum admin_field { ADMIN_ACCEPT, ADMIN_AUTHORIZATION, ADMIN_CONTENT_TYPE, ADMIN_FIELDS };

// Answers a request by admin_answer() or admin_stream_begin(), before or after it returns. After
// ADMIN_TIMEOUT_MS without an answer the connection is closed.
typedef void admin_handler_fn(struct admin_request *r, void *data);

// As admin_page(), for a handler.
__attribute__((warn_unused_result)) int admin_handle(struct admin *a, const char *path,
                                                     enum admin_takes takes, admin_handler_fn *f,
                                                     void *data);

// What was asked, borrowed until the handler returns. The query is as for pages. A field that is not
// there is empty, and so are all of them if one of them is there twice.
struct str admin_request_query(struct admin_request *r);
struct str admin_request_field(struct admin_request *r, enum admin_field field);
struct str admin_request_body(struct admin_request *r);

// Whether it is a PUT (of ADMIN_TAKES_GET_AND_PUT).
bool admin_request_puts(struct admin_request *r);

// Whether it came over a unix socket, whose mode lets nobody in but the process's own user and root:
// what changes something and asks for no token is for these alone.
bool admin_request_is_owners(struct admin_request *r);

// on_gone runs when the connection ends before the request is answered, or a stream before
// admin_stream_end(), admin_close() included; r is then no more. A handler that answers later must
// set it.
void admin_request_on_gone(struct admin_request *r, void (*on_gone)(void *data), void *data);

// What is appended to it becomes the answer's body (ADMIN_PAGE_BYTES).
struct buf *admin_answer_body(struct admin_request *r);

// Answers; r is no more. fields: further lines of the head, each ended by CRLF, or "".
void admin_answer(struct admin_request *r, int status, const char *media_type, const char *fields);

// Answers 200 and a body without end. -EBUSY: there are ADMIN_MAX_STREAMS already, and r is still to
// be answered; any other error: on_gone has run.
__attribute__((warn_unused_result)) int admin_stream_begin(struct admin_request *r,
                                                           const char *media_type);

// Sends some of it (copied). False: the peer was too slow and is cut off; on_gone has run.
bool admin_stream_send(struct admin_request *r, struct str bytes);

// Bytes that the peer has yet to take, besides those in the kernel.
size_t admin_stream_queued(struct admin_request *r);

// Ends a stream; on_gone does not run, and r is no more.
void admin_stream_end(struct admin_request *r);

// Closes the listener and its connections; memory goes when the loop has closed the handles.
void admin_close(struct admin **a);

// One blocking GET against an admin address, for healthcheck and command-line tools (in
// admin_client.c). path begins with '/'. Returns the HTTP status and fills body, or a negative
// errno: -ETIMEDOUT, -EPROTO when the answer is no HTTP, -EMSGSIZE when it is over body's ceiling.
// timeout_ms bounds the whole exchange.
__attribute__((warn_unused_result)) int admin_get(const char *address, const char *path,
                                                  int timeout_ms, struct buf *body);

#endif
