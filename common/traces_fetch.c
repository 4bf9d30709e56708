// SPDX-License-Identifier: MIT
#include "common/traces_fetch.h"

#include "common/admin.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

void traces_fetch_init(struct traces_fetch *f, const char *id)
{
    memset(f, 0, sizeof *f);
    (void)snprintf(f->page, sizeof f->page, "/traces%s%s", *id ? "?id=" : "", id);
}

void traces_fetch_fini(struct traces_fetch *f)
{
    for (size_t i = 0; i < f->n; i++) {
        yyjson_doc_free(f->docs[i]);
    }
    f->n = 0;
}

int traces_fetch_id(const char *text, char ret_id[TRACE_ID_TEXT + 1])
{
    struct trace t;
    char parent[TRACEPARENT_TEXT + 1];
    bool is_id = strlen(text) == TRACE_ID_TEXT;
    (void)snprintf(parent, sizeof parent, "00-%s-0000000000000001-00", is_id ? text : "");
    if (trace_parse(str_of(is_id ? parent : text), &t)) {
        return -EINVAL;
    }
    trace_id_text(&t, ret_id);
    return 0;
}

int traces_fetch_ask(struct traces_fetch *f, const char *address)
{
    struct buf page;
    if (f->n == TRACES_FETCH_PROCESSES) {
        return -ENOBUFS;
    }
    buf_init(&page, ADMIN_PAGE_BYTES);
    int status = admin_get(address, f->page, TRACES_FETCH_WAIT_MS, &page);
    yyjson_doc *doc = status == 200 ? yyjson_read(page.data, page.len, 0) : NULL;
    buf_fini(&page);
    if (doc) {
        f->docs[f->n++] = doc;
    }
    return status == 200 && !doc ? -EPROTO : status;
}

size_t traces_fetch_home(struct traces_fetch *f, const char *home,
                         void (*on_failure)(const char *address, int status))
{
    char pattern[TRACES_FETCH_PATH_SIZE], address[sizeof "unix:" + TRACES_FETCH_PATH_SIZE];
    size_t before = f->n;
    glob_t found = { 0 };
    int n = snprintf(pattern, sizeof pattern, "%s/run/*.admin.sock", home);
    if (n > 0 && (size_t)n < sizeof pattern && glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            (void)snprintf(address, sizeof address, "unix:%s", found.gl_pathv[i]);
            int status = traces_fetch_ask(f, address);
            if (status != 200 && on_failure) {
                on_failure(address, status);
            }
        }
    }
    globfree(&found);
    return f->n - before;
}
