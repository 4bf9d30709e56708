// SPDX-License-Identifier: MIT
// The public keys that access tokens are verified with: the Ed25519 keys of a JSON Web Key Set (RFC
// 7517, RFC 8037). Other keys in the set are ignored, and private parts never leave this module.
#ifndef GATEWAY_JWKS_H
#define GATEWAY_JWKS_H

#include "common/jwk.h"

#include <stdbool.h>

#define JWKS_MAX_KEYS JWK_SET_MAX_KEYS

struct jwks_key {
    char kid[JWK_MAX_KID + 1];
    uint8_t public_key[JWK_PUBLIC_BYTES];
    int64_t exp_s; // not used from then on; INT64_MAX: no end
};

struct jwks {
    size_t n;
    struct jwks_key keys[JWKS_MAX_KEYS];
};

// Reads a set. Returns 0, or -EBADMSG: not a set, two keys with one kid, or no key that can be
// used.
__attribute__((warn_unused_result)) int jwks_parse(struct str json, struct jwks *ret_set);

// Whether each key of a is in b: what was verified with a would be with b.
bool jwks_includes(const struct jwks *b, const struct jwks *a);

const struct jwks_key *jwks_find(const struct jwks *set, struct str kid);

// Appends the set as JSON, public members only.
void jwks_render(const struct jwks *set, struct buf *json);

#endif
