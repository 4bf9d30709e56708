// SPDX-License-Identifier: MIT
#include "tests/fault/queue_sim/model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model_frame {
    uint64_t first_seq;
    size_t n;
    int64_t stored_ms;
    bool damaged;
    bool removed; // by retention; the file may come back after a loss of power
    struct model_event events[MODEL_MAX_EVENTS];
};

struct model {
    struct model_frame *frames; // in order of sequence
    size_t n, cap;
    struct model_frame waiting;
    bool is_waiting;
    uint64_t first_seq;  // everything before was removed
    uint64_t skipped_to; // next sequence, when it is behind the last frame
    uint64_t stored[MODEL_PRODUCERS];
    bool damaged; // any frame ever was
    bool forgot;  // so were producers' numbers that nothing repeats
    bool forgot_removals;
    bool bare; // the last frame is followed by nothing
};

static uint64_t seed;

void model_set_seed(uint64_t now)
{
    seed = now;
}

void model_fail(const char *format, ...)
{
    va_list args;
    (void)fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 ": ", seed);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nagain: queue_sim --seeds 1 --from %" PRIu64 " --trace\n", seed);
    exit(1);
}

struct model *model_new(void)
{
    struct model *m = calloc(1, sizeof *m);
    assert(m);
    m->first_seq = m->skipped_to = 1;
    return m;
}

void model_destroy(struct model **m)
{
    free((*m)->frames);
    free(*m);
    *m = NULL;
}

// --- Storing

static uint64_t end_of(const struct model_frame *f)
{
    return f->first_seq + f->n;
}

uint64_t model_next_seq(const struct model *m)
{
    uint64_t next = m->n ? end_of(&m->frames[m->n - 1]) : 1;
    return next > m->skipped_to ? next : m->skipped_to;
}

uint64_t model_stored(const struct model *m, uint32_t producer)
{
    return m->stored[producer];
}

bool model_is_waiting(const struct model *m)
{
    return m->is_waiting;
}

// An event may be stored again only when it was damaged, or its number was forgotten with damage.
static void check_not_stored(const struct model *m, struct model_event event)
{
    if (event.producer == MODEL_BURIALS || event.number > m->stored[event.producer] || m->forgot) {
        return;
    }
    for (size_t i = 0; i < m->n; i++) {
        const struct model_frame *f = &m->frames[i];
        for (size_t e = 0; !f->damaged && e < f->n; e++) {
            if (f->events[e].producer == event.producer && f->events[e].number == event.number) {
                model_fail("event %" PRIu64 " of producer %" PRIu32
                           " is stored twice, first as %" PRIu64,
                           event.number, event.producer, f->first_seq + e);
            }
        }
    }
}

void model_begin(struct model *m, uint64_t first_seq, const struct model_event *events, size_t n)
{
    assert(!m->is_waiting && n <= MODEL_MAX_EVENTS);
    if (first_seq != model_next_seq(m)) {
        model_fail("the next sequence is %" PRIu64 " instead of %" PRIu64, first_seq,
                   model_next_seq(m));
    }
    m->waiting = (struct model_frame){ .first_seq = first_seq, .n = n };
    for (size_t i = 0; i < n; i++) {
        m->waiting.events[i] = events[i];
        check_not_stored(m, events[i]);
    }
    m->is_waiting = true;
}

void model_stamp(struct model *m, int64_t stored_ms)
{
    assert(m->is_waiting);
    m->waiting.stored_ms = stored_ms;
}

void model_refuse(struct model *m)
{
    assert(m->is_waiting);
    m->is_waiting = false;
}

void model_acknowledge(struct model *m)
{
    assert(m->is_waiting);
    m->is_waiting = false;
    if (m->waiting.n == 0) { // promises nothing
        return;
    }
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 64;
        m->frames = reallocarray(m->frames, m->cap, sizeof *m->frames);
        assert(m->frames);
    }
    m->frames[m->n++] = m->waiting;
    m->bare = true;
    for (size_t i = 0; i < m->waiting.n; i++) {
        const struct model_event *e = &m->waiting.events[i];
        if (e->producer != MODEL_BURIALS && e->number > m->stored[e->producer]) {
            m->stored[e->producer] = e->number;
        }
    }
}

void model_close(struct model *m)
{
    m->bare = false;
}

void model_bare(struct model *m)
{
    m->bare = true;
}

bool model_last_is_bare(const struct model *m)
{
    return m->bare;
}

uint64_t model_last_frame(const struct model *m)
{
    return m->n ? m->frames[m->n - 1].first_seq : 0;
}

// --- What may be missing

// Number of the first frame that ends behind seq.
static size_t frame_of(const struct model *m, uint64_t seq)
{
    size_t low = 0, high = m->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (end_of(&m->frames[middle]) <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool model_find(const struct model *m, uint64_t seq, struct model_event *ret_event,
                int64_t *ret_stored_ms)
{
    size_t i = frame_of(m, seq);
    if (i == m->n || seq < m->frames[i].first_seq) {
        return false;
    }
    *ret_event = m->frames[i].events[seq - m->frames[i].first_seq];
    *ret_stored_ms = m->frames[i].stored_ms;
    return true;
}

bool model_damage(struct model *m, uint64_t seq)
{
    size_t i = frame_of(m, seq);
    if (i == m->n || seq < m->frames[i].first_seq) {
        return false;
    }
    m->frames[i].damaged = m->damaged = true;
    return true;
}

void model_damage_range(struct model *m, uint64_t from, uint64_t to)
{
    for (size_t i = frame_of(m, from); i < m->n && m->frames[i].first_seq < to; i++) {
        m->frames[i].damaged = true;
    }
    m->damaged = true;
}

void model_skip(struct model *m, uint64_t to)
{
    if (to > model_next_seq(m)) {
        m->skipped_to = to;
        m->bare = false; // nothing can be cut off any more
    }
}

void model_forget_producers(struct model *m)
{
    m->forgot = true;
}

void model_expire(struct model *m, uint64_t first_seq)
{
    m->first_seq = first_seq;
}

void model_forget_removals(struct model *m)
{
    m->forgot_removals = true;
}

// --- Retention

uint32_t model_topic(struct model_event event)
{
    return event.producer == MODEL_BURIALS ? MODEL_TOPICS - 1 : event.producer % (MODEL_TOPICS - 1);
}

// Events of this topic from seq on.
static uint64_t count_from(const struct model *m, uint64_t seq, uint32_t topic)
{
    uint64_t n = 0;
    for (size_t i = frame_of(m, seq); i < m->n; i++) {
        for (size_t e = 0; e < m->frames[i].n; e++) {
            n += model_topic(m->frames[i].events[e]) == topic;
        }
    }
    return n;
}

static bool is_old(const struct model_frame *f, const struct model_limits *limits, int64_t now_ms)
{
    return limits->age_ms && now_ms - f->stored_ms > limits->age_ms;
}

void model_remove(struct model *m, uint64_t from, uint64_t to,
                  const struct model_limits limits[MODEL_TOPICS], int64_t now_ms)
{
    for (size_t i = frame_of(m, from); i < m->n && m->frames[i].first_seq < to; i++) {
        struct model_frame *f = &m->frames[i];
        for (size_t e = 0; !f->damaged && e < f->n; e++) {
            uint32_t topic = model_topic(f->events[e]);
            const struct model_limits *l = &limits[topic];
            if (!l->bytes && !is_old(f, l, now_ms) &&
                !(l->count && count_from(m, to, topic) >= l->count)) {
                model_fail("event %" PRIu64 " of topic %" PRIu32 " is removed before its time",
                           f->first_seq + e, topic);
            }
        }
        f->removed = true;
    }
}

bool model_is_overdue(const struct model *m, uint64_t from, uint64_t to,
                      const struct model_limits limits[MODEL_TOPICS], int64_t now_ms)
{
    bool any = false;
    for (size_t i = frame_of(m, from); i < m->n && m->frames[i].first_seq < to; i++) {
        const struct model_frame *f = &m->frames[i];
        for (size_t e = 0; e < f->n; e++) {
            if (f->damaged || !is_old(f, &limits[model_topic(f->events[e])], now_ms)) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

// --- Checking

void model_open(struct model *m, uint64_t first_seq, uint64_t next_seq)
{
    if (m->is_waiting) {
        if (next_seq == end_of(&m->waiting) && next_seq != m->waiting.first_seq) {
            model_acknowledge(m); // whoever reads it from now on relies on it
        } else {
            model_refuse(m);
        }
    }
    if (next_seq != model_next_seq(m)) {
        model_fail("opened, the log goes on with %" PRIu64 " instead of %" PRIu64, next_seq,
                   model_next_seq(m));
    }
    if (first_seq > m->first_seq) {
        model_fail("opened, the log begins with %" PRIu64 " instead of %" PRIu64, first_seq,
                   m->first_seq);
    }
    m->first_seq = first_seq; // less: a removal did not last
}

void model_producer(const struct model *m, uint32_t producer, uint64_t stored)
{
    if (stored > m->stored[producer] ||
        (stored < m->stored[producer] && !m->damaged && !m->forgot)) {
        model_fail("producer %" PRIu32 " is at %" PRIu64 " instead of %" PRIu64, producer, stored,
                   m->stored[producer]);
    }
}

void model_read_begin(const struct model *m, struct model_reading *r, uint64_t first_seq)
{
    *r = (struct model_reading){ .next = first_seq, .frame = frame_of(m, first_seq) };
}

// The frame that has seq; NULL: none was ever promised.
static const struct model_frame *step_to(const struct model *m, struct model_reading *r,
                                         uint64_t seq)
{
    while (r->frame < m->n && end_of(&m->frames[r->frame]) <= seq) {
        r->frame++;
    }
    const struct model_frame *f = r->frame < m->n ? &m->frames[r->frame] : NULL;
    return f && f->first_seq <= seq ? f : NULL;
}

void model_read_event(struct model *m, struct model_reading *r, uint64_t seq, int64_t stored_ms,
                      struct model_event event)
{
    if (seq != r->next) {
        model_fail("event %" PRIu64 " comes where %" PRIu64 " is due", seq, r->next);
    }
    const struct model_frame *f = step_to(m, r, seq);
    if (!f) {
        model_fail("event %" PRIu64 " comes from nowhere", seq);
    }
    const struct model_event *e = &f->events[seq - f->first_seq];
    if (e->producer != event.producer || e->number != event.number) {
        model_fail("event %" PRIu64 " is %" PRIu64 " of producer %" PRIu32 " instead of %" PRIu64
                   " of %" PRIu32,
                   seq, event.number, event.producer, e->number, e->producer);
    }
    bool buried = event.producer == MODEL_BURIALS;
    if (!buried && event.number <= r->numbers[event.producer] && !m->forgot) {
        model_fail("event %" PRIu64 " is %" PRIu64 " of producer %" PRIu32 ", read after %" PRIu64,
                   seq, event.number, event.producer, r->numbers[event.producer]);
    }
    if (stored_ms < r->stored_ms) {
        model_fail("event %" PRIu64 " was stored before the one before it", seq);
    }
    if (!buried) {
        r->numbers[event.producer] = event.number;
    }
    r->stored_ms = stored_ms;
    r->next = seq + 1;
}

void model_read_lost(struct model *m, struct model_reading *r, uint64_t from, uint64_t to,
                     bool excused)
{
    if (from != r->next || to < from) {
        model_fail("%" PRIu64 " to %" PRIu64 " are told as lost where %" PRIu64 " is due", from,
                   to - 1, r->next);
    }
    for (uint64_t seq = from; seq < to;) {
        const struct model_frame *f = step_to(m, r, seq);
        if (f && !f->damaged && !excused && !(f->removed && m->forgot_removals)) {
            model_fail("event %" PRIu64 " is lost", seq);
        }
        if (f) {
            seq = end_of(f);
        } else if (r->frame < m->n) {
            seq = m->frames[r->frame].first_seq; // was skipped
        } else {
            break; // behind the last
        }
    }
    if (to > model_next_seq(m)) {
        model_fail("events up to %" PRIu64 " are told as lost, which there never were", to - 1);
    }
    r->next = to;
}

void model_read_removed(struct model *m, struct model_reading *r, uint64_t from, uint64_t to)
{
    if (from != r->next || to <= from) {
        model_fail("%" PRIu64 " to %" PRIu64 " are told as removed where %" PRIu64 " is due", from,
                   to - 1, r->next);
    }
    (void)step_to(m, r, from);
    for (size_t i = r->frame; i < m->n && m->frames[i].first_seq < to; i++) {
        if (!m->frames[i].removed && !m->frames[i].damaged) {
            model_fail("event %" PRIu64 " is told as removed, and nobody removed it",
                       m->frames[i].first_seq);
        }
    }
    r->next = to;
}

void model_read_end(struct model *m, struct model_reading *r, uint64_t next_seq)
{
    (void)m;
    if (r->next != next_seq) {
        model_fail("reading ends at %" PRIu64 " instead of %" PRIu64, r->next, next_seq);
    }
}
