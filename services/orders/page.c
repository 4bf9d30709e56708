// SPDX-License-Identifier: MIT
#include "services/orders/page.h"

#include "proto/writer.h"

#include <assert.h>
#include <errno.h>

void page_begin(struct page *p, struct call *c)
{
    *p = (struct page){ .call = c,
                        .body = call_reply_begin(c, 200),
                        .limit = call_query_int(c, "limit") };
    assert(p->limit >= 1 && p->limit <= PAGE_LIMIT_MAX);
    p->map = writer_open_map(p->body);
    writer_key(p->body, "items");
    p->items = writer_open_array(p->body);
}

bool page_has_room(const struct page *p)
{
    return p->n < p->limit && p->body->len < PAGE_MAX_BYTES;
}

void page_add(struct page *p, const struct message *m, const void *item)
{
    assert(page_has_room(p));
    message_pack(m, item, p->body);
    p->n++;
}

int page_end(struct page *p, const struct cursor_position *next)
{
    writer_close(p->body, p->items, p->n);
    if (next) {
        struct str cursor = call_next_cursor(p->call, next);
        if (!cursor.p) {
            return -ENOMEM;
        }
        writer_key(p->body, "next_cursor");
        writer_str(p->body, cursor);
    }
    writer_close(p->body, p->map, next ? 2 : 1);
    return 0;
}
