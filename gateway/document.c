// SPDX-License-Identifier: MIT
#include "gateway/document.h"

#include "gateway/entity_tag.h"

#include <errno.h>
#include <stdlib.h>

struct document {
    document_write_fn *write;
    struct buf json;
    char etag[ENTITY_TAG_HASH_SIZE];
    uint64_t generation, policies; // of the router when json was made
};

static int make(struct document *d, const struct router *r)
{
    buf_reset(&d->json);
    d->write(r, &d->json);
    if (!buf_ok(&d->json)) {
        return buf_error(&d->json);
    }
    entity_tag_of(buf_str(&d->json), d->etag);
    d->generation = r->generation;
    d->policies = r->policies;
    return 0;
}

int document_new(document_write_fn *write, struct document **ret_document)
{
    struct document *d = calloc(1, sizeof *d);
    if (!d) {
        return -ENOMEM;
    }
    d->write = write;
    buf_init(&d->json, DOCUMENT_MAX_BYTES);
    *ret_document = d;
    return 0;
}

void document_destroy(struct document **document)
{
    struct document *d = *document;
    *document = NULL;
    if (d) {
        buf_fini(&d->json);
        free(d);
    }
}

int document_get(struct document *d, const struct router *router, struct str *ret_json,
                 struct str *ret_etag)
{
    bool fresh = d->json.len > 0 && buf_ok(&d->json) && d->generation == router->generation &&
                 d->policies == router->policies;
    int rc = fresh ? 0 : make(d, router);
    if (rc == 0) {
        *ret_json = buf_str(&d->json);
        *ret_etag = str_of(d->etag);
    }
    return rc;
}
