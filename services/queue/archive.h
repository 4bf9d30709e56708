// SPDX-License-Identifier: MIT
// Sealed segments compressed, in a directory of their own: zstd's seekable format, one frame for
// each block of the segment, so that a block is read without the rest. `zstd -d` gives back the very
// segment file. FORMAT.md section 10 has the bytes. Reads and writes files; knows no journal.
#ifndef QUEUE_ARCHIVE_H
#define QUEUE_ARCHIVE_H

#include "services/queue/segment.h"

#define ARCHIVE_NAME_SIZE 29 // "00000000000000000001.seg.zst" and a NUL
#define ARCHIVE_TEMP "archive.tmp"
#define ARCHIVE_MAX_FRAMES 65536 // a segment of 4 GiB in blocks of 64 KiB

#define ARCHIVE_CHECK __attribute__((warn_unused_result))

void archive_name(uint64_t first_seq, char out[ARCHIVE_NAME_SIZE]);

// Whether this is the name of an archive, and of which segment.
bool archive_name_parse(const char *name, uint64_t *ret_first_seq);

// --- Reading. In any thread.

struct archive;

// Opens the archive of a segment in a directory (of the io). -ENOENT: there is none; -EBADMSG: its
// frames cannot be told apart.
ARCHIVE_CHECK int archive_open(const struct io *io, int dir, uint64_t first_seq,
                               struct archive **ret_archive);
void archive_close(struct archive **a);

uint64_t archive_size(const struct archive *a);       // of the segment
uint64_t archive_file_bytes(const struct archive *a); // of the archive

// Reads n bytes of the segment at offset, of which only the frames are read and verified that have
// some. -ENODATA: the segment ends before; -EBADMSG: a frame is damaged, or, with salvage, 0: its
// bytes are zeros, so that everything around them can be looked at.
ARCHIVE_CHECK int archive_read(struct archive *a, void *to, size_t n, uint64_t offset,
                               bool salvage);

// --- Writing

struct archive_job {
    const struct io *io;
    int dir_fd, archive_fd; // directories: of the segment, of the archive
    int level;              // of zstd
    uint64_t segment;       // first sequence
    uint64_t bytes;         // of the segment file
    uint32_t *cuts;         // where frames begin, in order, the first one 0; owned
    size_t n_cuts;
    // What became of it
    const char *failed;  // step that failed; for the log line
    uint64_t file_bytes; // of the archive
    bool source_remains; // the archive is whole, but the segment file could not be removed
};

// Fills in the parts that follow from a sealed segment. 0 or -ENOMEM; then archive_job_fini().
ARCHIVE_CHECK int archive_job_init(struct archive_job *job, const struct segment *s);
void archive_job_fini(struct archive_job *job);

// Writes the archive, reads it back and compares, puts it in place, and only then removes the
// segment file. In any thread. 0 or a negative errno: then the segment file is there as before.
ARCHIVE_CHECK int archive_write(struct archive_job *job);

#endif
