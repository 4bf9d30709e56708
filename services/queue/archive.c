// SPDX-License-Identifier: MIT
// Frames are compressed one by one with their checksum, whose low half stands again in the seek table. The table
// itself has a checksum in a frame that readers skip; without a valid one the frames are found by walking over them.
#include "services/queue/archive.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#include "services/queue/crc32c.h"

#define SKIP_MAGIC 0x184D2A5Eu  // the seek table's skippable frame
#define CHECK_MAGIC 0x184D2A50u // ours before it: CRC32C of the seek table's frame
#define TABLE_MAGIC 0x8F92EAB1u // at the end of the file
#define CHECKSUMS 0x80u         // in the table's descriptor
#define SKIP_BYTES 8            // header of a skippable frame
#define CHECK_BYTES 12
#define ENTRY_BYTES 12
#define FOOTER_BYTES 9
#define MAX_BYTES UINT32_MAX // offsets in a segment have 32 bits

struct part {
    uint64_t at;     // of the frame in the file
    uint64_t offset; // of its content in the segment
};

struct archive {
    const struct io *io;
    int fd;
    uint64_t file_bytes;
    struct part *parts; // n_parts, and one more that says where the last one ends
    size_t n_parts;
};

static void put32(void *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof v);
}

static uint32_t get32(const void *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return le32toh(v);
}

void archive_name(uint64_t first_seq, char out[ARCHIVE_NAME_SIZE])
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(first_seq, name);
    (void)snprintf(out, ARCHIVE_NAME_SIZE, "%s.zst", name); // has exactly that size
}

bool archive_name_parse(const char *name, uint64_t *ret_first_seq)
{
    char own[SEGMENT_NAME_SIZE];
    if (strlen(name) != ARCHIVE_NAME_SIZE - 1 ||
        strcmp(name + SEGMENT_NAME_SIZE - 1, ".zst") != 0) {
        return false;
    }
    memcpy(own, name, SEGMENT_NAME_SIZE - 1);
    own[SEGMENT_NAME_SIZE - 1] = 0;
    return segment_name_parse(own, ret_first_seq);
}

// --- Opening

// Takes over a seek table; true when it describes the file up to check_at.
static bool take_table(struct archive *a, const uint8_t *entries, size_t n, uint64_t check_at)
{
    uint64_t at = 0, offset = 0;
    for (size_t i = 0; i < n; i++) {
        a->parts[i] = (struct part){ at, offset };
        at += get32(entries + i * ENTRY_BYTES);
        offset += get32(entries + i * ENTRY_BYTES + 4);
    }
    a->parts[n] = (struct part){ at, offset };
    a->n_parts = n;
    return at == check_at && offset <= MAX_BYTES;
}

// Reads the table at the end of the file. -EBADMSG: it is not valid.
static int read_table(struct archive *a)
{
    uint8_t footer[FOOTER_BYTES];
    if (a->file_bytes < CHECK_BYTES + SKIP_BYTES + FOOTER_BYTES) {
        return -EBADMSG;
    }
    int status = io_read_all(a->io, a->fd, footer, sizeof footer, a->file_bytes - FOOTER_BYTES);
    if (status) {
        return status;
    }
    size_t n = get32(footer);
    size_t bytes = CHECK_BYTES + SKIP_BYTES + n * ENTRY_BYTES + FOOTER_BYTES;
    if (get32(footer + 5) != TABLE_MAGIC || n == 0 || n > ARCHIVE_MAX_FRAMES ||
        bytes > a->file_bytes) {
        return -EBADMSG;
    }
    uint8_t *data = malloc(bytes);
    a->parts = calloc(n + 1, sizeof *a->parts);
    status = data && a->parts ? 0 : -ENOMEM;
    status = status ? status : io_read_all(a->io, a->fd, data, bytes, a->file_bytes - bytes);
    if (status == 0) {
        const uint8_t *table = data + CHECK_BYTES;
        bool valid = get32(data) == CHECK_MAGIC && get32(data + 4) == CHECK_BYTES - SKIP_BYTES &&
                     get32(data + SKIP_BYTES) == crc32c(0, table, bytes - CHECK_BYTES) &&
                     take_table(a, table + SKIP_BYTES, n, a->file_bytes - bytes);
        status = valid ? 0 : -EBADMSG;
    }
    free(data);
    return status;
}

// Finds the frames of a whole file in memory by walking over them.
static int walk(struct archive *a, const uint8_t *data, size_t n)
{
    size_t at = 0;
    uint64_t offset = 0;
    a->n_parts = 0;
    while (n - at >= SKIP_BYTES && (get32(data + at) & ~0xFu) != CHECK_MAGIC &&
           a->n_parts < ARCHIVE_MAX_FRAMES) {
        size_t bytes = ZSTD_findFrameCompressedSize(data + at, n - at);
        unsigned long long content = ZSTD_getFrameContentSize(data + at, n - at);
        if (ZSTD_isError(bytes) || content > MAX_BYTES) {
            return -EBADMSG;
        }
        a->parts[a->n_parts++] = (struct part){ at, offset };
        at += bytes;
        offset += content;
    }
    a->parts[a->n_parts] = (struct part){ at, offset };
    return a->n_parts && offset <= MAX_BYTES ? 0 : -EBADMSG;
}

static int read_by_walking(struct archive *a)
{
    free(a->parts);
    a->parts = calloc(ARCHIVE_MAX_FRAMES + 1, sizeof *a->parts);
    uint8_t *data = a->file_bytes <= MAX_BYTES ? malloc(a->file_bytes + 1) : NULL;
    int status = a->parts && data ? 0 : -ENOMEM;
    status = status ? status : io_read_all(a->io, a->fd, data, a->file_bytes, 0);
    status = status ? status : walk(a, data, a->file_bytes);
    free(data);
    return status;
}

static int open_named(const struct io *io, int dir, const char *name, struct archive **ret_archive)
{
    struct archive *a = calloc(1, sizeof *a);
    if (!a) {
        return -ENOMEM;
    }
    a->io = io;
    a->fd = io->open(io, dir, name, IO_READ);
    int64_t size = a->fd < 0 ? a->fd : io->size(io, a->fd);
    int status = size < 0 ? (int)size : 0;
    if (status == 0) {
        a->file_bytes = (uint64_t)size;
        status = read_table(a);
        status = status == -EBADMSG ? read_by_walking(a) : status;
    }
    if (status) {
        archive_close(&a);
        return status;
    }
    *ret_archive = a;
    return 0;
}

int archive_open(const struct io *io, int dir, uint64_t first_seq, struct archive **ret_archive)
{
    char name[ARCHIVE_NAME_SIZE];
    archive_name(first_seq, name);
    return open_named(io, dir, name, ret_archive);
}

void archive_close(struct archive **archive)
{
    struct archive *a = *archive;
    *archive = NULL;
    if (a) {
        if (a->fd >= 0) {
            a->io->close(a->io, a->fd);
        }
        free(a->parts);
        free(a);
    }
}

uint64_t archive_size(const struct archive *a)
{
    return a->parts[a->n_parts].offset;
}

uint64_t archive_file_bytes(const struct archive *a)
{
    return a->file_bytes;
}

// --- Reading

// Number of the part that has this offset, which is below the size.
static size_t part_of(const struct archive *a, uint64_t offset)
{
    size_t low = 0, high = a->n_parts;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (a->parts[middle].offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// Decompresses part number i into new memory, which the caller frees.
static int read_part(const struct archive *a, size_t i, uint8_t **ret_data)
{
    const struct part *p = &a->parts[i];
    size_t packed_bytes = p[1].at - p->at, bytes = p[1].offset - p->offset;
    uint8_t *packed = malloc(packed_bytes + 1), *data = malloc(bytes + 1);
    int status = packed && data ? 0 : -ENOMEM;
    status = status ? status : io_read_all(a->io, a->fd, packed, packed_bytes, p->at);
    if (status == 0 && ZSTD_decompress(data, bytes, packed, packed_bytes) != bytes) {
        status = -EBADMSG; // also when it says an error
    }
    free(packed);
    if (status) {
        free(data);
        return status;
    }
    *ret_data = data;
    return 0;
}

int archive_read(struct archive *a, void *to, size_t n, uint64_t offset, bool salvage)
{
    if (offset > archive_size(a) || n > archive_size(a) - offset) {
        return -ENODATA;
    }
    uint8_t *out = to;
    for (size_t i = n ? part_of(a, offset) : 0; n > 0; i++) {
        const struct part *p = &a->parts[i];
        uint8_t *data;
        size_t skip = offset - p->offset, bytes = p[1].offset - offset;
        bytes = bytes < n ? bytes : n;
        int status = read_part(a, i, &data);
        if (status && !(salvage && status == -EBADMSG)) {
            return status;
        }
        if (status) {
            memset(out, 0, bytes);
        } else {
            memcpy(out, data + skip, bytes);
            free(data);
        }
        out += bytes;
        offset += bytes;
        n -= bytes;
    }
    return 0;
}

// --- Writing

int archive_job_init(struct archive_job *job, const struct segment *s)
{
    size_t n = 0;
    job->segment = s->header.first_seq;
    job->bytes = s->file_bytes;
    job->cuts = calloc(s->n_blocks + 4, sizeof *job->cuts);
    if (!job->cuts) {
        return -ENOMEM;
    }
    job->cuts[n++] = 0;
    job->cuts[n++] = FORMAT_HEADER_COPY; // apart from the first header: one of them is enough
    for (size_t i = 0; i < s->n_blocks; i++) {
        if (s->blocks[i].offset > job->cuts[n - 1]) {
            job->cuts[n++] = s->blocks[i].offset;
        }
    }
    if (s->end > job->cuts[n - 1] && s->end < s->file_bytes) {
        job->cuts[n++] = (uint32_t)s->end; // the seal
    }
    job->n_cuts = n;
    return 0;
}

void archive_job_fini(struct archive_job *job)
{
    free(job->cuts);
    job->cuts = NULL;
}

struct writing {
    struct archive_job *job;
    uint8_t *data; // the segment
    int fd;        // of the archive
    uint64_t at;   // in it
    ZSTD_CCtx *zstd;
    struct buf packed, table;
};

static int step(struct writing *w, const char *name, int status)
{
    if (status) {
        w->job->failed = name;
    }
    return status;
}

static int put(struct writing *w, const void *bytes, size_t n)
{
    const struct io *io = w->job->io;
    int status = step(w, "writing", io_write_all(io, w->fd, bytes, n, w->at));
    w->at += n;
    return status;
}

// Compresses frame number i and adds it to the table.
static int write_part(struct writing *w, size_t i)
{
    const struct archive_job *job = w->job;
    uint64_t from = job->cuts[i], to = i + 1 < job->n_cuts ? job->cuts[i + 1] : job->bytes;
    uint8_t entry[ENTRY_BYTES];
    buf_reset(&w->packed);
    char *out = buf_reserve(&w->packed, ZSTD_compressBound(to - from));
    if (!out) {
        return step(w, "compressing", -ENOMEM);
    }
    size_t n =
        ZSTD_compress2(w->zstd, out, ZSTD_compressBound(to - from), w->data + from, to - from);
    if (ZSTD_isError(n) || n > UINT32_MAX) {
        return step(w, "compressing", -ENOMEM); // the only reason with enough room
    }
    put32(entry, (uint32_t)n);
    put32(entry + 4, (uint32_t)(to - from));
    memcpy(entry + 8, out + n - 4, 4); // the frame's own checksum is the one that belongs here
    buf_append(&w->table, entry, sizeof entry);
    return put(w, out, n);
}

static int write_table(struct writing *w)
{
    uint8_t check[CHECK_BYTES], footer[FOOTER_BYTES];
    put32(footer, (uint32_t)w->job->n_cuts);
    footer[4] = CHECKSUMS;
    put32(footer + 5, TABLE_MAGIC);
    buf_append(&w->table, footer, sizeof footer);
    if (!buf_ok(&w->table)) {
        return step(w, "writing", buf_error(&w->table));
    }
    put32(w->table.data + 4, (uint32_t)(w->table.len - SKIP_BYTES));
    put32(check, CHECK_MAGIC);
    put32(check + 4, CHECK_BYTES - SKIP_BYTES);
    put32(check + SKIP_BYTES, crc32c(0, w->table.data, w->table.len));
    int status = put(w, check, sizeof check);
    return status ? status : put(w, w->table.data, w->table.len);
}

static int read_segment(struct writing *w)
{
    const struct archive_job *job = w->job;
    char name[SEGMENT_NAME_SIZE];
    segment_name(job->segment, name);
    w->data = malloc(job->bytes);
    if (!w->data) {
        return step(w, "reading the segment", -ENOMEM);
    }
    int fd = job->io->open(job->io, job->dir_fd, name, IO_READ);
    int status = fd < 0 ? fd : io_read_all(job->io, fd, w->data, job->bytes, 0);
    if (fd >= 0) {
        job->io->close(job->io, fd);
    }
    return step(w, "reading the segment", status);
}

static int write_all(struct writing *w)
{
    uint8_t head[SKIP_BYTES];
    w->zstd = ZSTD_createCCtx();
    if (!w->zstd ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, w->job->level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1))) {
        return step(w, "compressing", -ENOMEM);
    }
    put32(head, SKIP_MAGIC);
    put32(head + 4, 0); // its length comes when that is known
    buf_append(&w->table, head, sizeof head);
    int status = 0;
    for (size_t i = 0; status == 0 && i < w->job->n_cuts; i++) {
        status = write_part(w, i);
    }
    return status ? status : write_table(w);
}

// Reads the archive back, as everybody does later, and compares it with the segment.
static int verify(struct writing *w)
{
    struct archive_job *job = w->job;
    struct archive *a;
    int status = open_named(job->io, job->archive_fd, ARCHIVE_TEMP, &a);
    if (status) {
        return step(w, "reading it back", status);
    }
    job->file_bytes = a->file_bytes;
    bool same = archive_size(a) == job->bytes && a->n_parts == job->n_cuts;
    for (size_t i = 0; status == 0 && same && i < a->n_parts; i++) {
        const struct part *p = &a->parts[i];
        uint8_t *data = NULL;
        status = read_part(a, i, &data);
        same = status || memcmp(data, w->data + p->offset, p[1].offset - p->offset) == 0;
        free(data);
    }
    archive_close(&a);
    return step(w, "reading it back", status ? status : same ? 0 : -EIO);
}

static int install(struct writing *w)
{
    struct archive_job *job = w->job;
    const struct io *io = job->io;
    char from[SEGMENT_NAME_SIZE], to[ARCHIVE_NAME_SIZE];
    segment_name(job->segment, from);
    archive_name(job->segment, to);
    int status = step(w, "renaming", io->rename(io, job->archive_fd, ARCHIVE_TEMP, to));
    status = status ? status
                    : step(w, "fsync of the archive directory", io->sync_dir(io, job->archive_fd));
    if (status == 0) { // from here on the archive is the segment
        job->source_remains = io->unlink(io, job->dir_fd, from) || io->sync_dir(io, job->dir_fd);
    }
    return status;
}

int archive_write(struct archive_job *job)
{
    const struct io *io = job->io;
    struct writing w = { .job = job, .fd = -1 };
    buf_init(&w.packed, UINT32_MAX);
    buf_init(&w.table, UINT32_MAX);
    assert(job->n_cuts <= ARCHIVE_MAX_FRAMES);
    int status = read_segment(&w);
    if (status == 0) {
        w.fd = io->open(io, job->archive_fd, ARCHIVE_TEMP, IO_MAKE);
        status = step(&w, "making " ARCHIVE_TEMP, w.fd < 0 ? w.fd : 0);
    }
    status = status ? status : write_all(&w);
    status = status ? status : step(&w, "fsync", io->sync(io, w.fd));
    if (w.fd >= 0) {
        io->close(io, w.fd);
    }
    status = status ? status : verify(&w);
    status = status ? status : install(&w);
    if (status && w.fd >= 0) {
        (void)io->unlink(io, job->archive_fd, ARCHIVE_TEMP); // else the next one overwrites it
    }
    ZSTD_freeCCtx(w.zstd);
    buf_fini(&w.packed);
    buf_fini(&w.table);
    free(w.data);
    return status;
}
