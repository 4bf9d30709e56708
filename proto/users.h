// SPDX-License-Identifier: MIT
// Messages of the users service: the HTTP bodies of its API and the data of its events.
#ifndef PROTO_USERS_H
#define PROTO_USERS_H

#include "proto/event_kind.h"

// A user as the API shows it and as users.user.* events carry it.
#define USER_FIELDS(S, I, B, T, O, L)                                           \
    S(id, REQUIRED, 36, 36, UUID, "The user's id, a UUIDv7")                    \
    S(email, REQUIRED, 3, 254, EMAIL, "Email address; one account each")        \
    S(name, REQUIRED, 1, 100, LINE, "Name as the person writes it")             \
    S(role, REQUIRED, 1, 20, TOKEN, "user or admin")                            \
    I(version, REQUIRED, 1, INT64_MAX, "Grows by one with every change")        \
    T(created_at, REQUIRED, "When the account was made")                        \
    T(updated_at, REQUIRED, "When it was changed last")
MESSAGE_DECLARE(user, USER_FIELDS)

#define USER_CREATE_FIELDS(S, I, B, T, O, L)                                    \
    S(email, REQUIRED, 3, 254, EMAIL, "Email address; one account each")        \
    S(password, REQUIRED, 8, 256, ANY, "8 to 256 characters")                   \
    S(name, REQUIRED, 1, 100, LINE, "Name as the person writes it")
MESSAGE_DECLARE(user_create, USER_CREATE_FIELDS)

// RFC 7396 merge patch. A new email address or password needs current_password, unless an admin
// changes somebody else; only an admin may change the role.
#define USER_PATCH_FIELDS(S, I, B, T, O, L)                                     \
    S(email, OPTIONAL, 3, 254, EMAIL, "New email address")                      \
    S(name, OPTIONAL, 1, 100, LINE, "New name")                                 \
    S(role, OPTIONAL, 1, 20, TOKEN, "user or admin; admins only")               \
    S(password, OPTIONAL, 8, 256, ANY, "New password")                          \
    S(current_password, OPTIONAL, 1, 256, ANY, "The password until now")
MESSAGE_DECLARE(user_patch, USER_PATCH_FIELDS)

// users.user.deleted: what is left of a user is the id.
#define USER_DELETED_FIELDS(S, I, B, T, O, L)                                   \
    S(id, REQUIRED, 36, 36, UUID, "The user's id")                              \
    I(version, REQUIRED, 1, INT64_MAX, "One above the last version")
MESSAGE_DECLARE(user_deleted, USER_DELETED_FIELDS)

#define SESSION_CREATE_FIELDS(S, I, B, T, O, L)                                 \
    S(email, REQUIRED, 1, 254, ANY, "Email address of the account")             \
    S(password, REQUIRED, 1, 256, ANY, "Password of the account")
MESSAGE_DECLARE(session_create, SESSION_CREATE_FIELDS)

#define SESSION_REFRESH_FIELDS(S, I, B, T, O, L)                                \
    S(refresh_token, REQUIRED, 1, 128, TOKEN, "The refresh token of the last answer")
MESSAGE_DECLARE(session_refresh, SESSION_REFRESH_FIELDS)

#define SESSION_FIELDS(S, I, B, T, O, L)                                        \
    S(access_token, REQUIRED, 1, 4096, TOKEN, "For Authorization: Bearer")      \
    S(token_type, REQUIRED, 6, 6, TOKEN, "Bearer")                              \
    I(expires_in, REQUIRED, 1, 86400, "Seconds until the access token expires") \
    S(refresh_token, REQUIRED, 1, 128, TOKEN, "Good once, for a new pair")
MESSAGE_DECLARE(session, SESSION_FIELDS)

// users.session.revoked: access tokens with this sid, or of this user (sid absent) issued before
// the time, are refused from now on. Ids are UUIDs, but of users of other issuers, whose ids and
// sessions begin with the issuer's name and a colon (docs/tokens.md).
#define SESSION_REVOKED_FIELDS(S, I, B, T, O, L)                                \
    S(user_id, REQUIRED, 1, 64, LINE, "Whose session")                          \
    S(sid, OPTIONAL, 1, 64, TOKEN, "The session; absent: all of this user")     \
    T(revoked_at, REQUIRED, "When")
MESSAGE_DECLARE(session_revoked, SESSION_REVOKED_FIELDS)

#define USER_LIST_FIELDS(S, I, B, T, O, L)                                      \
    L(items, REQUIRED, 0, 100, user, "One page of users")                       \
    S(next_cursor, OPTIONAL, 1, 512, TOKEN, "For the next page; absent on the last")
MESSAGE_DECLARE(user_list, USER_LIST_FIELDS)

// An API key as its owner sees it. `key` is in the answer that makes it and never again: the store
// has a hash.
#define API_KEY_FIELDS(S, I, B, T, O, L)                                        \
    S(id, REQUIRED, 36, 36, UUID, "The key's id, a UUIDv7")                     \
    S(name, REQUIRED, 1, 100, LINE, "What it is for")                           \
    S(scope, REQUIRED, 1, 400, LINE, "What it may do: SERVICE:read and SERVICE:write with blanks between, or *") \
    S(hint, REQUIRED, 1, 16, TOKEN, "How it begins, to tell keys apart")        \
    T(created_at, REQUIRED, "When it was made")                                 \
    T(expires_at, OPTIONAL, "From when on it is refused; absent: never")        \
    S(key, OPTIONAL, 46, 46, TOKEN, "The key itself, shown this once: Authorization: Bearer sk_...")
MESSAGE_DECLARE(api_key, API_KEY_FIELDS)

#define API_KEY_CREATE_FIELDS(S, I, B, T, O, L)                                 \
    S(name, REQUIRED, 1, 100, LINE, "What it is for")                           \
    S(scope, REQUIRED, 1, 400, LINE, "What it may do: SERVICE:read and SERVICE:write with blanks between, or *") \
    T(expires_at, OPTIONAL, "From when on it is refused; absent: never")
MESSAGE_DECLARE(api_key_create, API_KEY_CREATE_FIELDS)

#define API_KEY_LIST_FIELDS(S, I, B, T, O, L)                                   \
    L(items, REQUIRED, 0, 50, api_key, "All keys of this account, the oldest first")
MESSAGE_DECLARE(api_key_list, API_KEY_LIST_FIELDS)

// What a gateway asks when it sees a key that it does not know, and what it is told.
#define API_KEY_CHECK_FIELDS(S, I, B, T, O, L)                                  \
    S(hash, REQUIRED, 43, 43, TOKEN, "api_key_hash() of the key, as base64url")
MESSAGE_DECLARE(api_key_check, API_KEY_CHECK_FIELDS)

#define API_KEY_OWNER_FIELDS(S, I, B, T, O, L)                                  \
    S(id, REQUIRED, 36, 36, UUID, "The key's id")                               \
    S(user_id, REQUIRED, 36, 36, UUID, "Whose it is")                           \
    S(role, REQUIRED, 1, 20, TOKEN, "The owner's role now")                     \
    S(scope, REQUIRED, 1, 400, LINE, "What it may do")                          \
    T(expires_at, OPTIONAL, "From when on it is refused; absent: never")
MESSAGE_DECLARE(api_key_owner, API_KEY_OWNER_FIELDS)

#define USERS_EVENTS(E)                                                         \
    E(USER_CREATED, "users.user.created", user, "id of the user", "An account was made") \
    E(USER_UPDATED, "users.user.updated", user, "id of the user", "An account was changed") \
    E(USER_DELETED, "users.user.deleted", user_deleted, "id of the user",       \
      "An account was deleted; whoever keeps something of it removes that")     \
    E(SESSION_REVOKED, "users.session.revoked", session_revoked, "id of the user", \
      "Access tokens of one session, or of all of a user, are refused from now on")
enum users_event { USERS_EVENTS(EVENT_KIND_NUMBER) USERS_EVENT_COUNT };
extern const struct event_kind users_events[USERS_EVENT_COUNT];

#endif
