// SPDX-License-Identifier: MIT
// Every value begins with one head: its type, and the number, length or count that follows in 0 to
// 8 bytes. Heads are decoded in one place; a cursor moves only after the whole value was found to
// be there.
#include "proto/reader.h"

#include <errno.h>

struct head {
    enum reader_type type;
    const uint8_t *after; // first byte behind the head
    uint64_t number;      // an unsigned value, a length or a count
    int64_t signed_number;
    double real;
};

static uint64_t big_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

// Two's complement of a big-endian number of 1, 2, 4 or 8 bytes.
static int64_t sign_extend(uint64_t v, unsigned bytes)
{
    unsigned shift = 64 - 8 * bytes;
    return (int64_t)(v << shift) >> shift;
}

static enum reader_type integer(struct head *h, uint64_t v)
{
    h->number = v;
    h->signed_number = (int64_t)v;
    return v > INT64_MAX ? READER_UINT : READER_INT;
}

static enum reader_type real(struct head *h, uint64_t bits, unsigned bytes)
{
    if (bytes == 4) {
        uint32_t narrow = (uint32_t)bits;
        float f;
        memcpy(&f, &narrow, sizeof f);
        h->real = (double)f;
    } else {
        memcpy(&h->real, &bits, sizeof bits);
    }
    return READER_DOUBLE;
}

// How many bytes of number, length or count follow the type bytes 0xC0..0xDF; and what they begin.
static const struct {
    uint8_t bytes;
    uint8_t type;
} long_forms[32] = {
    [0x00] = { 0, READER_NIL },  [0x01] = { 0, READER_INVALID }, [0x02] = { 0, READER_BOOL },
    [0x03] = { 0, READER_BOOL }, [0x04] = { 1, READER_BIN },     [0x05] = { 2, READER_BIN },
    [0x06] = { 4, READER_BIN },  [0x07] = { 1, READER_EXT },     [0x08] = { 2, READER_EXT },
    [0x09] = { 4, READER_EXT },  [0x0A] = { 4, READER_DOUBLE },  [0x0B] = { 8, READER_DOUBLE },
    [0x0C] = { 1, READER_UINT }, [0x0D] = { 2, READER_UINT },    [0x0E] = { 4, READER_UINT },
    [0x0F] = { 8, READER_UINT }, [0x10] = { 1, READER_INT },     [0x11] = { 2, READER_INT },
    [0x12] = { 4, READER_INT },  [0x13] = { 8, READER_INT },     [0x14] = { 0, READER_EXT },
    [0x15] = { 0, READER_EXT },  [0x16] = { 0, READER_EXT },     [0x17] = { 0, READER_EXT },
    [0x18] = { 0, READER_EXT },  [0x19] = { 1, READER_STR },     [0x1A] = { 2, READER_STR },
    [0x1B] = { 4, READER_STR },  [0x1C] = { 2, READER_ARRAY },   [0x1D] = { 4, READER_ARRAY },
    [0x1E] = { 2, READER_MAP },  [0x1F] = { 4, READER_MAP },
};

static enum reader_type long_head(const struct reader *r, struct head *h)
{
    unsigned form = *r->p - 0xC0u, bytes = long_forms[form].bytes;
    if (reader_left(r) < 1 + bytes) {
        return READER_INVALID;
    }
    h->number = big_endian(r->p + 1, bytes);
    h->after = r->p + 1 + bytes;
    enum reader_type type = long_forms[form].type;
    switch (type) {
    case READER_BOOL:
        h->number = form & 1;
        return type;
    case READER_DOUBLE:
        return real(h, h->number, bytes);
    case READER_UINT:
        return integer(h, h->number);
    case READER_INT:
        h->signed_number = sign_extend(h->number, bytes);
        return type;
    case READER_EXT: // its own type byte, then the data: both count as its length
        h->number = (bytes ? h->number : UINT64_C(1) << (form - 0x14)) + 1;
        return type;
    default:
        return type;
    }
}

// Decodes the head at r->p. A str, bin or ext is only reported when all its bytes are there; an
// array or map only when there is a byte for each element.
static enum reader_type decode_head(const struct reader *r, struct head *h)
{
    if (r->p == r->end) {
        return READER_END;
    }
    uint8_t c = *r->p;
    h->after = r->p + 1;
    enum reader_type type;
    if (c < 0x80) {
        return integer(h, c);
    } else if (c < 0x90) {
        type = READER_MAP;
        h->number = c & 0x0F;
    } else if (c < 0xA0) {
        type = READER_ARRAY;
        h->number = c & 0x0F;
    } else if (c < 0xC0) {
        type = READER_STR;
        h->number = c & 0x1F;
    } else if (c >= 0xE0) {
        h->signed_number = (int8_t)c;
        return READER_INT;
    } else {
        type = long_head(r, h);
    }
    uint64_t left = type == READER_INVALID ? 0 : (uint64_t)(r->end - h->after);
    bool sized = type == READER_STR || type == READER_BIN || type == READER_EXT;
    if ((sized || type == READER_ARRAY) && h->number > left) {
        return READER_INVALID;
    }
    if (type == READER_MAP && h->number > left / 2) {
        return READER_INVALID;
    }
    return type;
}

enum reader_type reader_peek(const struct reader *r)
{
    struct head h;
    return decode_head(r, &h);
}

static int read_count(struct reader *r, enum reader_type wanted, uint32_t *ret_count)
{
    struct head h;
    if (decode_head(r, &h) != wanted) {
        return -EBADMSG;
    }
    *ret_count = (uint32_t)h.number;
    r->p = h.after;
    return 0;
}

int reader_array(struct reader *r, uint32_t *ret_count)
{
    return read_count(r, READER_ARRAY, ret_count);
}

int reader_map(struct reader *r, uint32_t *ret_count)
{
    return read_count(r, READER_MAP, ret_count);
}

int reader_int(struct reader *r, int64_t *ret_value)
{
    struct head h;
    if (decode_head(r, &h) != READER_INT) {
        return -EBADMSG;
    }
    *ret_value = h.signed_number;
    r->p = h.after;
    return 0;
}

int reader_uint(struct reader *r, uint64_t *ret_value)
{
    struct head h;
    enum reader_type type = decode_head(r, &h);
    if (type == READER_INT && h.signed_number >= 0) {
        *ret_value = (uint64_t)h.signed_number;
    } else if (type == READER_UINT) {
        *ret_value = h.number;
    } else {
        return -EBADMSG;
    }
    r->p = h.after;
    return 0;
}

int reader_bool(struct reader *r, bool *ret_value)
{
    struct head h;
    if (decode_head(r, &h) != READER_BOOL) {
        return -EBADMSG;
    }
    *ret_value = h.number != 0;
    r->p = h.after;
    return 0;
}

int reader_nil(struct reader *r)
{
    struct head h;
    if (decode_head(r, &h) != READER_NIL) {
        return -EBADMSG;
    }
    r->p = h.after;
    return 0;
}

int reader_double(struct reader *r, double *ret_value)
{
    struct head h;
    if (decode_head(r, &h) != READER_DOUBLE) {
        return -EBADMSG;
    }
    *ret_value = h.real;
    r->p = h.after;
    return 0;
}

static int read_bytes(struct reader *r, enum reader_type wanted, struct str *ret)
{
    struct head h;
    if (decode_head(r, &h) != wanted) {
        return -EBADMSG;
    }
    *ret = (struct str){ (const char *)h.after, (size_t)h.number };
    r->p = h.after + h.number;
    return 0;
}

int reader_str(struct reader *r, struct str *ret_str)
{
    return read_bytes(r, READER_STR, ret_str);
}

int reader_bin(struct reader *r, struct str *ret_bytes)
{
    return read_bytes(r, READER_BIN, ret_bytes);
}

int reader_str_or_nil(struct reader *r, struct str *ret_str)
{
    if (reader_nil(r) == 0) {
        *ret_str = (struct str){ NULL, 0 };
        return 0;
    }
    return reader_str(r, ret_str);
}

// Counts what is still open at each depth instead of recursing: a stack of bounded size.
int reader_skip(struct reader *r)
{
    uint64_t open[READER_MAX_DEPTH + 1];
    unsigned depth = 0;
    struct reader at = *r;
    open[0] = 1;
    for (;;) {
        while (open[depth] == 0) {
            if (depth == 0) {
                *r = at;
                return 0;
            }
            depth--;
        }
        open[depth]--;
        struct head h;
        enum reader_type type = decode_head(&at, &h);
        if (type == READER_END || type == READER_INVALID) {
            return -EBADMSG;
        }
        at.p = h.after;
        if (type == READER_STR || type == READER_BIN || type == READER_EXT) {
            at.p += h.number;
        } else if (type == READER_ARRAY || type == READER_MAP) {
            if (depth == READER_MAX_DEPTH) {
                return -EBADMSG;
            }
            open[++depth] = type == READER_MAP ? 2 * h.number : h.number;
        }
    }
}

int reader_raw(struct reader *r, struct str *ret_bytes)
{
    const uint8_t *start = r->p;
    if (reader_skip(r)) {
        return -EBADMSG;
    }
    *ret_bytes = (struct str){ (const char *)start, (size_t)(r->p - start) };
    return 0;
}
