// SPDX-License-Identifier: MIT
// Puts an HTTP answer together in two buffers that all answers share: the head with its fields, and
// the body. Nothing is kept between answers but the memory and the Date of this second.
#ifndef GATEWAY_RESPONSE_H
#define GATEWAY_RESPONSE_H

#include "proto/buf.h"

#define RESPONSE_COMMON_BYTES 640

struct response {
    struct buf head;
    struct buf body;
    int64_t hsts_s; // max-age of Strict-Transport-Security; 0: the field is not sent
    int64_t date_s; // second that data and page are of
    // Fields that every answer has, Date among them.
    struct response_fields {
        char text[RESPONSE_COMMON_BYTES];
        size_t n;
    } data, page; // of answers that are data, and of pages
};

// Takes the memory that every head and every problem needs. hsts_s: how long browsers shall insist
// on TLS (RFC 6797), which is for whoever terminates it in front of this process to decide; 0: not
// said. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int response_init(struct response *r, int64_t hsts_s);
void response_fini(struct response *r);

// Empties both buffers and writes the status line and the common fields. wall_ms is for Date.
void response_begin(struct response *r, int status, int64_t wall_ms);

// The same for what a browser shows as a page of ours: it may load its own files, ask its own
// origin, and nothing else.
void response_begin_page(struct response *r, int status, int64_t wall_ms);

// One field. The caller knows that value has no control characters.
void response_field(struct response *r, struct str name, struct str value);
void response_number(struct response *r, struct str name, uint64_t value);

// Ends the head with Content-Type (unless empty) and Content-Length of the body. 204 and 304 have
// no body.
void response_end(struct response *r, int status, struct str content_type);

// Whether s can stand in a field: no control characters but tab.
bool response_value_valid(struct str s);

#endif
