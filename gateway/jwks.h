// SPDX-License-Identifier: MIT
// The public keys that access tokens are verified with: those keys of a JSON Web Key Set (RFC 7517,
// RFC 7518 section 6, RFC 8037) that are for one of the algorithms asked for. Others are ignored,
// and private parts never leave this module. What a key is fixes the algorithm that it verifies.
#ifndef GATEWAY_JWKS_H
#define GATEWAY_JWKS_H

#include "common/jwk.h"
#include "gateway/jws.h"

#include <stdbool.h>

#define JWKS_MAX_KEYS JWK_SET_MAX_KEYS

struct jwks_key {
    char kid[JWK_MAX_KID + 1];
    uint8_t public_key[JWK_PUBLIC_BYTES];
    int64_t exp_s; // not used from then on; INT64_MAX: no end
    enum jws_algorithm algorithm;
    struct evp_pkey_st *evp; // owned; of ES256 and RS256
};

struct jwks {
    size_t n;
    struct jwks_key keys[JWKS_MAX_KEYS];
};

// Reads the Ed25519 keys of a set; what it gives owns nothing. Returns 0, or -EBADMSG: not a set, two
// keys with one kid, or no key that can be used; or -ENOMEM.
__attribute__((warn_unused_result)) int jwks_parse(struct str json, struct jwks *ret_set);

// Adds the keys of a set that are for one of the algorithms (bits 1 << enum jws_algorithm) to an
// initialised set. Returns 0; -EBADMSG as above, also for a key of a wrong form; -ENOSPC over
// JWKS_MAX_KEYS; or -ENOMEM. *ret_key is the index in `keys` of what is wrong, or SIZE_MAX. The set
// may have been added to; jwks_fini() frees it.
__attribute__((warn_unused_result)) int jwks_add(struct jwks *set, struct str json,
                                                 unsigned algorithms, size_t *ret_key);
void jwks_fini(struct jwks *set);

// Whether each key of a is in b: what was verified with a would be with b.
bool jwks_includes(const struct jwks *b, const struct jwks *a);

const struct jwks_key *jwks_find(const struct jwks *set, struct str kid);

// Appends the set as JSON, public members only.
void jwks_render(const struct jwks *set, struct buf *json);

#endif
