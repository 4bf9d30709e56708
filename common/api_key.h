// SPDX-License-Identifier: MIT
// API keys, for machines: what they look like, how they are stored, and what they may do. A key is
// "sk_" and 32 random bytes as base64url. With 256 bits of chance in it a plain hash keeps it safe;
// a slow one is for what people make up.
//
// A scope is words with one blank between: "orders:read" (GET and HEAD of the service orders),
// "orders:write" (its other methods), or "*" (everything that the owner may do). Neither of the
// first two includes the other.
#ifndef COMMON_API_KEY_H
#define COMMON_API_KEY_H

#include "common/base64url.h"
#include "proto/str.h"

#include <stdint.h>

#define API_KEY_PREFIX "sk_"
#define API_KEY_BYTES 32
#define API_KEY_TEXT (3 + BASE64URL_TEXT(API_KEY_BYTES))
#define API_KEY_HASH_BYTES 32
#define API_KEY_HINT 9        // characters of a key that its owner sees in lists: 36 bits of it
#define API_KEY_SCOPE_MAX 400 // bytes

// Writes a new key.
void api_key_make(char out[API_KEY_TEXT + 1]);

// Whether the text could only be an API key. It may still not have the form of one.
static inline bool api_key_is(struct str text)
{
    return str_starts(text, STR(API_KEY_PREFIX));
}

// SHA-256 of the key's text. Returns 0, or -EINVAL when it has not the form of a key.
__attribute__((warn_unused_result)) int api_key_hash(struct str text,
                                                     uint8_t out[API_KEY_HASH_BYTES]);

// What is wrong with a scope and what is allowed, as a phrase to stand behind its name; NULL:
// nothing.
const char *api_key_scope_check(struct str scope);

// Whether a scope that was checked allows this. Service is a route's.
bool api_key_scope_allows(struct str scope, struct str service, bool write);

#endif
