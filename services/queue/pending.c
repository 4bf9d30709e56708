// SPDX-License-Identifier: MIT
// Events stand in a pool that grows by doubling and never shrinks, so a group at work allocates
// nothing. Their order is an array with gaps where events were removed: most are added at its end and
// removed near its front.
#include "services/queue/pending.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#define FIRST_CAP 64

void pending_init(struct pending_table *t)
{
    *t = (struct pending_table){ .free = PENDING_NONE };
    for (int i = 0; i < PENDING_STATES; i++) {
        t->lists[i] = (struct pending_list){ PENDING_NONE, PENDING_NONE, 0 };
    }
}

void pending_fini(struct pending_table *t)
{
    pending_clear(t);
    free(t->pool);
    free(t->order);
    free(t->keys);
    pending_init(t);
}

uint64_t pending_key_of(struct str key)
{
    const uint64_t factor = UINT64_C(0x9E3779B97F4A7C15); // 2^64 / golden ratio: odd, well mixed
    uint64_t h = key.n * factor;
    for (size_t i = 0; i < key.n; i += 8) {
        uint64_t part = 0;
        memcpy(&part, key.p + i, key.n - i < 8 ? key.n - i : 8);
        h = (h ^ le64toh(part)) * factor; // FORMAT.md 4.1: the log keeps it
        h ^= h >> 32;
    }
    return key.n == 0 ? 0 : h ? h : 1;
}

static uint32_t place_of(const struct pending_table *t, const struct pending *e)
{
    return (uint32_t)(e - t->pool);
}

// --- Lists

static void unlink_entry(struct pending_table *t, struct pending *e)
{
    struct pending_list *l = &t->lists[e->state];
    *(e->prev != PENDING_NONE ? &t->pool[e->prev].next : &l->first) = e->next;
    *(e->next != PENDING_NONE ? &t->pool[e->next].prev : &l->last) = e->prev;
    l->n--;
}

static void link_entry(struct pending_table *t, struct pending *e, enum pending_state state,
                       bool front)
{
    struct pending_list *l = &t->lists[state];
    uint32_t place = place_of(t, e);
    e->state = (uint8_t)state;
    e->prev = front ? PENDING_NONE : l->last;
    e->next = front ? l->first : PENDING_NONE;
    *(e->prev != PENDING_NONE ? &t->pool[e->prev].next : &l->first) = place;
    *(e->next != PENDING_NONE ? &t->pool[e->next].prev : &l->last) = place;
    l->n++;
}

void pending_move(struct pending_table *t, struct pending *e, enum pending_state state, bool front)
{
    assert(state != PENDING_BLOCKED && e->state != PENDING_BLOCKED);
    unlink_entry(t, e);
    link_entry(t, e, state, front);
    if (state != PENDING_DELIVERED) {
        e->member = NULL;
    }
}

struct pending *pending_first(const struct pending_table *t, enum pending_state state)
{
    uint32_t place = t->lists[state].first;
    return place != PENDING_NONE ? &t->pool[place] : NULL;
}

struct pending *pending_last(const struct pending_table *t, enum pending_state state)
{
    uint32_t place = t->lists[state].last;
    return place != PENDING_NONE ? &t->pool[place] : NULL;
}

struct pending *pending_after(const struct pending_table *t, const struct pending *e)
{
    return e->next != PENDING_NONE ? &t->pool[e->next] : NULL;
}

// --- Keys

static size_t key_slot(const struct pending_table *t, uint64_t key)
{
    size_t i = key & (t->cap_keys - 1);
    while (t->keys[i].key && t->keys[i].key != key) {
        i = (i + 1) & (t->cap_keys - 1);
    }
    return i;
}

static bool grow_keys(struct pending_table *t)
{
    if (t->n_keys * 2 < t->cap_keys) {
        return true;
    }
    struct pending_table bigger = { .cap_keys = t->cap_keys ? t->cap_keys * 2 : FIRST_CAP * 2 };
    bigger.keys = calloc(bigger.cap_keys, sizeof *bigger.keys);
    if (!bigger.keys) {
        return false;
    }
    for (size_t i = 0; i < t->cap_keys; i++) {
        if (t->keys[i].key) {
            bigger.keys[key_slot(&bigger, t->keys[i].key)] = t->keys[i];
        }
    }
    free(t->keys);
    t->keys = bigger.keys;
    t->cap_keys = bigger.cap_keys;
    return true;
}

// Takes a key out, and moves back those behind it that had to make way for it.
static void drop_key(struct pending_table *t, size_t hole)
{
    size_t mask = t->cap_keys - 1;
    for (size_t i = (hole + 1) & mask; t->keys[i].key; i = (i + 1) & mask) {
        size_t home = t->keys[i].key & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->keys[hole] = t->keys[i];
            hole = i;
        }
    }
    t->keys[hole].key = 0;
    t->n_keys--;
}

// Puts the event behind the others of its key. True: it is the first.
static bool chain(struct pending_table *t, struct pending *e)
{
    if (e->key == 0) {
        return true;
    }
    struct pending_key *k = &t->keys[key_slot(t, e->key)];
    uint32_t place = place_of(t, e);
    bool first = k->key == 0;
    if (first) {
        *k = (struct pending_key){ e->key, place, place };
        t->n_keys++;
    } else {
        t->pool[k->last].next_of_key = place;
        k->last = place;
    }
    return first;
}

// Takes the event out of its chain, wherever it is in it; the one that is the first now is ready.
static void unchain(struct pending_table *t, const struct pending *e)
{
    if (e->key == 0) {
        return;
    }
    size_t slot = key_slot(t, e->key);
    struct pending_key *k = &t->keys[slot];
    uint32_t place = place_of(t, e);
    if (k->first != place) { // only when everything is given up: a blocked one is not removed else
        uint32_t before = k->first;
        while (t->pool[before].next_of_key != place) {
            before = t->pool[before].next_of_key;
        }
        t->pool[before].next_of_key = e->next_of_key;
        k->last = k->last == place ? before : k->last;
    } else if (e->next_of_key == PENDING_NONE) {
        drop_key(t, slot);
    } else {
        struct pending *first = &t->pool[e->next_of_key];
        k->first = e->next_of_key;
        unlink_entry(t, first);
        link_entry(t, first, (enum pending_state)first->then, false);
    }
}

// --- The pool and the order

static bool grow_pool(struct pending_table *t)
{
    if (t->free != PENDING_NONE) {
        return true;
    }
    uint32_t cap = t->cap ? t->cap * 2 : FIRST_CAP;
    struct pending *pool = reallocarray(t->pool, cap, sizeof *pool);
    if (!pool) {
        return false;
    }
    for (uint32_t i = cap; i-- > t->cap;) {
        pool[i].next = t->free;
        t->free = i;
    }
    t->pool = pool;
    t->cap = cap;
    return true;
}

// Closes the gaps, and makes room for one more at the end.
static bool grow_order(struct pending_table *t)
{
    if (t->end < t->cap_order) {
        return true;
    }
    size_t to = 0;
    if (t->n * 2 > t->cap_order || t->cap_order == 0) {
        size_t cap = t->cap_order ? t->cap_order * 2 : FIRST_CAP;
        struct pending_slot *order = reallocarray(t->order, cap, sizeof *order);
        if (!order) {
            return false;
        }
        t->order = order;
        t->cap_order = cap;
    }
    for (size_t i = t->at; i < t->end; i++) {
        if (t->order[i].place != PENDING_NONE) {
            t->order[to++] = t->order[i];
        }
    }
    t->at = 0;
    t->end = to;
    return true;
}

size_t pending_seek(const struct pending_table *t, uint64_t seq)
{
    size_t low = t->at, high = t->end; // the answer is in [low, high]
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->order[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct pending *pending_next(const struct pending_table *t, size_t *at)
{
    while (*at < t->end) {
        uint32_t place = t->order[(*at)++].place;
        if (place != PENDING_NONE) {
            return &t->pool[place];
        }
    }
    return NULL;
}

// Where the event of this sequence stands in the order, or t->end. A gap and an event that came after it may have
// the same sequence.
static size_t slot_of(const struct pending_table *t, uint64_t seq)
{
    size_t i = pending_seek(t, seq);
    while (i < t->end && t->order[i].seq == seq && t->order[i].place == PENDING_NONE) {
        i++;
    }
    return i < t->end && t->order[i].seq == seq ? i : t->end;
}

struct pending *pending_find(const struct pending_table *t, uint64_t seq)
{
    size_t i = slot_of(t, seq);
    return i < t->end ? &t->pool[t->order[i].place] : NULL;
}

struct pending *pending_add(struct pending_table *t, uint64_t seq, uint64_t key)
{
    if (t->n == PENDING_MAX || !grow_pool(t) || !grow_order(t) || !grow_keys(t)) {
        return NULL;
    }
    size_t slot = t->end;
    if (t->end > t->at && t->order[t->end - 1].seq >= seq) { // rare: one that was added by hand
        slot = pending_seek(t, seq);
        assert(!pending_find(t, seq));
        memmove(&t->order[slot + 1], &t->order[slot], (t->end - slot) * sizeof *t->order);
    }
    uint32_t place = t->free;
    struct pending *e = &t->pool[place];
    t->free = e->next;
    *e = (struct pending){
        .seq = seq, .key = key, .next_of_key = PENDING_NONE, .then = PENDING_READY
    };
    t->order[slot] = (struct pending_slot){ seq, place };
    t->end++;
    t->n++;
    link_entry(t, e, chain(t, e) ? PENDING_READY : PENDING_BLOCKED, false);
    return e;
}

void pending_remove(struct pending_table *t, struct pending *e)
{
    size_t slot = slot_of(t, e->seq);
    assert(slot < t->end);
    t->order[slot].place = PENDING_NONE;
    while (t->at < t->end && t->order[t->at].place == PENDING_NONE) {
        t->at++;
    }
    unlink_entry(t, e);
    unchain(t, e);
    free(e->error);
    e->next = t->free;
    t->free = place_of(t, e);
    t->n--;
}

void pending_clear(struct pending_table *t)
{
    struct pending *e;
    for (size_t at = t->at; (e = pending_next(t, &at));) {
        free(e->error);
    }
    for (int i = 0; i < PENDING_STATES; i++) {
        t->lists[i] = (struct pending_list){ PENDING_NONE, PENDING_NONE, 0 };
    }
    t->free = PENDING_NONE;
    for (uint32_t i = t->cap; i-- > 0;) {
        t->pool[i].next = t->free;
        t->free = i;
    }
    if (t->keys) {
        memset(t->keys, 0, t->cap_keys * sizeof *t->keys);
    }
    t->at = t->end = t->n = t->n_keys = 0;
}

void pending_set_error(struct pending *e, struct str error)
{
    free(e->error);
    e->error = error.n ? strndup(error.p, error.n) : NULL;
}

uint64_t pending_lowest_unknown(const struct pending_table *t, uint64_t none)
{
    struct pending *e;
    for (size_t at = t->at; (e = pending_next(t, &at));) {
        if (!e->known) {
            return e->seq;
        }
    }
    return none;
}

uint64_t pending_lowest(const struct pending_table *t, uint64_t none)
{
    size_t at = t->at;
    const struct pending *e = pending_next(t, &at);
    return e ? e->seq : none;
}
