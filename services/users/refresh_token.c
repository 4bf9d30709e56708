// SPDX-License-Identifier: MIT
// Making, reading and hashing of refresh tokens.
#include "services/users/refresh_token.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

static_assert(sizeof(struct refresh_token) == 2 * REFRESH_HALF_BYTES, "encoded as one piece");
static_assert(SESSION_HASH_BYTES >= crypto_generichash_BYTES_MIN, "BLAKE2b");

void refresh_token_make(struct refresh_token *ret_token)
{
    randombytes_buf(ret_token, sizeof *ret_token);
}

void refresh_token_renew(struct refresh_token *t)
{
    randombytes_buf(t->secret, sizeof t->secret);
}

int refresh_token_parse(struct str text, struct refresh_token *ret_token)
{
    struct refresh_token t;
    size_t n;
    if (base64url_decode(text, &t, sizeof t, &n) < 0 || n != sizeof t) {
        return -EINVAL;
    }
    *ret_token = t;
    return 0;
}

void refresh_token_text(const struct refresh_token *t, char out[REFRESH_TEXT + 1])
{
    base64url_encode(t, sizeof *t, out);
}

void refresh_token_hash(const uint8_t half[REFRESH_HALF_BYTES], uint8_t out[SESSION_HASH_BYTES])
{
    // No key and no salt: what is hashed is random already, so that nothing can be looked up in
    // tables.
    int r = crypto_generichash(out, SESSION_HASH_BYTES, half, REFRESH_HALF_BYTES, NULL, 0);
    assert(r == 0); // fails only for sizes that BLAKE2b does not have
    (void)r;
}
