// SPDX-License-Identifier: MIT
#include "services/tap/fields.h"

bool fields_find(struct str map, const char *name, struct reader *ret)
{
    struct reader r = reader_of(map);
    uint32_t members;
    struct str key;
    if (reader_map(&r, &members)) {
        return false;
    }
    for (uint32_t i = 0; i < members; i++) {
        if (reader_str(&r, &key)) {
            return false;
        }
        if (str_eq(key, str_of(name))) {
            *ret = r;
            return true;
        }
        if (reader_skip(&r)) {
            return false;
        }
    }
    return false;
}

uint64_t fields_uint(struct str map, const char *name)
{
    struct reader r;
    uint64_t v;
    return fields_find(map, name, &r) && reader_uint(&r, &v) == 0 ? v : 0;
}

int64_t fields_int(struct str map, const char *name)
{
    struct reader r;
    int64_t v;
    return fields_find(map, name, &r) && reader_int(&r, &v) == 0 ? v : 0;
}

bool fields_bool(struct str map, const char *name)
{
    struct reader r;
    bool v;
    return fields_find(map, name, &r) && reader_bool(&r, &v) == 0 && v;
}

struct str fields_str(struct str map, const char *name)
{
    struct reader r;
    struct str v;
    return fields_find(map, name, &r) && reader_str(&r, &v) == 0 ? v : STR("");
}

struct str fields_raw(struct str map, const char *name)
{
    struct reader r;
    struct str v;
    return fields_find(map, name, &r) && reader_raw(&r, &v) == 0 ? v : STR("");
}

struct fields_list fields_list(struct str map, const char *name)
{
    struct fields_list l = { .left = 0 };
    if (fields_find(map, name, &l.r) && reader_array(&l.r, &l.left)) {
        l.left = 0;
    }
    return l;
}

bool fields_next(struct fields_list *l, struct str *ret_element)
{
    if (l->left == 0 || reader_raw(&l->r, ret_element)) {
        return false;
    }
    l->left--;
    return true;
}
