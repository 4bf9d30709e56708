// SPDX-License-Identifier: MIT
// Makes the secrets of one deployment, which every process finds below $SLUICE_HOME/secrets:
//
//     admin-password     the first admin's (admin@sluice.local): KEYS_PASSWORD characters, a newline
//     signing/token.key  the Ed25519 key that signs access tokens, one private JWK: in a directory
//                        that the users service alone may read and write
//     public/jwks.json   the public keys that verify access tokens, a JWK set: in a directory that
//                        gateways may read, which may not read the others
//     admin-token        who has it may use the console of the gateways' admin listeners
//     cursor.key         64 hexadecimal digits: the key that seals list cursors
//     curve/             the key pairs of the TCP links (common/key_pairs.h)
//
// `sluice-users rotate-key` changes the signing key while everything runs
// (services/users/key_rotation.h). The old public key stays in jwks.json, so that tokens it signed
// are good until they expire.
#ifndef COMMON_KEYS_H
#define COMMON_KEYS_H

#include "proto/buf.h"

#define KEYS_PASSWORD 24 // characters out of 57: 140 bits
#define KEYS_CURSOR_BYTES 32
#define KEYS_TOKEN_BYTES 32 // of chance in the admin token, which is their base64url
#define KEYS_ERROR_SIZE 512

// Makes what is missing in the directory, which is made itself (0700) or closed for group and
// others; files are 0600. What is there is not touched, but a jwks.json that lacks the key of
// token.key gets it added; and a password that was removed stays so once the users store
// (../db/users/users.db) exists. Processes that do this at the same time wait for each other. Returns how
// many of the five files were made or changed, or a negative errno with one line in error that
// names the file.
__attribute__((warn_unused_result)) int keys_make(const char *secrets_dir,
                                                  char error[KEYS_ERROR_SIZE]);

// Locks the directory of the secrets, which is made (0700) or closed for group and others, until the
// fd that it returns is closed: whoever changes something below it holds it. Or a negative errno.
__attribute__((warn_unused_result)) int keys_lock(const char *secrets_dir);

// Appends the content of $SLUICE_HOME/secrets/name without a last newline. Returns 0, or a negative
// errno (-ENOENT: it is not there, -EFBIG: it is longer than max_bytes, -EACCES: its mode lets
// others read it) with one line in error.
__attribute__((warn_unused_result)) int keys_read(const char *home, const char *name,
                                                  size_t max_bytes, struct buf *content,
                                                  char error[KEYS_ERROR_SIZE]);

#endif
