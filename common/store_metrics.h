// SPDX-License-Identifier: MIT
// What /metrics says of a process's store. One process has at most one.
#ifndef COMMON_STORE_METRICS_H
#define COMMON_STORE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

// Written beside a store when it was backed up; its time is the backup's.
#define STORE_BACKUP_MARK "last-backup"

// path: of the store; borrowed.
void store_metrics_open(const char *path);
void store_metrics_close(void);

void store_metrics_writer(bool is_writer);

// The writer's thread committed a transaction or copied the WAL into the file, and SQLite took so
// long for it, syncing included; or a transaction could not be committed. Any thread.
void store_metrics_committed(int64_t took_us);
void store_metrics_checkpointed(int64_t took_us);
void store_metrics_commit_failed(void);

// What hinders the store; 0: nothing does.
void store_metrics_trouble(int error);

#endif
