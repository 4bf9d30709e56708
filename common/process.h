// SPDX-License-Identifier: MIT
// What every Sluice process does the same way: options, configuration, limits, signals, readiness,
// the admin listener and a shutdown that ends because every handle is closed.
//
//     starting --process_ready()--> ready --SIGTERM/SIGINT--> draining --process_stop()--> stopped
//         |                           |                          |
//         +------ process_fail() -----+------ second signal -----+--> stopped (exit status not 0)
//
// A process that was told to end ends with 0, also when it had to leave something undone after
// PROCESS_DRAIN_MS: that is logged, and who waits for it is told the truth by others.
#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

#include "common/companion.h"
#include "common/config.h"
#include "common/sampler.h"
#include "common/sandbox.h"

#include <stdbool.h>
#include <uv.h>

// Exit codes of every program.
#define EXIT_OK 0
#define EXIT_FAILED 1  // something went wrong while running
#define EXIT_USAGE 64  // wrong command line
#define EXIT_CONFIG 78 // wrong configuration, unreadable home, port in use

// The status of a program that could not start because of a negative errno: EXIT_CONFIG when the next
// start would find the same, so that nobody tries it again by itself; EXIT_FAILED when it may pass: no
// memory, descriptor or thread, a disk that is full or fails.
int process_status_of(int error);

// How long a process may drain after SIGTERM before it stops anyway. A second less than the 10 s in
// which it has to be gone, for closing; the supervisor, the compose file and the units have a little
// more patience than that (docker's own default is no more than 10 s).
#define PROCESS_DRAIN_MS 9000

// How long handles may take to close after on_close; then it is a bug, which is named in the log,
// and the process aborts.
#define PROCESS_CLOSE_MS 10000

// Longest instance name: it is part of socket paths, which have at most 107 bytes.
#define PROCESS_INSTANCE_BYTES 40

// Options that every process has; the first member of each process's config struct, named `common`.
struct process_config {
    char *home;       // SLUICE_HOME; absolute from process_open() on
    char *instance;   // SLUICE_INSTANCE: letters, digits, '.', '_', '-'; %H is replaced
    char *log_level;  // SLUICE_LOG_LEVEL
    char *log_format; // SLUICE_LOG_FORMAT
    char *admin;      // SLUICE_ADMIN
    char *sandbox;    // SLUICE_SANDBOX: on, off, require
    struct {
        char *endpoint, *traces_endpoint, *headers, *sampler, *sampler_ratio, *attributes;
        int64_t timeout_ms; // a bare number, as OpenTelemetry has it
        int64_t disabled;
    } otel; // OTEL_*: docs/traces.md
};

// default_admin is usually NULL: without SLUICE_ADMIN the admin listener is
// unix:<instance>.admin.sock, so that the instances of one home do not meet. "none" turns the
// listener off.
// clang-format off
#define CONFIG_COMMON(struct_, default_instance, default_admin)                                    \
    { .name = "SLUICE_HOME", .kind = CONFIG_STRING,                                                \
      .offset = offsetof(struct_, common.home), .fallback = "./var", .min = 1, .max = 1024,        \
      .help = "where run/, db/, queue/ and secrets/ are" },                                        \
    { .name = "SLUICE_INSTANCE", .kind = CONFIG_STRING,                                            \
      .offset = offsetof(struct_, common.instance), .fallback = default_instance,                  \
      .min = 1, .max = PROCESS_INSTANCE_BYTES,                                                     \
      .help = "name of this process among its like, for logs, metrics and file names; "            \
              "%H: host name" },                                                                   \
    { .name = "SLUICE_LOG_LEVEL", .kind = CONFIG_CHOICE,                                           \
      .offset = offsetof(struct_, common.log_level), .fallback = "info",                           \
      .choices = "debug|info|warn|error", .help = "lines below this are not written" },            \
    { .name = "SLUICE_LOG_FORMAT", .kind = CONFIG_CHOICE,                                          \
      .offset = offsetof(struct_, common.log_format), .fallback = "auto",                          \
      .choices = "auto|json|text", .help = "auto: text on a terminal, else JSON" },                \
    { .name = "SLUICE_ADMIN", .kind = CONFIG_STRING,                                               \
      .offset = offsetof(struct_, common.admin), .fallback = default_admin, .min = 0, .max = 200,  \
      .names = CONFIG_NAMES_LISTENER,                                                              \
      .help = "admin listeners: one or two of unix:NAME (below $SLUICE_HOME/run) and "             \
              "HOST:PORT, with a comma; or none; not set: unix:<instance>.admin.sock" },           \
    { .name = "SLUICE_SANDBOX", .kind = CONFIG_CHOICE,                                             \
      .offset = offsetof(struct_, common.sandbox), .fallback = "on",                               \
      .choices = "on|off|require",                                                                 \
      .help = "on: the process gives up what it does not need, as far as the kernel can; "         \
              "require: it does not start where a part of that is missing" },                      \
    { .name = "OTEL_EXPORTER_OTLP_ENDPOINT", .kind = CONFIG_STRING,                                \
      .offset = offsetof(struct_, common.otel.endpoint), .min = 1, .max = 500,                     \
      .names = CONFIG_NAMES_PEER,                                                                  \
      .help = "http://HOST:PORT of a collector that takes traces at /v1/traces; "                  \
              "not set: none are sent" },                                                          \
    { .name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", .kind = CONFIG_STRING,                         \
      .offset = offsetof(struct_, common.otel.traces_endpoint), .min = 1, .max = 500,              \
      .names = CONFIG_NAMES_PEER, .help = "the same as a whole URL; goes before it" },             \
    { .name = "OTEL_EXPORTER_OTLP_HEADERS", .kind = CONFIG_SECRET,                                 \
      .offset = offsetof(struct_, common.otel.headers), .max = 2048,                               \
      .help = "NAME=VALUE, comma-separated: header fields for the collector" },                    \
    { .name = "OTEL_EXPORTER_OTLP_TIMEOUT", .kind = CONFIG_INTEGER,                                \
      .offset = offsetof(struct_, common.otel.timeout_ms), .fallback = "10000", .min = 100,        \
      .max = 60000, .help = "milliseconds that one request to the collector may take" },           \
    { .name = "OTEL_TRACES_SAMPLER", .kind = CONFIG_CHOICE,                                        \
      .offset = offsetof(struct_, common.otel.sampler), .choices = SAMPLER_NAMES,                  \
      .fallback = "parentbased_traceidratio",                                                      \
      .help = "which traces are kept and sent beside errors and the slowest" },                    \
    { .name = "OTEL_TRACES_SAMPLER_ARG", .kind = CONFIG_STRING,                                    \
      .offset = offsetof(struct_, common.otel.sampler_ratio), .fallback = "0.01", .min = 1,        \
      .max = 20, .help = "the share of them, from 0 to 1" },                                       \
    { .name = "OTEL_RESOURCE_ATTRIBUTES", .kind = CONFIG_STRING,                                   \
      .offset = offsetof(struct_, common.otel.attributes), .max = 2048,                            \
      .help = "NAME=VALUE, comma-separated: added to what spans say of the process" },             \
    { .name = "OTEL_SDK_DISABLED", .kind = CONFIG_BOOLEAN,                                         \
      .offset = offsetof(struct_, common.otel.disabled), .fallback = "false",                      \
      .help = "no spans are recorded" }
// clang-format on

struct process;
struct admin;

// A path that a program uses, and for what; everything else is out of its reach (common/sandbox.h).
struct process_right {
    const char *path; // absolute, or below SLUICE_HOME
    enum sandbox_right right;
};

struct process_callbacks {
    // The first SIGTERM or SIGINT: finish what was accepted, then call process_stop(). After
    // PROCESS_DRAIN_MS, or a second signal, the process stops anyway.
    void (*on_drain)(struct process *p, void *data);
    // Close every handle that the program opened on the loop. Called once, after process_stop() or
    // process_fail(); the loop then runs until all of them are closed.
    void (*on_close)(struct process *p, void *data);
    void *data;
    const struct process_command *commands; // ended by name NULL; NULL: none
    void *command_config;                   // what their run gets
    const struct process_right *rights;     // ended by path NULL; NULL: none but everybody's
    // Whether it is stuck although its loop turns. A process that is gives no sign of life; if it
    // still is at the next look, it tells whoever started it, who replaces it. NULL: a loop that
    // turns is all there is.
    bool (*is_stuck)(void *data);
    const struct companion *companion; // NULL: none
};

// A word on the command line that does something else than to serve. It runs without a loop, after
// the configuration was loaded, and the program ends with the status that it returns.
struct process_command {
    const char *name; // "check-config"
    const char *help; // a sentence for --help, in the imperative, without its full stop
    bool needs_home;  // SLUICE_HOME must exist; common->home is then absolute
    int (*run)(const struct process_config *common, void *config);
    // Runs instead when options are wrong, after these were named; config has those that are right,
    // zeros for the others. The program then ends as if it had not run. NULL: nothing runs.
    void (*run_wrong)(void *config);
};

// Handles --help, --version, `healthcheck` (asks the admin listener of the running process for
// /readyz: exits 0 or 1), the program's own commands, and anything else by a usage error; loads
// config; makes and checks SLUICE_HOME; sets up logging, limits (no core files, as many descriptors as allowed, umask 077),
// signals and the admin listener; keeps czmq's hands off signals; forgets the environment's secrets
// starts the companion and enters the sandbox. Call first in run(), while there
// is one thread. binary, table and config must live until process_run() returned; config is freed
// by it, or by process_open() itself when that does not return 0. Returns 0 with *ret_process set;
// or 1 when the program is done (help was printed, health was checked, a command has run): return
// *ret_exit from main; or a negative errno when it failed, with the line printed and *ret_exit set.
__attribute__((warn_unused_result)) int process_open(const char *binary, const char *summary,
                                                     const struct config_option *table,
                                                     void *config, int argc, char **argv,
                                                     const struct process_callbacks *callbacks,
                                                     struct process **ret_process, int *ret_exit);

uv_loop_t *process_loop(struct process *p);
const struct process_config *process_config(const struct process *p);
struct admin *process_admin(struct process *p); // to add pages; NULL when SLUICE_ADMIN is none

// The path $SLUICE_HOME/relative; its directories are made (0700) when make_parents. Owned by the
// process. NULL when there is no memory or a directory cannot be made; errno has the reason.
const char *process_path(struct process *p, const char *relative, bool make_parents);

// How long the process may give no sign of life until it is replaced; 0: for ever.
int64_t process_watchdog_ms(const struct process *p);

// Ready to serve: tells the supervisor, and /readyz says 200. May be taken back and given again;
// reason says what is missing (or NULL); it is copied, and cut at 500 bytes. Once draining, a
// process is not ready any more.
void process_ready(struct process *p, bool ready, const char *reason);
bool process_is_ready(const struct process *p);
bool process_is_draining(const struct process *p);

// Drains as after the first SIGTERM. why is for the log.
void process_drain(struct process *p, const char *why);

// Ends the loop in good order; the process exits 0. Only from the loop's thread, as all of these.
// on_close runs in the next turn of the loop, so it is safe in any callback, and before
// process_run().
void process_stop(struct process *p);

// Ends the loop; the process exits with status (of the first call). One line is logged.
__attribute__((format(printf, 3, 4))) void process_fail(struct process *p, int status,
                                                        const char *format, ...);

// Runs the loop until the process is stopped and every handle is closed (asserted), then frees
// everything, config's strings included. Returns the exit status.
int process_run(struct process **p);

#endif
