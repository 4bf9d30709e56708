// SPDX-License-Identifier: MIT
#include "services/queue/stats.h"

#include "common/log.h"

struct stats stats = {
    .published = METRIC_COUNTER_INIT("sluice_queue_published_events_total", "Events stored.", NULL),
    .published_bytes =
        METRIC_COUNTER_INIT("sluice_queue_published_bytes_total",
                            "Bytes of the events stored, as their publishers encoded them.", NULL),
    .duplicates = METRIC_COUNTER_INIT("sluice_queue_duplicate_events_total",
                                      "Events left out because they were stored before.", NULL),
    .publish_seconds = METRIC_HISTOGRAM_INIT("sluice_queue_publish_seconds",
                                             "Of each request that published something, from its "
                                             "arrival to its acknowledgement.",
                                             NULL),
#define COMMITS(label)                                                                             \
    METRIC_COUNTER_INIT("sluice_queue_commits_total",                                              \
                        "Group commits, by number of events in them.", "events=\"" label "\"")
    .commits = { COMMITS("1"), COMMITS("2-15"), COMMITS("16-127"), COMMITS("128-1023"),
                 COMMITS("1024+") },
    .write_seconds =
        METRIC_HISTOGRAM_INIT("sluice_queue_write_duration_seconds",
                              "Time of writing one group commit, the sync not counted.", NULL),
    .sync_seconds = METRIC_HISTOGRAM_INIT("sluice_queue_fdatasync_duration_seconds",
                                          "Time of making one group commit durable.", NULL),
    .delivered =
        METRIC_COUNTER_INIT("sluice_queue_delivered_events_total", "Events sent to readers.", NULL),
#define BLOCKS(found)                                                                              \
    METRIC_COUNTER_INIT("sluice_queue_block_reads_total",                                          \
                        "Blocks of the log that were needed, by where they were found.",           \
                        "found=\"" found "\"")
    .cache_hits = BLOCKS("cache"),
    .cache_misses = BLOCKS("file"),
#undef BLOCKS
#define X(name, word)                                                                              \
    [REFUSED_##name] = METRIC_COUNTER_INIT("sluice_queue_refused_total",                           \
                                           "Requests refused, by reason.", "reason=\"" word "\""),
    .refused = { REFUSALS(X) },
#undef X
    .lost = METRIC_COUNTER_INIT("sluice_queue_lost_records_total",
                                "Sequences found to be damaged since the start.", NULL),
    .dead_expired = METRIC_COUNTER_INIT("sluice_queue_dead_letters_expired_total",
                                        "Dead letters that retention removed before anybody dealt "
                                        "with them.",
                                        NULL),
#define EXPIRED(reason)                                                                            \
    METRIC_COUNTER_INIT("sluice_queue_retention_events_total",                                     \
                        "Events that retention took off the log, by reason.",                      \
                        "reason=\"" reason "\"")
    .removed_events = { EXPIRED("age"), EXPIRED("count"), EXPIRED("bytes"), EXPIRED("held") },
#undef EXPIRED
#define REMOVED(reason)                                                                            \
    METRIC_COUNTER_INIT("sluice_queue_retention_segments_total",                                   \
                        "Segments that retention removed, by the reason of their last events.",    \
                        "reason=\"" reason "\"")
    .removed_segments = { REMOVED("age"), REMOVED("count"), REMOVED("bytes"), REMOVED("held") },
#undef REMOVED
    .archived =
        METRIC_COUNTER_INIT("sluice_queue_archive_segments_total", "Segments archived.", NULL),
    .archive_failures = METRIC_COUNTER_INIT("sluice_queue_archive_failures_total",
                                            "Attempts to archive a segment that failed.", NULL),
    .archive_seconds = METRIC_HISTOGRAM_INIT("sluice_queue_archive_duration_seconds",
                                             "Time of archiving one segment.", NULL),
};

static void for_each(void (*action)(struct metric *m))
{
    action(&stats.published);
    action(&stats.published_bytes);
    action(&stats.duplicates);
    action(&stats.publish_seconds);
    for (size_t i = 0; i < STATS_COMMIT_SIZES; i++) {
        action(&stats.commits[i]);
    }
    action(&stats.write_seconds);
    action(&stats.sync_seconds);
    action(&stats.delivered);
    action(&stats.cache_hits);
    action(&stats.cache_misses);
    for (size_t i = 0; i < N_REFUSALS; i++) {
        action(&stats.refused[i]);
    }
    action(&stats.lost);
    action(&stats.dead_expired);
    for (size_t i = 0; i < N_EXPIRY_REASONS; i++) {
        action(&stats.removed_events[i]);
        action(&stats.removed_segments[i]);
    }
    action(&stats.archived);
    action(&stats.archive_failures);
    action(&stats.archive_seconds);
}

void stats_register(void)
{
    for_each(metrics_register);
}

void stats_unregister(void)
{
    for_each(metrics_unregister);
}

void stats_count_commit(size_t events)
{
    static const size_t below[STATS_COMMIT_SIZES - 1] = { 2, 16, 128, 1024 };
    size_t i = 0;
    while (i < STATS_COMMIT_SIZES - 1 && events >= below[i]) {
        i++;
    }
    metric_add(&stats.commits[i], 1);
}

void stats_count_removal(const struct removal *r)
{
    for (size_t i = 0; i < N_EXPIRY_REASONS; i++) {
        metric_add(&stats.removed_events[i], (int64_t)r->n_events[i]);
        metric_add(&stats.removed_segments[i], (int64_t)r->n_segments[i]);
    }
}

void stats_refuse(uint32_t peer, enum refusal reason, const char *detail)
{
    metric_add(&stats.refused[reason], 1);
    log_debug("refused client %u: %s: %s", peer, refusal_word(reason), detail);
}
