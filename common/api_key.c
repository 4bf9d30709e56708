// SPDX-License-Identifier: MIT
#include "common/api_key.h"

#include <errno.h>
#include <sodium.h>

void api_key_make(char out[API_KEY_TEXT + 1])
{
    uint8_t bytes[API_KEY_BYTES];
    randombytes_buf(bytes, sizeof bytes);
    memcpy(out, API_KEY_PREFIX, 3);
    (void)base64url_encode(bytes, sizeof bytes, out + 3);
    sodium_memzero(bytes, sizeof bytes);
}

int api_key_hash(struct str text, uint8_t out[API_KEY_HASH_BYTES])
{
    uint8_t bytes[API_KEY_BYTES];
    size_t n;
    if (text.n != API_KEY_TEXT || !api_key_is(text) ||
        base64url_decode((struct str){ text.p + 3, text.n - 3 }, bytes, sizeof bytes, &n)) {
        return -EINVAL;
    }
    sodium_memzero(bytes, sizeof bytes);
    (void)crypto_hash_sha256(out, (const unsigned char *)text.p, text.n); // cannot fail
    return 0;
}

// --- Scopes

// The next word of *scope, which is then what is left; n == 0: there is none, or two blanks meet.
static struct str next_word(struct str *scope)
{
    const char *blank = memchr(scope->p, ' ', scope->n);
    struct str word = { scope->p, blank ? (size_t)(blank - scope->p) : scope->n };
    size_t used = word.n + (blank != NULL);
    *scope = (struct str){ scope->p + used, scope->n - used };
    return word;
}

// The part before the colon; n == 0: it is no name of a service.
static struct str service_of(struct str word)
{
    size_t n = 0;
    while (n < word.n &&
           ((word.p[n] >= 'a' && word.p[n] <= 'z') ||
            (n > 0 && ((word.p[n] >= '0' && word.p[n] <= '9') || word.p[n] == '-')))) {
        n++;
    }
    return (struct str){ word.p, n <= 32 ? n : 0 };
}

static bool word_valid(struct str word)
{
    struct str service = service_of(word);
    struct str right = { word.p + service.n, word.n - service.n };
    return str_eq(word, STR("*")) ||
           (service.n > 0 && (str_eq(right, STR(":read")) || str_eq(right, STR(":write"))));
}

const char *api_key_scope_check(struct str scope)
{
    bool ends_in_blank = scope.n > 0 && scope.p[scope.n - 1] == ' ';
    bool valid = scope.n > 0 && scope.n <= API_KEY_SCOPE_MAX && !ends_in_blank;
    while (valid && scope.n > 0) {
        valid = word_valid(next_word(&scope));
    }
    return valid ? NULL
                 : "is no scope; allowed: *, or words like orders:read and orders:write with one "
                   "blank between, at most 400 bytes";
}

bool api_key_scope_allows(struct str scope, struct str service, bool write)
{
    while (scope.n > 0) {
        struct str word = next_word(&scope), mine = service_of(word);
        struct str right = { word.p + mine.n, word.n - mine.n };
        if (str_eq(word, STR("*")) ||
            (str_eq(mine, service) && str_eq(right, write ? STR(":write") : STR(":read")))) {
            return true;
        }
    }
    return false;
}
