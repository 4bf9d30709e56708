// SPDX-License-Identifier: MIT
// Access tokens: compact JWS (RFC 7515) signed with Ed25519, claims as RFC 9068 names them. They
// are only made here; the gateway verifies them.
#ifndef USERS_TOKEN_H
#define USERS_TOKEN_H

#include "proto/buf.h"

#include <stdint.h>

#define TOKEN_MAX_BYTES 4096 // of a token

// Bytes of issuer and audience: with every one escaped, a token stays below its limit.
#define TOKEN_MAX_NAME 128

struct token_issuer;

struct token_claims {
    struct str user_id; // sub
    struct str role;
    struct str session_id; // sid
    int64_t now_ms;        // iat; exp is this and the issuer's time to live
};

// key is a private JWK (common/jwk.h). Returns 0, -EBADMSG when it is not, or -ENOMEM.
__attribute__((warn_unused_result)) int token_issuer_open(struct str key, const char *issuer,
                                                          const char *audience, int64_t ttl_ms,
                                                          struct token_issuer **ret_issuer);
void token_issuer_close(struct token_issuer **t);

const char *token_issuer_kid(const struct token_issuer *t);

// Appends a token. Thread-safe. Returns 0 or a negative errno.
__attribute__((warn_unused_result)) int token_sign(const struct token_issuer *t,
                                                   const struct token_claims *c, struct buf *out);

// Seconds for which a token is good.
int64_t token_ttl_s(const struct token_issuer *t);

#endif
