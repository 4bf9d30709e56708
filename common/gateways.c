// SPDX-License-Identifier: MIT
// One DEALER per gateway, so that each has its own state and its own connection events.
#include "common/gateways.h"

#include "common/announce.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/worker.h"
#include "common/zsocket.h"

#include <assert.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 100
#define GREETING_MS 1000     // HELLO again after this long without an answer
#define GREETINGS 4          // without an answer; then the connection is made anew
#define REFUSED_MS 1000      // after `malformed`
#define REFUSED_LONG_MS 5000 // after what only an operator or an upgrade changes
#define ENDPOINT_BYTES 256

enum link_state { LINK_DOWN, LINK_GREETING, LINK_ACTIVE };

struct gateway_link {
    struct gateways *gateways;
    struct zsocket *socket;
    char endpoint[ENDPOINT_BYTES];
    char name[64]; // of the gateway, from its WELCOME
    enum link_state state;
    uint32_t heartbeat_ms;
    int64_t heard_ms;           // last frame of it
    int64_t hello_at_ms;        // next HELLO while GREETING
    int greetings;              // since something was heard
    bool unsaid;                // a frame could not be sent since the last HELLO
    int64_t listed_ms;          // last seen in the list of endpoints
    struct frame_credit credit; // last said; credit 0: not yet
    bool drained;               // it answered DRAINING
};

// One entry of the configured list.
struct source {
    struct gateways *gateways;
    bool tcp;
    char pattern[ENDPOINT_BYTES]; // glob pattern of paths, or host name
    char port[8];
    bool resolving;
    uv_getaddrinfo_t request;
};

struct gateways {
    uv_loop_t *loop;
    struct curve *curve;
    struct announcement *announcement;
    struct gateways_callbacks callbacks;
    struct source sources[8];
    size_t n_sources;
    struct gateway_link *links[GATEWAYS_MAX];
    size_t n_links;
    uint32_t capacity;
    uint32_t limits[FRAME_CLASSES];
    enum frame_role role;
    bool ready, draining, drained, closing;
    unsigned sharers;       // gateways at the last split
    int64_t drain_until_ms; // while draining and not yet drained
    uv_timer_t timer;
    int64_t look_at_ms;
    struct buf out;
    int open; // handles and requests that must be over before the memory goes
    struct metric welcomed, refused;
};

// --- Saying things

static void send_frame(struct gateway_link *l)
{
    struct gateways *g = l->gateways;
    if (buf_ok(&g->out)) {
        int rc = zsocket_send(l->socket, 0, buf_str(&g->out));
        // A lost connection is reported by itself, and what it meant is said again. For want of memory
        // one frame alone is missing, perhaps a READY: then all is said again.
        l->unsaid = l->unsaid || rc == -ENOMEM;
    }
}

static void say_number(struct gateway_link *l, enum frame_type type, uint64_t number)
{
    buf_reset(&l->gateways->out);
    frame_number_encode(&l->gateways->out, type, number);
    send_frame(l);
}

static void say_plain(struct gateway_link *l, enum frame_type type)
{
    buf_reset(&l->gateways->out);
    frame_plain_encode(&l->gateways->out, type);
    send_frame(l);
}

static void greet(struct gateway_link *l)
{
    struct gateways *g = l->gateways;
    l->state = LINK_GREETING;
    l->hello_at_ms = clock_mono_ms() + GREETING_MS;
    l->credit.credit = 0;
    l->unsaid = false;
    buf_reset(&g->out);
    announce_hello(g->announcement, g->role, &g->out);
    send_frame(l);
    l->greetings++;
}

unsigned gateways_active(const struct gateways *g)
{
    unsigned n = 0;
    for (size_t i = 0; i < g->n_links; i++) {
        n += g->links[i]->state == LINK_ACTIVE;
    }
    return n;
}

static uint32_t share_of(uint32_t whole, unsigned n)
{
    return whole / n ? whole / n : 1;
}

// Splits the capacity and the limits over the active gateways and tells those whose share changed.
// READY is the first word of credit to a gateway, CREDIT every later one.
static void share_credit(struct gateways *g)
{
    unsigned n = gateways_active(g);
    if (!g->ready || g->draining || n == 0) {
        return;
    }
    struct frame_credit share = { .credit = share_of(g->capacity, n) };
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        share.classes[i] = share_of(g->limits[i], n);
    }
    for (size_t i = 0; i < g->n_links; i++) {
        struct gateway_link *l = g->links[i];
        if (l->state == LINK_ACTIVE && memcmp(&l->credit, &share, sizeof share) != 0) {
            buf_reset(&g->out);
            frame_credit_encode(&g->out, l->credit.credit ? FRAME_CREDIT : FRAME_READY, &share);
            send_frame(l);
            l->credit = share;
            log_debug("gateway %s has credit for %u requests, one of %u gateways", l->name,
                      share.credit, n);
        }
    }
    if (n != g->sharers && g->callbacks.on_shared) {
        g->callbacks.on_shared(n, g->callbacks.data);
    }
    g->sharers = n;
}

// Says on_drained once when no gateway is waited for any more.
static void check_drained(struct gateways *g)
{
    if (!g->draining || g->drained) {
        return;
    }
    bool late = clock_mono_ms() >= g->drain_until_ms;
    for (size_t i = 0; i < g->n_links; i++) {
        const struct gateway_link *l = g->links[i];
        if (l->state != LINK_ACTIVE || l->drained) {
            continue;
        }
        if (!late) {
            return;
        }
        log_warn("gateway %s did not answer DRAINING within %d ms, going on without it", l->name,
                 GATEWAYS_DRAIN_MS);
    }
    g->drained = true;
    g->callbacks.on_drained(g->callbacks.data);
}

// --- Hearing things

static void on_welcome(struct gateway_link *l, struct reader *r, uint32_t fields)
{
    struct frame_welcome f;
    struct gateways *g = l->gateways;
    if (frame_welcome_decode(r, fields, &f) || l->state != LINK_GREETING) {
        return;
    }
    (void)snprintf(l->name, sizeof l->name, "%.*s", STR_ARG(f.gateway));
    l->heartbeat_ms = f.heartbeat_ms ? f.heartbeat_ms : WORKER_HEARTBEAT_MS;
    l->state = LINK_ACTIVE;
    l->drained = g->draining; // it gets no READY, and so sends nothing
    metric_add(&g->welcomed, 1);
    log_info("connected to gateway %s at %s", l->name, l->endpoint);
    say_number(l, FRAME_ROLE, g->role); // it may have changed since the HELLO
    share_credit(g);
}

static void lose(struct gateway_link *l)
{
    if (l->state == LINK_ACTIVE) {
        l->state = LINK_DOWN;
        l->gateways->callbacks.on_lost(l, l->gateways->callbacks.data);
        share_credit(l->gateways);
    }
    l->state = LINK_DOWN;
    check_drained(l->gateways);
}

static void on_refused(struct gateway_link *l, struct reader *r, uint32_t fields)
{
    struct str reason, detail;
    if (frame_refused_decode(r, fields, &reason, &detail)) {
        return;
    }
    lose(l);
    if (str_eq(reason, STR("unknown-peer"))) {
        greet(l);
        return;
    }
    bool bug = str_eq(reason, STR("malformed"));
    metric_add(&l->gateways->refused, 1);
    log_error("gateway at %s refused this worker: %.*s: %.*s", l->endpoint, STR_ARG(reason),
              STR_ARG(detail));
    l->state = LINK_GREETING;
    l->hello_at_ms = clock_mono_ms() + (bug ? REFUSED_MS : REFUSED_LONG_MS);
}

static void on_ping(struct gateway_link *l, struct reader *r, uint32_t fields)
{
    struct gateways *g = l->gateways;
    struct frame_pong pong = { 0 };
    if (frame_number_decode(r, fields, &pong.token)) {
        return;
    }
    g->callbacks.on_ping(&pong.oldest_ms, &pong.in_flight, g->callbacks.data);
    buf_reset(&g->out);
    frame_pong_encode(&g->out, &pong);
    send_frame(l);
}

static void on_frame(struct gateway_link *l, struct str frame)
{
    struct gateways *g = l->gateways;
    struct reader r = reader_of(frame);
    enum frame_type type;
    uint32_t fields;
    uint64_t number;
    if (frame_open(&r, &type, &fields)) {
        return;
    }
    switch (type) {
    case FRAME_REQUEST:
        if (l->state == LINK_ACTIVE && g->callbacks.on_request(l, frame, g->callbacks.data) < 0) {
            log_error("gateway %s sent a request that is not as the protocol says, ignoring",
                      l->name);
        }
        break;
    case FRAME_CANCEL:
        if (frame_number_decode(&r, fields, &number) == 0) {
            g->callbacks.on_cancel(l, number, g->callbacks.data);
        }
        break;
    case FRAME_PING:
        on_ping(l, &r, fields);
        break;
    case FRAME_WELCOME:
        on_welcome(l, &r, fields);
        break;
    case FRAME_REFUSED:
        on_refused(l, &r, fields);
        break;
    case FRAME_DRAINING:
        l->drained = true;
        check_drained(g);
        break;
    case FRAME_GOODBYE:
        lose(l);
        break;
    default: // PADDING, and a worker's own frames, which have no meaning here
        break;
    }
}

static void on_message(struct zsocket *s, uint32_t peer, int fd, struct str message, void *data)
{
    struct gateway_link *l = data;
    struct reader r = reader_of(message);
    struct str frame;
    (void)s, (void)peer, (void)fd;
    l->heard_ms = clock_mono_ms();
    l->greetings = 0;
    while (frame_next(&r, &frame) == 1) {
        on_frame(l, frame);
    }
}

static void on_connect(struct zsocket *s, void *data)
{
    (void)s;
    struct gateway_link *l = data;
    l->heard_ms = clock_mono_ms();
    l->greetings = 0;
    if (!l->gateways->draining) {
        greet(l);
    }
}

static void on_disconnect(struct zsocket *s, int fd, void *data)
{
    (void)s, (void)fd;
    lose(data);
}

// --- Links

static int connect_link(struct gateway_link *l)
{
    struct gateways *g = l->gateways;
    struct zsocket_options options = { .type = ZSOCKET_DEALER,
                                       .max_message_bytes = FRAME_MAX_MESSAGE_BYTES,
                                       .curve = g->curve,
                                       .server_name = "gateway",
                                       .wipes = true }; // requests have passwords
    struct zsocket_callbacks callbacks = { on_message, on_connect, on_disconnect, l };
    int rc = zsocket_open(g->loop, &options, &callbacks, &l->socket);
    rc = rc ? rc : zsocket_connect(l->socket, l->endpoint);
    if (rc) {
        zsocket_close(&l->socket, 0);
    }
    return rc;
}

// A connection that is up, but nothing comes through: it may be waiting for the rest of a message
// whose length was garbled. When it cannot be opened, that is tried again at the next tick.
static void connect_anew(struct gateway_link *l)
{
    zsocket_close(&l->socket, 0);
    lose(l);
    l->greetings = connect_link(l) ? GREETINGS : 0;
    l->state = l->socket ? LINK_DOWN : LINK_GREETING;
}

static int open_link(struct gateways *g, const char *endpoint)
{
    struct gateway_link *l = calloc(1, sizeof *l);
    if (!l) {
        return -ENOMEM;
    }
    l->gateways = g;
    l->listed_ms = l->heard_ms = clock_mono_ms();
    (void)snprintf(l->endpoint, sizeof l->endpoint, "%s", endpoint);
    int rc = connect_link(l);
    if (rc) {
        free(l);
        return rc;
    }
    g->links[g->n_links++] = l;
    return 0;
}

static void close_link(struct gateways *g, size_t i, int linger_ms)
{
    struct gateway_link *l = g->links[i];
    zsocket_close(&l->socket, linger_ms);
    g->links[i] = g->links[--g->n_links];
    free(l);
}

// An endpoint is there: connects to it unless that was done.
static void list_endpoint(struct gateways *g, const char *endpoint)
{
    for (size_t i = 0; i < g->n_links; i++) {
        if (strcmp(g->links[i]->endpoint, endpoint) == 0) {
            g->links[i]->listed_ms = clock_mono_ms();
            return;
        }
    }
    if (g->n_links == GATEWAYS_MAX || strlen(endpoint) >= ENDPOINT_BYTES) {
        return;
    }
    int rc = open_link(g, endpoint);
    if (rc) {
        log_error("cannot connect to the gateway at %s: %s", endpoint, strerror(-rc));
    }
}

static void look_at_paths(struct gateways *g, const struct source *s)
{
    glob_t found;
    char endpoint[ENDPOINT_BYTES];
    if (glob(s->pattern, GLOB_NOSORT, NULL, &found)) {
        return; // none there yet
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if ((size_t)snprintf(endpoint, sizeof endpoint, "ipc://%s", found.gl_pathv[i]) <
            sizeof endpoint) {
            list_endpoint(g, endpoint);
        }
    }
    globfree(&found);
}

static void release(struct gateways *g);

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct source *s = request->data;
    struct gateways *g = s->gateways;
    char address[64], endpoint[ENDPOINT_BYTES];
    s->resolving = false;
    for (struct addrinfo *a = found; !status && !g->closing && a; a = a->ai_next) {
        if (uv_ip_name(a->ai_addr, address, sizeof address) == 0) {
            bool six = a->ai_family == AF_INET6;
            (void)snprintf(endpoint, sizeof endpoint, "tcp://%s%s%s:%s", six ? "[" : "", address,
                           six ? "]" : "", s->port);
            list_endpoint(g, endpoint);
        }
    }
    uv_freeaddrinfo(found);
    release(g);
}

static void look_at_name(struct gateways *g, struct source *s)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC };
    if (s->resolving) {
        return;
    }
    s->request.data = s;
    if (uv_getaddrinfo(g->loop, &s->request, on_resolved, s->pattern, NULL, &hints) == 0) {
        s->resolving = true;
        g->open++;
    }
}

static void look(struct gateways *g)
{
    for (size_t i = 0; i < g->n_sources; i++) {
        if (g->sources[i].tcp) {
            look_at_name(g, &g->sources[i]);
        } else {
            look_at_paths(g, &g->sources[i]);
        }
    }
}

static void check_link(struct gateway_link *l, int64_t now)
{
    if (l->state == LINK_ACTIVE && now - l->heard_ms > 3 * (int64_t)l->heartbeat_ms + TICK_MS) {
        log_warn("gateway %s is silent, greeting it again", l->name);
        lose(l);
        l->state = LINK_GREETING;
        l->hello_at_ms = now;
    } else if (l->state == LINK_ACTIVE && l->unsaid) {
        log_warn("no memory to send something to gateway %s, greeting it again", l->name);
        lose(l);
        l->state = LINK_GREETING;
        l->hello_at_ms = now;
    }
    if (l->state == LINK_GREETING && now >= l->hello_at_ms && !l->gateways->draining) {
        if (l->greetings >= GREETINGS) {
            connect_anew(l);
        } else {
            greet(l);
        }
    }
}

static void on_tick(uv_timer_t *handle)
{
    struct gateways *g = handle->data;
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < g->n_links; i++) {
        check_link(g->links[i], now);
    }
    if (now >= g->look_at_ms && !g->draining) {
        // Until the first gateway is found, every tick: this is what a start waits for.
        g->look_at_ms = now + (g->n_links ? GATEWAYS_LOOK_MS : 0);
        look(g);
    }
    for (size_t i = g->n_links; i-- > 0;) {
        if (g->links[i]->state == LINK_DOWN && now - g->links[i]->listed_ms > GATEWAYS_FORGET_MS) {
            close_link(g, i, 0);
        }
    }
    check_drained(g);
}

// --- Opening and closing

static bool is_port(struct str s)
{
    unsigned port = 0;
    for (size_t i = 0; i < s.n && port <= 65535; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        port = port * 10 + (unsigned)(s.p[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

static int parse_source(struct source *s, struct str entry)
{
    bool ipc = str_starts(entry, STR("ipc://")), tcp = str_starts(entry, STR("tcp://"));
    struct str rest = { entry.p + 6, entry.n > 6 ? entry.n - 6 : 0 };
    if ((!ipc && !tcp) || rest.n == 0 || rest.n >= sizeof s->pattern) {
        return -EINVAL;
    }
    s->tcp = tcp;
    struct str host = rest;
    if (tcp) {
        const char *colon = memrchr(rest.p, ':', rest.n);
        struct str port = { colon ? colon + 1 : "",
                            colon ? (size_t)(rest.p + rest.n - colon) - 1 : 0 };
        if (!is_port(port) || port.n >= sizeof s->port || colon == rest.p) {
            return -EINVAL;
        }
        (void)snprintf(s->port, sizeof s->port, "%.*s", STR_ARG(port));
        host.n = (size_t)(colon - rest.p);
    }
    (void)snprintf(s->pattern, sizeof s->pattern, "%.*s", STR_ARG(host));
    return 0;
}

static int parse_sources(struct gateways *g, const char *endpoints)
{
    for (const char *p = endpoints; *p;) {
        size_t n = strcspn(p, ",");
        if (g->n_sources == sizeof g->sources / sizeof *g->sources) {
            return -EINVAL;
        }
        struct source *s = &g->sources[g->n_sources++];
        s->gateways = g;
        if (parse_source(s, (struct str){ p, n })) {
            return -EINVAL;
        }
        p += n + (p[n] == ',');
    }
    return g->n_sources ? 0 : -EINVAL;
}

int gateways_open(uv_loop_t *loop, const char *endpoints, struct curve *curve,
                  struct announcement *announcement, uint32_t capacity,
                  const struct gateways_callbacks *callbacks, struct gateways **ret_gateways)
{
    struct gateways *g = calloc(1, sizeof *g);
    int rc = g ? parse_sources(g, endpoints) : -ENOMEM;
    if (rc) {
        free(g);
        return rc;
    }
    g->loop = loop;
    g->curve = curve;
    g->announcement = announcement;
    g->capacity = capacity;
    for (size_t i = 0; i < FRAME_CLASSES; i++) {
        g->limits[i] = capacity;
    }
    g->callbacks = *callbacks;
    g->open = 1;
    buf_init(&g->out, FRAME_MAX_BYTES);
    g->welcomed = (struct metric)METRIC_COUNTER_INIT(
        "sluice_worker_welcomed_total", "Times that a gateway welcomed this worker.", NULL);
    g->refused = (struct metric)METRIC_COUNTER_INIT(
        "sluice_worker_refused_total", "Times that a gateway refused this worker.", NULL);
    metrics_register(&g->welcomed);
    metrics_register(&g->refused);
    (void)uv_timer_init(loop, &g->timer); // these cannot fail
    g->timer.data = g;
    (void)uv_timer_start(&g->timer, on_tick, 0, TICK_MS);
    *ret_gateways = g;
    return 0;
}

void gateways_ready(struct gateways *g)
{
    g->ready = true;
    share_credit(g);
}

void gateways_limits(struct gateways *g, const uint32_t limits[FRAME_CLASSES])
{
    memcpy(g->limits, limits, sizeof g->limits);
    share_credit(g);
}

void gateways_role(struct gateways *g, enum frame_role role)
{
    g->role = role;
    for (size_t i = 0; i < g->n_links; i++) {
        if (g->links[i]->state == LINK_ACTIVE) {
            say_number(g->links[i], FRAME_ROLE, role);
        }
    }
}

// To a gateway that is gone, which on_disconnect will say, it is dropped, as what is queued would be.
static int send_padded(struct gateway_link *link, struct str frame)
{
    int rc = zsocket_send_padded(link->socket, 0, frame, frame_padding());
    return rc == -EAGAIN ? 0 : rc;
}

void gateways_send(struct gateways *g, struct gateway_link *link, struct str frame, bool sensitive)
{
    (void)g;
    int rc = sensitive ? send_padded(link, frame) : zsocket_queue(link->socket, 0, frame);
    if (rc) {
        log_error("cannot send an answer to gateway %s: %s", link->name, strerror(-rc));
    }
}

void gateways_drain(struct gateways *g)
{
    g->draining = true;
    g->drain_until_ms = clock_mono_ms() + GATEWAYS_DRAIN_MS;
    for (size_t i = 0; i < g->n_links; i++) {
        if (g->links[i]->state == LINK_ACTIVE) {
            say_plain(g->links[i], FRAME_DRAINING);
        }
    }
    check_drained(g);
}

static void release(struct gateways *g)
{
    if (--g->open == 0) {
        buf_fini(&g->out);
        free(g);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

void gateways_close(struct gateways **gateways, int linger_ms)
{
    struct gateways *g = *gateways;
    *gateways = NULL;
    if (!g) {
        return;
    }
    g->closing = true;
    while (g->n_links) {
        if (g->links[0]->state == LINK_ACTIVE) {
            say_plain(g->links[0], FRAME_GOODBYE);
        }
        close_link(g, 0, linger_ms);
    }
    metrics_unregister(&g->welcomed);
    metrics_unregister(&g->refused);
    uv_close((uv_handle_t *)&g->timer, on_timer_closed);
}
