// SPDX-License-Identifier: MIT
// The engine behind the message tables: one walk over a table for each of decode, encode and
// schema.
#include "proto/message.h"

#include "proto/timestamp.h"
#include "proto/utf8.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

// Messages inside messages; the tables themselves stay well below.
#define MAX_NESTING 8

// One decoding: where errors go and where in the body it stands.
struct walk {
    struct message_errors *errors; // NULL: lenient
    char pointer[sizeof(((struct message_error *)0)->pointer)];
};

void message_error_add(struct message_errors *e, const char *pointer, const char *format, ...)
{
    if (e->n == MESSAGE_MAX_ERRORS) {
        return;
    }
    struct message_error *item = &e->item[e->n++];
    va_list args;
    va_start(args, format);
    (void)snprintf(item->pointer, sizeof item->pointer, "%s", pointer);
    (void)vsnprintf(item->detail, sizeof item->detail, format, args);
    va_end(args);
}

// Whether c stands for itself in a URI fragment (RFC 3986 section 3.5).
static bool is_fragment(unsigned char c)
{
    bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return alphanumeric || (c && strchr("-._!$&'()*+,;=:@?", c));
}

// Appends "/name" to the pointer and returns its length before. JSON Pointer escapes (~0 for ~, ~1
// for /), and those of a URI fragment (%20), as RFC 6901 section 6 asks. A pointer that gets too
// long is cut.
static size_t pointer_push(struct walk *w, struct str name)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t before = strlen(w->pointer), at = before;
    char *to = w->pointer;
    const size_t max = sizeof w->pointer - 4; // room for an escape and the NUL
    if (at < max) {
        to[at++] = '/';
    }
    for (size_t i = 0; i < name.n && at < max; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c == '~' || c == '/') {
            to[at++] = '~';
            to[at++] = c == '~' ? '0' : '1';
        } else if (is_fragment(c)) {
            to[at++] = (char)c;
        } else {
            to[at++] = '%';
            to[at++] = hex[c >> 4];
            to[at++] = hex[c & 15];
        }
    }
    to[at] = '\0';
    return before;
}

static void pointer_pop(struct walk *w, size_t before)
{
    w->pointer[before] = '\0';
}

static const char *const kind_names[] = {
    [FIELD_STRING] = "a string",
    [FIELD_INTEGER] = "an integer",
    [FIELD_BOOLEAN] = "a boolean",
    [FIELD_TIME] = "an RFC 3339 time from 1970 to 9999, such as \"2026-11-23T10:00:00Z\"",
    [FIELD_OBJECT] = "an object",
    [FIELD_LIST] = "an array",
};

// Counts code points; -1 when s is not UTF-8 or has a NUL.
static int64_t count_characters(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    int64_t count = 0;
    for (size_t i = 0, n; i < s.n; i += n, count++) {
        n = utf8_length(p + i, s.n - i);
        if (n == 0 || p[i] == 0) {
            return -1;
        }
    }
    return count;
}

static bool all_in(struct str s, const char *ranges)
{
    for (size_t i = 0; i < s.n; i++) {
        const char *r = ranges;
        while (*r && !(s.p[i] >= r[0] && s.p[i] <= r[1])) {
            r += 2;
        }
        if (!*r) {
            return false;
        }
    }
    return true;
}

static bool has_control(struct str s, bool text)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && !(text && (c == '\t' || c == '\n'))) || c == 0x7F) {
            return true;
        }
    }
    return false;
}

static bool is_email(struct str s)
{
    const char *at = memchr(s.p, '@', s.n);
    if (!at || at == s.p || has_control(s, false) || memchr(s.p, ' ', s.n)) {
        return false;
    }
    struct str domain = { at + 1, s.n - (size_t)(at + 1 - s.p) };
    const char *dot = domain.n ? memchr(domain.p, '.', domain.n) : NULL;
    return dot && dot != domain.p && domain.p[domain.n - 1] != '.' &&
           !memchr(domain.p, '@', domain.n);
}

static bool is_uuid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f');
        if (dash ? s.p[i] != '-' : !hex) {
            return false;
        }
    }
    return s.n == 36;
}

// What the format allows, or NULL when s has it.
static const char *format_mistake(enum field_format format, struct str s)
{
    switch (format) {
    case FORMAT_ANY:
        return NULL;
    case FORMAT_LINE:
        return has_control(s, false) ? "text without control characters" : NULL;
    case FORMAT_TEXT:
        return has_control(s, true) ? "text without control characters but tab and newline" : NULL;
    case FORMAT_EMAIL:
        return is_email(s) ? NULL : "an email address such as \"ada@example.org\"";
    case FORMAT_UUID:
        return is_uuid(s) ? NULL : "a UUID in lower case";
    case FORMAT_SKU:
        return all_in(s, "AZaz09..__++::~~--") ? NULL : "letters, digits and . _ + : ~ -";
    case FORMAT_CURRENCY:
        return all_in(s, "AZ") ? NULL : "an ISO 4217 code such as \"EUR\"";
    case FORMAT_TOKEN:
        return all_in(s, "!~") ? NULL : "printable ASCII without blanks";
    }
    return NULL;
}

static void check_string(struct walk *w, const struct field *f, struct str s)
{
    int64_t n = count_characters(s);
    const char *allowed = n < 0 ? "valid UTF-8 without NUL" : NULL;
    if (n >= 0 && (n < f->min || n > f->max)) {
        message_error_add(w->errors, w->pointer,
                          "has %" PRId64 " characters; allowed are %" PRId64 " to %" PRId64, n,
                          f->min, f->max);
        return;
    }
    if (!allowed) {
        allowed = format_mistake(f->format, s);
    }
    if (allowed) {
        message_error_add(w->errors, w->pointer, "must be %s", allowed);
    }
}

static int unpack(struct walk *w, const struct message *m, struct reader *r, void *object,
                  int depth);

// A value of another type: named in strict mode, an error in lenient mode.
static int wrong_type(struct walk *w, const struct field *f, struct reader *r)
{
    if (!w->errors) {
        return -EBADMSG;
    }
    message_error_add(w->errors, w->pointer, "must be %s", kind_names[f->kind]);
    return reader_skip(r);
}

static int unpack_string(struct walk *w, const struct field *f, struct reader *r, struct str *to)
{
    if (reader_str(r, to)) {
        return wrong_type(w, f, r);
    }
    if (w->errors) {
        check_string(w, f, *to);
    }
    return 0;
}

static int unpack_integer(struct walk *w, const struct field *f, struct reader *r, int64_t *to)
{
    uint64_t large;
    if (reader_int(r, to)) {
        if (w->errors && reader_uint(r, &large) == 0) { // above INT64_MAX, so above any limit
            message_error_add(w->errors, w->pointer,
                              "is %" PRIu64 "; allowed are %" PRId64 " to %" PRId64, large, f->min,
                              f->max);
            return 0;
        }
        return wrong_type(w, f, r);
    }
    if (w->errors && (*to < f->min || *to > f->max)) {
        message_error_add(w->errors, w->pointer,
                          "is %" PRId64 "; allowed are %" PRId64 " to %" PRId64, *to, f->min,
                          f->max);
    }
    return 0;
}

static int unpack_time(struct walk *w, const struct field *f, struct reader *r, int64_t *to)
{
    struct reader at = *r;
    struct str text;
    if (reader_str(&at, &text) || timestamp_parse(text, to)) {
        return wrong_type(w, f, r);
    }
    *r = at;
    return 0;
}

static int unpack_list(struct walk *w, const struct field *f, struct reader *r, char *object,
                       int depth)
{
    uint32_t count;
    if (reader_array(r, &count)) {
        return wrong_type(w, f, r);
    }
    if (count < f->min || count > f->max) {
        if (!w->errors) {
            return -EBADMSG;
        }
        message_error_add(w->errors, w->pointer,
                          "has %" PRIu32 " items; allowed are %" PRId64 " to %" PRId64, count,
                          f->min, f->max);
    }
    size_t *n = (size_t *)(void *)(object + f->count_offset);
    for (uint32_t i = 0; i < count; i++) {
        if (i >= f->max) {
            if (reader_skip(r)) {
                return -EBADMSG;
            }
            continue;
        }
        char digits[12];
        (void)snprintf(digits, sizeof digits, "%" PRIu32, i);
        size_t before = pointer_push(w, str_of(digits));
        if (unpack(w, f->sub, r, object + f->offset + i * f->sub->size, depth + 1)) {
            return -EBADMSG;
        }
        pointer_pop(w, before);
        *n = i + 1;
    }
    return 0;
}

static int unpack_field(struct walk *w, const struct field *f, struct reader *r, char *object,
                        int depth)
{
    void *to = object + f->offset;
    switch (f->kind) {
    case FIELD_STRING:
        return unpack_string(w, f, r, to);
    case FIELD_INTEGER:
        return unpack_integer(w, f, r, to);
    case FIELD_BOOLEAN:
        return reader_bool(r, to) ? wrong_type(w, f, r) : 0;
    case FIELD_TIME:
        return unpack_time(w, f, r, to);
    case FIELD_OBJECT:
        return unpack(w, f->sub, r, to, depth + 1);
    case FIELD_LIST:
        return unpack_list(w, f, r, object, depth);
    }
    return -EBADMSG;
}

// Index of the field called name, tried first where the last one was found: senders keep the
// table's order.
static size_t find_field(const struct message *m, struct str name, size_t hint)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        size_t k = (hint + i) % m->n_fields;
        if (str_eq(str_of(m->fields[k].name), name)) {
            return k;
        }
    }
    return m->n_fields;
}

static int unknown_field(struct walk *w, const struct message *m, struct reader *r)
{
    if (w->errors) {
        char known[160];
        size_t n = 0;
        for (size_t i = 0; i < m->n_fields && n < sizeof known; i++) {
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "",
                                  m->fields[i].name);
        }
        message_error_add(w->errors, w->pointer, "is unknown; allowed are %s", known);
    }
    return reader_skip(r);
}

static int unpack_member(struct walk *w, const struct message *m, struct reader *r, char *object,
                         size_t *hint, int depth)
{
    struct message_head *head = (void *)object;
    struct str name;
    if (reader_str(r, &name)) {
        return -EBADMSG;
    }
    size_t before = pointer_push(w, name), k = find_field(m, name, *hint);
    int rc = 0;
    if (k == m->n_fields) {
        rc = unknown_field(w, m, r);
    } else if (head->present & UINT64_C(1) << k) {
        rc = -EBADMSG; // the transcoder refuses duplicate keys before this
    } else {
        const struct field *f = &m->fields[k];
        *hint = k + 1;
        head->present |= UINT64_C(1) << k;
        if (reader_nil(r) == 0) {
            head->null |= UINT64_C(1) << k;
            if (w->errors && !(f->flags & FIELD_NULLABLE)) {
                message_error_add(w->errors, w->pointer, "must not be null; it must be %s",
                                  kind_names[f->kind]);
            }
        } else {
            rc = unpack_field(w, f, r, object, depth);
        }
    }
    pointer_pop(w, before);
    return rc;
}

static int unpack(struct walk *w, const struct message *m, struct reader *r, void *object,
                  int depth)
{
    struct message_head *head = object;
    uint32_t members;
    size_t hint = 0;
    assert(m->n_fields <= 64 && depth < MAX_NESTING);
    if (reader_map(r, &members)) {
        if (!w->errors) {
            return -EBADMSG;
        }
        message_error_add(w->errors, w->pointer, "must be an object");
        return reader_skip(r);
    }
    for (uint32_t i = 0; i < members; i++) {
        if (unpack_member(w, m, r, object, &hint, depth)) {
            return -EBADMSG;
        }
    }
    for (size_t k = 0; k < m->n_fields; k++) {
        if (!(m->fields[k].flags & FIELD_REQUIRED) || head->present & UINT64_C(1) << k) {
            continue;
        }
        if (!w->errors) {
            return -EBADMSG;
        }
        size_t before = pointer_push(w, str_of(m->fields[k].name));
        message_error_add(w->errors, w->pointer, "is required");
        pointer_pop(w, before);
    }
    return 0;
}

int message_unpack(const struct message *m, struct reader *r, void *ret_struct,
                   struct message_errors *errors)
{
    struct walk w = { .errors = errors, .pointer = "#" };
    errors->n = 0;
    memset(ret_struct, 0, m->size);
    if (unpack(&w, m, r, ret_struct, 0)) {
        return -EBADMSG;
    }
    return errors->n ? -EINVAL : 0;
}

int message_unpack_lenient(const struct message *m, struct reader *r, void *ret_struct)
{
    struct walk w = { .errors = NULL, .pointer = "#" };
    memset(ret_struct, 0, m->size);
    return unpack(&w, m, r, ret_struct, 0);
}

static void pack_field(const struct field *f, const char *object, struct buf *b)
{
    const void *from = object + f->offset;
    char text[TIMESTAMP_SIZE];
    switch (f->kind) {
    case FIELD_STRING:
        writer_str(b, *(const struct str *)from);
        break;
    case FIELD_INTEGER:
        writer_int(b, *(const int64_t *)from);
        break;
    case FIELD_BOOLEAN:
        writer_bool(b, *(const bool *)from);
        break;
    case FIELD_TIME:
        writer_str(b, timestamp_format(*(const int64_t *)from, text));
        break;
    case FIELD_OBJECT:
        message_pack(f->sub, from, b);
        break;
    case FIELD_LIST: {
        size_t n = *(const size_t *)(const void *)(object + f->count_offset);
        writer_array(b, (uint32_t)n);
        for (size_t i = 0; i < n; i++) {
            message_pack(f->sub, object + f->offset + i * f->sub->size, b);
        }
        break;
    }
    }
}

void message_pack(const struct message *m, const void *object, struct buf *b)
{
    const struct message_head *head = object;
    uint32_t members = 0;
    for (size_t k = 0; k < m->n_fields; k++) {
        members += (m->fields[k].flags & FIELD_REQUIRED) || (head->present & UINT64_C(1) << k);
    }
    writer_map(b, members);
    for (size_t k = 0; k < m->n_fields; k++) {
        const struct field *f = &m->fields[k];
        if (!(f->flags & FIELD_REQUIRED) && !(head->present & UINT64_C(1) << k)) {
            continue;
        }
        writer_key(b, f->name);
        if (head->null & UINT64_C(1) << k) {
            writer_nil(b);
        } else {
            pack_field(f, object, b);
        }
    }
}

static void schema_limits(const struct field *f, const char *low, const char *high, struct buf *b)
{
    buf_printf(b, ",\"%s\":%" PRId64, low, f->min);
    if (f->max != INT64_MAX) {
        buf_printf(b, ",\"%s\":%" PRId64, high, f->max);
    }
}

static void schema_string(const struct field *f, struct buf *b)
{
    static const char *const formats[] = {
        [FORMAT_EMAIL] = ",\"format\":\"email\"",
        [FORMAT_UUID] = ",\"format\":\"uuid\"",
        [FORMAT_SKU] = ",\"pattern\":\"^[A-Za-z0-9._+:~-]*$\"",
        [FORMAT_CURRENCY] = ",\"pattern\":\"^[A-Z]{3}$\"",
        [FORMAT_TOKEN] = ",\"pattern\":\"^[!-~]*$\"",
    };
    schema_limits(f, "minLength", "maxLength", b);
    if (formats[f->format]) {
        buf_append_z(b, formats[f->format]);
    }
}

static void schema_type(const struct field *f, const char *type, struct buf *b)
{
    buf_printf(b, f->flags & FIELD_NULLABLE ? "\"type\":[\"%s\",\"null\"]" : "\"type\":\"%s\"",
               type);
}

// What is embedded may be part of answers, too, whose schema is open: a closed one closes it here.
static void schema_embedded(const struct field *f, bool closed, struct buf *b)
{
    const char *name = f->sub->name, *end = closed ? ",\"unevaluatedProperties\":false" : "";
    if (f->kind == FIELD_LIST) {
        buf_printf(b, ",\"items\":{\"$ref\":\"#/components/schemas/%s\"%s}", name, end);
    } else {
        // Wrapped, because beside a reference AsyncAPI does not see the description.
        buf_printf(b, "\"allOf\":[{\"$ref\":\"#/components/schemas/%s\"}]%s", name, end);
    }
}

static void schema_field(const struct field *f, bool closed, struct buf *b)
{
    buf_printf(b, "\"%s\":{", f->name);
    switch (f->kind) {
    case FIELD_STRING:
        schema_type(f, "string", b);
        schema_string(f, b);
        break;
    case FIELD_INTEGER:
        schema_type(f, "integer", b);
        schema_limits(f, "minimum", "maximum", b);
        break;
    case FIELD_BOOLEAN:
        schema_type(f, "boolean", b);
        break;
    case FIELD_TIME:
        schema_type(f, "string", b);
        buf_append_z(b, ",\"format\":\"date-time\"");
        break;
    case FIELD_OBJECT:
        schema_embedded(f, closed, b);
        break;
    case FIELD_LIST:
        schema_type(f, "array", b);
        schema_embedded(f, closed, b);
        schema_limits(f, "minItems", "maxItems", b);
        break;
    }
    buf_append_z(b, ",\"description\":\"");
    buf_append_json(b, str_of(f->description));
    buf_append_z(b, "\"}");
}

void message_schema(const struct message *m, bool closed, struct buf *b)
{
    buf_append_z(b, "{\"type\":\"object\",\"properties\":{");
    for (size_t k = 0; k < m->n_fields; k++) {
        buf_append_z(b, k ? "," : "");
        schema_field(&m->fields[k], closed, b);
    }
    buf_append_z(b, "},\"required\":[");
    bool first = true;
    for (size_t k = 0; k < m->n_fields; k++) {
        if (m->fields[k].flags & FIELD_REQUIRED) {
            buf_printf(b, "%s\"%s\"", first ? "" : ",", m->fields[k].name);
            first = false;
        }
    }
    buf_append_z(b, closed ? "],\"additionalProperties\":false}" : "]}");
}
