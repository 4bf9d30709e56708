// SPDX-License-Identifier: MIT
#include "gateway/target.h"

#include "gateway/authority.h"
#include "gateway/grammar.h"
#include "proto/utf8.h"

#include <errno.h>
#include <strings.h>

static bool is_path(char c)
{
    return is_alphanumeric(c) || is_one_of(c, "/-._~%!$&'()*+,;=:@");
}

// Browsers leave some more characters as they are in a query than RFC 3986 allows.
static bool is_query(char c)
{
    return is_path(c) || is_one_of(c, "?[]{}|^`");
}

// Decodes n bytes at p in place; the result is never longer.
static int decode(char *p, size_t n, bool query, struct str *ret, const char **ret_detail)
{
    size_t out = 0;
    bool encoded = false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '%') {
            int high = i + 2 < n ? hexadecimal(p[i + 1]) : -1,
                low = i + 2 < n ? hexadecimal(p[i + 2]) : -1;
            if (high < 0 || low < 0) {
                *ret_detail =
                    "A % in the request target is not followed by two hexadecimal digits.";
                return -EINVAL;
            }
            c = (char)(high << 4 | low);
            encoded = true;
            i += 2;
            if (c == '\0' || (!query && ((unsigned char)c < 0x20 || c == 0x7F))) {
                *ret_detail = "The request target has an encoded control character.";
                return -EINVAL;
            }
        } else if (c == '+' && query) {
            c = ' ';
        }
        p[out++] = c;
    }
    *ret = (struct str){ p, out };
    if (encoded && !utf8_valid(*ret)) {
        *ret_detail = "The request target is not UTF-8 when decoded.";
        return -EINVAL;
    }
    return 0;
}

static int add_segment(char *p, size_t n, struct target *t, const char **ret_detail)
{
    struct str segment;
    if (decode(p, n, false, &segment, ret_detail)) {
        return -EINVAL;
    }
    if (str_eq(segment, STR(".")) || str_eq(segment, STR(".."))) {
        *ret_detail = "The request target has a dot segment.";
        return -EINVAL;
    }
    if (t->n_segments < HTTP_MAX_SEGMENTS) {
        t->segments[t->n_segments] = segment;
    }
    if (t->n_segments <= HTTP_MAX_SEGMENTS) {
        t->n_segments++;
    }
    return 0;
}

// p stands behind the leading slash.
static int parse_path(char *p, size_t n, struct target *t, const char **ret_detail)
{
    size_t start = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i == n || p[i] == '/') {
            if (add_segment(p + start, i - start, t, ret_detail)) {
                return -EINVAL;
            }
            start = i + 1;
        }
    }
    return 0;
}

static int add_pair(char *p, size_t n, struct target *t, const char **ret_detail)
{
    if (n == 0) {
        return 0;
    }
    if (t->n_query == FRAME_MAX_QUERY) {
        return -E2BIG;
    }
    char *equals = memchr(p, '=', n);
    size_t name_n = equals ? (size_t)(equals - p) : n;
    char *value = equals ? equals + 1 : p + n;
    struct frame_pair *pair = &t->query[t->n_query++];
    int rc = decode(p, name_n, true, &pair->name, ret_detail);
    return rc ? rc : decode(value, (size_t)(p + n - value), true, &pair->value, ret_detail);
}

static int parse_query(char *p, size_t n, struct target *t, const char **ret_detail)
{
    size_t start = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i == n || p[i] == '&') {
            int rc = add_pair(p + start, i - start, t, ret_detail);
            if (rc) {
                return rc;
            }
            start = i + 1;
        }
    }
    return 0;
}

static bool characters_allowed(const char *p, size_t path_n, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i < path_n ? !is_path(p[i]) : !is_query(p[i])) {
            return false;
        }
    }
    return true;
}

// Steps over "scheme://authority" of an absolute-form target; *p stands at the path, the query or
// the end.
static int skip_origin(char **p, size_t *n, const char **ret_detail)
{
    size_t scheme = *n >= 7 && strncasecmp(*p, "http://", 7) == 0    ? 7
                    : *n >= 8 && strncasecmp(*p, "https://", 8) == 0 ? 8
                                                                     : 0;
    size_t end = scheme;
    while (scheme && end < *n && (*p)[end] != '/' && (*p)[end] != '?') {
        end++;
    }
    if (!scheme || !authority_valid((struct str){ *p + scheme, end - scheme })) {
        *ret_detail = "The request target must begin with / (or be an http URI of this server).";
        return -EINVAL;
    }
    *p += end;
    *n -= end;
    return 0;
}

int target_parse(char *raw, size_t n, struct target *ret_target, const char **ret_detail)
{
    struct target *t = ret_target;
    t->asterisk = n == 1 && raw[0] == '*';
    t->n_segments = 0;
    t->n_query = 0;
    if (t->asterisk) {
        return 0;
    }
    bool absolute = n == 0 || raw[0] != '/';
    if (absolute && skip_origin(&raw, &n, ret_detail)) {
        return -EINVAL;
    }
    char *mark = n ? memchr(raw, '?', n) : NULL;
    size_t path_n = mark ? (size_t)(mark - raw) : n;
    if (!characters_allowed(raw, path_n, n)) {
        *ret_detail =
            "The request target has a character that must be percent-encoded, or a fragment.";
        return -EINVAL;
    }
    size_t slash = path_n > 0; // an absolute URI may have an empty path, which means "/"
    if (parse_path(raw + slash, path_n - slash, t, ret_detail)) {
        return -EINVAL;
    }
    return mark ? parse_query(mark + 1, n - path_n - 1, t, ret_detail) : 0;
}
