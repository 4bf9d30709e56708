// SPDX-License-Identifier: MIT
// One HTTP/1.1 request and its answer over a connection of its own, blocking until an absolute
// deadline: for threads that may wait, and for command-line tools.
#ifndef COMMON_HTTP_CLIENT_H
#define COMMON_HTTP_CLIENT_H

#include "common/address.h"
#include "proto/buf.h"

#include <stdatomic.h>

#define HTTP_CLIENT_HEAD_BYTES 8192 // of a request
#define HTTP_CLIENT_LOOK_MS 50      // how often end_ms is looked at

struct http_call {
    const char *method; // "GET"
    const char *host;   // of the Host field
    const char *target; // begins with '/'; printable ASCII without blanks
    const char *fields; // further ones, each with its CR LF; NULL: none
    struct str body;    // with its Content-Length; p == NULL: none
    int timeout_ms;     // for the whole exchange
    // Another thread may cut it short: the monotonic time at which it is to end; 0: it is not. NULL:
    // nobody does.
    const _Atomic int64_t *end_ms;
};

// Sends the request and reads the whole answer. Returns its status and appends its body, or a
// negative errno: -EINVAL when the target is none; -EMSGSIZE when the request's head is over
// HTTP_CLIENT_HEAD_BYTES, or the answer over body's ceiling; -ETIMEDOUT; -EPROTO when the answer is
// no HTTP.
__attribute__((warn_unused_result)) int http_call(const struct address *to,
                                                  const struct http_call *call, struct buf *body);

#endif
