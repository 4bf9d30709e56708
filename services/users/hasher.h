// SPDX-License-Identifier: MIT
// argon2id where it holds up nobody. A companion (common/companion.h) computes in the kernel's lowest class (SCHED_IDLE):
// on a machine with time to spare it takes that and nothing else, so that a flood of logins costs others next to nothing. On a
// busy machine such a process gets no time at all: a result that is late is computed by the caller's thread, with the priority of
// that, and for HASHER_BUSY_MS all others are, too.
//
// Thread-safe, but for hasher_open() and hasher_close().
#ifndef USERS_HASHER_H
#define USERS_HASHER_H

#include "common/companion.h"
#include "proto/str.h"

#define HASHER_SALT_BYTES 16
#define HASHER_BYTES 32
// Longer ones are computed by the caller; 256 characters have at most as many.
#define HASHER_PASSWORD_BYTES 1024
// Late: after four times what it takes at best, within these limits. Then nobody waits for so long.
#define HASHER_PATIENCE_TIMES 4
#define HASHER_PATIENCE_MIN_MS 50
#define HASHER_PATIENCE_MAX_MS 500
#define HASHER_BUSY_MS 2000

struct hasher_job {
    struct str password;
    uint32_t passes, kib;
    const unsigned char *salt; // HASHER_SALT_BYTES
};

// Started with the process; without it, as in tests, callers compute.
extern const struct companion hasher_companion;

// Registers the metrics. hasher_close() closes the links, too.
void hasher_open(void);
void hasher_close(void);

// Returns 0; -EINVAL for parameters that argon2id does not have; or -ENOMEM.
__attribute__((warn_unused_result)) int hasher_derive(const struct hasher_job *job,
                                                      unsigned char ret_hash[HASHER_BYTES]);

#endif
