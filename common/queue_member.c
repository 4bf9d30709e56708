// SPDX-License-Identifier: MIT
// Members of a queue client. A member knows what is in its hands, so that a settlement from before a
// reconnect is refused here instead of being taken for one of a later delivery.
//
// Settlements gather in one SETTLE frame for a turn of the loop. Only neighbouring sequences become
// a range: what lies between two others may be under way to this member, and a range would settle it.
#include "common/queue_member.h"

#include "common/queue_client_impl.h"
#include "proto/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

//   AWAY --up--> MAKING --RESULT--> JOINING --JOINED--> JOINED     any --connection lost--> AWAY
//   AWAY --up, nothing to make (any more)--> JOINING               any --REFUSED, ENDED--> gone
enum member_state { AWAY, MAKING, JOINING, JOINED };

#define MAX_NUMBERS 6 // of group-set's arguments

struct held {
    uint64_t seq; // 0: free
    uint32_t attempt;
};

struct queue_member {
    struct queue_client *client;
    uint64_t number;
    char group[QUEUE_MAX_GROUP + 1];
    uint32_t window, max_window; // wanted now; at most
    enum member_state state;
    struct buf make;       // arguments of group-set; empty: nothing to make
    uint64_t make_request; // of the call under way
    struct queue_member_callbacks callbacks;
    struct held *held; // what is in its hands: hashed by seq, probed linearly
    size_t mask;       // of the table, twice as large as the window
    uint32_t n_held;
    struct queue_settle waiting; // settlements that were not sent yet
    char error[QUEUE_MAX_ERROR]; // of waiting
    int callbacks_running;
    bool closed; // by its owner, in the middle of a callback
};

// --- What is in its hands

static size_t home_of(const struct queue_member *m, uint64_t seq)
{
    return (size_t)((seq * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & m->mask;
}

// The entry of seq, or the free one where it would be.
static struct held *find_held(struct queue_member *m, uint64_t seq)
{
    size_t i = home_of(m, seq);
    assert(m->n_held <= m->mask / 2 + 1); // so a free one is found
    while (m->held[i].seq && m->held[i].seq != seq) {
        i = (i + 1) & m->mask;
    }
    return &m->held[i];
}

// Removes an entry, and moves up those behind it that would not be found over the hole.
static void drop_held(struct queue_member *m, struct held *h)
{
    size_t hole = (size_t)(h - m->held), i = hole;
    m->held[hole].seq = 0;
    m->n_held--;
    for (i = (i + 1) & m->mask; m->held[i].seq; i = (i + 1) & m->mask) {
        size_t home = home_of(m, m->held[i].seq);
        if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
            m->held[hole] = m->held[i];
            m->held[i].seq = 0;
            hole = i;
        }
    }
}

static void forget_all(struct queue_member *m)
{
    if (m->n_held) {
        memset(m->held, 0, (m->mask + 1) * sizeof *m->held);
        m->n_held = 0;
    }
    m->waiting.n_ranges = 0;
}

uint32_t queue_member_unsettled(const struct queue_member *m)
{
    return m->n_held;
}

// --- Life

static void free_member(struct queue_member *m)
{
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        if (m->client->members[i] == m) {
            m->client->members[i] = NULL;
        }
    }
    buf_fini(&m->make);
    free(m->held);
    free(m);
}

static void begin_callback(struct queue_member *m)
{
    m->callbacks_running++;
}

// False: the member is gone.
static bool end_callback(struct queue_member *m)
{
    if (--m->callbacks_running == 0 && m->closed) {
        free_member(m);
        return false;
    }
    return !m->closed;
}

static void end_member(struct queue_member *m, struct str reason, struct str detail)
{
    begin_callback(m);
    m->state = AWAY;
    forget_all(m);
    m->closed =
        true; // before the callback: what its owner does with the client must not join again
    m->callbacks.on_ended(m, reason, detail, m->callbacks.data);
    (void)end_callback(m);
}

// --- Joining

static void write_filters(struct buf *b, const struct queue_group *g)
{
    writer_key(b, "filters");
    writer_array(b, (uint32_t)g->n_filters);
    for (size_t i = 0; i < g->n_filters; i++) {
        writer_str(b, g->filters[i]);
    }
}

// The arguments of group-set; what is not given is left out.
static int copy_group(struct queue_member *m, const struct queue_group *g)
{
    static const char *const starts[] = { "start", "end", "seq", "time" };
    static const char *const orders[] = { "key", "none", "all" };
    const struct {
        const char *name;
        uint64_t value;
    } numbers[MAX_NUMBERS] = { { "value", g->from_value },
                               { "ack_wait_ms", g->ack_wait_ms },
                               { "max_deliveries", g->max_deliveries },
                               { "backoff_ms", g->backoff_ms },
                               { "backoff_max_ms", g->backoff_max_ms },
                               { "max_pending", g->max_pending } };
    uint32_t count = 3; // group, from, order
    assert(g->from <= QUEUE_FROM_TIME && g->order <= QUEUE_ORDER_ALL);
    assert(g->n_filters <= QUEUE_MAX_FILTERS);
    size_t mark = writer_open_map(&m->make);
    writer_key(&m->make, "group");
    writer_str(&m->make, str_of(m->group));
    writer_key(&m->make, "from");
    writer_str(&m->make, str_of(starts[g->from]));
    writer_key(&m->make, "order");
    writer_str(&m->make, str_of(orders[g->order]));
    if (g->n_filters) {
        write_filters(&m->make, g);
        count++;
    }
    for (size_t i = 0; i < MAX_NUMBERS; i++) {
        if (numbers[i].value) {
            writer_key(&m->make, numbers[i].name);
            writer_uint(&m->make, numbers[i].value);
            count++;
        }
    }
    writer_close(&m->make, mark, count);
    return buf_error(&m->make);
}

static void send_make(struct queue_member *m)
{
    struct queue_client *c = m->client;
    m->make_request = queue_client_next_request(c);
    buf_reset(&c->out);
    queue_call_encode(&c->out, m->make_request, STR("group-set"), buf_str(&m->make));
    m->state = queue_client_send_out(c) ? AWAY : MAKING;
}

static int send_join(struct queue_member *m)
{
    struct queue_client *c = m->client;
    buf_reset(&c->out);
    queue_join_encode(&c->out, m->number, str_of(m->group), m->window);
    return queue_client_send_out(c);
}

static void enter(struct queue_member *m)
{
    if (m->make.len) {
        send_make(m);
    } else if (send_join(m) == 0) {
        m->state = JOINING; // else again at the next tick
    }
}

void queue_members_send(struct queue_client *c)
{
    for (size_t i = 0; c->up && i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        if (c->members[i] && c->members[i]->state == AWAY && !c->members[i]->closed) {
            enter(c->members[i]);
        }
    }
}

void queue_members_down(struct queue_client *c)
{
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        if (c->members[i]) {
            c->members[i]->state = AWAY;
            forget_all(c->members[i]);
        }
    }
}

static struct queue_member *new_member(uint32_t window)
{
    size_t size = 2;
    while (size < 2 * (size_t)window) {
        size *= 2;
    }
    struct queue_member *m = calloc(1, sizeof *m);
    struct held *held = calloc(size, sizeof *held);
    if (!m || !held) {
        free(m);
        free(held);
        return NULL;
    }
    m->held = held;
    m->mask = size - 1;
    m->window = m->max_window = window;
    buf_init(&m->make, QUEUE_MAX_FILTERS * (QUEUE_MAX_TOPIC + 3) + QUEUE_MAX_GROUP + 512);
    return m;
}

int queue_client_join(struct queue_client *c, struct str name, uint32_t window,
                      const struct queue_group *make,
                      const struct queue_member_callbacks *callbacks,
                      struct queue_member **ret_member)
{
    size_t i = 0;
    assert(callbacks->on_delivery && callbacks->on_ended && !c->closed);
    if (!queue_group_valid(name) || window == 0 || window > QUEUE_CLIENT_MAX_WINDOW) {
        return -EINVAL;
    }
    while (i < QUEUE_CLIENT_MAX_MEMBERS && c->members[i]) {
        i++;
    }
    if (i == QUEUE_CLIENT_MAX_MEMBERS) {
        return -ENOSPC;
    }
    struct queue_member *m = new_member(window);
    if (!m) {
        return -ENOMEM;
    }
    m->client = c;
    m->callbacks = *callbacks;
    memcpy(m->group, name.p, name.n);
    int rc = make ? copy_group(m, make) : 0;
    if (rc) {
        free_member(m);
        return rc;
    }
    m->number = queue_client_next_request(c);
    c->members[i] = m;
    *ret_member = m;
    if (c->up) {
        enter(m);
    }
    return 0;
}

void queue_member_set_window(struct queue_member *m, uint32_t window)
{
    m->window = window < m->max_window ? window : m->max_window;
    if (m->state == JOINED || m->state == JOINING) {
        int rc = send_join(m); // fails when the connection is lost; the next JOIN says it
        (void)rc;
    }
}

// --- Settling

// Sends what waits. It keeps waiting when the socket takes no more.
static int flush(struct queue_member *m)
{
    struct queue_client *c = m->client;
    if (m->waiting.n_ranges == 0) {
        return 0;
    }
    assert(m->state == JOINED);
    m->waiting.member = m->number;
    m->waiting.request = m->callbacks.on_settled ? queue_client_next_request(c) : 0;
    buf_reset(&c->out);
    queue_settle_encode(&c->out, &m->waiting);
    int rc = queue_client_send_out(c);
    m->waiting.n_ranges = rc ? m->waiting.n_ranges : 0;
    return rc;
}

void queue_members_flush(struct queue_client *c)
{
    for (size_t i = 0; c->up && i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        if (c->members[i]) {
            int rc = flush(c->members[i]); // what waits is sent at a later tick, or forgotten with
            (void)rc;                      // its connection
        }
    }
}

static bool goes_with(const struct queue_settle *w, enum queue_verdict verdict, uint64_t delay_ms,
                      struct str error)
{
    return w->verdict == verdict && w->delay_ms == delay_ms && str_eq(w->error, error);
}

// Adds one delivery to what waits: to the last range, if it is its neighbour.
static void add_range(struct queue_settle *w, uint64_t seq, uint32_t attempt)
{
    struct queue_range *last = w->n_ranges ? &w->ranges[w->n_ranges - 1] : NULL;
    if (last && last->attempt == attempt && seq == last->last_seq + 1) {
        last->last_seq = seq;
        last->events++;
    } else if (last && last->attempt == attempt && seq + 1 == last->first_seq) {
        last->first_seq = seq;
        last->events++;
    } else {
        assert(w->n_ranges < QUEUE_MAX_RANGES);
        w->ranges[w->n_ranges++] = (struct queue_range){ seq, seq, attempt, 1 };
    }
}

static int settle(struct queue_member *m, uint64_t seq, uint32_t attempt,
                  enum queue_verdict verdict, uint64_t delay_ms, struct str error)
{
    struct held *h = seq ? find_held(m, seq) : NULL;
    if (!h || h->seq != seq || h->attempt != attempt || m->state != JOINED) {
        return -ESTALE;
    }
    error.n = error.n < QUEUE_MAX_ERROR ? error.n : QUEUE_MAX_ERROR;
    struct queue_settle *w = &m->waiting;
    if (w->n_ranges &&
        (w->n_ranges == QUEUE_MAX_RANGES || !goes_with(w, verdict, delay_ms, error)) && flush(m)) {
        return -EAGAIN;
    }
    if (w->n_ranges == 0) {
        w->verdict = verdict;
        w->delay_ms = delay_ms;
        if (error.n) {
            memcpy(m->error, error.p, error.n);
        }
        w->error = (struct str){ m->error, error.n };
    }
    add_range(w, seq, attempt);
    if (verdict != QUEUE_EXTEND) {
        drop_held(m, h);
    }
    queue_client_gather(m->client);
    return 0;
}

int queue_member_ack(struct queue_member *m, uint64_t seq, uint32_t attempt)
{
    return settle(m, seq, attempt, QUEUE_ACK, 0, STR(""));
}

int queue_member_nak(struct queue_member *m, uint64_t seq, uint32_t attempt, uint64_t delay_ms,
                     struct str error)
{
    return settle(m, seq, attempt, QUEUE_NAK, delay_ms, error);
}

int queue_member_extend(struct queue_member *m, uint64_t seq, uint32_t attempt)
{
    return settle(m, seq, attempt, QUEUE_EXTEND, 0, STR(""));
}

int queue_member_term(struct queue_member *m, uint64_t seq, uint32_t attempt, struct str error)
{
    return settle(m, seq, attempt, QUEUE_TERM, 0, error);
}

void queue_member_close(struct queue_member **member)
{
    struct queue_member *m = *member;
    *member = NULL;
    if (!m || m->closed) {
        return;
    }
    if (m->client->up && (m->state == JOINED || m->state == JOINING)) {
        int rc = flush(m); // what it cannot say any more is delivered again
        (void)rc;
        queue_client_send_pair(m->client, QUEUE_LEAVE, m->number, 0);
    }
    m->state = AWAY;
    forget_all(m);
    m->closed = true;
    if (m->callbacks_running == 0) {
        free_member(m);
    }
}

void queue_members_cancel(struct queue_client *c)
{
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        struct queue_member *m = c->members[i];
        queue_member_close(&m);
    }
}

// --- Hearing

static struct queue_member *find_member(struct queue_client *c, uint64_t number)
{
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        if (c->members[i] && c->members[i]->number == number && !c->members[i]->closed) {
            return c->members[i];
        }
    }
    return NULL;
}

void queue_members_take_joined(struct queue_client *c, uint64_t number)
{
    struct queue_member *m = find_member(c, number);
    if (m && m->state == JOINING) { // else it answers a change of the window
        m->state = JOINED;
        if (m->callbacks.on_joined) {
            begin_callback(m);
            m->callbacks.on_joined(m, m->callbacks.data);
            (void)end_callback(m);
        }
    }
}

bool queue_members_take_result(struct queue_client *c, uint64_t request)
{
    for (size_t i = 0; i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        struct queue_member *m = c->members[i];
        if (m && m->state == MAKING && m->make_request == request) {
            buf_fini(&m->make); // once: what an operator changes later stays changed
            m->state = AWAY;
            enter(m);
            return true;
        }
    }
    return false;
}

void queue_members_take_deliver(struct queue_client *c, struct queue_deliver *f)
{
    struct queue_member *m = find_member(c, f->member);
    struct queue_delivery d;
    if (!m || m->state != JOINED) {
        return; // it has left meanwhile
    }
    begin_callback(m);
    while (!m->closed && m->state == JOINED && queue_deliver_next(f, &d) == 1) {
        struct held *h = find_held(m, d.seq);
        if (d.seq == 0 || (!h->seq && m->n_held == m->max_window)) {
            break; // more than was asked for: a peer that does not keep to the protocol
        }
        m->n_held += h->seq == 0;
        *h = (struct held){ d.seq, d.attempt };
        m->callbacks.on_delivery(m, &d, m->callbacks.data);
    }
    (void)end_callback(m);
}

void queue_members_take_settled(struct queue_client *c, const struct queue_settled *f)
{
    struct queue_member *m = find_member(c, f->member);
    if (m && m->callbacks.on_settled) {
        begin_callback(m);
        m->callbacks.on_settled(m, f, m->callbacks.data);
        (void)end_callback(m);
    }
}

bool queue_members_take_lost(struct queue_client *c, uint64_t number, uint64_t first_seq,
                             uint64_t last_seq)
{
    struct queue_member *m = find_member(c, number);
    if (m && m->callbacks.on_lost) {
        begin_callback(m);
        m->callbacks.on_lost(m, first_seq, last_seq, m->callbacks.data);
        (void)end_callback(m);
    }
    return m != NULL;
}

bool queue_members_take_ended(struct queue_client *c, uint64_t id, struct str reason,
                              struct str detail)
{
    struct queue_member *m = find_member(c, id);
    for (size_t i = 0; !m && i < QUEUE_CLIENT_MAX_MEMBERS; i++) {
        if (c->members[i] && c->members[i]->state == MAKING && c->members[i]->make_request == id) {
            m = c->members[i];
        }
    }
    if (m && str_eq(reason, STR("stopping"))) {
        forget_all(m); // joins again at the next connection
        m->state = JOINING;
    } else if (m) {
        end_member(m, reason, detail);
    }
    return m != NULL;
}
