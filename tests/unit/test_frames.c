// SPDX-License-Identifier: MIT
// Every frame between gateway and worker comes back as it went; what is shorter, damaged or over a limit of
// PROTOCOL.md is refused without a look outside it; what a newer peer adds does no harm.
#include "proto/frames.h"

#include "proto/writer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct buf b;
static struct frame_hello hello;
static struct frame_request request;
static struct frame_reply reply;

static int open_buf(void **state)
{
    (void)state;
    buf_init(&b, FRAME_MAX_BYTES);
    return 0;
}

static int close_buf(void **state)
{
    (void)state;
    buf_fini(&b);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_buf, close_buf)

// Decodes any frame by its type.
static int decode(struct str frame)
{
    struct reader r = reader_of(frame);
    enum frame_type type;
    uint32_t fields;
    uint64_t number;
    struct str s, t;
    struct frame_welcome welcome;
    struct frame_pong pong;
    struct frame_credit credit;
    int rc = frame_open(&r, &type, &fields);
    if (rc) {
        return rc;
    }
    switch (type) {
    case FRAME_HELLO:
        return frame_hello_decode(&r, fields, &hello);
    case FRAME_WELCOME:
        return frame_welcome_decode(&r, fields, &welcome);
    case FRAME_REFUSED:
        return frame_refused_decode(&r, fields, &s, &t);
    case FRAME_REQUEST:
        return frame_request_decode(&r, fields, &request);
    case FRAME_REPLY:
        return frame_reply_decode(&r, fields, &reply);
    case FRAME_RETURN:
        return frame_return_decode(&r, fields, &number, &s);
    case FRAME_PONG:
        return frame_pong_decode(&r, fields, &pong);
    case FRAME_READY:
    case FRAME_CREDIT:
        return frame_credit_decode(&r, fields, &credit);
    case FRAME_DRAINING:
    case FRAME_GOODBYE:
    case FRAME_PADDING:
        return 0;
    default:
        return frame_number_decode(&r, fields, &number);
    }
}

// The frame in b decodes; every shorter form of it is refused; no turned bit makes a decoder read outside (each
// copy has exactly its size, so that ASan sees it); and elements added at its end are not looked at.
static void assert_sturdy(void)
{
    assert_true(buf_ok(&b));
    assert_int_equal(decode(buf_str(&b)), 0);
    for (size_t n = 0; n < b.len; n++) {
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        assert_int_equal(decode((struct str){ copy, n }), -EBADMSG);
        free(copy);
    }
    char *copy = malloc(b.len);
    assert_non_null(copy);
    for (size_t bit = 0; bit < 8 * b.len; bit++) {
        memcpy(copy, b.data, b.len);
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        (void)decode((struct str){ copy, b.len });
    }
    free(copy);
    assert_int_equal(b.data[0] & 0xF0, 0x90); // a short array: one element more is one more here
    b.data[0]++;
    writer_str(&b, STR("from a newer peer"));
    assert_int_equal(decode(buf_str(&b)), 0);
}

// Opens the frame in b, which must be of this type.
static struct reader opened(enum frame_type expected, uint32_t *ret_fields)
{
    struct reader r = reader_of(buf_str(&b));
    enum frame_type type;
    assert_int_equal(frame_open(&r, &type, ret_fields), 0);
    assert_int_equal(type, expected);
    return r;
}

static void assert_str(struct str s, const char *expected)
{
    assert_true(str_eq(s, str_of(expected)));
}

// --- Opening

static void test_open(void **state)
{
    (void)state;
    static const struct {
        struct str bytes;
        int rc;
    } cases[] = {
        { STR_INIT("\x91\x01"), 0 },        { STR_INIT("\x91\x0F"), 0 },
        { STR_INIT("\x91\x00"), -EBADMSG }, { STR_INIT("\x91\x10"), -EBADMSG },
        { STR_INIT("\x90"), -EBADMSG },     { STR_INIT("\x91\xFF"), -EBADMSG },
        { STR_INIT("\x91\xA1\x01"), -EBADMSG }, { STR_INIT("\x81\x01\x01"), -EBADMSG },
        { STR_INIT(""), -EBADMSG },         { STR_INIT("\x91\xCF\x01\x00\x00\x00\x00\x00\x00\x01"), -EBADMSG },
        { STR_INIT("\x91\xCE\x00\x00\x00\x0D"), 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader r = reader_of(cases[i].bytes);
        enum frame_type type;
        uint32_t fields = 7;
        assert_int_equal(frame_open(&r, &type, &fields), cases[i].rc);
        assert_int_equal(fields, cases[i].rc ? 7 : 0);
    }
}

// --- HELLO

static void fill_hello(struct frame_hello *f)
{
    memset(f, 0, sizeof *f);
    f->protocol = FRAME_PROTOCOL_VERSION;
    f->service = STR("orders");
    f->version = STR("0.1.0");
    f->instance = STR("orders-1");
    f->role = FRAME_ROLE_WRITER;
    f->capacity = 65535;
    f->heartbeat_ms = 50;
    f->schema = STR("abcdef");
    f->n_routes = 2;
    f->routes[0] = (struct frame_route){ .method = STR("POST"),
                                         .pattern = STR("/v1/orders/{id}/pay"),
                                         .write = true,
                                         .keyed = true,
                                         .auth = FRAME_AUTH_REQUIRED,
                                         .body = FRAME_BODY_MERGE_PATCH,
                                         .deadline_ms = 1000,
                                         .max_body_bytes = UINT32_MAX,
                                         .headers = { STR("if-match"), STR("idempotency-key") },
                                         .n_headers = 2,
                                         .operation = STR("{\"operationId\":\"payOrder\"}"),
                                         .sensitive = true,
                                         .internal = true,
                                         .load = FRAME_CLASS_COMPUTE,
                                         .low = true };
    f->routes[1] = (struct frame_route){ .method = STR("GET"), .pattern = STR("/v1/orders") };
    f->problems[0] = (struct frame_problem){ STR("no-such-thing"), 410, STR("No such thing"), STR("It is gone.") };
    f->n_problems = 1;
    f->schemas[0] = (struct frame_pair){ STR("order"), STR("{}") };
    f->n_schemas = 1;
    f->summary = STR("products and orders");
    f->events[0] = (struct frame_pair){ STR("orders.order.paid"), STR("{\"name\":\"x\"}") };
    f->n_events = 1;
}

static void test_hello(void **state)
{
    (void)state;
    static struct frame_hello f;
    fill_hello(&f);
    frame_hello_encode(&b, &f);
    uint32_t fields;
    struct reader r = opened(FRAME_HELLO, &fields);
    assert_int_equal(fields, 1);
    assert_int_equal(frame_hello_decode(&r, fields, &hello), 0);
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(hello.protocol, 1);
    assert_str(hello.service, "orders");
    assert_str(hello.version, "0.1.0");
    assert_str(hello.instance, "orders-1");
    assert_int_equal(hello.role, FRAME_ROLE_WRITER);
    assert_int_equal(hello.capacity, 65535);
    assert_int_equal(hello.heartbeat_ms, 50);
    assert_str(hello.schema, "abcdef");
    assert_int_equal(hello.n_routes, 2);
    const struct frame_route *route = &hello.routes[0];
    assert_str(route->method, "POST");
    assert_str(route->pattern, "/v1/orders/{id}/pay");
    assert_true(route->write && route->keyed);
    assert_int_equal(route->auth, FRAME_AUTH_REQUIRED);
    assert_int_equal(route->body, FRAME_BODY_MERGE_PATCH);
    assert_int_equal(route->deadline_ms, 1000);
    assert_true(route->max_body_bytes == UINT32_MAX);
    assert_int_equal(route->n_headers, 2);
    assert_str(route->headers[1], "idempotency-key");
    assert_str(route->operation, "{\"operationId\":\"payOrder\"}");
    assert_true(route->sensitive && route->internal);
    assert_int_equal(route->load, FRAME_CLASS_COMPUTE);
    assert_true(route->low && !hello.routes[1].low);
    assert_false(hello.routes[1].internal);
    assert_false(hello.routes[1].write || hello.routes[1].keyed || hello.routes[1].sensitive);
    assert_int_equal(hello.n_problems, 1);
    assert_str(hello.problems[0].slug, "no-such-thing");
    assert_int_equal(hello.problems[0].status, 410);
    assert_str(hello.problems[0].meaning, "It is gone.");
    assert_int_equal(hello.n_schemas, 1);
    assert_str(hello.schemas[0].name, "order");
    assert_str(hello.summary, "products and orders");
    assert_int_equal(hello.n_events, 1);
    assert_str(hello.events[0].name, "orders.order.paid");
    assert_str(hello.events[0].value, "{\"name\":\"x\"}");
    assert_sturdy();
}

// Encodes and decodes f; the result.
static int again(const struct frame_hello *f)
{
    buf_reset(&b);
    frame_hello_encode(&b, f);
    assert_true(buf_ok(&b));
    return decode(buf_str(&b));
}

static void test_hello_limits(void **state)
{
    (void)state;
    static struct frame_hello f;
    fill_hello(&f);
    f.n_routes = FRAME_MAX_ROUTES;
    f.n_problems = FRAME_MAX_PROBLEMS;
    f.n_schemas = FRAME_MAX_SCHEMAS;
    f.n_events = FRAME_MAX_EVENTS;
    for (size_t i = 0; i < FRAME_MAX_ROUTES; i++) {
        f.routes[i] = f.routes[0];
        f.routes[i].n_headers = FRAME_MAX_HEADERS;
        for (size_t k = 0; k < FRAME_MAX_HEADERS; k++) {
            f.routes[i].headers[k] = STR("x-h");
        }
    }
    for (size_t i = 0; i < FRAME_MAX_PROBLEMS; i++) {
        f.problems[i] = f.problems[0];
        f.schemas[i] = f.schemas[0];
        f.events[i] = f.events[0];
    }
    assert_int_equal(again(&f), 0);
    assert_int_equal(hello.n_routes, FRAME_MAX_ROUTES);
    assert_int_equal(hello.routes[127].n_headers, FRAME_MAX_HEADERS);
    assert_int_equal(hello.n_problems, FRAME_MAX_PROBLEMS);
    assert_int_equal(hello.n_schemas, FRAME_MAX_SCHEMAS);
    assert_int_equal(hello.n_events, FRAME_MAX_EVENTS);

    // Names of the service and the instance, and numbers.
    static const struct {
        struct str service, instance;
        uint32_t capacity, heartbeat_ms;
        int rc;
    } cases[] = {
        { STR_INIT("a"), STR_INIT("i"), 1, 60000, 0 },
        { STR_INIT("a23456789-123456789-123456789-12"), STR_INIT("i"), 1, 50, 0 },
        { STR_INIT("a23456789-123456789-123456789-123"), STR_INIT("i"), 1, 50, -EBADMSG },
        { STR_INIT(""), STR_INIT("i"), 1, 50, -EBADMSG },
        { STR_INIT("1a"), STR_INIT("i"), 1, 50, -EBADMSG },
        { STR_INIT("-a"), STR_INIT("i"), 1, 50, -EBADMSG },
        { STR_INIT("A"), STR_INIT("i"), 1, 50, -EBADMSG },
        { STR_INIT("a_b"), STR_INIT("i"), 1, 50, -EBADMSG },
        { STR_INIT("a"), STR_INIT(""), 1, 50, -EBADMSG },
        { STR_INIT("a"), STR_INIT("0123456789012345678901234567890123456789012345678901234567890123"), 1, 50, 0 },
        { STR_INIT("a"), STR_INIT("01234567890123456789012345678901234567890123456789012345678901234"), 1, 50,
          -EBADMSG },
        { STR_INIT("a"), STR_INIT("i"), 0, 50, -EBADMSG },
        { STR_INIT("a"), STR_INIT("i"), 65536, 50, -EBADMSG },
        { STR_INIT("a"), STR_INIT("i"), 1, 49, -EBADMSG },
        { STR_INIT("a"), STR_INIT("i"), 1, 60001, -EBADMSG },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fill_hello(&f);
        f.service = cases[i].service;
        f.instance = cases[i].instance;
        f.capacity = cases[i].capacity;
        f.heartbeat_ms = cases[i].heartbeat_ms;
        assert_int_equal(again(&f), cases[i].rc);
    }
}

static void test_hello_enumerations_and_problems(void **state)
{
    (void)state;
    static struct frame_hello f;
    fill_hello(&f);
    f.role = (enum frame_role)3;
    assert_int_equal(again(&f), -EBADMSG);
    fill_hello(&f);
    f.routes[1].auth = (enum frame_auth)3;
    assert_int_equal(again(&f), -EBADMSG);
    fill_hello(&f);
    f.routes[1].body = (enum frame_body)3;
    assert_int_equal(again(&f), -EBADMSG);
    fill_hello(&f);
    f.routes[1].method = STR("");
    assert_int_equal(again(&f), -EBADMSG);
    fill_hello(&f);
    f.routes[1].pattern = STR("");
    assert_int_equal(again(&f), -EBADMSG);
    static const int64_t statuses[] = { 399, 600, -1, INT64_MAX };
    for (size_t i = 0; i < 4; i++) {
        fill_hello(&f);
        f.problems[0].status = statuses[i];
        assert_int_equal(again(&f), -EBADMSG);
    }
    fill_hello(&f);
    f.problems[0].slug = STR("");
    assert_int_equal(again(&f), -EBADMSG);
}

// A HELLO with a member of our own making beside the ones that it must have.
static int hello_with(const char *key, void (*value)(void))
{
    buf_reset(&b);
    writer_array(&b, 2);
    writer_int(&b, FRAME_HELLO);
    writer_map(&b, 5);
    writer_key(&b, "service");
    writer_str(&b, STR("s"));
    writer_key(&b, "instance");
    writer_str(&b, STR("s-1"));
    writer_key(&b, "capacity");
    writer_int(&b, 1);
    writer_key(&b, "heartbeat_ms");
    writer_int(&b, 250);
    writer_key(&b, key);
    value();
    return decode(buf_str(&b));
}

static void put_tree(void)
{
    writer_map(&b, 1);
    writer_array(&b, 1);
    writer_nil(&b);
    writer_bool(&b, true);
}

static void put_minus_one(void)
{
    writer_int(&b, -1);
}

static void put_129_routes(void)
{
    writer_array(&b, FRAME_MAX_ROUTES + 1);
    for (int i = 0; i <= FRAME_MAX_ROUTES; i++) {
        writer_map(&b, 3);
        writer_key(&b, "method");
        writer_str(&b, STR("GET"));
        writer_key(&b, "unheard-of");
        put_tree();
        writer_key(&b, "pattern");
        writer_str(&b, STR("/"));
    }
}

static void put_one_strange_route(void)
{
    writer_array(&b, 1);
    writer_map(&b, 3);
    writer_key(&b, "method");
    writer_str(&b, STR("GET"));
    writer_key(&b, "unheard-of");
    put_tree();
    writer_key(&b, "pattern");
    writer_str(&b, STR("/"));
}

static void put_17_headers(void)
{
    writer_array(&b, 1);
    writer_map(&b, 1);
    writer_key(&b, "headers");
    writer_array(&b, FRAME_MAX_HEADERS + 1);
    for (int i = 0; i <= FRAME_MAX_HEADERS; i++) {
        writer_str(&b, STR("h"));
    }
}

static void put_65_problems(void)
{
    writer_array(&b, FRAME_MAX_PROBLEMS + 1);
    for (int i = 0; i <= FRAME_MAX_PROBLEMS; i++) {
        writer_map(&b, 2);
        writer_key(&b, "slug");
        writer_str(&b, STR("s"));
        writer_key(&b, "status");
        writer_int(&b, 400);
    }
}

static void put_65_schemas(void)
{
    writer_map(&b, FRAME_MAX_SCHEMAS + 1);
    for (int i = 0; i < 2 * (FRAME_MAX_SCHEMAS + 1); i++) {
        writer_str(&b, STR("s"));
    }
}

static void test_hello_of_another_version(void **state)
{
    (void)state;
    assert_int_equal(hello_with("colour", put_tree), 0);
    assert_int_equal(hello_with("routes", put_one_strange_route), 0);
    assert_int_equal(hello.n_routes, 1);
    assert_int_equal(hello_with("routes", put_129_routes), -EBADMSG);
    assert_int_equal(hello_with("routes", put_17_headers), -EBADMSG);
    assert_int_equal(hello_with("problems", put_65_problems), -EBADMSG);
    assert_int_equal(hello_with("schemas", put_65_schemas), -EBADMSG);
    assert_int_equal(hello_with("events", put_65_schemas), -EBADMSG);
    assert_int_equal(hello_with("summary", put_tree), -EBADMSG);
    assert_int_equal(hello_with("capacity", put_minus_one), -EBADMSG);
    assert_int_equal(hello_with("role", put_minus_one), -EBADMSG);
    assert_int_equal(hello_with("protocol", put_minus_one), 0); // refused by its number, not as malformed
    assert_int_equal(hello_with("protocol", put_tree), -EBADMSG);
}

// --- REQUEST

static void fill_request(struct frame_request *f)
{
    memset(f, 0, sizeof *f);
    f->id = UINT64_MAX;
    f->attempt = 2;
    f->deadline_ms = 5000;
    f->traceparent = STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    f->principal = (struct frame_principal){ STR("u"), STR("admin"), STR("s") };
    f->route = 7;
    f->n_params = 1;
    f->params[0] = STR("a/b");
    f->n_query = 2;
    f->query[0] = (struct frame_pair){ STR("q"), STR("") };
    f->query[1] = (struct frame_pair){ STR("q"), STR("\xFF") };
    f->n_headers = 1;
    f->headers[0] = (struct frame_pair){ STR("if-match"), STR("\"1\"") };
    f->body = STR("\x80");
    f->client = STR("2001:db8::1");
}

static void test_request(void **state)
{
    (void)state;
    struct frame_request f;
    fill_request(&f);
    frame_request_encode(&b, &f);
    uint32_t fields;
    struct reader r = opened(FRAME_REQUEST, &fields);
    assert_int_equal(frame_request_decode(&r, fields, &request), 0);
    assert_true(request.id == UINT64_MAX);
    assert_int_equal(request.attempt, 2);
    assert_int_equal(request.deadline_ms, 5000);
    assert_int_equal(request.traceparent.n, 55);
    assert_str(request.principal.id, "u");
    assert_str(request.principal.role, "admin");
    assert_str(request.principal.session, "s");
    assert_int_equal(request.route, 7);
    assert_int_equal(request.n_params, 1);
    assert_str(request.params[0], "a/b");
    assert_int_equal(request.n_query, 2);
    assert_str(request.query[1].value, "\xFF");
    assert_int_equal(request.n_headers, 1);
    assert_str(request.headers[0].value, "\"1\"");
    assert_str(request.body, "\x80");
    assert_str(request.client, "2001:db8::1");
    assert_sturdy();
}

static void test_request_of_nobody_without_body(void **state)
{
    (void)state;
    struct frame_request f = {
        .id = 1, .attempt = 1, .traceparent = STR(""), .client = STR("")
    };
    memset(&request, 'x', sizeof request);
    frame_request_encode(&b, &f);
    uint32_t fields;
    struct reader r = opened(FRAME_REQUEST, &fields);
    assert_int_equal(frame_request_decode(&r, fields, &request), 0);
    assert_null(request.principal.id.p);
    assert_null(request.principal.role.p);
    assert_null(request.body.p);
    assert_int_equal(request.client.n, 0);
    assert_int_equal(request.n_params + request.n_query + request.n_headers, 0);
    assert_sturdy();
}

// As a gateway sends it that does not know of the field `client` yet.
static int request_with(size_t params, size_t query, size_t headers)
{
    static const struct frame_pair pair = { STR_INIT("n"), STR_INIT("v") };
    buf_reset(&b);
    writer_array(&b, 11);
    writer_int(&b, FRAME_REQUEST);
    for (int i = 0; i < 3; i++) {
        writer_int(&b, 1);
    }
    writer_str(&b, STR(""));
    writer_nil(&b);
    writer_int(&b, 0);
    writer_array(&b, (uint32_t)params);
    for (size_t i = 0; i < params; i++) {
        writer_str(&b, STR("p"));
    }
    for (int list = 0; list < 2; list++) {
        size_t n = list ? headers : query;
        writer_array(&b, (uint32_t)n);
        for (size_t i = 0; i < n; i++) {
            writer_array(&b, 2);
            writer_str(&b, pair.name);
            writer_str(&b, pair.value);
        }
    }
    writer_nil(&b);
    return decode(buf_str(&b));
}

static void test_request_limits(void **state)
{
    (void)state;
    assert_int_equal(request_with(FRAME_MAX_PARAMS, FRAME_MAX_QUERY, FRAME_MAX_HEADERS), 0);
    assert_int_equal(request.n_params, FRAME_MAX_PARAMS);
    assert_int_equal(request.n_query, FRAME_MAX_QUERY);
    assert_int_equal(request.n_headers, FRAME_MAX_HEADERS);
    assert_true(request.client.p && request.client.n == 0);
    assert_int_equal(request_with(FRAME_MAX_PARAMS + 1, 0, 0), -EBADMSG);
    assert_int_equal(request_with(0, FRAME_MAX_QUERY + 1, 0), -EBADMSG);
    assert_int_equal(request_with(0, 0, FRAME_MAX_HEADERS + 1), -EBADMSG);
}

static void test_request_fields_of_another_kind(void **state)
{
    (void)state;
    struct frame_request f;
    fill_request(&f);
    frame_request_encode(&b, &f);
    // Each field in turn becomes `true`, which none of them is.
    struct reader r = reader_of(buf_str(&b));
    uint32_t count;
    assert_int_equal(reader_array(&r, &count), 0);
    for (uint32_t field = 0; field < count; field++) {
        struct buf changed;
        struct str raw;
        const char *start = (const char *)r.p;
        assert_int_equal(reader_raw(&r, &raw), 0);
        buf_init(&changed, FRAME_MAX_BYTES);
        buf_append(&changed, b.data, (size_t)(start - b.data));
        writer_bool(&changed, true);
        buf_append(&changed, raw.p + raw.n, (size_t)(b.data + b.len - (raw.p + raw.n)));
        assert_int_equal(decode(buf_str(&changed)), -EBADMSG);
        buf_fini(&changed);
    }
    assert_int_equal(reader_left(&r), 0);
}

// --- REPLY and the small ones

static void test_reply(void **state)
{
    (void)state;
    struct frame_reply f = { .id = 9, .status = 201, .n_headers = FRAME_MAX_HEADERS, .queue_us = 1,
                             .handler_us = 2, .store_us = UINT32_MAX, .body = STR("\xA1x") };
    for (size_t i = 0; i < FRAME_MAX_HEADERS; i++) {
        f.headers[i] = (struct frame_pair){ STR("location"), STR("/v1/orders/1") };
    }
    frame_reply_encode(&b, &f);
    uint32_t fields;
    struct reader r = opened(FRAME_REPLY, &fields);
    assert_int_equal(frame_reply_decode(&r, fields, &reply), 0);
    assert_int_equal(reply.id, 9);
    assert_int_equal(reply.status, 201);
    assert_int_equal(reply.n_headers, FRAME_MAX_HEADERS);
    assert_str(reply.headers[15].value, "/v1/orders/1");
    assert_int_equal(reply.queue_us, 1);
    assert_int_equal(reply.handler_us, 2);
    assert_true(reply.store_us == UINT32_MAX);
    assert_str(reply.body, "\xA1x");
    assert_sturdy();
}

static void test_reply_statuses(void **state)
{
    (void)state;
    static const struct {
        uint32_t status;
        int rc;
    } cases[] = { { 199, -EBADMSG }, { 200, 0 }, { 599, 0 }, { 600, -EBADMSG }, { 0, -EBADMSG } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct frame_reply f = { .id = 1, .status = cases[i].status };
        buf_reset(&b);
        frame_reply_encode(&b, &f);
        assert_int_equal(decode(buf_str(&b)), cases[i].rc);
    }
}

static void test_welcome_and_pong(void **state)
{
    (void)state;
    struct frame_welcome welcome = { STR("gateway-1"), 250 }, welcomed;
    struct frame_pong pong = { UINT64_MAX, 12, 34 }, ponged;
    uint32_t fields;
    frame_welcome_encode(&b, &welcome);
    struct reader r = opened(FRAME_WELCOME, &fields);
    assert_int_equal(frame_welcome_decode(&r, fields, &welcomed), 0);
    assert_str(welcomed.gateway, "gateway-1");
    assert_int_equal(welcomed.heartbeat_ms, 250);
    assert_sturdy();
    buf_reset(&b);
    frame_pong_encode(&b, &pong);
    r = opened(FRAME_PONG, &fields);
    assert_int_equal(frame_pong_decode(&r, fields, &ponged), 0);
    assert_true(ponged.token == UINT64_MAX);
    assert_int_equal(ponged.oldest_ms, 12);
    assert_int_equal(ponged.in_flight, 34);
    assert_sturdy();
}

static void test_words(void **state)
{
    (void)state;
    struct str reason, detail;
    uint64_t id;
    uint32_t fields;
    frame_refused_encode(&b, STR("unknown-peer"), STR(""));
    struct reader r = opened(FRAME_REFUSED, &fields);
    assert_int_equal(frame_refused_decode(&r, fields, &reason, &detail), 0);
    assert_str(reason, "unknown-peer");
    assert_int_equal(detail.n, 0);
    assert_sturdy();
    buf_reset(&b);
    frame_return_encode(&b, 77, STR("full"));
    r = opened(FRAME_RETURN, &fields);
    assert_int_equal(frame_return_decode(&r, fields, &id, &reason), 0);
    assert_int_equal(id, 77);
    assert_str(reason, "full");
    assert_sturdy();
}

static void test_numbers_and_plain_frames(void **state)
{
    (void)state;
    static const enum frame_type numbers[] = { FRAME_CANCEL, FRAME_PING, FRAME_ROLE };
    static const enum frame_type plain[] = { FRAME_DRAINING, FRAME_GOODBYE };
    uint32_t fields;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t number = 0;
        buf_reset(&b);
        frame_number_encode(&b, numbers[i], UINT64_MAX - i);
        struct reader r = opened(numbers[i], &fields);
        assert_int_equal(frame_number_decode(&r, fields, &number), 0);
        assert_true(number == UINT64_MAX - i);
        assert_sturdy();
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        buf_reset(&b);
        frame_plain_encode(&b, plain[i]);
        (void)opened(plain[i], &fields);
        assert_int_equal(fields, 0);
        assert_sturdy();
    }
}

static void test_padding(void **state)
{
    (void)state;
    uint32_t fields;
    struct str frame;
    assert_int_equal(frame_padding().n, FRAME_PADDING_BYTES);
    buf_append_str(&b, frame_padding());
    struct reader r = opened(FRAME_PADDING, &fields), whole = reader_of(frame_padding());
    struct str bytes;
    assert_int_equal(fields, 1);
    assert_int_equal(reader_bin(&r, &bytes), 0);
    assert_int_equal(bytes.n, 8192);
    assert_int_equal(frame_next(&whole, &frame), 1); // nothing is left behind it
    assert_int_equal(frame_next(&whole, &frame), 0);
}

static void test_credit(void **state)
{
    (void)state;
    struct frame_credit f = { .credit = 100, .classes = { 3, UINT32_MAX, 1 } }, credit;
    uint32_t fields;
    frame_credit_encode(&b, FRAME_CREDIT, &f);
    struct reader r = opened(FRAME_CREDIT, &fields);
    assert_int_equal(frame_credit_decode(&r, fields, &credit), 0);
    assert_memory_equal(&credit, &f, sizeof f);
    assert_sturdy();
    buf_reset(&b);
    frame_number_encode(&b, FRAME_READY, UINT64_MAX); // a worker that knows no classes
    r = opened(FRAME_READY, &fields);
    assert_int_equal(frame_credit_decode(&r, fields, &credit), 0);
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        assert_true(credit.credit == UINT32_MAX && credit.classes[i] == UINT32_MAX);
    }
    buf_reset(&b);
    writer_array(&b, 3); // one that knows fewer, or more
    writer_uint(&b, FRAME_READY);
    writer_uint(&b, 50);
    writer_array(&b, 4);
    for (uint64_t i = 0; i < 4; i++) {
        writer_uint(&b, i);
    }
    r = opened(FRAME_READY, &fields);
    assert_int_equal(frame_credit_decode(&r, fields, &credit), 0);
    assert_true(credit.credit == 50 && credit.classes[0] == 0 && credit.classes[2] == 2);
    assert_int_equal(reader_left(&r), 0);
    assert_sturdy();
}

static void test_frames_that_travel_together(void **state)
{
    (void)state;
    struct str frame = STR("old");
    struct reader none = reader_of(STR(""));
    assert_int_equal(frame_next(&none, &frame), 0);
    for (int i = 0; i < 3; i++) {
        frame_number_encode(&b, FRAME_PING, (uint64_t)i * 1000000);
    }
    size_t whole = b.len;
    struct reader r = reader_of(buf_str(&b));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(frame_next(&r, &frame), 1);
        assert_int_equal(decode(frame), 0);
    }
    assert_int_equal(frame_next(&r, &frame), 0);
    for (size_t n = 1; n < whole; n++) { // cut off: what is whole before the cut is taken, the rest is not
        char *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        r = reader_of((struct str){ copy, n });
        int rc, taken = 0;
        while ((rc = frame_next(&r, &frame)) == 1) {
            assert_int_equal(decode(frame), 0);
            taken++;
        }
        assert_true(taken < 3 && (rc == -EBADMSG || (rc == 0 && reader_left(&r) == 0)));
        free(copy);
    }
}

// A frame over the limit is no frame: the encoder says so instead of sending a part.
static void test_a_frame_over_the_limit(void **state)
{
    (void)state;
    char *body = calloc(1, FRAME_MAX_BYTES);
    assert_non_null(body);
    struct frame_reply f = { .id = 1, .status = 200, .body = { body, FRAME_MAX_BYTES - 20 } };
    frame_reply_encode(&b, &f);
    assert_int_equal(buf_error(&b), 0);
    buf_reset(&b);
    f.body.n = FRAME_MAX_BYTES;
    frame_reply_encode(&b, &f);
    assert_int_equal(buf_error(&b), -EMSGSIZE);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_open),
        CASE(test_hello),
        CASE(test_hello_limits),
        CASE(test_hello_enumerations_and_problems),
        CASE(test_hello_of_another_version),
        CASE(test_request),
        CASE(test_request_of_nobody_without_body),
        CASE(test_request_limits),
        CASE(test_request_fields_of_another_kind),
        CASE(test_reply),
        CASE(test_reply_statuses),
        CASE(test_welcome_and_pong),
        CASE(test_words),
        CASE(test_numbers_and_plain_frames),
        CASE(test_padding),
        CASE(test_credit),
        CASE(test_frames_that_travel_together),
        CASE(test_a_frame_over_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
