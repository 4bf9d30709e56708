// SPDX-License-Identifier: MIT
// Password hashes: argon2id with the least parameters that OWASP advises (19 MiB, 2 passes), about
// 20 ms of a core each. A password is hashed exactly as it came: no byte of it is cut, folded or
// normalised.
#ifndef USERS_PASSWORD_H
#define USERS_PASSWORD_H

#include "proto/str.h"

#define PASSWORD_HASH_SIZE 128 // of the text with its NUL
#define PASSWORD_MEMORY_BYTES (19456 * 1024)
#define PASSWORD_PASSES 2

// Once, before the others; takes as long as one hash. 0 or a negative errno.
__attribute__((warn_unused_result)) int password_open(void);

// Writes the hash of a password. Returns 0 or -ENOMEM.
__attribute__((warn_unused_result)) int password_hash(struct str password,
                                                      char out[PASSWORD_HASH_SIZE]);

// Returns 1 when the password is right, 0 when it is wrong, or a negative errno when that could not
// be found out: -ENOMEM, or -EBADMSG for a damaged hash. An empty hash stands for an account that
// does not exist: the answer is 0 and takes as long as any.
__attribute__((warn_unused_result)) int password_verify(const char *hash, struct str password);

// Whether a hash was made with other parameters than password_hash() uses now.
bool password_outdated(const char *hash);

#endif
