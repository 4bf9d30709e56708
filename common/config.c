// SPDX-License-Identifier: MIT
#include "common/config.h"

#include "common/file.h"
#include "proto/buf.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

// Longest part of a wrong value that an error repeats.
#define SHOWN_BYTES 60

struct unit {
    const char *name;
    int64_t factor;
};

// Largest first, for printing; every name is tried when parsing.
static const struct unit duration_units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 },
                                              { "s", 1000 },     { "ms", 1 },      { NULL, 0 } };
static const struct unit byte_units[] = {
    { "GiB", INT64_C(1) << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 }, { "", 1 }, { NULL, 0 }
};

// The units of a kind; NULL for kinds without.
static const struct unit *units_of(enum config_kind kind)
{
    return kind == CONFIG_DURATION ? duration_units : kind == CONFIG_BYTES ? byte_units : NULL;
}

static bool is_text(enum config_kind kind)
{
    return kind == CONFIG_STRING || kind == CONFIG_CHOICE || kind == CONFIG_SECRET;
}

// --- Parsing

// Reads decimal digits at *text, at least one, and moves *text behind them.
static int parse_digits(const char **text, int64_t *ret_value)
{
    int64_t value = 0;
    const char *p = *text;
    if (*p < '0' || *p > '9') {
        return -EINVAL;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *p - '0', &value)) {
            return -ERANGE;
        }
    }
    *text = p;
    *ret_value = value;
    return 0;
}

static int parse_integer(const char *text, int64_t *ret_value)
{
    bool negative = *text == '-';
    text += negative;
    int64_t value;
    int r = parse_digits(&text, &value);
    if (r < 0) {
        return r;
    }
    if (*text != '\0') {
        return -EINVAL;
    }
    *ret_value = negative ? -value : value;
    return 0;
}

static int parse_boolean(const char *text, int64_t *ret_value)
{
    static const char *const words[][2] = {
        { "false", "true" }, { "0", "1" }, { "no", "yes" }, { "off", "on" }
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (int value = 0; value < 2; value++) {
            if (strcmp(text, words[i][value]) == 0) {
                *ret_value = value;
                return 0;
            }
        }
    }
    return -EINVAL;
}

static int parse_with_unit(const struct unit *units, const char *text, int64_t *ret_value)
{
    int64_t value;
    int r = parse_digits(&text, &value);
    if (r < 0) {
        return r;
    }
    for (const struct unit *unit = units; unit->name; unit++) {
        if (strcmp(text, unit->name) == 0) {
            if (__builtin_mul_overflow(value, unit->factor, &value)) {
                return -ERANGE;
            }
            *ret_value = value;
            return 0;
        }
    }
    return -EINVAL;
}

int config_parse_number(enum config_kind kind, const char *text, int64_t *ret_value)
{
    assert(!is_text(kind));
    switch (kind) {
    case CONFIG_INTEGER:
        return parse_integer(text, ret_value);
    case CONFIG_BOOLEAN:
        return parse_boolean(text, ret_value);
    default:
        return parse_with_unit(units_of(kind), text, ret_value);
    }
}

static bool is_choice(const char *choices, struct str value)
{
    for (const char *p = choices;;) {
        size_t n = strcspn(p, "|");
        if (str_eq((struct str){ p, n }, value)) {
            return true;
        }
        if (p[n] == '\0') {
            return false;
        }
        p += n + 1;
    }
}

// --- Saying what is allowed

// A number as one would write it: the largest unit that divides it.
static void print_number(struct buf *b, const struct config_option *o, int64_t value)
{
    const struct unit *unit = units_of(o->kind);
    if (!unit) {
        buf_printf(b, "%" PRId64, value);
        return;
    }
    while (unit->factor > 1 && (value == 0 || value % unit->factor != 0)) {
        unit++;
    }
    buf_printf(b, "%" PRId64 "%s", value / unit->factor, unit->name);
}

static void print_limits(struct buf *b, const struct config_option *o)
{
    if (o->min == 0 && o->max == 0) {
        return;
    }
    buf_append_z(b, is_text(o->kind) ? " of " : " from ");
    print_number(b, o, o->min);
    buf_append_z(b, " to ");
    print_number(b, o, o->max);
    buf_append_z(b, is_text(o->kind) ? " bytes" : "");
}

static void print_choices(struct buf *b, const char *choices)
{
    buf_append_z(b, "one of ");
    for (const char *p = choices; *p; p++) {
        if (*p == '|') {
            buf_append_z(b, ", ");
        } else {
            buf_append_char(b, *p);
        }
    }
}

// "an integer from 1 to 65535"
static void print_allowed(struct buf *b, const struct config_option *o)
{
    switch (o->kind) {
    case CONFIG_STRING:
    case CONFIG_SECRET:
        buf_append_z(b, "text");
        break;
    case CONFIG_INTEGER:
        buf_append_z(b, "an integer");
        break;
    case CONFIG_BOOLEAN:
        buf_append_z(b, "true or false");
        break;
    case CONFIG_DURATION:
        buf_append_z(b, "a duration (250ms, 10s, 5m, 24h, 7d)");
        break;
    case CONFIG_BYTES:
        buf_append_z(b, "a size (512, 64KiB, 1MiB, 2GiB)");
        break;
    case CONFIG_CHOICE:
        print_choices(b, o->choices);
        return;
    }
    print_limits(b, o);
}

// --- Loading

// One option on its way into the config struct.
struct loading {
    const struct config_option *option;
    void *slot;        // of the option, in the config struct
    struct buf *error; // the line to print
};

// Begins the line: the variable, and what it is set to.
static void name_value(struct buf *b, const char *variable, const char *value)
{
    size_t n = strlen(value);
    buf_printf(b, "%s is \"", variable);
    buf_append_json(b, (struct str){ value, n < SHOWN_BYTES ? n : SHOWN_BYTES });
    buf_append_z(b, n <= SHOWN_BYTES ? "\"" : "...\"");
}

static int refuse(struct loading *l, const char *value, const char *why)
{
    struct buf *b = l->error;
    if (l->option->kind == CONFIG_SECRET) {
        buf_printf(b, "%s (a secret)", l->option->name);
    } else {
        name_value(b, l->option->name, value);
    }
    buf_append_z(b, why);
    buf_append_z(b, "; allowed: ");
    print_allowed(b, l->option);
    return -EINVAL;
}

static bool within(const struct config_option *o, int64_t value)
{
    return (o->min == 0 && o->max == 0) || (value >= o->min && value <= o->max);
}

// They are never meant, and would break lines of errors and logs that show the value.
static bool has_control_characters(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7F) {
            return true;
        }
    }
    return false;
}

static int set_text(struct loading *l, struct str value)
{
    const struct config_option *o = l->option;
    // A value from a file may contain a NUL; from there on it would be silently cut.
    if (value.n > 0 && memchr(value.p, '\0', value.n)) {
        return refuse(l, "", " contains a NUL byte");
    }
    if (o->kind == CONFIG_STRING && has_control_characters(value)) {
        return refuse(l, value.p, ", with a control character");
    }
    char *copy = strndup(value.n ? value.p : "", value.n);
    if (!copy) {
        buf_printf(l->error, "%s: no memory", o->name);
        return -ENOMEM;
    }
    int r = 0;
    if (o->kind == CONFIG_CHOICE && !is_choice(o->choices, value)) {
        r = refuse(l, copy, "");
    } else if (!within(o, (int64_t)value.n)) {
        r = refuse(l, copy, value.n < (size_t)o->min ? ", too short" : ", too long");
    }
    if (r < 0) {
        free(copy);
        return r;
    }
    *(char **)l->slot = copy;
    return 0;
}

static int set_number(struct loading *l, const char *text)
{
    int64_t value;
    int r = config_parse_number(l->option->kind, text, &value);
    if (r == -EINVAL) {
        return refuse(l, text, "");
    }
    if (r == -ERANGE || !within(l->option, value)) {
        return refuse(l, text, ", out of range");
    }
    *(int64_t *)l->slot = value;
    return 0;
}

static int set_from_file(struct loading *l, const char *variable, const char *path)
{
    struct buf content;
    buf_init(&content, CONFIG_FILE_BYTES);
    int r = file_read(path, CONFIG_FILE_BYTES, &content);
    if (r < 0) {
        name_value(l->error, variable, path);
        buf_printf(l->error, ", a file that cannot be read: %s", strerror(-r));
        bool passes = r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EIO;
        r = passes ? r : -EINVAL;
    } else {
        struct str value = buf_str(&content);
        if (value.n > 0 && value.p[value.n - 1] == '\n') {
            value.n--;
        }
        r = set_text(l, value);
    }
    if (content.data) {
        explicit_bzero(content.data, content.cap);
    }
    buf_fini(&content);
    return r;
}

// The value of a variable; NULL when it is not set or empty.
static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

#define FILE_NAME_SIZE 128

// Of the variable that has the path of a secret's file.
static void name_of_file(const struct config_option *o, char out[FILE_NAME_SIZE])
{
    int n = snprintf(out, FILE_NAME_SIZE, "%s_FILE", o->name);
    assert(n > 0 && n < FILE_NAME_SIZE);
}

static int load_option(struct loading *l)
{
    const struct config_option *o = l->option;
    const char *value = environment(o->name);
    if (o->kind == CONFIG_SECRET) {
        char file_name[FILE_NAME_SIZE];
        name_of_file(o, file_name);
        const char *path = environment(file_name);
        if (path && value) {
            buf_printf(l->error, "%s and %s are both set; allowed: one of them", o->name,
                       file_name);
            return -EINVAL;
        }
        if (path) {
            return set_from_file(l, file_name, path);
        }
    }
    value = value ? value : o->fallback;
    if (!value) {
        return 0;
    }
    return is_text(o->kind) ? set_text(l, str_of(value)) : set_number(l, value);
}

int config_load(const struct config_option *table, void *config, char error[CONFIG_ERROR_SIZE])
{
    struct buf line;
    buf_init(&line, CONFIG_ERROR_SIZE - 1);
    int r = 0;
    for (const struct config_option *o = table; o->name && r == 0; o++) {
        struct loading l = { .option = o, .slot = (char *)config + o->offset, .error = &line };
        r = load_option(&l);
    }
    snprintf(error, CONFIG_ERROR_SIZE, "%.*s", STR_ARG(buf_str(&line)));
    buf_fini(&line);
    return r;
}

void config_forget_secrets(const struct config_option *table)
{
    for (const struct config_option *o = table; o->name; o++) {
        char *value = o->kind == CONFIG_SECRET ? getenv(o->name) : NULL;
        if (value) {
            explicit_bzero(value, strlen(value)); // unsetenv() only forgets where it is
            (void)unsetenv(o->name);              // fails only for a name with '='
        }
    }
}

void config_free(const struct config_option *table, void *config)
{
    for (const struct config_option *o = table; o->name; o++) {
        if (is_text(o->kind)) {
            char **slot = (char **)((char *)config + o->offset);
            if (o->kind == CONFIG_SECRET && *slot) {
                explicit_bzero(*slot, strlen(*slot));
            }
            free(*slot);
            *slot = NULL;
        }
    }
}

// --- Printing

static const char *source_of(const struct config_option *o)
{
    char file_name[FILE_NAME_SIZE];
    if (environment(o->name)) {
        return "environment";
    }
    name_of_file(o, file_name);
    return o->kind == CONFIG_SECRET && environment(file_name) ? "file" : "default";
}

static void print_value(const struct config_option *o, const void *slot, struct buf *out)
{
    if (o->kind == CONFIG_SECRET) {
        buf_printf(out, "\"secret\":true,\"set\":%s", *(char *const *)slot ? "true" : "false");
    } else if (is_text(o->kind) && !*(char *const *)slot) {
        buf_append_z(out, "\"value\":null");
    } else {
        buf_append_z(out, "\"value\":\"");
        if (is_text(o->kind)) {
            buf_append_json(out, str_of(*(char *const *)slot));
        } else if (o->kind == CONFIG_BOOLEAN) {
            buf_append_z(out, *(const int64_t *)slot ? "true" : "false");
        } else {
            print_number(out, o, *(const int64_t *)slot);
        }
        buf_append_char(out, '"');
    }
}

void config_print(const struct config_option *table, const void *config, struct buf *out)
{
    buf_append_char(out, '[');
    for (const struct config_option *o = table; o->name; o++) {
        buf_printf(out, "%s\n{\"name\":\"%s\",", o == table ? "" : ",", o->name);
        print_value(o, (const char *)config + o->offset, out);
        buf_printf(out, ",\"source\":\"%s\"}", source_of(o));
    }
    buf_append_z(out, "\n]\n");
}

void config_describe(const struct config_option *option, struct buf *text)
{
    print_allowed(text, option);
    if (option->flag) {
        buf_printf(text, ", or %s for true", option->flag);
    }
    if (option->fallback && *option->fallback) {
        buf_printf(text, "; default: %s", option->fallback);
    }
}

void config_help(const struct config_option *table, FILE *out)
{
    fputs("Environment:\n", out);
    for (const struct config_option *o = table; o->name; o++) {
        struct buf values;
        buf_init(&values, CONFIG_ERROR_SIZE);
        config_describe(o, &values);
        fprintf(out, "  %s%s\n      %s\n", o->name,
                o->kind == CONFIG_SECRET ? ", or a file's path in the same name with _FILE" : "",
                o->help);
        fprintf(out, "      %.*s\n", STR_ARG(buf_str(&values)));
        buf_fini(&values);
    }
}
