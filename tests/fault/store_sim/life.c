// SPDX-License-Identifier: MIT
// The clients take nothing for done but what was answered, and look for all of that again.
#include "tests/fault/store_sim/life.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/dispatch.h"
#include "common/json_to_msgpack.h"
#include "common/log.h"
#include "common/outbox.h"
#include "common/queue_client.h"
#include "common/store.h"
#include "tests/fault/store_sim/model.h"
#include "tests/fault/store_sim/queue.h"
#include "tests/fault/store_sim/still.h"

#define IDS 16384
#define LOOK (-2) // in `asked`: a client looks at something

static struct world *w;
static uv_loop_t loop;
static struct store *store;
static struct queue_client *queue;
static struct outbox *outbox;
static struct dispatch *dispatch;
static bool trace, readable, writable, failed, closed;
static int asked[IDS]; // the request that an id is of
static bool in_flight[WORLD_REQUESTS];
static uint64_t last_id;
static char link_place;        // the dispatcher only hands links back
static uint32_t looked_status; // what LOOK found
static char looked_reply[8192];
static size_t n_looked;

void world_broken(struct world *world, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(world->broken, sizeof world->broken, format, args);
    va_end(args);
    _exit(1);
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    if (trace) {
        va_list args;
        va_start(args, format);
        (void)fprintf(stderr, "%" PRId64 " ", w->now_us);
        (void)vfprintf(stderr, format, args);
        (void)fprintf(stderr, "\n");
        va_end(args);
    }
}

// --- Asking

const struct frame_principal life_nobody;

static uint32_t route_of(const char *operation)
{
    const struct service *s = world_service();
    uint32_t i = 0;
    while (strcmp(s->routes[i].operation, operation) != 0) {
        i++;
        assert(i < s->n_routes);
    }
    return i;
}

static void encode(struct frame_request *f, const char *operation, const char *json,
                   const struct frame_principal *who, struct buf *body, struct buf *frame)
{
    struct json_error error;
    buf_init(body, FRAME_MAX_BYTES);
    buf_init(frame, FRAME_MAX_BYTES);
    f->route = route_of(operation);
    f->id = ++last_id;
    assert(last_id < IDS);
    f->attempt = 1;
    f->deadline_ms = 5000;
    f->traceparent = STR("");
    f->principal = *who;
    if (json) {
        int rc = json_to_msgpack(str_of(json), body, &error);
        assert(rc == 0);
        (void)rc;
        f->body = buf_str(body);
    }
    frame_request_encode(frame, f);
    assert(buf_ok(frame));
}

static void send_request(struct frame_request *f, const char *operation, const char *json,
                         const struct frame_principal *who, int number)
{
    struct buf body, frame;
    encode(f, operation, json, who, &body, &frame);
    asked[last_id] = number;
    w->counts.requests++;
    if (dispatch_request(dispatch, (struct gateway_link *)(void *)&link_place, buf_str(&frame))) {
        world_broken(w, "a request was not taken");
    }
    buf_fini(&body);
    buf_fini(&frame);
}

void life_send(struct frame_request *f, const char *operation, const char *json,
               const struct frame_principal *who, int number)
{
    note("request %d %s%s", number, operation, w->requests[number].status ? " again" : "");
    in_flight[number] = true;
    w->requests[number].asked++;
    send_request(f, operation, json, who, number);
}

uint32_t life_look(struct frame_request *f, const char *operation, const char *json,
                   const struct frame_principal *who, struct str *ret_body)
{
    looked_status = 0;
    send_request(f, operation, json, who, LOOK);
    if (!looked_status) {
        world_broken(w, "a read was not answered at once");
    }
    *ret_body = (struct str){ looked_reply, n_looked };
    return looked_status;
}

bool life_in_flight(int number)
{
    return in_flight[number];
}

// --- Being answered

static void keep_look(const struct frame_reply *f)
{
    looked_status = f->status;
    assert(f->body.n <= sizeof looked_reply);
    if (f->body.n) {
        memcpy(looked_reply, f->body.p, f->body.n);
    }
    n_looked = f->body.n;
}

static void on_send(struct gateway_link *link, struct str frame, bool sensitive, void *data)
{
    struct reader r = reader_of(frame);
    enum frame_type type;
    uint32_t fields;
    static struct frame_reply f;
    (void)link, (void)sensitive, (void)data;
    if (frame_open(&r, &type, &fields) || type != FRAME_REPLY ||
        frame_reply_decode(&r, fields, &f)) {
        world_broken(w, "an answer cannot be read");
    }
    int number = asked[f.id];
    if (number == LOOK) {
        keep_look(&f);
        return;
    }
    note("request %d: %u", number, f.status);
    if (!in_flight[number]) {
        world_broken(w, "request %d was answered twice", number);
    }
    in_flight[number] = false;
    if (f.status < 500) {
        model.answered(w, number, &f);
    } else {
        w->counts.unclear++;
    }
}

static void ignore(void *data)
{
    (void)data;
}

// --- The store's news

static void on_readable(void *data)
{
    (void)data;
    readable = true;
}

static void on_writable(void *data)
{
    (void)data;
    writable = true;
    outbox_wake(outbox);
}

static void on_committed(void *data)
{
    (void)data;
    outbox_wake(outbox);
}

static void on_failed(int error, const char *text, void *data)
{
    (void)data;
    note("the store failed: %s", text);
    if (w->disk->failed_syncs == 0) {
        world_broken(w, "the store failed on a sound disk: %s (%d)", text, error);
    }
    failed = true;
}

static void on_trouble(int error, const char *text, void *data)
{
    (void)data;
    world_broken(w, "the store is in trouble: %s (%d)", text, error);
}

static void on_store_closed(void *data)
{
    (void)data;
    closed = true;
}

static int on_writer(struct db *db, void *data)
{
    (void)data;
    int rc = outbox_prepare(db);
    const struct service *s = world_service();
    return rc || !s->on_writer ? rc : s->on_writer(db, clock_wall_ms());
}

static void turn(void)
{
    still_compute();
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void on_queue_up(void)
{
    outbox_wake(outbox);
}

// The store fails at opening when a sync does.
static void open_all(const char *directory)
{
    static char path[256];
    const struct service *s = world_service();
    (void)snprintf(path, sizeof path, "%s/%s", directory, model.store);
    struct store_options options = { .path = path,
                                     .migrations = s->migrations,
                                     .n_migrations = s->n_migrations,
                                     .check_bytes = STORE_CHECK_BYTES,
                                     .on_writer = on_writer };
    struct store_callbacks callbacks = { .on_readable = on_readable,
                                         .on_writable = on_writable,
                                         .on_committed = on_committed,
                                         .on_failed = on_failed,
                                         .on_trouble = on_trouble,
                                         .on_healed = ignore };
    struct dispatch_callbacks answers = { .send = on_send, .on_idle = ignore };
    int rc = uv_loop_init(&loop);
    queue = queue_begin(w);
    rc = rc ? rc : model.open(directory);
    rc = rc ? rc : store_open(&loop, &options, &callbacks, &store);
    rc = rc ? rc : outbox_open(&loop, s->name, store, queue, &outbox);
    rc = rc ? rc : dispatch_open(&loop, s, store, 1000, &answers, &dispatch);
    if (rc) {
        world_broken(w, "the service cannot be opened (%d)", rc);
    }
    still_pass(20000); // begins the check of the file
    while (!still_has_writer() && !failed) {
        still_compute();
        (void)uv_run(&loop, UV_RUN_ONCE); // until the lease is there
    }
    for (int i = 0; !writable && !failed; i++) {
        still_write();
        turn();
        still_pass(20000);
        if (i > 1000) {
            world_broken(w, "the store does not open");
        }
    }
}

// --- What the clients want

int life_add(int kind, int of)
{
    assert(w->n_requests < WORLD_REQUESTS);
    w->requests[w->n_requests] = (struct request){ .kind = kind, .of = of };
    return w->n_requests++;
}

// One of those that are as `settled` says, or -1.
static int some_request(bool settled)
{
    int start = w->n_requests ? (int)chance_below(&w->chance, (uint64_t)w->n_requests) : 0;
    for (int i = 0; i < w->n_requests; i++) {
        int k = (start + i) % w->n_requests;
        if (!in_flight[k] && (w->requests[k].status != 0) == settled) {
            return k;
        }
    }
    return -1;
}

static void ask_something(void)
{
    uint64_t what = chance_below(&w->chance, 10);
    int k = what == 0 ? some_request(true) : what < 4 ? some_request(false) : -1;
    k = k < 0 && w->n_requests < WORLD_REQUESTS - 8 ? model.next(w) : k;
    if (k >= 0 && !in_flight[k]) {
        model.ask(w, k);
    }
}

// All that happens beside requests.
static void go_on(bool calm)
{
    turn();
    if (calm || chance_in_1000(&w->chance, 700)) {
        still_write();
        turn();
    }
    queue_turn(queue, calm, on_queue_up);
    still_pass(1000 + (int64_t)chance_below(&w->chance, calm ? 200000 : 60000));
}

// --- Another process's reader, which holds up checkpoints

static struct db *other;
static struct db_rows other_rows;

static void read_elsewhere(const char *directory)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", directory, model.store);
    if (other) {
        db_rows_close(&other_rows);
        db_close(&other);
        return;
    }
    int rc = db_open(path, DB_READER, &other);
    rc = rc ? rc : db_rows_open(other, &other_rows, "SELECT name FROM sluice_meta", "");
    rc = rc ? rc : db_rows_next(&other_rows);
    if (rc < 0) {
        world_broken(w, "another reader cannot read (%d)", rc);
    }
}

// --- Looking whether the promises were kept

int64_t life_number(const char *sql, const char *id)
{
    struct db_rows rows;
    int64_t n = -1;
    int rc = id ? db_row(store_reader(store), &rows, sql, "s", str_of(id))
                : db_row(store_reader(store), &rows, sql, "");
    if (rc == 1) {
        n = db_int(&rows, 0);
        db_rows_close(&rows);
    }
    return n;
}

static void check_all(void)
{
    model.check_all(w);
    int64_t waiting = life_number("SELECT count(*) FROM sluice_outbox", NULL);
    if (waiting != 0) {
        world_broken(w, "%" PRId64 " events wait for a queue that is there", waiting);
    }
    struct db_rows rows;
    if (db_row(store_reader(store), &rows, "PRAGMA integrity_check", "") != 1 ||
        !str_eq(db_str(&rows, 0), STR("ok"))) {
        world_broken(w, "the store is damaged");
    }
    db_rows_close(&rows);
    if (life_number("SELECT count(*) FROM pragma_foreign_key_check", NULL) != 0) {
        world_broken(w, "a row of the store is of another that is not there");
    }
}

// Asks for everything once more, until all is answered and nothing waits.
static void verify(void)
{
    model.complete(w);
    for (int i = 0; i < w->n_requests; i++) {
        if (!in_flight[i]) {
            model.ask(w, i);
        }
        if (i % 50 == 49) {
            go_on(true);
        }
    }
    for (int i = 0; i < 400; i++) {
        go_on(true);
    }
    for (int i = 0; i < w->n_requests; i++) {
        if (in_flight[i] || !w->requests[i].status) {
            world_broken(w, "request %d gets no answer on a sound disk", i);
        }
    }
    check_all();
}

static void close_all(void)
{
    store_close(&store, on_store_closed, NULL);
    for (int i = 0; i < 1000 && !closed; i++) {
        still_write();
        turn();
    }
    outbox_close(&outbox);
    dispatch_close(&dispatch);
    for (int i = 0; i < 1000 && uv_run(&loop, UV_RUN_NOWAIT); i++) {
    }
    if (!closed || uv_loop_close(&loop)) {
        world_broken(w, "the store does not close");
    }
}

void life(struct world *world, const struct plan *plan, const char *directory, bool tracing)
{
    w = world;
    trace = tracing;
    still_begin(w, plan->wal_factor);
    if (sodium_init() < 0) {
        world_broken(w, "libsodium cannot be used");
    }
    log_init("store", "sim", LEVEL_FATAL, LOG_FORMAT_JSON); // failures are wanted here
    open_all(directory);
    if (readable) {
        model.check(w);
    }
    for (int i = 0; i < plan->turns && !failed; i++) {
        for (uint64_t k = chance_below(&w->chance, 5); k > 0; k--) {
            ask_something();
        }
        if (chance_in_1000(&w->chance, 60)) {
            read_elsewhere(directory);
        }
        go_on(false);
    }
    if (other) {
        read_elsewhere(directory);
    }
    if (plan->verify) {
        verify();
    }
    if (failed) {
        _exit(LIFE_FAILED);
    }
    if (!plan->close) {
        _exit(DISK_EXIT);
    }
    for (int i = 0; i < 50 && dispatch_in_flight(dispatch); i++) {
        go_on(true);
    }
    close_all();
    _exit(0);
}
