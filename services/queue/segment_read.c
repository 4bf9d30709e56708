// SPDX-License-Identifier: MIT
// Reading segment files. With pread into memory, as a whole or only the seal, never mapped: a disk that cannot give
// a page back is then an error of one read, not a signal that kills the process.
#include "services/queue/segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE_BYTES UINT32_MAX // offsets in an index have 32 bits

static int open_file(int dir_fd, uint64_t first_seq)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(first_seq, name);
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

// Reads n bytes at offset. Returns 0, -ENODATA when the file ends before, or another negative errno.
static int read_exactly(int fd, void *to, size_t n, uint64_t offset)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -errno : -ENODATA;
        }
        done += (size_t)got;
    }
    return 0;
}

// Reads [offset, offset + n) of a segment's file into new memory, which the caller frees.
static int read_range(int dir_fd, const struct segment *s, uint64_t offset, size_t n,
                      uint8_t **ret_data)
{
    uint8_t *data = malloc(n ? n : 1);
    if (!data) {
        return -ENOMEM;
    }
    int fd = open_file(dir_fd, s->header.first_seq);
    int status = fd < 0 ? fd : read_exactly(fd, data, n, offset);
    if (fd >= 0) {
        (void)close(fd); // was only read
    }
    if (status) {
        free(data);
        return status;
    }
    *ret_data = data;
    return 0;
}

// Where the file's last data ends: reserved room that was never written is a hole, and need not be read to know
// that it is zeros. A file system that knows no holes says the end of the file.
static uint64_t data_end(int dir_fd, const struct segment *s)
{
    off_t end = 0, size = (off_t)s->file_bytes;
    int fd = open_file(dir_fd, s->header.first_seq);
    while (fd >= 0) {
        off_t data = lseek(fd, end, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
        if (hole <= end) {
            end = data < 0 && errno == ENXIO ? end : size; // no more data, or no answer
            break;
        }
        end = hole;
    }
    if (fd >= 0) {
        (void)close(fd); // was only looked at
    }
    return fd >= 0 && end < size ? (uint64_t)end : s->file_bytes;
}

// Reads a segment's file up to where its data ends.
static int read_frames(int dir_fd, const struct segment *s, uint8_t **ret_data,
                       struct scan *ret_scan)
{
    uint64_t n = data_end(dir_fd, s);
    if (s->unreadable || n < FORMAT_FRAMES) {
        return -ENODATA;
    }
    int status = read_range(dir_fd, s, 0, n, ret_data);
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
static int read_headers(const struct segment_reader *r, struct segment *s, int fd)
{
    static const uint64_t places[2] = { 0, FORMAT_HEADER_COPY };
    uint64_t named = s->header.first_seq;
    bool found = false;
    for (int i = 0; i < 2; i++) {
        uint8_t bytes[FORMAT_HEADER_BYTES];
        struct segment_header h = { 0 };
        uint32_t crc = 0;
        int status = read_exactly(fd, bytes, sizeof bytes, places[i]);
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
    return 0;
}

int segment_open(const struct segment_reader *r, uint64_t first_seq, struct segment **ret_segment)
{
    struct stat st;
    struct segment *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->header.first_seq = s->next_seq = first_seq;
    s->end = FORMAT_FRAMES;
    int fd = open_file(r->dir_fd, first_seq);
    int status = fd < 0 ? fd : 0;
    if (fd >= 0) {
        status = fstat(fd, &st) ? -errno : read_headers(r, s, fd);
        (void)close(fd); // was only read
    }
    if (status == 0 && st.st_size > MAX_FILE_BYTES) {
        status = -EFBIG;
    }
    if (status) {
        segment_destroy(&s);
        return status;
    }
    s->file_bytes = (uint64_t)st.st_size;
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
    s->trailed = scan->n - scan->at == FORMAT_TRAILER_BYTES &&
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
    int status = read_frames(r->dir_fd, s, &data, &scan);
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

int segment_read_producers(const struct segment_reader *r, const struct segment *s)
{
    uint8_t *data;
    struct scan scan;
    int status = read_frames(r->dir_fd, s, &data, &scan);
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
        struct record_producer p;
        while (found == SCAN_FRAME && status == 0 && record_next(&f.payload, &rec) == 1) {
            if (rec.type == RECORD_PRODUCER && record_producer_decode(rec.body, &p) == 0) {
                status = catalog_note_producer(r->catalog, p.name, p.producer_seq, p.last_ms);
            }
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
        status = record_topic_decode(rec->body, &topic);
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
    int status = read_range(r->dir_fd, s, at, FORMAT_TRAILER_BYTES, &trailer);
    if (status) {
        return status;
    }
    status = trailer_decode(trailer, s->header.salt, &offset);
    free(trailer);
    if (status || offset < FORMAT_FRAMES || offset >= at) {
        return -EBADMSG;
    }
    status = read_range(r->dir_fd, s, offset, at - offset, &data);
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
