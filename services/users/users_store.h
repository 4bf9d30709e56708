// SPDX-License-Identifier: MIT
// The store of the users service: accounts, live sessions and API keys, nothing else. All SQL of the service
// is in users_store.c. Functions return 0 or a positive count, or a negative errno; texts are
// copied out, so a record outlives the statement it came from.
#ifndef USERS_USERS_STORE_H
#define USERS_USERS_STORE_H

#include "common/api_key.h"
#include "common/db.h"
#include "common/uuid.h"
#include "services/users/password.h"

// Bytes of a text of n characters with a NUL: UTF-8 takes up to four for each.
#define STORE_TEXT(characters) ((characters)*4 + 1)

struct account {
    char id[UUID_TEXT + 1];
    char email[STORE_TEXT(254)]; // as given; unique without regard to the case of ASCII letters
    char name[STORE_TEXT(100)];
    char role[8]; // "user" or "admin"
    char password[PASSWORD_HASH_SIZE];
    int64_t version;
    int64_t created_ms, updated_ms;
};

// Live sessions of one account. More devices than a person has; the oldest session ends when one
// more begins. If you lower it, add a migration that ends the sessions above it.
#define SESSIONS_PER_ACCOUNT 50

// Places of one account that are remembered, and the bytes of one.
#define PLACES_PER_ACCOUNT 50
#define PLACE_BYTES 16

// Bytes of the hashes of a refresh token's two halves (services/users/refresh_token.h).
#define SESSION_HASH_BYTES 16

struct session_record {
    char id[UUID_TEXT + 1];
    char user_id[UUID_TEXT + 1];
    uint8_t family[SESSION_HASH_BYTES]; // of the half that all refresh tokens of the session share
    uint8_t secret[SESSION_HASH_BYTES]; // of the half that only the latest one has
    int64_t generation;                 // refreshes so far
    int64_t created_ms;
    int64_t expires_ms; // without another refresh
};

// More than an account has use for, and few enough for one page.
#define API_KEYS_PER_ACCOUNT 50

struct api_key_record {
    char id[UUID_TEXT + 1];
    char user_id[UUID_TEXT + 1];
    char name[STORE_TEXT(100)];
    char scope[API_KEY_SCOPE_MAX + 1];
    char hint[API_KEY_HINT + 1];
    uint8_t hash[API_KEY_HASH_BYTES];
    int64_t created_ms;
    int64_t expires_ms; // INT64_MAX: never
};

extern const char *const users_migrations[];
extern const size_t users_n_migrations;

#define STORE_CHECK __attribute__((warn_unused_result))

// 1 and the account, or 0.
STORE_CHECK int account_by_id(struct db *db, struct str id, struct account *ret_account);
STORE_CHECK int account_by_email(struct db *db, struct str email, struct account *ret_account);

// Up to max accounts with ids above after_id, by id; only those with this email address unless
// email.p is NULL. Returns how many.
STORE_CHECK int accounts_list(struct db *db, struct str after_id, struct str email, int max,
                              struct account *ret_accounts);

// -EEXIST: the email address is taken.
STORE_CHECK int account_insert(struct db *db, const struct account *a);
STORE_CHECK int account_update(struct db *db, const struct account *a);

// Another hash of the same password: not a change that anybody sees.
STORE_CHECK int account_rehash(struct db *db, struct str id, const char *hash);

// Removes the account and its sessions. Returns how many accounts (0 or 1).
STORE_CHECK int account_delete(struct db *db, struct str id);

// 1 when there is an admin other than id, else 0.
STORE_CHECK int account_other_admin(struct db *db, struct str id);

// Whether the first admin was ever made (1 or 0), and the note of it, which outlives the account.
STORE_CHECK int first_admin_made(struct db *db);
STORE_CHECK int first_admin_note(struct db *db, int64_t now_ms);

// Places that an account has logged in from; a place is what throttle_place() makes of an address.
// 1 when this is one, else 0.
STORE_CHECK int login_place_known(struct db *db, struct str user_id,
                                  const uint8_t place[PLACE_BYTES]);

// Notes one; beyond PLACES_PER_ACCOUNT the one that was used longest ago is forgotten.
STORE_CHECK int login_place_note(struct db *db, struct str user_id,
                                 const uint8_t place[PLACE_BYTES], int64_t now_ms);

// Forgets up to max places that were not used since before_ms. Returns how many.
STORE_CHECK int login_places_expire(struct db *db, int64_t before_ms, int max);

STORE_CHECK int session_insert(struct db *db, const struct session_record *s);

// 1 and the session, or 0.
STORE_CHECK int session_by_family(struct db *db, const uint8_t family[SESSION_HASH_BYTES],
                                  struct session_record *ret_session);

// Stores secret, generation and expires_ms of a session.
STORE_CHECK int session_rotate(struct db *db, const struct session_record *s);

// Removes one session of a user. Returns how many (0 or 1).
STORE_CHECK int session_delete(struct db *db, struct str id, struct str user_id);

// Removes sessions of a user and returns how many, with their ids: all but keep_id (which may be
// empty), or the oldest beyond SESSIONS_PER_ACCOUNT.
STORE_CHECK int sessions_delete_others(struct db *db, struct str user_id, struct str keep_id,
                                       char ret_ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1]);
STORE_CHECK int sessions_delete_excess(struct db *db, struct str user_id,
                                       char ret_ids[SESSIONS_PER_ACCOUNT][UUID_TEXT + 1]);

// 1 when the user has this session, else 0.
STORE_CHECK int session_exists(struct db *db, struct str id, struct str user_id);

// Removes up to max sessions that expired before now_ms. Returns how many.
STORE_CHECK int sessions_delete_expired(struct db *db, int64_t now_ms, int max);

// -ENOSPC: the account has API_KEYS_PER_ACCOUNT keys.
STORE_CHECK int api_key_insert(struct db *db, const struct api_key_record *k);

// 1, the key and its owner's role, or 0. A key that expired is in the store until it is cleared
// away.
STORE_CHECK int api_key_by_hash(struct db *db, const uint8_t hash[API_KEY_HASH_BYTES],
                                struct api_key_record *ret_key, char ret_role[8]);

// The keys of a user by age. Returns how many.
STORE_CHECK int api_keys_list(struct db *db, struct str user_id,
                              struct api_key_record ret_keys[API_KEYS_PER_ACCOUNT]);

// 1 when the user has this key, else 0.
STORE_CHECK int api_key_exists(struct db *db, struct str id, struct str user_id);

// Removes one key of a user. Returns how many (0 or 1).
STORE_CHECK int api_key_delete(struct db *db, struct str id, struct str user_id);

// Removes up to max keys that expired before now_ms. Returns how many.
STORE_CHECK int api_keys_delete_expired(struct db *db, int64_t now_ms, int max);

#endif
