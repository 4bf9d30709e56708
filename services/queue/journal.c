// SPDX-License-Identifier: MIT
// Looking up, damage and retention; opening is in recover.c, appending in append.c.
#include "services/queue/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

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
    if ((*j)->fd >= 0) {
        (*j)->options.io->close((*j)->options.io, (*j)->fd); // everything acknowledged was synced
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
        n += j->segments[i]->events;
    }
    return n;
}

uint64_t journal_bytes(const struct journal *j)
{
    uint64_t n = 0;
    for (size_t i = 0; i < j->n_segments; i++) {
        n += j->segments[i]->file_bytes;
    }
    return n;
}

int64_t journal_first_ms(const struct journal *j)
{
    for (size_t i = 0; i < j->n_segments; i++) {
        if (j->segments[i]->events) {
            return j->segments[i]->first_ms;
        }
    }
    return 0;
}

int64_t journal_last_ms(const struct journal *j)
{
    for (size_t i = j->n_segments; i-- > 0;) {
        if (j->segments[i]->events) {
            return j->segments[i]->last_ms;
        }
    }
    return 0;
}

// --- Looking up

// Number of the last segment that begins at or before seq. There is one.
static size_t segment_of(const struct journal *j, uint64_t seq)
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

bool journal_find(const struct journal *j, uint64_t seq, struct block_ref *ret_block)
{
    if (seq < journal_first_seq(j) || seq >= j->next_seq) {
        return false;
    }
    size_t n = segment_of(j, seq);
    const struct segment *s = j->segments[n];
    struct block_ref lost = { .segment = s->header.first_seq, .lost = true };
    if (seq >= s->next_seq || s->n_blocks == 0) {
        lost.first_seq = s->next_seq;
        lost.next_seq = n + 1 < j->n_segments ? j->segments[n + 1]->header.first_seq : j->next_seq;
        *ret_block = lost;
        return true;
    }
    if (seq < s->blocks[0].first_seq) {
        lost.first_seq = s->header.first_seq;
        lost.next_seq = s->blocks[0].first_seq;
        *ret_block = lost;
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
        .topics = block->topics,
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
    if (!journal_find(j, seq, &ref) || ref.lost) {
        return 0;
    }
    const struct segment *s = j->segments[segment_of(j, seq)];
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

static void forget_lost_before(struct journal *j, uint64_t seq)
{
    size_t gone = 0;
    while (gone < j->n_lost && j->lost[gone].last_seq < seq) {
        gone++;
    }
    j->n_lost -= gone;
    memmove(j->lost, j->lost + gone, j->n_lost * sizeof *j->lost);
    if (j->n_lost && j->lost[0].first_seq < seq) {
        j->lost[0].first_seq = seq;
    }
}

// --- Retention

// When the last event of segment number i was stored. One without a readable event counts as old as its successor.
static int64_t segment_age_from(const struct journal *j, size_t i)
{
    const struct segment *s = j->segments[i];
    return s->events ? s->last_ms : j->segments[i + 1]->header.made_ms;
}

void journal_expire(struct journal *j, int64_t now_ms, int64_t age_ms, uint64_t bytes,
                    struct removal *ret_removal)
{
    uint64_t sum = journal_bytes(j);
    size_t n = 0;
    *ret_removal = (struct removal){ .io = j->options.io, .dir_fd = j->dir_fd };
    while (n < JOURNAL_REMOVE_MAX && n + 1 < j->n_segments) {
        bool old = age_ms && now_ms - segment_age_from(j, n) > age_ms;
        if (!old && !(bytes && sum > bytes)) {
            break;
        }
        sum -= j->segments[n]->file_bytes;
        ret_removal->segments[n] = j->segments[n]->header.first_seq;
        segment_forget(j->segments[n]);
        segment_destroy(&j->segments[n]);
        n++;
    }
    ret_removal->n = n;
    if (n) {
        j->n_segments -= n;
        memmove(j->segments, j->segments + n, j->n_segments * sizeof *j->segments);
        catalog_prune_topics(&j->catalog);
        forget_lost_before(j, journal_first_seq(j));
    }
    const struct segment *last = j->n_segments ? j->segments[j->n_segments - 1] : NULL;
    if (age_ms && last && last->events && now_ms - last->first_ms > age_ms / 4) {
        j->roll = true; // so that it can be removed as a whole when its time has come
    }
}

int journal_remove(const struct removal *r)
{
    // From the oldest on, each made durable before the next: what is left has no hole, whenever the power goes.
    for (size_t i = 0; i < r->n; i++) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(r->segments[i], name);
        int status = r->io->unlink(r->io, r->dir_fd, name);
        status = status && status != -ENOENT ? status : r->io->sync_dir(r->io, r->dir_fd);
        if (status) {
            return status;
        }
    }
    return 0;
}
