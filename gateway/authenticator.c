// SPDX-License-Identifier: MIT
#include "gateway/authenticator.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/process.h"
#include "common/watched_file.h"
#include "gateway/stats.h"
#include "gateway/token_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define METRICS 8

struct authenticator {
    struct authenticator_options options;
    struct jwks keys;
    struct token_cache cache;
    struct revocations revocations;
    struct watched_file file;                   // of the keys
    struct externals *externals;                // NULL: none
    char externals_error[EXTERNALS_ERROR_SIZE]; // of the last look; empty: none
    uint64_t externals_seen;                    // their state when they were looked at last
    int64_t externals_ms;                       // monotonic: when that was
    uv_timer_t timer;
    struct metric invalid, expired, revoked, unknown_key, key_count, reload_failures,
        external_key_count, external_failures;
};

struct revocations *authenticator_revocations(struct authenticator *a)
{
    return &a->revocations;
}

const struct jwks *authenticator_keys(const struct authenticator *a)
{
    return &a->keys;
}

// --- Keys

static int read_keys(const char *path, struct jwks *ret_keys)
{
    struct buf content;
    buf_init(&content, JWK_SET_MAX_BYTES);
    int rc = file_read(path, JWK_SET_MAX_BYTES, &content);
    rc = rc ? rc : jwks_parse(buf_str(&content), ret_keys);
    buf_fini(&content);
    return rc;
}

// Reads the key file when it is another one than before.
static void look(struct authenticator *a)
{
    struct jwks keys;
    if (!watched_file_changed(&a->file)) {
        return; // a file that is away for a moment is being replaced; the keys stay
    }
    int rc = read_keys(a->options.jwks_file, &keys);
    if (rc) {
        metric_add(&a->reload_failures, 1);
        log_error("%s changed, but cannot be used: %s; keeping the keys from before",
                  a->options.jwks_file, rc == -EBADMSG ? "no set of Ed25519 keys" : strerror(-rc));
        if (process_status_of(rc) == EXIT_FAILED) {
            // Else tokens of the new key would be refused until the file changes once more. Whoever
            // asks with one does not have it read at once again.
            watched_file_again(&a->file, KEYS_AGAIN_MS);
        }
        return;
    }
    if (!jwks_includes(&keys, &a->keys)) {
        token_cache_clear(&a->cache); // it has tokens of keys that are gone
    }
    a->keys = keys;
    log_info("read %zu token keys from %s", keys.n, a->options.jwks_file);
}

// As look(), for the external issuers.
static void look_at_externals(struct authenticator *a)
{
    const char *path = a->options.externals_file;
    char error[EXTERNALS_ERROR_SIZE];
    struct externals *fresh;
    if (!path) {
        return;
    }
    a->externals_ms = clock_mono_ms();
    uint64_t state = externals_state(path, a->externals);
    if (state == a->externals_seen && !a->externals_error[0]) {
        return;
    }
    a->externals_seen = state;
    if (externals_load(path, a->options.issuer, &fresh, error)) {
        // It is tried again even if nothing changes here: what is wrong may be in a file that only
        // the new list names.
        if (strcmp(error, a->externals_error) != 0) {
            memcpy(a->externals_error, error, sizeof error);
            metric_add(&a->external_failures, 1);
            log_error("SLUICE_EXTERNAL_ISSUERS %s; keeping the issuers from before", error);
        }
        return;
    }
    a->externals_error[0] = '\0';
    externals_destroy(&a->externals);
    a->externals = fresh;
    a->externals_seen = fresh->state;
    token_cache_clear(&a->cache);
    log_info("read %zu external issuers with %zu keys from %s", fresh->n,
             externals_count_keys(fresh), path);
}

static void on_look(uv_timer_t *timer)
{
    struct authenticator *a = timer->data;
    look(a);
    look_at_externals(a);
}

static int64_t read_external_key_count(void *data)
{
    const struct authenticator *a = data;
    return (int64_t)externals_count_keys(a->externals);
}

static int64_t read_key_count(void *data)
{
    const struct authenticator *a = data;
    return (int64_t)a->keys.n;
}

// --- Tokens

// "Bearer TOKEN", the scheme in any case (RFC 9110 section 11.1).
struct str authenticator_token(struct str authorization)
{
    if (authorization.n < 8 || strncasecmp(authorization.p, "Bearer ", 7) != 0) {
        return (struct str){ NULL, 0 };
    }
    struct str token = { authorization.p + 7, authorization.n - 7 };
    while (token.n && token.p[0] == ' ') {
        token = (struct str){ token.p + 1, token.n - 1 };
    }
    return token;
}

static bool is_revoked(struct authenticator *a, struct token_entry *e)
{
    if (e->revocations_seen == a->revocations.epoch) {
        return false;
    }
    if (revocations_has(&a->revocations, str_of(e->claims.sub), str_of(e->claims.sid),
                        e->claims.issued_ms)) {
        return true;
    }
    e->revocations_seen = a->revocations.epoch;
    return false;
}

static const char *verify(struct authenticator *a, struct str token,
                          const uint8_t hash[TOKEN_HASH_BYTES], int64_t now_s,
                          struct token_entry **ret_entry)
{
    struct jwt_rules rules = { &a->keys, a->options.issuer, a->options.audience, now_s,
                               a->externals };
    struct jwt_claims claims;
    int rc = jwt_verify(token, &rules, &claims);
    if (rc == -ENOKEY) { // of a key that is new?
        look(a);
        if (clock_mono_ms() - a->externals_ms >= EXTERNALS_LOOK_MS) {
            look_at_externals(a);
        }
        rules.externals = a->externals;
        rc = jwt_verify(token, &rules, &claims);
    }
    if (rc) {
        metric_add(rc == -EKEYEXPIRED ? &a->expired
                   : rc == -ENOKEY    ? &a->unknown_key
                                      : &a->invalid,
                   1);
        return rc == -EKEYEXPIRED ? "The access token has expired."
                                  : "The access token is not valid.";
    }
    *ret_entry = token_cache_put(&a->cache, hash, &claims);
    metric_add(&a->options.stats->tokens_verified, 1);
    return NULL;
}

const char *authenticator_check(struct authenticator *a, struct str authorization,
                                struct jwt_claims *ret_claims)
{
    uint8_t hash[TOKEN_HASH_BYTES];
    struct str token = authenticator_token(authorization);
    if (token.n == 0 || token.n > TOKEN_MAX_BYTES) {
        metric_add(&a->invalid, 1);
        return "Authorization must be: Bearer, a blank, and an access token of at most 4096 bytes.";
    }
    int64_t now_s = clock_wall_ms() / 1000;
    token_cache_hash(&a->cache, token, hash);
    struct token_entry *e = token_cache_find(&a->cache, hash);
    if (e) {
        metric_add(&a->options.stats->tokens_cached, 1);
    } else {
        const char *wrong = verify(a, token, hash, now_s, &e);
        if (wrong) {
            return wrong;
        }
    }
    if (e->claims.exp_s <= now_s) {
        metric_add(&a->expired, 1);
        return "The access token has expired.";
    }
    if (is_revoked(a, e)) {
        metric_add(&a->revoked, 1);
        return "The access token was revoked.";
    }
    *ret_claims = e->claims;
    return NULL;
}

// --- Opening and closing

static struct metric *const *metrics_of(struct authenticator *a, struct metric *list[METRICS])
{
    struct metric *all[] = { &a->invalid,
                             &a->expired,
                             &a->revoked,
                             &a->unknown_key,
                             &a->key_count,
                             &a->reload_failures,
                             &a->external_key_count,
                             &a->external_failures };
    static_assert(sizeof all / sizeof *all == METRICS, "all of them");
    memcpy(list, all, sizeof all);
    return list;
}

static void open_metrics(struct authenticator *a)
{
#define REFUSED(reason)                                                                            \
    METRIC_COUNTER_INIT("sluice_gateway_tokens_refused_total",                                     \
                        "Access tokens refused, by reason.", "reason=\"" reason "\"")
    a->invalid = (struct metric)REFUSED("invalid");
    a->expired = (struct metric)REFUSED("expired");
    a->revoked = (struct metric)REFUSED("revoked");
    a->unknown_key = (struct metric)REFUSED("unknown-key");
    a->key_count = (struct metric)METRIC_GAUGE_INIT(
        "sluice_gateway_token_keys", "Keys that access tokens are verified with.", "whose=\"own\"");
    a->key_count.read = read_key_count;
    a->key_count.data = a;
    a->reload_failures = (struct metric)METRIC_COUNTER_INIT(
        "sluice_gateway_token_key_failures_total",
        "Times that files of keys or of issuers changed and could not be used.", "whose=\"own\"");
    a->external_key_count = (struct metric)METRIC_GAUGE_INIT(
        "sluice_gateway_token_keys", "Keys that access tokens are verified with.",
        "whose=\"external\"");
    a->external_key_count.read = read_external_key_count;
    a->external_key_count.data = a;
    a->external_failures = (struct metric)METRIC_COUNTER_INIT(
        "sluice_gateway_token_key_failures_total",
        "Times that files of keys or of issuers changed and could not be used.",
        "whose=\"external\"");
    struct metric *list[METRICS];
    for (size_t i = 0; i < METRICS; i++) {
        metrics_register(metrics_of(a, list)[i]);
    }
}

static void destroy(struct authenticator *a)
{
    externals_destroy(&a->externals);
    token_cache_fini(&a->cache);
    revocations_fini(&a->revocations);
    free(a);
}

int authenticator_open(uv_loop_t *loop, const struct authenticator_options *options,
                       struct authenticator **ret_authenticator, char error[EXTERNALS_ERROR_SIZE])
{
    error[0] = '\0';
    if (sodium_init() < 0) {
        return -ENOSYS;
    }
    struct authenticator *a = calloc(1, sizeof *a);
    if (!a) {
        return -ENOMEM;
    }
    a->options = *options;
    int rc = watched_file_begin(&a->file, options->jwks_file) ? 0 : -errno;
    rc = rc ? rc : read_keys(options->jwks_file, &a->keys);
    if (rc == 0 && options->externals_file) {
        rc = externals_load(options->externals_file, options->issuer, &a->externals, error);
        a->externals_seen = rc ? 0 : a->externals->state;
    }
    rc = rc ? rc : token_cache_init(&a->cache, options->cache_entries);
    rc = rc ? rc : revocations_init(&a->revocations);
    if (rc) {
        destroy(a);
        return rc;
    }
    open_metrics(a);
    a->timer.data = a;
    (void)uv_timer_init(loop, &a->timer);                                 // cannot fail
    (void)uv_timer_start(&a->timer, on_look, KEYS_LOOK_MS, KEYS_LOOK_MS); // only without callback
    *ret_authenticator = a;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    destroy(handle->data);
}

void authenticator_close(struct authenticator **authenticator)
{
    struct authenticator *a = *authenticator;
    *authenticator = NULL;
    if (a) {
        struct metric *list[METRICS];
        for (size_t i = 0; i < METRICS; i++) {
            metrics_unregister(metrics_of(a, list)[i]);
        }
        uv_close((uv_handle_t *)&a->timer, on_closed);
    }
}
