// SPDX-License-Identifier: MIT
#include "services/queue/holes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void holes_fini(struct holes *h)
{
    free(h->ranges);
    *h = (struct holes){ 0 };
}

size_t holes_at(const struct holes *h, uint64_t seq)
{
    size_t low = 0, high = h->n; // the answer is in [low, high]
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (h->ranges[middle].last_seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct record_removed *holes_find(const struct holes *h, uint64_t seq)
{
    size_t i = holes_at(h, seq);
    return i < h->n && h->ranges[i].first_seq <= seq ? &h->ranges[i] : NULL;
}

// Puts n_with ranges in the place of [from, to).
static int replace(struct holes *h, size_t from, size_t to, const struct record_removed *with,
                   size_t n_with)
{
    size_t n = h->n - (to - from) + n_with;
    if (n > h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        struct record_removed *more = reallocarray(h->ranges, cap, sizeof *more);
        if (!more) {
            return -ENOMEM;
        }
        h->ranges = more;
        h->cap = cap;
    }
    if (to < h->n) {
        memmove(&h->ranges[from + n_with], &h->ranges[to], (h->n - to) * sizeof *h->ranges);
    }
    for (size_t i = 0; i < n_with; i++) {
        h->ranges[from + i] = with[i];
    }
    h->n = n;
    return 0;
}

int holes_add(struct holes *h, uint64_t first_seq, uint64_t last_seq)
{
    assert(first_seq > 0 && first_seq <= last_seq);
    struct record_removed all = { first_seq, last_seq };
    size_t from = holes_at(h, first_seq - 1), to = from; // from the one that touches it on
    for (; to < h->n && (last_seq == UINT64_MAX || h->ranges[to].first_seq <= last_seq + 1); to++) {
        const struct record_removed *old = &h->ranges[to];
        all.first_seq = old->first_seq < all.first_seq ? old->first_seq : all.first_seq;
        all.last_seq = old->last_seq > all.last_seq ? old->last_seq : all.last_seq;
    }
    return replace(h, from, to, &all, 1);
}

int holes_cut(struct holes *h, uint64_t first_seq, uint64_t last_seq)
{
    assert(first_seq <= last_seq);
    struct record_removed rest[2];
    size_t n_rest = 0, from = holes_at(h, first_seq), to = from;
    for (; to < h->n && h->ranges[to].first_seq <= last_seq; to++) {
        const struct record_removed *old = &h->ranges[to];
        if (old->first_seq < first_seq) {
            rest[n_rest++] = (struct record_removed){ old->first_seq, first_seq - 1 };
        }
        if (old->last_seq > last_seq) {
            rest[n_rest++] = (struct record_removed){ last_seq + 1, old->last_seq };
        }
    }
    return to > from ? replace(h, from, to, rest, n_rest) : 0;
}
