// SPDX-License-Identifier: MIT
#include "gateway/problem.h"

#include "common/msgpack_to_json.h"
#include "common/uuid.h"
#include "proto/reader.h"

#include <assert.h>
#include <errno.h>

// An array of maps with string members only, not more than PROBLEM_MAX_ERRORS.
static int check_errors(struct reader r)
{
    uint32_t count, members;
    struct str text;
    if (reader_array(&r, &count) || count > PROBLEM_MAX_ERRORS) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (reader_map(&r, &members)) {
            return -EBADMSG;
        }
        for (uint32_t k = 0; k < 2 * members; k++) {
            if (reader_str(&r, &text)) {
                return -EBADMSG;
            }
        }
    }
    return 0;
}

// What can stand in a URI as it is.
static bool is_slug(struct str s)
{
    bool ok = s.n > 0 && s.n <= PROBLEM_MAX_SLUG;
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-';
    }
    return ok;
}

static int read_member(struct reader *r, struct str key, struct problem_details *d)
{
    if (str_eq(key, STR("slug"))) {
        return reader_str(r, &d->slug);
    } else if (str_eq(key, STR("detail"))) {
        return reader_str_or_nil(r, &d->detail);
    } else if (str_eq(key, STR("errors"))) {
        return check_errors(*r) ? -EBADMSG : reader_raw(r, &d->errors);
    }
    return reader_skip(r);
}

int problem_read(struct str body, struct problem_details *ret)
{
    struct problem_details d = { 0 };
    struct reader r = reader_of(body);
    uint32_t members;
    struct str key;
    if (!body.p || reader_map(&r, &members)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < members; i++) {
        if (reader_str(&r, &key) || read_member(&r, key, &d)) {
            return -EBADMSG;
        }
    }
    if (!is_slug(d.slug) || reader_left(&r) > 0) {
        return -EBADMSG;
    }
    *ret = d;
    return 0;
}

struct problem_details problem_of(enum problem p, const char *detail)
{
    const struct problem_type *type = problem_type(p);
    return (struct problem_details){ .slug = type->slug,
                                     .title = type->title,
                                     .status = type->status,
                                     .detail = detail ? str_of(detail) : type->meaning };
}

static void write_member(struct buf *json, const char *before, struct str value)
{
    buf_append_z(json, before);
    buf_append_json(json, value);
    buf_append_char(json, '"');
}

// A client whose request id is taken over may have one of another form.
static bool is_uuid(struct str s)
{
    bool ok = s.n == UUID_TEXT;
    for (size_t i = 0; ok && i < s.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = (char)(s.p[i] | 0x20);
        ok = dash ? s.p[i] == '-' : (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    }
    return ok;
}

void problem_write(const struct problem_details *d, const char *request_id, struct buf *json)
{
    write_member(json, "{\"type\":\"/problems/", d->slug);
    write_member(json, ",\"title\":\"", d->title);
    buf_printf(json, ",\"status\":%d", d->status);
    if (d->detail.n) {
        write_member(json, ",\"detail\":\"", d->detail);
    }
    write_member(json,
                 is_uuid(str_of(request_id)) ? ",\"instance\":\"urn:uuid:"
                                             : ",\"instance\":\"urn:x-request-id:",
                 str_of(request_id));
    if (d->errors.p) {
        struct reader r = reader_of(d->errors);
        buf_append_z(json, ",\"errors\":");
        int rc = msgpack_to_json(&r, json);
        assert(rc != -EBADMSG); // check_errors() saw to it; without memory the buf says so
    }
    buf_append_char(json, '}');
}

void problem_write_page(struct str slug, struct str title, int status, struct str meaning,
                        struct buf *json)
{
    write_member(json, "{\"type\":\"/problems/", slug);
    write_member(json, ",\"title\":\"", title);
    buf_printf(json, ",\"status\":%d", status);
    write_member(json, ",\"meaning\":\"", meaning);
    buf_append_char(json, '}');
}
