// SPDX-License-Identifier: MIT
// Refuses passwords that are guessed early: common ones, words, names, dates, keyboard paths,
// sequences, repeats, and what the account itself gives away. The estimate is zxcvbn's (D. Wheeler,
// "zxcvbn: Low-Budget Password Strength Estimation", USENIX Security 2016), made by libzxcvbn.
#ifndef USERS_STRENGTH_H
#define USERS_STRENGTH_H

#include "proto/str.h"

// The least that is taken: 67 million guesses, which cost an attacker who has the store about two
// weeks of a core, and one who has to ask the gateway far longer than anybody's life.
#define STRENGTH_MIN_BITS 26.0

// Beyond this many bytes nothing is added to the estimate, which would take ever longer; the hash
// is of all of them.
#define STRENGTH_LOOKED_AT 100

#define STRENGTH_REASON_SIZE 256

// What an attacker knows of the account.
struct strength_hints {
    struct str email, name;
};

// Returns whether the password is strong enough. If not, reason is a phrase to stand behind the
// name of the field: what makes it weak, and what helps. No part of the password is in it. Takes up
// to 4 ms of a core; keeps no copy, but the library's own memory is not wiped.
bool password_strong(struct str password, const struct strength_hints *hints,
                     char reason[STRENGTH_REASON_SIZE]);

#endif
