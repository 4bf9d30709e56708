// SPDX-License-Identifier: MIT
// Lists of alternatives with weights, as Accept and Accept-Encoding have them (RFC 9110 sections
// 5.6.1 and 12.4.2).
#ifndef GATEWAY_QUALITY_H
#define GATEWAY_QUALITY_H

#include "proto/str.h"

#define QUALITY_ONE 1000 // q-values have three digits

// Cuts the part up to the next separator off *rest, trimmed; separators in quotes do not count.
struct str quality_next(struct str *rest, char separator);

// The q parameter among the parameters, in thousandths; QUALITY_ONE when there is none, -1 when it
// is malformed.
int quality_of(struct str parameters);

// The same text in any case.
bool quality_same_name(struct str a, struct str b);

#endif
