// SPDX-License-Identifier: MIT
#include "deploy/alerts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *severity;
    int64_t hold_ms;
    const char *unit;
} conditions[ALERT_COUNT] = {
#define X(symbol, name, severity, hold_s, unit, sentence) { name, severity, 1000 * hold_s, unit },
    ALERTS(X)
#undef X
};

const char *alert_name(enum alert_condition condition)
{
    assert(condition < ALERT_COUNT);
    return conditions[condition].name;
}

const char *alert_severity(enum alert_condition condition)
{
    assert(condition < ALERT_COUNT);
    return conditions[condition].severity;
}

const char *alert_unit(enum alert_condition condition)
{
    assert(condition < ALERT_COUNT);
    return conditions[condition].unit;
}

void alert_summary(const struct alert *alert, char out[ALERTS_TEXT])
{
    assert(alert->condition < ALERT_COUNT);
    switch (alert->condition) {
#define X(symbol, name, severity, hold_s, unit, sentence)                                          \
    case ALERT_##symbol:                                                                           \
        (void)snprintf(out, ALERTS_TEXT, sentence, alert->subject);                                \
        break;
        ALERTS(X)
#undef X
    case ALERT_COUNT:
        break;
    }
}

void alerts_init(struct alerts *a, int64_t max_hold_ms,
                 void (*on_change)(const struct alert *alert, bool firing, void *data), void *data)
{
    *a = (struct alerts){ .max_hold_ms = max_hold_ms, .on_change = on_change, .data = data };
}

static struct alert *find(struct alerts *a, enum alert_condition condition, const char *subject)
{
    for (size_t i = 0; i < a->n; i++) {
        struct alert *alert = &a->active[i];
        if (alert->condition == condition && strcmp(alert->subject, subject) == 0) {
            return alert;
        }
    }
    return NULL;
}

void alerts_report(struct alerts *a, enum alert_condition condition, const char *subject,
                   int64_t value, int64_t now_ms, int64_t wall_ms)
{
    assert(condition < ALERT_COUNT);
    char name[ALERTS_SUBJECT];
    (void)snprintf(name, sizeof name, "%s", subject); // cut: then those that begin alike are one
    struct alert *alert = find(a, condition, name);
    if (!alert && a->n == ALERTS_MAX) {
        a->dropped++;
        return;
    }
    if (!alert) {
        alert = &a->active[a->n++];
        *alert = (struct alert){ .condition = condition, .began_ms = now_ms, .since_ms = wall_ms };
        memcpy(alert->subject, name, sizeof name);
    }
    alert->value = value;
    alert->reported = true;
}

static bool has_held(const struct alerts *a, const struct alert *alert, int64_t now_ms)
{
    int64_t hold_ms = conditions[alert->condition].hold_ms;
    return now_ms - alert->began_ms >= (hold_ms < a->max_hold_ms ? hold_ms : a->max_hold_ms);
}

void alerts_end_round(struct alerts *a, int64_t now_ms)
{
    for (size_t i = 0; i < a->n;) {
        struct alert *alert = &a->active[i];
        if (!alert->reported) {
            struct alert gone = *alert;
            memmove(alert, alert + 1, (--a->n - i) * sizeof *alert); // oldest first
            if (gone.firing) {
                a->on_change(&gone, false, a->data);
            }
            continue;
        }
        alert->reported = false;
        if (!alert->firing && has_held(a, alert, now_ms)) {
            alert->firing = true;
            a->on_change(alert, true, a->data);
        }
        i++;
    }
}

size_t alerts_firing(const struct alerts *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        n += a->active[i].firing;
    }
    return n;
}
