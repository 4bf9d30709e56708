// SPDX-License-Identifier: MIT
// Finished orders leave the store for files, so that the store holds what requests need and no
// more. Once they were delivered or cancelled longer ago than SLUICE_ORDERS_KEEP, orders are
// appended to $SLUICE_HOME/db/orders/archive/orders-YYYY-MM.ndjson, by the month (UTC) they were finished
// in: one order a line, {"order": as the API showed it, "history": its steps}. A line is on disk
// before its order is deleted and orders.order.archived published, in one transaction; a crash in
// between leaves the order in both places, and the next run writes its line again. Readers take an
// order's last line. Nothing here reads a file again: they may be compressed or moved away at any
// time.
#ifndef ORDERS_ARCHIVE_H
#define ORDERS_ARCHIVE_H

#include <stdint.h>

struct db;

#define ARCHIVE_EVERY_MS 60000
#define ARCHIVE_BATCH 500                    // orders in one run: other writes wait for about 10 ms
#define ARCHIVE_MAX_BYTES (16 * 1024 * 1024) // of one run's lines; a run that reaches it ends early

// Sets where archives are and how long orders stay after they were finished. 0, or -ENAMETOOLONG.
__attribute__((warn_unused_result)) int archive_configure(const char *home, int64_t keep_ms);

// One run: a periodic of the service.
int archive_run(struct db *db, int64_t now_ms, void *data);

#endif
