// SPDX-License-Identifier: MIT
// Writes MessagePack as JSON straight from the cursor, without a tree in between. What JSON cannot
// say (keys that are not strings, binary, extensions, numbers that are not finite) is an error: it
// came from one of our workers, so it is a fault, not a client's mistake.
#ifndef COMMON_MSGPACK_TO_JSON_H
#define COMMON_MSGPACK_TO_JSON_H

#include "proto/buf.h"
#include "proto/reader.h"

// Appends the next value of r to out. Returns 0, -EBADMSG, or out's error.
__attribute__((warn_unused_result)) int msgpack_to_json(struct reader *r, struct buf *out);

#endif
