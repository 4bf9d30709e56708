// SPDX-License-Identifier: MIT
// Logging in, refreshing and logging out: the handlers of /v1/sessions*, and the ending of sessions
// that changes of an account bring about.
#ifndef USERS_SESSIONS_H
#define USERS_SESSIONS_H

#include "common/call.h"

struct sessions_options {
    int64_t longest_ms; // of a session, however often it is refreshed
    int64_t idle_ms;    // a session ends that is not refreshed for this long
};

// Tokens are signed with what signing_issuer() says (services/users/signing.h).
void sessions_open(const struct sessions_options *options);

// POST /v1/sessions
int on_session_create_read(struct call *c);
int on_session_create_compute(struct call *c);
int on_session_create_write(struct call *c);
int on_session_create_end(struct call *c);

// POST /v1/sessions/refresh
int on_session_refresh_read(struct call *c);
int on_session_refresh_write(struct call *c);

// DELETE /v1/sessions/current
int on_session_delete_write(struct call *c);

// Removes sessions that expired; a bounded number at a time.
int on_sessions_expire(struct db *db, int64_t now_ms, void *data);

// Ends the sessions of a user but keep_id (which may be empty), with an event for each. In `write`.
__attribute__((warn_unused_result)) int sessions_revoke_others(struct call *c, struct str user_id,
                                                               struct str keep_id);

// Publishes that a session ended, or with an empty session_id that all of a user's did.
__attribute__((warn_unused_result)) int session_revoked_event(struct call *c, struct str user_id,
                                                              struct str session_id);

// Answers 429 and returns true when wait_ms (of services/users/throttle.h) is not 0. what there were
// too many of: "wrong passwords".
bool sessions_must_wait(struct call *c, int64_t wait_ms, const char *what);

#endif
