// SPDX-License-Identifier: MIT
// One page of a list, written into the answer item by item: {"items": [...], "next_cursor": "..."}.
// A page ends at the caller's limit, or earlier when it has grown to PAGE_MAX_BYTES; next_cursor
// then says that there is more.
#ifndef ORDERS_PAGE_H
#define ORDERS_PAGE_H

#include "common/call.h"

#define PAGE_LIMIT_MAX 100
#define PAGE_MAX_BYTES                                                                             \
    (1024 * 1024) // with one more item of the largest kind still below CALL_REPLY_BYTES

// The query parameters that page_begin() and call_cursor() read.
#define PAGE_QUERY                                                                                 \
    { .name = "limit",                                                                             \
      .kind = QUERY_INTEGER,                                                                       \
      .min = 1,                                                                                    \
      .max = PAGE_LIMIT_MAX,                                                                       \
      .fallback = "20",                                                                            \
      .description = "How many items at most; a page of very large items may have fewer" },        \
    {                                                                                              \
        .name = "cursor", .kind = QUERY_STRING, .min = 1, .max = 512,                              \
        .description = "next_cursor of the page before"                                            \
    }

struct page {
    struct call *call;
    struct buf *body;
    size_t map, items; // marks of what is open
    int64_t limit;
    uint32_t n; // items written
};

// Begins the answer, with status 200.
void page_begin(struct page *p, struct call *c);

bool page_has_room(const struct page *p);
void page_add(struct page *p, const struct message *m, const void *item);

// Ends the answer. next: position of the last item written, when there are more; or NULL. Returns 0
// or -ENOMEM.
__attribute__((warn_unused_result)) int page_end(struct page *p, const struct cursor_position *next);

#endif
