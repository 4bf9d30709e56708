// SPDX-License-Identifier: MIT
// An event out of the JSON that render.h makes of one: CloudEvents 1.0, one object.
#ifndef TAP_CLOUDEVENT_H
#define TAP_CLOUDEVENT_H

#include "proto/queue_frames.h"

#define CLOUDEVENT_MISTAKE 160

struct cloudevent {
    struct event event;   // borrows from the two below
    struct buf tree;      // the object as MessagePack
    struct buf data;      // of data_base64
    char id[40];          // when the object has none
};

// Reads one line. 0, or -EINVAL with a sentence in ret_mistake that names the member and what is
// allowed. cloudevent_free() after either. Members that it does not know (queue, and extensions)
// are left out.
__attribute__((warn_unused_result)) int cloudevent_parse(struct str json, struct cloudevent *ret_event,
                                                         char ret_mistake[CLOUDEVENT_MISTAKE]);
void cloudevent_free(struct cloudevent *c);

#endif
