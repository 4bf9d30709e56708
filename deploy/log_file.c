// SPDX-License-Identifier: MIT
#include "deploy/log_file.h"

#include "proto/timestamp.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW ".new"
#define COMPRESSED ".zst"
#define TEMPORARY ".tmp"
#define MAX_TIME_MS INT64_C(253402300799999) // the last moment that timestamp_format() writes

// --- Names

static void stamp_of(int64_t time_ms, char out[LOG_FILE_STAMP + 1])
{
    char text[TIMESTAMP_SIZE];
    (void)timestamp_format(time_ms < 0 ? 0 : time_ms > MAX_TIME_MS ? MAX_TIME_MS : time_ms, text);
    size_t n = 0;
    for (const char *p = text; *p; p++) { // "2026-11-27T11:43:07.123Z"
        if (*p != '-' && *p != ':') {
            out[n++] = *p;
        }
    }
    assert(n == LOG_FILE_STAMP);
    out[n] = '\0';
}

static int64_t time_of(const char *stamp)
{
    char text[TIMESTAMP_SIZE];
    int64_t time_ms;
    (void)snprintf(text, sizeof text, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2s%.5s", stamp, stamp + 4,
                   stamp + 6, stamp + 9, stamp + 11, stamp + 13, stamp + 15);
    return timestamp_parse(str_of(text), &time_ms) == 0 ? time_ms : -1;
}

// "NAME.STAMP" is 0 bytes behind its stamp, "NAME.STAMP.zst" has that behind it. NULL: it is not
// one of ours.
static const char *suffix_of(const struct log_file *f, const char *entry)
{
    size_t n = strlen(f->name);
    if (strncmp(entry, f->name, n) != 0 || entry[n] != '.' ||
        strlen(entry + n + 1) < LOG_FILE_STAMP || time_of(entry + n + 1) < 0) {
        return NULL;
    }
    return entry + n + 1 + LOG_FILE_STAMP;
}

static void name_with(const struct log_file *f, const char *separator, const char *rest,
                      char out[LOG_FILE_NAME_SIZE])
{
    int n = snprintf(out, LOG_FILE_NAME_SIZE, "%s%s%s", f->name, separator, rest);
    assert(n > 0 && n < LOG_FILE_NAME_SIZE); // names of logs are ours
    (void)n;
}

// --- Archives

struct archive {
    char stamp[LOG_FILE_STAMP + 1];
    bool raw, compressed;
    int64_t bytes;
};

struct listing {
    struct archive *archives;
    size_t n, size;
    bool clean; // remove what a compression has left that was cut off
};

static int by_stamp(const void *a, const void *b)
{
    return strcmp(((const struct archive *)a)->stamp, ((const struct archive *)b)->stamp);
}

static int add_entry(const struct log_file *f, struct listing *l, const char *entry)
{
    const char *suffix = suffix_of(f, entry);
    bool raw = suffix && *suffix == '\0', compressed = suffix && strcmp(suffix, COMPRESSED) == 0;
    struct stat st;
    if (l->clean && suffix && strcmp(suffix, COMPRESSED TEMPORARY) == 0) {
        (void)unlinkat(f->dir_fd, entry, 0); // never the only one with its lines
    }
    if ((!raw && !compressed) || l->n == LOG_FILE_MAX_ARCHIVES ||
        fstatat(f->dir_fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)) {
        return 0; // not ours, or just gone
    }
    if (l->n == l->size) {
        size_t size = l->size ? 2 * l->size : 64;
        struct archive *more = realloc(l->archives, size * sizeof *more);
        if (!more) {
            return -ENOMEM;
        }
        l->archives = more;
        l->size = size;
    }
    struct archive *a = &l->archives[l->n++];
    *a = (struct archive){ .raw = raw, .compressed = compressed, .bytes = st.st_size };
    memcpy(a->stamp, suffix - LOG_FILE_STAMP, LOG_FILE_STAMP);
    return 0;
}

// An archive that is there in both forms is two entries, one behind the other. Free l->archives.
static int list(const struct log_file *f, struct listing *l)
{
    int fd = openat(f->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int error = errno;
        if (fd >= 0) {
            (void)close(fd); // nothing was written
        }
        return -error;
    }
    int r = 0;
    for (const struct dirent *e; r == 0 && (e = readdir(dir));) {
        r = add_entry(f, l, e->d_name);
    }
    (void)closedir(dir); // nothing was written
    if (l->n > 0) {
        qsort(l->archives, l->n, sizeof *l->archives, by_stamp);
    }
    return r;
}

static int remove_archive(struct log_file *f, const struct archive *a)
{
    char rest[LOG_FILE_STAMP + 8], name[LOG_FILE_NAME_SIZE];
    (void)snprintf(rest, sizeof rest, "%s%s", a->stamp, a->compressed ? COMPRESSED : "");
    name_with(f, ".", rest, name);
    return unlinkat(f->dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static void add_up(const struct log_file *f, const struct listing *l, size_t from,
                   struct log_file_archives *ret)
{
    *ret = (struct log_file_archives){ 0 };
    for (size_t i = from; i < l->n; i++) {
        const struct archive *a = &l->archives[i];
        ret->files++;
        ret->bytes += a->bytes;
        memcpy(ret->newest, a->stamp, sizeof ret->newest);
        if (a->raw && !ret->has_raw) {
            ret->has_raw = true;
            name_with(f, ".", a->stamp, ret->raw);
        }
    }
}

int log_file_prune(struct log_file *f, struct log_file_archives *ret_archives)
{
    struct listing l = { 0 };
    int r = list(f, &l), failed = 0, removed = 0;
    if (r < 0) {
        free(l.archives);
        return r;
    }
    size_t from = 0;
    add_up(f, &l, from, ret_archives);
    while (from + 1 < l.n && (ret_archives->files > f->limits.keep_files ||
                              ret_archives->bytes > f->limits.keep_bytes)) {
        int one = remove_archive(f, &l.archives[from]);
        failed = failed ? failed : one;
        removed += one == 0;
        ret_archives->files--;
        ret_archives->bytes -= l.archives[from++].bytes;
    }
    add_up(f, &l, from, ret_archives);
    free(l.archives);
    return failed ? failed : removed;
}

// --- What a crash has left

// An archive that is there in both forms was compressed and synced as a whole before it got its name.
void log_file_put_in_order(struct log_file *f)
{
    struct listing l = { .clean = true };
    char name[LOG_FILE_NAME_SIZE];
    name_with(f, "", NEW, name);
    (void)unlinkat(f->dir_fd, name, 0); // usually there is none
    if (list(f, &l) == 0) {
        for (size_t i = 0; i < l.n; i++) {
            const struct archive *a = &l.archives[i];
            bool both = i + 1 < l.n && strcmp(a->stamp, l.archives[i + 1].stamp) == 0;
            if (both) {
                // If it stays it is compressed once more.
                (void)remove_archive(f, a->raw ? a : &l.archives[i + 1]);
            }
        }
    }
    free(l.archives);
}

// --- The file

// When it was made, by the file system if that knows.
static int64_t born(int fd, int64_t now_ms)
{
    struct statx sx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) < 0 || !(sx.stx_mask & STATX_BTIME)) {
        return now_ms;
    }
    int64_t born_ms = (int64_t)sx.stx_btime.tv_sec * 1000 + sx.stx_btime.tv_nsec / 1000000;
    return born_ms < now_ms ? born_ms : now_ms;
}

static int open_new(const struct log_file *f, const char *name, int flags)
{
    int fd = openat(f->dir_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags,
                    0600);
    return fd < 0 ? -errno : fd;
}

// f->fd becomes fd, of which f is then the owner.
static void take(struct log_file *f, int fd, int64_t now_ms)
{
    struct stat st;
    if (f->fd >= 0) {
        (void)close(f->fd); // what was written is in the system's cache; a log is not synced
    }
    f->fd = fd;
    f->born_ms = born(fd, now_ms);
    int r = fstat(fd, &st);
    assert(r == 0); // it is open
    (void)r;
    f->device = st.st_dev;
    f->inode = st.st_ino;
}

// A line without its newline is what a writer has left that was killed within a write, or a power
// cut: the next one must not be glued to it.
static void remove_torn_line(const struct log_file *f)
{
    char text[LOG_FILE_TORN_BYTES];
    int fd = openat(f->dir_fd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof text ? end - (off_t)sizeof text : 0;
    ssize_t n = end > 0 ? pread(fd, text, sizeof text, from) : 0;
    if (fd >= 0) {
        (void)close(fd); // nothing was written
    }
    if (n <= 0 || text[n - 1] == '\n') {
        return;
    }
    const char *last = memrchr(text, '\n', (size_t)n);
    bool longer = !last && from > 0; // it is none of ours, and stays
    if (longer || ftruncate(f->fd, last ? from + (last + 1 - text) : 0) < 0) {
        (void)!write(f->fd, "\n", 1); // on a full disk it stays torn
    }
}

int log_file_open(const char *directory, const char *name, const struct log_file_limits *limits,
                  int64_t now_ms, struct log_file *f)
{
    assert(limits->rotate_bytes > 0 && limits->keep_files > 0);
    *f = (struct log_file){ .limits = *limits, .name = name, .fd = -1 };
    f->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir_fd < 0) {
        return -errno;
    }
    log_file_put_in_order(f);
    int fd = open_new(f, name, 0);
    if (fd < 0) {
        (void)close(f->dir_fd); // nothing was written
        return fd;
    }
    take(f, fd, now_ms);
    remove_torn_line(f);
    return 0;
}

void log_file_close(struct log_file *f)
{
    if (f->fd >= 0) {
        (void)close(f->fd); // a log is not synced
    }
    (void)close(f->dir_fd); // nothing was written
}

static int64_t size_of(const struct log_file *f)
{
    struct stat st;
    return fstat(f->fd, &st) < 0 ? 0 : st.st_size;
}

// How many bytes of whole lines fit into room; at least one line where must is set.
static size_t fitting(struct str lines, int64_t room, bool must)
{
    if (room >= (int64_t)lines.n) {
        return lines.n;
    }
    const char *end = room > 0 ? memrchr(lines.p, '\n', (size_t)room) : NULL;
    if (!end && must) {
        end = memchr(lines.p, '\n', lines.n);
    }
    return end ? (size_t)(end + 1 - lines.p) : 0;
}

int log_file_append(struct log_file *f, struct str lines, size_t *ret_written)
{
    assert(lines.n > 0 && lines.p[lines.n - 1] == '\n');
    int64_t size = size_of(f);
    // A file that could not be moved away takes everything.
    size_t n = f->retry_ms > 0 ? lines.n : fitting(lines, f->limits.rotate_bytes - size, size == 0);
    size_t done = 0;
    int r = 0;
    while (r == 0 && done < n) {
        ssize_t written = write(f->fd, lines.p + done, n - done);
        if (written < 0) {
            r = errno == EINTR ? 0 : -errno;
        } else if (written == 0) {
            r = -EIO;
        } else {
            done += (size_t)written;
        }
    }
    if (r < 0 && done > 0) {
        // The begin of a line that found no room goes away again.
        const char *end = memrchr(lines.p, '\n', done);
        size_t whole = end ? (size_t)(end + 1 - lines.p) : 0;
        if (whole < done && ftruncate(f->fd, size + (off_t)whole) < 0) {
            (void)!write(f->fd, "\n", 1); // at least the next line is not glued to it
        }
        done = whole;
    }
    *ret_written = done;
    return r;
}

bool log_file_is_due(struct log_file *f, int64_t now_ms)
{
    if (f->retry_ms > 0) {
        bool wait = now_ms < f->retry_ms && f->retry_ms - now_ms <= LOG_FILE_RETRY_MS;
        f->retry_ms = wait ? f->retry_ms : 0;
    }
    int64_t size = size_of(f), age_ms = now_ms - f->born_ms;
    f->born_ms = age_ms < 0 ? now_ms : f->born_ms; // the clock was set back
    return f->retry_ms == 0 && size > 0 &&
           (size >= f->limits.rotate_bytes ||
            (f->limits.rotate_age_ms > 0 && age_ms >= f->limits.rotate_age_ms));
}

// Its stamp is the time, or what comes behind the newest one if that is later.
static void choose_name(struct log_file *f, int64_t now_ms, char out[LOG_FILE_NAME_SIZE])
{
    struct log_file_archives archives = { .newest = "" };
    struct listing l = { 0 };
    char stamp[LOG_FILE_STAMP + 1];
    if (list(f, &l) == 0) {
        add_up(f, &l, 0, &archives);
    }
    free(l.archives);
    int64_t newest_ms = *archives.newest ? time_of(archives.newest) : -1;
    stamp_of(newest_ms >= now_ms ? newest_ms + 1 : now_ms, stamp);
    name_with(f, ".", stamp, out);
}

int log_file_rotate(struct log_file *f, int64_t now_ms)
{
    char fresh[LOG_FILE_NAME_SIZE], archive[LOG_FILE_NAME_SIZE];
    name_with(f, "", NEW, fresh);
    // The new one first: without it there would be nothing to write to.
    int fd = open_new(f, fresh, O_TRUNC), r = fd < 0 ? fd : 0;
    if (r == 0) {
        choose_name(f, now_ms, archive);
        r = renameat(f->dir_fd, f->name, f->dir_fd, archive) < 0 ? -errno : 0;
    }
    if (r == 0 && renameat(f->dir_fd, fresh, f->dir_fd, f->name) < 0) {
        r = -errno;
        (void)renameat(f->dir_fd, archive, f->dir_fd,
                       f->name); // log_file_follow() sees to the rest
    }
    if (r < 0) {
        if (fd >= 0) {
            (void)close(fd); // nothing was written
            (void)unlinkat(f->dir_fd, fresh, 0);
        }
        f->retry_ms = now_ms + LOG_FILE_RETRY_MS;
        return r;
    }
    f->retry_ms = 0;
    take(f, fd, now_ms);
    f->born_ms = now_ms;
    return 0;
}

int log_file_follow(struct log_file *f, int64_t now_ms)
{
    struct stat st;
    if (fstatat(f->dir_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == f->device &&
        st.st_ino == f->inode) {
        return 0;
    }
    int fd = open_new(f, f->name, 0);
    if (fd < 0) {
        return fd;
    }
    take(f, fd, now_ms);
    return 1;
}
