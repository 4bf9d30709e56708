// SPDX-License-Identifier: MIT
// Hash tables of pointers, at most half full. An entry and its name are one allocation and never move.
#include "services/queue/catalog.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "proto/queue_frames.h"
#include "services/queue/crc32c.h"
#include "services/queue/format.h"

#define FIRST_SLOTS 64

void catalog_init(struct catalog *c)
{
    *c = (struct catalog){ 0 };
}

static void free_table(struct catalog_table *t)
{
    for (size_t i = 0; i < t->n_slots; i++) {
        free(t->slots[i]);
    }
    free(t->slots);
    *t = (struct catalog_table){ 0 };
}

void catalog_fini(struct catalog *c)
{
    free_table(&c->topics);
    free_table(&c->producers);
}

// The slot of this name, or the free one where it belongs. The table has slots.
static size_t slot_of(const struct catalog_table *t, struct str name, uint32_t hash)
{
    size_t i = hash & (t->n_slots - 1);
    while (t->slots[i] && !(t->slots[i]->hash == hash && str_eq(t->slots[i]->name, name))) {
        i = (i + 1) & (t->n_slots - 1);
    }
    return i;
}

static struct catalog_name *find(const struct catalog_table *t, struct str name)
{
    return t->n ? t->slots[slot_of(t, name, crc32c(0, name.p, name.n))] : NULL;
}

// Puts the entries into a table of n_slots.
static bool rehash(struct catalog_table *t, size_t n_slots)
{
    struct catalog_table bigger = { calloc(n_slots, sizeof *bigger.slots), n_slots, t->n };
    if (!bigger.slots) {
        return false;
    }
    for (size_t i = 0; i < t->n_slots; i++) {
        struct catalog_name *e = t->slots[i];
        if (e) {
            bigger.slots[slot_of(&bigger, e->name, e->hash)] = e;
        }
    }
    free(t->slots);
    *t = bigger;
    return true;
}

// Adds an entry of bytes, cleared; the name is not in the table yet.
static struct catalog_name *add(struct catalog_table *t, struct str name, size_t bytes)
{
    if (t->n * 2 >= t->n_slots && !rehash(t, t->n_slots ? t->n_slots * 2 : FIRST_SLOTS)) {
        return NULL;
    }
    struct catalog_name *e = calloc(1, bytes + name.n);
    if (!e) {
        return NULL;
    }
    char *copy = (char *)e + bytes;
    if (name.n) {
        memcpy(copy, name.p, name.n);
    }
    *e = (struct catalog_name){ { copy, name.n }, crc32c(0, name.p, name.n) };
    t->slots[slot_of(t, e->name, e->hash)] = e;
    t->n++;
    return e;
}

static struct catalog_name *next(const struct catalog_table *t, size_t *at)
{
    while (*at < t->n_slots) {
        struct catalog_name *e = t->slots[(*at)++];
        if (e) {
            return e;
        }
    }
    return NULL;
}

struct topic *catalog_topic(const struct catalog *c, struct str name)
{
    return (struct topic *)find(&c->topics, name);
}

struct producer *catalog_producer(const struct catalog *c, struct str name)
{
    return (struct producer *)find(&c->producers, name);
}

struct topic *catalog_add_topic(struct catalog *c, struct str name)
{
    struct topic *t = catalog_topic(c, name);
    if (!t && (t = (struct topic *)add(&c->topics, name, sizeof *t))) {
        t->bit = topic_bit(t->key.name);
        t->expired_before = c->pruned_before;
        c->topics_made++;
        c->n_own_topics += topic_is_own(name);
    }
    return t;
}

struct producer *catalog_add_producer(struct catalog *c, struct str name)
{
    struct producer *p = catalog_producer(c, name);
    return p ? p : (struct producer *)add(&c->producers, name, sizeof *p);
}

int catalog_note_producer(struct catalog *c, struct str name, uint64_t stored_seq, int64_t last_ms)
{
    struct producer *p = catalog_add_producer(c, name);
    if (!p) {
        return -ENOMEM;
    }
    if (stored_seq > p->stored_seq) {
        p->stored_seq = stored_seq;
        p->last_ms = last_ms;
    }
    if (p->accepted_seq < p->stored_seq) {
        p->accepted_seq = p->stored_seq;
    }
    return 0;
}

// Builds the table again without them: rare, and simpler than closing gaps in a probed table.
void catalog_prune_topics(struct catalog *c, uint64_t next_seq)
{
    struct catalog_table *t = &c->topics;
    struct catalog_table kept = { calloc(t->n_slots, sizeof *kept.slots), t->n_slots, 0 };
    if (!kept.slots) {
        return; // they stay until the next time
    }
    for (size_t i = 0; i < t->n_slots; i++) {
        struct catalog_name *e = t->slots[i];
        if (e && ((struct topic *)e)->events == 0) {
            free(e);
            c->pruned_before = next_seq;
        } else if (e) {
            kept.slots[slot_of(&kept, e->name, e->hash)] = e;
            kept.n++;
        }
    }
    free(t->slots);
    *t = kept;
}

struct topic *catalog_next_topic(const struct catalog *c, size_t *at)
{
    return (struct topic *)next(&c->topics, at);
}

struct producer *catalog_next_producer(const struct catalog *c, size_t *at)
{
    return (struct producer *)next(&c->producers, at);
}
