// SPDX-License-Identifier: MIT
// Takes a request target (RFC 9112 section 3.2) apart: origin-form, absolute-form, or * .
// Percent-encoding is decoded once, here; what is not exactly RFC 3986 is refused, and so is what
// two readers could understand differently: dot segments, fragments, backslashes, encoded NUL, text
// that is not UTF-8.
#ifndef GATEWAY_TARGET_H
#define GATEWAY_TARGET_H

#include "gateway/limits.h"
#include "proto/frames.h"

struct target {
    bool asterisk;     // "*"; nothing else is set then
    size_t n_segments; // of the path; HTTP_MAX_SEGMENTS + 1 when there are more
    struct str segments[HTTP_MAX_SEGMENTS]; // "/a/b" has two, "/a/" has "a" and "", "/" has ""
    size_t n_query;
    struct frame_pair query[FRAME_MAX_QUERY]; // in order of appearance; "+" is a blank
};

// Parses n bytes at raw and decodes them in place; *ret_target borrows them. Returns 0; -EINVAL
// with a sentence in *ret_detail; or -E2BIG for more than FRAME_MAX_QUERY query parameters.
__attribute__((warn_unused_result)) int target_parse(char *raw, size_t n, struct target *ret_target,
                                                     const char **ret_detail);

#endif
