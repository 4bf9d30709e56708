// SPDX-License-Identifier: MIT
// The handlers of /v1/users*. A user may see and change their own account, an admin every account;
// to everybody else an account is not there at all.
//
// PATCH asks for current_password when users change their own email address or password: missing or
// wrong is 422 with a pointer to it (401 would tell clients that their token is bad). The role is
// for admins to change (403). A new password ends the account's other sessions, a new role all of
// them, because tokens carry the role.
#ifndef USERS_ACCOUNTS_H
#define USERS_ACCOUNTS_H

#include "common/call.h"
#include "proto/users.h"
#include "services/users/users_store.h"

// The account as the API and events show it; borrows its texts.
struct user user_of(const struct account *a);

// POST /v1/users
int on_user_create_read(struct call *c);
int on_user_create_compute(struct call *c);
int on_user_create_write(struct call *c);
int on_user_create_end(struct call *c);

int on_user_list(struct call *c); // GET /v1/users
int on_user_me(struct call *c);   // GET /v1/users/me
int on_user_get(struct call *c);  // GET /v1/users/{id}

// PATCH /v1/users/{id}
int on_user_patch_read(struct call *c);
int on_user_patch_compute(struct call *c);
int on_user_patch_write(struct call *c);
int on_user_patch_end(struct call *c);

// DELETE /v1/users/{id}
int on_user_delete_read(struct call *c);
int on_user_delete_write(struct call *c);

#endif
