// SPDX-License-Identifier: MIT
#include "tests/fault/queue_sim/work.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/queue_frames.h"
#include "proto/writer.h"
#include "services/queue/block.h"
#include "services/queue/group.h"
#include "tests/fault/queue_sim/model.h"

#define NUMBER 5 // of the group
#define MEMBERS 3
#define MAX_SEQ 100000 // a run has a few hundred, and gaps after damage
#define TAKEN_AT_ONCE 6
#define MAX_BURIALS 256 // one with a frame

enum fate {
    OPEN,      // nobody has settled it
    SETTLED,   // a member has, and the log is told with the next frame
    UNSURE,    // it was SETTLED when its process died
    CONFIRMED, // the log has it
    SKIPPED,   // the log said that retention has removed it; its file may come back all the same
};

// An event that died, and the place of its copy in the log.
struct burial {
    uint64_t seq, dead_seq;
    int64_t died_ms;
    uint32_t attempts;
};

struct work {
    struct chance chance;
    uint32_t max_deliveries;
    struct burial burial; // on its way to the log; its seq is 0: none is
    struct burial buried[MAX_BURIALS];
    size_t n_buried;
    struct group *g; // NULL: no process, or the log has none yet
    struct member members[MEMBERS];
    bool joined[MEMBERS];
    struct buf control; // what the log is to be told
    bool defined;       // the log has heard of the group
    bool certain;
    uint64_t removed_before; // the group was told so; files that stayed all the same may come back
    uint8_t fates[MAX_SEQ];
    int64_t now_us;
};

struct work *work_new(uint64_t seed)
{
    struct work *w = calloc(1, sizeof *w);
    assert(w);
    w->chance.state = seed ^ UINT64_C(0x9E3779B97F4A7C15);
    w->now_us = 1000000;
    w->max_deliveries = seed / 3 % 2 ? 1 + (uint32_t)(seed % 4) : GROUP_MOST_DELIVERIES;
    w->certain = true;
    buf_init(&w->control, 1 << 24);
    return w;
}

static void forget_group(struct work *w)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (w->g && w->joined[i]) {
            (void)group_leave(w->g, &w->members[i], false, w->now_us); // it dies with the process
        }
        w->joined[i] = false;
    }
    group_destroy(&w->g);
}

void work_destroy(struct work **w)
{
    forget_group(*w);
    buf_fini(&(*w)->control);
    free(*w);
    *w = NULL;
}

// --- The log

static void config_of(const struct work *w, struct group_config *c)
{
    group_config_init(c);
    (void)snprintf(c->name, sizeof c->name, "sim");
    c->max_deliveries = w->max_deliveries;
    c->max_pending = 30;
    c->backoff_ms = 200;
}

int work_on_state(const struct frame *f, const struct record *r, void *work)
{
    struct work *w = work;
    struct record_settled settled;
    struct record_failed failed;
    struct record_dead dead;
    struct group_config config;
    config_of(w, &config);
    switch (r->type) {
    case RECORD_GROUP:
        w->defined = true;
        w->g = w->g ? w->g : group_new(NUMBER, &config, 0);
        return w->g ? 0 : -ENOMEM;
    case RECORD_SETTLED:
        return !w->g || record_settled_decode(r->body, &settled)
                   ? -EBADMSG
                   : group_replay_settled(w->g, settled);
    case RECORD_FAILED:
        return !w->g || record_failed_decode(r->body, &failed)
                   ? -EBADMSG
                   : group_replay_failed(w->g, &failed, w->now_us / 1000, w->now_us);
    case RECORD_DEAD:
        return !w->g || record_dead_decode(r->body, &dead)
                   ? -EBADMSG
                   : group_replay_dead(w->g, &dead, f->kind == FRAME_EVENTS ? f->first_seq : 0);
    default:
        return 0;
    }
}

static void write_definition(struct buf *b)
{
    const struct record_group r = { NUMBER, STR("\x80") };
    record_group(b, &r);
}

void work_write_state(struct buf *b, void *work)
{
    struct work *w = work;
    if (w->g) {
        write_definition(b);
        group_write_state(w->g, w->now_us / 1000, w->now_us, b);
    }
}

void work_begin(struct work *w)
{
    forget_group(w);
    buf_reset(&w->control);
    for (uint64_t seq = 0; seq < MAX_SEQ; seq++) {
        w->fates[seq] = w->fates[seq] == SETTLED ? UNSURE : w->fates[seq];
    }
    if (w->burial.seq) { // it may be in the log or not
        w->fates[w->burial.seq] = UNSURE;
    }
    w->defined = false;
}

static const struct burial *find_burial(const struct work *w, uint64_t dead_seq)
{
    for (size_t i = 0; i < w->n_buried; i++) {
        if (w->buried[i].dead_seq == dead_seq) {
            return &w->buried[i];
        }
    }
    return NULL;
}

static void note_burial(struct work *w, uint64_t dead_seq)
{
    assert(w->n_buried < MAX_BURIALS);
    w->burial.dead_seq = dead_seq;
    w->buried[w->n_buried++] = w->burial;
}

// Dead letters are listed as long as the log has them, and no others are. The one that was on its way is there if its
// frame is.
static void check_dead(struct work *w, const struct journal *j)
{
    for (size_t i = 0; i < w->g->n_dead; i++) {
        const struct dead *d = &w->g->dead[i];
        if (w->burial.seq && !find_burial(w, d->seq) && d->origin_seq == w->burial.seq) {
            w->fates[w->burial.seq] = CONFIRMED;
            note_burial(w, d->seq);
        }
        const struct burial *b = find_burial(w, d->seq);
        if (!b || b->seq != d->origin_seq || b->attempts != d->attempts ||
            b->died_ms != d->died_ms) {
            model_fail("event %" PRIu64 " is listed as the dead letter of %" PRIu64
                       ", and nobody buried it",
                       d->seq, d->origin_seq);
        }
    }
    for (size_t i = 0; i < w->n_buried; i++) {
        uint64_t seq = w->buried[i].dead_seq;
        if (seq >= journal_first_seq(j) && seq >= w->removed_before &&
            !group_find_dead(w->g, seq)) {
            model_fail("the dead letter %" PRIu64 " of event %" PRIu64 " is not listed", seq,
                       w->buried[i].seq);
        }
    }
}

void work_open(struct work *w, const struct journal *j, bool certain)
{
    struct group_config config;
    config_of(w, &config);
    w->certain = w->certain && certain;
    if (!certain) {
        memset(w->fates, OPEN, sizeof w->fates); // it may all come again
    }
    if (!w->g) {
        w->g = group_new(NUMBER, &config, 1);
        assert(w->g);
        w->g->reset = true;
        write_definition(&w->control);
    }
    if (w->certain) {
        check_dead(w, j);
    }
    w->burial.seq = 0;
    for (uint64_t seq = j->next_seq; seq < MAX_SEQ; seq++) {
        w->fates[seq] = OPEN; // those that the log does not have were not stored
    }
}

bool work_collect(struct work *w, struct buf *frame)
{
    if (group_changed(w->g)) {
        group_write_changes(w->g, w->now_us / 1000, w->now_us, &w->control);
    }
    buf_append_str(frame, buf_str(&w->control));
    if (w->burial.seq) {
        const struct burial *b = &w->burial;
        const struct record_dead r = {
            NUMBER, b->attempts, b->seq, b->seq, b->dead_seq, b->died_ms
        };
        record_dead(frame, &r);
    }
    return w->control.len > 0;
}

void work_stored(struct work *w, uint64_t first_seq)
{
    buf_reset(&w->control);
    if (w->burial.seq) {
        const struct burial *b = &w->burial;
        const struct dead d = { first_seq + b->dead_seq, b->seq, b->died_ms, b->attempts };
        group_bury(w->g, pending_find(&w->g->pending, b->seq), &d);
        w->fates[b->seq] = CONFIRMED;
        note_burial(w, d.seq);
        w->burial.seq = 0;
    }
    for (uint64_t seq = 0; seq < MAX_SEQ; seq++) {
        w->fates[seq] = w->fates[seq] == SETTLED ? CONFIRMED : w->fates[seq];
    }
}

// --- Delivering

static bool always(const struct member *m, void *data)
{
    (void)m;
    (void)data;
    return true;
}

static void deliver(struct work *w, struct pending *e)
{
    struct member *m = group_next_member(w->g, always, NULL);
    if (!m) {
        return;
    }
    if (w->certain && w->fates[e->seq] == CONFIRMED) {
        model_fail("event %" PRIu64 " comes again, which was settled for sure", e->seq);
    }
    if (e->failures >= w->max_deliveries) {
        model_fail("event %" PRIu64 " comes again after %" PRIu32 " failures", e->seq, e->failures);
    }
    group_deliver(w->g, e, m, w->now_us);
    group_pass_turn(w->g, m);
}

// Takes the events of the block at the cursor. False: it cannot be read just now.
static bool take_block(struct work *w, const struct journal *j, const struct block_ref *ref)
{
    struct block_read read = { .io = j->options.io, .dir_fd = j->dir_fd, .ref = *ref };
    struct queue_event_entry event;
    block_read(&read);
    if (read.status) {
        return false;
    }
    struct block_cursor c = block_cursor_at(read.block, w->g->cursor);
    bool room = true;
    while ((room = group_may_take(w->g)) && block_cursor_next(&c, &event)) {
        struct str topic, key;
        struct pending *e;
        int status = event_decode_route(event.event, &topic, &key);
        status = status ? status : group_take(w->g, event.seq, topic, key, &e);
        assert(status == 0);
        if (topic_is_own(topic)) {
            w->fates[event.seq] = SKIPPED; // is for those who ask for dead letters
        }
    }
    if (room && w->g->cursor < ref->next_seq) {
        group_skip(w->g, ref->next_seq); // damaged
    }
    block_destroy(&read.block);
    return true;
}

static void take(struct work *w, const struct journal *j)
{
    struct block_ref ref;
    while (group_may_take(w->g) && w->g->cursor < j->next_seq) {
        if (w->g->cursor < journal_first_seq(j)) {
            group_skip(w->g, journal_first_seq(j));
            w->removed_before = w->g->cursor > w->removed_before ? w->g->cursor : w->removed_before;
        } else if (!journal_find(j, w->g->cursor, &ref)) {
            return;
        } else if (ref.lost || ref.removed) {
            for (uint64_t seq = w->g->cursor; ref.removed && seq < ref.next_seq; seq++) {
                w->fates[seq] = w->fates[seq] == OPEN ? SKIPPED : w->fates[seq];
            }
            group_skip(w->g, ref.next_seq);
        } else if (!take_block(w, j, &ref)) {
            return;
        }
    }
}

static void settle(struct work *w, enum queue_verdict verdict)
{
    struct pending *e = pending_first(&w->g->pending, PENDING_DELIVERED);
    for (uint64_t n = chance_below(&w->chance, 5); e && n > 0 && pending_after(&w->g->pending, e);
         n--) {
        e = pending_after(&w->g->pending, e);
    }
    if (!e) {
        return;
    }
    const struct queue_range range = { e->seq, e->seq + chance_below(&w->chance, 6), e->attempt,
                                       1 };
    const struct settlement s = { .verdict = verdict,
                                  .delay_ms = (int64_t)chance_below(&w->chance, 300),
                                  .error = STR("sim"),
                                  .now_us = w->now_us };
    struct member *m = e->member;
    int64_t took_us;
    bool mine[8] = { false };
    for (uint64_t seq = range.first_seq; seq <= range.last_seq; seq++) {
        const struct pending *p = pending_find(&w->g->pending, seq);
        mine[seq - range.first_seq] =
            p && p->state == PENDING_DELIVERED && p->member == m && p->attempt == range.attempt;
    }
    (void)group_settle(w->g, m, &s, &range,
                       &took_us); // how many is what test_queue_group_replay looks at
    for (uint64_t seq = range.first_seq; verdict == QUEUE_ACK && seq <= range.last_seq; seq++) {
        if (mine[seq - range.first_seq]) {
            w->fates[seq] = SETTLED;
        }
    }
}

static void join_or_leave(struct work *w)
{
    uint64_t i = chance_below(&w->chance, MEMBERS);
    if (w->joined[i]) {
        (void)group_leave(w->g, &w->members[i], chance_below(&w->chance, 2), w->now_us);
    } else {
        w->members[i] = (struct member){ .number = i, .window = 4 };
        group_join(w->g, &w->members[i]);
    }
    w->joined[i] = !w->joined[i];
}

void work_step(struct work *w, const struct journal *j)
{
    w->now_us += (int64_t)chance_below(&w->chance, 200000);
    assert(j->next_seq < MAX_SEQ);
    if (chance_below(&w->chance, 6) == 0 || !w->g->n_members) {
        join_or_leave(w);
    }
    (void)group_tick(w->g, w->now_us);
    take(w, j);
    struct pending *e;
    for (int i = 0; i < TAKEN_AT_ONCE && w->g->n_members && (e = group_ready(w->g)); i++) {
        deliver(w, e);
    }
    for (uint64_t n = chance_below(&w->chance, 5); n > 0; n--) {
        bool good = chance_below(&w->chance, 5);
        bool hopeless =
            !good && w->max_deliveries < GROUP_MOST_DELIVERIES && chance_below(&w->chance, 3) == 0;
        settle(w, good ? QUEUE_ACK : hopeless ? QUEUE_TERM : QUEUE_NAK);
    }
}

// --- Burying

bool work_may_die(const struct work *w, const struct dead_letter *d)
{
    bool terminated = str_eq(d->reason, STR("terminated"));
    return w->max_deliveries < GROUP_MOST_DELIVERIES && str_eq(d->group, STR("sim")) &&
           d->retries == 0 && d->attempts > 0 && d->error.n > 0 &&
           (terminated ||
            (str_eq(d->reason, STR("max-deliveries")) && d->attempts >= w->max_deliveries));
}

// The event of this sequence: 1; 0: it cannot be read just now; -ENOENT: it is not there any more.
static int read_event(const struct journal *j, uint64_t seq, struct block **ret_block,
                      struct queue_event_entry *ret_event)
{
    struct block_ref ref;
    if (!journal_find(j, seq, &ref) || ref.lost || ref.removed) {
        return -ENOENT;
    }
    struct block_read read = { .io = j->options.io, .dir_fd = j->dir_fd, .ref = ref };
    block_read(&read);
    if (read.status) {
        return 0;
    }
    if (!block_find(read.block, seq, ret_event)) {
        block_destroy(&read.block);
        return -ENOENT;
    }
    *ret_block = read.block;
    return 1;
}

static void wrap(const struct pending *e, const struct queue_event_entry *event, struct buf *copy,
                 int64_t now_ms)
{
    struct dead_letter d = { .group = STR("sim"),
                             .reason = e->terminated ? STR("terminated") : STR("max-deliveries"),
                             .error = str_of(e->error),
                             .attempts = e->attempt,
                             .seq = e->seq,
                             .stored_ms = event->stored_ms };
    int status = event_decode(event->event, &d.event);
    assert(status == 0);
    dead_letter_encode(copy, &d, now_ms);
    assert(buf_ok(copy));
}

uint64_t work_bury(struct work *w, const struct journal *j, struct buf *frame, size_t n,
                   int64_t now_ms)
{
    struct pending *e = pending_first(&w->g->pending, PENDING_DYING);
    struct queue_event_entry event;
    struct block *block;
    struct buf copy;
    w->burial.seq = 0;
    int status = e ? read_event(j, e->seq, &block, &event) : 0;
    if (status < 0) {
        w->fates[e->seq] = SKIPPED;
        group_give_up(w->g, e);
    }
    if (status <= 0) {
        return 0;
    }
    if (w->certain && w->fates[e->seq] == CONFIRMED) {
        model_fail("event %" PRIu64 " dies, which was settled for sure", e->seq);
    }
    buf_init(&copy, QUEUE_MAX_EVENT_BYTES);
    wrap(e, &event, &copy, now_ms);
    record_event(frame, buf_str(&copy));
    buf_fini(&copy);
    block_destroy(&block);
    // Its place in the frame, until that is stored.
    w->burial = (struct burial){ e->seq, n, now_ms, e->attempt };
    return e->seq;
}

void work_put_off(struct work *w)
{
    w->burial.seq = 0;
}

// --- The end

void work_finish(struct work *w, const struct journal *j)
{
    struct pending *e;
    if (!w->joined[0]) {
        w->members[0] = (struct member){ .window = 4 };
        group_join(w->g, &w->members[0]);
        w->joined[0] = true;
    }
    for (int idle = 0; idle < 3;) {
        w->now_us += INT64_C(100000000); // every delay is over, every delivery timed out
        (void)group_tick(w->g, w->now_us);
        take(w, j);
        idle++;
        while ((e = pending_first(&w->g->pending, PENDING_DYING))) {
            const struct dead d = { MAX_SEQ + e->seq, e->seq, 1, 1 };
            if (w->certain && w->fates[e->seq] == CONFIRMED) {
                model_fail("event %" PRIu64 " dies, which was settled for sure", e->seq);
            }
            w->fates[e->seq] = SETTLED;
            group_bury(w->g, e, &d);
            idle = 0;
        }
        while ((e = group_ready(w->g))) {
            struct queue_range range = { e->seq, e->seq, 0, 1 };
            const struct settlement ack = { .verdict = QUEUE_ACK,
                                            .error = STR(""),
                                            .now_us = w->now_us };
            int64_t took_us;
            deliver(w, e);
            e = pending_find(&w->g->pending, range.first_seq);
            range.attempt = e->attempt;
            if (group_settle(w->g, e->member, &ack, &range, &took_us) != 1) {
                model_fail("event %" PRIu64 " cannot be settled", range.first_seq);
            }
            w->fates[range.first_seq] = SETTLED;
            take(w, j);
            idle = 0;
        }
    }
    if (w->g->cursor != j->next_seq || w->g->pending.n) {
        model_fail("the group stands at %" PRIu64 " with %zu pending; the log ends at %" PRIu64,
                   w->g->cursor, w->g->pending.n, j->next_seq);
    }
    uint64_t from =
        journal_first_seq(j) > w->removed_before ? journal_first_seq(j) : w->removed_before;
    for (uint64_t seq = from; w->certain && seq < j->next_seq; seq++) {
        struct block_ref ref;
        bool there = journal_find(j, seq, &ref) && !ref.lost && !ref.removed;
        if (there && w->fates[seq] == OPEN) {
            model_fail("event %" PRIu64 " was never settled, and never came", seq);
        }
    }
}
