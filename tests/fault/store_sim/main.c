// SPDX-License-Identifier: MIT
// store_sim_SERVICE [--seeds N] [--from S] [--trace]: N runs, with the seeds S, S + 1 and so on. In each the
// service that is linked lives several times, in processes of its own, on a disk that loses what was not
// synced when a life ends. Ends with 0 when every promise was kept; else with 1, the seed, and what
// was broken. The same seed is the same run.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fault/store_sim/life.h"
#include "tests/fault/store_sim/model.h"

static const struct service *service;

// The service's own main() comes here (by --wrap, see meson.build).
int __wrap_worker_main(const struct service *given, int argc, char **argv);

const struct service *world_service(void)
{
    return service;
}

static int usage(const char *wrong)
{
    fprintf(stderr, "store_sim: %s; allowed: [--seeds N] [--from S] [--trace]\n", wrong);
    return 64;
}

static void add_counts(struct counts *to, const struct counts *from)
{
    const uint64_t *f = (const uint64_t *)from;
    uint64_t *t = (uint64_t *)to;
    for (size_t i = 0; i < sizeof *to / sizeof *t; i++) {
        t[i] += f[i];
    }
}

// How one life goes, and how it ends.
static void plan_life(struct world *w, bool last, struct plan *p)
{
    struct chance *c = &w->chance;
    static const int factors[] = { 1, 5, 50, 1000 };
    *p = (struct plan){ .turns = 5 + (int)chance_below(c, 40),
                        .close = last || chance_in_1000(c, 150),
                        .verify = last,
                        .wal_factor = factors[chance_below(c, 4)] };
    w->disk->calls = 0;
    w->disk->die_at =
        last || chance_in_1000(c, 200) ? 0 : 1 + chance_below(c, 20 + chance_below(c, 600));
    w->disk->fail_sync = !last && chance_in_1000(c, 200) ? 1 + chance_below(c, 40) : 0;
    p->turns = last ? 0 : p->turns;
}

// Runs one life in a process. Returns how it ended.
static int live(struct world *w, const struct plan *p, const char *directory, bool trace)
{
    (void)fflush(NULL);
    w->disk->failed_syncs = 0;
    pid_t pid = fork();
    if (pid == 0) {
        life(w, p, directory, trace);
    }
    int status = 0;
    while (pid < 0 || (waitpid(pid, &status, 0) < 0 && errno == EINTR)) {
        if (pid < 0) {
            perror("store_sim: fork");
            exit(1);
        }
    }
    w->counts.lives++;
    w->counts.failed_syncs += w->disk->failed_syncs;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// A failed sync takes its time to show: while there is power, the cache hides it.
static void end_life(struct world *w, int how)
{
    w->counts.closed += how == 0;
    if (chance_in_1000(&w->chance, how == LIFE_FAILED ? 200 : 700)) {
        w->counts.power_lost++;
        if (w->disk->trace) {
            fprintf(stderr, "power is lost\n");
        }
        disk_lose_power(w->disk);
    } else {
        w->counts.killed += how != 0;
    }
}

// True when every promise was kept.
static bool run_seed(uint64_t seed, const char *directory, bool trace, struct counts *total,
                     uint64_t lost[3])
{
    struct world *w =
        mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w == MAP_FAILED) {
        perror("store_sim: mmap");
        exit(1);
    }
    w->disk = disk_new(seed * UINT64_C(0x9E3779B97F4A7C15) + 1);
    w->disk->trace = trace;
    w->chance.state = seed;
    uint64_t lives = 2 + chance_below(&w->chance, 5);
    int how = 0;
    for (uint64_t i = 0; i <= lives; i++) {
        struct plan p;
        plan_life(w, i == lives, &p);
        how = live(w, &p, directory, trace);
        if (trace) {
            fprintf(stderr,
                    "life %" PRIu64 " of seed %" PRIu64 " ended with %d after %" PRIu64 " calls\n",
                    i, seed, how, w->disk->calls);
        }
        if (how != 0 && how != DISK_EXIT && how != LIFE_FAILED) {
            break;
        }
        end_life(w, how);
    }
    bool kept = how == 0;
    if (!kept) {
        fprintf(stderr,
                "store_sim: seed %" PRIu64
                ": %s (a life ended with %d); again: store_sim_%s --seeds 1 --from %" PRIu64
                " --trace\n",
                seed, w->broken[0] ? w->broken : "a process ended as it should not", how,
                service->name, seed);
    }
    add_counts(total, &w->counts);
    lost[0] += w->disk->syncs;
    lost[1] += w->disk->lost_sectors;
    lost[2] += w->disk->torn_sectors;
    disk_destroy(&w->disk);
    (void)munmap(w, sizeof *w);
    return kept;
}

static int run_seeds(uint64_t from, uint64_t seeds, bool trace)
{
    char directory[] = "/tmp/sl-store-sim-XXXXXX", path[64];
    struct counts c = { 0 };
    uint64_t lost[3] = { 0 };
    bool kept = true;
    if (!mkdtemp(directory)) {
        perror("store_sim: mkdtemp");
        return 1;
    }
    for (uint64_t i = 0; i < seeds && kept; i++) {
        kept = run_seed(from + i, directory, trace, &c, lost);
    }
    static const char *const left[] = { ".lease", ".newer" }; // all that is on a real disk
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        (void)snprintf(path, sizeof path, "%s/%s%s", directory, model.store, left[i]);
        (void)remove(path);
    }
    (void)remove(directory);
    printf("%" PRIu64 " seeds, %" PRIu64 " lives, %" PRIu64 " closed, %" PRIu64 " killed, %" PRIu64
           " power lost, %" PRIu64 " failed syncs, %" PRIu64 " syncs, %" PRIu64
           " sectors lost, %" PRIu64 " sectors torn, %" PRIu64 " checkpoints, %" PRIu64
           " requests, %" PRIu64 " acknowledged, %" PRIu64 " repeated, %" PRIu64
           " replayed, %" PRIu64 " unclear, %" PRIu64 " events, %" PRIu64 " duplicates\n",
           seeds, c.lives, c.closed, c.killed, c.power_lost, c.failed_syncs, lost[0], lost[1],
           lost[2], c.checkpoints, c.requests, c.acknowledged, c.repeated, c.replayed, c.unclear,
           c.events, c.duplicates);
    return kept ? 0 : 1;
}

int __wrap_worker_main(const struct service *given, int argc, char **argv)
{
    uint64_t seeds = 1000, from = 1;
    bool trace = false;
    service = given;
    for (int i = 1; i < argc; i++) {
        uint64_t *number = strcmp(argv[i], "--seeds") == 0  ? &seeds
                           : strcmp(argv[i], "--from") == 0 ? &from
                                                            : NULL;
        char *end = NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else if (!number || i + 1 == argc) {
            return usage(number ? "a number is missing" : "an option is not known");
        } else {
            *number = strtoull(argv[++i], &end, 10);
            if (end == argv[i] || *end) {
                return usage("a number is not one");
            }
        }
    }
    return run_seeds(from, seeds, trace);
}
