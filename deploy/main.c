// SPDX-License-Identifier: MIT
// The command `sluice`: options and help. What the commands do is in supervisor.c and client.c.
#include "common/process.h"
#include "deploy/client.h"
#include "deploy/envfile.h"
#include "deploy/key_commands.h"
#include "deploy/supervisor.h"

#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WORDS 8

struct arguments {
    const char *home, *port, *env, *env_file, *output;
    bool detach, json;
    int n_words;
    char **words; // what follows the options
};

struct command {
    const char *name;
    const char *options; // letters of those it takes, besides --help
    int max_words;
    int (*run)(const struct command *self, const struct arguments *a);
    const char *synopsis, *summary, *help;
};

static const struct option option_table[] = {
    { "home", required_argument, NULL, 'd' },
    { "port", required_argument, NULL, 'p' },
    { "env", required_argument, NULL, 'e' },
    { "env-file", required_argument, NULL, 'f' },
    { "output", required_argument, NULL, 'o' },
    { "detach", no_argument, NULL, 'b' },
    { "json", no_argument, NULL, 'j' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

__attribute__((format(printf, 2, 3))) static int usage_error(const struct command *c,
                                                             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("sluice: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; see sluice %s%s--help\n", c ? c->name : "", c ? " " : "");
    return EXIT_USAGE;
}

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

// Applies deploy/env/NAME.env of the source tree that this program was built in, or of where it is installed.
static int apply_named_env(const struct command *c, const char *name, const char *bin_dir)
{
    static const char *const places[] = { "../deploy/env", "../share/sluice/env" };
    char path[PATH_MAX], error[CONFIG_ERROR_SIZE];
    if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(name) ||
        strlen(name) > 64) {
        return usage_error(
            c, "--env %s: a name has lower-case letters, digits and -; files: --env-file", name);
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int n = snprintf(path, sizeof path, "%s/%s/%s.env", bin_dir, places[i], name);
        if (n > 0 && n < (int)sizeof path && access(path, F_OK) == 0) {
            return envfile_apply(path, error) < 0 ? refuse(error) : EXIT_OK;
        }
    }
    return usage_error(
        c, "--env %s: there is no such environment; there are development, staging and production",
        name);
}

// Puts the port into the address: "127.0.0.1:8080" -> "127.0.0.1:PORT".
static int apply_port(const struct command *c, const char *port)
{
    char address[512];
    int64_t n;
    if (config_parse_number(CONFIG_INTEGER, port, &n) < 0 || n < 1 || n > 65535) {
        return usage_error(c, "--port %s: a port is 1..65535", port);
    }
    const char *listen = getenv("SLUICE_LISTEN");
    const char *colon = listen ? strrchr(listen, ':') : NULL;
    snprintf(address, sizeof address, "%.*s:%d", colon ? (int)(colon - listen) : 9,
             colon ? listen : "127.0.0.1", (int)n);
    return setenv("SLUICE_LISTEN", address, 1) < 0 ? refuse(strerror(errno)) : EXIT_OK;
}

static int run_up(const struct command *self, const struct arguments *a)
{
    char path[PATH_MAX], error[CONFIG_ERROR_SIZE];
    struct supervisor_config config = { 0 };
    const char *bin_dir = find_bin_dir(path);
    if (!bin_dir) {
        return refuse(strerror(errno));
    }
    if (a->env && a->env_file) {
        return usage_error(self, "--env and --env-file exclude each other");
    }
    int status = a->env ? apply_named_env(self, a->env, bin_dir) : EXIT_OK;
    if (a->env_file && envfile_apply(a->env_file, error) < 0) {
        return refuse(error);
    }
    if (status == EXIT_OK && a->port) {
        status = apply_port(self, a->port);
    }
    if (status != EXIT_OK) {
        return status;
    }
    if (a->home && setenv("SLUICE_HOME", a->home, 1) < 0) {
        return refuse(strerror(errno));
    }
    status = config_load(services_options, &config, error) < 0
                 ? refuse(error)
                 : supervisor_up(&config, bin_dir, a->detach);
    config_free(services_options, &config);
    return status;
}

// --- The others

static int run_init(const struct command *self, const struct arguments *a)
{
    (void)self;
    return supervisor_init(home_of(a));
}

static int run_status(const struct command *self, const struct arguments *a)
{
    bool json = a->output && strcmp(a->output, "json") == 0;
    if (a->output && !json && strcmp(a->output, "table") != 0) {
        return usage_error(self, "--output %s: allowed are table and json", a->output);
    }
    return client_status(home_of(a), json);
}

static int run_scale(const struct command *self, const struct arguments *a)
{
    int64_t counts[SERVICES];
    for (int s = 0; s < SERVICES; s++) {
        counts[s] = -1;
    }
    if (a->n_words == 0) {
        return usage_error(self, "name at least one SERVICE=N");
    }
    for (int i = 0; i < a->n_words; i++) {
        char *equals = strchr(a->words[i], '=');
        if (!equals) {
            return usage_error(self, "%s: expected SERVICE=N", a->words[i]);
        }
        *equals = '\0';
        int s = services_find(a->words[i]);
        if (s < 0) {
            return usage_error(self, "%s: allowed are users, orders, search and gateway",
                               a->words[i]);
        }
        if (config_parse_number(CONFIG_INTEGER, equals + 1, &counts[s]) < 0 ||
            counts[s] < services[s].min || counts[s] > services[s].max) {
            return usage_error(self, "%s=%s: allowed is %d..%d", a->words[i], equals + 1,
                               services[s].min, services[s].max);
        }
    }
    return client_scale(home_of(a), counts);
}

static int run_restart(const struct command *self, const struct arguments *a)
{
    const char *service = a->n_words ? a->words[0] : NULL;
    if (service && services_find(service) < 0) {
        return usage_error(self, "%s: allowed are queue, users, orders, search and gateway",
                           service);
    }
    return client_restart(home_of(a), service);
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

// --- Command line

#define HOME_HELP "  --home DIR           $SLUICE_HOME, else ./var\n"

static const struct command commands[] = {
    { "init", "d", 0, run_init, "[--home DIR]",
      "make the home, its secrets and the first admin's password", HOME_HELP },
    { "up", "dpefb", 0, run_up, "[--home DIR] [--port N] [--env NAME | --env-file FILE] [--detach]",
      "start everything and keep it running until SIGTERM, Ctrl-C or `sluice down`",
      HOME_HELP
      "  --port N             public port, instead of the one in SLUICE_LISTEN\n"
      "  --env NAME           take what the environment does not set from deploy/env/NAME.env\n"
      "  --env-file FILE      the same, from FILE\n"
      "  --detach             return when everything is ready; log to run/sluice.log below the "
      "home\n"
      "\nExamples:\n"
      "  sluice up\n"
      "  sluice up --detach --home /srv/sluice --env production\n"
      "  SLUICE_LISTEN=0.0.0.0:80 SLUICE_SCALE_ORDERS=2 sluice up --detach\n" },
    { "status", "do", 0, run_status, "[--home DIR] [-o json]",
      "show every process; exits 0 when all are ready, 1 when not, 3 when nothing runs",
      HOME_HELP "  -o, --output FORMAT  table (default) or json\n" },
    { "scale", "d", MAX_WORDS, run_scale, "[--home DIR] SERVICE=N ...",
      "start or drain processes until there are N (0..64) of users, orders, search or gateway",
      HOME_HELP "\nExample:\n  sluice scale users=3 orders=2\n" },
    { "restart", "d", 1, run_restart, "[--home DIR] [SERVICE]",
      "restart all processes or those of one service, one after the other", HOME_HELP },
    { "down", "d", 0, run_down, "[--home DIR]",
      "drain and stop everything; returns when it has stopped", HOME_HELP },
    { "keys", "dj", MAX_WORDS, run_keys, "[--home DIR] COMMAND [NAME ...] [--json]",
      "make, rotate, show and check the keys of the encrypted links", key_commands_help },
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static int print_help(void)
{
    puts("Runs a Sluice suite on this machine: the queue, the workers and the gateway, as one.\n\n"
         "  sluice up --detach             start in the background\n"
         "  sluice status                  see how it is\n"
         "  sluice scale users=3 orders=2  more processes, while it runs\n"
         "  sluice down                    stop it\n\n"
         "Commands:");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        printf("  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    puts("\n`sluice COMMAND --help` has its options; `sluice up --help` also the environment "
         "variables.");
    return EXIT_OK;
}

static int print_command_help(const struct command *c)
{
    printf("sluice %s %s\n\n%s\n\n%s", c->name, c->synopsis, c->summary, c->help);
    if (c->run == run_up) {
        puts("\nThe programs get the environment, too: `sluice-gateway --help` and so on list "
             "theirs.\n");
        config_help(services_options, stdout);
    }
    return EXIT_OK;
}

static const char *option_name(int letter)
{
    const struct option *o = option_table;
    while (o->name && o->val != letter) {
        o++;
    }
    return o->name;
}

// Reads the command's options into a. Returns 0, 1 when help was printed, or -EINVAL after a usage error.
static int parse_options(const struct command *c, int argc, char **argv, struct arguments *a)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":ho:", option_table, NULL)) != -1) {
        if (option == 'h') {
            return print_command_help(c), 1;
        }
        if (option == ':') {
            return usage_error(c, "%s needs a value", argv[optind - 1]), -EINVAL;
        }
        if (option == '?') {
            return usage_error(c, "%s: no such option", argv[optind - 1]), -EINVAL;
        }
        if (!strchr(c->options, option)) {
            return usage_error(c, "%s has no option --%s", c->name, option_name(option)), -EINVAL;
        }
        switch (option) {
        case 'd':
            a->home = optarg;
            break;
        case 'p':
            a->port = optarg;
            break;
        case 'e':
            a->env = optarg;
            break;
        case 'f':
            a->env_file = optarg;
            break;
        case 'o':
            a->output = optarg;
            break;
        case 'b':
            a->detach = true;
            break;
        case 'j':
            a->json = true;
            break;
        }
    }
    a->words = argv + optind;
    a->n_words = argc - optind;
    if (a->n_words > c->max_words) {
        return usage_error(c, "%s: not expected here", a->words[c->max_words]), -EINVAL;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct arguments a = { 0 };
    if (argc < 2) {
        return usage_error(NULL, "name a command: init, up, status, scale, restart, down or keys");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        return print_help();
    }
    if (strcmp(argv[1], "--version") == 0) {
        return puts("sluice " SLUICE_VERSION), EXIT_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) {
            continue;
        }
        int r = parse_options(&commands[i], argc - 1, argv + 1, &a);
        return r < 0 ? EXIT_USAGE : r > 0 ? EXIT_OK : commands[i].run(&commands[i], &a);
    }
    return usage_error(
        NULL, "%s: no such command; there are init, up, status, scale, restart, down and keys",
        argv[1]);
}
