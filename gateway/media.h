// SPDX-License-Identifier: MIT
// Media types: what a body is (Content-Type), what an answer may be (Accept, RFC 9110 section
// 12.5.1).
#ifndef GATEWAY_MEDIA_H
#define GATEWAY_MEDIA_H

#include "proto/str.h"

// What an answer can be rendered as, best first. MessagePack has a registered name and two older
// ones; the client gets the name it asked for.
enum media { MEDIA_JSON, MEDIA_VND_MSGPACK, MEDIA_MSGPACK, MEDIA_X_MSGPACK, MEDIA_COUNT };

enum content { CONTENT_JSON, CONTENT_MERGE_PATCH, CONTENT_MSGPACK, CONTENT_OTHER };

struct str media_name(enum media m);

static inline bool media_is_msgpack(enum media m)
{
    return m != MEDIA_JSON;
}

// The representation that Accept likes best; accept.p == NULL is no Accept field. MEDIA_COUNT when
// it allows none. Elements that are not media ranges are ignored.
enum media media_accept(struct str accept);

// What a Content-Type says. A charset other than UTF-8 makes it CONTENT_OTHER; other parameters do
// not matter.
enum content media_content(struct str content_type);

#endif
