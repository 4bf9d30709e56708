// SPDX-License-Identifier: MIT
// Each file has its bytes twice, in the cache and on the disk, and marks for each sector. The directory is twice as
// well, with a list of the changes between.
#include "tests/fault/queue_sim/disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILES 4096  // made in one run
#define MAX_NAMES 256   // at one time; the runs keep far fewer
#define MAX_CHANGES 512 // of the directory, not synced; runs sync after each few
#define MAX_HANDLES 32  // open at one time; the log has four at most
#define NAME_SIZE 48    // the longest is a .torn
#define DIR_HANDLE 1000 // of the only directory
#define MAX_FILE_BYTES (1 << 20)
#define HOLE_BYTES 4096 // holes are multiples of this

enum mark { DIRTY = 1, TAKEN = 2, WRITTEN = 4 }; // of a sector in the cache

struct file {
    uint8_t *cache, *disk, *marks; // marks: one for each sector
    uint64_t cap;                  // of cache and disk, a multiple of HOLE_BYTES
    uint64_t cache_size, disk_size;
    bool strayed; // a sync failed: the cache may have what the disk has not
    bool gone;    // its room was given back
};

struct name {
    char text[NAME_SIZE];
    struct file *file;
};

struct directory {
    struct name names[MAX_NAMES];
    size_t n;
};

struct change {
    char from[NAME_SIZE], to[NAME_SIZE]; // from or to may be empty
    struct file *file;
};

struct disk {
    struct io io;
    struct disk_options options;
    struct disk_faults faults;
    struct chance chance;
    struct file *files[MAX_FILES];
    size_t n_files;
    struct directory cached, stored;
    struct change changes[MAX_CHANGES];
    size_t n_changes;
    struct file *handles[MAX_HANDLES];
    bool dir_open;
    int64_t room; // sectors
    uint64_t calls, die_at, read_errors;
    bool dead;
};

static uint64_t sectors(uint64_t bytes)
{
    return (bytes + DISK_SECTOR - 1) / DISK_SECTOR;
}

// --- Files

static void grow(struct file *f, uint64_t size)
{
    assert(size <= MAX_FILE_BYTES);
    if (size <= f->cap) {
        return;
    }
    uint64_t cap = (size + HOLE_BYTES - 1) / HOLE_BYTES * HOLE_BYTES;
    f->cache = realloc(f->cache, cap);
    f->disk = realloc(f->disk, cap);
    f->marks = realloc(f->marks, sectors(cap));
    assert(f->cache && f->disk && f->marks);
    memset(f->cache + f->cap, 0, cap - f->cap);
    memset(f->disk + f->cap, 0, cap - f->cap);
    memset(f->marks + sectors(f->cap), 0, sectors(cap) - sectors(f->cap));
    f->cap = cap;
}

static struct file *new_file(struct disk *d)
{
    assert(d->n_files < MAX_FILES);
    struct file *f = calloc(1, sizeof *f);
    assert(f);
    d->files[d->n_files++] = f;
    return f;
}

static void set_disk_size(struct file *f, uint64_t size)
{
    if (size < f->disk_size) {
        memset(f->disk + size, 0, f->disk_size - size);
    }
    f->disk_size = size;
}

// One sector goes to the disk.
static void write_back(struct file *f, uint64_t sector)
{
    uint64_t at = sector * DISK_SECTOR;
    memcpy(f->disk + at, f->cache + at, DISK_SECTOR);
    f->marks[sector] &= (uint8_t)~DIRTY;
}

static void write_back_all(struct file *f)
{
    for (uint64_t s = 0; s < sectors(f->cap); s++) {
        if (f->marks[s] & DIRTY) {
            write_back(f, s);
        }
    }
    set_disk_size(f, f->cache_size);
}

// The system forgets what it believes to be on the disk.
static void drop_clean(struct file *f)
{
    for (uint64_t s = 0; f->strayed && s < sectors(f->cap); s++) {
        if (!(f->marks[s] & DIRTY)) {
            memcpy(f->cache + s * DISK_SECTOR, f->disk + s * DISK_SECTOR, DISK_SECTOR);
        }
    }
}

static void give_back(struct disk *d, struct file *f, uint64_t from_sector)
{
    for (uint64_t s = from_sector; s < sectors(f->cap); s++) {
        if (f->marks[s] & TAKEN) {
            f->marks[s] &= (uint8_t)~TAKEN;
            d->room++;
        }
    }
}

static bool take(struct disk *d, struct file *f, uint64_t sector)
{
    if (!(f->marks[sector] & TAKEN)) {
        if (d->room <= 0) {
            return false;
        }
        d->room--;
        f->marks[sector] |= TAKEN;
    }
    return true;
}

static void resize(struct disk *d, struct file *f, uint64_t size)
{
    grow(f, size);
    if (size < f->cache_size) {
        memset(f->cache + size, 0, f->cap - size);
        for (uint64_t s = size / DISK_SECTOR; s < sectors(f->cap); s++) {
            f->marks[s] = (uint8_t)((f->marks[s] | DIRTY) & ~(s >= sectors(size) ? WRITTEN : 0));
        }
        give_back(d, f, sectors(size));
    }
    f->cache_size = size;
}

// --- Names

static struct name *find(struct directory *dir, const char *name)
{
    for (size_t i = 0; i < dir->n; i++) {
        if (strcmp(dir->names[i].text, name) == 0) {
            return &dir->names[i];
        }
    }
    return NULL;
}

static void apply(struct directory *dir, const struct change *c)
{
    struct name *n;
    if (c->from[0] && (n = find(dir, c->from))) {
        *n = dir->names[--dir->n];
    }
    if (c->to[0]) {
        n = find(dir, c->to);
        if (!n) {
            assert(dir->n < MAX_NAMES);
            n = &dir->names[dir->n++];
        }
        (void)snprintf(n->text, sizeof n->text, "%s", c->to);
        n->file = c->file;
    }
}

static void change(struct disk *d, const char *from, const char *to, struct file *file)
{
    assert(d->n_changes < MAX_CHANGES && strlen(from) < NAME_SIZE && strlen(to) < NAME_SIZE);
    struct change *c = &d->changes[d->n_changes++];
    *c = (struct change){ .file = file };
    (void)snprintf(c->from, sizeof c->from, "%s", from);
    (void)snprintf(c->to, sizeof c->to, "%s", to);
    apply(&d->cached, c);
}

// --- Calls

static struct disk *disk_of(const struct io *io)
{
    return io->data;
}

// Begins a call. Returns what it fails with, or 0; *ret_dying: do a part of it and then die.
static int begin(struct disk *d, bool *ret_dying)
{
    *ret_dying = false;
    if (d->dead) {
        return -EIO;
    }
    d->calls++;
    if (d->die_at && d->calls >= d->die_at) {
        d->dead = *ret_dying = true;
    }
    if (d->n_files && chance_in_1000(&d->chance, d->options.write_back)) {
        struct file *f = d->files[chance_below(&d->chance, d->n_files)];
        uint64_t s = f->cap ? chance_below(&d->chance, sectors(f->cap)) : 0;
        if (f->cap && f->marks[s] & DIRTY) {
            write_back(f, s);
        }
    }
    return 0;
}

static struct file *file_of(const struct disk *d, int fd)
{
    assert(fd >= 0 && fd < MAX_HANDLES && d->handles[fd]);
    return d->handles[fd];
}

static int disk_open_dir(const struct io *io, const char *path)
{
    struct disk *d = disk_of(io);
    bool dying;
    (void)path;
    int status = begin(d, &dying);
    if (status || dying) {
        return -EIO;
    }
    assert(!d->dir_open);
    d->dir_open = true;
    return DIR_HANDLE;
}

static int new_handle(struct disk *d, struct file *f)
{
    for (int fd = 0; fd < MAX_HANDLES; fd++) {
        if (!d->handles[fd]) {
            d->handles[fd] = f;
            return fd;
        }
    }
    fprintf(stderr, "more than %d files are open\n", MAX_HANDLES);
    abort();
}

static int disk_open(const struct io *io, int dir, const char *name, enum io_open how)
{
    struct disk *d = disk_of(io);
    bool dying;
    assert(dir == DIR_HANDLE);
    int status = begin(d, &dying);
    if (status || (!dying && chance_in_1000(&d->chance, d->faults.name_error))) {
        d->read_errors += !d->dead && how != IO_MAKE;
        return -EIO;
    }
    struct name *n = find(&d->cached, name);
    if (!n && how != IO_MAKE) {
        return dying ? -EIO : -ENOENT;
    }
    if (!dying || chance_below(&d->chance, 2)) {
        if (!n) {
            change(d, "", name, new_file(d));
            n = find(&d->cached, name);
        } else if (how == IO_MAKE) {
            resize(d, n->file, 0);
        }
    }
    return dying ? -EIO : new_handle(d, n->file);
}

static void disk_close(const struct io *io, int fd)
{
    struct disk *d = disk_of(io);
    if (fd == DIR_HANDLE) {
        d->dir_open = false;
    } else {
        assert(file_of(d, fd));
        d->handles[fd] = NULL;
    }
}

// Makes a read or write of n bytes a smaller one, now and then. Returns 0 for an interruption.
static size_t brief(struct disk *d, size_t n)
{
    if (n == 0 || !chance_in_1000(&d->chance, d->faults.brief)) {
        return n;
    }
    return chance_below(&d->chance, 4) ? 1 + chance_below(&d->chance, n) : 0;
}

static int64_t disk_pread(const struct io *io, int fd, void *to, size_t n, uint64_t offset)
{
    struct disk *d = disk_of(io);
    bool dying;
    int status = begin(d, &dying);
    struct file *f = file_of(d, fd);
    if (status || dying) {
        return -EIO;
    }
    if (chance_in_1000(&d->chance, d->faults.read_error)) {
        d->read_errors++;
        return -EIO;
    }
    if (f->strayed && chance_below(&d->chance, 8) == 0) {
        drop_clean(f);
    }
    size_t left = offset < f->cache_size ? f->cache_size - offset : 0;
    n = n < left ? n : left;
    size_t some = brief(d, n);
    if (n && !some) {
        return -EINTR;
    }
    if (some) {
        memcpy(to, f->cache + offset, some);
    }
    return (int64_t)some;
}

// Writes into the cache as far as there is room. Returns how many bytes.
static size_t put(struct disk *d, struct file *f, const uint8_t *bytes, size_t n, uint64_t offset)
{
    size_t done = 0;
    grow(f, offset + n);
    while (done < n) {
        uint64_t s = (offset + done) / DISK_SECTOR;
        size_t some = DISK_SECTOR - (offset + done) % DISK_SECTOR;
        some = some < n - done ? some : n - done;
        if (!take(d, f, s)) {
            break;
        }
        memcpy(f->cache + offset + done, bytes + done, some);
        f->marks[s] |= DIRTY | WRITTEN;
        done += some;
    }
    if (done && offset + done > f->cache_size) {
        f->cache_size = offset + done;
    }
    return done;
}

static int64_t disk_pwrite(const struct io *io, int fd, const void *bytes, size_t n,
                           uint64_t offset)
{
    struct disk *d = disk_of(io);
    bool dying;
    int status = begin(d, &dying);
    struct file *f = file_of(d, fd);
    if (status) {
        return -EIO;
    }
    if (dying) {
        (void)put(d, f, bytes, chance_below(&d->chance, n + 1), offset);
        return -EIO;
    }
    if (chance_in_1000(&d->chance, d->faults.write_error)) {
        return -EIO;
    }
    size_t some = brief(d, n);
    if (n && !some) {
        return -EINTR;
    }
    size_t done = put(d, f, bytes, some, offset);
    return some && !done ? -ENOSPC : (int64_t)done;
}

// Syncs some of what is to be synced, and forgets about the rest if told so.
static void sync_some(struct disk *d, struct file *f, bool forget)
{
    for (uint64_t s = 0; s < sectors(f->cap); s++) {
        if (f->marks[s] & DIRTY) {
            if (chance_below(&d->chance, 2)) {
                write_back(f, s);
            } else if (forget) {
                f->marks[s] &= (uint8_t)~DIRTY;
                f->strayed = true;
            }
        }
    }
}

static int sync_file(struct disk *d, int fd, bool lengths)
{
    bool dying;
    int status = begin(d, &dying);
    struct file *f = file_of(d, fd);
    if (status) {
        return -EIO;
    }
    if (dying || chance_in_1000(&d->chance, d->faults.sync_error)) {
        sync_some(d, f, !dying);
        return chance_below(&d->chance, 4) ? -EIO : -ENOSPC;
    }
    uint64_t size = f->disk_size;
    write_back_all(f);
    if (!lengths && f->cache_size < size) { // what is needed to read the data, and that is not
        f->disk_size = size;
    }
    return 0;
}

static int disk_sync_data(const struct io *io, int fd)
{
    return sync_file(disk_of(io), fd, false);
}

static int disk_sync(const struct io *io, int fd)
{
    return sync_file(disk_of(io), fd, true);
}

static int disk_sync_dir(const struct io *io, int dir)
{
    struct disk *d = disk_of(io);
    bool dying;
    assert(dir == DIR_HANDLE);
    int status = begin(d, &dying);
    if (status || dying || chance_in_1000(&d->chance, d->faults.name_error)) {
        return -EIO;
    }
    d->stored = d->cached;
    d->n_changes = 0;
    return 0;
}

static int disk_reserve(const struct io *io, int fd, uint64_t bytes)
{
    struct disk *d = disk_of(io);
    bool dying;
    int status = begin(d, &dying);
    struct file *f = file_of(d, fd);
    if (status || (dying && chance_below(&d->chance, 2))) {
        return -EIO;
    }
    if (!d->options.can_reserve) {
        return dying ? -EIO : -EOPNOTSUPP;
    }
    grow(f, bytes);
    int64_t needed = 0;
    for (uint64_t s = 0; s < sectors(bytes); s++) {
        needed += !(f->marks[s] & TAKEN);
    }
    if (needed > d->room) {
        return dying ? -EIO : -ENOSPC;
    }
    for (uint64_t s = 0; s < sectors(bytes); s++) {
        (void)take(d, f, s); // there is room
    }
    f->cache_size = bytes > f->cache_size ? bytes : f->cache_size;
    return dying ? -EIO : 0;
}

static int disk_resize(const struct io *io, int fd, uint64_t bytes)
{
    struct disk *d = disk_of(io);
    bool dying;
    int status = begin(d, &dying);
    struct file *f = file_of(d, fd);
    if (status || (!dying && chance_in_1000(&d->chance, d->faults.write_error))) {
        return -EIO;
    }
    if (!dying || chance_below(&d->chance, 2)) {
        resize(d, f, bytes);
    }
    return dying ? -EIO : 0;
}

// The file has lost a name; without any left its room is free at once.
static void lose_name(struct disk *d, struct file *f)
{
    for (size_t i = 0; i < d->cached.n; i++) {
        if (d->cached.names[i].file == f) {
            return;
        }
    }
    give_back(d, f, 0);
}

static int disk_rename(const struct io *io, int dir, const char *from, const char *to)
{
    struct disk *d = disk_of(io);
    bool dying;
    assert(dir == DIR_HANDLE);
    int status = begin(d, &dying);
    struct name *n = find(&d->cached, from), *over = find(&d->cached, to);
    if (status || (!dying && chance_in_1000(&d->chance, d->faults.name_error))) {
        return -EIO;
    }
    if (!n) {
        return dying ? -EIO : -ENOENT;
    }
    if (!dying || chance_below(&d->chance, 2)) {
        struct file *replaced = over ? over->file : NULL;
        change(d, from, to, n->file);
        if (replaced) {
            lose_name(d, replaced);
        }
    }
    return dying ? -EIO : 0;
}

static int disk_unlink(const struct io *io, int dir, const char *name)
{
    struct disk *d = disk_of(io);
    bool dying;
    assert(dir == DIR_HANDLE);
    int status = begin(d, &dying);
    struct name *n = find(&d->cached, name);
    if (status || (!dying && chance_in_1000(&d->chance, d->faults.name_error))) {
        return -EIO;
    }
    if (!n) {
        return dying ? -EIO : -ENOENT;
    }
    if (!dying || chance_below(&d->chance, 2)) {
        struct file *f = n->file;
        change(d, name, "", NULL);
        lose_name(d, f);
    }
    return dying ? -EIO : 0;
}

static int64_t disk_size(const struct io *io, int fd)
{
    struct disk *d = disk_of(io);
    bool dying;
    int status = begin(d, &dying);
    struct file *f = file_of(d, fd);
    return status || dying ? -EIO : (int64_t)f->cache_size;
}

static uint64_t disk_data_end(const struct io *io, int fd, uint64_t size)
{
    struct disk *d = disk_of(io);
    bool dying;
    int status = begin(d, &dying);
    struct file *f = file_of(d, fd);
    if (status || dying || !d->options.knows_holes) {
        return size;
    }
    uint64_t end = 0;
    for (uint64_t s = 0; s < sectors(f->cap); s++) {
        end = f->marks[s] & WRITTEN ? (s + 1) * DISK_SECTOR : end;
    }
    end = (end + HOLE_BYTES - 1) / HOLE_BYTES * HOLE_BYTES;
    return end < size ? end : size;
}

static int disk_list(const struct io *io, int dir, int (*on_name)(const char *name, void *arg),
                     void *arg)
{
    struct disk *d = disk_of(io);
    bool dying;
    assert(dir == DIR_HANDLE);
    int status = begin(d, &dying);
    if (status || dying) {
        return -EIO;
    }
    for (size_t i = 0; i < d->cached.n && status == 0; i++) {
        status = on_name(d->cached.names[i].text, arg);
    }
    return status;
}

// --- The end of a process

// A group of sectors is kept or lost as one; now and then the power goes in the middle of a sector.
static void lose_pages(struct disk *d, struct file *f, uint64_t keep_in_4)
{
    uint64_t group = d->options.page_bytes / DISK_SECTOR;
    for (uint64_t first = 0; first < sectors(f->cap); first += group) {
        bool keep = chance_below(&d->chance, 4) < keep_in_4;
        for (uint64_t s = first; s < first + group && s < sectors(f->cap); s++) {
            if (!(f->marks[s] & DIRTY)) {
                continue;
            }
            if (keep) {
                write_back(f, s);
            } else if (chance_below(&d->chance, 16) == 0) {
                memcpy(f->disk + s * DISK_SECTOR, f->cache + s * DISK_SECTOR,
                       chance_below(&d->chance, DISK_SECTOR));
            }
        }
    }
}

static void lose_power(struct disk *d, struct file *f, uint64_t keep_in_4)
{
    if (f->cap == 0) {
        return; // nothing was ever in it
    }
    lose_pages(d, f, keep_in_4);
    if (f->cache_size != f->disk_size && chance_below(&d->chance, 2)) {
        set_disk_size(f, f->cache_size);
    }
    if (f->disk_size < f->cap) { // what was beyond the end is not there
        memset(f->disk + f->disk_size, 0, f->cap - f->disk_size);
    }
    memcpy(f->cache, f->disk, f->cap);
    f->cache_size = f->disk_size;
    f->strayed = false;
    for (uint64_t s = 0; s < sectors(f->cap); s++) {
        f->marks[s] &= (uint8_t)~DIRTY;
        f->marks[s] |= s < sectors(f->cache_size) && f->cache[s * DISK_SECTOR] ? WRITTEN : 0;
    }
    for (uint64_t s = 0; s < sectors(f->cap); s++) { // a sector that begins with a zero, too
        static const uint8_t zeros[DISK_SECTOR];
        if (memcmp(f->cache + s * DISK_SECTOR, zeros, DISK_SECTOR) != 0) {
            f->marks[s] |= WRITTEN;
        }
    }
    give_back(d, f, sectors(f->cache_size));
}

// Frees the files that have no name any more, neither now nor after a loss of power.
static void sweep(struct disk *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_files; i++) {
        struct file *f = d->files[i];
        bool named = false;
        for (size_t n = 0; n < d->cached.n; n++) {
            named |= d->cached.names[n].file == f;
        }
        for (size_t n = 0; n < d->stored.n; n++) {
            named |= d->stored.names[n].file == f;
        }
        for (size_t n = 0; n < d->n_changes; n++) {
            named |= d->changes[n].file == f;
        }
        if (named) {
            d->files[kept++] = f;
        } else {
            give_back(d, f, 0);
            free(f->cache);
            free(f->disk);
            free(f->marks);
            free(f);
        }
    }
    d->n_files = kept;
}

void disk_end(struct disk *d, enum disk_end how)
{
    memset(d->handles, 0, sizeof d->handles);
    d->dir_open = d->dead = false;
    d->die_at = 0;
    if (how == DISK_POWER_LOST) {
        uint64_t keep_in_4 = chance_below(&d->chance, 5); // from nothing to everything
        for (size_t i = 0; i < d->n_files; i++) {
            lose_power(d, d->files[i], keep_in_4);
        }
        for (size_t i = 0; i < d->n_changes; i++) {
            if (chance_below(&d->chance, 4) < keep_in_4) {
                apply(&d->stored, &d->changes[i]);
            }
        }
        d->cached = d->stored;
        d->n_changes = 0;
    } else if (chance_below(&d->chance, 2)) {
        for (size_t i = 0; i < d->n_files; i++) {
            drop_clean(d->files[i]);
        }
    }
    sweep(d);
}

// --- For the test

const uint8_t *disk_look(const struct disk *d, const char *name, uint64_t *ret_size)
{
    struct name *n = find((struct directory *)&d->cached, name);
    if (!n) {
        return NULL;
    }
    *ret_size = n->file->cache_size;
    return n->file->cache;
}

bool disk_flip(struct disk *d, const char *name, uint64_t bit)
{
    struct name *n = find(&d->cached, name);
    assert(n && bit / 8 < n->file->cache_size);
    struct file *f = n->file;
    uint64_t sector = bit / 8 / DISK_SECTOR;
    if (f->marks[sector] & DIRTY || f->strayed) {
        return false;
    }
    f->cache[bit / 8] ^= (uint8_t)(1 << bit % 8);
    f->disk[bit / 8] ^= (uint8_t)(1 << bit % 8);
    f->marks[sector] |= WRITTEN;
    return true;
}

void disk_each(const struct disk *d, void (*on_name)(const char *name, void *arg), void *arg)
{
    for (size_t i = 0; i < d->cached.n; i++) {
        on_name(d->cached.names[i].text, arg);
    }
}

void disk_settle(struct disk *d)
{
    for (size_t i = 0; i < d->n_files; i++) {
        if (!d->files[i]->strayed) {
            write_back_all(d->files[i]);
        }
    }
    d->stored = d->cached;
    d->n_changes = 0;
}

void disk_set_faults(struct disk *d, const struct disk_faults *faults)
{
    d->faults = faults ? *faults : (struct disk_faults){ .brief = 0 };
}

void disk_set_room(struct disk *d, uint64_t bytes)
{
    d->room = (int64_t)(bytes / DISK_SECTOR);
}

void disk_die_in(struct disk *d, uint64_t calls)
{
    d->die_at = calls ? d->calls + calls : 0;
}

bool disk_is_dead(const struct disk *d)
{
    return d->dead;
}

uint64_t disk_calls(const struct disk *d)
{
    return d->calls;
}

uint64_t disk_read_errors(const struct disk *d)
{
    return d->read_errors;
}

int disk_handles(const struct disk *d)
{
    int n = d->dir_open;
    for (int fd = 0; fd < MAX_HANDLES; fd++) {
        n += d->handles[fd] != NULL;
    }
    return n;
}

const struct io *disk_io(const struct disk *d)
{
    return &d->io;
}

struct disk *disk_new(uint64_t seed, const struct disk_options *options)
{
    struct disk *d = calloc(1, sizeof *d);
    assert(d);
    d->options = *options;
    d->chance.state = seed;
    d->io = (struct io){ .open_dir = disk_open_dir,
                         .open = disk_open,
                         .close = disk_close,
                         .pread = disk_pread,
                         .pwrite = disk_pwrite,
                         .sync_data = disk_sync_data,
                         .sync = disk_sync,
                         .sync_dir = disk_sync_dir,
                         .reserve = disk_reserve,
                         .resize = disk_resize,
                         .rename = disk_rename,
                         .unlink = disk_unlink,
                         .size = disk_size,
                         .data_end = disk_data_end,
                         .list = disk_list,
                         .data = d };
    disk_set_room(d, UINT64_MAX / 4);
    return d;
}

void disk_destroy(struct disk **d)
{
    (*d)->n_changes = 0;
    (*d)->cached.n = (*d)->stored.n = 0;
    sweep(*d);
    free(*d);
    *d = NULL;
}
