// SPDX-License-Identifier: MIT
#include "gateway/console.h"

#include "common/clock.h"
#include "common/keys.h"
#include "common/log.h"
#include "gateway/console_alerts.h"
#include "gateway/console_answer.h"
#include "gateway/console_json.h"
#include "gateway/console_letters.h"
#include "gateway/console_queue.h"
#include "gateway/console_tail.h"
#include "gateway/page_file.h"
#include "gateway/suite.h"
#include "gateway/topology.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#define HASH_BYTES 32
#define MESSAGE_BYTES (CONSOLE_EVENT_BYTES + 64)

#define PAGE_FIELDS                                                                                \
    "Content-Security-Policy: " PAGE_POLICY "\r\n"                                                 \
    "X-Frame-Options: DENY\r\n"                                                                    \
    "Referrer-Policy: no-referrer\r\n"                                                             \
    "Cross-Origin-Opener-Policy: same-origin\r\n"                                                  \
    "Cross-Origin-Resource-Policy: same-origin\r\n"                                                \
    "Permissions-Policy: camera=(), microphone=(), geolocation=()\r\n"

enum update { TOPOLOGY, FIGURES, SLOW, QUEUE, ALERTS, MESSAGES };
static const char *const names[MESSAGES] = { "topology", "figures", "slow", "queue", "alerts" };

// An open page.
struct client {
    struct console *console;
    struct admin_request *request; // NULL: the place is free
};

struct console {
    struct gateway *gateway;
    struct console_queue *queue;
    struct console_alerts *alerts;
    struct console_tails *tails;
    struct console_letters *letters;
    bool has_token;
    uint8_t token[HASH_BYTES]; // its hash
    struct client clients[CONSOLE_MAX_CLIENTS];
    size_t n_clients;
    struct buf messages[MESSAGES]; // the last of each; empty: none yet
    uv_timer_t tick;
    int64_t next_figures_ms; // loop time
    bool gathering;
    struct metric streams, refused;
};

// --- Sending

static void on_client_gone(void *data)
{
    struct client *client = data;
    struct console *c = client->console;
    client->request = NULL;
    c->n_clients--;
    metric_set(&c->streams, (int64_t)c->n_clients);
    console_queue_release(c->queue);
    if (c->n_clients == 0) {
        (void)uv_timer_stop(&c->tick); // cannot fail
        suite_forget(c->gateway->suite, c);
        c->gathering = false;
        for (int i = 0; i < MESSAGES; i++) { // old ones are not shown to who comes next
            buf_fini(&c->messages[i]);
        }
    }
}

static void begin_message(struct console *c, enum update m)
{
    buf_reset(&c->messages[m]);
    buf_printf(&c->messages[m], "event: %s\ndata: ", names[m]);
}

// Sends what was begun to every page.
static void end_message(struct console *c, enum update m)
{
    struct buf *b = &c->messages[m];
    while (b->len > 0 && b->data[b->len - 1] == '\n') {
        b->len--;
    }
    buf_append_z(b, "\n\n");
    if (!buf_ok(b)) {
        buf_reset(b); // too large for a page, or no memory: the next one may fit
        return;
    }
    for (size_t i = 0; i < CONSOLE_MAX_CLIENTS && b->len > 0; i++) {
        if (c->clients[i].request) {
            (void)admin_stream_send(c->clients[i].request, buf_str(b)); // a slow one is gone
        }
    }
}

static int64_t cpu_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); // the clock exists on Linux
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

// The larger the suite, the less often, so that requests do not feel it.
static void plan_figures(struct console *c, int64_t spent_us)
{
    int64_t every_ms = CONSOLE_FIGURES_TICKS * CONSOLE_TICK_MS;
    int64_t least_ms = spent_us * CONSOLE_FIGURES_SHARE / 1000;
    c->next_figures_ms =
        (int64_t)uv_now(c->gateway->loop) + (least_ms > every_ms ? least_ms : every_ms);
}

static void on_figures(struct suite_process *processes, size_t n, size_t left_out, void *data)
{
    struct console *c = data;
    int64_t begin_us = cpu_us();
    c->gathering = false;
    begin_message(c, FIGURES);
    console_json_figures(processes, n, left_out, CONSOLE_EVENT_BYTES, &c->messages[FIGURES]);
    end_message(c, FIGURES);
    plan_figures(c, cpu_us() - begin_us);
}

static void pass_on(struct console *c, enum update m, struct str json)
{
    if (c->n_clients > 0) {
        begin_message(c, m);
        buf_append_str(&c->messages[m], json);
        end_message(c, m);
    }
}

static void on_queue_state(struct str json, void *data)
{
    pass_on(data, QUEUE, json);
}

static void on_alerts(struct str json, void *data)
{
    pass_on(data, ALERTS, json);
}

static void send_topology(struct console *c)
{
    const char *media_type;
    begin_message(c, TOPOLOGY);
    (void)topology_page(STR(""), &c->messages[TOPOLOGY], &media_type, c->gateway);
    end_message(c, TOPOLOGY);
}

static void send_slow(struct console *c)
{
    begin_message(c, SLOW);
    slow_requests_write(&c->gateway->slow_requests, clock_mono_us(), &c->messages[SLOW]);
    end_message(c, SLOW);
}

static void on_tick(uv_timer_t *timer)
{
    struct console *c = timer->data;
    int64_t now_ms = (int64_t)uv_now(timer->loop);
    send_topology(c);
    if (c->n_clients == 0 || now_ms < c->next_figures_ms - CONSOLE_TICK_MS / 2) {
        return;
    }
    plan_figures(c, 0);
    send_slow(c);
    console_queue_state(c->queue, on_queue_state, c);
    console_alerts_ask(c->alerts, on_alerts, c);
    if (c->n_clients > 0 && !c->gathering) {
        c->gathering = suite_gather(c->gateway->suite, METRICS_TEXT, on_figures, c) == 0;
    }
}

// --- Who may

static void hash(struct str text, uint8_t out[HASH_BYTES])
{
    (void)crypto_generichash(out, HASH_BYTES, (const uint8_t *)text.p, text.n, NULL, 0);
}

// Answers and returns false when the request has not the token.
static bool may(struct console *c, struct admin_request *r)
{
    static const struct str bearer = STR_INIT("Bearer ");
    struct str given = admin_request_field(r, ADMIN_AUTHORIZATION);
    uint8_t hashed[HASH_BYTES];
    if (!c->has_token) {
        console_refuse(r, 403, "there is no admin token: `sluice init` makes one");
        return false;
    }
    bool has = str_starts(given, bearer);
    hash(has ? (struct str){ given.p + bearer.n, given.n - bearer.n } : STR(""), hashed);
    if (sodium_memcmp(hashed, c->token, HASH_BYTES) != 0 || !has) {
        metric_add(&c->refused, 1);
        console_refuse(r, 401, "the admin token is wrong, or missing");
        return false;
    }
    return true;
}

// --- Handlers

static void answer_file(struct admin_request *r, void *data)
{
    const struct page_file *file = data;
    buf_append(admin_answer_body(r), file->bytes, file->n);
    admin_answer(r, 200, file->media_type, PAGE_FIELDS);
}

static struct client *find_place(struct console *c)
{
    for (size_t i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
        if (!c->clients[i].request) {
            return &c->clients[i];
        }
    }
    return NULL;
}

// What the page gets at once.
static void greet(struct console *c, struct client *client)
{
    struct buf hello;
    buf_init(&hello, 1024);
    buf_printf(&hello,
               "retry: 2000\nevent: hello\ndata: {\"version\":\"%s\",\"gateway\":\"%s\","
               "\"buckets\":[",
               SLUICE_VERSION, c->gateway->config.common.instance);
#define BOUND(seconds) buf_append_z(&hello, #seconds ",");
    METRICS_BUCKETS(BOUND)
#undef BOUND
    buf_append_z(&hello, "null]}\n\n");
    bool alive = admin_stream_send(client->request, buf_str(&hello));
    buf_fini(&hello);
    for (int i = 0; i < MESSAGES && alive; i++) {
        if (c->messages[i].len > 0) {
            alive = admin_stream_send(client->request, buf_str(&c->messages[i]));
        }
    }
}

static void answer_events(struct admin_request *r, void *data)
{
    struct console *c = data;
    if (!may(c, r)) {
        return;
    }
    struct client *client = find_place(c);
    if (!client) {
        console_refuse(r, 503, "too many pages are open");
        return;
    }
    client->request = r;
    c->n_clients++;
    console_queue_hold(c->queue);
    metric_set(&c->streams, (int64_t)c->n_clients);
    admin_request_on_gone(r, on_client_gone, client);
    int rc = admin_stream_begin(r, "text/event-stream");
    if (rc == -EBUSY) {
        on_client_gone(client);
        console_refuse(r, 503, "too many streams");
    }
    if (rc) {
        return;
    }
    bool first = c->n_clients == 1;
    greet(c, client);
    if (first) { // fails without callback only
        c->next_figures_ms = 0;
        (void)uv_timer_start(&c->tick, on_tick, 0, CONSOLE_TICK_MS);
    }
}

static void answer_tail(struct admin_request *r, void *data)
{
    struct console *c = data;
    if (may(c, r)) {
        console_tails_begin(c->tails, r);
    }
}

static void answer_dead(struct admin_request *r, void *data)
{
    struct console *c = data;
    if (may(c, r)) {
        console_letters_look(c->letters, r);
    }
}

static void answer_retry(struct admin_request *r, void *data)
{
    struct console *c = data;
    if (may(c, r)) {
        console_letters_order(c->letters, r, "dead-retry");
    }
}

static void answer_drop(struct admin_request *r, void *data)
{
    struct console *c = data;
    if (may(c, r)) {
        console_letters_order(c->letters, r, "dead-drop");
    }
}

// --- Opening and closing

static int take_token(struct console *c)
{
    struct gateway *g = c->gateway;
    struct buf text;
    char error[KEYS_ERROR_SIZE] = "";
    buf_init(&text, CONSOLE_TOKEN_MAX);
    text.wipes = true;
    int rc = 0;
    if (g->config.admin_token) {
        buf_append_z(&text, g->config.admin_token);
        explicit_bzero(g->config.admin_token, strlen(g->config.admin_token)); // a hash is kept
    } else {
        rc = keys_read(g->config.common.home, "admin-token", CONSOLE_TOKEN_MAX, &text, error);
        if (rc == -ENOENT) {
            buf_fini(&text);
            return 0; // a console without
        }
    }
    if (rc == 0 && buf_error(&text) == -ENOMEM) {
        rc = -ENOMEM;
        (void)snprintf(error, sizeof error, "%s", strerror(ENOMEM));
    }
    if (rc == 0 && (text.len < CONSOLE_TOKEN_MIN || !buf_ok(&text))) {
        (void)snprintf(error, sizeof error, "it must have %d to %d characters", CONSOLE_TOKEN_MIN,
                       CONSOLE_TOKEN_MAX);
        rc = -EINVAL;
    }
    if (rc) {
        log_error("the admin token cannot be used: %s", error);
    } else {
        hash(buf_str(&text), c->token);
        c->has_token = true;
    }
    buf_fini(&text);
    return rc;
}

static int add_pages(struct console *c)
{
    static const struct {
        const char *path;
        enum admin_takes takes;
        admin_handler_fn *f;
    } handlers[] = {
        { "/console/events", ADMIN_TAKES_GET, answer_events },
        { "/console/tail", ADMIN_TAKES_GET, answer_tail },
        { "/console/dead", ADMIN_TAKES_GET, answer_dead },
        { "/console/dead/retry", ADMIN_TAKES_POST, answer_retry },
        { "/console/dead/drop", ADMIN_TAKES_POST, answer_drop },
    };
    struct admin *admin = process_admin(c->gateway->process);
    int rc = 0;
    for (const struct page_file *f = console_files; rc == 0 && f->path; f++) {
        rc = admin_handle(admin, f->path, ADMIN_TAKES_GET, answer_file, (void *)f);
    }
    for (size_t i = 0; rc == 0 && i < sizeof handlers / sizeof *handlers; i++) {
        rc = admin_handle(admin, handlers[i].path, handlers[i].takes, handlers[i].f, c);
    }
    return rc;
}

static void add_metrics(struct console *c)
{
    c->streams = (struct metric)METRIC_GAUGE_INIT("sluice_gateway_console_pages",
                                                  "Pages of the console that are open.", NULL);
    c->refused = (struct metric)METRIC_COUNTER_INIT(
        "sluice_gateway_console_refused_total",
        "Requests to the console without the admin token, or with a wrong one.", NULL);
    metrics_register(&c->streams);
    metrics_register(&c->refused);
}

static void close_parts(struct console *c)
{
    console_tails_close(&c->tails);
    console_letters_close(&c->letters);
    console_alerts_close(&c->alerts);
    console_queue_close(&c->queue);
}

static int open_parts(struct console *c, const char *queue_endpoint)
{
    uv_loop_t *loop = c->gateway->loop;
    int rc = console_queue_open(c->gateway, queue_endpoint, &c->queue);
    rc = rc ? rc : console_tails_open(loop, c->queue, &c->tails);
    rc = rc ? rc : console_letters_open(loop, c->queue, &c->letters);
    rc = rc ? rc : console_alerts_open(c->gateway, &c->alerts);
    if (rc) {
        close_parts(c);
    }
    return rc;
}

int console_open(struct gateway *g, const char *queue_endpoint, struct console **ret_console)
{
    if (!process_admin(g->process)) {
        return 0;
    }
    struct console *c = calloc(1, sizeof *c);
    if (!c) {
        return -ENOMEM;
    }
    c->gateway = g;
    int rc = take_token(c);
    rc = rc ? rc : open_parts(c, queue_endpoint);
    if (rc) {
        free(c);
        return rc;
    }
    for (size_t i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
        c->clients[i].console = c;
    }
    for (int i = 0; i < MESSAGES; i++) {
        buf_init(&c->messages[i], MESSAGE_BYTES);
    }
    (void)uv_timer_init(g->loop, &c->tick); // cannot fail
    c->tick.data = c;
    add_metrics(c);
    *ret_console = c; // from here on console_close() ends it
    return add_pages(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct console *c = handle->data;
    sodium_memzero(c->token, sizeof c->token);
    free(c);
}

void console_close(struct console **console)
{
    struct console *c = *console;
    *console = NULL;
    if (!c) {
        return;
    }
    for (size_t i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
        if (c->clients[i].request) {
            admin_stream_end(c->clients[i].request);
            on_client_gone(&c->clients[i]);
        }
    }
    close_parts(c);
    metrics_unregister(&c->streams);
    metrics_unregister(&c->refused);
    uv_close((uv_handle_t *)&c->tick, on_closed);
}
