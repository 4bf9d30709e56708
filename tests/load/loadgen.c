// SPDX-License-Identifier: MIT
// An open-loop load generator: requests have planned times that do not depend on how answers come,
// and latency counts from the planned time, so that what a slow server keeps clients from sending is
// counted, too. README.md says how it is used.
//
//     planned --a connection is free--> SENT --answer--> done
//        |           ^                   |
//        +--WAITING--+                   +--503, lost, timeout--> BACKOFF --its time--> planned again
#include "tests/load/ledger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 8192
#define EVENTS 256
#define LOCATION_BYTES 128

// One request through all its attempts.
struct shot {
    struct shot *next, *prev; // of the attempts under way, by since_us
    struct shot *next_waiting, *prev_waiting;
    bool waiting;
    size_t phase, kind;
    uint64_t number;
    int attempts;
    int64_t planned_us, attempt_us; // of the request, and of this attempt
    int64_t since_us;               // when it began to wait for a connection, or was sent
    struct connection *connection;  // NULL: none yet
};

enum connection_state { CONN_NONE, CONN_CONNECTING, CONN_IDLE, CONN_BUSY };

struct connection {
    enum connection_state state;
    int fd;
    struct shot *shot;
    struct connection *next; // of the free ones
    char *out;               // what the socket did not take; owned
    size_t out_n, out_at;
    char head[HEAD_BYTES];
    size_t head_n;
    bool in_body, close;
    uint64_t body_left;
    int status;
    int retry_after_s;
    char location[LOCATION_BYTES];
};

struct list {
    struct shot *first, *last;
};

static struct plan plan;
static struct ledger ledger;
static struct connection *connections;
static struct connection *idle, *unconnected;
static struct list waiting;    // for a connection
static struct list under_way;  // waiting or sent
static struct shot **sleepers; // heap by attempt_us: back-off
static size_t n_sleepers, cap_sleepers;
static struct shot *spare;
static uint64_t n_open;
static uint64_t numbers;
static int epoll;
static int64_t began_us;
static uint64_t chance;

static int64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 - began_us;
}

// In (0, 1).
static double draw(void)
{
    chance += UINT64_C(0x9e3779b97f4a7c15); // splitmix64
    uint64_t z = chance;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return ((double)(z >> 11) + 0.5) / 9007199254740992.0;
}

static void give_up(const char *what)
{
    (void)fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(1);
}

// --- Shots

static struct shot *take_shot(void)
{
    struct shot *s = spare;
    if (s) {
        spare = s->next;
    } else {
        s = malloc(sizeof *s);
        if (!s) {
            give_up("memory");
        }
    }
    memset(s, 0, sizeof *s);
    n_open++;
    return s;
}

static void sleep_push(struct shot *s)
{
    if (n_sleepers == cap_sleepers) {
        cap_sleepers = cap_sleepers ? 2 * cap_sleepers : 1024;
        sleepers = reallocarray(sleepers, cap_sleepers, sizeof(struct shot *));
        if (!sleepers) {
            give_up("memory");
        }
    }
    size_t i = n_sleepers++;
    while (i > 0 && sleepers[(i - 1) / 2]->attempt_us > s->attempt_us) {
        sleepers[i] = sleepers[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sleepers[i] = s;
}

static struct shot *sleep_pop(void)
{
    struct shot *top = sleepers[0], *last = sleepers[--n_sleepers];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < n_sleepers &&
            sleepers[child + 1]->attempt_us < sleepers[child]->attempt_us) {
            child++;
        }
        if (child >= n_sleepers || sleepers[child]->attempt_us >= last->attempt_us) {
            break;
        }
        sleepers[i] = sleepers[child];
        i = child;
    }
    sleepers[i] = last;
    return top;
}

// Whether another attempt may be made after this end.
static bool may_retry(const struct shot *s, int end)
{
    const struct plan_request *r = &plan.requests[s->kind];
    bool failed = end < 100 || end == 429 || end == 409 || end >= 500;
    if (end == 409 && !r->keyed) {
        failed = false; // with a key it may mean: the first attempt is still under way
    }
    return failed && s->attempts <= plan.retries && (r->safe || r->keyed || end == END_UNCONNECTED);
}

// What was sent has the whole timeout again. With what is left of one that it spent waiting, a backlog
// as long as the timeout would end every attempt right after its connection is opened: a generator
// that does nothing but connect, for ever, and blames the server.
static void go_under_way(struct shot *s)
{
    s->since_us = now_us();
    s->next = NULL;
    s->prev = under_way.last;
    *(s->prev ? &s->prev->next : &under_way.first) = s;
    under_way.last = s;
}

static void leave(struct shot *s)
{
    *(s->prev ? &s->prev->next : &under_way.first) = s->next;
    *(s->next ? &s->next->prev : &under_way.last) = s->prev;
}

static void end_attempt(struct shot *s, int end, int retry_after_s, const char *location)
{
    int64_t now = now_us();
    leave(s);
    ledger_attempt(&ledger, s->phase, s->kind, end, now - s->attempt_us);
    if (may_retry(s, end)) {
        double wait = (double)plan.backoff_us * pow(2, s->attempts - 1) * (0.5 + draw());
        if (plan.obey && wait < retry_after_s * 1e6) {
            wait = retry_after_s * 1e6 * (1 + draw() / 2);
        }
        s->attempt_us = now + (int64_t)wait;
        sleep_push(s);
        return;
    }
    struct ledger_request r = { s->phase,      s->kind, s->number, s->attempts,
                                s->planned_us, now,     end,       location };
    ledger_request(&ledger, &r);
    s->next = spare;
    spare = s;
    n_open--;
}

// --- Connections

static void watch(struct connection *c, uint32_t events, int what)
{
    struct epoll_event e = { .events = events, .data.ptr = c };
    if (epoll_ctl(epoll, what, c->fd, &e)) {
        give_up("epoll_ctl");
    }
}

static void serve_waiting(struct connection *c);

// Closes, and lets the connection be opened again for whoever waits.
static void close_connection(struct connection *c)
{
    if (c->state == CONN_IDLE) {
        struct connection **at = &idle;
        while (*at != c) {
            at = &(*at)->next;
        }
        *at = c->next;
    }
    (void)close(c->fd);
    free(c->out);
    c->out = NULL;
    c->state = CONN_NONE;
    c->next = unconnected;
    unconnected = c;
}

static void fail_connection(struct connection *c, int end)
{
    struct shot *s = c->shot;
    c->shot = NULL;
    close_connection(c);
    if (s) {
        s->connection = NULL;
        end_attempt(s, end, 0, "");
    }
    serve_waiting(NULL);
}

static void flush(struct connection *c)
{
    while (c->out_at < c->out_n) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) {
                fail_connection(c, END_CLOSED);
            }
            return;
        }
        c->out_at += (size_t)n;
    }
    free(c->out);
    c->out = NULL;
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

static void send_shot(struct connection *c, struct shot *s)
{
    const struct plan_request *r = &plan.requests[s->kind];
    char key[80] = "";
    if (r->keyed) {
        (void)snprintf(key, sizeof key, "Idempotency-Key: \"%" PRIu64 "-%" PRIu64 "\"\r\n",
                       plan.seed, s->number);
    }
    int n = asprintf(&c->out, "%s%s\r\n%s", r->head, key, r->body);
    if (n < 0) {
        give_up("memory");
    }
    c->out_n = (size_t)n;
    c->out_at = 0;
    c->shot = s;
    c->head_n = 0;
    c->in_body = c->close = false;
    c->status = c->retry_after_s = 0;
    c->location[0] = '\0';
    s->connection = c;
    if (c->state == CONN_IDLE || c->state == CONN_BUSY) {
        c->state = CONN_BUSY;
        ssize_t sent = send(c->fd, c->out, c->out_n, MSG_NOSIGNAL);
        if (sent == n) {
            free(c->out);
            c->out = NULL;
            return;
        }
        c->out_at = sent > 0 ? (size_t)sent : 0;
        watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
}

static void open_connection(struct connection *c, struct shot *s)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)plan.port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        give_up("socket");
    }
    c->state = CONN_CONNECTING;
    int rc = connect(c->fd, (struct sockaddr *)&to, sizeof to);
    bool refused = rc && errno != EINPROGRESS;
    watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
    send_shot(c, s);
    if (refused) {
        fail_connection(c, END_UNCONNECTED);
    }
}

static void stop_waiting(struct shot *s)
{
    *(s->prev_waiting ? &s->prev_waiting->next_waiting : &waiting.first) = s->next_waiting;
    *(s->next_waiting ? &s->next_waiting->prev_waiting : &waiting.last) = s->prev_waiting;
    s->waiting = false;
}

// Gives the connection that is free (NULL: one that is not open) to the first that waits.
static void serve_waiting(struct connection *c)
{
    struct shot *s = waiting.first;
    if (!s) {
        return;
    }
    if (!c && !unconnected) {
        return;
    }
    stop_waiting(s);
    leave(s);
    go_under_way(s);
    if (c) {
        send_shot(c, s);
    } else {
        c = unconnected;
        unconnected = c->next;
        open_connection(c, s);
    }
}

static void start_attempt(struct shot *s)
{
    int64_t late = now_us() - s->attempt_us;
    if (late > (int64_t)ledger.sent_late_us) {
        ledger.sent_late_us = (uint64_t)late;
    }
    s->attempts++;
    go_under_way(s);
    struct connection *c = idle;
    if (c) {
        idle = c->next;
        send_shot(c, s);
        return;
    }
    if (unconnected) {
        c = unconnected;
        unconnected = c->next;
        open_connection(c, s);
        return;
    }
    s->waiting = true;
    s->next_waiting = NULL;
    s->prev_waiting = waiting.last;
    *(waiting.last ? &waiting.last->next_waiting : &waiting.first) = s;
    waiting.last = s;
}

static void on_answer(struct connection *c)
{
    struct shot *s = c->shot;
    bool close = c->close;
    c->shot = NULL;
    s->connection = NULL;
    end_attempt(s, c->status, c->retry_after_s, c->location);
    if (close) {
        close_connection(c);
        serve_waiting(NULL);
    } else if (waiting.first) {
        serve_waiting(c);
    } else {
        c->state = CONN_IDLE;
        c->next = idle;
        idle = c;
    }
}

// --- Answers

static const char *field(const struct connection *c, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = c->head; (line = strstr(line, "\r\n"));) {
        line += 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            return line + n + 1 + strspn(line + n + 1, " ");
        }
    }
    return NULL;
}

// The head is whole: what it says. False: it is no answer that can be read on.
static bool read_head(struct connection *c)
{
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1 || c->status < 100 || c->status >= 600) {
        return false;
    }
    const char *length = field(c, "content-length"), *how = field(c, "connection");
    const char *where = field(c, "location"), *when = field(c, "retry-after");
    c->body_left = length ? strtoull(length, NULL, 10) : 0;
    c->close = how && strncasecmp(how, "close", 5) == 0;
    c->retry_after_s = when ? atoi(when) : 0;
    if (where) {
        (void)snprintf(c->location, sizeof c->location, "%.*s", (int)strcspn(where, "\r\n "),
                       where);
    }
    return length || c->status == 204 || c->status == 304 || c->status < 200;
}

// Takes n bytes that came. False: the connection cannot be gone on with.
static bool consume(struct connection *c, const char *data, size_t n)
{
    if (!c->shot) {
        ledger.unasked++;
        return false;
    }
    if (!c->in_body) {
        size_t room = HEAD_BYTES - 1 - c->head_n, taken = n < room ? n : room;
        memcpy(c->head + c->head_n, data, taken);
        size_t from = c->head_n > 3 ? c->head_n - 3 : 0;
        c->head_n += taken;
        c->head[c->head_n] = '\0';
        char *end = strstr(c->head + from, "\r\n\r\n");
        if (!end) {
            return c->head_n < HEAD_BYTES - 1;
        }
        size_t head = (size_t)(end + 4 - c->head), used = taken - (c->head_n - head);
        end[2] = '\0';
        if (!read_head(c)) {
            return false;
        }
        c->in_body = true;
        data += used;
        n -= used;
    }
    if (n > c->body_left) {
        ledger.unasked++;
        return false;
    }
    c->body_left -= n;
    if (c->body_left == 0) {
        on_answer(c);
    }
    return true;
}

static void on_readable(struct connection *c)
{
    static char buffer[65536];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0 || !consume(c, buffer, (size_t)n)) {
        fail_connection(c, END_CLOSED);
    }
}

static void on_event(struct connection *c, uint32_t events)
{
    if (c->state == CONN_CONNECTING) {
        int error = 0;
        socklen_t n = sizeof error;
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) || error) {
            fail_connection(c, END_UNCONNECTED);
            return;
        }
        c->state = CONN_BUSY;
    }
    if (c->out && (events & EPOLLOUT)) {
        flush(c);
    }
    if (c->state != CONN_NONE && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        on_readable(c);
    }
}

// --- The plan

struct arrivals {
    double next_us[PLAN_MAX_REQUESTS];
    size_t phase;
    double begin_us, end_us; // of the phase
};

static void begin_phase(struct arrivals *a, size_t phase, double at_us)
{
    a->phase = phase;
    a->begin_us = at_us;
    if (phase == plan.n_phases) {
        return;
    }
    a->end_us = at_us + plan.phases[phase].seconds * 1e6;
    for (size_t k = 0; k < plan.n_requests; k++) {
        double rate = plan.phases[phase].rate[k];
        a->next_us[k] = rate > 0 ? at_us - log(draw()) * 1e6 / rate : INFINITY;
    }
}

static volatile sig_atomic_t stopped; // SIGTERM: nothing more is begun

static void on_stop(int number)
{
    (void)number;
    stopped = 1;
}

// Starts everything whose time has come.
static void arrive(struct arrivals *a)
{
    double now = (double)now_us();
    if (stopped) {
        a->phase = plan.n_phases;
    }
    while (a->phase < plan.n_phases) {
        size_t first = 0;
        for (size_t k = 1; k < plan.n_requests; k++) {
            first = a->next_us[k] < a->next_us[first] ? k : first;
        }
        double at = a->next_us[first];
        if (at >= a->end_us) { // of this phase nothing more comes
            if (now < a->end_us) {
                return;
            }
            begin_phase(a, a->phase + 1, a->end_us);
            continue;
        }
        if (at > now) {
            return;
        }
        a->next_us[first] = at - log(draw()) * 1e6 / plan.phases[a->phase].rate[first];
        struct shot *s = take_shot();
        s->phase = a->phase;
        s->kind = first;
        s->number = ++numbers;
        s->planned_us = s->attempt_us = (int64_t)at;
        ledger_planned(&ledger, s->phase, first, s->planned_us);
        start_attempt(s);
    }
}

static void wake_sleepers(void)
{
    int64_t now = now_us();
    while (n_sleepers && sleepers[0]->attempt_us <= now) {
        start_attempt(sleep_pop());
    }
}

static void time_out(void)
{
    int64_t now = now_us();
    while (under_way.first && now - under_way.first->since_us >= plan.timeout_us) {
        struct shot *s = under_way.first;
        if (s->connection) {
            fail_connection(s->connection, END_TIMEOUT);
        } else {
            stop_waiting(s);
            end_attempt(s, END_TIMEOUT, 0, "");
        }
    }
}

static void run(void)
{
    struct epoll_event events[EVENTS];
    struct arrivals arrivals = { 0 };
    begin_phase(&arrivals, 0, 0);
    while (arrivals.phase < plan.n_phases || n_open > 0) {
        arrive(&arrivals);
        wake_sleepers();
        time_out();
        int n = epoll_wait(epoll, events, EVENTS, 1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->state != CONN_NONE) {
                on_event(c, events[i].events);
            }
        }
    }
}

static void set_up(void)
{
    struct timespec t;
    (void)signal(SIGTERM, on_stop); // SIGTERM can be handled
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    began_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    chance = plan.seed;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)plan.connections, sizeof *connections);
    if (epoll < 0 || !connections) {
        give_up("start");
    }
    for (int i = 0; i < plan.connections; i++) {
        connections[i].next = unconnected;
        unconnected = &connections[i];
    }
}

static void tear_down(void)
{
    for (int i = 0; i < plan.connections; i++) {
        if (connections[i].state != CONN_NONE) {
            (void)close(connections[i].fd);
        }
    }
    while (spare) {
        struct shot *s = spare;
        spare = s->next;
        free(s);
    }
    free(sleepers);
    free(connections);
    ledger_fini(&ledger);
    plan_free(&plan);
}

int main(int argc, char **argv)
{
    if (argc > 3 || (argc > 1 && strcmp(argv[1], "--ledger") != 0) || argc == 2) {
        (void)fputs("usage: loadgen [--ledger FILE] <PLAN >REPORT (tests/load/README.md)\n",
                    stderr);
        return 2;
    }
    FILE *lines = argc == 3 ? fopen(argv[2], "w") : NULL;
    if (argc == 3 && !lines) {
        give_up(argv[2]);
    }
    if (plan_read(stdin, &plan)) {
        return 2;
    }
    if (ledger_init(&ledger, &plan, lines)) {
        give_up("memory");
    }
    set_up();
    run();
    ledger_print(&ledger, stdout);
    if (lines && fclose(lines)) {
        give_up(argv[2]);
    }
    tear_down();
    return 0;
}
