// SPDX-License-Identifier: MIT
// What groups.c (who is there) and groups_turn.c (what is done in a turn) share.
#ifndef QUEUE_GROUPS_IMPL_H
#define QUEUE_GROUPS_IMPL_H

#include "services/queue/groups.h"

struct groups {
    struct groups_options options;
    struct group *first;
    struct group *turn; // whose turn it is; NULL: the first's
    size_t n;
    uint32_t last_number;
    struct buf frame;     // the one that is made
    struct buf unwrapped; // the event inside a dead letter
    uv_timer_t tick;
    int64_t bury_after_ms; // monotonic; 0: now
    bool ticking, open;
};

// Starts the timer, if it is not running.
void groups_start_tick(struct groups *gs);

// Tells a member of a range that it will not get.
void groups_tell_lost(struct groups *gs, struct member *m, uint64_t first, uint64_t last);

// Buries what is dying, as far as it can be read and the log takes it.
void groups_bury(struct groups *gs, struct group *g);

#endif
