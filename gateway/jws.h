// SPDX-License-Identifier: MIT
// Signatures of JSON Web Signatures (RFC 7515) with the algorithms that access tokens may have:
// EdDSA with Ed25519 (RFC 8037; `Ed25519` in RFC 9864), ES256 and RS256 (RFC 7518 sections 3.3,
// 3.4). Verifies only. No MACs: a key that verifies must never be one that signs.
#ifndef GATEWAY_JWS_H
#define GATEWAY_JWS_H

#include "proto/str.h"

#include <stdbool.h>
#include <stdint.h>

#define JWS_ED25519_BYTES 32
#define JWS_RSA_MIN_BITS 2048 // RFC 7518 section 3.3
#define JWS_RSA_MAX_BITS 8192 // more only costs time, and a signature as long as the token may be

enum jws_algorithm { JWS_EDDSA, JWS_ES256, JWS_RS256 };

struct evp_pkey_st; // OpenSSL's EVP_PKEY

// Whether alg is the name of one of them.
bool jws_algorithm_named(struct str alg, enum jws_algorithm *ret_algorithm);

// The public key of P-256 with these coordinates, or of RSA with this modulus and exponent; all in
// base64url. Returns 0 with a key for jws_key_free(), -EBADMSG when it is none (also for RSA keys
// outside of the limits above), or -ENOMEM.
__attribute__((warn_unused_result)) int jws_ec_key(struct str x, struct str y,
                                                   struct evp_pkey_st **ret_key);
__attribute__((warn_unused_result)) int jws_rsa_key(struct str n, struct str e,
                                                    struct evp_pkey_st **ret_key);
void jws_key_free(struct evp_pkey_st **key);

// Whether signature (raw: 64 bytes, r||s, or as long as the modulus) is that of the bytes.
bool jws_eddsa_valid(const uint8_t public_key[JWS_ED25519_BYTES], struct str bytes,
                     struct str signature);
bool jws_evp_valid(enum jws_algorithm algorithm, struct evp_pkey_st *key, struct str bytes,
                   struct str signature);

#endif
