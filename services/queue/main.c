// SPDX-License-Identifier: MIT
// sluice-queue: the durable event queue.
#include "services/queue/server.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "services/queue/journal.h"
#include "services/queue/verify.h"

static const struct config_option options[] = {
    CONFIG_COMMON(struct server_config, "queue-1", NULL),
    { .name = "SLUICE_QUEUE_BIND",
      .kind = CONFIG_STRING,
      .offset = offsetof(struct server_config, bind),
      .names = CONFIG_NAMES_LISTENER,
      .min = 1,
      .max = 1024,
      .help = "where clients connect, ipc:///path or tcp://host:port; not set: "
              "ipc://$SLUICE_HOME/run/queue.sock" },
    { .name = "SLUICE_QUEUE_RETENTION_AGE",
      .kind = CONFIG_DURATION,
      .offset = offsetof(struct server_config, retention_ms),
      .fallback = "7d",
      .help = "events older than this are removed, by whole segments; 0s: none are. "
              "A clock that jumps forward makes none old" },
    { .name = "SLUICE_QUEUE_RETENTION_BYTES",
      .kind = CONFIG_BYTES,
      .offset = offsetof(struct server_config, retention_bytes),
      .fallback = "8GiB",
      .help = "the oldest segments are removed when the log is larger; 0: none are" },
    { .name = "SLUICE_QUEUE_RETENTION_COUNT",
      .kind = CONFIG_INTEGER,
      .offset = offsetof(struct server_config, retention_count),
      .fallback = "0",
      .min = 0,
      .max = INT64_MAX,
      .help = "segments before the last so many events are removed; 0: none are" },
    { .name = "SLUICE_QUEUE_RETENTION_TOPICS",
      .kind = CONFIG_STRING,
      .offset = offsetof(struct server_config, retention_topics),
      .min = 1,
      .max = 16384,
      .help = "other limits for some topics, the first that matches, like "
              "users.session.>:age=1d;orders.>:age=90d,count=5000000,bytes=1GiB; 0: no limit" },
    { .name = "SLUICE_QUEUE_ARCHIVE",
      .kind = CONFIG_STRING,
      .offset = offsetof(struct server_config, archive),
      .names = CONFIG_NAMES_DIRECTORY,
      .min = 1,
      .max = 4096,
      .help = "directory where sealed segments are kept compressed, and read from; not set: none. "
              "Once it has segments, the log needs it" },
    { .name = "SLUICE_QUEUE_ARCHIVE_AFTER",
      .kind = CONFIG_DURATION,
      .offset = offsetof(struct server_config, archive_after_ms),
      .fallback = "0s",
      .help = "how long after its end a segment is archived" },
    { .name = "SLUICE_QUEUE_ARCHIVE_LEVEL",
      .kind = CONFIG_INTEGER,
      .offset = offsetof(struct server_config, archive_level),
      .fallback = "3",
      .min = 1,
      .max = 19,
      .help = "level of compression by zstd" },
    { .name = "SLUICE_QUEUE_SEGMENT_BYTES",
      .kind = CONFIG_BYTES,
      .offset = offsetof(struct server_config, segment_bytes),
      .fallback = "64MiB",
      .min = 1024 * 1024,
      .max = 1024 * 1024 * 1024,
      .help = "length of a new segment file" },
    { .name = "SLUICE_QUEUE_STRICT",
      .kind = CONFIG_BOOLEAN,
      .offset = offsetof(struct server_config, strict),
      .fallback = "false",
      .help = "true: does not start on a log in which damage is found while opening; "
              "false: names what is lost, serves the rest",
      .flag = "--strict" },
    CONFIG_END
};

static const struct process_right rights[] = {
    { "queue", SANDBOX_WRITE },
    { "secrets/curve/queue.key_secret", SANDBOX_READ },
    { "secrets/curve/public", SANDBOX_READ },
    { NULL, 0 },
};

static void on_drain(struct process *p, void *data)
{
    struct server **server = data;
    (void)p;
    server_drain(*server);
}

static void on_close(struct process *p, void *data)
{
    struct server **server = data;
    (void)p;
    if (*server) {
        server_close(*server);
    }
}

// Makes the limits of what the table read. 0, or 1 when they are wrong, which was told.
static int read_retention(struct process *process, struct server_config *config,
                          struct retention *retention)
{
    char error[RETENTION_ERROR_SIZE];
    const struct retention_limits general = { config->retention_ms,
                                              (uint64_t)config->retention_count,
                                              (uint64_t)config->retention_bytes };
    config->retention = retention;
    int status = retention_init(retention, &general, config->retention_topics, error);
    if (status) {
        process_fail(process, process_status_of(status), "SLUICE_QUEUE_RETENTION_TOPICS: %s", error);
        return 1;
    }
    return 0;
}

static int run(int argc, char **argv)
{
    static struct server_config config;
    static struct retention retention;
    struct process *process;
    struct server *server = NULL;
    const struct process_callbacks callbacks = {
        .on_drain = on_drain, .on_close = on_close, .data = &server, .rights = rights
    };
    int status;
    if (process_open("sluice-queue",
                     "The durable event queue of Sluice. With --verify DIR [ARCHIVE] it only "
                     "checks a log, and ends.",
                     options, &config, argc, argv, &callbacks, &process, &status)) {
        return status;
    }
    (void)signal(SIGXFSZ,
                 SIG_IGN); // a limit on the length of files is a full disk, not a reason to die
    int opened = read_retention(process, &config, &retention);
    opened = opened ? opened : server_open(process, &config, &server);
    if (opened < 0) {
        process_fail(process, process_status_of(opened), "cannot open %s/queue: %s",
                     config.common.home, strerror(-opened));
    }
    status = process_run(&process);
    server_destroy(&server);
    retention_fini(&retention);
    return status;
}

int main(int argc, char **argv)
{
    if ((argc == 3 || argc == 4) && strcmp(argv[1], "--verify") == 0) {
        return verify_log(argv[2], argv[3], stdout); // argv ends in NULL
    }
    return run(argc, argv);
}
