// SPDX-License-Identifier: MIT
#include "services/queue/group_stats.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/metrics.h"

#define LABELS_SIZE 128

// Identifier, name, type, further label, help. Series of one name have one help.
#define SERIES(X)                                                                                  \
    X(LAG, "lag_events", GAUGE, "", "Events in the log that the group has not settled.")           \
    X(OLDEST, "oldest_event_seconds", GAUGE, "",                                                   \
      "Age of the oldest event that the group has not settled.")                                   \
    X(DELIVERED, "pending_events", GAUGE, ",state=\"delivered\"",                                  \
      "Events looked at and not settled, by state.")                                               \
    X(READY, "pending_events", GAUGE, ",state=\"ready\"",                                          \
      "Events looked at and not settled, by state.")                                               \
    X(BLOCKED, "pending_events", GAUGE, ",state=\"blocked\"",                                      \
      "Events looked at and not settled, by state.")                                               \
    X(DELAYED, "pending_events", GAUGE, ",state=\"delayed\"",                                      \
      "Events looked at and not settled, by state.")                                               \
    X(DYING, "pending_events", GAUGE, ",state=\"dying\"",                                          \
      "Events looked at and not settled, by state.")                                               \
    X(DEAD, "dead_letters", GAUGE, "", "Dead letters that nobody has dealt with.")                 \
    X(MEMBERS, "members", GAUGE, "", "Members that are connected.")                                \
    X(PAUSED, "paused", GAUGE, "", "1: the group is paused.")                                      \
    X(DELIVERIES, "deliveries_total", COUNTER, "", "Deliveries to members.")                       \
    X(REDELIVERIES, "redeliveries_total", COUNTER, "",                                             \
      "Deliveries that were not the first of their event.")                                        \
    X(ACKED, "settled_total", COUNTER, ",verdict=\"ack\"", "Deliveries settled, by verdict.")      \
    X(NAKED, "settled_total", COUNTER, ",verdict=\"nak\"", "Deliveries settled, by verdict.")      \
    X(TERMINATED, "settled_total", COUNTER, ",verdict=\"term\"",                                   \
      "Deliveries settled, by verdict.")                                                           \
    X(TIMED_OUT, "timed_out_total", COUNTER, "", "Deliveries not settled within the ack wait.")    \
    X(STALE, "stale_total", COUNTER, "",                                                           \
      "Settlements refused because the delivery was not the member's any more.")                   \
    X(DIED, "died_total", COUNTER, "", "Events that became dead letters.")                         \
    X(SKIPPED, "skipped_total", COUNTER, "",                                                       \
      "Events gone from the log before the group had settled them.")

enum series {
#define X(id, name, type, label, help) ID_##id,
    SERIES(X)
#undef X
        N_SERIES
};

struct source {
    const struct group_stats *stats;
    enum series series;
};

struct group_stats {
    const struct group *group;
    const struct journal *journal;
    struct metric metrics[N_SERIES];
    struct source sources[N_SERIES];
    struct metric settle_seconds;
    char labels[N_SERIES][LABELS_SIZE];
};

static int64_t lag(const struct group_stats *s)
{
    uint64_t from = group_needs_from(s->group), to = s->journal->next_seq;
    return from < to ? (int64_t)(to - from) : 0;
}

static int64_t oldest_s(const struct group_stats *s)
{
    int64_t ms = lag(s) ? journal_stored_ms(s->journal, group_needs_from(s->group)) : 0;
    return ms ? (clock_wall_ms() - ms) / 1000 : 0;
}

static int64_t count(const struct group_stats *s, enum pending_state state)
{
    return (int64_t)pending_count(&s->group->pending, state);
}

static int64_t read_series(void *data)
{
    const struct source *source = data;
    const struct group_stats *s = source->stats;
    const struct group_counts *c = &s->group->counts;
    switch (source->series) {
    case ID_LAG:
        return lag(s);
    case ID_OLDEST:
        return oldest_s(s);
    case ID_DELIVERED:
        return count(s, PENDING_DELIVERED);
    case ID_READY:
        return count(s, PENDING_READY);
    case ID_BLOCKED:
        return count(s, PENDING_BLOCKED);
    case ID_DELAYED:
        return count(s, PENDING_DELAYED);
    case ID_DYING:
        return count(s, PENDING_DYING);
    case ID_DEAD:
        return (int64_t)s->group->n_dead;
    case ID_MEMBERS:
        return (int64_t)s->group->n_members;
    case ID_PAUSED:
        return s->group->config.paused;
    case ID_DELIVERIES:
        return (int64_t)c->deliveries;
    case ID_REDELIVERIES:
        return (int64_t)c->redeliveries;
    case ID_ACKED:
        return (int64_t)c->acked;
    case ID_NAKED:
        return (int64_t)c->naked;
    case ID_TERMINATED:
        return (int64_t)c->terminated;
    case ID_TIMED_OUT:
        return (int64_t)c->timed_out;
    case ID_STALE:
        return (int64_t)c->stale;
    case ID_DIED:
        return (int64_t)c->died;
    case ID_SKIPPED:
        return (int64_t)c->skipped;
    case N_SERIES:
        break;
    }
    return 0;
}

struct group_stats *group_stats_new(const struct group *g, const struct journal *j)
{
    static const struct {
        const char *name, *label, *help;
        enum metric_type type;
    } series[N_SERIES] = {
#define X(id, name, type, label, help)                                                             \
    [ID_##id] = { "sluice_queue_group_" name, label, help, METRIC_##type },
        SERIES(X)
#undef X
    };
    struct group_stats *s = calloc(1, sizeof *s);
    if (!s) {
        return NULL;
    }
    s->group = g;
    s->journal = j;
    for (int i = 0; i < N_SERIES; i++) {
        (void)snprintf(s->labels[i], LABELS_SIZE, "group=\"%s\"%s", g->config.name,
                       series[i].label); // a name fits
        s->sources[i] = (struct source){ s, (enum series)i };
        s->metrics[i] = (struct metric){ .type = series[i].type,
                                         .name = series[i].name,
                                         .help = series[i].help,
                                         .labels = s->labels[i],
                                         .read = read_series,
                                         .data = &s->sources[i] };
        metrics_register(&s->metrics[i]);
    }
    s->settle_seconds = (struct metric)METRIC_HISTOGRAM_INIT(
        "sluice_queue_group_settle_seconds",
        "Of each range of events that a member settled, since it was sent the first of them.",
        s->labels[ID_LAG]); // the group alone
    metrics_register(&s->settle_seconds);
    return s;
}

void group_stats_settled(struct group_stats *s, int64_t took_us)
{
    metric_observe_us(&s->settle_seconds, took_us);
}

void group_stats_destroy(struct group_stats **s)
{
    if (*s) {
        for (int i = 0; i < N_SERIES; i++) {
            metrics_unregister(&(*s)->metrics[i]);
        }
        metrics_unregister(&(*s)->settle_seconds);
        free(*s);
        *s = NULL;
    }
}
