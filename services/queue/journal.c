// SPDX-License-Identifier: MIT
// Looking up and damage; opening is in recover.c, appending in append.c, retention in expire.c.
#include "services/queue/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "services/queue/archive.h"

void journal_close(struct journal **j)
{
    if (!*j) {
        return;
    }
    for (size_t i = 0; i < (*j)->n_segments; i++) {
        segment_destroy(&(*j)->segments[i]);
    }
    free((*j)->segments);
    catalog_fini(&(*j)->catalog);
    holes_fini(&(*j)->holes);
    if ((*j)->fd >= 0) {
        (*j)->options.io->close((*j)->options.io, (*j)->fd); // everything acknowledged was synced
    }
    if ((*j)->archive_fd > 0) {
        (*j)->options.io->close((*j)->options.io, (*j)->archive_fd);
    }
    if ((*j)->dir_fd >= 0) {
        (*j)->options.io->close((*j)->options.io, (*j)->dir_fd);
    }
    free(*j);
    *j = NULL;
}

uint64_t journal_first_seq(const struct journal *j)
{
    return j->n_segments ? j->segments[0]->header.first_seq : j->next_seq;
}

uint64_t journal_events(const struct journal *j)
{
    uint64_t n = 0;
    for (size_t i = 0; i < j->n_segments; i++) {
        n += j->segments[i]->events - j->segments[i]->expired;
    }
    return n;
}

uint64_t journal_bytes(const struct journal *j)
{
    uint64_t n = 0;
    for (size_t i = 0; i < j->n_segments; i++) {
        n += segment_disk_bytes(j->segments[i]);
    }
    return n;
}

int64_t journal_first_ms(const struct journal *j)
{
    for (size_t i = 0; i < j->n_segments; i++) {
        if (j->segments[i]->events > j->segments[i]->expired) {
            return j->segments[i]->first_ms;
        }
    }
    return 0;
}

int64_t journal_last_ms(const struct journal *j)
{
    for (size_t i = j->n_segments; i-- > 0;) {
        if (j->segments[i]->events > j->segments[i]->expired) {
            return j->segments[i]->last_ms;
        }
    }
    return 0;
}

// --- Looking up

size_t journal_segment_of(const struct journal *j, uint64_t seq)
{
    size_t low = 0, high = j->n_segments;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (j->segments[middle]->header.first_seq <= seq) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t journal_skip(const struct journal *j, uint64_t seq)
{
    uint64_t first = journal_first_seq(j);
    if (seq < first) {
        return first;
    }
    if (j->holes.n && seq <= j->holes.ranges[j->holes.n - 1].last_seq) {
        const struct record_removed *hole = holes_find(&j->holes, seq);
        return hole ? hole->last_seq + 1 : seq;
    }
    return seq;
}

// What seq is in, which is in [from, to) where segment s has no block: damaged, or removed.
static struct block_ref gap(const struct journal *j, const struct segment *s, uint64_t seq,
                            uint64_t from, uint64_t to)
{
    const struct holes *h = &j->holes;
    size_t i = holes_at(h, seq);
    if (i < h->n && h->ranges[i].first_seq <= seq) {
        return (struct block_ref){ .segment = s->header.first_seq,
                                   .removed = true,
                                   .first_seq = h->ranges[i].first_seq,
                                   .next_seq = h->ranges[i].last_seq + 1 };
    }
    if (i < h->n && h->ranges[i].first_seq < to) {
        to = h->ranges[i].first_seq;
    }
    if (i > 0 && h->ranges[i - 1].last_seq >= from) {
        from = h->ranges[i - 1].last_seq + 1;
    }
    return (struct block_ref){
        .segment = s->header.first_seq, .lost = true, .first_seq = from, .next_seq = to
    };
}

bool journal_find(const struct journal *j, uint64_t seq, struct block_ref *ret_block)
{
    if (seq < journal_first_seq(j) || seq >= j->next_seq) {
        return false;
    }
    size_t n = journal_segment_of(j, seq);
    const struct segment *s = j->segments[n];
    if (seq >= s->next_seq || s->n_blocks == 0) {
        uint64_t end = n + 1 < j->n_segments ? j->segments[n + 1]->header.first_seq : j->next_seq;
        *ret_block = gap(j, s, seq, s->next_seq, end);
        return true;
    }
    if (seq < s->blocks[0].first_seq) {
        *ret_block = gap(j, s, seq, s->header.first_seq, s->blocks[0].first_seq);
        return true;
    }
    size_t b = segment_block_of(s, seq);
    const struct record_index *block = &s->blocks[b];
    bool last = b + 1 == s->n_blocks;
    *ret_block = (struct block_ref){
        .segment = s->header.first_seq,
        .offset = block->offset,
        .bytes = (last ? s->end : block[1].offset) - block->offset,
        .first_seq = block->first_seq,
        .next_seq = last ? s->next_seq : block[1].first_seq,
        .topics = s->expired ? block->topics & s->live : block->topics,
        .salt = s->header.salt,
    };
    return true;
}

uint64_t journal_find_time(const struct journal *j, int64_t time_ms)
{
    for (size_t i = 0; i < j->n_segments; i++) {
        const struct segment *s = j->segments[i];
        if (s->events == 0 || s->last_ms < time_ms) {
            continue;
        }
        size_t low = 0, high = s->n_blocks; // the last block that begins before the time
        while (high - low > 1) {
            size_t middle = low + (high - low) / 2;
            if (s->blocks[middle].first_ms < time_ms) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return s->blocks[low].first_seq;
    }
    return j->next_seq;
}

int64_t journal_stored_ms(const struct journal *j, uint64_t seq)
{
    struct block_ref ref;
    if (!journal_find(j, seq, &ref) || ref.lost || ref.removed) {
        return 0;
    }
    const struct segment *s = j->segments[journal_segment_of(j, seq)];
    return s->blocks[segment_block_of(s, seq)].first_ms;
}

// --- Damage

uint64_t journal_note_lost(struct journal *j, uint64_t first_seq, uint64_t last_seq)
{
    if (first_seq > last_seq) {
        return 0;
    }
    struct record_lost all = { first_seq, last_seq };
    uint64_t known = 0;
    size_t from = 0, to;
    while (from < j->n_lost && j->lost[from].last_seq + 1 < first_seq) {
        from++;
    }
    for (to = from; to < j->n_lost && j->lost[to].first_seq <= last_seq + 1;
         to++) { // touch or overlap
        const struct record_lost *old = &j->lost[to];
        uint64_t low = old->first_seq > first_seq ? old->first_seq : first_seq;
        uint64_t high = old->last_seq < last_seq ? old->last_seq : last_seq;
        known += high >= low ? high - low + 1 : 0;
        all.first_seq = old->first_seq < all.first_seq ? old->first_seq : all.first_seq;
        all.last_seq = old->last_seq > all.last_seq ? old->last_seq : all.last_seq;
    }
    if (from == to &&
        j->n_lost == JOURNAL_MAX_LOST) { // no room for one more: stretch a neighbour over it
        from = from == j->n_lost ? from - 1 : from;
        to = from + 1;
        all.first_seq = j->lost[from].first_seq < first_seq ? j->lost[from].first_seq : first_seq;
        all.last_seq = j->lost[from].last_seq > last_seq ? j->lost[from].last_seq : last_seq;
    }
    memmove(&j->lost[from + 1], &j->lost[to], (j->n_lost - to) * sizeof *j->lost);
    j->lost[from] = all;
    j->n_lost = j->n_lost + 1 - (to - from);
    uint64_t found = last_seq - first_seq + 1 - known;
    j->n_lost_events += found;
    return found;
}

void journal_forget_lost(struct journal *j, uint64_t first_seq, uint64_t last_seq)
{
    size_t kept = 0;
    for (size_t i = 0; i < j->n_lost; i++) {
        struct record_lost *r = &j->lost[i];
        if (r->first_seq >= first_seq && r->last_seq <= last_seq) {
            continue;
        }
        if (r->first_seq >= first_seq && r->first_seq <= last_seq) {
            r->first_seq = last_seq + 1;
        } else if (r->last_seq >= first_seq && r->last_seq <= last_seq) {
            r->last_seq = first_seq - 1;
        } // one that reaches over both ends stays one: it is only told of
        j->lost[kept++] = *r;
    }
    j->n_lost = kept;
}

// --- Archive

int journal_archive_next(const struct journal *j, int64_t now_ms, int64_t after_ms,
                         struct archive_job *ret_job)
{
    for (size_t i = 0; j->archive_fd > 0 && i + 1 < j->n_segments; i++) {
        const struct segment *s = j->segments[i];
        if (!s->trailed || s->unreadable || s->unarchivable || s->archive_bytes ||
            now_ms - j->segments[i + 1]->header.made_ms < after_ms) {
            continue;
        }
        *ret_job = (struct archive_job){ .io = j->options.io,
                                         .dir_fd = j->dir_fd,
                                         .archive_fd = j->archive_fd };
        int status = archive_job_init(ret_job, s);
        return status ? status : 1;
    }
    return 0;
}

void journal_archived(struct journal *j, const struct archive_job *job, int status)
{
    size_t i = j->n_segments ? journal_segment_of(j, job->segment) : 0;
    if (j->n_segments == 0 || j->segments[i]->header.first_seq != job->segment) {
        return;
    }
    if (status == 0) {
        j->segments[i]->archive_bytes = job->file_bytes;
    } else if (status != -ENOSPC && status != -EDQUOT && status != -ENOMEM) {
        j->segments[i]->unarchivable = true; // others are not kept waiting
    }
}
