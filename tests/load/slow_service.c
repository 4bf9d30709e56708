// SPDX-License-Identifier: MIT
// A service whose capacity is known: every stage sleeps for as long as the options say, so that a
// worker of it does exactly so many requests in a second on whatever machine, and can be overloaded
// by a load that leaves the machine idle.
#include "common/worker.h"

#include <time.h>

struct slow_config {
    int64_t read_ms, write_ms, compute_ms;
};

static struct slow_config config;

// clang-format off
#define OPTION(name_, member_) \
    { .name = name_, .kind = CONFIG_DURATION, .offset = offsetof(struct slow_config, member_), \
      .fallback = "2ms", .min = 0, .max = 60000, .help = "how long such a request takes" }
// clang-format on

static const struct config_option options[] = {
    OPTION("SLUICE_SLOW_READ", read_ms),
    OPTION("SLUICE_SLOW_WRITE", write_ms),
    OPTION("SLUICE_SLOW_COMPUTE", compute_ms),
    CONFIG_END,
};

static const char *const migrations[] = {
    "CREATE TABLE done(id INTEGER PRIMARY KEY, of TEXT NOT NULL) STRICT",
};

static void take_ms(int64_t ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&t, &t)) {
    }
}

static int answer(struct call *c)
{
    return call_reply_empty(c, 204);
}

static int on_read(struct call *c)
{
    take_ms(config.read_ms);
    return answer(c);
}

// A search that finds too much, as the store sees it.
static int on_endless(struct call *c)
{
    struct db_rows row;
    int rc = db_row(call_db(c), &row,
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                    " SELECT count(*) FROM n",
                    "");
    if (rc > 0) {
        db_rows_close(&row);
    }
    return rc < 0 ? rc : answer(c);
}

static int on_write(struct call *c)
{
    take_ms(config.write_ms);
    int rc = db_run(call_db(c), "INSERT INTO done(of) VALUES(?)", "s",
                    call_header(c, "idempotency-key"));
    return rc < 0 ? rc : answer(c);
}

static int on_compute(struct call *c)
{
    take_ms(config.compute_ms);
    return answer(c);
}

static const struct route routes[] = {
    { .method = "GET",
      .pattern = "/slow/read",
      .operation = "slowRead",
      .auth = FRAME_AUTH_OPTIONAL,
      .success = 204,
      .read = on_read },
    { .method = "GET",
      .pattern = "/slow/low",
      .operation = "slowLow",
      .auth = FRAME_AUTH_OPTIONAL,
      .low = true,
      .success = 204,
      .read = on_read },
    { .method = "GET",
      .pattern = "/slow/endless",
      .operation = "slowEndless",
      .auth = FRAME_AUTH_OPTIONAL,
      .low = true,
      .success = 204,
      .read = on_endless },
    { .method = "POST",
      .pattern = "/slow/write",
      .operation = "slowWrite",
      .auth = FRAME_AUTH_OPTIONAL,
      .key = ROUTE_KEY_REQUIRED,
      .success = 204,
      .write = on_write },
    { .method = "POST",
      .pattern = "/slow/compute",
      .operation = "slowCompute",
      .auth = FRAME_AUTH_OPTIONAL,
      .success = 204,
      .compute = on_compute },
};

static int on_open(void *given, const char *home, char error[CONFIG_ERROR_SIZE])
{
    (void)home, (void)error;
    config = *(const struct slow_config *)given;
    return 0;
}

static const struct service service = {
    .name = "slow",
    .summary = "takes its time, for tests",
    .routes = routes,
    .n_routes = sizeof routes / sizeof *routes,
    .migrations = migrations,
    .n_migrations = 1,
    .reset = "DELETE FROM done", // no fsync for each write: how fast the disk is must not count
    .options = options,
    .config_bytes = sizeof(struct slow_config),
    .on_open = on_open,
};

int main(int argc, char **argv)
{
    return worker_main(&service, argc, argv);
}
