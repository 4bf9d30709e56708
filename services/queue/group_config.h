// SPDX-License-Identifier: MIT
// What a group is: the arguments of `group-set` (PROTOCOL.md 3.9), as a client gives them, as the log
// keeps them, and as `groups` shows them.
#ifndef QUEUE_GROUP_CONFIG_H
#define QUEUE_GROUP_CONFIG_H

#include "proto/queue_frames.h"

#define GROUP_DEFAULT_ACK_WAIT_MS 30000
#define GROUP_DEFAULT_MAX_DELIVERIES 10
#define GROUP_DEFAULT_BACKOFF_MS 1000
#define GROUP_DEFAULT_BACKOFF_MAX_MS 60000
#define GROUP_DEFAULT_MAX_PENDING 16384
#define GROUP_LONGEST_MS (24 * 3600 * 1000) // of any wait: a longer one is a schedule, not a retry
#define GROUP_SHORTEST_ACK_WAIT_MS 100
#define GROUP_MOST_DELIVERIES 1000
#define GROUP_TEXT_BYTES (QUEUE_MAX_FILTERS * (QUEUE_MAX_TOPIC + 1))

enum group_order { GROUP_ORDER_KEY, GROUP_ORDER_NONE, GROUP_ORDER_ALL };

struct group_config {
    char name[QUEUE_MAX_GROUP + 1];
    char text[GROUP_TEXT_BYTES];                                            // of the filters
    uint16_t filter_at[QUEUE_MAX_FILTERS], filter_bytes[QUEUE_MAX_FILTERS]; // in text
    size_t n_filters;
    enum group_order order;
    int64_t ack_wait_ms, backoff_ms, backoff_max_ms;
    uint32_t max_deliveries, max_pending;
    bool paused;
    int64_t created_ms;
};

// Where a new group begins; not kept.
struct group_start {
    enum queue_start from; // START, END, SEQ or TIME
    uint64_t value;
};

#define GROUP_ERROR_SIZE 256

// What holds for a group that nobody has said anything about.
void group_config_init(struct group_config *c);

static inline struct str group_config_filter(const struct group_config *c, size_t i)
{
    return (struct str){ c->text + c->filter_at[i], c->filter_bytes[i] };
}

// Takes what a map says over into *c and *start; the rest stays. stored: the map is the log's own,
// which says more (paused, created_ms). 0; -EINVAL with a sentence that names the argument and what is
// allowed, and then *c and *start are not to be used.
__attribute__((warn_unused_result)) int group_config_read(struct str map, bool stored,
                                                          struct group_config *c,
                                                          struct group_start *start,
                                                          char ret_error[GROUP_ERROR_SIZE]);

// How many members group_config_write() writes, for the map's header.
#define GROUP_CONFIG_MEMBERS 10

// Writes the members of the map, as group_config_read() with stored takes them.
void group_config_write(const struct group_config *c, struct buf *b);

bool group_config_equal(const struct group_config *a, const struct group_config *b);

// Whether the group wants events of this topic.
bool group_config_wants(const struct group_config *c, struct str topic);

#endif
