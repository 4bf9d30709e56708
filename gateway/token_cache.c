// SPDX-License-Identifier: MIT
#include "gateway/token_cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int token_cache_init(struct token_cache *c, size_t n_entries)
{
    assert(n_entries > 0);
    *c = (struct token_cache){ .n_sets = (n_entries + TOKEN_CACHE_WAYS - 1) / TOKEN_CACHE_WAYS };
    c->entries = calloc(c->n_sets * TOKEN_CACHE_WAYS, sizeof *c->entries);
    crypto_generichash_keygen(c->key);
    return c->entries ? 0 : -ENOMEM;
}

void token_cache_fini(struct token_cache *c)
{
    free(c->entries);
    c->entries = NULL;
}

void token_cache_hash(const struct token_cache *c, struct str token,
                      uint8_t ret_hash[TOKEN_HASH_BYTES])
{
    int rc = crypto_generichash(ret_hash, TOKEN_HASH_BYTES, (const uint8_t *)token.p, token.n,
                                c->key, sizeof c->key);
    assert(rc == 0); // fails only for impossible sizes
}

static struct token_entry *set_of(struct token_cache *c, const uint8_t hash[TOKEN_HASH_BYTES])
{
    uint64_t number;
    memcpy(&number, hash, sizeof number);
    return c->entries + number % c->n_sets * TOKEN_CACHE_WAYS;
}

struct token_entry *token_cache_find(struct token_cache *c, const uint8_t hash[TOKEN_HASH_BYTES])
{
    struct token_entry *set = set_of(c, hash);
    for (size_t i = 0; i < TOKEN_CACHE_WAYS; i++) {
        if (set[i].used && memcmp(set[i].hash, hash, TOKEN_HASH_BYTES) == 0) {
            set[i].used = ++c->clock;
            return &set[i];
        }
    }
    return NULL;
}

struct token_entry *token_cache_put(struct token_cache *c, const uint8_t hash[TOKEN_HASH_BYTES],
                                    const struct jwt_claims *claims)
{
    struct token_entry *set = set_of(c, hash), *oldest = set;
    for (size_t i = 1; i < TOKEN_CACHE_WAYS; i++) {
        oldest = set[i].used < oldest->used ? &set[i] : oldest;
    }
    *oldest = (struct token_entry){ .claims = *claims, .used = ++c->clock };
    memcpy(oldest->hash, hash, TOKEN_HASH_BYTES);
    return oldest;
}

void token_cache_clear(struct token_cache *c)
{
    memset(c->entries, 0, c->n_sets * TOKEN_CACHE_WAYS * sizeof *c->entries);
}
