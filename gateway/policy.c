// SPDX-License-Identifier: MIT
#include "gateway/policy.h"

#include "gateway/hello_check.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

// --- Life

struct policy *policy_new(void)
{
    struct policy *p = calloc(1, sizeof *p);
    if (p) {
        p->references = 1;
        p->trace.all = true;
        arena_init(&p->memory, POLICY_MEMORY_BYTES);
    }
    return p;
}

void policy_unref(struct policy **policy)
{
    struct policy *p = *policy;
    *policy = NULL;
    if (!p) {
        return;
    }
    assert(p->references > 0);
    if (--p->references == 0) {
        arena_fini(&p->memory);
        free(p);
    }
}

// --- Sets of rules

// Takes the first rule out of a set that is not empty.
static size_t next_rule(uint64_t *rules)
{
    size_t i = (size_t)__builtin_ctzll(*rules);
    *rules &= *rules - 1;
    return i;
}

static bool path_matches(const struct policy_rule *rule, struct str pattern)
{
    struct str path = rule->path;
    if (!rule->below) {
        return pattern_same(path, pattern);
    }
    while (path.n && pattern.n) {
        bool a_parameter, b_parameter;
        struct str a = pattern_next(&path, &a_parameter), b = pattern_next(&pattern, &b_parameter);
        if (a_parameter != b_parameter || (!a_parameter && !str_eq(a, b))) {
            return false;
        }
    }
    return path.n == 0;
}

static void add_rule(struct route_policy *set, const struct policy_rule *rule, uint64_t bit)
{
    set->request_edits |= rule->request.n ? bit : 0;
    set->answer_edits |= rule->answer.n ? bit : 0;
    set->notices |= rule->notice.n ? bit : 0;
    set->masks |= rule->masked ? bit : 0;
    set->fields = set->fields || rule->fields;
    set->deprecated = set->deprecated || rule->deprecated;
}

size_t policy_bind(const struct policy *p, struct router *r)
{
    uint64_t matched = 0;
    r->policies++;
    for (size_t i = 0; i < r->n_routes; i++) {
        struct route *route = r->routes[i];
        route->policy = (struct route_policy){ 0 };
        for (size_t k = 0; p && k < p->n_rules; k++) {
            const struct policy_rule *rule = &p->rules[k];
            if ((rule->methods & 1U << route->method) &&
                path_matches(rule, str_of(route->pattern))) {
                add_rule(&route->policy, rule, UINT64_C(1) << k);
                matched |= route->live ? UINT64_C(1) << k : 0;
            }
        }
    }
    return p ? p->n_rules - (size_t)__builtin_popcountll(matched) : 0;
}

// --- Rewriting

static bool has_prefix(const struct target *t, const struct policy_rewrite *w)
{
    for (size_t i = 0; i < w->n_from; i++) {
        if (i >= t->n_segments || !str_eq(t->segments[i], w->from[i])) {
            return false;
        }
    }
    return true;
}

void policy_rewrite(const struct policy *p, struct target *t)
{
    const struct policy_rewrite *best = NULL;
    for (size_t i = 0; i < p->n_rewrites && t->n_segments <= HTTP_MAX_SEGMENTS; i++) {
        const struct policy_rewrite *w = &p->rewrites[i];
        if (has_prefix(t, w) && (!best || w->n_from > best->n_from)) {
            best = w;
        }
    }
    if (!best) {
        return;
    }
    size_t rest = t->n_segments - best->n_from;
    if (best->n_to + rest > HTTP_MAX_SEGMENTS) {
        t->n_segments = HTTP_MAX_SEGMENTS + 1; // longer than any route
        return;
    }
    memmove(t->segments + best->n_to, t->segments + best->n_from, rest * sizeof *t->segments);
    memcpy(t->segments, best->to, best->n_to * sizeof *t->segments);
    t->n_segments = best->n_to + rest;
    if (t->n_segments == 0) { // "/"
        t->segments[0] = STR("");
        t->n_segments = 1;
    }
}

bool policy_trusts(const struct policy_trust *t, const struct client_address *client)
{
    return t->all || (client->known && networks_have(t->networks, t->n_networks, client->bytes));
}

// --- Fields of requests

// The edits are gone through from the last one back: what would have to be there, and under which
// name, for this name to be there after them. `before` counts the edits of the last rule of the set
// that are still to be looked at.
struct str policy_request_field(const struct policy *p, uint64_t rules,
                                struct str (*field)(const void *request, struct str name),
                                const void *request, struct str name)
{
    while (rules) {
        size_t last = 63 - (size_t)__builtin_clzll(rules);
        const struct field_edits *e = &p->rules[last].request;
        rules &= ~(UINT64_C(1) << last);
        for (size_t i = e->n; i-- > 0;) {
            const struct field_edit *edit = &e->edits[i];
            if (edit->kind == FIELD_RENAME && str_eq(edit->value, name)) {
                // Names are edited once in a rule, so the old name is as it was before the rule.
                struct str value = policy_request_field(p, rules, field, request, edit->name);
                if (value.p) {
                    return value;
                }
            } else if (str_eq(edit->name, name)) {
                return edit->kind == FIELD_SET ? edit->value : (struct str){ NULL, 0 };
            }
        }
    }
    return field(request, name);
}

// --- Fields of answers

int policy_answer_field(const struct policy *p, uint64_t rules, struct str *name)
{
    int rc = 0;
    while (rules && rc == 0) {
        rc = field_edits_apply(&p->rules[next_rule(&rules)].answer, 0, name);
    }
    return rc;
}

void policy_answer_sets(const struct policy *p, uint64_t rules,
                        void (*write)(void *data, struct str name, struct str value), void *data)
{
    while (rules) {
        const struct field_edits *e = &p->rules[next_rule(&rules)].answer;
        for (size_t i = 0; i < e->n; i++) {
            struct str name = e->edits[i].name;
            if (e->edits[i].kind == FIELD_SET && field_edits_apply(e, i + 1, &name) == 0 &&
                policy_answer_field(p, rules, &name) == 0) {
                write(data, name, e->edits[i].value);
            }
        }
    }
}

// --- Masks

uint64_t policy_masks(const struct policy *p, uint64_t rules, struct str role)
{
    uint64_t active = rules;
    while (rules) {
        size_t i = next_rule(&rules);
        const struct policy_rule *rule = &p->rules[i];
        for (size_t k = 0; k < rule->n_roles; k++) {
            if (role.n && str_eq(rule->roles[k], role)) {
                active &= ~(UINT64_C(1) << i);
            }
        }
    }
    return active;
}
