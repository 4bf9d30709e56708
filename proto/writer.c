// SPDX-License-Identifier: MIT
// A thin skin over msgpack-c's packer, which knows the shortest form of each value.
#include "proto/writer.h"

#include <msgpack/pack.h>

#include <assert.h>

static int on_bytes(void *data, const char *bytes, size_t n)
{
    buf_append(data, bytes, n);
    return 0; // a failure sticks in the buf
}

static inline msgpack_packer packer_of(struct buf *b)
{
    return (msgpack_packer){ .data = b, .callback = on_bytes };
}

void writer_array(struct buf *b, uint32_t count)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_array(&pk, count);
}

void writer_map(struct buf *b, uint32_t count)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_map(&pk, count);
}

void writer_int(struct buf *b, int64_t v)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_int64(&pk, v);
}

void writer_uint(struct buf *b, uint64_t v)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_uint64(&pk, v);
}

void writer_bool(struct buf *b, bool v)
{
    msgpack_packer pk = packer_of(b);
    (void)(v ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk));
}

void writer_nil(struct buf *b)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_nil(&pk);
}

void writer_double(struct buf *b, double v)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_double(&pk, v);
}

void writer_str(struct buf *b, struct str s)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_str(&pk, s.n);
    buf_append_str(b, s);
}

void writer_bin(struct buf *b, struct str bytes)
{
    msgpack_packer pk = packer_of(b);
    (void)msgpack_pack_bin(&pk, bytes.n);
    buf_append_str(b, bytes);
}

static size_t open_counted(struct buf *b, char type)
{
    size_t mark = b->len;
    const char head[5] = { type, 0, 0, 0, 0 };
    buf_append(b, head, sizeof head);
    return mark;
}

size_t writer_open_array(struct buf *b)
{
    return open_counted(b, (char)0xDD);
}

size_t writer_open_map(struct buf *b)
{
    return open_counted(b, (char)0xDF);
}

void writer_close(struct buf *b, size_t mark, uint32_t count)
{
    if (!buf_ok(b)) {
        return;
    }
    assert(mark + 5 <= b->len);
    for (unsigned i = 0; i < 4; i++) {
        b->data[mark + 1 + i] = (char)(count >> (24 - 8 * i));
    }
}
