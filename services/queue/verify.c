// SPDX-License-Identifier: MIT
// Frames are read whether or not a segment has a seal: a seal says what was written, not what is there now.
#include "services/queue/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "services/queue/archive.h"
#include "services/queue/holes.h"
#include "services/queue/journal.h"

struct verification {
    FILE *out;
    struct segment_reader reader;
    struct catalog catalog;
    struct holes holes;
    uint64_t *seqs; // of the segment files
    size_t n_seqs, cap_seqs;
    size_t n_damages; // of the segment at hand
    size_t n_all_damages;
    uint64_t n_events, n_lost;
    char name[SEGMENT_NAME_SIZE];  // of the segment at hand
    char first[SEGMENT_NAME_SIZE]; // the first segment whose header can be read; "": none yet
    uint8_t uuid[16];              // of the log, by that
};

// --- The directory

static int on_name(const char *name, void *arg)
{
    struct verification *v = arg;
    uint64_t seq;
    if (!segment_name_parse(name, &seq) && !archive_name_parse(name, &seq)) {
        return 0;
    }
    if (v->n_seqs == v->cap_seqs) {
        size_t cap = v->cap_seqs ? v->cap_seqs * 2 : 64;
        uint64_t *more = reallocarray(v->seqs, cap, sizeof *more);
        if (!more) {
            return -ENOMEM;
        }
        v->seqs = more;
        v->cap_seqs = cap;
    }
    v->seqs[v->n_seqs++] = seq;
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// A segment of which there are both files is looked at once, as the log does.
static void sort(struct verification *v)
{
    size_t kept = 0;
    if (v->n_seqs) {
        qsort(v->seqs, v->n_seqs, sizeof *v->seqs, by_seq);
    }
    for (size_t i = 0; i < v->n_seqs; i++) {
        if (kept == 0 || v->seqs[i] != v->seqs[kept - 1]) {
            v->seqs[kept++] = v->seqs[i];
        }
    }
    v->n_seqs = kept;
}

// --- What is found

static void lost(struct verification *v, uint64_t first, uint64_t last)
{
    v->n_lost += last - first + 1;
    (void)fprintf(v->out, "{\"lost\":[%" PRIu64 ",%" PRIu64 "]}\n", first, last);
}

static void on_damage(const struct segment *s, const struct damage *d, void *data)
{
    struct verification *v = data;
    (void)s;
    v->n_damages++;
    (void)fprintf(v->out, "{\"damage\":\"%s\",\"offset\":%zu,\"bytes\":%zu}\n", v->name, d->offset,
                  d->bytes);
    if (d->first_seq <= d->last_seq) {
        lost(v, d->first_seq, d->last_seq);
    }
}

// Whether the seal alone says what the segment is. One that has none may be the open one.
static const char *seal_state(const struct verification *v, uint64_t seq, bool *ret_sealed)
{
    struct segment *s;
    struct catalog catalog;
    struct segment_reader quiet = v->reader;
    const char *state = "none";
    catalog_init(&catalog);
    quiet.catalog = &catalog;
    quiet.holes = NULL;
    quiet.on_damage = NULL;
    *ret_sealed = false;
    if (segment_open(&quiet, seq, &s) == 0) {
        *ret_sealed = segment_read_seal(&quiet, s) == 0;
        state = *ret_sealed ? "valid" : "none";
        segment_destroy(&s);
    }
    catalog_fini(&catalog);
    return state;
}

// Sequences between two segments that no REMOVED record explains.
static void look_at_gap(struct verification *v, uint64_t first, uint64_t next)
{
    while (first < next) {
        const struct record_removed *hole = holes_find(&v->holes, first);
        uint64_t to = first;
        if (hole) {
            first = hole->last_seq + 1;
            continue;
        }
        while (to + 1 < next && !holes_find(&v->holes, to + 1)) {
            to++;
        }
        v->n_all_damages++;
        lost(v, first, to);
        first = to + 1;
    }
}

// Whether a segment is of the same log as those before it.
static bool belongs(struct verification *v, const struct segment *s)
{
    if (s->unreadable) {
        return true; // as far as can be told
    }
    if (!*v->first) {
        memcpy(v->first, v->name, sizeof v->first);
        memcpy(v->uuid, s->header.uuid, sizeof v->uuid);
    }
    return memcmp(v->uuid, s->header.uuid, sizeof v->uuid) == 0;
}

static int verify_segment(struct verification *v, size_t i, uint64_t *ret_next_seq)
{
    struct segment *s;
    enum segment_tail tail = SEGMENT_TAIL_CLEAN;
    bool sealed, last = i + 1 == v->n_seqs;
    v->n_damages = 0;
    segment_name(v->seqs[i], v->name);
    const char *seal = seal_state(v, v->seqs[i], &sealed);
    int status = segment_open(&v->reader, v->seqs[i], &s);
    if (status) {
        (void)fprintf(v->out, "{\"segment\":\"%s\",\"error\":\"%s\"}\n", v->name,
                      status == -EBADMSG           ? "its header names another sequence"
                      : status == -EPROTONOSUPPORT ? "another version of the format"
                                                   : strerror(-status));
        return status;
    }
    if (!belongs(v, s)) {
        (void)fprintf(v->out, "{\"segment\":\"%s\",\"error\":\"it is of another log than %s\"}\n",
                      v->name, v->first);
        segment_destroy(&s);
        return -EINVAL;
    }
    status = s->unreadable ? 0 : segment_read_frames(&v->reader, s, &tail);
    bool torn = tail == SEGMENT_TAIL_BYTES && last && !s->sealed;
    bool broken = s->unreadable || status || (tail == SEGMENT_TAIL_BYTES && !torn) ||
                  (s->sealed && !sealed && !last); // a seal that only the frames lead to
    v->n_damages += broken;
    v->n_all_damages += v->n_damages;
    v->n_events += s->events;
    (void)fprintf(v->out,
                  "{\"segment\":\"%s\",\"first_seq\":%" PRIu64 ",\"next_seq\":%" PRIu64
                  ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"end\":%" PRIu64
                  ",\"seal\":\"%s\",\"unfinished_write\":%s,\"damages\":%zu}\n",
                  v->name, s->header.first_seq, s->next_seq, s->events, s->file_bytes,
                  s->sealed ? s->file_bytes : s->end,
                  sealed      ? seal
                  : s->sealed ? "damaged"
                              : "none",
                  torn ? "true" : "false", v->n_damages);
    *ret_next_seq = s->next_seq;
    segment_destroy(&s);
    return status;
}

// --- All of it

static int verify_segments(struct verification *v)
{
    uint64_t *ends = calloc(v->n_seqs ? v->n_seqs : 1, sizeof *ends);
    int status = ends ? 0 : -ENOMEM;
    for (size_t i = 0; status == 0 && i < v->n_seqs; i++) {
        status = verify_segment(v, i, &ends[i]);
    }
    for (size_t i = 0; status == 0 && i + 1 < v->n_seqs; i++) {
        look_at_gap(v, ends[i], v->seqs[i + 1]); // now that every REMOVED record was read
    }
    free(ends);
    return status;
}

static int open_dir(const char *dir)
{
    const struct io *io = io_files();
    int fd = io->open_dir(io, dir);
    if (fd < 0) {
        (void)fprintf(stderr, "sluice-queue: --verify %s: %s\n", dir, strerror(-fd));
    }
    return fd;
}

// The names of all segments. A wrong directory must not pass for a log without damage.
static int list_segments(struct verification *v, const char *dir, const char *archive)
{
    const struct io *io = v->reader.io;
    int status = io->list(io, v->reader.dir_fd, on_name, v);
    if (status) {
        return status;
    }
    if (v->n_seqs == 0) {
        (void)fprintf(stderr, "sluice-queue: --verify %s: no segment of a log is in it\n", dir);
        return -ENOENT;
    }
    size_t before = v->n_seqs;
    status = archive ? io->list(io, v->reader.archive_fd, on_name, v) : 0;
    if (archive && status == 0 && v->n_seqs == before) {
        (void)fprintf(stderr, "sluice-queue: --verify: no archived segment is in %s\n", archive);
    }
    sort(v);
    return status;
}

int verify_log(const char *dir, const char *archive, FILE *out)
{
    struct verification v = { .out = out };
    const struct io *io = io_files();
    int fd = open_dir(dir), archive_fd = fd >= 0 && archive ? open_dir(archive) : 0;
    if (fd < 0 || archive_fd < 0) {
        return VERIFY_UNREADABLE; // the process ends
    }
    catalog_init(&v.catalog);
    v.reader = (struct segment_reader){ .io = io,
                                        .dir_fd = fd,
                                        .archive_fd = archive_fd,
                                        .block_bytes = JOURNAL_BLOCK_BYTES,
                                        .catalog = &v.catalog,
                                        .holes = &v.holes,
                                        .on_damage = on_damage,
                                        .data = &v };
    int status = list_segments(&v, dir, archive);
    status = status ? status : verify_segments(&v);
    if (v.n_seqs) {
        (void)fprintf(out,
                      "{\"segments\":%zu,\"events\":%" PRIu64 ",\"lost_events\":%" PRIu64
                      ",\"damages\":%zu}\n",
                      v.n_seqs, v.n_events, v.n_lost, v.n_all_damages);
    }
    catalog_fini(&v.catalog);
    holes_fini(&v.holes);
    free(v.seqs);
    io->close(io, fd);
    if (archive_fd > 0) {
        io->close(io, archive_fd);
    }
    return status && status != -EBADMSG ? VERIFY_UNREADABLE
           : v.n_all_damages || status  ? VERIFY_DAMAGED
                                        : VERIFY_CLEAN;
}
