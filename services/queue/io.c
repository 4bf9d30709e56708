// SPDX-License-Identifier: MIT
// The table over system calls, and the two loops that every reader and writer would else have again.
#include "services/queue/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int result(int returned)
{
    return returned < 0 ? -errno : returned;
}

static int files_open_dir(const struct io *io, const char *path)
{
    (void)io;
    return result(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int files_open(const struct io *io, int dir, const char *name, enum io_open how)
{
    static const int flags[] = {
        [IO_READ] = O_RDONLY, [IO_UPDATE] = O_RDWR, [IO_MAKE] = O_RDWR | O_CREAT | O_TRUNC
    };
    (void)io;
    return result(openat(dir, name, flags[how] | O_CLOEXEC, 0600));
}

static void files_close(const struct io *io, int fd)
{
    (void)io;
    (void)close(fd); // what had to be kept was synced before
}

static int64_t files_pread(const struct io *io, int fd, void *to, size_t n, uint64_t offset)
{
    (void)io;
    ssize_t got = pread(fd, to, n, (off_t)offset);
    return got < 0 ? -errno : got;
}

static int64_t files_pwrite(const struct io *io, int fd, const void *bytes, size_t n,
                            uint64_t offset)
{
    (void)io;
    ssize_t put = pwrite(fd, bytes, n, (off_t)offset);
    return put < 0 ? -errno : put;
}

static int files_sync_data(const struct io *io, int fd)
{
    (void)io;
    return result(fdatasync(fd));
}

static int files_sync(const struct io *io, int fd)
{
    (void)io;
    return result(fsync(fd));
}

static int files_reserve(const struct io *io, int fd, uint64_t bytes)
{
    (void)io;
    return result(fallocate(fd, 0, 0, (off_t)bytes));
}

static int files_resize(const struct io *io, int fd, uint64_t bytes)
{
    (void)io;
    return result(ftruncate(fd, (off_t)bytes));
}

static int files_rename(const struct io *io, int dir, const char *from, const char *to)
{
    (void)io;
    return result(renameat(dir, from, dir, to));
}

static int files_unlink(const struct io *io, int dir, const char *name)
{
    (void)io;
    return result(unlinkat(dir, name, 0));
}

static int64_t files_size(const struct io *io, int fd)
{
    struct stat st;
    (void)io;
    return fstat(fd, &st) ? -errno : st.st_size;
}

static uint64_t files_data_end(const struct io *io, int fd, uint64_t size)
{
    (void)io;
    for (off_t end = 0;;) {
        off_t data = lseek(fd, end, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
        if (hole <= end) { // no more data, or no answer
            return data < 0 && errno == ENXIO && end < (off_t)size ? (uint64_t)end : size;
        }
        end = hole;
    }
}

static int files_list(const struct io *io, int dir, int (*on_name)(const char *name, void *arg),
                      void *arg)
{
    (void)io;
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); // fdopendir() takes it
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        int status = -errno;
        if (fd >= 0) {
            (void)close(fd); // was only opened
        }
        return status;
    }
    struct dirent *entry;
    int status = 0;
    while (status == 0 && (entry = readdir(d))) {
        status = on_name(entry->d_name, arg);
    }
    (void)closedir(d); // was only read
    return status;
}

const struct io *io_files(void)
{
    static const struct io files = { .open_dir = files_open_dir,
                                     .open = files_open,
                                     .close = files_close,
                                     .pread = files_pread,
                                     .pwrite = files_pwrite,
                                     .sync_data = files_sync_data,
                                     .sync = files_sync,
                                     .sync_dir = files_sync,
                                     .reserve = files_reserve,
                                     .resize = files_resize,
                                     .rename = files_rename,
                                     .unlink = files_unlink,
                                     .size = files_size,
                                     .data_end = files_data_end,
                                     .list = files_list };
    return &files;
}

int io_read_all(const struct io *io, int fd, void *to, size_t n, uint64_t offset)
{
    for (size_t done = 0; done < n;) {
        int64_t got = io->pread(io, fd, (char *)to + done, n - done, offset + done);
        if (got == -EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? (int)got : -ENODATA;
        }
        done += (size_t)got;
    }
    return 0;
}

int io_write_all(const struct io *io, int fd, const void *bytes, size_t n, uint64_t offset)
{
    for (size_t done = 0; done < n;) {
        int64_t put = io->pwrite(io, fd, (const char *)bytes + done, n - done, offset + done);
        if (put == -EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? (int)put : -EIO;
        }
        done += (size_t)put;
    }
    return 0;
}
