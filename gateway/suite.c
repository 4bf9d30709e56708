// SPDX-License-Identifier: MIT
#include "gateway/suite.h"

#include "common/admin.h"
#include "common/admin_fetch.h"
#include "common/clock.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#define SOCKET_SUFFIX ".admin.sock"

struct round;

struct asked {
    struct suite_process process;
    struct buf text;
    struct admin_fetch *fetch; // NULL: it has answered, or was not asked
    struct round *round;
};

struct suite_waiter {
    suite_done_fn *done;
    void *data;
};

// One scrape in one format.
struct round {
    struct suite *suite;
    enum metrics_format format;
    bool running;
    struct asked *targets; // owned
    size_t n, n_asked, left_out;
    size_t bytes; // of the texts that are here
    struct suite_waiter waiters[SUITE_MAX_WAITERS];
    size_t n_waiters;
    uv_timer_t finisher; // ends a round in which nobody had to be asked
};

// A name of SLUICE_SUITE.
struct name {
    struct suite *suite;
    char host[SUITE_NAME_BYTES], port[8];
    struct address addresses[SUITE_MAX_ADDRESSES];
    size_t n;
    bool resolving;
    int64_t resolved_ms; // when it was looked up last; 0: never
    uv_getaddrinfo_t request;
};

struct suite {
    struct gateway *gateway;
    const char *run; // directory of the sockets
    struct round rounds[METRICS_FORMATS];
    struct name names[SUITE_MAX_NAMES];
    size_t n_names;
    size_t n_open; // handles and requests; with the last one this is freed
    bool closing;
};

static void release(struct suite *s)
{
    assert(s->n_open > 0);
    if (--s->n_open == 0) {
        free(s);
    }
}

// --- Names

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct name *name = request->data;
    struct suite *s = name->suite;
    name->resolving = false;
    name->n = 0; // a name that nobody has any more has no processes
    for (struct addrinfo *a = found; !status && a && name->n < SUITE_MAX_ADDRESSES;
         a = a->ai_next) {
        struct address *to = &name->addresses[name->n++];
        memset(to, 0, sizeof *to);
        memcpy(&to->socket, a->ai_addr, a->ai_addrlen);
        to->length = a->ai_addrlen;
    }
    uv_freeaddrinfo(found);
    release(s);
}

static void resolve(struct name *name)
{
    struct suite *s = name->suite;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC };
    int64_t now_ms = clock_mono_ms();
    if (name->resolving || (name->resolved_ms && now_ms - name->resolved_ms < SUITE_RESOLVE_MS)) {
        return;
    }
    name->request.data = name;
    if (uv_getaddrinfo(s->gateway->loop, &name->request, on_resolved, name->host, name->port,
                       &hints) == 0) {
        name->resolving = true;
        name->resolved_ms = now_ms;
        s->n_open++;
    }
}

static int add_name(struct suite *s, struct str text)
{
    const char *colon = memrchr(text.p, ':', text.n);
    if (!colon || s->n_names == SUITE_MAX_NAMES) {
        return -EINVAL;
    }
    struct name *name = &s->names[s->n_names];
    struct str host = { text.p, (size_t)(colon - text.p) };
    struct str port = { colon + 1, text.n - host.n - 1 };
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
        host = (struct str){ host.p + 1, host.n - 2 };
    }
    if (host.n == 0 || host.n > 96 || port.n == 0 || port.n >= sizeof name->port) {
        return -EINVAL;
    }
    for (size_t i = 0; i < host.n; i++) { // it becomes a label
        if (host.p[i] <= ' ' || strchr("\"\\/,{}", host.p[i])) {
            return -EINVAL;
        }
    }
    (void)snprintf(name->host, sizeof name->host, "%.*s", STR_ARG(host));
    (void)snprintf(name->port, sizeof name->port, "%.*s", STR_ARG(port));
    int64_t number;
    if (config_parse_number(CONFIG_INTEGER, name->port, &number) || number < 1 || number > 65535) {
        return -EINVAL;
    }
    name->suite = s;
    s->n_names++;
    return 0;
}

static int add_names(struct suite *s, const char *list)
{
    int rc = 0;
    for (const char *p = list; rc == 0; p++) {
        size_t n = strcspn(p, ",");
        rc = add_name(s, (struct str){ p, n });
        p += n;
        if (*p == '\0') {
            break;
        }
    }
    return rc;
}

// --- One round

static int compare(const void *a, const void *b)
{
    const struct suite_process *x = a, *y = b;
    int by_job = strcmp(x->job, y->job);
    return by_job ? by_job : strcmp(x->instance, y->instance);
}

// Sorts them and takes out what is there twice, those that are up first. Returns how many are left.
static size_t settle(struct suite_process *p, size_t n)
{
    size_t kept = 0;
    if (n > 0) {
        qsort(p, n, sizeof *p, compare);
    }
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && compare(&p[kept - 1], &p[i]) == 0) {
            p[kept - 1] = p[kept - 1].up ? p[kept - 1] : p[i];
        } else {
            p[kept++] = p[i];
        }
    }
    return kept;
}

static bool is_listed(const struct suite_process *p, size_t n, const char *instance)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(p[i].instance, instance) == 0) {
            return true;
        }
    }
    return false;
}

// Workers that are connected, but that nobody could be asked for.
static size_t add_linked(const struct gateway *g, struct suite_process *p, size_t n, size_t max)
{
    size_t listed = n;
    for (size_t i = 0; i < g->router.n_services; i++) {
        const struct lane *lane = &g->balancer.lanes[i];
        for (size_t k = 0; k < lane->n_workers && n < max; k++) {
            const char *instance = lane->workers[k]->instance;
            if (is_listed(p, listed, instance) || instance[strcspn(instance, "\"\\\n")]) {
                continue;
            }
            p[n] = (struct suite_process){ .linked = true };
            (void)snprintf(p[n].job, sizeof p[n].job, "sluice-%.64s", g->router.services[i]->name);
            (void)snprintf(p[n].instance, sizeof p[n].instance, "%s", instance);
            n++;
        }
    }
    return n;
}

static void end_round(struct round *r)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->targets[i].fetch) {
            admin_fetch_cancel(&r->targets[i].fetch);
        }
        buf_fini(&r->targets[i].text);
    }
    free(r->targets);
    r->targets = NULL;
    r->n = r->n_asked = r->left_out = r->bytes = 0;
    r->running = false;
}

static void tell(struct round *r, struct suite_process *p, size_t n)
{
    struct suite_waiter waiters[SUITE_MAX_WAITERS];
    size_t n_waiters = r->n_waiters;
    memcpy(waiters, r->waiters, sizeof waiters);
    r->n_waiters = 0; // one that asks again meanwhile begins the next round
    for (size_t i = 0; i < n_waiters; i++) {
        waiters[i].done(p, n, r->left_out, waiters[i].data);
    }
}

static void finish(struct round *r)
{
    const size_t max = SUITE_MAX_PROCESSES + WORKERS_MAX;
    struct suite_process *p = calloc(max, sizeof *p);
    size_t n = 0;
    for (; p && n < r->n; n++) {
        struct asked *t = &r->targets[n];
        p[n] = t->process;
        p[n].text = buf_str(&t->text);
        if (p[n].up) {
            suite_text_identify(&p[n]);
        }
    }
    if (p) {
        n = settle(p, add_linked(r->suite->gateway, p, n, max));
    }
    tell(r, p, n);
    free(p);
    end_round(r);
}

static void on_fetched(int status, struct str body, void *data)
{
    struct asked *t = data;
    struct round *r = t->round;
    t->fetch = NULL;
    if (status == 200 && r->bytes + body.n <= SUITE_TOTAL_BYTES) {
        buf_append_str(&t->text, body);
        t->process.up = buf_ok(&t->text);
        r->bytes += body.n;
    }
    assert(r->n_asked > 0);
    if (--r->n_asked == 0) {
        finish(r);
    }
}

static struct asked *add_target(struct round *r)
{
    if (r->n == SUITE_MAX_PROCESSES) {
        r->left_out++;
        return NULL;
    }
    struct asked *t = &r->targets[r->n++];
    t->round = r;
    buf_init(&t->text, SUITE_TEXT_BYTES);
    return t;
}

static void ask(struct asked *t, const struct address *to)
{
    struct round *r = t->round;
    struct admin_fetch_options options = { .loop = r->suite->gateway->loop,
                                           .to = to,
                                           .path = "/metrics",
                                           .accept = metrics_media_type(r->format),
                                           .timeout_ms = SUITE_TIMEOUT_MS,
                                           .max_bytes = SUITE_TEXT_BYTES,
                                           .on_done = on_fetched,
                                           .data = t };
    r->n_asked += admin_fetch(&options, &t->fetch) == 0; // without memory it is not up
}

// --- Who is there

static void add_self(struct round *r)
{
    struct asked *t = add_target(r);
    const char *instance = r->suite->gateway->config.common.instance;
    (void)snprintf(t->process.job, sizeof t->process.job, "sluice-gateway");
    (void)snprintf(t->process.instance, sizeof t->process.instance, "%s", instance);
    metrics_render(&t->text, r->format);
    t->process.up = buf_ok(&t->text);
}

// "users-1.admin.sock" is sluice-users, users-1, as long as it has not said so itself.
static void add_socket(struct round *r, const char *file)
{
    struct suite *s = r->suite;
    size_t n = strlen(file), k = sizeof SOCKET_SUFFIX - 1;
    if (n <= k || strcmp(file + n - k, SOCKET_SUFFIX) != 0 || n - k > PROCESS_INSTANCE_BYTES) {
        return;
    }
    char instance[PROCESS_INSTANCE_BYTES + 1], path[2048];
    struct address to;
    (void)snprintf(instance, sizeof instance, "%.*s", (int)(n - k), file);
    (void)snprintf(path, sizeof path, "unix:%s/%s", s->run, file);
    if (strcmp(instance, s->gateway->config.common.instance) == 0 ||
        instance[strcspn(instance, "\"\\\n")] || address_parse(str_of(path), &to)) {
        return;
    }
    struct asked *t = add_target(r);
    if (!t) {
        return;
    }
    size_t name = strcspn(instance, "0123456789");
    name = name > 1 && instance[name - 1] == '-' ? name - 1 : strlen(instance);
    (void)snprintf(t->process.job, sizeof t->process.job, "sluice-%.*s", (int)name, instance);
    (void)snprintf(t->process.instance, sizeof t->process.instance, "%s", instance);
    ask(t, &to);
}

static void add_sockets(struct round *r)
{
    DIR *dir = opendir(r->suite->run);
    if (!dir) {
        return; // nobody has a socket yet
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        add_socket(r, entry->d_name);
    }
    closedir(dir);
}

static void add_name_targets(struct round *r, struct name *name)
{
    for (size_t i = 0; i < name->n || i == 0; i++) {
        struct asked *t = add_target(r);
        char address[64] = "";
        if (!t) {
            continue;
        }
        if (i < name->n) {
            (void)uv_ip_name((struct sockaddr *)&name->addresses[i].socket, address,
                             sizeof address);
        }
        (void)snprintf(t->process.job, sizeof t->process.job, "sluice-%.*s",
                       (int)strcspn(name->host, "."), name->host);
        (void)snprintf(t->process.instance, sizeof t->process.instance, "%s:%s",
                       *address ? address : name->host, name->port);
        if (i < name->n) {
            ask(t, &name->addresses[i]);
        }
    }
}

static void on_finisher(uv_timer_t *timer)
{
    struct round *r = timer->data;
    if (r->running && r->n_asked == 0) {
        finish(r);
    }
}

static int begin(struct round *r)
{
    struct suite *s = r->suite;
    r->targets = calloc(SUITE_MAX_PROCESSES, sizeof *r->targets);
    if (!r->targets) {
        return -ENOMEM;
    }
    r->running = true;
    add_self(r);
    add_sockets(r);
    for (size_t i = 0; i < s->n_names; i++) {
        add_name_targets(r, &s->names[i]);
        resolve(&s->names[i]);
    }
    if (r->n_asked == 0) { // fails without callback only
        (void)uv_timer_start(&r->finisher, on_finisher, 0, 0);
    }
    return 0;
}

int suite_gather(struct suite *s, enum metrics_format format, suite_done_fn *done, void *data)
{
    struct round *r = &s->rounds[format];
    if (r->n_waiters == SUITE_MAX_WAITERS) {
        return -EBUSY;
    }
    int rc = r->running ? 0 : begin(r);
    if (rc == 0) {
        r->waiters[r->n_waiters++] = (struct suite_waiter){ done, data };
    }
    return rc;
}

void suite_forget(struct suite *s, const void *data)
{
    for (size_t f = 0; f < METRICS_FORMATS; f++) {
        struct round *r = &s->rounds[f];
        for (size_t i = 0; i < r->n_waiters;) {
            if (r->waiters[i].data == data) {
                r->waiters[i] = r->waiters[--r->n_waiters];
            } else {
                i++;
            }
        }
    }
}

// --- The page

struct page_request {
    struct suite *suite;
    struct admin_request *request;
    enum metrics_format format;
};

static void on_gone(void *data)
{
    struct page_request *p = data;
    suite_forget(p->suite, p);
    free(p);
}

static void refuse(struct admin_request *request)
{
    buf_append_z(admin_answer_body(request), "too many scrapes, or no memory\n");
    admin_answer(request, 503, "text/plain; charset=utf-8", "Retry-After: 1\r\n");
}

static void on_gathered(struct suite_process *processes, size_t n, size_t left_out, void *data)
{
    struct page_request *p = data;
    struct admin_request *request = p->request;
    enum metrics_format format = p->format;
    free(p);
    if (n == 0 ||
        suite_text_merge(processes, n, left_out, format, admin_answer_body(request)) < 0) {
        refuse(request);
        return;
    }
    admin_answer(request, 200, metrics_media_type(format), "Vary: Accept\r\n");
}

static void answer_page(struct admin_request *request, void *data)
{
    struct suite *s = data;
    struct page_request *p = s->closing ? NULL : malloc(sizeof *p);
    if (!p) {
        refuse(request);
        return;
    }
    enum metrics_format format = metrics_accept(admin_request_field(request, ADMIN_ACCEPT));
    *p = (struct page_request){ s, request, format };
    if (suite_gather(s, format, on_gathered, p)) {
        free(p);
        refuse(request);
        return;
    }
    admin_request_on_gone(request, on_gone, p);
}

// --- Opening and closing

int suite_open(struct gateway *g, struct suite **ret_suite)
{
    struct suite *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->gateway = g;
    s->run = process_path(g->process, "run", false);
    int rc = s->run ? 0 : -ENOMEM;
    rc = rc || !g->config.suite ? rc : add_names(s, g->config.suite);
    rc = rc ? rc
            : admin_handle(process_admin(g->process), "/metrics/suite", ADMIN_TAKES_GET,
                           answer_page, s);
    if (rc) {
        free(s);
        return rc;
    }
    for (size_t i = 0; i < METRICS_FORMATS; i++) {
        s->rounds[i].suite = s;
        s->rounds[i].format = (enum metrics_format)i;
        (void)uv_timer_init(g->loop, &s->rounds[i].finisher); // cannot fail
        s->rounds[i].finisher.data = &s->rounds[i];
        s->n_open++;
    }
    for (size_t i = 0; i < s->n_names; i++) {
        resolve(&s->names[i]); // so that the first scrape knows them
    }
    *ret_suite = s;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct round *r = handle->data;
    release(r->suite);
}

void suite_close(struct suite **suite)
{
    struct suite *s = *suite;
    *suite = NULL;
    if (!s) {
        return;
    }
    s->closing = true;
    for (size_t i = 0; i < METRICS_FORMATS; i++) {
        struct round *r = &s->rounds[i];
        tell(r, NULL, 0);
        end_round(r);
        uv_close((uv_handle_t *)&r->finisher, on_closed);
    }
    for (size_t i = 0; i < s->n_names; i++) {
        if (s->names[i].resolving) { // one that runs already ends by itself
            (void)uv_cancel((uv_req_t *)&s->names[i].request);
        }
    }
}
