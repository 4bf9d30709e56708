// SPDX-License-Identifier: MIT
// sluice-gateway: the HTTP edge. Parses, authenticates, limits, transcodes between JSON and
// MessagePack, picks a worker and answers. It knows no service by name: routes come from the
// workers that register.
#include "common/admin.h"
#include "common/curve.h"
#include "common/log.h"
#include "gateway/asyncapi.h"
#include "gateway/backend.h"
#include "gateway/check_config.h"
#include "gateway/connection.h"
#include "gateway/console.h"
#include "gateway/document.h"
#include "gateway/exchange.h"
#include "gateway/listener.h"
#include "gateway/openapi.h"
#include "gateway/opening.h"
#include "gateway/options.h"
#include "gateway/own_routes.h"
#include "gateway/policy.h"
#include "gateway/policy_watch.h"
#include "gateway/revocation_feed.h"
#include "gateway/suite.h"
#include "gateway/topology.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

#define RESERVED_FDS 256 // for what is no client: libzmq stops working when there are none left

// --- Stopping

void gateway_drained(struct gateway *g)
{
    process_stop(g->process);
}

// Clients that take their time do not keep the process.
static void on_drain_over(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    log_warn("closing %zu connections that are not done", g->n_connections);
    process_stop(g->process);
}

// Nobody new from now on.
static void close_port(struct gateway *g)
{
    listener_close(g);
    if (g->n_connections == 0) {
        gateway_drained(g);
        return;
    }
    connection_drain_all(g);
    uint64_t left_ms = DRAIN_MAX_MS - (uint64_t)g->config.drain_wait_ms;
    (void)uv_timer_start(&g->drain_timer, on_drain_over, left_ms, 0); // without callback only
}

static void on_drain_wait_over(uv_timer_t *timer)
{
    close_port(timer->data);
}

// Readiness goes first: while the port stays open, load balancers see it and look elsewhere.
static void on_drain(struct process *p, void *data)
{
    struct gateway *g = data;
    g->draining = true;
    process_ready(p, false, "draining");
    opening_close(&g->opening);
    if (g->config.drain_wait_ms == 0 || !g->listener_open) {
        g->config.drain_wait_ms = 0;
        close_port(g);
        return;
    }
    log_info("the port stays open for %lld ms", (long long)g->config.drain_wait_ms);
    connection_drain_all(g);
    (void)uv_timer_start(&g->drain_timer, on_drain_wait_over, (uint64_t)g->config.drain_wait_ms,
                         0); // fails without callback only
}

static void on_close(struct process *p, void *data)
{
    (void)p;
    struct gateway *g = data;
    g->draining = false; // the process stops already, whatever is closed from now on
    uv_close((uv_handle_t *)&g->drain_timer, NULL);
    opening_close(&g->opening);
    listener_close(g);
    connection_close_all(g);
    backend_close(&g->backend);
    revocation_feed_close(&g->revocation_feed);
    console_close(&g->console);
    suite_close(&g->suite);
    policy_watch_close(&g->policy_watch);
    authenticator_close(&g->authenticator);
    access_log_close(&g->access_log);
}

// What is left when the loop is over.
static void destroy(struct gateway *g)
{
    stats_fini(&g->stats, &g->router);
    balancer_fini(&g->balancer);
    router_fini(&g->router);
    response_fini(&g->response);
    admission_fini(&g->admission);
    document_destroy(&g->openapi);
    document_destroy(&g->asyncapi);
    exchange_free_spares(g);
    api_keys_fini(&g->api_keys);
    compressor_close(&g->compressor);
    policy_unref(&g->policy);
    buf_fini(&g->filtered[0]);
    buf_fini(&g->filtered[1]);
    curve_close(&g->curve);
    free(g);
}

// --- Starting. Each step returns 0, or a negative errno after process_fail() said what is wrong.

static int fail(struct gateway *g, int rc, const char *what, const char *which, const char *advice)
{
    process_fail(g->process, process_status_of(rc), "%s %s: %s%s", what, which,
                 rc == -EBADMSG ? "not as it should be" : strerror(-rc), advice);
    return rc;
}

static bool is_coming(const struct service *service, void *data)
{
    struct gateway *g = data;
    return on_demand_ask(&g->on_demand, service);
}

static int take_memory(struct gateway *g)
{
    struct balancer_callbacks callbacks = { exchange_send,       exchange_on_reply,
                                            exchange_on_failure, g,
                                            shedding_describe,   is_coming };
    g->on_demand.dir = process_path(g->process, "run/on-demand", false); // NULL: without memory
    router_init(&g->router);
    balancer_init(&g->balancer, (size_t)g->config.wait_queue, 2 * (uint32_t)g->config.deadline_ms,
                  g->config.overload_wait_ms * 1000, &callbacks);
    shedding_init(&g->shedding);
    stats_init(&g->stats, &g->router, &g->balancer);
    access_log_open(&g->access_log, g->loop, g->config.access_log != 0);
    (void)uv_timer_init(g->loop, &g->drain_timer); // cannot fail
    g->drain_timer.data = g;
    buf_init(&g->filtered[0], FRAME_MAX_BYTES);
    buf_init(&g->filtered[1], FRAME_MAX_BYTES);
    g->filtered[0].wipes = g->filtered[1].wipes = true;
    char error[ADMISSION_ERROR_SIZE];
    int rc = admission_init(&g->admission, &g->config, error);
    if (rc == -EINVAL) {
        process_fail(g->process, EXIT_CONFIG, "%s", error);
        return rc;
    }
    rc = rc ? rc : response_init(&g->response, g->config.hsts_ms / 1000);
    rc = rc ? rc : document_new(openapi_write, &g->openapi);
    rc = rc ? rc : document_new(asyncapi_write, &g->asyncapi);
    rc = rc ? rc : own_routes_add(&g->router, g->config.docs);
    return rc ? fail(g, rc, "cannot", "start", "") : 0;
}

static int open_compressor(struct gateway *g)
{
    unsigned codings;
    if (compressor_parse(g->config.compression, &codings)) {
        process_fail(g->process, EXIT_CONFIG, "SLUICE_COMPRESSION is \"%s\"; allowed: %s",
                     g->config.compression, COMPRESSOR_ALLOWED);
        return -EINVAL;
    }
    int rc = compressor_open(codings, &g->compressor);
    return rc ? fail(g, rc, "cannot", "start", "") : 0;
}

static int open_policy(struct gateway *g)
{
    if (!g->config.policy) {
        return 0;
    }
    int rc = policy_watch_open(g->loop, g->config.policy, &g->router, &g->policy, &g->policy_watch);
    if (rc == -EINVAL) {
        process_fail(g->process, EXIT_CONFIG, "SLUICE_POLICY %s: has the mistakes above",
                     g->config.policy);
        return rc;
    }
    return rc ? fail(g, rc, "SLUICE_POLICY", g->config.policy, "") : 0;
}

// Connections must leave descriptors for the rest.
static void fit_descriptors(struct gateway *g)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY) {
        return;
    }
    int64_t left = (int64_t)limit.rlim_cur - RESERVED_FDS;
    if (left < g->config.max_connections) {
        g->config.max_connections = left > 1 ? left : 1;
        log_warn(
            "only %lld connections at once: the process may have no more than %llu descriptors",
            (long long)g->config.max_connections, (unsigned long long)limit.rlim_cur);
    }
}

static bool is_tcp(const char *endpoint)
{
    return endpoint && str_starts(str_of(endpoint), STR("tcp://"));
}

static int open_curve(struct gateway *g)
{
    if (!is_tcp(g->config.bind) && !is_tcp(g->config.queue)) {
        return 0;
    }
    return curve_open_for(g->process, "gateway", 1, &g->curve);
}

static int open_authenticator(struct gateway *g)
{
    const char *path = g->config.jwks_file
                           ? g->config.jwks_file
                           : process_path(g->process, "secrets/public/jwks.json", false);
    if (!path) {
        return fail(g, -ENOMEM, "SLUICE_JWKS_FILE", "", "");
    }
    struct authenticator_options auth = {
        path,      g->config.issuer,   g->config.audience, (size_t)g->config.token_cache,
        &g->stats, g->config.externals
    };
    char error[EXTERNALS_ERROR_SIZE];
    int rc = api_keys_init(&g->api_keys);
    if (rc) {
        return fail(g, rc, "API keys", "", "");
    }
    rc = authenticator_open(g->loop, &auth, &g->authenticator, error);
    if (rc && error[0]) {
        process_fail(g->process, process_status_of(rc), "SLUICE_EXTERNAL_ISSUERS %s", error);
        return rc;
    }
    return rc ? fail(g, rc, "SLUICE_JWKS_FILE", path, " (`sluice init` makes it)") : 0;
}

// The configured endpoint, or ipc:// below the home. Owned by the caller; NULL after failing.
static char *endpoint_of(struct gateway *g, const char *configured, const char *relative)
{
    const char *path = configured ? "" : process_path(g->process, relative, true);
    char *endpoint = NULL;
    if (!path || asprintf(&endpoint, "%s%s", configured ? configured : "ipc://", path) < 0) {
        (void)fail(g, path ? -ENOMEM : -errno, "endpoint", relative, "");
        return NULL;
    }
    return endpoint;
}

static int open_backend(struct gateway *g)
{
    char relative[80];
    (void)snprintf(relative, sizeof relative, "run/gateway/%s.sock", g->config.common.instance);
    char *endpoint = endpoint_of(g, g->config.bind, relative);
    if (!endpoint) {
        return -ENOMEM;
    }
    int rc = backend_open(g, endpoint);
    rc = rc ? fail(g, rc, "SLUICE_GATEWAY_BIND", endpoint, "") : 0;
    free(endpoint);
    return rc;
}

static int open_feed(struct gateway *g)
{
    char *endpoint = endpoint_of(g, g->config.queue, "run/queue.sock");
    if (!endpoint) {
        return -ENOMEM;
    }
    int rc = revocation_feed_open(g, endpoint);
    rc = rc ? fail(g, rc, "SLUICE_QUEUE", endpoint, "") : 0;
    free(endpoint);
    return rc;
}

static int open_suite(struct gateway *g)
{
    int rc = suite_open(g, &g->suite);
    if (rc == -EINVAL) {
        process_fail(g->process, EXIT_CONFIG,
                     "SLUICE_SUITE is \"%s\"; allowed: up to %d of HOST:PORT, comma-separated",
                     g->config.suite, SUITE_MAX_NAMES);
        return rc;
    }
    return rc ? fail(g, rc, "admin page", "/metrics/suite", "") : 0;
}

static int open_console(struct gateway *g)
{
    char *endpoint = endpoint_of(g, g->config.queue, "run/queue.sock");
    if (!endpoint) {
        return -ENOMEM;
    }
    int rc = console_open(g, endpoint, &g->console);
    rc = rc ? fail(g, rc, "admin page", "/console", "") : 0;
    free(endpoint);
    return rc;
}

static void open_listener(struct gateway *g)
{
    bool inherited;
    int rc = listener_open(g, &inherited);
    if (rc) {
        (void)fail(g, rc,
                   inherited ? "the inherited socket instead of SLUICE_LISTEN" : "SLUICE_LISTEN",
                   g->config.listen, "");
        return;
    }
    log_info("listening on %s%s", inherited ? "an inherited socket instead of " : "",
             g->config.listen);
    process_ready(g->process, true, NULL);
}

static int open_all(struct gateway *g)
{
    struct admin *admin = process_admin(g->process);
    int rc = take_memory(g);
    fit_descriptors(g);
    rc = rc ? rc : open_compressor(g);
    rc = rc ? rc : open_policy(g);
    rc = rc ? rc : open_curve(g);
    rc = rc ? rc : open_authenticator(g);
    rc = rc ? rc : open_backend(g);
    rc = rc ? rc : open_feed(g);
    rc = rc ? rc : open_suite(g);
    rc = rc ? rc : open_console(g);
    if (rc == 0 && admin && admin_page(admin, "/topology", topology_page, g)) {
        rc = fail(g, -ENOSPC, "admin page", "/topology", "");
    }
    if (rc == 0 && opening_begin(g, open_listener)) {
        rc = fail(g, -ENOMEM, "cannot", "start", "");
    }
    return rc;
}

static const struct process_right rights[] = {
    { "secrets/admin-token", SANDBOX_READ },
    { "secrets/public", SANDBOX_READ }, // the directory: jwks.json is replaced by a new file
    { "secrets/curve/gateway.key_secret", SANDBOX_READ },
    { "secrets/curve/public", SANDBOX_READ },
    { NULL, 0 },
};

static int run(int argc, char **argv)
{
    int status = EXIT_FAILED;
    struct gateway *g = calloc(1, sizeof *g);
    if (!g) {
        fprintf(stderr, "sluice-gateway: %s\n", strerror(ENOMEM));
        return EXIT_FAILED;
    }
    struct process_callbacks callbacks = { .on_drain = on_drain,
                                           .on_close = on_close,
                                           .data = g,
                                           .commands = gateway_commands,
                                           .command_config = &g->config,
                                           .rights = rights };
    if (process_open("sluice-gateway", "the HTTP edge of Sluice", gateway_options, &g->config, argc,
                     argv, &callbacks, &g->process, &status)) {
        free(g);
        return status;
    }
    g->loop = process_loop(g->process);
    (void)open_all(g); // a failure has ended the process
    status = process_run(&g->process);
    destroy(g);
    return status;
}

int main(int argc, char **argv)
{
    return run(argc, argv);
}
