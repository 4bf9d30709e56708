// SPDX-License-Identifier: MIT
// Puts the parts of the kit together: configuration, store, queue client, outbox, consumers,
// dispatcher and gateways, and takes them apart again in the reverse order.
#include "common/worker.h"

#include "common/announce.h"
#include "common/call_impl.h"
#include "common/clock.h"
#include "common/consumer.h"
#include "common/curve.h"
#include "common/dispatch.h"
#include "common/gateways.h"
#include "common/idempotency.h"
#include "common/keys.h"
#include "common/key_pairs.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/outbox.h"
#include "common/process.h"
#include "common/queue_client.h"
#include "common/store.h"
#include "common/store_metrics.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_OPTIONS 48
#define MAX_SUBSCRIPTIONS 8
#define MAX_PERIODICS 8
#define MAX_RIGHTS 16
#define STORE_NAME_BYTES 80
#define CURSOR_KEY_BYTES 32
#define EXPIRE_EVERY_MS 60000 // how often kept answers are looked through
#define LINGER_MS 500         // for the last answers of a worker that stops

struct worker_config {
    struct process_config common;
    char *gateways;
    char *queue;
    int64_t capacity;
    int64_t outbox_max_rows;
    int64_t store_check_bytes;
};

static const struct config_option kit_options[] = {
    { .name = "SLUICE_GATEWAYS",
      .kind = CONFIG_STRING,
      .offset = offsetof(struct worker_config, gateways),
      .names = CONFIG_NAMES_PEER,
      .min = 1,
      .max = 1024,
      .help = "where gateways are: ipc://PATTERN or tcp://NAME:PORT, comma-separated. "
              "Not set: ipc://$SLUICE_HOME/run/gateway/*.sock" },
    { .name = "SLUICE_QUEUE",
      .kind = CONFIG_STRING,
      .offset = offsetof(struct worker_config, queue),
      .names = CONFIG_NAMES_PEER,
      .min = 1,
      .max = 256,
      .help = "the event queue. Not set: ipc://$SLUICE_HOME/run/queue.sock" },
    { .name = "SLUICE_CAPACITY",
      .kind = CONFIG_INTEGER,
      .offset = offsetof(struct worker_config, capacity),
      .fallback = "256",
      .min = 1,
      .max = 65535,
      .help = "requests this worker works on or queues at once, over all gateways" },
    { .name = "SLUICE_OUTBOX_MAX_ROWS",
      .kind = CONFIG_INTEGER,
      .offset = offsetof(struct worker_config, outbox_max_rows),
      .fallback = "1000000",
      .min = 1,
      .max = 100000000,
      .help = "events that may wait for the queue; then writes are refused with 503 outbox-full" },
    { .name = "SLUICE_STORE_CHECK_BYTES",
      .kind = CONFIG_BYTES,
      .offset = offsetof(struct worker_config, store_check_bytes),
      .fallback = "256MiB",
      .min = 0,
      .max = INT64_MAX,
      .help = "a store up to this size is checked for damage before it is used; 0: none is" },
};

// A periodic job and its timer.
struct task {
    struct worker *worker;
    const struct periodic *periodic; // NULL: the kit's own expiry
    uv_timer_t timer;
    bool running;
};

struct worker {
    const struct service *service;
    struct process *process;
    struct worker_config *config; // the service's config follows it in the same memory
    struct store *store;
    struct queue_client *queue;
    struct outbox *outbox;
    struct consumer *consumers[MAX_SUBSCRIPTIONS];
    struct dispatch *dispatch;
    struct announcement *announcement;
    struct gateways *gateways;
    struct curve *curve;
    struct task tasks[MAX_PERIODICS + 1];
    size_t n_tasks;
    struct metric outbox_rows, outbox_age, page_hits, page_misses;
    char store_path[4096], hold_path[4096 + 8];
    bool readable, troubled, idle, released; // released: no gateway sends requests any more
};

// --- Readiness and roles

static void become_ready(struct worker *w)
{
    gateways_ready(w->gateways);
    if (!w->troubled) {
        process_ready(w->process, true, NULL);
    }
}

static void on_readable(void *data)
{
    struct worker *w = data;
    w->readable = true;
    log_debug("%s can be read; who has the lease writes to it", w->store_path);
    become_ready(w);
}

static void start_tasks(struct worker *w);

static void on_writable(void *data)
{
    struct worker *w = data;
    log_info("writing to %s", w->store_path);
    store_metrics_writer(true);
    gateways_role(w->gateways, FRAME_ROLE_WRITER);
    outbox_wake(w->outbox);
    for (size_t i = 0; i < w->service->n_subscriptions; i++) {
        consumer_wake(w->consumers[i]);
    }
    start_tasks(w);
}

static void on_committed(void *data)
{
    struct worker *w = data;
    outbox_wake(w->outbox);
}

static void on_store_failed(int error, const char *text, void *data)
{
    struct worker *w = data;
    process_fail(w->process, EXIT_FAILED, "the store %s is out of service: %s (%s)", w->store_path,
                 text, strerror(-error));
}

// Requests still come: reads are answered as far as the store can be read, and writes are told why
// not.
static void on_store_trouble(int error, const char *text, void *data)
{
    struct worker *w = data;
    bool was_ready = process_is_ready(w->process);
    char reason[512];
    (void)snprintf(reason, sizeof reason, "%.120s: %s", w->store_path, text);
    w->troubled = true;
    store_metrics_trouble(error);
    process_ready(w->process, false, reason);
    if (!was_ready) { // or else process_ready() has said it
        log_error("the store cannot be used: %s", reason);
    }
}

static void on_store_healed(void *data)
{
    struct worker *w = data;
    w->troubled = false;
    store_metrics_trouble(0);
    log_info("%s can be used", w->store_path);
    if (w->readable) {
        become_ready(w);
    }
}

static int on_store_writer(struct db *db, void *data)
{
    const struct worker *w = data;
    int rc = outbox_prepare(db);
    return rc || !w->service->on_writer ? rc : w->service->on_writer(db, clock_wall_ms());
}

// --- Events in

static int reset_store(struct db *db, void *job)
{
    const struct worker *w = job;
    int rc = db_script(db, w->service->reset);
    rc = rc ? rc : db_run(db, "DELETE FROM sluice_cursor", "");
    return rc < 0 ? rc : 0;
}

static void on_reset(int status, int64_t store_us, void *job)
{
    struct worker *w = job;
    (void)store_us;
    if (status < 0) {
        process_fail(w->process, EXIT_FAILED, "%s cannot be emptied: %s", w->store_path,
                     strerror(-status));
        return;
    }
    for (size_t i = 0; i < w->service->n_subscriptions; i++) {
        consumer_wake(w->consumers[i]);
    }
}

static void on_other_log(void *data)
{
    struct worker *w = data;
    log_warn("the queue has another log than the one %s was built from, building it anew",
             w->store_path);
    int rc = store_submit(w->store, reset_store, on_reset, w);
    if (rc) {
        process_fail(w->process, EXIT_FAILED, "%s cannot be emptied: %s", w->store_path,
                     strerror(-rc));
    }
}

static void on_queue_up(struct queue_client *queue, void *data)
{
    struct worker *w = data;
    (void)queue;
    log_info("connected to the queue");
    if (w->outbox) {
        outbox_wake(w->outbox);
    }
    for (size_t i = 0; i < w->service->n_subscriptions && w->consumers[i]; i++) {
        consumer_wake(w->consumers[i]);
    }
}

static void on_queue_down(struct queue_client *queue, void *data)
{
    (void)queue, (void)data;
    log_warn("the queue is away: events wait in the outbox");
}

// --- Periodic work

static int run_task(struct db *db, void *job)
{
    const struct task *t = job;
    return t->periodic ? t->periodic->run(db, clock_wall_ms(), NULL)
                       : idempotency_expire(db, clock_wall_ms());
}

static void on_task_done(int status, int64_t store_us, void *job)
{
    struct task *t = job;
    t->running = false;
    log_debug("periodic job %s took %" PRId64 " us in the store",
              t->periodic ? t->periodic->name : "idempotency", store_us);
    if (status < 0) {
        log_error("periodic job %s failed: %s", t->periodic ? t->periodic->name : "idempotency",
                  strerror(-status));
    }
}

static void on_task_timer(uv_timer_t *handle)
{
    struct task *t = handle->data;
    if (!t->running) {
        t->running = store_submit(t->worker->store, run_task, on_task_done, t) == 0;
    }
}

static void start_tasks(struct worker *w)
{
    for (size_t i = 0; i < w->n_tasks; i++) {
        struct task *t = &w->tasks[i];
        uint64_t every = t->periodic ? (uint64_t)t->periodic->every_ms : EXPIRE_EVERY_MS;
        (void)uv_timer_start(&t->timer, on_task_timer, every,
                             every); // fails only without a callback
    }
}

static void init_tasks(struct worker *w)
{
    assert(w->service->n_periodics <= MAX_PERIODICS);
    for (size_t i = 0; i <= w->service->n_periodics; i++) {
        struct task *t = &w->tasks[w->n_tasks++];
        t->worker = w;
        t->periodic = i < w->service->n_periodics ? &w->service->periodics[i] : NULL;
        (void)uv_timer_init(process_loop(w->process), &t->timer); // cannot fail
        t->timer.data = t;
    }
}

// --- Requests

static int on_request(struct gateway_link *link, struct str frame, void *data)
{
    struct worker *w = data;
    return dispatch_request(w->dispatch, link, frame);
}

static void on_cancel(struct gateway_link *link, uint64_t id, void *data)
{
    struct worker *w = data;
    dispatch_cancel(w->dispatch, link, id);
}

static void on_gateway_lost(struct gateway_link *link, void *data)
{
    struct worker *w = data;
    dispatch_forget(w->dispatch, link);
}

static void on_ping(uint32_t *ret_oldest_ms, uint32_t *ret_in_flight, void *data)
{
    const struct worker *w = data;
    *ret_oldest_ms = dispatch_oldest_ms(w->dispatch);
    *ret_in_flight = dispatch_in_flight(w->dispatch);
}

static void on_shared(unsigned gateways, void *data)
{
    struct worker *w = data;
    dispatch_share(w->dispatch, gateways);
}

static void on_limits(void *data)
{
    struct worker *w = data;
    uint32_t limits[FRAME_CLASSES];
    dispatch_limits(w->dispatch, limits);
    gateways_limits(w->gateways, limits);
}

static void on_send(struct gateway_link *link, struct str frame, bool sensitive, void *data)
{
    struct worker *w = data;
    gateways_send(w->gateways, link, frame, sensitive);
}

// Of a worker that drains: both must have been said, in any order.
static void on_idle(void *data)
{
    struct worker *w = data;
    w->idle = true;
    if (w->released) {
        process_stop(w->process);
    }
}

static void on_released(void *data)
{
    struct worker *w = data;
    w->released = true;
    if (w->idle) {
        process_stop(w->process);
    }
}

// --- Metrics

#define PAGES "sluice_store_page_reads_total"
#define PAGES_HELP "Pages of the store that were needed, by where they were found."

static int64_t read_outbox_rows(void *data)
{
    const struct worker *w = data;
    return w->readable && w->outbox ? outbox_rows(w->outbox) : 0;
}

static int64_t read_outbox_age(void *data)
{
    const struct worker *w = data;
    return w->outbox ? outbox_oldest_ms(w->outbox) / 1000 : 0;
}

// The reading connection is the loop's, and so is who renders this.
static void count_pages(const struct worker *w)
{
    if (w->readable && w->store && store_reader(w->store)) {
        db_count_pages(store_reader(w->store));
    }
}

static int64_t read_page_hits(void *data)
{
    count_pages(data);
    return db_page_hits();
}

static int64_t read_page_misses(void *data)
{
    count_pages(data);
    return db_page_misses();
}

static void register_read(struct metric *m, enum metric_type type, const char *labels,
                          const char *name, const char *help, int64_t (*read)(void *data),
                          struct worker *w)
{
    *m = (struct metric){
        .type = type, .name = name, .help = help, .labels = labels, .read = read, .data = w
    };
    metrics_register(m);
}

static void register_metrics(struct worker *w)
{
    register_read(&w->outbox_rows, METRIC_GAUGE, NULL, "sluice_outbox_rows",
                  "Events that wait for the queue.", read_outbox_rows, w);
    register_read(&w->outbox_age, METRIC_GAUGE, NULL, "sluice_outbox_oldest_seconds",
                  "Age of the oldest event that waits.", read_outbox_age, w);
    register_read(&w->page_hits, METRIC_COUNTER, "found=\"cache\"", PAGES, PAGES_HELP,
                  read_page_hits, w);
    register_read(&w->page_misses, METRIC_COUNTER, "found=\"file\"", PAGES, PAGES_HELP,
                  read_page_misses, w);
}

static void unregister_metrics(struct worker *w)
{
    metrics_unregister(&w->outbox_rows);
    metrics_unregister(&w->outbox_age);
    metrics_unregister(&w->page_hits);
    metrics_unregister(&w->page_misses);
    store_metrics_close();
}

// --- Opening

static int load_cursor_key(struct worker *w)
{
    struct buf text;
    unsigned char key[CURSOR_KEY_BYTES];
    char error[KEYS_ERROR_SIZE] = "";
    size_t n = 0;
    buf_init(&text, 2 * CURSOR_KEY_BYTES + 1);
    int rc =
        keys_read(w->config->common.home, "cursor.key", 2 * CURSOR_KEY_BYTES + 1, &text, error);
    if (rc == 0 &&
        (text.len != 2 * CURSOR_KEY_BYTES ||
         sodium_hex2bin(key, sizeof key, text.data, text.len, NULL, &n, NULL) || n != sizeof key)) {
        rc = -EBADMSG;
        (void)snprintf(error, sizeof error, "%.400s/secrets/cursor.key: not 64 hexadecimal digits",
                       w->config->common.home);
    }
    if (rc) {
        process_fail(w->process, process_status_of(rc), "%s", error);
    } else {
        call_set_cursor_key(key);
    }
    sodium_memzero(key, sizeof key);
    buf_wipe(&text);
    buf_fini(&text);
    return rc;
}

static void on_superseded(void *data)
{
    struct worker *w = data;
    process_drain(w->process, "a newer build waits to migrate the store");
}

static int open_store(struct worker *w)
{
    const struct service *s = w->service;
    char relative[160];
    (void)snprintf(relative, sizeof relative, "db/%s/%s.db", s->name, s->name);
    const char *path = process_path(w->process, relative, true);
    if (!path) {
        return -errno;
    }
    (void)snprintf(w->store_path, sizeof w->store_path, "%s", path);
    store_metrics_open(w->store_path);
    (void)snprintf(w->hold_path, sizeof w->hold_path, "%.4000s.hold", w->store_path);
    outbox_set_hold(w->hold_path);
    outbox_set_limit(w->config->outbox_max_rows);
    struct store_options options = { .path = w->store_path,
                                     .migrations = s->migrations,
                                     .n_migrations = s->n_migrations,
                                     .check_bytes = w->config->store_check_bytes,
                                     .rebuildable = s->reset != NULL,
                                     .on_writer = on_store_writer,
                                     .on_superseded = on_superseded,
                                     .data = w };
    struct store_callbacks callbacks = { .on_readable = on_readable,
                                         .on_writable = on_writable,
                                         .on_committed = on_committed,
                                         .on_failed = on_store_failed,
                                         .on_trouble = on_store_trouble,
                                         .on_healed = on_store_healed,
                                         .data = w };
    return store_open(process_loop(w->process), &options, &callbacks, &w->store);
}

// The queue client, the outbox's relay and the consumers: only a service with a store has them.
static int open_events(struct worker *w, const char *queue)
{
    uv_loop_t *loop = process_loop(w->process);
    struct queue_client_callbacks up = { on_queue_up, on_queue_down, w };
    struct consumer_callbacks callbacks = { on_other_log, w };
    assert(w->service->n_subscriptions <= MAX_SUBSCRIPTIONS);
    int rc = queue_client_open(loop, queue, w->curve, &up, &w->queue);
    rc = rc ? rc : outbox_open(loop, w->service->name, w->store, w->queue, &w->outbox);
    for (size_t i = 0; !rc && i < w->service->n_subscriptions; i++) {
        rc = consumer_open(loop, &w->service->subscriptions[i], w->store, w->queue,
                           w->service->reset != NULL, &callbacks, &w->consumers[i]);
    }
    return rc;
}

static int open_curve(struct worker *w, const char *gateways, const char *queue)
{
    if (!strstr(gateways, "tcp://") && !strstr(queue, "tcp://")) {
        return 0;
    }
    int rc = curve_open_for(w->process, w->service->name, 0, &w->curve);
    if (rc == 0 && curve_is_legacy(w->curve)) {
        log_warn("there is no key of %s in %s/secrets/curve: using the one that all clients share; "
                 "`sluice keys make %s`, then restart it",
                 w->service->name, w->config->common.home, w->service->name);
    }
    return rc;
}

static int open_gateways(struct worker *w, const char *endpoints)
{
    uint32_t capacity = (uint32_t)w->config->capacity;
    struct dispatch_callbacks answer = { on_send, on_idle, w, on_limits };
    struct gateways_callbacks callbacks = { on_request, on_cancel, on_gateway_lost, on_released,
                                            on_ping,    w,         on_shared };
    uv_loop_t *loop = process_loop(w->process);
    int rc = announce_new(w->service, w->config->common.instance, capacity, &w->announcement);
    rc = rc ? rc : dispatch_open(loop, w->service, w->store, capacity, &answer, &w->dispatch);
    rc = rc ? rc
            : gateways_open(loop, endpoints, w->curve, w->announcement, capacity, &callbacks,
                            &w->gateways);
    if (!rc) {
        on_limits(w);
        gateways_role(w->gateways, w->store ? FRAME_ROLE_READER : FRAME_ROLE_ANY);
    }
    return rc;
}

// An endpoint from the configuration, or where it is in the home.
static void endpoint(struct worker *w, const char *given, const char *fallback, char *out,
                     size_t size)
{
    if (given) {
        (void)snprintf(out, size, "%s", given);
    } else {
        (void)snprintf(out, size, "ipc://%s/%s", w->config->common.home, fallback);
    }
}

static int open_all(struct worker *w)
{
    char gateways[2048], queue[2048], error[CONFIG_ERROR_SIZE] = "";
    const struct service *s = w->service;
    endpoint(w, w->config->gateways, "run/gateway/*.sock", gateways, sizeof gateways);
    endpoint(w, w->config->queue, "run/queue.sock", queue, sizeof queue);
    int rc = load_cursor_key(w);
    if (rc) {
        return rc;
    }
    rc = s->on_open ? s->on_open(w->config + 1, w->config->common.home, error) : 0;
    if (rc) {
        process_fail(w->process, process_status_of(rc), "%s", *error ? error : strerror(-rc));
        return rc;
    }
    rc = open_curve(w, gateways, queue);
    if (rc) {
        return rc;
    }
    rc = s->n_migrations ? open_store(w) : 0;
    if (rc) {
        process_fail(w->process, process_status_of(rc), "%s: %s",
                     *w->store_path ? w->store_path : "the store", strerror(-rc));
        return rc;
    }
    rc = w->store ? open_events(w, queue) : 0;
    if (rc) {
        process_fail(w->process, process_status_of(rc),
                     "SLUICE_QUEUE is \"%s\": %s; allowed: ipc:///PATH or tcp://HOST:PORT", queue,
                     strerror(-rc));
        return rc;
    }
    rc = open_gateways(w, gateways);
    if (rc) {
        process_fail(w->process, process_status_of(rc),
                     "SLUICE_GATEWAYS is \"%s\": %s; allowed, with commas between them: "
                     "ipc:///PATTERN, tcp://HOST:PORT",
                     gateways, strerror(-rc));
    }
    return rc;
}

// --- Stopping

// The loop turns, but a thread behind it does not: the store's, or one that computes.
static bool is_stuck(void *data)
{
    const struct worker *w = data;
    return w->dispatch && dispatch_late_ms(w->dispatch) > process_watchdog_ms(w->process);
}

static void on_drain(struct process *p, void *data)
{
    struct worker *w = data;
    (void)p;
    if (!w->dispatch) {
        process_stop(w->process);
        return;
    }
    gateways_drain(w->gateways);
    dispatch_drain(w->dispatch);
}

// The last job of the store was reported.
static void on_store_closed(void *data)
{
    struct worker *w = data;
    for (size_t i = 0; i < MAX_SUBSCRIPTIONS; i++) {
        consumer_close(&w->consumers[i]);
    }
    if (w->queue) {
        queue_client_close(&w->queue);
    }
    outbox_close(&w->outbox);
}

static void on_close(struct process *p, void *data)
{
    struct worker *w = data;
    (void)p;
    if (w->dispatch) {
        uint32_t left = dispatch_in_flight(w->dispatch);
        if (left > 0) { // gateways see it go, and do as with one that died
            log_warn("leaving %u requests undone: gateways move those that may be repeated, and "
                     "answer the others with 502 outcome-unknown",
                     left);
        }
        dispatch_abandon(w->dispatch);
    }
    gateways_close(&w->gateways, LINGER_MS);
    for (size_t i = 0; i < w->n_tasks; i++) {
        uv_close((uv_handle_t *)&w->tasks[i].timer, NULL);
    }
    if (w->store) {
        store_close(&w->store, on_store_closed, w);
    } else {
        on_store_closed(w);
    }
}

// --- main

// The kit's options and the service's as one table; the service's offsets begin behind the kit's
// struct.
static void join_options(const struct service *s, const char *instance, struct config_option *table)
{
    const struct config_option common[] = { CONFIG_COMMON(struct worker_config, instance, NULL) };
    size_t n = 0;
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        table[n++] = common[i];
    }
    for (size_t i = 0; i < sizeof kit_options / sizeof *kit_options; i++) {
        table[n++] = kit_options[i];
    }
    for (size_t i = 0; s->options && s->options[i].name; i++) {
        assert(n < MAX_OPTIONS - 1);
        table[n] = s->options[i];
        table[n++].offset += sizeof(struct worker_config);
    }
    table[n] = (struct config_option)CONFIG_END;
}

// Paths that have the service's name in them.
struct own_paths {
    char store[STORE_NAME_BYTES], key[STORE_NAME_BYTES];
};

// The kit's paths, the store's directory and the service's own as one list.
static void join_rights(const struct service *s, struct own_paths *own,
                        struct process_right rights[MAX_RIGHTS])
{
    static const struct process_right kit[] = {
        { "secrets/cursor.key", SANDBOX_READ },
        { "secrets/curve/" KEY_PAIRS_LEGACY ".key_secret", SANDBOX_READ }, // of older deployments
        { "secrets/curve/public", SANDBOX_READ },
    };
    size_t n = 0;
    for (; n < sizeof kit / sizeof *kit; n++) {
        rights[n] = kit[n];
    }
    (void)snprintf(own->key, sizeof own->key, "secrets/curve/%s.key_secret", s->name);
    rights[n++] = (struct process_right){ own->key, SANDBOX_READ };
    if (s->n_migrations) {
        (void)snprintf(own->store, sizeof own->store, "db/%s", s->name);
        rights[n++] = (struct process_right){ own->store, SANDBOX_WRITE };
    }
    for (size_t i = 0; s->rights && s->rights[i].path; i++) {
        assert(n < MAX_RIGHTS - 1);
        rights[n++] = s->rights[i];
    }
    rights[n] = (struct process_right){ NULL, 0 };
}

static void free_worker(struct worker *w)
{
    if (w->service->on_close) {
        w->service->on_close();
    }
    unregister_metrics(w);
    dispatch_close(&w->dispatch);
    announce_destroy(&w->announcement);
    free(w->config);
    curve_close(&w->curve);
    free(w);
}

int worker_main(const struct service *service, int argc, char **argv)
{
    char binary[64], instance[64];
    struct own_paths own;
    struct config_option table[MAX_OPTIONS];
    struct process_right rights[MAX_RIGHTS];
    struct worker *w = calloc(1, sizeof *w);
    struct worker_config *config = calloc(1, sizeof *config + service->config_bytes);
    (void)snprintf(binary, sizeof binary, "sluice-%s", service->name);
    if (!w || !config || sodium_init() < 0) {
        fprintf(stderr, "%s: %s\n", binary,
                w && config ? "libsodium cannot start" : strerror(ENOMEM));
        free(w);
        free(config);
        return EXIT_FAILED;
    }
    (void)snprintf(instance, sizeof instance, "%s-1", service->name);
    join_options(service, instance, table);
    join_rights(service, &own, rights);
    w->service = service;
    w->config = config;
    struct process_callbacks callbacks = { on_drain,   on_close, w,       service->commands,
                                           config + 1, rights,   is_stuck, service->companion };
    int status = EXIT_FAILED;
    if (process_open(binary, service->summary, table, config, argc, argv, &callbacks, &w->process,
                     &status)) {
        free(config);
        free(w);
        return status;
    }
    register_metrics(w);
    init_tasks(w);
    int rc = open_all(w);
    if (!rc && !w->store) {
        become_ready(w);
    }
    struct process *process = w->process;
    status = process_run(&process);
    free_worker(w);
    return status;
}
