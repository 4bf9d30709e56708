// SPDX-License-Identifier: MIT
// A subscription keeps no place in a block, only its next sequence: blocks may leave memory between two turns, and
// finding the place again costs less than it would to keep track of who holds what.
#include "services/queue/readers.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "services/queue/refusal.h"
#include "services/queue/stats.h"

#define MAX_CREDIT (UINT64_C(1) << 40) // more is no more; keeps sums from wrapping
#define FRAME_BYTES (256 * 1024)       // of an EVENTS frame, about
#define SKIP_COST 4096 // what passing over a block without looking into it counts as, in bytes

struct list {
    struct subscription *first, *last;
};

struct readers {
    struct readers_options options;
    struct list lists[SUB_STATES];
    size_t n;
    struct buf frame;
    uv_timer_t tick;
};

// --- Lists

static void unlink_sub(struct readers *r, struct subscription *s)
{
    struct list *l = &r->lists[s->state];
    *(s->prev ? &s->prev->next : &l->first) = s->next;
    *(s->next ? &s->next->prev : &l->last) = s->prev;
    s->next = s->prev = NULL;
}

static void append_sub(struct readers *r, struct subscription *s, enum subscription_state state)
{
    struct list *l = &r->lists[state];
    s->state = state;
    s->prev = l->last;
    s->next = NULL;
    *(l->last ? &l->last->next : &l->first) = s;
    l->last = s;
}

// Which state may follow which: the drawing in subscription.h. READY to READY goes to the end of the line.
static bool may_move(enum subscription_state from, enum subscription_state to)
{
    return from == SUB_READY || to == SUB_READY;
}

static void move(struct readers *r, struct subscription *s, enum subscription_state state)
{
    assert(may_move(s->state, state));
    unlink_sub(r, s);
    append_sub(r, s, state);
}

static void wake_all(struct readers *r, enum subscription_state state)
{
    struct subscription *s;
    bool any = r->lists[state].first != NULL;
    while ((s = r->lists[state].first)) {
        move(r, s, SUB_READY);
    }
    if (any) {
        r->options.on_ready(r->options.data);
    }
}

static void remove_sub(struct readers *r, struct subscription *s)
{
    struct subscription **at = &s->client->subscriptions;
    while (*at != s) {
        at = &(*at)->next_of_client;
    }
    *at = s->next_of_client;
    s->client->n_subscriptions--;
    log_debug("subscription %" PRIu64 " of client %u is over, before event %" PRIu64,
              s->wanted.subscription, s->client->peer, s->next_seq);
    unlink_sub(r, s);
    r->n--;
    subscription_destroy(&s);
}

// --- Collecting events

enum stop {
    STOP_STEP,  // this step's share of work is done
    STOP_FULL,  // an event comes next, but the frame or the credit is used up
    STOP_END,   // of what is stored, or of what was when it began
    STOP_UNTIL, // its own limit
    STOP_LOST,  // a damaged range comes next
    STOP_LOAD   // a block is not in memory
};

struct collected {
    uint64_t seq;         // everything before it is in the frame, or not wanted
    uint64_t end;         // of what may be delivered
    uint32_t n, max;      // events in the frame, and how many may be
    size_t looked_at;     // bytes
    uint64_t lost_to;     // STOP_LOST: the range is [seq, lost_to)
    struct block_ref ref; // STOP_LOAD
};

// Whether the subscription gets this event. expires: some of the events around it are expired.
static bool is_wanted(const struct readers *r, const struct subscription *s,
                      const struct queue_event_entry *e, bool expires)
{
    return e->stored_ms >= s->from_ms && subscription_matches(s, e) &&
           !(expires && journal_is_expired(r->options.journal, e->seq, e->event));
}

// Takes what is wanted out of a block; c->seq is in it. True when collecting stops.
static bool take(struct readers *r, struct subscription *s, const struct block *b,
                 struct collected *c, enum stop *ret_stop)
{
    struct block_cursor cursor = block_cursor_at(b, c->seq);
    struct queue_event_entry e;
    bool expires = journal_has_expired(r->options.journal, c->seq);
    while (block_cursor_next(&cursor, &e)) {
        if (e.seq > c->seq) {
            c->lost_to = e.seq;
            *ret_stop = STOP_LOST;
            return true;
        }
        bool until =
            (s->wanted.until_seq && e.seq > s->wanted.until_seq) ||
            (s->wanted.until_ms && e.stored_ms > 0 && (uint64_t)e.stored_ms > s->wanted.until_ms);
        if (until || e.seq >= c->end) {
            *ret_stop = until ? STOP_UNTIL : STOP_END;
            return true;
        }
        if (is_wanted(r, s, &e, expires)) {
            if (c->n == c->max || (c->n && r->frame.len + e.event.n > FRAME_BYTES)) {
                *ret_stop = STOP_FULL;
                return true;
            }
            queue_events_entry(&r->frame, e.seq, e.stored_ms, e.event);
            c->n++;
        }
        c->looked_at += e.event.n;
        c->seq = e.seq + 1;
        if (c->looked_at >= READERS_STEP_BYTES) {
            *ret_stop = STOP_STEP;
            return true;
        }
    }
    if (c->seq < b->next_seq) {
        c->lost_to = b->next_seq;
        *ret_stop = STOP_LOST;
        return true;
    }
    return false;
}

// Gets over one block of the file that is not in memory, or finds that it has to be read.
static bool look_up(struct readers *r, struct subscription *s, struct collected *c,
                    enum stop *ret_stop)
{
    bool found = journal_find(r->options.journal, c->seq, &c->ref);
    assert(found); // collect() looked at both ends
    if (c->ref.removed) {
        c->seq = c->ref.next_seq;
        return false;
    }
    if (c->ref.lost) {
        c->lost_to = c->ref.next_seq;
        *ret_stop = STOP_LOST;
        return true;
    }
    if ((c->ref.topics & subscription_topics(s, &r->options.journal->catalog)) == 0) {
        c->seq = c->ref.next_seq;
        c->looked_at += SKIP_COST;
        return false;
    }
    *ret_stop = STOP_LOAD;
    return true;
}

static enum stop collect(struct readers *r, struct subscription *s, struct collected *c)
{
    const struct journal *j = r->options.journal;
    enum stop stop;
    for (;;) {
        c->seq = journal_skip(j, c->seq); // what retention removed may still be in memory
        if (s->wanted.until_seq && c->seq > s->wanted.until_seq) {
            return STOP_UNTIL;
        }
        if (c->seq >= c->end) {
            return STOP_END;
        }
        if (c->looked_at >= READERS_STEP_BYTES) {
            return STOP_STEP;
        }
        const struct block *b = cache_find(r->options.cache, c->seq);
        if (!b) {
            if (look_up(r, s, c, &stop)) {
                return stop;
            }
        } else if ((b->topics & subscription_topics(s, &j->catalog)) == 0) {
            c->seq = b->next_seq;
            c->looked_at += SKIP_COST;
        } else if (take(r, s, b, c, &stop)) {
            return stop;
        }
    }
}

// --- Delivering

// Sends what is in r->frame; false when that has to be tried again.
static bool send_frame(struct readers *r, struct subscription *s)
{
    s->unsent =
        !buf_ok(&r->frame) || clients_send(r->options.clients, s->client, buf_str(&r->frame));
    return !s->unsent;
}

// Tells the reader that this was all, and removes the subscription.
static bool end(struct readers *r, struct subscription *s, struct str reason)
{
    buf_reset(&r->frame);
    queue_word_encode(&r->frame, QUEUE_ENDED, s->wanted.subscription, s->next_seq, reason, STR(""));
    if (!send_frame(r, s)) {
        return false;
    }
    remove_sub(r, s);
    return true;
}

static bool tell_lost(struct readers *r, struct subscription *s, uint64_t lost_to)
{
    uint64_t until = s->wanted.until_seq;
    if (until && lost_to > until + 1) {
        lost_to = until + 1;
    }
    buf_reset(&r->frame);
    queue_lost_encode(&r->frame, s->wanted.subscription, s->next_seq, lost_to - 1);
    if (!send_frame(r, s)) {
        return false;
    }
    s->next_seq = lost_to;
    return true;
}

static bool tell_caught_up(struct readers *r, struct subscription *s)
{
    if (s->caught_up) {
        return true;
    }
    buf_reset(&r->frame);
    queue_pair_encode(&r->frame, QUEUE_CAUGHT_UP, s->wanted.subscription, s->next_seq);
    s->caught_up = send_frame(r, s);
    return s->caught_up;
}

// What follows from why collecting stopped. The subscription may be gone afterwards.
static void act_on(struct readers *r, struct subscription *s, enum stop stop,
                   const struct collected *c)
{
    bool sent = true; // or there is something to send, and it may be
    switch (stop) {
    case STOP_STEP:
        break;
    case STOP_FULL:
        sent = s->credit > 0 && clients_have_room(r->options.clients, s->client);
        break;
    case STOP_LOST:
        sent = tell_lost(r, s, c->lost_to);
        break;
    case STOP_LOAD:
        (void)loader_read(r->options.loader,
                          &c->ref); // without a free slot: asks again after the next on_loaded
        move(r, s, SUB_LOADING);
        return;
    case STOP_UNTIL:
        if (end(r, s, STR("until"))) {
            return;
        }
        sent = false;
        break;
    case STOP_END:
        if (!s->wanted.follow && end(r, s, STR("end"))) {
            return;
        }
        sent = s->wanted.follow && tell_caught_up(r, s);
        if (sent) {
            move(r, s, SUB_FOLLOWING);
            return;
        }
        break;
    }
    move(r, s, sent ? SUB_READY : SUB_BLOCKED);
}

// One step of delivering. Returns the bytes looked at.
static size_t deliver(struct readers *r, struct subscription *s)
{
    uint64_t stored = r->options.journal->next_seq;
    struct collected c = { .seq = s->next_seq };
    c.end = s->wanted.follow || stored < s->end_seq ? stored : s->end_seq;
    if (clients_have_room(r->options.clients, s->client)) {
        c.max = s->credit < QUEUE_MAX_BATCH ? (uint32_t)s->credit : QUEUE_MAX_BATCH;
    }
    buf_reset(&r->frame);
    size_t mark = queue_events_begin(&r->frame, s->wanted.subscription);
    enum stop stop = collect(r, s, &c);
    if (c.n) {
        queue_events_end(&r->frame, mark, c.n);
        if (!send_frame(r, s)) {
            move(r, s, SUB_BLOCKED);
            return c.looked_at;
        }
        s->credit -= c.n;
        metric_add(&stats.delivered, c.n);
    }
    s->next_seq = c.seq;
    act_on(r, s, stop, &c);
    return c.looked_at;
}

// --- Finding the last n matching events

// Counts the matching events of a block before seq; with skip, finds the one after that many.
static uint64_t count_matches(const struct readers *r, const struct subscription *s,
                              const struct block *b, uint64_t before, uint64_t skip,
                              uint64_t *ret_seq)
{
    bool expires = journal_has_expired(r->options.journal, b->first_seq);
    struct block_cursor cursor = block_cursor_at(b, b->first_seq);
    struct queue_event_entry e;
    uint64_t n = 0;
    while (block_cursor_next(&cursor, &e) && e.seq < before) {
        if (is_wanted(r, s, &e, expires) && n++ == skip) {
            *ret_seq = e.seq;
        }
    }
    return n;
}

static void found_start(struct readers *r, struct subscription *s, uint64_t seq)
{
    s->seeking = false;
    s->next_seq = seq;
    move(r, s, SUB_READY);
}

// One step backwards: a few blocks. Returns the bytes looked at.
static size_t seek(struct readers *r, struct subscription *s)
{
    const struct journal *j = r->options.journal;
    uint64_t topics = subscription_topics(s, &j->catalog);
    for (size_t looked_at = 0; looked_at < READERS_STEP_BYTES;) {
        struct block_ref ref;
        uint64_t seq = 0;
        if (s->seek_seq <= journal_first_seq(j) || s->seek_wanted == 0) {
            found_start(r, s, s->seek_seq);
            return looked_at;
        }
        const struct block *b = NULL;
        if (journal_skip(j, s->seek_seq - 1) == s->seek_seq - 1) {
            b = cache_find(r->options.cache, s->seek_seq - 1);
        }
        if (!b && !journal_find(j, s->seek_seq - 1, &ref)) {
            found_start(r, s, s->seek_seq);
            return looked_at;
        }
        if (!b && !ref.lost && !ref.removed && (ref.topics & topics)) {
            (void)loader_read(r->options.loader,
                              &ref); // without a free slot: asks again after the next on_loaded
            move(r, s, SUB_LOADING);
            return looked_at;
        }
        if (b && (b->topics & topics)) {
            uint64_t n = count_matches(r, s, b, s->seek_seq, UINT64_MAX, &seq);
            looked_at += b->bytes;
            if (n >= s->seek_wanted) {
                (void)count_matches(r, s, b, s->seek_seq, n - s->seek_wanted, &seq);
                found_start(r, s, seq);
                return looked_at;
            }
            s->seek_wanted -= n;
        }
        looked_at += SKIP_COST;
        s->seek_seq = b ? b->first_seq : ref.first_seq;
    }
    move(r, s, SUB_READY);
    return READERS_STEP_BYTES;
}

// --- Turns

bool readers_run(struct readers *r)
{
    struct subscription *last = r->lists[SUB_READY].last;
    for (size_t bytes = 0; bytes < READERS_TURN_BYTES;) {
        struct subscription *s = r->lists[SUB_READY].first;
        if (!s) {
            break;
        }
        bool round = s == last; // once around, so that everybody else gets a turn
        bytes += s->seeking ? seek(r, s) : deliver(r, s);
        if (round) {
            break;
        }
    }
    return r->lists[SUB_READY].first != NULL;
}

void readers_wake(struct readers *r)
{
    wake_all(r, SUB_FOLLOWING);
}

void readers_loaded(struct readers *r)
{
    wake_all(r, SUB_LOADING);
}

static void on_tick(uv_timer_t *timer)
{
    struct readers *r = timer->data;
    for (struct client *c = clients_next(r->options.clients, NULL); c;
         c = clients_next(r->options.clients, c)) {
        clients_ping(r->options.clients, c);
    }
    struct subscription *next;
    for (struct subscription *s = r->lists[SUB_BLOCKED].first; s; s = next) {
        next = s->next;
        if (s->unsent || (s->credit && clients_have_room(r->options.clients, s->client))) {
            move(r, s, SUB_READY);
            r->options.on_ready(r->options.data);
        }
    }
    wake_all(r, SUB_LOADING); // a read that failed for want of memory is not told
}

// --- Frames of clients

static void refuse(struct readers *r, uint32_t peer, uint64_t subscription, enum refusal reason,
                   const char *detail)
{
    refusal_send(r->options.socket, &r->frame, peer, subscription, reason, detail);
}

static void refuse_filter(struct readers *r, uint32_t peer, const struct queue_subscribe *f,
                          const struct where_error *e)
{
    char detail[256];
    (void)snprintf(detail, sizeof detail, "at byte %zu of the filter: %s", e->at + 1, e->reason);
    refuse(r, peer, f->subscription, REFUSED_INVALID_FILTER, detail);
}

static struct subscription *find(const struct client *c, uint64_t subscription)
{
    struct subscription *s = c ? c->subscriptions : NULL;
    while (s && s->wanted.subscription != subscription) {
        s = s->next_of_client;
    }
    return s;
}

// Whether it may begin; else it is refused.
static bool check(struct readers *r, uint32_t peer, const struct queue_subscribe *f)
{
    const struct client *c = clients_find(r->options.clients, peer);
    char detail[256];
    for (size_t i = 0; i < f->n_filters; i++) {
        if (!topic_filter_valid(f->filters[i])) {
            (void)snprintf(detail, sizeof detail,
                           "filter \"%.*s\" is not a topic, in which * may stand for a word and a "
                           "last > for the rest",
                           (int)(f->filters[i].n < 100 ? f->filters[i].n : 100), f->filters[i].p);
            refuse(r, peer, f->subscription, REFUSED_INVALID_TOPIC, detail);
            return false;
        }
    }
    if (find(c, f->subscription)) {
        refuse(r, peer, f->subscription, REFUSED_MALFORMED,
               "this connection has a subscription of that number");
        return false;
    }
    if ((c && c->n_subscriptions >= READERS_MAX_PER_CLIENT) || r->n >= READERS_MAX) {
        (void)snprintf(detail, sizeof detail, "at most %d for one client, %d for all",
                       READERS_MAX_PER_CLIENT, READERS_MAX);
        refuse(r, peer, f->subscription, REFUSED_TOO_MANY_SUBSCRIPTIONS, detail);
        return false;
    }
    return true;
}

static void find_start(const struct journal *j, struct subscription *s)
{
    uint64_t first = journal_first_seq(j), value = s->wanted.from_value;
    s->end_seq = j->next_seq;
    switch (s->wanted.from) {
    case QUEUE_FROM_START:
        s->next_seq = first;
        break;
    case QUEUE_FROM_END:
        s->next_seq = j->next_seq;
        break;
    case QUEUE_FROM_SEQ:
        s->next_seq = value > first ? value : first;
        break;
    case QUEUE_FROM_TIME:
        s->from_ms = value < INT64_MAX ? (int64_t)value : INT64_MAX;
        s->next_seq = journal_find_time(j, s->from_ms);
        break;
    case QUEUE_FROM_LAST:
        s->seeking = s->wanted.n_filters || s->wanted.key.p || s->where || j->holes.n ||
                     j->expired_before > first;
        s->seek_seq = j->next_seq;
        s->seek_wanted = value;
        s->next_seq = value < j->next_seq - first ? j->next_seq - value : first;
        break;
    }
}

void readers_subscribe(struct readers *r, uint32_t peer, int fd, const struct queue_subscribe *f)
{
    if (!check(r, peer, f)) {
        return;
    }
    struct subscription *s = NULL;
    struct where_error error;
    int status = subscription_new(f, &s, &error);
    if (status == -EINVAL) {
        refuse_filter(r, peer, f, &error);
        return;
    }
    struct client *c = s ? clients_add(r->options.clients, peer, fd) : NULL;
    if (!c) {
        subscription_destroy(&s);
        refuse(r, peer, f->subscription, REFUSED_TOO_MANY_SUBSCRIPTIONS, "out of memory");
        return;
    }
    find_start(r->options.journal, s);
    s->client = c;
    s->next_of_client = c->subscriptions;
    c->subscriptions = s;
    c->n_subscriptions++;
    r->n++;
    append_sub(r, s, SUB_READY);
    log_debug("client %u subscribes, number %" PRIu64 ", from event %" PRIu64
              ", with credit for %" PRIu64,
              peer, s->wanted.subscription, s->next_seq, s->credit);
    r->options.on_ready(r->options.data);
}

static void unblock(struct readers *r, struct subscription *s)
{
    if (s->state == SUB_BLOCKED) {
        move(r, s, SUB_READY);
        r->options.on_ready(r->options.data);
    }
}

void readers_grant(struct readers *r, uint32_t peer, uint64_t subscription, uint64_t more)
{
    struct subscription *s = find(clients_find(r->options.clients, peer), subscription);
    if (s) { // else it has ended meanwhile
        s->credit = more < MAX_CREDIT - s->credit ? s->credit + more : MAX_CREDIT;
        log_debug("subscription %" PRIu64 " of client %u has credit for %" PRIu64 " more: %" PRIu64,
                  subscription, peer, more, s->credit);
        unblock(r, s);
    }
}

void readers_unsubscribe(struct readers *r, uint32_t peer, uint64_t subscription)
{
    struct subscription *s = find(clients_find(r->options.clients, peer), subscription);
    if (s) { // else it has ended meanwhile
        remove_sub(r, s);
    }
}

void readers_unblock(struct readers *r, struct client *client)
{
    for (struct subscription *s = client->subscriptions; s; s = s->next_of_client) {
        unblock(r, s);
    }
}

void readers_forget(struct readers *r, struct client *client)
{
    while (client->subscriptions) {
        remove_sub(r, client->subscriptions);
    }
}

// --- For INFO and metrics

size_t readers_count(const struct readers *r)
{
    return r->n;
}

uint64_t readers_behind(const struct readers *r, const struct subscription *s)
{
    uint64_t end = r->options.journal->next_seq;
    return s->next_seq < end ? end - s->next_seq : 0;
}

uint64_t readers_behind_most(const struct readers *r)
{
    uint64_t most = 0;
    for (int state = 0; state < SUB_STATES; state++) {
        for (const struct subscription *s = r->lists[state].first; s; s = s->next) {
            uint64_t behind = readers_behind(r, s);
            most = behind > most ? behind : most;
        }
    }
    return most;
}

// --- Life

int readers_open(const struct readers_options *options, struct readers **ret_readers)
{
    struct readers *r = calloc(1, sizeof *r);
    if (!r) {
        return -ENOMEM;
    }
    r->options = *options;
    buf_init(&r->frame, QUEUE_MAX_FRAME_BYTES);
    (void)uv_timer_init(options->loop, &r->tick); // cannot fail
    r->tick.data = r;
    (void)uv_timer_start(&r->tick, on_tick, READERS_TICK_MS, READERS_TICK_MS); // has a callback
    *ret_readers = r;
    return 0;
}

void readers_end_all(struct readers *r, struct str reason)
{
    for (int state = 0; state < SUB_STATES; state++) {
        struct subscription *s;
        while ((s = r->lists[state].first)) {
            if (!end(r, s, reason)) {
                remove_sub(r, s); // cannot be told
            }
        }
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void readers_close(struct readers **readers)
{
    struct readers *r = *readers;
    *readers = NULL;
    if (!r) {
        return;
    }
    for (struct client *c = clients_next(r->options.clients, NULL); c;
         c = clients_next(r->options.clients, c)) {
        readers_forget(r, c);
    }
    buf_fini(&r->frame);
    uv_close((uv_handle_t *)&r->tick, on_closed);
}
