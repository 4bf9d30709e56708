// SPDX-License-Identifier: MIT
// One segment of the log as the process knows it: where its blocks are, which topics it has, how
// far it reaches. Made by reading the file (its seal, or all its frames) and, for the open segment,
// by adding each frame as it is written. Holds no file open.
#ifndef QUEUE_SEGMENT_H
#define QUEUE_SEGMENT_H

#include "services/queue/catalog.h"
#include "services/queue/format.h"
#include "services/queue/holes.h"
#include "services/queue/io.h"

#define SEGMENT_NAME_SIZE 25 // "00000000000000000001.seg" and a NUL

struct segment_topic {
    struct topic *topic; // of the catalog
    uint64_t events, last_seq;
    int64_t last_ms;
    uint64_t bytes; // of the events; only its proportion to topic_bytes means something
};

struct segment {
    struct segment_header header;
    uint32_t header_crc;
    uint64_t next_seq;         // behind its last event
    uint64_t events;           // that are readable as far as is known, expired ones too
    uint64_t expired;          // of them
    uint64_t live;             // with expired ones: bits of the topics that are not
    int expired_by;            // why the last of them did; for the caller
    int64_t first_ms, last_ms; // of its events; 0 without
    int64_t frame_ms;          // of its last frame, whatever that was
    uint64_t file_bytes;       // of the segment file, or what it was before it was archived
    uint64_t archive_bytes;    // of its archive; 0: it is not archived
    bool unarchivable;         // it was tried in vain
    uint64_t end;              // of its frames, the seal not counted
    uint64_t seal_end;         // of the seal, where the trailer begins; 0: no seal was come to
    uint32_t chain;            // body CRC of the last frame
    bool sealed;               // has a valid seal
    bool trailed;              // and ends in a valid trailer
    bool unreadable;           // both headers are damaged
    bool failed;               // ... as far as is known: the disk did not give them back
    bool removable;            // retention has found that nothing is left in it
    bool checkpointed;         // its checkpoint was read (not when opened by its seal)
    struct record_index *blocks;
    size_t n_blocks, cap_blocks;
    struct segment_topic *topics; // those that retention has not expired here
    size_t n_topics, cap_topics;
    uint64_t topic_bytes; // of all topics, expired ones too
};

// How segments are read, and who hears what is wrong with them.
struct segment_reader {
    const struct io *io;
    int dir_fd;     // of the io, as every descriptor of the log
    int archive_fd; // directory of archives; 0: none
    uint32_t block_bytes;
    struct catalog *catalog;
    struct holes *holes; // where REMOVED records go; NULL: nowhere
    // A damaged range of the file; also one that the seal tells of (bytes 0).
    void (*on_damage)(const struct segment *s, const struct damage *d, void *data);
    void *data;
    // See journal_options; NULL: nobody wants them.
    int (*on_state)(const struct frame *f, const struct record *rec, void *state);
    void *state;
};

// What a reading found behind the last frame of a segment.
enum segment_tail {
    SEGMENT_TAIL_CLEAN, // nothing but zeros
    SEGMENT_TAIL_BYTES, // bytes that are no frame
};

#define SEGMENT_CHECK __attribute__((warn_unused_result))

void segment_name(uint64_t first_seq, char out[SEGMENT_NAME_SIZE]);

// Whether this is the name of a segment file, and of which.
bool segment_name_parse(const char *name, uint64_t *ret_first_seq);

// Reads the headers. On success *ret_segment is new; when both headers are damaged it is
// `unreadable` and reaches nowhere. -EPROTONOSUPPORT: another version of the format. -EBADMSG: the
// header names another sequence.
SEGMENT_CHECK int segment_open(const struct segment_reader *r, uint64_t first_seq,
                               struct segment **ret_segment);
void segment_destroy(struct segment **s);

// What it takes on the disk.
static inline uint64_t segment_disk_bytes(const struct segment *s)
{
    return s->archive_bytes ? s->archive_bytes : s->file_bytes;
}

// Fills the segment from its seal, without reading its frames. -EBADMSG: there is no valid one.
SEGMENT_CHECK int segment_read_seal(const struct segment_reader *r, struct segment *s);

// Fills the segment from its frames: blocks, topics, producers' sequences. *ret_tail says what is
// behind the last one.
SEGMENT_CHECK int segment_read_frames(const struct segment_reader *r, struct segment *s,
                                      enum segment_tail *ret_tail);

// Reads only the producers' sequences and the state of others out of all valid frames, for when a later
// checkpoint is damaged. 1 if the segment's own checkpoint is valid, else 0.
SEGMENT_CHECK int segment_read_state(const struct segment_reader *r, const struct segment *s);

// Takes over a record that says something of a producer or of the state of others.
SEGMENT_CHECK int segment_take_state(const struct segment_reader *r, const struct frame *f,
                                     const struct record *rec);

// Adds a frame that stands at offset, behind all others.
SEGMENT_CHECK int segment_add_frame(const struct segment_reader *r, struct segment *s,
                                    const struct frame *f, uint64_t offset);

// Parts of the above: a block at the end of the index, and some events of a topic.
SEGMENT_CHECK int segment_add_block(struct segment *s, const struct record_index *block);
SEGMENT_CHECK int segment_count_topic(struct segment *s, struct catalog *catalog,
                                      const struct record_topic *r);

// Takes the segment's events off the topics' totals; before it is destroyed because its file is
// removed.
void segment_forget(struct segment *s);

// The same for its topic number i (another takes that number): its events are not served any more.
void segment_expire_topic(struct segment *s, size_t i);

// Builds the seal frame (not stamped) for the segment as it is; lost are the damaged ranges in it.
void segment_seal(const struct segment *s, const struct record_lost *lost, size_t n_lost,
                  struct buf *b);

// Upper bound for the bytes of seal and trailer after one more frame with this many events.
uint64_t segment_seal_bound(const struct segment *s, uint64_t more_events);

// The block that has this sequence: its number. The sequence is in [first_seq, next_seq), and there
// are blocks.
size_t segment_block_of(const struct segment *s, uint64_t seq);

#endif
