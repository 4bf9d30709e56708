// SPDX-License-Identifier: MIT
// Counting what is in a segment, frame by frame, and telling it in a seal. Its files are read in segment_read.c.
#include "services/queue/segment.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/queue_frames.h"

#define NAME_DIGITS 20

void segment_name(uint64_t first_seq, char out[SEGMENT_NAME_SIZE])
{
    (void)snprintf(out, SEGMENT_NAME_SIZE, "%020" PRIu64 ".seg",
                   first_seq); // has exactly that size
}

bool segment_name_parse(const char *name, uint64_t *ret_first_seq)
{
    uint64_t seq = 0;
    for (int i = 0; i < NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || __builtin_mul_overflow(seq, 10, &seq) ||
            __builtin_add_overflow(seq, (uint64_t)(name[i] - '0'), &seq)) {
            return false;
        }
    }
    if (strcmp(name + NAME_DIGITS, ".seg") != 0 || seq == 0) {
        return false;
    }
    *ret_first_seq = seq;
    return true;
}

void segment_destroy(struct segment **s)
{
    if (*s) {
        free((*s)->blocks);
        free((*s)->topics);
        free(*s);
        *s = NULL;
    }
}

// --- Growing tables

// Makes room for one more item of this size in an array; the new array, or NULL.
static void *grown(void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return items;
    }
    size_t more = *cap ? *cap * 2 : 16;
    void *bigger = reallocarray(items, more, size);
    if (bigger) {
        *cap = more;
    }
    return bigger;
}

int segment_add_block(struct segment *s, const struct record_index *block)
{
    void *blocks = grown(s->blocks, s->n_blocks, &s->cap_blocks, sizeof *s->blocks);
    if (!blocks) {
        return -ENOMEM;
    }
    s->blocks = blocks;
    s->blocks[s->n_blocks++] = *block;
    return 0;
}

// The segment's entry for a topic, made if there is none; NULL: out of memory.
static struct segment_topic *topic_of(struct segment *s, struct topic *t)
{
    if (t->slot < s->n_topics && s->topics[t->slot].topic == t) {
        return &s->topics[t->slot];
    }
    void *topics = grown(s->topics, s->n_topics, &s->cap_topics, sizeof *s->topics);
    if (!topics) {
        return NULL;
    }
    s->topics = topics;
    t->slot = s->n_topics;
    s->topics[s->n_topics] = (struct segment_topic){ .topic = t };
    return &s->topics[s->n_topics++];
}

int segment_count_topic(struct segment *s, struct catalog *catalog, const struct record_topic *r)
{
    struct topic *t = catalog_add_topic(catalog, r->topic);
    struct segment_topic *here = t ? topic_of(s, t) : NULL;
    if (!here) {
        return -ENOMEM;
    }
    here->events += r->events;
    here->bytes += r->bytes;
    s->topic_bytes += r->bytes;
    here->last_seq = r->last_seq;
    here->last_ms = r->last_ms;
    t->events += r->events;
    if (r->last_seq > t->last_seq) {
        t->last_seq = r->last_seq;
        t->last_ms = r->last_ms;
    }
    return 0;
}

void segment_forget(struct segment *s)
{
    for (size_t i = 0; i < s->n_topics; i++) {
        assert(s->topics[i].topic->events >= s->topics[i].events);
        s->topics[i].topic->events -= s->topics[i].events;
    }
    s->n_topics = 0;
    s->topic_bytes = 0;
}

void segment_expire_topic(struct segment *s, size_t i)
{
    const struct segment_topic *t = &s->topics[i];
    assert(i < s->n_topics);
    assert(t->topic->events >= t->events && s->events >= s->expired + t->events);
    t->topic->events -= t->events;
    if (t->topic->expired_before < s->next_seq) {
        t->topic->expired_before = s->next_seq;
    }
    s->expired += t->events;
    s->topics[i] = s->topics[--s->n_topics];
}

// --- Frames

int segment_take_state(const struct segment_reader *r, const struct frame *f,
                       const struct record *rec)
{
    struct record_producer p;
    struct record_removed gone;
    int status = 0;
    if (rec->type == RECORD_PRODUCER && record_producer_decode(rec->body, &p) == 0) {
        status = catalog_note_producer(r->catalog, p.name, p.producer_seq, p.last_ms);
    } else if (rec->type == RECORD_REMOVED && r->holes &&
               record_removed_decode(rec->body, &gone) == 0) {
        status = holes_add(r->holes, gone.first_seq, gone.last_seq);
    } else if (rec->type >= RECORD_GROUP && rec->type <= RECORD_REVIVED && r->on_state) {
        status = r->on_state(f, rec, r->state);
    }
    return status == -ENOMEM ? status : 0; // of what cannot be read, nothing is taken over
}

// Counts what is in the records of a frame; the topics' bits go to *topics.
static int count_records(const struct segment_reader *reader, struct segment *s,
                         const struct frame *f, uint64_t *topics)
{
    struct str payload = f->payload, key;
    struct record r;
    uint64_t seq = f->first_seq;
    while (record_next(&payload, &r) == 1) {
        struct record_topic t = {
            .events = 1, .last_seq = seq, .last_ms = f->stored_ms, .bytes = r.body.n
        };
        int status = 0;
        if (r.type != RECORD_EVENT) {
            status = segment_take_state(reader, f, &r);
        } else {
            seq++;
            if (event_decode_route(r.body, &t.topic, &key) == 0) {
                status = segment_count_topic(s, reader->catalog, &t);
                *topics |= topic_bit(t.topic);
            }
        }
        if (status) {
            return status;
        }
    }
    return 0;
}

int segment_add_frame(const struct segment_reader *r, struct segment *s, const struct frame *f,
                      uint64_t offset)
{
    assert(offset >= s->end && f->first_seq >= s->next_seq);
    struct record_index *last = s->n_blocks ? &s->blocks[s->n_blocks - 1] : NULL;
    if (!last || offset + f->bytes - last->offset > r->block_bytes) {
        struct record_index block = { (uint32_t)offset, f->first_seq, f->stored_ms, 0 };
        int status = segment_add_block(s, &block);
        if (status) {
            return status;
        }
        last = &s->blocks[s->n_blocks - 1];
    }
    int status = count_records(r, s, f, &last->topics);
    if (status) {
        return status;
    }
    if (f->count) {
        s->first_ms = s->events ? s->first_ms : f->stored_ms;
        s->last_ms = f->stored_ms;
    }
    s->events += f->count;
    s->next_seq = f->first_seq + f->count;
    s->end = offset + f->bytes;
    s->chain = f->crc;
    s->frame_ms = f->stored_ms;
    return 0;
}

// --- The seal

void segment_seal(const struct segment *s, const struct record_lost *lost, size_t n_lost,
                  struct buf *b)
{
    struct record_total total = { s->header.first_seq, s->next_seq, s->events,
                                  s->first_ms,         s->last_ms,  (uint32_t)s->end };
    frame_begin(b);
    record_total(b, &total);
    record_index_begin(b, s->n_blocks);
    for (size_t i = 0; i < s->n_blocks; i++) {
        record_index_block(b, &s->blocks[i]);
    }
    for (size_t i = 0; i < s->n_topics; i++) {
        const struct segment_topic *t = &s->topics[i];
        struct record_topic topic = { t->events, t->last_seq, t->last_ms, t->bytes,
                                      t->topic->key.name };
        record_topic(b, s->header.version, &topic);
    }
    for (size_t i = 0; i < n_lost; i++) {
        if (lost[i].first_seq < s->next_seq && lost[i].last_seq >= s->header.first_seq) {
            record_lost(b, &lost[i]);
        }
    }
    frame_end(b, FRAME_SEAL, s->next_seq, 0, s->frame_ms);
}

uint64_t segment_seal_bound(const struct segment *s, uint64_t more_events)
{
    uint64_t topics = s->n_topics + more_events;
    if (topics > CATALOG_MAX_TOPICS) {
        topics = CATALOG_MAX_TOPICS;
    }
    return FORMAT_FRAME_BYTES + 8 + FORMAT_TRAILER_BYTES + 3 * FORMAT_RECORD_BYTES +
           FORMAT_TOTAL_BYTES + (s->n_blocks + 1) * FORMAT_INDEX_BYTES +
           topics * (FORMAT_RECORD_BYTES + FORMAT_TOPIC_BYTES + QUEUE_MAX_TOPIC);
}

size_t segment_block_of(const struct segment *s, uint64_t seq)
{
    assert(s->n_blocks > 0);
    size_t low = 0, high = s->n_blocks; // the answer is in [low, high)
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->blocks[middle].first_seq <= seq) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}
