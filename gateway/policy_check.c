// SPDX-License-Identifier: MIT
#include "gateway/policy_check.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

// --- Mistakes

void policy_mistake(struct policy_check *c, struct policy_item item, const char *format, ...)
{
    char what[1024];
    size_t line = 1, column = 1, character;
    if (++c->n_mistakes > POLICY_MAX_MISTAKES) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    (void)yyjson_locate_pos(c->text.p, c->text.n, item.position, &line, &column, &character);
    buf_printf(c->mistakes, "%s:%zu:%zu: %.*s%s", c->file, line, column, (int)c->path_n, c->path,
               c->path_n ? ": " : "");
    for (const char *p = what; *p; p++) { // what comes from the file may have line ends in it
        buf_append_char(c->mistakes, (unsigned char)*p < 0x20 ? '?' : *p);
    }
    buf_append_char(c->mistakes, '\n');
}

// --- The path to the value at hand

static size_t enter(struct policy_check *c, const char *format, const char *name, size_t index)
{
    size_t before = c->path_n, room = sizeof c->path - before;
    int n = format[0] == '[' ? snprintf(c->path + before, room, "[%zu]", index)
                             : snprintf(c->path + before, room, "%s%.64s", before ? "." : "", name);
    c->path_n += n > 0 && (size_t)n < room ? (size_t)n : 0;
    return before;
}

static size_t enter_member(struct policy_check *c, const char *name)
{
    return enter(c, ".", name, 0);
}

static size_t enter_element(struct policy_check *c, size_t index)
{
    return enter(c, "[", NULL, index);
}

// --- Positions

// fallback: where it stands when the value itself does not know.
static struct policy_item item_of(const struct policy_check *c, yyjson_val *value, size_t fallback)
{
    const char *at = yyjson_is_str(value)   ? yyjson_get_str(value) - 1 // the quote
                     : yyjson_is_raw(value) ? yyjson_get_raw(value)
                                            : NULL;
    return (struct policy_item){ value, at ? (size_t)(at - c->parsed) : fallback };
}

// An object in an array has no key of its own: it stands where its first key stands.
static struct policy_item element_of(const struct policy_check *c, yyjson_val *value,
                                     size_t fallback)
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

static void list_keys(const struct policy_key *keys, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (; keys->name && n < size; keys++) {
        int written = snprintf(out + n, size - n, "%s%s", n ? ", " : "", keys->name);
        n += written > 0 ? (size_t)written : 0;
    }
}

static const struct policy_key *find_key(const struct policy_key *keys, yyjson_val *name)
{
    while (keys->name && !yyjson_equals_str(name, keys->name)) {
        keys++;
    }
    return keys->name ? keys : NULL;
}

bool policy_object(struct policy_check *c, struct policy_item item, const struct policy_key *keys,
                   void *target)
{
    char allowed[512];
    uint32_t seen = 0;
    yyjson_obj_iter i;
    yyjson_val *name;
    list_keys(keys, allowed, sizeof allowed);
    if (!yyjson_obj_iter_init(item.value, &i)) {
        policy_mistake(c, item, "is %s; allowed: an object with %s", kind(item.value), allowed);
        return false;
    }
    while ((name = yyjson_obj_iter_next(&i))) {
        struct policy_item at = item_of(c, name, item.position);
        const struct policy_key *key = find_key(keys, name);
        if (!key) {
            policy_mistake(c, at, "unknown key \"%.64s\"; allowed: %s", yyjson_get_str(name),
                           allowed);
            continue;
        }
        size_t before = enter_member(c, key->name);
        if (seen & 1U << (key - keys)) {
            policy_mistake(c, at, "is there twice; allowed: once");
        } else {
            key->take(c, item_of(c, yyjson_obj_iter_get_val(name), at.position),
                      (char *)target + key->offset);
        }
        seen |= 1U << (key - keys);
        c->path_n = before;
    }
    return true;
}

bool policy_array(struct policy_check *c, struct policy_item item, size_t max, const char *of,
                  policy_take *take, void *target)
{
    yyjson_arr_iter i;
    yyjson_val *value;
    if (!yyjson_arr_iter_init(item.value, &i) || yyjson_arr_size(item.value) > max) {
        bool is_array = yyjson_is_arr(item.value);
        policy_mistake(c, item, "%s%s; allowed: an array of at most %zu %s",
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

bool policy_members(struct policy_check *c, struct policy_item item, size_t max,
                    void (*take)(struct policy_check *c, struct policy_item key,
                                 struct policy_item value, void *target),
                    void *target)
{
    yyjson_obj_iter i;
    yyjson_val *name;
    if (!yyjson_obj_iter_init(item.value, &i) || yyjson_obj_size(item.value) > max) {
        policy_mistake(c, item, "%s; allowed: an object of at most %zu members",
                       yyjson_is_obj(item.value) ? "has too many members" : "is no object", max);
        return false;
    }
    while ((name = yyjson_obj_iter_next(&i))) {
        struct policy_item key = item_of(c, name, item.position);
        size_t before = enter_member(c, yyjson_get_str(name));
        take(c, key, item_of(c, yyjson_obj_iter_get_val(name), key.position), target);
        c->path_n = before;
    }
    return true;
}

// --- Values

struct str policy_string(struct policy_check *c, struct policy_item item, const char *allowed)
{
    if (!yyjson_is_str(item.value)) {
        policy_mistake(c, item, "is %s; allowed: %s", kind(item.value), allowed);
        return (struct str){ NULL, 0 };
    }
    return (struct str){ yyjson_get_str(item.value), yyjson_get_len(item.value) };
}

void policy_take_bool(struct policy_check *c, struct policy_item item, void *target)
{
    if (yyjson_is_bool(item.value)) {
        *(bool *)target = yyjson_get_bool(item.value);
    } else {
        policy_mistake(c, item, "is %s; allowed: true, false", kind(item.value));
    }
}

void *policy_alloc(struct policy_check *c, size_t n)
{
    void *p = arena_alloc(&c->policy->memory, n);
    c->no_memory = c->no_memory || !p;
    return p;
}

struct str policy_copy(struct policy_check *c, struct str s)
{
    struct str copy = arena_str(&c->policy->memory, s);
    c->no_memory = c->no_memory || !copy.p;
    return copy;
}
