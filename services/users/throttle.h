// SPDX-License-Identifier: MIT
// Slows the guessing of passwords without locking owners out. An attempt is counted before its
// password is looked at, so that a burst of parallel guesses gets no more checks than one guess
// after the other; a right password, or a check that never came about, takes its count back.
//
//     pair     wrong ones for one account from one place (client address, or session when it is
//              about a change): free ones first, then a wait that doubles
//     account  wrong ones for one account from all places that it never logged in from: likewise.
//              Places that are known are not held up by it, so the owner gets in while others guess
//     address  wrong ones for any account from one client address: a bucket that leaks
//     signups  accounts made from one client address: a bucket that leaks
//
// An attempt that must wait is answered at once and costs no check. What was typed counts, whether
// or not there is such an account. Counted in memory: every login comes to the one writer process,
// so counts are exact, and they start anew with another writer. Places that are known are in the
// store (users_store.h) and outlive that. All functions are thread-safe; now_ms is the monotonic
// clock's.
#ifndef USERS_THROTTLE_H
#define USERS_THROTTLE_H

#include "proto/str.h"

#include <stdbool.h>
#include <stdint.h>

#define THROTTLE_FREE 20          // of a pair: a person with a forgotten password gives up before
#define THROTTLE_ACCOUNT_FREE 100 // of an account: more places than a person has typos
#define THROTTLE_FIRST_MS 1000    // the first wait of both
#define THROTTLE_LONGEST_MS 60000 // 1440 guesses a day
#define THROTTLE_FORGET_MS 900000 // after this long without a wrong password both are forgotten

#define THROTTLE_ADDRESS_FREE 200     // of an address: an office on the day after a password policy
#define THROTTLE_ADDRESS_LEAK_MS 5000 // then one in so long

#define THROTTLE_PLACE_BYTES 16

// 512 KiB in sets of 8. In a full set the entry with the fewest wrong passwords is given up, so that
// whoever makes up names pushes out none that is being slowed.
#define THROTTLE_ENTRIES 16384
#define THROTTLE_WAYS 8

enum throttle_level {
    THROTTLE_PAIR,
    THROTTLE_ACCOUNT,
    THROTTLE_ADDRESS,
    THROTTLE_SIGNUPS,
    THROTTLE_LEVELS
};

// What was counted; zeroed: nothing.
struct throttle_attempt {
    uint64_t counted[THROTTLE_LEVELS]; // key of the entry; 0: not counted there
};

// signups: accounts that one address may make in an hour, all at once if it likes; 0: any number.
void throttle_open(int64_t signups);
void throttle_close(void);

// Where a client is: its IPv4 address, or the /64 of its IPv6 one. text is as call_client() gives
// it. False: it is not known, and place is zeros.
bool throttle_place(struct str text, uint8_t ret_place[THROTTLE_PLACE_BYTES]);

struct throttle_who {
    struct str account; // email address in any case
    struct str place;   // of the pair
    struct str address; // throttle_place(); n == 0: not known
    bool known;         // the account has logged in from there
};

// Counts one attempt. Returns 0 with *ret_attempt, or how many ms it must wait; then nothing was
// counted.
int64_t throttle_begin(const struct throttle_who *who, int64_t now_ms,
                       struct throttle_attempt *ret_attempt);

// The same for making an account.
int64_t throttle_signup(struct str address, int64_t now_ms, struct throttle_attempt *ret_attempt);

// The password was right: takes the count back, and forgets what the pair had before.
void throttle_passed(struct throttle_attempt *attempt);

// The password was wrong, or the work was done: the count stays.
void throttle_keep(struct throttle_attempt *attempt);

// The call is over: takes back what neither of the two settled.
void throttle_end(struct throttle_attempt *attempt);

#endif
