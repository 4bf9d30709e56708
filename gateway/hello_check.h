// SPDX-License-Identifier: MIT
// Whether what a worker says in its HELLO is what PROTOCOL.md 2.2 allows, beyond the shape that the
// decoder checks. Everything in it is later shown to clients or operators, so nothing is taken on
// trust.
#ifndef GATEWAY_HELLO_CHECK_H
#define GATEWAY_HELLO_CHECK_H

#include "proto/frames.h"

// NULL when it is fine, else what is wrong, as a sentence.
const char *hello_check(const struct frame_hello *hello);

// Whether patterns take the same paths: they differ in the names of parameters at most.
bool pattern_same(struct str a, struct str b);

// Cuts the next segment off *pattern, which begins with a slash; *ret_parameter says that it is a
// {name}.
struct str pattern_next(struct str *pattern, bool *ret_parameter);

#endif
