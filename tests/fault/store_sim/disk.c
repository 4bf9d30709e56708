// SPDX-License-Identifier: MIT
#include "tests/fault/store_sim/disk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fault/store_sim/disk_impl.h"

#define CUT_PROB 300 // in 1000: that the sector at hand is torn

static void *share(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        abort();
    }
    return p;
}

struct disk *disk_new(uint64_t seed)
{
    struct disk *d = share(sizeof *d);
    d->chance.state = seed;
    for (int i = 0; i < DISK_FILES; i++) {
        d->files[i].cache = share(DISK_FILE_BYTES);
        d->files[i].disk = share(DISK_FILE_BYTES);
        d->files[i].pending = share(DISK_FILE_BYTES);
    }
    return d;
}

void disk_destroy(struct disk **disk)
{
    struct disk *d = *disk;
    *disk = NULL;
    for (int i = 0; i < DISK_FILES; i++) {
        (void)munmap(d->files[i].cache, DISK_FILE_BYTES);
        (void)munmap(d->files[i].disk, DISK_FILE_BYTES);
        (void)munmap(d->files[i].pending, DISK_FILE_BYTES);
    }
    (void)munmap(d, sizeof *d);
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

struct disk_file *disk_find(struct disk *d, const char *path)
{
    for (int i = 0; i < DISK_FILES; i++) {
        if (d->files[i].linked && strcmp(d->files[i].name, name_of(path)) == 0) {
            return &d->files[i];
        }
    }
    return NULL;
}

int64_t disk_size(const struct disk *d, const char *path)
{
    struct disk_file *f = disk_find((struct disk *)(uintptr_t)d, path);
    return f ? f->size : -1;
}

static bool begin_call(struct disk *d, const char *what, const char *name, int64_t at, uint32_t n)
{
    d->calls++;
    if (d->trace) {
        fprintf(stderr, "  %" PRIu64 " %s %s %" PRId64 " %" PRIu32 "\n", d->calls, what, name, at,
                n);
    }
    return d->calls == d->die_at;
}

struct disk_file *disk_create(struct disk *d, const char *path)
{
    struct disk_file *f = NULL;
    for (int i = 0; i < DISK_FILES && !f; i++) {
        f = d->files[i].linked || d->files[i].linked_on_disk ? NULL : &d->files[i];
    }
    assert(f && strlen(name_of(path)) < sizeof f->name);
    if (begin_call(d, "create", name_of(path), 0, 0)) {
        _exit(DISK_EXIT);
    }
    memset(f->cache, 0, (size_t)f->size);
    memset(f->disk, 0, (size_t)f->size_on_disk);
    strcpy(f->name, name_of(path));
    f->size = f->size_on_disk = 0;
    f->n_ops = f->pending_bytes = 0;
    f->linked = true;
    return f;
}

// --- What a process does

static struct disk_op *add_op(struct disk_file *f)
{
    assert(f->n_ops < DISK_OPS);
    struct disk_op *o = &f->ops[f->n_ops++];
    memset(o, 0, sizeof *o);
    return o;
}

void disk_write(struct disk *d, struct disk_file *f, const void *data, uint32_t n, int64_t at)
{
    bool dies = begin_call(d, "write", f->name, at, n);
    n = dies ? (uint32_t)chance_below(&d->chance, n + 1) : n;
    assert(at + n <= DISK_FILE_BYTES && f->pending_bytes + n <= DISK_FILE_BYTES);
    if (n) {
        struct disk_op *o = add_op(f);
        o->at = at;
        o->n = n;
        o->data = f->pending_bytes;
        memcpy(f->pending + f->pending_bytes, data, n);
        f->pending_bytes += n;
        memcpy(f->cache + at, data, n);
        f->size = at + n > f->size ? at + n : f->size;
    }
    if (dies) {
        _exit(DISK_EXIT);
    }
}

void disk_cut(struct disk *d, struct disk_file *f, int64_t size)
{
    if (begin_call(d, "truncate", f->name, size, 0)) {
        _exit(DISK_EXIT);
    }
    struct disk_op *o = add_op(f);
    o->at = size;
    o->cut = true;
    if (size < f->size) {
        memset(f->cache + size, 0, (size_t)(f->size - size));
    }
    f->size = size;
}

static void forget_ops(struct disk_file *f)
{
    f->n_ops = f->pending_bytes = 0;
}

static void sync_names(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++) {
        d->files[i].linked_on_disk = d->files[i].linked;
    }
}

// Everything in the cache that the system knows to be newer goes to the disk.
static void apply_all(struct disk_file *f)
{
    for (uint32_t i = 0; i < f->n_ops; i++) {
        const struct disk_op *o = &f->ops[i];
        if (!o->cut) {
            memcpy(f->disk + o->at, f->pending + o->data, o->n);
            f->size_on_disk = o->at + o->n > f->size_on_disk ? o->at + o->n : f->size_on_disk;
        } else if (o->at < f->size_on_disk) {
            memset(f->disk + o->at, 0, (size_t)(f->size_on_disk - o->at));
            f->size_on_disk = o->at;
        } else {
            f->size_on_disk = o->at;
        }
    }
    forget_ops(f);
}

static void apply_some(struct disk *d, struct disk_file *f);

bool disk_sync(struct disk *d, struct disk_file *f, bool names)
{
    bool dies =
        begin_call(d, names ? "sync with names" : "sync", f->name, f->size, f->pending_bytes);
    d->syncs++;
    if (dies && chance_in_1000(&d->chance, 500)) {
        _exit(DISK_EXIT); // before anything of it, or below, behind all of it
    }
    if (d->fail_sync && --d->fail_sync == 0) {
        if (d->trace) {
            fprintf(stderr, "  it fails\n");
        }
        d->failed_syncs++;
        apply_some(d, f);
        return false;
    }
    apply_all(f);
    if (names) {
        sync_names(d);
    }
    if (dies) {
        _exit(DISK_EXIT);
    }
    return true;
}

void disk_unlink(struct disk *d, struct disk_file *f, bool names)
{
    if (begin_call(d, names ? "remove with names" : "remove", f->name, 0, 0)) {
        _exit(DISK_EXIT);
    }
    f->linked = false;
    if (names) {
        sync_names(d);
    }
}

// --- What the loss of power leaves

// The part of a write that lies in a sector.
static bool overlap(const struct disk_op *o, int64_t sector, int64_t *ret_from, int64_t *ret_to)
{
    int64_t from = sector * DISK_SECTOR, to = from + DISK_SECTOR;
    int64_t end = o->cut ? INT64_MAX : o->at + o->n;
    *ret_from = from > o->at ? from : o->at;
    *ret_to = to < end ? to : end;
    return *ret_from < *ret_to;
}

static void put(struct disk_file *f, const struct disk_op *o, int64_t from, int64_t to)
{
    if (o->cut) {
        memset(f->disk + from, 0, (size_t)(to - from));
    } else {
        memcpy(f->disk + from, f->pending + o->data + (from - o->at), (size_t)(to - from));
    }
}

// A sector is as some write left it, or the next one began to.
static void settle_sector(struct disk *d, struct disk_file *f, int64_t sector)
{
    uint32_t n = 0;
    int64_t from, to;
    for (uint32_t i = 0; i < f->n_ops; i++) {
        n += overlap(&f->ops[i], sector, &from, &to);
    }
    if (n == 0) {
        return;
    }
    uint64_t kept = chance_below(&d->chance, n + 1);
    bool torn = kept < n && chance_in_1000(&d->chance, CUT_PROB);
    d->lost_sectors += kept < n;
    d->torn_sectors += torn;
    for (uint32_t i = 0, seen = 0; i < f->n_ops && seen <= kept; i++) {
        if (!overlap(&f->ops[i], sector, &from, &to)) {
            continue;
        }
        if (seen == kept) {
            to = torn ? from + (int64_t)chance_below(&d->chance, (uint64_t)(to - from)) : from;
        }
        seen++;
        put(f, &f->ops[i], from, to);
    }
}

// A length that it had since the last sync.
static int64_t some_size(struct disk *d, const struct disk_file *f)
{
    uint64_t steps = chance_below(&d->chance, f->n_ops + 1);
    int64_t size = f->size_on_disk;
    for (uint32_t i = 0; i < steps; i++) {
        const struct disk_op *o = &f->ops[i];
        size = o->cut ? o->at : o->at + o->n > size ? o->at + o->n : size;
    }
    return size;
}

static void apply_some(struct disk *d, struct disk_file *f)
{
    int64_t size = some_size(d, f);
    int64_t end = f->size_on_disk;
    for (uint32_t i = 0; i < f->n_ops; i++) {
        int64_t to = f->ops[i].cut ? f->ops[i].at : f->ops[i].at + f->ops[i].n;
        end = to > end ? to : end;
    }
    // Most runs write large pieces one behind the other: sectors without a write cost little.
    for (int64_t sector = 0; sector * DISK_SECTOR < end; sector++) {
        settle_sector(d, f, sector);
    }
    if (size < end) {
        memset(f->disk + size, 0, (size_t)(end - size));
    }
    f->size_on_disk = size;
    forget_ops(f);
}

// Of two files with one name, either may be there.
static void settle_name(struct disk *d, struct disk_file *f)
{
    if (f->linked == f->linked_on_disk) {
        return;
    }
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *other = &d->files[i];
        if (other != f && strcmp(other->name, f->name) == 0 &&
            other->linked != other->linked_on_disk) {
            bool old = chance_in_1000(&d->chance, 500);
            f->linked = f->linked_on_disk = f->linked_on_disk == old;
            other->linked = other->linked_on_disk = other->linked_on_disk == old;
            return;
        }
    }
    f->linked = f->linked_on_disk = chance_in_1000(&d->chance, 500);
}

void disk_lose_power(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *f = &d->files[i];
        settle_name(d, f);
        apply_some(d, f);
        int64_t size = f->size > f->size_on_disk ? f->size : f->size_on_disk;
        memcpy(f->cache, f->disk, (size_t)size);
        f->size = f->size_on_disk;
    }
}
