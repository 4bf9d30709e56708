// SPDX-License-Identifier: MIT
#include "services/tap/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"

#define BIT(command) (1u << (command))
#define READING (BIT(TAP_TAIL_EVENTS) | BIT(TAP_CAT))
#define EVERY 0xFFu

static const struct {
    const char *name, *arguments, *help;
    enum tap_command command;
    int min, max; // operands
} commands[] = {
    { "ls", "", "topics with their counts", TAP_LS, 0, 0 },
    { "info", "", "state of the queue: sizes, limits, producers, readers, damage", TAP_INFO, 0, 0 },
    { "tail", "[-n N] [-f]", "the last events, and with -f those that come", TAP_TAIL_EVENTS, 0,
      0 },
    { "cat", "[--range A:B]", "events of a range; ends by itself", TAP_CAT, 0, 0 },
    { "get", "SEQ", "one event", TAP_GET, 1, 1 },
    { "pub", "TOPIC [DATA|-]", "publish an event; DATA is JSON", TAP_PUB, 1, 2 },
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

enum { OPT_TOPIC = 256, OPT_SINCE, OPT_RANGE, OPT_QUEUE, OPT_TIMEOUT, OPT_NO_COLOR };

static const struct {
    struct option option;
    const char *value, *help;
    unsigned commands; // that take it
} table[] = {
    { { "topic", required_argument, NULL, OPT_TOPIC },
      "FILTER",
      "only these topics; * is one token, a last > the rest; may be repeated",
      READING | BIT(TAP_LS) },
    { { "key", required_argument, NULL, 'k' },
      "KEY",
      "only this key; for pub: the event's key",
      READING | BIT(TAP_PUB) },
    { { "since", required_argument, NULL, OPT_SINCE },
      "TIME",
      "from 10m, 2h, 2026-11-23T10:00Z ... on",
      READING },
    { { "range", required_argument, NULL, OPT_RANGE },
      "A:B",
      "5:10  -100:  :end  @-1h:  @2026-11-23T10:00Z:5m  (the end is not included)",
      BIT(TAP_CAT) },
    { { "number", required_argument, NULL, 'n' },
      "N",
      "how many events, default 10",
      BIT(TAP_TAIL_EVENTS) },
    { { "follow", no_argument, NULL, 'f' },
      "",
      "go on with events that come",
      BIT(TAP_TAIL_EVENTS) },
    { { "lines", no_argument, NULL, 'l' },
      "",
      "each line of standard input is one event",
      BIT(TAP_PUB) },
    { { "output", required_argument, NULL, 'o' },
      "FORMAT",
      "pretty (default), json or ndjson",
      EVERY },
    { { "queue", required_argument, NULL, OPT_QUEUE },
      "ENDPOINT",
      "where the queue is; default $SLUICE_QUEUE, else ipc://$SLUICE_HOME/run/queue.sock",
      EVERY },
    { { "timeout", required_argument, NULL, OPT_TIMEOUT },
      "TIME",
      "how long to wait for the queue, default 3s",
      EVERY },
    { { "no-color", no_argument, NULL, OPT_NO_COLOR },
      "",
      "no colours, also without a terminal or with NO_COLOR",
      EVERY },
    { { "help", no_argument, NULL, 'h' }, "", "this text", EVERY },
    { { "version", no_argument, NULL, 'V' }, "", "the version", EVERY },
};
#define N_OPTIONS (sizeof table / sizeof *table)

static void print_help(FILE *out)
{
    (void)fprintf(
        out, "sluice-tap looks into the event queue. Looking changes nothing there.\n\n"
             "Usage: sluice-tap COMMAND [OPTIONS]\n\nExamples:\n"
             "  sluice-tap tail -f --topic 'orders.>'\n"
             "  sluice-tap cat --range @-1h: --key 01a20aaa-033e-7412-bd0b-43964cbf397e -o ndjson\n"
             "  sluice-tap pub shop.note.added '{\"text\":\"hello\"}'\n\nCommands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        (void)fprintf(out, "  %-5s %-15s %s\n", commands[i].name, commands[i].arguments,
                      commands[i].help);
    }
    (void)fprintf(out, "\nOptions:\n");
    for (size_t i = 0; i < N_OPTIONS; i++) {
        char left[40];
        int v = table[i].option.val;
        (void)snprintf(left, sizeof left, "%c%c%s --%s %s", v < 256 ? '-' : ' ', v < 256 ? v : ' ',
                       v < 256 ? "," : " ", table[i].option.name, table[i].value);
        (void)fprintf(out, "  %-22s %s\n", left, table[i].help);
    }
    (void)fprintf(
        out,
        "\nExit status: 0 done, 1 nothing matched, 2 wrong usage, 3 the queue does not answer, "
        "4 part of the log is lost.\n");
}

__attribute__((format(printf, 1, 2))) static int mistake(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "sluice-tap: ");
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "; see sluice-tap --help\n");
    va_end(args);
    return TAP_USAGE;
}

// How many letters must be changed, added or left out to make a into b (Levenshtein), for short
// words.
static size_t distance(const char *a, const char *b)
{
    size_t row[16], n = strlen(b);
    if (n >= sizeof row / sizeof *row) {
        return SIZE_MAX;
    }
    for (size_t k = 0; k <= n; k++) {
        row[k] = k;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < n; k++) {
            size_t above = row[k + 1], best = diagonal + (a[i] != b[k]);
            best = above + 1 < best ? above + 1 : best;
            best = row[k] + 1 < best ? row[k] + 1 : best;
            diagonal = above;
            row[k + 1] = best;
        }
    }
    return row[n];
}

static int unknown_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (distance(name, commands[i].name) <= 1 + strlen(name) / 4) {
            return mistake("there is no command \"%s\"; did you mean \"%s\"", name,
                           commands[i].name);
        }
    }
    return mistake("there is no command \"%s\"", name);
}

static int parse_number(const char *text, int64_t max, int64_t *ret)
{
    int64_t v = 0;
    size_t n = strlen(text);
    if (n == 0 || n > 18) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -EINVAL;
        }
        v = v * 10 + (text[i] - '0');
    }
    *ret = v;
    return v <= max ? 0 : -EINVAL;
}

static int set_format(const char *text, struct options *o)
{
    static const char *const names[] = {
        [RENDER_PRETTY] = "pretty", [RENDER_JSON] = "json", [RENDER_NDJSON] = "ndjson"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            o->format = (enum render_format)i;
            return -1;
        }
    }
    return mistake("-o %s: allowed are pretty, json and ndjson", text);
}

static int add_filter(const char *text, struct options *o)
{
    struct str filter = str_of(text);
    if (!topic_filter_valid(filter)) {
        return mistake("--topic %s: a filter is tokens of a-z 0-9 _ - joined by dots, where a "
                       "whole token may be * "
                       "and the last one >",
                       text);
    }
    if (o->n_filters == QUEUE_MAX_FILTERS) {
        return mistake("--topic: at most %d filters are allowed", QUEUE_MAX_FILTERS);
    }
    o->filters[o->n_filters++] = filter;
    return -1;
}

static int set_key(const char *text, struct options *o)
{
    o->key = text;
    return strlen(text) <= QUEUE_MAX_KEY
               ? -1
               : mistake("--key: at most %d bytes are allowed", QUEUE_MAX_KEY);
}

static int set_range(const char *text, struct options *o)
{
    const char *what = "";
    o->has_range = true;
    return range_parse(text, clock_wall_ms(), &o->range, &what)
               ? mistake("--range %s: %s", text, what)
               : -1;
}

static int set_option(int option, const char *value, struct options *o)
{
    switch (option) {
    case OPT_TOPIC:
        return add_filter(value, o);
    case 'k':
        return set_key(value, o);
    case OPT_SINCE:
        return range_time(str_of(value), clock_wall_ms(), &o->since_ms) || o->since_ms < 0
                   ? mistake("--since %s: allowed are lengths such as 10m and times such as "
                             "2026-11-23T10:00Z",
                             value)
                   : -1;
    case OPT_RANGE:
        return set_range(value, o);
    case 'n':
        return parse_number(value, INT32_MAX, &o->last)
                   ? mistake("-n %s: a number from 0 to 2147483647", value)
                   : -1;
    case 'f':
        o->follow = true;
        return -1;
    case 'l':
        o->lines = true;
        return -1;
    case 'o':
        return set_format(value, o);
    case OPT_QUEUE:
        o->queue = value;
        return -1;
    case OPT_TIMEOUT:
        return config_parse_number(CONFIG_DURATION, value, &o->timeout_ms) || o->timeout_ms < 1
                   ? mistake("--timeout %s: a length such as 500ms or 3s", value)
                   : -1;
    case OPT_NO_COLOR:
        o->color = false;
        return -1;
    default:
        return TAP_USAGE;
    }
}

static const char *option_name(int option)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (table[i].option.val == option) {
            return table[i].option.name;
        }
    }
    return "?";
}

static bool takes(enum tap_command command, int option)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (table[i].option.val == option) {
            return (table[i].commands & BIT(command)) != 0;
        }
    }
    return false;
}

static int parse_operands(size_t command, int n, char **operands, struct options *o)
{
    int64_t seq;
    if (n < commands[command].min || n > commands[command].max) {
        return mistake("usage: sluice-tap %s %s", commands[command].name,
                       commands[command].arguments);
    }
    if (o->command == TAP_GET) {
        if (parse_number(operands[0], INT64_MAX, &seq) || seq == 0) {
            return mistake("get %s: a sequence is a number from 1", operands[0]);
        }
        o->seq = (uint64_t)seq;
    } else if (o->command == TAP_PUB) {
        o->topic = operands[0];
        o->data = n > 1 ? operands[1] : NULL;
        if (!topic_valid(str_of(o->topic))) {
            return mistake(
                "pub %s: a topic is tokens of a-z 0-9 _ - joined by dots, at most %d bytes",
                o->topic, QUEUE_MAX_TOPIC);
        }
    }
    return -1;
}

// Options of all commands in one pass; whether the command takes them is checked with the command
// at hand.
static int parse_options(int argc, char **argv, unsigned *ret_seen, int seen[N_OPTIONS],
                         struct options *o)
{
    struct option longs[N_OPTIONS + 1] = { 0 };
    for (size_t i = 0; i < N_OPTIONS; i++) {
        longs[i] = table[i].option;
    }
    opterr = 0;
    *ret_seen = 0;
    for (int c; (c = getopt_long(argc, argv, "k:n:flo:hV", longs, NULL)) != -1;) {
        if (c == 'h') {
            print_help(stdout);
            return TAP_OK;
        }
        if (c == 'V') {
            (void)printf("sluice-tap %s\n", SLUICE_VERSION);
            return TAP_OK;
        }
        if (c == '?') {
            return mistake("%s: not an option, or its value is missing", argv[optind - 1]);
        }
        if (*ret_seen < N_OPTIONS) {
            seen[(*ret_seen)++] = c;
        }
        int status = set_option(c, optarg, o);
        if (status >= 0) {
            return status;
        }
    }
    return -1;
}

static bool wants_color(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
           !(term && strcmp(term, "dumb") == 0);
}

int options_parse(int argc, char **argv, struct options *ret_options)
{
    struct options o = {
        .timeout_ms = TAP_TIMEOUT_MS, .since_ms = -1, .last = -1, .color = wants_color()
    };
    int seen[N_OPTIONS];
    unsigned n_seen;
    int status = parse_options(argc, argv, &n_seen, seen, &o);
    if (status >= 0) {
        return status;
    }
    if (optind == argc) {
        print_help(stderr);
        return TAP_USAGE;
    }
    size_t i = 0;
    while (i < N_COMMANDS && strcmp(argv[optind], commands[i].name) != 0) {
        i++;
    }
    if (i == N_COMMANDS) {
        return unknown_command(argv[optind]);
    }
    o.command = commands[i].command;
    for (unsigned k = 0; k < n_seen; k++) {
        if (!takes(o.command, seen[k])) {
            return mistake("%s takes no --%s", commands[i].name, option_name(seen[k]));
        }
    }
    if (o.has_range && o.since_ms >= 0) {
        return mistake("--range and --since both say where to begin");
    }
    status = parse_operands(i, argc - optind - 1, argv + optind + 1, &o);
    *ret_options = o;
    return status;
}
