// SPDX-License-Identifier: MIT
// See envfile.h.
#include "deploy/envfile.h"

#include "common/file.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static char *skip_blanks(char *p)
{
    return p + strspn(p, " \t");
}

// Takes the quotes off a value in place. Returns what follows them, or NULL with *ret_why set.
static char *unquote(char *p, char **ret_value, const char **ret_why)
{
    char quote = *p++;
    char *out = p;
    *ret_value = out;
    for (; *p != quote; p++) {
        if (*p == '\0') {
            *ret_why = "the quote is not closed";
            return NULL;
        }
        if (quote == '"' && strchr("$`", *p)) {
            *ret_why = "$ and ` are not expanded here: use single quotes";
            return NULL;
        }
        if (quote == '"' && *p == '\\' && p[1] != '\0' && strchr("\"\\$`", p[1])) {
            p++;
        }
        *out++ = *p;
    }
    *out = '\0';
    return p + 1;
}

int envfile_line(char *line, char **ret_name, char **ret_value, const char **ret_why)
{
    char *name = skip_blanks(line);
    if (*name == '\0' || *name == '#') {
        return 0;
    }
    if (strchr(name, '\r')) {
        *ret_why = "there is a carriage return: the file must have the line ends of Unix";
        return -EINVAL;
    }
    if (strncmp(name, "export ", 7) == 0) {
        name = skip_blanks(name + 7);
    }
    char *p = name;
    while (isalnum((unsigned char)*p) || *p == '_') {
        p++;
    }
    if (p == name || isdigit((unsigned char)*name) || *p != '=') {
        *ret_why = "expected NAME=VALUE, without blanks around the =";
        return -EINVAL;
    }
    *p++ = '\0';
    char *value = p;
    bool quoted = *p == '"' || *p == '\'';
    p = quoted ? unquote(p, &value, ret_why) : p + strcspn(p, " \t$`\\\"'*?[](){}<>|&;~!");
    if (!p) {
        return -EINVAL;
    }
    char *rest = skip_blanks(p);
    if (*rest != '\0' && (rest == p || *rest != '#')) {
        *ret_why = "a value with blanks or with characters that a shell treats in its own way "
                   "needs quotes";
        return -EINVAL;
    }
    if (!quoted) {
        *p = '\0';
    }
    *ret_name = name;
    *ret_value = value;
    return 1;
}

struct entry {
    char *name, *value; // into the text
};

// Takes all of text, which ends in a NUL, apart. Returns the number of entries, or -EINVAL with the error written.
static int parse_text(const char *path, char *text, struct entry entries[ENVFILE_MAX_ENTRIES],
                      char error[CONFIG_ERROR_SIZE])
{
    int n = 0, number = 0;
    for (char *line; (line = strsep(&text, "\n"));) {
        struct entry e;
        const char *why = NULL;
        int found = envfile_line(line, &e.name, &e.value, &why);
        for (int i = 0; found == 1 && i < n; i++) {
            if (strcmp(entries[i].name, e.name) == 0) {
                why = "this variable is set for the second time in this file";
            }
        }
        if (found == 1 && n == ENVFILE_MAX_ENTRIES) {
            why = "too many variables";
        }
        number++;
        if (why) {
            snprintf(error, CONFIG_ERROR_SIZE, "%.300s:%d: %s", path, number, why);
            return -EINVAL;
        }
        if (found == 1) {
            entries[n++] = e;
        }
    }
    return n;
}

static int set_all(const struct entry *entries, int n, void (*on_set)(const char *name, void *data),
                   void *data)
{
    for (int i = 0; i < n; i++) {
        if (getenv(entries[i].name)) {
            continue;
        }
        if (setenv(entries[i].name, entries[i].value, 0) < 0) {
            return -errno;
        }
        if (on_set) {
            on_set(entries[i].name, data);
        }
    }
    return 0;
}

int envfile_apply_and_tell(const char *path, void (*on_set)(const char *name, void *data),
                           void *data, char error[CONFIG_ERROR_SIZE])
{
    struct entry entries[ENVFILE_MAX_ENTRIES];
    struct buf text;
    buf_init(&text, ENVFILE_MAX_BYTES + 1);
    int r = file_read(path, ENVFILE_MAX_BYTES, &text);
    if (r == 0 && text.len > 0 && memchr(text.data, '\0', text.len)) {
        r = -EILSEQ;
    }
    buf_append_char(&text, '\0');
    r = r < 0 ? r : buf_error(&text);
    if (r < 0) {
        snprintf(error, CONFIG_ERROR_SIZE, "%.300s: %s", path, strerror(-r));
    } else {
        r = parse_text(path, text.data, entries, error);
    }
    if (r > 0) {
        r = set_all(entries, r, on_set, data);
        if (r < 0) {
            snprintf(error, CONFIG_ERROR_SIZE, "%.300s: %s", path, strerror(-r));
        }
    }
    buf_fini(&text);
    return r < 0 ? r : 0;
}

int envfile_apply(const char *path, char error[CONFIG_ERROR_SIZE])
{
    return envfile_apply_and_tell(path, NULL, NULL, error);
}
