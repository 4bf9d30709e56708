// SPDX-License-Identifier: MIT
#include "common/startup.h"

#include "common/admin.h"
#include "common/home.h"
#include "common/process.h"
#include "common/roff.h"
#include "common/shell_completion.h"

#include <assert.h>
#include <czmq.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEALTHCHECK_MS 3000 // of the 5 s that an orchestrator usually gives it
#define HEALTHCHECK_BYTES 4096
#define PRINT_BYTES (1024 * 1024) // of all options: some dozens, of which the longest has 64 KiB

// --- Command line

// The first arguments that this program alone takes, each behind a separator.
static void print_own_words(const char *separator, const struct config_option *table,
                            const struct process_command *commands)
{
    for (const struct config_option *o = table; o->name; o++) {
        if (o->flag) {
            printf("%s%s", separator, o->flag);
        }
    }
    for (const struct process_command *c = commands; c && c->name; c++) {
        printf("%s%s", separator, c->name);
    }
}

static void print_help(const char *binary, const char *summary, const struct config_option *table,
                       const struct process_command *commands)
{
    printf(
        "Usage: %s [--help | --version | --man | --completion SHELL | healthcheck | print-config",
        binary);
    print_own_words(" | ", table, commands);
    printf("]\n\n%s\n\n", summary);
    printf("Without an argument it runs until SIGTERM or SIGINT. `healthcheck` asks the process\n"
           "that runs with the same environment whether it is ready, and exits 0 or 1.\n"
           "`print-config` prints every option with its value and where that is from, as JSON.\n");
    for (const struct process_command *c = commands; c && c->name; c++) {
        printf("`%s`: %s.\n", c->name, c->help);
    }
    printf("\n");
    config_help(table, stdout);
}

static void print_manual_options(const struct config_option *table, FILE *out)
{
    (void)fputs(".SH OPTIONS\n", out);
    for (const struct config_option *o = table; o->name; o++) {
        if (o->flag) {
            char text[128];
            (void)snprintf(text, sizeof text, "The same as %s=true.", o->name);
            roff_entry(o->flag, text, out);
        }
    }
    roff_entry("--help", "What it takes, in short, and every variable.", out);
    roff_entry("--version", "The version.", out);
    roff_entry("--man", "This page, for man -l.", out);
    roff_entry("--completion SHELL", "The completion for bash or zsh, to be sourced.", out);
}

// What all processes have in common, which is the same for none of the tables.
static void print_manual_rest(FILE *out)
{
    (void)fputs(".SH SIGNALS\n", out);
    roff_entry("SIGTERM, SIGINT",
               "It drains: takes no new work, finishes what it has, for at most 9 seconds, and "
               "ends with status 0. The second "
               "one ends it at once.",
               out);
    (void)fputs(".SH NOTIFICATION\n"
                "As\n.BR sd_notify (3)\ndescribes, it says when it is ready, when it drains and "
                "what it waits "
                "for, and gives signs of life when\n.B WATCHDOG_USEC\nasks for them.\n.SH FILES\n",
                out);
    roff_entry("$SLUICE_HOME/run", "Sockets, of the processes and of their admin pages.", out);
    roff_entry("$SLUICE_HOME/db, $SLUICE_HOME/queue", "The stores of the services, and the log.",
               out);
    roff_entry("$SLUICE_HOME/secrets", "Keys and the first admin's password.", out);
    (void)fputs(".SH EXIT STATUS\n", out);
    roff_entry("0",
               "It was told to end, and did so in good order. What it could not finish in time is "
               "in the log.",
               out);
    roff_entry("1", "Something went wrong, and the last line of the log says what.", out);
    roff_entry("64", "The command line is wrong.", out);
    roff_entry("78", "The configuration is wrong: every wrong variable is named.", out);
}

static void print_manual(const char *binary, const char *summary, const struct config_option *table,
                         const struct process_command *commands, FILE *out)
{
    roff_begin(binary, summary, out);
    (void)fputs(".SH SYNOPSIS\n.B ", out);
    roff_text(binary, out);
    (void)fputs("\n[\\fIOPTION\\fR | \\fICOMMAND\\fR]\n.SH DESCRIPTION\n", out);
    roff_text(summary, out);
    (void)fputs(summary[strlen(summary) - 1] == '.' ? "\n.PP\n" : ".\n.PP\n", out);
    (void)fputs("Without an argument it runs until SIGTERM or SIGINT.\n.SH COMMANDS\n", out);
    roff_entry("healthcheck",
               "Asks the process that runs with the same environment whether it is ready, and "
               "exits 0 or 1.",
               out);
    roff_entry("print-config",
               "Prints every option with its value and where that is from, as JSON.", out);
    for (const struct process_command *c = commands; c && c->name; c++) {
        roff_entry(c->name, c->help, out);
    }
    print_manual_options(table, out);
    roff_environment(table, out);
    print_manual_rest(out);
    roff_see_also(binary, out);
}

// --- Completion

static enum startup_command print_completion(const char *binary, const struct config_option *table,
                                             const struct process_command *commands,
                                             const char *shell)
{
    if (!shell_completion_begin(binary, shell)) {
        fprintf(stderr, "%s: --completion \"%s\": allowed are bash and zsh\n", binary, shell);
        return STARTUP_WRONG;
    }
    // Nothing follows a word but what --completion takes.
    fputs("    case $1:$2 in\n"
          "        --completion:--completion) found=\"bash zsh\";;\n"
          "        :*) found=\"--help --version --man --completion healthcheck print-config",
          stdout);
    print_own_words(" ", table, commands);
    puts("\";;\n    esac");
    shell_completion_end(binary, shell, false);
    return STARTUP_DONE;
}

// --- What it was asked for

// The option that has this flag, or NULL.
static const struct config_option *option_of_flag(const struct config_option *table,
                                                  const char *word)
{
    for (const struct config_option *o = table; o->name; o++) {
        if (o->flag && strcmp(o->flag, word) == 0) {
            return o;
        }
    }
    return NULL;
}

static void refuse_argument(const char *binary, const struct config_option *table,
                            const struct process_command *commands, const char *argument)
{
    fprintf(
        stderr,
        "%s: unexpected argument \"%s\"; allowed: --help, --version, --man, --completion SHELL, "
        "healthcheck, print-config, ",
        binary, argument);
    for (const struct config_option *o = table; o->name; o++) {
        fprintf(stderr, "%s%s", o->flag ? o->flag : "", o->flag ? ", " : "");
    }
    for (const struct process_command *c = commands; c && c->name; c++) {
        fprintf(stderr, "%s, ", c->name);
    }
    fputs("or none\n", stderr);
}

static const struct process_command *find_command(const struct process_command *commands,
                                                  const char *word)
{
    for (const struct process_command *c = commands; c && c->name; c++) {
        if (strcmp(c->name, word) == 0) {
            return c;
        }
    }
    return NULL;
}

enum startup_command startup_command(const char *binary, const char *summary,
                                     const struct config_option *table,
                                     const struct process_command *commands, int argc, char **argv,
                                     const struct process_command **ret_command)
{
    if (argc <= 1) {
        return STARTUP_RUN;
    }
    if (argc == 2) {
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
            print_help(binary, summary, table, commands);
            return STARTUP_DONE;
        }
        if (strcmp(argv[1], "--version") == 0) {
            printf("%s %s\n", binary, SLUICE_VERSION);
            return STARTUP_DONE;
        }
        if (strcmp(argv[1], "--man") == 0) {
            print_manual(binary, summary, table, commands, stdout);
            return STARTUP_DONE;
        }
        if (strcmp(argv[1], "healthcheck") == 0) {
            return STARTUP_HEALTHCHECK;
        }
        if (strcmp(argv[1], "print-config") == 0) {
            return STARTUP_PRINT_CONFIG;
        }
        *ret_command = find_command(commands, argv[1]);
        if (*ret_command) {
            return STARTUP_COMMAND;
        }
    }
    if (strcmp(argv[1], "--completion") == 0 && argc <= 3) {
        return print_completion(binary, table, commands, argc == 3 ? argv[2] : "");
    }
    for (int i = 1; i < argc; i++) {
        const struct config_option *o = option_of_flag(table, argv[i]);
        if (!o || setenv(o->name, "true", 1)) { // fails only without memory
            refuse_argument(binary, table, commands, i == 1 && argc > 2 && !o ? argv[2] : argv[i]);
            return STARTUP_WRONG;
        }
    }
    return STARTUP_RUN;
}

// --- Configuration

static int refuse_instance(const char *binary, const char *instance)
{
    fprintf(stderr,
            "%s: SLUICE_INSTANCE is \"%s\"; allowed: letters, digits, '.', '_' and '-', not "
            "beginning with '.' or '-', and %%H for the host name\n",
            binary, instance);
    return -EINVAL;
}

// The instance becomes part of file names.
static int check_instance(const char *binary, const char *instance)
{
    if (*instance == '.' || *instance == '-') {
        return refuse_instance(binary, instance);
    }
    for (const char *c = instance; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        if (!letter && !(*c >= '0' && *c <= '9') && !strchr("._-", *c)) {
            return refuse_instance(binary, instance);
        }
    }
    return 0;
}

// "%H" stands for the host's name: containers that are started from one description differ by it.
static int expand_instance(struct process_config *config)
{
    char host[HOST_NAME_MAX + 1];
    const char *mark = strstr(config->instance, "%H");
    if (!mark) {
        return 0;
    }
    if (gethostname(host, sizeof(host)) < 0) {
        return -errno;
    }
    struct buf b;
    buf_init(&b, PROCESS_INSTANCE_BYTES + 1);
    buf_append(&b, config->instance, (size_t)(mark - config->instance));
    buf_append_z(&b, host);
    buf_append(&b, mark + 2, strlen(mark + 2) + 1); // with its NUL
    if (!buf_ok(&b)) {
        int r = buf_error(&b);
        buf_fini(&b);
        return r;
    }
    free(config->instance);
    config->instance = b.data; // now the config's
    return 0;
}

// One option after the other, so that every mistake is said and not only the first one.
static int load_options(const char *binary, const struct config_option *table, void *config)
{
    int result = 0;
    for (; table->name; table++) {
        char error[CONFIG_ERROR_SIZE];
        const struct config_option alone[] = { *table, CONFIG_END };
        int r = config_load(alone, config, error);
        if (r < 0) {
            fprintf(stderr, "%s: %s\n", binary, error);
            result = result == -EINVAL ? result : r; // what is wrong stays so
        }
    }
    return result;
}

int startup_config(const char *binary, const struct config_option *table, void *config)
{
    int r = load_options(binary, table, config);
    if (r < 0) {
        return r;
    }
    config_forget_secrets(table);
    r = expand_instance(config);
    if (r < 0) {
        fprintf(stderr,
                "%s: SLUICE_INSTANCE is \"%s\", which cannot be used with this host's name: %s; "
                "allowed: up to %d bytes\n",
                binary, ((struct process_config *)config)->instance,
                r == -EMSGSIZE ? "too long" : strerror(-r), PROCESS_INSTANCE_BYTES);
        return r;
    }
    return check_instance(binary, ((struct process_config *)config)->instance);
}

int startup_print_config(const char *binary, const struct config_option *table, void *config)
{
    struct buf text;
    if (load_options(binary, table, config) < 0) {
        return EXIT_CONFIG;
    }
    buf_init(&text, PRINT_BYTES);
    config_print(table, config, &text);
    int r = buf_error(&text);
    if (r == 0 && fwrite(text.data, 1, text.len, stdout) != text.len) {
        r = -errno;
    }
    buf_fini(&text);
    if (r < 0) {
        fprintf(stderr, "%s: cannot print: %s\n", binary, strerror(-r));
    }
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}

int startup_home(const char *binary, struct process_config *config, bool make)
{
    char *home;
    int r = make ? home_open(config->home, &home) : home_find(config->home, &home);
    if (r < 0) {
        fprintf(stderr, "%s: SLUICE_HOME is \"%s\", which ", binary, config->home);
        if (r == -ENOENT && !make) {
            fputs("does not exist; make it with `sluice init`\n", stderr);
        } else {
            fprintf(stderr,
                    "cannot be used: %s; allowed: a directory that this user can read and write\n",
                    strerror(-r));
        }
        return r;
    }
    free(config->home);
    config->home = home;
    return 0;
}

// --- Admin addresses

// Appends one address of SLUICE_ADMIN in the form of common/address.h. false when it is not one.
static bool append_address(struct buf *b, const struct process_config *config, struct str address)
{
    if (!str_starts(address, STR("unix:"))) {
        buf_append_str(b, address);
        return address.n > 0;
    }
    struct str name = { address.p + 5, address.n - 5 };
    if (name.n > 0 && name.p[0] == '/') {
        buf_append_str(b, address);
        return true;
    }
    if (name.n == 0 || memchr(name.p, '/', name.n)) {
        return false;
    }
    buf_printf(b, "unix:%s/run/%.*s", config->home, STR_ARG(name));
    return true;
}

bool startup_admin_is_off(const struct process_config *config)
{
    return config->admin && strcmp(config->admin, "none") == 0;
}

int startup_admin(const struct process_config *config, struct buf *addresses)
{
    assert(!startup_admin_is_off(config));
    if (!config->admin || !*config->admin) {
        buf_printf(addresses, "unix:%s/run/%s.admin.sock", config->home, config->instance);
        buf_append_char(addresses, '\0');
        return buf_error(addresses);
    }
    for (const char *p = config->admin;;) {
        size_t n = strcspn(p, ",");
        if (!append_address(addresses, config, (struct str){ p, n })) {
            return -EINVAL;
        }
        buf_append_char(addresses, p[n]); // a comma, or the NUL
        if (p[n] == '\0') {
            return buf_error(addresses);
        }
        p += n + 1;
    }
}

void startup_admin_error(const char *binary, const struct process_config *config, int error)
{
    const char *reason = strerror(-error);
    if (error == -EADDRINUSE) {
        reason = "somebody answers there already (is this instance running twice?)";
    } else if (error == -ENAMETOOLONG) {
        reason = "a unix socket's path has at most 107 bytes (a shorter SLUICE_HOME helps)";
    } else if (error == -EHOSTUNREACH) {
        reason = "the host name is not known";
    } else if (error == -EINVAL || error == -E2BIG) {
        reason = "that is no such list";
    }
    if (config->admin && *config->admin) {
        fprintf(stderr, "%s: SLUICE_ADMIN is \"%s\": ", binary, config->admin);
    } else {
        fprintf(stderr, "%s: SLUICE_ADMIN is not set, so it is unix:%s.admin.sock: ", binary,
                config->instance);
    }
    fprintf(stderr,
            "%s; allowed: none, or one or two of unix:NAME and HOST:PORT, separated by a comma\n",
            reason);
}

// --- Commands

int startup_run(const char *binary, const struct process_command *command,
                struct process_config *config, void *own)
{
    if (command->needs_home && startup_home(binary, config, false) < 0) {
        return EXIT_CONFIG;
    }
    return command->run(config, own);
}

// --- healthcheck

int startup_healthcheck(const char *binary, struct process_config *config)
{
    if (startup_admin_is_off(config)) {
        fprintf(stderr, "%s: SLUICE_ADMIN is none: there is nobody to ask\n", binary);
        return EXIT_FAILED;
    }
    if (startup_home(binary, config, false) < 0) {
        return EXIT_FAILED;
    }
    struct buf addresses, body;
    buf_init(&addresses, STARTUP_ADDRESSES_BYTES);
    buf_init(&body, HEALTHCHECK_BYTES);
    int exit_status = EXIT_FAILED;
    int r = startup_admin(config, &addresses);
    if (r < 0) {
        startup_admin_error(binary, config, r);
    } else {
        addresses.data[strcspn(addresses.data, ",")] = '\0';
        r = admin_get(addresses.data, "/readyz", HEALTHCHECK_MS, &body);
        if (r < 0) {
            fprintf(stderr, "%s: no answer from %s: %s\n", binary, addresses.data, strerror(-r));
        } else {
            fprintf(r == 200 ? stdout : stderr, "%.*s", STR_ARG(buf_str(&body)));
            exit_status = r == 200 ? EXIT_OK : EXIT_FAILED;
        }
    }
    buf_fini(&body);
    buf_fini(&addresses);
    return exit_status;
}

// --- Limits

// A process that was started with a closed standard descriptor would give its number to a socket or
// a store, and log lines would go there.
static void keep_standard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

// czmq takes settings from ZSYS_* variables; ours come from one table only.
static void forget_zsys_settings(void)
{
    for (char **variable = environ; *variable;) {
        const char *equals = strchr(*variable, '=');
        char name[64];
        size_t n = equals ? (size_t)(equals - *variable) : 0;
        if (strncmp(*variable, "ZSYS_", 5) != 0 || n >= sizeof(name)) {
            variable++;
            continue;
        }
        memcpy(name, *variable, n);
        name[n] = '\0';
        (void)unsetenv(name); // the next variable moves to this place
    }
}

static void set_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); // up to the hard limit it is always allowed
    }
    // Keys and tokens are in memory. The hard limit stays, so that prlimit(1) can turn core files
    // on.
    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = 0;
        (void)setrlimit(RLIMIT_CORE, &limit);
    }
}

void startup_limits(void)
{
    keep_standard_descriptors();
    set_limits();
    umask(S_IRWXG | S_IRWXO);
    signal(SIGPIPE, SIG_IGN); // a closed peer is seen in the return value of the write
    forget_zsys_settings();
    zsys_handler_set(NULL); // the first czmq call: signals are the loop's
}
