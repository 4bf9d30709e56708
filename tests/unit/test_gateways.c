// SPDX-License-Identifier: MIT
// The worker's side of PROTOCOL.md 2.7 to 2.11, against gateways that are ROUTERs in the same loop and write down
// what they hear.
#include "common/gateways.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <czmq.h>
#include <sodium.h>

#include "common/announce.h"
#include "common/clock.h"
#include "common/curve.h"
#include "common/key_pairs.h"
#include "common/log.h"
#include "common/zsocket.h"
#include "tests/unit/free_port.h"
#include "tests/unit/loop.h"

#define LIMIT_MS 10000
#define CAPACITY 100

// --- A gateway

struct peer {
    struct zsocket *socket;
    const char *name;
    uint32_t worker;
    struct frame_credit credit; // last heard
    char said[1024];       // what the worker said, a word for each frame
    bool mute;             // gives no WELCOME
    uint32_t heartbeat_ms; // of the WELCOME; 0: 60000
};

__attribute__((format(printf, 2, 3))) static void note(struct peer *p, const char *format, ...)
{
    size_t n = strlen(p->said);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->said + n, sizeof p->said - n, format, args);
    va_end(args);
    assert_true(strlen(p->said) < sizeof p->said - 1);
}

static void send_to_worker(struct peer *p, struct buf *b)
{
    assert_true(buf_ok(b));
    assert_int_equal(zsocket_send(p->socket, p->worker, buf_str(b)), 0);
    buf_fini(b);
}

static struct buf *empty(void)
{
    static struct buf b;
    buf_init(&b, FRAME_MAX_MESSAGE_BYTES);
    return &b;
}

static void welcome(struct peer *p)
{
    struct buf *b = empty();
    struct frame_welcome f = { str_of(p->name), p->heartbeat_ms ? p->heartbeat_ms : 60000 };
    frame_welcome_encode(b, &f);
    send_to_worker(p, b);
}

static void say_number(struct peer *p, enum frame_type type, uint64_t number)
{
    struct buf *b = empty();
    frame_number_encode(b, type, number);
    send_to_worker(p, b);
}

static void refuse(struct peer *p, const char *reason)
{
    struct buf *b = empty();
    frame_refused_encode(b, str_of(reason), STR("as the test wants it"));
    send_to_worker(p, b);
}

static void put_request(struct buf *b, uint64_t id)
{
    struct frame_request f = {
        .id = id, .attempt = 1, .deadline_ms = 1000, .traceparent = STR("")
    };
    frame_request_encode(b, &f);
}

static void hear(struct peer *p, struct reader *r, enum frame_type type, uint32_t fields)
{
    static struct frame_hello hello;
    static struct frame_reply reply;
    struct frame_pong pong;
    uint64_t number = 0;
    switch (type) {
    case FRAME_HELLO:
        assert_int_equal(frame_hello_decode(r, fields, &hello), 0);
        note(p, "HELLO:%d ", hello.role);
        if (!p->mute) {
            welcome(p);
        }
        break;
    case FRAME_PONG:
        assert_int_equal(frame_pong_decode(r, fields, &pong), 0);
        note(p, "PONG:%" PRIu64 ":%u:%u ", pong.token, pong.oldest_ms, pong.in_flight);
        break;
    case FRAME_REPLY:
        assert_int_equal(frame_reply_decode(r, fields, &reply), 0);
        note(p, "REPLY:%" PRIu64 " ", reply.id);
        break;
    case FRAME_DRAINING:
        note(p, "DRAINING ");
        break;
    case FRAME_GOODBYE:
        note(p, "GOODBYE ");
        break;
    case FRAME_PADDING:
        note(p, "PADDING ");
        break;
    case FRAME_READY:
    case FRAME_CREDIT:
        assert_int_equal(frame_credit_decode(r, fields, &p->credit), 0);
        note(p, "%s:%u ", type == FRAME_READY ? "READY" : "CREDIT", p->credit.credit);
        break;
    default:
        assert_int_equal(frame_number_decode(r, fields, &number), 0);
        note(p, "%s:%" PRIu64 " ", type == FRAME_ROLE ? "ROLE" : "?", number);
    }
}

static void on_message(struct zsocket *s, uint32_t from, int fd, struct str message, void *data)
{
    struct peer *p = data;
    struct reader rest = reader_of(message);
    struct str frame;
    (void)s, (void)fd;
    p->worker = from;
    while (frame_next(&rest, &frame) == 1) {
        struct reader r = reader_of(frame);
        enum frame_type type;
        uint32_t fields;
        assert_int_equal(frame_open(&r, &type, &fields), 0);
        hear(p, &r, type, fields);
    }
}

static void open_peer(struct peer *p, const char *name)
{
    char endpoint[64];
    struct zsocket_options options = { .type = ZSOCKET_ROUTER,
                                       .max_message_bytes = FRAME_MAX_MESSAGE_BYTES };
    struct zsocket_callbacks callbacks = { on_message, NULL, NULL, p };
    p->name = name;
    (void)snprintf(endpoint, sizeof endpoint, "ipc://gw/%s.sock", name);
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &p->socket), 0);
    assert_int_equal(zsocket_bind(p->socket, endpoint), 0);
}

static void close_peer(struct peer *p)
{
    zsocket_close(&p->socket, 0);
}

// Waits until the worker said this to it since the last time, and nothing else.
static void assert_said(struct peer *p, const char *words)
{
    LOOP_UNTIL(strlen(p->said) >= strlen(words), LIMIT_MS);
    assert_string_equal(p->said, words);
    p->said[0] = '\0';
}

static void assert_silent(struct peer *p, int ms)
{
    loop_for(ms);
    assert_string_equal(p->said, "");
}

// --- The worker

static struct gateways *gateways;
static struct announcement *announcement;
static struct gateway_link *last_link, *lost_link;
static int requests, lost, drained;
static uint64_t cancelled;
static unsigned sharers;

static int on_request(struct gateway_link *link, struct str frame, void *data)
{
    struct reader r = reader_of(frame);
    static struct frame_request f;
    enum frame_type type;
    uint32_t fields;
    (void)data;
    requests++;
    last_link = link;
    return frame_open(&r, &type, &fields) || frame_request_decode(&r, fields, &f) ? -EBADMSG : 0;
}

static void on_cancel(struct gateway_link *link, uint64_t id, void *data)
{
    (void)link, (void)data;
    cancelled = id;
}

static void on_lost(struct gateway_link *link, void *data)
{
    (void)data;
    lost++;
    lost_link = link;
}

static void on_drained(void *data)
{
    (void)data;
    drained++;
}

static void on_ping(uint32_t *ret_oldest_ms, uint32_t *ret_in_flight, void *data)
{
    (void)data;
    *ret_oldest_ms = 12;
    *ret_in_flight = 34;
}

static void on_shared(unsigned n, void *data)
{
    (void)data;
    sharers = n;
}

static int nothing(struct call *c)
{
    (void)c;
    return 0;
}

static const struct route routes[] = {
    { .method = "GET", .pattern = "/t", .operation = "get", .success = 200, .read = nothing },
};
static const struct service service = { .name = "things", .routes = routes, .n_routes = 1 };

static int open_result(const char *endpoints, uint32_t capacity, struct curve *curve)
{
    struct gateways_callbacks callbacks = { on_request, on_cancel, on_lost,
                                            on_drained, on_ping,   NULL,      on_shared };
    return gateways_open(&loop, endpoints, curve, announcement, capacity, &callbacks, &gateways);
}

static void open_worker(uint32_t capacity)
{
    assert_int_equal(open_result("ipc://gw/*.sock", capacity, NULL), 0);
}

static int enter(void **state)
{
    log_init("things", "test", LEVEL_FATAL, LOG_FORMAT_JSON); // refusals are wanted here
    requests = lost = drained = 0;
    cancelled = 0;
    gateways = NULL;
    if (loop_enter(state) || mkdir("gw", 0700)) {
        return -1;
    }
    return announce_new(&service, "things-1", CAPACITY, &announcement);
}

static int leave(void **state)
{
    gateways_close(&gateways, 0);
    announce_destroy(&announcement);
    return loop_leave(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, enter, leave)

// --- Greeting and credit

static void test_hello_then_ready(void **state)
{
    (void)state;
    struct peer a = { .mute = true };
    open_peer(&a, "a");
    open_worker(CAPACITY);
    assert_said(&a, "HELLO:0 ");
    assert_int_equal(gateways_active(gateways), 0);
    welcome(&a);
    assert_said(&a, "ROLE:0 ");
    assert_int_equal(gateways_active(gateways), 1);
    assert_silent(&a, 100); // the store is not open yet
    gateways_ready(gateways);
    assert_said(&a, "READY:100 ");
    gateways_ready(gateways); // again: nothing new
    assert_silent(&a, 50);
    close_peer(&a);
}

static void test_ready_before_the_welcome(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_worker(CAPACITY);
    gateways_ready(gateways);
    loop_for(50);
    open_peer(&a, "a"); // a gateway that comes later is found
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    close_peer(&a);
}

static void test_the_credit_is_split(void **state)
{
    (void)state;
    struct peer a = { 0 }, b = { 0 }, c = { 0 };
    open_peer(&a, "a");
    open_worker(CAPACITY);
    gateways_ready(gateways);
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    open_peer(&b, "b");
    assert_said(&b, "HELLO:0 ROLE:0 READY:50 ");
    assert_said(&a, "CREDIT:50 ");
    open_peer(&c, "c");
    assert_said(&c, "HELLO:0 ROLE:0 READY:33 ");
    assert_said(&a, "CREDIT:33 ");
    assert_said(&b, "CREDIT:33 ");
    close_peer(&b); // its share goes to the others
    assert_said(&a, "CREDIT:50 ");
    assert_said(&c, "CREDIT:50 ");
    assert_int_equal(lost, 1);
    assert_int_equal(gateways_active(gateways), 2);
    close_peer(&a);
    close_peer(&c);
}

static void test_limits_of_classes_are_split(void **state)
{
    (void)state;
    static const uint32_t limits[FRAME_CLASSES] = { 75, 8, 1 };
    struct peer a = { 0 }, b = { 0 };
    open_peer(&a, "a");
    open_worker(CAPACITY);
    gateways_ready(gateways);
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    gateways_limits(gateways, limits);
    assert_said(&a, "CREDIT:100 ");
    assert_memory_equal(a.credit.classes, limits, sizeof limits);
    gateways_limits(gateways, limits); // nothing new
    assert_silent(&a, 50);
    open_peer(&b, "b");
    assert_said(&b, "HELLO:0 ROLE:0 READY:50 ");
    static const uint32_t halves[FRAME_CLASSES] = { 37, 4, 1 };
    assert_memory_equal(b.credit.classes, halves, sizeof halves);
    assert_int_equal(sharers, 2);
    close_peer(&a);
    close_peer(&b);
}

static void test_everybody_gets_at_least_one(void **state)
{
    (void)state;
    struct peer a = { 0 }, b = { 0 };
    open_peer(&a, "a");
    open_peer(&b, "b");
    open_worker(1);
    gateways_ready(gateways);
    LOOP_UNTIL(gateways_active(gateways) == 2, LIMIT_MS);
    assert_said(&a, "HELLO:0 ROLE:0 READY:1 ");
    assert_said(&b, "HELLO:0 ROLE:0 READY:1 ");
    close_peer(&a);
    close_peer(&b);
}

// --- Refusals, loss, silence

static void open_active(struct peer *p)
{
    open_peer(p, "a");
    open_worker(CAPACITY);
    gateways_ready(gateways);
    assert_said(p, "HELLO:0 ROLE:0 READY:100 ");
}

static void test_an_unknown_peer_says_hello_again(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    refuse(&a, "unknown-peer");
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 "); // at once, and READY, not CREDIT
    assert_int_equal(lost, 1);                    // what it had asked before is void
    close_peer(&a);
}

static void test_malformed_waits_a_second(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    refuse(&a, "malformed");
    assert_silent(&a, 700);
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    close_peer(&a);
}

static void test_other_refusals_wait_longer(void **state)
{
    (void)state;
    struct peer a = { .mute = true };
    open_peer(&a, "a");
    open_worker(CAPACITY);
    assert_said(&a, "HELLO:0 ");
    int64_t refused_ms = loop_now_ms();
    refuse(&a, "protocol-version");
    assert_silent(&a, 2500);
    assert_said(&a, "HELLO:0 ");
    assert_true(loop_now_ms() - refused_ms >= 4900);
    assert_int_equal(lost, 0); // it never was there
    close_peer(&a);
}

static void test_a_gateway_that_does_not_answer_is_greeted_again(void **state)
{
    (void)state;
    struct peer a = { .mute = true };
    open_peer(&a, "a");
    open_worker(CAPACITY);
    assert_said(&a, "HELLO:0 ");
    assert_silent(&a, 700);
    assert_said(&a, "HELLO:0 ");
    welcome(&a);
    assert_said(&a, "ROLE:0 ");
    close_peer(&a);
}

static void test_a_silent_gateway_is_greeted_again(void **state)
{
    (void)state;
    struct peer a = { .heartbeat_ms = 100 };
    open_active(&a);
    for (int i = 0; i < 8; i++) { // anything that is heard is a sign of life
        loop_for(90);
        say_number(&a, FRAME_CANCEL, 1);
    }
    assert_int_equal(lost, 0);
    assert_string_equal(a.said, "");
    a.heartbeat_ms = 60000;
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    assert_int_equal(lost, 1);
    close_peer(&a);
}

static void test_goodbye(void **state)
{
    (void)state;
    struct peer a = { 0 };
    struct buf *b = empty();
    open_active(&a);
    frame_plain_encode(b, FRAME_GOODBYE);
    send_to_worker(&a, b);
    LOOP_UNTIL(lost == 1, LIMIT_MS);
    assert_int_equal(gateways_active(gateways), 0);
    assert_silent(&a, 1300); // it said that it stops
    close_peer(&a);
    loop_for(50);
    open_peer(&a, "a");
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    assert_int_equal(lost, 1);
    close_peer(&a);
}

static void test_a_lost_gateway_that_comes_back(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    for (int i = 1; i <= 3; i++) {
        close_peer(&a);
        LOOP_UNTIL(lost == i, LIMIT_MS);
        assert_int_equal(gateways_active(gateways), 0);
        open_peer(&a, "a");
        assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    }
    close_peer(&a);
}

// --- Requests

static void test_requests_and_what_comes_with_them(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    struct buf *b = empty();
    put_request(b, 1);
    put_request(b, 2); // several in one message
    frame_number_encode(b, FRAME_CANCEL, 2);
    frame_number_encode(b, FRAME_PING, 77);
    buf_append(b, "\x91\x06", 2); // a REQUEST without fields
    buf_append(b, "\x91\x7F", 2); // a frame that nobody knows
    buf_append_str(b, frame_padding());
    buf_append(b, "\xA1x", 2);    // not a frame at all
    put_request(b, 3);
    send_to_worker(&a, b);
    assert_said(&a, "PONG:77:12:34 ");
    LOOP_UNTIL(requests == 4, LIMIT_MS);
    assert_int_equal(cancelled, 2);
    b = empty();
    struct frame_reply reply = { .id = 1, .status = 200 };
    frame_reply_encode(b, &reply);
    gateways_send(gateways, last_link, buf_str(b), false);
    gateways_send(gateways, last_link, buf_str(b), false);
    buf_fini(b);
    assert_said(&a, "REPLY:1 REPLY:1 ");
    b = empty();
    frame_reply_encode(b, &reply);
    gateways_send(gateways, last_link, buf_str(b), true);
    buf_fini(b);
    assert_said(&a, "PADDING REPLY:1 PADDING ");
    close_peer(&a);
    LOOP_UNTIL(lost, LIMIT_MS);
    assert_ptr_equal(lost_link, last_link);
}

static void test_no_request_before_the_welcome(void **state)
{
    (void)state;
    struct peer a = { .mute = true };
    open_peer(&a, "a");
    open_worker(CAPACITY);
    assert_said(&a, "HELLO:0 ");
    struct buf *b = empty();
    put_request(b, 1);
    send_to_worker(&a, b);
    loop_for(50);
    assert_int_equal(requests, 0);
    close_peer(&a);
}

static void test_frames_that_make_no_sense(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    static const struct str frames[] = {
        STR_INIT("\xC1"),     STR_INIT(""),         STR_INIT("\x92\x02\x01"),
        STR_INIT("\x90"),     STR_INIT("\x91\x08"), STR_INIT("\x92\x0A\xA1x"),
        STR_INIT("\x91\x03"), STR_INIT("\x91\x01"), STR_INIT("\x93\x02\xA1g\x01")
    };
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        struct buf *b = empty();
        buf_append_str(b, frames[i]);
        send_to_worker(&a, b);
    }
    say_number(&a, FRAME_PING, 5);
    assert_said(&a, "PONG:5:12:34 ");
    assert_int_equal(lost + requests, 0);
    close_peer(&a);
}

// --- Roles and draining

static void test_roles(void **state)
{
    (void)state;
    struct peer a = { 0 }, b = { .mute = true };
    open_peer(&a, "a");
    open_worker(CAPACITY);
    gateways_role(gateways, FRAME_ROLE_READER);
    gateways_ready(gateways);
    assert_said(&a, "HELLO:2 ROLE:2 READY:100 ");
    open_peer(&b, "b");
    assert_said(&b, "HELLO:2 ");
    gateways_role(gateways, FRAME_ROLE_WRITER); // between its HELLO and the WELCOME
    assert_said(&a, "ROLE:1 ");
    welcome(&b);
    assert_said(&b, "ROLE:1 READY:50 ");
    refuse(&b, "unknown-peer");
    assert_said(&b, "HELLO:1 ");
    close_peer(&a);
    close_peer(&b);
}

static void test_draining(void **state)
{
    (void)state;
    struct peer a = { 0 }, b = { 0 };
    open_active(&a);
    gateways_drain(gateways);
    assert_said(&a, "DRAINING ");
    assert_int_equal(drained, 0);
    open_peer(&b, "b"); // nobody new is greeted
    assert_silent(&b, 1300);
    gateways_ready(gateways);
    assert_silent(&a, 50);
    struct buf *reply = empty();
    struct frame_reply f = { .id = 9, .status = 200 };
    struct buf *request = empty();
    put_request(request, 9);
    send_to_worker(&a, request);
    LOOP_UNTIL(requests == 1, LIMIT_MS); // what was on its way still gets its answer
    reply = empty();
    frame_reply_encode(reply, &f);
    gateways_send(gateways, last_link, buf_str(reply), false);
    buf_fini(reply);
    gateways_close(&gateways, 1000);
    assert_said(&a, "REPLY:9 GOODBYE "); // both before the connection goes
    close_peer(&a);
    close_peer(&b);
}

static void say_draining(struct peer *p)
{
    struct buf *b = empty();
    frame_plain_encode(b, FRAME_DRAINING);
    send_to_worker(p, b);
}

// A worker that drains is done with its gateways when the last one has answered, and not before:
// what a gateway sent until then still arrives.
static void test_every_gateway_answers_draining(void **state)
{
    (void)state;
    struct peer a = { 0 }, b = { 0 };
    open_active(&a);
    open_peer(&b, "b");
    assert_said(&b, "HELLO:0 ROLE:0 READY:50 ");
    gateways_drain(gateways);
    assert_said(&a, "CREDIT:50 DRAINING ");
    assert_said(&b, "DRAINING ");
    say_draining(&a);
    say_draining(&a); // twice is not two gateways
    struct buf *request = empty();
    put_request(request, 9);
    send_to_worker(&b, request);
    LOOP_UNTIL(requests == 1, LIMIT_MS);
    assert_int_equal(drained, 0);
    say_draining(&b);
    LOOP_UNTIL(drained == 1, LIMIT_MS);
    say_draining(&b);
    say_draining(&a);
    assert_silent(&a, 2 * GATEWAYS_DRAIN_MS);
    assert_int_equal(drained, 1); // said once
    close_peer(&a);
    close_peer(&b);
}

static void test_nobody_to_answer_draining(void **state)
{
    (void)state;
    open_worker(CAPACITY);
    gateways_drain(gateways);
    assert_int_equal(drained, 1);
}

static void test_lost_gateway_is_not_waited_for(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    int64_t since = clock_mono_ms();
    gateways_drain(gateways);
    assert_said(&a, "DRAINING ");
    close_peer(&a);
    LOOP_UNTIL(drained == 1, LIMIT_MS);
    assert_true(clock_mono_ms() - since < GATEWAYS_DRAIN_MS);
}

static void test_silent_gateway_is_not_waited_for_long(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    int64_t since = clock_mono_ms();
    gateways_drain(gateways);
    LOOP_UNTIL(drained == 1, LIMIT_MS);
    assert_true(clock_mono_ms() - since >= GATEWAYS_DRAIN_MS);
    close_peer(&a);
}

// --- Finding gateways

static void test_endpoints(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          ",",           "gw/*.sock",      "ipc://",        "tcp://",
        "tcp://h",   "tcp://:7100", "tcp://h:",       "inproc://x",    "tcp://h:7100,x",
        "tcp://h:x", "tcp://h:0",   "tcp://h:123456", "tcp://h:65536", "tcp://h:-1",
        "tcp://h:7 "
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = open_result(bad[i], CAPACITY, NULL);
        if (rc != -EINVAL) {
            fail_msg("\"%s\" gives %d", bad[i], rc);
        }
        assert_null(gateways);
    }
    char many[256] = "ipc:///a", longest[400] = "ipc://";
    for (int i = 0; i < 7; i++) {
        strcat(many, ",ipc:///a");
    }
    assert_int_equal(open_result(many, CAPACITY, NULL), 0); // eight
    gateways_close(&gateways, 0);
    strcat(many, ",ipc:///a");
    assert_int_equal(open_result(many, CAPACITY, NULL), -EINVAL);
    memset(longest + 6, 'a', sizeof longest - 7);
    assert_int_equal(open_result(longest, CAPACITY, NULL), -EINVAL);
}

static void test_two_lists(void **state)
{
    (void)state;
    struct peer a = { 0 }, b = { 0 };
    open_peer(&a, "a");
    open_peer(&b, "b");
    assert_int_equal(open_result("ipc://gw/a.sock,ipc://gw/*.sock", CAPACITY, NULL),
                     0); // a is listed twice
    gateways_ready(gateways);
    LOOP_UNTIL(gateways_active(gateways) == 2, LIMIT_MS);
    loop_for(1200);
    assert_int_equal(gateways_active(gateways), 2);
    assert_non_null(strstr(a.said, "HELLO:0 "));
    assert_null(strstr(a.said + 1, "HELLO")); // one connection
    close_peer(&a);
    close_peer(&b);
}

// A path that is no longer there is forgotten after a while, one that is there is not.
static void test_a_gateway_that_is_gone_for_good(void **state)
{
    (void)state;
    struct peer a = { 0 };
    open_active(&a);
    close_peer(&a);
    LOOP_UNTIL(lost == 1, LIMIT_MS);
    (void)unlink("gw/a.sock");
    loop_for(GATEWAYS_FORGET_MS + 1500);
    open_peer(&a, "a");
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 "); // found as a new one
    assert_int_equal(gateways_active(gateways), 1);
    close_peer(&a);
}

static void test_gateways_over_tcp(void **state)
{
    (void)state;
    char error[CURVE_ERROR_SIZE];
    struct curve *server, *client;
    struct peer a = { .name = "a" };
    struct zsocket_callbacks callbacks = { on_message, NULL, NULL, &a };
    assert_int_equal(key_pairs_make_own("keys"), 0);
    assert_int_equal(curve_open("keys", "gateway", 1, error, &server), 0);
    assert_int_equal(curve_open("keys", "users", 0, error, &client), 0);
    struct zsocket_options options = { .type = ZSOCKET_ROUTER,
                                       .max_message_bytes = FRAME_MAX_MESSAGE_BYTES,
                                       .curve = server };
    assert_int_equal(zsocket_open(&loop, &options, &callbacks, &a.socket), 0);
    assert_int_equal(zsocket_bind(a.socket, free_port_endpoint()), 0);
    assert_int_equal(open_result(free_port_endpoint(), CAPACITY, client), 0);
    gateways_ready(gateways);
    assert_said(&a, "HELLO:0 ROLE:0 READY:100 ");
    gateways_close(&gateways, 1000);
    assert_said(&a, "GOODBYE ");
    char names[96];
    (void)snprintf(names, sizeof names, "tcp://localhost:%u,tcp://no-such-name.invalid:1", free_port());
    for (int i = 0; i < 10; i++) { // closed in the middle of looking a name up
        assert_int_equal(open_result(names, CAPACITY, client), 0);
        for (int turn = 0; turn < i; turn++) {
            (void)uv_run(&loop, UV_RUN_NOWAIT);
        }
        gateways_close(&gateways, 0);
        loop_for(20);
    }
    zsocket_close(&a.socket, 0);
    loop_for(100);
    curve_close(&client);
    curve_close(&server);
}

int main(void)
{
    zsys_handler_set(NULL); // before any other call of czmq, as common/process.c does it
    if (sodium_init() < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CASE(test_hello_then_ready),
        CASE(test_ready_before_the_welcome),
        CASE(test_the_credit_is_split),
        CASE(test_limits_of_classes_are_split),
        CASE(test_everybody_gets_at_least_one),
        CASE(test_an_unknown_peer_says_hello_again),
        CASE(test_malformed_waits_a_second),
        CASE(test_other_refusals_wait_longer),
        CASE(test_a_gateway_that_does_not_answer_is_greeted_again),
        CASE(test_a_silent_gateway_is_greeted_again),
        CASE(test_goodbye),
        CASE(test_a_lost_gateway_that_comes_back),
        CASE(test_requests_and_what_comes_with_them),
        CASE(test_no_request_before_the_welcome),
        CASE(test_frames_that_make_no_sense),
        CASE(test_roles),
        CASE(test_draining),
        CASE(test_every_gateway_answers_draining),
        CASE(test_nobody_to_answer_draining),
        CASE(test_lost_gateway_is_not_waited_for),
        CASE(test_silent_gateway_is_not_waited_for_long),
        CASE(test_endpoints),
        CASE(test_two_lists),
        CASE(test_a_gateway_that_is_gone_for_good),
        CASE(test_gateways_over_tcp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
