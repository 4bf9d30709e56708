// SPDX-License-Identifier: MIT
// How far behind groups are, for lag and top: lines of text, and rates out of two looks.
#ifndef TAP_LAG_H
#define TAP_LAG_H

#include "services/tap/tap.h"

#define LAG_MAX_GROUPS 256 // as many as the queue has at most

struct lag_sample {
    char name[QUEUE_MAX_GROUP + 1];
    uint64_t finished; // events until then
};

struct lag_samples {
    int64_t taken_us;
    size_t n;
    struct lag_sample at[LAG_MAX_GROUPS];
};

// Asks for the groups, or the one of that name. TAP_OK, or the exit status after a message.
__attribute__((warn_unused_result)) int lag_ask_groups(struct tap *t, const char *group, struct buf *ret);

// Remembers how far the groups are.
void lag_take(struct lag_samples *s, struct str groups);

// Events a second that a group (a map of PROTOCOL.md 3.9) has finished since the samples were taken.
double lag_rate(const struct lag_samples *s, struct str group);

// Events that are looked at and wait, for whatever reason.
uint64_t lag_waiting(struct str group);

void lag_heading(struct buf *b);
void lag_line(struct str group, double rate, struct buf *b);

#endif
