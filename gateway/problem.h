// SPDX-License-Identifier: MIT
// Problem details (RFC 9457): from a worker's answer (PROTOCOL.md 2.6) or from the gateway itself,
// as application/problem+json.
#ifndef GATEWAY_PROBLEM_H
#define GATEWAY_PROBLEM_H

#include "proto/buf.h"
#include "proto/problems.h"

#define PROBLEM_MAX_SLUG 128
#define PROBLEM_MAX_ERRORS 64 // entries of `errors` that are passed on

struct problem_details {
    struct str slug; // last segment of the type
    struct str title;
    int status;
    struct str detail; // n == 0: none
    struct str errors; // MessagePack array; p == NULL: none
};

// Reads a worker's problem; title and status are left to the caller. -EBADMSG: another shape.
__attribute__((warn_unused_result)) int problem_read(struct str body, struct problem_details *ret);

// The details of one of our own problems; detail NULL means the type's own meaning.
struct problem_details problem_of(enum problem p, const char *detail);

// Appends the JSON. request_id is the id of the instance.
void problem_write(const struct problem_details *d, const char *request_id, struct buf *json);

// Appends the page about one problem type.
void problem_write_page(struct str slug, struct str title, int status, struct str meaning,
                        struct buf *json);

#endif
