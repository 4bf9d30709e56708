// SPDX-License-Identifier: MIT
// replay: a range of the log again, to a group (which gets the same events again) or to a topic (as
// copies). The range is counted first: that is asked about, and bounds what is read, as copies may
// match as well.
#include "services/tap/log.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/uuid.h"
#include "services/tap/ask.h"
#include "services/tap/confirm.h"
#include "services/tap/fields.h"
#include "services/tap/lag.h"
#include "services/tap/pace.h"
#include "services/tap/progress.h"

#define CHUNK 1000 // sequences in one call

struct replay {
    bool to_group;
    uint64_t n, last_seq; // that match
    int64_t limit;        // < 0: none
    struct batch batch;   // to a topic
    uint64_t seqs[CHUNK]; // to a group
    size_t n_seqs;
    uint64_t added, missing, pending;
    struct pace pace;
    struct progress progress;
};

static int count(struct tap *t, const struct log_entry *e, void *data)
{
    struct replay *r = data;
    (void)t;
    r->n++;
    r->last_seq = e->seq;
    return r->limit > 0 && r->n == (uint64_t)r->limit ? LOG_STOP : 0;
}

static int send_seqs(struct tap *t, struct replay *r)
{
    struct ask a;
    struct buf result;
    if (r->n_seqs == 0) {
        return TAP_OK;
    }
    buf_init(&result, TAP_RESULT_BYTES);
    ask_begin(&a);
    ask_text(&a, "group", t->options.to);
    ask_numbers(&a, "seqs", r->seqs, r->n_seqs);
    ask_flag(&a, "dry_run", t->options.dry_run);
    int status = ask_call(t, "group-replay", &a, &result);
    if (status == TAP_OK) {
        r->added += fields_uint(buf_str(&result), "added");
        r->missing += fields_uint(buf_str(&result), "missing");
        r->pending += fields_uint(buf_str(&result), "pending");
    }
    r->n_seqs = 0;
    buf_fini(&result);
    return status;
}

static int publish_copy(struct tap *t, struct replay *r, const struct log_entry *entry)
{
    struct event e;
    char id[UUID_TEXT + 1];
    int64_t now = clock_wall_ms();
    if (event_decode(entry->encoded, &e)) {
        t->damaged = true;
        return TAP_OK;
    }
    uuid_v7(now, id); // a new event: whoever knows the old one must not take it for a repetition
    e.id = str_of(id);
    e.topic = str_of(t->options.to);
    e.time_ms = now;
    return batch_add(&r->batch, 0, &e);
}

static int replay_event(struct tap *t, const struct log_entry *e, void *data)
{
    struct replay *r = data;
    bool paced = t->options.original_speed || t->options.rate;
    struct batch *batch = r->to_group ? NULL : &r->batch;
    int status = t->options.original_speed ? pace_wait_original(&r->pace, t, batch, e->stored_ms)
                                           : pace_wait(&r->pace, t, batch);
    if (status == TAP_OK && r->to_group) {
        r->seqs[r->n_seqs++] = e->seq;
        status = paced || r->n_seqs == CHUNK ? send_seqs(t, r) : TAP_OK;
    } else if (status == TAP_OK) {
        status = publish_copy(t, r, e);
    }
    r->n++;
    progress_at(&r->progress, r->n);
    return status;
}

static void report(struct tap *t, const struct replay *r)
{
    struct buf *b = &t->out;
    bool pretty = t->options.style.format == RENDER_PRETTY;
    if (r->to_group) {
        buf_printf(b,
                   pretty ? "%s: %" PRIu64 " are delivered again, %" PRIu64
                            " were pending anyway, %" PRIu64 " are not in the log any more\n"
                          : "{\"group\":\"%s\",\"added\":%" PRIu64 ",\"pending\":%" PRIu64
                            ",\"missing\":%" PRIu64 "}\n",
                   t->options.to, r->added, r->pending, r->missing);
    } else {
        buf_printf(b,
                   pretty ? "%s: %" PRIu64 " published, %" PRIu64 "..%" PRIu64 "\n"
                          : "{\"topic\":\"%s\",\"stored\":%" PRIu64 ",\"first_seq\":%" PRIu64
                            ",\"last_seq\":%" PRIu64 "}\n",
                   t->options.to, r->batch.stored, r->batch.first_seq, r->batch.last_seq);
    }
}

static int replay_all(struct tap *t, struct replay *r, const struct queue_subscribe *wanted)
{
    batch_open(&r->batch, t, NULL);
    progress_begin(&r->progress, "replayed", r->n);
    pace_begin(&r->pace, t->options.dry_run ? 0 : t->options.rate);
    r->n = 0;
    int status = log_read(t, wanted, replay_event, NULL, r);
    status = status ? status : r->to_group ? send_seqs(t, r) : batch_finish(&r->batch);
    progress_end(&r->progress);
    report(t, r); // also what was done before it failed
    batch_close(&r->batch);
    return status;
}

// Whether there is a group of that name.
static int find_group(struct tap *t, bool *ret_found)
{
    struct buf groups;
    struct str group;
    buf_init(&groups, TAP_RESULT_BYTES);
    int status = lag_ask_groups(t, NULL, &groups);
    struct fields_list l = fields_list(status ? STR("") : buf_str(&groups), "groups");
    *ret_found = false;
    while (fields_next(&l, &group)) {
        *ret_found = *ret_found || str_eq(fields_str(group, "group"), str_of(t->options.to));
    }
    buf_fini(&groups);
    return status;
}

int replay_run(struct tap *t)
{
    static struct replay r;
    struct queue_subscribe wanted;
    if (!log_wanted(&t->options, &wanted)) {
        return TAP_NOTHING;
    }
    r.limit = t->options.limit;
    int status = tap_connect(t);
    status = status ? status : find_group(t, &r.to_group);
    status = status ? status : log_read(t, &wanted, count, NULL, &r);
    if (status || r.n == 0) {
        return status ? status : TAP_NOTHING;
    }
    wanted.until_seq = r.last_seq;
    wanted.until_ms = 0;
    bool dry = t->options.dry_run && r.to_group; // the queue says what it would do
    status = dry ? -1
                 : confirm(t, "Replay %" PRIu64 " event%s to the %s %s?", r.n, r.n == 1 ? "" : "s",
                           r.to_group ? "group" : "topic", t->options.to);
    return status >= 0 ? status : replay_all(t, &r, &wanted);
}
