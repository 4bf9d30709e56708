// SPDX-License-Identifier: MIT
// Frames are verified once, when they come into memory; the cursor walks over them without looking at checksums.
#include "services/queue/block.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "services/queue/archive.h"

struct block *block_of_frame(struct buf *frame, uint64_t topics)
{
    struct block *b = malloc(sizeof *b);
    if (!b) {
        return NULL;
    }
    struct frame f = frame_view((const uint8_t *)frame->data);
    *b = (struct block){ .first_seq = f.first_seq,
                         .next_seq = f.first_seq + f.count,
                         .topics = topics,
                         .data = (uint8_t *)frame->data,
                         .bytes = frame->len,
                         .memory = sizeof *b + frame->cap };
    buf_init(frame, frame->max); // its memory is the block's now
    return b;
}

void block_destroy(struct block **b)
{
    if (*b) {
        free((*b)->data);
        free((*b)->places);
        free(*b);
        *b = NULL;
    }
}

static int read_file(const struct block_read *r, uint8_t *data)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(r->ref.segment, name);
    int fd = r->io->open(r->io, r->dir_fd, name, IO_READ);
    if (fd == -ENOENT && r->archive_fd > 0) {
        struct archive *a;
        int opened = archive_open(r->io, r->archive_fd, r->ref.segment, &a);
        if (opened == 0) {
            opened = archive_read(a, data, r->ref.bytes, r->ref.offset, false);
            archive_close(&a);
        }
        return opened;
    }
    if (fd < 0) {
        return fd;
    }
    int status = io_read_all(r->io, fd, data, r->ref.bytes, r->ref.offset);
    r->io->close(r->io, fd);
    return status;
}

static void add_damage(struct block_read *r, struct damage d)
{
    if (r->n_damages < BLOCK_MAX_DAMAGES) {
        r->damages[r->n_damages++] = d;
        return;
    }
    struct damage *last = &r->damages[BLOCK_MAX_DAMAGES - 1];
    last->bytes = d.offset + d.bytes - last->offset;
    last->last_seq = d.last_seq;
}

// Moves the valid frames together to the front of data and notes what is between and behind them. Returns their
// bytes.
static size_t keep_valid(struct block_read *r, uint8_t *data)
{
    struct scan scan = {
        .data = data, .n = r->ref.bytes, .salt = r->ref.salt, .next_seq = r->ref.first_seq
    };
    size_t kept = 0, at = 0;
    for (;;) {
        struct frame f;
        struct damage d;
        enum scan_result found = scan_next(&scan, &f, &d);
        if (found == SCAN_END) {
            break;
        }
        if (found == SCAN_DAMAGE) {
            d.offset += r->ref.offset;
            add_damage(r, d);
        } else {
            if (kept != at) {
                memmove(data + kept, data + at,
                        f.bytes); // only leftwards: the scan is past these bytes
            }
            kept += f.bytes;
        }
        at = scan.at;
    }
    if (scan.at < scan.n || scan.next_seq < r->ref.next_seq) {
        struct damage d = { r->ref.offset + scan.at, scan.n - scan.at, scan.next_seq,
                            r->ref.next_seq - 1 };
        add_damage(r, d);
    }
    return kept;
}

void block_read(struct block_read *r)
{
    assert(!r->ref.lost && r->ref.bytes > 0);
    r->n_damages = 0;
    r->block = malloc(sizeof *r->block);
    uint8_t *data = malloc(r->ref.bytes);
    r->status = r->block && data ? read_file(r, data) : -ENOMEM;
    if (r->status) {
        free(data);
        free(r->block);
        r->block = NULL;
        return;
    }
    size_t kept = keep_valid(r, data);
    *r->block = (struct block){ .first_seq = r->ref.first_seq,
                                .next_seq = r->ref.next_seq,
                                .topics = r->ref.topics,
                                .data = data,
                                .bytes = kept,
                                .memory = sizeof *r->block + r->ref.bytes };
}

// Opens the next frame; its first event has the sequence c->seq then.
static bool next_frame(struct block_cursor *c)
{
    if (c->at == c->end) {
        return false;
    }
    assert(c->end - c->at >= FORMAT_FRAME_BYTES);
    struct frame f = frame_view(c->at);
    c->at += f.bytes;
    c->payload = f.payload;
    c->seq = f.first_seq;
    c->stored_ms = f.stored_ms;
    return true;
}

bool block_cursor_next(struct block_cursor *c, struct queue_event_entry *ret_event)
{
    for (;;) {
        struct record r;
        while (record_next(&c->payload, &r) == 1) {
            if (r.type == RECORD_EVENT) {
                *ret_event = (struct queue_event_entry){ c->seq++, c->stored_ms, r.body };
                return true;
            }
        }
        if (!next_frame(c)) {
            return false;
        }
    }
}

struct block_cursor block_cursor_at(const struct block *b, uint64_t seq)
{
    struct block_cursor c = { .at = b->data, .end = b->data + b->bytes };
    while (c.at < c.end) { // whole frames before it
        struct frame f = frame_view(c.at);
        if (f.first_seq + f.count > seq) {
            break;
        }
        c.at += f.bytes;
    }
    struct block_cursor ahead = c;
    struct queue_event_entry e;
    while (block_cursor_next(&ahead, &e) && e.seq < seq) { // events before it in its frame
        c = ahead;
    }
    return c;
}

// --- Any event

static void note_places(const struct block *b, struct block_place *places)
{
    for (size_t at = 0; at < b->bytes;) {
        struct frame f = frame_view(b->data + at);
        struct str payload = f.payload;
        struct record r;
        uint64_t seq = f.first_seq;
        const char *record = payload.p;
        while (record_next(&payload, &r) == 1) {
            if (r.type == RECORD_EVENT && seq >= b->first_seq && seq < b->next_seq) {
                places[seq - b->first_seq] =
                    (struct block_place){ (uint32_t)at,
                                          (uint32_t)((const uint8_t *)record - b->data) };
            }
            seq += r.type == RECORD_EVENT;
            record = payload.p;
        }
        at += f.bytes;
    }
}

bool block_find(struct block *b, uint64_t seq, struct queue_event_entry *ret_event)
{
    assert(seq >= b->first_seq && seq < b->next_seq);
    if (!b->places) {
        b->places = calloc(b->next_seq - b->first_seq, sizeof *b->places);
        if (!b->places) {
            struct block_cursor c = block_cursor_at(b, seq);
            return block_cursor_next(&c, ret_event) && ret_event->seq == seq;
        }
        note_places(b, b->places);
    }
    struct block_place place = b->places[seq - b->first_seq];
    if (place.record == 0) {
        return false;
    }
    struct frame f = frame_view(b->data + place.frame);
    size_t end = (size_t)((const uint8_t *)f.payload.p - b->data) + f.payload.n;
    struct str rest = { (const char *)b->data + place.record, end - place.record };
    struct record r;
    int found = record_next(&rest, &r);
    assert(found == 1); // the frame was verified
    *ret_event = (struct queue_event_entry){ seq, f.stored_ms, r.body };
    return true;
}
