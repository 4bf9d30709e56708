// SPDX-License-Identifier: MIT
// Which pages of other origins may read answers (the CORS protocol of the Fetch Standard,
// https://fetch.spec.whatwg.org/#http-cors-protocol). Nothing is allowed unless it is configured;
// the origin "null", which any sandboxed page can have, never is.
#ifndef GATEWAY_CORS_H
#define GATEWAY_CORS_H

#include "proto/buf.h"

#define CORS_MAX_ORIGINS 64

struct cors {
    bool on;
    bool any;            // every origin; without credentials then
    bool credentials;    // cookies and HTTP authentication of the browser
    struct str *origins; // n_origins of them, as browsers write them; borrowed
    size_t n_origins;
    struct str headers; // what a page may send, for Access-Control-Allow-Headers
    struct str expose;  // what a page may read, for Access-Control-Expose-Headers; n == 0: none
    int64_t max_age_s;  // how long a browser may remember a preflight
};

// Whether s is an origin as a browser writes it: http or https, host in lower case, a port only
// when it is not the scheme's own, nothing behind it.
bool cors_origin_valid(struct str s);

// Appends the fields of any answer to a request with this Origin (p == NULL: none). Returns whether
// the origin is allowed.
bool cors_write(const struct cors *c, struct str origin, struct buf *head);

// Appends those of the answer to a preflight of an allowed origin, without the methods.
void cors_write_preflight(const struct cors *c, struct buf *head);

#endif
