// SPDX-License-Identifier: MIT
// All that the log asks of a file system, as one table of functions: the log reaches a file by
// nothing else, so another table shows it a disk that is full, forgets, lies or dies at any call.
// It buffers nothing, retries nothing and decides nothing.
#ifndef QUEUE_IO_H
#define QUEUE_IO_H

#include <stddef.h>
#include <stdint.h>

enum io_open {
    IO_READ,   // an existing file
    IO_UPDATE, // an existing file, to read and write
    IO_MAKE,   // a new empty file to read and write; what had the name is emptied
};

// Every function returns 0 or more, or a negative errno, and may be called from several threads at
// once. Files are named relative to a directory; handles are as the table's functions gave them.
struct io {
    int (*open_dir)(const struct io *io, const char *path);                        // a handle
    int (*open)(const struct io *io, int dir, const char *name, enum io_open how); // a handle
    void (*close)(const struct io *io, int fd); // of a file or a directory
    // Bytes read or written, which may be fewer than n. Reading at the end gives 0.
    int64_t (*pread)(const struct io *io, int fd, void *to, size_t n, uint64_t offset);
    int64_t (*pwrite)(const struct io *io, int fd, const void *bytes, size_t n, uint64_t offset);
    int (*sync_data)(const struct io *io, int fd); // fdatasync
    int (*sync)(const struct io *io, int fd);      // fsync
    int (*sync_dir)(const struct io *io, int dir); // names made, changed and removed
    // Reserves room up to this length, which the file then has at least. -EOPNOTSUPP, -ENOSYS: the
    // file system cannot.
    int (*reserve)(const struct io *io, int fd, uint64_t bytes);
    int (*resize)(const struct io *io, int fd, uint64_t bytes); // ftruncate
    int (*rename)(const struct io *io, int dir, const char *from, const char *to);
    int (*unlink)(const struct io *io, int dir, const char *name);
    int64_t (*size)(const struct io *io, int fd);
    // Where the last data of a file of this size ends: what is behind it was reserved and never
    // written, and reads as zeros. The size where the file system does not know.
    uint64_t (*data_end)(const struct io *io, int fd, uint64_t size);
    // Calls on_name for each name in the directory, in no order, until one returns other than 0,
    // which is returned.
    int (*list)(const struct io *io, int dir, int (*on_name)(const char *name, void *arg),
                void *arg);
    void *data; // the table's own
};

#define IO_CHECK __attribute__((warn_unused_result))

// Files of the operating system.
const struct io *io_files(void);

// Reads n bytes at offset, in as many calls as it takes. 0; -ENODATA: the file ends before; another
// negative errno.
IO_CHECK int io_read_all(const struct io *io, int fd, void *to, size_t n, uint64_t offset);

// Writes n bytes at offset, in as many calls as it takes. 0 or a negative errno.
IO_CHECK int io_write_all(const struct io *io, int fd, const void *bytes, size_t n,
                          uint64_t offset);

#endif
