// SPDX-License-Identifier: MIT
#include "tests/unit/calls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "common/json_to_msgpack.h"
#include "common/lease.h"
#include "common/log.h"
#include "common/msgpack_to_json.h"
#include "tests/unit/loop.h"

struct dispatch *dispatch;
struct store *store;
int idle_calls;

// The dispatcher only hands links back: any address will do.
static char links[2];
struct gateway_link *const link_a = (struct gateway_link *)(void *)&links[0];
struct gateway_link *const link_b = (struct gateway_link *)(void *)&links[1];

static struct answer answers[CALLS_MAX];
static uint64_t last_id;
static bool writable, closed;
static int other_lease = -1; // of calls_open_reader()

// --- Answers

static void keep_reply(struct answer *a, const struct frame_reply *f)
{
    a->status = f->status;
    a->queue_us = f->queue_us;
    a->handler_us = f->handler_us;
    a->store_us = f->store_us;
    size_t at = 0;
    a->headers[0] = '\0';
    for (size_t i = 0; i < f->n_headers; i++) {
        at += (size_t)snprintf(a->headers + at, sizeof a->headers - at, "%.*s: %.*s\n", STR_ARG(f->headers[i].name),
                               STR_ARG(f->headers[i].value));
        assert_true(at < sizeof a->headers);
    }
    a->body[0] = '\0';
    if (f->body.p) {
        struct buf json;
        struct reader r = reader_of(f->body);
        buf_init(&json, sizeof a->body - 1);
        assert_int_equal(msgpack_to_json(&r, &json), 0);
        assert_int_equal(reader_left(&r), 0); // exactly one value
        memcpy(a->body, json.data, json.len);
        a->body[json.len] = '\0';
        buf_fini(&json);
    }
}

static void on_send(struct gateway_link *link, struct str frame, bool sensitive, void *data)
{
    struct reader r = reader_of(frame);
    enum frame_type type;
    uint32_t fields;
    uint64_t id;
    struct frame_reply reply;
    struct str reason;
    (void)data;
    assert_int_equal(frame_open(&r, &type, &fields), 0);
    if (type == FRAME_RETURN) {
        assert_int_equal(frame_return_decode(&r, fields, &id, &reason), 0);
    } else {
        assert_int_equal(type, FRAME_REPLY);
        assert_int_equal(frame_reply_decode(&r, fields, &reply), 0);
        id = reply.id;
    }
    assert_true(id > 0 && id <= last_id);
    struct answer *a = &answers[id % CALLS_MAX];
    a->there = true;
    a->times++;
    a->link = link;
    a->sensitive = sensitive;
    a->returned = type == FRAME_RETURN;
    if (a->returned) {
        (void)snprintf(a->reason, sizeof a->reason, "%.*s", STR_ARG(reason));
    } else {
        keep_reply(a, &reply);
    }
}

const struct answer *answer_now(uint64_t id)
{
    return &answers[id % CALLS_MAX];
}

const struct answer *answer_to(uint64_t id)
{
    LOOP_UNTIL(answer_now(id)->there, CALLS_LIMIT_MS);
    assert_int_equal(answer_now(id)->times, 1);
    return answer_now(id);
}

const struct answer *asked(struct ask a)
{
    return answer_to(ask(a));
}

void assert_body_has(const struct answer *a, const char *text)
{
    if (!strstr(a->body, text)) {
        fail_msg("%s is not in %u %s", text, a->status, a->body);
    }
}

const char *header_of(const struct answer *a, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);
    for (const char *line = a->headers; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(line + n + 2, "\n"), line + n + 2);
            return value;
        }
    }
    return NULL;
}

void assert_header(const struct answer *a, const char *name, const char *value)
{
    const char *got = header_of(a, name);
    if (!got || strcmp(got, value) != 0) {
        fail_msg("header %s is %s, not %s", name, got ? got : "not there", value);
    }
}

void assert_no_header(const struct answer *a, const char *name)
{
    assert_null(header_of(a, name));
}

// --- Requests

static size_t pairs(const char *const *from, struct frame_pair *to)
{
    size_t n = 0;
    for (; from[2 * n]; n++) {
        to[n] = (struct frame_pair){ str_of(from[2 * n]), str_of(from[2 * n + 1]) };
    }
    return n;
}

uint64_t ask(struct ask a)
{
    struct buf body, frame;
    struct json_error error;
    struct frame_request f = { .id = ++last_id, .attempt = 1, .route = a.route };
    buf_init(&body, FRAME_MAX_BYTES);
    buf_init(&frame, FRAME_MAX_BYTES);
    f.deadline_ms = a.expired ? 0 : a.deadline_ms ? a.deadline_ms : 5000;
    f.traceparent = str_of(a.traceparent ? a.traceparent : "");
    if (a.user) {
        f.principal = (struct frame_principal){ str_of(a.user), str_of(a.role ? a.role : "user"), STR("session") };
    }
    while (f.n_params < 4 && a.params[f.n_params]) {
        f.params[f.n_params] = str_of(a.params[f.n_params]);
        f.n_params++;
    }
    f.n_query = pairs(a.query, f.query);
    f.n_headers = pairs(a.headers, f.headers);
    if (a.json) {
        assert_int_equal(json_to_msgpack(str_of(a.json), &body, &error), 0);
        f.body = buf_str(&body);
    }
    frame_request_encode(&frame, &f);
    assert_true(buf_ok(&frame));
    answers[f.id % CALLS_MAX] = (struct answer){ 0 };
    assert_int_equal(dispatch_request(dispatch, a.link ? a.link : link_a, buf_str(&frame)), 0);
    buf_fini(&body);
    buf_fini(&frame);
    return f.id;
}

// --- Opening and closing

static void ignore(void *data)
{
    (void)data;
}

static void on_writable(void *data)
{
    (void)data;
    writable = true;
}

// Jobs of tests say that there is no room.
static void on_trouble(int error, const char *text, void *data)
{
    (void)text, (void)data;
    assert_int_equal(error, -ENOSPC);
}

static void on_failed(int error, const char *text, void *data)
{
    (void)data;
    fail_msg("the store failed: %s (%d)", text, error);
}

static void on_closed(void *data)
{
    (void)data;
    closed = true;
}

static void on_idle(void *data)
{
    (void)data;
    idle_calls++;
}

static void open_all(const struct service *service, uint32_t capacity)
{
    struct dispatch_callbacks callbacks = { on_send, on_idle, NULL, NULL };
    assert_true(sodium_init() >= 0);
    log_init(service->name, "test", LEVEL_FATAL, LOG_FORMAT_JSON); // failures are wanted here
    writable = closed = false;
    idle_calls = 0;
    store = NULL;
    if (service->n_migrations) {
        struct store_callbacks store_callbacks = { .on_readable = ignore,
                                         .on_writable = on_writable,
                                         .on_committed = ignore,
                                         .on_failed = on_failed,
                                         .on_trouble = on_trouble,
                                         .on_healed = ignore };
        struct store_options options = { .path = "calls.db",
                                         .migrations = service->migrations,
                                         .n_migrations = service->n_migrations };
        assert_int_equal(store_open(&loop, &options, &store_callbacks, &store), 0);
    }
    assert_int_equal(dispatch_open(&loop, service, store, capacity, &callbacks, &dispatch), 0);
}

void calls_open(const struct service *service, uint32_t capacity)
{
    open_all(service, capacity);
    LOOP_UNTIL(writable || !store, CALLS_LIMIT_MS);
}

void calls_open_reader(const struct service *service, uint32_t capacity)
{
    assert_int_equal(lease_try("calls.db.lease", &other_lease), 0);
    open_all(service, capacity);
}

void calls_close(void)
{
    LOOP_UNTIL(dispatch_in_flight(dispatch) == 0, CALLS_LIMIT_MS);
    if (store) {
        store_close(&store, on_closed, NULL);
        LOOP_UNTIL(closed, CALLS_LIMIT_MS);
    }
    dispatch_close(&dispatch);
    assert_null(dispatch);
    if (other_lease >= 0) {
        (void)close(other_lease);
        other_lease = -1;
    }
}

int64_t stored_number(const char *sql)
{
    struct db *db;
    struct db_rows rows;
    assert_int_equal(db_open("calls.db", DB_READER, &db), 0);
    assert_int_equal(db_row(db, &rows, sql, ""), 1);
    int64_t n = db_int(&rows, 0);
    db_rows_close(&rows);
    db_close(&db);
    return n;
}
