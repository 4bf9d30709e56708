// SPDX-License-Identifier: MIT
// Claims of tokens that were verified lately, by a keyed BLAKE2b hash of the whole token, so that a
// signature is checked once and not with every request. Fixed size: four places for each value of a
// part of the hash, and the longest unused of the four makes room. Whoever finds an entry still
// compares its time of expiry and asks for revocations; the token itself is not kept.
#ifndef GATEWAY_TOKEN_CACHE_H
#define GATEWAY_TOKEN_CACHE_H

#include "gateway/jwt.h"

#include <sodium.h>

#define TOKEN_HASH_BYTES 32

struct token_entry {
    uint8_t hash[TOKEN_HASH_BYTES];
    struct jwt_claims claims;
    uint64_t revocations_seen; // epoch of the revocations that this token was last compared with
    uint64_t used;             // when it was last found; 0: empty
};

struct token_cache {
    uint8_t
        key[crypto_generichash_KEYBYTES]; // so that nobody can choose which tokens share a place
    struct token_entry *entries;          // owned
    size_t n_sets;                        // of TOKEN_CACHE_WAYS entries
    uint64_t clock;                       // counts finds and puts
};

#define TOKEN_CACHE_WAYS 4

// n_entries is rounded up to whole sets. 0 or -ENOMEM.
__attribute__((warn_unused_result)) int token_cache_init(struct token_cache *c, size_t n_entries);
void token_cache_fini(struct token_cache *c);

void token_cache_hash(const struct token_cache *c, struct str token,
                      uint8_t ret_hash[TOKEN_HASH_BYTES]);

// The entry of a token, or NULL. Borrowed until the next put.
struct token_entry *token_cache_find(struct token_cache *c, const uint8_t hash[TOKEN_HASH_BYTES]);

// Adds a token that is not in the cache; the new entry is returned.
struct token_entry *token_cache_put(struct token_cache *c, const uint8_t hash[TOKEN_HASH_BYTES],
                                    const struct jwt_claims *claims);

// Forgets everything: when keys change.
void token_cache_clear(struct token_cache *c);

#endif
