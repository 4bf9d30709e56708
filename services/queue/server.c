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
#include "services/queue/info.h"
#include "services/queue/publisher.h"
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
    FIRST_SEQ,
    LAST_SEQ,
    SUBSCRIPTIONS,
    BEHIND,
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
    struct publisher *publisher;
    struct readers *readers;
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
    struct queue_publish publish; // the one at hand
    struct buf scratch;
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
    if (!readers_run(s->readers) && !publisher_can_flush(s->publisher)) {
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
    process_stop(s->process);
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

static void send_refused(struct server *s, uint32_t peer, uint64_t request, enum refusal reason,
                         const char *detail)
{
    metric_add(&stats.refused[reason], 1);
    buf_reset(&s->scratch);
    queue_word_encode(&s->scratch, QUEUE_REFUSED, request, 0, str_of(refusal_word(reason)),
                      str_of(detail));
    if (buf_ok(&s->scratch)) {
        int status = zsocket_send(s->socket, peer, buf_str(&s->scratch));
        (void)status; // who is gone, or reads nothing, misses it
    }
}

static void send_info(struct server *s, uint32_t peer, int fd, uint64_t request)
{
    struct buf map;
    buf_init(&map, QUEUE_MAX_FRAME_BYTES - 64);
    info_write(&s->info, &map);
    buf_reset(&s->scratch);
    queue_info_encode(&s->scratch, request, buf_str(&map));
    if (buf_ok(&map) && buf_ok(&s->scratch)) {
        readers_answer(s->readers, peer, fd, buf_str(&s->scratch));
    }
    buf_fini(&map);
}

static int on_publish(struct server *s, uint32_t peer, struct reader *r, uint32_t fields)
{
    if (queue_publish_decode(r, fields, &s->publish)) {
        return -EBADMSG;
    }
    publisher_publish(s->publisher, peer, &s->publish);
    zsocket_pause(s->socket, publisher_is_congested(s->publisher));
    start_work(s);
    return 0;
}

static int on_subscribe(struct server *s, uint32_t peer, int fd, struct reader *r, uint32_t fields)
{
    struct queue_subscribe f;
    if (queue_subscribe_decode(r, fields, &f)) {
        return -EBADMSG;
    }
    readers_subscribe(s->readers, peer, fd, &f);
    return 0;
}

static int on_pair(struct server *s, uint32_t peer, int fd, enum queue_frame_type type,
                   struct reader *r, uint32_t fields)
{
    uint64_t first, second;
    if (queue_pair_decode(r, fields, &first, &second)) {
        return -EBADMSG;
    }
    switch (type) {
    case QUEUE_GRANT:
        readers_grant(s->readers, peer, first, second);
        return 0;
    case QUEUE_UNSUBSCRIBE:
        readers_unsubscribe(s->readers, peer, first);
        return 0;
    case QUEUE_INFO:
        send_info(s, peer, fd, first);
        return 0;
    case QUEUE_PING:
        buf_reset(&s->scratch);
        queue_pair_encode(&s->scratch, QUEUE_PONG, first, 0);
        if (buf_ok(&s->scratch)) {
            int status = zsocket_send(s->socket, peer, buf_str(&s->scratch));
            (void)status; // who is gone needs no answer
        }
        return 0;
    case QUEUE_PONG:
        readers_pong(s->readers, peer, first);
        return 0;
    default:
        return -EBADMSG; // a frame that only the queue sends
    }
}

// The number that a frame that cannot be decoded begins with, to refuse it by; 0 when even that is missing.
static uint64_t first_number(struct str message)
{
    struct reader r = reader_of(message);
    uint32_t count;
    uint64_t type, number;
    if (reader_array(&r, &count) || reader_uint(&r, &type) || reader_uint(&r, &number)) {
        return 0;
    }
    return number;
}

static void on_message(struct zsocket *socket, uint32_t peer, int fd, struct str message,
                       void *data)
{
    struct server *s = data;
    struct reader r = reader_of(message);
    enum queue_frame_type type;
    uint32_t fields;
    (void)socket;
    if (peer == 0) {
        send_refused(s, peer, first_number(message), REFUSED_ROUTING_ID,
                     "do not set ZMQ_ROUTING_ID");
        return;
    }
    int status = queue_frame_open(&r, &type, &fields);
    if (status == 0 && type == QUEUE_PUBLISH) {
        status = on_publish(s, peer, &r, fields);
    } else if (status == 0 && type == QUEUE_SUBSCRIBE) {
        status = on_subscribe(s, peer, fd, &r, fields);
    } else if (status == 0) {
        status = on_pair(s, peer, fd, type, &r, fields);
    }
    if (status) {
        send_refused(s, peer, first_number(message), REFUSED_MALFORMED,
                     "not a frame of a queue client as PROTOCOL.md section 3 describes it");
    }
}

static void on_disconnect(struct zsocket *socket, int fd, void *data)
{
    struct server *s = data;
    (void)socket;
    readers_forget(s->readers, fd);
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
    journal_expire(s->journal, s->config->retention, clock_wall_ms(), UINT64_MAX, &s->removal);
    stats_count_removal(&s->removal);
    if (s->removal.held_to) {
        log_warn("the log is %d times over its limit of bytes: events up to %" PRIu64
                 " are removed, which a consumer has not had",
                 RETENTION_HOLD_FACTOR, s->removal.held_to);
    }
}

static void look_at_retention(struct server *s)
{
    if (s->removal_runs) {
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
        publisher_roll(s->publisher);
    }
}

// --- Metrics and the admin page

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
    case FIRST_SEQ:
        return (int64_t)journal_first_seq(s->journal);
    case LAST_SEQ:
        return (int64_t)(s->journal->next_seq - 1);
    case SUBSCRIPTIONS:
        return (int64_t)readers_count(s->readers);
    case BEHIND:
        return (int64_t)readers_behind_most(s->readers);
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
        [FIRST_SEQ] = { "sluice_queue_log_first_sequence",
                        "Sequence of the first event in the log." },
        [LAST_SEQ] = { "sluice_queue_log_last_sequence", "Sequence of the last event in the log." },
        [SUBSCRIPTIONS] = { "sluice_queue_subscriptions", "Subscriptions of connected clients." },
        [BEHIND] = { "sluice_queue_behind_events",
                     "Events that the slowest subscription has not got yet." },
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
                                       .strict = s->config->strict,
                                       .on_note = on_note };
    s->open_status = journal_open(&options, &s->journal, s->open_error);
}

static int open_socket(struct server *s, const char *endpoint)
{
    static const char tcp[] = "tcp://";
    const struct zsocket_callbacks callbacks = { on_message, NULL, on_disconnect, s };
    if (strncmp(endpoint, tcp, sizeof tcp - 1) == 0) {
        const char *keys = process_path(s->process, "secrets/curve", false);
        int status = keys ? curve_open(keys, "queue", 1, &s->curve) : -errno;
        if (status) {
            process_fail(s->process, EXIT_CONFIG,
                         "%s/secrets/curve: %s; `sluice init` makes the keys",
                         s->config->common.home, strerror(-status));
            return status;
        }
    }
    const struct zsocket_options options = { ZSOCKET_ROUTER, QUEUE_MAX_FRAME_BYTES, s->curve,
                                             NULL };
    int status = zsocket_open(s->loop, &options, &callbacks, &s->socket);
    status = status ? status : zsocket_bind(s->socket, endpoint);
    if (status) {
        process_fail(s->process, EXIT_CONFIG, "SLUICE_QUEUE_BIND: cannot bind %s: %s", endpoint,
                     strerror(-status));
    }
    return status;
}

static int open_modules(struct server *s)
{
    const struct readers_options readers = { s->loop,    s->socket, s->journal, &s->cache,
                                             start_work, on_damage, s };
    const struct publisher_options publisher = { s->loop,   s->journal, &s->cache,
                                                 s->socket, on_stored,  on_full,
                                                 on_failed, on_stopped, s };
    int status = readers_open(&readers, &s->readers);
    status = status ? status : publisher_open(&publisher, &s->publisher);
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
        (void)snprintf(own, sizeof own, "ipc://%s",
                       path ? path : ""); // a longer path is refused by bind
        endpoint = own;
    }
    if (open_socket(s, endpoint) || open_modules(s)) {
        return;
    }
    move(s, SERVING);
    s->info = (struct info){ s->journal, s->readers, clock_wall_ms(), s->config->retention };
    look_at_retention(s); // before anybody reads: what is expired is not served again
    metric_add(&stats.lost, (int64_t)s->journal->n_lost_events);
    (void)uv_timer_start(&s->timer, on_timer, SERVER_RETENTION_MS,
                         SERVER_RETENTION_MS); // has a callback
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
    buf_init(&s->scratch, QUEUE_MAX_FRAME_BYTES);
    (void)uv_idle_init(s->loop, &s->work); // these two cannot fail
    (void)uv_timer_init(s->loop, &s->timer);
    stats_register();
    register_gauges(s);
    *ret_server = s; // from here on server_close() and server_destroy() clean up
    s->dir = process_path(process, "queue", false);
    const char *lease = process_path(process, "queue/lease", true);
    if (!s->dir || !lease) {
        return -errno;
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
    publisher_close(&s->publisher);
    readers_close(&s->readers);
    zsocket_close(&s->socket, SERVER_LINGER_MS);
    lease_leave(
        &s->lease); // the socket's file goes away after the loop: until then no other may bind it
    uv_close((uv_handle_t *)&s->work, NULL);
    uv_close((uv_handle_t *)&s->timer, NULL);
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
    buf_fini(&s->scratch);
    free(s);
}
