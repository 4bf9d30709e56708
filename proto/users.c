// SPDX-License-Identifier: MIT
// The tables of the users service's messages and events; their fields are in the header.
#include "proto/users.h"

#define MESSAGE_SELF_ struct user
MESSAGE_DEFINE(user, USER_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct user_create
MESSAGE_DEFINE(user_create, USER_CREATE_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct user_patch
MESSAGE_DEFINE(user_patch, USER_PATCH_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct user_deleted
MESSAGE_DEFINE(user_deleted, USER_DELETED_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct session_create
MESSAGE_DEFINE(session_create, SESSION_CREATE_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct session_refresh
MESSAGE_DEFINE(session_refresh, SESSION_REFRESH_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct session
MESSAGE_DEFINE(session, SESSION_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct session_revoked
MESSAGE_DEFINE(session_revoked, SESSION_REVOKED_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct user_list
MESSAGE_DEFINE(user_list, USER_LIST_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct api_key
MESSAGE_DEFINE(api_key, API_KEY_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct api_key_create
MESSAGE_DEFINE(api_key_create, API_KEY_CREATE_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct api_key_list
MESSAGE_DEFINE(api_key_list, API_KEY_LIST_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct api_key_check
MESSAGE_DEFINE(api_key_check, API_KEY_CHECK_FIELDS)
#undef MESSAGE_SELF_

#define MESSAGE_SELF_ struct api_key_owner
MESSAGE_DEFINE(api_key_owner, API_KEY_OWNER_FIELDS)
#undef MESSAGE_SELF_

const struct event_kind users_events[USERS_EVENT_COUNT] = { USERS_EVENTS(EVENT_KIND_ROW) };
