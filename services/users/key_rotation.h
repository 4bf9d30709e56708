// SPDX-License-Identifier: MIT
// Changes the key that signs access tokens without a failed request, in steps that may be taken by
// anybody, at any time, twice, and by two at once (secrets/ is locked meanwhile):
//
//     publish   token.next.key is made, and its public part added to jwks.json
//     (wait)    until every gateway has read it
//     switch    token.next.key becomes token.key; the old public key stays in jwks.json with `exp`,
//               the time when the last token that it can have signed is over
//     prune     keys whose `exp` has come are removed
//
// Who is killed in between leaves something that the next step goes on with. A gateway that meets
// a token of a key that it does not know looks at jwks.json at once, so that even no wait at all
// loses nothing on one machine.
#ifndef USERS_KEY_ROTATION_H
#define USERS_KEY_ROTATION_H

#include "common/config.h"
#include "common/db.h"
#include "common/jwk.h"

// How long an old public key stays: the longest life that a token may have (SLUICE_TOKEN_TTL is at
// most a day), and an hour for clocks that differ.
#define KEY_ROTATION_KEEP_S (25 * 3600)

// How long a key that was made without anybody waiting is public before it signs: longer than the
// five minutes that jwks.json may be cached by those who read it from a gateway.
#define KEY_ROTATION_UNATTENDED_MS (10 * 60 * 1000)

struct key_rotation {
    bool published;            // a new key was made
    bool switched;             // and signs from now on
    int removed;               // old keys
    char kid[JWK_MAX_KID + 1]; // of the new key; empty: none is under way
    char old_kid[JWK_MAX_KID + 1];
    int64_t old_until_s; // wall clock: when old_kid may go
    int64_t wait_ms;     // until the new key may sign
};

// One step: prunes; switches to a next key that was public for settle_ms, or says in wait_ms how
// long it has to wait; with begin it makes one when there is none. Returns 0, or a negative errno
// with one line in error: -EBADMSG for files that are not what they should be, -ENOSPC when
// jwks.json is full.
__attribute__((warn_unused_result)) int key_rotation_step(const char *home, int64_t now_ms,
                                                          int64_t settle_ms, bool begin,
                                                          struct key_rotation *ret,
                                                          char error[CONFIG_ERROR_SIZE]);

// The command `rotate-key`: all steps, waiting in between and saying what happens. Returns the exit
// status.
int key_rotation_run(const char *home, int64_t settle_ms);

// Rotation by age, for the writer. max_age_ms 0: never. home is borrowed.
void key_rotation_open(const char *home, int64_t max_age_ms);
void key_rotation_close(void);
int on_key_rotation(struct db *db, int64_t now_ms, void *data);

#endif
