// SPDX-License-Identifier: MIT
// The key that signs access tokens, in use: read from secrets/signing/token.key (or given by configuration,
// then for good) and read again whenever that file is another one, so that a new key
// (services/users/key_rotation.h) needs no restart. A file that cannot be used changes nothing; when that
// may pass, it is read again after SIGNING_AGAIN_MS.
#ifndef USERS_SIGNING_H
#define USERS_SIGNING_H

#include "common/config.h"
#include "services/users/token.h"

#define SIGNING_AGAIN_MS 1000 // long enough that the log is not filled with it

struct signing_options {
    const char *given; // a private JWK instead of the file; NULL: the file. Borrowed until opened
    const char *home;  // borrowed, as the next two
    const char *issuer;
    const char *audience;
    int64_t ttl_ms;
};

// Returns 0, or a negative errno with one line in error.
__attribute__((warn_unused_result)) int signing_open(const struct signing_options *options,
                                                     char error[CONFIG_ERROR_SIZE]);
void signing_close(void);

// What signs now: borrowed until the next call. Costs a stat(2). Only from the writer thread.
const struct token_issuer *signing_issuer(void);

#endif
