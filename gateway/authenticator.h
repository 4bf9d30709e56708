// SPDX-License-Identifier: MIT
// Who asks: verifies the access token of a request against the keys of SLUICE_JWKS_FILE, a cache of
// verified tokens and the revocations heard of. The file is looked at every KEYS_LOOK_MS, and at
// once when a token names a key that is not known: so a key works from the moment that it is in the
// file. It is read only when it is another file than before, so tokens with made-up keys cost a
// stat(2) each. A file that cannot be used changes nothing; it is logged, counted and has an alert;
// one that cannot be read for a moment (no descriptor, no memory) is read again.
#ifndef GATEWAY_AUTHENTICATOR_H
#define GATEWAY_AUTHENTICATOR_H

#include "gateway/externals.h"
#include "gateway/jwt.h"
#include "gateway/revocations.h"

#include <uv.h>

#define KEYS_LOOK_MS 2000 // how often the key files are looked at
// How soon a file is read again that could not be for a reason that may pass; below KEYS_LOOK_MS, so
// that the next look does.
#define KEYS_AGAIN_MS 1000

// Tokens of unknown external keys have the files looked at no more often than this: there may be a
// hundred of them.
#define EXTERNALS_LOOK_MS 100

struct authenticator;
struct stats;

struct authenticator_options {
    const char *jwks_file; // borrowed, as the next two
    const char *issuer;
    const char *audience;
    size_t cache_entries;
    struct stats *stats;
    const char *externals_file; // SLUICE_EXTERNAL_ISSUERS; NULL: no external issuers
};

// Returns 0; -EBADMSG when the file has no usable key, or another negative errno of reading it; or,
// with one line in error (else empty), what is wrong with the external issuers.
__attribute__((warn_unused_result)) int
authenticator_open(uv_loop_t *loop, const struct authenticator_options *options,
                   struct authenticator **ret_authenticator, char error[EXTERNALS_ERROR_SIZE]);
void authenticator_close(struct authenticator **a);

// The token of an Authorization field of the scheme Bearer; n == 0: it has none.
struct str authenticator_token(struct str authorization);

// Checks the value of an Authorization field. Returns NULL with *ret_claims, or what is wrong, as a
// sentence for the client.
const char *authenticator_check(struct authenticator *a, struct str authorization,
                                struct jwt_claims *ret_claims);

struct revocations *authenticator_revocations(struct authenticator *a);

// The keys in use.
const struct jwks *authenticator_keys(const struct authenticator *a);

#endif
