// SPDX-License-Identifier: MIT
#include "deploy/scaling.h"

#include <assert.h>
#include <stddef.h>

static const char *const names[] = {
#define X(symbol, name) name,
    SCALING_REASONS(X)
#undef X
};

const char *scaling_reason_name(enum scaling_reason reason)
{
    assert(reason < SCALING_REASON_COUNT);
    return names[reason];
}

const char *scaling_reason_unit(enum scaling_reason reason)
{
    return reason == SCALING_UTILISATION || reason == SCALING_CPU ? "%"
           : reason == SCALING_WAIT || reason == SCALING_LATENCY  ? "ms"
           : reason == SCALING_LAG                                ? "events"
                                                                  : "";
}

bool scaling_rule_equal(const struct scaling_rule *a, const struct scaling_rule *b)
{
    _Static_assert(sizeof *a == 12 * sizeof a->min, "a member more is compared below, too");
    return a->on == b->on && a->min == b->min && a->max == b->max &&
           a->utilisation == b->utilisation && a->cpu == b->cpu && a->wait_ms == b->wait_ms &&
           a->latency_ms == b->latency_ms && a->lag == b->lag && a->step == b->step &&
           a->cooldown_up_ms == b->cooldown_up_ms && a->cooldown_down_ms == b->cooldown_down_ms &&
           a->idle_ms == b->idle_ms;
}

// One target, and what is measured of it.
struct measure {
    enum scaling_reason reason;
    int64_t value, target;
    bool shared; // more processes make it less for each: one less makes it more
};

#define MEASURES 5

// What waits at gateways belongs to the work there is, as what is at workers: so the utilisation
// may be above 100 %.
static int64_t utilisation(const struct scaling_input *in)
{
    return in->capacity > 0 ? (in->in_flight + in->waiting) * 100 / in->capacity : 0;
}

static void measure(const struct scaling_rule *rule, const struct scaling_input *in,
                    struct measure out[MEASURES])
{
    const struct measure all[MEASURES] = {
        { SCALING_UTILISATION, utilisation(in), rule->utilisation, true },
        { SCALING_CPU, in->cpu, rule->cpu, true },
        { SCALING_WAIT, in->wait_ms, rule->wait_ms, false },
        { SCALING_LATENCY, in->latency_ms, rule->latency_ms, false },
        { SCALING_LAG, in->lag, rule->lag, false },
    };
    for (size_t i = 0; i < MEASURES; i++) {
        out[i] = all[i];
    }
}

// The first target that is exceeded; NULL: none is.
static const struct measure *find_exceeded(const struct measure m[MEASURES])
{
    for (size_t i = 0; i < MEASURES; i++) {
        if (m[i].target > 0 && m[i].value > m[i].target) {
            return &m[i];
        }
    }
    return NULL;
}

// Whether one process less would be well within every target.
static bool is_calm(const struct scaling_input *in, const struct measure m[MEASURES])
{
    for (size_t i = 0; i < MEASURES; i++) {
        int64_t after =
            m[i].shared && in->count > 1 ? m[i].value * in->count / (in->count - 1) : m[i].value;
        if (m[i].target > 0 && after * 100 > m[i].target * SCALING_CALM_PERCENT) {
            return false;
        }
    }
    return true;
}

static bool is_idle(const struct scaling_input *in)
{
    return !in->active && !in->demanded && in->in_flight == 0 && in->waiting == 0 && in->lag == 0;
}

// Begins, goes on with or ends a time during which something holds.
static void track(int64_t *since_ms, bool holds, int64_t now_ms)
{
    *since_ms = !holds ? -1 : *since_ms < 0 ? now_ms : *since_ms;
}

static bool lasts(int64_t since_ms, int64_t for_ms, int64_t now_ms)
{
    return since_ms >= 0 && now_ms - since_ms >= for_ms;
}

static struct scaling_decision hold(const struct scaling_input *in, enum scaling_reason reason)
{
    return (struct scaling_decision){ in->count, reason, 0, 0 };
}

static struct scaling_decision change(struct scaling_state *s, const struct scaling_input *in,
                                      int64_t count, const struct measure *why)
{
    s->changed_ms = in->now_ms;
    s->over = 0;
    s->calm_ms = s->idle_ms = -1;
    return (struct scaling_decision){ count, why->reason, why->value, why->target };
}

static struct scaling_decision change_for(struct scaling_state *s, const struct scaling_input *in,
                                          int64_t count, enum scaling_reason reason)
{
    const struct measure why = { .reason = reason };
    return change(s, in, count, &why);
}

// Processes that bring what is shared back to its target. Those that are just starting are not
// measured yet and will take their part.
static int64_t fitting(const struct scaling_input *in, const struct measure *why)
{
    return why->shared ? (in->sampled * why->value + why->target - 1) / why->target : in->count + 1;
}

static struct scaling_decision grow(const struct scaling_rule *rule, struct scaling_state *s,
                                    const struct scaling_input *in, const struct measure *why)
{
    if (s->over < SCALING_OVER_SAMPLES) {
        return hold(in, SCALING_STEADY);
    }
    if (in->count >= rule->max) {
        return (struct scaling_decision){ in->count, SCALING_AT_MAX, why->value, why->target };
    }
    int64_t wanted = fitting(in, why);
    if (wanted <= in->count || in->now_ms - s->changed_ms < rule->cooldown_up_ms) {
        return (struct scaling_decision){ in->count, SCALING_COOLING, why->value, why->target };
    }
    wanted = wanted > in->count + rule->step ? in->count + rule->step : wanted;
    return change(s, in, wanted > rule->max ? rule->max : wanted, why);
}

static struct scaling_decision shrink(const struct scaling_rule *rule, struct scaling_state *s,
                                      const struct scaling_input *in)
{
    int64_t least = rule->min > 0 ? rule->min : 1;
    if (in->count > least && lasts(s->calm_ms, rule->cooldown_down_ms, in->now_ms)) {
        return change_for(s, in, in->count - 1, SCALING_CALM);
    }
    if (rule->min == 0 && in->count == 1 && lasts(s->idle_ms, rule->idle_ms, in->now_ms)) {
        return change_for(s, in, 0, SCALING_IDLE);
    }
    return hold(in, SCALING_STEADY);
}

struct scaling_decision scaling_decide(const struct scaling_rule *rule, struct scaling_state *s,
                                       const struct scaling_input *in)
{
    assert(rule->on && rule->max >= rule->min && rule->max > 0);
    if (!s->began) {
        *s = (struct scaling_state){ .began = true,
                                     .changed_ms = in->now_ms - rule->cooldown_up_ms,
                                     .calm_ms = -1,
                                     .idle_ms = -1 };
    }
    if (in->count < rule->min) {
        return change_for(s, in, rule->min, SCALING_MINIMUM);
    }
    if (in->count > rule->max) {
        return change_for(s, in, rule->max, SCALING_MAXIMUM);
    }
    if (in->count == 0) {
        return is_idle(in) ? hold(in, SCALING_STEADY) : change_for(s, in, 1, SCALING_DEMAND);
    }
    if (in->sampled == 0) {
        s->over = 0;
        s->calm_ms = s->idle_ms = -1;
        return hold(in, SCALING_UNKNOWN);
    }
    struct measure m[MEASURES];
    measure(rule, in, m);
    const struct measure *exceeded = find_exceeded(m);
    s->over = exceeded ? s->over + 1 : 0;
    track(&s->calm_ms, !exceeded && is_calm(in, m), in->now_ms);
    track(&s->idle_ms, is_idle(in), in->now_ms);
    return exceeded ? grow(rule, s, in, exceeded) : shrink(rule, s, in);
}
