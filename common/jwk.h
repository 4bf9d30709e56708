// SPDX-License-Identifier: MIT
// Ed25519 keys as JSON Web Keys (RFC 7517, RFC 8037): the private key that signs access tokens, and
// the set of public keys that verifies them. Only this one kind of key: a verifier of foreign
// tokens has its own reader.
#ifndef COMMON_JWK_H
#define COMMON_JWK_H

#include "common/base64url.h"
#include "proto/buf.h"

#include <stdint.h>

#define JWK_PUBLIC_BYTES 32
#define JWK_SECRET_BYTES 64 // libsodium's form: the seed, then the public key
#define JWK_THUMBPRINT_TEXT BASE64URL_TEXT(32)
#define JWK_MAX_KID 64          // characters of a key id
#define JWK_MAX_BYTES 4096      // of the JSON of one key: room for members that we ignore
#define JWK_SET_MAX_BYTES 65536 // of the JSON of a set
#define JWK_SET_MAX_KEYS 16     // two are in use while one replaces the other

struct jwk {
    uint8_t public_key[JWK_PUBLIC_BYTES];
    uint8_t secret_key[JWK_SECRET_BYTES];
    char kid[JWK_MAX_KID + 1]; // [A-Za-z0-9._-], so it needs no escaping
};

// Makes a new key; its kid is the thumbprint.
void jwk_make(struct jwk *ret_key);

// The RFC 7638 thumbprint of a public key, with a NUL.
void jwk_thumbprint(const uint8_t public_key[JWK_PUBLIC_BYTES], char out[JWK_THUMBPRINT_TEXT + 1]);

// Reads a private key; without a kid it gets its thumbprint. Returns 0 or -EBADMSG: not JSON, not
// an Ed25519 key, x is not the public key of d, or a kid with other characters; or -ENOMEM.
__attribute__((warn_unused_result)) int jwk_read(struct str json, struct jwk *ret_key);

// Appends the private key as JSON and a newline.
void jwk_write(const struct jwk *key, struct buf *json);

// Appends the set `json_set` (empty: no set yet) with the public part of key put first, unless the
// set has its kid already. Returns 1 when it was added, 0 when it was there (nothing is appended),
// or -EBADMSG when json_set is not a JWK set, -ENOSPC when it has JWK_SET_MAX_KEYS already, -ENOMEM.
__attribute__((warn_unused_result)) int jwk_set_add(struct str json_set, const struct jwk *key,
                                                    struct buf *json);

// Appends the set without the keys whose `exp` (seconds since the epoch, as in OpenID Federation;
// keys without one stay) has come at now_s, and with `exp` = exp_s for the key `kid` (NULL: for
// none). Returns 1 when that changes something, with *ret_removed; 0 when it does not (nothing is
// appended); or -EBADMSG when json_set is not a JWK set, or -ENOMEM.
__attribute__((warn_unused_result)) int jwk_set_retire(struct str json_set, const char *kid,
                                                       int64_t exp_s, int64_t now_s,
                                                       int *ret_removed, struct buf *json);

#endif
