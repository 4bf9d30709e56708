// SPDX-License-Identifier: MIT
// What this gateway was told of API keys lately (PROTOCOL.md 2.13). Good keys are believed for a
// minute, unless a revocation names the key or its owner; unknown ones are refused for some
// seconds without asking again. By the key's hash; the key itself is not kept. Fixed size.
#ifndef GATEWAY_API_KEYS_H
#define GATEWAY_API_KEYS_H

#include "common/api_key.h"
#include "gateway/jwt.h"
#include "gateway/revocations.h"
#include "proto/buf.h"
#include "proto/users.h"

#define API_KEYS_KNOWN 4096   // good keys in use at once; more are asked for again
#define API_KEYS_UNKNOWN 1024 // of those who guess or use a revoked key
#define API_KEY_GOOD_MS 60000
#define API_KEY_UNKNOWN_MS 5000

// A revocation may be this much older than an answer by the clocks of gateway and worker, and still
// have come after it.
#define API_KEY_CLOCK_SKEW_MS (1000 * JWT_LEEWAY_S)

// What to do about a key that no grant is known of.
enum api_key_ask {
    API_KEY_REFUSE,   // there was no such key a moment ago
    API_KEY_ASK,      // nothing is known of it: ask the users service
    API_KEY_ASK_AGAIN // it was good once, so it is no guess: ask
};

struct api_key_entry;

struct api_keys {
    struct api_key_entry *known, *unknown; // owned
    uint64_t clock;                        // counts finds and puts
};

// What a key stands for. sid of the claims is the key's id; exp_s is not set.
struct api_key_grant {
    struct jwt_claims claims;
    char scope[API_KEY_SCOPE_MAX + 1];
};

// 0 or -ENOMEM.
__attribute__((warn_unused_result)) int api_keys_init(struct api_keys *k);
void api_keys_fini(struct api_keys *k);

// Looks a key up. Returns the grant, borrowed until the next put; or NULL with *ret_ask, which is
// written only then. Times are of one monotonic and one wall clock, in ms.
const struct api_key_grant *api_keys_find(struct api_keys *k,
                                          const uint8_t hash[API_KEY_HASH_BYTES],
                                          const struct revocations *revocations, int64_t mono_ms,
                                          int64_t wall_ms, enum api_key_ask *ret_ask);

// Notes the answer to a question that was asked then. owner NULL: there is no such key (any more, and
// it counts as never known). Returns the
// grant, or NULL when there is none or its texts are longer than any that Sluice makes.
const struct api_key_grant *api_keys_put(struct api_keys *k, const uint8_t hash[API_KEY_HASH_BYTES],
                                         const struct api_key_owner *owner, int64_t asked_mono_ms,
                                         int64_t asked_wall_ms);

#define API_KEY_QUESTION_BYTES 128 // far above its 51

// Writes the body of the question.
void api_key_question(const uint8_t hash[API_KEY_HASH_BYTES], struct buf *body);

#endif
