// SPDX-License-Identifier: MIT
#include "common/store_metrics.h"

#include "common/db.h"
#include "common/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char store_path[PATH_MAX], wal_path[PATH_MAX], mark_path[PATH_MAX];

static int64_t read_cache_bytes(void *data)
{
    (void)data;
    return db_cache_bytes();
}

static int64_t read_file_bytes(void *data)
{
    struct stat st;
    return stat(data, &st) ? 0 : st.st_size;
}

// A store that was never backed up counts from when it was made, so that a new one has time.
static int64_t read_backup_time(void *data)
{
    struct stat st;
    struct statx made = { 0 };
    if (stat(data, &st) == 0) {
        return st.st_mtime;
    }
    bool known = statx(AT_FDCWD, store_path, 0, STATX_BTIME, &made) == 0 &&
                 (made.stx_mask & STATX_BTIME); // not every file system does
    return known ? made.stx_btime.tv_sec : 0;
}

// clang-format off
#define READ_GAUGE(name_, help_, read_, data_)                                                     \
    { .type = METRIC_GAUGE, .name = name_, .help = help_, .read = read_, .data = data_ }
#define TROUBLE(label_)                                                                            \
    METRIC_GAUGE_INIT("sluice_store_trouble", "1 while this keeps the store from being used.",     \
                      "reason=\"" label_ "\"")
// clang-format on

enum reason { DAMAGED, FULL, READ_ONLY, OTHER, N_REASONS };

static struct metric trouble[N_REASONS] = {
    [DAMAGED] = TROUBLE("damaged"),
    [FULL] = TROUBLE("full"),
    [READ_ONLY] = TROUBLE("read-only"),
    [OTHER] = TROUBLE("other"),
};

static struct metric gauges[] = {
    READ_GAUGE("sluice_store_bytes", "Size of the store's file.", read_file_bytes, store_path),
    READ_GAUGE("sluice_store_wal_bytes", "Size of the store's write-ahead log.", read_file_bytes,
               wal_path),
    READ_GAUGE("sluice_store_cache_bytes",
               "Memory of the store's page caches, which grow to their limit and stay.",
               read_cache_bytes, NULL),
    READ_GAUGE("sluice_store_last_backup_timestamp_seconds",
               "When the store was backed up last or, if never, made.", read_backup_time,
               mark_path),
};

static struct metric writer =
    METRIC_GAUGE_INIT("sluice_store_writer", "1 in the process that writes the store.", NULL);

// In the process that writes.
static struct metric commit_seconds =
    METRIC_HISTOGRAM_INIT("sluice_store_commit_seconds",
                          "Of each transaction: writing it to the WAL and syncing that.", NULL);
static struct metric checkpoint_seconds = METRIC_HISTOGRAM_INIT(
    "sluice_store_checkpoint_seconds", "Copying the WAL into the file, and syncing both.", NULL);
static struct metric commit_failures = METRIC_COUNTER_INIT(
    "sluice_store_commit_failures_total",
    "Transactions of which nothing was kept, or nobody knows, because the store failed.", NULL);

static struct metric *const writing[] = { &writer, &commit_seconds, &checkpoint_seconds,
                                          &commit_failures };

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))

void store_metrics_open(const char *path)
{
    const char *slash = strrchr(path, '/');
    int directory = slash ? (int)(slash - path) : 0;
    // A path that is cut names no file: its gauges are 0.
    (void)snprintf(store_path, sizeof store_path, "%s", path);
    (void)snprintf(wal_path, sizeof wal_path, "%s-wal", path);
    (void)snprintf(mark_path, sizeof mark_path, "%.*s%s" STORE_BACKUP_MARK, directory, path,
                   directory ? "/" : "");
    for (size_t i = 0; i < COUNT(gauges); i++) {
        metrics_register(&gauges[i]);
    }
    for (size_t i = 0; i < COUNT(trouble); i++) {
        metric_set(&trouble[i], 0);
        metrics_register(&trouble[i]);
    }
    metric_set(&writer, 0);
    for (size_t i = 0; i < COUNT(writing); i++) {
        metrics_register(writing[i]);
    }
}

void store_metrics_close(void)
{
    if (!*store_path) {
        return;
    }
    for (size_t i = 0; i < COUNT(gauges); i++) {
        metrics_unregister(&gauges[i]);
    }
    for (size_t i = 0; i < COUNT(trouble); i++) {
        metrics_unregister(&trouble[i]);
    }
    for (size_t i = 0; i < COUNT(writing); i++) {
        metrics_unregister(writing[i]);
    }
    *store_path = '\0';
}

void store_metrics_writer(bool is_writer)
{
    metric_set(&writer, is_writer);
}

void store_metrics_committed(int64_t took_us)
{
    metric_observe_us(&commit_seconds, took_us);
}

void store_metrics_checkpointed(int64_t took_us)
{
    metric_observe_us(&checkpoint_seconds, took_us);
}

void store_metrics_commit_failed(void)
{
    metric_add(&commit_failures, 1);
}

static enum reason reason_of(int error)
{
    switch (error) {
    case -EUCLEAN:
        return DAMAGED;
    case -ENOSPC:
    case -EDQUOT:
        return FULL;
    case -EROFS:
    case -EACCES:
        return READ_ONLY;
    default:
        return OTHER;
    }
}

void store_metrics_trouble(int error)
{
    for (size_t i = 0; i < COUNT(trouble); i++) {
        metric_set(&trouble[i], error && i == (size_t)reason_of(error));
    }
}
