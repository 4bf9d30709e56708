// SPDX-License-Identifier: MIT
// Content codings (RFC 9110 section 8.4.1) and which of them a client takes (Accept-Encoding,
// section 12.5.3).
#ifndef GATEWAY_CODING_H
#define GATEWAY_CODING_H

#include "proto/str.h"

// Best last.
enum coding { CODING_IDENTITY, CODING_GZIP, CODING_ZSTD, CODING_COUNT };

struct str coding_name(enum coding c);

// The coding with this name, in any case; "x-gzip" is gzip. CODING_COUNT when it is none.
enum coding coding_find(struct str name);

struct coding_choice {
    enum coding coding; // the one to use, of those on offer
    bool identity;      // whether the client would take the body as it is, too
};

// What Accept-Encoding (p == NULL: no such field) likes best of the codings on offer (bit 1 <<
// coding; identity always is). Of codings that it likes the same, the better one. A client that
// takes nothing of this gets identity. Elements that are malformed are ignored.
struct coding_choice coding_accept(struct str accept_encoding, unsigned offered);

#endif
