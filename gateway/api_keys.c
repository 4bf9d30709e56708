// SPDX-License-Identifier: MIT
#include "gateway/api_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WAYS 4 // places for each value of a part of the hash

struct api_key_entry {
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key_grant grant;
    int64_t asked_ms;   // monotonic
    int64_t expires_ms; // wall clock; INT64_MAX: never
    uint64_t used;      // 0: empty
};

int api_keys_init(struct api_keys *k)
{
    *k = (struct api_keys){ .known = calloc(API_KEYS_KNOWN, sizeof *k->known),
                            .unknown = calloc(API_KEYS_UNKNOWN, sizeof *k->unknown) };
    if (!k->known || !k->unknown) {
        api_keys_fini(k);
        return -ENOMEM;
    }
    return 0;
}

void api_keys_fini(struct api_keys *k)
{
    free(k->known);
    free(k->unknown);
    k->known = k->unknown = NULL;
}

static struct api_key_entry *set_of(struct api_key_entry *table, size_t n, const uint8_t *hash)
{
    uint64_t number;
    memcpy(&number, hash, sizeof number);
    return table + number % (n / WAYS) * WAYS;
}

static struct api_key_entry *find(struct api_keys *k, struct api_key_entry *set,
                                  const uint8_t *hash)
{
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(set[i].hash, hash, API_KEY_HASH_BYTES) == 0) {
            set[i].used = ++k->clock;
            return &set[i];
        }
    }
    return NULL;
}

// The place of this key, or of the one in its set that was used longest ago.
static struct api_key_entry *place(struct api_keys *k, struct api_key_entry *set,
                                   const uint8_t *hash)
{
    struct api_key_entry *e = find(k, set, hash), *oldest = set;
    for (size_t i = 1; i < WAYS; i++) {
        oldest = set[i].used < oldest->used ? &set[i] : oldest;
    }
    return e ? e : oldest;
}

const struct api_key_grant *api_keys_find(struct api_keys *k,
                                          const uint8_t hash[API_KEY_HASH_BYTES],
                                          const struct revocations *revocations, int64_t mono_ms,
                                          int64_t wall_ms, enum api_key_ask *ret_ask)
{
    struct api_key_entry *e = find(k, set_of(k->known, API_KEYS_KNOWN, hash), hash);
    if (e) {
        const struct jwt_claims *claims = &e->grant.claims;
        bool fresh = mono_ms - e->asked_ms < API_KEY_GOOD_MS && wall_ms < e->expires_ms;
        if (fresh && !revocations_has(revocations, str_of(claims->sub), str_of(claims->sid),
                                      claims->issued_ms)) {
            return &e->grant;
        }
        *ret_ask = API_KEY_ASK_AGAIN;
        return NULL;
    }
    e = find(k, set_of(k->unknown, API_KEYS_UNKNOWN, hash), hash);
    *ret_ask = e && mono_ms - e->asked_ms < API_KEY_UNKNOWN_MS ? API_KEY_REFUSE : API_KEY_ASK;
    return NULL;
}

// A key that is gone is a guess like any other from now on.
static void forget(struct api_keys *k, const uint8_t *hash)
{
    struct api_key_entry *e = find(k, set_of(k->known, API_KEYS_KNOWN, hash), hash);
    if (e) {
        *e = (struct api_key_entry){ .used = 0 };
    }
}

static bool set_text(char *out, size_t size, struct str s)
{
    int n = snprintf(out, size, "%.*s", STR_ARG(s));
    return n >= 0 && (size_t)n == s.n && s.n < size;
}

static bool fill(struct api_key_grant *grant, const struct api_key_owner *owner)
{
    return set_text(grant->claims.sub, sizeof grant->claims.sub, owner->user_id) &&
           set_text(grant->claims.role, sizeof grant->claims.role, owner->role) &&
           set_text(grant->claims.sid, sizeof grant->claims.sid, owner->id) &&
           set_text(grant->scope, sizeof grant->scope, owner->scope);
}

const struct api_key_grant *api_keys_put(struct api_keys *k, const uint8_t hash[API_KEY_HASH_BYTES],
                                         const struct api_key_owner *owner, int64_t asked_mono_ms,
                                         int64_t asked_wall_ms)
{
    struct api_key_entry *set =
        owner ? set_of(k->known, API_KEYS_KNOWN, hash) : set_of(k->unknown, API_KEYS_UNKNOWN, hash);
    struct api_key_entry entry = { .asked_ms = asked_mono_ms, .expires_ms = INT64_MAX };
    if (owner && !fill(&entry.grant, owner)) {
        return NULL;
    }
    if (!owner) {
        forget(k, hash);
    }
    if (owner && MESSAGE_HAS(owner, api_key_owner, expires_at)) {
        entry.expires_ms = owner->expires_at;
    }
    entry.grant.claims.issued_ms = asked_wall_ms - API_KEY_CLOCK_SKEW_MS;
    entry.used = ++k->clock;
    memcpy(entry.hash, hash, sizeof entry.hash);
    struct api_key_entry *e = place(k, set, hash);
    *e = entry;
    return owner ? &e->grant : NULL;
}

void api_key_question(const uint8_t hash[API_KEY_HASH_BYTES], struct buf *body)
{
    char text[BASE64URL_SIZE(API_KEY_HASH_BYTES)];
    struct api_key_check question = { .hash = base64url_encode(hash, API_KEY_HASH_BYTES, text) };
    message_pack(&api_key_check_message, &question, body);
}
