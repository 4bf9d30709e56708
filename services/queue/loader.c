// SPDX-License-Identifier: MIT
#include "services/queue/loader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SLOTS (LOADER_SLOTS + 1) // the last one is the background pass's
#define SCRUB LOADER_SLOTS

struct slot {
    struct loader *loader;
    uv_work_t work;
    struct block_read read;
    bool busy;
};

struct loader {
    struct loader_options options;
    struct slot slots[SLOTS];
    uv_timer_t timer;   // next step of the background pass
    uint64_t scrub_seq; // where that is
    bool verifying;     // it is under way
    bool closing, timer_closed;
};

static void free_when_done(struct loader *l)
{
    for (int i = 0; i < SLOTS; i++) {
        if (l->slots[i].busy) {
            return;
        }
    }
    if (l->timer_closed) {
        free(l);
    }
}

// --- One read

static void on_work(uv_work_t *work)
{
    struct slot *s = work->data;
    block_read(&s->read);
}

// Damage that costs no event is only told by the background pass: once a day, not with every read.
static void tell_damages(struct loader *l, const struct block_read *r, bool scrub)
{
    for (size_t i = 0; i < r->n_damages; i++) {
        const struct damage *d = &r->damages[i];
        uint64_t lost = journal_note_lost(l->options.journal, d->first_seq, d->last_seq);
        if (lost || (scrub && d->last_seq < d->first_seq)) {
            l->options.on_damage(r->ref.segment, d, lost, l->options.data);
        }
    }
}

// Whether the log still has what was to be read: retention may have removed it meanwhile.
static bool is_wanted(const struct loader *l, const struct block_read *r)
{
    struct block_ref now;
    return journal_find(l->options.journal, r->ref.first_seq, &now) && !now.removed &&
           now.segment == r->ref.segment;
}

// What cannot be read at all becomes an empty block: its sequences are lost, and readers get over it.
static void give_up(struct block_read *r)
{
    struct damage all = { r->ref.offset, r->ref.bytes, r->ref.first_seq, r->ref.next_seq - 1 };
    r->block = calloc(1, sizeof *r->block);
    if (!r->block) {
        return; // the next one who asks tries again
    }
    r->block->first_seq = r->ref.first_seq;
    r->block->next_seq = r->ref.next_seq;
    r->block->topics = UINT64_MAX;
    r->damages[0] = all;
    r->n_damages = 1;
}

static void schedule_scrub(struct loader *l);

static void on_read(uv_work_t *work, int status)
{
    struct slot *s = work->data;
    struct loader *l = s->loader;
    struct block_read *r = &s->read;
    bool scrub = s == &l->slots[SCRUB];
    s->busy = false;
    if (l->closing || status || !is_wanted(l, r)) {
        block_destroy(&r->block);
    } else if (r->status && r->status != -ENOMEM) {
        give_up(r);
    }
    if (l->closing) {
        free_when_done(l);
        return;
    }
    if (r->block) {
        tell_damages(l, r, scrub);
    }
    if (scrub) {
        block_destroy(&r->block); // was only to be verified
        l->scrub_seq = r->ref.next_seq;
        schedule_scrub(l);
        return;
    }
    if (r->block) {
        cache_add(l->options.cache, r->block);
        r->block = NULL; // is the cache's
    }
    l->options.on_loaded(l->options.data);
}

static void start(struct slot *s, const struct block_ref *ref)
{
    struct loader *l = s->loader;
    s->read = (struct block_read){ .io = l->options.journal->options.io,
                                   .dir_fd = l->options.journal->dir_fd,
                                   .archive_fd = l->options.journal->archive_fd,
                                   .ref = *ref };
    s->work.data = s;
    s->busy = true;
    (void)uv_queue_work(l->options.loop, &s->work, on_work,
                        on_read); // fails only without a callback
}

bool loader_read(struct loader *l, const struct block_ref *ref)
{
    struct slot *idle = NULL;
    for (int i = 0; i < LOADER_SLOTS; i++) {
        struct slot *s = &l->slots[i];
        if (s->busy && s->read.ref.segment == ref->segment && s->read.ref.offset == ref->offset) {
            return true;
        }
        idle = s->busy ? idle : s;
    }
    if (!idle) {
        return false;
    }
    start(idle, ref);
    return true;
}

// --- The background pass

// Reads the next block of a sealed segment. The open one is verified when it is sealed.
static void on_scrub(uv_timer_t *timer)
{
    struct loader *l = timer->data;
    const struct journal *j = l->options.journal;
    uint64_t seq = l->scrub_seq > journal_first_seq(j) ? l->scrub_seq : journal_first_seq(j);
    const struct segment *last = j->n_segments ? j->segments[j->n_segments - 1] : NULL;
    struct block_ref ref;
    if (!last || seq >= last->header.first_seq || !journal_find(j, seq, &ref)) {
        l->scrub_seq = 0;
        l->verifying = false;
        (void)uv_timer_start(&l->timer, on_scrub, LOADER_SCRUB_EVERY_MS, 0); // has a callback
        return;
    }
    if (ref.lost || ref.removed) {
        l->scrub_seq = ref.next_seq;
        schedule_scrub(l);
        return;
    }
    start(&l->slots[SCRUB], &ref);
}

static void schedule_scrub(struct loader *l)
{
    (void)uv_timer_start(&l->timer, on_scrub, LOADER_SCRUB_MS, 0); // has a callback
}

void loader_verify_all(struct loader *l)
{
    if (!l->verifying) {
        l->verifying = true;
        l->scrub_seq = 0;
        schedule_scrub(l);
    }
}

bool loader_is_verifying(const struct loader *l, uint64_t *ret_next_seq)
{
    *ret_next_seq = l->scrub_seq;
    return l->verifying;
}

// --- Life

int loader_open(const struct loader_options *options, struct loader **ret_loader)
{
    struct loader *l = calloc(1, sizeof *l);
    if (!l) {
        return -ENOMEM;
    }
    l->options = *options;
    for (int i = 0; i < SLOTS; i++) {
        l->slots[i].loader = l;
    }
    (void)uv_timer_init(options->loop, &l->timer); // cannot fail
    l->timer.data = l;
    l->verifying = true;
    schedule_scrub(l);
    *ret_loader = l;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct loader *l = handle->data;
    l->timer_closed = true;
    free_when_done(l);
}

void loader_close(struct loader **loader)
{
    struct loader *l = *loader;
    *loader = NULL;
    if (l) {
        l->closing = true;
        uv_close((uv_handle_t *)&l->timer, on_timer_closed);
    }
}
