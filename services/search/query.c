// SPDX-License-Identifier: MIT
// Every term becomes a quoted FTS5 string. Terms stand side by side (FTS5's implicit AND), never
// joined by an explicit AND: only the implicit one passes over strings in which the tokenizer finds
// no word at all, such as "&" or a dash, instead of matching nothing.
#include "services/search/query.h"

#include <assert.h>

static bool is_space(char c)
{
    return (unsigned char)c <= ' ' || c == 0x7F;
}

// Bytes above ASCII count as letters.
static bool is_sign(char c)
{
    unsigned char letter = (unsigned char)c | 0x20;
    return (unsigned char)c < 0x80 && !(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9');
}

// Bytes of the word that the text ends with.
static size_t last_word(struct str text)
{
    size_t n = 0;
    while (n < text.n && !is_sign(text.p[text.n - 1 - n])) {
        n++;
    }
    return n;
}

// Makes the term a beginning. One that ends in a single letter ends before it: most of the index
// has a word that begins so.
static void make_prefix(struct query_term *t)
{
    size_t n = last_word(t->text);
    t->prefix = n >= QUERY_MIN_PREFIX;
    if (!t->prefix && n < t->text.n) {
        t->text.n -= n;
    }
}

// A term from p on: ret_end stands behind it.
static struct query_term read_term(const char *p, const char *end, const char **ret_end)
{
    struct query_term t = { .phrase = *p == '"' };
    bool star;
    p += t.phrase;
    const char *start = p;
    while (p < end && (t.phrase ? *p != '"' : !is_space(*p) && *p != '"')) {
        p++;
    }
    t.text = (struct str){ start, (size_t)(p - start) };
    if (t.phrase) {
        p += p < end; // the closing quote; a missing one is at the end
        star = p < end && *p == '*';
        p += star;
    } else {
        star = t.text.n && p[-1] == '*';
        while (t.text.n && t.text.p[t.text.n - 1] == '*') {
            t.text.n--;
        }
    }
    if (star) {
        make_prefix(&t);
    }
    *ret_end = p;
    return t;
}

void query_parse(struct str typed, struct query *ret_query)
{
    const char *p = typed.p, *end = p + typed.n;
    ret_query->n = 0;
    while (p < end && ret_query->n < QUERY_MAX_TERMS) {
        if (is_space(*p)) {
            p++;
            continue;
        }
        struct query_term t = read_term(p, end, &p);
        if (t.text.n) {
            ret_query->terms[ret_query->n++] = t;
        }
    }
}

// Whether the term is matched as a beginning.
static bool is_prefix(const struct query_term *t, bool wide)
{
    return t->prefix || (wide && !t->phrase && last_word(t->text) >= QUERY_MIN_WIDENED);
}

// The inside of a string. NUL ends an expression for FTS5, and a quote would end the string.
static void put_text(struct str s, struct buf *b)
{
    for (size_t i = 0; i < s.n; i++) {
        buf_append_char(b, s.p[i] == '"' || s.p[i] == '\0' ? ' ' : s.p[i]);
    }
}

void query_put_name(struct str name, struct buf *b)
{
    const char *mark = QUERY_NAME_MARK;
    for (size_t i = 0; i < name.n && name.n <= QUERY_MAX_NAME; i++) {
        if (!is_sign(name.p[i])) {
            buf_append_z(b, mark);
            buf_append_char(b, name.p[i]);
            mark = "";
        }
    }
}

// What lifts names that begin with what was typed, and those that are just that but for blanks and
// signs.
static void put_names(const struct query *q, struct buf *b)
{
    buf_append_z(b, " OR {title key} : ^ \"");
    for (size_t i = 0; i < q->n; i++) {
        put_text(q->terms[i].text, b);
        buf_append_char(b, ' ');
    }
    const char *first = q->terms[0].text.p;
    struct str last = q->terms[q->n - 1].text;
    buf_append_z(b, "\" OR key : \"");
    query_put_name((struct str){ first, (size_t)(last.p + last.n - first) }, b);
    buf_append_char(b, '"');
}

static void put_terms(const struct query *q, bool wide, struct buf *b)
{
    buf_append_char(b, '(');
    for (size_t i = 0; i < q->n; i++) {
        buf_append_char(b, '"');
        put_text(q->terms[i].text, b);
        buf_append_z(b, is_prefix(&q->terms[i], wide) ? "\"* " : "\" ");
    }
    buf_append_char(b, ')');
}

void query_match(const struct query *q, bool wide, struct buf *b)
{
    assert(q->n > 0);
    bool widens = false;
    for (size_t i = 0; i < q->n; i++) {
        widens |= is_prefix(&q->terms[i], true) && !q->terms[i].prefix;
    }
    put_terms(q, false, b);
    if (wide && widens) {
        buf_append_z(b, " OR ");
        put_terms(q, true, b);
    }
    if (wide) {
        put_names(q, b);
    }
}

void query_match_typing(const struct query *q, struct buf *b)
{
    assert(q->n > 0);
    struct query typed = *q;
    make_prefix(&typed.terms[q->n - 1]);
    if (!typed.terms[q->n - 1].prefix && q->n > 1) {
        typed.n--; // a single letter
    }
    buf_append_z(b, "{title key} : ");
    put_terms(&typed, false, b);
}
