// SPDX-License-Identifier: MIT
#include "gateway/balancer.h"

#include "common/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SLOT_BITS 16

static_assert(FLIGHTS_MAX == 1 << SLOT_BITS, "ids carry the slot");

void balancer_init(struct balancer *b, size_t max_waiting, uint32_t stuck_ms,
                   const struct balancer_callbacks *callbacks)
{
    *b = (struct balancer){ .callbacks = *callbacks,
                            .max_waiting = max_waiting,
                            .stuck_ms = stuck_ms };
}

void balancer_fini(struct balancer *b)
{
    for (size_t i = 0; i < b->n_pages; i++) {
        free(b->pages[i]);
    }
    for (size_t i = 0; i < SERVICES_MAX; i++) {
        free(b->lanes[i].workers);
    }
}

static struct lane *lane_of(struct balancer *b, const struct service *service)
{
    return &b->lanes[service->index];
}

static void fail(struct balancer *b, struct job *job, enum problem problem)
{
    job->state = JOB_DONE;
    b->callbacks.on_failure(job, problem, b->callbacks.data);
}

// --- Flights

static bool add_page(struct balancer *b)
{
    struct flight *page = b->n_pages < FLIGHT_PAGES ? calloc(FLIGHT_PAGE, sizeof *page) : NULL;
    if (!page) {
        return false;
    }
    size_t first = b->n_pages * FLIGHT_PAGE;
    b->pages[b->n_pages++] = page;
    for (size_t i = FLIGHT_PAGE; i-- > 0;) {
        page[i].id = first + i;
        page[i].next = b->free;
        b->free = &page[i];
    }
    return true;
}

// A flight of job at w, last of its flights; NULL when no slot is left.
static struct flight *take_flight(struct balancer *b, struct job *job, struct worker *w)
{
    if (!b->free && !add_page(b)) {
        return NULL;
    }
    struct flight *f = b->free;
    b->free = f->next;
    f->id = ++b->serial << SLOT_BITS | (f->id & (FLIGHTS_MAX - 1));
    f->job = job;
    f->worker = w;
    f->prev = w->last;
    f->next = NULL;
    *(w->last ? &w->last->next : &w->first) = f;
    w->last = f;
    w->in_flight++;
    b->n_flights++;
    return f;
}

static void release_flight(struct balancer *b, struct flight *f)
{
    struct worker *w = f->worker;
    *(f->prev ? &f->prev->next : &w->first) = f->next;
    *(f->next ? &f->next->prev : &w->last) = f->prev;
    assert(w->in_flight > 0);
    w->in_flight--;
    b->n_flights--;
    if (f->job) {
        f->job->flight = NULL;
    }
    f->job = NULL;
    f->worker = NULL;
    f->next = b->free;
    b->free = f;
}

static struct flight *find_flight(const struct balancer *b, const struct worker *w, uint64_t id)
{
    size_t slot = id & (FLIGHTS_MAX - 1);
    if (slot / FLIGHT_PAGE >= b->n_pages) {
        return NULL;
    }
    struct flight *f = &b->pages[slot / FLIGHT_PAGE][slot % FLIGHT_PAGE];
    return f->worker == w && f->id == id ? f : NULL;
}

// --- Choosing

static bool can_take(const struct balancer *b, const struct worker *w, const struct job *job)
{
    return w->state == WORKER_SERVING && w->in_flight < w->credit && !w->unreachable &&
           w->oldest_ms <= b->stuck_ms && !(job->route->write && w->role == FRAME_ROLE_READER) &&
           job->route->index[w->table->slot] >= 0;
}

// Fewest in flight; equals take turns. avoid may be NULL.
static struct worker *choose(const struct balancer *b, struct lane *lane, const struct job *job,
                             const struct worker *avoid)
{
    struct worker *best = NULL;
    size_t n = lane->n_workers, at = n ? ++lane->turn % n : 0;
    for (size_t i = 0; i < n; i++, at = at + 1 == n ? 0 : at + 1) {
        struct worker *w = lane->workers[at];
        if (w != avoid && (!best || w->in_flight < best->in_flight) && can_take(b, w, job)) {
            best = w;
        }
    }
    return best;
}

// --- Waiting

static void link_job(struct lane *lane, struct job *job)
{
    bool write = job->route->write;
    job->state = JOB_WAITING;
    job->next = NULL;
    job->prev = lane->tail[write];
    *(job->prev ? &job->prev->next : &lane->head[write]) = job;
    lane->tail[write] = job;
    lane->n_waiting++;
}

static void unlink_job(struct lane *lane, struct job *job)
{
    // A new table may have changed the route's mark since, so the list is found by its ends.
    if (!job->prev) {
        lane->head[lane->head[1] == job] = job->next;
    } else {
        job->prev->next = job->next;
    }
    if (!job->next) {
        lane->tail[lane->tail[1] == job] = job->prev;
    } else {
        job->next->prev = job->prev;
    }
    assert(lane->n_waiting > 0);
    lane->n_waiting--;
    job->state = JOB_NEW;
}

static void enqueue(struct balancer *b, struct lane *lane, struct job *job)
{
    bool absent =
        lane->absent_since_ms && clock_mono_ms() - lane->absent_since_ms > ABSENCE_GRACE_MS;
    if (absent || !job->route->live) {
        fail(b, job, PROBLEM_UNAVAILABLE);
    } else if (lane->n_waiting >= b->max_waiting) {
        b->counts.refused_full++;
        fail(b, job, PROBLEM_OVERLOADED);
    } else {
        b->counts.waited++;
        link_job(lane, job);
    }
}

// --- Sending

// Gives the job to a worker, or lets it wait.
static void place(struct balancer *b, struct job *job, const struct worker *avoid)
{
    struct lane *lane = lane_of(b, job->route->service);
    struct worker *w;
    while ((w = choose(b, lane, job, avoid))) {
        struct flight *f = take_flight(b, job, w);
        if (!f) {
            fail(b, job, PROBLEM_OVERLOADED);
            return;
        }
        job->sent_us = clock_mono_us();
        f->sent_ms = job->sent_us / 1000;
        int rc = b->callbacks.send(job, w, f->id, b->callbacks.data);
        if (rc == 0) {
            job->flight = f;
            job->state = JOB_FLYING;
            w->sent_ms = f->sent_ms;
            return;
        }
        release_flight(b, f);
        if (rc == -EMSGSIZE) {
            fail(b, job, PROBLEM_BODY_TOO_LARGE);
            return;
        }
        w->unreachable = true;
    }
    enqueue(b, lane, job);
}

// Lets those who wait go as far as there is credit for them, oldest first.
static void pump(struct balancer *b, struct lane *lane)
{
    bool blocked[2] = { false, false };
    for (;;) {
        struct job *a = blocked[0] ? NULL : lane->head[0], *c = blocked[1] ? NULL : lane->head[1];
        struct job *job = !a || (c && c->submitted_us < a->submitted_us) ? c : a;
        if (!job) {
            return;
        }
        if (choose(b, lane, job, NULL)) {
            unlink_job(lane, job);
            place(b, job, NULL);
        } else {
            blocked[job == c] = true;
        }
    }
}

void balancer_submit(struct balancer *b, struct job *job)
{
    assert(job->state == JOB_NEW && job->route->service);
    job->submitted_us = clock_mono_us();
    job->attempt = 1;
    retry_budget_request(&b->budget, job->submitted_us / 1000);
    place(b, job, NULL);
}

const struct worker *balancer_withdraw(struct balancer *b, struct job *job, uint64_t *ret_id)
{
    const struct worker *holder = NULL;
    if (job->state == JOB_WAITING) {
        unlink_job(lane_of(b, job->route->service), job);
    } else if (job->state == JOB_FLYING) {
        holder = job->flight->worker;
        *ret_id = job->flight->id;
        job->flight->job = NULL;
        job->flight = NULL;
    }
    job->state = JOB_DONE;
    return holder;
}

enum problem balancer_deadline_problem(const struct balancer *b, const struct job *job)
{
    if (job->state == JOB_WAITING && job->attempt == 1) { // nobody ever had it
        bool absent = balancer_serving(b, job->route->service) == 0;
        return absent ? PROBLEM_UNAVAILABLE : PROBLEM_OVERLOADED;
    }
    return PROBLEM_DEADLINE_EXCEEDED;
}

// --- Answers

void balancer_reply(struct balancer *b, struct worker *w, const struct frame_reply *reply)
{
    struct flight *f = find_flight(b, w, reply->id);
    if (!f) {
        b->counts.unknown_replies++;
        return;
    }
    struct job *job = f->job;
    release_flight(b, f);
    pump(b, lane_of(
                b, w->table->service)); // before the answer, which may bring the next request along
    if (!job) {
        b->counts.late_replies++;
        return;
    }
    job->state = JOB_DONE;
    b->callbacks.on_reply(job, reply, b->callbacks.data);
}

void balancer_return(struct balancer *b, struct worker *w, uint64_t id, struct str reason)
{
    struct flight *f = find_flight(b, w, id);
    if (!f) {
        b->counts.unknown_replies++;
        return;
    }
    struct job *job = f->job;
    release_flight(b, f);
    b->counts.returns++;
    if (str_eq(reason, STR("not-writer")) && w->role != FRAME_ROLE_READER) {
        w->role = FRAME_ROLE_READER; // its ROLE is on the way
    } else if (str_eq(reason, STR("draining")) && w->state != WORKER_DRAINING) {
        worker_move(w, WORKER_DRAINING);
    }
    if (!job) {
        return;
    }
    job->state = JOB_NEW;
    if (++job->returns > RETURNS_MAX) {
        fail(b, job, PROBLEM_OVERLOADED);
    } else {
        place(b, job, w);
    }
}

void balancer_forget(struct balancer *b, struct worker *w, int64_t now_ms)
{
    while (w->first && !w->first->job && now_ms - w->first->sent_ms > FLIGHT_FORGET_MS) {
        b->counts.forgotten++;
        release_flight(b, w->first);
    }
}

// --- Workers

size_t balancer_serving(const struct balancer *b, const struct service *service)
{
    const struct lane *lane = &b->lanes[service->index];
    size_t n = 0;
    for (size_t i = 0; i < lane->n_workers; i++) {
        n += lane->workers[i]->state == WORKER_SERVING;
    }
    return n;
}

static void note_absence(struct balancer *b, const struct service *service)
{
    struct lane *lane = lane_of(b, service);
    if (balancer_serving(b, service) > 0) {
        lane->absent_since_ms = 0;
        lane->served = true;
    } else if (lane->absent_since_ms == 0) {
        lane->absent_since_ms = clock_mono_ms();
    }
}

int balancer_add(struct balancer *b, struct worker *w)
{
    struct lane *lane = lane_of(b, w->table->service);
    if (lane->n_workers == lane->cap) {
        size_t cap = lane->cap ? 2 * lane->cap : 8;
        struct worker **grown = reallocarray(lane->workers, cap, sizeof(struct worker *));
        if (!grown) {
            return -ENOMEM;
        }
        lane->workers = grown;
        lane->cap = cap;
    }
    lane->workers[lane->n_workers++] = w;
    note_absence(b, w->table->service);
    return 0;
}

void balancer_update(struct balancer *b, struct worker *w)
{
    note_absence(b, w->table->service);
    pump(b, lane_of(b, w->table->service));
}

// What becomes of a request that a lost worker had. again: the worker is there and only knows
// nothing of it, so that neither the attempts nor the budget are spent, which are for failures.
static void move(struct balancer *b, struct job *job, bool again)
{
    job->state = JOB_NEW;
    if (job->movable &&
        (again || (job->attempt == 1 && retry_budget_take(&b->budget, clock_mono_ms())))) {
        job->attempt = 2;
        b->counts.retries++;
        place(b, job, NULL);
    } else {
        fail(b, job, PROBLEM_OUTCOME_UNKNOWN);
    }
}

// Moving a job may answer it, and that may bring new ones, but none to w any more.
static void move_all(struct balancer *b, struct worker *w, bool again)
{
    while (w->first) {
        struct job *job = w->first->job;
        release_flight(b, w->first);
        if (job) {
            move(b, job, again);
        }
    }
}

void balancer_forgotten(struct balancer *b, struct worker *w)
{
    w->unreachable = true;
    move_all(b, w, true);
}

void balancer_remove(struct balancer *b, struct worker *w)
{
    const struct service *service = w->table->service;
    struct lane *lane = lane_of(b, service);
    size_t i = 0;
    while (i < lane->n_workers && lane->workers[i] != w) {
        i++;
    }
    assert(i < lane->n_workers);
    lane->workers[i] = lane->workers[--lane->n_workers];
    note_absence(b, service);
    move_all(b, w, false);
}
