// SPDX-License-Identifier: MIT
// The characters and small rules that the parts of a request have in common (RFC 9110 section 5.6).
#ifndef GATEWAY_GRAMMAR_H
#define GATEWAY_GRAMMAR_H

#include "proto/str.h"

#include <stdbool.h>

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static inline bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c);
}

// A character of a token: a method, a field name, the name of a chunk extension.
static inline bool is_token(char c)
{
    return is_alphanumeric(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

// A byte of a field value or inside a quoted string.
static inline bool is_text(char c)
{
    unsigned char u = (unsigned char)c;
    return u == '\t' || (u >= 0x20 && u != 0x7F);
}

// The value of a hexadecimal digit; -1 when it is none.
static inline int hexadecimal(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#define FIELD_NAME_MAX 128 // bytes, of names in configuration

// Whether s is the name of a field in lower case.
bool is_field_name(struct str s);

// Whether a comma-separated list has this token, in whatever case. A list with p == NULL is empty.
bool list_has(struct str list, struct str token);

#endif
