// SPDX-License-Identifier: MIT
// Events of the log, one after the other. Reading acknowledges nothing and leaves nothing behind in
// the queue.
#ifndef TAP_LOG_H
#define TAP_LOG_H

#include "services/tap/tap.h"

struct log_entry {
    uint64_t seq;
    int64_t stored_ms;
    struct str encoded; // borrowed for the call
};

// 0 to go on; LOG_STOP: enough; above 0: the exit status, after a message.
#define LOG_STOP (-1)
typedef int (*log_fn)(struct tap *t, const struct log_entry *e, void *data);

// What the options ask for (--topic, --key, --where, --range, --since, -n of tail). False: nothing
// can match.
bool log_wanted(const struct options *o, struct queue_subscribe *ret_wanted);

// Calls on_event for each event until there are no more (with wanted->follow: for ever). It may ask
// and wait. Lost ranges are named on standard error. on_pause (may be NULL) runs when what has come
// was handed out. TAP_OK, or the exit status after a message.
__attribute__((warn_unused_result)) int log_read(struct tap *t, const struct queue_subscribe *wanted,
                                                 log_fn on_event, int (*on_pause)(struct tap *t, void *data),
                                                 void *data);

#endif
