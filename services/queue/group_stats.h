// SPDX-License-Identifier: MIT
// What /metrics says of a group: asked when it is rendered, so that counting costs nothing here; but
// for how long members take, which is counted as they settle.
#ifndef QUEUE_GROUP_STATS_H
#define QUEUE_GROUP_STATS_H

#include "services/queue/group.h"
#include "services/queue/journal.h"

struct group_stats;

// Registers the group's metrics; both are borrowed. NULL: out of memory, and it has none.
struct group_stats *group_stats_new(const struct group *g, const struct journal *j);

// A member settled a range of events, the first of which it was sent took_us ago.
void group_stats_settled(struct group_stats *s, int64_t took_us);

void group_stats_destroy(struct group_stats **s);

#endif
