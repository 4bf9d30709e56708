// SPDX-License-Identifier: MIT
// Calls are recycled with their buffers and arenas, so that a steady load allocates next to
// nothing.
#include "common/dispatch.h"

#include "common/call_impl.h"
#include "common/clock.h"
#include "common/idempotency.h"
#include "common/intake.h"
#include "common/limiter.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPARE_CALLS 64          // kept for reuse
#define SPARE_REPLY_BYTES 65536 // a buffer that grew beyond is given back

// Rolls the job back although the call was answered: an answer of 400 and above undoes its changes.
#define UNDONE (-ECANCELED)

// What one class of routes may take.
struct class_state {
    struct limiter limiter;
    uint32_t in_flight;
    struct metric limit, busy, admitted;
};

static const char *const class_labels[FRAME_CLASSES] = {
#define X(symbol, number, name) [number] = "class=\"" name "\"",
    FRAME_CLASS_TABLE(X)
#undef X
};

static const enum limiter_kind kinds[FRAME_CLASSES] = {
    [FRAME_CLASS_READ] = LIMITER_SERIAL,
    [FRAME_CLASS_WRITE] = LIMITER_BATCHED,
    [FRAME_CLASS_COMPUTE] = LIMITER_PARALLEL,
};

// Counters of one route.
struct route_metrics {
    struct metric duration;
    struct metric failures;
    struct metric_exemplars exemplars; // of duration
    char labels[160];
};

struct dispatch {
    uv_loop_t *loop;
    const struct service *service;
    struct store *store;
    struct dispatch_callbacks callbacks;
    struct call *calls;  // in flight, newest first
    struct call *oldest; // end of that list
    struct call *spare;
    size_t n_spare;
    uint32_t in_flight, capacity;
    struct class_state classes[FRAME_CLASSES];
    struct intake *intake;                // NULL once abandoned
    struct call *waiting, **last_waiting; // for a pool thread
    uint32_t n_waiting, n_computing, compute_threads;
    bool draining, abandoned;
    struct buf out;
    struct route_metrics *routes;
    struct metric returned, expired, cancelled, malformed, given_up, wait, commit, reading;
    struct metric read_failures, write_failures;
    struct metric_exemplars commit_exemplars, reading_exemplars;
};

struct compute_work {
    uv_work_t work;
    struct call *call;
    int status;
};

static void advance(struct call *c);

// --- Calls

static struct call *new_call(struct dispatch *d)
{
    struct call *c = d->spare;
    if (c) {
        d->spare = c->next;
        d->n_spare--;
        return c;
    }
    c = calloc(1, sizeof *c);
    if (c) {
        arena_init(&c->arena, CALL_MEMORY_BYTES);
        buf_init(&c->request, FRAME_MAX_BYTES);
        buf_init(&c->reply, CALL_REPLY_BYTES);
        c->request.wipes = c->reply.wipes = true;
    }
    return c;
}

static void free_call(struct call *c)
{
    arena_fini(&c->arena);
    buf_fini(&c->request);
    buf_fini(&c->reply);
    free(c);
}

// Passwords and tokens come and go in calls. Which of them has some is not known here, and what a
// call takes is overwritten faster than that would be found out.
static void wipe_call(struct call *c)
{
    arena_wipe(&c->arena);
    buf_wipe(&c->request);
    buf_wipe(&c->reply);
}

static void recycle_call(struct dispatch *d, struct call *c)
{
    wipe_call(c);
    if (d->n_spare >= SPARE_CALLS || c->reply.cap > SPARE_REPLY_BYTES ||
        c->request.cap > SPARE_REPLY_BYTES) {
        free_call(c);
        return;
    }
    // Everything but the memory that is worth keeping starts from zero again.
    struct arena arena = c->arena;
    struct buf request = c->request, reply = c->reply;
    arena_reset(&arena);
    buf_reset(&request);
    buf_reset(&reply);
    memset(c, 0, offsetof(struct call, frame));
    memset(&c->service, 0, sizeof *c - offsetof(struct call, service));
    c->arena = arena;
    c->request = request;
    c->reply = reply;
    c->next = d->spare;
    d->spare = c;
    d->n_spare++;
}

static void link_call(struct dispatch *d, struct call *c)
{
    c->next = d->calls;
    c->prev = NULL;
    if (d->calls) {
        d->calls->prev = c;
    } else {
        d->oldest = c;
    }
    d->calls = c;
    d->in_flight++;
    struct class_state *class = &d->classes[route_class(c->route)];
    limiter_enter(&class->limiter, ++class->in_flight);
    metric_set(&class->busy, class->in_flight);
}

static void unlink_call(struct dispatch *d, struct call *c)
{
    *(c->prev ? &c->prev->next : &d->calls) = c->next;
    *(c->next ? &c->next->prev : &d->oldest) = c->prev;
    d->in_flight--;
    struct class_state *class = &d->classes[route_class(c->route)];
    metric_set(&class->busy, --class->in_flight);
}

// --- Answering

static void log_failure(const struct call *c)
{
    char error[16];
    (void)snprintf(error, sizeof error, "%d", c->failure);
    const char *fields[] = { "operation", c->route->operation, "error", strerror(-c->failure),
                             NULL };
    log_fields(LEVEL_ERROR, &c->trace, "request failed", fields);
}

static void log_end(const struct call *c, int64_t now_us)
{
    log_write(LEVEL_DEBUG, &c->trace,
              "%s ends with %d after %" PRId64 " us; the store took %" PRId64 " us and %" PRId64
              " us until its turn, a thread %" PRId64 " us to be free",
              c->route->operation, c->status, now_us - c->arrived_us, c->store_us, c->turn_us,
              c->wait_us);
}

static uint32_t clamp_us(int64_t us)
{
    return us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void send_reply(struct call *c, int64_t now_us)
{
    struct dispatch *d = c->dispatch;
    int64_t total = now_us - c->started_us;
    struct frame_reply f;
    f.id = c->frame.id;
    f.status = (uint32_t)c->status;
    memcpy(f.headers, c->headers, c->n_headers * sizeof *c->headers);
    f.n_headers = c->n_headers;
    f.queue_us = clamp_us(c->started_us - c->arrived_us + c->wait_us);
    f.store_us = clamp_us(c->store_us + c->turn_us);
    f.handler_us = clamp_us(total - c->store_us - c->turn_us - c->wait_us);
    f.body = c->reply.len ? buf_str(&c->reply) : (struct str){ NULL, 0 };
    buf_reset(&d->out);
    frame_reply_encode(&d->out, &f);
    if (c->link && buf_ok(&d->out)) {
        bool sensitive = c->route && c->route->sensitive;
        d->callbacks.send(c->link, buf_str(&d->out), sensitive, d->callbacks.data);
    }
}

static void give_back(struct dispatch *d, struct gateway_link *link, uint64_t id, struct str reason)
{
    metric_add(&d->returned, 1);
    log_debug("request %" PRIu64 " is given back: %.*s", id, STR_ARG(reason));
    buf_reset(&d->out);
    frame_return_encode(&d->out, id, reason);
    if (buf_ok(&d->out)) {
        d->callbacks.send(link, buf_str(&d->out), false, d->callbacks.data);
    }
}

// Each gateway may have at least one.
static uint32_t bound_of(const struct class_state *class)
{
    const struct limiter *l = &class->limiter;
    return l->limit > l->sharers ? l->limit : l->sharers;
}

// The limit of a class has fallen or risen: gateways hear of it, and get back what is above it and
// was not begun.
static void on_limit(struct dispatch *d, enum frame_class class)
{
    struct class_state *s = &d->classes[class];
    uint32_t bound = bound_of(s);
    metric_set(&s->limit, s->limiter.limit);
    log_debug("takes %u requests at once now, %s", s->limiter.limit, class_labels[class]);
    if (d->callbacks.on_limits) {
        d->callbacks.on_limits(d->callbacks.data);
    }
    struct call *c = d->intake && !d->draining ? intake_cut(d->intake, class, bound) : NULL;
    while (c) {
        struct call *next = c->next_waiting;
        if (c->link) {
            give_back(d, c->link, c->frame.id, STR("full"));
        }
        unlink_call(d, c);
        recycle_call(d, c);
        c = next;
    }
}

// Learns from a call that is over.
static void learn(const struct call *c, int64_t now_us)
{
    struct dispatch *d = c->dispatch;
    enum frame_class class = route_class(c->route);
    int64_t service_us =
        class == FRAME_CLASS_WRITE ? c->store_us : now_us - c->started_us - c->wait_us - c->turn_us;
    if (limiter_finish(&d->classes[class].limiter, now_us - c->arrived_us, service_us, now_us)) {
        on_limit(d, class);
    }
}

static void finish(struct call *c)
{
    if (c->route && c->route->end) {
        (void)c->route->end(c); // has nothing to say any more
    }
    struct dispatch *d = c->dispatch;
    if (c->answered && !buf_ok(&c->reply)) {
        call_fail(c, buf_error(&c->reply));
    }
    if (!c->answered) {
        call_fail(c, -ENODATA); // a handler that forgot to answer
    }
    if (c->failure) {
        log_failure(c);
        metric_add(&d->routes[c->route_index].failures, 1);
    }
    int64_t now = clock_mono_us();
    c->stage = CALL_DONE;
    log_end(c, now);
    send_reply(c, now);
    metric_observe_traced_us(&d->routes[c->route_index].duration, now - c->arrived_us, &c->trace);
    if (c->tells) {
        learn(c, now);
    }
    unlink_call(d, c);
    recycle_call(d, c);
    if (d->draining && d->in_flight == 0) {
        d->callbacks.on_idle(d->callbacks.data); // frees nothing at once
    }
}

static void answer_expired(struct call *c)
{
    call_discard_answer(c);
    metric_add(&c->dispatch->expired, 1);
    log_write(LEVEL_DEBUG, &c->trace, "%s is not begun: its deadline is over, or it was cancelled",
              c->route->operation);
    call_problem(c, PROBLEM_DEADLINE_EXCEEDED,
                 "the deadline was over before the work began; nothing was done");
}

// --- Stages

// sched_setattr(2), which has no wrapper in older libraries: its first version.
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline_ns, period_ns;
};

// Slow computing gives way to requests: with as much of it as there are cores, every request of every
// process would wait for a time slice. A lower priority, not SCHED_IDLE: on a busy machine such a
// thread gets no time at all, also while it holds what the loop waits for (the lock on the memory of
// the process, which hashing maps and unmaps). A long slice, from Linux 6.12 on: whoever wakes up with
// a shorter one goes first at once, and the share of time stays the same. All that only means something
// among processes that share a session or a cgroup. Should it be refused, computing goes on as it was.
static void give_way(void)
{
    static _Thread_local bool done;
    if (!done) {
        struct scheduling how = { .size = sizeof how,
                                  .policy = SCHED_BATCH,
                                  .nice = WORKER_COMPUTE_NICE,
                                  .slice_ns = WORKER_COMPUTE_SLICE_MS * UINT64_C(1000000) };
        (void)syscall(SYS_sched_setattr, 0, &how, 0); // 0: this thread
        done = true;
    }
}

static void on_compute(uv_work_t *work)
{
    give_way();
    struct compute_work *w = work->data;
    w->status = w->call->route->compute(w->call);
}

static void start_compute(struct call *c);

// Gives the thread that is free to the first call that is still wanted: the wait may have outlasted
// deadlines.
static void compute_next(struct dispatch *d)
{
    while (d->waiting && d->n_computing < d->compute_threads) {
        struct call *c = d->waiting;
        d->waiting = c->next_waiting;
        d->last_waiting = d->waiting ? d->last_waiting : &d->waiting;
        d->n_waiting--;
        c->wait_us = clock_mono_us() - c->started_us;
        if (call_wanted(c)) {
            start_compute(c);
        } else {
            answer_expired(c);
            advance(c);
        }
    }
}

static void on_computed(uv_work_t *work, int status)
{
    struct compute_work *w = work->data;
    struct call *c = w->call;
    struct dispatch *d = c->dispatch;
    int rc = status ? status : w->status;
    free(w);
    d->n_computing--;
    c->tells = true;
    compute_next(d);
    if (rc < 0) {
        call_fail(c, rc);
    }
    advance(c);
}

static void start_compute(struct call *c)
{
    struct dispatch *d = c->dispatch;
    struct compute_work *w = malloc(sizeof *w);
    if (w) {
        w->work.data = w;
        w->call = c;
        d->n_computing++;
        if (uv_queue_work(d->loop, &w->work, on_compute, on_computed) == 0) {
            return;
        }
        d->n_computing--;
        free(w);
    }
    call_fail(c, -ENOMEM);
    advance(c);
}

// Gives the call to a pool thread, or lets it wait for one.
static void enter_compute(struct call *c)
{
    struct dispatch *d = c->dispatch;
    c->db = NULL;
    if (d->n_computing < d->compute_threads) {
        start_compute(c);
    } else if (d->n_waiting < WORKER_COMPUTE_QUEUE) {
        *d->last_waiting = c;
        d->last_waiting = &c->next_waiting;
        d->n_waiting++;
        log_write(LEVEL_DEBUG, &c->trace, "%s waits for a thread; %u wait", c->route->operation,
                  d->n_waiting);
    } else {
        call_problem(c, PROBLEM_OVERLOADED, "too many requests of this kind are waiting");
        call_reply_header(c, "retry-after", "1");
        advance(c);
    }
}

// Runs the handler so that what it changed can be undone apart from the idempotency record.
static int run_handler(struct db *db, struct call *c)
{
    int rc = c->key.p ? db_savepoint(db) : 0;
    rc = rc ? rc : c->route->write(c);
    if (rc < 0) {
        return rc; // the whole job is rolled back
    }
    bool undo = c->answered && c->status >= 400 && !c->keep;
    if (!c->key.p) {
        return undo ? UNDONE : 0;
    }
    if (undo) {
        db_rollback_to(db);
        return 0;
    }
    return db_release(db);
}

static int run_write(struct db *db, void *job)
{
    struct call *c = job;
    c->db = db;
    if (!call_wanted(c)) {
        answer_expired(c);
        return UNDONE;
    }
    if (!c->key.p) {
        return run_handler(db, c);
    }
    int rc = idempotency_find(db, c);
    if (rc > 0) {
        log_write(LEVEL_DEBUG, &c->trace, "%s does nothing: its idempotency key was used before",
                  c->route->operation);
    }
    if (rc) {
        return rc < 0 ? rc : 0;
    }
    rc = run_handler(db, c);
    if (!rc && c->answered && c->status < 500 && buf_ok(&c->reply)) {
        rc = idempotency_keep(db, c);
    }
    return rc;
}

static void on_written(int status, int64_t store_us, void *job)
{
    struct call *c = job;
    c->db = NULL;
    int64_t turn_us = clock_mono_us() - c->submitted_us - store_us;
    c->tells = c->tells || route_class(c->route) == FRAME_CLASS_WRITE;
    c->turn_us += turn_us;
    c->store_us += store_us;
    metric_observe_traced_us(&c->dispatch->commit, turn_us + store_us, &c->trace);
    if (call_is_store_failure(status) || status == STORE_UNKNOWN) {
        metric_add(&c->dispatch->write_failures, 1);
    }
    if (status < 0 && status != UNDONE) {
        call_fail(c, status);
    }
    if (status == STORE_UNKNOWN) {
        call_discard_answer(c);
        call_problem(c, PROBLEM_OUTCOME_UNKNOWN, "the store failed while it wrote this");
    }
    advance(c);
}

static void enter_write(struct call *c)
{
    struct dispatch *d = c->dispatch;
    c->submitted_us = clock_mono_us();
    int rc = d->abandoned ? -EROFS : store_submit(d->store, run_write, on_written, c);
    if (rc) {
        metric_add(&d->write_failures, 1);
        call_fail(c, rc);
        advance(c);
    }
}

// Whoever waits for the loop waits for this, too: no query may have it for longer.
static void give_up_reading(struct call *c)
{
    call_discard_answer(c);
    metric_add(&c->dispatch->given_up, 1);
    log_write(LEVEL_DEBUG, &c->trace, "%s is given up: it has read for %" PRId64 " us",
              c->route->operation, clock_mono_us() - c->started_us);
    call_problem(c, PROBLEM_DEADLINE_EXCEEDED,
                 "what was asked for takes too long to be found; ask for less");
}

static int read_within(struct call *c, int64_t now_us)
{
    int64_t until_us = now_us + WORKER_READ_MS * 1000;
    if (!c->db) {
        return c->route->read(c);
    }
    db_read_until(c->db, until_us < c->deadline_us ? until_us : c->deadline_us);
    int rc = c->route->read(c);
    db_read_until(c->db, 0);
    return rc;
}

static void count_read(struct call *c, int rc, int64_t took_us)
{
    metric_observe_traced_us(&c->dispatch->reading, took_us, &c->trace);
    if (rc == -EINTR || call_is_store_failure(rc)) {
        metric_add(&c->dispatch->read_failures, 1);
    }
}

static void run_read(struct call *c)
{
    c->db = c->dispatch->store ? store_reader(c->dispatch->store) : NULL;
    int64_t before = clock_mono_us();
    int rc = read_within(c, before);
    if (rc == -EINTR) {
        give_up_reading(c);
    } else if (rc < 0) {
        call_fail(c, rc);
    }
    if (rc == -EUCLEAN && c->dispatch->store) {
        store_found_damage(c->dispatch->store);
    }
    int64_t took_us = clock_mono_us() - before;
    c->store_us += took_us;
    if (c->db) {
        count_read(c, rc, took_us);
    }
    c->db = NULL;
    c->tells = route_class(c->route) == FRAME_CLASS_READ;
}

// Moves a call on until it waits for something or is finished.
static void advance(struct call *c)
{
    while (c->stage < CALL_DONE) {
        if (c->answered) {
            break;
        }
        c->stage++;
        if (c->stage == CALL_READ && c->route->read) {
            run_read(c);
        } else if (c->stage == CALL_COMPUTE && c->route->compute) {
            if (!call_wanted(c)) {
                answer_expired(c);
                break;
            }
            enter_compute(c);
            return;
        } else if (c->stage == CALL_WRITE && c->route->write) {
            enter_write(c);
            return;
        }
    }
    finish(c);
}

// --- Requests

static bool is_number(struct str s, int64_t min, int64_t max)
{
    int64_t v = 0;
    bool negative = s.n && s.p[0] == '-';
    if (s.n < 1u + negative || s.n > 18u + negative) {
        return false;
    }
    for (size_t i = negative; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        v = v * 10 + (s.p[i] - '0');
    }
    v = negative ? -v : v;
    return v >= min && v <= max;
}

// Whether each comma-separated word of s is one of choices ("a|b|c").
static bool is_choice(struct str s, const char *choices)
{
    struct str all = str_of(choices);
    for (size_t i = 0; i <= s.n;) {
        const char *comma = i < s.n ? memchr(s.p + i, ',', s.n - i) : NULL;
        struct str word = { s.p + i, comma ? (size_t)(comma - (s.p + i)) : s.n - i };
        bool found = false;
        for (size_t k = 0; k < all.n && !found;) {
            const char *bar = memchr(all.p + k, '|', all.n - k);
            struct str choice = { all.p + k, bar ? (size_t)(bar - (all.p + k)) : all.n - k };
            found = str_eq(word, choice);
            k += choice.n + 1;
        }
        if (!found) {
            return false;
        }
        i += word.n + 1;
    }
    return true;
}

static void check_query(struct call *c, const struct query_param *q, struct str value)
{
    switch (q->kind) {
    case QUERY_STRING:
        if ((int64_t)value.n < q->min || (int64_t)value.n > q->max) {
            call_parameter_error(c, q->name, "has %zu bytes; allowed are %" PRId64 " to %" PRId64,
                                 value.n, q->min, q->max);
        }
        break;
    case QUERY_INTEGER:
        if (!is_number(value, q->min, q->max)) {
            call_parameter_error(c, q->name, "must be an integer from %" PRId64 " to %" PRId64,
                                 q->min, q->max);
        }
        break;
    case QUERY_CHOICE:
        if (memchr(value.p, ',', value.n) || !is_choice(value, q->choices)) {
            call_parameter_error(c, q->name, "must be one of %s", q->choices);
        }
        break;
    case QUERY_CHOICES:
        if (!is_choice(value, q->choices)) {
            call_parameter_error(c, q->name, "must be one or, with commas, several of %s",
                                 q->choices);
        }
        break;
    }
}

// Fills c->query from the request and the fallbacks; mistakes become errors of the call.
static void read_query(struct call *c)
{
    const struct query_param *q = c->route->query;
    size_t n = 0;
    for (; q && q[n].name; n++) {
        assert(n < WORKER_MAX_QUERY);
        c->query[n] = str_of(q[n].fallback);
    }
    bool given[WORKER_MAX_QUERY] = { false };
    for (size_t i = 0; i < c->frame.n_query; i++) {
        struct frame_pair *pair = &c->frame.query[i];
        size_t k = 0;
        while (k < n && !str_eq(str_of(q[k].name), pair->name)) {
            k++;
        }
        struct str name = call_copy(c, pair->name);
        if (k == n) {
            call_parameter_error(c, name.p ? name.p : "?", "is not a parameter of this request");
        } else if (given[k]) {
            call_parameter_error(c, q[k].name, "is given more than once");
        } else {
            given[k] = true;
            c->query[k] = pair->value;
            check_query(c, &q[k], pair->value);
        }
    }
    for (size_t k = 0; k < n; k++) {
        if (q[k].required && !given[k]) {
            call_parameter_error(c, q[k].name, "is required");
        }
    }
}

static void answer_body_errors(struct call *c, const struct message_errors *e)
{
    for (size_t i = 0; i < e->n; i++) {
        call_problem_at(c, e->item[i].pointer, "%s", e->item[i].detail);
    }
    call_problem(c, PROBLEM_INVALID_FIELDS, NULL);
}

static int read_body(struct call *c)
{
    const struct message *m = c->route->request;
    if (!m) {
        return 0;
    }
    struct message_errors errors;
    c->body = call_alloc(c, m->size);
    if (!c->body) {
        return -ENOMEM;
    }
    if (!c->frame.body.p) {
        call_problem(c, PROBLEM_MALFORMED_BODY, "this request needs a body");
        return 0;
    }
    struct reader r = reader_of(c->frame.body);
    int rc = message_unpack(m, &r, c->body, &errors);
    if (rc == -EINVAL) {
        answer_body_errors(c, &errors);
    } else if (rc || reader_left(&r)) {
        call_problem(c, PROBLEM_MALFORMED_BODY, "the body is not one MessagePack value");
    }
    return 0;
}

// Whether another call with the same key is being worked on.
static bool key_in_use(const struct call *c)
{
    for (const struct call *o = c->dispatch->calls; o; o = o->next) {
        if (o != c && o->key.p && str_eq(o->key, c->key) && str_eq(o->scope, c->scope)) {
            return true;
        }
    }
    return false;
}

static int read_key(struct call *c)
{
    if (c->route->key == ROUTE_KEY_IGNORED) {
        return 0;
    }
    struct str header = call_header(c, "idempotency-key"), key;
    if (!header.p) {
        if (c->route->key == ROUTE_KEY_REQUIRED) {
            call_problem(c, PROBLEM_IDEMPOTENCY_KEY_REQUIRED, NULL);
        }
        return 0;
    }
    if (idempotency_parse(header, &key)) {
        call_problem(
            c, PROBLEM_IDEMPOTENCY_KEY_REQUIRED,
            "the Idempotency-Key must be 1 to %d printable ASCII characters, best in quotes",
            IDEMPOTENCY_MAX_KEY);
        return 0;
    }
    int rc = idempotency_prepare(c);
    if (rc) {
        return rc;
    }
    c->key = key;
    if (key_in_use(c)) {
        c->key = (struct str){ NULL, 0 };
        call_problem(c, PROBLEM_IDEMPOTENCY_IN_PROGRESS, NULL);
        call_reply_header(c, "retry-after", "1");
    }
    return 0;
}

// The span of this call is the one that the gateway made for it, and reports.
static void read_trace(struct call *c)
{
    if (trace_parse(c->frame.traceparent, &c->trace)) {
        trace_start(&c->trace, false);
    }
}

// Everything that can be checked without the store. Answers, or leaves the call ready for its
// stages.
static void prepare(struct call *c)
{
    c->started_us = clock_mono_us();
    c->last_error = &c->errors;
    c->now_ms = clock_wall_ms();
    c->principal = (struct principal){ c->frame.principal.id, c->frame.principal.role,
                                       c->frame.principal.session };
    read_trace(c);
    if (c->deadline_us <= c->started_us ||
        atomic_load_explicit(&c->cancelled, memory_order_relaxed)) {
        answer_expired(c);
        return;
    }
    if (c->route->auth == FRAME_AUTH_REQUIRED && !c->principal.id.p) {
        call_problem(c, PROBLEM_UNAUTHENTICATED, NULL); // the gateway's word is not taken for it
        return;
    }
    read_query(c);
    if (c->errors) {
        call_problem(c, PROBLEM_INVALID_PARAMETER, NULL);
        return;
    }
    int rc = read_key(c);
    rc = rc || c->answered ? rc : read_body(c);
    if (rc) {
        call_fail(c, rc);
    }
}

static bool is_readable(const struct dispatch *d)
{
    return !d->store || store_reader(d->store);
}

// Why this request must be given back untouched; p == NULL: it need not.
static struct str reason_to_return(const struct dispatch *d, const struct route *route)
{
    if (d->draining || d->abandoned) {
        return STR("draining");
    }
    const struct class_state *class = &d->classes[route_class(route)];
    if (d->in_flight >= d->capacity || class->in_flight >= class->limiter.max) {
        return STR("full");
    }
    if (!is_readable(d) || (route->write && !store_is_writer(d->store))) {
        return STR("not-writer");
    }
    return (struct str){ NULL, 0 };
}

static int decode(struct call *c, const struct service *service, struct str whole)
{
    enum frame_type type;
    uint32_t fields;
    buf_append_str(&c->request, whole);
    struct reader r = reader_of(buf_str(&c->request));
    if (!buf_ok(&c->request) || frame_open(&r, &type, &fields) ||
        frame_request_decode(&r, fields, &c->frame) || c->frame.route >= service->n_routes) {
        return -EBADMSG;
    }
    c->service = service;
    c->route_index = c->frame.route;
    c->route = &service->routes[c->frame.route];
    size_t names = 0;
    for (const char *p = c->route->pattern; *p; p++) {
        names += *p == '{';
    }
    return names == c->frame.n_params ? 0 : -EBADMSG;
}

// A call's turn in the loop.
static void begin(struct call *c)
{
    prepare(c);
    metric_observe_us(&c->dispatch->wait, c->started_us - c->arrived_us);
    if (!c->answered) {
        log_write(LEVEL_DEBUG, &c->trace,
                  "%s begins after %" PRId64 " us, with %" PRId64 " ms left; %u are in flight",
                  c->route->operation, c->started_us - c->arrived_us,
                  (c->deadline_us - c->started_us) / 1000, c->dispatch->in_flight);
    }
    advance(c);
}

int dispatch_request(struct dispatch *d, struct gateway_link *link, struct str whole)
{
    struct call *c = new_call(d);
    if (!c) {
        return -ENOMEM;
    }
    c->dispatch = d;
    c->link = link;
    c->arrived_us = clock_mono_us();
    int rc = decode(c, d->service, whole);
    if (rc) {
        metric_add(&d->malformed, 1);
        recycle_call(d, c);
        return rc;
    }
    struct str reason = reason_to_return(d, c->route);
    if (reason.p) {
        give_back(d, link, c->frame.id, reason);
        recycle_call(d, c);
        return 0;
    }
    c->deadline_us = c->arrived_us + (int64_t)c->frame.deadline_ms * 1000;
    link_call(d, c);
    enum frame_class class = route_class(c->route);
    metric_add(&d->classes[class].admitted, 1);
    intake_put(d->intake, c, class, c->arrived_us);
    return 0;
}

void dispatch_share(struct dispatch *d, uint32_t gateways)
{
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        d->classes[i].limiter.sharers = gateways ? gateways : 1;
    }
}

void dispatch_limits(const struct dispatch *d, uint32_t ret_limits[FRAME_CLASSES])
{
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        ret_limits[i] = d->classes[i].limiter.limit;
    }
}

void dispatch_cancel(struct dispatch *d, struct gateway_link *link, uint64_t id)
{
    for (struct call *c = d->calls; c; c = c->next) {
        if (c->link == link && c->frame.id == id) {
            atomic_store_explicit(&c->cancelled, true, memory_order_relaxed);
            metric_add(&d->cancelled, 1);
            log_write(LEVEL_DEBUG, &c->trace, "%s is cancelled", c->route->operation);
            return;
        }
    }
}

void dispatch_forget(struct dispatch *d, struct gateway_link *link)
{
    for (struct call *c = d->calls; c; c = c->next) {
        if (c->link == link) {
            c->link = NULL;
            atomic_store_explicit(&c->cancelled, true, memory_order_relaxed);
            metric_add(&d->cancelled, 1);
        }
    }
}

void dispatch_abandon(struct dispatch *d)
{
    d->abandoned = true; // the store is closed next
    for (struct call *c = d->calls; c; c = c->next) {
        c->link = NULL;
        atomic_store_explicit(&c->cancelled, true, memory_order_relaxed);
    }
    intake_close(&d->intake);
}

void dispatch_drain(struct dispatch *d)
{
    d->draining = true;
    if (d->in_flight == 0) {
        d->callbacks.on_idle(d->callbacks.data);
    }
}

uint32_t dispatch_in_flight(const struct dispatch *d)
{
    return d->in_flight;
}

uint32_t dispatch_oldest_ms(const struct dispatch *d)
{
    return d->oldest ? (uint32_t)((clock_mono_us() - d->oldest->arrived_us) / 1000) : 0;
}

int64_t dispatch_late_ms(const struct dispatch *d)
{
    int64_t late_us = d->oldest ? clock_mono_us() - d->oldest->deadline_us : 0;
    return late_us > 0 ? late_us / 1000 : 0;
}

// --- Opening and closing

#define COUNTER(d, field, name, text)                                                              \
    (d)->field = (struct metric)METRIC_COUNTER_INIT(name, text, NULL);                             \
    metrics_register(&(d)->field)

#define STORE_FAILURES(operation_)                                                                 \
    METRIC_COUNTER_INIT("sluice_store_failures_total",                                             \
                        "Requests that the store failed, or that read it for too long, by what "   \
                        "they wanted of it.",                                                      \
                        "operation=\"" operation_ "\"")

static void register_metrics(struct dispatch *d)
{
    COUNTER(d, returned, "sluice_worker_returned_total",
            "Requests given back to the gateway untouched.");
    COUNTER(d, given_up, "sluice_worker_reads_given_up_total",
            "Requests whose reading took too long.");
    COUNTER(d, expired, "sluice_worker_expired_total",
            "Requests dropped because their deadline was over.");
    COUNTER(d, cancelled, "sluice_worker_cancelled_total",
            "Requests that nobody waits for any more.");
    COUNTER(d, malformed, "sluice_worker_malformed_total",
            "Requests that were not as PROTOCOL.md says.");
    d->wait = (struct metric)METRIC_HISTOGRAM_INIT("sluice_worker_queue_seconds",
                                                   "From a request's arrival to its start.", NULL);
    metrics_register(&d->wait);
    d->commit = (struct metric)METRIC_HISTOGRAM_INIT(
        "sluice_store_write_seconds", "From handing a write to the store to its commit.", NULL);
    d->commit.exemplars = &d->commit_exemplars;
    metrics_register(&d->commit);
    d->reading = (struct metric)METRIC_HISTOGRAM_INIT(
        "sluice_store_read_seconds", "Of each request that reads the store: its time there.", NULL);
    d->reading.exemplars = &d->reading_exemplars;
    metrics_register(&d->reading);
    d->read_failures = (struct metric)STORE_FAILURES("read");
    d->write_failures = (struct metric)STORE_FAILURES("write");
    metrics_register(&d->read_failures);
    metrics_register(&d->write_failures);
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        struct class_state *s = &d->classes[i];
        s->limit = (struct metric)METRIC_GAUGE_INIT(
            "sluice_worker_limit", "Requests that are taken at once, by what they need most.",
            class_labels[i]);
        s->busy = (struct metric)METRIC_GAUGE_INIT(
            "sluice_worker_in_flight", "Requests being worked on, of each class.", class_labels[i]);
        s->admitted = (struct metric)METRIC_COUNTER_INIT("sluice_worker_admitted_total",
                                                         "Requests taken, by what they need most.",
                                                         class_labels[i]);
        metric_set(&s->limit, s->limiter.limit);
        metrics_register(&s->limit);
        metrics_register(&s->busy);
        metrics_register(&s->admitted);
    }
    for (size_t i = 0; i < d->service->n_routes; i++) {
        struct route_metrics *m = &d->routes[i];
        (void)snprintf(m->labels, sizeof m->labels, "operation=\"%s\"",
                       d->service->routes[i].operation);
        m->duration = (struct metric)METRIC_HISTOGRAM_INIT(
            "sluice_worker_request_duration_seconds", "From a request's arrival to its answer.",
            m->labels);
        m->duration.exemplars = &m->exemplars;
        m->failures = (struct metric)METRIC_COUNTER_INIT(
            "sluice_worker_failures_total", "Requests that failed on our side.", m->labels);
        metrics_register(&m->duration);
        metrics_register(&m->failures);
    }
}

static void unregister_metrics(struct dispatch *d)
{
    struct metric *all[] = { &d->given_up,      &d->returned,      &d->expired, &d->cancelled,
                             &d->malformed,     &d->wait,          &d->commit,  &d->reading,
                             &d->read_failures, &d->write_failures };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        metrics_unregister(all[i]);
    }
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        metrics_unregister(&d->classes[i].limit);
        metrics_unregister(&d->classes[i].busy);
        metrics_unregister(&d->classes[i].admitted);
    }
    for (size_t i = 0; i < d->service->n_routes; i++) {
        metrics_unregister(&d->routes[i].duration);
        metrics_unregister(&d->routes[i].failures);
    }
}

uint32_t dispatch_compute_threads(void)
{
    uint32_t others = uv_available_parallelism() - 1; // it is 1 at least
    return others < 1 ? 1 : others < WORKER_COMPUTE_THREADS ? others : WORKER_COMPUTE_THREADS;
}

int dispatch_open(uv_loop_t *loop, const struct service *service, struct store *store,
                  uint32_t capacity, const struct dispatch_callbacks *callbacks,
                  struct dispatch **ret_dispatch)
{
    struct dispatch *d = calloc(1, sizeof *d);
    struct route_metrics *routes = calloc(service->n_routes, sizeof *routes);
    if (!d || !routes || intake_open(loop, begin, &d->intake)) {
        free(d);
        free(routes);
        return -ENOMEM;
    }
    d->loop = loop;
    d->service = service;
    d->store = store;
    d->compute_threads = dispatch_compute_threads();
    d->capacity = capacity;
    d->callbacks = *callbacks;
    d->last_waiting = &d->waiting;
    d->routes = routes;
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        // No class shuts the others out.
        limiter_init(&d->classes[i].limiter, capacity - capacity / 4, kinds[i]);
    }
    buf_init(&d->out, FRAME_MAX_BYTES);
    register_metrics(d);
    *ret_dispatch = d;
    return 0;
}

void dispatch_close(struct dispatch **dispatch)
{
    struct dispatch *d = *dispatch;
    *dispatch = NULL;
    if (!d) {
        return;
    }
    unregister_metrics(d);
    intake_close(&d->intake);
    while (d->spare) {
        struct call *c = d->spare;
        d->spare = c->next;
        free_call(c);
    }
    while (d->calls) { // abandoned in a shutdown that could not wait for them
        struct call *c = d->calls;
        d->calls = c->next;
        free_call(c);
    }
    buf_fini(&d->out);
    free(d->routes);
    free(d);
}
