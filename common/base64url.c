// SPDX-License-Identifier: MIT
// base64url over libsodium's codec, with what that lets through closed.
#include "common/base64url.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdint.h>

#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

// libsodium's codec takes the same time for all bytes, so secrets may pass through it.
struct str base64url_encode(const void *bytes, size_t n, char *out)
{
    assert(n < SIZE_MAX / 4 - 1);
    size_t size = BASE64URL_SIZE(n);
    assert(size == sodium_base64_encoded_len(n, VARIANT));
    sodium_bin2base64(out, size, bytes, n, VARIANT);
    return (struct str){ out, size - 1 };
}

int base64url_decode(struct str text, void *out, size_t out_size, size_t *ret_n)
{
    assert(out || out_size == 0);
    if (text.n == 0) {
        *ret_n = 0;
        return 0;
    }

    // libsodium 1.0.18 takes some bytes above 0x7f for digits.
    unsigned bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        bits |= (unsigned char)text.p[i];
    }
    if (bits > 0x7f) {
        return -EINVAL;
    }

    // Asked for the end, it leaves errno alone when it stops at a foreign character.
    const char *end = NULL;
    uint8_t nothing; // it takes no NULL
    size_t n;
    errno = 0;
    int r =
        sodium_base642bin(out ? out : &nothing, out_size, text.p, text.n, NULL, &n, &end, VARIANT);
    if (r != 0) {
        return errno == ERANGE ? -EMSGSIZE : -EINVAL;
    }
    if (end != text.p + text.n) {
        return -EINVAL;
    }
    *ret_n = n;
    return 0;
}
