// SPDX-License-Identifier: MIT
#include "common/process.h"

#include "common/admin.h"
#include "common/admin_pages.h"
#include "common/clock.h"
#include "common/companion.h"
#include "common/confine.h"
#include "common/handshakes.h"
#include "common/home.h"
#include "common/log.h"
#include "common/log_metrics.h"
#include "common/loop_lag.h"
#include "common/metrics.h"
#include "common/notify.h"
#include "common/otlp_exporter.h"
#include "common/startup.h"
#include "common/traces.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>

#define REASON_SIZE 501
#define SIGNS_OF_LIFE 5 // within the time after which none means stuck: some may be late, or lost

//     STARTING <--process_ready()--> READY
//         |                            |
//         +-------- first signal ------+--> DRAINING
//         |                            |       |
//         +-- process_stop(), _fail() -+-------+--> STOPPING --on_close, next turn--> CLOSING
enum phase { STARTING, READY, DRAINING, STOPPING, CLOSING, N_PHASES };

static const bool moves[N_PHASES][N_PHASES] = {
    [STARTING] = { [READY] = true, [DRAINING] = true, [STOPPING] = true },
    [READY] = { [STARTING] = true, [DRAINING] = true, [STOPPING] = true },
    [DRAINING] = { [STOPPING] = true },
    [STOPPING] = { [CLOSING] = true },
};

struct path {
    struct path *next;
    char text[];
};

struct process {
    uv_loop_t loop;
    const char *binary;
    const struct config_option *table;
    struct process_config *config; // the program's config begins with it
    struct process_callbacks callbacks;
    struct admin *admin; // NULL when off, and once closing
    uv_signal_t sigterm;
    uv_signal_t sigint;
    uv_signal_t sigchld; // the companion has ended
    uv_timer_t stopper;  // runs on_close from the loop
    uv_timer_t deadline; // of draining, then of closing
    uv_timer_t watchdog; // gives signs of life
    uv_timer_t telling;  // of log lines that were left out
    struct loop_lag *lag;
    int64_t watchdog_ms;
    bool stuck;
    enum phase phase;
    int status;               // to exit with
    unsigned sandbox;         // parts in force
    pid_t companion;          // 0: none
    int64_t started_ms;       // monotonic
    char reason[REASON_SIZE]; // why it is not ready
    struct path *paths;       // that process_path() gave out
    struct span_resource resource;
    struct otlp_exporter *exporter; // NULL: none
    struct metric ready, info;
    char info_labels[PROCESS_INSTANCE_BYTES + 96];
};

int process_status_of(int error)
{
    static const int passing[] = { ENOMEM, EMFILE, ENFILE, EAGAIN, EIO, ENOSPC, EDQUOT };
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        if (error == -passing[i]) {
            return EXIT_FAILED;
        }
    }
    return EXIT_CONFIG;
}

static void move(struct process *p, enum phase to)
{
    assert(moves[p->phase][to]);
    p->phase = to;
}

// --- Pages and metrics that every process has

// Whether query has the parameter, with or without a value.
static bool has_parameter(struct str query, struct str name)
{
    while (query.n > 0) {
        const char *end = memchr(query.p, '&', query.n);
        size_t n = end ? (size_t)(end - query.p) : query.n;
        struct str parameter = { query.p, n };
        if (str_starts(parameter, name) && (n == name.n || query.p[name.n] == '=')) {
            return true;
        }
        query = end ? (struct str){ end + 1, query.n - n - 1 } : (struct str){ NULL, 0 };
    }
    return false;
}

static int write_readyz(struct str query, struct buf *body, const char **ret_media_type, void *data)
{
    (void)ret_media_type;
    const struct process *p = data;
    bool ready = process_is_ready(p);
    if (has_parameter(query, STR("verbose"))) {
        buf_printf(body, "[+]%s %s, instance %s, up %" PRId64 " s\n", p->binary, SLUICE_VERSION,
                   p->config->instance, (clock_mono_ms() - p->started_ms) / 1000);
        buf_append_z(body, ready ? "[+]" : "[-]");
    }
    if (ready) {
        buf_append_z(body, "ready\n");
    } else {
        buf_printf(body, "not ready: %s\n", p->reason);
    }
    return ready ? 200 : 503;
}

// ?id=TRACE, or the kept ones.
static int write_traces(struct str query, struct buf *body, const char **ret_media_type, void *data)
{
    (void)data;
    struct str name = STR("id=");
    bool has_id = str_starts(query, name);
    int status = traces_write(has_id ? (struct str){ query.p + name.n, query.n - name.n }
                                     : (struct str){ NULL, 0 },
                              body);
    *ret_media_type = status == 200 ? "application/json" : *ret_media_type;
    return status;
}

static struct metric build_info =
    METRIC_GAUGE_INIT("sluice_build_info", "The running version, as a label; always 1.",
                      "version=\"" SLUICE_VERSION "\"");

#define SANDBOX_METRIC(label_)                                                                     \
    METRIC_GAUGE_INIT("sluice_sandbox", "Whether this part of the sandbox is in force (1 or 0).",  \
                      "part=\"" label_ "\"")

static struct metric sandbox_metrics[SANDBOX_PARTS] = {
    SANDBOX_METRIC("files"),        SANDBOX_METRIC("ports"),  SANDBOX_METRIC("signals"),
    SANDBOX_METRIC("system-calls"), SANDBOX_METRIC("memory"),
};

static void print_handshake(const char *text)
{
    log_warn("%s", text);
}

static void register_metrics(struct process *p)
{
    for (size_t i = 0; i < SANDBOX_PARTS; i++) {
        metric_set(&sandbox_metrics[i], (p->sandbox & 1u << i) != 0);
        metrics_register(&sandbox_metrics[i]);
    }
    metric_set(&build_info, 1);
    metrics_register(&build_info);
    log_metrics_open();
    p->ready = (struct metric)METRIC_GAUGE_INIT(
        "sluice_ready", "Whether the process is ready to serve, as /readyz says it (1 or 0).",
        NULL);
    metrics_register(&p->ready);
    // Instances and programs have no quotes. No label `instance`: that one is the scraper's.
    (void)snprintf(p->info_labels, sizeof p->info_labels, "name=\"%s\",program=\"%.48s\"",
                   p->config->instance, p->binary);
    p->info = (struct metric)METRIC_GAUGE_INIT(
        "sluice_process_info", "What the process is, as labels; always 1.", p->info_labels);
    metric_set(&p->info, 1);
    metrics_register(&p->info);
    handshakes_open(print_handshake);
}

static void unregister_metrics(struct process *p)
{
    metrics_unregister(&build_info);
    for (size_t i = 0; i < SANDBOX_PARTS; i++) {
        metrics_unregister(&sandbox_metrics[i]);
    }
    log_metrics_close();
    metrics_unregister(&p->ready);
    metrics_unregister(&p->info);
    handshakes_close();
}

// --- Readiness

__attribute__((format(printf, 1, 2))) static void notify(const char *format, ...)
{
    char state[REASON_SIZE + 64];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(state, sizeof(state), format, args); // a status for people may be cut
    va_end(args);
    notify_send(state);
}

static void set_reason(struct process *p, const char *reason)
{
    snprintf(p->reason, sizeof(p->reason), "%s", reason ? reason : "no reason given");
    p->reason[strcspn(p->reason, "\n")] = '\0'; // a line ends an assignment in notify's datagram
}

void process_ready(struct process *p, bool ready, const char *reason)
{
    if (p->phase != STARTING && p->phase != READY) {
        return;
    }
    bool changed = ready != (p->phase == READY);
    if (ready && changed) {
        move(p, READY);
        metric_set(&p->ready, 1);
        log_info("ready after %" PRId64 " ms", clock_mono_ms() - p->started_ms);
        notify("READY=1\nSTATUS=ready");
    } else if (!ready) {
        if (!changed && reason && strcmp(p->reason, reason) == 0) {
            return; // no news
        }
        set_reason(p, reason);
        log_debug("not ready: %s", p->reason);
        notify("READY=0\nSTATUS=not ready: %s", p->reason); // READY=0 is for our supervisor
        if (changed) {
            move(p, STARTING);
            metric_set(&p->ready, 0);
            log_warn("not ready any more: %s", p->reason);
        }
    }
}

bool process_is_ready(const struct process *p)
{
    return p->phase == READY;
}

bool process_is_draining(const struct process *p)
{
    return p->phase >= DRAINING;
}

// --- Traces

static int start_exporter(struct process *p, char error[OTLP_EXPORTER_ERROR_SIZE])
{
    const struct process_config *c = p->config;
    char url[640];
    struct otlp_options options = { .endpoint = c->otel.traces_endpoint,
                                    .headers = c->otel.headers,
                                    .timeout_ms = (int)c->otel.timeout_ms,
                                    .resource = &p->resource };
    if (!options.endpoint && !c->otel.endpoint) {
        return 0;
    }
    if (!options.endpoint) {
        size_t n = strlen(c->otel.endpoint);
        n -= n > 0 && c->otel.endpoint[n - 1] == '/';
        (void)snprintf(url, sizeof url, "%.*s/v1/traces", (int)n, c->otel.endpoint);
        options.endpoint = url;
    }
    return otlp_exporter_open(&options, &p->exporter, error);
}

// Returns 0 or a negative errno after saying why.
static int start_traces(struct process *p)
{
    char error[OTLP_EXPORTER_ERROR_SIZE] = "no memory";
    static const char prefix[] = "sluice-";
    const struct process_config *c = p->config;
    struct sampler sampler;
    bool has_prefix = strncmp(p->binary, prefix, sizeof prefix - 1) == 0;
    p->resource = (struct span_resource){ p->binary + (has_prefix ? sizeof prefix - 1 : 0),
                                          c->instance, c->otel.attributes };
    if (c->otel.disabled) {
        return 0;
    }
    int r = sampler_parse(c->otel.sampler, c->otel.sampler_ratio, &sampler);
    if (r < 0) {
        fprintf(stderr, "%s: OTEL_TRACES_SAMPLER_ARG is \"%s\": it must be a number from 0 to 1\n",
                p->binary, c->otel.sampler_ratio);
        return r;
    }
    r = traces_open(&p->resource, &sampler);
    r = r ? r : start_exporter(p, error);
    if (r < 0) {
        fprintf(stderr, "%s: cannot send traces: %s\n", p->binary, error);
    }
    return r;
}

static void stop_traces(struct process *p)
{
    otlp_exporter_close(&p->exporter);
    traces_close();
}

// --- Ending

static void name_open_handle(uv_handle_t *handle, void *data)
{
    (void)data;
    if (!uv_is_closing(handle)) {
        log_error("a handle was not closed: %s", uv_handle_type_name(uv_handle_get_type(handle)));
    }
}

// Something forgot a handle: name it, and leave the loop for the assertion in finish().
static void on_close_deadline(uv_timer_t *timer)
{
    struct process *p = timer->data;
    uv_close((uv_handle_t *)timer, NULL);
    uv_walk(&p->loop, name_open_handle, NULL);
    uv_stop(&p->loop);
}

static void on_stop(uv_timer_t *timer)
{
    struct process *p = timer->data;
    move(p, CLOSING);
    if (p->callbacks.on_close) {
        p->callbacks.on_close(p, p->callbacks.data);
    }
    admin_close(&p->admin);
    uv_close((uv_handle_t *)&p->sigterm, NULL); // from now on a signal ends the process at once
    uv_close((uv_handle_t *)&p->sigint, NULL);
    uv_close((uv_handle_t *)&p->sigchld, NULL);
    uv_close((uv_handle_t *)&p->stopper, NULL);
    uv_close((uv_handle_t *)&p->watchdog, NULL);
    uv_close((uv_handle_t *)&p->telling, NULL);
    loop_lag_close(&p->lag);
    uv_timer_start(&p->deadline, on_close_deadline, PROCESS_CLOSE_MS, 0);
    uv_unref((uv_handle_t *)&p->deadline); // it waits for the others, not they for it
}

static void stop(struct process *p)
{
    if (p->phase < STOPPING) {
        move(p, STOPPING);
        metric_set(&p->ready, 0);
        set_reason(p, "stopping");
        uv_timer_stop(&p->deadline); // it drained in time
        uv_timer_start(&p->stopper, on_stop, 0, 0);
    }
}

void process_stop(struct process *p)
{
    stop(p);
}

void process_fail(struct process *p, int status, const char *format, ...)
{
    assert(status != EXIT_OK);
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); // longer than any of our sentences
    va_end(args);
    log_write(LEVEL_FATAL, NULL, "%s", text);
    if (p->status == EXIT_OK) {
        p->status = status;
        notify("STATUS=failed: %.*s", (int)strcspn(text, "\n"), text);
    }
    stop(p);
}

static void on_drain_deadline(uv_timer_t *timer)
{
    log_warn("not drained after %d ms: stopping anyway", PROCESS_DRAIN_MS);
    stop(timer->data);
}

void process_drain(struct process *p, const char *why)
{
    if (p->phase >= DRAINING) {
        return;
    }
    move(p, DRAINING);
    metric_set(&p->ready, 0);
    set_reason(p, "draining");
    log_info("draining: %s", why);
    notify("STOPPING=1\nSTATUS=draining");
    uv_timer_start(&p->deadline, on_drain_deadline, PROCESS_DRAIN_MS, 0);
    if (p->callbacks.on_drain) {
        p->callbacks.on_drain(p, p->callbacks.data);
    } else {
        stop(p);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct process *p = handle->data;
    if (p->phase == DRAINING) {
        process_fail(p, EXIT_FAILED, "second signal (%s): stopping without draining",
                     strsignal(number));
        return;
    }
    process_drain(p, strsignal(number));
}

// --- Signs of life

static void on_watchdog(uv_timer_t *timer)
{
    struct process *p = timer->data;
    bool stuck = p->callbacks.is_stuck && p->callbacks.is_stuck(p->callbacks.data);
    if (!stuck) {
        notify_alive();
    } else if (!p->stuck) {
        // A process that was stopped with all others finds its requests late at first: this may pass.
        log_error("stuck: giving no more signs of life");
    } else {
        notify_stuck();
    }
    p->stuck = stuck;
}

int64_t process_watchdog_ms(const struct process *p)
{
    return p->watchdog_ms;
}

static void start_watchdog(struct process *p)
{
    p->watchdog_ms = notify_watchdog_ms();
    if (p->watchdog_ms > 0) {
        uint64_t every_ms = (uint64_t)p->watchdog_ms / SIGNS_OF_LIFE + 1;
        (void)uv_timer_start(&p->watchdog, on_watchdog, every_ms,
                             every_ms); // fails only without a callback
    }
}

// --- What every loop does beside its work

static void on_telling(uv_timer_t *timer)
{
    (void)timer;
    log_tell_suppressed();
}

static int start_upkeep(struct process *p)
{
    (void)uv_timer_start(&p->telling, on_telling, LOG_TELL_MS,
                         LOG_TELL_MS); // fails only without a callback
    int r = loop_lag_open(&p->loop, &p->lag);
    if (r < 0) {
        log_error("cannot watch the event loop: %s", strerror(-r));
    }
    return r;
}

// Runs the loop until every handle is closed.
static void run_to_end(struct process *p)
{
    uv_run(&p->loop, UV_RUN_DEFAULT); // the signal handles keep it running until on_stop()
    assert(p->phase == CLOSING);
    if (!uv_is_closing((uv_handle_t *)&p->deadline)) {
        uv_close((uv_handle_t *)&p->deadline, NULL);
        uv_run(&p->loop, UV_RUN_DEFAULT);
    }
    int busy = uv_loop_close(&p->loop);
    assert(busy == 0);
    // czmq shuts itself down at exit, after the program has closed what it had of it (CURVE's ZAP
    // actor).
}

static void free_process(struct process *p)
{
    stop_traces(p);
    unregister_metrics(p);
    while (p->paths) {
        struct path *path = p->paths;
        p->paths = path->next;
        free(path);
    }
    free(p);
}

int process_run(struct process **process)
{
    struct process *p = *process;
    run_to_end(p);
    *process = NULL; // not before: callbacks may reach it through the caller's pointer
    int64_t up_ms = clock_mono_ms() - p->started_ms;
    log_info("stopped with status %d after %" PRId64 " ms", p->status, up_ms);
    int status = p->status;
    const struct config_option *table = p->table;
    void *config = p->config;
    free_process(p); // what is left of the traces still names itself by the config
    config_free(table, config);
    return status;
}

// --- Opening

static int add_pages(struct process *p)
{
    int r = admin_pages_add(p->admin);
    if (r == 0) {
        r = admin_page(p->admin, "/readyz", write_readyz, p);
    }
    if (r == 0) {
        r = admin_page(p->admin, "/traces", write_traces, p);
    }
    return r;
}

static int open_admin(struct process *p)
{
    if (startup_admin_is_off(p->config)) {
        return 0;
    }
    struct buf addresses;
    buf_init(&addresses, STARTUP_ADDRESSES_BYTES);
    // The directory of the unix sockets, whatever their names.
    int r = process_path(p, "run/.", true) ? startup_admin(p->config, &addresses) : -errno;
    if (r == 0) {
        r = admin_open(&p->loop, addresses.data, &p->admin);
    }
    if (r == 0) {
        r = add_pages(p);
    }
    if (r < 0) {
        startup_admin_error(p->binary, p->config, r);
    }
    buf_fini(&addresses);
    return r;
}

// The handles that every process has. Once there is a loop their initialisation only fills in
// structs.
static int open_handles(struct process *p)
{
    int r = uv_loop_init(&p->loop);
    if (r < 0) {
        return r;
    }
    (void)uv_signal_init(&p->loop, &p->sigterm);
    (void)uv_signal_init(&p->loop, &p->sigint);
    (void)uv_signal_init(&p->loop, &p->sigchld);
    (void)uv_timer_init(&p->loop, &p->stopper);
    (void)uv_timer_init(&p->loop, &p->deadline);
    (void)uv_timer_init(&p->loop, &p->watchdog);
    (void)uv_timer_init(&p->loop, &p->telling);
    p->watchdog.data = p;
    p->sigterm.data = p->sigint.data = p->sigchld.data = p;
    p->stopper.data = p->deadline.data = p;
    return 0;
}

// Whoever started this process starts it again, with another companion.
static void on_child(uv_signal_t *handle, int number)
{
    struct process *p = handle->data;
    int status = 0;
    (void)number;
    if (waitpid(p->companion, &status, WNOHANG) == p->companion) {
        process_fail(p, EXIT_FAILED, "%s ended (%s %d)", p->callbacks.companion->name,
                     WIFSIGNALED(status) ? "signal" : "status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

static void watch_companion(struct process *p)
{
    int r = p->companion ? uv_signal_start(&p->sigchld, on_child, SIGCHLD) : 0;
    if (r < 0) {
        process_fail(p, EXIT_FAILED, "cannot watch its companion: %s", uv_strerror(r));
    } else if (p->companion) {
        on_child(&p->sigchld, SIGCHLD); // it may have ended before
    }
}

static int start_signals(struct process *p)
{
    int r = uv_signal_start(&p->sigterm, on_signal, SIGTERM);
    if (r == 0) {
        r = uv_signal_start(&p->sigint, on_signal, SIGINT);
    }
    if (r < 0) {
        fprintf(stderr, "%s: cannot watch signals: %s\n", p->binary, uv_strerror(r));
    }
    return r;
}

static void start_log(const char *binary, const struct process_config *config)
{
    int level = log_level_parse(str_of(config->log_level));
    assert(level >= 0); // the table has these choices
    enum log_format format = strcmp(config->log_format, "json") == 0   ? LOG_FORMAT_JSON
                             : strcmp(config->log_format, "text") == 0 ? LOG_FORMAT_TEXT
                                                                       : LOG_FORMAT_AUTO;
    log_init(binary, config->instance, (enum log_level)level, format);
}

// While there is one thread. Returns 0 or a negative errno after saying why.
static int enter_sandbox(const char *binary, const struct config_option *table,
                         struct process_config *config, const struct process_callbacks *callbacks,
                         unsigned *ret_parts, pid_t *ret_companion)
{
    char error[CONFIG_ERROR_SIZE];
    int r = 0;
    *ret_companion = 0;
    if (callbacks->companion) {
        r = companion_start(callbacks->companion, config->sandbox, table, config, ret_companion,
                            error);
    }
    r = r ? r : confine_enter(table, config, callbacks->rights, ret_parts, error);
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", binary, error);
    }
    return r;
}

// Makes the process from a config that was read. On failure the line is printed and *ret_exit set.
static int start(const char *binary, const struct config_option *table,
                 struct process_config *config, const struct process_callbacks *callbacks,
                 struct process **ret_process, int *ret_exit)
{
    unsigned sandbox;
    pid_t companion;
    int r = startup_home(binary, config, true);
    if (r == 0) {
        startup_limits();
        start_log(binary, config);
        r = enter_sandbox(binary, table, config, callbacks, &sandbox, &companion);
    }
    *ret_exit = process_status_of(r);
    if (r < 0) {
        return r;
    }
    struct process *p = calloc(1, sizeof(*p));
    r = p ? open_handles(p) : -ENOMEM;
    if (r < 0) {
        fprintf(stderr, "%s: cannot start: %s\n", binary, strerror(-r));
        free(p);
        *ret_exit = EXIT_FAILED;
        return r;
    }
    p->binary = binary;
    p->table = table;
    p->config = config;
    p->sandbox = sandbox;
    p->companion = companion;
    p->started_ms = clock_mono_ms();
    set_reason(p, "starting");
    register_metrics(p);
    r = start_signals(p);
    if (r == 0) {
        r = start_upkeep(p);
    }
    if (r == 0) {
        r = open_admin(p);
    }
    if (r == 0) {
        r = start_traces(p);
    }
    *ret_exit = process_status_of(r);
    if (r < 0) {
        stop(p); // without callbacks: the program has opened nothing yet
        run_to_end(p);
        free_process(p);
        return r;
    }
    p->callbacks = *callbacks;
    metrics_count_cpu_of(companion);
    watch_companion(p);
    start_watchdog(p);
    char parts[CONFINE_TEXT_SIZE];
    confine_text(config->sandbox, CONFINE_SERVICE, sandbox, parts);
    log_info("%s %s starts in %s; sandbox: %s", binary, SLUICE_VERSION, config->home, parts);
    *ret_exit = EXIT_OK;
    *ret_process = p;
    return 0;
}

int process_open(const char *binary, const char *summary, const struct config_option *table,
                 void *config, int argc, char **argv, const struct process_callbacks *callbacks,
                 struct process **ret_process, int *ret_exit)
{
    const struct process_command *own = NULL;
    enum startup_command command =
        startup_command(binary, summary, table, callbacks->commands, argc, argv, &own);
    if (command == STARTUP_DONE || command == STARTUP_WRONG) {
        *ret_exit = command == STARTUP_DONE ? EXIT_OK : EXIT_USAGE;
        return command == STARTUP_DONE ? 1 : -EINVAL;
    }
    if (command == STARTUP_PRINT_CONFIG) {
        *ret_exit = startup_print_config(binary, table, config);
        config_free(table, config);
        return 1;
    }
    int r = startup_config(binary, table, config);
    if (r < 0) {
        *ret_exit = process_status_of(r);
        if (own && own->run_wrong) {
            own->run_wrong(callbacks->command_config);
        }
    } else if (command == STARTUP_HEALTHCHECK) {
        *ret_exit = startup_healthcheck(binary, config);
        r = 1;
    } else if (command == STARTUP_COMMAND) {
        *ret_exit = startup_run(binary, own, config, callbacks->command_config);
        r = 1;
    } else {
        r = start(binary, table, config, callbacks, ret_process, ret_exit);
    }
    if (r != 0) {
        config_free(table, config);
    }
    return r;
}

uv_loop_t *process_loop(struct process *p)
{
    return &p->loop;
}

const struct process_config *process_config(const struct process *p)
{
    return p->config;
}

struct admin *process_admin(struct process *p)
{
    return p->admin;
}

// The absolute path, from the list of those that were asked for, or newly made.
static struct path *find_path(struct process *p, const char *relative)
{
    size_t n = strlen(p->config->home) + strlen(relative) + 2;
    struct path *made = malloc(sizeof(*made) + n);
    if (!made) {
        return NULL; // and errno is ENOMEM
    }
    snprintf(made->text, n, "%s/%s", p->config->home, relative);
    for (struct path *path = p->paths; path; path = path->next) {
        if (strcmp(path->text, made->text) == 0) {
            free(made);
            return path;
        }
    }
    made->next = p->paths;
    p->paths = made;
    return made;
}

const char *process_path(struct process *p, const char *relative, bool make_parents)
{
    struct path *path = find_path(p, relative);
    if (!path) {
        return NULL;
    }
    int r = make_parents ? home_make_parents(path->text) : 0;
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    return path->text;
}
