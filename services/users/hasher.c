// SPDX-License-Identifier: MIT
#include "services/users/hasher.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/worker.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS WORKER_COMPUTE_THREADS // as many callers at once at most
#define LATE 1                       // of ask(): no answer yet

// --- Messages of a link. Both ends are the same program.

struct request {
    uint32_t number, passes, kib;
    unsigned char salt[HASHER_SALT_BYTES];
    char password[HASHER_PASSWORD_BYTES]; // the rest of the message
};
#define REQUEST_BYTES offsetof(struct request, password) // without it

struct answer {
    uint32_t number;
    int32_t status;
    unsigned char hash[HASHER_BYTES];
};

static int compute(const struct hasher_job *job, unsigned char ret_hash[HASHER_BYTES])
{
    errno = 0;
    if (crypto_pwhash(ret_hash, HASHER_BYTES, job->password.p, job->password.n, job->salt,
                      job->passes, (size_t)job->kib * 1024, crypto_pwhash_ALG_ARGON2ID13) == 0) {
        return 0;
    }
    return errno == EINVAL ? -EINVAL : -ENOMEM;
}

// --- In the companion

static void serve(int link)
{
    const struct sched_param none = { 0 };
    struct request q;
    ssize_t n;
    (void)sched_setscheduler(0, SCHED_IDLE, &none); // this thread; refused: then as everybody
    while ((n = recv(link, &q, sizeof q, 0)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < (ssize_t)REQUEST_BYTES) {
            continue;
        }
        struct hasher_job job = {
            { q.password, (size_t)n - REQUEST_BYTES }, q.passes, q.kib, q.salt
        };
        struct answer a = { .number = q.number };
        a.status = compute(&job, a.hash);
        sodium_memzero(&q, sizeof q);
        (void)send(link, &a, sizeof a, MSG_NOSIGNAL); // fails at its end, which comes next
        sodium_memzero(&a, sizeof a);
    }
}

// --- In the process

// NONE --companion--> FREE --take--> TAKEN --answered, or its end--> FREE
//                                      '--late--> OWING --take, when the answer has come--> TAKEN
enum state { NONE, FREE, TAKEN, OWING };

static struct lane {
    int fd;
    _Atomic int state;
    uint32_t number; // of the last request; whoever took the lane has it
} lanes[LINKS];

static _Atomic int64_t busy_until_ms, least_us;

static struct metric hashes[] = {
    METRIC_COUNTER_INIT("sluice_users_password_hashes_total",
                        "Password hashes, by who computed them: the companion, or a worker thread "
                        "because it was late.",
                        "by=\"companion\""),
    METRIC_COUNTER_INIT("sluice_users_password_hashes_total", NULL, "by=\"worker\""),
};
enum { BY_COMPANION, BY_WORKER };

static void on_links(const int links[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        lanes[i].fd = links[i];
        lanes[i].number = 0;
        atomic_store(&lanes[i].state, FREE);
    }
}

const struct companion hasher_companion = {
    .name = "users-hasher", .n_links = LINKS, .serve = serve, .on_links = on_links
};

void hasher_open(void)
{
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        metrics_register(&hashes[i]);
    }
}

void hasher_close(void)
{
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        metrics_unregister(&hashes[i]);
    }
    for (size_t i = 0; i < LINKS; i++) {
        if (atomic_exchange(&lanes[i].state, NONE) != NONE) {
            (void)close(lanes[i].fd);
        }
    }
}

static int patience_ms(void)
{
    int64_t ms = atomic_load(&least_us) * HASHER_PATIENCE_TIMES / 1000;
    return ms < HASHER_PATIENCE_MIN_MS   ? HASHER_PATIENCE_MIN_MS
           : ms > HASHER_PATIENCE_MAX_MS ? HASHER_PATIENCE_MAX_MS
                                         : (int)ms;
}

static void note_time(int64_t us)
{
    int64_t least = atomic_load(&least_us);
    while ((least == 0 || us < least) && !atomic_compare_exchange_weak(&least_us, &least, us)) {
    }
}

// The answer to the lane's last request, waiting so long. 0, LATE, or -EPIPE at its end.
static int await_answer(const struct lane *l, int wait_ms, struct answer *a)
{
    int64_t end_ms = clock_mono_ms() + wait_ms, left_ms = wait_ms;
    do {
        struct pollfd p = { .fd = l->fd, .events = POLLIN };
        errno = 0;
        ssize_t n = poll(&p, 1, (int)left_ms) == 1 ? recv(l->fd, a, sizeof *a, MSG_DONTWAIT) : -1;
        if (n == (ssize_t)sizeof *a && a->number == l->number) {
            return 0;
        }
        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            return -EPIPE;
        }
        left_ms = end_ms - clock_mono_ms();
    } while (left_ms > 0);
    return LATE;
}

// A lane that waits for nothing. NULL: there is none.
static struct lane *take_lane(void)
{
    for (struct lane *l = lanes; l < lanes + LINKS; l++) {
        int was = FREE;
        if (atomic_compare_exchange_strong(&l->state, &was, TAKEN)) {
            return l;
        }
        was = OWING;
        if (atomic_compare_exchange_strong(&l->state, &was, TAKEN)) {
            struct answer late;
            int r = await_answer(l, 0, &late);
            sodium_memzero(&late, sizeof late);
            if (r != LATE) {
                return l;
            }
            atomic_store(&l->state, OWING);
        }
    }
    return NULL;
}

static int send_request(struct lane *l, const struct hasher_job *job)
{
    struct request q = { .number = ++l->number, .passes = job->passes, .kib = job->kib };
    size_t n = REQUEST_BYTES + job->password.n;
    memcpy(q.salt, job->salt, sizeof q.salt);
    if (job->password.n > 0) {
        memcpy(q.password, job->password.p, job->password.n);
    }
    bool sent = send(l->fd, &q, n, MSG_NOSIGNAL) == (ssize_t)n;
    sodium_memzero(&q, sizeof q);
    return sent ? 0 : -EPIPE;
}

// Has the companion compute. 0 with *ret_status set; else LATE, or -EPIPE when it is gone and this process about to end,
// and the caller computes.
static int ask(struct lane *l, const struct hasher_job *job, unsigned char ret_hash[HASHER_BYTES],
               int *ret_status)
{
    struct answer a;
    int r = send_request(l, job);
    r = r ? r : await_answer(l, patience_ms(), &a);
    if (r == 0) {
        *ret_status = a.status;
        memcpy(ret_hash, a.hash, sizeof a.hash);
        sodium_memzero(&a, sizeof a);
    }
    atomic_store(&l->state, r == LATE ? OWING : FREE);
    return r;
}

int hasher_derive(const struct hasher_job *job, unsigned char ret_hash[HASHER_BYTES])
{
    int64_t begin_us = clock_mono_us();
    bool may =
        job->password.n <= HASHER_PASSWORD_BYTES && begin_us / 1000 >= atomic_load(&busy_until_ms);
    struct lane *l = may ? take_lane() : NULL;
    int status, r = l ? ask(l, job, ret_hash, &status) : LATE;
    if (l && r == LATE) {
        atomic_store(&busy_until_ms, clock_mono_ms() + HASHER_BUSY_MS);
        log_debug("the machine is busy: passwords are hashed by worker threads for %d ms",
                  HASHER_BUSY_MS);
    }
    metric_add(&hashes[r == 0 ? BY_COMPANION : BY_WORKER], 1);
    if (r != 0) {
        begin_us = clock_mono_us();
        status = compute(job, ret_hash);
    }
    if (status == 0) {
        note_time(clock_mono_us() - begin_us);
    }
    return status;
}
