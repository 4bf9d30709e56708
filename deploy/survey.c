// SPDX-License-Identifier: MIT
// A round: the fleet's processes that are wanted are put on a list of pages, which are asked for a
// few at a time. The next round begins when this one is over.
#include "deploy/survey.h"

#include "common/address.h"
#include "common/admin_fetch.h"

#include "common/clock.h"
#include "common/log.h"
#include "deploy/rundir.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PAGES_MAX (FLEET_SLOTS + SERVICES_MAX_PROCESSES) // gateways have two

struct page {
    struct survey *survey;
    int slot;
    bool topology;
    struct address address;
    struct admin_fetch *fetch; // NULL: it is not on its way
};

struct survey {
    struct survey_options options;
    uv_timer_t timer;
    int64_t interval_ms;
    size_t n_pages, next, on_their_way;
    struct page pages[PAGES_MAX];
    struct survey_process processes[FLEET_SLOTS];
    bool silent[FLEET_SLOTS];               // it did not answer in this round
    struct lane_reading lanes[SERVICES];    // of the last whole round
    struct lane_reading counting[SERVICES]; // of this one
    struct group_reading groups[READING_MAX_GROUPS], scratch[READING_MAX_GROUPS];
    size_t n_groups;
    int64_t last_sequence;           // of the queue's log
    bool consumes[SERVICES];         // its processes read events, as far as they were seen
    int64_t seen_sequence[SERVICES]; // while one of its processes ran
    int64_t rounds, failures;
};

// --- A page has come

static void take_metrics(struct survey *s, int slot, struct str text)
{
    struct survey_process *p = &s->processes[slot];
    struct reading r;
    reading_metrics(text, clock_wall_ms() / 1000, &r, s->scratch);
    p->has_before = p->answered; // in the round before
    if (p->has_before) {
        p->before = p->now;
        p->before_ms = p->now_ms;
    }
    p->now = r;
    p->now_ms = clock_mono_ms();
    p->answered = true;
    s->silent[slot] = false;
    int service = slot / SERVICES_MAX_PROCESSES;
    if (service == SERVICES_QUEUE && p->ready) { // one that has just begun knows no group yet
        memcpy(s->groups, s->scratch, r.n_groups * sizeof *s->groups);
        s->n_groups = r.n_groups;
        s->last_sequence = r.last_sequence;
    }
    s->consumes[service] = s->consumes[service] || r.consumes;
}

static void end_round(struct survey *s)
{
    for (int i = 0; i < FLEET_SLOTS; i++) {
        s->processes[i].answered = s->processes[i].answered && !s->silent[i];
        if (s->processes[i].answered && s->processes[i].ready) {
            int service = i / SERVICES_MAX_PROCESSES;
            s->seen_sequence[service] = s->last_sequence;
        }
    }
    memcpy(s->lanes, s->counting, sizeof s->lanes);
    log_debug("survey %" PRId64 " asked for %zu pages; %" PRId64 " went unanswered since the start",
              s->rounds, s->n_pages, s->failures);
    s->n_pages = s->next = 0;
    s->options.on_round(s->options.data);
}

static void ask_next(struct survey *s);

static void on_page(int status, struct str body, void *data)
{
    struct page *page = data;
    struct survey *s = page->survey;
    page->fetch = NULL;
    s->on_their_way--;
    if (status == 200 && page->topology) {
        status = reading_topology(body, s->counting) == 0 ? 200 : -EPROTO;
    } else if (status == 200) {
        take_metrics(s, page->slot, body);
    }
    s->failures += status != 200 && s->processes[page->slot].ready;
    ask_next(s);
}

// --- A round

static void ask_next(struct survey *s)
{
    while (s->next < s->n_pages && s->on_their_way < SURVEY_PARALLEL) {
        struct page *page = &s->pages[s->next++];
        struct admin_fetch_options options = { .loop = s->timer.loop,
                                               .to = &page->address,
                                               .path = page->topology ? "/topology" : "/metrics",
                                               .accept = "*/*",
                                               .timeout_ms = SURVEY_TIMEOUT_MS,
                                               .max_bytes = READING_BYTES,
                                               .on_done = on_page,
                                               .data = page };
        if (admin_fetch(&options, &page->fetch) == 0) {
            s->on_their_way++;
        } else {
            s->failures++;
        }
    }
    if (s->on_their_way == 0 && s->next == s->n_pages) {
        end_round(s);
    }
}

static void add_page(struct survey *s, const struct fleet_member *m, bool topology)
{
    assert(s->n_pages < PAGES_MAX);
    struct page *page = &s->pages[s->n_pages];
    *page = (struct page){ .survey = s, .slot = m->slot, .topology = topology };
    // A path that does not fit is none that the process could listen at, either.
    s->n_pages += rundir_admin_address(s->options.home, m->name, &page->address) == 0;
}

static void add_member(const struct fleet_member *m, void *data)
{
    struct survey *s = data;
    struct survey_process *p = &s->processes[m->slot];
    if (!m->wanted || !m->pid) {
        return; // on its way down, or not there
    }
    if (p->pid != m->pid) {
        *p = (struct survey_process){ .pid = m->pid };
    }
    p->ready = m->ready; // else it may not answer yet
    add_page(s, m, false);
    if (m->service == SERVICES_GATEWAY) {
        add_page(s, m, true);
    }
}

static void on_time(uv_timer_t *timer)
{
    struct survey *s = timer->data;
    if (s->on_their_way > 0) {
        return; // somebody is slow: this round takes longer
    }
    s->rounds++;
    for (int i = 0; i < FLEET_SLOTS; i++) {
        s->silent[i] = true;
    }
    memset(s->counting, 0, sizeof s->counting);
    fleet_each(s->options.fleet, add_member, s);
    ask_next(s);
}

// --- What was measured

const struct survey_process *survey_process(const struct survey *s, int slot)
{
    return s->processes[slot].pid ? &s->processes[slot] : NULL;
}

const struct group_reading *survey_groups(const struct survey *s, size_t *ret_n)
{
    *ret_n = s->n_groups;
    return s->groups;
}

static int64_t lag_of(const struct survey *s, int service)
{
    struct str name = str_of(services[service].name);
    int64_t lag = 0;
    for (size_t i = 0; i < s->n_groups; i++) {
        struct str group = str_of(s->groups[i].name);
        bool own = str_starts(group, name) && (group.n == name.n || group.p[name.n] == '.');
        lag += own ? s->groups[i].lag : 0;
    }
    return lag;
}

// What changed between two readings, of all processes of a service together.
struct change {
    uint64_t before[METRICS_N_BUCKETS + 1], after[METRICS_N_BUCKETS + 1];
    int64_t cpu_ms, elapsed_ms;
    bool active;
};

static void add_change(struct change *c, const struct survey_process *p)
{
    for (int i = 0; i <= METRICS_N_BUCKETS; i++) {
        c->before[i] += p->before.buckets[i];
        c->after[i] += p->now.buckets[i];
    }
    c->cpu_ms += p->now.cpu_ms - p->before.cpu_ms;
    c->elapsed_ms += p->now_ms - p->before_ms;
    c->active = c->active || p->now.consumer_position != p->before.consumer_position;
}

void survey_service(const struct survey *s, int service, struct scaling_input *ret_input)
{
    struct change c = { .cpu_ms = 0 };
    struct scaling_input in = { .now_ms = clock_mono_ms(),
                                .count = fleet_count(s->options.fleet, service),
                                .waiting = s->lanes[service].waiting,
                                .wait_ms = s->lanes[service].wait_ms,
                                .lag = lag_of(s, service) };
    for (int i = 0; i < SERVICES_MAX_PROCESSES; i++) {
        const struct survey_process *p = &s->processes[service * SERVICES_MAX_PROCESSES + i];
        if (!p->answered || !p->ready || i >= in.count) {
            continue; // one that is not ready takes no work
        }
        in.sampled++;
        in.in_flight += p->now.in_flight;
        in.capacity += p->now.limit;
        c.active = c.active || p->now.outbox_rows > 0;
        if (p->has_before) {
            add_change(&c, p);
        }
    }
    in.cpu = c.elapsed_ms > 0 ? 100 * c.cpu_ms / c.elapsed_ms : 0;
    in.latency_ms = reading_latency_ms(c.before, c.after);
    in.active =
        c.active || c.after[METRICS_N_BUCKETS] != c.before[METRICS_N_BUCKETS] ||
        (in.count == 0 && s->consumes[service] && s->last_sequence != s->seen_sequence[service]);
    *ret_input = in;
}

static int64_t at_least_0(int64_t n)
{
    return n > 0 ? n : 0; // series that went away make a sum smaller
}

struct survey_answers survey_answers(const struct survey *s)
{
    int64_t requests = 0, errors = 0, quick = 0;
    for (int i = 0; i < SERVICES_MAX_PROCESSES; i++) {
        const struct survey_process *p =
            &s->processes[SERVICES_GATEWAY * SERVICES_MAX_PROCESSES + i];
        if (p->answered && p->has_before) {
            requests += p->now.http_requests - p->before.http_requests;
            errors += p->now.http_errors - p->before.http_errors;
            quick += p->now.http_quick - p->before.http_quick;
        }
    }
    return (struct survey_answers){ .requests = at_least_0(requests),
                                    .errors = at_least_0(errors),
                                    .served = at_least_0(requests - errors),
                                    .slow = at_least_0(requests - errors - quick) };
}

int64_t survey_rounds(const struct survey *s)
{
    return s->rounds;
}

int64_t survey_failures(const struct survey *s)
{
    return s->failures;
}

// --- Opening and closing

int survey_open(uv_loop_t *loop, const struct survey_options *options, struct survey **ret_survey)
{
    struct survey *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->options = *options;
    (void)uv_timer_init(loop, &s->timer); // cannot fail
    s->timer.data = s;
    *ret_survey = s;
    return 0;
}

void survey_interval(struct survey *s, int64_t interval_ms)
{
    if (interval_ms != s->interval_ms) {
        s->interval_ms = interval_ms;
        uint64_t ms = (uint64_t)interval_ms;
        (void)uv_timer_start(&s->timer, on_time, ms, ms); // fails only for a closing handle
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void survey_close(struct survey **survey)
{
    struct survey *s = *survey;
    *survey = NULL;
    if (!s) {
        return;
    }
    for (size_t i = 0; i < s->n_pages; i++) {
        admin_fetch_cancel(&s->pages[i].fetch);
    }
    uv_close((uv_handle_t *)&s->timer, on_closed);
}
