// SPDX-License-Identifier: MIT
// Which key signs.
#include "services/users/signing.h"

#include "common/jwk.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/process.h"
#include "common/watched_file.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

static struct {
    struct signing_options options;
    char path[PATH_MAX]; // of the key; empty: it was given
    struct watched_file file;
    struct token_issuer *issuer;
} signing;

static struct metric failures = METRIC_COUNTER_INIT(
    "sluice_users_token_key_failures_total",
    "Times that secrets/signing/token.key changed and could not be used, or could not be rotated.",
    "what=\"read\"");

static int make_issuer(struct str key, struct token_issuer **ret, char error[CONFIG_ERROR_SIZE])
{
    const struct signing_options *o = &signing.options;
    int r = token_issuer_open(key, o->issuer, o->audience, o->ttl_ms, ret);
    if (r < 0) {
        (void)snprintf(error, CONFIG_ERROR_SIZE, "the token key %s",
                       r == -ENOMEM ? "finds no memory" : "is not a private Ed25519 JWK");
    }
    return r;
}

static int read_issuer(struct token_issuer **ret, char error[CONFIG_ERROR_SIZE])
{
    struct buf key;
    buf_init(&key, JWK_MAX_BYTES);
    key.wipes = true;
    int r = keys_read(signing.options.home, "signing/token.key", JWK_MAX_BYTES, &key, error);
    r = r < 0 ? r : make_issuer(buf_str(&key), ret, error);
    buf_wipe(&key);
    buf_fini(&key);
    return r;
}

int signing_open(const struct signing_options *options, char error[CONFIG_ERROR_SIZE])
{
    assert(!signing.issuer);
    signing.options = *options;
    signing.path[0] = '\0';
    int r;
    if (options->given) {
        r = make_issuer(str_of(options->given), &signing.issuer, error);
    } else {
        int n = snprintf(signing.path, sizeof signing.path, "%s/secrets/signing/token.key",
                         options->home);
        assert(n > 0 && (size_t)n < sizeof signing.path); // the home was opened already
        // Before reading: a file that is replaced in between is read twice, never missed. One that is
        // not there cannot be read.
        (void)watched_file_begin(&signing.file, signing.path);
        r = read_issuer(&signing.issuer, error);
    }
    signing.options.given = NULL;
    if (r == 0) {
        metrics_register(&failures);
    }
    return r < 0 ? r : 0;
}

void signing_close(void)
{
    if (signing.issuer) {
        metrics_unregister(&failures);
    }
    token_issuer_close(&signing.issuer);
}

static void refuse_new_key(int r, const char *error)
{
    metric_add(&failures, 1);
    log_error("%s changed, but cannot be used: %s; signing with the key from before", signing.path,
              error);
    if (process_status_of(r) == EXIT_FAILED) {
        watched_file_again(&signing.file, SIGNING_AGAIN_MS);
    }
}

const struct token_issuer *signing_issuer(void)
{
    assert(signing.issuer);
    if (!signing.path[0] || !watched_file_changed(&signing.file)) {
        return signing.issuer; // a file that is away for a moment is being replaced by hand
    }
    char error[CONFIG_ERROR_SIZE];
    struct token_issuer *issuer;
    int r = read_issuer(&issuer, error);
    if (r < 0) {
        refuse_new_key(r, error);
        return signing.issuer;
    }
    token_issuer_close(&signing.issuer);
    signing.issuer = issuer;
    log_info("signing with key %s from now on", token_issuer_kid(issuer));
    return issuer;
}
