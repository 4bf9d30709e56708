// SPDX-License-Identifier: MIT
// Writes MessagePack into a buf, through msgpack-c's packer. Failures stick in the buf (see
// proto/buf.h). Maps and arrays are written with their count first: the caller writes exactly that
// many entries after it.
#ifndef PROTO_WRITER_H
#define PROTO_WRITER_H

#include "proto/buf.h"

void writer_array(struct buf *b, uint32_t count);
void writer_map(struct buf *b, uint32_t count);
void writer_int(struct buf *b, int64_t v);
void writer_uint(struct buf *b, uint64_t v);
void writer_bool(struct buf *b, bool v);
void writer_nil(struct buf *b);
void writer_double(struct buf *b, double v);
void writer_str(struct buf *b, struct str s);
void writer_bin(struct buf *b, struct str bytes);

// A map key and a value in one call; the key is a literal.
static inline void writer_key(struct buf *b, const char *key)
{
    writer_str(b, str_of(key));
}

// A count that is known only later: opens an array (map) whose count is filled in by the matching
// close call. They always take 5 bytes (the 32-bit form). Returns the mark to close with.
size_t writer_open_array(struct buf *b);
size_t writer_open_map(struct buf *b);
void writer_close(struct buf *b, size_t mark, uint32_t count);

#endif
