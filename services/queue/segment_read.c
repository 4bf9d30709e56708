// SPDX-License-Identifier: MIT
// Reading segment files. With pread into memory, as a whole or only the seal, never mapped: a disk that cannot give
// a page back is then an error of one read, not a signal that kills the process.
#include "services/queue/segment.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "services/queue/archive.h"

#define MAX_FILE_BYTES UINT32_MAX // offsets in an index have 32 bits

static int open_file(const struct segment_reader *r, uint64_t first_seq)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(first_seq, name);
    return r->io->open(r->io, r->dir_fd, name, IO_READ);
}

// Reads from the segment's file, or from its archive: there, what cannot be read is zeros with salvage.
static int read_at(const struct segment_reader *r, const struct segment *s, void *to, size_t n,
                   uint64_t offset, bool salvage)
{
    uint64_t first_seq = s->header.first_seq;
    if (s->archive_bytes) {
        struct archive *a;
        int status = archive_open(r->io, r->archive_fd, first_seq, &a);
        if (status == 0) {
            status = archive_read(a, to, n, offset, salvage);
            archive_close(&a);
        }
        return status;
    }
    int fd = open_file(r, first_seq);
    int status = fd < 0 ? fd : io_read_all(r->io, fd, to, n, offset);
    if (fd >= 0) {
        r->io->close(r->io, fd);
    }
    return status;
}

// Reads [offset, offset + n) into new memory, which the caller frees.
static int read_range(const struct segment_reader *r, const struct segment *s, uint64_t offset,
                      size_t n, bool salvage, uint8_t **ret_data)
{
    uint8_t *data = malloc(n ? n : 1);
    if (!data) {
        return -ENOMEM;
    }
    int status = read_at(r, s, data, n, offset, salvage);
    if (status) {
        free(data);
        return status;
    }
    *ret_data = data;
    return 0;
}

// Where the file's last data ends: reserved room that was never written need not be read.
static uint64_t data_end(const struct segment_reader *r, const struct segment *s)
{
    int fd = s->archive_bytes ? -1 : open_file(r, s->header.first_seq);
    if (fd < 0) {
        return s->file_bytes; // all of it is packed; or reading it fails likewise, and says why
    }
    uint64_t end = r->io->data_end(r->io, fd, s->file_bytes);
    r->io->close(r->io, fd);
    return end;
}

// Reads a segment's file up to where its data ends.
static int read_frames(const struct segment_reader *r, const struct segment *s, uint8_t **ret_data,
                       struct scan *ret_scan)
{
    uint64_t n = data_end(r, s);
    if (s->unreadable || n < FORMAT_FRAMES) {
        return -ENODATA;
    }
    int status = read_range(r, s, 0, n, true, ret_data);
    if (status == 0) {
        *ret_scan = (struct scan){ .data = *ret_data,
                                   .n = n,
                                   .at = FORMAT_FRAMES,
                                   .salt = s->header.salt,
                                   .chain = s->header_crc,
                                   .chained = true,
                                   .next_seq = s->header.first_seq };
    }
    return status;
}

static void tell_damage(const struct segment_reader *r, const struct segment *s, size_t offset,
                        size_t bytes)
{
    struct damage d = { offset, bytes, 1, 0 }; // no sequences
    if (r->on_damage) {
        r->on_damage(s, &d, r->data);
    }
}

// --- Headers

// Takes the first of the two headers that is valid and tells of the other if that is not.
static int read_headers(const struct segment_reader *r, struct segment *s)
{
    static const uint64_t places[2] = { 0, FORMAT_HEADER_COPY };
    uint64_t named = s->header.first_seq;
    bool found = false, failed = false;
    for (int i = 0; i < 2; i++) {
        uint8_t bytes[FORMAT_HEADER_BYTES];
        struct segment_header h = { 0 };
        uint32_t crc = 0;
        int status = read_at(r, s, bytes, sizeof bytes, places[i], false);
        failed |= status && status != -ENODATA && status != -EBADMSG;
        status = status ? status : segment_header_decode(bytes, &h, &crc);
        if (status == -EPROTONOSUPPORT || (status == 0 && h.first_seq != named)) {
            return status ? status : -EBADMSG;
        }
        if (status) {
            tell_damage(r, s, places[i], FORMAT_HEADER_BYTES);
        } else if (!found) {
            s->header = h;
            s->header_crc = crc;
            found = true;
        }
    }
    s->unreadable = !found;
    s->failed = !found && failed;
    return 0;
}

// Finds the segment's file or, when there is none, its archive, and their lengths.
static int find_file(const struct segment_reader *r, struct segment *s)
{
    uint64_t first_seq = s->header.first_seq;
    int fd = open_file(r, first_seq);
    if (fd >= 0) {
        int64_t size = r->io->size(r->io, fd);
        r->io->close(r->io, fd);
        s->file_bytes = size < 0 ? 0 : (uint64_t)size;
        return size < 0 ? (int)size : 0;
    }
    if (fd != -ENOENT || r->archive_fd <= 0) {
        return fd;
    }
    struct archive *a;
    int status = archive_open(r->io, r->archive_fd, first_seq, &a);
    s->archive_bytes = 1; // at least; also when that is all that is known
    if (status == 0) {
        s->file_bytes = archive_size(a);
        s->archive_bytes = archive_file_bytes(a);
        archive_close(&a);
    }
    return status;
}

int segment_open(const struct segment_reader *r, uint64_t first_seq, struct segment **ret_segment)
{
    struct segment *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->header.first_seq = s->next_seq = first_seq;
    s->end = FORMAT_FRAMES;
    int status = find_file(r, s);
    if (status == -EBADMSG) {
        s->unreadable = true; // an archive in which nothing can be told apart
        status = 0;
    } else if (status == 0) {
        status = s->file_bytes > MAX_FILE_BYTES ? -EFBIG : read_headers(r, s);
    }
    if (status) {
        segment_destroy(&s);
        return status;
    }
    s->chain = s->header_crc;
    *ret_segment = s;
    return 0;
}

// --- Frames

// A seal was come to while reading frames, at offset: what is behind it should be the trailer, and no more.
static void add_seal(struct segment *s, const struct frame *seal, const struct scan *scan,
                     size_t offset)
{
    uint64_t seal_offset;
    s->end = offset;
    s->next_seq = seal->first_seq;
    s->chain = seal->crc;
    s->sealed = true;
    s->seal_end = scan->at;
    s->trailed = s->file_bytes - scan->at == FORMAT_TRAILER_BYTES && scan->n == s->file_bytes &&
                 trailer_decode(scan->data + scan->at, s->header.salt, &seal_offset) == 0 &&
                 seal_offset == offset;
}

static int add_frames(const struct segment_reader *r, struct segment *s, struct scan *scan)
{
    for (;;) {
        struct frame f;
        struct damage d;
        size_t at = scan->at;
        enum scan_result found = scan_next(scan, &f, &d);
        if (found == SCAN_END) {
            return 0;
        }
        if (found == SCAN_DAMAGE) {
            if (r->on_damage) {
                r->on_damage(s, &d, r->data);
            }
            continue;
        }
        if (f.kind == FRAME_SEAL) {
            add_seal(s, &f, scan, at);
            return 0;
        }
        s->checkpointed |= f.kind == FRAME_CHECKPOINT && at == FORMAT_FRAMES;
        int status = segment_add_frame(r, s, &f, at);
        if (status) {
            return status;
        }
    }
}

int segment_read_frames(const struct segment_reader *r, struct segment *s,
                        enum segment_tail *ret_tail)
{
    uint8_t *data;
    struct scan scan;
    *ret_tail = SEGMENT_TAIL_CLEAN;
    int status = read_frames(r, s, &data, &scan);
    if (status) {
        return status == -ENODATA ? 0 : status;
    }
    status = add_frames(r, s, &scan);
    if (status == 0 && !s->sealed && !scan_rest_is_zero(&scan)) {
        *ret_tail = SEGMENT_TAIL_BYTES;
    }
    free(data);
    return status;
}

int segment_read_state(const struct segment_reader *r, const struct segment *s)
{
    uint8_t *data;
    struct scan scan;
    int status = read_frames(r, s, &data, &scan);
    if (status) {
        return status == -ENODATA ? 0 : status;
    }
    struct frame f;
    struct damage d;
    enum scan_result found;
    size_t at = scan.at;
    bool checkpointed = false;
    while (status == 0 && (found = scan_next(&scan, &f, &d)) != SCAN_END) {
        struct record rec;
        while (found == SCAN_FRAME && status == 0 && record_next(&f.payload, &rec) == 1) {
            status = segment_take_state(r, &f, &rec);
        }
        checkpointed |= found == SCAN_FRAME && at == FORMAT_FRAMES && f.kind == FRAME_CHECKPOINT;
        at = scan.at;
    }
    free(data);
    return status ? status : checkpointed;
}

// --- The seal

// Takes over one record of a valid seal frame.
static int apply_seal_record(const struct segment_reader *r, struct segment *s,
                             const struct record *rec)
{
    struct record_total total;
    struct record_topic topic;
    struct record_index block;
    struct record_lost lost;
    int status = 0;
    switch (rec->type) {
    case RECORD_TOTAL:
        status = record_total_decode(rec->body, &total);
        if (status == 0 && total.first_seq == s->header.first_seq &&
            total.next_seq >= total.first_seq) {
            s->next_seq = total.next_seq;
            s->events = total.events;
            s->first_ms = total.first_ms;
            s->last_ms = s->frame_ms = total.last_ms;
            s->end = total.end;
            return 0;
        }
        return -EBADMSG;
    case RECORD_INDEX:
        for (size_t i = 0; status == 0 && i < rec->body.n / FORMAT_INDEX_BYTES; i++) {
            status = record_index_decode(rec->body, i, &block);
            status = status ? status : segment_add_block(s, &block);
        }
        return status;
    case RECORD_TOPIC:
        status = record_topic_decode(rec->body, s->header.version, &topic);
        return status ? status : segment_count_topic(s, r->catalog, &topic);
    case RECORD_LOST:
        status = record_lost_decode(rec->body, &lost);
        if (status == 0 && r->on_damage) {
            struct damage d = { 0, 0, lost.first_seq, lost.last_seq };
            r->on_damage(s, &d, r->data);
        }
        return status;
    default:
        return -EBADMSG;
    }
}

// Finds the seal frame by the trailer; *ret_data holds the bytes that *ret_frame borrows.
static int find_seal(const struct segment_reader *r, const struct segment *s,
                     struct frame *ret_frame, uint8_t **ret_data)
{
    uint8_t *trailer, *data;
    uint64_t offset;
    if (s->unreadable ||
        s->file_bytes < FORMAT_FRAMES + FORMAT_FRAME_BYTES + FORMAT_TRAILER_BYTES) {
        return -EBADMSG;
    }
    uint64_t at = s->file_bytes - FORMAT_TRAILER_BYTES;
    int status = read_range(r, s, at, FORMAT_TRAILER_BYTES, false, &trailer);
    if (status) {
        return status;
    }
    status = trailer_decode(trailer, s->header.salt, &offset);
    free(trailer);
    if (status || offset < FORMAT_FRAMES || offset >= at) {
        return -EBADMSG;
    }
    status = read_range(r, s, offset, at - offset, false, &data);
    if (status) {
        return status;
    }
    if (frame_decode(data, at - offset, s->header.salt, ret_frame) ||
        ret_frame->kind != FRAME_SEAL || ret_frame->bytes != at - offset) {
        free(data);
        return -EBADMSG;
    }
    *ret_data = data;
    return 0;
}

// Whether the blocks follow each other within the frames, as reading them relies on.
static bool blocks_in_order(const struct segment *s)
{
    uint64_t at = FORMAT_FRAMES, seq = s->header.first_seq;
    for (size_t i = 0; i < s->n_blocks; i++) {
        const struct record_index *b = &s->blocks[i];
        if (b->offset < at || b->offset % 8 || b->first_seq < seq || b->first_seq > s->next_seq) {
            return false;
        }
        at = (uint64_t)b->offset + FORMAT_FRAME_BYTES;
        seq = b->first_seq;
    }
    return s->n_blocks > 0 && at <= s->end && s->end < s->file_bytes;
}

int segment_read_seal(const struct segment_reader *r, struct segment *s)
{
    struct frame f;
    uint8_t *data;
    int status = find_seal(r, s, &f, &data);
    if (status) {
        return status;
    }
    struct record rec;
    while (status == 0 && record_next(&f.payload, &rec) == 1) {
        status = apply_seal_record(r, s, &rec);
    }
    free(data);
    if (status == 0 && !blocks_in_order(s)) {
        status = -EBADMSG;
    }
    if (status) {
        segment_forget(s);
        s->n_blocks = 0;
        return status;
    }
    s->sealed = s->trailed = true;
    s->chain = f.crc;
    return 0;
}
