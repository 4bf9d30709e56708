// SPDX-License-Identifier: MIT
// A disk in memory behind the log's I/O table, as nasty as a real one may be. What a process wrote
// is in a cache; what is on the disk is only what was synced, and any part of the rest, in any
// order: each page on its own, each change of the directory on its own, lengths on their own. It
// makes calls short, interrupts them, fails them, runs full, and dies at a call that was chosen
// before. After a failed sync the cache says one thing and the disk another. It knows nothing of
// the log.
#ifndef QUEUE_SIM_DISK_H
#define QUEUE_SIM_DISK_H

#include "services/queue/io.h"
#include "tests/fault/queue_sim/chance.h"

#define DISK_SECTOR 512 // what a disk writes as a whole, except that one may tear when power goes

// How many in 1000 calls go wrong in each way.
struct disk_faults {
    uint32_t brief;       // fewer bytes than asked for, or EINTR
    uint32_t read_error;  // EIO; the next read may succeed
    uint32_t write_error; // EIO
    uint32_t sync_error;  // EIO or ENOSPC; some of what was to be written is dropped
    uint32_t name_error;  // EIO of open, rename, unlink and sync_dir
};

struct disk_options {
    uint32_t page_bytes; // of the cache, kept or lost as one: 512 or 4096
    bool knows_holes;    // else data_end() is the file's size
    bool can_reserve;    // else reserve() is -EOPNOTSUPP
    uint32_t write_back; // how many in 1000 calls are preceded by one page going to the disk
};

enum disk_end {
    DISK_KILLED,     // the process ends; the cache stays, except what the system drops of it
    DISK_POWER_LOST, // the cache is gone
};

struct disk;

struct disk *disk_new(uint64_t seed, const struct disk_options *options);
void disk_destroy(struct disk **d);

const struct io *disk_io(const struct disk *d);

void disk_set_faults(struct disk *d, const struct disk_faults *faults); // NULL: none
void disk_set_room(struct disk *d, uint64_t bytes); // that files may take from now on

// The process dies at this many calls from now, in the middle of that call: from then on every call
// fails and changes nothing. 0: not any more.
void disk_die_in(struct disk *d, uint64_t calls);
bool disk_is_dead(const struct disk *d);

// The process is gone, dead before or not; the next one finds what there is now.
void disk_end(struct disk *d, enum disk_end how);

uint64_t disk_calls(const struct disk *d);
uint64_t disk_read_errors(const struct disk *d); // of reads and of opening for them, so far
int disk_handles(const struct disk *d);          // that are open

// --- What the test itself looks at and does, past faults and death

// The bytes of a file as the process sees them, or NULL: no such file.
const uint8_t *disk_look(const struct disk *d, const char *name, uint64_t *ret_size);

// Turns one bit, at rest. False: the page has not been written to the disk yet.
bool disk_flip(struct disk *d, const char *name, uint64_t bit);

// Calls on_name for every file.
void disk_each(const struct disk *d, void (*on_name)(const char *name, void *arg), void *arg);

// Writes everything out, as time does.
void disk_settle(struct disk *d);

#endif
