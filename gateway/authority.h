// SPDX-License-Identifier: MIT
// The grammar of host [":" port], which a Host field and the middle of an http URI have: RFC 9110
// sections 4.2.1 and 7.2, RFC 3986 section 3.2. It resolves and decodes nothing: the gateway serves
// one site, whatever it is called, but a name that two readers understand differently is refused.
#ifndef GATEWAY_AUTHORITY_H
#define GATEWAY_AUTHORITY_H

#include "proto/str.h"

#include <stdbool.h>

#define AUTHORITY_MAX_NAME 255 // bytes of a name, as in DNS (RFC 3986 section 3.2.2) -> 400

// Whether s is host [":" port]. The host is an IPv4 address or a registered name, of unreserved
// characters, sub-delimiters and sound percent-encodings, or an IPv6 address in brackets. Stricter
// than the grammar in this: the host must not be empty (RFC 9110 section 4.2.1), a port is at most
// 65535 ("host:" means the default), and neither zones nor the address formats of the future,
// "[v1.x]", are known (RFC 3986 section 3.2.2 wants an error for those).
bool authority_valid(struct str s);

#endif
