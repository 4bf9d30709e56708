// SPDX-License-Identifier: MIT
// One GET, or PUT without a body, at another process's admin listener, without blocking: for those
// that gather what the others know, and tell them. (admin_get() in common/admin.h is the blocking one.)
#ifndef COMMON_ADMIN_FETCH_H
#define COMMON_ADMIN_FETCH_H

#include "common/address.h"

#include <stddef.h>
#include <uv.h>

struct admin_fetch;

struct admin_fetch_options {
    uv_loop_t *loop;
    const struct address *to; // copied
    const char *method;       // literal; NULL: GET
    const char *path;         // literal, begins with '/'
    const char *accept;       // literal; a media type
    int timeout_ms;           // of the whole exchange
    size_t max_bytes;         // of the body
    // Runs once, never from within admin_fetch(): the HTTP status with the body (borrowed), or a
    // negative errno: -ETIMEDOUT, -EPROTO when the answer is no HTTP, -EMSGSIZE over max_bytes,
    // -ECONNREFUSED or -ENOENT when nobody is there.
    void (*on_done)(int status, struct str body, void *data);
    void *data;
};

// 0, or -ENOMEM.
__attribute__((warn_unused_result)) int admin_fetch(const struct admin_fetch_options *options,
                                                    struct admin_fetch **ret_fetch);

// Gives it up: on_done does not run. Not after it has.
void admin_fetch_cancel(struct admin_fetch **f);

#endif
