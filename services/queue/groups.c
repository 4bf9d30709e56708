// SPDX-License-Identifier: MIT
// What a group has told the log and what it will have told it with the next commit are kept apart in group.c; here
// is only when: groups_collect() is asked at the last moment before a commit, so one record says all that happened
// since the last one.
#include "services/queue/groups.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "proto/writer.h"
#include "services/queue/group_stats.h"
#include "services/queue/groups_impl.h"
#include "services/queue/readers.h"
#include "services/queue/refusal.h"
#include "services/queue/stats.h"

#define MAX_MAP_BYTES 8192 // of a GROUP record

struct groups *groups_new(void)
{
    struct groups *gs = calloc(1, sizeof *gs);
    if (gs) {
        buf_init(&gs->frame, QUEUE_MAX_FRAME_BYTES);
        buf_init(&gs->unwrapped, QUEUE_MAX_EVENT_BYTES + 4096);
    }
    return gs;
}

// --- Who is there

struct group *groups_first(const struct groups *gs)
{
    return gs->first;
}

size_t groups_count(const struct groups *gs)
{
    return gs->n;
}

struct group *groups_find(const struct groups *gs, struct str name)
{
    struct group *g = gs->first;
    while (g && !str_eq(str_of(g->config.name), name)) {
        g = g->next;
    }
    return g;
}

static struct group *find_number(const struct groups *gs, uint32_t number)
{
    struct group *g = gs->first;
    while (g && g->number != number) {
        g = g->next;
    }
    return g;
}

size_t groups_dead_count(const struct groups *gs)
{
    size_t n = 0;
    for (const struct group *g = gs->first; g; g = g->next) {
        n += g->n_dead;
    }
    return n;
}

static struct group *add(struct groups *gs, uint32_t number, const struct group_config *config,
                         uint64_t cursor)
{
    struct group *g = group_new(number, config, cursor);
    if (g) {
        struct group **last = &gs->first;
        while (*last) {
            last = &(*last)->next;
        }
        *last = g;
        gs->n++;
        gs->last_number = number > gs->last_number ? number : gs->last_number;
    }
    return g;
}

static void take_out(struct groups *gs, struct group *g)
{
    struct group **at = &gs->first;
    while (*at != g) {
        at = &(*at)->next;
    }
    *at = g->next;
    gs->turn = NULL;
    gs->n--;
    group_stats_destroy(&g->stats);
}

// --- While the log is read

static int replay_group(struct groups *gs, const struct record_group *r)
{
    struct group *g = find_number(gs, r->number);
    struct group_config config;
    struct group_start start;
    char error[GROUP_ERROR_SIZE];
    group_config_init(&config);
    if (group_config_read(r->map, true, &config, &start, error)) {
        return -EBADMSG;
    }
    if (g) {
        g->config = config;
        return 0;
    }
    return add(gs, r->number, &config, 0) ? 0 : -ENOMEM;
}

static int replay_revived(struct groups *gs, const struct record_revived *r)
{
    struct group *g = find_number(gs, r->number);
    struct dead *d = g ? group_find_dead(g, r->dead_seq) : NULL;
    if (d) {
        group_remove_dead(g, d);
    }
    return 0;
}

// Records of a group that is not there belong to one that was deleted, or whose definition is damaged.
int groups_replay(const struct frame *f, const struct record *r, void *groups)
{
    struct groups *gs = groups;
    struct record_group group;
    struct record_settled settled;
    struct record_failed failed;
    struct record_dead dead;
    struct record_revived revived;
    struct group *g;
    int status;
    switch (r->type) {
    case RECORD_GROUP:
        status = record_group_decode(r->body, &group);
        return status ? status : replay_group(gs, &group);
    case RECORD_GROUP_END:
        status = record_group_decode(r->body, &group);
        if (status == 0 && (g = find_number(gs, group.number))) {
            take_out(gs, g);
            group_destroy(&g);
        }
        return status;
    case RECORD_SETTLED:
        status = record_settled_decode(r->body, &settled);
        g = status ? NULL : find_number(gs, settled.number);
        return g ? group_replay_settled(g, settled) : status;
    case RECORD_FAILED:
        status = record_failed_decode(r->body, &failed);
        g = status ? NULL : find_number(gs, failed.number);
        return g ? group_replay_failed(g, &failed, clock_wall_ms(), clock_mono_us()) : status;
    case RECORD_DEAD:
        status = record_dead_decode(r->body, &dead);
        g = status ? NULL : find_number(gs, dead.number);
        return g ? group_replay_dead(g, &dead, f->kind == FRAME_EVENTS ? f->first_seq : 0) : status;
    case RECORD_REVIVED:
        status = record_revived_decode(r->body, &revived);
        return status ? status : replay_revived(gs, &revived);
    default:
        return 0;
    }
}

// --- What the log is told

static void write_definition(const struct group *g, struct buf *b)
{
    struct buf map;
    buf_init(&map, MAX_MAP_BYTES);
    writer_map(&map, GROUP_CONFIG_MEMBERS);
    group_config_write(&g->config, &map);
    struct record_group r = { g->number, buf_str(&map) };
    if (buf_ok(&map)) {
        record_group(b, &r);
    } else {
        b->error = buf_error(&map);
    }
    buf_fini(&map);
}

void groups_write_state(struct buf *b, void *groups)
{
    const struct groups *gs = groups;
    for (const struct group *g = gs->first; g; g = g->next) {
        write_definition(g, b);
        group_write_state(g, clock_wall_ms(), clock_mono_us(), b);
    }
}

void groups_collect(struct buf *b, void *groups)
{
    struct groups *gs = groups;
    for (struct group *g = gs->first; g; g = g->next) {
        if (group_changed(g)) {
            group_write_changes(g, clock_wall_ms(), clock_mono_us(), b);
        }
    }
}

void groups_changed(struct groups *gs, struct group *g)
{
    g->active = true;
    g->waits_at = 0; // what it wants may be another
    publisher_want(gs->options.publisher);
    groups_start_tick(gs);
    gs->options.on_ready(gs->options.data);
}

void groups_revived(struct groups *gs, const struct group *g, uint64_t dead_seq)
{
    struct record_revived r = { g->number, dead_seq };
    record_revived(publisher_control(gs->options.publisher), &r);
}

struct group *groups_make(struct groups *gs, const struct group_config *config, uint64_t cursor)
{
    if (gs->n >= GROUPS_MAX) {
        return NULL;
    }
    struct group *g = add(gs, gs->last_number + 1, config, cursor);
    if (g) {
        g->reset = true; // says where it begins
        g->stats = group_stats_new(g, gs->options.journal);
        write_definition(g, publisher_control(gs->options.publisher));
        groups_changed(gs, g);
    }
    return g;
}

void groups_change(struct groups *gs, struct group *g, const struct group_config *config)
{
    int64_t longest_ms = clock_mono_ms() + config->ack_wait_ms;
    g->config = *config;
    g->topics_made = UINT64_MAX;
    for (struct pending *e = pending_first(&g->pending, PENDING_DELIVERED); e;
         e = pending_after(&g->pending, e)) {
        e->when_ms = e->when_ms < longest_ms ? e->when_ms : longest_ms; // keeps the list in order
    }
    write_definition(g, publisher_control(gs->options.publisher));
    groups_changed(gs, g);
}

// --- Members

static void answer(struct groups *gs, struct client *c, struct str bytes)
{
    int status = clients_send(gs->options.clients, c, bytes);
    (void)status; // who is gone, or reads nothing, misses it
}

static void tell(struct groups *gs, const struct member *m, const char *what, uint32_t events)
{
    if (operations_are_heard(gs->options.operations)) {
        struct queue_operation op = { .what = str_of(what),
                                      .group = str_of(m->group->config.name),
                                      .client = m->client->peer,
                                      .events = events };
        operations_tell(gs->options.operations, op);
    }
}

// Takes the member off its client and frees it; it has left its group.
static void remove_member(struct member *m)
{
    struct member **at = &m->client->members;
    while (*at != m) {
        at = &(*at)->next_of_client;
    }
    *at = m->next_of_client;
    m->client->n_subscriptions--;
    free(m);
}

static void leave(struct groups *gs, struct member *m, bool lost)
{
    struct group *g = m->group;
    tell(gs, m, lost ? "lost" : "leave", m->delivered);
    if (group_leave(g, m, lost, clock_mono_us())) {
        groups_changed(gs, g);
    }
    remove_member(m);
}

static void end_member(struct groups *gs, struct member *m, struct str reason)
{
    buf_reset(&gs->frame);
    queue_word_encode(&gs->frame, QUEUE_ENDED, m->number, 0, reason, STR(""));
    if (buf_ok(&gs->frame)) {
        answer(gs, m->client, buf_str(&gs->frame));
    }
}

void groups_delete(struct groups *gs, struct group *g)
{
    record_group_end(publisher_control(gs->options.publisher), g->number);
    while (g->members) {
        struct member *m = g->members;
        end_member(gs, m, STR("no-such-group"));
        (void)group_leave(g, m, false, clock_mono_us()); // nobody gets what it had
        remove_member(m);
    }
    take_out(gs, g);
    group_destroy(&g);
}

static struct member *find_member(const struct client *c, uint64_t number)
{
    struct member *m = c ? c->members : NULL;
    while (m && m->number != number) {
        m = m->next_of_client;
    }
    return m;
}

static void refuse(struct groups *gs, uint32_t peer, uint64_t number, enum refusal reason,
                   const char *detail)
{
    refusal_send(gs->options.clients->socket, &gs->frame, peer, number, reason, detail);
}

static bool number_is_taken(const struct client *c, uint64_t number)
{
    const struct subscription *s = c ? c->subscriptions : NULL;
    while (s && s->wanted.subscription != number) {
        s = s->next_of_client;
    }
    return s != NULL;
}

// The group that this client may join, or NULL after it was refused.
static struct group *check_join(struct groups *gs, uint32_t peer, uint64_t number, struct str name)
{
    const struct client *c = clients_find(gs->options.clients, peer);
    struct group *g = groups_find(gs, name);
    char detail[128];
    if (!g) {
        (void)snprintf(detail, sizeof detail, "there is no group \"%.*s\"; group-set makes one",
                       (int)(name.n < QUEUE_MAX_GROUP ? name.n : QUEUE_MAX_GROUP), name.p);
        refuse(gs, peer, number, REFUSED_NO_SUCH_GROUP, detail);
        return NULL;
    }
    if (number_is_taken(c, number)) {
        refuse(gs, peer, number, REFUSED_MALFORMED,
               "this connection has a subscription of that number");
        return NULL;
    }
    if (c && c->n_subscriptions >= READERS_MAX_PER_CLIENT) {
        (void)snprintf(detail, sizeof detail, "at most %d for one client", READERS_MAX_PER_CLIENT);
        refuse(gs, peer, number, REFUSED_TOO_MANY_SUBSCRIPTIONS, detail);
        return NULL;
    }
    return g;
}

static void set_window(struct groups *gs, struct member *m, uint32_t window)
{
    m->window = window;
    log_debug("member %" PRIu64 " of group %s, client %u, takes up to %u events at once", m->number,
              m->group->config.name, m->client->peer, window);
    buf_reset(&gs->frame);
    queue_pair_encode(&gs->frame, QUEUE_JOINED, m->number, 0);
    if (buf_ok(&gs->frame)) {
        answer(gs, m->client, buf_str(&gs->frame));
    }
    m->group->active = true;
    gs->options.on_ready(gs->options.data);
}

void groups_join(struct groups *gs, uint32_t peer, int fd, uint64_t member, struct str group,
                 uint32_t window)
{
    struct member *m = find_member(clients_find(gs->options.clients, peer), member);
    if (m && str_eq(group, str_of(m->group->config.name))) {
        set_window(gs, m, window);
        return;
    } else if (m) {
        refuse(gs, peer, member, REFUSED_MALFORMED, "that member is in another group");
        return;
    }
    struct group *g = check_join(gs, peer, member, group);
    if (!g) {
        return;
    }
    struct client *c = clients_add(gs->options.clients, peer, fd);
    m = c ? calloc(1, sizeof *m) : NULL;
    if (!m) {
        refuse(gs, peer, member, REFUSED_TOO_MANY_SUBSCRIPTIONS, "out of memory");
        return;
    }
    *m = (struct member){ .client = c, .number = member, .next_of_client = c->members };
    c->members = m;
    c->n_subscriptions++;
    group_join(g, m);
    tell(gs, m, "join", 0);
    set_window(gs, m, window);
}

void groups_leave(struct groups *gs, uint32_t peer, uint64_t member)
{
    struct member *m = find_member(clients_find(gs->options.clients, peer), member);
    if (m) { // else it has ended meanwhile
        leave(gs, m, false);
    }
}

void groups_forget(struct groups *gs, struct client *client)
{
    while (client->members) {
        leave(gs, client->members, true);
    }
}

// --- Settling

static const char *const verdict_words[] = { "ack", "nak", "extend", "term" };

static void tell_settled(struct groups *gs, const struct member *m, const struct queue_settle *f,
                         const struct queue_range *range, uint32_t n, int64_t took_us)
{
    struct queue_operation op = { .what = str_of(verdict_words[f->verdict]),
                                  .group = str_of(m->group->config.name),
                                  .client = m->client->peer,
                                  .first_seq = range->first_seq,
                                  .last_seq = range->last_seq,
                                  .attempt = range->attempt,
                                  .events = n,
                                  .took_us = (uint64_t)took_us };
    if (n) {
        operations_tell(gs->options.operations, op);
    }
    if (n < range->events) {
        op.what = STR("stale");
        op.events = range->events - n;
        op.took_us = 0;
        operations_tell(gs->options.operations, op);
    }
}

// Settles every range of the frame; *ret_stale are those that were named in vain.
static uint32_t settle(struct groups *gs, struct member *m, const struct queue_settle *f,
                       uint32_t *ret_stale)
{
    const struct settlement s = { f->verdict,
                                  f->delay_ms < GROUP_LONGEST_MS ? (int64_t)f->delay_ms
                                                                 : GROUP_LONGEST_MS,
                                  f->error, clock_mono_us() };
    uint32_t settled = 0;
    *ret_stale = 0;
    for (size_t i = 0; i < f->n_ranges; i++) {
        int64_t took_us = 0;
        uint32_t n = group_settle(m->group, m, &s, &f->ranges[i], &took_us);
        settled += n;
        *ret_stale += f->ranges[i].events > n ? f->ranges[i].events - n : 0;
        if (n && m->group->stats) {
            group_stats_settled(m->group->stats, took_us);
        }
        if (operations_are_heard(gs->options.operations)) {
            tell_settled(gs, m, f, &f->ranges[i], n, took_us);
        }
    }
    m->group->counts.stale += *ret_stale;
    return settled;
}

void groups_settle(struct groups *gs, uint32_t peer, const struct queue_settle *f)
{
    struct member *m = find_member(clients_find(gs->options.clients, peer), f->member);
    struct queue_settled reply = { .member = f->member, .request = f->request, .durable = true };
    for (size_t i = 0; !m && i < f->n_ranges; i++) {
        reply.stale += f->ranges[i].events; // a member that is gone, or never was
    }
    if (m) {
        reply.settled = settle(gs, m, f, &reply.stale);
        groups_changed(gs, m->group);
    }
    if (f->request) {
        buf_reset(&gs->frame);
        queue_settled_encode(&gs->frame, &reply);
        publisher_reply(gs->options.publisher, peer, buf_str(&gs->frame));
    }
}

// --- Retention

uint64_t groups_need_from(const struct groups *gs)
{
    uint64_t lowest = UINT64_MAX;
    for (const struct group *g = gs->first; g; g = g->next) {
        uint64_t from = group_needs_from(g);
        lowest = from < lowest ? from : lowest;
    }
    return lowest;
}

void groups_expire(struct groups *gs, uint64_t seq)
{
    for (struct group *g = gs->first; g; g = g->next) {
        metric_add(&stats.dead_expired, (int64_t)group_expire_dead(g, seq));
    }
}

// --- Life

void groups_end_all(struct groups *gs, struct str reason)
{
    for (struct group *g = gs->first; g; g = g->next) {
        for (struct member *m = g->members; m; m = m->next) {
            end_member(gs, m, reason);
            m->window = 0;
        }
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void groups_close(struct groups **groups)
{
    struct groups *gs = *groups;
    struct group *g;
    *groups = NULL;
    if (!gs) {
        return;
    }
    while ((g = gs->first)) {
        while (g->members) {
            struct member *m = g->members;
            (void)group_leave(g, m, false, 0); // nobody gets what it had
            remove_member(m);
        }
        take_out(gs, g);
        group_destroy(&g);
    }
    buf_fini(&gs->frame);
    buf_fini(&gs->unwrapped);
    if (gs->open) {
        uv_close((uv_handle_t *)&gs->tick, on_closed);
    } else {
        free(gs);
    }
}
