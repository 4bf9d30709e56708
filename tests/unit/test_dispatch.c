// SPDX-License-Identifier: MIT
// A request is checked before anything is done, its stages run in their order, what is late or one too many is
// not begun, and an answer that says no leaves nothing behind.
#include "common/dispatch.h"

#include "common/clock.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/calls.h"
#include "tests/unit/loop.h"
#include "tests/unit/sample.h"

#define LIMIT_MS 10000

// --- The service

#define THING_FIELDS(S, I, B, T, O, L)                                                             \
    S(name, REQUIRED, 1, 10, LINE, "Its name")                                                     \
    I(status, OPTIONAL, 0, 599, "What write answers")
MESSAGE_DECLARE(thing, THING_FIELDS)
#define MESSAGE_SELF_ struct thing
MESSAGE_DEFINE(thing, THING_FIELDS)
#undef MESSAGE_SELF_

static const char *const migrations[] = { "CREATE TABLE t(name TEXT NOT NULL) STRICT;" };

static char trail[64]; // stages in the order in which they ran
static sem_t gate;     // compute waits here
static atomic_int computing, computed, written;
static int slow_reads;

#define SLOW_US 5000

static int note(struct call *c, const char *stage)
{
    int *counter = call_state(c, sizeof *counter); // one memory for all stages
    assert_non_null(counter);
    strncat(trail, stage, sizeof trail - strlen(trail) - 2);
    ++*counter;
    return 0;
}

static int read_stage(struct call *c)
{
    assert_non_null(call_db(c)); // the read-only connection
    return note(c, "r");
}

static int compute_stage(struct call *c)
{
    assert_null(call_db(c));
    return note(c, "c");
}

static int write_stage(struct call *c)
{
    int rc = db_run(call_db(c), "INSERT INTO t VALUES('stages')", "");
    (void)note(c, "w");
    return rc < 0 ? rc : call_reply(c, 201, &thing_message, &(struct thing){ .name = STR("done") });
}

static int answer_in_read(struct call *c)
{
    (void)note(c, "R");
    return call_problem(c, PROBLEM_NOT_FOUND, "there is no %s", "such thing");
}

static int silent(struct call *c)
{
    (void)c;
    return 0;
}

static int failing(struct call *c)
{
    return call_query(c, "error").p ? -(int)call_query_int(c, "error") : 0;
}

static int write_failing(struct call *c)
{
    int rc = db_run(call_db(c), "INSERT INTO t VALUES('failing')", "");
    return rc < 0 ? rc : failing(c);
}

// Writes a row, then answers with the status that the body asks for.
static int write_status(struct call *c)
{
    const struct thing *t = call_body(c);
    int rc = db_run(call_db(c), "INSERT INTO t VALUES(?)", "s", t->name);
    atomic_fetch_add(&written, 1);
    if (rc < 0) {
        return rc;
    }
    if (call_query(c, "keep").p) {
        call_keep(c);
    }
    return call_reply(c, (int)t->status, &thing_message, t);
}

static int wait_in_compute(struct call *c)
{
    atomic_fetch_add(&computing, 1);
    while (sem_wait(&gate)) {
    }
    atomic_fetch_add(&computed, 1);
    return call_reply_empty(c, 204);
}

static int slow_read(struct call *c)
{
    slow_reads++;
    (void)usleep(SLOW_US);
    return call_reply_empty(c, 204);
}

// Asks for what never ends, and does not look at why there is no row.
static int endless_read(struct call *c)
{
    struct db_rows rows;
    int rc = db_row(call_db(c), &rows,
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                    " SELECT count(*) FROM n",
                    "");
    assert_true(rc < 0);
    return rc;
}

static int large_reply(struct call *c)
{
    char *text = call_alloc(c, CALL_REPLY_BYTES);
    assert_non_null(text);
    memset(text, 'x', CALL_REPLY_BYTES);
    return call_reply(c, 200, &thing_message,
                      &(struct thing){ .name = { text, CALL_REPLY_BYTES } });
}

static int echo_query(struct call *c)
{
    struct buf *b = call_reply_begin(c, 200);
    struct str text = call_query(c, "text"), sort = call_query(c, "sort"),
               kinds = call_query(c, "kinds");
    (void)b;
    assert_true(call_answered(c));
    struct thing t = { .name = call_printf(c, "%.*s/%.*s/%.*s/%d", STR_ARG(text), STR_ARG(sort),
                                           STR_ARG(kinds), (int)call_query_int(c, "limit")) };
    message_pack(&thing_message, &t, b);
    return 0;
}

static int echo_caller(struct call *c)
{
    const struct principal *p = call_principal(c);
    struct thing t = { .name = call_printf(c, "%.*s %.*s %.*s %d%d %.*s", STR_ARG(p->id),
                                           STR_ARG(p->role), STR_ARG(p->session), call_is_admin(c),
                                           call_is_user(c, STR("u1")), STR_ARG(call_param(c, 1))) };
    return call_reply(c, 200, &thing_message, &t);
}

static const struct query_param echo_params[] = {
    { .name = "text", .kind = QUERY_STRING, .min = 1, .max = 5 },
    { .name = "sort", .kind = QUERY_CHOICE, .choices = "up|down", .fallback = "up" },
    { .name = "kinds", .kind = QUERY_CHOICES, .choices = "a|bc|d" },
    { .name = "limit", .kind = QUERY_INTEGER, .min = -5, .max = 100, .fallback = "20" },
    { .name = NULL },
};

static const struct query_param needed_params[] = {
    { .name = "q", .kind = QUERY_STRING, .min = 0, .max = 5, .required = true },
    { .name = NULL },
};

static const struct query_param error_params[] = {
    { .name = "error", .kind = QUERY_INTEGER, .min = 0, .max = 200 },
    { .name = NULL },
};

static const struct query_param keep_params[] = {
    { .name = "keep", .kind = QUERY_STRING, .min = 0, .max = 5 },
    { .name = NULL },
};

enum {
    STAGES,
    IN_READ,
    SILENT,
    FAIL_READ,
    FAIL_WRITE,
    STATUS,
    COMPUTE,
    LARGE,
    QUERY,
    NEEDED,
    CALLER,
    REQUIRED,
    SLOW,
    ENDLESS
};

#define ROUTE(name) .method = "POST", .operation = name, .success = 200
static const struct route routes[] = {
    [STAGES] = { ROUTE("stages"), .pattern = "/stages", .read = read_stage,
                 .compute = compute_stage, .write = write_stage },
    [IN_READ] = { ROUTE("inRead"), .pattern = "/in-read", .read = answer_in_read,
                  .compute = compute_stage, .write = write_stage },
    [SILENT] = { ROUTE("silent"), .pattern = "/silent", .read = silent, .compute = silent,
                 .write = silent },
    [FAIL_READ] = { ROUTE("failRead"), .pattern = "/fail-read", .query = error_params,
                    .read = failing, .write = write_stage },
    [FAIL_WRITE] = { ROUTE("failWrite"), .pattern = "/fail-write", .query = error_params,
                     .write = write_failing },
    [STATUS] = { ROUTE("status"), .pattern = "/status", .request = &thing_message,
                 .body = FRAME_BODY_JSON, .query = keep_params, .write = write_status },
    [COMPUTE] = { ROUTE("compute"), .pattern = "/compute", .compute = wait_in_compute },
    [LARGE] = { ROUTE("large"), .pattern = "/large", .read = large_reply },
    [QUERY] = { ROUTE("query"), .pattern = "/query", .query = echo_params, .read = echo_query },
    [NEEDED] = { ROUTE("needed"), .pattern = "/needed", .query = needed_params, .read = silent },
    [CALLER] = { ROUTE("caller"), .pattern = "/a/{a}/b/{b}", .auth = FRAME_AUTH_OPTIONAL,
                 .sensitive = true, .read = echo_caller },
    [REQUIRED] = { ROUTE("required"), .pattern = "/required", .auth = FRAME_AUTH_REQUIRED,
                   .read = answer_in_read },
    [SLOW] = { ROUTE("slow"), .pattern = "/slow", .read = slow_read },
    [ENDLESS] = { ROUTE("endless"), .pattern = "/endless", .read = endless_read },
};

static const struct service service = { .name = "things",
                                        .routes = routes,
                                        .n_routes = sizeof routes / sizeof *routes,
                                        .migrations = migrations,
                                        .n_migrations = 1 };

static int enter(void **state)
{
    trail[0] = '\0';
    slow_reads = 0;
    atomic_store(&computing, 0);
    atomic_store(&computed, 0);
    atomic_store(&written, 0);
    if (loop_enter(state) || sem_init(&gate, 0, 0)) {
        return -1;
    }
    calls_open(&service, 100);
    return 0;
}

static int leave(void **state)
{
    calls_close();
    return loop_leave(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

static void let_go(int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(sem_post(&gate), 0);
    }
}

// --- Stages

static void test_stages_run_in_order(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = STAGES });
    assert_string_equal(trail, "rcw");
    assert_int_equal(a->status, 201);
    assert_string_equal(a->body, "{\"name\":\"done\"}");
    assert_int_equal(stored_number("SELECT count(*) FROM t"), 1);
    assert_true(a->store_us > 0);
    assert_ptr_equal(a->link, link_a);
}

static void test_an_answer_ends_the_call(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = IN_READ });
    assert_string_equal(trail, "R");
    assert_int_equal(a->status, 404);
    assert_string_equal(a->body, "{\"slug\":\"not-found\",\"detail\":\"there is no such thing\"}");
    assert_int_equal(stored_number("SELECT count(*) FROM t"), 0);
}

static void test_a_handler_that_forgets_to_answer(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = SILENT });
    assert_int_equal(a->status, 500);
    assert_string_equal(a->body, "{\"slug\":\"internal\"}");
}

static void test_stages_that_fail(void **state)
{
    (void)state;
    static const struct {
        int error;
        uint32_t status;
        const char *slug;
    } cases[] = { { EIO, 503, "store-unavailable" },   { ENOSPC, 503, "store-unavailable" },
                  { EROFS, 503, "store-unavailable" }, { EAGAIN, 503, "store-unavailable" },
                  { EBUSY, 503, "store-unavailable" }, { EINVAL, 500, "internal" },
                  { EEXIST, 500, "internal" },         { ENOMEM, 500, "internal" } };
    int64_t reads = sample("sluice_store_read_seconds_count");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint32_t route = FAIL_READ; route <= FAIL_WRITE; route++) {
            char number[8], body[64];
            (void)snprintf(number, sizeof number, "%d", cases[i].error);
            (void)snprintf(body, sizeof body, "{\"slug\":\"%s\"}", cases[i].slug);
            const struct answer *a =
                asked((struct ask){ .route = route, .query = { "error", number } });
            assert_int_equal(a->status, cases[i].status);
            assert_string_equal(a->body, body); // and nothing of the inside
            if (a->status == 503) {
                assert_header(a, "retry-after", "1");
            }
        }
    }
    assert_int_equal(stored_number("SELECT count(*) FROM t"), 0);
    assert_int_equal(sample("sluice_store_read_seconds_count") - reads, 8);
    assert_int_equal(sample("sluice_store_failures_total{operation=\"read\"}"), 5);
    assert_int_equal(sample("sluice_store_failures_total{operation=\"write\"}"), 5);
}

static void test_a_reply_over_the_limit(void **state)
{
    (void)state;
    assert_int_equal(asked((struct ask){ .route = LARGE })->status, 500);
    assert_int_equal(asked((struct ask){ .route = IN_READ })->status,
                     404); // its buffer is good again
}

// --- Undoing

static void test_an_answer_of_400_and_above_undoes(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        uint32_t status;
        int rows; // in all after it
    } cases[] = { { "{\"name\":\"a\",\"status\":200}", 200, 1 },
                  { "{\"name\":\"b\",\"status\":399}", 399, 2 },
                  { "{\"name\":\"c\",\"status\":400}", 400, 2 },
                  { "{\"name\":\"d\",\"status\":409}", 409, 2 },
                  { "{\"name\":\"e\",\"status\":599}", 599, 2 },
                  { "{\"name\":\"f\",\"status\":204}", 204, 3 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct answer *a = asked((struct ask){ .route = STATUS, .json = cases[i].json });
        assert_int_equal(a->status, cases[i].status); // the handler's answer goes out all the same
        assert_body_has(a, "\"name\":");
        assert_int_equal(stored_number("SELECT count(*) FROM t"), cases[i].rows);
    }
    const struct answer *a = asked((struct ask){
        .route = STATUS, .json = "{\"name\":\"k\",\"status\":401}", .query = { "keep", "" } });
    assert_int_equal(a->status, 401);
    assert_int_equal(stored_number("SELECT count(*) FROM t WHERE name = 'k'"), 1); // call_keep()
}

static void test_undoing_leaves_the_neighbours(void **state)
{
    (void)state;
    uint64_t ids[24]; // fewer than LIMITER_START: a worker that has just begun hands none back
    const int n = sizeof ids / sizeof *ids;
    for (int i = 0; i < n; i++) {
        char json[64];
        (void)snprintf(json, sizeof json, "{\"name\":\"n%d\",\"status\":%d}", i, i % 3 ? 200 : 409);
        ids[i] = ask((struct ask){ .route = STATUS, .json = json });
    }
    for (int i = 0; i < n; i++) {
        assert_int_equal(answer_to(ids[i])->status, i % 3 ? 200 : 409);
    }
    assert_int_equal(stored_number("SELECT count(*) FROM t"), n - n / 3);
}

// --- Checks before the stages

static void test_query_values(void **state)
{
    (void)state;
    static const struct {
        const char *query[10];
        const char *answer;
    } good[] = {
        { { NULL }, "/up//20" },
        { { "text", "a", "sort", "down", "kinds", "bc", "limit", "-5" }, "a/down/bc/-5" },
        { { "text", "12345", "kinds", "a,bc,d,a", "limit", "100" }, "12345/up/a,bc,d,a/100" },
        { { "limit", "007" }, "/up//7" },
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ask request = { .route = QUERY };
        memcpy(request.query, good[i].query, sizeof good[i].query);
        const struct answer *a = asked(request);
        assert_int_equal(a->status, 200);
        assert_body_has(a, good[i].answer);
    }
}

static void test_query_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *query[10];
        const char *error;
    } bad[] = {
        { { "text", "" },
          "{\"detail\":\"has 0 bytes; allowed are 1 to 5\",\"parameter\":\"text\"}" },
        { { "text", "123456" },
          "{\"detail\":\"has 6 bytes; allowed are 1 to 5\",\"parameter\":\"text\"}" },
        { { "sort", "side" }, "{\"detail\":\"must be one of up|down\",\"parameter\":\"sort\"}" },
        { { "sort", "up,down" }, "\"parameter\":\"sort\"" },
        { { "sort", "" }, "\"parameter\":\"sort\"" },
        { { "sort", "up|down" }, "\"parameter\":\"sort\"" },
        { { "kinds", "a,x" }, "must be one or, with commas, several of a|bc|d" },
        { { "kinds", "a," }, "\"parameter\":\"kinds\"" },
        { { "kinds", ",a" }, "\"parameter\":\"kinds\"" },
        { { "kinds", "b" }, "\"parameter\":\"kinds\"" },
        { { "limit", "101" },
          "{\"detail\":\"must be an integer from -5 to 100\",\"parameter\":\"limit\"}" },
        { { "limit", "-6" }, "\"parameter\":\"limit\"" },
        { { "limit", "" }, "\"parameter\":\"limit\"" },
        { { "limit", "-" }, "\"parameter\":\"limit\"" },
        { { "limit", "+5" }, "\"parameter\":\"limit\"" },
        { { "limit", "5 " }, "\"parameter\":\"limit\"" },
        { { "limit", "0x5" }, "\"parameter\":\"limit\"" },
        { { "limit", "99999999999999999999" }, "\"parameter\":\"limit\"" }, // would wrap
        { { "limit", "18446744073709551617" }, "\"parameter\":\"limit\"" },
        { { "Limit", "5" },
          "{\"detail\":\"is not a parameter of this request\",\"parameter\":\"Limit\"}" },
        { { "", "5" }, "\"parameter\":\"\"" },
        { { "limit", "5", "limit", "5" },
          "{\"detail\":\"is given more than once\",\"parameter\":\"limit\"}" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ask request = { .route = QUERY };
        memcpy(request.query, bad[i].query, sizeof bad[i].query);
        const struct answer *a = asked(request);
        assert_int_equal(a->status, 400);
        assert_body_has(a, "{\"slug\":\"invalid-parameter\",\"errors\":[");
        assert_body_has(a, bad[i].error);
    }
    const struct answer *a = asked((struct ask){ .route = NEEDED });
    assert_string_equal(a->body, "{\"slug\":\"invalid-parameter\",\"errors\":[{\"detail\":\"is "
                                 "required\",\"parameter\":\"q\"}]}");
    a = asked(
        (struct ask){ .route = QUERY, .query = { "limit", "x", "sort", "x", "a", "", "b", "" } });
    assert_body_has(a, "\"limit\"},{");
    assert_body_has(a, "\"sort\"},{");
    assert_body_has(a, "\"a\"},{");
    assert_body_has(a, "\"b\"}]");
}

static void test_body_mistakes(void **state)
{
    (void)state;
    const struct answer *a =
        asked((struct ask){ .route = STATUS, .json = "{\"status\":600,\"x/y\":1}" });
    assert_int_equal(a->status, 422);
    assert_string_equal(
        a->body, "{\"slug\":\"invalid-fields\",\"errors\":["
                 "{\"detail\":\"is 600; allowed are 0 to 599\",\"pointer\":\"#/status\"},"
                 "{\"detail\":\"is unknown; allowed are name, status\",\"pointer\":\"#/x~1y\"},"
                 "{\"detail\":\"is required\",\"pointer\":\"#/name\"}]}");
    a = asked((struct ask){ .route = STATUS, .json = "[]" });
    assert_int_equal(a->status, 422);
    assert_body_has(a, "{\"detail\":\"must be an object\",\"pointer\":\"#\"}");
    a = asked((struct ask){ .route = STATUS });
    assert_int_equal(a->status, 400);
    assert_body_has(a, "\"slug\":\"malformed-body\"");
    assert_int_equal(atomic_load(&written), 0);
}

static void test_who_calls(void **state)
{
    (void)state;
    const struct answer *a = asked(
        (struct ask){ .route = CALLER, .params = { "one", "two" }, .user = "u1", .role = "admin" });
    assert_string_equal(a->body, "{\"name\":\"u1 admin session 11 two\"}");
    a = asked((struct ask){ .route = CALLER, .params = { "one", "two" }, .user = "u2" });
    assert_string_equal(a->body, "{\"name\":\"u2 user session 00 two\"}");
    a = asked((struct ask){ .route = CALLER, .params = { "one", "" } });
    assert_string_equal(a->body, "{\"name\":\"   00 \"}"); // nobody
    assert_true(a->sensitive); // as its route
    a = asked((struct ask){ .route = REQUIRED });
    assert_int_equal(a->status, 401);
    assert_false(a->sensitive);
    assert_string_equal(trail, "");
    assert_int_equal(asked((struct ask){ .route = REQUIRED, .user = "u" })->status, 404);
}

// --- Requests that are not as the protocol says

static void put_request(struct buf *b, uint32_t route, size_t params)
{
    struct frame_request f = { .id = 1, .attempt = 1, .deadline_ms = 1000, .traceparent = STR("") };
    f.route = route;
    f.n_params = params;
    for (size_t i = 0; i < params; i++) {
        f.params[i] = STR("p");
    }
    buf_reset(b);
    frame_request_encode(b, &f);
}

static void test_malformed_requests(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, FRAME_MAX_BYTES);
    put_request(&b, sizeof routes / sizeof *routes, 0); // no such route
    assert_int_equal(dispatch_request(dispatch, link_a, buf_str(&b)), -EBADMSG);
    put_request(&b, CALLER, 1); // the pattern has two
    assert_int_equal(dispatch_request(dispatch, link_a, buf_str(&b)), -EBADMSG);
    put_request(&b, CALLER, 3);
    assert_int_equal(dispatch_request(dispatch, link_a, buf_str(&b)), -EBADMSG);
    put_request(&b, IN_READ, 0);
    for (size_t n = 0; n < b.len; n++) {
        assert_int_equal(dispatch_request(dispatch, link_a, (struct str){ b.data, n }), -EBADMSG);
    }
    buf_reset(&b);
    frame_number_encode(&b, FRAME_PING, 1);
    assert_int_equal(dispatch_request(dispatch, link_a, buf_str(&b)), -EBADMSG);
    assert_int_equal(dispatch_in_flight(dispatch), 0);
    buf_fini(&b);
}

// --- Late and unwanted

static void test_an_expired_request_is_not_begun(void **state)
{
    (void)state;
    // The writer thread is held by an earlier job until the deadline of this one is over.
    uint64_t holders[2] = { ask((struct ask){ .route = COMPUTE }),
                            ask((struct ask){ .route = COMPUTE }) };
    LOOP_UNTIL(atomic_load(&computing) == (int)dispatch_compute_threads(), LIMIT_MS);
    uint64_t late = ask((struct ask){ .route = COMPUTE, .deadline_ms = 50 });
    uint64_t wanted = ask((struct ask){ .route = COMPUTE });
    loop_for(100);
    let_go(3);
    assert_int_equal(answer_to(late)->status, 504);
    assert_body_has(answer_to(late), "\"slug\":\"deadline-exceeded\"");
    assert_int_equal(answer_to(wanted)->status, 204);
    assert_int_equal(answer_to(holders[0])->status, 204);
    assert_int_equal(answer_to(holders[1])->status, 204);
    assert_int_equal(atomic_load(&computed), 3); // not the late one
}

static sem_t store_gate;

static int hold_store(struct db *db, void *job)
{
    (void)db, (void)job;
    while (sem_wait(&store_gate)) {
    }
    return 0;
}

static void on_held(int status, int64_t store_us, void *job)
{
    (void)store_us;
    *(int *)job = status + 1;
}

static void test_an_expired_write_never_reaches_the_store(void **state)
{
    (void)state;
    int held = 0;
    assert_int_equal(sem_init(&store_gate, 0, 0), 0);
    assert_int_equal(store_submit(store, hold_store, on_held, &held), 0);
    uint64_t late = ask((struct ask){
        .route = STATUS, .json = "{\"name\":\"late\",\"status\":200}", .deadline_ms = 50 });
    uint64_t cancelled =
        ask((struct ask){ .route = STATUS, .json = "{\"name\":\"off\",\"status\":200}" });
    uint64_t lost = ask((struct ask){
        .route = STATUS, .json = "{\"name\":\"lost\",\"status\":200}", .link = link_b });
    uint64_t wanted =
        ask((struct ask){ .route = STATUS, .json = "{\"name\":\"ok\",\"status\":200}" });
    dispatch_cancel(dispatch, link_a, cancelled);
    dispatch_cancel(dispatch, link_b, wanted); // of another connection: not its request
    dispatch_cancel(dispatch, link_a, 999999);
    dispatch_forget(dispatch, link_b);
    loop_for(100);
    assert_int_equal(sem_post(&store_gate), 0);
    assert_int_equal(answer_to(wanted)->status, 200);
    assert_int_equal(answer_to(late)->status, 504);
    assert_int_equal(answer_to(cancelled)->status, 504); // the gateway drops it
    LOOP_UNTIL(dispatch_in_flight(dispatch) == 0, LIMIT_MS);
    assert_false(answer_now(lost)->there); // nobody is there to get it
    assert_int_equal(atomic_load(&written), 1);
    assert_int_equal(stored_number("SELECT count(*) FROM t"), 1);
    LOOP_UNTIL(held, LIMIT_MS);
}

static void test_a_deadline_that_is_over_when_it_comes(void **state)
{
    (void)state;
    const struct answer *a = asked((struct ask){ .route = STAGES, .expired = true });
    assert_int_equal(a->status, 504);
    assert_body_has(a, "\"slug\":\"deadline-exceeded\"");
    assert_string_equal(trail, "");
}

// One query has the loop, and with it everybody else, for so long and no longer.
static void test_a_query_without_end(void **state)
{
    (void)state;
    int64_t began_ms = clock_mono_ms();
    const struct answer *a = asked((struct ask){ .route = ENDLESS, .deadline_ms = 100 });
    int64_t took_ms = clock_mono_ms() - began_ms;
    assert_int_equal(a->status, 504);
    assert_body_has(a, "\"slug\":\"deadline-exceeded\"");
    assert_in_range(took_ms, 95, WORKER_READ_MS - 1);
    a = asked((struct ask){ .route = ENDLESS, .deadline_ms = 60000 });
    assert_int_equal(a->status, 504);
    assert_in_range(clock_mono_ms() - began_ms - took_ms, WORKER_READ_MS, 10 * WORKER_READ_MS);
    assert_int_equal(sample("sluice_store_failures_total{operation=\"read\"}"), 2);
    assert_int_equal(asked((struct ask){ .route = STAGES })->status, 201); // others are not cut off
}

// --- Limits

static void test_the_compute_queue_has_a_limit(void **state)
{
    (void)state;
    uint64_t ids[WORKER_COMPUTE_THREADS + WORKER_COMPUTE_QUEUE];
    int threads = (int)dispatch_compute_threads(), taken = threads + WORKER_COMPUTE_QUEUE;
    for (int i = 0; i < taken; i++) {
        ids[i] = ask((struct ask){ .route = COMPUTE });
    }
    const struct answer *a = asked((struct ask){ .route = COMPUTE });
    assert_int_equal(a->status, 503);
    assert_body_has(a, "\"slug\":\"overloaded\"");
    assert_header(a, "retry-after", "1");
    LOOP_UNTIL(atomic_load(&computing) == threads, LIMIT_MS);
    loop_for(50);
    assert_int_equal(atomic_load(&computing), threads); // never more at once
    assert_int_equal(asked((struct ask){ .route = IN_READ })->status,
                     404); // others go on meanwhile
    let_go(taken);
    for (int i = 0; i < taken; i++) {
        assert_int_equal(answer_to(ids[i])->status, 204);
    }
    assert_true(answer_to(ids[taken - 1])->queue_us >=
                50000); // waiting is told apart from computing
}

static void test_over_the_capacity(void **state)
{
    (void)state;
    calls_close();
    calls_open(&service, 3);
    uint64_t ids[3];
    for (int i = 0; i < 3; i++) {
        ids[i] = ask((struct ask){ .route = COMPUTE });
    }
    assert_int_equal(dispatch_in_flight(dispatch), 3);
    const struct answer *a = asked((struct ask){ .route = IN_READ });
    assert_true(a->returned);
    assert_string_equal(a->reason, "full");
    assert_string_equal(trail, "");
    loop_for(30);
    assert_true(dispatch_oldest_ms(dispatch) >= 25);
    let_go(3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(answer_to(ids[i])->status, 204);
    }
    assert_int_equal(dispatch_oldest_ms(dispatch), 0);
    assert_int_equal(asked((struct ask){ .route = IN_READ })->status, 404);
}

static void test_late_calls_are_told_from_long_ones(void **state)
{
    (void)state;
    uint64_t long_one = ask((struct ask){ .route = COMPUTE });
    loop_for(30);
    assert_true(dispatch_oldest_ms(dispatch) >= 25);
    assert_int_equal(dispatch_late_ms(dispatch), 0);
    let_go(1);
    assert_int_equal(answer_to(long_one)->status, 204);
    uint64_t late = ask((struct ask){ .route = COMPUTE, .deadline_ms = 100 });
    LOOP_UNTIL(dispatch_late_ms(dispatch) >= 20, 5000);
    assert_true(dispatch_oldest_ms(dispatch) >= 120);
    let_go(1);
    (void)answer_to(late);
    assert_int_equal(dispatch_late_ms(dispatch), 0);
}

// Time runs from the arrival on, also for those that wait behind others in the loop.
static void test_waiting_for_the_loop(void **state)
{
    (void)state;
    uint64_t first = ask((struct ask){ .route = SLOW });
    assert_true(answer_now(first)->there); // at once, if nobody is before it
    uint64_t wanted = ask((struct ask){ .route = SLOW });
    uint64_t late = ask((struct ask){ .route = SLOW, .deadline_ms = 1 });
    uint64_t cancelled = ask((struct ask){ .route = SLOW });
    uint64_t lost = ask((struct ask){ .route = SLOW, .link = link_b });
    uint64_t write = ask((struct ask){ .route = STAGES });
    assert_false(answer_now(wanted)->there || answer_now(write)->there);
    assert_int_equal(dispatch_in_flight(dispatch), 5);
    dispatch_cancel(dispatch, link_a, cancelled);
    dispatch_forget(dispatch, link_b);
    assert_int_equal(answer_to(late)->status, 504);
    assert_int_equal(answer_to(wanted)->status, 204);
    assert_true(answer_to(late)->queue_us >= 1000);
    assert_int_equal(answer_to(write)->status, 201);
    LOOP_UNTIL(dispatch_in_flight(dispatch) == 0, LIMIT_MS);
    assert_false(answer_now(lost)->there);
    assert_int_equal(slow_reads, 2);
}

// Two queues, one after the other: for the loop, and then for a thread.
static void test_waiting_for_the_loop_and_then_for_a_thread(void **state)
{
    (void)state;
    enum { ASKED = 20 };
    uint64_t ids[ASKED];
    (void)ask((struct ask){ .route = SLOW }); // the others wait for the loop
    for (int i = 0; i < ASKED; i++) {
        ids[i] = ask((struct ask){ .route = COMPUTE });
    }
    LOOP_UNTIL(atomic_load(&computing) == (int)dispatch_compute_threads(), LIMIT_MS);
    let_go(ASKED);
    for (int i = 0; i < ASKED; i++) {
        assert_int_equal(answer_to(ids[i])->status, 204);
    }
    LOOP_UNTIL(dispatch_in_flight(dispatch) == 0, LIMIT_MS);
}

// More than can be done in good time is given back, and less of it is taken from then on.
static void test_too_slow_for_so_many(void **state)
{
    (void)state;
    enum { ASKED = 76 }; // the first is answered at once; then as many as one class may have
    uint64_t ids[ASKED];
    uint32_t limits[FRAME_CLASSES];
    for (int i = 0; i < ASKED; i++) {
        ids[i] = ask((struct ask){ .route = SLOW });
    }
    uint64_t more = ask((struct ask){ .route = SLOW });
    assert_string_equal(answer_now(more)->reason, "full"); // at once
    assert_int_equal(asked((struct ask){ .route = SILENT })->status,
                     500); // others are not shut out
    int done = 0, returned = 0;
    for (int i = 0; i < ASKED; i++) {
        const struct answer *a = answer_to(ids[i]);
        returned += a->returned;
        done += !a->returned;
        assert_true(!a->returned || strcmp(a->reason, "full") == 0);
        assert_true(a->returned || returned == 0 ||
                    i < ASKED - returned); // the first ones are kept
    }
    dispatch_limits(dispatch, limits);
    assert_true(limits[FRAME_CLASS_READ] < 20);
    assert_int_equal(limits[FRAME_CLASS_WRITE], 32);
    assert_true(returned > 0 && done == slow_reads);
    assert_int_equal(dispatch_in_flight(dispatch), 0);
}

static void test_draining(void **state)
{
    (void)state;
    uint64_t id = ask((struct ask){ .route = COMPUTE });
    dispatch_drain(dispatch);
    const struct answer *a = asked((struct ask){ .route = IN_READ });
    assert_true(a->returned);
    assert_string_equal(a->reason, "draining");
    loop_for(30);
    assert_int_equal(idle_calls, 0);
    let_go(1);
    assert_int_equal(answer_to(id)->status, 204); // what was accepted is finished
    assert_int_equal(idle_calls, 1);
    calls_close();
    calls_open(&service, 1);
    dispatch_drain(dispatch);
    assert_int_equal(idle_calls, 1); // at once
}

static void test_a_reader_returns_writes(void **state)
{
    (void)state;
    calls_close();
    calls_open_reader(&service, 10);
    assert_null(store_reader(store)); // it has not looked yet: not even reads can be served
    assert_string_equal(asked((struct ask){ .route = QUERY })->reason, "not-writer");
    LOOP_UNTIL(store_reader(store), LIMIT_MS);
    assert_int_equal(asked((struct ask){ .route = QUERY })->status, 200);
    const struct answer *a = asked((struct ask){ .route = STAGES });
    assert_true(a->returned);
    assert_string_equal(a->reason, "not-writer");
    assert_string_equal(trail, "");
}

static void test_abandoned_calls_get_no_answer(void **state)
{
    (void)state;
    uint64_t id = ask((struct ask){ .route = COMPUTE });
    LOOP_UNTIL(atomic_load(&computing) == 1, LIMIT_MS);
    dispatch_abandon(dispatch);
    let_go(1);
    LOOP_UNTIL(dispatch_in_flight(dispatch) == 0, LIMIT_MS);
    assert_false(answer_now(id)->there);
}

// Recycled calls know nothing of those before them.
static void test_calls_do_not_mix(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        const struct answer *a;
        switch (i % 4) {
        case 0:
            a = asked((struct ask){ .route = QUERY, .query = { "text", "first", "sort", "down" } });
            assert_body_has(a, "first/down//20");
            break;
        case 1:
            a = asked((struct ask){ .route = QUERY });
            assert_body_has(a, "\"/up//20\"");
            break;
        case 2:
            a = asked((struct ask){ .route = QUERY, .query = { "bad", "x" } });
            assert_int_equal(a->status, 400);
            break;
        default:
            a = asked((struct ask){ .route = IN_READ });
            assert_string_equal(a->body,
                                "{\"slug\":\"not-found\",\"detail\":\"there is no such thing\"}");
        }
        assert_string_equal(a->headers, "");
        trail[0] = '\0';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_stages_run_in_order),
        CASE(test_an_answer_ends_the_call),
        CASE(test_a_handler_that_forgets_to_answer),
        CASE(test_stages_that_fail),
        CASE(test_a_reply_over_the_limit),
        CASE(test_an_answer_of_400_and_above_undoes),
        CASE(test_undoing_leaves_the_neighbours),
        CASE(test_query_values),
        CASE(test_query_mistakes),
        CASE(test_body_mistakes),
        CASE(test_who_calls),
        CASE(test_malformed_requests),
        CASE(test_an_expired_request_is_not_begun),
        CASE(test_an_expired_write_never_reaches_the_store),
        CASE(test_a_deadline_that_is_over_when_it_comes),
        CASE(test_a_query_without_end),
        CASE(test_the_compute_queue_has_a_limit),
        CASE(test_over_the_capacity),
        CASE(test_late_calls_are_told_from_long_ones),
        CASE(test_waiting_for_the_loop),
        CASE(test_waiting_for_the_loop_and_then_for_a_thread),
        CASE(test_too_slow_for_so_many),
        CASE(test_draining),
        CASE(test_a_reader_returns_writes),
        CASE(test_abandoned_calls_get_no_answer),
        CASE(test_calls_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
