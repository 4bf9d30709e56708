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

enum fate {
    OPEN,      // nobody has settled it
    SETTLED,   // a member has, and the log is told with the next frame
    UNSURE,    // it was SETTLED when its process died
    CONFIRMED, // the log has it
    SKIPPED,   // the log said that retention has removed it; its file may come back all the same
};

struct work {
    struct chance chance;
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

static void config_of(struct group_config *c)
{
    group_config_init(c);
    (void)snprintf(c->name, sizeof c->name, "sim");
    c->max_deliveries = GROUP_MOST_DELIVERIES;
    c->max_pending = 30;
    c->backoff_ms = 200;
}

int work_on_state(const struct frame *f, const struct record *r, void *work)
{
    struct work *w = work;
    struct record_settled settled;
    struct record_failed failed;
    struct group_config config;
    (void)f;
    config_of(&config);
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
    w->defined = false;
}

void work_open(struct work *w, const struct journal *j, bool certain)
{
    struct group_config config;
    config_of(&config);
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
    return w->control.len > 0;
}

void work_stored(struct work *w)
{
    buf_reset(&w->control);
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
        settle(w, chance_below(&w->chance, 5) ? QUEUE_ACK : QUEUE_NAK);
    }
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
