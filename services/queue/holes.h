// SPDX-License-Identifier: MIT
// Ranges of sequences that retention has removed: in order, none touching another. Asked by readers
// for each block, so looking up is by bisection.
#ifndef QUEUE_HOLES_H
#define QUEUE_HOLES_H

#include "services/queue/format.h"

struct holes {
    struct record_removed *ranges;
    size_t n, cap;
};

#define HOLES_CHECK __attribute__((warn_unused_result))

void holes_fini(struct holes *h);

// Adds [first_seq, last_seq], which may touch or overlap others. 0 or -ENOMEM.
HOLES_CHECK int holes_add(struct holes *h, uint64_t first_seq, uint64_t last_seq);

// Takes [first_seq, last_seq] out again. 0 or -ENOMEM (one range may become two).
HOLES_CHECK int holes_cut(struct holes *h, uint64_t first_seq, uint64_t last_seq);

// Number of the first range that ends at or after seq; n when there is none.
size_t holes_at(const struct holes *h, uint64_t seq);

// The range that has seq, or NULL.
const struct record_removed *holes_find(const struct holes *h, uint64_t seq);

#endif
