// SPDX-License-Identifier: MIT
// What gateway and workers say to each other: one message, of frames. A frame that a decoder takes is encoded and
// decoded again, and must come out the same; a HELLO is joined to a router, whose routes can then be found; a reply's
// body is read as a problem and rendered.
#include "tests/fuzz/fuzz.h"

#include "common/msgpack_to_json.h"
#include "gateway/openapi.h"
#include "gateway/problem.h"
#include "gateway/router.h"

#define MAX_BYTES (8 * 1024 * 1024)

static struct frame_hello hello; // large

// --- What becomes of a frame

static void check_hello(struct str frame)
{
    struct router router;
    struct table *table = NULL;
    char detail[ROUTER_DETAIL_SIZE];
    router_init(&router);
    int status = router_join(&router, &hello, frame, &table, detail);
    if (status == 0) {
        REQUIRE(table && table->workers == 1 && router.n_routes >= 1 - (hello.n_routes == 0));
        for (size_t i = 0; i < router.n_routes; i++) {
            struct route *route = router.routes[i];
            REQUIRE(router_frame_route(table, route));
            (void)router_internal(&router, hello.service, route->method, str_of(route->pattern));
        }
        router_leave(&router, &table);
    } else {
        REQUIRE(detail[0]);
    }
    router_fini(&router);
}

static void check_reply(const struct frame_reply *reply)
{
    struct problem_details problem;
    struct buf json;
    struct reader r = reader_of(reply->body);
    buf_init(&json, MAX_BYTES);
    if (reply->body.p && problem_read(reply->body, &problem) == 0) {
        problem.status = 400;
        problem.title = STR("x");
        problem_write(&problem, "id", &json);
        buf_reset(&json);
    }
    if (reply->body.p) {
        (void)msgpack_to_json(&r, &json);
    }
    buf_fini(&json);
}

// --- Around: decodes the fields behind the type and encodes what it found

static int hello_around(struct reader *r, uint32_t fields, struct buf *b)
{
    int status = frame_hello_decode(r, fields, &hello);
    if (status == 0) {
        frame_hello_encode(b, &hello);
    }
    return status;
}

static int welcome_around(struct reader *r, uint32_t fields, struct buf *b)
{
    struct frame_welcome f;
    int status = frame_welcome_decode(r, fields, &f);
    if (status == 0) {
        frame_welcome_encode(b, &f);
    }
    return status;
}

static void require_same_pairs(const struct frame_pair *a, const struct frame_pair *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        REQUIRE(str_eq(a[i].name, b[i].name) && str_eq(a[i].value, b[i].value));
    }
}

static void require_same_request(const struct frame_request *a, const struct frame_request *b)
{
    REQUIRE(a->id == b->id && a->attempt == b->attempt && a->deadline_ms == b->deadline_ms);
    REQUIRE(str_eq(a->traceparent, b->traceparent) && a->route == b->route);
    REQUIRE(!a->principal.id.p == !b->principal.id.p && str_eq(a->principal.id, b->principal.id));
    REQUIRE(str_eq(a->principal.role, b->principal.role));
    REQUIRE(str_eq(a->principal.session, b->principal.session));
    REQUIRE(a->n_params == b->n_params && a->n_query == b->n_query);
    for (size_t i = 0; i < a->n_params; i++) {
        REQUIRE(str_eq(a->params[i], b->params[i]));
    }
    require_same_pairs(a->query, b->query, a->n_query);
    REQUIRE(a->n_headers == b->n_headers);
    require_same_pairs(a->headers, b->headers, a->n_headers);
    REQUIRE(!a->body.p == !b->body.p && str_eq(a->body, b->body));
    REQUIRE(str_eq(a->client, b->client));
}

static int request_around(struct reader *r, uint32_t fields, struct buf *b)
{
    static struct frame_request f, again;
    enum frame_type type;
    int status = frame_request_decode(r, fields, &f);
    if (status == 0) {
        frame_request_encode(b, &f);
        struct reader own = reader_of(buf_str(b));
        REQUIRE(buf_ok(b) && frame_open(&own, &type, &fields) == 0);
        REQUIRE(frame_request_decode(&own, fields, &again) == 0);
        require_same_request(&f, &again);
    }
    return status;
}

static int reply_around(struct reader *r, uint32_t fields, struct buf *b)
{
    static struct frame_reply f;
    int status = frame_reply_decode(r, fields, &f);
    if (status == 0) {
        check_reply(&f);
        frame_reply_encode(b, &f);
    }
    return status;
}

static int pong_around(struct reader *r, uint32_t fields, struct buf *b)
{
    struct frame_pong f;
    int status = frame_pong_decode(r, fields, &f);
    if (status == 0) {
        frame_pong_encode(b, &f);
    }
    return status;
}

static int text_around(struct reader *r, enum frame_type type, uint32_t fields, struct buf *b)
{
    struct str reason, detail;
    uint64_t id;
    int status = type == FRAME_REFUSED ? frame_refused_decode(r, fields, &reason, &detail)
                                       : frame_return_decode(r, fields, &id, &reason);
    if (status == 0 && type == FRAME_REFUSED) {
        frame_refused_encode(b, reason, detail);
    } else if (status == 0) {
        frame_return_encode(b, id, reason);
    }
    return status;
}

static int number_around(struct reader *r, enum frame_type type, uint32_t fields, struct buf *b)
{
    uint64_t number;
    int status = frame_number_decode(r, fields, &number);
    if (status == 0) {
        frame_number_encode(b, type, number);
    }
    return status;
}

static int credit_around(struct reader *r, enum frame_type type, uint32_t fields, struct buf *b)
{
    struct frame_credit f;
    int status = frame_credit_decode(r, fields, &f);
    if (status == 0) {
        frame_credit_encode(b, type, &f);
    }
    return status;
}

static int around(struct str frame, struct buf *b, enum frame_type *ret_type)
{
    struct reader r = reader_of(frame);
    uint32_t fields;
    int status = frame_open(&r, ret_type, &fields);
    if (status) {
        return status;
    }
    switch (*ret_type) {
    case FRAME_HELLO:
        return hello_around(&r, fields, b);
    case FRAME_WELCOME:
        return welcome_around(&r, fields, b);
    case FRAME_REQUEST:
        return request_around(&r, fields, b);
    case FRAME_REPLY:
        return reply_around(&r, fields, b);
    case FRAME_READY:
    case FRAME_CREDIT:
        return credit_around(&r, *ret_type, fields, b);
    case FRAME_PONG:
        return pong_around(&r, fields, b);
    case FRAME_REFUSED:
    case FRAME_RETURN:
        return text_around(&r, *ret_type, fields, b);
    case FRAME_DRAINING:
    case FRAME_GOODBYE:
    case FRAME_PADDING:
        frame_plain_encode(b, *ret_type);
        return 0;
    default:
        return number_around(&r, *ret_type, fields, b);
    }
}

static void check_frame(struct str frame)
{
    enum frame_type type, again;
    struct buf once, twice;
    struct str copy = exact(frame);
    buf_init(&once, MAX_BYTES);
    buf_init(&twice, MAX_BYTES);
    if (around(copy, &once, &type) == 0) {
        REQUIRE(buf_ok(&once));
        REQUIRE(around(buf_str(&once), &twice, &again) == 0 && again == type);
        REQUIRE(str_eq(buf_str(&once), buf_str(&twice)));
        if (type == FRAME_HELLO) {
            check_hello(buf_str(&twice));
        }
    }
    drop(copy);
    buf_fini(&once);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str message = exact((struct str){ (const char *)data, size }), frame;
    struct reader r = reader_of(message);
    int status;
    while ((status = frame_next(&r, &frame)) > 0) {
        check_frame(frame);
    }
    REQUIRE(status <= 0 && (status < 0 || reader_left(&r) == 0));
    drop(message);
    return 0;
}
