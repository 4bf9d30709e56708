// SPDX-License-Identifier: MIT
// The disk as its VFS sees it.
#ifndef STORE_SIM_DISK_IMPL_H
#define STORE_SIM_DISK_IMPL_H

#include "tests/fault/store_sim/disk.h"

// NULL: there is no such file.
struct disk_file *disk_find(struct disk *d, const char *path);
struct disk_file *disk_create(struct disk *d, const char *path);

void disk_write(struct disk *d, struct disk_file *f, const void *data, uint32_t n, int64_t at);
void disk_cut(struct disk *d, struct disk_file *f, int64_t size);

// With the names of all files. False: EIO.
bool disk_sync(struct disk *d, struct disk_file *f, bool names);
void disk_unlink(struct disk *d, struct disk_file *f, bool names);

#endif
