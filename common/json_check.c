// SPDX-License-Identifier: MIT
#include "common/json_check.h"

#include "common/config.h"
#include "common/file.h"
#include "common/json_text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// --- Mistakes

// What comes from the file, also names of its keys, may have line ends in it.
static void append_printable(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool control = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F;
        buf_append_char(b, control ? '?' : s.p[i]);
    }
}

void json_mistake(struct json_check *c, struct json_item item, const char *format, ...)
{
    char what[1024];
    size_t line = 1, column = 1, character;
    if (++c->n_mistakes > JSON_MAX_MISTAKES) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    (void)yyjson_locate_pos(c->text.p, c->text.n, item.position, &line, &column, &character);
    buf_printf(c->mistakes, "%s:%zu:%zu: ", c->file, line, column);
    append_printable(c->mistakes, (struct str){ c->path, c->path_n });
    buf_append_z(c->mistakes, c->path_n ? ": " : "");
    append_printable(c->mistakes, str_of(what));
    buf_append_char(c->mistakes, '\n');
}

// --- The path to the value at hand

static size_t enter(struct json_check *c, const char *format, const char *name, size_t index)
{
    size_t before = c->path_n, room = sizeof c->path - before;
    int n = format[0] == '[' ? snprintf(c->path + before, room, "[%zu]", index)
                             : snprintf(c->path + before, room, "%s%.64s", before ? "." : "", name);
    c->path_n += n > 0 && (size_t)n < room ? (size_t)n : 0;
    return before;
}

static size_t enter_member(struct json_check *c, const char *name)
{
    return enter(c, ".", name, 0);
}

static size_t enter_element(struct json_check *c, size_t index)
{
    return enter(c, "[", NULL, index);
}

// --- Positions

// fallback: where it stands when the value itself does not know.
static struct json_item item_of(const struct json_check *c, yyjson_val *value, size_t fallback)
{
    const char *at = yyjson_is_str(value)   ? yyjson_get_str(value) - 1 // the quote
                     : yyjson_is_raw(value) ? yyjson_get_raw(value)
                                            : NULL;
    return (struct json_item){ value, at ? (size_t)(at - c->parsed) : fallback };
}

// An object in an array has no key of its own: it stands where its first key stands.
static struct json_item element_of(const struct json_check *c, yyjson_val *value, size_t fallback)
{
    yyjson_obj_iter i;
    yyjson_val *key = yyjson_obj_iter_init(value, &i) ? yyjson_obj_iter_next(&i) : NULL;
    return item_of(c, value, key ? item_of(c, key, fallback).position : fallback);
}

static const char *kind(yyjson_val *value)
{
    return yyjson_is_raw(value)    ? "a number"
           : yyjson_is_null(value) ? "null"
           : yyjson_is_bool(value) ? "true or false"
           : yyjson_is_str(value)  ? "a string"
           : yyjson_is_arr(value)  ? "an array"
                                   : "an object";
}

// --- Objects and arrays

static void list_keys(const struct json_key *keys, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (; keys->name && n < size; keys++) {
        int written = snprintf(out + n, size - n, "%s%s", n ? ", " : "", keys->name);
        n += written > 0 ? (size_t)written : 0;
    }
}

static const struct json_key *find_key(const struct json_key *keys, yyjson_val *name)
{
    while (keys->name && !yyjson_equals_str(name, keys->name)) {
        keys++;
    }
    return keys->name ? keys : NULL;
}

bool json_object(struct json_check *c, struct json_item item, const struct json_key *keys,
                 void *target)
{
    char allowed[512];
    uint32_t seen = 0;
    yyjson_obj_iter i;
    yyjson_val *name;
    list_keys(keys, allowed, sizeof allowed);
    if (!yyjson_obj_iter_init(item.value, &i)) {
        json_mistake(c, item, "is %s; allowed: an object with %s", kind(item.value), allowed);
        return false;
    }
    while ((name = yyjson_obj_iter_next(&i))) {
        struct json_item at = item_of(c, name, item.position);
        const struct json_key *key = find_key(keys, name);
        if (!key) {
            json_mistake(c, at, "unknown key \"%.64s\"; allowed: %s", yyjson_get_str(name),
                         allowed);
            continue;
        }
        size_t before = enter_member(c, key->name);
        if (seen & 1U << (key - keys)) {
            json_mistake(c, at, "is there twice; allowed: once");
        } else {
            key->take(c, item_of(c, yyjson_obj_iter_get_val(name), at.position),
                      (char *)target + key->offset);
        }
        seen |= 1U << (key - keys);
        c->path_n = before;
    }
    return true;
}

bool json_array(struct json_check *c, struct json_item item, size_t max, const char *of,
                json_take *take, void *target)
{
    yyjson_arr_iter i;
    yyjson_val *value;
    if (!yyjson_arr_iter_init(item.value, &i) || yyjson_arr_size(item.value) > max) {
        bool is_array = yyjson_is_arr(item.value);
        json_mistake(c, item, "%s%s; allowed: an array of at most %zu %s",
                     is_array ? "has too many elements" : "is ", is_array ? "" : kind(item.value),
                     max, of);
        return false;
    }
    while ((value = yyjson_arr_iter_next(&i))) {
        size_t before = enter_element(c, i.idx - 1);
        take(c, element_of(c, value, item.position), target);
        c->path_n = before;
    }
    return true;
}

bool json_members(struct json_check *c, struct json_item item, size_t max,
                  void (*take)(struct json_check *c, struct json_item key, struct json_item value,
                               void *target),
                  void *target)
{
    yyjson_obj_iter i;
    yyjson_val *name;
    if (!yyjson_obj_iter_init(item.value, &i) || yyjson_obj_size(item.value) > max) {
        json_mistake(c, item, "%s; allowed: an object of at most %zu members",
                     yyjson_is_obj(item.value) ? "has too many members" : "is no object", max);
        return false;
    }
    while ((name = yyjson_obj_iter_next(&i))) {
        struct json_item key = item_of(c, name, item.position);
        size_t before = enter_member(c, yyjson_get_str(name));
        take(c, key, item_of(c, yyjson_obj_iter_get_val(name), key.position), target);
        c->path_n = before;
    }
    return true;
}

// --- Values

struct str json_string(struct json_check *c, struct json_item item, const char *allowed)
{
    if (!yyjson_is_str(item.value)) {
        json_mistake(c, item, "is %s; allowed: %s", kind(item.value), allowed);
        return (struct str){ NULL, 0 };
    }
    return json_text(item.value);
}

static bool read_number(struct json_item item, int64_t *ret)
{
    char text[24];
    size_t n = yyjson_is_raw(item.value) ? yyjson_get_len(item.value) : 0;
    if (n == 0 || n >= sizeof text) {
        return false;
    }
    memcpy(text, yyjson_get_raw(item.value), n); // no NUL behind it in the file
    text[n] = '\0';
    return config_parse_number(CONFIG_INTEGER, text, ret) == 0;
}

void json_number(struct json_check *c, struct json_item item, int64_t min, int64_t max,
                 int64_t *target)
{
    int64_t n;
    if (!yyjson_is_raw(item.value)) {
        json_mistake(c, item, "is %s; allowed: a whole number from %" PRId64 " to %" PRId64,
                     kind(item.value), min, max);
    } else if (!read_number(item, &n) || n < min || n > max) {
        json_mistake(c, item, "%.*s is no such number; allowed: from %" PRId64 " to %" PRId64,
                     (int)yyjson_get_len(item.value), yyjson_get_raw(item.value), min, max);
    } else {
        *target = n;
    }
}

void json_duration(struct json_check *c, struct json_item item, int64_t min_ms, int64_t max_ms,
                   int64_t *target)
{
    char allowed[96];
    int64_t ms;
    snprintf(allowed, sizeof allowed,
             "a time from %" PRId64 "ms to %" PRId64 "s, such as \"250ms\", \"10s\" or \"5m\"",
             min_ms, max_ms / 1000);
    struct str s = json_string(c, item, allowed);
    bool ok = s.p && strlen(s.p) == s.n && config_parse_number(CONFIG_DURATION, s.p, &ms) == 0;
    if (s.p && (!ok || ms < min_ms || ms > max_ms)) {
        json_mistake(c, item, "\"%.100s\" is no such time; allowed: %s", s.p, allowed);
    } else if (s.p) {
        *target = ms;
    }
}

void json_take_bool(struct json_check *c, struct json_item item, void *target)
{
    if (yyjson_is_bool(item.value)) {
        *(bool *)target = yyjson_get_bool(item.value);
    } else {
        json_mistake(c, item, "is %s; allowed: true, false", kind(item.value));
    }
}

void *json_alloc(struct json_check *c, size_t n)
{
    void *p = arena_alloc(c->memory, n);
    c->no_memory = c->no_memory || !p;
    return p;
}

struct str json_copy(struct json_check *c, struct str s)
{
    struct str copy = arena_str(c->memory, s);
    c->no_memory = c->no_memory || !copy.p;
    return copy;
}

// --- The file

// parsed is a copy of the text with YYJSON_PADDING_SIZE bytes behind it, which is written to.
static void check(struct json_check *c, char *parsed, json_take *take, void *target)
{
    yyjson_read_err error;
    yyjson_doc *doc = yyjson_read_opts(
        parsed, c->text.n, YYJSON_READ_INSITU | YYJSON_READ_NUMBER_AS_RAW, NULL, &error);
    c->parsed = parsed;
    if (doc) {
        take(c, (struct json_item){ yyjson_doc_get_root(doc), 0 }, target);
        yyjson_doc_free(doc);
    } else if (error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        c->no_memory = true;
    } else {
        json_mistake(c, (struct json_item){ NULL, error.pos },
                     "is not JSON: %s; allowed: one JSON object", error.msg);
    }
}

int json_check_text(struct json_check *c, struct str text, json_take *take, void *target)
{
    char *parsed = calloc(1, text.n + YYJSON_PADDING_SIZE);
    if (!parsed) {
        return -ENOMEM;
    }
    if (text.n) {
        memcpy(parsed, text.p, text.n);
    }
    c->text = text;
    check(c, parsed, take, target);
    free(parsed);
    if (c->n_mistakes > JSON_MAX_MISTAKES) {
        buf_printf(c->mistakes, "%s: and %zu more mistakes\n", c->file,
                   c->n_mistakes - JSON_MAX_MISTAKES);
    }
    return c->no_memory ? -ENOMEM : c->n_mistakes ? -EINVAL : 0;
}

int json_check_file(struct json_check *c, size_t max_bytes, json_take *take, void *target)
{
    struct buf content;
    buf_init(&content, max_bytes);
    int rc = file_read(c->file, max_bytes, &content);
    if (rc == -EFBIG) {
        buf_printf(c->mistakes, "%s:1:1: is too large; allowed: %zu bytes\n", c->file, max_bytes);
    } else if (rc && rc != -ENOMEM) {
        buf_printf(c->mistakes,
                   "%s:1:1: cannot be read: %s; allowed: a file of this process's user\n", c->file,
                   strerror(-rc));
    }
    rc = rc == 0         ? json_check_text(c, buf_str(&content), take, target)
         : rc == -ENOMEM ? rc
                         : -EINVAL;
    buf_fini(&content);
    return rc;
}
