// SPDX-License-Identifier: MIT
// The value is walked once, with up to two places in the tree of paths at hand: where the path from
// the root of the value leads, and where the one from the item of a list does. The members of a map
// are looked at twice, because their count stands before them.
#include "gateway/field_filter.h"

#include "gateway/grammar.h"

#include "proto/reader.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>

#define ROOT 0
#define NOWHERE FIELD_FILTER_NODES // no path leads here

struct places {
    size_t at[2]; // nodes, or NOWHERE
};

struct walk {
    const struct field_filter *filter;
    struct buf *out;
    bool keep; // else drop
};

static int walk_value(const struct walk *w, struct reader *r, struct places from, unsigned depth);

// --- Paths

void field_filter_init(struct field_filter *f)
{
    f->nodes[ROOT] = (struct field_node){ .name = { NULL, 0 } };
    f->n = 1;
}

static bool name_valid(struct str s)
{
    bool ok = s.n > 0 && s.n <= FIELD_FILTER_NAME_MAX;
    for (size_t i = 0; ok && i < s.n; i++) {
        char c = s.p[i];
        ok = is_alphanumeric(c) || c == '_' || c == '-';
    }
    return ok;
}

static size_t find_child(const struct field_filter *f, size_t parent, struct str name)
{
    if (parent == NOWHERE) {
        return NOWHERE;
    }
    size_t i = f->nodes[parent].children;
    while (i && !str_eq(f->nodes[i].name, name)) {
        i = f->nodes[i].next;
    }
    return i ? i : NOWHERE;
}

// The next name of a path, without the "[]" behind it.
static struct str next_name(struct str *path, bool *ret_more)
{
    const char *dot = path->n ? memchr(path->p, '.', path->n) : NULL;
    size_t n = dot ? (size_t)(dot - path->p) : path->n;
    struct str name = { path->p, n };
    *ret_more = dot != NULL;
    *path = (struct str){ path->p + n + (dot ? 1 : 0), path->n - n - (dot ? 1 : 0) };
    if (name.n > 2 && name.p[name.n - 2] == '[' && name.p[name.n - 1] == ']') {
        name.n -= 2;
    }
    return name;
}

int field_filter_add(struct field_filter *f, struct str path)
{
    size_t at = ROOT, depth = 0;
    bool more = true;
    while (more) {
        struct str name = next_name(&path, &more);
        if (!name_valid(name)) {
            return -EINVAL;
        }
        if (++depth > FIELD_FILTER_DEPTH) {
            return -E2BIG;
        }
        size_t child = find_child(f, at, name);
        if (child == NOWHERE) {
            if (f->n == FIELD_FILTER_NODES) {
                return -E2BIG;
            }
            child = f->n++;
            f->nodes[child] = (struct field_node){ .name = name, .next = f->nodes[at].children };
            f->nodes[at].children = (uint8_t)child;
        }
        at = child;
    }
    f->nodes[at].whole = true;
    return 0;
}

// --- Values

static bool is_nowhere(struct places p)
{
    return p.at[0] == NOWHERE && p.at[1] == NOWHERE;
}

// Where the member leads. *ret_whole: a path ends at it.
static struct places step(const struct field_filter *f, struct places from, struct str name,
                          bool *ret_whole)
{
    struct places to;
    *ret_whole = false;
    for (size_t i = 0; i < 2; i++) {
        to.at[i] = find_child(f, from.at[i], name);
        *ret_whole = *ret_whole || (to.at[i] != NOWHERE && f->nodes[to.at[i]].whole);
    }
    return to;
}

static bool is_written(const struct walk *w, struct places to, bool whole)
{
    return w->keep ? !is_nowhere(to) : !whole;
}

static int copy_value(const struct walk *w, struct reader *r)
{
    struct str bytes;
    if (reader_raw(r, &bytes)) {
        return -EBADMSG;
    }
    buf_append_str(w->out, bytes);
    return 0;
}

static int count_written(const struct walk *w, struct reader r, uint32_t members,
                         struct places from, uint32_t *ret_count)
{
    *ret_count = 0;
    for (uint32_t i = 0; i < members; i++) {
        struct str name;
        bool whole;
        if (reader_str(&r, &name) || reader_skip(&r)) {
            return -EBADMSG;
        }
        struct places to = step(w->filter, from, name, &whole);
        *ret_count += is_written(w, to, whole);
    }
    return 0;
}

static int walk_member(const struct walk *w, struct reader *r, struct places from, unsigned depth)
{
    struct str name;
    bool whole;
    if (reader_str(r, &name)) {
        return -EBADMSG;
    }
    struct places to = step(w->filter, from, name, &whole);
    if (!is_written(w, to, whole)) {
        return reader_skip(r);
    }
    writer_str(w->out, name);
    return whole || is_nowhere(to) ? copy_value(w, r) : walk_value(w, r, to, depth);
}

static int walk_map(const struct walk *w, struct reader *r, struct places from, unsigned depth)
{
    uint32_t members, count;
    if (reader_map(r, &members) || count_written(w, *r, members, from, &count)) {
        return -EBADMSG;
    }
    writer_map(w->out, count);
    for (uint32_t i = 0; i < members; i++) {
        if (walk_member(w, r, from, depth)) {
            return -EBADMSG;
        }
    }
    return 0;
}

static int walk_array(const struct walk *w, struct reader *r, struct places from, unsigned depth)
{
    uint32_t count;
    if (reader_array(r, &count)) {
        return -EBADMSG;
    }
    writer_array(w->out, count);
    for (uint32_t i = 0; i < count; i++) {
        if (walk_value(w, r, from, depth)) {
            return -EBADMSG;
        }
    }
    return 0;
}

static int walk_value(const struct walk *w, struct reader *r, struct places from, unsigned depth)
{
    enum reader_type type = reader_peek(r);
    if (type != READER_MAP && type != READER_ARRAY) {
        return copy_value(w, r);
    }
    if (depth == READER_MAX_DEPTH) {
        return -EBADMSG;
    }
    return type == READER_MAP ? walk_map(w, r, from, depth + 1) : walk_array(w, r, from, depth + 1);
}

// --- Lists

// Whether the value is a list, as the head of the header says.
static bool is_list(struct reader r)
{
    uint32_t members;
    bool has_items = false;
    if (reader_peek(&r) != READER_MAP || reader_map(&r, &members)) {
        return false;
    }
    for (uint32_t i = 0; i < members; i++) {
        struct str name;
        if (reader_str(&r, &name)) {
            return false;
        }
        bool items = str_eq(name, STR("items")) && reader_peek(&r) == READER_ARRAY;
        if ((!items && !str_eq(name, STR("next_cursor"))) || reader_skip(&r)) {
            return false;
        }
        has_items = has_items || items;
    }
    return has_items;
}

// The items and what goes around them, which is kept unless a path of its own leaves it out.
static int walk_list(const struct walk *w, struct reader *r)
{
    const struct field_filter *f = w->filter;
    uint32_t members;
    if (reader_map(r, &members)) {
        return -EBADMSG;
    }
    writer_map(w->out, members);
    for (uint32_t i = 0; i < members; i++) {
        struct str name;
        if (reader_str(r, &name)) {
            return -EBADMSG;
        }
        writer_str(w->out, name);
        struct places to = { { ROOT, w->keep ? NOWHERE : find_child(f, ROOT, name) } };
        int rc = str_eq(name, STR("items")) ? walk_value(w, r, to, 1) : copy_value(w, r);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int filter(const struct walk *w, struct str value)
{
    struct reader r = reader_of(value);
    assert(w->filter->n > 0);
    int rc =
        is_list(r) ? walk_list(w, &r) : walk_value(w, &r, (struct places){ { ROOT, NOWHERE } }, 0);
    rc = rc || reader_left(&r) ? -EBADMSG : 0;
    return rc ? rc : buf_error(w->out);
}

int field_filter_keep(const struct field_filter *f, struct str value, struct buf *out)
{
    return filter(&(struct walk){ f, out, true }, value);
}

int field_filter_drop(const struct field_filter *f, struct str value, struct buf *out)
{
    return filter(&(struct walk){ f, out, false }, value);
}
