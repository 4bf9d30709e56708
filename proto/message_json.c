// SPDX-License-Identifier: MIT
// The message tables' way to JSON text (message_json). Reading JSON is the gateway's, and only the
// gateway's.
#include "proto/message.h"
#include "proto/timestamp.h"

#include <inttypes.h>

static void put_string(struct str s, struct buf *b)
{
    buf_append_char(b, '"');
    buf_append_json(b, s);
    buf_append_char(b, '"');
}

static void put_list(const struct field *f, const char *items, size_t n, struct buf *b)
{
    buf_append_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        buf_append_z(b, i ? "," : "");
        message_json(f->sub, items + i * f->sub->size, b);
    }
    buf_append_char(b, ']');
}

static void put_value(const struct field *f, const char *object, struct buf *b)
{
    const void *from = object + f->offset;
    char text[TIMESTAMP_SIZE];
    switch (f->kind) {
    case FIELD_STRING:
        put_string(*(const struct str *)from, b);
        break;
    case FIELD_INTEGER:
        buf_printf(b, "%" PRId64, *(const int64_t *)from);
        break;
    case FIELD_BOOLEAN:
        buf_append_z(b, *(const bool *)from ? "true" : "false");
        break;
    case FIELD_TIME:
        put_string(timestamp_format(*(const int64_t *)from, text), b);
        break;
    case FIELD_OBJECT:
        message_json(f->sub, from, b);
        break;
    case FIELD_LIST:
        put_list(f, from, *(const size_t *)(const void *)(object + f->count_offset), b);
        break;
    }
}

void message_json(const struct message *m, const void *object, struct buf *b)
{
    const struct message_head *head = object;
    const char *comma = "";
    buf_append_char(b, '{');
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct field *f = &m->fields[i];
        if (!(f->flags & FIELD_REQUIRED) && !(head->present & UINT64_C(1) << i)) {
            continue;
        }
        buf_printf(b, "%s\"%s\":", comma, f->name);
        comma = ",";
        if (head->null & UINT64_C(1) << i) {
            buf_append_z(b, "null");
        } else {
            put_value(f, object, b);
        }
    }
    buf_append_char(b, '}');
}
