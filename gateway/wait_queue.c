// SPDX-License-Identifier: MIT
#include "gateway/wait_queue.h"

#include <assert.h>
#include <string.h>

static const char *const names[] = {
#define X(symbol, name) name,
    WAIT_PRIORITIES(X)
#undef X
};

static_assert(WAIT_FLOWS % WAIT_WAYS == 0 && WAIT_FLOWS <= UINT16_MAX, "flows come in sets");

const char *wait_priority_name(enum wait_priority priority)
{
    return names[priority];
}

void wait_queue_init(struct wait_queue *q, size_t max)
{
    memset(q, 0, sizeof *q);
    q->max = max;
}

static struct wait_group *group_of(struct wait_queue *q, enum wait_priority priority,
                                   enum frame_class load)
{
    return &q->groups[(size_t)priority * FRAME_CLASSES + load];
}

static struct wait_group *group_of_waiter(struct wait_queue *q, const struct waiter *w)
{
    return group_of(q, w->priority, w->load);
}

// --- Overload

// Whether those that wait need longer than their patience, going on as in this window. Many that soon have
// their turn are no overload: clients that ask again as soon as they have an answer, for instance.
static bool is_backlogged(const struct wait_class *c, int64_t now_us)
{
    return c->went > 0 && (int64_t)c->n * (now_us - c->window_us) > c->patience_us * c->went;
}

// Judges the window when it is over.
static void look_at_window(struct wait_class *c, int64_t now_us)
{
    if (now_us - c->window_us < WAIT_WINDOW_US) {
        return;
    }
    c->overloaded =
        c->ripe && c->went > 0 && c->came > c->went && (c->overloaded || is_backlogged(c, now_us));
    c->ripe = c->n > 0;
    c->window_us = now_us;
    c->came = c->went = 0;
}

bool wait_queue_overloaded(struct wait_queue *q, enum frame_class load, int64_t now_us)
{
    struct wait_class *c = &q->classes[load];
    look_at_window(c, now_us);
    return c->overloaded;
}

static void count_coming(struct wait_class *c, int64_t now_us)
{
    if (c->n == 0) {
        c->window_us = now_us;
        c->came = c->went = 0;
        c->ripe = c->overloaded = false;
    }
    look_at_window(c, now_us);
    c->came++;
}

// --- Flows

// The place of the client: its own, else a free one, else the one with the fewest.
static uint16_t find_flow(const struct wait_group *g, uint64_t client)
{
    size_t set = (size_t)(client % (WAIT_FLOWS / WAIT_WAYS)) * WAIT_WAYS, best = set;
    for (size_t i = set; i < set + WAIT_WAYS; i++) {
        const struct wait_flow *f = &g->flows[i];
        if (f->n > 0 && f->client == client) {
            return (uint16_t)i;
        }
        if (f->n < g->flows[best].n) {
            best = i;
        }
    }
    return (uint16_t)best;
}

// Lets a flow take part: it is next when `first`, else it is the last of the round.
static void join_ring(struct wait_group *g, uint16_t flow, bool first)
{
    struct wait_flow *f = &g->flows[flow];
    if (g->n_flows++ == 0) {
        f->prev = f->next = g->turn = flow;
        return;
    }
    f->next = g->turn;
    f->prev = g->flows[g->turn].prev;
    g->flows[f->prev].next = flow;
    g->flows[f->next].prev = flow;
    g->turn = first ? flow : g->turn;
}

static void leave_ring(struct wait_group *g, uint16_t flow)
{
    struct wait_flow *f = &g->flows[flow];
    g->flows[f->prev].next = f->next;
    g->flows[f->next].prev = f->prev;
    g->turn = g->turn == flow ? f->next : g->turn;
    g->n_flows--;
}

// --- In and out

static void insert(struct wait_queue *q, struct waiter *w, int64_t now_us)
{
    struct wait_class *c = &q->classes[w->load];
    struct wait_group *g = group_of_waiter(q, w);
    w->flow = find_flow(g, w->client);
    struct wait_flow *f = &g->flows[w->flow];
    if (f->n++ == 0) {
        f->client = w->client;
        join_ring(g, w->flow, c->overloaded);
    }
    w->since_us = now_us;
    w->next = NULL;
    w->prev = f->last;
    *(f->last ? &f->last->next : &f->first) = w;
    f->last = w;
    w->newer = NULL;
    w->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = w;
    c->newest = w;
    g->n++;
    c->n++;
    q->n++;
}

void wait_queue_remove(struct wait_queue *q, struct waiter *w)
{
    struct wait_class *c = &q->classes[w->load];
    struct wait_group *g = group_of_waiter(q, w);
    struct wait_flow *f = &g->flows[w->flow];
    *(w->prev ? &w->prev->next : &f->first) = w->next;
    *(w->next ? &w->next->prev : &f->last) = w->prev;
    *(w->older ? &w->older->newer : &c->oldest) = w->newer;
    *(w->newer ? &w->newer->older : &c->newest) = w->older;
    assert(f->n > 0 && g->n > 0 && c->n > 0 && q->n > 0);
    if (--f->n == 0) {
        leave_ring(g, w->flow);
    }
    g->n--;
    c->n--;
    q->n--;
}

struct waiter *wait_queue_next(struct wait_queue *q, enum wait_priority priority,
                               enum frame_class load, int64_t now_us)
{
    struct wait_group *g = group_of(q, priority, load);
    if (g->n == 0) {
        return NULL;
    }
    const struct wait_flow *f = &g->flows[g->turn];
    return wait_queue_overloaded(q, load, now_us) ? f->last : f->first;
}

void wait_queue_take(struct wait_queue *q, struct waiter *w, int64_t now_us)
{
    struct wait_class *c = &q->classes[w->load];
    struct wait_group *g = group_of_waiter(q, w);
    look_at_window(c, now_us);
    c->went++;
    if (g->turn == w->flow) {
        g->turn = g->flows[w->flow].next;
    }
    wait_queue_remove(q, w);
}

struct waiter *wait_queue_late(struct wait_queue *q, enum frame_class load, int64_t now_us)
{
    struct wait_class *c = &q->classes[load];
    struct waiter *w = c->oldest;
    if (!w || now_us - w->since_us <= c->patience_us || !wait_queue_overloaded(q, load, now_us)) {
        return NULL;
    }
    wait_queue_remove(q, w);
    return w;
}

// --- Full

// Whether a is to lose one rather than b: it has more; or as many, and the one that would go is older
// (when overloaded) or newer (else).
static bool is_fatter(const struct wait_flow *a, const struct wait_flow *b, bool overloaded)
{
    if (a->n != b->n) {
        return a->n > b->n;
    }
    return overloaded ? a->first->since_us < b->first->since_us
                      : a->last->since_us >= b->last->since_us;
}

// The flow of a group with somebody in it that has to lose one.
static const struct wait_flow *find_fattest(const struct wait_group *g, bool overloaded)
{
    const struct wait_flow *fattest = &g->flows[g->turn];
    uint16_t at = fattest->next;
    for (uint16_t i = 1; i < g->n_flows; i++, at = g->flows[at].next) {
        if (is_fatter(&g->flows[at], fattest, overloaded)) {
            fattest = &g->flows[at];
        }
    }
    return fattest;
}

// The lowest priority that somebody of a class has; the class is not empty.
static enum wait_priority lowest(struct wait_queue *q, enum frame_class load)
{
    int priority = WAIT_PRIORITIES_COUNT - 1;
    while (group_of(q, (enum wait_priority)priority, load)->n == 0) {
        priority--;
        assert(priority >= 0);
    }
    return (enum wait_priority)priority;
}

struct waiter *wait_queue_put(struct wait_queue *q, struct waiter *w, int64_t now_us)
{
    struct wait_class *c = &q->classes[w->load];
    count_coming(c, now_us);
    if (c->n < q->max) {
        insert(q, w, now_us);
        return NULL;
    }
    if (is_backlogged(c, now_us)) { // it cannot get worse
        c->overloaded = c->ripe = true;
    }
    enum wait_priority priority = lowest(q, w->load);
    if (priority < w->priority) {
        return w;
    }
    insert(q, w, now_us);
    const struct wait_flow *f = find_fattest(group_of(q, priority, w->load), c->overloaded);
    struct waiter *victim = c->overloaded ? f->first : f->last;
    wait_queue_remove(q, victim);
    return victim;
}
