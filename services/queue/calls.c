// SPDX-License-Identifier: MIT
#include "services/queue/calls.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "proto/writer.h"
#include "services/queue/refusal.h"

#define DEFAULT_LIMIT 100

// Arguments that methods share; group-set has its own (group_config.h).
enum argument {
    ARG_GROUP = 1 << 0,
    ARG_AFTER = 1 << 1,
    ARG_LIMIT = 1 << 2,
    ARG_TO = 1 << 3,
    ARG_VALUE = 1 << 4,
    ARG_DRY_RUN = 1 << 5,
    ARG_SEQS = 1 << 6,
    ARG_SEQ = 1 << 7,
    ARG_DEEP = 1 << 8
};

struct arguments {
    unsigned given;
    struct str group;
    uint64_t after, limit, value, seq;
    enum queue_start to;
    bool dry_run, deep;
    struct reader seqs; // n_seqs numbers
    uint32_t n_seqs;
};

struct call {
    uint32_t peer;
    int fd;
    uint64_t request;
    const struct method *method;
    char *raw; // the arguments; owned
    size_t n_raw;
    struct arguments a;
    struct group *group;                // if it has that argument; looked up each time it goes on
    uint32_t at;                        // of the seqs, those that are done
    uint64_t changed, missing, pending; // of them
    struct call *next;
};

struct calls {
    struct calls_options options;
    struct call *waiting;
    size_t n_waiting;
    struct buf result; // a map
    struct buf frame;
};

struct method {
    const char *name;
    unsigned required, allowed; // arguments
    bool durable;               // is answered when it is on disk
    bool absent;                // the group need not exist
    // Writes the result. 0; -EAGAIN: waits; -EINVAL after refuse().
    int (*run)(struct calls *cs, struct call *c, struct buf *result);
};

// --- Answers

static void send_frame(struct calls *cs, const struct call *c)
{
    if (buf_ok(&cs->frame)) {
        clients_answer(cs->options.clients, c->peer, c->fd, buf_str(&cs->frame));
    }
}

__attribute__((format(printf, 4, 5))) static int
refuse(struct calls *cs, const struct call *c, enum refusal reason, const char *format, ...)
{
    char detail[GROUP_ERROR_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof detail, format, args); // a cut sentence is better than none
    va_end(args);
    refusal_encode(&cs->frame, c->peer, c->request, reason, detail);
    send_frame(cs, c);
    return -EINVAL;
}

static void answer(struct calls *cs, const struct call *c)
{
    buf_reset(&cs->frame);
    queue_result_encode(&cs->frame, c->request, buf_str(&cs->result));
    if (!buf_ok(&cs->result) || !buf_ok(&cs->frame)) {
        (void)refuse(cs, c, REFUSED_INVALID_ARGUMENT,
                     "the answer would be over %d bytes; ask for less", QUEUE_MAX_FRAME_BYTES);
    } else if (c->method->durable && !c->a.dry_run) {
        publisher_reply(cs->options.publisher, c->peer, buf_str(&cs->frame));
        publisher_want(cs->options.publisher);
    } else {
        send_frame(cs, c);
    }
}

static void put_uint(struct buf *b, const char *key, uint64_t v)
{
    writer_key(b, key);
    writer_uint(b, v);
}

static void put_int(struct buf *b, const char *key, int64_t v)
{
    writer_key(b, key);
    writer_int(b, v);
}

static void put_bool(struct buf *b, const char *key, bool v)
{
    writer_key(b, key);
    writer_bool(b, v);
}

static void put_str(struct buf *b, const char *key, const char *v)
{
    writer_key(b, key);
    writer_str(b, str_of(v));
}

// --- Arguments

static const struct {
    const char *name;
    enum argument argument;
    const char *allowed;
} arguments[] = {
    { "group", ARG_GROUP, "the name of a group" },
    { "after", ARG_AFTER, "a sequence" },
    { "limit", ARG_LIMIT, "a number from 1 to 1000" },
    { "to", ARG_TO, "start, end, seq or time" },
    { "value", ARG_VALUE, "a number" },
    { "dry_run", ARG_DRY_RUN, "true or false" },
    { "seqs", ARG_SEQS, "an array of at most 1000 sequences" },
    { "seq", ARG_SEQ, "a sequence" },
    { "deep", ARG_DEEP, "true or false" },
};
#define N_ARGUMENTS (sizeof arguments / sizeof *arguments)

static int read_to(struct reader *r, enum queue_start *ret)
{
    static const struct {
        struct str word;
        enum queue_start to;
    } words[] = { { STR_INIT("start"), QUEUE_FROM_START },
                  { STR_INIT("end"), QUEUE_FROM_END },
                  { STR_INIT("seq"), QUEUE_FROM_SEQ },
                  { STR_INIT("time"), QUEUE_FROM_TIME } };
    struct str word;
    if (reader_str(r, &word)) {
        return -EBADMSG;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (str_eq(word, words[i].word)) {
            *ret = words[i].to;
            return 0;
        }
    }
    return -EBADMSG;
}

static int read_seqs(struct reader *r, struct arguments *a)
{
    struct reader check;
    uint64_t seq;
    if (reader_array(r, &a->n_seqs) || a->n_seqs > CALLS_MAX_SEQS) {
        return -EBADMSG;
    }
    a->seqs = check = *r;
    for (uint32_t i = 0; i < a->n_seqs; i++) {
        if (reader_uint(&check, &seq)) {
            return -EBADMSG;
        }
    }
    *r = check;
    return 0;
}

static int read_argument(struct reader *r, enum argument argument, struct arguments *a)
{
    switch (argument) {
    case ARG_GROUP:
        return reader_str(r, &a->group);
    case ARG_AFTER:
        return reader_uint(r, &a->after);
    case ARG_LIMIT:
        return reader_uint(r, &a->limit) || a->limit < 1 || a->limit > CALLS_MAX_ENTRIES;
    case ARG_TO:
        return read_to(r, &a->to);
    case ARG_VALUE:
        return reader_uint(r, &a->value);
    case ARG_DRY_RUN:
        return reader_bool(r, &a->dry_run);
    case ARG_SEQS:
        return read_seqs(r, a);
    case ARG_SEQ:
        return reader_uint(r, &a->seq);
    case ARG_DEEP:
        return reader_bool(r, &a->deep);
    }
    return -EBADMSG;
}

static int read_member(struct calls *cs, struct call *c, struct reader *r)
{
    struct str name;
    size_t i = 0;
    if (reader_str(r, &name)) {
        return refuse(cs, c, REFUSED_INVALID_ARGUMENT, "the arguments are not a map with names");
    }
    while (i < N_ARGUMENTS && !str_eq(name, str_of(arguments[i].name))) {
        i++;
    }
    if (i == N_ARGUMENTS || !(c->method->allowed & arguments[i].argument)) {
        return refuse(cs, c, REFUSED_INVALID_ARGUMENT, "\"%.*s\" is not an argument of %s",
                      (int)(name.n < 64 ? name.n : 64), name.p, c->method->name);
    }
    if (reader_nil(r) == 0) {
        return 0;
    }
    if (read_argument(r, arguments[i].argument, &c->a)) {
        return refuse(cs, c, REFUSED_INVALID_ARGUMENT, "%s: allowed is %s", arguments[i].name,
                      arguments[i].allowed);
    }
    c->a.given |= arguments[i].argument;
    return 0;
}

static int read_arguments(struct calls *cs, struct call *c)
{
    struct reader r = reader_of((struct str){ c->raw, c->n_raw });
    uint32_t members;
    int status = reader_map(&r, &members);
    c->a.limit = DEFAULT_LIMIT;
    for (uint32_t i = 0; status == 0 && i < members; i++) {
        status = read_member(cs, c, &r);
    }
    for (size_t i = 0; status == 0 && i < N_ARGUMENTS; i++) {
        if (c->method->required & ~c->a.given & arguments[i].argument) {
            return refuse(cs, c, REFUSED_INVALID_ARGUMENT, "%s: is missing; allowed is %s",
                          arguments[i].name, arguments[i].allowed);
        }
    }
    return status;
}

static int find_group(struct calls *cs, struct call *c)
{
    c->group = c->a.given & ARG_GROUP ? groups_find(cs->options.groups, c->a.group) : NULL;
    if (!c->group && (c->a.given & ARG_GROUP) && !c->method->absent) {
        return refuse(cs, c, REFUSED_NO_SUCH_GROUP, "there is no group \"%.*s\"",
                      (int)(c->a.group.n < QUEUE_MAX_GROUP ? c->a.group.n : QUEUE_MAX_GROUP),
                      c->a.group.p);
    }
    return 0;
}

// --- Groups as such

static uint64_t place(const struct calls *cs, enum queue_start from, uint64_t value)
{
    const struct journal *j = cs->options.journal;
    uint64_t first = journal_first_seq(j);
    switch (from) {
    case QUEUE_FROM_START:
        return first;
    case QUEUE_FROM_SEQ:
        value = value < j->next_seq ? value : j->next_seq;
        return value > first ? value : first;
    case QUEUE_FROM_TIME:
        return journal_find_time(j, value < INT64_MAX ? (int64_t)value : INT64_MAX);
    default:
        return j->next_seq;
    }
}

static int run_set(struct calls *cs, struct call *c, struct buf *result)
{
    struct str map = { c->raw, c->n_raw };
    struct group_config config, wanted;
    struct group_start start = { .from = QUEUE_FROM_END };
    char error[GROUP_ERROR_SIZE];
    group_config_init(&config);
    if (group_config_read(map, false, &config, &start, error)) {
        return refuse(cs, c, REFUSED_INVALID_ARGUMENT, "%s", error);
    }
    struct group *g = groups_find(cs->options.groups, str_of(config.name));
    bool created = !g, changed = created;
    if (g) {
        wanted = g->config;
        int status = group_config_read(map, false, &wanted, &start, error); // over what there is
        assert(status == 0);                                                // it was just read
        changed = !group_config_equal(&g->config, &wanted);
    }
    if (changed && g) {
        groups_change(cs->options.groups, g, &wanted);
    } else if (created) {
        config.created_ms = clock_wall_ms();
        if (groups_count(cs->options.groups) >= GROUPS_MAX) {
            return refuse(cs, c, REFUSED_TOO_MANY_GROUPS, "at most %d groups are allowed",
                          GROUPS_MAX);
        }
        if (!groups_make(cs->options.groups, &config, place(cs, start.from, start.value))) {
            return refuse(cs, c, REFUSED_TOO_MANY_GROUPS, "out of memory");
        }
    }
    writer_map(result, 3);
    put_str(result, "group", config.name);
    put_bool(result, "created", created);
    put_bool(result, "changed", changed);
    return 0;
}

static int run_delete(struct calls *cs, struct call *c, struct buf *result)
{
    writer_map(result, 1);
    put_bool(result, "deleted", c->group != NULL);
    if (c->group) {
        groups_delete(cs->options.groups, c->group);
    }
    return 0;
}

static void write_members(const struct group *g, struct buf *b)
{
    writer_key(b, "members");
    writer_array(b, (uint32_t)g->n_members);
    for (const struct member *m = g->members; m; m = m->next) {
        writer_map(b, 4);
        put_uint(b, "client", m->client->peer);
        put_uint(b, "member", m->number);
        put_uint(b, "window", m->window);
        put_uint(b, "delivered", m->delivered);
    }
}

static void write_counts(const struct group *g, struct buf *b)
{
    put_uint(b, "delivered", pending_count(&g->pending, PENDING_DELIVERED));
    put_uint(b, "ready", pending_count(&g->pending, PENDING_READY));
    put_uint(b, "blocked", pending_count(&g->pending, PENDING_BLOCKED));
    put_uint(b, "delayed", pending_count(&g->pending, PENDING_DELAYED));
    put_uint(b, "dying", pending_count(&g->pending, PENDING_DYING));
    put_uint(b, "dead", g->n_dead);
    put_uint(b, "deliveries", g->counts.deliveries);
    put_uint(b, "redeliveries", g->counts.redeliveries);
    put_uint(b, "acked", g->counts.acked);
    put_uint(b, "naked", g->counts.naked);
    put_uint(b, "timed_out", g->counts.timed_out);
    put_uint(b, "terminated", g->counts.terminated);
    put_uint(b, "stale", g->counts.stale);
    put_uint(b, "died", g->counts.died);
    put_uint(b, "skipped", g->counts.skipped);
}

static void write_group(const struct calls *cs, const struct group *g, struct buf *b)
{
    const struct journal *j = cs->options.journal;
    uint64_t floor = group_needs_from(g);
    writer_map(b, GROUP_CONFIG_MEMBERS + 20);
    group_config_write(&g->config, b);
    put_uint(b, "next_seq", g->cursor);
    put_uint(b, "floor_seq", floor);
    put_uint(b, "lag", floor < j->next_seq ? j->next_seq - floor : 0);
    put_int(b, "oldest_ms", floor < j->next_seq ? journal_stored_ms(j, floor) : 0);
    write_counts(g, b);
    write_members(g, b);
}

static int run_groups(struct calls *cs, struct call *c, struct buf *result)
{
    const struct groups *gs = cs->options.groups;
    writer_map(result, 1);
    writer_key(result, "groups");
    writer_array(result, c->group ? 1 : (uint32_t)groups_count(gs));
    for (const struct group *g = c->group ? c->group : groups_first(gs); g;
         g = c->group ? NULL : g->next) {
        write_group(cs, g, result);
    }
    return 0;
}

static int run_seek(struct calls *cs, struct call *c, struct buf *result)
{
    struct group *g = c->group;
    uint64_t to = place(cs, c->a.to, c->a.value);
    writer_map(result, 3);
    put_uint(result, "from_seq", g->cursor);
    put_uint(result, "to_seq", to);
    put_uint(result, "pending", g->pending.n);
    if (!c->a.dry_run) {
        (void)group_seek(g, to); // how many were given up is said
        groups_changed(cs->options.groups, g);
    }
    return 0;
}

static int set_paused(struct calls *cs, struct call *c, bool paused, struct buf *result)
{
    struct group_config config = c->group->config;
    bool changed = config.paused != paused;
    config.paused = paused;
    if (changed) {
        groups_change(cs->options.groups, c->group, &config);
    }
    writer_map(result, 1);
    put_bool(result, "changed", changed);
    return 0;
}

static int run_pause(struct calls *cs, struct call *c, struct buf *result)
{
    return set_paused(cs, c, true, result);
}

static int run_resume(struct calls *cs, struct call *c, struct buf *result)
{
    return set_paused(cs, c, false, result);
}

// --- What is pending

static const char *const states[PENDING_STATES] = { [PENDING_BLOCKED] = "blocked",
                                                    [PENDING_READY] = "ready",
                                                    [PENDING_DELIVERED] = "delivered",
                                                    [PENDING_DELAYED] = "delayed",
                                                    [PENDING_DYING] = "dying" };

static void write_pending(const struct pending *e, struct buf *b)
{
    int64_t now_us = clock_mono_us(), left_ms = e->when_ms - now_us / 1000;
    bool timed = e->state == PENDING_DELIVERED || e->state == PENDING_DELAYED;
    writer_map(b, 8);
    put_uint(b, "seq", e->seq);
    put_str(b, "state", states[e->state]);
    put_uint(b, "attempt", e->attempt);
    put_uint(b, "failures", e->failures);
    put_uint(b, "client", e->member ? e->member->client->peer : 0);
    put_uint(b, "age_ms", e->sent_us ? (uint64_t)(now_us - e->sent_us) / 1000 : 0);
    put_uint(b, "due_ms", timed && left_ms > 0 ? (uint64_t)left_ms : 0);
    put_str(b, "error", e->error ? e->error : "");
}

static int run_pending(struct calls *cs, struct call *c, struct buf *result)
{
    const struct pending_table *t = &c->group->pending;
    const struct pending *e;
    uint32_t n = 0;
    (void)cs;
    writer_map(result, 2);
    put_uint(result, "total", t->n);
    writer_key(result, "entries");
    size_t mark = writer_open_array(result);
    for (size_t at = c->a.after ? pending_seek(t, c->a.after + 1) : t->at;
         n < c->a.limit && (e = pending_next(t, &at)); n++) {
        write_pending(e, result);
    }
    writer_close(result, mark, n);
    return 0;
}

static const char *state_of(const struct group *g, uint64_t seq, struct str topic,
                            const struct pending *e)
{
    if (e) {
        return states[e->state];
    }
    for (size_t i = 0; i < g->n_dead; i++) {
        if (g->dead[i].origin_seq == seq || g->dead[i].seq == seq) {
            return "dead";
        }
    }
    return !group_config_wants(&g->config, topic) ? "unwanted"
           : seq >= g->cursor                     ? "waiting"
                                                  : "settled";
}

static int run_trace(struct calls *cs, struct call *c, struct buf *result)
{
    struct queue_event_entry event;
    struct str topic, key;
    int status = groups_read(cs->options.groups, c->a.seq, &event);
    if (status == -EAGAIN) {
        return status;
    }
    if (status || event_decode_route(event.event, &topic, &key)) {
        return refuse(cs, c, REFUSED_INVALID_ARGUMENT,
                      "seq: event %" PRIu64 " is not in the log; %" PRIu64 " to %" PRIu64 " are",
                      c->a.seq, journal_first_seq(cs->options.journal),
                      cs->options.journal->next_seq - 1);
    }
    writer_map(result, 1);
    writer_key(result, "groups");
    writer_array(result, (uint32_t)groups_count(cs->options.groups));
    for (const struct group *g = groups_first(cs->options.groups); g; g = g->next) {
        const struct pending *e = pending_find(&g->pending, c->a.seq);
        writer_map(result, 5);
        put_str(result, "group", g->config.name);
        put_str(result, "state", state_of(g, c->a.seq, topic, e));
        put_uint(result, "attempt", e ? e->attempt : 0);
        put_uint(result, "failures", e ? e->failures : 0);
        put_str(result, "error", e && e->error ? e->error : "");
    }
    return 0;
}

// --- Dead letters, and events again

static int run_dead(struct calls *cs, struct call *c, struct buf *result)
{
    const struct group *g = c->group;
    uint32_t n = 0;
    (void)cs;
    writer_map(result, 2);
    put_uint(result, "total", g->n_dead);
    writer_key(result, "entries");
    size_t mark = writer_open_array(result);
    for (size_t i = group_seek_dead(g, c->a.after + (c->a.after > 0));
         n < c->a.limit && i < g->n_dead; i++, n++) {
        writer_map(result, 4);
        put_uint(result, "seq", g->dead[i].seq);
        put_uint(result, "origin_seq", g->dead[i].origin_seq);
        put_int(result, "died_ms", g->dead[i].died_ms);
        put_uint(result, "attempts", g->dead[i].attempts);
    }
    writer_close(result, mark, n);
    return 0;
}

// Adds the event to what the group has pending, in the order of its key. 0 or 1 (it was pending); -EAGAIN;
// -ENOENT: it is gone; -ENOSPC.
static int add_again(struct calls *cs, struct group *g, uint64_t seq, bool dry_run)
{
    struct queue_event_entry event;
    struct str topic, key;
    int status = groups_read(cs->options.groups, seq, &event);
    status = status ? status : event_decode_route(event.event, &topic, &key) ? -ENOENT : 0;
    if (status) {
        return status;
    }
    if (pending_find(&g->pending, seq)) {
        return 1;
    }
    if (dry_run) {
        return group_has_room(g) ? 0 : -ENOSPC;
    }
    status = group_add(g, seq, g->config.order == GROUP_ORDER_KEY ? pending_key_of(key) : 0);
    if (status == 0) {
        groups_changed(cs->options.groups, g);
    }
    return status == -ENOMEM ? -ENOSPC : status;
}

// Goes through the seqs of the call, from where it was left.
static int for_each_seq(struct calls *cs, struct call *c,
                        int (*act)(struct calls *cs, struct call *c, uint64_t seq))
{
    uint64_t seq;
    while (c->at < c->a.n_seqs) {
        struct reader here = c->a.seqs;
        int status = reader_uint(&here, &seq);
        assert(status == 0); // read_seqs() looked at all
        status = act(cs, c, seq);
        if (status == -EAGAIN) {
            return status;
        }
        c->a.seqs = here;
        c->at++;
        if (status == -ENOSPC) {
            return refuse(cs, c, REFUSED_INVALID_ARGUMENT,
                          "seqs: %" PRIu64 " were taken; then the group had max_pending (%" PRIu32
                          ") events pending",
                          c->changed, c->group->config.max_pending);
        }
        c->missing += status == -ENOENT;
        c->pending += status == 1;
        c->changed += status == 0;
    }
    return 0;
}

static int replay_one(struct calls *cs, struct call *c, uint64_t seq)
{
    if (seq >= c->group->cursor && seq < cs->options.journal->next_seq) {
        return 1; // the group will come to it
    }
    return add_again(cs, c->group, seq, c->a.dry_run);
}

static int run_replay(struct calls *cs, struct call *c, struct buf *result)
{
    int status = for_each_seq(cs, c, replay_one);
    writer_map(result, 3);
    put_uint(result, "added", c->changed);
    put_uint(result, "missing", c->missing);
    put_uint(result, "pending", c->pending);
    return status;
}

static void tell(struct calls *cs, const struct call *c, const char *what, uint64_t seq)
{
    struct queue_operation op = { .what = str_of(what),
                                  .group = str_of(c->group->config.name),
                                  .client = c->peer,
                                  .first_seq = seq,
                                  .last_seq = seq,
                                  .events = 1 };
    operations_tell(cs->options.operations, op);
}

// Takes a dead letter off the list, and tells the log.
static void take_off(struct calls *cs, struct call *c, struct dead *d, const char *what)
{
    tell(cs, c, what, d->seq);
    groups_revived(cs->options.groups, c->group, d->seq);
    group_remove_dead(c->group, d);
}

static int retry_one(struct calls *cs, struct call *c, uint64_t seq)
{
    struct dead *d = group_find_dead(c->group, seq);
    int status = d ? add_again(cs, c->group, seq, c->a.dry_run) : -ENOENT;
    if (d && (status == 0 || status == 1) && !c->a.dry_run) {
        take_off(cs, c, d, "retry");
    }
    return status == 1 ? 0 : status;
}

static int drop_one(struct calls *cs, struct call *c, uint64_t seq)
{
    struct dead *d = group_find_dead(c->group, seq);
    if (!d) {
        return -ENOENT;
    }
    if (!c->a.dry_run) {
        take_off(cs, c, d, "drop");
    }
    return 0;
}

static int change_dead(struct calls *cs, struct call *c, struct buf *result,
                       int (*act)(struct calls *cs, struct call *c, uint64_t seq))
{
    int status = for_each_seq(cs, c, act);
    writer_map(result, 2);
    put_uint(result, "changed", c->changed);
    put_uint(result, "missing", c->missing);
    return status;
}

static int run_retry(struct calls *cs, struct call *c, struct buf *result)
{
    return change_dead(cs, c, result, retry_one);
}

static int run_drop(struct calls *cs, struct call *c, struct buf *result)
{
    return change_dead(cs, c, result, drop_one);
}

// --- Damage

static int run_verify(struct calls *cs, struct call *c, struct buf *result)
{
    const struct journal *j = cs->options.journal;
    if (c->a.deep) {
        loader_verify_all(cs->options.loader);
    }
    uint64_t at = 0;
    bool running = loader_is_verifying(cs->options.loader, &at);
    writer_map(result, 4);
    writer_key(result, "lost");
    writer_array(result, (uint32_t)j->n_lost);
    for (size_t i = 0; i < j->n_lost; i++) {
        writer_array(result, 2);
        writer_uint(result, j->lost[i].first_seq);
        writer_uint(result, j->lost[i].last_seq);
    }
    put_bool(result, "running", running);
    put_uint(result, "next_seq", at);
    put_uint(result, "last_seq", j->next_seq - 1);
    return 0;
}

// --- All methods

static const struct method methods[] = {
    { "group-set", 0, 0, true, false, run_set }, // reads its arguments itself
    { "group-delete", ARG_GROUP, ARG_GROUP, true, true, run_delete },
    { "groups", 0, ARG_GROUP, false, false, run_groups },
    { "pending", ARG_GROUP, ARG_GROUP | ARG_AFTER | ARG_LIMIT, false, false, run_pending },
    { "group-seek", ARG_GROUP | ARG_TO, ARG_GROUP | ARG_TO | ARG_VALUE | ARG_DRY_RUN, true, false,
      run_seek },
    { "group-pause", ARG_GROUP, ARG_GROUP, true, false, run_pause },
    { "group-resume", ARG_GROUP, ARG_GROUP, true, false, run_resume },
    { "group-replay", ARG_GROUP | ARG_SEQS, ARG_GROUP | ARG_SEQS | ARG_DRY_RUN, true, false,
      run_replay },
    { "dead", ARG_GROUP, ARG_GROUP | ARG_AFTER | ARG_LIMIT, false, false, run_dead },
    { "dead-retry", ARG_GROUP | ARG_SEQS, ARG_GROUP | ARG_SEQS | ARG_DRY_RUN, true, false,
      run_retry },
    { "dead-drop", ARG_GROUP | ARG_SEQS, ARG_GROUP | ARG_SEQS | ARG_DRY_RUN, true, false,
      run_drop },
    { "trace", ARG_SEQ, ARG_SEQ, false, false, run_trace },
    { "verify", 0, ARG_DEEP, false, false, run_verify },
};
#define N_METHODS (sizeof methods / sizeof *methods)

// --- Taking a call

static void free_call(struct call *c)
{
    free(c->raw);
    free(c);
}

// Goes on with a call. True: it is done.
static bool go_on(struct calls *cs, struct call *c)
{
    buf_reset(&cs->result);
    if (find_group(cs, c)) {
        return true;
    }
    int status = c->method->run(cs, c, &cs->result);
    if (status == 0) {
        answer(cs, c);
    }
    return status != -EAGAIN;
}

static void wait(struct calls *cs, struct call *c)
{
    if (cs->n_waiting == CALLS_MAX_WAITING) {
        (void)refuse(cs, c, REFUSED_INVALID_ARGUMENT,
                     "%d calls wait for events to be read; try again", CALLS_MAX_WAITING);
        free_call(c);
        return;
    }
    struct call **last = &cs->waiting;
    while (*last) {
        last = &(*last)->next;
    }
    *last = c;
    cs->n_waiting++;
}

static struct call *new_call(uint32_t peer, int fd, uint64_t request, struct str raw)
{
    struct call *c = calloc(1, sizeof *c);
    char *copy = malloc(raw.n ? raw.n : 1);
    if (!c || !copy) {
        free(c);
        free(copy);
        return NULL;
    }
    memcpy(copy, raw.p, raw.n);
    *c = (struct call){ .peer = peer, .fd = fd, .request = request, .raw = copy, .n_raw = raw.n };
    return c;
}

void calls_take(struct calls *cs, uint32_t peer, int fd, uint64_t request, struct str method,
                struct str raw)
{
    size_t i = 0;
    struct call *c = new_call(peer, fd, request, raw);
    if (!c) {
        return; // the client asks again
    }
    while (i < N_METHODS && !str_eq(method, str_of(methods[i].name))) {
        i++;
    }
    if (i == N_METHODS) {
        (void)refuse(cs, c, REFUSED_NO_SUCH_METHOD, "there is no method \"%.*s\"", STR_ARG(method));
        free_call(c);
        return;
    }
    c->method = &methods[i];
    bool own = c->method->run == run_set;
    if ((!own && read_arguments(cs, c)) || go_on(cs, c)) {
        free_call(c);
    } else {
        wait(cs, c);
    }
}

void calls_wake(struct calls *cs)
{
    struct call *c = cs->waiting, *next;
    cs->waiting = NULL;
    cs->n_waiting = 0;
    for (; c; c = next) {
        next = c->next;
        c->next = NULL;
        if (go_on(cs, c)) {
            free_call(c);
        } else {
            wait(cs, c);
        }
    }
}

// --- Life

struct calls *calls_new(const struct calls_options *options)
{
    struct calls *cs = calloc(1, sizeof *cs);
    if (cs) {
        cs->options = *options;
        buf_init(&cs->result, QUEUE_MAX_FRAME_BYTES - 64);
        buf_init(&cs->frame, QUEUE_MAX_FRAME_BYTES);
    }
    return cs;
}

void calls_destroy(struct calls **calls)
{
    struct calls *cs = *calls;
    *calls = NULL;
    if (cs) {
        struct call *next;
        for (struct call *c = cs->waiting; c; c = next) {
            next = c->next;
            free_call(c);
        }
        buf_fini(&cs->result);
        buf_fini(&cs->frame);
        free(cs);
    }
}
