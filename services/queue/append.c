// SPDX-License-Identifier: MIT
// The write path of the log. What has to be decided is decided in journal_append_prepare(), so that
// journal_append_write() is only calls to the io in an order that leaves a readable log wherever it is interrupted.
#include "services/queue/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/random.h"

#define NEXT_NAME "next.tmp"

static struct segment *last_segment(const struct journal *j)
{
    return j->n_segments ? j->segments[j->n_segments - 1] : NULL;
}

// What frames with events leave free at the end of the open segment.
static uint64_t reserve_bytes(const struct journal *j)
{
    uint64_t part = j->options.segment_bytes / 8;
    return part < JOURNAL_RESERVE_BYTES ? part : JOURNAL_RESERVE_BYTES;
}

uint64_t journal_room(const struct journal *j)
{
    const struct segment *s = last_segment(j);
    uint64_t used = j->fd >= 0 ? s->end + segment_seal_bound(s, 0) : 0;
    return j->fd >= 0 && s->file_bytes > used ? s->file_bytes - used : 0;
}

void journal_checkpoint(const struct journal *j, struct buf *b)
{
    size_t at = 0;
    struct producer *p;
    while ((p = catalog_next_producer(&j->catalog, &at))) {
        struct record_producer r = { p->stored_seq, p->last_ms, p->key.name };
        if (r.producer_seq) {
            record_producer(b, &r);
        }
    }
    for (size_t i = 0; i < j->holes.n; i++) {
        record_removed(b, &j->holes.ranges[i]);
    }
    if (j->options.write_state) {
        j->options.write_state(b, j->options.state);
    }
}

// What retention took out of the middle is told by the next frame, whichever that is.
static void tell_removed(const struct journal *j, struct append *a)
{
    a->owed = journal_owes_removed(j);
    for (size_t i = 0; a->owed && a->frame && i < j->n_owed; i++) {
        record_removed(a->frame, &j->owed[i]);
    }
}

// --- Prepare

static void release(struct append *a)
{
    segment_destroy(&a->fresh);
    buf_fini(&a->checkpoint);
    buf_fini(&a->seal);
}

// Builds seal and trailer of the segment that has been written to until now.
static int prepare_seal(const struct journal *j, const struct segment *s, struct append *a)
{
    uint8_t trailer[FORMAT_TRAILER_BYTES];
    segment_seal(s, j->lost, j->n_lost, &a->seal);
    if (!buf_ok(&a->seal)) {
        return buf_error(&a->seal);
    }
    a->seal_crc = frame_stamp(&a->seal, s->header.salt, s->chain);
    trailer_encode(s->end, s->header.salt, trailer);
    buf_append(&a->seal, trailer, sizeof trailer);
    a->sealed_fd = j->fd;
    a->seal_offset = s->end;
    return buf_error(&a->seal);
}

// Fills in the new segment that a->fresh becomes. chain is the last CRC of the segment before.
static int prepare_fresh(const struct journal *j, struct append *a, uint32_t chain)
{
    struct segment *s = a->fresh;
    uint8_t header[FORMAT_HEADER_BYTES];
    s->header = (struct segment_header){
        .version = FORMAT_VERSION, .first_seq = j->next_seq, .made_ms = a->stored_ms, .chain = chain
    };
    memcpy(s->header.uuid, j->uuid, sizeof s->header.uuid);
    random_fill(&s->header.salt, sizeof s->header.salt);
    s->header_crc = segment_header_encode(&s->header, header);
    s->next_seq = j->next_seq;
    s->end = FORMAT_FRAMES;
    frame_begin(&a->checkpoint);
    journal_checkpoint(j, &a->checkpoint);
    frame_end(&a->checkpoint, FRAME_CHECKPOINT, j->next_seq, 0, a->stored_ms);
    if (!buf_ok(&a->checkpoint)) {
        return buf_error(&a->checkpoint);
    }
    a->chain = frame_stamp(&a->checkpoint, s->header.salt, s->header_crc);
    a->salt = s->header.salt;
    a->offset = FORMAT_FRAMES + a->checkpoint.len;
    uint64_t needed = a->offset + (a->frame ? a->frame->len : 0) + segment_seal_bound(s, a->count) +
                      reserve_bytes(j);
    s->file_bytes =
        needed > j->options.segment_bytes ? (needed + 7) & ~UINT64_C(7) : j->options.segment_bytes;
    return 0;
}

static int prepare_roll(const struct journal *j, struct append *a)
{
    const struct segment *old = last_segment(j);
    uint32_t chain = old ? old->chain : 0;
    a->roll = true;
    a->fresh = calloc(1, sizeof *a->fresh);
    int status = a->fresh ? 0 : -ENOMEM;
    if (status == 0 && j->fd >= 0 && old->next_seq > old->header.first_seq) {
        status = prepare_seal(j, old, a);
        chain = a->seal_crc;
    } else if (j->fd >= 0) { // one without events is not sealed but replaced: it has the same name
        chain = old->header.chain;
    }
    return status ? status : prepare_fresh(j, a, chain);
}

int journal_append_prepare(struct journal *j, struct append *a, struct buf *frame,
                           enum frame_kind kind, uint32_t count, int64_t now_ms)
{
    const struct segment *s = last_segment(j);
    *a = (struct append){ .frame = frame,
                          .first_seq = j->next_seq,
                          .count = count,
                          .stored_ms = now_ms > j->last_ms ? now_ms : j->last_ms,
                          .io = j->options.io,
                          .dir_fd = j->dir_fd,
                          .fd = -1,
                          .sealed_fd = -1 };
    buf_init(&a->checkpoint, UINT32_MAX);
    buf_init(&a->seal, UINT32_MAX);
    tell_removed(j, a);
    if (frame) {
        frame_end(frame, kind, a->first_seq, count, a->stored_ms);
        if (!buf_ok(frame)) {
            return buf_error(frame);
        }
    }
    bool spare = j->no_room && kind == FRAME_EVENTS && count == 0 && j->fd >= 0 &&
                 s->header.version == FORMAT_VERSION; // may use the reserve
    if (!frame || (j->roll && !spare) || j->fd < 0 ||
        s->end + frame->len + segment_seal_bound(s, count) + (spare ? 0 : reserve_bytes(j)) >
            s->file_bytes) {
        int status = prepare_roll(j, a);
        if (status) {
            release(a);
        }
        return status;
    }
    a->fd = j->fd;
    a->offset = s->end;
    a->salt = s->header.salt;
    a->chain = s->chain;
    return 0;
}

// --- Write

static bool is_full(int status)
{
    return status == -ENOSPC || status == -EDQUOT || status == -EFBIG;
}

static int step(struct append *a, const char *name, int status)
{
    if (status) {
        a->failed = name;
    }
    return is_full(status) ? -ENOSPC : status;
}

// A failed sync is never "no room", whatever it says: what is on disk is not known any more.
static int sync_step(struct append *a, const char *name, int status)
{
    if (status) {
        a->failed = name;
    }
    return status == -ENOSPC ? -EIO : status;
}

// Where the file system cannot reserve room, the file is only given its length.
static int reserve(const struct append *a, uint64_t bytes)
{
    int status = a->io->reserve(a->io, a->fd, bytes);
    return status == -EOPNOTSUPP || status == -ENOSYS ? a->io->resize(a->io, a->fd, bytes) : status;
}

static int write_headers(const struct append *a, const struct segment_header *h)
{
    uint8_t bytes[FORMAT_FRAMES] = { 0 };
    (void)segment_header_encode(h, bytes); // its CRC is known
    memcpy(bytes + FORMAT_HEADER_COPY, bytes, FORMAT_HEADER_BYTES);
    return io_write_all(a->io, a->fd, bytes, sizeof bytes, 0);
}

static int write_frame(struct append *a)
{
    return step(a, "writing", io_write_all(a->io, a->fd, a->frame->data, a->frame->len, a->offset));
}

static int write_fresh(struct append *a)
{
    const struct segment *s = a->fresh;
    a->fd = a->io->open(a->io, a->dir_fd, NEXT_NAME, IO_MAKE);
    int status = a->fd < 0 ? step(a, "making " NEXT_NAME, a->fd) : 0;
    if (status == 0) {
        status = step(a, "reserving room for a segment", reserve(a, s->file_bytes));
    }
    if (status == 0) {
        status = step(a, "writing the header", write_headers(a, &s->header));
    }
    if (status == 0) {
        status =
            step(a, "writing the checkpoint",
                 io_write_all(a->io, a->fd, a->checkpoint.data, a->checkpoint.len, FORMAT_FRAMES));
    }
    if (status == 0 && a->frame) {
        status = write_frame(a);
    }
    return status ? status : sync_step(a, "fsync of the new segment", a->io->sync(a->io, a->fd));
}

static int write_seal(struct append *a)
{
    if (a->seal.len == 0) {
        return 0;
    }
    int status = step(a, "writing the seal",
                      io_write_all(a->io, a->sealed_fd, a->seal.data, a->seal.len, a->seal_offset));
    if (status) {
        return status;
    }
    status = sync_step(a, "fdatasync of the seal", a->io->sync_data(a->io, a->sealed_fd));
    if (status == 0 && a->io->resize(a->io, a->sealed_fd, a->seal_offset + a->seal.len)) {
        a->failed = "cutting the sealed segment";
        status = -EIO;
    }
    return status ? status
                  : sync_step(a, "fsync of the sealed segment", a->io->sync(a->io, a->sealed_fd));
}

// After this step the new segment is part of the log.
static int install(struct append *a)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(a->fresh->header.first_seq, name);
    if (a->io->rename(a->io, a->dir_fd, NEXT_NAME, name)) {
        a->failed = "renaming the new segment";
        return -EIO;
    }
    return sync_step(a, "fsync of the directory", a->io->sync_dir(a->io, a->dir_fd));
}

static int write_roll(struct append *a)
{
    int status = write_fresh(a);
    if (status == 0) {
        status = write_seal(a);
    }
    if (status == 0) {
        return install(a);
    }
    if (a->fd >= 0) {
        a->io->close(a->io, a->fd); // is thrown away
        a->fd = -1;
        (void)a->io->unlink(a->io, a->dir_fd, NEXT_NAME); // else the next start removes it
    }
    return status;
}

int journal_append_write(struct append *a)
{
    int64_t start_us = clock_mono_us();
    if (a->frame) {
        (void)frame_stamp(a->frame, a->salt, a->chain); // the CRC is read from the frame again
    }
    if (a->roll) {
        int status = write_roll(a);
        a->write_us = clock_mono_us() - start_us;
        return status;
    }
    int status = write_frame(a);
    int64_t written_us = clock_mono_us();
    a->write_us = written_us - start_us;
    if (status == 0) {
        status = sync_step(a, "fdatasync", a->io->sync_data(a->io, a->fd));
        a->sync_us = clock_mono_us() - written_us;
    }
    return status;
}

// --- Finish

static int add_segment(struct journal *j, struct segment *s)
{
    if (j->n_segments == j->cap_segments) {
        size_t cap = j->cap_segments ? j->cap_segments * 2 : 16;
        struct segment **more = reallocarray(j->segments, cap, sizeof(struct segment *));
        if (!more) {
            return -ENOMEM;
        }
        j->segments = more;
        j->cap_segments = cap;
    }
    j->segments[j->n_segments++] = s;
    return 0;
}

// Frames are added as they were written: nothing is read, and nothing damaged.
static struct segment_reader reader(struct journal *j)
{
    return (struct segment_reader){ .io = j->options.io,
                                    .dir_fd = j->dir_fd,
                                    .block_bytes = j->options.block_bytes,
                                    .catalog = &j->catalog };
}

// The new segment takes its place in the list: behind the sealed one, or instead of one that had no events.
static int adopt_fresh(struct journal *j, struct append *a)
{
    struct segment *old = last_segment(j);
    if (j->fd >= 0) {
        a->io->close(a->io, j->fd); // everything in it was synced
    }
    j->fd = a->fd;
    j->roll = j->no_room = false;
    if (a->seal.len) {
        old->sealed = old->trailed = true;
        old->chain = a->seal_crc;
        old->file_bytes = a->seal_offset + a->seal.len;
    } else if (old && old->header.first_seq == a->fresh->header.first_seq) {
        segment_destroy(&old);
        j->n_segments--;
    }
    int status = add_segment(j, a->fresh);
    if (status) {
        return status;
    }
    struct segment *s = a->fresh;
    a->fresh = NULL; // is the journal's now
    struct segment_reader r = reader(j);
    struct frame f = frame_view((const uint8_t *)a->checkpoint.data);
    return segment_add_frame(&r, s, &f, FORMAT_FRAMES);
}

int journal_append_finish(struct journal *j, struct append *a, int status)
{
    if (status == 0 && a->roll) {
        status = adopt_fresh(j, a);
    }
    if (status == 0 && a->frame) {
        struct segment_reader r = reader(j);
        struct frame f = frame_view((const uint8_t *)a->frame->data);
        status = segment_add_frame(&r, last_segment(j), &f, a->offset);
    }
    if (status == 0) {
        j->next_seq = a->first_seq + a->count;
        j->last_ms = a->stored_ms;
        j->owed_stored |= a->owed;
    } else {
        j->no_room = j->no_room || (status == -ENOSPC && a->roll);
        j->roll = false; // where the open segment has room, it goes on there
        if (a->roll && a->fd >= 0 && a->fd != j->fd) {
            a->io->close(a->io, a->fd); // the new segment did not become part of the log
        }
    }
    release(a);
    return status;
}
