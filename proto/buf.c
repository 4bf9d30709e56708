// SPDX-License-Identifier: MIT
// Growth is by doubling, so that building a message of n bytes costs O(n); a kept buffer soon stops
// allocating.
#include "proto/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/utf8.h"

#define FIRST_CAPACITY 256

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){ .max = max_bytes };
}

static void give_back(struct buf *b)
{
    if (b->data && b->wipes) {
        explicit_bzero(b->data, b->cap);
    }
    free(b->data);
}

void buf_fini(struct buf *b)
{
    give_back(b);
    *b = (struct buf){ .max = b->max, .wipes = b->wipes };
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->error = 0;
}

void buf_wipe(struct buf *b)
{
    if (b->data) {
        explicit_bzero(b->data, b->len);
    }
    buf_reset(b);
}

// As realloc(), which leaves what it moved where it was.
static char *move_to_larger(struct buf *b, size_t cap)
{
    char *data = malloc(cap);
    if (data) {
        if (b->len) {
            memcpy(data, b->data, b->len);
        }
        give_back(b);
    }
    return data;
}

static bool grow(struct buf *b, size_t needed)
{
    size_t cap = b->cap ? b->cap : FIRST_CAPACITY;
    while (cap < needed) {
        cap *= 2; // cannot wrap: needed is at most max, and no allocation comes near SIZE_MAX / 2
    }
    if (cap > b->max) {
        cap = b->max;
    }
    char *data = b->wipes ? move_to_larger(b, cap) : realloc(b->data, cap);
    if (!data) {
        b->error = -ENOMEM;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

char *buf_reserve(struct buf *b, size_t n)
{
    assert(b->len <= b->cap);
    if (b->error) {
        return NULL;
    }
    if (n > b->max - b->len) {
        b->error = -EMSGSIZE;
        return NULL;
    }
    if ((n > b->cap - b->len || !b->data) && !grow(b, b->len + n)) {
        return NULL;
    }
    return b->data + b->len;
}

void buf_append(struct buf *b, const void *bytes, size_t n)
{
    char *to = buf_reserve(b, n);
    if (to && n) {
        memcpy(to, bytes, n);
        b->len += n;
    }
}

void buf_append_str(struct buf *b, struct str s)
{
    buf_append(b, s.p, s.n);
}

void buf_append_char(struct buf *b, char c)
{
    buf_append(b, &c, 1);
}

void buf_append_decimal(struct buf *b, uint64_t v, unsigned min_digits)
{
    char digits[20];
    char *end = digits + sizeof digits, *p = end;
    assert(min_digits <= sizeof digits);
    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v || (unsigned)(end - p) < min_digits);
    buf_append(b, p, (size_t)(end - p));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    char text[512];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(text, sizeof text, format, args);
    assert(n >= 0);
    if ((size_t)n < sizeof text) {
        buf_append(b, text, (size_t)n);
    } else {
        // Formatted elsewhere, because vsnprintf() writes a NUL, for which the ceiling may leave no
        // room.
        char *copy = malloc((size_t)n + 1);
        if (copy) {
            (void)vsnprintf(copy, (size_t)n + 1, format, again); // n is its length
            buf_append(b, copy, (size_t)n);
            free(copy);
        } else if (!b->error) {
            b->error = -ENOMEM;
        }
    }
    va_end(again);
    va_end(args);
}

static void append_json_escape(struct buf *b, unsigned char c)
{
    switch (c) {
    case '"':
        buf_append(b, "\\\"", 2);
        break;
    case '\\':
        buf_append(b, "\\\\", 2);
        break;
    case '\n':
        buf_append(b, "\\n", 2);
        break;
    case '\r':
        buf_append(b, "\\r", 2);
        break;
    case '\t':
        buf_append(b, "\\t", 2);
        break;
    default: {
        static const char hex[] = "0123456789abcdef";
        const char escape[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
        buf_append(b, escape, sizeof escape);
    }
    }
}

void buf_append_json(struct buf *b, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t start = 0, i = 0;
    while (i < s.n) {
        unsigned char c = p[i];
        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t n = c >= 0x80 ? utf8_length(p + i, s.n - i) : 0;
        bool c1 = n == 2 && c == 0xC2 &&
                  p[i + 1] < 0xA0; // U+0080 to U+009F: controls that terminals obey
        if (n && !c1) {
            i += n;
            continue;
        }
        buf_append(b, p + start, i - start);
        if (c1) {
            append_json_escape(b, p[i + 1]);
        } else if (c >= 0x80) {
            buf_append(b, "\xEF\xBF\xBD", 3);
        } else {
            append_json_escape(b, c);
        }
        i += c1 ? 2 : 1;
        start = i;
    }
    buf_append(b, p + start, s.n - start);
}
