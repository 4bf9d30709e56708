// SPDX-License-Identifier: MIT
#include "deploy/reading.h"

#include "proto/frames.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

static const double bounds_s[METRICS_N_BUCKETS] = {
#define BOUND(bound) bound,
    METRICS_BUCKETS(BOUND)
#undef BOUND
};

// --- Prometheus' text format

struct series {
    struct str name, labels; // labels: what is between the braces
    int64_t value;           // rounded down
    double exact;
};

// Takes one line apart: NAME[{LABELS}] VALUE[ TIMESTAMP]. false: it is a comment or no such line.
static bool take_series(struct str line, struct series *ret)
{
    char number[64];
    size_t name = 0;
    while (name < line.n && line.p[name] != '{' && line.p[name] != ' ') {
        name++;
    }
    if (name == 0 || name == line.n || line.p[0] == '#') {
        return false;
    }
    size_t end = name, labels = name;
    if (line.p[name] == '{') { // values may have blanks and braces, but only within quotes
        bool quoted = false;
        labels = name + 1;
        for (end = labels; end < line.n && (quoted || line.p[end] != '}'); end++) {
            quoted ^= line.p[end] == '"';
            end += line.p[end] == '\\' && quoted;
        }
    }
    size_t value = end + (line.p[name] == '{');
    if (value >= line.n || line.p[value] != ' ' || line.n - value > sizeof number) {
        return false;
    }
    memcpy(number, line.p + value + 1, line.n - value - 1);
    number[line.n - value - 1] = '\0';
    char *rest;
    double exact = strtod(number, &rest);
    *ret = (struct series){ .name = { line.p, name },
                            .labels = { line.p + labels, end - labels },
                            .exact = exact,
                            .value = fabs(exact) < 9e18 ? (int64_t)exact : 0 };
    return rest != number;
}

struct str reading_label(struct str labels, struct str name)
{
    for (size_t i = 0; i < labels.n;) {
        struct str key = { labels.p + i, 0 };
        while (i < labels.n && labels.p[i] != '=') {
            i++;
            key.n++;
        }
        size_t begin = i + 2, end = begin; // behind ="
        while (end < labels.n && labels.p[end] != '"') {
            end += labels.p[end] == '\\' ? 2 : 1;
        }
        if (end >= labels.n) {
            break; // not closed
        }
        if (str_eq(key, name)) {
            return (struct str){ labels.p + begin, end - begin };
        }
        i = end + 2; // behind ",
    }
    return (struct str){ NULL, 0 };
}

// --- What is taken

static void take_bucket(struct reading *r, const struct series *s)
{
    static const char *const names[METRICS_N_BUCKETS + 1] = {
#define BOUND(bound) #bound,
        METRICS_BUCKETS(BOUND)
#undef BOUND
            "+Inf",
    };
    struct str le = reading_label(s->labels, STR("le"));
    for (int i = 0; i <= METRICS_N_BUCKETS; i++) {
        if (str_eq(le, str_of(names[i]))) {
            r->buckets[i] += s->value > 0 ? (uint64_t)s->value : 0;
        }
    }
}

static void take_answers(struct reading *r, const struct series *s)
{
    struct str status = reading_label(s->labels, STR("http_response_status_code"));
    r->http_requests += s->value;
    r->http_errors += str_starts(status, STR("5")) ? s->value : 0;
}

static void take_quick(struct reading *r, const struct series *s)
{
    struct str status = reading_label(s->labels, STR("http_response_status_code"));
    bool quick = str_eq(reading_label(s->labels, STR("le")), STR(READING_SLOW_S));
    r->http_quick += quick && !str_starts(status, STR("5")) ? s->value : 0;
}

static void take_sandbox(struct reading *r, const struct series *s)
{
    struct str part = reading_label(s->labels, STR("part"));
    bool everywhere = str_eq(part, STR("files")) || str_eq(part, STR("system-calls")) ||
                      str_eq(part, STR("memory"));
    r->sandbox_off = r->sandbox_off || (everywhere && s->value == 0);
}

// Whether it is one of the counters.
static bool take_counter(struct reading *r, const struct series *s)
{
    static const struct {
        struct str series, label, value;
    } counters[READING_COUNTER_COUNT] = {
#define X(symbol, series, label, value) { STR_INIT(series), STR_INIT(label), STR_INIT(value) },
        READING_COUNTERS(X)
#undef X
    };
    bool is_one = false;
    for (int i = 0; i < READING_COUNTER_COUNT; i++) {
        if (str_eq(s->name, counters[i].series)) {
            is_one = true;
            bool counts = counters[i].label.n == 0 ||
                          str_eq(reading_label(s->labels, counters[i].label), counters[i].value);
            r->counters[i] += counts ? s->value : 0;
        }
    }
    return is_one;
}

// Of a gateway, about a service; those that are not ours are somebody else's to watch.
static void take_service(struct reading *r, const struct series *s)
{
    struct str name = reading_label(s->labels, STR("service"));
    for (int i = 0; i < SERVICES; i++) {
        if (!str_eq(name, str_of(services[i].name))) {
            continue;
        }
        if (str_eq(s->name, STR("sluice_gateway_workers"))) {
            r->no_worker[i] = s->value == 0;
        } else {
            r->overloaded[i] = s->value;
        }
    }
}

static void take_consumer(struct reading *r, const struct series *s)
{
    r->consumes = true;
    r->consumer_position += s->value;
}

static struct group_reading *group_of(struct reading *r, struct group_reading *groups,
                                      struct str labels)
{
    struct str name = reading_label(labels, STR("group"));
    for (size_t i = 0; i < r->n_groups; i++) {
        if (str_eq(name, str_of(groups[i].name))) {
            return &groups[i];
        }
    }
    if (r->n_groups == READING_MAX_GROUPS || name.n == 0 || name.n >= READING_GROUP_NAME) {
        return NULL;
    }
    struct group_reading *g = &groups[r->n_groups++];
    *g = (struct group_reading){ .lag = 0 };
    memcpy(g->name, name.p, name.n);
    return g;
}

static void take_group(struct reading *r, struct group_reading *groups, const struct series *s,
                       struct str what)
{
    struct group_reading *g = group_of(r, groups, s->labels);
    if (!g) {
        return;
    }
    if (str_eq(what, STR("lag_events"))) {
        g->lag = s->value;
    } else if (str_eq(what, STR("oldest_event_seconds"))) {
        g->oldest_s = s->value;
    } else if (str_eq(what, STR("dead_letters"))) {
        g->dead_letters = s->value;
    } else if (str_eq(what, STR("members"))) {
        g->members = s->value;
    } else if (str_eq(what, STR("paused"))) {
        g->paused = s->value != 0;
    } else if (str_eq(what, STR("skipped_total"))) {
        g->skipped = s->value;
    }
}

// Series that are one number: where it goes.
static int64_t *plain_target(struct reading *r, struct str name)
{
    const struct {
        struct str name;
        int64_t *target;
    } plain[] = {
        { STR("sluice_outbox_rows"), &r->outbox_rows },
        { STR("sluice_outbox_max_rows"), &r->outbox_max_rows },
        { STR("sluice_outbox_oldest_seconds"), &r->outbox_oldest_s },
        { STR("sluice_queue_log_last_sequence"), &r->last_sequence },
        { STR("process_open_fds"), &r->open_fds },
        { STR("process_max_fds"), &r->max_fds },
        { STR("process_resident_memory_bytes"), &r->resident_bytes },
        { STR("sluice_store_wal_bytes"), &r->wal_bytes },
        { STR("sluice_gateway_revocation_lag_seconds"), &r->revocation_lag_s },
        { STR("sluice_users_token_key_age_seconds"), &r->token_key_age_s },
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (str_eq(name, plain[i].name)) {
            return plain[i].target;
        }
    }
    return NULL;
}

// Of a worker's requests, by class.
struct class_readings {
    int64_t in_flight[FRAME_CLASSES], limit[FRAME_CLASSES];
};

static void take_class(int64_t values[FRAME_CLASSES], const struct series *s)
{
    static const char *const names[FRAME_CLASSES] = {
#define X(symbol, number, name) [number] = name,
        FRAME_CLASS_TABLE(X)
#undef X
    };
    struct str class = reading_label(s->labels, STR("class"));
    for (int i = 0; i < FRAME_CLASSES; i++) {
        if (str_eq(class, str_of(names[i]))) {
            values[i] = s->value;
        }
    }
}

// One class may be full while the others have nothing to do.
static void choose_busiest(struct reading *r, const struct class_readings *c)
{
    double most = -1;
    for (int i = 0; i < FRAME_CLASSES; i++) {
        double share = c->limit[i] > 0 ? (double)c->in_flight[i] / (double)c->limit[i] : -1;
        if (share > most) {
            most = share;
            r->in_flight = c->in_flight[i];
            r->limit = c->limit[i];
        }
    }
}

static void take(struct reading *r, struct class_readings *classes, struct group_reading *groups,
                 const struct series *s, int64_t now_s)
{
    static const struct str group = STR_INIT("sluice_queue_group_");
    int64_t *plain = plain_target(r, s->name);
    if (plain) {
        *plain = s->value;
    } else if (take_counter(r, s)) {
        return;
    } else if (str_eq(s->name, STR("sluice_gateway_workers")) ||
               str_eq(s->name, STR("sluice_gateway_overloaded"))) {
        take_service(r, s);
    } else if (str_eq(s->name, STR("sluice_consumer_behind_seconds"))) {
        r->behind_s = s->value > r->behind_s ? s->value : r->behind_s;
    } else if (str_eq(s->name, STR("sluice_worker_in_flight"))) {
        take_class(classes->in_flight, s);
    } else if (str_eq(s->name, STR("sluice_worker_limit"))) {
        take_class(classes->limit, s);
    } else if (str_eq(s->name, STR("sluice_worker_request_duration_seconds_bucket"))) {
        take_bucket(r, s);
    } else if (str_eq(s->name, STR("http_server_request_duration_seconds_count"))) {
        take_answers(r, s);
    } else if (str_eq(s->name, STR("http_server_request_duration_seconds_bucket"))) {
        take_quick(r, s);
    } else if (str_eq(s->name, STR("process_cpu_seconds_total"))) {
        r->cpu_ms = (int64_t)(s->exact * 1000);
    } else if (str_eq(s->name, STR("sluice_sandbox"))) {
        take_sandbox(r, s);
    } else if (str_eq(s->name, STR("sluice_consumer_position"))) {
        take_consumer(r, s);
    } else if (str_eq(s->name, STR("sluice_store_last_backup_timestamp_seconds"))) {
        r->backup_age_s = now_s - s->value;
    } else if (str_eq(s->name, STR("sluice_store_trouble"))) {
        r->store_trouble = r->store_trouble || s->value == 1;
    } else if (str_starts(s->name, group)) {
        take_group(r, groups, s, (struct str){ s->name.p + group.n, s->name.n - group.n });
    }
}

void reading_metrics(struct str text, int64_t now_s, struct reading *ret_reading,
                     struct group_reading *groups)
{
    struct reading r = { .backup_age_s = -1 };
    struct class_readings classes = { .limit = { 0 } };
    while (text.n > 0) {
        struct series s;
        if (take_series(str_take_line(&text), &s)) {
            take(&r, &classes, groups, &s, now_s);
        }
    }
    choose_busiest(&r, &classes);
    *ret_reading = r;
}

// --- /topology

int reading_topology(struct str text, struct lane_reading lanes[SERVICES])
{
    yyjson_doc *doc = yyjson_read(text.p, text.n, 0);
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "services"), *entry;
    int rc = yyjson_is_arr(list) ? 0 : -EPROTO;
    size_t i, n;
    yyjson_arr_foreach(list, i, n, entry)
    {
        const char *name = yyjson_get_str(yyjson_obj_get(entry, "service"));
        int s = name ? services_find(name) : -1;
        if (s >= 0) {
            int64_t wait_ms = yyjson_get_sint(yyjson_obj_get(entry, "oldest_waiting_ms"));
            lanes[s].waiting += yyjson_get_sint(yyjson_obj_get(entry, "waiting"));
            lanes[s].wait_ms = wait_ms > lanes[s].wait_ms ? wait_ms : lanes[s].wait_ms;
        }
    }
    yyjson_doc_free(doc);
    return rc;
}

// --- Latency

int64_t reading_latency_ms(const uint64_t before[METRICS_N_BUCKETS + 1],
                           const uint64_t after[METRICS_N_BUCKETS + 1])
{
    uint64_t delta[METRICS_N_BUCKETS + 1];
    for (int i = 0; i <= METRICS_N_BUCKETS; i++) {
        delta[i] = after[i] > before[i] ? after[i] - before[i] : 0;
    }
    double rank = 0.95 * (double)delta[METRICS_N_BUCKETS];
    double lower_s = 0, below = 0;
    for (int i = 0; rank > 0 && i < METRICS_N_BUCKETS; i++) {
        double count = (double)delta[i];
        if (count >= rank) {
            double part = count > below ? (rank - below) / (count - below) : 1;
            return (int64_t)ceil(1000 * (lower_s + (bounds_s[i] - lower_s) * part));
        }
        lower_s = bounds_s[i];
        below = count;
    }
    return rank > 0 ? (int64_t)(1000 * bounds_s[METRICS_N_BUCKETS - 1]) : 0; // or more
}
