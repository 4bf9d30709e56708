// SPDX-License-Identifier: MIT
// Refresh tokens: 32 random bytes as base64url. The first half belongs to a session for all its
// life and finds it; the second half is new in each token. The store has only hashes of both. A
// token whose first half is known and whose second half is not the latest was used before, or is
// made up by somebody who saw one: either way the session is not safe any more.
#ifndef USERS_REFRESH_TOKEN_H
#define USERS_REFRESH_TOKEN_H

#include "common/base64url.h"
#include "services/users/users_store.h"

#define REFRESH_HALF_BYTES 16 // 128 bits: not to be guessed
#define REFRESH_TEXT BASE64URL_TEXT(2 * REFRESH_HALF_BYTES)

struct refresh_token {
    uint8_t family[REFRESH_HALF_BYTES];
    uint8_t secret[REFRESH_HALF_BYTES];
};

// A token of a new session.
void refresh_token_make(struct refresh_token *ret_token);

// Makes t the next token of the same session.
void refresh_token_renew(struct refresh_token *t);

// Reads the text of a token. Returns 0 or -EINVAL.
__attribute__((warn_unused_result)) int refresh_token_parse(struct str text,
                                                            struct refresh_token *ret_token);

void refresh_token_text(const struct refresh_token *t, char out[REFRESH_TEXT + 1]);

// Hash of one half (BLAKE2b), as the store has it.
void refresh_token_hash(const uint8_t half[REFRESH_HALF_BYTES], uint8_t out[SESSION_HASH_BYTES]);

#endif
