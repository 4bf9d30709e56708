// SPDX-License-Identifier: MIT
// What /metrics says of a group: asked when it is rendered, so that counting costs nothing here.
#ifndef QUEUE_GROUP_STATS_H
#define QUEUE_GROUP_STATS_H

#include "services/queue/group.h"
#include "services/queue/journal.h"

struct group_stats;

// Registers the group's metrics; both are borrowed. NULL: out of memory, and it has none.
struct group_stats *group_stats_new(const struct group *g, const struct journal *j);
void group_stats_destroy(struct group_stats **s);

#endif
