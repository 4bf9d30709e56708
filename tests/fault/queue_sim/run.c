// SPDX-License-Identifier: MIT
#include "tests/fault/queue_sim/run.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/queue/block.h"
#include "services/queue/dead_letter.h"
#include "services/queue/journal.h"
#include "tests/fault/queue_sim/disk.h"
#include "tests/fault/queue_sim/model.h"
#include "tests/fault/queue_sim/work.h"

#define MAX_STEPS 60
#define MAX_BATCH 4                     // events of one producer in a frame
#define MAX_DATA 700                    // bytes of an event: a frame has up to a third of a segment
#define OPENS_WITH_FAULTS 4             // after so many refusals the disk is well again
#define MAX_OPENS 30                    // deaths while opening, one after the other
#define START_MS INT64_C(4102444800000) // ahead of the clock, which opening looks at

struct run {
    struct chance chance;
    struct disk *disk;
    struct model *model;
    struct work *work; // a group that reads the log
    struct journal *j; // NULL: no process runs
    struct journal_options options;
    struct disk_faults faults;
    uint32_t death_in_1000, rot_in_1000, full_in_1000; // of steps
    uint64_t acknowledged[MODEL_PRODUCERS];            // that the producers heard of
    int64_t now_ms;
    struct retention retention;
    struct model_limits limits[MODEL_TOPICS]; // the same, as the model is told
    bool turns;             // producers of one topic publish for a while, then all
    uint32_t silent;        // bits of the topics that nothing is published to now
    struct removal removal; // that is not done yet, if its n is not 0
    bool checkpoint_hit;    // a frame without events was damaged, or a whole segment
    bool blind; // a read failed while opening: what is there may pass for lost until the next start
    bool rotten; // a bit has turned in this run
    int damages; // that opening told of
    bool trace;
    struct run_counts *counts;
};

__attribute__((format(printf, 2, 3))) static void tell(const struct run *r, const char *format, ...)
{
    va_list args;
    if (r->trace) {
        va_start(args, format);
        printf("%8" PRIu64 "  ", disk_calls(r->disk));
        (void)vprintf(format, args);
        putchar('\n');
        va_end(args);
    }
}

static void on_note(enum journal_note kind, const char *text, void *data)
{
    static const char *const kinds[] = { "info", "warning", "damage" };
    struct run *r = data;
    tell(r, "  %s: %s", kinds[kind], text);
    r->damages += kind == JOURNAL_DAMAGE;
}

// --- Events

static void producer_name(uint32_t producer, char out[16])
{
    (void)snprintf(out, 16, "store-%" PRIu32, producer);
}

// The bytes of an event follow from its producer and number, so that any other byte shows.
static void encode(struct buf *b, struct model_event event)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    char id[48], key[16], topic[16], data[MAX_DATA + 3];
    struct chance own = { event.producer * UINT64_C(1000003) + event.number };
    size_t n = chance_below(&own, chance_below(&own, 4) ? 100 : MAX_DATA);
    data[0] = (char)0xC5; // MessagePack: bytes, with a length of 16 bits
    data[1] = (char)(n >> 8);
    data[2] = (char)n;
    for (size_t i = 0; i < n; i++) {
        data[3 + i] = letters[(event.number + i) % 26];
    }
    (void)snprintf(id, sizeof id, "%" PRIu32 ":%" PRIu64, event.producer, event.number);
    (void)snprintf(topic, sizeof topic, "t.%" PRIu32, model_topic(event));
    producer_name(event.producer, key);
    struct event e = { .id = str_of(id),
                       .topic = str_of(topic),
                       .key = str_of(key),
                       .subject = STR(""),
                       .source = STR("/sim"),
                       .time_ms = (int64_t)event.number,
                       .traceparent = STR(""),
                       .data = { data, n + 3 } };
    event_encode(b, &e);
    assert(buf_ok(b));
}

// A dead letter has the event that died, as it was and when it was stored, and says why.
static struct model_event check_dead_letter(const struct run *r, uint64_t seq,
                                            const struct dead_letter *d)
{
    struct model_event origin;
    int64_t stored_ms;
    struct buf copy, same;
    if (d->seq >= seq || !model_find(r->model, d->seq, &origin, &stored_ms) ||
        stored_ms != d->stored_ms) {
        model_fail("event %" PRIu64 " is the dead letter of %" PRIu64 ", which is not", seq,
                   d->seq);
    }
    if (!work_may_die(r->work, d)) {
        model_fail("event %" PRIu64 " died (%.*s) after %" PRIu32 " attempts: %.*s", d->seq,
                   STR_ARG(d->reason), d->attempts, STR_ARG(d->error));
    }
    buf_init(&copy, QUEUE_MAX_EVENT_BYTES);
    buf_init(&same, QUEUE_MAX_EVENT_BYTES);
    event_encode(&copy, &d->event);
    encode(&same, origin);
    if (!str_eq(buf_str(&copy), buf_str(&same))) {
        model_fail("event %" PRIu64 " was changed when it was buried as %" PRIu64, d->seq, seq);
    }
    buf_fini(&copy);
    buf_fini(&same);
    return (struct model_event){ MODEL_BURIALS, d->seq };
}

static struct model_event decode(const struct run *r, uint64_t seq, struct str bytes)
{
    struct dead_letter letter;
    if (dead_letter_decode(bytes, &letter) == 0) {
        return check_dead_letter(r, seq, &letter);
    }
    struct event e;
    struct model_event event = { 0, 0 };
    struct buf same;
    char id[48];
    if (event_decode(bytes, &e) || e.id.n >= sizeof id) {
        model_fail("event %" PRIu64 " is not an event", seq);
    }
    memcpy(id, e.id.p, e.id.n);
    id[e.id.n] = 0;
    if (sscanf(id, "%" SCNu32 ":%" SCNu64, &event.producer, &event.number) != 2 ||
        event.producer >= MODEL_PRODUCERS) {
        model_fail("event %" PRIu64 " has the id %s", seq, id);
    }
    buf_init(&same, QUEUE_MAX_EVENT_BYTES);
    encode(&same, event);
    if (!str_eq(buf_str(&same), bytes)) {
        model_fail("event %" PRIu64 " was changed", seq);
    }
    buf_fini(&same);
    return event;
}

// --- Reading

struct reading {
    struct run *run;
    struct model_reading model;
    bool excused;
};

// Reads one block from where the reading is. False: it cannot be read just now.
static bool read_block(struct reading *r, const struct block_ref *ref)
{
    struct journal *j = r->run->j;
    struct block_read read = { .io = j->options.io, .dir_fd = j->dir_fd, .ref = *ref };
    struct queue_event_entry e;
    bool gap = false;
    block_read(&read);
    if (read.status) {
        return false;
    }
    struct block_cursor c = block_cursor_at(read.block, r->model.next);
    while (block_cursor_next(&c, &e)) {
        if (e.seq > r->model.next) {
            gap = true;
            model_read_lost(r->run->model, &r->model, r->model.next, e.seq, r->excused);
        }
        model_read_event(r->run->model, &r->model, e.seq, e.stored_ms,
                         decode(r->run, e.seq, e.event));
    }
    if (r->model.next < ref->next_seq) {
        gap = true;
        model_read_lost(r->run->model, &r->model, r->model.next, ref->next_seq, r->excused);
    }
    if (gap && read.n_damages == 0) {
        model_fail("events before %" PRIu64 " are missing, and nothing is said about it",
                   r->model.next);
    }
    for (size_t i = 0; i < read.n_damages; i++) { // as the queue does
        r->run->counts->lost +=
            journal_note_lost(j, read.damages[i].first_seq, read.damages[i].last_seq);
    }
    block_destroy(&read.block);
    return true;
}

// Reads [from, to) as far as the disk lets it.
static bool read_range(struct run *run, uint64_t from, uint64_t to)
{
    struct reading r = { .run = run, .excused = run->blind };
    model_read_begin(run->model, &r.model, from);
    while (r.model.next < to) {
        struct block_ref ref;
        if (!journal_find(run->j, r.model.next, &ref)) {
            model_fail("event %" PRIu64 " is not found", r.model.next);
        }
        if (ref.removed) {
            model_read_removed(run->model, &r.model, r.model.next, ref.next_seq);
        } else if (ref.lost) {
            model_read_lost(run->model, &r.model, r.model.next, ref.next_seq, r.excused);
        } else if (!read_block(&r, &ref)) {
            return false;
        }
    }
    return true;
}

// Everything, on a disk that behaves for the moment.
static void read_all(struct run *r)
{
    disk_set_faults(r->disk, NULL);
    if (!read_range(r, journal_first_seq(r->j), r->j->next_seq)) {
        model_fail("cannot read a block of a disk that is well");
    }
    disk_set_faults(r->disk, &r->faults);
}

static void check_counts(const struct run *r)
{
    uint64_t events = 0;
    const struct topic *t;
    size_t at = 0;
    while ((t = catalog_next_topic(&r->j->catalog, &at))) {
        events += t->events;
    }
    if (events != journal_events(r->j)) {
        model_fail("topics have %" PRIu64 " events, segments %" PRIu64, events,
                   journal_events(r->j));
    }
}

// --- Damage

static bool header_is_valid(const uint8_t *bytes, struct segment_header *ret_header)
{
    uint32_t crc;
    return segment_header_decode(bytes, ret_header, &crc) == 0;
}

// The frame that has this byte: true.
static bool frame_at(const uint8_t *bytes, uint64_t size, uint32_t salt, uint64_t byte,
                     struct frame *ret_frame)
{
    for (uint64_t at = FORMAT_FRAMES; at + FORMAT_FRAME_BYTES <= size && at <= byte;) {
        struct frame f;
        if (frame_decode(bytes + at, size - at, salt, &f)) {
            at += 8;
            continue;
        }
        if (byte < at + f.bytes) {
            *ret_frame = f;
            return true;
        }
        at += f.bytes;
    }
    return false;
}

struct names {
    uint64_t seqs[256];
    size_t n;
};

static void on_name(const char *name, void *arg)
{
    struct names *names = arg;
    uint64_t seq;
    if (segment_name_parse(name, &seq)) {
        assert(names->n < 256);
        names->seqs[names->n++] = seq;
    }
}

// The first sequence of the segment behind this one; 0: it is the last.
static uint64_t segment_behind(const struct names *names, uint64_t seq)
{
    uint64_t next = 0;
    for (size_t i = 0; i < names->n; i++) {
        if (names->seqs[i] > seq && (next == 0 || names->seqs[i] < next)) {
            next = names->seqs[i];
        }
    }
    return next;
}

// Whether a bit of this frame may turn, and what follows from it.
static bool may_damage(struct run *r, const struct frame *f)
{
    if (f->kind != FRAME_EVENTS) {
        r->checkpoint_hit = true;
        model_bare(r->model);
        return true;
    }
    if (model_last_is_bare(r->model) && model_last_frame(r->model) == f->first_seq) {
        return false; // nothing behind it tells that it was not an unfinished write
    }
    return model_damage(r->model, f->first_seq);
}

static void rot(struct run *r)
{
    struct names names = { .n = 0 };
    struct segment_header h;
    struct frame f;
    uint64_t size;
    char name[SEGMENT_NAME_SIZE];
    disk_each(r->disk, on_name, &names);
    if (names.n == 0) {
        return;
    }
    uint64_t seq = names.seqs[chance_below(&r->chance, names.n)];
    segment_name(seq, name);
    const uint8_t *bytes = disk_look(r->disk, name, &size);
    if (size <= FORMAT_FRAMES) {
        return;
    }
    uint64_t from = chance_below(&r->chance, 8) ? FORMAT_FRAMES : 0;
    uint64_t bit = (from + chance_below(&r->chance, size - from)) * 8 + chance_below(&r->chance, 8);
    if (from == 0) {
        bit = (chance_below(&r->chance, 2) * FORMAT_HEADER_COPY +
               chance_below(&r->chance, FORMAT_HEADER_BYTES)) *
                  8 +
              chance_below(&r->chance, 8);
    }
    bool readable = header_is_valid(bytes, &h) || header_is_valid(bytes + FORMAT_HEADER_COPY, &h);
    if (!readable) { // which frame is hit cannot be told, and it is lost at the next start anyway
        return;
    }
    if (frame_at(bytes, size, h.salt, bit / 8, &f) && !may_damage(r, &f)) {
        return;
    }
    if (!disk_flip(r->disk, name, bit)) {
        return;
    }
    r->counts->flips++;
    r->rotten = true;
    model_forget_removals(r->model);
    tell(r, "bit %" PRIu64 " of byte %" PRIu64 " of %s turns", bit % 8, bit / 8, name);
}

// Segments without a header are lost as a whole, also what was written to them after their headers were damaged. How far
// the last one went nobody can tell: the log has to go on far behind it.
static void expect_headless(struct run *r)
{
    struct names names = { .n = 0 };
    struct segment_header h;
    char name[SEGMENT_NAME_SIZE];
    disk_each(r->disk, on_name, &names);
    for (size_t i = 0; i < names.n; i++) {
        uint64_t size, next = segment_behind(&names, names.seqs[i]);
        segment_name(names.seqs[i], name);
        const uint8_t *bytes = disk_look(r->disk, name, &size);
        if (size <= FORMAT_FRAMES || header_is_valid(bytes, &h) ||
            header_is_valid(bytes + FORMAT_HEADER_COPY, &h)) {
            continue;
        }
        model_damage_range(r->model, names.seqs[i], next ? next : UINT64_MAX);
        r->checkpoint_hit = true;
        if (next == 0) {
            model_skip(r->model, names.seqs[i] + size);
        }
    }
}

// --- Starting

static void end_process(struct run *r)
{
    enum disk_end how = chance_below(&r->chance, 3) ? DISK_POWER_LOST : DISK_KILLED;
    tell(r, "the process ends%s", how == DISK_POWER_LOST ? ", and the power is gone" : "");
    bool dead = disk_is_dead(r->disk);
    journal_close(&r->j);
    r->removal.n = 0;
    if (!dead && disk_handles(r->disk)) {
        model_fail("%d files are left open", disk_handles(r->disk));
    }
    disk_end(r->disk, how);
    r->counts->deaths++;
}

static void check_open(struct run *r)
{
    tell(r, "open: %" PRIu64 " to %" PRIu64, journal_first_seq(r->j), r->j->next_seq - 1);
    model_open(r->model, journal_first_seq(r->j), r->j->next_seq);
    if (r->damages && !r->rotten && !r->blind) {
        model_fail("opening tells of damage where there is none");
    }
    if (r->j->producers_lost) {
        if (!r->checkpoint_hit && !r->blind) {
            model_fail("the producers' sequences are lost, and no checkpoint was damaged");
        }
        model_forget_producers(r->model);
    }
    for (uint32_t p = 0; p < MODEL_PRODUCERS; p++) {
        char name[16];
        producer_name(p, name);
        const struct producer *known = catalog_producer(&r->j->catalog, str_of(name));
        model_producer(r->model, p, known ? known->stored_seq : 0);
    }
    read_all(r);
    check_counts(r);
    r->counts->opens++;
}

static void start(struct run *r)
{
    char error[JOURNAL_ERROR_SIZE];
    int refused = 0;
    for (int tries = 0;; tries++) {
        if (chance_in_1000(&r->chance, r->rot_in_1000)) {
            rot(r);
        }
        if (tries < MAX_OPENS && chance_in_1000(&r->chance, r->death_in_1000 * 4)) {
            disk_die_in(r->disk, 1 + chance_below(&r->chance, 40));
        }
        expect_headless(r);
        disk_set_faults(r->disk, refused < OPENS_WITH_FAULTS ? &r->faults : NULL);
        uint64_t errors = disk_read_errors(r->disk);
        r->damages = 0;
        work_begin(r->work);
        int status = journal_open(&r->options, &r->j, error);
        r->blind = disk_read_errors(r->disk) > errors;
        if (disk_is_dead(r->disk)) {
            end_process(r);
            continue;
        }
        if (status == 0) {
            break;
        }
        tell(r, "does not open: %s", error);
        r->counts->refused_opens++;
        if (refused++ >= OPENS_WITH_FAULTS) {
            model_fail("does not open: %s", error);
        }
        end_process(r);
    }
    disk_die_in(r->disk, 0);
    check_open(r);
    work_open(r->work, r->j, !r->rotten && !r->blind);
}

// --- Storing

// Puts what a producer sends into the frame, as far as it is new. Returns how many events.
static size_t send(struct run *r, uint32_t p, struct buf *frame, struct model_event *events)
{
    char name[16];
    producer_name(p, name);
    const struct producer *known = catalog_producer(&r->j->catalog, str_of(name));
    uint64_t stored = known ? known->stored_seq : 0, number = r->acknowledged[p];
    uint64_t last = number + 1 + chance_below(&r->chance, MAX_BATCH);
    size_t n = 0;
    while (++number <= last) {
        if (number <= stored) {
            r->counts->duplicates++;
            continue;
        }
        struct buf bytes;
        events[n] = (struct model_event){ p, number };
        buf_init(&bytes, QUEUE_MAX_EVENT_BYTES);
        encode(&bytes, events[n++]);
        record_event(frame, buf_str(&bytes));
        buf_fini(&bytes);
    }
    if (n) {
        const struct record_producer record = { last, r->now_ms, str_of(name) };
        record_producer(frame, &record);
    } else {
        if (last > model_stored(r->model, p)) {
            model_fail("%" PRIu64 " of producer %" PRIu32 " passes for stored", last, p);
        }
        r->acknowledged[p] = last;
    }
    return n;
}

// The producers hear of it, most of the time.
static void acknowledge(struct run *r, const struct model_event *events, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (chance_below(&r->chance, 12) || i == 0 ||
            events[i].producer != events[i - 1].producer) {
            r->acknowledged[events[i].producer] = events[i].number;
        }
    }
    if (chance_below(&r->chance, 8) == 0) { // one has lost its memory
        uint32_t p = (uint32_t)chance_below(&r->chance, MODEL_PRODUCERS);
        r->acknowledged[p] -=
            chance_below(&r->chance, r->acknowledged[p] < 9 ? r->acknowledged[p] + 1 : 9);
    }
}

// Returns the status of the append; the process may be dead after it.
static int append(struct run *r, struct buf *frame, enum frame_kind kind,
                  const struct model_event *events, size_t n)
{
    struct append a;
    model_begin(r->model, r->j->next_seq, events, n);
    int status = journal_append_prepare(r->j, &a, frame, kind, (uint32_t)n, r->now_ms);
    if (status == 0) {
        model_stamp(r->model, a.stored_ms);
        status = journal_append_finish(r->j, &a, journal_append_write(&a));
    }
    tell(r, "append %zu events from %" PRIu64 ": %d%s%s", n, a.first_seq, status,
         a.failed ? ", " : "", a.failed ? a.failed : "");
    if (disk_is_dead(r->disk)) {
        return -ECANCELED;
    }
    if (status == 0) {
        model_acknowledge(r->model);
        r->counts->frames++;
        r->counts->events += n;
    } else if (status == -ENOSPC) {
        model_refuse(r->model);
        r->counts->full++;
    } else {
        r->counts->failed++;
    }
    return status;
}

// What the group has to say, without events: a full disk has room for it.
static void tell_alone(struct run *r)
{
    struct buf frame;
    buf_init(&frame, UINT32_MAX);
    frame_begin(&frame);
    work_put_off(r->work);
    (void)work_collect(r->work, &frame); // there is something, as there was before
    int status = append(r, &frame, FRAME_EVENTS, NULL, 0);
    if (status == 0) {
        work_stored(r->work, r->j->next_seq);
    } else if (status != -ENOSPC) {
        end_process(r);
    }
    buf_fini(&frame);
}

static void publish(struct run *r)
{
    struct model_event events[MODEL_MAX_EVENTS];
    struct buf frame;
    size_t n = 0;
    buf_init(&frame, UINT32_MAX);
    frame_begin(&frame);
    for (uint32_t p = 0; p < MODEL_PRODUCERS; p++) {
        const struct model_event any = { p, 1 };
        if (chance_below(&r->chance, 2) && !(r->silent & 1U << model_topic(any))) {
            n += send(r, p, &frame, events + n);
        }
    }
    uint64_t died = work_bury(r->work, r->j, &frame, n, r->now_ms);
    events[n] = (struct model_event){ MODEL_BURIALS, died };
    bool told = work_collect(r->work, &frame);
    if (n || died || told) {
        uint64_t first_seq = r->j->next_seq;
        int status = append(r, &frame, FRAME_EVENTS, events, n + (died > 0));
        if (status == 0) {
            acknowledge(r, events, n);
            work_stored(r->work, first_seq);
            r->counts->burials += died > 0;
        } else if (status == -ENOSPC && (n || died) && told) {
            tell_alone(r);
        } else if (status != -ENOSPC) {
            end_process(r);
        } else {
            work_put_off(r->work);
        }
    }
    buf_fini(&frame);
}

// Ends in good order: a checkpoint, so that the last frame is known to be one.
static void stop(struct run *r)
{
    struct buf frame;
    buf_init(&frame, UINT32_MAX);
    frame_begin(&frame);
    journal_checkpoint(r->j, &frame);
    if (append(r, &frame, FRAME_CHECKPOINT, NULL, 0) == 0) {
        model_close(r->model);
    }
    buf_fini(&frame);
    end_process(r);
}

// The log took segments off; whichever they are, their time has to have come. The others still have something to keep.
static void check_expired(struct run *r, const uint64_t *before, size_t n, bool complete)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t to = i + 1 < n ? before[i + 1] : r->j->next_seq;
        bool there =
            r->j->n_segments &&
            r->j->segments[journal_segment_of(r->j, before[i])]->header.first_seq == before[i];
        if (!there) {
            r->counts->holes += before[i] >= journal_first_seq(r->j);
            model_remove(r->model, before[i], to, r->limits, r->now_ms);
        } else if (complete && i + 1 < n &&
                   model_is_overdue(r->model, before[i], to, r->limits, r->now_ms)) {
            model_fail("events %" PRIu64 " to %" PRIu64 " are kept beyond their time", before[i],
                       to - 1);
        }
    }
}

static void look_for_expired(struct run *r)
{
    uint64_t before[256];
    size_t n = r->j->n_segments;
    assert(n <= 256);
    for (size_t i = 0; i < n; i++) {
        before[i] = r->j->segments[i]->header.first_seq;
    }
    // What was damaged may pass for less than it is, and a look removes so much at a time.
    bool complete = !r->rotten && !r->blind && r->j->n_owed == 0;
    journal_expire(r->j, &r->retention, r->now_ms, UINT64_MAX, &r->removal);
    check_expired(r, before, n, complete && r->removal.n < JOURNAL_REMOVE_MAX);
    model_expire(r->model, journal_first_seq(r->j));
    r->counts->removals += r->removal.n;
}

static void expire(struct run *r)
{
    if (!r->turns && !r->retention.general.age_ms) {
        r->retention.general.bytes = r->options.segment_bytes * (1 + chance_below(&r->chance, 6));
    }
    if (r->removal.n == 0) {
        look_for_expired(r);
    }
    int status = journal_remove(&r->removal);
    tell(r, "remove %zu segments: %d", r->removal.n, status);
    if (status == 0) {
        r->removal.n = 0;
    }
    if (disk_is_dead(r->disk)) {
        end_process(r);
    }
}

static void read_some(struct run *r)
{
    uint64_t first = journal_first_seq(r->j), next = r->j->next_seq;
    if (first == next) {
        return;
    }
    uint64_t from = first + chance_below(&r->chance, next - first);
    bool done = read_range(r, from, from + chance_below(&r->chance, next - from) + 1);
    tell(r, "read from %" PRIu64 "%s", from, done ? "" : ", in vain");
    if (disk_is_dead(r->disk)) {
        end_process(r);
    }
}

// --- A run

static void step(struct run *r)
{
    r->now_ms += (int64_t)chance_below(&r->chance, 1000) - 100; // clocks are set back, too
    if (r->turns && chance_below(&r->chance, 8) == 0) {
        r->silent = chance_below(&r->chance, 3) ? 6 : 0;
    }
    if (chance_in_1000(&r->chance, r->death_in_1000)) {
        disk_die_in(r->disk, 1 + chance_below(&r->chance, 30));
    }
    if (chance_in_1000(&r->chance, r->full_in_1000)) {
        disk_set_room(r->disk, chance_below(&r->chance, 3) ? UINT64_MAX / 4
                                                           : chance_below(&r->chance, 30000));
    }
    if (chance_in_1000(&r->chance, r->rot_in_1000 / 4)) {
        rot(r);
    }
    work_step(r->work, r->j);
    if (disk_is_dead(r->disk)) {
        end_process(r);
        return;
    }
    uint64_t what = chance_below(&r->chance, 100);
    if (what < 75) {
        publish(r);
    } else if (what < 87) {
        read_some(r);
    } else if (what < 92) {
        expire(r);
    } else if (what < 95) {
        stop(r);
    } else if (what < 97) {
        r->j->roll = true;
    } else {
        end_process(r);
    }
}

// How long events are kept in this run: by the room they take, by age, or each topic by something else. In the last case
// one topic stays for ever and the others go, so that there are holes.
static void choose_retention(struct run *r, uint64_t seed)
{
    struct chance own = { seed }; // the run's own dice are for what happens in it
    uint64_t kind = (seed + 1) % 3;
    int64_t age_ms = 500 + (int64_t)chance_below(&own, 8000);
    if (kind == 0) {
        for (size_t i = 0; i < MODEL_TOPICS; i++) {
            r->limits[i].bytes = true; // of dead letters, too
        }
    } else if (kind == 1) {
        r->retention.general.age_ms = age_ms;
        for (size_t i = 0; i < MODEL_TOPICS; i++) {
            r->limits[i].age_ms = age_ms;
        }
    } else {
        uint64_t count = 1 + chance_below(&own, 40);
        r->turns = true;
        r->retention.rules[0] = (struct retention_rule){ STR("t.0"), { .age_ms = age_ms } };
        r->retention.rules[1] = (struct retention_rule){ STR("t.2"), { .count = count } };
        r->retention.n_rules = 2;
        r->limits[0].age_ms = age_ms;
        r->limits[2].count = count;
    }
}

// What kind of run this seed is: some have one trouble only, some have all.
static void choose(struct run *r)
{
    static const uint64_t segments[] = { 12288, 16384, 24576 };
    static const uint32_t blocks[] = { 256, 1024, 4096 };
    struct chance *c = &r->chance;
    struct disk_options disk = { .page_bytes = chance_below(c, 2) ? 512 : 4096,
                                 .knows_holes = chance_below(c, 4) > 0,
                                 .can_reserve = chance_below(c, 8) > 0,
                                 .write_back = chance_below(c, 2) ? 100 : 0 };
    r->disk = disk_new(chance_next(c), &disk);
    r->options = (struct journal_options){ .dir = "log",
                                           .io = disk_io(r->disk),
                                           .segment_bytes = segments[chance_below(c, 3)],
                                           .block_bytes = blocks[chance_below(c, 3)],
                                           .on_note = on_note,
                                           .on_state = work_on_state,
                                           .write_state = work_write_state,
                                           .state = r->work,
                                           .data = r };
    r->death_in_1000 = chance_below(c, 3) ? 60 : 0;
    r->rot_in_1000 = chance_below(c, 3) ? 0 : 200;
    r->full_in_1000 = chance_below(c, 3) ? 0 : 100;
    r->faults.brief = chance_below(c, 2) ? 100 : 0;
    r->faults.read_error = chance_below(c, 3) ? 0 : 5;
    r->faults.write_error = chance_below(c, 3) ? 0 : 5;
    r->faults.sync_error = chance_below(c, 3) ? 0 : 20;
    r->faults.name_error = chance_below(c, 3) ? 0 : 10;
}

void run_seed(uint64_t seed, bool trace, struct run_counts *counts)
{
    struct run r = { .chance = { seed * UINT64_C(0x2545F4914F6CDD1D) + 1 },
                     .now_ms = START_MS,
                     .trace = trace,
                     .counts = counts };
    model_set_seed(seed);
    r.work = work_new(seed);
    choose(&r);
    choose_retention(&r, seed);
    r.model = model_new();
    for (int i = 0; i < MAX_STEPS; i++) {
        if (!r.j) {
            start(&r);
        }
        step(&r);
    }
    for (int i = 0; i < 2; i++) { // and what is found once is found again
        if (r.j) {
            end_process(&r);
        }
        start(&r);
    }
    disk_set_faults(r.disk, NULL);
    work_finish(r.work, r.j);
    work_destroy(&r.work);
    counts->calls += disk_calls(r.disk);
    journal_close(&r.j);
    model_destroy(&r.model);
    disk_destroy(&r.disk);
}
