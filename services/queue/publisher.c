// SPDX-License-Identifier: MIT
// Two batches take turns: one is written by the committer, one is gathered. A batch's buffer becomes a block of the
// cache when it is stored, so an event is copied once between the socket and its readers.
#include "services/queue/publisher.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "services/queue/committer.h"
#include "services/queue/permissions.h"
#include "services/queue/refusal.h"
#include "services/queue/stats.h"

// Room for a frame: what congests, one more PUBLISH, the PRODUCER records, all that groups can have to say.
#define MAX_FRAME_BYTES (64 * 1024 * 1024)
#define DETAIL_SIZE 256

// What a PUBLISH is owed when its batch is on disk.
struct answer {
    uint32_t peer;
    struct queue_published
        reply; // first_seq and last_seq: places in the batch, from 1, until it is stored
    struct producer *producer; // NULL: none
    uint64_t first;            // its first producer sequence; 0: it had no entries
    int64_t arrived_us;        // monotonic
};

// An event of the queue's own, and who waits for it.
struct burial {
    uint32_t place; // among the batch's events
    void (*on_done)(int status, uint64_t seq, void *data);
    void *data;
};

struct batch {
    uint64_t number;
    struct buf frame; // with its header from the first event on
    uint32_t count;   // events
    size_t event_bytes;
    uint64_t topics;
    struct answer *answers;
    size_t n_answers, cap_answers;
    struct producer **producers; // that have events in it
    size_t n_producers, cap_producers;
    struct burial *burials;
    size_t n_burials, cap_burials;
    struct buf dead; // DEAD records of the burials; behind all that control says of the same events
    struct buf control; // records that must be written, with events or without
    struct buf replies; // when that is done: struct reply and its bytes, each
};

struct reply {
    uint32_t peer, bytes;
};

struct publisher {
    struct publisher_options options;
    struct committer *committer;
    struct batch batches[2];
    struct batch *gathered; // the one that takes events
    struct batch *running;  // the one that is written; NULL: none
    struct append append;   // of the running one
    struct buf scratch;     // for answers
    int64_t full_until_ms;  // monotonic; 0: the disk is not full
    int64_t wait_until_ms;  // monotonic; not even control records found room
    uv_timer_t retry;
    bool wanted; // collect() has something
    bool failed;
    bool stopping, checkpointed;
};

static bool is_empty(const struct batch *b)
{
    return b->count == 0 && b->n_answers == 0 && b->control.len == 0 && b->replies.len == 0;
}

static void reset_control(struct batch *b)
{
    buf_reset(&b->control);
    buf_reset(&b->replies);
}

static void reset_events(struct batch *b)
{
    static uint64_t last_number;
    b->number = ++last_number;
    buf_reset(&b->frame);
    b->count = 0;
    b->event_bytes = 0;
    b->topics = 0;
    b->n_answers = 0;
    b->n_producers = 0;
    b->n_burials = 0;
    buf_reset(&b->dead);
}

// --- Answers

// A peer that is gone, or that has 20000 answers waiting, gets none: it will ask again.
static void send_scratch(struct publisher *p, uint32_t peer)
{
    if (buf_ok(&p->scratch)) {
        int status = zsocket_send(p->options.socket, peer, buf_str(&p->scratch));
        (void)status;
    }
    buf_reset(&p->scratch);
}

static void send_refused(struct publisher *p, uint32_t peer, uint64_t request, enum refusal reason,
                         const char *detail)
{
    refusal_send(p->options.socket, &p->scratch, peer, request, reason, detail);
    buf_reset(&p->scratch);
}

static void tell_published(struct publisher *p, const struct answer *a,
                           const struct queue_published *reply)
{
    struct queue_operation op = { .what = STR("publish"),
                                  .client = a->peer,
                                  .first_seq = reply->first_seq,
                                  .last_seq = reply->last_seq,
                                  .events = reply->stored };
    if (reply->stored) {
        operations_tell(p->options.operations, op);
    }
}

// Answers everything in a stored batch.
static void send_published(struct publisher *p, const struct batch *b, uint64_t first_seq)
{
    int64_t now_us = clock_mono_us();
    for (size_t i = 0; i < b->n_answers; i++) {
        struct queue_published reply = b->answers[i].reply;
        if (reply.stored) {
            reply.first_seq += first_seq - 1;
            reply.last_seq += first_seq - 1;
        }
        if (operations_are_heard(p->options.operations)) {
            tell_published(p, &b->answers[i], &reply);
        }
        int64_t took_us = now_us - b->answers[i].arrived_us;
        reply.took_us = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
        if (reply.stored || reply.duplicates) { // else it was a question
            metric_observe_us(&stats.publish_seconds, took_us);
        }
        queue_published_encode(&p->scratch, &reply);
        send_scratch(p, b->answers[i].peer);
    }
}

static void send_replies(struct publisher *p, const struct batch *b)
{
    for (size_t at = 0; at < b->replies.len;) {
        struct reply r;
        memcpy(&r, b->replies.data + at, sizeof r);
        struct str frame = { b->replies.data + at + sizeof r, r.bytes };
        int status = zsocket_send(p->options.socket, r.peer, frame);
        (void)status; // who is gone, or reads nothing, misses it
        at += sizeof r + r.bytes;
    }
}

static void end_burials(struct batch *b, int status, uint64_t first_seq)
{
    for (size_t i = 0; i < b->n_burials; i++) {
        struct burial *burial = &b->burials[i];
        burial->on_done(status, status ? 0 : first_seq + burial->place, burial->data);
    }
    b->n_burials = 0;
}

// --- A full disk

static void note_refused(struct producer *producer, uint32_t peer, uint64_t first)
{
    if (producer->refused_seq == 0 || producer->refused_peer != peer ||
        first < producer->refused_seq) {
        producer->refused_seq = first;
        producer->refused_peer = peer;
    }
}

// Whether this PUBLISH comes behind one that was refused and has to come first.
static bool must_wait(struct producer *producer, uint32_t peer, const struct queue_publish *f)
{
    if (producer->refused_seq == 0) {
        return false;
    }
    if (producer->refused_peer == peer && f->entries[0].producer_seq > producer->refused_seq) {
        return true;
    }
    producer->refused_seq = 0; // here it is; or another connection, which sends from its first on
    return false;
}

static void refuse_batch(struct publisher *p, struct batch *b, const char *detail)
{
    for (size_t i = 0; i < b->n_answers; i++) {
        const struct answer *a = &b->answers[i];
        if (a->producer && a->first) {
            note_refused(a->producer, a->peer, a->first);
        }
        send_refused(p, a->peer, a->reply.request, REFUSED_DISK_FULL, detail);
    }
    for (size_t i = 0; i < b->n_producers; i++) {
        b->producers[i]->accepted_seq = b->producers[i]->stored_seq;
    }
    end_burials(b, -ENOSPC, 0);
    reset_events(b);
}

static bool is_full(const struct publisher *p)
{
    return p->full_until_ms && clock_mono_ms() < p->full_until_ms;
}

bool publisher_is_full(const struct publisher *p)
{
    return is_full(p) || p->options.journal->no_room;
}

// --- What groups have to say

void publisher_want(struct publisher *p)
{
    p->wanted = true;
}

struct buf *publisher_control(struct publisher *p)
{
    return &p->gathered->control;
}

void publisher_reply(struct publisher *p, uint32_t peer, struct str frame)
{
    struct reply r = { peer, (uint32_t)frame.n };
    buf_append(&p->gathered->replies, &r, sizeof r);
    buf_append_str(&p->gathered->replies, frame);
}

static int add_burial(struct batch *b, struct burial burial)
{
    if (b->n_burials == b->cap_burials) {
        size_t cap = b->cap_burials ? b->cap_burials * 2 : 64;
        struct burial *more = reallocarray(b->burials, cap, sizeof *more);
        if (!more) {
            return -ENOMEM;
        }
        b->burials = more;
        b->cap_burials = cap;
    }
    b->burials[b->n_burials++] = burial;
    return 0;
}

int publisher_bury(struct publisher *p, struct str event, const struct record_dead *r,
                   void (*on_done)(int status, uint64_t seq, void *data), void *data)
{
    struct batch *b = p->gathered;
    struct str topic, key;
    if (is_full(p) || p->failed || p->stopping || publisher_is_congested(p) ||
        event_decode_route(event, &topic, &key)) {
        return -ENOSPC;
    }
    if (!catalog_add_topic(&p->options.journal->catalog, topic) ||
        add_burial(b, (struct burial){ b->count, on_done, data })) {
        return -ENOMEM;
    }
    if (b->count == 0) {
        buf_reset(&b->frame);
        frame_begin(&b->frame);
    }
    size_t before = b->frame.len;
    struct record_dead dead = *r;
    dead.dead = b->count;
    size_t dead_before = b->dead.len;
    record_event(&b->frame, event);
    record_dead(&b->dead, &dead);
    if (!buf_ok(&b->frame) || !buf_ok(&b->dead)) {
        b->frame.error = b->dead.error = 0;
        b->frame.len = before;
        b->dead.len = dead_before;
        b->n_burials--;
        return -ENOMEM;
    }
    b->count++;
    b->event_bytes += event.n;
    b->topics |= topic_bit(topic);
    p->wanted = true; // so that there is a commit
    return 0;
}

// --- Taking a PUBLISH

struct check {
    const char *identity; // of the client
    uint64_t topics;      // bits of those in the frame
    enum refusal reason;  // when it is refused
    char detail[DETAIL_SIZE];
};

__attribute__((format(printf, 3, 4))) static bool refuse(struct check *c, enum refusal reason,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(c->detail, sizeof c->detail, format,
                    args); // a cut sentence is better than none
    va_end(args);
    c->reason = reason;
    return false;
}

// Whether the log has this topic or has room for it.
static bool check_topic(struct publisher *p, struct str topic, struct check *c)
{
    struct catalog *catalog = &p->options.journal->catalog;
    if (!permissions_publish(c->identity, topic)) {
        return refuse(c, REFUSED_IDENTITY, "\"%s\" cannot publish under topic \"%.*s\"",
                      c->identity, STR_ARG(topic));
    }
    if (catalog_topic(catalog, topic) && !topic_is_own(topic)) {
        return true; // the queue's own are in the catalog, too, once something died
    }
    if (!topic_valid(topic)) {
        return refuse(c, REFUSED_INVALID_TOPIC,
                      "topic \"%.*s\" is not 1 to %d characters of a-z 0-9 _ - in words joined by "
                      "single dots",
                      STR_ARG(topic), QUEUE_MAX_TOPIC);
    }
    if (catalog->topics.n >= CATALOG_MAX_TOPICS) {
        catalog_prune_topics(
            catalog, p->options.journal->next_seq); // those of events that were refused in the end
    }
    if (catalog->topics.n >= CATALOG_MAX_TOPICS) {
        return refuse(c, REFUSED_TOO_MANY_TOPICS, "topic \"%.*s\" would be one over %d",
                      STR_ARG(topic), CATALOG_MAX_TOPICS);
    }
    return catalog_add_topic(catalog, topic) || refuse(c, REFUSED_DISK_FULL, "out of memory");
}

// Checks entry number i. last is the topic of the entry before: most often the same, and then it is known.
static bool check_entry(struct publisher *p, const struct queue_publish *f, size_t i,
                        struct str *last, struct check *c)
{
    const struct queue_entry *entry = &f->entries[i];
    struct event e;
    if (entry->event.n > QUEUE_MAX_EVENT_BYTES) {
        return refuse(c, REFUSED_EVENT_TOO_LARGE, "entry %zu has %zu bytes; at most %d are allowed",
                      i, entry->event.n, QUEUE_MAX_EVENT_BYTES);
    }
    if (event_decode(entry->event, &e)) {
        return refuse(c, REFUSED_MALFORMED,
                      "entry %zu is not an event as PROTOCOL.md 3.2 describes it", i);
    }
    if (f->producer.p && entry->producer_seq <= (i ? f->entries[i - 1].producer_seq : 0)) {
        return refuse(c, REFUSED_OUT_OF_ORDER,
                      "entry %zu has producer sequence %" PRIu64
                      ", which is not above the one before",
                      i, entry->producer_seq);
    }
    if (i > 0 && str_eq(e.topic, *last)) {
        return true;
    }
    *last = e.topic;
    c->topics |= topic_bit(e.topic);
    return check_topic(p, e.topic, c);
}

static struct producer *producer_of(struct publisher *p, struct str name, struct check *c)
{
    struct catalog *catalog = &p->options.journal->catalog;
    struct producer *producer = catalog_producer(catalog, name);
    if (!producer && catalog->producers.n >= CATALOG_MAX_PRODUCERS) {
        (void)refuse(c, REFUSED_TOO_MANY_PRODUCERS, "producer \"%.*s\" would be one over %d",
                     STR_ARG(name), CATALOG_MAX_PRODUCERS);
        return NULL;
    }
    producer = producer ? producer : catalog_add_producer(catalog, name);
    if (!producer) {
        (void)refuse(c, REFUSED_DISK_FULL, "out of memory");
    }
    return producer;
}

// Makes room for one more answer and one more producer.
static bool reserve(struct batch *b)
{
    if (b->n_answers == b->cap_answers) {
        size_t cap = b->cap_answers ? b->cap_answers * 2 : 64;
        struct answer *more = reallocarray(b->answers, cap, sizeof *more);
        if (!more) {
            return false;
        }
        b->answers = more;
        b->cap_answers = cap;
    }
    if (b->n_producers == b->cap_producers) {
        size_t cap = b->cap_producers ? b->cap_producers * 2 : 64;
        struct producer **more = reallocarray(b->producers, cap, sizeof(struct producer *));
        if (!more) {
            return false;
        }
        b->producers = more;
        b->cap_producers = cap;
    }
    return true;
}

// Adds what is new in a checked PUBLISH to the batch, all of it or nothing. False: out of memory.
static bool gather(struct batch *b, uint32_t peer, const struct queue_publish *f,
                   struct producer *producer)
{
    struct answer a = { .peer = peer,
                        .reply = { .request = f->request, .durable = true },
                        .producer = producer,
                        .first = f->n_entries ? f->entries[0].producer_seq : 0,
                        .arrived_us = clock_mono_us() };
    uint64_t highest = producer ? producer->accepted_seq : 0;
    size_t len = b->frame.len, bytes = 0;
    if (!reserve(b)) {
        return false;
    }
    if (b->count == 0) {
        buf_reset(&b->frame);
        frame_begin(&b->frame);
    }
    for (size_t i = 0; i < f->n_entries; i++) {
        const struct queue_entry *entry = &f->entries[i];
        if (producer && entry->producer_seq <= highest) {
            a.reply.duplicates++;
            continue;
        }
        a.reply.stored++;
        record_event(&b->frame, entry->event);
        bytes += entry->event.n;
    }
    if (!buf_ok(&b->frame)) {
        buf_reset(&b->frame);
        b->frame.len = b->count ? len : 0;
        return false;
    }
    if (a.reply.stored) {
        a.reply.first_seq = b->count + 1;
        a.reply.last_seq = b->count + a.reply.stored;
    }
    b->count += a.reply.stored;
    b->event_bytes += bytes;
    if (producer && a.reply.stored) {
        producer->accepted_seq = f->entries[f->n_entries - 1].producer_seq;
        if (producer->batch != b->number) {
            producer->batch = b->number;
            b->producers[b->n_producers++] = producer;
        }
    }
    a.reply.producer_seq = producer ? producer->accepted_seq : 0;
    b->answers[b->n_answers++] = a;
    metric_add(&stats.duplicates, a.reply.duplicates);
    return true;
}

static bool check_publish(struct publisher *p, uint32_t peer, const struct queue_publish *f,
                          struct producer **ret_producer, struct check *c)
{
    struct str topic;
    *ret_producer = NULL;
    if (p->stopping || p->failed) {
        return refuse(c, REFUSED_STOPPING, "the queue is being stopped");
    }
    if (!permissions_producer(c->identity, f->producer)) {
        return refuse(c, REFUSED_IDENTITY, "\"%s\" cannot publish as producer \"%.*s\"",
                      c->identity, STR_ARG(f->producer));
    }
    for (size_t i = 0; i < f->n_entries; i++) {
        if (!check_entry(p, f, i, &topic, c)) {
            return false;
        }
    }
    if (f->n_entries == 0) { // a question
        *ret_producer =
            f->producer.p ? catalog_producer(&p->options.journal->catalog, f->producer) : NULL;
        return true;
    }
    if (f->producer.p && !(*ret_producer = producer_of(p, f->producer, c))) {
        return false;
    }
    if (is_full(p)) {
        if (*ret_producer) {
            note_refused(*ret_producer, peer, f->entries[0].producer_seq);
        }
        return refuse(c, REFUSED_DISK_FULL, "there is no room on the disk");
    }
    if (*ret_producer && must_wait(*ret_producer, peer, f)) {
        return refuse(c, REFUSED_DISK_FULL,
                      "sequence %" PRIu64 " of this producer was refused and comes first",
                      (*ret_producer)->refused_seq);
    }
    return true;
}

void publisher_publish(struct publisher *p, uint32_t peer, const char *identity,
                       const struct queue_publish *f)
{
    struct check c = { .identity = identity };
    struct producer *producer;
    if (!check_publish(p, peer, f, &producer, &c)) {
        send_refused(p, peer, f->request, c.reason, c.detail);
        return;
    }
    if (!gather(p->gathered, peer, f, producer)) {
        if (producer && f->n_entries) {
            note_refused(producer, peer, f->entries[0].producer_seq);
        }
        send_refused(p, peer, f->request, REFUSED_DISK_FULL, "out of memory");
        return;
    }
    p->gathered->topics |= c.topics;
}

bool publisher_is_congested(const struct publisher *p)
{
    return p->gathered->frame.len >= PUBLISHER_BATCH_BYTES ||
           p->gathered->n_answers >= PUBLISHER_BATCH_ANSWERS;
}

// --- Committing

static void on_retry(uv_timer_t *timer)
{
    struct publisher *p = timer->data;
    p->wait_until_ms = 0;
    p->options.on_stored(p->options.data); // somebody will flush
}

// Nothing is written for a while, but all that must be is kept.
static void wait(struct publisher *p)
{
    p->wait_until_ms = clock_mono_ms() + PUBLISHER_RETRY_MS;
    (void)uv_timer_start(&p->retry, on_retry, PUBLISHER_RETRY_MS, 0); // has a callback
}

static void start(struct publisher *p, struct batch *b, struct buf *frame, enum frame_kind kind)
{
    int status = journal_append_prepare(p->options.journal, &p->append, frame, kind, b->count,
                                        clock_wall_ms());
    if (status) {
        refuse_batch(p, b, "out of memory");
        wait(p); // what groups have to say stays
        return;
    }
    p->running = b;
    p->gathered = b == &p->batches[0] ? &p->batches[1] : &p->batches[0];
    reset_events(p->gathered);
    reset_control(p->gathered);
    committer_start(p->committer, &p->append);
}

bool publisher_can_flush(const struct publisher *p)
{
    return !p->running && !p->failed && !p->wait_until_ms && (p->wanted || !is_empty(p->gathered));
}

void publisher_flush(struct publisher *p)
{
    struct batch *b = p->gathered;
    if (!publisher_can_flush(p)) {
        return;
    }
    if (p->wanted) {
        p->wanted = false;
        p->options.collect(&b->control, p->options.state);
    }
    if (b->count == 0 &&
        b->control.len == 0) { // only what needs no disk, and nothing is on its way there
        send_published(p, b, 0);
        send_replies(p, b);
        reset_events(b);
        reset_control(b);
        return;
    }
    if (b->count == 0) {
        buf_reset(&b->frame);
        frame_begin(&b->frame);
    }
    for (size_t i = 0; i < b->n_producers; i++) {
        struct record_producer r = { b->producers[i]->accepted_seq, clock_wall_ms(),
                                     b->producers[i]->key.name };
        record_producer(&b->frame, &r);
    }
    buf_append_str(&b->frame, buf_str(&b->control));
    buf_append_str(&b->frame, buf_str(&b->dead));
    if (!buf_ok(&b->control) && buf_ok(&b->frame)) {
        b->frame.error = buf_error(&b->control);
    }
    start(p, b, &b->frame, FRAME_EVENTS);
}

void publisher_roll(struct publisher *p)
{
    struct journal *j = p->options.journal;
    struct batch *b = p->gathered;
    if (p->running || p->failed || p->stopping || !is_empty(b)) {
        return; // a frame comes anyhow
    }
    if (j->roll) {
        start(p, b, NULL, FRAME_EVENTS);
    } else if (journal_owes_removed(j)) {
        buf_reset(&b->frame);
        frame_begin(&b->frame); // the journal adds what it owes
        start(p, b, &b->frame, FRAME_CHECKPOINT);
    }
}

// Everything accepted is stored: one more commit, then the end.
static void go_on_stopping(struct publisher *p)
{
    struct batch *b = p->gathered;
    if (!p->stopping || p->running || (!is_empty(b) && !p->wait_until_ms)) {
        return;
    }
    if (p->checkpointed || p->wait_until_ms || p->failed || is_full(p)) {
        p->options.on_stopped(p->options.data);
        return;
    }
    p->checkpointed = true;
    frame_begin(&b->frame);
    journal_checkpoint(p->options.journal, &b->frame);
    start(p, b, &b->frame, FRAME_CHECKPOINT);
    if (!p->running) {
        p->options.on_stopped(p->options.data);
    }
}

void publisher_stop(struct publisher *p)
{
    p->stopping = true;
    publisher_flush(p);
    go_on_stopping(p);
}

static void on_stored(struct publisher *p, struct batch *b)
{
    metric_observe_us(&stats.write_seconds, p->append.write_us);
    metric_observe_us(&stats.sync_seconds, p->append.sync_us);
    if (b->count) {
        stats_count_commit(b->count);
        metric_add(&stats.published, b->count);
        metric_add(&stats.published_bytes, (int64_t)b->event_bytes);
        log_debug("stored %u events from %" PRIu64 " on for %zu publishers: write %" PRId64
                  " us, sync %" PRId64 " us",
                  b->count, p->append.first_seq, b->n_answers, p->append.write_us,
                  p->append.sync_us);
        send_published(p, b, p->append.first_seq);
        struct block *block = block_of_frame(&b->frame, b->topics);
        if (block) { // else it is read from the file when it is wanted
            cache_push(p->options.cache, block);
        }
        end_burials(b, 0, p->append.first_seq);
    } else {
        send_published(p, b, 0);
    }
    send_replies(p, b);
    bool room =
        b->count || p->append.roll; // what groups have to say may have found room that was reserved
    reset_events(b);
    reset_control(b);
    if (p->full_until_ms && room) {
        p->full_until_ms = 0;
        p->options.on_full(false, p->options.data);
    }
}

// Nothing of this batch is on disk, and so nothing of the next one may be: it builds on it.
static void on_no_room(struct publisher *p, struct batch *b)
{
    bool before = p->full_until_ms != 0;
    p->full_until_ms = clock_mono_ms() + PUBLISHER_RETRY_MS;
    refuse_batch(p, b, "there is no room on the disk");
    refuse_batch(p, p->gathered, "there is no room on the disk");
    catalog_prune_topics(&p->options.journal->catalog, p->options.journal->next_seq);
    if (!before) {
        p->options.on_full(true, p->options.data);
    }
}

// What groups have to say goes into the next commit, in front of what they said since.
static void keep_control(struct publisher *p, struct batch *b)
{
    struct batch *next = p->gathered;
    struct buf control = b->control, replies = b->replies;
    buf_append_str(&control, buf_str(&next->control));
    buf_append_str(&replies, buf_str(&next->replies));
    b->control = next->control;
    b->replies = next->replies;
    next->control = control;
    next->replies = replies;
    reset_control(b);
}

// There was no room: for events, or not even for what had to be said without any.
static void on_refused(struct publisher *p, struct batch *b)
{
    bool events = b->count > 0;
    if (!events && b->control.len == 0) {
        reset_events(b); // only a new segment or a checkpoint was wanted; the log does without
        return;
    }
    keep_control(p, b);
    on_no_room(p, b);
    if (!events) {
        wait(p);
    }
}

static void on_written(int status, void *data)
{
    struct publisher *p = data;
    struct batch *b = p->running;
    p->running = NULL;
    status = journal_append_finish(p->options.journal, &p->append, status);
    if (status == 0) {
        on_stored(p, b);
    } else if (status == -ENOSPC) {
        on_refused(p, b);
    } else {
        p->failed = true; // what was gathered is never answered: nobody may take it for stored
        p->options.on_failed(status, p->append.failed ? p->append.failed : "taking note of a write",
                             p->options.data);
        return;
    }
    p->options.on_stored(p->options.data);
    publisher_flush(p);
    go_on_stopping(p);
}

// --- Life

int publisher_open(const struct publisher_options *options, struct publisher **ret_publisher)
{
    struct publisher *p = calloc(1, sizeof *p);
    if (!p) {
        return -ENOMEM;
    }
    p->options = *options;
    buf_init(&p->scratch, QUEUE_MAX_FRAME_BYTES);
    for (int i = 0; i < 2; i++) {
        buf_init(&p->batches[i].frame, MAX_FRAME_BYTES);
        buf_init(&p->batches[i].dead, MAX_FRAME_BYTES);
        buf_init(&p->batches[i].control, MAX_FRAME_BYTES);
        buf_init(&p->batches[i].replies, MAX_FRAME_BYTES);
        reset_events(&p->batches[i]);
    }
    p->gathered = &p->batches[0];
    int status = committer_open(options->loop, on_written, p, &p->committer);
    if (status) {
        free(p);
        return status;
    }
    (void)uv_timer_init(options->loop, &p->retry); // cannot fail
    p->retry.data = p;
    *ret_publisher = p;
    return 0;
}

static void on_retry_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void publisher_close(struct publisher **publisher)
{
    struct publisher *p = *publisher;
    *publisher = NULL;
    if (!p) {
        return;
    }
    committer_close(&p->committer);
    if (p->running) { // written or not: it was not answered
        int status = journal_append_finish(p->options.journal, &p->append, -ECANCELED);
        (void)status;
    }
    for (int i = 0; i < 2; i++) {
        struct batch *b = &p->batches[i];
        end_burials(b, -ECANCELED, 0);
        buf_fini(&b->frame);
        buf_fini(&b->dead);
        buf_fini(&b->control);
        buf_fini(&b->replies);
        free(b->answers);
        free(b->producers);
        free(b->burials);
    }
    buf_fini(&p->scratch);
    uv_close((uv_handle_t *)&p->retry, on_retry_closed);
}
