// SPDX-License-Identifier: MIT
// API keys: the handlers of /v1/api-keys and of the gateways' question what a key may do
// (PROTOCOL.md 2.13). A key acts for its owner, with the owner's role of the moment and within its
// scope. It ends when it is revoked, when it expires, or with the account; not with a session and
// not with a new password.
#ifndef USERS_API_KEYS_H
#define USERS_API_KEYS_H

#include "common/call.h"

// POST /v1/api-keys: somebody who logged in, so that no key makes other keys.
int on_api_key_create_read(struct call *c);
int on_api_key_create_write(struct call *c);

// GET /v1/api-keys: one's own.
int on_api_key_list(struct call *c);

// DELETE /v1/api-keys/{id}: one's own.
int on_api_key_delete_write(struct call *c);

// POST /internal/api-keys/check
int on_api_key_check(struct call *c);

// Removes keys that expired; a bounded number at a time.
int on_api_keys_expire(struct db *db, int64_t now_ms, void *data);

#endif
