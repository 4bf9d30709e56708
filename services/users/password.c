// SPDX-License-Identifier: MIT
// argon2id by libsodium.
#include "services/users/password.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

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

// A number with a name before it and a comma, dollar or anything else behind it.
static bool take_number(const char **p, const char *name, uint32_t *ret)
{
    size_t n = strlen(name);
    uint32_t v = 0;
    if (strncmp(*p, name, n) != 0) {
        return false;
    }
    const char *digits = *p + n, *end = digits;
    for (; *end >= '0' && *end <= '9' && end < digits + 9; end++) {
        v = v * 10 + (uint32_t)(*end - '0');
    }
    *p = end;
    *ret = v;
    return end > digits;
}

// Bytes in base64, exactly n, up to a dollar or the end of the text.
static bool take_bytes(const char **p, unsigned char *out, size_t n)
{
    size_t got = 0, text = strcspn(*p, "$");
    const char *from = *p, *end = NULL;
    *p += text;
    return sodium_base642bin(out, n, from, text, NULL, &got, &end,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           got == n && end == from + text;
}

#define HASH_BYTES 32

// What stands in the text of a hash.
struct parts {
    uint32_t kib, passes;
    unsigned char salt[crypto_pwhash_SALTBYTES], hash[HASH_BYTES];
};

static bool take_apart(const char *text, struct parts *ret)
{
    static const char begin[] = "$argon2id$v=19$";
    uint32_t lanes = 0;
    if (strncmp(text, begin, sizeof begin - 1) != 0) {
        return false;
    }
    text += sizeof begin - 1;
    return take_number(&text, "m=", &ret->kib) && take_number(&text, ",t=", &ret->passes) &&
           take_number(&text, ",p=", &lanes) && lanes == 1 && *text++ == '$' &&
           take_bytes(&text, ret->salt, sizeof ret->salt) && *text++ == '$' &&
           take_bytes(&text, ret->hash, sizeof ret->hash) && *text == '\0';
}

// Not by crypto_pwhash_str_verify(): it says of a password that it is wrong when there is no memory
// to find out.
int password_verify(const char *hash, struct str password)
{
    assert(dummy[0]);
    bool exists = hash[0] != '\0';
    struct parts parts;
    unsigned char own[HASH_BYTES];
    if (!take_apart(exists ? hash : dummy, &parts)) {
        return -EBADMSG;
    }
    errno = 0;
    if (crypto_pwhash(own, sizeof own, password.p, password.n, parts.salt, parts.passes,
                      (size_t)parts.kib * 1024, crypto_pwhash_ALG_ARGON2ID13)) {
        return errno == EINVAL ? -EBADMSG : -ENOMEM; // parameters that no hash has
    }
    bool equal = sodium_memcmp(own, parts.hash, sizeof own) == 0;
    sodium_memzero(own, sizeof own);
    return equal && exists;
}

bool password_outdated(const char *hash)
{
    return crypto_pwhash_str_needs_rehash(hash, PASSWORD_PASSES, PASSWORD_MEMORY_BYTES) != 0;
}
