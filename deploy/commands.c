// SPDX-License-Identifier: MIT
#include "deploy/commands.h"

#include "common/log.h"
#include "common/process.h"
#include "deploy/alert_watch.h"
#include "deploy/autoscaler.h"
#include "deploy/backup.h"
#include "deploy/client.h"
#include "deploy/config_command.h"
#include "deploy/envfile.h"
#include "deploy/key_commands.h"
#include "deploy/supervisor.h"
#include "deploy/trace_command.h"

#include <assert.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_SIZE 256 // of all commands, in a sentence

static int refuse(const char *error)
{
    fprintf(stderr, "sluice: %s\n", error);
    return EXIT_CONFIG;
}

static const char *home_of(const struct arguments *a)
{
    const char *home = a->home ? a->home : getenv("SLUICE_HOME");
    return home && *home ? home : "./var";
}

// --- up

// The directory of this program, where the others are too.
static const char *find_bin_dir(char path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (n < 0) {
        return NULL;
    }
    path[n] = '\0';
    return dirname(path);
}

static void note_file(const char *name, void *data)
{
    const char *const *path = data;
    config_command_source(name, *path);
}

static int apply_env_file(const char *path, char error[CONFIG_ERROR_SIZE])
{
    return envfile_apply_and_tell(path, note_file, &path, error);
}

// Applies deploy/env/NAME.env of the source tree that this program was built in, or of where it is installed.
static int apply_named_env(const struct command *c, const char *name, const char *bin_dir)
{
    static const char *const places[] = { "../deploy/env", "../share/sluice/env" };
    static char path[PATH_MAX]; // the source of what it sets, until the end
    char error[CONFIG_ERROR_SIZE];
    if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(name) ||
        strlen(name) > 64) {
        return command_line_error(
            c, "--env %s: a name has lower-case letters, digits and -; files: --env-file", name);
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int n = snprintf(path, sizeof path, "%s/%s/%s.env", bin_dir, places[i], name);
        if (n > 0 && n < (int)sizeof path && access(path, F_OK) == 0) {
            return apply_env_file(path, error) < 0 ? refuse(error) : EXIT_OK;
        }
    }
    return command_line_error(
        c, "--env %s: there is no such environment; there are development, staging and production",
        name);
}

// Puts the port into the address: "127.0.0.1:8080" -> "127.0.0.1:PORT".
static int apply_port(const struct command *c, const char *port)
{
    char address[512];
    int64_t n;
    if (config_parse_number(CONFIG_INTEGER, port, &n) < 0 || n < 1 || n > 65535) {
        return command_line_error(c, "--port %s: a port is 1..65535", port);
    }
    const char *listen = getenv("SLUICE_LISTEN");
    const char *colon = listen ? strrchr(listen, ':') : NULL;
    snprintf(address, sizeof address, "%.*s:%d", colon ? (int)(colon - listen) : 9,
             colon ? listen : "127.0.0.1", (int)n);
    config_command_source("SLUICE_LISTEN", "--port");
    return setenv("SLUICE_LISTEN", address, 1) < 0 ? refuse(strerror(errno)) : EXIT_OK;
}

// Puts what the command line and the environment's file say into the environment.
static int apply_arguments(const struct command *self, const struct arguments *a,
                           const char *bin_dir)
{
    char error[CONFIG_ERROR_SIZE];
    if (a->env && a->env_file) {
        return command_line_error(self, "--env and --env-file exclude each other");
    }
    int status = a->env ? apply_named_env(self, a->env, bin_dir) : EXIT_OK;
    if (a->env_file && apply_env_file(a->env_file, error) < 0) {
        return refuse(error);
    }
    if (status == EXIT_OK && a->port) {
        status = apply_port(self, a->port);
    }
    if (a->home) {
        config_command_source("SLUICE_HOME", "--home");
    }
    if (status == EXIT_OK && a->home && setenv("SLUICE_HOME", a->home, 1) < 0) {
        return refuse(strerror(errno));
    }
    return status;
}

typedef int run_with_config(const struct supervisor_config *config, const char *bin_dir,
                            const struct arguments *a);

static int with_config(const struct command *self, const struct arguments *a, run_with_config *run)
{
    char path[PATH_MAX], error[CONFIG_ERROR_SIZE];
    struct supervisor_config config = { 0 };
    const char *bin_dir = find_bin_dir(path);
    if (!bin_dir) {
        return refuse(strerror(errno));
    }
    int status = apply_arguments(self, a, bin_dir);
    if (status == EXIT_OK) {
        int r = config_load(services_options, &config, error);
        status = r < 0 ? refuse(error) : run(&config, bin_dir, a);
    }
    config_free(services_options, &config);
    return status;
}

static int up(const struct supervisor_config *config, const char *bin_dir,
              const struct arguments *a)
{
    return supervisor_up(config, bin_dir, a->detach);
}

static int run_up(const struct command *self, const struct arguments *a)
{
    return with_config(self, a, up);
}

static int check_config(const struct supervisor_config *config, const char *bin_dir,
                        const struct arguments *a)
{
    (void)bin_dir;
    (void)a;
    int alerts = alert_watch_check(config);
    if (autoscaler_check(config->home, config->scaling, true) < 0 || alerts < 0) {
        return EXIT_CONFIG;
    }
    puts("the supervisor's options are fine");
    return EXIT_OK;
}

static int run_check_config(const struct command *self, const struct arguments *a)
{
    return with_config(self, a, check_config);
}

static int show_config(const struct supervisor_config *config, const char *bin_dir,
                       const struct arguments *a)
{
    return config_command(config, bin_dir, a->n_words ? a->words[0] : NULL, a->json);
}

static int run_config(const struct command *self, const struct arguments *a)
{
    const char *name = a->n_words ? a->words[0] : NULL;
    if (name && strcmp(name, "supervisor") != 0 && services_find(name) < 0) {
        return command_line_error(
            self, "%s: allowed are supervisor, queue, users, orders, search and gateway", name);
    }
    return with_config(self, a, show_config);
}

// --- The others

static int run_init(const struct command *self, const struct arguments *a)
{
    (void)self;
    return supervisor_init(home_of(a));
}

// Whether JSON is wanted; -1 after saying that --output is neither.
static int wants_json(const struct command *self, const struct arguments *a)
{
    bool json = a->json || (a->output && strcmp(a->output, "json") == 0);
    if (a->output && !json && strcmp(a->output, "table") != 0) {
        (void)command_line_error(self, "--output %s: allowed are table and json", a->output);
        return -1;
    }
    return json;
}

static int run_status(const struct command *self, const struct arguments *a)
{
    int json = wants_json(self, a);
    return json < 0 ? EXIT_USAGE : client_status(home_of(a), json);
}

static int run_alerts(const struct command *self, const struct arguments *a)
{
    int json = wants_json(self, a);
    return json < 0 ? EXIT_USAGE : client_alerts(home_of(a), json);
}

static int run_scale(const struct command *self, const struct arguments *a)
{
    int64_t counts[SERVICES];
    for (int s = 0; s < SERVICES; s++) {
        counts[s] = -1;
    }
    if (a->n_words == 0) {
        return command_line_error(self, "name at least one SERVICE=N");
    }
    for (int i = 0; i < a->n_words; i++) {
        char *equals = strchr(a->words[i], '=');
        if (!equals) {
            return command_line_error(self, "%s: expected SERVICE=N", a->words[i]);
        }
        *equals = '\0';
        int s = services_find(a->words[i]);
        if (s < 0) {
            return command_line_error(self, "%s: allowed are users, orders, search and gateway",
                                      a->words[i]);
        }
        if (config_parse_number(CONFIG_INTEGER, equals + 1, &counts[s]) < 0 ||
            counts[s] < services[s].min || counts[s] > services[s].max) {
            return command_line_error(self, "%s=%s: allowed is %d..%d", a->words[i], equals + 1,
                                      services[s].min, services[s].max);
        }
    }
    return client_scale(home_of(a), counts);
}

static int run_restart(const struct command *self, const struct arguments *a)
{
    const char *service = a->n_words ? a->words[0] : NULL;
    if (service && services_find(service) < 0) {
        return command_line_error(self, "%s: allowed are queue, users, orders, search and gateway",
                                  service);
    }
    return client_restart(home_of(a), service);
}

static int run_log_level(const struct command *self, const struct arguments *a)
{
    const char *of = a->n_words > 0 ? a->words[0] : NULL;
    const char *level = a->n_words > 1 ? a->words[1] : NULL;
    int json = wants_json(self, a);
    if (json >= 0 && level && log_level_parse(str_of(level)) < 0) {
        return command_line_error(self, "%s: allowed are " LOG_LEVEL_NAMES, level);
    }
    return json < 0 ? EXIT_USAGE : client_log_level(home_of(a), of, level, json);
}

static int run_down(const struct command *self, const struct arguments *a)
{
    (void)self;
    return client_down(home_of(a));
}

static int run_keys(const struct command *self, const struct arguments *a)
{
    (void)self;
    return key_commands(home_of(a), a->n_words, a->words, a->json);
}

static int run_backup(const struct command *self, const struct arguments *a)
{
    char path[PATH_MAX];
    const char *bin_dir = find_bin_dir(path);
    if (a->n_words == 0 || !bin_dir) {
        return command_line_error(self, "name the directory to write to");
    }
    return backup_make(home_of(a), a->words[0], bin_dir, a->secrets);
}

static int run_restore(const struct command *self, const struct arguments *a)
{
    char path[PATH_MAX];
    const char *bin_dir = find_bin_dir(path);
    if (a->n_words == 0 || !bin_dir) {
        return command_line_error(self, "name the directory of the backup");
    }
    return backup_restore(home_of(a), a->words[0], bin_dir, a->force);
}

static int run_trace(const struct command *self, const struct arguments *a)
{
    (void)self;
    return trace_command(home_of(a), a->n_words, a->words, a->json);
}

// --- All of them

#define HOME_HELP "  --home DIR           $SLUICE_HOME, else ./var\n"

const struct command commands[] = {
    { "init", "d", 0, run_init, "[--home DIR]",
      "make the home, its secrets and the first admin's password", .help = HOME_HELP },
    { "up", "dpefb", 0, run_up, "[--home DIR] [--port N] [--env NAME | --env-file FILE] [--detach]",
      "start everything and keep it running until SIGTERM, Ctrl-C or `sluice down`",
      .help = HOME_HELP
      "  --port N             public port, instead of the one in SLUICE_LISTEN\n"
      "  --env NAME           take what the environment does not set from deploy/env/NAME.env\n"
      "  --env-file FILE      the same, from FILE\n"
      "  --detach             return when everything is ready; log to run/sluice.log below the "
      "home\n"
      "\nExamples:\n"
      "  sluice up\n"
      "  sluice up --detach --home /srv/sluice --env production\n"
      "  SLUICE_LISTEN=0.0.0.0:80 SLUICE_SCALE_ORDERS=2 sluice up --detach\n",
      .takes_settings = true },
    { "check-config", "def", 0, run_check_config, "[--home DIR] [--env NAME | --env-file FILE]",
      "say every mistake of the supervisor's options and of the scaling rules",
      .help = HOME_HELP
      "  --env NAME           take what the environment does not set from deploy/env/NAME.env\n"
      "  --env-file FILE      the same, from FILE\n" },
    { "config", "dpefj", 1, run_config,
      "[SERVICE] [--home DIR] [--port N] [--env NAME | --env-file FILE] [--json]",
      "show every option of every process that `sluice up` would start, and where its value is "
      "from",
      .help = HOME_HELP "  --port N, --env NAME, --env-file FILE  as with `sluice up`\n"
                        "  --json               as JSON\n" },
    { "status", "do", 0, run_status, "[--home DIR] [-o json]",
      "show every process; exits 0 when all are ready, 1 when not, 3 when nothing runs",
      .help = HOME_HELP "  -o, --output FORMAT  table (default) or json\n" },
    { "alerts", "doj", 0, run_alerts, "[--home DIR] [-o json]",
      "show the alerts that fire or may soon; exits 0 when none fires, 1 when some do, 3 when "
      "nothing runs",
      .help = HOME_HELP "  -o, --output FORMAT  table (default) or json; --json is the same\n" },
    { "scale", "d", COMMAND_LINE_WORDS, run_scale, "[--home DIR] SERVICE=N ...",
      "start or drain processes until there are N (0..64) of users, orders, search or gateway",
      .help = HOME_HELP "\nExample:\n  sluice scale users=3 orders=2\n" },
    { "restart", "d", 1, run_restart, "[--home DIR] [SERVICE]",
      "restart all processes or those of one service, one after the other", .help = HOME_HELP,
      .takes_services = true },
    { "log-level", "doj", 2, run_log_level,
      "[--home DIR] [INSTANCE | SERVICE | supervisor | all [LEVEL]] [-o json]",
      "show log levels, or set debug, info, warn or error while everything runs",
      .help = HOME_HELP
      "  -o, --output FORMAT  table (default) or json; --json is the same\n"
      "\nA level that is set is the one of processes that are started later as well, until the\n"
      "supervisor ends; then SLUICE_LOG_LEVEL says it again.\n"
      "\nExamples:\n"
      "  sluice log-level\n"
      "  sluice log-level orders debug\n"
      "  sluice log-level gateway-1 warn\n",
      .completes = "all supervisor debug info warn error ", .takes_services = true },
    { "down", "d", 0, run_down, "[--home DIR]",
      "drain and stop everything; returns when it has stopped", .help = HOME_HELP },
    { "backup", "ds", 1, run_backup, "[--home DIR] [--with-secrets] BACKUP",
      "write a backup of stores and log into a new directory, while everything runs or not",
      .help = HOME_HELP "  --with-secrets       keys, too: keep it as safe as they are\n" },
    { "restore", "dF", 1, run_restore, "[--home DIR] [--force] BACKUP",
      "put a backup into a home in which nothing runs",
      .help = HOME_HELP
      "  --force              a home with data: it is kept, as db.before-TIME and so on\n" },
    { "keys", "dj", COMMAND_LINE_WORDS, run_keys, "[--home DIR] COMMAND [NAME ...] [--json]",
      "make, rotate, show and check the keys of the encrypted links", .help = key_commands_help,
      .completes = "make rotate retire show check export " },
    { "trace", "dj", COMMAND_LINE_WORDS, run_trace, "[--home DIR] [ID [ADDRESS ...]] [--json]",
      "show what every process did for one request and its events", .help = trace_command_help },
};
const size_t commands_n = sizeof commands / sizeof commands[0];

const struct command *commands_find(const char *name)
{
    for (size_t i = 0; i < commands_n; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

const char *commands_names(const char *last_separator)
{
    static char names[NAMES_SIZE];
    size_t n = 0;
    for (size_t i = 0; i < commands_n && n < sizeof names; i++) {
        const char *separator = i == 0 ? "" : i + 1 == commands_n ? last_separator : ", ";
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", separator, commands[i].name);
    }
    assert(n < sizeof names);
    return names;
}
