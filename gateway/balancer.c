// SPDX-License-Identifier: MIT
#include "gateway/balancer.h"

#include "common/clock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define SLOT_BITS 16

static_assert(FLIGHTS_MAX == 1 << SLOT_BITS, "ids carry the slot");

// In an overloaded queue a job may also wait as long as so many typical flights: where work is slow,
// waiting a little longer is no harm.
#define PATIENCE_FLIGHTS 4

#define FLIGHTS_AVERAGED 8 // weight of what was known before in the typical time of a flight

void balancer_init(struct balancer *b, size_t max_waiting, uint32_t stuck_ms,
                   int64_t overload_wait_us, const struct balancer_callbacks *callbacks)
{
    *b = (struct balancer){ .callbacks = *callbacks,
                            .max_waiting = max_waiting,
                            .stuck_ms = stuck_ms,
                            .overload_wait_us = overload_wait_us };
}

void balancer_fini(struct balancer *b)
{
    for (size_t i = 0; i < b->n_pages; i++) {
        free(b->pages[i]);
    }
    for (size_t i = 0; i < SERVICES_MAX; i++) {
        free(b->lanes[i].workers);
        free(b->lanes[i].queue);
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
    f->load = job->route->load;
    f->prev = w->last;
    f->next = NULL;
    *(w->last ? &w->last->next : &w->first) = f;
    w->last = f;
    w->in_flight++;
    w->class_flights[f->load]++;
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
    w->class_flights[f->load]--;
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

static bool is_fit(const struct balancer *b, const struct worker *w)
{
    return w->state == WORKER_SERVING && !w->unreachable && w->oldest_ms <= b->stuck_ms;
}

// How many more requests of a class its credit is for.
static uint32_t room_of(const struct worker *w, enum frame_class load)
{
    bool none = w->in_flight >= w->credit || w->class_flights[load] >= w->class_credit[load];
    uint32_t all = none ? 0 : w->credit - w->in_flight;
    uint32_t some = none ? 0 : w->class_credit[load] - w->class_flights[load];
    return all < some ? all : some;
}

static bool can_take(const struct balancer *b, const struct worker *w, const struct job *job)
{
    return is_fit(b, w) && room_of(w, job->route->load) > 0 &&
           !(job->route->write && w->role == FRAME_ROLE_READER) &&
           job->route->index[w->table->slot] >= 0;
}

uint32_t lane_credit(const struct balancer *b, const struct lane *lane, enum frame_class load)
{
    uint32_t n = 0;
    for (size_t i = 0; i < lane->n_workers; i++) {
        const struct worker *w = lane->workers[i];
        bool writes_not = load == FRAME_CLASS_WRITE && w->role == FRAME_ROLE_READER;
        n += is_fit(b, w) && !writes_not ? room_of(w, load) : 0;
    }
    return n;
}

uint32_t lane_in_flight(const struct lane *lane, enum frame_class load)
{
    uint32_t n = 0;
    for (size_t i = 0; i < lane->n_workers; i++) {
        n += lane->workers[i]->class_flights[load];
    }
    return n;
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

static struct job *job_of(struct waiter *w)
{
    return (struct job *)((char *)w - offsetof(struct job, waiter));
}

size_t lane_waiting(const struct lane *lane)
{
    return lane->queue ? lane->queue->n : 0;
}

// Gives up a job that is not in the queue any more; its owner hears of it in tell_shed().
static void shed(struct balancer *b, struct waiter *w, enum shed_reason reason)
{
    b->counts.shed[reason][w->priority]++;
    b->counts.refused_full += reason == SHED_REFUSED || reason == SHED_DISPLACED;
    job_of(w)->state = JOB_SHED;
    w->next = NULL;
    w->prev = b->last_shed;
    *(b->last_shed ? &b->last_shed->next : &b->first_shed) = w;
    b->last_shed = w;
}

static void unlink_shed(struct balancer *b, struct waiter *w)
{
    *(w->prev ? &w->prev->next : &b->first_shed) = w->next;
    *(w->next ? &w->next->prev : &b->last_shed) = w->prev;
}

static enum problem shed_problem(const struct job *job)
{
    return job->attempt == 1 ? PROBLEM_OVERLOADED
                             : PROBLEM_DEADLINE_EXCEEDED; // a worker had it once
}

// At the end of everything that may shed. An answer may bring more of it, which is told further up.
static void tell_shed(struct balancer *b)
{
    if (b->telling) {
        return;
    }
    b->telling = true;
    while (b->first_shed) {
        struct job *job = job_of(b->first_shed);
        unlink_shed(b, b->first_shed);
        fail(b, job, shed_problem(job));
    }
    b->telling = false;
}

static void shed_late(struct balancer *b, struct lane *lane, enum frame_class load, int64_t now_us)
{
    int64_t patience_us = PATIENCE_FLIGHTS * lane->flight_us[load];
    lane->queue->classes[load].patience_us =
        patience_us > b->overload_wait_us ? patience_us : b->overload_wait_us;
    struct waiter *w;
    while ((w = wait_queue_late(lane->queue, load, now_us))) {
        shed(b, w, SHED_LATE);
    }
}

// Whether a worker's answer would come too late: it takes twice the typical time at times, but no
// more than half of all the time that the job had may be left for that. One that a worker was lost with has
// lost much of its time, and what seems typical then may be how long this process was stopped: it is tried.
static bool is_hopeless(const struct lane *lane, const struct job *job, int64_t now_us)
{
    if (job->attempt > 1) {
        return job->due_us <= now_us;
    }
    int64_t needed_us = 2 * lane->flight_us[job->route->load];
    int64_t half_us = (job->due_us - job->submitted_us) / 2;
    return job->due_us - now_us < (needed_us < half_us ? needed_us : half_us);
}

static void describe(struct balancer *b, struct job *job)
{
    struct waiter *w = &job->waiter;
    w->client = 0;
    w->priority = job->route->write ? WAIT_WRITE : job->route->low ? WAIT_LOW : WAIT_READ;
    w->load = job->route->load;
    if (b->callbacks.describe) {
        b->callbacks.describe(job, b->callbacks.data);
    }
    if (job->attempt > 1) {
        w->priority = WAIT_ADMIN; // a worker was lost with it: that was enough bad luck
    }
}

static void enqueue(struct balancer *b, struct lane *lane, struct job *job)
{
    bool absent = lane->absent_since_ms != 0;
    bool coming = absent && b->callbacks.is_coming &&
                  b->callbacks.is_coming(job->route->service, b->callbacks.data);
    bool gone = absent && !coming && clock_mono_ms() - lane->absent_since_ms > ABSENCE_GRACE_MS;
    if (gone || !job->route->live || !lane->queue) {
        fail(b, job, PROBLEM_UNAVAILABLE);
        return;
    }
    int64_t now_us = clock_mono_us();
    describe(b, job);
    shed_late(b, lane, job->waiter.load, now_us);
    if (is_hopeless(lane, job, now_us)) {
        shed(b, &job->waiter, SHED_HOPELESS);
        return;
    }
    b->counts.waited++;
    job->state = JOB_WAITING;
    struct waiter *victim = wait_queue_put(lane->queue, &job->waiter, now_us);
    if (victim) {
        shed(b, victim, victim == &job->waiter ? SHED_REFUSED : SHED_DISPLACED);
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
        f->sent_us = job->sent_us;
        int rc = b->callbacks.send(job, w, f->id, b->callbacks.data);
        if (rc == 0) {
            job->flight = f;
            job->state = JOB_FLYING;
            w->sent_ms = f->sent_us / 1000;
            b->counts.sent[f->load]++;
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

// Lets those of one priority and class go as far as there is credit for them.
static void pump_group(struct balancer *b, struct lane *lane, enum wait_priority priority,
                       enum frame_class load, int64_t now_us)
{
    struct waiter *w;
    while ((w = wait_queue_next(lane->queue, priority, load, now_us))) {
        struct job *job = job_of(w);
        if (is_hopeless(lane, job, now_us)) {
            wait_queue_remove(lane->queue, w);
            shed(b, w, SHED_HOPELESS);
        } else if (choose(b, lane, job, NULL)) {
            wait_queue_take(lane->queue, w, now_us);
            job->state = JOB_NEW;
            place(b, job, NULL);
        } else {
            return;
        }
    }
}

static void pump(struct balancer *b, struct lane *lane)
{
    if (lane_waiting(lane) == 0) {
        return;
    }
    int64_t now_us = clock_mono_us();
    for (int load = 0; load < FRAME_CLASSES; load++) {
        shed_late(b, lane, (enum frame_class)load, now_us);
    }
    for (int i = 0; i < WAIT_GROUPS; i++) {
        pump_group(b, lane, (enum wait_priority)(i / FRAME_CLASSES),
                   (enum frame_class)(i % FRAME_CLASSES), now_us);
    }
}

void balancer_submit(struct balancer *b, struct job *job)
{
    assert(job->state == JOB_NEW && job->route->service);
    job->submitted_us = clock_mono_us();
    job->attempt = 1;
    retry_budget_request(&b->budget, job->submitted_us / 1000);
    place(b, job, NULL);
    tell_shed(b);
}

const struct worker *balancer_withdraw(struct balancer *b, struct job *job, uint64_t *ret_id)
{
    const struct worker *holder = NULL;
    if (job->state == JOB_WAITING) {
        wait_queue_remove(lane_of(b, job->route->service)->queue, &job->waiter);
    } else if (job->state == JOB_SHED) {
        unlink_shed(b, &job->waiter);
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
    struct lane *lane = lane_of(b, w->table->service);
    int64_t now_us = clock_mono_us(), took_us = now_us - f->sent_us;
    lane->flight_us[f->load] += (took_us - lane->flight_us[f->load]) / FLIGHTS_AVERAGED;
    release_flight(b, f);
    pump(b, lane); // before the answer, which may bring the next request along
    if (job) {
        job->state = JOB_DONE;
        job->replied_us = now_us;
        b->callbacks.on_reply(job, reply, b->callbacks.data);
    } else {
        b->counts.late_replies++;
    }
    tell_shed(b);
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
    tell_shed(b);
}

void balancer_forget(struct balancer *b, struct worker *w, int64_t now_ms)
{
    while (w->first && !w->first->job && now_ms - w->first->sent_us / 1000 > FLIGHT_FORGET_MS) {
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
    if (!lane->queue) {
        lane->queue = malloc(sizeof *lane->queue);
        if (!lane->queue) {
            return -ENOMEM;
        }
        wait_queue_init(lane->queue, b->max_waiting);
    }
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
    tell_shed(b);
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
    tell_shed(b);
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
    tell_shed(b);
}
