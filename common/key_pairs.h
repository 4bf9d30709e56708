// SPDX-License-Identifier: MIT
// The CURVE key pairs of one deployment, as files below secrets/curve:
//
//     NAME.key_secret        both keys of the identity NAME: 0600, for its own processes alone
//     public/NAME.key        its public key
//     public/NAME.old.key    the public key it had before, accepted until it is retired
//
// Files are czmq certificates. An identity is a part of the suite: gateway, queue, tap, and each
// service by its name. "client" is the key that all workers and taps shared in older deployments:
// it is no longer made, and is accepted while its public key is there.
//
// Every change leaves what is accepted at any moment usable: first the old public key is kept, then
// the new one is published, then the secret one replaced. A rotation that was cut off is finished by
// the next one. Callers hold the lock of the secrets (keys_lock()).
#ifndef COMMON_KEY_PAIRS_H
#define COMMON_KEY_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_PAIRS_NAME_SIZE 33 // of a service (PROTOCOL.md 2.2), and the NUL
#define KEY_PAIRS_KEY_SIZE 41  // Z85 of 32 bytes, and the NUL
#define KEY_PAIRS_KEY_BYTES 32 // of a public and of a secret key
#define KEY_PAIRS_MAX 128      // identities: more services than one machine runs
#define KEY_PAIRS_LEGACY "client"

// Identities that every deployment has.
#define KEY_PAIRS_OWN 6
extern const char *const key_pairs_own[KEY_PAIRS_OWN];

#define KEY_PAIRS_CHECK __attribute__((warn_unused_result))

// Whether it can be an identity: [a-z][a-z0-9-]*, at most 32 bytes.
bool key_pairs_name_valid(const char *name);

// Makes the pair of name if it is not there; a public key that is missing is written anew from the
// secret one, a secret one that is missing makes a new pair. dir and dir/public are made (0700) if
// need be. Returns 1 when something was made, 0, or a negative errno (-ENAMETOOLONG: a path has
// PATH_MAX bytes or more).
KEY_PAIRS_CHECK int key_pairs_make(const char *dir, const char *name);

// Makes those that every deployment has. 0 or a negative errno.
KEY_PAIRS_CHECK int key_pairs_make_own(const char *dir);

// Gives name a new pair; its public key until now stays accepted. -EEXIST: it has an old key
// already; -ENOENT: it has no pair.
KEY_PAIRS_CHECK int key_pairs_rotate(const char *dir, const char *name);

// Stops accepting the old key of name; of the legacy identity, its pair. -ENOENT: there is none.
KEY_PAIRS_CHECK int key_pairs_retire(const char *dir, const char *name);

struct key_pair {
    char name[KEY_PAIRS_NAME_SIZE];
    char public_key[KEY_PAIRS_KEY_SIZE]; // from public/; empty: missing or not readable
    char old_key[KEY_PAIRS_KEY_SIZE];    // empty: none
    char own_key[KEY_PAIRS_KEY_SIZE];    // the public part in the secret file; empty: missing or broken
    char created[32];                    // RFC 3339; empty: not known
    int mode;                            // of the secret file; -1: it is missing
};

// Everything below dir, by name. Returns how many, or a negative errno (-ENOSPC: more than
// KEY_PAIRS_MAX).
KEY_PAIRS_CHECK int key_pairs_list(const char *dir, struct key_pair pairs[KEY_PAIRS_MAX]);

// Reads a public key file (path with or without secret part). 0, -ENOENT, -EBADMSG.
KEY_PAIRS_CHECK int key_pairs_read_public(const char *path, char key[KEY_PAIRS_KEY_SIZE]);

struct key_pair_keys {
    uint8_t public_key[KEY_PAIRS_KEY_BYTES];
    uint8_t secret_key[KEY_PAIRS_KEY_BYTES];
};

// Reads both keys of a secret key file. Memory that held the text of the secret one is overwritten;
// *ret_keys is the caller's to overwrite. 0, -ENOENT, -EBADMSG (no key pair, or not the public key of
// this secret one), or another negative errno.
KEY_PAIRS_CHECK int key_pairs_read(const char *path, struct key_pair_keys *ret_keys);

#endif
