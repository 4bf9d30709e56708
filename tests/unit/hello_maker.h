// SPDX-License-Identifier: MIT
// Builds HELLO frames for the tests of the gateway's modules.
#ifndef TESTS_UNIT_HELLO_MAKER_H
#define TESTS_UNIT_HELLO_MAKER_H

#include "proto/frames.h"

// A valid HELLO without routes.
void hello_make(struct frame_hello *h, const char *service, const char *instance,
                const char *schema);

// Adds a route and returns it for more.
struct frame_route *hello_route(struct frame_hello *h, const char *method, const char *pattern);

// The frame of h in a buffer that lives until the next call.
struct str hello_frame(const struct frame_hello *h);

// Frees that buffer.
void hello_frame_free(void);

#endif
