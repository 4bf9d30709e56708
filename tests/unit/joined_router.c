// SPDX-License-Identifier: MIT
#include "tests/unit/joined_router.h"

#include "tests/unit/hello_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

struct router router;
struct frame_hello hello;
static struct document *document;

int joined_enter(document_write_fn *write)
{
    assert_true(sodium_init() >= 0);
    router_init(&router);
    return write ? document_new(write, &document) : 0;
}

int joined_leave(void)
{
    document_destroy(&document);
    document_destroy(&document); // twice does no harm
    router_fini(&router);
    hello_frame_free();
    return 0;
}

struct table *joined_table(void)
{
    char detail[ROUTER_DETAIL_SIZE];
    struct table *table = NULL;
    assert_int_equal(router_join(&router, &hello, hello_frame(&hello), &table, detail), 0);
    return table;
}

yyjson_doc *joined_document(char tag[JOINED_TAG_SIZE])
{
    struct str json, etag;
    assert_int_equal(document_get(document, &router, &json, &etag), 0);
    assert_true(etag.n > 2 && etag.n < JOINED_TAG_SIZE);
    assert_true(etag.p[0] == '"' && etag.p[etag.n - 1] == '"');
    if (tag) {
        memcpy(tag, etag.p, etag.n);
        tag[etag.n] = '\0';
    }
    yyjson_doc *doc = yyjson_read(json.p, json.n, 0);
    assert_non_null(doc);
    return doc;
}

const char *joined_text(yyjson_doc *doc, const char *pointer)
{
    return yyjson_get_str(yyjson_doc_ptr_get(doc, pointer));
}
