// SPDX-License-Identifier: MIT
// A log in which groups were made, delivered, acknowledged, failed, buried, brought back, paused and deleted, on a disk
// in memory, with every bit of it turned and with its files cut at every length. What is then opened has every event or
// names it as lost, and has the groups exactly as the frames say that are left. What there is in a log that nobody damages
// is compared with the same frames read one by one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "proto/writer.h"
#include "services/queue/block.h"
#include "services/queue/dead_letter.h"
#include "services/queue/groups.h"
#include "services/queue/journal.h"
#include "tests/fault/queue_sim/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SEGMENT_BYTES 16384 // half of it are headers
#define NOW INT64_C(4102444800000)
#define DELAY_MS 3600000 // longer than any case takes
#define MAX_EVENTS 64
#define MAX_FRAMES 32
#define MAX_IMAGE SEGMENT_BYTES
#define SEGMENTS 2
#define TEXT_BYTES 4096

static struct disk *disk;
static struct journal *j;
static struct groups *groups; // of the open journal
static char error[JOURNAL_ERROR_SIZE];
static int notes[3]; // told while opening, by kind

// The log as it was written.
static struct {
    uint8_t bytes[SEGMENTS][MAX_IMAGE];
    size_t n[SEGMENTS];
    uint64_t first_seq[SEGMENTS];
} image;

static struct {
    size_t segment;
    struct frame frame; // its payload lies in image
    size_t at;          // in its segment
} frames[MAX_FRAMES];
static size_t n_frames;

static struct {
    struct buf bytes;
} events[MAX_EVENTS + 1]; // by sequence
static uint64_t last_seq;
static int64_t due_ms; // of what failed

// --- Opening

static void on_note(enum journal_note note, const char *text, void *data)
{
    (void)text, (void)data;
    notes[note]++;
}

static int try_open(void)
{
    groups_close(&groups);
    groups = groups_new();
    assert_non_null(groups);
    const struct journal_options options = { .dir = "log",
                                             .io = disk_io(disk),
                                             .segment_bytes = SEGMENT_BYTES,
                                             .block_bytes = 512,
                                             .on_note = on_note,
                                             .on_state = groups_replay,
                                             .write_state = groups_write_state,
                                             .state = groups };
    memset(notes, 0, sizeof notes);
    return journal_open(&options, &j, error);
}

static void open_journal(void)
{
    int status = try_open();
    if (status) {
        fail_msg("journal_open: %d: %s", status, error);
    }
}

static void new_disk(void)
{
    const struct disk_options options = { .page_bytes = 4096, .knows_holes = true };
    disk = disk_new(1, &options);
}

// --- Writing

static void append(struct buf *frame, uint32_t count)
{
    struct append a;
    struct record r;
    assert_int_equal(journal_append_prepare(j, &a, frame, FRAME_EVENTS, count, NOW), 0);
    const uint64_t first_seq = a.first_seq;
    // The groups are as the log says: here it says it.
    struct frame f = frame_view((const uint8_t *)frame->data);
    f.first_seq = first_seq;
    assert_int_equal(journal_append_finish(j, &a, journal_append_write(&a)), 0);
    for (struct str left = f.payload; record_next(&left, &r) == 1;) {
        assert_int_equal(groups_replay(&f, &r, groups), 0);
    }
    buf_fini(frame);
    buf_init(frame, UINT32_MAX);
    frame_begin(frame);
}

static void keep_event(struct buf *frame, uint64_t seq, const struct event *e)
{
    struct buf *bytes = &events[seq].bytes;
    assert_true(seq <= MAX_EVENTS);
    buf_init(bytes, QUEUE_MAX_EVENT_BYTES);
    event_encode(bytes, e);
    assert_true(buf_ok(bytes));
    record_event(frame, buf_str(bytes));
    last_seq = seq;
}

static void add_event(struct buf *frame, const char *topic)
{
    char id[16];
    (void)snprintf(id, sizeof id, "%" PRIu64, last_seq + 1);
    const struct event e = { .id = str_of(id),
                             .topic = str_of(topic),
                             .key = STR("k"),
                             .subject = STR(""),
                             .source = STR("/test"),
                             .traceparent = STR("") };
    keep_event(frame, last_seq + 1, &e);
}

static void define(struct buf *frame, uint32_t number, const char *name, bool paused)
{
    struct group_config config;
    struct buf map;
    group_config_init(&config);
    (void)snprintf(config.name, sizeof config.name, "%s", name);
    config.paused = paused;
    config.created_ms = NOW;
    buf_init(&map, 8192);
    writer_map(&map, GROUP_CONFIG_MEMBERS);
    group_config_write(&config, &map);
    assert_true(buf_ok(&map));
    const struct record_group r = { number, buf_str(&map) };
    record_group(frame, &r);
    buf_fini(&map);
}

static void settled(struct buf *frame, uint32_t number, bool reset, uint64_t floor, uint64_t only)
{
    const struct record_settled r = { number, reset, floor, STR("") };
    size_t mark = record_settled_begin(frame, &r);
    if (only) {
        record_settled_range(frame, only, only);
    }
    record_settled_end(frame, mark);
}

static void failed(struct buf *frame, uint32_t number, uint64_t seq, uint32_t failures, bool ends)
{
    const struct record_failed r = { .number = number,
                                     .attempt = failures,
                                     .failures = failures,
                                     .terminated = ends,
                                     .seq = seq,
                                     .key = 77,
                                     .due_ms = ends ? 0 : due_ms,
                                     .error = STR("broken") };
    record_failed(frame, &r);
}

static void bury(struct buf *frame, uint32_t number, const char *group, uint64_t seq)
{
    char topic[QUEUE_MAX_TOPIC];
    (void)snprintf(topic, sizeof topic, DEAD_LETTER_TOPIC "%s", group);
    add_event(frame, topic);
    const struct record_dead r = { number, 2, seq, seq, 0, NOW };
    record_dead(frame, &r);
}

// Everything that may become of an event and of a group, some of it before the last checkpoint and some behind it.
static void write_log(bool followed)
{
    struct buf frame;
    new_disk();
    open_journal();
    last_seq = 0;
    due_ms = clock_wall_ms() + DELAY_MS;
    buf_init(&frame, UINT32_MAX);
    frame_begin(&frame);
    for (int i = 0; i < 3; i++) {
        add_event(&frame, "a.b");
    }
    append(&frame, 3);
    define(&frame, 1, "mail", false);
    settled(&frame, 1, true, 1, 0);
    add_event(&frame, "a.b");
    add_event(&frame, "a.c");
    append(&frame, 2);
    define(&frame, 2, "audit", false);
    settled(&frame, 2, true, 2, 0);
    settled(&frame, 1, false, 2, 0); // 1 is acknowledged
    append(&frame, 0);
    failed(&frame, 1, 3, 1, false);
    failed(&frame, 2, 2, 1, true);
    add_event(&frame, "a.b");
    append(&frame, 1);
    settled(&frame, 1, false, 2, 5);
    bury(&frame, 2, "audit", 2);
    append(&frame, 1);
    define(&frame, 2, "audit", true); // is paused
    define(&frame, 3, "short", false);
    append(&frame, 0);
    j->roll = true;
    add_event(&frame, "a.b");
    settled(&frame, 1, false, 3, 0);
    append(&frame, 1);
    failed(&frame, 1, 4, 1, true);
    failed(&frame, 2, 6, 3, false);
    append(&frame, 0);
    bury(&frame, 1, "mail", 4);
    append(&frame, 1);
    define(&frame, 1, "mail", true);
    const struct record_revived revived = { 2, 7 };
    record_revived(&frame, &revived);
    record_group_end(&frame, 3);
    append(&frame, 0);
    settled(&frame, 1, false, 7, 8);
    add_event(&frame, "a.b");
    append(&frame, 1);
    if (followed) { // by a frame that says nothing of groups, so that all others are known to have been stored
        const struct record_producer r = { 1, NOW, STR("store") };
        record_producer(&frame, &r);
        append(&frame, 0);
    }
    buf_fini(&frame);
    assert_int_equal(j->n_segments, SEGMENTS);
}

static void keep_image(void)
{
    memset(&image, 0, sizeof image);
    for (size_t i = 0; i < SEGMENTS; i++) {
        char name[SEGMENT_NAME_SIZE];
        uint64_t size;
        image.first_seq[i] = j->segments[i]->header.first_seq;
        segment_name(image.first_seq[i], name);
        const uint8_t *bytes = disk_look(disk, name, &size);
        assert_true(bytes && size <= MAX_IMAGE);
        memcpy(image.bytes[i], bytes, size);
        image.n[i] = size;
    }
}

static void find_frames(void)
{
    n_frames = 0;
    for (size_t i = 0; i < SEGMENTS; i++) {
        struct segment_header h;
        uint32_t crc;
        assert_int_equal(segment_header_decode(image.bytes[i], &h, &crc), 0);
        struct scan scan = { .data = image.bytes[i],
                             .n = image.n[i],
                             .at = FORMAT_FRAMES,
                             .salt = h.salt,
                             .next_seq = h.first_seq };
        struct frame f;
        struct damage d;
        while (scan_next(&scan, &f, &d) == SCAN_FRAME) {
            assert_true(n_frames < MAX_FRAMES);
            frames[n_frames].segment = i;
            frames[n_frames].frame = f;
            frames[n_frames++].at = scan.at - f.bytes;
        }
    }
}

static void make_log(bool followed)
{
    write_log(followed);
    keep_image();
    find_frames();
    journal_close(&j);
    disk_destroy(&disk);
}

static int enter_followed(void **state)
{
    (void)state;
    make_log(true);
    return 0;
}

static int enter_bare(void **state)
{
    (void)state;
    make_log(false);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    journal_close(&j);
    groups_close(&groups);
    if (disk) {
        disk_destroy(&disk);
    }
    for (uint64_t seq = 1; seq <= last_seq; seq++) {
        buf_fini(&events[seq].bytes);
    }
    return 0;
}

// The log on a new disk, with the segment i cut to n bytes.
static void put_image(size_t cut, size_t n)
{
    new_disk();
    const struct io *io = disk_io(disk);
    int dir = io->open_dir(io, "log");
    assert_true(dir >= 0);
    for (size_t i = 0; i < SEGMENTS; i++) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(image.first_seq[i], name);
        int fd = io->open(io, dir, name, IO_MAKE);
        assert_true(fd >= 0);
        assert_int_equal(io_write_all(io, fd, image.bytes[i], i == cut ? n : image.n[i], 0), 0);
        assert_int_equal(io->sync(io, fd), 0);
        io->close(io, fd);
    }
    assert_int_equal(io->sync_dir(io, dir), 0);
    io->close(io, dir);
}

// --- What the groups are, as text

static size_t print_record(const struct record *r, char *out, size_t size)
{
    struct record_group group;
    struct record_settled s;
    struct record_failed f;
    struct record_dead d;
    uint64_t first, last;
    size_t at = 0;
    switch (r->type) {
    case RECORD_GROUP: {
        struct group_config config;
        struct group_start start;
        char why[GROUP_ERROR_SIZE];
        group_config_init(&config);
        assert_int_equal(record_group_decode(r->body, &group), 0);
        assert_int_equal(group_config_read(group.map, true, &config, &start, why), 0);
        return (size_t)snprintf(out, size, "%u %s%s\n", group.number, config.name,
                                config.paused ? " paused" : "");
    }
    case RECORD_SETTLED:
        assert_int_equal(record_settled_decode(r->body, &s), 0);
        at = (size_t)snprintf(out, size, "  floor %" PRIu64, s.floor);
        while (record_settled_next(&s, &first, &last) == 1) {
            at += (size_t)snprintf(out + at, size - at, " %" PRIu64 "-%" PRIu64, first, last);
        }
        return at + (size_t)snprintf(out + at, size - at, "\n");
    case RECORD_FAILED:
        assert_int_equal(record_failed_decode(r->body, &f), 0);
        assert_true(f.due_ms == 0 || (f.due_ms > due_ms - 60000 && f.due_ms < due_ms + 60000));
        return (size_t)snprintf(out, size, "  %" PRIu64 " failed %u %u %d%d%d %" PRIu64 " %.*s\n",
                                f.seq, f.attempt, f.failures, f.added, f.terminated, f.due_ms > 0,
                                f.key, STR_ARG(f.error));
    default:
        assert_int_equal(r->type, RECORD_DEAD);
        assert_int_equal(record_dead_decode(r->body, &d), 0);
        return (size_t)snprintf(out, size,
                                "  %" PRIu64 " dead of %" PRIu64 " after %u at %" PRId64 "\n",
                                d.dead, d.origin_seq, d.attempts, d.died_ms);
    }
}

static void print_groups(struct groups *gs, char out[TEXT_BYTES])
{
    struct buf b;
    struct record r;
    size_t at = 0;
    buf_init(&b, 1 << 20);
    groups_write_state(&b, gs);
    assert_true(buf_ok(&b));
    out[0] = 0;
    for (struct str left = buf_str(&b); record_next(&left, &r) == 1;) {
        at += print_record(&r, out + at, TEXT_BYTES - at);
        assert_true(at < TEXT_BYTES);
    }
    buf_fini(&b);
}

// The number of the last segment's checkpoint.
static size_t last_checkpoint(void)
{
    size_t i = 0;
    while (frames[i].segment + 1 < SEGMENTS) {
        i++;
    }
    return i;
}

// What the log says of the groups when the frames [0, n) are there, but for one: from the last whole checkpoint that
// begins a segment on.
static void expect_groups(size_t n, size_t without, char out[TEXT_BYTES])
{
    struct groups *gs = groups_new();
    size_t checkpoint = last_checkpoint();
    size_t from = checkpoint < n && checkpoint != without ? checkpoint : 0;
    assert_non_null(gs);
    for (size_t i = from; i < n; i++) {
        struct str left = frames[i].frame.payload;
        struct record r;
        while (i != without && record_next(&left, &r) == 1) {
            assert_int_equal(groups_replay(&frames[i].frame, &r, gs), 0);
        }
    }
    print_groups(gs, out);
    groups_close(&gs);
}

// --- Reading

static struct {
    bool there[MAX_EVENTS + 1], lost[MAX_EVENTS + 1];
    size_t n_lost;
    size_t damages; // told by block_read()
} seen;

static void see_lost(uint64_t from, uint64_t to)
{
    for (; from < to && from <= MAX_EVENTS; from++) {
        seen.lost[from] = true;
        seen.n_lost++;
    }
}

static void read_block(const struct block_ref *ref, uint64_t *next)
{
    struct block_read r = { .io = j->options.io, .dir_fd = j->dir_fd, .ref = *ref };
    struct queue_event_entry e;
    bool named[MAX_EVENTS + 1] = { false };
    block_read(&r);
    assert_int_equal(r.status, 0);
    for (size_t i = 0; i < r.n_damages; i++) {
        for (uint64_t seq = r.damages[i].first_seq; seq <= r.damages[i].last_seq; seq++) {
            named[seq] = true;
        }
        if (r.damages[i].first_seq <= r.damages[i].last_seq) {
            (void)journal_note_lost(j, r.damages[i].first_seq, r.damages[i].last_seq);
        }
    }
    seen.damages += r.n_damages;
    struct block_cursor c = block_cursor_at(r.block, *next);
    for (bool more = true; more;) {
        more = block_cursor_next(&c, &e);
        uint64_t to = more ? e.seq : r.block->next_seq;
        for (uint64_t seq = *next; seq < to; seq++) {
            assert_true(named[seq]);
        }
        see_lost(*next, to);
        if (more) {
            assert_true(e.seq <= last_seq && str_eq(e.event, buf_str(&events[e.seq].bytes)));
            seen.there[e.seq] = true;
        }
        *next = to + more;
    }
    block_destroy(&r.block);
}

static void read_all(void)
{
    memset(&seen, 0, sizeof seen);
    for (uint64_t next = journal_first_seq(j); next < j->next_seq;) {
        struct block_ref ref;
        assert_true(journal_find(j, next, &ref));
        assert_true(ref.next_seq > next && !ref.removed);
        if (ref.lost) {
            see_lost(next, ref.next_seq);
            next = ref.next_seq;
        } else {
            read_block(&ref, &next);
        }
    }
}

static bool is_named(uint64_t seq)
{
    for (size_t i = 0; i < j->n_lost; i++) {
        if (j->lost[i].first_seq <= seq && seq <= j->lost[i].last_seq) {
            return true;
        }
    }
    return false;
}

static const char *place; // what was done to the log, for the message

// The log has all of its events in [1, next), but for those in [lost_from, lost_to), which it names and counts; and its
// groups are these. noticed: it has said that something is wrong.
static void check_log(uint64_t next, uint64_t lost_from, uint64_t lost_to, const char *expected,
                      bool noticed)
{
    char text[TEXT_BYTES];
    read_all();
    if (noticed && !notes[JOURNAL_DAMAGE] && !notes[JOURNAL_WARNING] && !seen.damages) {
        fail_msg("%s: nobody notices", place);
    }
    if (j->next_seq != next || journal_first_seq(j) != 1) {
        fail_msg("%s: the log is from %" PRIu64 " to %" PRIu64 " instead of 1 to %" PRIu64, place,
                 journal_first_seq(j), j->next_seq - 1, next - 1);
    }
    for (uint64_t seq = 1; seq < next; seq++) {
        bool lost = lost_from <= seq && seq < lost_to;
        if (seen.there[seq] == lost || seen.lost[seq] != lost || is_named(seq) != lost) {
            fail_msg("%s: event %" PRIu64 " is%s there, is%s told as lost and is%s named", place,
                     seq, seen.there[seq] ? "" : " not", seen.lost[seq] ? "" : " not",
                     is_named(seq) ? "" : " not");
        }
    }
    assert_int_equal(j->n_lost_events, lost_to - lost_from);
    print_groups(groups, text);
    if (strcmp(text, expected) != 0) {
        fail_msg("%s: the groups are\n%sinstead of\n%s", place, text, expected);
    }
}

static void reopen(void)
{
    journal_close(&j);
    disk_end(disk, DISK_POWER_LOST);
    open_journal();
}

static void finish(void)
{
    journal_close(&j);
    disk_destroy(&disk);
}

// --- Cases

static void test_an_undamaged_log(void **state)
{
    (void)state;
    char expected[TEXT_BYTES];
    put_image(SEGMENTS, 0);
    open_journal();
    expect_groups(n_frames, n_frames, expected);
    place = "as it was";
    check_log(last_seq + 1, 0, 0, expected, false);
    assert_int_equal(notes[JOURNAL_DAMAGE] + notes[JOURNAL_WARNING] + (int)seen.damages, 0);
    assert_string_equal(expected, "1 mail paused\n"
                                  "  floor 7 8-8\n"
                                  "  3 failed 1 1 001 77 broken\n"
                                  "  9 dead of 4 after 2 at 4102444800000\n"
                                  "2 audit paused\n"
                                  "  floor 2 2-2\n"
                                  "  6 failed 3 3 001 77 broken\n");
    finish();
}

enum heed {
    UNHEEDED, // it means nothing
    ONCE,     // it passes for an unfinished write, which is cut off
    ALWAYS,   // it is damage, which stays
};

// Turns one bit, opens twice, and compares.
static void try_bit(size_t segment, size_t byte, int bit, uint64_t next, uint64_t lost_from,
                    uint64_t lost_to, const char *expected, enum heed heed)
{
    static char text[80];
    (void)snprintf(text, sizeof text, "bit %d of byte %zu of segment %zu", bit, byte, segment);
    place = text;
    image.bytes[segment][byte] ^= (uint8_t)(1 << bit);
    put_image(SEGMENTS, 0);
    image.bytes[segment][byte] ^= (uint8_t)(1 << bit);
    open_journal();
    check_log(next, lost_from, lost_to, expected, heed != UNHEEDED);
    if (bit == (int)byte % 8) { // and what is found once is found again
        reopen();
        check_log(next, lost_from, lost_to, expected, heed == ALWAYS);
    }
    finish();
}

static void test_every_bit_of_every_frame(void **state)
{
    (void)state;
    char expected[TEXT_BYTES];
    for (size_t i = 0; i < n_frames; i++) {
        const struct frame *f = &frames[i].frame;
        bool is_last = i + 1 == n_frames;
        expect_groups(n_frames, i, expected);
        for (size_t byte = 0; byte < f->bytes; byte++) {
            for (int bit = 0; bit < 8; bit++) {
                try_bit(frames[i].segment, frames[i].at + byte, bit,
                        is_last ? f->first_seq : last_seq + 1, is_last ? 0 : f->first_seq,
                        is_last ? 0 : f->first_seq + f->count, expected, is_last ? ONCE : ALWAYS);
            }
        }
    }
}

// The rest of the files: headers, of which each stands twice, a trailer, and bytes that mean nothing, of which only zeros
// behind the last frame are looked at.
static void test_bits_outside_of_frames(void **state)
{
    (void)state;
    char expected[TEXT_BYTES];
    expect_groups(n_frames, n_frames, expected);
    for (size_t segment = 0; segment < SEGMENTS; segment++) {
        size_t end = FORMAT_FRAMES;
        for (size_t i = 0; i < n_frames; i++) {
            end = frames[i].segment == segment ? frames[i].at + frames[i].frame.bytes : end;
        }
        for (size_t byte = 0; byte < image.n[segment]; byte++) {
            bool header =
                byte < FORMAT_HEADER_BYTES ||
                (byte >= FORMAT_HEADER_COPY && byte < FORMAT_HEADER_COPY + FORMAT_HEADER_BYTES);
            bool filler = byte < FORMAT_FRAMES && !header;
            if (byte >= FORMAT_FRAMES && byte < end) {
                byte = end - 1;
                continue;
            }
            for (int bit = filler ? (int)byte % 8 : 0; bit < (filler ? (int)byte % 8 + 1 : 8);
                 bit++) {
                try_bit(segment, byte, bit, last_seq + 1, 0, 0, expected,
                        filler                             ? UNHEEDED
                        : header || segment + 1 < SEGMENTS ? ALWAYS
                                                           : ONCE);
            }
        }
    }
}

// The last frame of a log whose process was killed cannot be told from an unfinished write: the log is then as it was
// before it, groups and all, and the bytes are kept.
static void test_every_bit_of_a_bare_last_frame(void **state)
{
    (void)state;
    char expected[TEXT_BYTES];
    size_t i = n_frames - 1;
    assert_int_equal(frames[i].frame.kind, FRAME_EVENTS);
    assert_int_equal(frames[i].frame.count, 1);
    expect_groups(i, n_frames, expected);
    for (size_t byte = 0; byte < frames[i].frame.bytes; byte++) {
        for (int bit = 0; bit < 8; bit++) {
            try_bit(frames[i].segment, frames[i].at + byte, bit, frames[i].frame.first_seq, 0, 0,
                    expected, ONCE);
        }
    }
}

// A last segment that ends earlier is a log that was never written further: it is as it was then, and whatever is left
// of a frame that is not whole is named.
static void test_the_last_segment_at_every_length(void **state)
{
    (void)state;
    char expected[TEXT_BYTES], text[80];
    size_t checkpoint = last_checkpoint(), whole = checkpoint;
    for (size_t n = frames[checkpoint].at + frames[checkpoint].frame.bytes; n <= image.n[1]; n++) {
        while (whole < n_frames && n >= frames[whole].at + frames[whole].frame.bytes) {
            whole++;
        }
        uint64_t next = whole == n_frames ? last_seq + 1 : frames[whole].frame.first_seq;
        bool cut = whole < n_frames && n > frames[whole].at;
        (void)snprintf(text, sizeof text, "%zu bytes of the last segment", n);
        place = text;
        put_image(1, n);
        open_journal();
        expect_groups(whole, n_frames, expected);
        check_log(next, 0, 0, expected, cut);
        reopen();
        check_log(next, 0, 0, expected, false);
        finish();
    }
}

// No segment is ever without its first frame, so one that ends there does not pass for empty. How many events it had
// nobody can tell; what was before it is all there, and the groups are as they were then.
static void test_a_last_segment_without_frames(void **state)
{
    (void)state;
    char expected[TEXT_BYTES], text[TEXT_BYTES];
    const struct frame *first = &frames[last_checkpoint()].frame;
    expect_groups(last_checkpoint(), n_frames, expected);
    for (size_t n = 0; n < FORMAT_FRAMES + first->bytes; n++) {
        put_image(1, n);
        open_journal();
        for (int round = 0; round < 2; round++) {
            assert_true(notes[JOURNAL_DAMAGE] > 0);
            assert_true(j->next_seq >= image.first_seq[1]);
            read_all();
            for (uint64_t seq = 1; seq < image.first_seq[1]; seq++) {
                assert_true(seen.there[seq] && !is_named(seq));
            }
            print_groups(groups, text);
            assert_string_equal(text, expected);
            reopen();
        }
        finish();
    }
}

// A sealed segment that ends earlier lacks what the next one begins behind: all of that is named, and the groups are
// whole, since the last checkpoint has them.
static void test_a_sealed_segment_at_every_length(void **state)
{
    (void)state;
    char expected[TEXT_BYTES], text[80];
    expect_groups(n_frames, n_frames, expected);
    for (size_t n = 0; n < image.n[0]; n++) {
        uint64_t next = 1;
        for (size_t i = 0; i < n_frames; i++) {
            const struct frame *f = &frames[i].frame;
            if (frames[i].segment == 0 && n >= frames[i].at + f->bytes) {
                next = f->first_seq + f->count;
            }
        }
        (void)snprintf(text, sizeof text, "%zu bytes of the first segment", n);
        place = text;
        put_image(0, n);
        open_journal();
        check_log(last_seq + 1, next, image.first_seq[1], expected, true);
        reopen();
        check_log(last_seq + 1, next, image.first_seq[1], expected, true);
        finish();
    }
}

#define CASE(name, enter) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_an_undamaged_log, enter_followed),
        CASE(test_every_bit_of_every_frame, enter_followed),
        CASE(test_bits_outside_of_frames, enter_followed),
        CASE(test_every_bit_of_a_bare_last_frame, enter_bare),
        CASE(test_the_last_segment_at_every_length, enter_bare),
        CASE(test_a_last_segment_without_frames, enter_followed),
        CASE(test_a_sealed_segment_at_every_length, enter_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
