// SPDX-License-Identifier: MIT
// One line for each answer, with its fields as docs/logs.md lists them. It has no limit but its own
// switch (SLUICE_ACCESS_LOG) and the level, because a line that is missing would be an answer that
// nobody can find. Lines are gathered and written when the loop is about to sleep, so that
// they cost no system call each.
#ifndef GATEWAY_ACCESS_LOG_H
#define GATEWAY_ACCESS_LOG_H

#include "common/trace.h"
#include "gateway/hop_times.h"
#include "proto/str.h"

#include <uv.h>

struct access_log {
    bool on;
    uv_prepare_t prepare;
};

struct access_entry {
    const struct trace *trace;
    struct str method;
    const char *route;  // the template, never the path: that may have what is nobody's business
    const char *client; // address; NULL: not known
    int status;
    uint64_t bytes;               // of the body
    int64_t duration_us;          // the whole: from the complete request to the answer
    const struct hop_times *hops; // its parts
    const char *request_id;
};

void access_log_open(struct access_log *l, uv_loop_t *loop, bool on);
void access_log_write(struct access_log *l, const struct access_entry *e);
void access_log_close(struct access_log *l);

#endif
