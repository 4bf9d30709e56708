// SPDX-License-Identifier: MIT
// The other end of admin.c.
#include "common/admin.h"

#include "common/http_client.h"

int admin_get(const char *address, const char *path, int timeout_ms, struct buf *body)
{
    struct address to;
    int r = address_parse(str_of(address), &to);
    if (r < 0) {
        return r;
    }
    struct http_call call = {
        .method = "GET", .host = "localhost", .target = path, .timeout_ms = timeout_ms
    };
    return http_call(&to, &call, body);
}
