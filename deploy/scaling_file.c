// SPDX-License-Identifier: MIT
#include "deploy/scaling_file.h"

#include <stddef.h>
#include <string.h>

#define HOUR_MS 3600000
#define DAY_MS (24 * HOUR_MS)
#define MAX_LAG 1000000000

// --- Values

static void take_count(struct json_check *c, struct json_item item, void *target)
{
    json_number(c, item, 0, SERVICES_MAX_PROCESSES, target);
}

static void take_step(struct json_check *c, struct json_item item, void *target)
{
    json_number(c, item, 1, SERVICES_MAX_PROCESSES, target);
}

static void take_percent(struct json_check *c, struct json_item item, void *target)
{
    json_number(c, item, 1, 100, target);
}

static void take_lag(struct json_check *c, struct json_item item, void *target)
{
    json_number(c, item, 1, MAX_LAG, target);
}

static void take_latency(struct json_check *c, struct json_item item, void *target)
{
    json_duration(c, item, 1, HOUR_MS, target);
}

static void take_pause(struct json_check *c, struct json_item item, void *target)
{
    json_duration(c, item, 100, DAY_MS, target);
}

// --- Rules

static bool has_target(const struct scaling_rule *r)
{
    return r->utilisation || r->cpu || r->wait_ms || r->latency_ms || r->lag;
}

// What no single key can tell.
static void check_rule(struct json_check *c, struct json_item item, int service,
                       const struct scaling_rule *r)
{
    bool is_gateway = !services[service].registers;
    if (!yyjson_obj_get(item.value, "max")) {
        json_mistake(c, item, "has no \"max\"; allowed: the most processes that there may be");
    } else if (r->max < 1 || r->min > r->max) {
        json_mistake(c, item, "\"max\" is below \"min\" or 1; allowed: 1 <= max, min <= max");
    }
    if (is_gateway && r->min < 1) {
        json_mistake(c, item, "\"min\" is 0, but nobody else can take requests; allowed: 1 to 64");
    }
    if (is_gateway && (r->utilisation || r->wait_ms || r->latency_ms || r->lag)) {
        json_mistake(c, item, "a gateway has no such target; allowed: cpu");
    }
    if (!has_target(r) && r->min > 0) {
        json_mistake(c, item,
                     "has no target; allowed: one of utilisation, cpu, wait, latency and lag, "
                     "or \"min\": 0");
    }
    if (r->min > 0 && yyjson_obj_get(item.value, "idle")) {
        json_mistake(c, item,
                     "\"idle\" is for a service that may have no process; allowed: with "
                     "\"min\": 0");
    }
}

static void take_rule(struct json_check *c, struct json_item item, int service,
                      struct scaling_rule *rule)
{
    static const struct json_key keys[] = {
        { "min", take_count, offsetof(struct scaling_rule, min) },
        { "max", take_count, offsetof(struct scaling_rule, max) },
        { "utilisation", take_percent, offsetof(struct scaling_rule, utilisation) },
        { "cpu", take_percent, offsetof(struct scaling_rule, cpu) },
        { "wait", take_latency, offsetof(struct scaling_rule, wait_ms) },
        { "latency", take_latency, offsetof(struct scaling_rule, latency_ms) },
        { "lag", take_lag, offsetof(struct scaling_rule, lag) },
        { "step", take_step, offsetof(struct scaling_rule, step) },
        { "cooldown_up", take_pause, offsetof(struct scaling_rule, cooldown_up_ms) },
        { "cooldown_down", take_pause, offsetof(struct scaling_rule, cooldown_down_ms) },
        { "idle", take_pause, offsetof(struct scaling_rule, idle_ms) },
        { NULL, NULL, 0 },
    };
    *rule = (struct scaling_rule){ .on = true,
                                   .min = 1,
                                   .step = 1,
                                   .cooldown_up_ms = SCALING_COOLDOWN_UP_MS,
                                   .cooldown_down_ms = SCALING_COOLDOWN_DOWN_MS,
                                   .idle_ms = SCALING_IDLE_MS };
    size_t before = c->n_mistakes;
    if (json_object(c, item, keys, rule) && c->n_mistakes == before) {
        check_rule(c, item, service, rule);
    }
}

static void take_service(struct json_check *c, struct json_item key, struct json_item value,
                         void *target)
{
    struct scaling_rules *rules = target;
    const char *name = yyjson_get_str(key.value);
    int s = strlen(name) == yyjson_get_len(key.value) ? services_find(name) : -1; // no NUL in it
    if (s < 0 || services[s].max == services[s].min) {
        json_mistake(c, key, "is no service that scales; allowed: users, orders, search, gateway");
    } else if (rules->services[s].on) {
        json_mistake(c, key, "is there twice; allowed: once");
    } else {
        take_rule(c, value, s, &rules->services[s]);
    }
}

static void take_services(struct json_check *c, struct json_item item, void *target)
{
    (void)json_members(c, item, SERVICES, take_service, target); // it said so
}

static void take_interval(struct json_check *c, struct json_item item, void *target)
{
    json_duration(c, item, 100, 60000, target);
}

static void take_all(struct json_check *c, struct json_item root, void *target)
{
    static const struct json_key keys[] = {
        { "interval", take_interval, offsetof(struct scaling_rules, interval_ms) },
        { "services", take_services, 0 },
        { NULL, NULL, 0 },
    };
    (void)json_object(c, root, keys, target); // it said so
}

// --- The file

static int finish(int rc, const struct scaling_rules *rules, struct scaling_rules *ret_rules)
{
    if (rc == 0) {
        *ret_rules = *rules;
    }
    return rc;
}

int scaling_file_parse(const char *name, struct str text, struct buf *mistakes,
                       struct scaling_rules *ret_rules)
{
    struct scaling_rules rules = { .interval_ms = SCALING_INTERVAL_MS };
    struct json_check c = { .file = name, .mistakes = mistakes };
    return finish(json_check_text(&c, text, take_all, &rules), &rules, ret_rules);
}

int scaling_file_read(const char *path, struct buf *mistakes, struct scaling_rules *ret_rules)
{
    struct scaling_rules rules = { .interval_ms = SCALING_INTERVAL_MS };
    struct json_check c = { .file = path, .mistakes = mistakes };
    return finish(json_check_file(&c, SCALING_FILE_BYTES, take_all, &rules), &rules, ret_rules);
}
