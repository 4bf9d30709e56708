// SPDX-License-Identifier: MIT
// Groups at random, against a list of what each event is owed: what a group said with each commit is read again from
// any commit on, with checkpoints anywhere. Nothing that was settled may come again, nothing may be missing, and
// failures and due times must be remembered. A failure prints the seed; SEED=n runs that one alone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/queue/group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_EVENTS 250
#define MAX_KEYS 6
#define MAX_MEMBERS 4
#define MAX_COMMITS 200
#define STEPS 1500
#define SEEDS 60
#define NUMBER 7              // of the group
#define WALL_MS 1795000000000 // the wall clock is so much ahead of the other

struct event_of {
    bool wanted;
    uint8_t key; // 0: none
};

// What the group owes an event, by the test's own books.
struct fate {
    bool due, added;
    bool named; // the log has to remember what is below
    bool dying;
    uint32_t failures;
    int64_t ready_ms; // not before, on the wall clock
};

struct state {
    struct fate fates[MAX_EVENTS + 1];
    bool dead[MAX_EVENTS + 1]; // on the list of dead letters, under this sequence
    uint64_t next;
};

struct commit {
    struct buf records;
    bool checkpoint;
    uint64_t first_seq; // of its events, if it has any
    struct state after;
};

struct world {
    uint64_t seed, chance;
    struct group_config config;
    struct event_of events[MAX_EVENTS + 1];
    struct group *g;
    struct member members[MAX_MEMBERS];
    bool joined[MAX_MEMBERS];
    struct state state;
    struct commit commits[MAX_COMMITS];
    size_t n_commits;
    int64_t now_us;
};

#define HOLDS(w, condition)                                                                        \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("seed %" PRIu64 ", line %d\n", (w)->seed, __LINE__);                       \
            assert_true(condition);                                                                \
        }                                                                                          \
    } while (0)

static uint64_t below(struct world *w, uint64_t n)
{
    w->chance += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = w->chance;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % n;
}

static int64_t wall_ms(const struct world *w)
{
    return WALL_MS + w->now_us / 1000;
}

static struct str key_text(const struct world *w, uint64_t seq, char out[8])
{
    uint8_t key = w->events[seq].key;
    (void)snprintf(out, 8, "k%u", key);
    return key ? str_of(out) : STR("");
}

static bool always(const struct member *m, void *data)
{
    (void)m;
    (void)data;
    return true;
}

// --- Giving the group events

static void take(struct world *w, struct group *g, uint64_t next)
{
    while (g->cursor < next && group_may_take(g)) {
        char text[8];
        uint64_t seq = g->cursor;
        struct pending *e;
        struct str topic = w->events[seq].wanted ? STR("a.b") : STR("c");
        if (!w->events[seq].wanted && below(w, 2)) {
            group_skip(g, seq + 1);
            continue;
        }
        assert_int_equal(group_take(g, seq, topic, key_text(w, seq, text), &e), 0);
        HOLDS(w, !e || (e->seq == seq && w->state.fates[seq].due));
        if (e && e->state == PENDING_READY) {
            return; // is to be delivered before others are looked at, as groups do
        }
    }
}

// What must hold of an event that is about to be delivered.
static void check_turn(struct world *w, const struct group *g, const struct pending *e)
{
    const struct fate *f = &w->state.fates[e->seq];
    HOLDS(w, f->due);
    HOLDS(w, e->failures == f->failures);
    for (uint64_t seq = 1; seq < e->seq && !e->added; seq++) {
        const struct fate *before = &w->state.fates[seq];
        const struct pending *p = pending_find(&g->pending, seq);
        if (!before->due || before->added) {
            continue;
        }
        HOLDS(w, w->config.order != GROUP_ORDER_KEY || !w->events[seq].key ||
                     w->events[seq].key != w->events[e->seq].key);
        HOLDS(w, w->config.order != GROUP_ORDER_ALL || (p && p->state == PENDING_DELIVERED));
    }
}

static void deliver(struct world *w)
{
    struct group *g = w->g;
    for (uint64_t n = below(w, 8); n > 0; n--) {
        struct member *m = group_next_member(g, always, NULL);
        if (!group_ready(g) && m) {
            take(w, g, w->state.next);
        }
        struct pending *e = group_ready(g);
        if (!m || !e) {
            return;
        }
        check_turn(w, g, e);
        group_deliver(g, e, m, w->now_us);
        if (below(w, 30) == 0) {
            group_take_back(g, m, 1);
        } else if (below(w, 3) == 0) {
            group_pass_turn(g, m);
        }
    }
}

// --- Settling

// Failures are counted by the group; that they are remembered is what is checked here.
static void look_at_failures(struct world *w)
{
    struct pending *e;
    for (size_t at = w->g->pending.at; (e = pending_next(&w->g->pending, &at));) {
        struct fate *f = &w->state.fates[e->seq];
        f->failures = e->failures;
        f->dying = e->terminated || e->failures >= w->config.max_deliveries;
        f->named = e->failures || e->terminated || e->added;
        f->added = e->added;
        f->ready_ms = e->state == PENDING_DELAYED ? WALL_MS + e->when_ms : 0;
    }
}

static void settle(struct world *w)
{
    struct group *g = w->g;
    struct member *m = &w->members[below(w, MAX_MEMBERS)];
    const struct pending *any = pending_first(&g->pending, PENDING_DELIVERED);
    if (!any) {
        return;
    }
    struct queue_range r = { any->seq, any->seq + below(w, 12), any->attempt, 1 };
    struct settlement s = { .verdict = below(w, 3) ? QUEUE_ACK : (enum queue_verdict)below(w, 4),
                            .delay_ms = below(w, 2) ? (int64_t)below(w, 500) : 0,
                            .error = below(w, 2) ? STR("broken") : STR(""),
                            .now_us = w->now_us };
    m = below(w, 4) ? any->member : m;
    bool settled[MAX_EVENTS + 1] = { false };
    uint32_t expected = 0;
    for (uint64_t seq = r.first_seq; seq <= r.last_seq && seq < w->state.next; seq++) {
        const struct pending *e = pending_find(&g->pending, seq);
        settled[seq] =
            e && e->state == PENDING_DELIVERED && e->member == m && e->attempt == r.attempt;
        expected += settled[seq];
    }
    int64_t took_us;
    uint32_t n = m->group ? group_settle(g, m, &s, &r, &took_us) : expected;
    bool revokes = s.verdict == QUEUE_NAK && w->config.order == GROUP_ORDER_ALL;
    HOLDS(w, n == expected || (revokes && n == (expected > 0)));
    for (uint64_t seq = 1; s.verdict == QUEUE_ACK && seq < w->state.next; seq++) {
        if (settled[seq]) {
            w->state.fates[seq] = (struct fate){ .due = false };
        }
    }
}

static void join_or_leave(struct world *w)
{
    uint64_t i = below(w, MAX_MEMBERS);
    struct member *m = &w->members[i];
    if (w->joined[i]) {
        uint32_t had = m->delivered;
        HOLDS(w, group_leave(w->g, m, below(w, 2), w->now_us) == had && m->delivered == 0);
    } else {
        *m = (struct member){ .number = i, .window = 1 + (uint32_t)below(w, 10) };
        group_join(w->g, m);
    }
    w->joined[i] = !w->joined[i];
}

// --- By hand

static void seek(struct world *w)
{
    uint64_t to = 1 + below(w, w->state.next);
    HOLDS(w, group_seek(w->g, to) <= MAX_EVENTS);
    for (uint64_t seq = 1; seq < w->state.next; seq++) {
        w->state.fates[seq] = (struct fate){ .due = seq >= to && w->events[seq].wanted };
    }
}

static void add(struct world *w)
{
    char text[8];
    if (w->state.next == 1) {
        return;
    }
    uint64_t seq = 1 + below(w, w->state.next - 1);
    bool pending = pending_find(&w->g->pending, seq) != NULL, room = group_has_room(w->g);
    uint64_t key = w->config.order == GROUP_ORDER_KEY ? pending_key_of(key_text(w, seq, text)) : 0;
    int status = group_add(w->g, seq, key);
    HOLDS(w, status == (pending ? -EEXIST : room ? 0 : -ENOSPC));
    if (status == 0) {
        w->state.fates[seq] = (struct fate){ .due = true, .added = true, .named = true };
        struct dead *d = group_find_dead(w->g, seq);
        HOLDS(w, (d != NULL) == w->state.dead[seq]);
    }
}

// --- The log

static struct commit *new_commit(struct world *w)
{
    struct commit *c = w->n_commits < MAX_COMMITS ? &w->commits[w->n_commits++] : NULL;
    if (c) {
        *c = (struct commit){ .checkpoint = false };
        buf_init(&c->records, 1 << 20);
    }
    return c;
}

// The first of the dying is buried with this commit: a copy of it becomes the next event.
static void bury(struct world *w, struct commit *c, struct pending *e)
{
    uint64_t copy = w->state.next;
    const struct record_dead r = { NUMBER, e->attempt, e->seq, e->seq, 0, wall_ms(w) };
    const struct dead d = { copy, e->seq, wall_ms(w), e->attempt };
    uint64_t seq = e->seq;
    if (copy <= MAX_EVENTS) {
        record_dead(&c->records, &r);
        group_bury(w->g, e, &d);
        w->state.fates[seq] = (struct fate){ .due = false };
        w->events[copy] = (struct event_of){ .wanted = false };
        w->state.dead[copy] = true;
        w->state.next++;
        HOLDS(w, group_find_dead(w->g, copy) != NULL);
    }
}

static void commit(struct world *w)
{
    struct commit *c = group_changed(w->g) || below(w, 8) == 0 ? new_commit(w) : NULL;
    if (!c) {
        return;
    }
    c->checkpoint = below(w, 4) == 0;
    c->first_seq = w->state.next;
    if (c->checkpoint) {
        group_write_state(w->g, wall_ms(w), w->now_us, &c->records);
    } else {
        group_write_changes(w->g, wall_ms(w), w->now_us, &c->records);
        HOLDS(w, !group_changed(w->g));
        struct pending *e = pending_first(&w->g->pending, PENDING_DYING);
        if (e) {
            bury(w, c, e);
        }
    }
    HOLDS(w, buf_ok(&c->records));
    look_at_failures(w);
    c->after = w->state;
}

static void read_records(struct world *w, struct group *g, const struct commit *c,
                         uint64_t frame_seq)
{
    struct str left = buf_str(&c->records);
    struct record r;
    while (record_next(&left, &r) == 1) {
        struct record_settled settled;
        struct record_failed failed;
        struct record_dead dead;
        if (r.type == RECORD_SETTLED) {
            HOLDS(w, record_settled_decode(r.body, &settled) == 0 && settled.number == NUMBER);
            HOLDS(w, group_replay_settled(g, settled) == 0);
        } else if (r.type == RECORD_FAILED) {
            HOLDS(w, record_failed_decode(r.body, &failed) == 0 && failed.number == NUMBER);
            HOLDS(w, group_replay_failed(g, &failed, wall_ms(w), w->now_us) == 0);
        } else {
            HOLDS(w, r.type == RECORD_DEAD && record_dead_decode(r.body, &dead) == 0);
            HOLDS(w, group_replay_dead(g, &dead, frame_seq) == 0);
        }
    }
    HOLDS(w, left.n == 0);
}

// The group as the log has it after n commits: from the start on, or from a checkpoint.
static struct group *read_log(struct world *w, size_t n)
{
    struct group *g = group_new(NUMBER, &w->config, 1);
    size_t from = n;
    assert_non_null(g);
    while (from > 0 && (!w->commits[from - 1].checkpoint || below(w, 3) == 0)) {
        from--;
    }
    for (size_t i = from ? from - 1 : 0; i < n; i++) {
        const struct commit *c = &w->commits[i];
        read_records(w, g, c, c->checkpoint ? 0 : c->first_seq);
    }
    return g;
}

// --- Reading it again

// What is owed comes, once, as often failed as it was; and nothing else does.
static void drain(struct world *w, struct group *g, const struct state *s)
{
    uint32_t came[MAX_EVENTS + 1] = { 0 };
    struct member m = { .number = 1, .window = 3 };
    int64_t now_us = w->now_us;
    size_t idle = 0;
    group_join(g, &m);
    while (idle < 3) {
        struct pending *e;
        idle++;
        (void)group_tick(g, now_us);
        while (!(e = group_ready(g)) && g->cursor < s->next && group_may_take(g)) {
            take(w, g, s->next);
        }
        if (e) {
            const struct fate *f = &s->fates[e->seq];
            HOLDS(w, f->due && !f->dying && came[e->seq]++ == 0);
            HOLDS(w, e->failures == f->failures && e->added == f->added);
            HOLDS(w, f->ready_ms <= WALL_MS + now_us / 1000 + 1);
            check_turn(w, g, e);
            group_deliver(g, e, &m, now_us);
            const struct queue_range r = { e->seq, e->seq, e->attempt, 1 };
            const struct settlement ack = { .verdict = QUEUE_ACK, .now_us = now_us };
            int64_t took_us;
            w->state.fates[e->seq].due = false;
            HOLDS(w, group_settle(g, &m, &ack, &r, &took_us) == 1);
            idle = 0;
        } else if ((e = pending_first(&g->pending, PENDING_DYING))) {
            const struct dead d = { MAX_EVENTS + 1 + e->seq, e->seq, 1, 1 };
            HOLDS(w, s->fates[e->seq].dying && came[e->seq]++ == 0);
            w->state.fates[e->seq].due = false;
            group_bury(g, e, &d);
            idle = 0;
        } else {
            now_us += 100 * 1000 * 1000;
        }
    }
    HOLDS(w, g->pending.n == 0 && g->cursor == s->next && group_floor(g) == s->next);
    for (uint64_t seq = 1; seq < s->next; seq++) {
        HOLDS(w, came[seq] == s->fates[seq].due);
    }
    (void)group_leave(g, &m, false, now_us);
}

static void check_dead(struct world *w, const struct group *g, const struct state *s)
{
    size_t n = 0;
    for (uint64_t seq = 1; seq < s->next; seq++) {
        n += s->dead[seq];
        HOLDS(w, (group_find_dead(g, seq) != NULL) == s->dead[seq]);
    }
    HOLDS(w, g->n_dead == n);
}

static void check_log(struct world *w, size_t n)
{
    struct state mine = w->state;
    struct group *g = read_log(w, n);
    if (n) {
        w->state = w->commits[n - 1].after;
        check_dead(w, g, &w->state);
        struct state owed = w->state;
        drain(w, g, &owed);
    }
    w->state = mine;
    group_destroy(&g);
}

// The process dies: what was not committed is gone.
static void crash(struct world *w)
{
    if (w->n_commits == 0) {
        return;
    }
    for (size_t i = 0; i < MAX_MEMBERS; i++) {
        if (w->joined[i]) {
            (void)group_leave(w->g, &w->members[i], false, w->now_us);
            w->joined[i] = false;
        }
    }
    uint64_t next = w->state.next;
    group_destroy(&w->g);
    w->g = read_log(w, w->n_commits);
    w->state = w->commits[w->n_commits - 1].after;
    for (uint64_t seq = w->state.next; seq < next; seq++) { // those were stored all the same
        w->state.fates[seq] = (struct fate){ .due = w->events[seq].wanted };
    }
    w->state.next = next;
}

// --- Runs

static void publish(struct world *w)
{
    for (uint64_t n = below(w, 6); n > 0 && w->state.next <= MAX_EVENTS; n--) {
        uint64_t seq = w->state.next++;
        w->events[seq] = (struct event_of){ below(w, 5) > 0, (uint8_t)below(w, MAX_KEYS) };
        w->state.fates[seq] = (struct fate){ .due = w->events[seq].wanted };
    }
}

static void step(struct world *w)
{
    uint64_t what = below(w, 1000);
    w->now_us += (int64_t)below(w, 50000);
    if (what < 150) {
        publish(w);
    } else if (what < 450) {
        deliver(w);
    } else if (what < 700) {
        settle(w);
    } else if (what < 740) {
        join_or_leave(w);
    } else if (what < 830) {
        (void)group_tick(w->g, w->now_us);
    } else if (what < 836) {
        seek(w);
    } else if (what < 850) {
        add(w);
    } else if (what < 970) {
        commit(w);
    } else if (what < 980) {
        crash(w);
    } else {
        check_log(w, w->n_commits);
    }
    look_at_failures(w);
}

static void choose(struct world *w)
{
    struct group_config *c = &w->config;
    group_config_init(c);
    memcpy(c->text, "a.*", 3);
    c->filter_bytes[0] = 3;
    c->n_filters = 1;
    c->order = (enum group_order)below(w, 3);
    c->ack_wait_ms = 300;
    c->backoff_ms = 1 + (int64_t)below(w, 300);
    c->max_deliveries = 1 + (uint32_t)below(w, 5);
    c->max_pending = 1 + (uint32_t)below(w, below(w, 2) ? 8 : 100);
}

static void run(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->seed = w->chance = seed;
    w->state.next = 1;
    w->now_us = 1000000;
    choose(w);
    w->g = group_new(NUMBER, &w->config, 1);
    assert_non_null(w->g);
    for (int i = 0; i < STEPS; i++) {
        step(w);
    }
    for (size_t n = 0; n <= w->n_commits; n++) {
        check_log(w, n);
    }
    for (size_t i = 0; i < MAX_MEMBERS; i++) {
        if (w->joined[i]) {
            (void)group_leave(w->g, &w->members[i], false, w->now_us);
        }
    }
    group_destroy(&w->g);
    for (size_t i = 0; i < w->n_commits; i++) {
        buf_fini(&w->commits[i].records);
    }
    free(w);
}

static void test_whatever_is_committed_is_read_again(void **state)
{
    (void)state;
    const char *one = getenv("SEED");
    for (uint64_t seed = 1; !one && seed <= SEEDS; seed++) {
        run(seed);
    }
    if (one) {
        run(strtoull(one, NULL, 10));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whatever_is_committed_is_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
