// SPDX-License-Identifier: MIT
// Reading and replacing small files.
#include "common/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 4096

static int read_all(int fd, size_t max_bytes, struct buf *content)
{
    size_t left = max_bytes;
    for (;;) {
        // At the limit one byte more is asked for, to tell a file that fits exactly from a longer
        // one.
        char over;
        size_t want = left < READ_STEP ? left : READ_STEP;
        char *to = want > 0 ? buf_reserve(content, want) : &over;
        if (!to) {
            return buf_error(content);
        }
        ssize_t n = read(fd, to, want > 0 ? want : 1);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        if (want == 0) {
            return -EFBIG;
        }
        content->len += (size_t)n;
        left -= (size_t)n;
    }
}

int file_read(const char *path, size_t max_bytes, struct buf *content)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    int r = read_all(fd, max_bytes, content);
    close(fd); // nothing was written: there is no error to learn of
    return r;
}

int file_write_all(int fd, struct str content)
{
    while (content.n > 0) {
        ssize_t n = write(fd, content.p, content.n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        content.p += n;
        content.n -= (size_t)n;
    }
    return 0;
}

// Leaves content on disk in a new file at path.
static int write_new(const char *path, struct str content, mode_t mode)
{
    // A temporary file that a crash left is not worth keeping, and might have another owner or
    // mode.
    if (unlink(path) < 0 && errno != ENOENT) {
        return -errno;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int r = file_write_all(fd, content);
    if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0)) {
        r = -errno;
    }
    if (close(fd) < 0 && r == 0) {
        r = -errno;
    }
    if (r < 0) {
        (void)unlink(path); // the first failure is the one to report
    }
    return r;
}

static int sync_parent(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = !slash          ? snprintf(dir, sizeof dir, ".")
            : slash == path ? snprintf(dir, sizeof dir, "/")
                            : snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    assert(n > 0 && (size_t)n < sizeof dir);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

int file_replace(const char *path, struct str content, mode_t mode)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return -ENAMETOOLONG;
    }
    int r = write_new(temporary, content, mode);
    if (r < 0) {
        return r;
    }
    if (rename(temporary, path) < 0) {
        r = -errno;
        (void)unlink(temporary);
        return r;
    }
    return sync_parent(path);
}

int file_is_private(const char *path, char text[FILE_PRIVATE_TEXT])
{
    struct stat st;
    if (stat(path, &st)) {
        return -errno;
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        (void)snprintf(text, FILE_PRIVATE_TEXT,
                       "its mode is %04o, so others can read it; chmod 0600",
                       (unsigned)st.st_mode & 07777);
        return -EACCES;
    }
    return 0;
}
