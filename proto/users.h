// SPDX-License-Identifier: MIT
// Messages of the users service: the HTTP bodies of its API and the data of its events.
#ifndef PROTO_USERS_H
#define PROTO_USERS_H

#include "proto/message.h"

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
// the time, are refused from now on.
#define SESSION_REVOKED_FIELDS(S, I, B, T, O, L)                                \
    S(user_id, REQUIRED, 36, 36, UUID, "Whose session")                         \
    S(sid, OPTIONAL, 36, 36, UUID, "The session; absent: all of this user")     \
    T(revoked_at, REQUIRED, "When")
MESSAGE_DECLARE(session_revoked, SESSION_REVOKED_FIELDS)

#define USER_LIST_FIELDS(S, I, B, T, O, L)                                      \
    L(items, REQUIRED, 0, 100, user, "One page of users")                       \
    S(next_cursor, OPTIONAL, 1, 512, TOKEN, "For the next page; absent on the last")
MESSAGE_DECLARE(user_list, USER_LIST_FIELDS)

#endif
