// SPDX-License-Identifier: MIT
// A disk in memory that several lives of a process share, and SQLite's way to it (a VFS). What a
// process wrote is in the cache; what is on the disk is only what was synced and, when power goes,
// any part of the rest: each sector on its own, as any of the writes left it, one of them torn, and
// lengths and names on their own. A sync may fail: then what was to be written is clean as far as
// the system knows, in the cache, and on the disk in part. It knows nothing of stores.
#ifndef STORE_SIM_DISK_H
#define STORE_SIM_DISK_H

#include "tests/fault/queue_sim/chance.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_SECTOR 512           // of a disk: what it writes as one, but for the one that tears
#define DISK_FILES 12             // the store, its logs, and those of them that were removed
#define DISK_FILE_BYTES (8 << 20) // of one file; a run makes less than 1 MiB
#define DISK_OPS 8192             // not synced, of one file

struct disk_op {
    int64_t at;    // where, or the new length
    uint32_t n;    // bytes
    uint32_t data; // where they are
    bool cut;      // a truncation
};

struct disk_file {
    char name[64];
    bool linked, linked_on_disk; // the name leads to it
    int64_t size, size_on_disk;
    uint8_t *cache, *disk, *pending;
    struct disk_op ops[DISK_OPS];
    uint32_t n_ops, pending_bytes;
};

struct disk {
    struct disk_file files[DISK_FILES];
    struct chance chance;
    uint64_t calls;     // that change something, so far
    uint64_t die_at;    // the process dies in this one; 0: in none
    uint64_t fail_sync; // the sync that fails, counted down; 0: none
    bool trace;         // every call is printed
    uint64_t syncs, failed_syncs, lost_sectors, torn_sectors;
};

#define DISK_EXIT 77 // status of a process that died where it was told to

// Memory is shared by all that are forked after it.
struct disk *disk_new(uint64_t seed);
void disk_destroy(struct disk **d);

// Makes it the place of all files of SQLite in this process.
void disk_mount(struct disk *d);

// Of the file behind the last '/' of a path; -1: there is none.
int64_t disk_size(const struct disk *d, const char *path);

// The process is gone, and with it power. What was not synced is there in part.
void disk_lose_power(struct disk *d);

#endif
