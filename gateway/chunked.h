// SPDX-License-Identifier: MIT
// Takes a chunked body apart (RFC 9112 section 7.1) as it comes, in pieces cut anywhere; what it says
// of the bytes does not depend on the cuts. Extensions and trailer fields are checked and then
// ignored: nothing in them ever becomes a header field. Blanks that section 7.1.1 calls bad but wants
// read (BWS) are read; a bare CR or LF is not a line end.
#ifndef GATEWAY_CHUNKED_H
#define GATEWAY_CHUNKED_H

#include "gateway/limits.h"
#include "proto/str.h"

#include <stdint.h>

enum chunked_state {
    CHUNKED_SIZE_LINE,    // gathers "SIZE *( ; NAME [ = VALUE ] ) CR LF"
    CHUNKED_CHUNK,        // the data of a chunk
    CHUNKED_CHUNK_END,    // the CR LF behind it
    CHUNKED_TRAILER_LINE, // gathers a trailer field, or the empty line at the end
    CHUNKED_OVER          // all was seen, or something was wrong: nothing may be fed any more
};

struct chunked {
    enum chunked_state state;
    uint64_t left;                     // bytes of the chunk at hand that are still to come
    size_t line_n;                     // bytes of line, or of the chunk's end, so far
    size_t n_trailers;                 // trailer fields so far
    size_t trailer_bytes;              // of them and their line ends so far
    const char *detail;                // with CHUNKED_MALFORMED and CHUNKED_TOO_LARGE: a sentence
    char line[HTTP_MAX_TRAILER_BYTES]; // not initialised; line_n bytes are in use
};

enum chunked_event {
    CHUNKED_MORE,      // everything was taken, and more is needed
    CHUNKED_BEGIN,     // a chunk begins; `left` is its size, of which nothing was taken yet
    CHUNKED_DATA,      // data of a chunk
    CHUNKED_END,       // the body is complete; what is left behind it is not of this request
    CHUNKED_MALFORMED, // it is none, by its grammar or by HTTP_MAX_CHUNK_LINE
    CHUNKED_TOO_LARGE  // the trailer is over HTTP_MAX_TRAILERS or HTTP_MAX_TRAILER_BYTES
};

void chunked_start(struct chunked *c);

// Takes bytes off the front of *rest up to the next event. With CHUNKED_DATA, *ret_data borrows them
// from *rest. Must not be called after CHUNKED_END, CHUNKED_MALFORMED or CHUNKED_TOO_LARGE.
enum chunked_event chunked_next(struct chunked *c, struct str *rest, struct str *ret_data);

#endif
