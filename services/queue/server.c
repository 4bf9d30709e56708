// SPDX-License-Identifier: MIT
// Messages only change what is gathered and who is ready; the work is done by an idle handle at the end of a loop
// turn. So everything that arrived together is committed together, and each reader has a bounded share of a turn.
#include "services/queue/server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/admin.h"
#include "common/clock.h"
#include "common/curve.h"
#include "common/msgpack_to_json.h"
#include "common/lease.h"
#include "common/log.h"
#include "services/queue/archive.h"
#include "services/queue/dispatch.h"
#include "services/queue/stats.h"

enum state { WAITING, OPENING, SERVING, DRAINING, CLOSED, N_STATES };

static const bool moves[N_STATES][N_STATES] = {
    [WAITING] = { [OPENING] = true, [CLOSED] = true },
    [OPENING] = { [SERVING] = true, [CLOSED] = true },
    [SERVING] = { [DRAINING] = true, [CLOSED] = true },
    [DRAINING] = { [CLOSED] = true },
};

enum gauge {
    LOG_BYTES,
    LOG_EVENTS,
    LOG_SEGMENTS,
    ARCHIVE_SEGMENTS,
    ARCHIVE_BYTES,
    FIRST_SEQ,
    LAST_SEQ,
    SUBSCRIPTIONS,
    BEHIND,
    CACHE_BYTES,
    N_GAUGES
};

struct gauge_data {
    struct server *server;
    enum gauge gauge;
};

struct server {
    struct process *process;
    const struct server_config *config;
    enum state state;
    uv_loop_t *loop;
    const char *dir; // of the log
    struct lease *lease;
    struct curve *curve; // NULL: only ipc
    struct zsocket *socket;
    struct journal *journal;
    struct cache cache;
    struct clients clients;
    struct loader *loader;
    struct publisher *publisher;
    struct readers *readers;
    struct groups *groups;
    struct calls *calls;
    struct operations operations;
    struct dispatch dispatch;
    struct info info;
    uv_idle_t work;    // active while there is something to do
    uv_timer_t timer;  // retention
    uv_work_t opening; // reads the log
    int open_status;   // its result
    char open_error[JOURNAL_ERROR_SIZE];
    uv_work_t removing; // deletes files
    struct removal removal;
    int remove_status;
    bool removal_runs;
    uv_work_t archiving; // compresses a segment; never while files are deleted
    uv_timer_t archive_timer;
    struct archive_job archive_job;
    int archive_status;
    int64_t archive_started_us;
    bool archive_runs;
    struct metric gauges[N_GAUGES];
    struct gauge_data gauge_data[N_GAUGES];
};

static void move(struct server *s, enum state to)
{
    assert(moves[s->state][to]);
    s->state = to;
}

// --- Work at the end of a turn

static void on_work(uv_idle_t *handle)
{
    struct server *s = handle->data;
    publisher_flush(s->publisher);
    bool more = readers_run(s->readers);
    more = groups_run(s->groups) || more;
    operations_flush(&s->operations);
    if (!more && !publisher_can_flush(s->publisher)) {
        (void)uv_idle_stop(handle); // never fails
    }
}

static void start_work(void *data)
{
    struct server *s = data;
    (void)uv_idle_start(&s->work, on_work); // has a callback
}

// --- What the publisher and the readers tell

static void on_stored(void *data)
{
    struct server *s = data;
    readers_wake(s->readers);
    groups_wake(s->groups);
    start_work(s);
    zsocket_pause(s->socket, publisher_is_congested(s->publisher));
}

static void on_full(bool full, void *data)
{
    struct server *s = data;
    if (full) {
        log_error("no room on the disk of %s: publishing is refused, reading goes on", s->dir);
    } else {
        log_info("there is room on the disk again: publishing works");
    }
}

static void on_failed(int status, const char *step, void *data)
{
    struct server *s = data;
    process_ready(s->process, false, "the log cannot be written");
    process_fail(s->process, EXIT_FAILED, "%s: %s: %s; stopping, nothing was acknowledged", s->dir,
                 step, strerror(-status));
}

static void on_stopped(void *data)
{
    struct server *s = data;
    readers_end_all(s->readers, STR("stopping"));
    groups_end_all(s->groups, STR("stopping"));
    process_stop(s->process);
}

// A block was read, or can be.
static void on_loaded(void *data)
{
    struct server *s = data;
    readers_loaded(s->readers);
    groups_wake(s->groups);
    calls_wake(s->calls);
    start_work(s);
}

static void on_damage(uint64_t segment, const struct damage *d, uint64_t lost, void *data)
{
    (void)data;
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment, name);
    metric_add(&stats.lost, (int64_t)lost);
    if (lost) {
        log_error("%s: %zu bytes at offset %zu are damaged; events %" PRIu64 " to %" PRIu64
                  " are lost",
                  name, d->bytes, d->offset, d->first_seq, d->last_seq);
    } else {
        log_error("%s: %zu bytes at offset %zu are damaged; no event is lost", name, d->bytes,
                  d->offset);
    }
}

// --- Messages

static void on_message(struct zsocket *socket, uint32_t peer, int fd, struct str message,
                       void *data)
{
    struct server *s = data;
    (void)socket;
    dispatch_message(&s->dispatch, peer, fd, message);
}

static void on_disconnect(struct zsocket *socket, int fd, void *data)
{
    struct server *s = data;
    (void)socket;
    dispatch_disconnect(&s->dispatch, fd);
    start_work(s);
}

// --- Retention

static void on_remove_work(uv_work_t *work)
{
    struct server *s = work->data;
    s->remove_status = journal_remove(&s->removal);
}

static void on_removed(uv_work_t *work, int status)
{
    struct server *s = work->data;
    (void)status; // nobody cancels it
    s->removal_runs = false;
    if (s->remove_status) {
        log_error("%s: cannot remove old segments: %s; trying again", s->dir,
                  strerror(-s->remove_status));
    } else if (s->state == SERVING) {
        log_info("retention removed %zu segments; the first event is %" PRIu64, s->removal.n,
                 journal_first_seq(s->journal));
    }
}

static void expire(struct server *s)
{
    journal_expire(s->journal, s->config->retention, clock_aging_ms(), groups_need_from(s->groups),
                   &s->removal);
    stats_count_removal(&s->removal);
    groups_expire(s->groups, journal_first_seq(s->journal));
    if (s->removal.held_to) {
        log_warn("the log is %d times over its limit of bytes: events up to %" PRIu64
                 " are removed, which a group has not settled",
                 RETENTION_HOLD_FACTOR, s->removal.held_to);
    }
}

static void look_at_retention(struct server *s)
{
    if (s->removal_runs || s->archive_runs) {
        return;
    }
    if (s->remove_status == 0) { // one that failed is not over
        expire(s);
    }
    if (s->removal.n) {
        s->removal_runs = true;
        (void)uv_queue_work(s->loop, &s->removing, on_remove_work, on_removed); // has a callback
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (s->state == SERVING) {
        look_at_retention(s);
        if (s->journal->no_room) {
            s->journal->roll = true; // finds out whether there is room again
        }
        publisher_roll(s->publisher);
    }
}

// --- Archive

static void on_archive_timer(uv_timer_t *timer);

static void on_archive_work(uv_work_t *work)
{
    struct server *s = work->data;
    s->archive_status = archive_write(&s->archive_job);
}

static void on_archived(uv_work_t *work, int cancelled)
{
    struct server *s = work->data;
    struct archive_job *job = &s->archive_job;
    int64_t took_us = clock_mono_us() - s->archive_started_us;
    int64_t pause_ms = SERVER_ARCHIVE_SHARE * took_us / 1000;
    int status = s->archive_status;
    char name[ARCHIVE_NAME_SIZE];
    (void)cancelled; // nobody cancels it
    s->archive_runs = false;
    archive_name(job->segment, name);
    journal_archived(s->journal, job, status);
    if (status) {
        metric_add(&stats.archive_failures, 1);
        log_error("%s/%s cannot be archived: %s: %s; the segment stays as it is",
                  s->config->archive, name, job->failed, strerror(-status));
        pause_ms = SERVER_ARCHIVE_RETRY_MS;
    } else {
        metric_add(&stats.archived, 1);
        metric_observe_us(&stats.archive_seconds, took_us);
        log_info("archived %s: %" PRIu64 " bytes instead of %" PRIu64 "%s", name, job->file_bytes,
                 job->bytes,
                 job->source_remains ? "; the segment's own file could not be deleted" : "");
    }
    archive_job_fini(job);
    if (s->state == SERVING) {
        (void)uv_timer_start(&s->archive_timer, on_archive_timer, (uint64_t)pause_ms,
                             SERVER_ARCHIVE_MS); // has a callback
    }
}

static void on_archive_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (s->state != SERVING || s->removal_runs || s->archive_runs || s->remove_status ||
        journal_archive_next(s->journal, clock_wall_ms(), s->config->archive_after_ms,
                             &s->archive_job) <= 0) {
        return; // out of memory: the next look tries again
    }
    s->archive_job.level = (int)s->config->archive_level;
    s->archive_started_us = clock_mono_us();
    s->archive_runs = true;
    (void)uv_queue_work(s->loop, &s->archiving, on_archive_work, on_archived); // has a callback
}

// --- Metrics and the admin page

static int64_t sum_archive(const struct journal *j, enum gauge gauge)
{
    int64_t n = 0;
    for (size_t i = 0; i < j->n_segments; i++) {
        uint64_t bytes = j->segments[i]->archive_bytes;
        n += gauge == ARCHIVE_BYTES ? (int64_t)bytes : bytes > 0;
    }
    return n;
}

static int64_t read_gauge(void *data)
{
    const struct gauge_data *g = data;
    const struct server *s = g->server;
    if (!s->readers) {
        return 0;
    }
    switch (g->gauge) {
    case LOG_BYTES:
        return (int64_t)journal_bytes(s->journal);
    case LOG_EVENTS:
        return (int64_t)journal_events(s->journal);
    case LOG_SEGMENTS:
        return (int64_t)s->journal->n_segments;
    case ARCHIVE_SEGMENTS:
    case ARCHIVE_BYTES:
        return sum_archive(s->journal, g->gauge);
    case FIRST_SEQ:
        return (int64_t)journal_first_seq(s->journal);
    case LAST_SEQ:
        return (int64_t)(s->journal->next_seq - 1);
    case SUBSCRIPTIONS:
        return (int64_t)readers_count(s->readers);
    case BEHIND:
        return (int64_t)readers_behind_most(s->readers);
    case CACHE_BYTES:
        return (int64_t)(s->cache.tail_bytes + s->cache.cold_bytes);
    default:
        return 0;
    }
}

static void register_gauges(struct server *s)
{
    static const struct {
        const char *name, *help;
    } names[N_GAUGES] = {
        [LOG_BYTES] = { "sluice_queue_log_bytes", "Bytes of the log on disk." },
        [LOG_EVENTS] = { "sluice_queue_log_events", "Events in the log." },
        [LOG_SEGMENTS] = { "sluice_queue_log_segments", "Segment files of the log." },
        [ARCHIVE_SEGMENTS] = { "sluice_queue_archived_segments",
                               "Segments of the log that are archived." },
        [ARCHIVE_BYTES] = { "sluice_queue_archive_bytes",
                            "Bytes of the archived segments on disk." },
        [FIRST_SEQ] = { "sluice_queue_log_first_sequence",
                        "Sequence of the first event in the log." },
        [LAST_SEQ] = { "sluice_queue_log_last_sequence", "Sequence of the last event in the log." },
        [SUBSCRIPTIONS] = { "sluice_queue_subscriptions", "Subscriptions of connected clients." },
        [BEHIND] = { "sluice_queue_behind_events",
                     "Events that the slowest subscription has not got yet." },
        [CACHE_BYTES] = { "sluice_queue_cache_bytes",
                          "Memory of the blocks of the log that are kept: the newest, and those "
                          "that were read last. It grows to 64 MiB and stays." },
    };
    for (int i = 0; i < N_GAUGES; i++) {
        s->gauge_data[i] = (struct gauge_data){ s, (enum gauge)i };
        s->gauges[i] = (struct metric)METRIC_GAUGE_INIT(names[i].name, names[i].help, NULL);
        s->gauges[i].read = read_gauge;
        s->gauges[i].data = &s->gauge_data[i];
        metrics_register(&s->gauges[i]);
    }
}

static int write_page(struct str query, struct buf *body, const char **ret_media_type, void *data)
{
    struct server *s = data;
    struct buf map;
    (void)query;
    if (!s->readers) {
        buf_append_z(body, "the log is not open yet\n");
        return 503;
    }
    buf_init(&map, QUEUE_MAX_FRAME_BYTES);
    info_write(&s->info, &map);
    struct reader r = reader_of(buf_str(&map));
    int status = buf_error(&map);
    status = status ? status : msgpack_to_json(&r, body);
    buf_append_char(body, '\n');
    buf_fini(&map);
    *ret_media_type = "application/json";
    return status ? 500 : 200;
}

// --- Opening

static void on_note(enum journal_note note, const char *text, void *data)
{
    (void)data;
    log_write(note == JOURNAL_DAMAGE    ? LEVEL_ERROR
              : note == JOURNAL_WARNING ? LEVEL_WARN
                                        : LEVEL_INFO,
              NULL, "%s", text);
}

static void on_open_work(uv_work_t *work)
{
    struct server *s = work->data;
    struct journal_options options = { .dir = s->dir,
                                       .segment_bytes = (uint64_t)s->config->segment_bytes,
                                       .block_bytes = JOURNAL_BLOCK_BYTES,
                                       .archive_dir = s->config->archive,
                                       .strict = s->config->strict,
                                       .on_note = on_note,
                                       .on_state = groups_replay,
                                       .write_state = groups_write_state,
                                       .state = s->groups };
    s->open_status = journal_open(&options, &s->journal, s->open_error);
}

static int open_socket(struct server *s, const char *endpoint)
{
    static const char tcp[] = "tcp://";
    const struct zsocket_callbacks callbacks = { on_message, NULL, on_disconnect, s };
    if (strncmp(endpoint, tcp, sizeof tcp - 1) == 0) {
        int status = curve_open_for(s->process, "queue", 1, &s->curve);
        if (status) {
            return status;
        }
    }
    const struct zsocket_options options = { ZSOCKET_ROUTER, QUEUE_MAX_FRAME_BYTES, s->curve, NULL,
                                             false };
    int status = zsocket_open(s->loop, &options, &callbacks, &s->socket);
    status = status ? status : zsocket_bind(s->socket, endpoint);
    if (status) {
        process_fail(s->process, process_status_of(status), "SLUICE_QUEUE_BIND: cannot bind %s: %s",
                     endpoint, strerror(-status));
    }
    return status;
}

static int open_modules(struct server *s)
{
    const struct loader_options loader = {
        s->loop, s->journal, &s->cache, on_loaded, on_damage, s
    };
    const struct readers_options readers = { s->loop,     s->socket, s->journal, &s->cache,
                                             &s->clients, NULL,      start_work, s };
    const struct publisher_options publisher = { .loop = s->loop,
                                                 .journal = s->journal,
                                                 .cache = &s->cache,
                                                 .socket = s->socket,
                                                 .operations = &s->operations,
                                                 .on_stored = on_stored,
                                                 .on_full = on_full,
                                                 .on_failed = on_failed,
                                                 .on_stopped = on_stopped,
                                                 .data = s,
                                                 .collect = groups_collect,
                                                 .state = s->groups };
    clients_init(&s->clients, s->socket);
    operations_init(&s->operations, &s->clients, start_work, s);
    int status = loader_open(&loader, &s->loader);
    if (status == 0) {
        struct readers_options with_loader = readers;
        with_loader.loader = s->loader;
        status = readers_open(&with_loader, &s->readers);
    }
    status = status ? status : publisher_open(&publisher, &s->publisher);
    if (status == 0) {
        const struct groups_options groups = { s->loop,        s->journal,  &s->cache,
                                               s->loader,      &s->clients, s->publisher,
                                               &s->operations, start_work,  s };
        const struct calls_options calls = { s->groups,   s->journal,   s->loader,
                                             &s->clients, s->publisher, &s->operations };
        groups_open(s->groups, &groups);
        s->calls = calls_new(&calls);
        status = s->calls ? 0 : -ENOMEM;
    }
    if (status) {
        process_fail(s->process, EXIT_FAILED, "cannot start serving: %s", strerror(-status));
    }
    return status;
}

static void serve(struct server *s)
{
    char uuid[INFO_UUID_SIZE];
    const char *endpoint = s->config->bind;
    char own[1100];
    if (!endpoint) {
        const char *path = process_path(s->process, "run/queue.sock", true);
        if (!path) {
            process_fail(s->process, process_status_of(-errno),
                         "cannot listen at run/queue.sock: %s", strerror(errno));
            return;
        }
        (void)snprintf(own, sizeof own, "ipc://%s", path); // a longer path is refused by bind
        endpoint = own;
    }
    if (open_socket(s, endpoint) || open_modules(s)) {
        return;
    }
    move(s, SERVING);
    s->info = (struct info){ s->journal, &s->clients,     s->readers,
                             s->groups,  clock_wall_ms(), s->config->retention };
    s->dispatch.socket = s->socket;
    s->dispatch.clients = &s->clients;
    s->dispatch.publisher = s->publisher;
    s->dispatch.readers = s->readers;
    s->dispatch.groups = s->groups;
    s->dispatch.calls = s->calls;
    s->dispatch.operations = &s->operations;
    s->dispatch.info = &s->info;
    s->dispatch.on_ready = start_work;
    s->dispatch.data = s;
    look_at_retention(s); // before anybody reads: what is expired is not served again
    metric_add(&stats.lost, (int64_t)s->journal->n_lost_events);
    (void)uv_timer_start(&s->timer, on_timer, SERVER_RETENTION_MS,
                         SERVER_RETENTION_MS); // has a callback
    (void)uv_timer_start(&s->archive_timer, on_archive_timer, SERVER_ARCHIVE_MS,
                         SERVER_ARCHIVE_MS); // likewise
    info_uuid(s->journal->uuid, uuid);
    log_info("serving log %s at %s: %" PRIu64 " events up to %" PRIu64 " in %zu segments", uuid,
             endpoint, journal_events(s->journal), s->journal->next_seq - 1,
             s->journal->n_segments);
    process_ready(s->process, true, NULL);
}

static void on_opened(uv_work_t *work, int status)
{
    struct server *s = work->data;
    (void)status; // nobody cancels it
    if (s->state != OPENING) {
        return; // stopped meanwhile
    }
    if (s->open_status) {
        process_fail(s->process, EXIT_FAILED, "%s", s->open_error);
        return;
    }
    serve(s);
}

static void on_acquired(void *data)
{
    struct server *s = data;
    if (s->state != WAITING || process_is_draining(s->process)) {
        return;
    }
    move(s, OPENING);
    process_ready(s->process, false, "reading the log");
    (void)uv_queue_work(s->loop, &s->opening, on_open_work, on_opened); // has a callback
}

int server_open(struct process *process, const struct server_config *config,
                struct server **ret_server)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->process = process;
    s->config = config;
    s->loop = process_loop(process);
    s->opening.data = s->removing.data = s->work.data = s->timer.data = s;
    s->archiving.data = s->archive_timer.data = s;
    dispatch_init(&s->dispatch);
    (void)uv_idle_init(s->loop, &s->work); // these two cannot fail
    (void)uv_timer_init(s->loop, &s->timer);
    (void)uv_timer_init(s->loop, &s->archive_timer);
    stats_register();
    register_gauges(s);
    *ret_server = s; // from here on server_close() and server_destroy() clean up
    s->groups = groups_new();
    if (!s->groups) {
        return -ENOMEM;
    }
    s->dir = process_path(process, "queue", false);
    const char *lease = s->dir ? process_path(process, "queue/lease", true) : NULL;
    if (!lease) {
        return -errno; // of the one that failed: the second would have left its own
    }
    if (process_admin(process)) {
        int status = admin_page(process_admin(process), "/queue", write_page, s);
        if (status) {
            return status;
        }
    }
    process_ready(process, false, "standby: another process writes the log");
    return lease_open(s->loop, lease, on_acquired, s, &s->lease);
}

// --- Ending

void server_drain(struct server *s)
{
    if (s->state != SERVING) {
        process_stop(s->process);
        return;
    }
    move(s, DRAINING);
    publisher_stop(s->publisher);
}

void server_close(struct server *s)
{
    move(s, CLOSED);
    calls_destroy(&s->calls);
    publisher_close(&s->publisher); // tells groups of what was not buried
    groups_close(&s->groups);
    readers_close(&s->readers);
    loader_close(&s->loader);
    operations_fini(&s->operations);
    clients_fini(&s->clients);
    zsocket_close(&s->socket, SERVER_LINGER_MS);
    lease_leave(
        &s->lease); // the socket's file goes away after the loop: until then no other may bind it
    uv_close((uv_handle_t *)&s->work, NULL);
    uv_close((uv_handle_t *)&s->timer, NULL);
    uv_close((uv_handle_t *)&s->archive_timer, NULL);
}

void server_destroy(struct server **server)
{
    struct server *s = *server;
    *server = NULL;
    if (!s) {
        return;
    }
    for (int i = 0; i < N_GAUGES; i++) {
        metrics_unregister(&s->gauges[i]);
    }
    stats_unregister();
    cache_fini(&s->cache);
    journal_close(&s->journal);
    curve_close(&s->curve);
    dispatch_fini(&s->dispatch);
    free(s);
}
