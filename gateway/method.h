// SPDX-License-Identifier: MIT
// The request methods that the gateway knows. Routes have one of the first five; HEAD is answered
// from GET and OPTIONS from the route table. Any other method is 501.
#ifndef GATEWAY_METHOD_H
#define GATEWAY_METHOD_H

#include "proto/str.h"

enum method {
    METHOD_GET,
    METHOD_POST,
    METHOD_PUT,
    METHOD_PATCH,
    METHOD_DELETE,
    METHOD_ROUTED, // the number of methods that a route may have
    METHOD_HEAD = METHOD_ROUTED,
    METHOD_OPTIONS,
    METHOD_COUNT
};

// Names are case-sensitive (RFC 9110 section 9.1). METHOD_COUNT when it is none of them.
enum method method_find(struct str name);

struct str method_name(enum method m);

#endif
