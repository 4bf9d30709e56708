// SPDX-License-Identifier: MIT
#include "gateway/method.h"

#include <assert.h>

static const struct str names[METHOD_COUNT] = {
    [METHOD_GET] = STR_INIT("GET"),         [METHOD_POST] = STR_INIT("POST"),
    [METHOD_PUT] = STR_INIT("PUT"),         [METHOD_PATCH] = STR_INIT("PATCH"),
    [METHOD_DELETE] = STR_INIT("DELETE"),   [METHOD_HEAD] = STR_INIT("HEAD"),
    [METHOD_OPTIONS] = STR_INIT("OPTIONS"),
};

enum method method_find(struct str name)
{
    enum method m = METHOD_GET;
    while (m < METHOD_COUNT && !str_eq(name, names[m])) {
        m++;
    }
    return m;
}

struct str method_name(enum method m)
{
    assert(m < METHOD_COUNT);
    return names[m];
}
