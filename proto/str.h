// SPDX-License-Identifier: MIT
// A string as pointer and length. It borrows its bytes and is not NUL-terminated: nothing that
// comes from a peer is ever handed to strlen().
#ifndef PROTO_STR_H
#define PROTO_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *p; // first byte; may be NULL only when n is 0
    size_t n;      // length in bytes
};

// A str of a string literal.
#define STR(literal) ((struct str){ ("" literal), sizeof(literal) - 1 })

// The same as an initialiser of a static object, where ISO C wants a constant.
#define STR_INIT(literal) { ("" literal), sizeof(literal) - 1 }

// The two arguments that printf's "%.*s" takes.
#define STR_ARG(s) (int)(s).n, (s).p

// A str that borrows the NUL-terminated z; NULL gives the empty str.
static inline struct str str_of(const char *z)
{
    return (struct str){ z, z ? strlen(z) : 0 };
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

// Orders by bytes, then by length, as memcmp and strcmp do.
static inline int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

// Without blanks and tabs (RFC 9110's OWS) at either end.
static inline struct str str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s = (struct str){ s.p + 1, s.n - 1 };
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

// Takes the first line off, and returns it without its end, a newline; the last one may have none.
// rest has something in it.
static inline struct str str_take_line(struct str *rest)
{
    const char *end = (const char *)memchr(rest->p, '\n', rest->n);
    struct str line = { rest->p, end ? (size_t)(end - rest->p) : rest->n };
    size_t used = line.n + (end ? 1 : 0);
    *rest = (struct str){ rest->p + used, rest->n - used };
    return line;
}

#endif
