// SPDX-License-Identifier: MIT
// Rotation of the signing key.
#include "services/users/key_rotation.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/process.h"
#include "proto/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COMPLAIN_EVERY_MS (60 * 60 * 1000) // about a rotation by age that fails

// The files, while secrets/ is locked.
struct work {
    char token[PATH_MAX], next[PATH_MAX], set[PATH_MAX];
    int lock_fd;
    int64_t now_ms;
    struct key_rotation *report;
    char *error; // CONFIG_ERROR_SIZE
};

static int fail(const struct work *w, int rc, const char *path, const char *what)
{
    (void)snprintf(w->error, CONFIG_ERROR_SIZE, "%.300s: %.100s", path,
                   what ? what : strerror(-rc));
    return rc;
}

static int make_path(const char *home, const char *name, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/secrets%s%s", home, name[0] ? "/" : "", name);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int begin_work(struct work *w, const char *home)
{
    char dir[PATH_MAX];
    if (make_path(home, "", dir) || make_path(home, "signing/token.key", w->token) ||
        make_path(home, "signing/token.next.key", w->next) ||
        make_path(home, "public/jwks.json", w->set)) {
        return fail(w, -ENAMETOOLONG, home, NULL);
    }
    w->lock_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->lock_fd < 0 || flock(w->lock_fd, LOCK_EX) < 0) { // as keys_make() locks it
        int rc = fail(w, -errno, dir, NULL);
        if (w->lock_fd >= 0) {
            close(w->lock_fd);
        }
        return rc;
    }
    return 0;
}

// --- Files

// -ENOENT without a line when the key is not there.
static int read_key(const struct work *w, const char *path, struct jwk *ret)
{
    struct buf content;
    buf_init(&content, JWK_MAX_BYTES);
    content.wipes = true;
    int rc = file_read(path, JWK_MAX_BYTES, &content);
    if (rc == 0) {
        rc = jwk_read(buf_str(&content), ret);
        rc = rc ? fail(w, rc, path, rc == -EBADMSG ? "not a private Ed25519 JWK" : NULL) : 0;
    } else if (rc != -ENOENT) {
        rc = fail(w, rc, path, NULL);
    }
    buf_wipe(&content);
    buf_fini(&content);
    return rc;
}

static int write_key(const struct work *w, const char *path, const struct jwk *key)
{
    struct buf content;
    buf_init(&content, JWK_MAX_BYTES);
    content.wipes = true;
    jwk_write(key, &content);
    int rc = buf_error(&content);
    rc = rc ? rc : file_replace(path, buf_str(&content), 0600);
    buf_wipe(&content);
    buf_fini(&content);
    return rc ? fail(w, rc, path, NULL) : 0;
}

// Puts the set in place with the mode that it had.
static int put_set(const struct work *w, const struct buf *json)
{
    struct stat st;
    mode_t mode = stat(w->set, &st) == 0 ? st.st_mode & 0644 : 0600;
    int rc = buf_error(json);
    rc = rc ? rc : file_replace(w->set, buf_str(json), mode);
    return rc ? fail(w, rc, w->set, NULL) : 0;
}

static int read_set(const struct work *w, struct buf *ret)
{
    int rc = file_read(w->set, JWK_SET_MAX_BYTES, ret);
    return rc && rc != -ENOENT ? fail(w, rc, w->set, NULL) : 0;
}

static int64_t age_ms(const struct work *w, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return 0;
    }
    int64_t age = w->now_ms - ((int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000);
    return age > 0 ? age : 0; // a clock that was set back: as if it were new
}

// --- Steps

// Sees to it that the set has the key.
static int publish(const struct work *w, const struct jwk *key)
{
    struct buf set, changed;
    buf_init(&set, JWK_SET_MAX_BYTES);
    buf_init(&changed, JWK_SET_MAX_BYTES);
    int rc = read_set(w, &set);
    if (rc == 0) {
        rc = jwk_set_add(buf_str(&set), key, &changed);
        rc = rc == -EBADMSG  ? fail(w, rc, w->set, "not a JWK set")
             : rc == -ENOSPC ? fail(w, rc, w->set,
                                    "has as many keys as gateways take; wait until the oldest is "
                                    "removed, or remove what is not needed")
             : rc < 0        ? fail(w, rc, w->set, NULL)
             : rc > 0        ? put_set(w, &changed)
                             : 0;
    }
    buf_fini(&set);
    buf_fini(&changed);
    return rc;
}

// Says of old_kid (NULL: of none) when it ends, and removes what has ended.
static int prune(const struct work *w, const char *old_kid)
{
    struct buf set, changed;
    buf_init(&set, JWK_SET_MAX_BYTES);
    buf_init(&changed, JWK_SET_MAX_BYTES);
    int rc = read_set(w, &set);
    if (rc == 0 && set.len > 0) {
        int64_t now_s = w->now_ms / 1000;
        int removed;
        rc = jwk_set_retire(buf_str(&set), old_kid, now_s + KEY_ROTATION_KEEP_S, now_s, &removed,
                            &changed);
        if (rc < 0) {
            rc = fail(w, rc, w->set, rc == -EBADMSG ? "not a JWK set" : NULL);
        } else if (rc > 0) {
            rc = put_set(w, &changed);
            w->report->removed += rc ? 0 : removed;
        }
    }
    buf_fini(&set);
    buf_fini(&changed);
    return rc;
}

static int switch_over(const struct work *w, const struct jwk *old)
{
    if (rename(w->next, w->token) < 0) {
        return fail(w, -errno, w->token, NULL);
    }
    if (fsync(w->lock_fd) < 0) { // it is the directory
        return fail(w, -errno, w->token, NULL);
    }
    w->report->switched = true;
    w->report->old_until_s = w->now_ms / 1000 + KEY_ROTATION_KEEP_S;
    return prune(w, old->kid);
}

static int take_step(const struct work *w, int64_t settle_ms, bool begin, struct jwk *current,
                     struct jwk *next)
{
    struct key_rotation *report = w->report;
    int rc = read_key(w, w->token, current);
    if (rc) {
        return rc == -ENOENT ? fail(w, rc, w->token, "is not there; `sluice init` makes it") : rc;
    }
    memcpy(report->old_kid, current->kid, sizeof report->old_kid);
    rc = prune(w, NULL);
    rc = rc ? rc : read_key(w, w->next, next);
    if (rc == -ENOENT && begin) {
        jwk_make(next);
        rc = write_key(w, w->next, next);
        report->published = rc == 0;
    }
    if (rc) {
        return rc == -ENOENT ? 0 : rc;
    }
    memcpy(report->kid, next->kid, sizeof report->kid);
    rc = publish(w, next);
    if (rc) {
        if (report->published) {
            (void)unlink(w->next); // as if nothing had been tried
        }
        return rc;
    }
    int64_t key_age = age_ms(w, w->next), set_age = age_ms(w, w->set);
    int64_t public_ms = key_age < set_age ? key_age : set_age;
    report->wait_ms = public_ms < settle_ms ? settle_ms - public_ms : 0;
    return report->wait_ms > 0 ? 0 : switch_over(w, current);
}

int key_rotation_step(const char *home, int64_t now_ms, int64_t settle_ms, bool begin,
                      struct key_rotation *ret, char error[CONFIG_ERROR_SIZE])
{
    struct key_rotation report = { 0 };
    struct work w = { .now_ms = now_ms, .report = &report, .error = error };
    struct jwk current = { 0 }, next = { 0 };
    if (sodium_init() < 0) {
        return fail(&w, -EIO, "libsodium", "cannot start");
    }
    int rc = begin_work(&w, home);
    if (rc) {
        return rc;
    }
    rc = take_step(&w, settle_ms, begin, &current, &next);
    close(w.lock_fd); // releases the lock
    sodium_memzero(&current, sizeof current);
    sodium_memzero(&next, sizeof next);
    if (rc == 0) {
        *ret = report;
    }
    return rc;
}

// --- By hand

static void wait_ms(int64_t ms)
{
    struct timespec left = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

static void say(const struct key_rotation *r)
{
    char until[TIMESTAMP_SIZE];
    if (r->removed) {
        printf("removed %d old key%s, whose last tokens have expired\n", r->removed,
               r->removed == 1 ? "" : "s");
    }
    if (r->switched) {
        (void)timestamp_format(r->old_until_s * 1000, until);
        printf("key %s signs now; the old one, %s, stays in jwks.json until %s and is removed by "
               "a rotation after that\n",
               r->kid, r->old_kid, until);
    } else if (r->wait_ms > 0) {
        printf("%s %s in jwks.json; it signs in %lld ms\n",
               r->published ? "made a new key," : "a new key is on its way:", r->kid,
               (long long)r->wait_ms);
    }
    (void)fflush(stdout);
}

int key_rotation_run(const char *home, int64_t settle_ms)
{
    char error[CONFIG_ERROR_SIZE];
    struct key_rotation r;
    bool begin = true;
    do {
        int rc = key_rotation_step(home, clock_wall_ms(), settle_ms, begin, &r, error);
        if (rc) {
            (void)fprintf(stderr, "sluice-users: rotate-key: %s\n", error);
            return rc == -EBADMSG || rc == -ENOENT ? EXIT_CONFIG : EXIT_FAILED;
        }
        say(&r);
        begin = false;
        wait_ms(r.wait_ms);
    } while (r.wait_ms > 0);
    if (!r.switched) {
        printf("key %s signs: another rotation at the same time saw to it\n", r.old_kid);
    }
    return EXIT_OK;
}

// --- By age

static struct {
    const char *home;
    int64_t max_age_ms;
    int64_t complained_ms; // monotonic; 0: not yet
} by_age;

static struct metric failures = METRIC_COUNTER_INIT(
    "sluice_users_token_key_failures_total",
    "Times that secrets/signing/token.key changed and could not be used, or could not be rotated.",
    "what=\"rotate\"");
static struct metric age = METRIC_GAUGE_INIT(
    "sluice_users_token_key_age_seconds",
    "How old the key that signs access tokens is; 0 when it comes from the configuration.", NULL);

static int64_t read_age_s(void *data)
{
    (void)data;
    struct work w = { .now_ms = clock_wall_ms() };
    return by_age.home && make_path(by_age.home, "signing/token.key", w.token) == 0
               ? age_ms(&w, w.token) / 1000
               : 0;
}

void key_rotation_open(const char *home, int64_t max_age_ms)
{
    by_age.home = home;
    by_age.max_age_ms = max_age_ms;
    by_age.complained_ms = 0;
    age.read = read_age_s;
    metrics_register(&age);
    metrics_register(&failures);
}

void key_rotation_close(void)
{
    if (age.read) {
        metrics_unregister(&age);
        metrics_unregister(&failures);
        age.read = NULL;
    }
}

int on_key_rotation(struct db *db, int64_t now_ms, void *data)
{
    (void)db, (void)data;
    char error[CONFIG_ERROR_SIZE];
    struct key_rotation r;
    if (!by_age.home || by_age.max_age_ms == 0) {
        return 0;
    }
    bool old = read_age_s(NULL) * 1000 >= by_age.max_age_ms;
    if (key_rotation_step(by_age.home, now_ms, KEY_ROTATION_UNATTENDED_MS, old, &r, error)) {
        int64_t now_mono_ms = clock_mono_ms();
        metric_add(&failures, 1);
        if (!by_age.complained_ms || now_mono_ms - by_age.complained_ms >= COMPLAIN_EVERY_MS) {
            by_age.complained_ms = now_mono_ms;
            log_warn("cannot rotate the token key, ignoring it for an hour: %s", error);
        }
        return 0; // nothing of the store
    }
    if (r.published || r.switched || r.removed) {
        log_info("token key %s: %s; %d old keys removed", r.kid[0] ? r.kid : r.old_kid,
                 r.switched    ? "signs from now on"
                 : r.published ? "is public now"
                               : "signs",
                 r.removed);
    }
    return 0;
}
