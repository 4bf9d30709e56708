// SPDX-License-Identifier: MIT
// Verifies access tokens: JWS compact serialisation (RFC 7515) of an RFC 9068 claims set. `iss`
// chooses whose keys count, ours or those of an external issuer (gateway/externals.h), and `kid` one
// of them; the algorithm is the key's, not the token's (RFC 8725 section 3.1). Ours are Ed25519.
// Headers that would bring a key along, unknown critical ones and duplicate members are refused.
#ifndef GATEWAY_JWT_H
#define GATEWAY_JWT_H

#include "gateway/jwks.h"
#include "gateway/limits.h"

#define JWT_LEEWAY_S 30 // by how much the clocks of issuer and gateway may differ for nbf and iat
#define JWT_OWN_LEEWAY_S 7200 // of ours: it is the same clock, and may have been set back meanwhile
#define JWT_TEXT_MAX 64 // bytes of sub, role and sid

struct externals;

struct jwt_claims {
    char sub[JWT_TEXT_MAX + 1]; // user id; of an external issuer "name:sub"
    char role[JWT_TEXT_MAX + 1];
    char sid[JWT_TEXT_MAX + 1]; // session id; of an external issuer "name:" and a hash of the token
    int64_t exp_s;              // not valid from then on
    int64_t issued_ms; // from a jti that is a UUIDv7, else from iat, which has only seconds
};

struct jwt_rules {
    const struct jwks *keys;
    const char *issuer;
    const char *audience;
    int64_t now_s;                     // wall clock
    const struct externals *externals; // NULL: none
};

// Returns 0 with *ret_claims; -EKEYEXPIRED for a token that was valid once; -ENOKEY for one of a
// key that is not there (a new one may be); -EACCES for any other mistake.
__attribute__((warn_unused_result)) int jwt_verify(struct str token, const struct jwt_rules *rules,
                                                   struct jwt_claims *ret_claims);

#endif
