// SPDX-License-Identifier: MIT
// Opening the log: what FORMAT.md section 6 says. First everything is read and judged; only when the log as a whole
// makes sense is anything in the directory changed.
#include "services/queue/journal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/random.h"
#include "services/queue/archive.h"

#define MAX_TORN 16 // copies of unfinished writes that are kept; older ones are deleted

struct opening {
    struct journal *j;
    struct segment_reader reader;
    char *error;
    uint64_t *seqs; // of the segment files, in order
    size_t n_seqs, cap_seqs;
    size_t n_damages;  // places that were told of as damaged
    bool last_damaged; // the segment that is being read, so in the end the last
};

__attribute__((format(printf, 3, 4))) static void
note(const struct journal *j, enum journal_note kind, const char *format, ...)
{
    char text[JOURNAL_ERROR_SIZE];
    va_list args;
    if (!j->options.on_note) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); // a cut sentence is better than none
    va_end(args);
    j->options.on_note(kind, text, j->options.data);
}

__attribute__((format(printf, 3, 4))) static int fail(struct opening *o, int status,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(o->error, JOURNAL_ERROR_SIZE, format,
                    args); // a cut sentence is better than none
    va_end(args);
    return status;
}

static void on_damage(const struct segment *s, const struct damage *d, void *data)
{
    struct opening *o = data;
    char name[SEGMENT_NAME_SIZE];
    segment_name(s->header.first_seq, name);
    (void)journal_note_lost(o->j, d->first_seq, d->last_seq); // the sum is told at the end
    o->last_damaged = true;
    o->n_damages++;
    if (d->bytes == 0) {
        return; // known since it was sealed
    }
    if (d->last_seq < d->first_seq) {
        note(o->j, JOURNAL_DAMAGE, "%s: %zu bytes at offset %zu are damaged; no event is lost",
             name, d->bytes, d->offset);
    } else {
        note(o->j, JOURNAL_DAMAGE,
             "%s: %zu bytes at offset %zu are damaged; events %" PRIu64 " to %" PRIu64 " are lost",
             name, d->bytes, d->offset, d->first_seq, d->last_seq);
    }
}

// --- The directory

static int by_seq(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int add_seq(struct opening *o, uint64_t seq)
{
    if (o->n_seqs == o->cap_seqs) {
        size_t cap = o->cap_seqs ? o->cap_seqs * 2 : 64;
        uint64_t *more = reallocarray(o->seqs, cap, sizeof *more);
        if (!more) {
            return -ENOMEM;
        }
        o->seqs = more;
        o->cap_seqs = cap;
    }
    o->seqs[o->n_seqs++] = seq;
    return 0;
}

static int on_segment_name(const char *name, void *arg)
{
    uint64_t seq;
    return segment_name_parse(name, &seq) ? add_seq(arg, seq) : 0;
}

static int on_archive_name(const char *name, void *arg)
{
    uint64_t seq;
    return archive_name_parse(name, &seq) ? add_seq(arg, seq) : 0;
}

// A segment of which there are both files stands once: the archive was not finished with it.
static void drop_doubles(struct opening *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->n_seqs; i++) {
        if (i == 0 || o->seqs[i] != o->seqs[kept - 1]) {
            o->seqs[kept++] = o->seqs[i];
        }
    }
    o->n_seqs = kept;
}

static int list_segments(struct opening *o)
{
    const struct io *io = o->j->options.io;
    int status = io->list(io, o->j->dir_fd, on_segment_name, o);
    if (status == 0 && o->j->archive_fd > 0) {
        status = io->list(io, o->j->archive_fd, on_archive_name, o);
    }
    if (status) {
        return status == -ENOMEM ? fail(o, status, "out of memory")
                                 : fail(o, status, "%s: cannot be listed: %s", o->j->options.dir,
                                        strerror(-status));
    }
    if (o->n_seqs) {
        qsort(o->seqs, o->n_seqs, sizeof *o->seqs, by_seq);
        drop_doubles(o);
    }
    return 0;
}

// --- Reading segments

static int add_segment(struct journal *j, struct segment *s)
{
    struct segment **more = reallocarray(j->segments, j->n_segments + 1, sizeof(struct segment *));
    if (!more) {
        return -ENOMEM;
    }
    j->segments = more;
    j->cap_segments = j->n_segments + 1;
    j->segments[j->n_segments++] = s;
    return 0;
}

// A sealed segment is taken by its seal, or read when that is damaged. What cannot be read at all is damage.
static int read_sealed(struct opening *o, struct segment *s, const char *name)
{
    enum segment_tail tail;
    int status = segment_read_seal(&o->reader, s);
    if (status == -EBADMSG || status == -ENODATA) {
        note(o->j, JOURNAL_WARNING, "%s: has no valid seal, reading all of it", name);
        status = segment_read_frames(&o->reader, s, &tail);
        uint64_t from = s->sealed ? s->seal_end : s->end;
        if (status == 0 && (tail == SEGMENT_TAIL_BYTES || (s->sealed && !s->trailed))) {
            struct damage d = { from, s->file_bytes - from, 1,
                                0 }; // events are told by the next segment
            on_damage(s, &d, o);
        }
    }
    if (status == -EIO) {
        note(o->j, JOURNAL_DAMAGE, "%s: cannot be read: %s", name, strerror(EIO));
        o->n_damages++;
        s->unreadable = true;
        return 0;
    }
    return status;
}

static bool has_uuid(const struct journal *j)
{
    static const uint8_t none[sizeof j->uuid];
    return memcmp(j->uuid, none, sizeof none) != 0;
}

static int check_identity(struct opening *o, const struct segment *s, const char *name)
{
    if (s->unreadable) {
        return 0;
    }
    if (!has_uuid(o->j)) {
        memcpy(o->j->uuid, s->header.uuid, sizeof o->j->uuid);
    }
    if (memcmp(o->j->uuid, s->header.uuid, sizeof o->j->uuid) != 0) {
        return fail(o, -EINVAL, "%s: belongs to another log (its uuid differs); move it away",
                    name);
    }
    return 0;
}

static int read_segment(struct opening *o, uint64_t seq, bool last, enum segment_tail *ret_tail)
{
    struct segment *s;
    char name[SEGMENT_NAME_SIZE];
    segment_name(seq, name);
    o->last_damaged = false;
    int status = segment_open(&o->reader, seq, &s);
    if (status == -EPROTONOSUPPORT) {
        return fail(o, status,
                    "%s: has another version of the format; this program reads versions %d to %d",
                    name, FORMAT_VERSION_MIN, FORMAT_VERSION);
    } else if (status) {
        return fail(o, status, "%s: cannot be opened: %s", name,
                    status == -EBADMSG ? "its header names another sequence" : strerror(-status));
    }
    status = add_segment(o->j, s);
    if (status) {
        segment_destroy(&s);
        return fail(o, status, "out of memory");
    }
    status = check_identity(o, s, name);
    if (status) {
        return status;
    }
    if (s->failed && last) { // to go on behind it, and be wrong, is worse than to try again
        return fail(o, -EIO, "%s: cannot be read: %s", name, strerror(EIO));
    }
    if (s->unreadable) {
        o->n_damages++;
        note(o->j, JOURNAL_DAMAGE, "%s: both headers are damaged; none of it can be read", name);
    } else {
        status = last ? segment_read_frames(&o->reader, s, ret_tail) : read_sealed(o, s, name);
    }
    // It got its name only after its checkpoint was on the disk: this is no unfinished write.
    if (status == 0 && last && !s->unreadable && !s->checkpointed && s->end == FORMAT_FRAMES) {
        o->n_damages++;
        note(o->j, JOURNAL_DAMAGE,
             "%s: its first frame is damaged or cut off; whatever was stored from event %" PRIu64
             " on is lost",
             name, seq);
    }
    return status ? fail(o, status, "%s: cannot be read: %s", name, strerror(-status)) : 0;
}

// Tells what is lost of [from, to], which is missing before the segment of this name: what retention did not remove.
static void tell_missing(struct opening *o, uint64_t from, uint64_t to, const char *name)
{
    const struct holes *h = &o->j->holes;
    for (size_t i = holes_at(h, from); from <= to; i++) {
        uint64_t hole = i < h->n && h->ranges[i].first_seq <= to ? h->ranges[i].first_seq : to + 1;
        if (from < hole) {
            o->n_damages++;
            note(o->j, JOURNAL_DAMAGE, "events %" PRIu64 " to %" PRIu64 " before %s are lost", from,
                 hole - 1, name);
            (void)journal_note_lost(o->j, from, hole - 1); // told at the end
        }
        if (hole > to) {
            return;
        }
        from = h->ranges[i].last_seq + 1;
    }
}

// Holes are only between segments: what the log says of others is of earlier times. 0 or -ENOMEM.
static int settle_holes(struct journal *j)
{
    struct holes *h = &j->holes;
    int status = j->n_segments ? 0 : holes_cut(h, 0, UINT64_MAX);
    for (size_t i = 0; status == 0 && i < j->n_segments; i++) {
        const struct segment *s = j->segments[i];
        uint64_t from = i ? s->header.first_seq : 0;
        bool last = i + 1 == j->n_segments;
        if (last || s->next_seq > from) {
            status = holes_cut(h, from, last ? UINT64_MAX : s->next_seq - 1);
        }
    }
    return status;
}

// Compares the end of each segment with the beginning of the next: what is missing between them is lost.
static int check_sequence(struct opening *o)
{
    const struct journal *j = o->j;
    for (size_t i = 0; i + 1 < j->n_segments; i++) {
        const struct segment *s = j->segments[i], *next = j->segments[i + 1];
        char name[SEGMENT_NAME_SIZE];
        segment_name(next->header.first_seq, name);
        if (s->next_seq > next->header.first_seq) {
            return fail(o, -EINVAL,
                        "%s: overlaps with the segment before it; move one of them away", name);
        }
        if (s->next_seq < next->header.first_seq) {
            tell_missing(o, s->next_seq, next->header.first_seq - 1, name);
        } else if (s->sealed && !next->unreadable && next->header.chain != s->chain) {
            o->n_damages++;
            note(j, JOURNAL_DAMAGE,
                 "%s: does not continue the segment before it; no sequence is missing", name);
        }
    }
    return 0;
}

// A last segment without a header stays as it is. The log goes on behind every sequence that it may have had: as many
// later as it has bytes, at each start again, until something is stored there.
static void skip_last(struct opening *o)
{
    struct journal *j = o->j;
    const struct segment *s = j->segments[j->n_segments - 1];
    uint64_t from = s->header.first_seq;
    j->next_seq = from + s->file_bytes;
    (void)journal_note_lost(j, from, j->next_seq - 1); // told here and at the end
    note(j, JOURNAL_DAMAGE,
         "events from %" PRIu64 " on are lost; the log goes on with event %" PRIu64, from,
         j->next_seq);
}

// Refuses a damaged log and names what is lost, as far as there is room for it.
static int refuse_damage(struct opening *o)
{
    const struct journal *j = o->j;
    char lost[128] = " LOST none";
    size_t n = 0;
    for (size_t i = 0; i < j->n_lost && n + 60 < sizeof lost; i++) { // two numbers and more fit
        bool cut = i + 1 < j->n_lost && n + 120 >= sizeof lost;
        n += (size_t)snprintf(lost + n, sizeof lost - n, " LOST %" PRIu64 "..%" PRIu64 "%s",
                              j->lost[i].first_seq, j->lost[i].last_seq, cut ? " and more" : "");
    }
    return fail(o, -EBADMSG,
                "the log is damaged (%zu found), and a strict queue does not start on it:%s",
                o->n_damages, lost);
}

// Producers' sequences and the state of groups were read with the last segment, unless its checkpoint is damaged:
// then from the last one that is not, or from the first segment on.
static int read_state(struct opening *o, bool complete)
{
    size_t from = o->j->n_segments;
    bool failed = false;
    int status = 0;
    while (!complete && from > 0 && status >= 0) { // backwards: the producers, in any order
        status = segment_read_state(&o->reader, o->j->segments[--from]);
        failed |= status == -EIO || o->j->segments[from]->unreadable;
        status = status == -EIO ? 0 : status; // was told of already
        complete = status == 1;
    }
    if (failed || (!complete && journal_first_seq(o->j) >
                                    1)) { // from the first event on, nothing can be missing
        note(o->j, JOURNAL_DAMAGE,
             "what producers and groups had stored is not known as far as only damaged frames and "
             "removed "
             "segments said it; events may be stored twice, and delivered again");
        o->j->producers_lost = true;
        o->n_damages++;
    }
    o->reader.on_state = o->j->options.on_state;
    for (size_t i = from; i < o->j->n_segments && status >= 0; i++) {
        status = segment_read_state(&o->reader, o->j->segments[i]);
        status = status == -EIO ? 0 : status;
    }
    return status < 0 ? fail(o, status, "cannot read the state in the log: %s", strerror(-status))
                      : 0;
}

// --- Changing the directory

struct torn {
    char oldest[NAME_MAX + 1];
    size_t n;
};

static int on_torn_name(const char *name, void *arg)
{
    struct torn *torn = arg;
    size_t length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, ".torn") == 0) {
        torn->n++;
        if (!torn->oldest[0] || strcmp(name, torn->oldest) < 0) {
            (void)snprintf(torn->oldest, sizeof torn->oldest, "%s", name); // names fit
        }
    }
    return 0;
}

// Deletes the oldest copies of unfinished writes, so that a process that is killed again and again does not fill
// the disk with them.
static void limit_torn(const struct journal *j)
{
    const struct io *io = j->options.io;
    for (;;) {
        struct torn torn = { .n = 0 };
        int status = io->list(io, j->dir_fd, on_torn_name, &torn);
        if (status || torn.n < MAX_TORN || io->unlink(io, j->dir_fd, torn.oldest)) {
            return;
        }
    }
}

static int write_copy(const struct journal *j, const char *name, const uint8_t *data, size_t n)
{
    const struct io *io = j->options.io;
    int fd = io->open(io, j->dir_fd, name, IO_MAKE);
    if (fd < 0) {
        return fd;
    }
    int status = io_write_all(io, fd, data, n, 0);
    status = status ? status : io->sync(io, fd);
    io->close(io, fd);
    return status;
}

// Copies what is behind the last frame to a .torn file, which is durable before anything is cut. Returns how many bytes
// that were, or a negative errno.
static int64_t copy_tail(const struct journal *j, const struct segment *s, const char *name)
{
    size_t n = s->file_bytes - s->end;
    uint8_t *data = malloc(n);
    int status = data ? io_read_all(j->options.io, j->fd, data, n, s->end) : -ENOMEM;
    while (status == 0 && n > 0 && data[n - 1] == 0) {
        n--;
    }
    limit_torn(j);
    status = status ? status : write_copy(j, name, data, n);
    free(data);
    status = status ? status : j->options.io->sync_dir(j->options.io, j->dir_fd);
    return status ? status : (int64_t)n;
}

// Makes zeros of what is behind the last frame. A full disk is no reason not to start: then there is no copy.
static int cut_tail(struct opening *o, const struct segment *s)
{
    struct journal *j = o->j;
    const struct io *io = j->options.io;
    char name[64];
    (void)snprintf(name, sizeof name, "%020" PRIu64 ".%010" PRIu64 ".torn", s->header.first_seq,
                   s->end); // fits
    int64_t n = copy_tail(j, s, name);
    bool full = n == -ENOSPC || n == -EDQUOT || n == -EFBIG;
    int status = n < 0 && !full ? (int)n : io->resize(io, j->fd, s->end);
    if (status) { // confirm() syncs it
        return fail(o, status, "cannot cut off an unfinished write: %s", strerror(-status));
    }
    if (full) {
        (void)io->unlink(io, j->dir_fd, name); // half a copy is of no use
        note(j, JOURNAL_WARNING,
             "an unfinished write behind event %" PRIu64
             " was cut off; for a copy there is no room",
             s->next_seq - 1);
    } else {
        note(j, JOURNAL_WARNING,
             "an unfinished write of %" PRId64 " bytes behind event %" PRIu64
             " was cut off; a copy is in %s",
             n, s->next_seq - 1, name);
    }
    return 0;
}

// Completes the sealing of the last segment, which was interrupted behind the seal frame.
static int finish_seal(const struct io *io, int fd, struct segment *s)
{
    uint8_t trailer[FORMAT_TRAILER_BYTES];
    uint64_t size = s->seal_end + sizeof trailer;
    trailer_encode(s->end, s->header.salt, trailer);
    int status = io_write_all(io, fd, trailer, sizeof trailer, s->seal_end);
    status = status ? status : io->resize(io, fd, size);
    if (status == 0) {
        s->file_bytes = size;
        s->trailed = true;
    }
    return status;
}

// Whether these bytes, from the last block of a segment on, still end with the frame that was read before.
static bool ends_as_read(const struct segment *s, const uint8_t *data, size_t n)
{
    struct scan scan = { .data = data, .n = n, .salt = s->header.salt };
    struct frame f = { .crc = 0 };
    struct damage d;
    while (scan_next(&scan, &f, &d) != SCAN_END) {
    }
    return s->n_blocks == 0 || f.crc == s->chain;
}

// Makes durable what was found. The process before may have ended between a write and its sync, or because a sync
// failed, after which the system's cache has what the disk has not, and a sync alone would not write it any more. From
// now on it is served, and its events pass for stored when they are sent again: so the last block, which has whatever
// was written last, is written again as it is.
static int confirm(const struct io *io, int dir_fd, int fd, const struct segment *s)
{
    uint64_t from = s->n_blocks ? s->blocks[s->n_blocks - 1].offset : s->end;
    size_t n = (s->sealed ? s->file_bytes : s->end) - from;
    uint8_t *data = malloc(n ? n : 1);
    int status = data ? io_read_all(io, fd, data, n, from) : -ENOMEM;
    if (status == 0 && !ends_as_read(s, data, n)) {
        status =
            -ESTALE; // the system has dropped it from its cache meanwhile: then it was not on the disk
    }
    status = status ? status : io_write_all(io, fd, data, n, from);
    free(data);
    if (status == -ENOSPC) {
        status = 0; // where bytes are not written in place; then the sync has to do
    }
    status = status ? status : io->sync(io, fd);
    return status ? status : io->sync_dir(io, dir_fd);
}

// Opens the last segment, for appending if it is not sealed, and brings it into order.
static int open_last(struct opening *o, struct segment *s, enum segment_tail tail)
{
    struct journal *j = o->j;
    const struct io *io = j->options.io;
    char name[SEGMENT_NAME_SIZE];
    segment_name(s->header.first_seq, name);
    int fd = io->open(io, j->dir_fd, name, IO_UPDATE);
    if (fd < 0) {
        return fail(o, fd, "%s: cannot be opened for writing: %s", name, strerror(-fd));
    }
    if (!s->sealed) {
        j->fd = fd;
    }
    int status = !s->sealed && tail == SEGMENT_TAIL_BYTES ? cut_tail(o, s) : 0;
    if (status == 0) {
        status = s->sealed && !s->trailed ? finish_seal(io, fd, s) : 0;
        status = status ? status : confirm(io, j->dir_fd, fd, s);
        status = status ? fail(o, status, "%s: cannot be written: %s", name, strerror(-status)) : 0;
    }
    if (s->sealed) {
        io->close(io, fd);
    } else if (status == 0 && io->reserve(io, fd, s->file_bytes) == -ENOSPC) {
        j->roll = true; // the next append finds out whether there is room again
    }
    return status;
}

// Time of storing of the last frame that is known.
static int64_t latest_ms(const struct journal *j)
{
    int64_t latest = 0;
    for (size_t i = 0; i < j->n_segments; i++) {
        const struct segment *s = j->segments[i];
        int64_t ms = s->frame_ms > s->header.made_ms ? s->frame_ms : s->header.made_ms;
        latest = ms > latest ? ms : latest;
    }
    return latest;
}

static int settle_last(struct opening *o, enum segment_tail tail)
{
    struct journal *j = o->j;
    struct segment *s = j->segments[j->n_segments - 1];
    if (s->unreadable) {
        return 0;
    }
    // Without a checkpoint the state stands in older segments only; the next one has it again.
    if (o->last_damaged || !s->checkpointed || s->header.version != FORMAT_VERSION) {
        j->roll = true;
    }
    return open_last(o, s, tail);
}

static void make_uuid(struct journal *j)
{
    random_fill(j->uuid, sizeof j->uuid);
    j->uuid[6] = (uint8_t)((j->uuid[6] & 0x0F) | 0x40); // version 4
    j->uuid[8] = (uint8_t)((j->uuid[8] & 0x3F) | 0x80);
}

// A log that has no segment gets its first one now, so that its uuid is settled.
static int make_first(struct opening *o)
{
    struct append a;
    struct journal *j = o->j;
    int status = journal_append_prepare(j, &a, NULL, FRAME_EVENTS, 0, clock_wall_ms());
    if (status == 0) {
        status = journal_append_finish(j, &a, journal_append_write(&a));
    }
    return status ? fail(o, status, "cannot make the first segment in %s: %s", j->options.dir,
                         strerror(-status))
                  : 0;
}

static int recover(struct opening *o)
{
    struct journal *j = o->j;
    enum segment_tail tail = SEGMENT_TAIL_CLEAN;
    j->dir_fd = j->options.io->open_dir(j->options.io, j->options.dir);
    if (j->dir_fd < 0) {
        return fail(o, j->dir_fd, "%s: cannot be opened: %s", j->options.dir, strerror(-j->dir_fd));
    }
    o->reader.dir_fd = j->dir_fd;
    if (j->options.archive_dir) {
        int fd = j->options.io->open_dir(j->options.io, j->options.archive_dir);
        if (fd <= 0) {
            return fail(o, fd ? fd : -EBADF, "%s: cannot be opened: %s", j->options.archive_dir,
                        strerror(fd ? -fd : EBADF));
        }
        o->reader.archive_fd = j->archive_fd = fd;
    }
    int status = list_segments(o);
    for (size_t i = 0; status == 0 && i < o->n_seqs; i++) {
        bool last = i + 1 == o->n_seqs;
        o->reader.on_state = last ? j->options.on_state : NULL; // it begins with all of the state
        status = read_segment(o, o->seqs[i], last, &tail);
    }
    if (status == 0 && j->n_segments) {
        const struct segment *last = j->segments[j->n_segments - 1];
        if (last->unreadable) {
            skip_last(o);
        } else {
            j->next_seq = last->next_seq;
        }
        j->last_ms = latest_ms(j);
        o->reader.on_state = NULL;
        status = read_state(o, !last->unreadable && last->checkpointed);
    }
    status = status ? status : check_sequence(o);
    status = status ? status : settle_holes(j);
    if (status == 0 && j->options.strict && o->n_damages) {
        status = refuse_damage(o);
    }
    if (status == 0 && j->n_segments) {
        status = settle_last(o, tail);
    }
    if (status) {
        return status;
    }
    (void)j->options.io->unlink(j->options.io, j->dir_fd,
                                "next.tmp"); // of a write that was interrupted, if any
    if (j->archive_fd > 0) {
        (void)j->options.io->unlink(j->options.io, j->archive_fd, ARCHIVE_TEMP); // likewise
    }
    if (!has_uuid(j)) {
        make_uuid(j);
    }
    return o->n_seqs ? 0 : make_first(o);
}

int journal_open(const struct journal_options *options, struct journal **ret_journal,
                 char ret_error[JOURNAL_ERROR_SIZE])
{
    struct journal *j = calloc(1, sizeof *j);
    ret_error[0] = 0;
    if (!j) {
        (void)snprintf(ret_error, JOURNAL_ERROR_SIZE, "out of memory"); // fits
        return -ENOMEM;
    }
    *j = (struct journal){ .options = *options, .dir_fd = -1, .fd = -1, .next_seq = 1 };
    j->options.io = options->io ? options->io : io_files();
    catalog_init(&j->catalog);
    struct opening o = { .j = j, .error = ret_error };
    o.reader = (struct segment_reader){ .io = j->options.io,
                                        .dir_fd = -1,
                                        .block_bytes = options->block_bytes,
                                        .catalog = &j->catalog,
                                        .holes = &j->holes,
                                        .on_damage = on_damage,
                                        .data = &o,
                                        .state = options->state };
    int status = recover(&o);
    free(o.seqs);
    if (status) {
        journal_close(&j);
        return status;
    }
    if (j->n_lost_events) {
        note(j, JOURNAL_DAMAGE, "%" PRIu64 " events are lost to damage", j->n_lost_events);
    }
    *ret_journal = j;
    return 0;
}
