// SPDX-License-Identifier: MIT
#include "common/otlp_exporter.h"

#include "common/address.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/http_client.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/thread.h"
#include "common/traces.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <time.h>
#include <yyjson.h>

#define HOST_SIZE 256
#define PATH_SIZE 512
#define JOIN_MS (OTLP_EXPORTER_FLUSH_MS + 500) // more can only be the wait for a name server

struct otlp_exporter {
    char host[HOST_SIZE]; // with its port
    char path[PATH_SIZE];
    struct buf fields; // of each request
    int timeout_ms;
    struct span_resource resource;
    _Atomic int64_t
        end_ms; // monotonic: no request goes on after it; 0: the process does not end yet
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool ending, ended;                     // the process ends; the thread has
    struct span batch[OTLP_EXPORTER_BATCH]; // the thread's from here on
    struct buf body;
    int64_t reported_ms;
    bool failing;
    struct metric sent, failures, dropped;
};

// --- Waiting

static struct timespec in_ms(int64_t ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); // it exists
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

// Sleeps until the time is over or the process ends; whether it ends.
static bool sleep_for(struct otlp_exporter *e, int64_t ms)
{
    struct timespec until = in_ms(ms);
    (void)pthread_mutex_lock(&e->mutex);
    int rc = 0;
    while (!e->ending && rc == 0) {
        rc = pthread_cond_timedwait(&e->wake, &e->mutex, &until);
    }
    bool ending = e->ending;
    (void)pthread_mutex_unlock(&e->mutex);
    return ending;
}

static bool is_over(const struct otlp_exporter *e)
{
    int64_t end_ms = atomic_load(&e->end_ms);
    return end_ms && clock_mono_ms() >= end_ms;
}

// --- Sending

static void report(struct otlp_exporter *e, int rc)
{
    int64_t now = clock_mono_ms();
    if (e->reported_ms && now - e->reported_ms < OTLP_EXPORTER_REPORT_MS) {
        return;
    }
    e->reported_ms = now;
    e->failing = true;
    if (rc < 0) {
        log_warn("traces cannot be sent to %s: %s", e->host, strerror(-rc));
    } else {
        log_warn("traces cannot be sent to %s%s: it answers with status %d", e->host, e->path, rc);
    }
}

// How many spans of a batch the collector refuses although it takes the batch: the member
// partialSuccess.rejectedSpans of its answer, which as a 64-bit number may be text.
static int64_t rejected(struct str answer, int64_t n)
{
    yyjson_doc *doc = answer.n ? yyjson_read(answer.p, answer.n, 0) : NULL;
    yyjson_val *v =
        yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc), "partialSuccess"), "rejectedSpans");
    int64_t k = yyjson_get_sint(v);
    if (yyjson_is_str(v) && config_parse_number(CONFIG_INTEGER, yyjson_get_str(v), &k)) {
        k = 0; // no number
    }
    yyjson_doc_free(doc);
    return k < 0 ? 0 : k > n ? n : k;
}

// Returns the status, or a negative errno. The name is looked up each time: a collector may move.
static int post(struct otlp_exporter *e, int64_t n, int64_t *ret_rejected)
{
    struct address to;
    struct buf answer;
    struct http_call call = { .method = "POST",
                              .host = e->host,
                              .target = e->path,
                              .fields = e->fields.data,
                              .body = buf_str(&e->body),
                              .timeout_ms = e->timeout_ms,
                              .end_ms = &e->end_ms };
    int rc = address_parse(str_of(e->host), &to);
    if (rc) {
        return rc;
    }
    buf_init(&answer, OTLP_EXPORTER_ANSWER_BYTES);
    rc = http_call(&to, &call, &answer);
    *ret_rejected = rejected(buf_str(&answer), n);
    buf_fini(&answer);
    return rc;
}

static bool may_be_repeated(int rc)
{
    return rc < 0 || rc == 429 || rc == 502 || rc == 503 || rc == 504;
}

static void note_success(struct otlp_exporter *e, int64_t n, int64_t n_rejected)
{
    metric_add(&e->sent, n - n_rejected);
    metric_add(&e->dropped, n_rejected);
    if (e->failing) {
        e->failing = false;
        log_info("traces are sent to %s again", e->host);
    }
}

// Sends the batch, again and again if need be. False: it is lost, and counted.
static bool send_batch(struct otlp_exporter *e, int64_t n)
{
    int64_t pause_ms = OTLP_EXPORTER_PAUSE_MS, n_rejected = 0;
    buf_reset(&e->body);
    span_write_otlp(&e->resource, e->batch, (size_t)n, &e->body);
    for (int i = 0; buf_ok(&e->body) && i < OTLP_EXPORTER_TRIES && !is_over(e); i++) {
        int rc = post(e, n, &n_rejected);
        if (rc >= 200 && rc < 300) {
            note_success(e, n, n_rejected);
            return true;
        }
        metric_add(&e->failures, 1);
        report(e, rc);
        if (!may_be_repeated(rc) || sleep_for(e, pause_ms)) {
            break;
        }
        pause_ms *= 2;
        pause_ms = pause_ms < OTLP_EXPORTER_PAUSE_MAX_MS ? pause_ms : OTLP_EXPORTER_PAUSE_MAX_MS;
    }
    metric_add(&e->dropped, n);
    return false;
}

static void send_until_end(struct otlp_exporter *e)
{
    bool ending = false, sent = true;
    for (;;) {
        size_t n = traces_export_take(e->batch, OTLP_EXPORTER_BATCH);
        if (n > 0) {
            sent = send_batch(e, (int64_t)n);
        }
        ending = ending || atomic_load(&e->end_ms);
        if (ending && (n == 0 || !sent || is_over(e))) {
            return;
        }
        if (n < OTLP_EXPORTER_BATCH && !ending) {
            ending = sleep_for(e, OTLP_EXPORTER_PERIOD_MS);
        }
    }
}

static void *run(void *data)
{
    struct otlp_exporter *e = data;
    send_until_end(e);
    (void)pthread_mutex_lock(&e->mutex);
    e->ended = true;
    (void)pthread_cond_signal(&e->wake);
    (void)pthread_mutex_unlock(&e->mutex);
    return NULL;
}

// --- Opening and closing

// http://HOST[:PORT][/PATH]
static int take_endpoint(struct otlp_exporter *e, const char *endpoint, char *error)
{
    static const char scheme[] = "http://";
    const char *host = endpoint + sizeof scheme - 1;
    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0) {
        (void)snprintf(error, OTLP_EXPORTER_ERROR_SIZE,
                       "\"%.100s\" is no http://HOST:PORT/PATH; for TLS, put a collector beside",
                       endpoint);
        return -EINVAL;
    }
    size_t n = strcspn(host, "/");
    bool has_port = memchr(host, ':', n) && host[n - 1] != ']';
    int m = snprintf(e->host, sizeof e->host, "%.*s%s", (int)n, host, has_port ? "" : ":80");
    int k = snprintf(e->path, sizeof e->path, "%s", host[n] ? host + n : "/");
    if (n == 0 || (size_t)m >= sizeof e->host || (size_t)k >= sizeof e->path) {
        (void)snprintf(error, OTLP_EXPORTER_ERROR_SIZE, "\"%.100s\" is too long or has no host",
                       endpoint);
        return -EINVAL;
    }
    return 0;
}

static bool is_token(struct str s)
{
    bool ok = s.n > 0;
    for (size_t i = 0; ok && i < s.n; i++) {
        char c = s.p[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             memchr("!#$%&'*+-.^_`|~", c, 15);
    }
    return ok;
}

// "name=value,name=value"; neither can end a line, for configured values have no control characters.
static int take_headers(struct otlp_exporter *e, const char *headers, char *error)
{
    buf_append_z(&e->fields, "Content-Type: application/json\r\n");
    for (const char *p = headers; p && *p;) {
        size_t n = strcspn(p, ","), name = strcspn(p, "=");
        if (name >= n || !is_token((struct str){ p, name })) {
            (void)snprintf(error, OTLP_EXPORTER_ERROR_SIZE,
                           "the headers are not NAME=VALUE, separated by commas");
            return -EINVAL;
        }
        buf_append(&e->fields, p, name);
        buf_append_z(&e->fields, ": ");
        buf_append(&e->fields, p + name + 1, n - name - 1);
        buf_append_z(&e->fields, "\r\n");
        p += n + (p[n] == ',');
    }
    buf_append_char(&e->fields, '\0');
    if (!buf_ok(&e->fields)) {
        (void)snprintf(error, OTLP_EXPORTER_ERROR_SIZE, "the headers have more than %d bytes",
                       OTLP_EXPORTER_HEADERS_BYTES);
    }
    return buf_error(&e->fields);
}

static void init_metrics(struct otlp_exporter *e)
{
    e->sent = (struct metric)METRIC_COUNTER_INIT("sluice_traces_exported_total",
                                                 "Spans that the collector took.", NULL);
    e->failures = (struct metric)METRIC_COUNTER_INIT(
        "sluice_traces_export_failures_total", "Requests to the collector that failed.", NULL);
    e->dropped = (struct metric)METRIC_COUNTER_INIT(TRACES_DROPPED, TRACES_DROPPED_HELP,
                                                    "reason=\"refused\"");
    metrics_register(&e->sent);
    metrics_register(&e->failures);
    metrics_register(&e->dropped);
}

static int start(struct otlp_exporter *e)
{
    pthread_condattr_t attributes;
    (void)pthread_mutex_init(&e->mutex, NULL); // these cannot fail with their defaults
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&e->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return thread_start(run, e, &e->thread);
}

static void unregister_metrics(struct otlp_exporter *e)
{
    metrics_unregister(&e->sent);
    metrics_unregister(&e->failures);
    metrics_unregister(&e->dropped);
}

static void free_exporter(struct otlp_exporter *e)
{
    buf_wipe(&e->fields);
    buf_fini(&e->fields);
    buf_fini(&e->body);
    free(e);
}

int otlp_exporter_open(const struct otlp_options *options, struct otlp_exporter **ret_exporter,
                       char error[OTLP_EXPORTER_ERROR_SIZE])
{
    struct otlp_exporter *e = calloc(1, sizeof *e);
    if (!e) {
        (void)snprintf(error, OTLP_EXPORTER_ERROR_SIZE, "no memory");
        return -ENOMEM;
    }
    buf_init(&e->fields, OTLP_EXPORTER_HEADERS_BYTES);
    buf_init(&e->body, OTLP_EXPORTER_BYTES);
    e->timeout_ms = options->timeout_ms;
    e->resource = *options->resource;
    int rc = take_endpoint(e, options->endpoint, error);
    rc = rc ? rc : take_headers(e, options->headers, error);
    if (rc == 0) {
        init_metrics(e);
        rc = traces_export_begin();
        rc = rc ? rc : start(e);
        if (rc) {
            (void)snprintf(error, OTLP_EXPORTER_ERROR_SIZE, "%s", strerror(-rc));
            unregister_metrics(e);
        }
    }
    if (rc) {
        free_exporter(e);
        return rc;
    }
    *ret_exporter = e;
    return 0;
}

// Tells the thread to end, and waits for that. False: it hangs.
static bool end_thread(struct otlp_exporter *e)
{
    struct timespec until = in_ms(JOIN_MS);
    int rc = 0;
    atomic_store(&e->end_ms, clock_mono_ms() + OTLP_EXPORTER_FLUSH_MS);
    (void)pthread_mutex_lock(&e->mutex);
    e->ending = true;
    (void)pthread_cond_signal(&e->wake);
    while (!e->ended && rc == 0) {
        rc = pthread_cond_timedwait(&e->wake, &e->mutex, &until);
    }
    bool ended = e->ended;
    (void)pthread_mutex_unlock(&e->mutex);
    rc = ended ? pthread_join(e->thread, NULL) : pthread_detach(e->thread);
    assert(rc == 0);
    return ended;
}

void otlp_exporter_close(struct otlp_exporter **exporter)
{
    struct otlp_exporter *e = *exporter;
    *exporter = NULL;
    if (!e) {
        return;
    }
    int64_t lost = metric_get(&e->dropped);
    bool ended = end_thread(e);
    unregister_metrics(e);
    lost = metric_get(&e->dropped) - lost + (int64_t)traces_export_waiting();
    if (lost > 0) {
        log_warn("%" PRId64 " spans could not be sent to %s before the end", lost, e->host);
    }
    if (ended) { // else it will find that its time is over, and touch nothing but its own memory
        (void)pthread_cond_destroy(&e->wake);
        (void)pthread_mutex_destroy(&e->mutex);
        free_exporter(e);
    }
}
