// SPDX-License-Identifier: MIT
// The event log: segments in a directory, opened with recovery, appended to frame by frame, read by
// block, removed by whole segments. It knows nothing of clients, loops or threads: everything here
// is called by one thread at a time, except journal_append_write() and journal_remove(), which
// touch only files and may run elsewhere meanwhile.
#ifndef QUEUE_JOURNAL_H
#define QUEUE_JOURNAL_H

#include "services/queue/retention.h"
#include "services/queue/segment.h"

#define JOURNAL_SEGMENT_BYTES (64 * 1024 * 1024)
#define JOURNAL_BLOCK_BYTES (256 * 1024)
// At the end of each segment: room for what groups have to say while the disk is full. Less in small segments.
#define JOURNAL_RESERVE_BYTES (4 * 1024 * 1024)
#define JOURNAL_MAX_LOST 1024 // damaged ranges kept apart; with more, neighbours are told of as one
#define JOURNAL_MAX_HOLES                                                                          \
    4096 // 80 KiB in a checkpoint. With more, what is in the middle stays until a neighbour goes
#define JOURNAL_REMOVE_MAX 64 // segments removed in one go

enum journal_note { JOURNAL_INFO, JOURNAL_WARNING, JOURNAL_DAMAGE };

struct journal_options {
    const char *dir;     // exists; borrowed for the journal's life
    const struct io *io; // where that is; borrowed likewise. NULL: files of the operating system
    uint64_t segment_bytes;
    uint32_t block_bytes;
    const char *archive_dir; // of archived segments, exists; borrowed; NULL: none
    bool strict;             // a log in which opening comes to any damage is not opened: -EBADMSG
    // A sentence for the log. During journal_open() only, in its thread. May be NULL.
    void (*on_note)(enum journal_note note, const char *text, void *data);
    // State that others keep in the log (groups). on_state takes a record over, in order, during
    // journal_open() and in its thread: 0, -EBADMSG (the record is passed over) or -ENOMEM.
    // write_state appends records of all of it, for a checkpoint. Both NULL: there is none.
    int (*on_state)(const struct frame *f, const struct record *r, void *state);
    void (*write_state)(struct buf *b, void *state);
    void *state;
    void *data;
};

struct journal {
    struct journal_options options; // its io is never NULL
    int dir_fd;
    int archive_fd; // directory of archives; 0: none
    int fd;         // of the open segment; -1: there is none
    uint8_t uuid[16];
    struct catalog catalog;
    struct segment **segments; // oldest first
    size_t n_segments, cap_segments;
    uint64_t next_seq;   // that the next event gets
    int64_t last_ms;     // time of storing never goes back behind this
    bool roll;           // the next append begins a new segment
    bool no_room;        // there was none for that: frames without events go into the reserve
    bool producers_lost; // their sequences may be too low: no whole record of them could be read
    struct record_lost lost[JOURNAL_MAX_LOST]; // in order, apart from each other
    size_t n_lost;
    uint64_t n_lost_events;  // found since the start, also those that retention has removed
    struct holes holes;      // what retention removed between segments that are there
    uint64_t expired_before; // no segment from here on has expired events
    // Segments taken out of the middle, whose files go when the log says so: what each leaves open.
    struct record_removed owed[JOURNAL_REMOVE_MAX];
    size_t n_owed;
    bool owed_stored; // the log says so
};

#define JOURNAL_CHECK __attribute__((warn_unused_result))

// Opens the log, which makes it if the directory is empty. On failure ret_error has a sentence that
// names what failed, and the directory is as it was.
#define JOURNAL_ERROR_SIZE 256
JOURNAL_CHECK int journal_open(const struct journal_options *options, struct journal **ret_journal,
                               char ret_error[JOURNAL_ERROR_SIZE]);
void journal_close(struct journal **j);

// First sequence that is there; next_seq when nothing is.
uint64_t journal_first_seq(const struct journal *j);

uint64_t journal_events(const struct journal *j);  // that are readable as far as is known
uint64_t journal_bytes(const struct journal *j);   // of the files
int64_t journal_first_ms(const struct journal *j); // time of storing of the first event; 0: none
int64_t journal_last_ms(const struct journal *j);

// --- Appending: prepare, write, finish; one at a time.

struct append {
    struct buf *frame;  // borrowed; NULL: only begin a new segment
    uint64_t first_seq; // of its events
    uint32_t count;     // of its events
    int64_t stored_ms;
    bool owed; // it has the REMOVED records that the journal owed
    // Where it goes
    const struct io *io;
    int dir_fd;
    int fd;
    uint64_t offset;
    uint32_t salt, chain; // of the frame
    // A new segment, if roll
    bool roll;
    struct segment *fresh; // NULL after it went to the journal
    struct buf checkpoint; // its first frame, stamped
    struct buf seal;       // last frame and trailer of the segment until now; empty: it gets none
    int sealed_fd;         // of that; -1
    uint64_t seal_offset;
    uint32_t seal_crc;
    // What became of it
    const char *failed; // step that failed; for the log line
    int64_t write_us, sync_us;
};

// Bytes that frames without events may still take in the open segment.
uint64_t journal_room(const struct journal *j);

// Finishes the frame (made with frame_begin() and records; its kind and number of events are given)
// and decides where it goes. -ENOMEM: nothing is changed.
JOURNAL_CHECK int journal_append_prepare(struct journal *j, struct append *a, struct buf *frame,
                                         enum frame_kind kind, uint32_t count, int64_t now_ms);

// Writes and makes durable. In any thread. 0; -ENOSPC: nothing was stored, everything is as it was;
// other: what is on disk is not known, the journal must not be used for writing any more.
JOURNAL_CHECK int journal_append_write(struct append *a);

// Takes the result over into the journal. Returns status, or -ENOMEM: it is on disk, but the
// journal could not take note of it and must be opened again.
JOURNAL_CHECK int journal_append_finish(struct journal *j, struct append *a, int status);

// Appends the PRODUCER records of all producers and the REMOVED records of all holes; the content of
// a checkpoint.
void journal_checkpoint(const struct journal *j, struct buf *b);

// --- Reading

// A block of the log, by which it is read.
struct block_ref {
    uint64_t segment; // first sequence of its segment
    uint64_t offset;  // in the file
    size_t bytes;
    uint64_t first_seq; // its events are in [first_seq, next_seq)
    uint64_t next_seq;
    uint64_t topics; // see struct record_index
    uint32_t salt;
    bool lost;    // no block: a range that is damaged as a whole
    bool removed; // no block: a range that retention has removed
};

// Number of the last segment that begins at or before seq (0 when none does). There are segments.
size_t journal_segment_of(const struct journal *j, uint64_t seq);

// The first sequence at or after seq that retention has not removed.
uint64_t journal_skip(const struct journal *j, uint64_t seq);

// The block that has seq: true. False: seq is not stored (below the first, or not yet).
bool journal_find(const struct journal *j, uint64_t seq, struct block_ref *ret_block);

// The first sequence from which on everything was stored at or after time_ms: at most one block's
// worth too early.
uint64_t journal_find_time(const struct journal *j, int64_t time_ms);

// When the block was begun that has this event; 0: it is not there.
int64_t journal_stored_ms(const struct journal *j, uint64_t seq);

// Notes a damaged range. Returns how many of its sequences were not known to be damaged.
uint64_t journal_note_lost(struct journal *j, uint64_t first_seq, uint64_t last_seq);

// --- Archive

struct archive_job;

// The oldest segment that is to be archived, sealed for after_ms at least: 1 and a job for
// archive_write(), but for its level; it needs archive_job_fini(). 0: there is none; -ENOMEM. No
// segment may be removed (journal_expire()) until journal_archived().
JOURNAL_CHECK int journal_archive_next(const struct journal *j, int64_t now_ms, int64_t after_ms,
                                       struct archive_job *ret_job);

// Takes note of what archive_write() returned. What failed, other than for want of room, is not
// tried again before the next start.
void journal_archived(struct journal *j, const struct archive_job *job, int status);

// --- Retention
//
// What is removed is decided for each *portion*: the events of one topic in one sealed segment. A
// portion is expired when its last event is older than its rule says; when newer segments have as
// many events of the rule's topics as it keeps; or when the rule's topics take more bytes of files
// from it on (a portion takes its share of its segment's file). Expired events are not served any
// more; a segment of which all are expired is removed, also out of the middle of the log.

enum expiry_reason { EXPIRED_BY_AGE, EXPIRED_BY_COUNT, EXPIRED_BY_BYTES, EXPIRED_THOUGH_HELD };
#define N_EXPIRY_REASONS 4

struct removal {
    const struct io *io;
    int dir_fd, archive_fd;
    uint64_t segments[JOURNAL_REMOVE_MAX]; // first sequences, of the files to delete
    size_t n;
    // What this look took off the log, by reason.
    uint64_t n_events[N_EXPIRY_REASONS];
    uint64_t n_segments[N_EXPIRY_REASONS];
    uint64_t held_to; // EXPIRED_THOUGH_HELD: the last sequence that was; 0: none
};

// Takes what is expired off the log, at most JOURNAL_REMOVE_MAX segments at a time, and fills
// removal for journal_remove(). Segments with events at or after hold_seq stay (UINT64_MAX: nothing
// is held), unless their rule's bytes are RETENTION_HOLD_FACTOR times over. The open segment stays;
// when it has events older than a quarter of their age, roll is set. What is taken out of the middle
// is deleted by a later call, after the log says so.
void journal_expire(struct journal *j, const struct retention *retention, int64_t now_ms,
                    uint64_t hold_seq, struct removal *ret_removal);

// Deletes the files. In any thread. 0 or a negative errno: then the same removal is done again
// before any other, or the log gets a hole.
JOURNAL_CHECK int journal_remove(const struct removal *r);

// Whether the next append has something to say about what was removed, so that there should be one.
bool journal_owes_removed(const struct journal *j);

// Whether some of the events in the segment of seq are expired: then each has to be asked for. Cheap
// enough for every block.
bool journal_has_expired(const struct journal *j, uint64_t seq);

// Whether this event is, which is in such a segment.
bool journal_is_expired(const struct journal *j, uint64_t seq, struct str event);

// Takes [first_seq, last_seq] off the list of damaged ranges.
void journal_forget_lost(struct journal *j, uint64_t first_seq, uint64_t last_seq);

#endif
