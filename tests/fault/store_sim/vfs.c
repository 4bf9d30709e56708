// SPDX-License-Identifier: MIT
// The VFS. Locks and the index of the log are of one process, as its memory is: nobody else has the
// store open when the next one begins. The device has the properties that SQLite takes for granted
// on Linux: sectors of 4096 bytes, and a write that is cut off harms nothing beside it.
#include <assert.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/store_sim/disk_impl.h"

#define REGIONS 32
#define SECTOR 4096

// What the connections to one file share.
struct node {
    int shared; // readers
    struct file *reserved, *pending, *exclusive;
    void *regions[REGIONS];
    int shm_shared[SQLITE_SHM_NLOCK];
    struct file *shm_exclusive[SQLITE_SHM_NLOCK];
};

struct file {
    sqlite3_file base;
    struct disk_file *on_disk;
    struct node *node;
    bool sync_names, remove;
    int lock;
    uint16_t shm_held; // bits of shared locks
};

static struct disk *disk;
static struct node nodes[DISK_FILES];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int close_file(sqlite3_file *file)
{
    struct file *f = (struct file *)file;
    assert(f->lock == SQLITE_LOCK_NONE && !f->shm_held);
    if (f->remove) {
        f->on_disk->linked = f->on_disk->linked_on_disk = false;
    }
    return SQLITE_OK;
}

static int read_file(sqlite3_file *file, void *out, int n, sqlite3_int64 at)
{
    const struct disk_file *d = ((struct file *)file)->on_disk;
    int64_t there = d->size - at < 0 ? 0 : d->size - at < n ? d->size - at : n;
    memcpy(out, d->cache + at, (size_t)there);
    memset((char *)out + there, 0, (size_t)(n - there));
    return there == n ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int write_file(sqlite3_file *file, const void *data, int n, sqlite3_int64 at)
{
    disk_write(disk, ((struct file *)file)->on_disk, data, (uint32_t)n, at);
    return SQLITE_OK;
}

static int cut_file(sqlite3_file *file, sqlite3_int64 size)
{
    disk_cut(disk, ((struct file *)file)->on_disk, size);
    return SQLITE_OK;
}

static int sync_file(sqlite3_file *file, int flags)
{
    struct file *f = (struct file *)file;
    (void)flags;
    if (!disk_sync(disk, f->on_disk, f->sync_names)) {
        return SQLITE_IOERR_FSYNC;
    }
    f->sync_names = false;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    *ret_size = ((struct file *)file)->on_disk->size;
    return SQLITE_OK;
}

// --- Locks of the file

static int lock_file(sqlite3_file *file, int level)
{
    struct file *f = (struct file *)file;
    struct node *n = f->node;
    int rc = SQLITE_OK;
    pthread_mutex_lock(&mutex);
    if (level > f->lock) {
        bool writers = (n->pending && n->pending != f) || (n->exclusive && n->exclusive != f);
        if (level == SQLITE_LOCK_SHARED) {
            rc = writers ? SQLITE_BUSY : SQLITE_OK;
            n->shared += rc == SQLITE_OK;
        } else if (level == SQLITE_LOCK_RESERVED) {
            rc = n->reserved || writers ? SQLITE_BUSY : SQLITE_OK;
            n->reserved = rc ? n->reserved : f;
        } else if (writers || (n->reserved && n->reserved != f)) {
            rc = SQLITE_BUSY;
        } else {
            n->pending = f;
            rc = n->shared > 1 ? SQLITE_BUSY : SQLITE_OK;
            n->exclusive = rc ? n->exclusive : f;
        }
        f->lock = rc ? f->lock : level;
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

static int unlock_file(sqlite3_file *file, int level)
{
    struct file *f = (struct file *)file;
    struct node *n = f->node;
    pthread_mutex_lock(&mutex);
    if (level < f->lock) {
        n->reserved = n->reserved == f ? NULL : n->reserved;
        n->pending = n->pending == f ? NULL : n->pending;
        n->exclusive = n->exclusive == f ? NULL : n->exclusive;
        n->shared -= level == SQLITE_LOCK_NONE;
        f->lock = level;
    }
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

static int check_reserved(sqlite3_file *file, int *ret_reserved)
{
    struct node *n = ((struct file *)file)->node;
    pthread_mutex_lock(&mutex);
    *ret_reserved = n->reserved || n->pending || n->exclusive;
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

static int control(sqlite3_file *file, int op, void *arg)
{
    (void)file, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int sector_size(sqlite3_file *file)
{
    (void)file;
    return SECTOR;
}

static int characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

// --- The index of the log

static int shm_map(sqlite3_file *file, int region, int n, int extend, void volatile **ret)
{
    struct node *node = ((struct file *)file)->node;
    assert(region < REGIONS);
    pthread_mutex_lock(&mutex);
    if (!node->regions[region] && extend) {
        node->regions[region] = calloc(1, (size_t)n);
        assert(node->regions[region]);
    }
    *ret = node->regions[region];
    pthread_mutex_unlock(&mutex);
    return SQLITE_OK;
}

static bool shm_free(const struct file *f, int slot, bool shared)
{
    const struct node *n = f->node;
    int own = f->shm_held >> slot & 1;
    return (!n->shm_exclusive[slot] || n->shm_exclusive[slot] == f) &&
           (shared || n->shm_shared[slot] == own);
}

static void shm_set(struct file *f, int slot, int flags)
{
    struct node *n = f->node;
    uint16_t bit = (uint16_t)(1u << slot);
    if (flags & SQLITE_SHM_UNLOCK) {
        n->shm_shared[slot] -= f->shm_held & bit ? 1 : 0;
        n->shm_exclusive[slot] = n->shm_exclusive[slot] == f ? NULL : n->shm_exclusive[slot];
        f->shm_held &= (uint16_t)~bit;
    } else if (flags & SQLITE_SHM_SHARED) {
        n->shm_shared[slot] += f->shm_held & bit ? 0 : 1;
        f->shm_held |= bit;
    } else {
        n->shm_exclusive[slot] = f;
    }
}

static int shm_lock(sqlite3_file *file, int first, int n, int flags)
{
    struct file *f = (struct file *)file;
    int rc = SQLITE_OK;
    pthread_mutex_lock(&mutex);
    for (int i = first; (flags & SQLITE_SHM_LOCK) && i < first + n; i++) {
        rc = shm_free(f, i, flags & SQLITE_SHM_SHARED) ? rc : SQLITE_BUSY;
    }
    for (int i = first; !rc && i < first + n; i++) {
        shm_set(f, i, flags);
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

static void shm_barrier(sqlite3_file *file)
{
    (void)file;
    atomic_thread_fence(memory_order_seq_cst);
}

static int shm_unmap(sqlite3_file *file, int remove)
{
    struct node *node = ((struct file *)file)->node;
    for (int i = 0; remove && i < REGIONS; i++) {
        free(node->regions[i]);
        node->regions[i] = NULL;
    }
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = cut_file,
    .xSync = sync_file,
    .xFileSize = file_size,
    .xLock = lock_file,
    .xUnlock = unlock_file,
    .xCheckReservedLock = check_reserved,
    .xFileControl = control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

// --- Files

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *ret_flags)
{
    struct file *f = (struct file *)file;
    (void)vfs;
    memset(f, 0, sizeof *f);
    assert(name); // temporary files are in memory
    struct disk_file *there = disk_find(disk, name);
    bool make = !there && (flags & SQLITE_OPEN_CREATE);
    if (!there && !make) {
        return SQLITE_CANTOPEN;
    }
    f->on_disk = there ? there : disk_create(disk, name);
    f->node = &nodes[f->on_disk - disk->files];
    // Whoever may have made it, as SQLite's own does.
    f->sync_names =
        (flags & SQLITE_OPEN_CREATE) && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL));
    f->remove = flags & SQLITE_OPEN_DELETEONCLOSE;
    f->base.pMethods = &methods;
    if (ret_flags) {
        *ret_flags = flags;
    }
    return SQLITE_OK;
}

static int delete_file(sqlite3_vfs *vfs, const char *name, int sync_names)
{
    struct disk_file *f = disk_find(disk, name);
    (void)vfs;
    if (!f) {
        return SQLITE_IOERR_DELETE_NOENT;
    }
    disk_unlink(disk, f, sync_names);
    return SQLITE_OK;
}

static int access_file(sqlite3_vfs *vfs, const char *name, int flags, int *ret_there)
{
    (void)vfs;
    *ret_there =
        flags == SQLITE_ACCESS_EXISTS ? disk_size(disk, name) > 0 : disk_size(disk, name) >= 0;
    return SQLITE_OK;
}

static int full_name(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
    (void)vfs;
    assert(strlen(name) < (size_t)n);
    strcpy(out, name);
    return SQLITE_OK;
}

// Nothing in a run may differ from its repetition.
static int randomness(sqlite3_vfs *vfs, int n, char *out)
{
    (void)vfs;
    for (int i = 0; i < n; i++) {
        out[i] = (char)chance_next(&disk->chance);
    }
    return n;
}

static int sleep_us(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int now_ms(sqlite3_vfs *vfs, sqlite3_int64 *ret_ms)
{
    (void)vfs;
    *ret_ms = INT64_C(212500000000000); // no statement asks for it
    return SQLITE_OK;
}

static int now_days(sqlite3_vfs *vfs, double *ret_days)
{
    (void)vfs;
    *ret_days = 2459488.5;
    return SQLITE_OK;
}

static int last_error(sqlite3_vfs *vfs, int n, char *text)
{
    (void)vfs, (void)n, (void)text;
    return 0;
}

void disk_mount(struct disk *d)
{
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(struct file),
        .mxPathname = 512,
        .zName = "sim",
        .xOpen = open_file,
        .xDelete = delete_file,
        .xAccess = access_file,
        .xFullPathname = full_name,
        .xRandomness = randomness,
        .xSleep = sleep_us,
        .xCurrentTime = now_days,
        .xCurrentTimeInt64 = now_ms,
        .xGetLastError = last_error,
    };
    disk = d;
    int rc = sqlite3_vfs_register(&vfs, 1);
    assert(rc == SQLITE_OK);
    (void)rc;
}
