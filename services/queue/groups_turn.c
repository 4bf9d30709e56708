// SPDX-License-Identifier: MIT
// One step serves one member of one group: first what is ready from before, then what comes at the cursor. An
// event that can go out at once is read only once, where the cursor is; one that had to wait is read again.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "services/queue/dead_letter.h"
#include "services/queue/group_stats.h"
#include "services/queue/groups_impl.h"
#include "services/queue/stats.h"

#define FRAME_BYTES (256 * 1024) // of a DELIVER frame, about
#define SKIP_COST 4096  // what passing over a block without looking into it counts as, in bytes
#define BURY_AT_ONCE 64 // dead letters of one group in one step

enum stop {
    STOP_STEP, // this step's share of work is done
    STOP_FULL, // the frame is full, or the member has its share
    STOP_END,  // of what is stored, or of what the group may have pending
    STOP_LOST, // a range is gone, which the member is to be told
    STOP_LOAD  // a block is not in memory
};

struct step {
    struct group *group;
    struct member *member;
    int64_t now_us;
    bool expires;                 // some of the events around the cursor are expired
    uint32_t n, max;              // events in the frame, and how many may be
    size_t looked_at;             // bytes
    uint64_t first, last;         // STOP_LOST
    struct block_ref ref;         // STOP_LOAD
    uint64_t first_seq, last_seq; // of the frame; for who watches
};

// --- Reading

// Where the block of this sequence is: 0 and the block; -EAGAIN: has to be read; -ENOENT: the event is gone,
// with all before ret_ref->next_seq.
static int find_block(struct groups *gs, uint64_t seq, struct block **ret_block,
                      struct block_ref *ret_ref)
{
    *ret_block = cache_find(gs->options.cache, seq);
    if (*ret_block) {
        return 0;
    }
    if (!journal_find(gs->options.journal, seq, ret_ref)) {
        uint64_t first = journal_first_seq(gs->options.journal);
        *ret_ref = (struct block_ref){ .next_seq = seq < first ? first : seq + 1 };
        return -ENOENT;
    }
    return ret_ref->lost || ret_ref->removed ? -ENOENT : -EAGAIN;
}

int groups_read(struct groups *gs, uint64_t seq, struct queue_event_entry *ret_event)
{
    struct block *b;
    struct block_ref ref;
    int status = find_block(gs, seq, &b, &ref);
    if (status == -EAGAIN) {
        (void)loader_read(gs->options.loader, &ref); // without a free slot: asked again when one is
    }
    return status ? status : block_find(b, seq, ret_event) ? 0 : -ENOENT;
}

// --- Filling a frame

// What the member gets of an event: a dead letter that was brought back is the event that died.
static struct str content(struct groups *gs, const struct pending *e, struct str event)
{
    struct dead_letter d;
    if (!e->added || dead_letter_decode(event, &d)) {
        return event;
    }
    buf_reset(&gs->unwrapped);
    event_encode(&gs->unwrapped, &d.event);
    return buf_ok(&gs->unwrapped) ? buf_str(&gs->unwrapped) : event;
}

static bool fits(const struct groups *gs, const struct step *s, size_t bytes)
{
    return s->n < s->max && (s->n == 0 || gs->frame.len + bytes <= FRAME_BYTES);
}

static void put(struct groups *gs, struct step *s, struct pending *e,
                const struct queue_event_entry *event)
{
    group_deliver(s->group, e, s->member, s->now_us);
    struct queue_delivery d = { e->seq, event->stored_ms, e->attempt,
                                content(gs, e, event->event) };
    queue_deliver_entry(&gs->frame, &d);
    s->first_seq = s->n == 0 || e->seq < s->first_seq ? e->seq : s->first_seq;
    s->last_seq = e->seq > s->last_seq ? e->seq : s->last_seq;
    s->n++;
}

// Delivers an event that was ready before. 0, or why to stop in *ret_stop.
static bool put_ready(struct groups *gs, struct step *s, struct pending *e, enum stop *ret_stop)
{
    struct block *b;
    struct queue_event_entry event;
    int status = find_block(gs, e->seq, &b, &s->ref);
    if (status == -EAGAIN) {
        *ret_stop = STOP_LOAD;
        return false;
    }
    if (status || !block_find(b, e->seq, &event)) {
        s->first = s->last = e->seq;
        group_give_up(s->group, e);
        *ret_stop = STOP_LOST;
        return false;
    }
    if (!fits(gs, s, event.event.n)) {
        *ret_stop = STOP_FULL;
        return false;
    }
    s->looked_at += event.event.n;
    put(gs, s, e, &event);
    return true;
}

static void set_lost(struct step *s, uint64_t to)
{
    s->first = s->group->cursor;
    s->last = to - 1;
    s->group->counts.skipped += to - s->group->cursor;
    group_skip(s->group, to);
}

// What an event is about, and its key; about what nobody wants, if it cannot be read or is expired.
static struct str topic_of(const struct groups *gs, bool expires,
                           const struct queue_event_entry *event, struct str *ret_key)
{
    struct str topic;
    if (event_decode_route(event->event, &topic, ret_key) ||
        (expires && journal_is_expired(gs->options.journal, event->seq, event->event))) {
        topic = *ret_key = STR("$");
    }
    return topic;
}

// Looks at one event at the cursor. False: stops.
static bool look(struct groups *gs, struct step *s, const struct queue_event_entry *event,
                 enum stop *ret_stop)
{
    struct str key;
    struct pending *e;
    if (event->seq > s->group->cursor) {
        set_lost(s, event->seq);
        *ret_stop = STOP_LOST;
        return false;
    }
    *ret_stop = STOP_FULL;
    if (!fits(gs, s, event->event.n)) {
        return false;
    }
    *ret_stop = STOP_END;
    if (!group_may_take(s->group)) {
        return false;
    }
    struct str topic = topic_of(gs, s->expires, event, &key);
    if (group_take(s->group, event->seq, topic, key, &e)) {
        return false; // out of memory: the next tick tries again
    }
    s->looked_at += event->event.n;
    if (e && e->state == PENDING_READY) {
        put(gs, s, e, event);
    }
    *ret_stop = STOP_STEP;
    return s->looked_at < GROUPS_STEP_BYTES;
}

// Goes through a block from the cursor on. False: stops.
static bool look_through(struct groups *gs, struct step *s, const struct block *b,
                         enum stop *ret_stop)
{
    struct block_cursor cursor = block_cursor_at(b, s->group->cursor);
    s->expires = journal_has_expired(gs->options.journal, s->group->cursor);
    struct queue_event_entry event;
    while (block_cursor_next(&cursor, &event)) {
        if (!look(gs, s, &event, ret_stop)) {
            return false;
        }
        // Something may have become ready behind its key only by settling, so the cursor goes on.
    }
    if (s->group->cursor < b->next_seq) {
        set_lost(s, b->next_seq);
        *ret_stop = STOP_LOST;
        return false;
    }
    return true;
}

// As find_block() for the block at the cursor; 1: it was passed over, as the group wants nothing of it.
static int block_at_cursor(struct groups *gs, struct group *g, struct block **ret_block,
                           struct block_ref *ret_ref, size_t *looked_at)
{
    int status = find_block(gs, g->cursor, ret_block, ret_ref);
    if (status == -ENOENT) {
        if (ret_ref->removed) {
            group_skip(g, ret_ref->next_seq); // a hole, as readers skip it
            return 1;
        }
        return status;
    }
    uint64_t there = *ret_block ? (*ret_block)->topics : ret_ref->topics;
    if ((there & group_topics(g, &gs->options.journal->catalog)) == 0) {
        group_skip(g, *ret_block ? (*ret_block)->next_seq : ret_ref->next_seq);
        *looked_at += SKIP_COST;
        return 1;
    }
    return status;
}

// Gets over one block, or into it. False: stops.
static bool go_on(struct groups *gs, struct step *s, enum stop *ret_stop)
{
    struct group *g = s->group;
    struct block *b;
    if (g->cursor >= gs->options.journal->next_seq || !group_may_take(g)) {
        *ret_stop = STOP_END;
        return false;
    }
    int status = block_at_cursor(gs, g, &b, &s->ref, &s->looked_at);
    if (status > 0) {
        *ret_stop = STOP_STEP;
        return s->looked_at < GROUPS_STEP_BYTES;
    }
    if (status == -ENOENT) {
        set_lost(s, s->ref.next_seq);
        *ret_stop = STOP_LOST;
        return false;
    }
    if (status == -EAGAIN) {
        *ret_stop = STOP_LOAD;
        return false;
    }
    return look_through(gs, s, b, ret_stop);
}

static enum stop fill(struct groups *gs, struct step *s)
{
    enum stop stop = STOP_FULL;
    while (s->n < s->max) {
        struct pending *e = group_ready(s->group);
        if (!(e ? put_ready(gs, s, e, &stop) : go_on(gs, s, &stop))) {
            return stop;
        }
        if (s->looked_at >= GROUPS_STEP_BYTES) {
            return STOP_STEP;
        }
    }
    return STOP_FULL;
}

// --- Delivering

static bool may_send(const struct member *m, void *data)
{
    const struct groups *gs = data;
    return clients_have_room(gs->options.clients, m->client);
}

// How many events a member gets at once: its part of what there is, so that few events are spread over all.
static uint32_t share(const struct groups *gs, const struct group *g, const struct member *m)
{
    uint64_t stored = gs->options.journal->next_seq;
    uint64_t there =
        (stored > g->cursor ? stored - g->cursor : 0) + pending_count(&g->pending, PENDING_READY);
    uint64_t n = there / g->n_members + 1;
    uint32_t free = m->window - m->delivered;
    n = n < GROUPS_SHARE || g->n_members == 1 ? n : GROUPS_SHARE;
    n = n < QUEUE_MAX_BATCH ? n : QUEUE_MAX_BATCH;
    return n < free ? (uint32_t)n : free;
}

void groups_tell_lost(struct groups *gs, struct member *m, uint64_t first, uint64_t last)
{
    buf_reset(&gs->frame);
    queue_lost_encode(&gs->frame, m->number, first, last);
    if (buf_ok(&gs->frame)) {
        int status = clients_send(gs->options.clients, m->client, buf_str(&gs->frame));
        (void)status; // who is gone, or reads nothing, misses it; INFO has the range
    }
}

static void tell_delivered(struct groups *gs, const struct step *s)
{
    struct queue_operation op = { .what = STR("deliver"),
                                  .group = str_of(s->group->config.name),
                                  .client = s->member->client->peer,
                                  .first_seq = s->first_seq,
                                  .last_seq = s->last_seq,
                                  .events = s->n };
    operations_tell(gs->options.operations, op);
}

// Sends the frame. False: it could not be sent, and nothing was delivered.
static bool send_frame(struct groups *gs, struct step *s, size_t mark)
{
    if (s->n == 0) {
        return true;
    }
    queue_deliver_end(&gs->frame, mark, s->n);
    if (!buf_ok(&gs->frame) ||
        clients_send(gs->options.clients, s->member->client, buf_str(&gs->frame))) {
        group_take_back(s->group, s->member, s->n);
        return false;
    }
    metric_add(&stats.delivered, s->n);
    tell_delivered(gs, s);
    group_pass_turn(s->group, s->member);
    return true;
}

// While the disk is full, only so much is delivered as the log has room to hear of.
static uint32_t allowance(const struct groups *gs)
{
    size_t delivered = 0;
    if (!publisher_is_full(gs->options.publisher)) {
        return UINT32_MAX;
    }
    for (const struct group *g = gs->first; g; g = g->next) {
        delivered += pending_count(&g->pending, PENDING_DELIVERED);
    }
    uint64_t room = journal_room(gs->options.journal) / GROUPS_ROOM_BYTES;
    return room > delivered ? (uint32_t)(room - delivered) : 0;
}

// --- Groups without members

// Goes through a block as far as it holds nothing that the group wants. False: stops.
static bool pass_unwanted(struct groups *gs, struct group *g, const struct block *b,
                          size_t *looked_at)
{
    struct block_cursor cursor = block_cursor_at(b, g->cursor);
    bool expires = journal_has_expired(gs->options.journal, g->cursor);
    struct queue_event_entry event;
    while (block_cursor_next(&cursor, &event)) {
        struct str key;
        bool wanted = group_wants(g, event.seq, topic_of(gs, expires, &event, &key));
        if (event.seq > g->cursor || wanted) {
            g->waits_at = g->cursor; // for a member, or for one who can be told what is lost
            return false;
        }
        group_skip(g, event.seq + 1);
        *looked_at += event.event.n;
    }
    return g->cursor == b->next_seq;
}

// Passes over events that a group does not want while nobody is there, so that its lag is about those
// that it does, and the log need not keep the others for it. Returns the bytes looked at.
static size_t go_on_alone(struct groups *gs, struct group *g)
{
    size_t looked_at = 0;
    while (g->cursor < gs->options.journal->next_seq && g->cursor != g->waits_at) {
        struct block *b;
        struct block_ref ref;
        int status = block_at_cursor(gs, g, &b, &ref, &looked_at);
        if (status == -EAGAIN) {
            (void)loader_read(gs->options.loader, &ref); // and then it goes on
            break;
        }
        if (status < 0 || (status == 0 && !pass_unwanted(gs, g, b, &looked_at))) {
            break;
        }
        if (looked_at >= GROUPS_STEP_BYTES) {
            return looked_at; // the rest in its next turn
        }
    }
    g->active = false;
    return looked_at;
}

// One step of one group. Returns the bytes looked at.
static size_t serve(struct groups *gs, struct group *g)
{
    if (!g->members && !g->config.paused) {
        return go_on_alone(gs, g);
    }
    struct step s = { .group = g, .now_us = clock_mono_us() };
    uint32_t allowed = allowance(gs);
    s.member = g->config.paused || !allowed ? NULL : group_next_member(g, may_send, gs);
    if (!s.member) {
        g->active = false; // until somebody settles, joins, reads or makes room
        return 0;
    }
    s.max = share(gs, g, s.member);
    s.max = s.max < allowed ? s.max : allowed;
    buf_reset(&gs->frame);
    size_t mark = queue_deliver_begin(&gs->frame, s.member->number);
    enum stop stop = fill(gs, &s);
    if (!send_frame(gs, &s, mark)) {
        g->active = false; // until the next tick
    } else if (stop == STOP_LOST) {
        groups_tell_lost(gs, s.member, s.first, s.last);
        publisher_want(gs->options.publisher);
    } else if (stop == STOP_LOAD) {
        (void)loader_read(gs->options.loader,
                          &s.ref); // without a free slot: after the next loading
        g->active = false;
    } else if (stop == STOP_END) {
        g->active = false;
    }
    groups_start_tick(gs);
    return s.looked_at;
}

// --- Burying

struct burial {
    struct groups *groups;
    uint32_t number; // of the group, which may be gone when it is done
    uint64_t seq;
    struct dead dead;
};

static void on_buried(int status, uint64_t dead_seq, void *data)
{
    struct burial *b = data;
    struct groups *gs = b->groups;
    struct group *g = gs->first;
    while (g && g->number != b->number) {
        g = g->next;
    }
    struct pending *e = g ? pending_find(&g->pending, b->seq) : NULL;
    e = e && e->state == PENDING_DYING ? e : NULL;
    if (status && e) {
        e->moving = false;
        gs->bury_after_ms = clock_mono_ms() + GROUPS_BURY_RETRY_MS;
    } else if (status == 0 && g) {
        b->dead.seq = dead_seq;
        group_bury(g, e, &b->dead);
        g->active = true;
        gs->options.on_ready(gs->options.data);
        struct queue_operation op = { .what = STR("dead"),
                                      .group = str_of(g->config.name),
                                      .first_seq = b->seq,
                                      .last_seq = b->seq,
                                      .attempt = b->dead.attempts,
                                      .events = 1 };
        operations_tell(gs->options.operations, op);
    }
    free(b);
}

// What becomes of e in the log: a copy, and a record that it is dead.
static int bury(struct groups *gs, struct group *g, struct pending *e,
                const struct queue_event_entry *event)
{
    struct dead_letter d, before;
    struct buf copy;
    struct burial *b = malloc(sizeof *b);
    if (!b) {
        return -ENOMEM;
    }
    d = (struct dead_letter){ .group = str_of(g->config.name),
                              .reason = e->terminated ? STR("terminated") : STR("max-deliveries"),
                              .error = str_of(e->error),
                              .attempts = e->attempt,
                              .seq = e->seq,
                              .stored_ms = event->stored_ms };
    if (e->added && dead_letter_decode(event->event, &before) == 0) {
        d.event = before.event;
        d.seq = before.seq;
        d.stored_ms = before.stored_ms;
        d.retries = before.retries + 1;
    } else if (event_decode(event->event, &d.event)) {
        d.event = (struct event){ .topic = STR("unreadable"), .data = event->event };
    }
    buf_init(&copy, QUEUE_MAX_EVENT_BYTES + 2 * DEAD_LETTER_EXTRA_BYTES);
    int64_t now_ms = clock_wall_ms();
    dead_letter_encode(&copy, &d, now_ms);
    struct record_dead r = { g->number, e->attempt, e->seq, d.seq, 0, now_ms };
    *b = (struct burial){ gs, g->number, e->seq, { 0, d.seq, now_ms, e->attempt } };
    int status = buf_error(&copy);
    status =
        status ? status : publisher_bury(gs->options.publisher, buf_str(&copy), &r, on_buried, b);
    e->moving = status == 0;
    if (status) {
        free(b);
    }
    buf_fini(&copy);
    return status;
}

void groups_bury(struct groups *gs, struct group *g)
{
    struct pending *next;
    size_t n = 0;
    if (clock_mono_ms() < gs->bury_after_ms || groups_dead_count(gs) >= GROUP_MAX_DEAD) {
        return; // the tick asks again
    }
    for (struct pending *e = pending_first(&g->pending, PENDING_DYING); e && n < BURY_AT_ONCE;
         e = next) {
        struct queue_event_entry event;
        next = pending_after(&g->pending, e);
        if (e->moving) {
            continue;
        }
        int status = groups_read(gs, e->seq, &event);
        if (status == -EAGAIN) {
            return; // woken when it is there
        }
        if (status) {
            group_give_up(g, e);
            publisher_want(gs->options.publisher);
        } else if (bury(gs, g, e, &event)) {
            gs->bury_after_ms = clock_mono_ms() + GROUPS_BURY_RETRY_MS;
            return;
        }
        n++;
    }
}

// --- Turns

bool groups_run(struct groups *gs)
{
    size_t bytes = 0;
    bool more = false;
    struct group *g = gs->turn ? gs->turn : gs->first;
    for (size_t i = 0; i < gs->n && bytes < GROUPS_TURN_BYTES; i++) {
        struct group *next = g->next ? g->next : gs->first;
        if (g->active) {
            if (pending_count(&g->pending, PENDING_DYING)) {
                groups_bury(gs, g);
            }
            bytes += serve(gs, g);
        }
        g = next;
    }
    gs->turn = g;
    for (g = gs->first; g && !more; g = g->next) {
        more = g->active;
    }
    return more;
}

void groups_wake(struct groups *gs)
{
    bool any = false;
    for (struct group *g = gs->first; g; g = g->next) {
        if (g->members || g->cursor != g->waits_at || pending_count(&g->pending, PENDING_DYING)) {
            g->active = any = true;
        }
    }
    if (any) {
        gs->options.on_ready(gs->options.data);
    }
}

// --- Time

static void tell_timed_out(struct groups *gs, const struct group *g, uint32_t n)
{
    struct queue_operation op = { .what = STR("timeout"),
                                  .group = str_of(g->config.name),
                                  .events = n };
    operations_tell(gs->options.operations, op);
}

static void on_tick(uv_timer_t *timer)
{
    struct groups *gs = timer->data;
    bool waiting = false;
    for (struct group *g = gs->first; g; g = g->next) {
        uint32_t n = group_waits(g) ? group_tick(g, clock_mono_us()) : 0;
        if (n) {
            tell_timed_out(gs, g, n);
            publisher_want(gs->options.publisher);
        }
        waiting =
            waiting || g->members || group_waits(g) || pending_count(&g->pending, PENDING_DYING);
    }
    groups_wake(gs);
    if (!waiting) {
        (void)uv_timer_stop(&gs->tick); // never fails
        gs->ticking = false;
    }
}

void groups_start_tick(struct groups *gs)
{
    if (!gs->ticking && gs->open) {
        gs->ticking = true;
        (void)uv_timer_start(&gs->tick, on_tick, GROUPS_TICK_MS, GROUPS_TICK_MS); // has a callback
    }
}

void groups_open(struct groups *gs, const struct groups_options *options)
{
    gs->options = *options;
    (void)uv_timer_init(options->loop, &gs->tick); // cannot fail
    gs->tick.data = gs;
    gs->open = true;
    for (struct group *g = gs->first; g; g = g->next) {
        g->stats = group_stats_new(g, options->journal);
    }
    groups_start_tick(gs);
}
