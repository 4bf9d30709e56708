// SPDX-License-Identifier: MIT
// What INFO and the admin page /queue tell of the queue (PROTOCOL.md 3.5).
#ifndef QUEUE_INFO_H
#define QUEUE_INFO_H

#include "services/queue/groups.h"
#include "services/queue/readers.h"

#define INFO_MAX_PRODUCERS 4096     // listed; their number is told in any case
#define INFO_MAX_SUBSCRIPTIONS 1024 // the same
#define INFO_MAX_HOLES 1024         // the same, the newest ones

struct info {
    const struct journal *journal;
    const struct clients *clients;
    const struct readers *readers;
    const struct groups *groups;
    int64_t started_ms; // wall clock
    const struct retention *retention;
};

// Appends the map.
void info_write(const struct info *info, struct buf *b);

#define INFO_UUID_SIZE 37 // text and a NUL

void info_uuid(const uint8_t uuid[16], char out[INFO_UUID_SIZE]);

#endif
