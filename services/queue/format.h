// SPDX-License-Identifier: MIT
// The bytes of the event log, as FORMAT.md specifies them: segment headers, frames, records,
// trailers, and the search for valid frames in bytes that may be damaged. Works on memory only;
// knows no files and no state.
//
// To change the format: change FORMAT.md first and raise FORMAT_VERSION there and here.
#ifndef QUEUE_FORMAT_H
#define QUEUE_FORMAT_H

#include "proto/buf.h"

#define FORMAT_VERSION 2         // of what is written
#define FORMAT_VERSION_MIN 1     // the oldest that is read
#define FORMAT_HEADER_BYTES 64   // of a segment
#define FORMAT_HEADER_COPY 4096  // where the header stands again
#define FORMAT_FRAMES 8192       // where the first frame stands
#define FORMAT_FRAME_BYTES 48    // header of a frame
#define FORMAT_RECORD_BYTES 4    // header of a record
#define FORMAT_INDEX_BYTES 32    // a block in an INDEX record
#define FORMAT_PRODUCER_BYTES 16 // a PRODUCER record before the name
#define FORMAT_TOPIC_BYTES 32    // a TOPIC record before the topic
#define FORMAT_TOPIC_BYTES_1 24  // the same in version 1
#define FORMAT_TOTAL_BYTES 48
#define FORMAT_LOST_BYTES 16
#define FORMAT_REMOVED_BYTES 16
#define FORMAT_TRAILER_BYTES 16
#define FORMAT_SETTLED_BYTES 16 // a SETTLED record before the ranges
#define FORMAT_RANGE_BYTES 16   // a range in it
#define FORMAT_FAILED_BYTES 40  // a FAILED record before the error
#define FORMAT_DEAD_BYTES 40
#define FORMAT_REVIVED_BYTES 16
#define FORMAT_MAX_RECORD_BYTES 0xFFFFFF

struct segment_header {
    uint32_t version; // as it was read; FORMAT_VERSION is what is written
    uint8_t uuid[16]; // of the log
    uint64_t first_seq;
    int64_t made_ms;
    uint32_t chain; // body CRC of the last frame of the segment before
    uint32_t salt;
};

enum frame_kind { FRAME_EVENTS = 1, FRAME_CHECKPOINT = 2, FRAME_SEAL = 3 };

struct frame {
    enum frame_kind kind;
    uint64_t first_seq; // of its first event, or of the next one
    uint32_t count;     // events
    int64_t stored_ms;
    uint32_t chain;     // body CRC of the frame before
    uint32_t crc;       // body CRC of this frame
    size_t bytes;       // of the whole frame
    struct str payload; // records, borrowed
};

enum record_type {
    RECORD_EVENT = 1,
    RECORD_PRODUCER = 2,
    RECORD_TOTAL = 3,
    RECORD_INDEX = 4,
    RECORD_TOPIC = 5,
    RECORD_LOST = 6,
    RECORD_GROUP = 7,
    RECORD_GROUP_END = 8,
    RECORD_SETTLED = 9,
    RECORD_FAILED = 10,
    RECORD_DEAD = 11,
    RECORD_REVIVED = 12,
    RECORD_REMOVED = 16
};

struct record {
    enum record_type type;
    struct str body; // borrowed
};

struct record_producer {
    uint64_t producer_seq;
    int64_t last_ms;
    struct str name;
};

struct record_total {
    uint64_t first_seq, next_seq, events;
    int64_t first_ms, last_ms; // 0 when there are no events
    uint32_t end;              // of the frames before the seal
};

struct record_index {
    uint32_t offset;
    uint64_t first_seq;
    int64_t first_ms;
    uint64_t topics;
};

struct record_topic {
    uint64_t events, last_seq;
    int64_t last_ms;
    uint64_t bytes; // of the events; version 1 did not count them: 1 for each event
    struct str topic;
};

struct record_lost {
    uint64_t first_seq, last_seq;
};

struct record_group {
    uint32_t number;
    struct str map; // see group_config.h; empty in GROUP_END
};

struct record_settled {
    uint32_t number; // of the group
    bool reset;      // whatever was said of the group before is void
    uint64_t floor;  // everything before it is settled, except what FAILED records name
    struct str ranges;
};

struct record_failed {
    uint32_t number;
    uint32_t attempt, failures;
    bool added;      // it is not the group's cursor that came to it
    bool terminated; // it is to be buried
    uint64_t seq;
    uint64_t key;   // pending_key_of()
    int64_t due_ms; // milliseconds since the epoch; 0: at once
    struct str error;
};

struct record_dead {
    uint32_t number;
    uint32_t attempts;
    uint64_t seq;        // that the group is done with by this
    uint64_t origin_seq; // of the event that died first
    uint64_t dead;       // in a frame of events, its copy's place among them; else its sequence
    int64_t died_ms;
};

struct record_revived {
    uint32_t number;
    uint64_t dead_seq;
};

struct record_removed {
    uint64_t first_seq, last_seq;
};

#define FORMAT_CHECK __attribute__((warn_unused_result))

// Writes the header, in version FORMAT_VERSION; returns its CRC, which the chain of the first frame
// begins with.
uint32_t segment_header_encode(const struct segment_header *h, uint8_t out[FORMAT_HEADER_BYTES]);

// 0 and the header with its CRC; -EBADMSG: not valid; -EPROTONOSUPPORT: valid, of another version.
FORMAT_CHECK int segment_header_decode(const uint8_t bytes[FORMAT_HEADER_BYTES],
                                       struct segment_header *ret_header, uint32_t *ret_crc);

// A frame is built in a buf of its own: begin, records, end; then stamped when its place in the log
// is known.
void frame_begin(struct buf *b);
void frame_end(struct buf *b, enum frame_kind kind, uint64_t first_seq, uint32_t count,
               int64_t stored_ms);

// Writes chain and CRCs into a complete frame; returns its body CRC.
uint32_t frame_stamp(struct buf *b, uint32_t salt, uint32_t chain);

// Bytes that a frame with this payload takes.
size_t frame_bytes(size_t payload);

// Rules 1 to 5 of FORMAT.md section 3: 0 and the frame that data begins with, or -EBADMSG.
FORMAT_CHECK int frame_decode(const uint8_t *data, size_t n, uint32_t salt,
                              struct frame *ret_frame);

// Reads fields of a frame that was verified before, without looking at its checksums again.
struct frame frame_view(const uint8_t *data);

// 1 and the next record, which is taken off *payload; 0 at the end; -EBADMSG.
FORMAT_CHECK int record_next(struct str *payload, struct record *ret_record);

void record_event(struct buf *b, struct str event);
void record_producer(struct buf *b, const struct record_producer *r);
void record_total(struct buf *b, const struct record_total *r);
void record_index_begin(struct buf *b, size_t n_blocks); // then n_blocks times:
void record_index_block(struct buf *b, const struct record_index *r);
void record_topic(struct buf *b, uint32_t version, const struct record_topic *r); // of its segment
void record_group(struct buf *b, const struct record_group *r); // GROUP
void record_group_end(struct buf *b, uint32_t number);
// A SETTLED record is begun, gets its ranges, and ends; the mark that begin returns goes into end.
FORMAT_CHECK size_t record_settled_begin(struct buf *b, const struct record_settled *r);
void record_settled_range(struct buf *b, uint64_t first_seq, uint64_t last_seq);
void record_settled_end(struct buf *b, size_t mark);
void record_failed(struct buf *b, const struct record_failed *r);
void record_dead(struct buf *b, const struct record_dead *r);
void record_revived(struct buf *b, const struct record_revived *r);
void record_lost(struct buf *b, const struct record_lost *r);
void record_removed(struct buf *b, const struct record_removed *r);

// Decoders of bodies; -EBADMSG when the length is wrong.
FORMAT_CHECK int record_producer_decode(struct str body, struct record_producer *ret);
FORMAT_CHECK int record_total_decode(struct str body, struct record_total *ret);
FORMAT_CHECK int record_index_decode(struct str body, size_t i,
                                     struct record_index *ret); // block number i
FORMAT_CHECK int record_topic_decode(struct str body, uint32_t version, struct record_topic *ret);
FORMAT_CHECK int record_lost_decode(struct str body, struct record_lost *ret);
FORMAT_CHECK int record_group_decode(struct str body, struct record_group *ret); // and GROUP_END
FORMAT_CHECK int record_settled_decode(struct str body, struct record_settled *ret);
// Takes the next range off r->ranges: 1, 0 at the end, -EBADMSG.
FORMAT_CHECK int record_settled_next(struct record_settled *r, uint64_t *ret_first_seq,
                                     uint64_t *ret_last_seq);
FORMAT_CHECK int record_failed_decode(struct str body, struct record_failed *ret);
FORMAT_CHECK int record_dead_decode(struct str body, struct record_dead *ret);
FORMAT_CHECK int record_revived_decode(struct str body, struct record_revived *ret);
FORMAT_CHECK int record_removed_decode(struct str body, struct record_removed *ret);

void trailer_encode(uint64_t seal_offset, uint32_t salt, uint8_t out[FORMAT_TRAILER_BYTES]);
FORMAT_CHECK int trailer_decode(const uint8_t bytes[FORMAT_TRAILER_BYTES], uint32_t salt,
                                uint64_t *ret_seal_offset);

// The bit of a block's `topics` that stands for this topic.
uint64_t topic_bit(struct str topic);

// --- Reading bytes that may be damaged

struct scan {
    const uint8_t *data;
    size_t n;
    size_t at; // next byte to look at; a multiple of 8
    uint32_t salt;
    uint32_t chain;    // body CRC of the frame before
    bool chained;      // whether that is known
    uint64_t next_seq; // that the next frame must have (or, if not chained, at least)
};

struct damage {
    size_t offset, bytes;         // where
    uint64_t first_seq, last_seq; // sequences lost by it; last_seq < first_seq: none
};

enum scan_result {
    SCAN_FRAME,  // a valid frame; at stands behind it
    SCAN_DAMAGE, // bytes that are no frame, with a valid one behind them; at stands there
    SCAN_END     // nothing valid from at on
};

enum scan_result scan_next(struct scan *s, struct frame *ret_frame, struct damage *ret_damage);

// Whether all bytes from at on are 0.
bool scan_rest_is_zero(const struct scan *s);

#endif
