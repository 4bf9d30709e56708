// SPDX-License-Identifier: MIT
#include "services/search/snippet.h"

#include <string.h>

#define FOCUS_BYTES 120 // the marks in so many bytes are counted, to find where most are
#define LEAD_BYTES 40   // of the text before the first of them

#define ELLIPSIS "…"
#define LONGEST "&quot;" // of what one byte may become

_Static_assert(SNIPPET_TEXT_BYTES *(sizeof LONGEST - 1) + sizeof "</b>" ELLIPSIS ELLIPSIS <=
                   SNIPPET_MAX_BYTES,
               "the longest result");

static const char *find(struct str s, const char *from, char wanted)
{
    size_t left = (size_t)(s.p + s.n - from);
    return left ? memchr(from, wanted, left) : NULL;
}

// Where the first of most marks in FOCUS_BYTES stands; the beginning when there are none.
static const char *focus(struct str s)
{
    const char *best = s.p;
    size_t n = 0, most = 0;
    const char *first = find(s, s.p, SNIPPET_MARK_ON), *behind = first;
    while (first) {
        while (behind && behind - first < FOCUS_BYTES) {
            n++;
            behind = find(s, behind + 1, SNIPPET_MARK_ON);
        }
        if (n > most) {
            most = n;
            best = first;
        }
        n--;
        first = find(s, first + 1, SNIPPET_MARK_ON);
    }
    return best;
}

static bool is_inside_character(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

// The part of the text around what was found, from one blank to another where there are any.
static struct str cut(struct str s)
{
    const char *best = focus(s), *begin = s.p, *end = s.p + s.n;
    if (best - begin > LEAD_BYTES) {
        const char *blank = memchr(best - LEAD_BYTES, ' ', LEAD_BYTES);
        begin = blank ? blank + 1 : best;
    }
    if (end - begin > SNIPPET_TEXT_BYTES) {
        end = begin + SNIPPET_TEXT_BYTES;
        const char *blank = memrchr(begin, ' ', SNIPPET_TEXT_BYTES);
        if (blank && blank > best) {
            end = blank;
        }
        while (end > begin && is_inside_character(*end)) {
            end--;
        }
    }
    return (struct str){ begin, (size_t)(end - begin) };
}

static void put_escaped(char c, struct buf *b)
{
    switch (c) {
    case '&':
        buf_append_z(b, "&amp;");
        break;
    case '<':
        buf_append_z(b, "&lt;");
        break;
    case '>':
        buf_append_z(b, "&gt;");
        break;
    case '"':
        buf_append_z(b, LONGEST);
        break;
    default:
        buf_append_char(b, c);
    }
}

void snippet_put(struct str marked, struct buf *b)
{
    if (marked.n == 0) {
        return;
    }
    struct str part = cut(marked);
    bool on = false;
    buf_append_z(b, part.p != marked.p ? ELLIPSIS : "");
    for (size_t i = 0; i < part.n; i++) {
        char c = part.p[i];
        if (c == SNIPPET_MARK_ON || c == SNIPPET_MARK_OFF) {
            bool want = c == SNIPPET_MARK_ON;
            buf_append_z(b, want == on ? "" : want ? "<b>" : "</b>");
            on = want;
        } else {
            put_escaped(c, b);
        }
    }
    buf_append_z(b, on ? "</b>" : "");
    buf_append_z(b, part.p + part.n != marked.p + marked.n ? ELLIPSIS : "");
}
