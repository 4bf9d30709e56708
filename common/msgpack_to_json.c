// SPDX-License-Identifier: MIT
#include "common/msgpack_to_json.h"


#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int write_value(struct reader *r, struct buf *out, unsigned depth);

static int write_str(struct reader *r, struct buf *out)
{
    struct str s;
    if (reader_str(r, &s)) {
        return -EBADMSG;
    }
    buf_append_char(out, '"');
    buf_append_json(out, s);
    buf_append_char(out, '"');
    return 0;
}

static int write_array(struct reader *r, struct buf *out, unsigned depth)
{
    uint32_t count;
    int rc = reader_array(r, &count);
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        if (i > 0) {
            buf_append_char(out, ',');
        }
        rc = write_value(r, out, depth);
    }
    buf_append_char(out, ']');
    return rc;
}

static int write_map(struct reader *r, struct buf *out, unsigned depth)
{
    uint32_t count;
    int rc = reader_map(r, &count);
    buf_append_char(out, '{');
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        if (i > 0) {
            buf_append_char(out, ',');
        }
        rc = write_str(r, out);
        buf_append_char(out, ':');
        rc = rc ? rc : write_value(r, out, depth);
    }
    buf_append_char(out, '}');
    return rc;
}

static int write_int(struct reader *r, struct buf *out)
{
    int64_t v;
    if (reader_int(r, &v)) {
        return -EBADMSG;
    }
    if (v < 0) {
        buf_append_char(out, '-');
    }
    buf_append_decimal(out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 1);
    return 0;
}

static int write_uint(struct reader *r, struct buf *out)
{
    uint64_t v;
    if (reader_uint(r, &v)) {
        return -EBADMSG;
    }
    buf_append_decimal(out, v, 1);
    return 0;
}

// The shortest of 15 to 17 digits that reads back as the same number. A whole number keeps a fraction, so that
// it stays a double for readers that look at the text.
static int write_double(struct reader *r, struct buf *out)
{
    char text[32];
    double v;
    if (reader_double(r, &v) || !isfinite(v)) {
        return -EBADMSG;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    buf_append_z(out, text);
    if (!strpbrk(text, ".e")) {
        buf_append_z(out, ".0");
    }
    return 0;
}

static int write_bool(struct reader *r, struct buf *out)
{
    bool v;
    if (reader_bool(r, &v)) {
        return -EBADMSG;
    }
    buf_append_z(out, v ? "true" : "false");
    return 0;
}

static int write_value(struct reader *r, struct buf *out, unsigned depth)
{
    switch (reader_peek(r)) {
    case READER_STR:
        return write_str(r, out);
    case READER_INT:
        return write_int(r, out);
    case READER_MAP:
        return depth == READER_MAX_DEPTH ? -EBADMSG : write_map(r, out, depth + 1);
    case READER_ARRAY:
        return depth == READER_MAX_DEPTH ? -EBADMSG : write_array(r, out, depth + 1);
    case READER_BOOL:
        return write_bool(r, out);
    case READER_NIL:
        buf_append_z(out, "null");
        return reader_nil(r);
    case READER_DOUBLE:
        return write_double(r, out);
    case READER_UINT:
        return write_uint(r, out);
    default:
        return -EBADMSG;
    }
}

int msgpack_to_json(struct reader *r, struct buf *out)
{
    int rc = write_value(r, out, 0);
    return rc ? rc : buf_error(out);
}
