// SPDX-License-Identifier: MIT
#include "services/queue/retention.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/config.h"

#define FORM "rules are FILTER:age=7d,count=1000,bytes=1GiB with one or more limits, joined by ;"

struct parse {
    struct retention *r;
    char *error;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct parse *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->error, RETENTION_ERROR_SIZE, format, args); // a cut sentence is enough
    va_end(args);
    return -EINVAL;
}

// Takes the part before a separator off *rest, which ends the part there.
static char *next_part(char **rest, char separator)
{
    char *part = *rest, *end = strchr(part, separator);
    if (end) {
        *end = 0;
    }
    *rest = end ? end + 1 : NULL;
    return part;
}

// A limit like age=7d.
static int parse_limit(struct parse *p, struct retention_rule *rule, char *text, unsigned *seen)
{
    static const struct {
        const char *name, *allowed;
        enum config_kind kind;
    } kinds[] = { { "age", "a duration like 12h or 7d", CONFIG_DURATION },
                  { "count", "a number of events", CONFIG_INTEGER },
                  { "bytes", "a size like 512MiB or 1GiB", CONFIG_BYTES } };
    char *value = text, *name = next_part(&value, '=');
    size_t kind = 0;
    int64_t number;
    while (kind < 3 && strcmp(name, kinds[kind].name) != 0) {
        kind++;
    }
    if (kind == 3 || !value) {
        return refuse(p, "rule \"%.*s\": \"%s\" is no limit; " FORM, STR_ARG(rule->filter), name);
    }
    if (*seen & 1U << kind) {
        return refuse(p, "rule \"%.*s\": %s is there twice", STR_ARG(rule->filter), name);
    }
    *seen |= 1U << kind;
    if (strcmp(value, "0") == 0) {
        number = 0;
    } else if (config_parse_number(kinds[kind].kind, value, &number) || number < 0) {
        return refuse(p, "rule \"%.*s\": %s=%s: it must be %s, or 0 for no limit",
                      STR_ARG(rule->filter), name, value, kinds[kind].allowed);
    }
    if (kind == 0) {
        rule->limits.age_ms = number;
    } else {
        *(kind == 1 ? &rule->limits.count : &rule->limits.bytes) = (uint64_t)number;
    }
    return 0;
}

static int parse_rule(struct parse *p, char *text)
{
    struct retention *r = p->r;
    if (r->n_rules == RETENTION_MAX_RULES) {
        return refuse(p, "there are more than %d rules", RETENTION_MAX_RULES);
    }
    struct retention_rule *rule = &r->rules[r->n_rules];
    char *limits = text;
    rule->filter = str_of(next_part(&limits, ':'));
    rule->limits = r->general;
    if (!topic_filter_valid(rule->filter)) {
        return refuse(p,
                      "rule \"%.*s\" does not begin with a topic, in which * may stand for a word "
                      "and a last > for the rest; " FORM,
                      STR_ARG(rule->filter));
    }
    if (!limits) {
        return refuse(p, "rule \"%.*s\" has no limits; " FORM, STR_ARG(rule->filter));
    }
    for (size_t i = 0; i < r->n_rules; i++) {
        if (str_eq(r->rules[i].filter, rule->filter)) {
            return refuse(p, "rule \"%.*s\" is there twice", STR_ARG(rule->filter));
        }
    }
    unsigned seen = 0;
    int status = 0;
    while (status == 0 && limits) {
        status = parse_limit(p, rule, next_part(&limits, ','), &seen);
    }
    r->n_rules += status == 0;
    return status;
}

int retention_init(struct retention *r, const struct retention_limits *general, const char *text,
                   char error[RETENTION_ERROR_SIZE])
{
    struct parse p = { r, error };
    *r = (struct retention){ .general = *general };
    error[0] = 0;
    if (!text) {
        return 0;
    }
    r->text = strdup(text);
    if (!r->text) {
        (void)refuse(&p, "out of memory");
        return -ENOMEM;
    }
    int status = 0;
    for (char *rest = r->text; status == 0 && rest;) {
        status = parse_rule(&p, next_part(&rest, ';'));
    }
    if (status) {
        retention_fini(r);
    }
    return status;
}

void retention_fini(struct retention *r)
{
    free(r->text);
    *r = (struct retention){ 0 };
}

size_t retention_rule_of(const struct retention *r, struct str topic)
{
    size_t i = 0;
    while (i < r->n_rules && !topic_matches(r->rules[i].filter, topic)) {
        i++;
    }
    return i;
}

const struct retention_limits *retention_limits(const struct retention *r, size_t rule)
{
    assert(rule <= r->n_rules);
    return rule < r->n_rules ? &r->rules[rule].limits : &r->general;
}
