// SPDX-License-Identifier: MIT
// Times contain colons too, so a time is taken from the front by its form, not by looking for the
// separator.
#include "services/tap/range.h"

#include <errno.h>
#include <stdio.h>

#include "common/config.h"
#include "proto/timestamp.h"

#define MAX_TIME_TEXT 48

static size_t digits(const char *p)
{
    size_t n = 0;
    while (p[n] >= '0' && p[n] <= '9') {
        n++;
    }
    return n;
}

static int number(const char **p, uint64_t *ret)
{
    size_t n = digits(*p);
    uint64_t v = 0;
    if (n == 0 || n > 19) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        v = v * 10 + (uint64_t)((*p)[i] - '0');
    }
    *p += n;
    *ret = v;
    return 0;
}

// Length of "5m", "1h30m"-less: digits and a unit. 0: none is there.
static size_t duration_length(const char *p)
{
    size_t n = digits(p), unit = n ? strspn(p + n, "mshd") : 0;
    return unit ? n + unit : 0;
}

static int duration(const char *p, size_t n, int64_t *ret_ms)
{
    char text[MAX_TIME_TEXT];
    if (n == 0 || n >= sizeof text) {
        return -EINVAL;
    }
    (void)snprintf(text, sizeof text, "%.*s", (int)n, p);
    return config_parse_number(CONFIG_DURATION, text, ret_ms);
}

// Length of a date, or a date and time with its zone, at p: "2026-11-23T10:00:00.5+01:00".
static size_t date_length(const char *p)
{
    if (digits(p) != 4 || p[4] != '-' || strlen(p) < 10) {
        return 0;
    }
    size_t n = 10;
    if (p[n] != 'T' && p[n] != 't') {
        return n;
    }
    n++;
    while (digits(p + n) == 2 && n < 19) { // HH, MM, SS
        n += 2;
        if (p[n] != ':' || digits(p + n + 1) != 2 || n >= 19) {
            break;
        }
        n++;
    }
    if (p[n] == '.') {
        n += 1 + digits(p + n + 1);
    }
    if (p[n] == 'Z' || p[n] == 'z') {
        return n + 1;
    }
    bool zone = (p[n] == '+' || p[n] == '-') && digits(p + n + 1) == 2 && p[n + 3] == ':';
    return zone ? n + 6 : n;
}

// Completes what people leave out: the time of day, the seconds, the zone.
static int parse_date(const char *p, size_t n, int64_t *ret_ms)
{
    char text[MAX_TIME_TEXT];
    if (n < 10 || n > 35) {
        return -EINVAL;
    }
    const char *rest = n == 10 ? "T00:00:00Z" : n == 16 ? ":00Z" : n == 19 ? "Z" : "";
    if (n == 17) { // ends in Z after the minutes
        (void)snprintf(text, sizeof text, "%.16s:00Z", p);
    } else {
        (void)snprintf(text, sizeof text, "%.*s%s", (int)n, p, rest);
    }
    return timestamp_parse(str_of(text), ret_ms);
}

// Takes a time from the front of *p.
static int take_time(const char **p, int64_t now_ms, int64_t *ret_ms)
{
    int64_t ago;
    size_t n;
    if (strncmp(*p, "now", 3) == 0) {
        *ret_ms = now_ms;
        *p += 3;
        return 0;
    }
    if (**p == '-') {
        n = duration_length(*p + 1);
        if (duration(*p + 1, n, &ago)) {
            return -EINVAL;
        }
        *ret_ms = now_ms - ago;
        *p += 1 + n;
        return 0;
    }
    n = date_length(*p);
    if (parse_date(*p, n, ret_ms)) {
        return -EINVAL;
    }
    *p += n;
    return 0;
}

int range_time(struct str text, int64_t now_ms, int64_t *ret_ms)
{
    char copy[MAX_TIME_TEXT];
    int64_t ago;
    if (text.n == 0 || text.n >= sizeof copy) {
        return -EINVAL;
    }
    (void)snprintf(copy, sizeof copy, "%.*s", STR_ARG(text));
    const char *p = copy;
    if (duration_length(copy) == text.n && duration(copy, text.n, &ago) == 0) {
        *ret_ms = now_ms - ago;
        return 0;
    }
    return take_time(&p, now_ms, ret_ms) || *p ? -EINVAL : 0;
}

static int take_start(const char **p, int64_t now_ms, struct range *r, const char **ret_mistake)
{
    int64_t ms;
    if (**p == '@') {
        (*p)++;
        if (take_time(p, now_ms, &ms) || ms < 0) {
            *ret_mistake = "behind @ there must be a time: 2026-11-23T10:00Z, -1h or now";
            return -EINVAL;
        }
        r->from = QUEUE_FROM_TIME;
        r->value = (uint64_t)ms;
        return 0;
    }
    if (**p == '-') {
        (*p)++;
        r->from = QUEUE_FROM_LAST;
        *ret_mistake = "behind - there must be a number of events";
        return number(p, &r->value);
    }
    if (**p == ':' || **p == '\0') {
        r->from = QUEUE_FROM_START;
        return 0;
    }
    r->from = QUEUE_FROM_SEQ;
    *ret_mistake = "a range begins with a sequence, -COUNT, @TIME or nothing";
    return number(p, &r->value);
}

static void end_at_time(struct range *r, int64_t ms)
{
    r->empty = ms <= 0 || (r->from == QUEUE_FROM_TIME && (uint64_t)ms <= r->value);
    r->until_ms = r->empty ? 0 : (uint64_t)ms - 1;
}

static int take_end(const char **p, int64_t now_ms, struct range *r, const char **ret_mistake)
{
    int64_t ms;
    uint64_t seq;
    size_t n = duration_length(*p);
    *ret_mistake = "a range ends with a sequence, a time, a length such as 5m, or end";
    if (**p == '\0' || strcmp(*p, "end") == 0) {
        *p += strlen(*p);
        return 0;
    }
    bool at = **p == '@';
    *p += at;
    if (!at && n && (*p)[n] == '\0') {
        if (r->from != QUEUE_FROM_TIME) {
            *ret_mistake = "a length needs a time to begin with: @-1h:5m";
            return -EINVAL;
        }
        int rc = duration(*p, n, &ms);
        *p += n;
        end_at_time(r, rc ? 1 : (int64_t)r->value + ms);
        return rc;
    }
    if (!at && digits(*p) == strlen(*p)) {
        int rc = number(p, &seq);
        r->empty = !rc && (seq <= 1 || (r->from == QUEUE_FROM_SEQ && seq <= r->value));
        r->until_seq = rc || r->empty ? 0 : seq - 1;
        return rc;
    }
    int rc = take_time(p, now_ms, &ms);
    if (!rc) {
        end_at_time(r, ms);
    }
    return rc;
}

int range_parse(const char *text, int64_t now_ms, struct range *ret_range, const char **ret_mistake)
{
    struct range r = { 0 };
    const char *p = text;
    int rc = take_start(&p, now_ms, &r, ret_mistake);
    if (!rc && *p == ':') {
        p++;
        rc = take_end(&p, now_ms, &r, ret_mistake);
    }
    if (!rc && *p) {
        *ret_mistake = "there is something behind the range";
        rc = -EINVAL;
    }
    if (!rc) {
        *ret_range = r;
    }
    return rc;
}
