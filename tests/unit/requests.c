// SPDX-License-Identifier: MIT
#include "tests/unit/requests.h"

#include "proto/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_LINE 16384
#define MAX_BYTES 262144
#define MAX_LETS 16

struct let {
    char name[32];
    struct str bytes;
};

struct reading {
    struct let lets[MAX_LETS];
    size_t n_lets;
    const char *line; // for what fails
};

static void expand(const struct reading *in, struct str text, struct buf *out);

static void require(const struct reading *in, bool condition, const char *what)
{
    if (!condition) {
        fail_msg("%s: %s", what, in->line);
    }
}

static struct str keep(const struct buf *b)
{
    char *p = malloc(b->len ? b->len : 1);
    assert_non_null(p);
    if (b->len) {
        memcpy(p, b->data, b->len);
    }
    return (struct str){ p, b->len };
}

// The byte behind a backslash; text stands behind the backslash and is moved behind it.
static char unescape(const struct reading *in, struct str *text)
{
    static const char names[] = "rnt0\\{}", bytes[] = "\r\n\t\0\\{}";
    require(in, text->n > 0, "a backslash at the end");
    char c = text->p[0];
    *text = (struct str){ text->p + 1, text->n - 1 };
    if (c == 'x') {
        char digits[3] = { 0 }, *end;
        require(in, text->n >= 2, "\\x without two digits");
        memcpy(digits, text->p, 2);
        long value = strtol(digits, &end, 16);
        require(in, *end == '\0', "\\x without two digits");
        *text = (struct str){ text->p + 2, text->n - 2 };
        return (char)value;
    }
    const char *at = strchr(names, c);
    require(in, at != NULL, "an unknown escape");
    return bytes[at - names];
}

// The length of what stands between braces, which may have others inside; text stands behind the
// opening one.
static size_t inner_length(const struct reading *in, struct str text)
{
    size_t depth = 1, i = 0;
    for (; i < text.n; i++) {
        if (text.p[i] == '\\') {
            i++;
        } else if (text.p[i] == '{') {
            depth++;
        } else if (text.p[i] == '}' && --depth == 0) {
            break;
        }
    }
    require(in, i < text.n, "a brace is not closed");
    return i;
}

// "NAME" or "TEXT*COUNT".
static void expand_braces(const struct reading *in, struct str inner, struct buf *out)
{
    for (size_t i = 0; i < in->n_lets; i++) {
        if (str_eq(inner, str_of(in->lets[i].name))) {
            buf_append_str(out, in->lets[i].bytes);
            return;
        }
    }
    const char *star = memrchr(inner.p, '*', inner.n);
    require(in, star != NULL, "braces with neither a name nor a count");
    long count = strtol(star + 1, NULL, 10);
    for (long i = 0; i < count; i++) {
        expand(in, (struct str){ inner.p, (size_t)(star - inner.p) }, out);
    }
}

static void expand(const struct reading *in, struct str text, struct buf *out)
{
    while (text.n) {
        char c = text.p[0];
        text = (struct str){ text.p + 1, text.n - 1 };
        if (c == '\\') {
            c = unescape(in, &text);
        } else if (c == '{') {
            size_t n = inner_length(in, text);
            expand_braces(in, (struct str){ text.p, n }, out);
            text = (struct str){ text.p + n + 1, text.n - n - 1 };
            continue;
        }
        buf_append(out, &c, 1);
    }
    assert_true(buf_ok(out));
}

static struct str expanded(const struct reading *in, const char *text)
{
    struct buf b;
    buf_init(&b, MAX_BYTES);
    expand(in, str_of(text), &b);
    struct str bytes = keep(&b);
    buf_fini(&b);
    return bytes;
}

// Cuts *rest at the next " | ", and returns what stands before it.
static char *next_column(const struct reading *in, char **rest)
{
    char *column = *rest, *end = strstr(column, "| ");
    require(in, end != NULL, "a column is missing");
    *rest = end + 2;
    do {
        *end-- = '\0';
    } while (end >= column && *end == ' ');
    return column;
}

static void read_line(struct reading *in, char *line, bool with_body, struct requests *r)
{
    if (strncmp(line, "let ", 4) == 0) {
        char *equals = strstr(line, " = ");
        struct let *l = &in->lets[in->n_lets];
        require(in, equals && in->n_lets < MAX_LETS, "not NAME = BYTES, or too many");
        size_t n = (size_t)(equals - line - 4);
        require(in, n < sizeof l->name, "too long a name");
        memcpy(l->name, line + 4, n);
        l->name[n] = '\0';
        l->bytes = expanded(in, equals + 3);
        in->n_lets++;
        return;
    }
    assert_true(r->n < REQUESTS_MAX);
    struct request_case *c = &r->cases[r->n++];
    *c = (struct request_case){ .status = (int)strtol(next_column(in, &line), NULL, 10) };
    c->name = strdup(next_column(in, &line));
    assert_non_null(c->name);
    if (with_body) {
        c->body = expanded(in, next_column(in, &line));
    }
    c->bytes = expanded(in, line);
    require(in, c->status >= 200 && c->status < 600, "no status");
}

void requests_read(struct requests *r, const char *file)
{
    static char line[MAX_LINE], shown[MAX_LINE], path[4096];
    const char *root = getenv("SLUICE_SOURCE"); // where the sources are, if not here
    struct reading in = { .n_lets = 0, .line = shown };
    (void)snprintf(path, sizeof path, "%s/tests/requests/%s", root ? root : ".", file);
    FILE *f = fopen(path, "r");
    if (!f) {
        fail_msg("cannot open %s", path);
    }
    r->n = 0;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        memcpy(shown, line, sizeof line);
        if (line[0] && line[0] != '#') {
            read_line(&in, line, strcmp(file, "wellformed.txt") == 0, r);
        }
    }
    (void)fclose(f); // it was only read
    for (size_t i = 0; i < in.n_lets; i++) {
        free((char *)(uintptr_t)in.lets[i].bytes.p);
    }
}

void requests_free(struct requests *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->cases[i].name);
        free((char *)(uintptr_t)r->cases[i].body.p);
        free((char *)(uintptr_t)r->cases[i].bytes.p);
    }
    r->n = 0;
}
