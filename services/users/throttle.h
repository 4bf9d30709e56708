// SPDX-License-Identifier: MIT
// Slows the guessing of passwords: after THROTTLE_FREE wrong ones in a row for one account, each
// further attempt must wait, twice as long each time up to a limit, so that the owner is never
// locked out for longer than that. Counted in memory (every login comes to the one writer process),
// by what was typed, whether or not there is such an account. Guessing over many accounts is the
// gateway's to limit, by address.
#ifndef USERS_THROTTLE_H
#define USERS_THROTTLE_H

#include "proto/str.h"

#include <stdint.h>

#define THROTTLE_FREE 20          // a person with a forgotten password gives up before
#define THROTTLE_FIRST_MS 1000    // the first wait
#define THROTTLE_LONGEST_MS 60000 // 1440 guesses a day
#define THROTTLE_FORGET_MS 900000 // after this long without a wrong password all is forgotten

// 384 KiB. An account whose entry another one takes starts anew: to bring that about on purpose
// takes thousands of password checks.
#define THROTTLE_ENTRIES 16384

// How long the next attempt for this account must wait: 0, or milliseconds. account is an email
// address in any case, or another name of it. now_ms is the monotonic clock's. All three are
// thread-safe.
int64_t throttle_wait_ms(struct str account, int64_t now_ms);

// A wrong password was tried.
void throttle_failed(struct str account, int64_t now_ms);

// The right one was.
void throttle_passed(struct str account, int64_t now_ms);

#endif
