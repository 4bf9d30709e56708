// SPDX-License-Identifier: MIT
// Sessions and users whose access tokens are refused before they expire. Bounded: two tables, and
// when the newer one is full the older one is dropped; then tokens that were issued before the
// newest entry in it are refused as a whole, so forgetting never lets a revoked token in again (its
// holder only has to refresh it).
#ifndef GATEWAY_REVOCATIONS_H
#define GATEWAY_REVOCATIONS_H

#include "proto/str.h"

#include <stdint.h>

// A million users who log out once a day are 12 in a second: each table holds 90 minutes of them.
#define REVOCATIONS_PER_TABLE 65536

struct revocation_table;

struct revocations {
    struct revocation_table *newer, *older; // owned
    int64_t floor_ms;                       // tokens issued before are refused
    uint64_t epoch; // grows with each revocation: lets a cache skip what it compared
};

// 0 or -ENOMEM.
__attribute__((warn_unused_result)) int revocations_init(struct revocations *r);
void revocations_fini(struct revocations *r);

// Refuses the tokens of one session, or, with sid.n == 0, of a user's tokens those issued before
// the time.
void revocations_add(struct revocations *r, struct str user_id, struct str sid, int64_t revoked_ms);

// The time to revoke at, of an event that names one and has come now: no later than clocks may differ
// (JWT_OWN_LEEWAY_S), so that a time that is wrong cannot refuse tokens of a far future.
int64_t revocations_bound_ms(int64_t named_ms, int64_t now_ms);

// Refuses all tokens that were issued before the time: when some revocations cannot be known.
void revocations_refuse_before(struct revocations *r, int64_t time_ms);

// Whether a token of this user and session that was issued then is refused.
bool revocations_has(const struct revocations *r, struct str user_id, struct str sid,
                     int64_t issued_ms);

#endif
