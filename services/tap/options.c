// SPDX-License-Identifier: MIT
#include "services/tap/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"
#include "services/tap/manual.h"

#define MAX_LONG_OPTIONS 64
#define MAX_SHORT_OPTIONS 64
#define MAX_SEEN 64 // options of one command line
#define MAX_RATE 10000000

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

// The nearest first word or whole name of a command.
static int unknown_command(const char *name)
{
    for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
        char first[16];
        (void)snprintf(first, sizeof first, "%.*s", (int)strcspn(commands[i].name, " "),
                       commands[i].name);
        if (distance(name, first) <= 1 + strlen(name) / 4) {
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
        [RENDER_PRETTY] = "pretty", [RENDER_JSON] = "json", [RENDER_NDJSON] = "ndjson",
        [RENDER_RAW] = "raw",       [RENDER_HEX] = "hex",   [RENDER_FIELDS] = "fields"
    };
    o->csv = strcmp(text, "csv") == 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            o->style.format = (enum render_format)i;
            return -1;
        }
    }
    return o->csv
               ? -1
               : mistake("-o %s: allowed are pretty, json, ndjson, raw, hex, fields and csv", text);
}

static int add_filter(const char *text, struct options *o)
{
    struct str filter = str_of(text);
    if (!topic_filter_valid(filter)) {
        return mistake("--topic %s: a filter is tokens of a-z 0-9 _ - joined by dots, where a "
                       "whole token may be * and the last one >",
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

// --- Numbers, lengths and sizes: one table, one message

static const struct number_option {
    int id;
    enum config_kind kind;
    int64_t min, max;
    size_t offset; // in struct options
} number_options[] = {
    { 'n', CONFIG_INTEGER, 0, INT32_MAX, offsetof(struct options, number) },
    { OPT_LIMIT, CONFIG_INTEGER, 1, INT32_MAX, offsetof(struct options, limit) },
    { OPT_MAX_BODY, CONFIG_BYTES, 0, QUEUE_MAX_EVENT_BYTES,
      offsetof(struct options, style.max_body) },
    { OPT_TIMEOUT, CONFIG_DURATION, 1, 86400000, offsetof(struct options, timeout_ms) },
    { OPT_INTERVAL, CONFIG_DURATION, 100, 86400000, offsetof(struct options, interval_ms) },
    { OPT_ACK_WAIT, CONFIG_DURATION, 100, 86400000, offsetof(struct options, ack_wait_ms) },
    { OPT_MAX_DELIVERIES, CONFIG_INTEGER, 1, 1000, offsetof(struct options, max_deliveries) },
    { OPT_BACKOFF, CONFIG_DURATION, 1, 86400000, offsetof(struct options, backoff_ms) },
    { OPT_BACKOFF_MAX, CONFIG_DURATION, 1, 86400000, offsetof(struct options, backoff_max_ms) },
    { OPT_MAX_PENDING, CONFIG_INTEGER, 1, 65536, offsetof(struct options, max_pending) },
    { OPT_SIZE, CONFIG_BYTES, 0, TAP_MAX_SIZE, offsetof(struct options, size) },
    { OPT_BATCH, CONFIG_INTEGER, 1, QUEUE_MAX_BATCH, offsetof(struct options, batch) },
    { OPT_IN_FLIGHT, CONFIG_INTEGER, 1, 64, offsetof(struct options, in_flight) },
};

static const char *option_name(int option)
{
    for (size_t i = 0; i < n_option_lines; i++) {
        if (option_lines[i].id == option) {
            return option_lines[i].name;
        }
    }
    return "?";
}

static int set_number(const struct number_option *n, const char *text, struct options *o)
{
    int64_t value;
    if (config_parse_number(n->kind, text, &value) || value < n->min || value > n->max) {
        const char *name = option_name(n->id);
        return n->kind == CONFIG_DURATION
                   ? mistake("--%s %s: a length such as 500ms or 3s, from %lldms to %lldms", name,
                             text, (long long)n->min, (long long)n->max)
               : n->kind == CONFIG_BYTES
                   ? mistake("--%s %s: a size such as 512 or 4KiB, at most %lld bytes", name, text,
                             (long long)n->max)
                   : mistake("--%s %s: a number from %lld to %lld", name, text, (long long)n->min,
                             (long long)n->max);
    }
    memcpy((char *)o + n->offset, &value, sizeof value);
    return -1;
}

static int set_rate(const char *text, struct options *o)
{
    char digits[16];
    size_t n = strspn(text, "0123456789");
    (void)snprintf(digits, sizeof digits, "%.*s", (int)n, text);
    bool ends = text[n] == 0 || strcmp(text + n, "/s") == 0;
    return !ends || parse_number(digits, MAX_RATE, &o->rate) || o->rate == 0
               ? mistake("--rate %s: events a second, such as 100/s, at most %d", text, MAX_RATE)
               : -1;
}

// start, end, a sequence, or @ and a time.
static int parse_position(const char *option, const char *text, struct options *o)
{
    const char *what = "";
    o->has_from = true;
    if (strcmp(text, "end") == 0) {
        o->from = (struct range){ .from = QUEUE_FROM_END };
        return -1;
    }
    bool start = strcmp(text, "start") == 0;
    if (range_parse(start ? "" : text, clock_wall_ms(), &o->from, &what) ||
        o->from.from == QUEUE_FROM_LAST || (!start && !*text) || strchr(text, ':') == text ||
        (o->from.from == QUEUE_FROM_SEQ && strchr(text, ':')) || o->from.until_ms ||
        o->from.until_seq || o->from.empty) {
        return mistake("--%s %s: allowed are start, end, a sequence, and @ with a time such as "
                       "@-1h or @2026-11-23T10:00Z",
                       option, text);
    }
    return -1;
}

static int set_where(const char *text, struct options *o)
{
    o->where = text;
    return *text && strlen(text) <= QUEUE_MAX_WHERE
               ? -1
               : mistake("--where: 1 to %d bytes are allowed", QUEUE_MAX_WHERE);
}

static int set_template(const char *text, struct options *o)
{
    o->style.template = text;
    return render_template_check(text)
               ? mistake("--format %s: allowed are %%s %%t %%k %%v %%i %%e %%o %%p %%T %%%%, and "
                         "\\n \\t \\\\",
                         text)
               : -1;
}

static int set_order(const char *text, struct options *o)
{
    o->order = text;
    return strcmp(text, "key") == 0 || strcmp(text, "none") == 0 || strcmp(text, "all") == 0
               ? -1
               : mistake("--order %s: allowed are key, none and all", text);
}

static int set_producer(const char *text, struct options *o)
{
    size_t n = strlen(text);
    o->producer = text;
    return n > 0 && n <= QUEUE_MAX_PRODUCER
               ? -1
               : mistake("--producer: 1 to %d bytes are allowed", QUEUE_MAX_PRODUCER);
}

static int set_since(const char *text, struct options *o)
{
    return range_time(str_of(text), clock_wall_ms(), &o->since_ms) || o->since_ms < 0
               ? mistake("--since %s: allowed are lengths such as 10m and times such as "
                         "2026-11-23T10:00Z",
                         text)
               : -1;
}

// Those that are just there.
static bool *flag_of(int option, struct options *o)
{
    switch (option) {
    case 'f':
        return &o->follow;
    case 'l':
        return &o->lines;
    case 'w':
        return &o->watch;
    case 'y':
        return &o->yes;
    case 't':
        return &o->style.timestamps;
    case 'd':
        return &o->style.delta;
    case OPT_ALL:
        return &o->all;
    case OPT_NO_BODY:
        return &o->style.no_body;
    case OPT_BODY_ONLY:
        return &o->style.body_only;
    case OPT_ORIGINAL_SPEED:
        return &o->original_speed;
    case OPT_DRY_RUN:
        return &o->dry_run;
    case OPT_DEEP:
        return &o->deep;
    default:
        return NULL;
    }
}

static int set_text(int option, const char *value, struct options *o)
{
    switch (option) {
    case OPT_TOPIC:
        return add_filter(value, o);
    case 'k':
        return set_key(value, o);
    case OPT_WHERE:
        return set_where(value, o);
    case OPT_SINCE:
        return set_since(value, o);
    case OPT_RANGE:
        return set_range(value, o);
    case 'o':
        return set_format(value, o);
    case OPT_FORMAT:
        return set_template(value, o);
    case OPT_RATE:
        return set_rate(value, o);
    case OPT_ORDER:
        return set_order(value, o);
    case OPT_PRODUCER:
        return set_producer(value, o);
    case OPT_FROM:
        return parse_position("from", value, o);
    case OPT_TO:
        o->to = value;
        return -1;
    case OPT_QUEUE:
        o->queue = value;
        return -1;
    case OPT_ARCHIVE:
        o->archive = value;
        return -1;
    case OPT_NO_COLOR:
        o->color = false;
        return -1;
    default:
        return TAP_USAGE;
    }
}

static int set_option(int option, const char *value, struct options *o)
{
    bool *flag = flag_of(option, o);
    if (flag) {
        *flag = true;
        return -1;
    }
    for (size_t i = 0; i < sizeof number_options / sizeof *number_options; i++) {
        if (number_options[i].id == option) {
            return set_number(&number_options[i], value, o);
        }
    }
    return set_text(option, value, o);
}

// --- The command line

static bool takes(enum command_id command, int option)
{
    for (size_t i = 0; i < n_option_lines; i++) {
        if (option_lines[i].id == option) {
            return (option_lines[i].commands >> command & 1) != 0;
        }
    }
    return false;
}

static int parse_seq(const char *command, const char *text, uint64_t *ret_seq)
{
    int64_t seq;
    if (parse_number(text, INT64_MAX, &seq) || seq == 0) {
        return mistake("%s %s: a sequence is a number from 1", command, text);
    }
    *ret_seq = (uint64_t)seq;
    return -1;
}

static int parse_seqs(const char *command, int n, char **operands, struct options *o)
{
    uint64_t seq;
    int status = -1;
    for (int i = 0; status < 0 && i < n; i++) {
        status = parse_seq(command, operands[i], &seq);
    }
    o->seqs = operands;
    o->n_seqs = (size_t)n;
    return status;
}

static int parse_group(const char *command, const char *name, struct options *o)
{
    o->target = name;
    return queue_group_valid(str_of(name))
               ? -1
               : mistake("%s %s: a group is tokens of a-z 0-9 _ - joined by dots, at most %d bytes",
                         command, name, QUEUE_MAX_GROUP);
}

static int parse_topic(const char *command, const char *topic, struct options *o)
{
    o->target = topic;
    return topic_valid(str_of(topic))
               ? -1
               : mistake("%s %s: a topic is tokens of a-z 0-9 _ - joined by dots, at most %d bytes",
                         command, topic, QUEUE_MAX_TOPIC);
}

static int parse_operands(const struct command *c, int n, char **operands, struct options *o)
{
    int status = -1;
    if (n < c->min || n > c->max) {
        return mistake("usage: sluice-tap %s %s", c->name, c->arguments);
    }
    switch (o->command) {
    case TAP_TAIL_EVENTS:
    case TAP_CAT:
        for (int i = 0; status < 0 && i < n; i++) {
            status = add_filter(operands[i], o);
        }
        return status;
    case TAP_GET:
        return parse_seq("get", operands[0], &o->seq);
    case TAP_PUB:
        o->data = n > 1 ? operands[1] : NULL;
        return parse_topic("pub", operands[0], o);
    case TAP_IMPORT:
    case TAP_EXPORT:
        o->file = n ? operands[0] : NULL;
        return -1;
    case TAP_TRACE:
    case TAP_VERIFY:
        o->target = n ? operands[0] : NULL;
        return -1;
    case TAP_DLQ_SHOW:
        status = parse_seq(c->name, operands[1], &o->seq);
        return status >= 0 ? status : parse_group(c->name, operands[0], o);
    case TAP_DLQ_RETRY:
    case TAP_DLQ_DROP:
        status = parse_seqs(c->name, n - 1, operands + 1, o);
        return status >= 0 ? status : parse_group(c->name, operands[0], o);
    case TAP_DLQ_EXPORT:
        o->file = n > 1 ? operands[1] : NULL;
        return parse_group(c->name, operands[0], o);
    default:
        return n ? parse_group(c->name, operands[0], o) : -1;
    }
}

// What the tables cannot say: options that exclude or need each other.
static int check_together(const struct command *c, struct options *o)
{
    const struct render_style *s = &o->style;
    bool of_events = takes(o->command, OPT_FORMAT);
    bool json = s->format == RENDER_JSON || s->format == RENDER_NDJSON;
    bool bench = c->run == bench_publish || c->run == bench_consume || c->run == bench_e2e;
    if (o->has_range && o->since_ms >= 0) {
        return mistake("--range and --since both say where to begin");
    }
    if ((s->format > RENDER_NDJSON && !of_events) || (o->csv && !bench)) {
        return mistake("%s: -o may be pretty, json or ndjson%s", c->name,
                       of_events ? ", raw, hex or fields"
                       : bench   ? ", or csv"
                                 : "");
    }
    if ((s->timestamps || s->delta) && (json || s->format == RENDER_RAW)) {
        return mistake("-t and -d are for text, not for -o json, ndjson and raw");
    }
    if ((s->template && s->format != RENDER_PRETTY) || (s->template && s->body_only) ||
        (s->no_body && s->body_only)) {
        return mistake("--format, -o, --no-body and --body-only exclude each other");
    }
    if (o->original_speed && o->rate) {
        return mistake("--rate and --original-speed both say how fast");
    }
    if ((o->command == TAP_DLQ_RETRY || o->command == TAP_DLQ_DROP) &&
        (o->n_seqs > 0) + (o->where != NULL) + o->all != 1) {
        return mistake("%s: say which ones by their sequences, by --where, or by --all", c->name);
    }
    if ((o->command == TAP_SEEK || o->command == TAP_REPLAY) && !o->to) {
        return mistake("%s: --to is missing", c->name);
    }
    if (o->archive && !o->target) {
        return mistake(
            "verify: --archive goes with the DIR of a log; a running queue looks into its "
            "archive by itself");
    }
    if (bench && o->n_filters > 1) {
        return mistake("%s: one --topic", c->name);
    }
    if ((c->run == bench_publish || c->run == bench_e2e) && o->n_filters &&
        !topic_valid(o->filters[0])) {
        return mistake("%s: --topic must be a topic, without * and >", c->name);
    }
    if (o->command == TAP_SEEK) {
        return parse_position("to", o->to, o);
    }
    if (o->to && !topic_valid(str_of(o->to))) {
        return mistake("--to %s: tokens of a-z 0-9 _ - joined by dots", o->to);
    }
    return -1;
}

static size_t make_getopt(struct option longs[MAX_LONG_OPTIONS], char shorts[MAX_SHORT_OPTIONS])
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < n_option_lines; i++) {
        const struct option_line *o = &option_lines[i];
        int has = o->value ? required_argument : no_argument;
        longs[n++] = (struct option){ o->name, has, NULL, o->id };
        if (o->alias) {
            longs[n++] = (struct option){ o->alias, has, NULL, o->id };
        }
        if (o->id < 256) {
            shorts[k++] = (char)o->id;
            if (o->value) {
                shorts[k++] = ':';
            }
        }
        assert(n + 2 < MAX_LONG_OPTIONS && k + 2 < MAX_SHORT_OPTIONS);
    }
    longs[n] = (struct option){ 0 };
    shorts[k] = 0;
    return n;
}

static int print_and_end(int option, const char *value)
{
    if (option == 'V') {
        (void)printf("sluice-tap %s\n", SLUICE_VERSION);
    } else if (option == OPT_MAN) {
        manual_page(stdout);
    } else if (completion_print(value, stdout)) {
        return mistake("--completion %s: allowed are bash and zsh", value);
    }
    return TAP_OK;
}

// Options of all commands in one pass; whether the command takes them is checked with the command
// at hand.
static int parse_options(int argc, char **argv, size_t *ret_seen, int seen[MAX_SEEN],
                         bool *ret_help, struct options *o)
{
    struct option longs[MAX_LONG_OPTIONS];
    char shorts[MAX_SHORT_OPTIONS];
    (void)make_getopt(longs, shorts);
    opterr = 0;
    *ret_seen = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (c == 'h') {
            *ret_help = true;
            continue;
        }
        if (c == 'V' || c == OPT_MAN || c == OPT_COMPLETION) {
            return print_and_end(c, optarg);
        }
        if (c == '?') {
            return mistake("%s: not an option, or its value is missing", argv[optind - 1]);
        }
        if (*ret_seen == MAX_SEEN) {
            return mistake("at most %d options are allowed", MAX_SEEN);
        }
        seen[(*ret_seen)++] = c;
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

// The command that these words name, and how many they are. NULL after a mistake was named.
static const struct command *find_command(int n, char **words, int *ret_words, struct options *o)
{
    char two[32];
    (void)snprintf(two, sizeof two, "%s %s", words[0], n > 1 ? words[1] : "");
    for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
        bool second = strcmp(two, commands[i].name) == 0;
        if (second || strcmp(words[0], commands[i].name) == 0) {
            *ret_words = second ? 2 : 1;
            return &commands[i];
        }
    }
    for (size_t i = 0; i < n_command_aliases; i++) {
        if (strcmp(words[0], command_aliases[i].name) == 0) {
            *ret_words = 1;
            o->follow = o->follow || command_aliases[i].follow;
            return &commands[command_aliases[i].command];
        }
    }
    size_t length = strlen(words[0]);
    for (size_t i = 0; i < TAP_N_COMMANDS; i++) {
        if (strncmp(commands[i].name, words[0], length) == 0 && commands[i].name[length] == ' ') {
            (void)mistake("%s %s: the word behind %s must be one of those in --help, such as "
                          "\"%s\"",
                          words[0], n > 1 ? words[1] : "", words[0], commands[i].name);
            return NULL;
        }
    }
    (void)unknown_command(words[0]);
    return NULL;
}

static void set_defaults(struct options *o)
{
    *o = (struct options){ .timeout_ms = TAP_TIMEOUT_MS,
                           .since_ms = -1,
                           .number = -1,
                           .limit = -1,
                           .color = wants_color(),
                           .style = { .max_body = -1 },
                           .interval_ms = 1000,
                           .ack_wait_ms = -1,
                           .max_deliveries = -1,
                           .backoff_ms = -1,
                           .backoff_max_ms = -1,
                           .max_pending = -1,
                           .size = 256,
                           .batch = 1,
                           .in_flight = 32 };
}

int options_parse(int argc, char **argv, struct options *ret_options)
{
    struct options *o = ret_options;
    int seen[MAX_SEEN], words;
    size_t n_seen;
    bool help = false;
    set_defaults(o);
    int status = parse_options(argc, argv, &n_seen, seen, &help, o);
    if (status >= 0) {
        return status;
    }
    if (optind < argc && strcmp(argv[optind], "help") == 0) {
        help = true;
        optind++;
    }
    if (optind == argc) {
        manual_help(help ? stdout : stderr);
        return help ? TAP_OK : TAP_USAGE;
    }
    const struct command *c = find_command(argc - optind, argv + optind, &words, o);
    if (!c) {
        return TAP_USAGE;
    }
    if (help) {
        manual_command(c, stdout);
        return TAP_OK;
    }
    o->command = (enum command_id)(c - commands);
    o->style.color = o->color;
    for (size_t k = 0; k < n_seen; k++) {
        if (!takes(o->command, seen[k])) {
            return mistake("%s takes no --%s", c->name, option_name(seen[k]));
        }
    }
    status = parse_operands(c, argc - optind - words, argv + optind + words, o);
    return status >= 0 ? status : check_together(c, o);
}
