// SPDX-License-Identifier: MIT
#include "tests/load/ledger.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int ledger_init(struct ledger *l, const struct plan *plan, FILE *lines)
{
    double seconds = 0;
    for (size_t i = 0; i < plan->n_phases; i++) {
        seconds += plan->phases[i].seconds;
    }
    seconds += (double)plan->timeout_us / 1e6 * (plan->retries + 1) + 60;
    memset(l, 0, sizeof *l);
    l->plan = plan;
    l->lines = lines;
    l->n_slices = (size_t)(seconds * 1e6 / LEDGER_SLICE_US) + 1;
    l->cells = calloc(plan->n_phases * plan->n_requests, sizeof *l->cells);
    l->slices = calloc(l->n_slices, sizeof *l->slices);
    return l->cells && l->slices ? 0 : -1;
}

void ledger_fini(struct ledger *l)
{
    for (size_t i = 0; l->cells && i < l->plan->n_phases * l->plan->n_requests; i++) {
        free(l->cells[i].good.us);
        free(l->cells[i].admitted.us);
        free(l->cells[i].refused.us);
    }
    free(l->cells);
    free(l->slices);
}

static struct ledger_cell *cell_of(struct ledger *l, size_t phase, size_t kind)
{
    return &l->cells[phase * l->plan->n_requests + kind];
}

static struct ledger_slice *slice_at(struct ledger *l, int64_t us)
{
    size_t i = us < 0 ? 0 : (size_t)(us / LEDGER_SLICE_US);
    return &l->slices[i < l->n_slices ? i : l->n_slices - 1];
}

static void add_sample(struct samples *s, int64_t us)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 1024;
        uint32_t *grown = reallocarray(s->us, cap, sizeof *grown);
        if (!grown) {
            return; // the counts stay right
        }
        s->us = grown;
        s->cap = cap;
    }
    s->us[s->n++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static bool is_good(int end)
{
    return end >= 200 && end < 300;
}

void ledger_planned(struct ledger *l, size_t phase, size_t kind, int64_t planned_us)
{
    cell_of(l, phase, kind)->planned++;
    slice_at(l, planned_us)->planned[kind]++;
}

void ledger_attempt(struct ledger *l, size_t phase, size_t kind, int end, int64_t took_us)
{
    struct ledger_cell *c = cell_of(l, phase, kind);
    c->attempts[end]++;
    if (is_good(end)) {
        add_sample(&c->admitted, took_us);
    } else if (end == 503 || end == 429) {
        add_sample(&c->refused, took_us);
    }
}

static void end_text(int end, char text[16])
{
    if (end >= 100) {
        (void)snprintf(text, 16, "%d", end);
        return;
    }
    static const char *const names[] = { "?", "timeout", "closed", "unconnected" };
    (void)snprintf(text, 16, "%s", names[end <= END_UNCONNECTED ? end : 0]);
}

void ledger_request(struct ledger *l, const struct ledger_request *r)
{
    struct ledger_cell *c = cell_of(l, r->phase, r->kind);
    c->outcomes[r->end]++;
    if (is_good(r->end)) {
        add_sample(&c->good, r->ended_us - r->planned_us);
        slice_at(l, r->ended_us)->good[r->kind]++;
    }
    if (l->lines && !l->plan->requests[r->kind].unlisted) {
        char text[16];
        end_text(r->end, text);
        (void)fprintf(l->lines, "%s %s %" PRIu64 " %s %d %" PRId64 " %" PRId64 " %s\n",
                      l->plan->phases[r->phase].name, l->plan->requests[r->kind].name, r->number,
                      text, r->attempts, r->planned_us, r->ended_us - r->planned_us,
                      r->location[0] ? r->location : "-");
    }
}

// --- Printing

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void print_samples(const char *name, const struct samples *s, FILE *out)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {
        { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 }, { "max", 1 }
    };
    (void)fprintf(out, ", \"%s\": {\"n\": %zu", name, s->n);
    if (s->n) {
        qsort(s->us, s->n, sizeof *s->us, compare);
        for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
            size_t at = (size_t)(points[i].share * (double)s->n);
            (void)fprintf(out, ", \"%s_ms\": %.3f", points[i].name,
                          s->us[at < s->n ? at : s->n - 1] / 1e3);
        }
    }
    (void)fputs("}", out);
}

static void print_counts(const char *name, const uint64_t counts[LEDGER_STATUSES], FILE *out)
{
    const char *comma = "";
    (void)fprintf(out, ", \"%s\": {", name);
    for (int i = 0; i < LEDGER_STATUSES; i++) {
        if (counts[i]) {
            char text[16];
            end_text(i, text);
            (void)fprintf(out, "%s\"%s\": %" PRIu64, comma, text, counts[i]);
            comma = ", ";
        }
    }
    (void)fputs("}", out);
}

static uint64_t sum_good(const struct ledger_cell *c)
{
    uint64_t n = 0;
    for (int i = 200; i < 300; i++) {
        n += c->outcomes[i];
    }
    return n;
}

static void print_cell(const struct ledger_cell *c, const char *name, FILE *out)
{
    (void)fprintf(out, "\"%s\": {\"planned\": %" PRIu64 ", \"good\": %" PRIu64, name, c->planned,
                  sum_good(c));
    print_counts("outcomes", c->outcomes, out);
    print_counts("attempts", c->attempts, out);
    print_samples("good_latency", &c->good, out);
    print_samples("admitted_latency", &c->admitted, out);
    print_samples("refused_latency", &c->refused, out);
    (void)fputs("}", out);
}

static void print_timeline(const struct ledger *l, FILE *out)
{
    size_t n = l->n_slices;
    while (n > 0) {
        static const struct ledger_slice none;
        if (memcmp(&l->slices[n - 1], &none, sizeof none) != 0) {
            break;
        }
        n--;
    }
    (void)fprintf(out, "\"slice_ms\": %d, \"timeline\": {", LEDGER_SLICE_US / 1000);
    for (size_t k = 0; k < l->plan->n_requests; k++) {
        (void)fprintf(out, "%s\"%s\": [", k ? ", " : "", l->plan->requests[k].name);
        for (size_t i = 0; i < n; i++) {
            (void)fprintf(out, "%s[%u, %u]", i ? ", " : "", l->slices[i].planned[k],
                          l->slices[i].good[k]);
        }
        (void)fputs("]", out);
    }
    (void)fputs("}", out);
}

void ledger_print(const struct ledger *l, FILE *out)
{
    (void)fputs("{\"phases\": [", out);
    for (size_t p = 0; p < l->plan->n_phases; p++) {
        const struct plan_phase *phase = &l->plan->phases[p];
        (void)fprintf(out, "%s\n{\"name\": \"%s\", \"seconds\": %g, \"requests\": {", p ? "," : "",
                      phase->name, phase->seconds);
        for (size_t k = 0; k < l->plan->n_requests; k++) {
            (void)fputs(k ? ",\n  " : "", out);
            print_cell(&l->cells[p * l->plan->n_requests + k], l->plan->requests[k].name, out);
        }
        (void)fputs("}}", out);
    }
    (void)fputs("],\n", out);
    print_timeline(l, out);
    (void)fprintf(out, ", \"sent_late_ms\": %.3f, \"unasked\": %" PRIu64 "}\n",
                  (double)l->sent_late_us / 1e3, l->unasked);
}
