// SPDX-License-Identifier: MIT
// argon2id by libsodium.
#include "services/users/password.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

static_assert(PASSWORD_HASH_SIZE == crypto_pwhash_STRBYTES, "the size of libsodium's text form");

// The hash of a password that nobody knows, with the parameters of every other hash.
static char dummy[PASSWORD_HASH_SIZE];

int password_open(void)
{
    if (sodium_init() < 0) {
        return -EIO;
    }
    char unknown[32];
    randombytes_buf(unknown, sizeof unknown);
    return password_hash((struct str){ unknown, sizeof unknown }, dummy);
}

int password_hash(struct str password, char out[PASSWORD_HASH_SIZE])
{
    int r = crypto_pwhash_str_alg(out, password.p, password.n, PASSWORD_PASSES,
                                  PASSWORD_MEMORY_BYTES, crypto_pwhash_ALG_ARGON2ID13);
    return r == 0 ? 0 : -ENOMEM; // the one failure that valid parameters leave
}

int password_verify(const char *hash, struct str password)
{
    assert(dummy[0]);
    bool exists = hash[0] != '\0';
    errno = 0;
    if (crypto_pwhash_argon2id_str_verify(exists ? hash : dummy, password.p, password.n) == 0) {
        return exists;
    }
    // libsodium says EINVAL for a wrong password and nothing for a text that it cannot read.
    if (errno == EINVAL) {
        return 0;
    }
    return errno == 0 ? -EBADMSG : -errno;
}

bool password_outdated(const char *hash)
{
    return crypto_pwhash_str_needs_rehash(hash, PASSWORD_PASSES, PASSWORD_MEMORY_BYTES) != 0;
}
