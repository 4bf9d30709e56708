// SPDX-License-Identifier: MIT
// Parsing is yyjson's, with none of its leniencies. Depth is checked before it, so that a bomb of brackets never
// becomes a tree; duplicate names after it, by comparing few pairwise and sorting many.
#include "common/json_to_msgpack.h"

#include "common/json_memory.h"
#include "common/json_text.h"
#include "proto/reader.h"
#include "proto/utf8.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

#define POOL_BYTES 32768   // on the stack: bodies up to about 2.5 KiB take no memory elsewhere
#define PAIRWISE_MEMBERS 8 // objects up to this many members are compared pairwise

static_assert(JSON_MAX_DEPTH <= READER_MAX_DEPTH, "workers must be able to read what passes here");

struct transcoder {
    struct buf *out;
    const char *copy; // yyjson's copy of the text: strings point into it at their place
    const char *what; // the first mistake
    size_t position;
};

static int locate(struct str text, const char *what, size_t position, struct json_error *ret_error)
{
    size_t line = 1, column = 1;
    position = position < text.n ? position : text.n;
    for (size_t i = 0; i < position; i++) {
        if (text.p[i] == '\n') {
            line++;
            column = 1;
        } else {
            column += ((unsigned char)text.p[i] & 0xC0) != 0x80;
        }
    }
    *ret_error = (struct json_error){ what, position, line, column };
    return -EINVAL;
}

// Position of the bracket that opens one level too many, or json.n.
static size_t find_too_deep(struct str json)
{
    size_t depth = 0;
    bool string = false;
    for (size_t i = 0; i < json.n; i++) {
        char c = json.p[i];
        if (string) {
            i += c == '\\';
            string = c != '"';
        } else if (c == '"') {
            string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_MAX_DEPTH) {
                return i;
            }
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        }
    }
    return json.n;
}

// --- Duplicate member names

static bool same_name(yyjson_val *a, yyjson_val *b)
{
    return str_eq(json_text(a), json_text(b));
}

static void report_duplicate(struct transcoder *t, yyjson_val *a, yyjson_val *b)
{
    const char *later =
        yyjson_get_str(a) > yyjson_get_str(b) ? yyjson_get_str(a) : yyjson_get_str(b);
    t->what = "a member name is there twice";
    t->position = (size_t)(later - t->copy);
}

static int compare_names(const void *left, const void *right)
{
    yyjson_val *a = *(yyjson_val *const *)left, *b = *(yyjson_val *const *)right;
    return str_cmp(json_text(a), json_text(b));
}

static int check_names_sorted(struct transcoder *t, yyjson_val **names, size_t n)
{
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; i < n; i++) {
        if (same_name(names[i - 1], names[i])) {
            report_duplicate(t, names[i - 1], names[i]);
            return -EINVAL;
        }
    }
    return 0;
}

static int check_names_pairwise(struct transcoder *t, yyjson_val **names, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (same_name(names[k], names[i])) {
                report_duplicate(t, names[k], names[i]);
                return -EINVAL;
            }
        }
    }
    return 0;
}

static int check_names(struct transcoder *t, yyjson_val *object)
{
    yyjson_val *few[PAIRWISE_MEMBERS];
    size_t n = yyjson_obj_size(object), i = 0;
    yyjson_val **names = n <= PAIRWISE_MEMBERS ? few : malloc(n * sizeof(yyjson_val *));
    if (!names) {
        return -ENOMEM;
    }
    yyjson_obj_iter iterator = yyjson_obj_iter_with(object);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator));) {
        names[i++] = key;
    }
    assert(i == n);
    int rc = names == few ? check_names_pairwise(t, names, n) : check_names_sorted(t, names, n);
    if (names != few) {
        free(names);
    }
    return rc;
}

// --- Values

static int write_value(struct transcoder *t, yyjson_val *v);

static int write_object(struct transcoder *t, yyjson_val *object)
{
    int rc = check_names(t, object);
    writer_map(t->out, (uint32_t)yyjson_obj_size(object));
    yyjson_obj_iter iterator = yyjson_obj_iter_with(object);
    for (yyjson_val *key; rc == 0 && (key = yyjson_obj_iter_next(&iterator));) {
        writer_str(t->out, json_text(key));
        rc = write_value(t, yyjson_obj_iter_get_val(key));
    }
    return rc;
}

static int write_array(struct transcoder *t, yyjson_val *array)
{
    int rc = 0;
    writer_array(t->out, (uint32_t)yyjson_arr_size(array));
    yyjson_arr_iter iterator = yyjson_arr_iter_with(array);
    for (yyjson_val *v; rc == 0 && (v = yyjson_arr_iter_next(&iterator));) {
        rc = write_value(t, v);
    }
    return rc;
}

static void write_number(struct transcoder *t, yyjson_val *v)
{
    if (yyjson_is_uint(v)) {
        writer_uint(t->out, yyjson_get_uint(v));
    } else if (yyjson_is_sint(v)) {
        writer_int(t->out, yyjson_get_sint(v));
    } else {
        writer_double(t->out, yyjson_get_real(v));
    }
}

static int write_value(struct transcoder *t, yyjson_val *v)
{
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_OBJ:
        return write_object(t, v);
    case YYJSON_TYPE_ARR:
        return write_array(t, v);
    case YYJSON_TYPE_STR:
        writer_str(t->out, json_text(v));
        return 0;
    case YYJSON_TYPE_NUM:
        write_number(t, v);
        return 0;
    case YYJSON_TYPE_BOOL:
        writer_bool(t->out, yyjson_get_bool(v));
        return 0;
    default:
        writer_nil(t->out);
        return 0;
    }
}

// Parses, with memory from pool when it suffices: its first *ret_used bytes. What yyjson says that
// it needs at most does not count the gaps that its pool leaves, so that it gets twice as much, and
// another try with memory from elsewhere.
static yyjson_doc *parse(struct str json, char *pool, size_t pool_n, size_t *ret_used,
                         yyjson_read_err *error)
{
    yyjson_alc allocator;
    size_t needed = yyjson_read_max_memory_usage(json.n, YYJSON_READ_NOFLAG);
    size_t given = 2 * needed < pool_n ? 2 * needed : pool_n;
    bool small = needed <= pool_n && yyjson_alc_pool_init(&allocator, pool, given);
    // Without YYJSON_READ_INSITU the text is only read, whatever the parameter's type says.
    char *text = (char *)(uintptr_t)json.p;
    yyjson_doc *doc = NULL;
    *ret_used = small ? given : 0;
    if (small) {
        doc = yyjson_read_opts(text, json.n, YYJSON_READ_NOFLAG, &allocator, error);
    }
    if (!small || (!doc && error->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)) {
        doc = yyjson_read_opts(text, json.n, YYJSON_READ_NOFLAG, &json_wiping_memory, error);
    }
    return doc;
}

static int transcode(struct str json, char *pool, size_t *ret_used, struct buf *out,
                     struct json_error *ret_error)
{
    yyjson_read_err error;
    yyjson_doc *doc = parse(json, pool, POOL_BYTES, ret_used, &error);
    if (!doc && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        return -ENOMEM;
    }
    if (!doc) {
        return locate(json, error.msg, error.pos, ret_error);
    }
    struct transcoder t = { .out = out, .copy = doc->str_pool };
    int rc = write_value(&t, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    if (t.what) {
        return locate(json, t.what, t.position, ret_error);
    }
    return rc ? rc : buf_error(out);
}

int json_to_msgpack(struct str json, struct buf *out, struct json_error *ret_error)
{
    char pool[POOL_BYTES];
    size_t used, too_deep = find_too_deep(json);
    if (too_deep < json.n) {
        return locate(json, "nesting is over the limit of 32 levels", too_deep, ret_error);
    }
    if (json.n == 0) {
        return locate(json, "there is no value", 0, ret_error);
    }
    int rc = transcode(json, pool, &used, out, ret_error);
    explicit_bzero(pool, used);
    return rc;
}

bool json_is_object(struct str text)
{
    struct json_error ignored;
    struct buf scratch;
    buf_init(&scratch, 2 * text.n + 64); // no value takes more than twice its text and a head
    int rc = json_to_msgpack(text, &scratch, &ignored);
    struct reader r = reader_of(buf_str(&scratch));
    bool object = rc == 0 && reader_peek(&r) == READER_MAP;
    buf_fini(&scratch);
    return object;
}

// --- MessagePack bodies

static const char *check_value(struct reader *r, unsigned depth);

static const char *check_members(struct reader *r, uint32_t count, bool map, unsigned depth)
{
    const char *what = NULL;
    struct str key;
    for (uint32_t i = 0; i < count && !what; i++) {
        if (map && reader_peek(r) != READER_STR) {
            return "a map key is not a string";
        }
        if (map && (reader_str(r, &key) || !utf8_valid(key))) {
            return "a map key is not UTF-8";
        }
        what = check_value(r, depth);
    }
    return what;
}

// Steps over one value; returns what is wrong with it, r standing there, or NULL.
static const char *check_value(struct reader *r, unsigned depth)
{
    struct reader at = *r;
    struct str text;
    double number;
    uint32_t count;
    switch (reader_peek(r)) {
    case READER_MAP:
    case READER_ARRAY:
        if (depth == JSON_MAX_DEPTH) {
            return "nesting is over the limit of 32 levels";
        }
        if (reader_map(r, &count) == 0) {
            return check_members(r, count, true, depth + 1);
        }
        return reader_array(r, &count) ? "a value is cut off"
                                       : check_members(r, count, false, depth + 1);
    case READER_STR:
        return reader_str(&at, &text) || !utf8_valid(text) ? "a string is not UTF-8"
                                                           : (*r = at, NULL);
    case READER_DOUBLE:
        return reader_double(&at, &number) || !isfinite(number) ? "a number is not finite"
                                                                : (*r = at, NULL);
    case READER_BIN:
    case READER_EXT:
        return "binary and extension types are not used here";
    default:
        return reader_skip(r) ? "a value is cut off or has an invalid type" : NULL;
    }
}

int msgpack_check(struct str bytes, struct json_error *ret_error)
{
    struct reader r = reader_of(bytes);
    const char *what = check_value(&r, 0);
    if (!what && reader_left(&r) > 0) {
        what = "there are bytes behind the value";
    }
    *ret_error = (struct json_error){ what, bytes.n - reader_left(&r), 0, 0 };
    return what ? -EINVAL : 0;
}
