// SPDX-License-Identifier: MIT
// Settling is the hot path: an acknowledgement in order costs a binary search for its range and then,
// for each event, a gap in the order and a step in four lists.
#include "services/queue/group.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LOST_TEXT "the member's connection was lost"

struct group *group_new(uint32_t number, const struct group_config *config, uint64_t cursor)
{
    struct group *g = calloc(1, sizeof *g);
    if (g) {
        g->number = number;
        g->config = *config;
        g->cursor = cursor;
        g->topics_made = UINT64_MAX;
        pending_init(&g->pending);
    }
    return g;
}

void group_destroy(struct group **g)
{
    if (*g) {
        assert(!(*g)->members);
        pending_fini(&(*g)->pending);
        free((*g)->done.items);
        free((*g)->acked);
        free((*g)->noted);
        free((*g)->dead);
        free(*g);
        *g = NULL;
    }
}

uint64_t group_topics(struct group *g, const struct catalog *catalog)
{
    if (g->topics_made != catalog->topics_made) {
        size_t at = 0;
        struct topic *t;
        g->topics = 0;
        while ((t = catalog_next_topic(catalog, &at))) {
            g->topics |= group_config_wants(&g->config, t->key.name) ? t->bit : 0;
        }
        g->topics_made = catalog->topics_made;
    }
    return g->topics;
}

// Makes room for one more item of this size; the new array, or NULL.
static void *grown(void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return items;
    }
    size_t more = *cap ? *cap * 2 : 64;
    void *bigger = reallocarray(items, more, size);
    if (bigger) {
        *cap = more;
    }
    return bigger;
}

// --- Runs

static void forget_runs_before(struct runs *r, uint64_t seq)
{
    while (r->at < r->n && r->items[r->at].last < seq) {
        r->at++;
    }
    if (r->at == r->n) {
        r->at = r->n = 0;
    }
}

// For a seq at the begin of them, where the cursor is.
static bool runs_have(const struct runs *r, uint64_t seq)
{
    size_t at = r->at;
    while (at < r->n && r->items[at].last < seq) {
        at++;
    }
    return at < r->n && r->items[at].first <= seq;
}

// Most are added at the end.
static int add_run(struct runs *r, uint64_t first, uint64_t last)
{
    size_t from = r->n, to = r->n;
    while (from > r->at && r->items[from - 1].last + 1 >= first) {
        from--;
        if (r->items[from].first > last + 1) {
            to = from; // lies behind it, apart
        }
    }
    struct run all = { first, last };
    if (from < to) {
        all.first = r->items[from].first < first ? r->items[from].first : first;
        all.last = r->items[to - 1].last > last ? r->items[to - 1].last : last;
    } else {
        void *items = grown(r->items, r->n, &r->cap, sizeof *r->items);
        if (!items) {
            return -ENOMEM;
        }
        r->items = items;
    }
    memmove(&r->items[from + 1], &r->items[to], (r->n - to) * sizeof *r->items);
    r->items[from] = all;
    r->n = r->n + 1 - (to - from);
    return 0;
}

// --- Events

static uint64_t last_pending(const struct group *g)
{
    const struct pending_table *t = &g->pending;
    return t->end > t->at ? t->order[t->end - 1].seq : 0;
}

void group_skip(struct group *g, uint64_t seq)
{
    assert(seq >= g->cursor);
    g->cursor = seq;
    forget_runs_before(&g->done, seq);
}

bool group_wants(const struct group *g, uint64_t seq, struct str topic)
{
    return !runs_have(&g->done, seq) && group_config_wants(&g->config, topic) &&
           (last_pending(g) < seq || !pending_find(&g->pending, seq));
}

int group_take(struct group *g, uint64_t seq, struct str topic, struct str key,
               struct pending **ret_event)
{
    assert(seq >= g->cursor && group_has_room(g));
    *ret_event = NULL;
    if (group_wants(g, seq, topic)) {
        uint64_t hash = g->config.order == GROUP_ORDER_KEY ? pending_key_of(key) : 0;
        *ret_event = pending_add(&g->pending, seq, hash);
        if (!*ret_event) {
            return -ENOMEM;
        }
    }
    group_skip(g, seq + 1);
    return 0;
}

struct pending *group_ready(const struct group *g)
{
    if (g->config.order != GROUP_ORDER_ALL) {
        return pending_first(&g->pending, PENDING_READY);
    }
    struct pending *e;
    for (size_t at = g->pending.at; (e = pending_next(&g->pending, &at));) {
        if (e->state != PENDING_DELIVERED) {
            return e->state == PENDING_READY && (e->seq < g->cursor || e->added) ? e : NULL;
        }
    }
    return NULL;
}

bool group_may_take(const struct group *g)
{
    const struct pending_table *t = &g->pending;
    const struct pending *e;
    if (g->config.order != GROUP_ORDER_ALL || pending_count(t, PENDING_DELIVERED) == t->n) {
        return group_has_room(g);
    }
    for (size_t at = t->at; (e = pending_next(t, &at)) && e->seq < g->cursor;) {
        if (e->state != PENDING_DELIVERED) {
            return false; // it comes first
        }
    }
    return group_has_room(g);
}

struct member *group_next_member(const struct group *g,
                                 bool (*may)(const struct member *m, void *data), void *data)
{
    struct member *first = g->config.order == GROUP_ORDER_ALL || !g->turn ? g->members : g->turn;
    for (struct member *m = first; m;) {
        if (m->delivered < m->window && may(m, data)) {
            return m;
        }
        m = m->next ? m->next : g->members;
        if (m == first || g->config.order == GROUP_ORDER_ALL) {
            return NULL;
        }
    }
    return NULL;
}

void group_pass_turn(struct group *g, const struct member *m)
{
    g->turn = m->next ? m->next : g->members;
}

void group_deliver(struct group *g, struct pending *e, struct member *m, int64_t now_us)
{
    assert(e->state == PENDING_READY && m->group == g);
    pending_move(&g->pending, e, PENDING_DELIVERED, false);
    g->counts.deliveries++;
    g->counts.redeliveries += e->attempt > 0;
    e->member = m;
    e->attempt++;
    e->sent_us = now_us;
    e->when_ms = now_us / 1000 + g->config.ack_wait_ms;
    m->delivered++;
}

// Takes a delivery away from its member; the caller says what it is now.
static void end_delivery(struct pending *e)
{
    assert(e->state == PENDING_DELIVERED && e->member->delivered > 0);
    e->member->delivered--;
    e->member = NULL;
}

void group_take_back(struct group *g, struct member *m, uint32_t n)
{
    while (n-- > 0) {
        struct pending *e = pending_last(&g->pending, PENDING_DELIVERED);
        assert(e && e->member == m);
        end_delivery(e);
        e->attempt--;
        g->counts.deliveries--;
        g->counts.redeliveries -= e->attempt > 0;
        pending_move(&g->pending, e, PENDING_READY, true);
    }
}

// --- What the log is to be told

static void note(struct group *g, struct pending *e)
{
    if (e->noted) {
        return;
    }
    void *noted = grown(g->noted, g->n_noted, &g->cap_noted, sizeof *g->noted);
    if (noted) { // else a crash forgets this failure, and the event comes again as if it were new
        g->noted = noted;
        g->noted[g->n_noted++] = e->seq;
        e->noted = true;
    }
}

// Makes room for what the settling of one more event has to say. False: out of memory.
static bool reserve_acked(struct group *g)
{
    void *acked = grown(g->acked, g->n_acked, &g->cap_acked, sizeof *g->acked);
    if (acked) {
        g->acked = acked;
    }
    return acked != NULL;
}

// Notes that e is settled. joins: nothing that is pending lies between it and the event that was noted
// before. Beyond the cursor that does not mean that nothing does: there a run holds one event.
static void note_acked(struct group *g, const struct pending *e, bool joins)
{
    if (joins && !e->added && e->seq < g->cursor && e->seq > g->acked[g->n_acked - 1].last) {
        g->acked[g->n_acked - 1].last = e->seq;
    } else {
        g->acked[g->n_acked++] = (struct run){ e->seq, e->seq };
    }
}

// An event that a FAILED record names may be settled before the cursor has come to it: it must not be taken as new
// then. False: out of memory.
static bool remember_beyond_cursor(struct group *g, const struct pending *e)
{
    return e->seq < g->cursor || add_run(&g->done, e->seq, e->seq) == 0;
}

void group_give_up(struct group *g, struct pending *e)
{
    if (reserve_acked(g)) {
        note_acked(g, e, false);
    }
    (void)remember_beyond_cursor(g, e); // without memory it is given up twice
    if (e->state == PENDING_DELIVERED) {
        end_delivery(e);
    }
    pending_remove(&g->pending, e);
    g->counts.skipped++;
}

// --- What becomes of deliveries

static int64_t backoff_ms(const struct group_config *c, uint32_t failures)
{
    int64_t wait = c->backoff_ms;
    for (uint32_t i = 1; i < failures && wait < c->backoff_max_ms; i++) {
        wait *= 2;
    }
    return wait < c->backoff_max_ms ? wait : c->backoff_max_ms;
}

// With order `all`: everything behind e comes again behind it.
static void revoke_behind(struct group *g, const struct pending *e)
{
    struct pending *later;
    for (size_t at = pending_seek(&g->pending, e->seq + 1);
         (later = pending_next(&g->pending, &at));) {
        if (later->state == PENDING_DELIVERED) {
            end_delivery(later);
            pending_move(&g->pending, later, PENDING_READY, false);
        }
    }
}

// A delivery failed; it is ready again after delay_ms.
static void fail(struct group *g, struct pending *e, int64_t delay_ms, bool front, int64_t now_us)
{
    end_delivery(e);
    e->failures++;
    note(g, e);
    if (e->failures >= g->config.max_deliveries) {
        pending_move(&g->pending, e, PENDING_DYING, false);
    } else if (delay_ms > 0) {
        e->when_ms = now_us / 1000 + delay_ms;
        pending_move(&g->pending, e, PENDING_DELAYED, false);
    } else {
        pending_move(&g->pending, e, PENDING_READY, front);
    }
    if (g->config.order == GROUP_ORDER_ALL) {
        revoke_behind(g, e);
    }
}

static void settle_other(struct group *g, struct pending *e, const struct settlement *s)
{
    switch (s->verdict) {
    case QUEUE_NAK:
        pending_set_error(e, s->error);
        g->counts.naked++;
        fail(g, e, s->delay_ms ? s->delay_ms : backoff_ms(&g->config, e->failures + 1), false,
             s->now_us);
        break;
    case QUEUE_EXTEND:
        g->counts.extended++;
        e->when_ms = s->now_us / 1000 + g->config.ack_wait_ms;
        pending_move(&g->pending, e, PENDING_DELIVERED, false); // the list is in order of when_ms
        break;
    case QUEUE_TERM:
        pending_set_error(e, s->error);
        g->counts.terminated++;
        end_delivery(e);
        e->terminated = true;
        note(g, e);
        pending_move(&g->pending, e, PENDING_DYING, false);
        break;
    case QUEUE_ACK:
        assert(false); // group_settle() does these
        break;
    }
}

uint32_t group_settle(struct group *g, struct member *m, const struct settlement *s,
                      const struct queue_range *range, int64_t *ret_took_us)
{
    uint32_t n = 0;
    bool joins = false;
    struct pending *e;
    for (size_t at = pending_seek(&g->pending, range->first_seq);
         (e = pending_next(&g->pending, &at)) && e->seq <= range->last_seq;) {
        if (e->state != PENDING_DELIVERED || e->member != m || e->attempt != range->attempt) {
            joins = false;
            continue;
        }
        if (s->verdict == QUEUE_ACK && (!reserve_acked(g) || !remember_beyond_cursor(g, e))) {
            break; // the others are not settled: they come again
        }
        if (n++ == 0) {
            *ret_took_us = s->now_us - e->sent_us;
        }
        if (s->verdict != QUEUE_ACK) {
            settle_other(g, e, s);
            continue;
        }
        note_acked(g, e, joins);
        joins = !e->added;
        g->counts.acked++;
        end_delivery(e);
        pending_remove(&g->pending, e);
    }
    return n;
}

uint32_t group_tick(struct group *g, int64_t now_us)
{
    int64_t now_ms = now_us / 1000;
    uint32_t n = 0;
    struct pending *e, *next;
    while ((e = pending_first(&g->pending, PENDING_DELIVERED)) && e->when_ms <= now_ms) {
        char text[80];
        (void)snprintf(text, sizeof text, "not settled within %" PRId64 " ms",
                       g->config.ack_wait_ms); // fits
        pending_set_error(e, str_of(text));
        g->counts.timed_out++;
        fail(g, e, 0, false, now_us);
        n++;
    }
    for (e = pending_first(&g->pending, PENDING_DELAYED); e; e = next) {
        next = pending_after(&g->pending, e);
        if (e->when_ms <= now_ms) {
            pending_move(&g->pending, e, PENDING_READY, false);
        }
    }
    return n;
}

// --- Members

void group_join(struct group *g, struct member *m)
{
    struct member **last = &g->members;
    while (*last) {
        last = &(*last)->next;
    }
    *last = m;
    m->group = g;
    m->next = NULL;
    m->delivered = 0;
    g->n_members++;
}

// Gives back what the member has, from the last on, so that the first comes first again.
static uint32_t give_back(struct group *g, struct member *m, bool failed, int64_t now_us)
{
    uint32_t n = 0;
    struct pending *before;
    for (struct pending *e = pending_last(&g->pending, PENDING_DELIVERED); e; e = before) {
        before = e->prev != PENDING_NONE ? &g->pending.pool[e->prev] : NULL;
        if (e->member != m) {
            continue;
        }
        n++;
        if (failed) {
            pending_set_error(e, STR(LOST_TEXT));
            fail(g, e, 0, true, now_us);
        } else {
            end_delivery(e);
            pending_move(&g->pending, e, PENDING_READY, true);
        }
    }
    return n;
}

// The same with order `all`: only the first is the one at work, and only it can have failed.
static uint32_t give_back_all(struct group *g, struct member *m, bool failed, int64_t now_us)
{
    uint32_t n = 0;
    struct pending *e, *first = NULL;
    for (size_t at = g->pending.at; (e = pending_next(&g->pending, &at));) {
        if (e->state != PENDING_DELIVERED || e->member != m) {
            continue;
        }
        if (n++ == 0 && failed) {
            first = e;
            continue;
        }
        end_delivery(e);
        pending_move(&g->pending, e, PENDING_READY, false);
    }
    if (first) {
        pending_set_error(first, STR(LOST_TEXT));
        fail(g, first, 0, true, now_us);
    }
    return n;
}

uint32_t group_leave(struct group *g, struct member *m, bool failed, int64_t now_us)
{
    struct member **at = &g->members;
    uint32_t n =
        (g->config.order == GROUP_ORDER_ALL ? give_back_all : give_back)(g, m, failed, now_us);
    assert(m->delivered == 0);
    while (*at != m) {
        at = &(*at)->next;
    }
    *at = m->next;
    if (g->turn == m) {
        g->turn = m->next;
    }
    m->group = NULL;
    g->n_members--;
    return n;
}

// --- By hand

size_t group_seek(struct group *g, uint64_t cursor)
{
    size_t n = g->pending.n;
    for (struct member *m = g->members; m; m = m->next) {
        m->delivered = 0;
    }
    pending_clear(&g->pending);
    g->done.at = g->done.n = 0;
    g->n_acked = g->n_noted = 0;
    g->cursor = cursor;
    g->reset = true;
    return n;
}

int group_add(struct group *g, uint64_t seq, uint64_t key)
{
    if (pending_find(&g->pending, seq)) {
        return -EEXIST;
    }
    if (!group_has_room(g)) {
        return -ENOSPC;
    }
    struct pending *e = pending_add(&g->pending, seq, key);
    if (!e) {
        return -ENOMEM;
    }
    e->added = true;
    note(g, e);
    return 0;
}

size_t group_seek_dead(const struct group *g, uint64_t seq)
{
    size_t low = 0, high = g->n_dead;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->dead[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct dead *group_find_dead(const struct group *g, uint64_t seq)
{
    size_t i = group_seek_dead(g, seq);
    return i < g->n_dead && g->dead[i].seq == seq ? &g->dead[i] : NULL;
}

static int add_dead(struct group *g, const struct dead *dead)
{
    void *items = grown(g->dead, g->n_dead, &g->cap_dead, sizeof *g->dead);
    if (!items) {
        return -ENOMEM;
    }
    g->dead = items;
    size_t i = group_seek_dead(g, dead->seq); // the end, but for a replay
    memmove(&g->dead[i + 1], &g->dead[i], (g->n_dead - i) * sizeof *g->dead);
    g->dead[i] = *dead;
    g->n_dead++;
    return 0;
}

void group_bury(struct group *g, struct pending *e, const struct dead *dead)
{
    if (e) {
        assert(e->state == PENDING_DYING);
        (void)remember_beyond_cursor(g, e); // without memory it may be delivered again
        pending_remove(&g->pending, e);
    }
    g->counts.died++;
    int status = add_dead(g, dead);
    (void)status; // the log has it, so the next start lists it
}

void group_remove_dead(struct group *g, struct dead *d)
{
    size_t i = (size_t)(d - g->dead);
    assert(i < g->n_dead);
    memmove(d, d + 1, (g->n_dead - i - 1) * sizeof *d);
    g->n_dead--;
}

size_t group_expire_dead(struct group *g, uint64_t seq)
{
    size_t n = group_seek_dead(g, seq);
    if (n) {
        memmove(g->dead, g->dead + n, (g->n_dead - n) * sizeof *g->dead);
        g->n_dead -= n;
    }
    return n;
}

// --- The log

uint64_t group_floor(const struct group *g)
{
    uint64_t lowest = pending_lowest_unknown(&g->pending, g->cursor);
    return lowest < g->cursor ? lowest : g->cursor;
}

uint64_t group_needs_from(const struct group *g)
{
    uint64_t lowest = pending_lowest(&g->pending, g->cursor);
    return lowest < g->cursor ? lowest : g->cursor;
}

bool group_changed(const struct group *g)
{
    return g->reset || g->n_acked || g->n_noted;
}

static void write_failed(const struct group *g, const struct pending *e, int64_t now_ms,
                         int64_t now_us, struct buf *b)
{
    struct record_failed r = {
        .number = g->number,
        .attempt = e->attempt,
        .failures = e->failures,
        .added = e->added,
        .terminated = e->terminated,
        .seq = e->seq,
        .key = e->key,
        .due_ms = e->state == PENDING_DELAYED ? now_ms + e->when_ms - now_us / 1000 : 0,
        .error = str_of(e->error),
    };
    record_failed(b, &r);
}

void group_write_changes(struct group *g, int64_t now_ms, int64_t now_us, struct buf *b)
{
    for (size_t i = 0; i < g->n_noted; i++) {
        struct pending *e = pending_find(&g->pending, g->noted[i]);
        if (e && e->noted) {
            e->known = true; // before the floor is told, which may pass it then
        }
    }
    struct record_settled r = { .number = g->number, .reset = g->reset, .floor = group_floor(g) };
    size_t mark = record_settled_begin(b, &r);
    for (size_t i = 0; i < g->n_acked; i++) {
        record_settled_range(b, g->acked[i].first, g->acked[i].last);
    }
    record_settled_end(b, mark);
    for (size_t i = 0; i < g->n_noted; i++) {
        struct pending *e = pending_find(&g->pending, g->noted[i]);
        if (e && e->noted) {
            e->noted = false;
            write_failed(g, e, now_ms, now_us, b);
        }
    }
    g->reset = false;
    g->n_acked = g->n_noted = 0;
}

// Whether a checkpoint has a FAILED record of it.
static bool is_named(const struct pending *e)
{
    return e->known || e->added || e->noted;
}

// The ranges between the floor and the cursor that are settled: all but what is pending and not named.
static void write_settled_ranges(const struct group *g, uint64_t floor, struct buf *b)
{
    uint64_t from = floor;
    struct pending *e;
    for (size_t at = pending_seek(&g->pending, floor); (e = pending_next(&g->pending, &at));) {
        if (is_named(e)) {
            continue; // FAILED names it
        }
        if (e->seq > from) {
            record_settled_range(b, from, e->seq - 1);
        }
        from = e->seq + 1;
    }
    if (from < g->cursor) {
        record_settled_range(b, from, g->cursor - 1);
    }
    for (size_t i = g->done.at; i < g->done.n; i++) {
        record_settled_range(b, g->done.items[i].first, g->done.items[i].last);
    }
}

void group_write_state(const struct group *g, int64_t now_ms, int64_t now_us, struct buf *b)
{
    struct record_settled r = { .number = g->number, .reset = true, .floor = group_floor(g) };
    struct pending *e;
    size_t mark = record_settled_begin(b, &r);
    write_settled_ranges(g, r.floor, b);
    record_settled_end(b, mark);
    for (size_t at = g->pending.at; (e = pending_next(&g->pending, &at));) {
        if (is_named(e)) {
            write_failed(g, e, now_ms, now_us, b);
        }
    }
    for (size_t i = 0; i < g->n_dead; i++) {
        const struct dead *d = &g->dead[i];
        struct record_dead dead = { g->number, d->attempts, 0, d->origin_seq, d->seq, d->died_ms };
        record_dead(b, &dead);
    }
}

// --- Replay

int group_replay_settled(struct group *g, struct record_settled r)
{
    uint64_t first, last;
    int status;
    if (r.reset) {
        pending_clear(&g->pending);
        g->done.at = g->done.n = 0;
        g->cursor = r.floor;
    } else if (r.floor > g->cursor) {
        group_skip(g, r.floor);
    }
    while ((status = record_settled_next(&r, &first, &last)) == 1) {
        struct pending *e;
        for (size_t at = pending_seek(&g->pending, first);
             (e = pending_next(&g->pending, &at)) && e->seq <= last;) {
            pending_remove(&g->pending, e);
        }
        if (last >= g->cursor && add_run(&g->done, first, last)) {
            return -ENOMEM;
        }
    }
    return status;
}

int group_replay_failed(struct group *g, const struct record_failed *r, int64_t now_ms,
                        int64_t now_us)
{
    struct pending *e = pending_find(&g->pending, r->seq);
    e = e ? e : pending_add(&g->pending, r->seq, r->key);
    if (!e) {
        return -ENOMEM;
    }
    int64_t wait = r->due_ms > now_ms ? r->due_ms - now_ms : 0;
    e->attempt = r->attempt;
    e->failures = r->failures;
    e->added = r->added;
    e->terminated = r->terminated;
    e->known = true;
    e->when_ms = now_us / 1000 + (wait < GROUP_LONGEST_MS ? wait : GROUP_LONGEST_MS);
    pending_set_error(e, r->error);
    bool dying = e->terminated || e->failures >= g->config.max_deliveries;
    enum pending_state state = dying ? PENDING_DYING : wait ? PENDING_DELAYED : PENDING_READY;
    if (e->state == PENDING_BLOCKED) {
        e->then = (uint8_t)state;
    } else {
        pending_move(&g->pending, e, state, false);
    }
    return 0;
}

int group_replay_dead(struct group *g, const struct record_dead *r, uint64_t frame_seq)
{
    struct dead d = { r->dead + frame_seq, r->origin_seq, r->died_ms, r->attempts };
    struct pending *e = pending_find(&g->pending, r->seq);
    if (e) {
        pending_remove(&g->pending, e);
    }
    if (r->seq && r->seq >= g->cursor && add_run(&g->done, r->seq, r->seq)) {
        return -ENOMEM;
    }
    return group_find_dead(g, d.seq) ? 0 : add_dead(g, &d);
}
