// SPDX-License-Identifier: MIT
// Lines are gathered whole before they are looked at, so there is no state inside a line.
#include "gateway/chunked.h"

#include "gateway/grammar.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static_assert(HTTP_MAX_CHUNK_LINE <= HTTP_MAX_TRAILER_BYTES, "both kinds of lines fit");

static enum chunked_event fail(struct chunked *c, enum chunked_event event, const char *detail)
{
    c->state = CHUNKED_OVER;
    c->detail = detail;
    return event;
}

// --- What a line says; each takes what it reads off the front of *s.

static void skip_blanks(struct str *s)
{
    while (s->n && is_blank(s->p[0])) {
        *s = (struct str){ s->p + 1, s->n - 1 };
    }
}

static bool take(struct str *s, char c)
{
    if (s->n == 0 || s->p[0] != c) {
        return false;
    }
    *s = (struct str){ s->p + 1, s->n - 1 };
    return true;
}

static bool take_token(struct str *s)
{
    size_t n = 0;
    while (n < s->n && is_token(s->p[n])) {
        n++;
    }
    *s = (struct str){ s->p + n, s->n - n };
    return n > 0;
}

// Behind the opening quote.
static bool take_quoted(struct str *s)
{
    size_t i = 0;
    while (i < s->n && s->p[i] != '"') {
        i += s->p[i] == '\\';
        if (i == s->n || !is_text(s->p[i])) {
            return false;
        }
        i++;
    }
    *s = (struct str){ s->p + i, s->n - i };
    return take(s, '"');
}

// Sizes over 64 bits are refused, however many zeros stand before them.
static bool take_size(struct str *s, uint64_t *ret_size)
{
    uint64_t size = 0;
    size_t n = 0;
    for (; n < s->n && hexadecimal(s->p[n]) >= 0; n++) {
        if (size > UINT64_MAX >> 4) {
            return false;
        }
        size = size << 4 | (uint64_t)hexadecimal(s->p[n]);
    }
    *s = (struct str){ s->p + n, s->n - n };
    *ret_size = size;
    return n > 0;
}

// *( BWS ";" BWS name [ BWS "=" BWS value ] )
static bool take_extensions(struct str *s)
{
    while (s->n) {
        skip_blanks(s);
        if (!take(s, ';')) {
            return false;
        }
        skip_blanks(s);
        if (!take_token(s)) {
            return false;
        }
        struct str behind = *s; // blanks before a "=" or a ";" are allowed, but not at the end
        skip_blanks(s);
        if (!take(s, '=')) {
            *s = behind;
            continue;
        }
        skip_blanks(s);
        if (take(s, '"') ? !take_quoted(s) : !take_token(s)) {
            return false;
        }
    }
    return true;
}

// --- Lines

static enum chunked_event end_size_line(struct chunked *c, struct str line)
{
    uint64_t size;
    if (!take_size(&line, &size)) {
        return fail(c, CHUNKED_MALFORMED, "A chunk does not begin with its size in hexadecimal.");
    }
    if (!take_extensions(&line)) {
        return fail(c, CHUNKED_MALFORMED, "Behind the size of a chunk stands no chunk extension.");
    }
    c->left = size;
    c->state = size ? CHUNKED_CHUNK : CHUNKED_TRAILER_LINE;
    return CHUNKED_BEGIN;
}

static enum chunked_event end_trailer_line(struct chunked *c, struct str line)
{
    if (line.n == 0) {
        c->state = CHUNKED_OVER;
        return CHUNKED_END;
    }
    if (++c->n_trailers > HTTP_MAX_TRAILERS) {
        return fail(c, CHUNKED_TOO_LARGE, "There are more than 16 trailer fields.");
    }
    bool sound = take_token(&line) && take(&line, ':');
    for (size_t i = 0; i < line.n; i++) {
        sound = sound && is_text(line.p[i]);
    }
    if (!sound) {
        return fail(c, CHUNKED_MALFORMED, "A trailer field is not a name, a colon and a value.");
    }
    return CHUNKED_MORE;
}

static enum chunked_event fail_long_line(struct chunked *c)
{
    return c->state == CHUNKED_SIZE_LINE
               ? fail(c, CHUNKED_MALFORMED,
                      "The size of a chunk and its extensions are over the limit of 274 bytes.")
               : fail(c, CHUNKED_TOO_LARGE, "The trailer fields are over the limit of 4096 bytes.");
}

// Moves bytes into line, and looks at it when it is complete.
static enum chunked_event gather_line(struct chunked *c, struct str *rest)
{
    bool trailer = c->state == CHUNKED_TRAILER_LINE;
    size_t room = trailer ? HTTP_MAX_TRAILER_BYTES - c->trailer_bytes - c->line_n
                          : HTTP_MAX_CHUNK_LINE - c->line_n;
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) + 1 : rest->n;
    if (n > room) {
        return fail_long_line(c);
    }
    memcpy(c->line + c->line_n, rest->p, n);
    c->line_n += n;
    *rest = (struct str){ rest->p + n, rest->n - n };
    if (!end) {
        return CHUNKED_MORE;
    }
    if (c->line_n < 2 || c->line[c->line_n - 2] != '\r') {
        return fail(c, CHUNKED_MALFORMED, "A line of the chunked body does not end with CR LF.");
    }
    struct str line = { c->line, c->line_n - 2 };
    c->trailer_bytes += trailer ? c->line_n : 0;
    c->line_n = 0;
    return trailer ? end_trailer_line(c, line) : end_size_line(c, line);
}

// --- Chunks

static void take_data(struct chunked *c, struct str *rest, struct str *ret_data)
{
    size_t n = rest->n < c->left ? rest->n : (size_t)c->left;
    *ret_data = (struct str){ rest->p, n };
    *rest = (struct str){ rest->p + n, rest->n - n };
    c->left -= n;
    if (c->left == 0) {
        c->state = CHUNKED_CHUNK_END;
    }
}

static enum chunked_event take_chunk_end(struct chunked *c, struct str *rest)
{
    if (!take(rest, "\r\n"[c->line_n])) {
        return fail(c, CHUNKED_MALFORMED, "The data of a chunk does not end with CR LF.");
    }
    if (++c->line_n == 2) {
        c->line_n = 0;
        c->state = CHUNKED_SIZE_LINE;
    }
    return CHUNKED_MORE;
}

void chunked_start(struct chunked *c)
{
    memset(c, 0, offsetof(struct chunked, line));
}

enum chunked_event chunked_next(struct chunked *c, struct str *rest, struct str *ret_data)
{
    enum chunked_event event = CHUNKED_MORE;
    assert(c->state != CHUNKED_OVER);
    while (rest->n && event == CHUNKED_MORE) {
        if (c->state == CHUNKED_CHUNK) {
            take_data(c, rest, ret_data);
            return CHUNKED_DATA;
        }
        event = c->state == CHUNKED_CHUNK_END ? take_chunk_end(c, rest) : gather_line(c, rest);
    }
    return event;
}
