// SPDX-License-Identifier: MIT
// Retention. The log is looked at from its newest segment back, so that what newer segments hold is known at each
// one. Of one topic the expired portions are always its oldest, so one sequence per topic says which they are.
#include "services/queue/journal.h"

#include <assert.h>
#include <errno.h>

#include "services/queue/archive.h"

#define RULES (RETENTION_MAX_RULES + 1) // and the general limits

struct sums {
    uint64_t events, bytes;
};

struct look {
    struct journal *j;
    const struct retention *retention;
    int64_t now_ms;
    uint64_t hold_seq;
    struct removal *removal;
    struct sums newer[RULES]; // in the segments behind
    struct sums own[RULES];   // in the one that is looked at
};

// --- What is expired

static size_t rule_of(const struct look *l, struct topic *t)
{
    if (t->rule == 0) {
        t->rule = (uint32_t)retention_rule_of(l->retention, t->key.name) + 1;
    }
    return t->rule - 1;
}

// A segment of which no event can be read: it takes room, and is of no topic.
static bool is_empty(const struct segment *s)
{
    return s->n_topics == 0 && s->expired == 0;
}

static void sum_up(struct look *l, const struct segment *s)
{
    size_t general = l->retention->n_rules;
    memset(l->own, 0, sizeof l->own);
    for (size_t i = 0; i < s->n_topics; i++) {
        struct sums *own = &l->own[rule_of(l, s->topics[i].topic)];
        own->events += s->topics[i].events;
        own->bytes += s->topics[i].bytes;
    }
    for (size_t i = 0; i <= general && s->topic_bytes; i++) {
        l->own[i].bytes =
            segment_disk_bytes(s) * l->own[i].bytes / s->topic_bytes; // both are below 2^32
    }
    if (is_empty(s)) {
        l->own[general].bytes = segment_disk_bytes(s);
    }
}

// Whether what a segment has of this rule, stored until last_ms, is expired, and why.
static bool is_expired(const struct look *l, const struct segment *s, size_t rule, int64_t last_ms,
                       enum expiry_reason *ret_reason)
{
    const struct retention_limits *limits = retention_limits(l->retention, rule);
    bool held = s->next_seq > l->hold_seq;
    uint64_t bytes = l->newer[rule].bytes + l->own[rule].bytes;
    uint64_t factor = held ? RETENTION_HOLD_FACTOR : 1;
    if (!held && limits->age_ms && l->now_ms - last_ms > limits->age_ms) {
        *ret_reason = EXPIRED_BY_AGE;
        return true;
    }
    if (!held && limits->count && l->newer[rule].events >= limits->count) {
        *ret_reason = EXPIRED_BY_COUNT;
        return true;
    }
    if (limits->bytes && bytes / factor > limits->bytes) {
        *ret_reason = held ? EXPIRED_THOUGH_HELD : EXPIRED_BY_BYTES;
        return true;
    }
    return false;
}

static void note_expired(struct look *l, struct segment *s, uint64_t events, enum expiry_reason why)
{
    l->removal->n_events[why] += events;
    s->expired_by = (int)why;
    if (why == EXPIRED_THOUGH_HELD && s->next_seq > l->removal->held_to) {
        l->removal->held_to = s->next_seq - 1;
    }
}

// Expires what is due in a sealed segment. True: nothing is left in it.
static bool expire_segment(struct look *l, struct segment *s, int64_t next_made_ms)
{
    enum expiry_reason why;
    if (is_empty(s)) { // counts as old as its successor
        bool gone = is_expired(l, s, l->retention->n_rules, next_made_ms, &why);
        if (gone) {
            note_expired(l, s, 0, why);
        }
        return gone;
    }
    bool any = false;
    for (size_t i = s->n_topics; i-- > 0;) { // backwards: the last one takes a free place
        const struct segment_topic t = s->topics[i];
        if (is_expired(l, s, rule_of(l, t.topic), t.last_ms, &why)) {
            note_expired(l, s, t.events, why);
            segment_expire_topic(s, i);
            any = true;
        }
    }
    if (any) {
        s->live = 0;
        for (size_t i = 0; i < s->n_topics; i++) {
            s->live |= s->topics[i].topic->bit;
        }
        if (s->next_seq > l->j->expired_before) {
            l->j->expired_before = s->next_seq;
        }
    }
    return s->n_topics == 0;
}

// Looks at all segments; marks those that nothing is left in. True: something is newly expired.
static bool expire_portions(struct look *l)
{
    const struct journal *j = l->j;
    bool any = false;
    for (size_t i = j->n_segments; i-- > 0;) {
        struct segment *s = j->segments[i];
        sum_up(l, s);
        uint64_t expired = s->expired;
        s->removable =
            i + 1 < j->n_segments && expire_segment(l, s, j->segments[i + 1]->header.made_ms);
        any |= s->expired != expired;
        for (size_t k = 0; k <= l->retention->n_rules; k++) {
            l->newer[k].events += l->own[k].events;
            l->newer[k].bytes += l->own[k].bytes;
        }
    }
    return any;
}

// --- What is removed

// Takes segment number i off the list.
static void take_out(struct journal *j, size_t i, struct removal *removal)
{
    removal->n_segments[j->segments[i]->expired_by]++;
    segment_forget(j->segments[i]);
    segment_destroy(&j->segments[i]);
    j->n_segments--;
    memmove(&j->segments[i], &j->segments[i + 1], (j->n_segments - i) * sizeof(struct segment *));
}

// From the oldest on nothing has to be said about it: what is left begins later.
static void take_front(struct journal *j, struct removal *removal)
{
    while (removal->n < JOURNAL_REMOVE_MAX && j->n_segments && j->segments[0]->removable) {
        removal->segments[removal->n++] = j->segments[0]->header.first_seq;
        take_out(j, 0, removal);
    }
    uint64_t first = journal_first_seq(j);
    if (removal->n && first > 1) {
        int status = holes_cut(&j->holes, 0, first - 1);
        assert(status == 0); // it becomes no longer
        journal_forget_lost(j, 0, first - 1);
    }
}

// Whether there is room for a hole, or a neighbour only grows.
static bool may_have_hole(const struct journal *j, uint64_t first_seq, uint64_t last_seq)
{
    return j->holes.n < JOURNAL_MAX_HOLES || holes_find(&j->holes, first_seq - 1) ||
           holes_find(&j->holes, last_seq + 1);
}

// Out of the middle: the log has to say so before the files go, or else they would be missed.
static void take_middle(struct journal *j, struct removal *removal)
{
    for (size_t i = 1; i + 1 < j->n_segments && j->n_owed < JOURNAL_REMOVE_MAX;) {
        uint64_t first = j->segments[i]->header.first_seq;
        uint64_t last = j->segments[i + 1]->header.first_seq - 1;
        if (!j->segments[i]->removable || !may_have_hole(j, first, last) ||
            holes_add(&j->holes, first, last)) { // out of memory: the next look tries again
            i++;
            continue;
        }
        j->owed[j->n_owed++] = (struct record_removed){ first, last };
        journal_forget_lost(j, first, last);
        take_out(j, i, removal);
    }
}

// The log says that they are removed: now their files may go.
static void take_owed(struct journal *j, struct removal *removal)
{
    for (size_t i = 0; i < j->n_owed; i++) {
        removal->segments[removal->n++] = j->owed[i].first_seq;
    }
    j->n_owed = 0;
    j->owed_stored = false;
}

// Whether the open segment should end, so that it can be removed when its time has come.
static bool should_roll(const struct look *l)
{
    const struct journal *j = l->j;
    const struct segment *last = j->n_segments ? j->segments[j->n_segments - 1] : NULL;
    if (!last || last->events == 0) {
        return false;
    }
    for (size_t i = 0; i < last->n_topics; i++) {
        size_t rule = rule_of(l, last->topics[i].topic);
        int64_t age_ms = retention_limits(l->retention, rule)->age_ms;
        if (age_ms && l->now_ms - last->first_ms > age_ms / 4) {
            return true;
        }
    }
    return false;
}

void journal_expire(struct journal *j, const struct retention *retention, int64_t now_ms,
                    uint64_t hold_seq, struct removal *ret_removal)
{
    struct look l = { j, retention, now_ms, hold_seq, ret_removal, { { 0, 0 } }, { { 0, 0 } } };
    *ret_removal =
        (struct removal){ .io = j->options.io, .dir_fd = j->dir_fd, .archive_fd = j->archive_fd };
    bool any = expire_portions(&l);
    if (j->n_owed && j->owed_stored) {
        take_owed(j, ret_removal);
    } else {
        take_front(j, ret_removal);
    }
    if (j->n_owed == 0 && !(j->n_segments && j->segments[0]->removable)) {
        take_middle(j, ret_removal);
    }
    if (any) {
        catalog_prune_topics(&j->catalog, j->next_seq);
    }
    j->roll |= should_roll(&l);
}

static int remove_name(const struct io *io, int dir, const char *name)
{
    int status = io->unlink(io, dir, name);
    return status && status != -ENOENT ? status : io->sync_dir(io, dir);
}

int journal_remove(const struct removal *r)
{
    for (size_t i = 0; i < r->n; i++) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(r->segments[i], name);
        // Each is gone for good before the next goes: what is left has no hole that nobody told of.
        int status = remove_name(r->io, r->dir_fd, name);
        if (status == 0 && r->archive_fd > 0) {
            char archive[ARCHIVE_NAME_SIZE];
            archive_name(r->segments[i], archive);
            status = remove_name(r->io, r->archive_fd, archive);
        }
        if (status) {
            return status;
        }
    }
    return 0;
}

// --- Telling

bool journal_owes_removed(const struct journal *j)
{
    return j->n_owed && !j->owed_stored;
}

bool journal_has_expired(const struct journal *j, uint64_t seq)
{
    if (seq >= j->expired_before || j->n_segments == 0) {
        return false;
    }
    return j->segments[journal_segment_of(j, seq)]->expired > 0;
}

bool journal_is_expired(const struct journal *j, uint64_t seq, struct str event)
{
    struct str topic, key;
    if (event_decode_route(event, &topic, &key)) {
        return false; // it is of no topic, so of no rule
    }
    const struct topic *t = catalog_topic(&j->catalog, topic);
    return !t || t->expired_before > seq; // without an entry nothing of it is left
}
