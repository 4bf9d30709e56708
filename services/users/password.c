// SPDX-License-Identifier: MIT
// Hashes are texts as libsodium's crypto_pwhash_str() makes them, which is what other programs read, too.
#include "services/users/password.h"

#include "services/users/hasher.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define BEGIN "$argon2id$v=19$"
#define TEXT_BYTES(n) sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL_NO_PADDING)

static_assert(PASSWORD_HASH_SIZE == crypto_pwhash_STRBYTES, "the size of libsodium's text form");
static_assert(HASHER_SALT_BYTES == crypto_pwhash_SALTBYTES, "libsodium's salt");

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

static void bytes_to_text(const unsigned char *bytes, size_t n, char *text, size_t size)
{
    (void)sodium_bin2base64(text, size, bytes, n, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

int password_hash(struct str password, char out[PASSWORD_HASH_SIZE])
{
    unsigned char salt[HASHER_SALT_BYTES], hash[HASHER_BYTES];
    char salt_text[TEXT_BYTES(HASHER_SALT_BYTES)], hash_text[TEXT_BYTES(HASHER_BYTES)];
    randombytes_buf(salt, sizeof salt);
    const struct hasher_job job = { password, PASSWORD_PASSES, PASSWORD_MEMORY_BYTES / 1024, salt };
    int r = hasher_derive(&job, hash);
    if (r == 0) {
        bytes_to_text(salt, sizeof salt, salt_text, sizeof salt_text);
        bytes_to_text(hash, sizeof hash, hash_text, sizeof hash_text);
        (void)snprintf(out, PASSWORD_HASH_SIZE, BEGIN "m=%u,t=%u,p=1$%s$%s", job.kib, job.passes,
                       salt_text, hash_text);
    }
    sodium_memzero(hash, sizeof hash);
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

// What stands in the text of a hash.
struct parts {
    uint32_t kib, passes;
    unsigned char salt[HASHER_SALT_BYTES], hash[HASHER_BYTES];
};

static bool take_apart(const char *text, struct parts *ret)
{
    uint32_t lanes = 0;
    if (strncmp(text, BEGIN, sizeof BEGIN - 1) != 0) {
        return false;
    }
    text += sizeof BEGIN - 1;
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
    unsigned char own[HASHER_BYTES];
    if (!take_apart(exists ? hash : dummy, &parts)) {
        return -EBADMSG;
    }
    const struct hasher_job job = { password, parts.passes, parts.kib, parts.salt };
    int r = hasher_derive(&job, own);
    if (r) {
        return r == -EINVAL ? -EBADMSG : r; // parameters that no hash has
    }
    bool equal = sodium_memcmp(own, parts.hash, sizeof own) == 0;
    sodium_memzero(own, sizeof own);
    return equal && exists;
}

bool password_outdated(const char *hash)
{
    return crypto_pwhash_str_needs_rehash(hash, PASSWORD_PASSES, PASSWORD_MEMORY_BYTES) != 0;
}
