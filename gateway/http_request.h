// SPDX-License-Identifier: MIT
// One HTTP/1.1 request as it arrives, byte by byte if need be: llhttp in its strict mode for the
// head, and around it every check and limit that llhttp leaves to its user (RFC 9110, RFC 9112). It
// does no I/O and knows no routes. A request that breaks the rules is FAILED with the problem to
// answer; its connection is then closed, because nobody can say where the next request would begin.
// Where the RFCs leave a choice between repairing and refusing, it refuses: bare LF, folded fields,
// lists of lengths, Transfer-Encoding in HTTP/1.0 or beside Content-Length. What comes out does not
// depend on how the bytes were cut.
//
//     HEAD --line and fields are there--> BODY --last byte--> COMPLETE
//       |                                  |
//       +---- no body: COMPLETE            +---- either: FAILED
#ifndef GATEWAY_HTTP_REQUEST_H
#define GATEWAY_HTTP_REQUEST_H

#include "gateway/chunked.h"
#include "gateway/limits.h"
#include "gateway/method.h"
#include "gateway/target.h"
#include "proto/buf.h"
#include "proto/problems.h"

#include <llhttp.h>
#include <stdint.h>

enum http_stage { HTTP_STAGE_HEAD, HTTP_STAGE_BODY, HTTP_STAGE_COMPLETE, HTTP_STAGE_FAILED };

// A header field inside text: the name in lower case, the value without blanks around it.
struct http_field {
    uint16_t name, name_n;
    uint16_t value, value_n;
};

#define HTTP_HEAD_BYTES (HTTP_MAX_LINE + HTTP_MAX_FIELDS_BYTES)

struct http_request {
    enum http_stage stage;
    enum method method;
    bool http_1_0;   // HTTP/1.0: no chunked coding, and no keep-alive unless asked for
    bool keep_alive; // the client wants to use the connection again
    bool chunked;
    bool expects_continue;   // waits for "100 Continue" before it sends the body
    bool discard_body;       // the answer is known already: the body is read and thrown away
    enum problem problem;    // when FAILED
    const char *detail;      // when FAILED: a sentence, or NULL for the problem's own text
    uint64_t content_length; // 0 without a Content-Length
    uint64_t max_body_bytes;
    uint64_t body_bytes;   // of the body so far
    uint64_t framed_bytes; // of the body so far, its chunk framing included
    size_t head_n;         // bytes of text in use
    size_t stripped_n;     // bytes of blanks that were taken off the head, and count for its limits
    size_t line_start;     // where the line at hand begins in text
    size_t line_n;         // of the request line with its line end; 0 while it is not complete
    bool in_value;         // of the last field, a part of the value was seen
    size_t blank_n;        // bytes of blank lines before the request line
    struct str raw_target;
    size_t n_fields;
    struct buf body; // owned
    llhttp_t parser;
    // From here on a new request finds what the last one left; n_fields and stage say what counts.
    struct http_field fields[HTTP_MAX_FIELDS];
    struct chunked chunks; // when chunked and the head is complete
    struct target target;  // set when the head is complete
    // The head as it came, but names made lower case and the target decoded; behind it, the values
    // of fields that came in several lines.
    char text[HTTP_HEAD_BYTES + HTTP_MAX_FIELDS_BYTES];
};

// Makes r an empty request. Its body buffer must be initialised or of an earlier request.
void http_request_start(struct http_request *r, uint64_t max_body_bytes);

// Overwrites the head and what was made of it.
void http_request_wipe_head(struct http_request *r);

// Takes bytes, at most up to the end of the head or of the request, so that the caller can look at
// the head before the body is read. *ret_used is how many. Must not be called when COMPLETE or
// FAILED.
enum http_stage http_request_feed(struct http_request *r, const char *data, size_t n,
                                  size_t *ret_used);

// The client was too slow: makes the request FAILED.
void http_request_time_out(struct http_request *r);

// The value of the field with this name (lower case); p == NULL when there is none. The lines of a
// field that is repeated are one value, joined with ", " (RFC 9110 section 5.3); of some fields
// there may only be one line, or the request is FAILED. Trailer fields are not found.
struct str http_request_field(const struct http_request *r, struct str name);

#endif
